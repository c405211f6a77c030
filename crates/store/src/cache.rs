//! Sessions in memory. An everyday request reads one lock-free map and no database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stepgate_core::id::{PersonId, SessionId};
use stepgate_core::secret::TokenDigest;
use stepgate_core::session::SessionView;
use stepgate_core::time::Timestamp;

use crate::options::{TOUCH_EVERY, TOUCHES_MAX};

/// A token's session, as it was loaded.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) view: Arc<SessionView>,
    /// When the token dies because it was succeeded.
    pub(crate) dies_at: Option<Timestamp>,
    pub(crate) idle: Duration,
    pub(crate) used: Arc<Used>,
}

/// When a session was last used, as this node knows, and as it wrote down.
#[derive(Debug)]
pub(crate) struct Used {
    last: AtomicI64,
    written: AtomicI64,
}

impl Used {
    pub(crate) fn last(&self) -> Timestamp {
        Timestamp::from_ms(self.last.load(Ordering::Relaxed))
    }
}

impl Cached {
    /// Whether the token's session lives at `now`, as far as is known here.
    pub(crate) fn lives(&self, now: Timestamp) -> bool {
        self.dies_at.is_none_or(|dies_at| now < dies_at)
            && now < self.view.ends_at
            && now < self.used.last().plus(self.idle)
    }
}

#[derive(Debug)]
pub(crate) struct Cache {
    tokens: papaya::HashMap<TokenDigest, Arc<Cached>>,
    sessions: papaya::HashMap<SessionId, Arc<Used>>,
    /// Which tokens belong to whom; not touched by reads.
    index: Mutex<Index>,
    /// Uses to be written down.
    touched: Mutex<HashMap<SessionId, Timestamp>>,
    /// Counts what was forgotten, so that what was loaded before is not kept after.
    epoch: AtomicU64,
    limit: usize,
}

#[derive(Debug, Default)]
struct Index {
    of_session: HashMap<SessionId, HashSet<TokenDigest>>,
    of_person: HashMap<PersonId, HashSet<SessionId>>,
}

/// What was forgotten up to the moment when a load began.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(u64);

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            tokens: papaya::HashMap::new(),
            sessions: papaya::HashMap::new(),
            index: Mutex::default(),
            touched: Mutex::default(),
            epoch: AtomicU64::new(0),
            limit: limit.max(1),
        }
    }

    pub(crate) fn find(&self, token: &TokenDigest) -> Option<Arc<Cached>> {
        self.tokens.pin().get(token).map(Arc::clone)
    }

    /// To be taken before a load begins.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Whether nothing was forgotten since: then what was loaded is still so.
    pub(crate) fn is_still(&self, epoch: Epoch) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch.0
    }

    /// The use of a session that was loaded: what memory knows may be newer than the row.
    pub(crate) fn used(&self, session: SessionId, last_used_at: Timestamp) -> Arc<Used> {
        let known = self.sessions.pin().get(&session).map(Arc::clone);
        let used = known.unwrap_or_else(|| {
            let at = last_used_at.as_ms();
            Arc::new(Used { last: AtomicI64::new(at), written: AtomicI64::new(at) })
        });
        let waiting = self.touched.lock().get(&session).copied().unwrap_or(last_used_at);
        used.last.fetch_max(last_used_at.max(waiting).as_ms(), Ordering::Relaxed);
        used
    }

    /// Keeps what was loaded, unless something was forgotten since the load began.
    pub(crate) fn keep(&self, token: TokenDigest, cached: Arc<Cached>, epoch: Epoch) {
        let mut index = self.index.lock();
        // Forgetting counts under this lock: from here on nothing slips in between.
        if !self.is_still(epoch) {
            return;
        }
        if self.tokens.len() >= self.limit {
            self.make_room(&mut index);
        }
        let (session, person) = (cached.view.id, cached.view.person.id);
        index.of_session.entry(session).or_default().insert(token);
        index.of_person.entry(person).or_default().insert(session);
        self.sessions.pin().insert(session, Arc::clone(&cached.used));
        self.tokens.pin().insert(token, cached);
    }

    /// Drops an eighth, whichever come first: they are loaded again when they are needed.
    fn make_room(&self, index: &mut Index) {
        let sessions: Vec<_> = index.of_session.keys().copied().take((self.limit / 8).max(1)).collect();
        for session in sessions {
            self.drop_session(index, session);
        }
    }

    fn drop_session(&self, index: &mut Index, session: SessionId) {
        let mut person = None;
        for token in index.of_session.remove(&session).unwrap_or_default() {
            if let Some(cached) = self.tokens.pin().remove(&token) {
                person = Some(cached.view.person.id);
            }
        }
        if let Some(used) = self.sessions.pin().remove(&session) {
            self.write_down(session, used);
        }
        if let Some(person) = person
            && let Some(sessions) = index.of_person.get_mut(&person)
        {
            sessions.remove(&session);
            if sessions.is_empty() {
                index.of_person.remove(&person);
            }
        }
    }

    pub(crate) fn forget_session(&self, session: SessionId) {
        let mut index = self.index.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.drop_session(&mut index, session);
    }

    pub(crate) fn forget_person(&self, person: PersonId) {
        let mut index = self.index.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let sessions = index.of_person.get(&person).cloned().unwrap_or_default();
        for session in sessions {
            self.drop_session(&mut index, session);
        }
    }

    pub(crate) fn forget_all(&self) {
        let mut index = self.index.lock();
        self.epoch.fetch_add(1, Ordering::AcqRel);
        *index = Index::default();
        self.tokens.pin().clear();
        self.sessions.pin().clear();
    }

    /// Notes a use. Written down at most once in [`TOUCH_EVERY`].
    pub(crate) fn touch(&self, session: SessionId, now: Timestamp) {
        let sessions = self.sessions.pin();
        let Some(used) = sessions.get(&session) else { return };
        used.last.fetch_max(now.as_ms(), Ordering::Relaxed);
        let written = used.written.load(Ordering::Relaxed);
        let due = Timestamp::from_ms(written).plus(TOUCH_EVERY);
        if now < due || used.written.compare_exchange(written, now.as_ms(), Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        self.note(session, now);
        self.show_use(session, now);
    }

    /// Views tell the last use to within a minute.
    fn show_use(&self, session: SessionId, now: Timestamp) {
        let index = self.index.lock();
        let tokens = self.tokens.pin();
        for token in index.of_session.get(&session).into_iter().flatten() {
            let Some(old) = tokens.get(token) else { continue };
            let view = SessionView { last_used_at: now, ..SessionView::clone(&old.view) };
            let used = Arc::clone(&old.used);
            let new = Cached { view: Arc::new(view), dies_at: old.dies_at, idle: old.idle, used };
            tokens.insert(*token, Arc::new(new));
        }
    }

    /// Keeps a use that only memory knows when memory forgets the session.
    fn write_down(&self, session: SessionId, used: &Used) {
        let last = used.last();
        if last.as_ms() > used.written.load(Ordering::Relaxed) {
            self.note(session, last);
        }
    }

    fn note(&self, session: SessionId, at: Timestamp) {
        let mut touched = self.touched.lock();
        if touched.len() < TOUCHES_MAX || touched.contains_key(&session) {
            touched.insert(session, at);
        }
    }

    /// The uses that are to be written down.
    pub(crate) fn take_touched(&self) -> Vec<(SessionId, Timestamp)> {
        std::mem::take(&mut *self.touched.lock()).into_iter().collect()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }
}
