//! The keys that an auditor has of providers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::json;
use super::key::ProviderKey;

/// The most keys of one set.
pub const MAX_PROVIDER_KEYS: usize = 100;

/// Keys of identity providers that somebody saved and gave: by issuer, the thumbprints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderKeys {
    by_issuer: BTreeMap<String, BTreeSet<String>>,
}

/// What was given is no JWK set with which anything could be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAKeySet {
    /// Not the JSON of one.
    #[error("no JWK set (RFC 7517, section 5)")]
    Malformed,
    /// Too many keys.
    #[error("a JWK set with more than {MAX_PROVIDER_KEYS} keys")]
    TooMany,
    /// None of its keys could have signed a login.
    #[error("a JWK set without a key that could have signed a login")]
    NoUsableKey,
}

impl ProviderKeys {
    /// Adds the keys of a saved JWK set to those of this issuer. Keys with which no login is signed
    /// (for encryption, of unknown types) are left out.
    ///
    /// # Errors
    ///
    /// [`NotAKeySet`]
    pub fn add(&mut self, issuer: &str, jwks: &[u8]) -> Result<(), NotAKeySet> {
        let set = json::object(jwks).ok_or(NotAKeySet::Malformed)?;
        let Some(Value::Array(all)) = set.get("keys") else { return Err(NotAKeySet::Malformed) };
        if all.len() > MAX_PROVIDER_KEYS {
            return Err(NotAKeySet::TooMany);
        }
        let mut thumbprints = BTreeSet::new();
        for one in all {
            let Value::Object(jwk) = one else { return Err(NotAKeySet::Malformed) };
            thumbprints.extend(ProviderKey::read(jwk).map(|key| key.thumbprint().to_owned()));
        }
        if thumbprints.is_empty() {
            return Err(NotAKeySet::NoUsableKey);
        }
        self.by_issuer.entry(issuer.to_owned()).or_default().append(&mut thumbprints);
        Ok(())
    }

    /// The issuers whose keys were given.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.by_issuer.keys().map(String::as_str)
    }

    /// Whether this key is among those of the issuer; `None` if none were given of it.
    pub(crate) fn have(&self, issuer: &str, thumbprint: &str) -> Option<bool> {
        Some(self.by_issuer.get(issuer)?.contains(thumbprint))
    }
}
