//! A JWK set, read once.

use std::sync::Arc;

use serde_json::Value;

use super::{Algorithm, Key, KeyError};

/// The most keys of one set.
pub const KEYS_MAX: usize = 100;

/// The keys of a set that can be used, and why others cannot.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    refused: Vec<(Option<String>, &'static str)>,
}

/// What was fetched is no JWK set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKeySet {
    /// Not the JSON of one.
    #[error("it is not a JWK set (RFC 7517, section 5)")]
    Malformed,
    /// Too many keys.
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
}

impl KeySet {
    /// Reads a set (RFC 7517, section 5). A key that cannot be used is left out, and it is
    /// remembered why.
    ///
    /// # Errors
    ///
    /// [`NotAKeySet`]
    pub fn read(bytes: &[u8]) -> Result<Self, NotAKeySet> {
        let set = crate::json::object(bytes).ok_or(NotAKeySet::Malformed)?;
        let Some(Value::Array(all)) = set.get("keys") else { return Err(NotAKeySet::Malformed) };
        if all.len() > KEYS_MAX {
            return Err(NotAKeySet::TooMany);
        }
        let mut read = Self::default();
        for one in all {
            let Value::Object(jwk) = one else { return Err(NotAKeySet::Malformed) };
            match Key::read(jwk) {
                Ok(key) => read.keys.push(Arc::new(key)),
                Err(why) => read.refused.push((jwk.get("kid").and_then(Value::as_str).map(String::from), why)),
            }
        }
        Ok(read)
    }

    /// The key with this name for this algorithm; without a name, the only one for it.
    ///
    /// # Errors
    ///
    /// [`KeyError`]
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<Key>, KeyError> {
        let is_meant = |key: &&Arc<Key>| id.is_none() || key.id() == id;
        let mut fitting = self.keys.iter().filter(is_meant).filter(|key| key.serves(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => return Ok(Arc::clone(key)),
            (Some(_), Some(_)) => return Err(KeyError::Ambiguous),
            (None, _) => {}
        }
        if id.is_some() {
            if let Some((_, why)) = self.refused.iter().find(|(refused, _)| refused.as_deref() == id) {
                return Err(KeyError::Refused { why });
            }
            if self.keys.iter().any(|key| is_meant(&key)) {
                return Err(KeyError::NotForThis { algorithm });
            }
        }
        Err(unknown(id))
    }

    /// Whether the key with this digest is among those that can be used.
    pub(super) fn has(&self, key: &[u8; 32]) -> bool {
        self.keys.iter().any(|one| one.digest() == *key)
    }

    /// Whether the other set has the same keys, in the same order.
    pub(super) fn are(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len() && self.keys.iter().zip(&other.keys).all(|(a, b)| a.jwk() == b.jwk())
    }

    /// How many can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The name is a stranger's: it is shortened before it is told.
pub(super) fn unknown(id: Option<&str>) -> KeyError {
    KeyError::Unknown { id: id.map(|id| id.chars().take(64).collect()) }
}
