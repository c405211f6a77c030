//! From an identity at a provider to its person: memory first, then the database.

use std::sync::Arc;

use stepgate_core::id::PersonId;
use stepgate_core::ports::{KnownPerson, StoreError};
use tokio::time::timeout;

use crate::changes::Subject;
use crate::database::Database;
use crate::inner::read;
use crate::options::ENDED_BY_TIME_EVERY;

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
        let known = Arc::new(KnownPerson { person: Arc::new(person), enrolled, risks });
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
