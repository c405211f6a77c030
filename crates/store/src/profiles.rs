//! What is usual for people: one sealed row each.

use async_trait::async_trait;
use stepgate_core::id::PersonId;
use stepgate_core::ports::{ChangeError, KeptProfile, ProfileFate, ProfileWrite, Profiles, StoreError};
use stepgate_core::time::Timestamp;

use crate::database::Database;
use crate::error::{Stored as _, unavailable};
use crate::inner::read;
use crate::intent::{Intent, Work};
use crate::people::take_person;
use crate::row::Fields;

struct KeepProfiles {
    batch: Vec<ProfileWrite>,
    at: Timestamp,
}

#[async_trait]
impl Intent for KeepProfiles {
    type Output = Vec<ProfileFate>;

    async fn apply(&self, work: &mut Work<'_>) -> Result<Vec<ProfileFate>, ChangeError> {
        // In the order of ids, as every batch that takes several people.
        let mut order: Vec<(usize, &ProfileWrite)> = self.batch.iter().enumerate().collect();
        order.sort_unstable_by_key(|(_, write)| write.person);
        let mut fates = Vec::with_capacity(order.len());
        for (at, write) in order {
            fates.push((at, self.keep(work, write).await?));
        }
        fates.sort_unstable_by_key(|(at, _)| *at);
        Ok(fates.into_iter().map(|(_, fate)| fate).collect())
    }
}

impl KeepProfiles {
    async fn keep(&self, work: &mut Work<'_>, write: &ProfileWrite) -> Result<ProfileFate, ChangeError> {
        let person = write.person.to_string();
        // The person's row is taken, so that nothing is kept of who is leaving at this moment.
        match take_person(work, &person).await {
            Ok(true) => {}
            Ok(false) | Err(ChangeError::Conflict) => return Ok(ProfileFate::Gone),
            Err(error) => return Err(error),
        }
        let sealed = work.seal("profiles", "sealed", &person, &write.kept.bytes)?;
        let next = i64::try_from(write.kept.version.saturating_add(1)).map_err(unavailable)?;
        let sql = match write.kept.version {
            0 => {
                "INSERT INTO profiles (person, version, changed_at, sealed) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (person) DO NOTHING"
            }
            _ => {
                "UPDATE profiles SET version = $2, changed_at = $3, sealed = $4 WHERE person = $1 AND version = $2 - 1"
            }
        };
        let kept = sqlx::query(sql)
            .bind(person)
            .bind(next)
            .bind(self.at.as_ms())
            .bind(sealed)
            .execute(&mut *work.connection)
            .await
            .stored()?;
        Ok(if kept.rows_affected() == 1 { ProfileFate::Kept } else { ProfileFate::Changed })
    }
}

/// Nothing is kept of who is out of service.
pub(crate) async fn forget(work: &mut Work<'_>, person: &str) -> Result<(), ChangeError> {
    sqlx::query("DELETE FROM profiles WHERE person = $1").bind(person).execute(&mut *work.connection).await.stored()?;
    Ok(())
}

#[async_trait]
impl Profiles for Database {
    async fn profile(&self, person: PersonId) -> Result<Option<KeptProfile>, StoreError> {
        let row = read(async {
            sqlx::query("SELECT person, version, sealed FROM profiles WHERE person = $1")
                .bind(person.to_string())
                .fetch_optional(&self.inner.readers)
                .await
                .stored()
        });
        let Some(row) = row.await? else { return Ok(None) };
        let fields = Fields::of("profiles", &row);
        let bytes = self.inner.open("profiles", "sealed", fields.key(), &fields.bytes("sealed")?)?;
        Ok(Some(KeptProfile { version: fields.count("version")?, bytes: bytes.to_vec() }))
    }

    async fn keep_profiles(&self, batch: Vec<ProfileWrite>, at: Timestamp) -> Result<Vec<ProfileFate>, StoreError> {
        self.write(KeepProfiles { batch, at }, Vec::new()).await.map_err(|error| match error {
            ChangeError::Store(error) => error,
            refused => unavailable(refused),
        })
    }
}
