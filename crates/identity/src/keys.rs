//! The keys with which an issuer signs.
//!
//! They are fetched from its `jwks_uri` when they are first needed, kept, and fetched
//! again when they grow old or a token names a key that is not among them. What is
//! fetched replaces what was held, so a key that the issuer took back is gone.

mod key;
mod set;

use std::sync::Arc;

use async_trait::async_trait;
use stepgate_core::time::Timestamp;
use url::Url;

use crate::http::Http;
use crate::refreshed::{Fetch, NotFound, Refreshed};

pub use crate::refreshed::{COOLDOWN, FRESH_FOR, STALE_FOR, USED_WHILE_FETCHED_FOR};
pub use key::{Algorithm, BadSignature, Key, NotAnAlgorithm};
pub use set::{KEYS_MAX, KeySet, NotAKeySet};

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
pub struct Keys(Source);

#[derive(Clone, Debug)]
enum Source {
    Fixed(Arc<KeySet>),
    Issuer(Refreshed<Published>),
}

/// Where an issuer publishes its keys.
#[derive(Debug)]
struct Published {
    http: Http,
    url: Url,
}

impl Keys {
    /// The keys at this `jwks_uri`; nothing is fetched yet.
    pub fn at(http: Http, url: Url) -> Self {
        Self(Source::Issuer(Refreshed::new(Published { http, url })))
    }

    /// Keys that were handed over and never change.
    pub fn fixed(keys: KeySet) -> Self {
        Self(Source::Fixed(Arc::new(keys)))
    }

    /// Where they are fetched from; `None` if they are fixed.
    pub fn url(&self) -> Option<&Url> {
        match &self.0 {
            Source::Fixed(_) => None,
            Source::Issuer(published) => Some(&published.from().url),
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
        let published = match &self.0 {
            Source::Fixed(keys) => return keys.find(id, algorithm),
            Source::Issuer(published) => published,
        };
        let found = published.find(now, |keys| match keys.find(id, algorithm) {
            Err(KeyError::Unknown { .. }) => None,
            found => Some(found),
        });
        match found.await {
            Ok(found) => found,
            Err(NotFound::Absent) => Err(set::unknown(id)),
            Err(NotFound::Away(why)) => Err(KeyError::Away(why)),
        }
    }

    /// Whether the key with this [`Key::digest`] is among them.
    ///
    /// # Errors
    ///
    /// [`KeyError::Away`]
    pub async fn have(&self, key: &[u8; 32], now: Timestamp) -> Result<bool, KeyError> {
        let published = match &self.0 {
            Source::Fixed(keys) => return Ok(keys.has(key)),
            Source::Issuer(published) => published,
        };
        published.find(now, |keys| Some(keys.has(key))).await.map_err(|why| match why {
            NotFound::Away(why) => KeyError::Away(why),
            NotFound::Absent => KeyError::Away(String::from("those that are held are too old")),
        })
    }

    /// Whether these are had from where the others are: the same, however they change.
    pub fn are(&self, others: &Self) -> bool {
        match (&self.0, &others.0) {
            (Source::Fixed(these), Source::Fixed(those)) => Arc::ptr_eq(these, those),
            (Source::Issuer(these), Source::Issuer(those)) => these.is(those),
            (Source::Fixed(_), Source::Issuer(_)) | (Source::Issuer(_), Source::Fixed(_)) => false,
        }
    }

    /// Counts the sets of keys that were had.
    pub fn generation(&self) -> u64 {
        match &self.0 {
            Source::Fixed(_) => 0,
            Source::Issuer(published) => published.generation(),
        }
    }

    /// Whether these are the keys that were had in that generation, and may be used without
    /// asking first. Old ones are fetched again beside, so that a key that the issuer took
    /// back is gone also where all that comes was verified before.
    pub fn still_are(&self, generation: u64, now: Timestamp) -> bool {
        match &self.0 {
            Source::Fixed(_) => generation == 0,
            Source::Issuer(published) => published.still_is(generation, now),
        }
    }
}

#[async_trait]
impl Fetch for Published {
    type Item = KeySet;
    type Error = String;

    async fn fetch(&self) -> Result<KeySet, String> {
        let answer = self.http.get(&self.url).send().await.map_err(|error| error.to_string())?;
        if !answer.status.is_success() {
            return Err(format!("{} answered with {}", crate::http::shown(&self.url), answer.status));
        }
        KeySet::read(&answer.body).map_err(|error| format!("{}: {error}", crate::http::shown(&self.url)))
    }

    fn is_same(held: &KeySet, fetched: &KeySet) -> bool {
        held.are(fetched)
    }
}

#[cfg(test)]
mod tests;
