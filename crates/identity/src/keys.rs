//! The keys with which an issuer signs.
//!
//! They are fetched from its `jwks_uri` when they are first needed, kept, and fetched
//! again when they grow old or a token names a key that is not among them. What is
//! fetched replaces what was held, so a key that the issuer took back is gone.

mod key;
mod set;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use stepgate_core::time::Timestamp;
use url::Url;

use crate::http::{Http, HttpError};

pub use key::{Algorithm, BadSignature, Key, NotAnAlgorithm};
pub use set::{KEYS_MAX, KeySet, NotAKeySet};

/// Younger than this, keys are used as they are.
pub const FRESH_FOR: Duration = Duration::from_secs(15 * 60);
/// Younger than this, they are used while they are fetched again; older, they are fetched first.
pub const USED_WHILE_FETCHED_FOR: Duration = Duration::from_secs(60 * 60);
/// While the issuer cannot be reached, they are used until they are this old, and no longer.
pub const STALE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two calls of the issuer lies at least this, whatever tokens name.
pub const COOLDOWN: Duration = Duration::from_secs(10);

/// Why no key can be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The issuer has no such key.
    #[error("the issuer has no key {}", .id.as_deref().unwrap_or("without a name"))]
    Unknown {
        /// What the token called it.
        id: Option<String>,
    },
    /// It is there, and not for this: its type, curve, `alg`, `use` or `key_ops` says so.
    #[error("the key is not for {algorithm}")]
    NotForThis {
        /// What it was wanted for.
        algorithm: Algorithm,
    },
    /// It is there, and is not used by anybody careful.
    #[error("the key is refused: {why}")]
    Refused {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Several keys could be meant.
    #[error("several keys could be meant")]
    Ambiguous,
    /// The keys cannot be had from the issuer, and none are held that are young enough.
    #[error("the issuer's keys cannot be had: {0}")]
    Away(String),
}

impl KeyError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "key_unknown",
            Self::NotForThis { .. } => "key_not_for_this",
            Self::Refused { .. } => "key_refused",
            Self::Ambiguous => "key_ambiguous",
            Self::Away(_) => "keys_away",
        }
    }
}

/// The keys of one issuer. Cloning it shares them.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: Source,
    held: ArcSwapOption<Held>,
    /// When the issuer was last called, in milliseconds; `i64::MIN`: never.
    called: AtomicI64,
    /// Held by whoever calls the issuer; the others wait for what that brings.
    calling: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Source {
    Fixed,
    Issuer { http: Http, url: Url },
}

#[derive(Debug)]
struct Held {
    keys: KeySet,
    at: Timestamp,
    /// The same as long as what is fetched is.
    generation: u64,
}

impl Keys {
    /// The keys at this `jwks_uri`; nothing is fetched yet.
    pub fn at(http: Http, url: Url) -> Self {
        Self::with(Source::Issuer { http, url }, None)
    }

    /// Keys that were handed over and never change.
    pub fn fixed(keys: KeySet) -> Self {
        Self::with(Source::Fixed, Some(Arc::new(Held { keys, at: Timestamp::from_ms(0), generation: 0 })))
    }

    fn with(source: Source, held: Option<Arc<Held>>) -> Self {
        let called = AtomicI64::new(i64::MIN);
        Self(Arc::new(Shared { source, held: ArcSwapOption::new(held), called, calling: tokio::sync::Mutex::new(()) }))
    }

    /// Where they are fetched from; `None` if they are fixed.
    pub fn url(&self) -> Option<&Url> {
        match &self.0.source {
            Source::Fixed => None,
            Source::Issuer { url, .. } => Some(url),
        }
    }

