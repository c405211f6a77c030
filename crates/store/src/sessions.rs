//! Sessions: starting, raising, ending.

use std::time::Duration;

use async_trait::async_trait;
use stepgate_core::id::{PersonId, SessionId};
use stepgate_core::ports::{ChangeError, NewSession, SessionSummary, StoreError, Trier};
use stepgate_core::secret::TokenDigest;
use stepgate_core::session::{Audience, Device, Proof};
use stepgate_core::time::Timestamp;

use crate::changes::Subject;
use crate::enrolment;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::factors::apply_use;
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::logins;
use crate::options::{DEVICES_PER_PERSON_MAX, PROOFS_PER_KIND_MAX, ROWS_MAX, SESSIONS_PER_PERSON_MAX, TOUCH_EVERY};
use crate::people::take_active;
use crate::row::Fields;
use crate::tokens::{NewToken, Succeeds, issue};
use crate::tries;

pub(crate) struct StartSession {
    pub(crate) new: NewSession,
}

#[async_trait]
impl Intent for StartSession {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let new = &self.new;
        let at = new.started_at;
        let person = new.person.to_string();
        take_active(work, &person).await?;
        if let Some(prompt) = new.prompt {
            use_prompt(work, prompt, at).await?;
        }
        let kind = apply_use(work, new.person, &new.used, new.address, at).await?;
        if !kind.is_same_factor(new.proof.kind) {
            return Err(ChangeError::Conflict);
        }
        let from = Trier { device: Some(new.device), address: new.address };
        tries::forget(work, new.person, kind, from, at).await?;
        if let Some(replaced) = new.replaces {
            end(work, replaced, "replaced", at).await?;
        }
        if live_sessions(work, &person, at).await? >= SESSIONS_PER_PERSON_MAX {
            return Err(ChangeError::Limit("sessions per person"));
        }
        let used_before = remember_device(work, &person, new.device, &new.agent, at).await?;
        self.insert(work, &person, used_before).await?;
        prove(work, new.id, new.proof).await?;
        if let Some(login) = &new.login {
            logins::keep(work, new.id, login, at).await?;
        }
        let token = NewToken {
            digest: new.gate_token,
            session: new.id,
            audience: &Audience::Gate,
            generation: new.proof.generation,
            browser: Some(new.browser),
            succeeds: Succeeds::All,
            at,
        };
        issue(work, token).await
    }
}

impl StartSession {
    async fn insert(
        &self,
        work: &mut Work<'_>,
        person: &str,
        used_before: Option<Timestamp>,
    ) -> Result<(), ChangeError> {
        let new = &self.new;
        sqlx::query(
            "INSERT INTO sessions (id, person, started_at, last_used_at, ends_at, idle_ms, generation, \
             tokens_issued, device, device_used_before, address, country, agent) \
             VALUES ($1, $2, $3, $3, $4, $5, $6, 0, $7, $8, $9, $10, $11)",
        )
        .bind(new.id.to_string())
        .bind(person)
        .bind(new.started_at.as_ms())
        .bind(new.ends_at.as_ms())
        .bind(i64::try_from(new.idle.as_millis()).map_err(unavailable)?)
        .bind(i64::from(new.proof.generation))
        .bind(new.device.to_hex())
        .bind(used_before.map(Timestamp::as_ms))
        .bind(new.address.to_string())
        .bind(&new.country)
        .bind(&new.agent)
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map(|_| ())
    }
}

