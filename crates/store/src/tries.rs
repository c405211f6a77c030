//! Counting tries: before each is verified, in a row of its own, so that no failed
//! transaction takes the count back.

use async_trait::async_trait;
use stepgate_core::factor::FactorKind;
use stepgate_core::id::PersonId;
use stepgate_core::ports::{ChangeError, Try, TryLimits};
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Entry, Event};

use crate::error::Stored as _;
use crate::intent::{Intent, Work};
use crate::row::Fields;

/// Locked until an administrator resets it.
const FOREVER: Timestamp = Timestamp::from_ms(i64::MAX);

pub(crate) struct BeginTry {
    pub(crate) person: PersonId,
    pub(crate) kind: FactorKind,
    pub(crate) limits: TryLimits,
    pub(crate) at: Timestamp,
    pub(crate) locked: Entry,
}

#[async_trait]
impl Intent for BeginTry {
    type Output = Try;

    async fn apply(&self, work: &mut Work<'_>) -> Result<Try, ChangeError> {
        let person = self.person.to_string();
        sqlx::query("INSERT INTO tries (person, kind, wrong) VALUES ($1, $2, 0) ON CONFLICT (person, kind) DO NOTHING")
            .bind(&person)
            .bind(self.kind.name())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        let row = work
            .inner
            .backend
            .locked("SELECT person, wrong, locked_until FROM tries WHERE person = $1 AND kind = $2")
            .bind(&person)
            .bind(self.kind.name())
            .fetch_one(&mut *work.connection)
            .await
            .stored()?;
        let fields = Fields::of("tries", &row);
        let wrong: u32 = fields.count("wrong")?;
        if wrong >= self.limits.before_reset {
            return Ok(Try::Locked { until: FOREVER });
        }
        if let Some(until) = fields.maybe_time("locked_until")?
            && self.at < until
        {
            return Ok(Try::Locked { until });
        }
        let before_lock = self.limits.before_lock.max(1);
        let left = before_lock.saturating_sub(wrong % before_lock).min(self.limits.before_reset.saturating_sub(wrong));
        let counted = wrong.saturating_add(1);
        let until = (left == 1).then(|| match counted >= self.limits.before_reset {
            true => FOREVER,
            false => self.at.plus(self.limits.lock),
        });
        sqlx::query("UPDATE tries SET wrong = $1, locked_until = $2 WHERE person = $3 AND kind = $4")
            .bind(i64::from(counted))
            .bind(until.map(Timestamp::as_ms))
            .bind(&person)
            .bind(self.kind.name())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        if let Some(until) = until {
            work.record(&with_until(&self.locked, until))?;
        }
        Ok(Try::Allowed { left })
    }
}

/// The entry with the end of the lock as it is: only the store knows whether the
/// count has reached the point where no time lifts it.
fn with_until(entry: &Entry, until: Timestamp) -> Entry {
    let mut entry = entry.clone();
    if let Event::FactorLocked { until_ms, .. } = &mut entry.event {
        *until_ms = until.as_ms().to_string();
    }
    entry
}

pub(crate) struct ResetTries {
    pub(crate) person: PersonId,
    pub(crate) kind: FactorKind,
}

#[async_trait]
impl Intent for ResetTries {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        forget(work, self.person, self.kind).await
    }
}

/// Forgets wrong tries and any lock.
pub(crate) async fn forget(work: &mut Work<'_>, person: PersonId, kind: FactorKind) -> Result<(), ChangeError> {
    sqlx::query("DELETE FROM tries WHERE person = $1 AND kind = $2")
        .bind(person.to_string())
        .bind(kind.name())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    Ok(())
}

/// Nothing but its entries.
pub(crate) struct Record;

#[async_trait]
impl Intent for Record {
    type Output = ();

    async fn apply(&self, _: &mut Work<'_>) -> Result<(), ChangeError> {
        Ok(())
    }
}
