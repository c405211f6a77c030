//! Somebody leaves: all that they could act with ends in the transaction that says so.

use stepgate_core::challenge::ChallengeState;
use stepgate_core::id::{Id, PersonId, SessionId, kind};
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Entry, Event};

use crate::challenge_row::{self, select_challenge};
use crate::challenges::put_state;
use crate::changes::Subject;
use crate::departed;
use crate::error::Stored as _;
use crate::held;
use crate::intent::Work;
use crate::known::end_tokens;
use crate::people::{remove, take_person};
use crate::profiles;
use crate::row::Fields;

/// The kind of factor that links a person to an identity provider. It says who they are and lets
/// nobody in who is not active: so it stays, and whoever left is not taken for somebody new.
pub(super) const LINK_TO_PROVIDER: &str = "idp";

/// An entry that only the transaction knows to be due.
pub(crate) fn record(work: &mut Work<'_>, at: Timestamp, event: Event) -> Result<(), StoreError> {
    let id = Id::<kind::Entry>::random(work.inner.random.as_ref()).to_string();
    work.record(&Entry { id, at_ms: at.as_ms(), event, details: None })
}

/// Whether somebody may come back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    /// They may: the link to an identity provider stays.
    OutOfService,
    /// They may not: nothing stays.
    ForGood,
}

/// Puts a person out of service whose row is taken.
pub(super) async fn leave(work: &mut Work<'_>, person: PersonId, by: &str, at: Timestamp) -> Result<(), ChangeError> {
    let (sessions, factors) = end_all(work, person, Going::OutOfService, by, at).await?;
    let event = Event::PersonDeactivated { person: person.to_string(), by: by.to_owned(), sessions, factors };
    Ok(record(work, at, event)?)
}

/// Removes a person with all that they could act with, each with its entry. How others know them is kept for
/// the streams that have yet to tell of it. `Conflict` if there is no such person.
pub(crate) async fn leave_for_good(
    work: &mut Work<'_>,
    person: PersonId,
    by: &str,
    at: Timestamp,
) -> Result<(), ChangeError> {
    take_person(work, &person.to_string()).await?;
    departed::keep(work, person, at).await?;
    end_all(work, person, Going::ForGood, by, at).await?;
    remove(work, person).await
}

/// Ends everything that a person could act with, each with its entry; gives how many sessions and
/// factors that were. Their row is taken.
async fn end_all(
    work: &mut Work<'_>,
    person: PersonId,
    going: Going,
    by: &str,
    at: Timestamp,
) -> Result<(u32, u32), ChangeError> {
    let reason = match going {
        Going::OutOfService => "person_deactivated",
        Going::ForGood => "person_removed",
    };
    let sessions = end_sessions(work, person, None, reason, by, at).await?;
    cancel_challenges(work, person, None, reason, at).await?;
    end_tokens(work, person, at).await?;
    let factors = remove_factors(work, person, going, by, at).await?;
    let id = person.to_string();
    profiles::forget(work, &id).await?;
    for text in ["DELETE FROM links WHERE person = $1", "DELETE FROM tickets WHERE person = $1"] {
        sqlx::query(text).bind(&id).execute(&mut *work.connection).await.stored()?;
    }
    Ok((sessions, factors))
}

pub(super) fn came_back(work: &mut Work<'_>, person: PersonId, by: &str, at: Timestamp) -> Result<(), ChangeError> {
    Ok(record(work, at, Event::PersonActivated { person: person.to_string(), by: by.to_owned() })?)
}

