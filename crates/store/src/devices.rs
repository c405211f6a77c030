//! The devices of a person: named, and forgotten.

use async_trait::async_trait;
use stepgate_core::id::PersonId;
use stepgate_core::ports::{ChangeError, RememberedDevice, StoreError};
use stepgate_core::secret::TokenDigest;

use crate::changes::Subject;
use crate::error::{ExactlyOne as _, Stored as _};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::row::Fields;

pub(crate) struct NameDevice {
    pub(crate) person: PersonId,
    pub(crate) device: TokenDigest,
    pub(crate) name: String,
}

#[async_trait]
impl Intent for NameDevice {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query("UPDATE devices SET name = $1 WHERE person = $2 AND device = $3")
            .bind(&self.name)
            .bind(self.person.to_string())
            .bind(self.device.to_hex())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        work.changed(Subject::Person(self.person));
        Ok(())
    }
}

pub(crate) struct ForgetDevice {
    pub(crate) person: PersonId,
    pub(crate) device: TokenDigest,
}

#[async_trait]
impl Intent for ForgetDevice {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let (person, device) = (self.person.to_string(), self.device.to_hex());
        sqlx::query("DELETE FROM devices WHERE person = $1 AND device = $2")
            .bind(&person)
            .bind(&device)
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        // Its wrong tries are a stranger's from now on.
        sqlx::query("DELETE FROM try_lanes WHERE person = $1 AND whom = 'device' AND id LIKE $2")
            .bind(&person)
            .bind(format!("% {device}"))
            .execute(&mut *work.connection)
            .await
            .stored()?;
        work.changed(Subject::Person(self.person));
        Ok(())
    }
}

impl Inner {
    pub(crate) async fn devices(&self, person: PersonId) -> Result<Vec<RememberedDevice>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT device, first_seen_at, last_used_at, name, agent FROM devices WHERE person = $1 \
                 ORDER BY last_used_at DESC, device",
            )
            .bind(person.to_string())
            .fetch_all(&self.readers)
            .await
            .stored()?;
            let device = |row| {
                let fields = Fields::of("devices", row);
                Ok(RememberedDevice {
                    device: fields.digest("device")?,
                    first_seen: fields.time("first_seen_at")?,
                    last_used: fields.time("last_used_at")?,
                    name: fields.text("name")?,
                    agent: fields.text("agent")?,
                })
            };
            rows.iter().map(device).collect()
        })
        .await
    }
}
