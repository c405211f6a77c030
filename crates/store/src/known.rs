//! From an identity at a provider to its person: memory first, then the database.

use std::sync::Arc;

use stepgate_core::id::PersonId;
use stepgate_core::ports::{ChangeError, KnownPerson, StoreError};
use stepgate_core::time::Timestamp;
use tokio::time::timeout;

use crate::changes::Subject;
use crate::database::Database;
use crate::error::Stored as _;
use crate::inner::{Inner, read};
use crate::intent::Work;
use crate::options::ENDED_BY_TIME_EVERY;
use crate::row::Fields;

impl Database {
    pub(crate) async fn known_by(&self, identity: [u8; 32]) -> Result<Option<Arc<KnownPerson>>, StoreError> {
        let inner = &self.inner;
        if let Some(known) = inner.cache.find_known(&identity) {
            inner.may_serve_from_memory()?;
            return Ok(Some(known));
        }
        let epoch = inner.cache.epoch();
        let Some((id, _)) = inner.person_by_identity(identity).await? else { return Ok(None) };
        let Some(person) = inner.person(id).await?.filter(|person| person.active) else { return Ok(None) };
        let (enrolled, _) = inner.enrolled_now(id).await?;
        let risks = read(inner.risks(id, None, inner.clock.now())).await?.into();
        let tokens_after = inner.tokens_after(id).await?;
        let known = Arc::new(KnownPerson { person: Arc::new(person), enrolled, risks, tokens_after });
        inner.cache.keep_known(identity, &known, epoch);
        Ok(Some(known))
    }

    pub(crate) async fn person_changed(&self, person: PersonId) {
        let inner = &self.inner;
        let waiting = inner.waiters.wait_for(Subject::Person(person));
        let mut changed = std::pin::pin!(waiting.notify.notified());
        changed.as_mut().enable();
        // Who changed before that is not waited for: they are looked at once.
        loop {
            match inner.person(person).await {
                Ok(Some(known)) if known.active => {}
                Ok(_) => return,
                Err(_) if inner.may_serve_from_memory().is_err() => return,
                Err(_) => {}
            }
            if timeout(ENDED_BY_TIME_EVERY, &mut changed).await.is_ok() {
                return;
            }
        }
    }
}

impl Inner {
    /// The moment before which a person's access tokens were issued that are worth nothing.
    async fn tokens_after(&self, person: PersonId) -> Result<Option<Timestamp>, StoreError> {
        read(async {
            let row = sqlx::query("SELECT id, tokens_after FROM people WHERE id = $1")
                .bind(person.to_string())
                .fetch_optional(&self.readers)
                .await
                .stored()?;
            row.map_or(Ok(None), |row| Fields::of("people", &row).maybe_time("tokens_after"))
        })
        .await
    }
}

/// Ends what a person's access tokens could do that were issued until now: nobody can say which of them
/// came of a session that ended, so all did. Their row is taken.
pub(crate) async fn end_tokens(work: &mut Work<'_>, person: PersonId, at: Timestamp) -> Result<(), ChangeError> {
    sqlx::query("UPDATE people SET tokens_after = $1 WHERE id = $2 AND (tokens_after IS NULL OR tokens_after < $1)")
        .bind(at.as_ms())
        .bind(person.to_string())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    work.changed(Subject::Person(person));
    Ok(())
}
