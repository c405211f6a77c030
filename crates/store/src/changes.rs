//! What changed, told to those who cached it or wait for it, on this node at once
//! and on others within a second.
//!
//! Every batch numbers its changes under the ledger's head row, so a reader who has
//! seen number *n* has missed nothing before it. `NOTIFY` only wakes the reader
//! early; what it reads is the table.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::Row as _;
use sqlx::postgres::PgListener;
use stepgate_core::id::{ChallengeId, PersonId, SessionId};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::backend::{Backend, StoreUrl};
use crate::inner::Inner;
use crate::ledger;
use crate::options::{CHANGES_AT_ONCE, POLL_TIMEOUT};

/// What a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Session(SessionId),
    Person(PersonId),
    Challenge(ChallengeId),
    /// More than could be named one by one.
    Anything,
}

impl Subject {
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Person(_) => "person",
            Self::Challenge(_) => "challenge",
            Self::Anything => "anything",
        }
    }

    pub(crate) fn id(self) -> String {
        match self {
            Self::Session(id) => id.to_string(),
            Self::Person(id) => id.to_string(),
            Self::Challenge(id) => id.to_string(),
            Self::Anything => String::new(),
        }
    }

    fn read(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "session" => id.parse().ok().map(Self::Session),
            "person" => id.parse().ok().map(Self::Person),
            "challenge" => id.parse().ok().map(Self::Challenge),
            "anything" => Some(Self::Anything),
            _ => None,
        }
    }
}

/// Those who wait for changes. What nobody waits for takes no room.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<HashMap<Subject, Waited>>,
}

#[derive(Debug)]
struct Waited {
    notify: Arc<Notify>,
    by: usize,
}

/// One who waits. Whoever drops it does not wait any more.
pub(crate) struct Wait<'w> {
    waiters: &'w Waiters,
    subject: Subject,
    pub(crate) notify: Arc<Notify>,
}

impl Waiters {
    pub(crate) fn wait_for(&self, subject: Subject) -> Wait<'_> {
        let mut waiting = self.waiting.lock();
        let waited = waiting.entry(subject).or_insert_with(|| Waited { notify: Arc::default(), by: 0 });
        waited.by = waited.by.saturating_add(1);
        Wait { waiters: self, subject, notify: Arc::clone(&waited.notify) }
    }

    fn wake(&self, subject: Subject) {
        if let Some(waited) = self.waiting.lock().get(&subject) {
            waited.notify.notify_waiters();
        }
    }

    fn wake_all(&self) {
        self.waiting.lock().values().for_each(|waited| waited.notify.notify_waiters());
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().len()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiters.waiting.lock();
        if let Some(waited) = waiting.get_mut(&self.subject) {
            waited.by = waited.by.saturating_sub(1);
            if waited.by == 0 {
                waiting.remove(&self.subject);
            }
        }
    }
}

impl Inner {
    /// Tells this node what was committed. Called before whoever asked for it is answered.
    pub(crate) fn announce(&self, changes: &[Subject], size: Option<u64>) {
        for subject in changes {
            match subject {
                Subject::Session(session) => self.cache.forget_session(*session),
                Subject::Person(person) => self.cache.forget_person(*person),
                Subject::Challenge(_) => {}
                Subject::Anything => self.announce_anything(),
            }
            self.waiters.wake(*subject);
        }
        if let Some(size) = size {
            self.grown_to(size);
        }
    }

    fn grown_to(&self, size: u64) {
        self.size.send_if_modified(|known| {
            let grown = size > *known;
            *known = size.max(*known);
            grown
        });
    }

    /// Forgets and wakes everything: for when it is not known what changed.
    fn announce_anything(&self) {
        self.cache.forget_all();
        self.waiters.wake_all();
    }

