//! What an operator or a timer asks for: purging what is over, sealing anew.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::time::Timestamp;

use crate::database::Database;
use crate::error::Stored as _;
use crate::inner::read;
use crate::intent::{Intent, Work};
use crate::options::{
    ADDRESSES_REMEMBERED, CLOSED_CHALLENGES_KEPT, ENDED_SESSIONS_KEPT, FORMER_ASSERTION_KEYS_KEPT,
    FORMER_SIGNAL_KEYS_KEPT, LOGOUTS_KEPT, PROFILES_KEPT, PROMPTS_KEPT, PURGED_AT_ONCE, PUSHES_KEPT,
    RECEIVED_SETS_KEPT, SEALED_AT_ONCE,
};
use crate::row::Fields;
use crate::seal::Keyring;

/// What is over, as `(table, key, condition on $1)`. `$1` is now less the time it is kept.
const OVER: [(&str, &str, &str, std::time::Duration); 21] = [
    ("codes", "digest", "expires_at <= $1", std::time::Duration::ZERO),
    ("tickets", "digest", "expires_at <= $1", std::time::Duration::ZERO),
    ("links", "id", "expires_at <= $1", std::time::Duration::ZERO),
    ("pushes", "id", "sent_at <= $1", PUSHES_KEPT),
    ("pending_logins", "state", "expires_at <= $1", std::time::Duration::ZERO),
    // They are counted for an hour, and none counts longer than ten minutes.
    ("sent_codes", "id", "sent_at <= $1", std::time::Duration::from_secs(3600)),
    ("risks", "id", "until <= $1", std::time::Duration::ZERO),
    // A stream that is behind still has to say whom it means.
    (
        "departed",
        "person",
        "at <= $1 AND NOT EXISTS (SELECT 1 FROM streams s WHERE s.next_entry <= \
         (SELECT MAX(e.number) FROM entries e WHERE e.person = departed.person))",
        std::time::Duration::ZERO,
    ),
    ("profiles", "person", "changed_at <= $1", PROFILES_KEPT),
    ("prompts", "digest", "used_at <= $1", PROMPTS_KEPT),
    ("provider_logouts", "id", "noted_at <= $1", LOGOUTS_KEPT),
    ("received_sets", "digest", "received_at <= $1", RECEIVED_SETS_KEPT),
    (
        "try_lanes",
        "id",
        "whom = 'address' AND last_at <= $1 AND (locked_until IS NULL OR locked_until <= $1)",
        ADDRESSES_REMEMBERED,
    ),
    ("tokens", "digest", "dies_at <= $1", ENDED_SESSIONS_KEPT),
    ("sessions", "id", "ends_at <= $1", ENDED_SESSIONS_KEPT),
    ("sessions", "id", "ended_at <= $1", ENDED_SESSIONS_KEPT),
    ("challenges", "id", "closed_at <= $1 AND sending = 0", CLOSED_CHALLENGES_KEPT),
    // Passed and never spent: nothing closes these.
    ("challenges", "id", "state = 'passed' AND spend_before <= $1", CLOSED_CHALLENGES_KEPT),
    (
        "nodes",
        "id",
        "lease_until <= $1 AND id NOT IN (SELECT node FROM challenges WHERE sending = 1)",
        ENDED_SESSIONS_KEPT,
    ),
    // An assertion key that another followed so long ago that nothing which it signed is valid.
    (
        "signing_keys",
        "id",
        "purpose = 'assertion' AND ordinal < (SELECT MAX(s.ordinal) FROM signing_keys s \
         WHERE s.purpose = 'assertion' AND s.signs_from <= $1)",
        FORMER_ASSERTION_KEYS_KEPT,
    ),
    // Likewise a key for security events: a receiver may verify late what it has.
    (
        "signing_keys",
        "id",
        "purpose = 'signals' AND ordinal < (SELECT MAX(s.ordinal) FROM signing_keys s \
         WHERE s.purpose = 'signals' AND s.signs_from <= $1)",
        FORMER_SIGNAL_KEYS_KEPT,
    ),
];

/// Columns that hold sealed values, as `(table, key, column)`.
const SEALED: [(&str, &str, &str); 11] = [
    ("hardware_tokens", "id", "sealed"),
    ("profiles", "person", "sealed"),
    ("push_subscriptions", "factor", "sealed"),
    ("streams", "id", "sealed"),
    ("factors", "id", "sealed"),
    ("sent_codes", "id", "sealed"),
    ("challenges", "id", "held_request"),
    ("tickets", "digest", "begun"),
    ("signing_keys", "id", "sealed"),
    ("pending_logins", "state", "sealed"),
    ("provider_logins", "session", "sealed"),
];

