//! Sessions in memory. An everyday request reads one lock-free map and no database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use stepgate_core::id::{PersonId, SessionId};
use stepgate_core::ports::KnownPerson;
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
    /// Who is known by which identity at a provider.
    known: papaya::HashMap<[u8; 32], Arc<KnownPerson>>,
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
    identities: HashMap<PersonId, HashSet<[u8; 32]>>,
}

/// What was forgotten up to the moment when a load began.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(u64);

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            tokens: papaya::HashMap::new(),
            sessions: papaya::HashMap::new(),
            known: papaya::HashMap::new(),
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

    pub(crate) fn find_known(&self, identity: &[u8; 32]) -> Option<Arc<KnownPerson>> {
        self.known.pin().get(identity).map(Arc::clone)
    }

    /// Keeps who is known by an identity, unless something was forgotten since the load began.
    pub(crate) fn keep_known(&self, identity: [u8; 32], known: &Arc<KnownPerson>, epoch: Epoch) {
        let mut index = self.index.lock();
        if !self.is_still(epoch) {
            return;
        }
        if self.known.len() >= self.limit {
            let people: Vec<_> = index.identities.keys().copied().take((self.limit / 8).max(1)).collect();
            people.into_iter().for_each(|person| self.drop_known(&mut index, person));
        }
        index.identities.entry(known.person.id).or_default().insert(identity);
        self.known.pin().insert(identity, Arc::clone(known));
    }

    fn drop_known(&self, index: &mut Index, person: PersonId) {
        let known = self.known.pin();
        for identity in index.identities.remove(&person).unwrap_or_default() {
            known.remove(&identity);
        }
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
        self.drop_known(&mut index, person);
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
        self.known.pin().clear();
    }

    /// Notes a use. Written down at most once in [`TOUCH_EVERY`].
    pub(crate) fn touch(&self, session: SessionId, now: Timestamp) {
        let sessions = self.sessions.pin();
        let Some(used) = sessions.get(&session) else { return };
        used.last.fetch_max(now.as_ms(), Ordering::Relaxed);
        let written = used.written.load(Ordering::Relaxed);
        let due = Timestamp::from_ms(written).plus(TOUCH_EVERY);
        if now < due
            || used.written.compare_exchange(written, now.as_ms(), Ordering::Relaxed, Ordering::Relaxed).is_err()
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

#[cfg(test)]
mod tests {
    use stepgate_core::person::{Login, Person};
    use stepgate_core::session::{Assurance, Audience, Device};

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn digest(number: u32) -> TokenDigest {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        TokenDigest(bytes)
    }

    fn session(number: u32) -> SessionId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        SessionId::from_bytes(bytes)
    }

    fn loaded(cache: &Cache, number: u32, person: u8) -> Arc<Cached> {
        let person = Person {
            id: PersonId::from_bytes([person; 16]),
            login: Login::parse("alice").unwrap(),
            name: String::new(),
            email: String::new(),
            groups: Vec::new(),
            active: true,
        };
        let view = SessionView {
            id: session(number),
            person: Arc::new(person),
            audience: Audience::Gate,
            generation: 1,
            newest_generation: 1,
            assurance: Assurance::default(),
            enrolled: Arc::new([]),
            providers: Arc::new([]),
            risks: Arc::new([]),
            started_at: at(0),
            last_used_at: at(0),
            ends_at: at(1_000_000),
            browser: None,
            device: Device::default(),
            address: [192, 0, 2, 1].into(),
            country: String::new(),
            agent: String::new(),
            token_reused: false,
        };
        let used = cache.used(session(number), at(0));
        Arc::new(Cached { view: Arc::new(view), dies_at: None, idle: Duration::from_millis(100_000), used })
    }

    fn keep(cache: &Cache, number: u32, person: u8) {
        cache.keep(digest(number), loaded(cache, number, person), cache.epoch());
    }

    #[test]
    fn it_never_holds_more_than_its_limit() {
        let cache = Cache::new(100);
        for number in 0..1_000 {
            keep(&cache, number, 1);
            assert!(cache.len() <= 100, "{}", cache.len());
        }
        assert!(cache.find(&digest(999)).is_some());
        let index = cache.index.lock();
        assert!(index.of_session.len() <= 100 && cache.sessions.len() <= 100);
        assert!(index.of_person.values().all(|sessions| sessions.len() <= 100));
    }

    #[test]
    fn what_was_loaded_before_something_was_forgotten_is_not_kept() {
        let cache = Cache::new(100);
        let epoch = cache.epoch();
        let stale = loaded(&cache, 1, 1);
        cache.forget_session(session(1));
        cache.keep(digest(1), stale, epoch);
        assert!(cache.find(&digest(1)).is_none());
    }

    #[test]
    fn forgetting_a_person_forgets_all_their_sessions_and_no_other() {
        let cache = Cache::new(100);
        for (number, person) in [(1, 1), (2, 1), (3, 2)] {
            keep(&cache, number, person);
        }
        cache.forget_person(PersonId::from_bytes([1; 16]));
        assert!(cache.find(&digest(1)).is_none() && cache.find(&digest(2)).is_none());
        assert!(cache.find(&digest(3)).is_some());
        cache.forget_all();
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn who_is_known_by_an_identity_is_forgotten_with_the_person_and_never_more_than_the_limit() {
        let cache = Cache::new(100);
        let known = |person: u8| {
            let view = &loaded(&cache, 0, person).view;
            Arc::new(KnownPerson {
                person: Arc::clone(&view.person),
                enrolled: Arc::clone(&view.enrolled),
                risks: Arc::new([]),
                tokens_after: None,
            })
        };
        let identity = |number: u8| [number; 32];
        let stale = cache.epoch();
        for (number, person) in [(1, 1), (2, 1), (3, 2)] {
            cache.keep_known(identity(number), &known(person), cache.epoch());
        }
        cache.forget_person(PersonId::from_bytes([1; 16]));
        assert!(cache.find_known(&identity(1)).is_none() && cache.find_known(&identity(2)).is_none());
        assert!(cache.find_known(&identity(3)).is_some());
        cache.keep_known(identity(1), &known(1), stale);
        assert!(cache.find_known(&identity(1)).is_none(), "it was loaded before something was forgotten");
        for number in 0..200 {
            cache.keep_known(identity(number), &known(number), cache.epoch());
            assert!(cache.known.len() <= 100, "{}", cache.known.len());
        }
        cache.forget_all();
        assert_eq!((cache.known.len(), cache.index.lock().identities.len()), (0, 0));
    }

    #[test]
    fn uses_are_written_down_at_most_once_a_minute_and_survive_forgetting() {
        let cache = Cache::new(100);
        keep(&cache, 1, 1);
        for second in 0..59 {
            cache.touch(session(1), at(second * 1_000));
        }
        assert!(cache.take_touched().is_empty());
        cache.touch(session(1), at(60_000));
        cache.touch(session(1), at(61_000));
        assert_eq!(cache.take_touched(), [(session(1), at(60_000))]);
        assert_eq!(cache.find(&digest(1)).unwrap().view.last_used_at, at(60_000));
        assert!(cache.find(&digest(1)).unwrap().lives(at(160_999)));
        assert!(!cache.find(&digest(1)).unwrap().lives(at(161_000)));
        cache.touch(session(1), at(90_000));
        cache.forget_session(session(1));
        assert_eq!(cache.used(session(1), at(60_000)).last(), at(90_000));
        assert_eq!(cache.take_touched(), [(session(1), at(90_000))]);
    }
}
