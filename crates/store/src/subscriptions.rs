//! How devices are woken.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stepgate_core::id::{FactorId, PersonId};
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::push::Subscription;
use stepgate_core::time::Timestamp;

use crate::approvals::AN_HOUR;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::people::take_active;
use crate::row::Fields;

/// How often a device may say within an hour where it is woken: each is an entry.
const CHANGES_PER_HOUR: u32 = 12;

/// What is sealed of a subscription.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    endpoint: String,
    key: String,
    secret: String,
    made_for: String,
}

impl Sealed {
    fn of(subscription: &Subscription) -> Self {
        Self {
            endpoint: subscription.endpoint.clone(),
            key: STANDARD.encode(subscription.key),
            secret: STANDARD.encode(subscription.secret),
            made_for: subscription.made_for.clone(),
        }
    }
}

/// The subscription in a row with `factor` and `sealed`.
fn subscription(inner: &Inner, fields: &Fields<'_>) -> Result<Subscription, StoreError> {
    let plain = inner.open("push_subscriptions", "sealed", fields.key(), &fields.bytes("sealed")?)?;
    let unreadable = || fields.corrupt("sealed cannot be read once opened");
    let sealed: Sealed = serde_json::from_slice(&plain).map_err(|_| unreadable())?;
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| unreadable());
    Ok(Subscription {
        key: bytes(&sealed.key)?.try_into().map_err(|_| unreadable())?,
        secret: bytes(&sealed.secret)?.try_into().map_err(|_| unreadable())?,
        endpoint: sealed.endpoint,
        made_for: sealed.made_for,
    })
}

pub(crate) struct Subscribe {
    pub(crate) person: PersonId,
    pub(crate) device: FactorId,
    pub(crate) subscription: Subscription,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for Subscribe {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let (person, device) = (self.person.to_string(), self.device.to_string());
        take_active(work, &person).await?;
        let there = sqlx::query("SELECT id FROM factors WHERE id = $1 AND person = $2 AND device IS NOT NULL")
            .bind(&device)
            .bind(&person)
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?;
        there.ok_or(ChangeError::Conflict)?;
        let (changed_from, changes) = self.one_more(work, &device).await?;
        let plain = serde_json::to_vec(&Sealed::of(&self.subscription)).map_err(unavailable)?;
        let sealed = work.seal("push_subscriptions", "sealed", &device, &plain)?;
        sqlx::query(
            "INSERT INTO push_subscriptions (factor, sealed, changed_from, changes) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (factor) DO UPDATE SET sealed = excluded.sealed, changed_from = excluded.changed_from, \
             changes = excluded.changes",
        )
        .bind(&device)
        .bind(sealed)
        .bind(changed_from.as_ms())
        .bind(i64::from(changes))
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map(|_| ())
    }
}

impl Subscribe {
    /// The hour in which changes are counted, and how many there are with this one.
    async fn one_more(&self, work: &mut Work<'_>, device: &str) -> Result<(Timestamp, u32), ChangeError> {
        let row = work
            .inner
            .backend
            .locked("SELECT factor, changed_from, changes FROM push_subscriptions WHERE factor = $1")
            .bind(device)
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?;
        let Some(row) = row else { return Ok((self.at, 1)) };
        let fields = Fields::of("push_subscriptions", &row);
        let (changed_from, changes) = (fields.time("changed_from")?, fields.count::<u32>("changes")?);
        if self.at >= changed_from.plus(AN_HOUR) {
            return Ok((self.at, 1));
        }
        if changes >= CHANGES_PER_HOUR {
            return Err(ChangeError::Limit("changes of how a device is woken, per hour"));
        }
        Ok((changed_from, changes.saturating_add(1)))
    }
}

pub(crate) struct Unsubscribe {
    pub(crate) device: FactorId,
    pub(crate) subscription: Subscription,
}

#[async_trait]
impl Intent for Unsubscribe {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let row = work
            .inner
            .backend
            .locked("SELECT factor, sealed FROM push_subscriptions WHERE factor = $1 AND sealed IS NOT NULL")
            .bind(self.device.to_string())
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?
            .ok_or(ChangeError::Conflict)?;
        if subscription(work.inner, &Fields::of("push_subscriptions", &row))? != self.subscription {
            return Err(ChangeError::Conflict);
        }
        // The row stays: it counts.
        sqlx::query("UPDATE push_subscriptions SET sealed = NULL WHERE factor = $1")
            .bind(self.device.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }
}

impl Inner {
    pub(crate) async fn subscriptions(&self, person: PersonId) -> Result<Vec<(FactorId, Subscription)>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT s.factor, s.sealed FROM push_subscriptions s JOIN factors f ON f.id = s.factor \
                 WHERE f.person = $1 AND s.sealed IS NOT NULL ORDER BY f.ordinal",
            )
            .bind(person.to_string())
            .fetch_all(&self.readers)
            .await
            .stored()?;
            let one = |row| {
                let fields = Fields::of("push_subscriptions", row);
                Ok((fields.id("factor")?, subscription(self, &fields)?))
            };
            rows.iter().map(one).collect()
        })
        .await
    }
}
