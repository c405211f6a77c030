//! What is fetched from an issuer, kept, and fetched again: its keys, its metadata.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use parking_lot::Mutex;
use stepgate_core::time::Timestamp;

/// Younger than this, what is held is used as it is.
pub const FRESH_FOR: Duration = Duration::from_secs(15 * 60);
/// Younger than this, it is used while it is fetched again; older, it is fetched first.
pub const USED_WHILE_FETCHED_FOR: Duration = Duration::from_secs(60 * 60);
/// While the issuer cannot be reached, it is used until it is this old, and no longer.
pub const STALE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two calls of the issuer lies at least this, whatever is asked for.
pub const COOLDOWN: Duration = Duration::from_secs(10);

/// How it is fetched.
#[async_trait]
pub(crate) trait Fetch: Send + Sync + fmt::Debug + 'static {
    type Item: Send + Sync + fmt::Debug;
    type Error: Clone + Send + Sync + fmt::Debug + fmt::Display;

    async fn fetch(&self) -> Result<Self::Item, Self::Error>;

    /// Whether what was fetched is what was held.
    fn is_same(held: &Self::Item, fetched: &Self::Item) -> bool;
}

/// Something that is fetched when it is first needed. Cloning it shares it.
#[derive(Debug)]
pub(crate) struct Refreshed<F: Fetch>(Arc<Shared<F>>);

impl<F: Fetch> Clone for Refreshed<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Shared<F: Fetch> {
    from: F,
    held: ArcSwapOption<Held<F::Item>>,
    /// When the issuer was last called, in milliseconds; `i64::MIN`: never.
    called: AtomicI64,
    /// What came of that, if nothing did.
    failed: Mutex<Option<F::Error>>,
    /// Held by whoever calls the issuer; the others wait for what that brings.
    calling: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Held<T> {
    item: T,
    at: Timestamp,
    /// The same as long as what is fetched is.
    generation: u64,
}

impl<T> Held<T> {
    /// A clock that was set back makes it old: it is fetched again.
    fn age(&self, now: Timestamp) -> Duration {
        now.since(self.at).unwrap_or(USED_WHILE_FETCHED_FOR + Duration::from_millis(1))
    }
}

/// Nothing was found.
#[derive(Clone, Debug)]
pub(crate) enum NotFound<E> {
    /// It is not there, and a newer one would not be asked for yet.
    Absent,
    /// Nothing is held that is young enough, and this is why.
    Away(E),
}

impl<F: Fetch> Refreshed<F> {
    pub(crate) fn new(from: F) -> Self {
        Self(Arc::new(Shared {
            from,
            held: ArcSwapOption::empty(),
            called: AtomicI64::new(i64::MIN),
            failed: Mutex::new(None),
            calling: tokio::sync::Mutex::new(()),
        }))
    }

    pub(crate) fn from(&self) -> &F {
        &self.0.from
    }

    /// Whether these share what is held.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What `look` finds. `None` of it makes what is held be fetched again, if that was not
    /// done a moment ago.
    pub(crate) async fn find<T>(
        &self,
        now: Timestamp,
        look: impl Fn(&F::Item) -> Option<T>,
    ) -> Result<T, NotFound<F::Error>> {
        let held = self.0.held.load_full();
        if let Some(found) = self.at_hand(now, |held| look(&held.item)) {
            return Ok(found);
        }
        let failed = self.fetch(held, now).await.err();
        match (self.0.held.load().as_deref(), failed) {
            (Some(held), _) if held.age(now) <= STALE_FOR => look(&held.item).ok_or(NotFound::Absent),
            (_, Some(why)) => Err(NotFound::Away(why)),
            // What is held is too old, and nobody said why it is not newer.
            (_, None) => Err(NotFound::Absent),
        }
    }

    /// Counts what was had; zero: nothing was.
    pub(crate) fn generation(&self) -> u64 {
        self.0.held.load().as_ref().map_or(0, |held| held.generation)
    }

    /// Whether what is held is of that generation, and may be used without asking first.
    pub(crate) fn still_is(&self, generation: u64, now: Timestamp) -> bool {
        self.at_hand(now, |held| (held.generation == generation).then_some(())).is_some()
    }

    /// What `look` finds in what is held, if that may be used without asking first.
    pub(crate) fn find_at_hand<T>(&self, now: Timestamp, look: impl Fn(&F::Item) -> Option<T>) -> Option<T> {
        self.at_hand(now, |held| look(&held.item))
    }

    /// The same; what is old is fetched again beside.
    fn at_hand<T>(&self, now: Timestamp, look: impl Fn(&Held<F::Item>) -> Option<T>) -> Option<T> {
        let held = self.0.held.load();
        let held = held.as_ref()?;
        let age = held.age(now);
        if age > USED_WHILE_FETCHED_FOR {
            return None;
        }
        let found = look(held)?;
        if age > FRESH_FOR && self.0.may_call(now) {
            self.fetch_beside(Arc::clone(held), now);
        }
        Some(found)
    }

    /// Fetches in a task of its own: who waits may go away (a browser that hangs up) without
    /// breaking off what others wait for, and without spending the cooldown for nothing.
    async fn fetch(&self, seen: Option<Arc<Held<F::Item>>>, now: Timestamp) -> Result<(), F::Error> {
        let shared = Arc::clone(&self.0);
        let task = tokio::spawn(async move { shared.fetch(seen.as_ref(), now).await });
        // A task that ended without an answer, at shutdown, brought nothing.
        task.await.unwrap_or(Ok(()))
    }

    /// Fetches without anybody waiting for it.
    fn fetch_beside(&self, seen: Arc<Held<F::Item>>, now: Timestamp) {
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            if let Err(why) = shared.fetch(Some(&seen), now).await {
                tracing::warn!(%why, "what an issuer publishes cannot be fetched again; what is held goes on for a while");
            }
        });
    }
}

impl<F: Fetch> Shared<F> {
    fn may_call(&self, now: Timestamp) -> bool {
        let called = self.called.load(Ordering::Relaxed);
        called == i64::MIN || now.since(Timestamp::from_ms(called)).is_none_or(|age| age >= COOLDOWN)
    }

    /// Fetches, unless somebody did since `seen` was seen. A moment after an attempt, what
    /// came of that is said again.
    async fn fetch(&self, seen: Option<&Arc<Held<F::Item>>>, now: Timestamp) -> Result<(), F::Error> {
        let _one = self.calling.lock().await;
        let held = self.held.load_full();
        if held.as_ref().map(Arc::as_ptr) != seen.map(Arc::as_ptr) {
            return Ok(());
        }
        if !self.may_call(now) {
            return self.failed.lock().clone().map_or(Ok(()), Err);
        }
        self.called.store(now.as_ms(), Ordering::Relaxed);
        match self.from.fetch().await {
            Ok(item) => {
                let generation = match &held {
                    Some(held) if F::is_same(&held.item, &item) => held.generation,
                    Some(held) => held.generation.wrapping_add(1),
                    None => 1,
                };
                self.held.store(Some(Arc::new(Held { item, at: now, generation })));
                *self.failed.lock() = None;
                Ok(())
            }
            Err(why) => {
                *self.failed.lock() = Some(why.clone());
                Err(why)
            }
        }
    }
}