    /// The key that a token names, for this algorithm. A token that names none means the
    /// only one that there is for the algorithm.
    ///
    /// # Errors
    ///
    /// [`KeyError`]. `Unknown` was asked of the issuer, unless that was done less than
    /// [`COOLDOWN`] ago.
    pub async fn key_for(&self, id: Option<&str>, algorithm: Algorithm, now: Timestamp) -> Result<Arc<Key>, KeyError> {
        let Source::Issuer { http, url } = &self.0.source else {
            return match self.0.held.load().as_deref() {
                Some(held) => held.keys.find(id, algorithm),
                None => Err(KeyError::Unknown { id: id.map(String::from) }),
            };
        };
        let held = self.0.held.load_full();
        if let Some(held) = &held {
            let age = held.age(now);
            if age <= USED_WHILE_FETCHED_FOR {
                match held.keys.find(id, algorithm) {
                    Err(KeyError::Unknown { .. }) => {}
                    found => {
                        if age > FRESH_FOR && self.0.may_call(now) {
                            self.fetch_beside(now);
                        }
                        return found;
                    }
                }
            }
        }
        let away = self.0.fetch(http, url, held.as_ref(), now).await.err();
        match (self.0.held.load().as_deref(), away) {
            (Some(held), _) if held.age(now) <= STALE_FOR => held.keys.find(id, algorithm),
            (_, Some(why)) => Err(KeyError::Away(why)),
            (..) => Err(KeyError::Away(String::from("the last attempt failed a moment ago"))),
        }
    }

    /// Counts the sets of keys that were had.
    pub fn generation(&self) -> u64 {
        self.0.held.load().as_ref().map_or(0, |held| held.generation)
    }

    /// Whether these are the keys that were had in that generation, and may be used without
    /// asking first. Old ones are fetched again beside, so that a key that the issuer took
    /// back is gone also where all that comes was verified before.
    pub fn still_are(&self, generation: u64, now: Timestamp) -> bool {
        let held = self.0.held.load();
        let Some(held) = held.as_ref() else { return false };
        if matches!(self.0.source, Source::Fixed) {
            return held.generation == generation;
        }
        let age = held.age(now);
        if age > FRESH_FOR && age <= USED_WHILE_FETCHED_FOR && self.0.may_call(now) {
            self.fetch_beside(now);
        }
        held.generation == generation && age <= USED_WHILE_FETCHED_FOR
    }

    /// Fetches without anybody waiting for it.
    fn fetch_beside(&self, now: Timestamp) {
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let Source::Issuer { http, url } = &shared.source else { return };
            let seen = shared.held.load_full();
            if let Err(why) = shared.fetch(http, url, seen.as_ref(), now).await {
                tracing::warn!(
                    why,
                    "the keys of an issuer cannot be fetched again; those that are held go on for a while"
                );
            }
        });
    }
}

impl Held {
    /// A clock that was set back makes keys old: they are fetched again.
    fn age(&self, now: Timestamp) -> Duration {
        now.since(self.at).unwrap_or(USED_WHILE_FETCHED_FOR + Duration::from_millis(1))
    }
}

impl Shared {
    fn may_call(&self, now: Timestamp) -> bool {
        let called = self.called.load(Ordering::Relaxed);
        called == i64::MIN || now.since(Timestamp::from_ms(called)).is_none_or(|age| age >= COOLDOWN)
    }

    /// Fetches, unless somebody did since `seen` was seen, or a moment ago.
    async fn fetch(&self, http: &Http, url: &Url, seen: Option<&Arc<Held>>, now: Timestamp) -> Result<(), String> {
        let _one = self.calling.lock().await;
        let held = self.held.load_full();
        if held.as_ref().map(Arc::as_ptr) != seen.map(Arc::as_ptr) || !self.may_call(now) {
            return Ok(());
        }
        self.called.store(now.as_ms(), Ordering::Relaxed);
        let keys = fetched(http, url).await?;
        let generation = match &held {
            Some(held) if held.keys.are(&keys) => held.generation,
            Some(held) => held.generation.wrapping_add(1),
            None => 1,
        };
        self.held.store(Some(Arc::new(Held { keys, at: now, generation })));
        Ok(())
    }
}

async fn fetched(http: &Http, url: &Url) -> Result<KeySet, String> {
    let answer = http.get(url).send().await.map_err(|error: HttpError| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("{} answered with {}", crate::http::shown(url), answer.status));
    }
    KeySet::read(&answer.body).map_err(|error| format!("{}: {error}", crate::http::shown(url)))
}

#[cfg(test)]
mod tests;