    /// Reads what other nodes changed since `seen`; gives the number that was seen last.
    async fn catch_up(&self, seen: i64) -> Result<i64, sqlx::Error> {
        let head = ledger::head(&self.readers).await?;
        self.grown_to(head.frontier.size());
        let mut seen = seen;
        while seen < head.change_number {
            let rows = sqlx::query(
                "SELECT number, subject_kind, subject, instance FROM changes WHERE number > $1 ORDER BY number LIMIT $2",
            )
            .bind(seen)
            .bind(CHANGES_AT_ONCE)
            .fetch_all(&self.readers)
            .await?;
            let Some(first) = rows.first() else {
                // They were removed: too long ago for this node to have heard of them.
                self.announce_anything();
                return Ok(head.change_number);
            };
            if first.try_get::<i64, _>("number")? > seen.saturating_add(1) {
                self.announce_anything();
            }
            for row in rows {
                seen = row.try_get("number")?;
                if row.try_get::<String, _>("instance")? == self.instance {
                    continue;
                }
                let (kind, id): (String, String) = (row.try_get("subject_kind")?, row.try_get("subject")?);
                match Subject::read(&kind, &id) {
                    Some(subject) => self.announce(&[subject], None),
                    None => self.announce_anything(),
                }
            }
        }
        Ok(seen)
    }
}

/// Follows other nodes' changes for as long as the store is open. Every success is
/// a heartbeat of the database.
pub(crate) async fn follow(inner: Arc<Inner>, seen: i64) {
    let mut seen = seen;
    loop {
        match timeout(POLL_TIMEOUT, inner.catch_up(seen)).await {
            Ok(Ok(now_seen)) => {
                seen = now_seen;
                inner.in_touch();
            }
            Ok(Err(error)) => tracing::warn!(error = %error, "other nodes' changes cannot be read"),
            Err(_) => tracing::warn!("other nodes' changes cannot be read: the database does not answer"),
        }
        let woken = inner.wake_follower.notified();
        let _ = timeout(inner.options.poll_every, woken).await;
    }
}

/// Notices when the database has not answered for `stale_for`. It counts what a
/// timer counts, so a jump of the wall clock changes nothing.
pub(crate) async fn watch_over(inner: Arc<Inner>) {
    loop {
        let touch = timeout(inner.options.stale_for, inner.touch.notified()).await;
        let out_of_touch = touch.is_err();
        if out_of_touch && !inner.out_of_touch.swap(true, Ordering::AcqRel) {
            tracing::error!("the database has not answered for too long: known sessions are not served from memory");
            inner.waiters.wake_all();
        }
    }
}

impl Inner {
    fn in_touch(&self) {
        self.touch.notify_one();
        if self.out_of_touch.swap(false, Ordering::AcqRel) {
            tracing::info!("the database answers again");
        }
    }
}

/// On PostgreSQL: wakes [`follow`] as soon as another node says that it changed something.
pub(crate) async fn listen(inner: Arc<Inner>, url: StoreUrl) {
    const AGAIN_AFTER: Duration = Duration::from_secs(2);
    if url.backend() != Backend::Postgres {
        return;
    }
    loop {
        if let Err(error) = listen_once(&inner, &url).await {
            tracing::warn!(error = %error, "notifications of changes are not heard; they are looked for instead");
        }
        sleep(AGAIN_AFTER).await;
    }
}

async fn listen_once(inner: &Inner, url: &StoreUrl) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(&url.exposed()).await?;
    listener.listen("stepgate_changes").await?;
    loop {
        listener.recv().await?;
        inner.wake_follower.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_by_their_subject_alone_and_takes_no_room_afterwards() {
        let waiters = Waiters::default();
        let (one, other) =
            (Subject::Session(SessionId::from_bytes([1; 16])), Subject::Challenge(ChallengeId::from_bytes([1; 16])));
        {
            let (first, second) = (waiters.wait_for(one), waiters.wait_for(one));
            let elsewhere = waiters.wait_for(other);
            assert_eq!(waiters.len(), 2);
            let mut woken = [&first, &second, &elsewhere].map(|wait| Box::pin(wait.notify.notified()));
            woken.iter_mut().for_each(|wait| {
                wait.as_mut().enable();
            });
            waiters.wake(one);
            let [first, second, elsewhere] = &mut woken;
            first.await;
            second.await;
            assert!(!elsewhere.as_mut().enable(), "nobody woke it");
        }
        assert_eq!(waiters.len(), 0);
    }
}