impl Database {
    /// Deletes what is over: codes, tickets, links, prompts, tokens, sessions, closed
    /// challenges, and what passed challenges hold that can no longer be spent. Gives
    /// how many rows went. In small transactions, so that nobody waits long; broken
    /// off, it goes on the next time.
    pub async fn purge(&self, now: Timestamp) -> Result<u64, ChangeError> {
        let mut purged = 0_u64;
        for (table, key, condition, kept) in OVER {
            let before =
                Timestamp::from_ms(now.as_ms().saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)));
            loop {
                let some = self.write(Purge { table, key, condition, before }, Vec::new()).await?;
                purged = purged.saturating_add(some);
                if some < PURGED_AT_ONCE.unsigned_abs() {
                    break;
                }
            }
        }
        let held = self.write(DropHeld { now }, Vec::new()).await?;
        Ok(purged.saturating_add(held))
    }

    /// Takes another keyring, for instance one with a new key in front. It must still
    /// open what is sealed now.
    pub fn replace_keyring(&self, keyring: Keyring) {
        self.inner.keyring.store(Arc::new(keyring));
    }

    /// Seals everything with the current key that was sealed with an older one; gives
    /// how many values that were. Broken off, it goes on where it was when it is
    /// called again: what is sealed anew already is passed over. Afterwards
    /// [`Keyring::only_current`] is enough on every node.
    pub async fn seal_anew(&self) -> Result<u64, ChangeError> {
        let mut sealed = 0_u64;
        for (table, key, column) in SEALED {
            let mut after = String::new();
            loop {
                let rows = self.sealed_values(table, key, column, &after).await?;
                let Some((last, _)) = rows.last() else { break };
                after.clone_from(last);
                let keyring = self.inner.keyring.load_full();
                let old: Vec<_> = rows.into_iter().filter(|(_, value)| !keyring.is_current(value)).collect();
                if !old.is_empty() {
                    sealed = sealed.saturating_add(self.write(SealAnew { table, key, column, old }, Vec::new()).await?);
                }
            }
        }
        Ok(sealed)
    }

    async fn sealed_values(
        &self,
        table: &'static str,
        key: &'static str,
        column: &'static str,
        after: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        read(async {
            let rows = sqlx::query(AssertSqlSafe(format!(
                "SELECT {key}, {column} FROM {table} WHERE {key} > $1 AND {column} IS NOT NULL ORDER BY {key} LIMIT $2"
            )))
            .bind(after)
            .bind(SEALED_AT_ONCE)
            .fetch_all(&self.inner.readers)
            .await
            .stored()?;
            let value = |row| {
                let fields = Fields::of(table, row);
                Ok((fields.text(key)?, fields.bytes(column)?))
            };
            rows.iter().map(value).collect()
        })
        .await
    }
}

struct Purge {
    table: &'static str,
    key: &'static str,
    condition: &'static str,
    before: Timestamp,
}

#[async_trait]
impl Intent for Purge {
    type Output = u64;

    async fn apply(&self, work: &mut Work<'_>) -> Result<u64, ChangeError> {
        let Self { table, key, condition, .. } = self;
        let sql = format!("DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {condition} LIMIT $2)");
        let purged = sqlx::query(AssertSqlSafe(sql))
            .bind(self.before.as_ms())
            .bind(PURGED_AT_ONCE)
            .execute(&mut *work.connection)
            .await
            .stored()?;
        Ok(purged.rows_affected())
    }
}

/// Held requests of challenges that were passed and can no longer be spent.
struct DropHeld {
    now: Timestamp,
}

#[async_trait]
impl Intent for DropHeld {
    type Output = u64;

    async fn apply(&self, work: &mut Work<'_>) -> Result<u64, ChangeError> {
        let dropped = sqlx::query(
            "UPDATE challenges SET held_request = NULL \
             WHERE state = 'passed' AND spend_before <= $1 AND held_request IS NOT NULL",
        )
        .bind(self.now.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
        Ok(dropped.rows_affected())
    }
}

struct SealAnew {
    table: &'static str,
    key: &'static str,
    column: &'static str,
    old: Vec<(String, Vec<u8>)>,
}

#[async_trait]
impl Intent for SealAnew {
    type Output = u64;

    async fn apply(&self, work: &mut Work<'_>) -> Result<u64, ChangeError> {
        let Self { table, key, column, old } = self;
        let mut sealed = 0_u64;
        for (row, value) in old {
            let plain = work.inner.open(table, column, row, value)?;
            let anew = work.seal(table, column, row, &plain)?;
            // Only in place of what was read: a value that changed meanwhile is sealed with the current key anyway.
            let sql = format!("UPDATE {table} SET {column} = $1 WHERE {key} = $2 AND {column} = $3");
            let updated = sqlx::query(AssertSqlSafe(sql))
                .bind(anew)
                .bind(row)
                .bind(value.as_slice())
                .execute(&mut *work.connection)
                .await
                .stored()?;
            sealed = sealed.saturating_add(updated.rows_affected());
        }
        Ok(sealed)
    }
}
