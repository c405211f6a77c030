//! A signed token in compact form (RFC 7515, RFC 7519), read in one place for ID
//! tokens, logout tokens, access tokens and security events.
//!
//! What it says can be had only by [`Jws::verify`]; what its kind must say (issuer,
//! audience, times) is for whoever reads that kind, by [`TokenClaims`], which gives a
//! value only if it has the type that the standard names.

mod claims;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use stepgate_core::time::Timestamp;

use crate::keys::{Algorithm, Key, KeyError, Keys};

pub use claims::{TokenClaims, WrongType};

/// The longest name of a key.
const KEY_ID_LEN_MAX: usize = 512;

/// A token that was read and not yet verified.
#[derive(Debug)]
pub struct Jws<'t> {
    algorithm: Algorithm,
    key_id: Option<String>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: &'t str,
}

/// A token whose signature holds.
#[derive(Debug)]
pub struct Verified {
    /// Its protected header.
    pub header: TokenClaims,
    /// What it says.
    pub claims: TokenClaims,
    /// What it is signed with.
    pub algorithm: Algorithm,
    /// Whose signature holds.
    pub key: Arc<Key>,
}

/// Why a token is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than is read.
    #[error("the token is longer than {max} bytes")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// Not three parts of base64url with JSON objects inside, or a name stands twice in one.
    #[error("the token is not a JWT")]
    Malformed,
    /// `none`, a shared secret, or another that is not accepted (here).
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// It demands something that nobody here understands (`crit`, `b64`), or is encrypted.
    #[error("the token demands what is not understood")]
    Critical,
    /// No key can be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature does not hold.
    #[error("the token's signature does not hold")]
    Signature,
}

impl JwsError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::Key(error) => error.code(),
            Self::Signature => "signature",
        }
    }
}

impl<'t> Jws<'t> {
    /// Reads a token of at most `len_max` bytes.
    ///
    /// # Errors
    ///
    /// All of [`JwsError`] but `Key` and `Signature`.
    pub fn read(token: &'t str, len_max: usize) -> Result<Self, JwsError> {
        if token.len() > len_max {
            return Err(JwsError::TooLong { max: len_max });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Malformed)?;
        if payload.contains('.') {
            return Err(JwsError::Malformed);
        }
        let object = |part: &str| URL_SAFE_NO_PAD.decode(part).ok().and_then(|bytes| crate::json::object(&bytes));
        let header = object(header).ok_or(JwsError::Malformed)?;
        let Some(Value::String(algorithm)) = header.get("alg") else { return Err(JwsError::Malformed) };
        let algorithm = algorithm.parse().map_err(|_| JwsError::Algorithm)?;
        if ["crit", "b64", "enc", "zip"].into_iter().any(|name| header.contains_key(name)) {
            return Err(JwsError::Critical);
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= KEY_ID_LEN_MAX => Some(id.clone()),
            Some(_) => return Err(JwsError::Malformed),
        };
        let claims = object(payload).ok_or(JwsError::Malformed)?;
        Ok(Self { algorithm, key_id, header, claims, signed, signature })
    }

    /// Whom it claims to be from: good for nothing but to choose whose keys to try.
    pub fn unverified_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// What its header says, which nobody has verified.
    pub fn in_header(&self, name: &str) -> Option<&Value> {
        self.header.get(name)
    }

    /// `typ` of its header, in lower case and without `application/` (RFC 7515, section 4.1.9).
    pub fn kind(&self) -> Option<String> {
        let kind = self.header.get("typ")?.as_str()?.to_ascii_lowercase();
        Some(kind.strip_prefix("application/").map(String::from).unwrap_or(kind))
    }

    /// Verifies the signature by the issuer's keys, if it is made by one of these algorithms.
    ///
    /// # Errors
    ///
    /// `Algorithm`, `Key`, `Signature`.
    pub async fn verify(self, keys: &Keys, accepted: &[Algorithm], now: Timestamp) -> Result<Verified, JwsError> {
        if !accepted.contains(&self.algorithm) {
            return Err(JwsError::Algorithm);
        }
        let key = keys.key_for(self.key_id.as_deref(), self.algorithm, now).await?;
        self.verify_by(key)
    }

    /// Verifies the signature by this key, whatever the token calls it.
    ///
    /// # Errors
    ///
    /// `Signature`, also if the key is not for the token's algorithm.
    pub fn verify_by(self, key: Arc<Key>) -> Result<Verified, JwsError> {
        key.verify(self.algorithm, self.signed.as_bytes(), self.signature).map_err(|_| JwsError::Signature)?;
        let (header, claims) = (TokenClaims::new(self.header), TokenClaims::new(self.claims));
        Ok(Verified { header, claims, algorithm: self.algorithm, key })
    }
}

/// The `iss` of what looks like a JWT, also of one that [`Jws::read`] refuses. Nobody has verified it: it says
/// to whom the token is not sent.
pub(crate) fn named_issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    // An issuer that is no text is nobody's.
    claims.get("iss").map(|issuer| issuer.as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof;
