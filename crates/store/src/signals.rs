//! Security events of other systems: each taken once, with its effects.

use async_trait::async_trait;
use stepgate_core::id::{PersonId, SessionId};
use stepgate_core::ports::{ChangeError, Concerned, SignalEffect, SignalStore, StoreError, TakenSignal};
use stepgate_core::provider::ProviderName;
use stepgate_core::risk::{Risk, RiskKind};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Entry;

use crate::accounts::{cancel_challenges, end_sessions};
use crate::changes::Subject;
use crate::database::Database;
use crate::error::Stored as _;
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::{RISKS_PER_PERSON_MAX, ROWS_MAX};
use crate::people::take_person;
use crate::row::Fields;

/// The name under which a level is kept; signals have other names.
const LEVEL: &str = "level";

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
                cancel_challenges(work, person, only, "signal", at).await
            }
            SignalEffect::DropProofs => {
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
            SignalEffect::Risk { kind, until } => self.put_risk(work, who, kind, *until).await,
            SignalEffect::NoSignal(name) => {
                sqlx::query(
                    "DELETE FROM risks WHERE person = $1 AND ($2 = '' OR session = $2) AND transmitter = $3 \
                     AND name = $4 AND happened_at <= $5",
                )
                .bind(person.to_string())
                .bind(session_text(only))
                .bind(&self.signal.transmitter)
                .bind(name)
                .bind(self.signal.happened_at.as_ms())
                .execute(&mut *work.connection)
                .await
                .stored()?;
                Ok(())
            }
        }
    }

    async fn put_risk(
        &self,
        work: &mut Work<'_>,
        who: Concerned,
        kind: &RiskKind,
        until: Timestamp,
    ) -> Result<(), ChangeError> {
        let person = who.person().to_string();
        let (name, value) = match kind {
            RiskKind::Level(level) => (LEVEL, level.name()),
            RiskKind::Signal(name) => (name.as_str(), ""),
        };
        // What happened later was told earlier: then it stays.
        sqlx::query(
            "INSERT INTO risks (person, session, transmitter, name, value, happened_at, until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (person, session, transmitter, name) DO UPDATE SET \
             value = excluded.value, happened_at = excluded.happened_at, until = excluded.until \
             WHERE risks.happened_at <= excluded.happened_at",
        )
        .bind(&person)
        .bind(session_text(who.session()))
        .bind(&self.signal.transmitter)
        .bind(name)
        .bind(value)
        .bind(self.signal.happened_at.as_ms())
        .bind(until.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
        sqlx::query("DELETE FROM risks WHERE person = $1 AND until <= $2")
            .bind(&person)
            .bind(self.signal.at.as_ms())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        let row = sqlx::query("SELECT '' AS id, COUNT(*) AS found FROM risks WHERE person = $1")
            .bind(&person)
            .fetch_one(&mut *work.connection)
            .await
            .stored()?;
        if Fields::of("risks", &row).int("found")? > RISKS_PER_PERSON_MAX {
            return Err(ChangeError::Limit("risks per person"));
        }
        Ok(())
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
             WHERE person = $1 AND (session = '' OR session = $2) AND until > $3 ORDER BY name, transmitter",
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
    async fn take_signal(&self, signal: TakenSignal, entry: Entry) -> Result<(), ChangeError> {
        self.write(TakeSignal { signal }, vec![entry]).await
    }

    async fn people_by_email(&self, email: &str) -> Result<Vec<PersonId>, StoreError> {
        read(async {
            let rows = sqlx::query("SELECT id FROM people WHERE email <> '' AND LOWER(email) = $1 ORDER BY id LIMIT 2")
                .bind(email.to_ascii_lowercase())
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
                "SELECT s.id, s.person FROM provider_logins l JOIN sessions s ON s.id = l.session \
                 WHERE l.sid = $1 AND l.provider = $2 AND s.ended_at IS NULL AND s.ends_at > $3 ORDER BY s.id LIMIT $4",
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
