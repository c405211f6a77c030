//! Security events of other systems: each taken once, with its effects.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use stepgate_core::factor::FactorKind;
use stepgate_core::id::{PersonId, SessionId};
use stepgate_core::person::folded;
use stepgate_core::ports::{
    ChangeError, Concerned, RiskName, SignalEffect, SignalFate, SignalStore, StoreError, TakenSignal,
};
use stepgate_core::provider::ProviderName;
use stepgate_core::risk::{Risk, RiskKind, RiskLevel, RiskSubject};
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Entry, Event};

use crate::accounts::{cancel_challenges, end_sessions, record};
use crate::changes::Subject;
use crate::database::Database;
use crate::error::{Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::known::end_tokens;
use crate::options::{RISK_SUBJECTS_MAX, ROWS_MAX};
use crate::people::take_person;
use crate::row::Fields;

/// The name under which a level is kept; signals have other names.
const LEVEL: &str = "level";
/// The subject of a row that holds what is told of more things than are kept apart. No digest is so.
const REST: &str = "rest";
/// Who has an address and is in service.
pub(crate) const PEOPLE_BY_EMAIL: &str =
    "SELECT id FROM people WHERE email_folded <> '' AND email_folded = $1 AND active = 1 ORDER BY id LIMIT $2";

struct TakeSignal {
    signal: TakenSignal,
}

#[async_trait]
impl Intent for TakeSignal {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let signal = &self.signal;
        let taken = sqlx::query(
            "INSERT INTO received_sets (digest, received_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING",
        )
        .bind(hex::encode(signal.set))
        .bind(signal.at.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
        if taken.rows_affected() == 0 {
            return Err(ChangeError::UsedBefore);
        }
        for (who, effect) in &signal.effects {
            take_person(work, &who.person().to_string()).await?;
            self.act(work, *who, effect).await?;
            // What is open is decided again, and nothing is served from memory as it was.
            work.changed(Subject::Person(who.person()));
        }
        Ok(())
    }
}

impl TakeSignal {
    async fn act(&self, work: &mut Work<'_>, who: Concerned, effect: &SignalEffect) -> Result<(), ChangeError> {
        let (person, only, at) = (who.person(), who.session(), self.signal.at);
        let by = format!("signal:{}", self.signal.transmitter);
        match effect {
            SignalEffect::EndSessions => {
                end_sessions(work, person, only, "signal", &by, at).await?;
                end_tokens(work, person, at).await?;
                cancel_challenges(work, person, only, "signal", at).await
            }
            SignalEffect::DropProofs => {
                end_tokens(work, person, at).await?;
                self.record_dropped(work, person, only, &by).await?;
                sqlx::query(
                    "DELETE FROM proofs WHERE session IN \
                     (SELECT id FROM sessions WHERE person = $1 AND ($2 = '' OR id = $2))",
                )
                .bind(person.to_string())
                .bind(session_text(only))
                .execute(&mut *work.connection)
                .await
                .stored()?;
                cancel_challenges(work, person, only, "signal", at).await
            }
            SignalEffect::Risk { about, kind, until } => self.put_risk(work, who, about, kind, *until).await,
            SignalEffect::NoRisk { about, name } => {
                let name = match name {
                    RiskName::Level => LEVEL,
                    RiskName::Signal(name) => name,
                };
                self.forget(work, person, about, name, self.signal.happened_at.as_ms()).await
            }
        }
    }

    /// An entry for each live session whose proofs are about to go: what counted most of them.
    async fn record_dropped(
        &self,
        work: &mut Work<'_>,
        person: PersonId,
        only: Option<SessionId>,
        by: &str,
    ) -> Result<(), ChangeError> {
        let rows = sqlx::query(
            "SELECT p.session, p.kind FROM proofs p JOIN sessions s ON s.id = p.session WHERE s.person = $1 \
             AND ($2 = '' OR s.id = $2) AND s.ended_at IS NULL AND s.ends_at > $3",
        )
        .bind(person.to_string())
        .bind(session_text(only))
        .bind(self.signal.at.as_ms())
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
        let mut most: BTreeMap<String, FactorKind> = BTreeMap::new();
        for row in &rows {
            let fields = Fields::of("proofs", row);
            let kind: FactorKind = fields.parsed("kind")?;
            // Kinds stand in the order of what is asked first.
            most.entry(fields.text("session")?).and_modify(|most| *most = kind.min(*most)).or_insert(kind);
        }
        for (session, kind) in most {
            let event = Event::AssuranceDropped {
                session,
                person: person.to_string(),
                former: kind.name().to_owned(),
                by: by.to_owned(),
            };
            record(work, self.signal.at, event)?;
        }
        Ok(())
    }

    /// Forgets what this transmitter told of the same under this name, wherever it counts, up to then.
    async fn forget(
        &self,
        work: &mut Work<'_>,
        person: PersonId,
        about: &RiskSubject,
        name: &str,
        up_to_ms: i64,
    ) -> Result<(), ChangeError> {
        sqlx::query(
            "DELETE FROM risks WHERE person = $1 AND transmitter = $2 AND name = $3 AND subject = $4 \
             AND happened_at <= $5",
        )
        .bind(person.to_string())
        .bind(&self.signal.transmitter)
        .bind(name)
        .bind(about.as_str())
        .bind(up_to_ms)
        .execute(&mut *work.connection)
        .await
        .stored()?;
        Ok(())
    }

    /// How many rows of this transmitter and name there are, for `subject` or counted in another way.
    async fn count(&self, work: &mut Work<'_>, sql: &'static str, of: [&str; 3]) -> Result<i64, ChangeError> {
        let [person, name, third] = of;
        let row = sqlx::query(sql)
            .bind(person)
            .bind(&self.signal.transmitter)
            .bind(name)
            .bind(third)
            .bind(self.signal.happened_at.as_ms())
            .fetch_one(&mut *work.connection)
            .await
            .stored()?;
        Ok(Fields::of("risks", &row).int("found")?)
    }

    async fn put_risk(
        &self,
        work: &mut Work<'_>,
        who: Concerned,
        about: &RiskSubject,
        kind: &RiskKind,
        until: Timestamp,
    ) -> Result<(), ChangeError> {
        let (person, session) = (who.person().to_string(), session_text(who.session()));
        let (name, value) = match kind {
            RiskKind::Level(level) => (LEVEL, level.name()),
            RiskKind::Signal(name) => (name.as_str(), ""),
        };
        // What is over counts nowhere: neither by time nor with its session.
        sqlx::query(
            "DELETE FROM risks WHERE person = $1 AND (until <= $2 OR session IN \
             (SELECT id FROM sessions WHERE person = $1 AND (ended_at IS NOT NULL OR ends_at <= $2)))",
        )
        .bind(&person)
        .bind(self.signal.at.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
        // What happened later was told earlier: then it stays.
        const LATER: &str = "SELECT '' AS id, COUNT(*) AS found FROM risks WHERE person = $1 AND transmitter = $2 \
                             AND name = $3 AND subject = $4 AND happened_at > $5";
        if self.count(work, LATER, [&person, name, about.as_str()]).await? > 0 {
            return Ok(());
        }
        // Of the same, only the newest counts, also where it counted for another session.
        self.forget(work, who.person(), about, name, self.signal.happened_at.as_ms().saturating_sub(1)).await?;
        const SUBJECTS: &str = "SELECT '' AS id, COUNT(*) AS found FROM risks WHERE person = $1 AND transmitter = $2 \
                                AND name = $3 AND COALESCE(session, '') = $4 AND subject <> '' AND $5 = $5";
        let is_kept_apart = about.as_str().is_empty()
            || self.count(work, SUBJECTS, [&person, name, &session]).await? < RISK_SUBJECTS_MAX;
        let subject = if is_kept_apart { about.as_str() } else { REST };
        let mut row = Row { value: value.to_owned(), until, happened_at: self.signal.happened_at };
        let id = self.row_id(&person, &session, name, subject);
        if !is_kept_apart {
            // Nobody can say which of them was taken back, so together they only rise.
            row = row.and(self.row(work, &id).await?)?;
        }
        sqlx::query(
            "INSERT INTO risks (id, person, session, subject, transmitter, name, value, happened_at, until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET \
             value = excluded.value, happened_at = excluded.happened_at, until = excluded.until",
        )
        .bind(id)
        .bind(&person)
        .bind(who.session().map(|session| session.to_string()))
        .bind(subject)
        .bind(&self.signal.transmitter)
        .bind(name)
        .bind(row.value)
        .bind(row.happened_at.as_ms())
        .bind(row.until.as_ms())
        .execute(&mut *work.connection)
        .await
        // The session was purged since it was found: as with a person, it is looked again.
        .or_conflict()?;
        Ok(())
    }

    async fn row(&self, work: &mut Work<'_>, id: &str) -> Result<Option<Row>, ChangeError> {
        let row = sqlx::query("SELECT id, value, happened_at, until FROM risks WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?;
        row.map(|row| {
            let fields = Fields::of("risks", &row);
            Ok(Row {
                value: fields.text("value")?,
                until: fields.time("until")?,
                happened_at: fields.time("happened_at")?,
            })
        })
        .transpose()
    }

    fn row_id(&self, person: &str, session: &str, name: &str, subject: &str) -> String {
        let mut hash = Sha256::new();
        for text in ["stepgate/risk/v1", person, session, &self.signal.transmitter, name, subject] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hex::encode(hash.finalize())
    }
}

/// What a row says.
struct Row {
    value: String,
    until: Timestamp,
    happened_at: Timestamp,
}

impl Row {
    /// Both together: the greater risk, for longer.
    fn and(self, other: Option<Self>) -> Result<Self, ChangeError> {
        let Some(other) = other else { return Ok(self) };
        let level = |value: &str| match value {
            "" => Ok(None),
            value => value.parse::<RiskLevel>().map(Some).map_err(|()| unavailable("a risk has no level")),
        };
        let value =
            level(&self.value)?.max(level(&other.value)?).map_or(String::new(), |level| level.name().to_owned());
        let happened_at = self.happened_at.max(other.happened_at);
        Ok(Self { value, until: self.until.max(other.until), happened_at })
    }
}

/// The session as rows have it; empty for a person as a whole.
fn session_text(session: Option<SessionId>) -> String {
    session.map(|session| session.to_string()).unwrap_or_default()
}

impl Inner {
    /// What other systems told of a person, or of this session of theirs, and still counts.
    /// Without a session, only what concerns the person as a whole.
    pub(crate) async fn risks(
        &self,
        person: PersonId,
        session: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<Risk>, StoreError> {
        let rows = sqlx::query(
            "SELECT person, name, value, until FROM risks \
             WHERE person = $1 AND (session IS NULL OR session = $2) AND until > $3 ORDER BY name, transmitter",
        )
        .bind(person.to_string())
        .bind(session_text(session))
        .bind(now.as_ms())
        .fetch_all(&self.readers)
        .await
        .stored()?;
        let risk = |row| {
            let fields = Fields::of("risks", row);
            let name = fields.text("name")?;
            let kind = if name == LEVEL { RiskKind::Level(fields.parsed("value")?) } else { RiskKind::Signal(name) };
            Ok(Risk { kind, until: fields.time("until")? })
        };
        rows.iter().map(risk).collect()
    }
}

#[async_trait]
impl SignalStore for Database {
    async fn take_signal(&self, signal: TakenSignal, entries: Vec<Entry>) -> Result<SignalFate, StoreError> {
        match self.write(TakeSignal { signal }, entries).await {
            Ok(()) => Ok(SignalFate::Taken),
            Err(ChangeError::UsedBefore) => Ok(SignalFate::TakenBefore),
            Err(ChangeError::Conflict) => Ok(SignalFate::Gone),
            Err(ChangeError::Store(error)) => Err(error),
            // Not done, so not taken: whoever told it tells it again.
            Err(refused @ ChangeError::Limit(_)) => Err(unavailable(refused)),
        }
    }

    async fn people_by_email(&self, email: &str) -> Result<Vec<PersonId>, StoreError> {
        read(async {
            let rows = sqlx::query(PEOPLE_BY_EMAIL)
                .bind(folded(email))
                .bind(i64::from(ROWS_MAX))
                .fetch_all(&self.inner.readers)
                .await
                .stored()?;
            rows.iter().map(|row| Fields::of("people", row).id("id")).collect()
        })
        .await
    }

    async fn sessions_of_provider(
        &self,
        provider: &ProviderName,
        sid: &str,
        now: Timestamp,
    ) -> Result<Vec<(PersonId, SessionId)>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT s.id, s.person FROM sessions s WHERE s.id IN (\
                   SELECT session FROM provider_logins WHERE sid = $1 AND provider = $2 \
                   UNION SELECT session FROM provider_proofs WHERE sid = $1 AND provider = $2) \
                 AND s.ended_at IS NULL AND s.ends_at > $3 ORDER BY s.id LIMIT $4",
            )
            .bind(sid)
            .bind(provider.as_str())
            .bind(now.as_ms())
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.inner.readers)
            .await
            .stored()?;
            let one = |row| {
                let fields = Fields::of("sessions", row);
                Ok((fields.id("person")?, fields.id("id")?))
            };
            rows.iter().map(one).collect()
        })
        .await
    }
}