/// Ends a person's sessions, or this one of them, those that only lapsed too; gives how many lived.
pub(crate) async fn end_sessions(
    work: &mut Work<'_>,
    person: PersonId,
    only: Option<SessionId>,
    reason: &str,
    by: &str,
    at: Timestamp,
) -> Result<u32, ChangeError> {
    let id = person.to_string();
    let only = only.map(|session| session.to_string()).unwrap_or_default();
    let rows = work
        .inner
        .backend
        .locked(
            "SELECT id, ends_at FROM sessions WHERE person = $1 AND ($2 = '' OR id = $2) AND ended_at IS NULL \
             ORDER BY id",
        )
        .bind(id.clone())
        .bind(only.clone())
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    let mut lived: u32 = 0;
    for row in &rows {
        let fields = Fields::of("sessions", row);
        let session: SessionId = fields.id("id")?;
        work.changed(Subject::Session(session));
        if fields.time("ends_at")? > at {
            lived = lived.saturating_add(1);
            record(
                work,
                at,
                Event::SessionEnded {
                    session: session.to_string(),
                    person: id.clone(),
                    reason: reason.to_owned(),
                    by: by.to_owned(),
                },
            )?;
        }
    }
    for text in [
        "UPDATE sessions SET ended_at = $1, end_reason = 'revoked' \
         WHERE person = $2 AND ($3 = '' OR id = $3) AND ended_at IS NULL",
        "DELETE FROM codes WHERE $1 = $1 AND session IN \
         (SELECT id FROM sessions WHERE person = $2 AND ($3 = '' OR id = $3))",
        "DELETE FROM tickets WHERE $1 = $1 AND session IN \
         (SELECT id FROM sessions WHERE person = $2 AND ($3 = '' OR id = $3))",
    ] {
        sqlx::query(text).bind(at.as_ms()).bind(&id).bind(&only).execute(&mut *work.connection).await.stored()?;
    }
    Ok(lived)
}

/// Ends what waits for a person, or in this session of theirs, or was passed and not sent: what it
/// holds is never sent, and what it allowed to enrol is not enrolled.
pub(crate) async fn cancel_challenges(
    work: &mut Work<'_>,
    person: PersonId,
    only: Option<SessionId>,
    reason: &str,
    at: Timestamp,
) -> Result<(), ChangeError> {
    const SELECT: &str = select_challenge!(
        "WHERE person = $1 AND ($2 = '' OR session = $2) AND state IN ('pending', 'passed') ORDER BY id"
    );
    sqlx::query("DELETE FROM tickets WHERE person = $1 AND session IS NOT NULL AND ($2 = '' OR session = $2)")
        .bind(person.to_string())
        .bind(only.map(|session| session.to_string()).unwrap_or_default())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    let rows = work
        .inner
        .backend
        .locked(SELECT)
        .bind(person.to_string())
        .bind(only.map(|session| session.to_string()).unwrap_or_default())
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    for row in &rows {
        let challenge = challenge_row::challenge(row)?;
        put_state(work, &challenge, &ChallengeState::Cancelled { reason: reason.to_owned() }, Some(at)).await?;
        held::drop_it(work, challenge.id).await?;
        record(
            work,
            at,
            Event::ChallengeCancelled {
                challenge: challenge.id.to_string(),
                session: challenge.asked_by.to_string(),
                person: person.to_string(),
                reason: reason.to_owned(),
            },
        )?;
    }
    Ok(())
}

async fn remove_factors(
    work: &mut Work<'_>,
    person: PersonId,
    going: Going,
    by: &str,
    at: Timestamp,
) -> Result<u32, ChangeError> {
    let id = person.to_string();
    // No kind is the empty text.
    let stays = if going == Going::OutOfService { LINK_TO_PROVIDER } else { "" };
    let rows = sqlx::query("SELECT id, kind FROM factors WHERE person = $1 AND kind <> $2 ORDER BY ordinal")
        .bind(&id)
        .bind(stays)
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    let mut removed: u32 = 0;
    for row in &rows {
        let fields = Fields::of("factors", row);
        removed = removed.saturating_add(1);
        record(
            work,
            at,
            Event::FactorRemoved {
                person: id.clone(),
                factor: fields.text("kind")?,
                factor_id: fields.text("id")?,
                authority: by.to_owned(),
            },
        )?;
    }
    sqlx::query("DELETE FROM factors WHERE person = $1 AND kind <> $2")
        .bind(&id)
        .bind(stays)
        .execute(&mut *work.connection)
        .await
        .stored()?;
    Ok(removed)
}