/// Takes something that is taken once; `UsedBefore` if it was.
pub(crate) async fn use_prompt(work: &mut Work<'_>, prompt: TokenDigest, at: Timestamp) -> Result<(), ChangeError> {
    let used = sqlx::query("INSERT INTO prompts (digest, used_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING")
        .bind(prompt.to_hex())
        .bind(at.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    if used.rows_affected() == 1 { Ok(()) } else { Err(ChangeError::UsedBefore) }
}

async fn live_sessions(work: &mut Work<'_>, person: &str, at: Timestamp) -> Result<i64, ChangeError> {
    let row = sqlx::query(
        "SELECT '' AS id, COUNT(*) AS live FROM sessions WHERE person = $1 AND ended_at IS NULL AND ends_at > $2",
    )
    .bind(person)
    .bind(at.as_ms())
    .fetch_one(&mut *work.connection)
    .await
    .stored()?;
    Ok(Fields::of("sessions", &row).int("live")?)
}

/// When the device was last used before, if it is known. One that was never seen is from now on, and known
/// when [`admit_device`] says so.
async fn remember_device(
    work: &mut Work<'_>,
    person: &str,
    device: TokenDigest,
    agent: &str,
    at: Timestamp,
) -> Result<Option<Timestamp>, ChangeError> {
    let device = device.to_hex();
    let known = sqlx::query("SELECT device, admitted_at, last_used_at FROM devices WHERE person = $1 AND device = $2")
        .bind(person)
        .bind(&device)
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?;
    if let Some(known) = known {
        let fields = Fields::of("devices", &known);
        let is_known = fields.maybe_time("admitted_at")?.is_some();
        return Ok(is_known.then(|| fields.time("last_used_at")).transpose()?);
    }
    sqlx::query(
        "INSERT INTO devices (person, device, first_seen_at, last_used_at, name, agent) VALUES ($1, $2, $3, $3, '', $4)",
    )
    .bind(person)
    .bind(&device)
    .bind(at.as_ms())
    .bind(agent)
    .execute(&mut *work.connection)
        .await
        .or_conflict()?;
    sqlx::query(
        "DELETE FROM devices WHERE person = $1 AND device NOT IN \
         (SELECT device FROM devices WHERE person = $1 \
         ORDER BY CASE WHEN admitted_at IS NULL THEN 1 ELSE 0 END, last_used_at DESC, device LIMIT $2)",
    )
    .bind(person)
    .bind(DEVICES_PER_PERSON_MAX)
    .execute(&mut *work.connection)
    .await
    .stored()?;
    Ok(None)
}

/// A session is let to a service: its device is known to the person's next sign-in, if they have not had it forgotten.
pub(crate) async fn admit_device(work: &mut Work<'_>, session: SessionId, at: Timestamp) -> Result<(), ChangeError> {
    sqlx::query(
        "UPDATE devices SET admitted_at = COALESCE(admitted_at, $1), last_used_at = $1, \
         agent = (SELECT agent FROM sessions WHERE id = $2) \
         WHERE person = (SELECT person FROM sessions WHERE id = $2) \
         AND device = (SELECT device FROM sessions WHERE id = $2)",
    )
    .bind(at.as_ms())
    .bind(session.to_string())
    .execute(&mut *work.connection)
    .await
    .stored()?;
    Ok(())
}

/// Appends a proof, and drops what [`PROOFS_PER_KIND_MAX`] younger ones of its kind make needless.
pub(crate) async fn prove(work: &mut Work<'_>, session: SessionId, proof: Proof) -> Result<(), ChangeError> {
    let session = session.to_string();
    sqlx::query(
        "INSERT INTO proofs (session, ordinal, kind, at, generation) \
         SELECT $1, COALESCE(MAX(ordinal), 0) + 1, $2, $3, $4 FROM proofs WHERE session = $1",
    )
    .bind(&session)
    .bind(proof.kind.to_string())
    .bind(proof.at.as_ms())
    .bind(i64::from(proof.generation))
    .execute(&mut *work.connection)
    .await
    .stored()?;
    sqlx::query(
        "DELETE FROM proofs WHERE session = $1 AND kind = $2 AND ordinal NOT IN \
         (SELECT ordinal FROM proofs WHERE session = $1 AND kind = $2 ORDER BY ordinal DESC LIMIT $3)",
    )
    .bind(&session)
    .bind(proof.kind.to_string())
    .bind(PROOFS_PER_KIND_MAX)
    .execute(&mut *work.connection)
    .await
    .stored()?;
    Ok(())
}

/// A session whose row is taken.
pub(crate) struct LiveSession {
    pub(crate) person: PersonId,
    pub(crate) generation: u32,
}

/// Takes the session's row, if the session lives at `at`.
///
/// Other nodes write down uses with a delay, so a session counts as unused only
/// after some grace here; [`crate::Database`]'s look at a token is exact.
pub(crate) async fn take_live(
    work: &mut Work<'_>,
    session: SessionId,
    at: Timestamp,
) -> Result<Option<LiveSession>, ChangeError> {
    let row = work
        .inner
        .backend
        .locked("SELECT id, person, generation, ended_at, ends_at, last_used_at, idle_ms FROM sessions WHERE id = $1")
        .bind(session.to_string())
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::of("sessions", &row);
    let idle = Duration::from_millis(fields.count("idle_ms")?);
    let used = work.inner.cache.used(session, fields.time("last_used_at")?);
    let unused_until = used.last().plus(idle).plus(TOUCH_EVERY.saturating_mul(2));
    if fields.maybe_int("ended_at")?.is_some() || at >= fields.time("ends_at")? || at >= unused_until {
        return Ok(None);
    }
    Ok(Some(LiveSession { person: fields.id("person")?, generation: fields.count("generation")? }))
}

/// Takes a session's row if nobody has ended it, whether or not its time is over:
/// what it asks waits for its person to sign in again. Gives whose it is.
pub(crate) async fn take_not_ended(work: &mut Work<'_>, session: SessionId) -> Result<Option<PersonId>, ChangeError> {
    let row = work
        .inner
        .backend
        .locked("SELECT id, person, ended_at FROM sessions WHERE id = $1")
        .bind(session.to_string())
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::of("sessions", &row);
    if fields.maybe_int("ended_at")?.is_some() { Ok(None) } else { Ok(Some(fields.id("person")?)) }
}

/// Ends a session that has not ended; nothing if it has.
async fn end(work: &mut Work<'_>, session: SessionId, reason: &str, at: Timestamp) -> Result<(), ChangeError> {
    sqlx::query("UPDATE sessions SET ended_at = $1, end_reason = $2 WHERE id = $3 AND ended_at IS NULL")
        .bind(at.as_ms())
        .bind(reason)
        .bind(session.to_string())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    enrolment::end_tickets_of(work, session).await?;
    work.changed(Subject::Session(session));
    Ok(())
}

pub(crate) struct EndSession {
    pub(crate) session: SessionId,
    pub(crate) person: PersonId,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for EndSession {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query(
            "UPDATE sessions SET ended_at = $1, end_reason = 'revoked' \
             WHERE id = $2 AND person = $3 AND ended_at IS NULL AND ends_at > $1",
        )
        .bind(self.at.as_ms())
        .bind(self.session.to_string())
        .bind(self.person.to_string())
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()?;
        // Codes that wait would find no session; there is no reason to keep them.
        sqlx::query("DELETE FROM codes WHERE session = $1")
            .bind(self.session.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        enrolment::end_tickets_of(work, self.session).await?;
        work.changed(Subject::Session(self.session));
        Ok(())
    }
}

/// The device of a session, in a row with its columns and those of the device if that is remembered.
pub(crate) fn device_of(fields: &Fields<'_>) -> Result<Device, StoreError> {
    Ok(Device {
        first_seen: fields.maybe_time("admitted_at")?,
        seen_before: fields.maybe_time("device_used_before")?,
        name: fields.maybe_text("device_name")?.unwrap_or_default(),
        cookie: fields.maybe_digest("device")?,
    })
}

impl Inner {
    pub(crate) async fn sessions(&self, person: PersonId, now: Timestamp) -> Result<Vec<SessionSummary>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT s.id, s.started_at, s.last_used_at, s.ends_at, s.idle_ms, s.address, s.agent, \
                 s.device, s.device_used_before, d.admitted_at, d.name AS device_name FROM sessions s \
                 LEFT JOIN devices d ON d.person = s.person AND d.device = s.device \
                 WHERE s.person = $1 AND s.ended_at IS NULL AND s.ends_at > $2 ORDER BY s.started_at DESC, s.id LIMIT $3",
            )
            .bind(person.to_string())
            .bind(now.as_ms())
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .stored()?;
            let mut live = Vec::with_capacity(rows.len());
            for row in &rows {
                let fields = Fields::of("sessions", row);
                let id = fields.id("id")?;
                let last_used_at = self.cache.used(id, fields.time("last_used_at")?).last();
                if now < last_used_at.plus(Duration::from_millis(fields.count("idle_ms")?)) {
                    live.push(SessionSummary {
                        id,
                        started_at: fields.time("started_at")?,
                        last_used_at,
                        ends_at: fields.time("ends_at")?,
                        address: fields.text("address")?,
                        agent: fields.text("agent")?,
                        device: device_of(&fields)?,
                    });
                }
            }
            Ok(live)
        })
        .await
    }
}
