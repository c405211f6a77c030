//! An ID token in compact form (RFC 7515, section 3.1; RFC 7519), read strictly.

use serde_json::{Map, Value};

use super::json;
use super::key::{LoginAlgorithm, ProviderKey};
use crate::assertion::base64url;

/// The longest ID token that is read, in bytes.
pub const MAX_ID_TOKEN: usize = 160 * 1024;
/// The longest name of a key, in bytes.
const KEY_ID_LEN_MAX: usize = 512;

/// A token that was read and not yet verified: what it says is had by [`IdToken::verified_by`] alone.
#[derive(Debug)]
pub struct IdToken<'t> {
    algorithm: LoginAlgorithm,
    claims: Map<String, Value>,
    /// Header and payload as they stand.
    signed: &'t str,
    signature: Vec<u8>,
}

/// Why a text is no ID token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Longer than [`MAX_ID_TOKEN`].
    #[error("it is longer than {MAX_ID_TOKEN} bytes")]
    TooLong,
    /// Not three parts of base64url with JSON objects in the first two, or a name stands twice in one.
    #[error("it is not a signed JWT in compact form")]
    Malformed,
    /// `none`, a shared secret, or another that no login is signed with.
    #[error("its algorithm is none that is accepted")]
    Algorithm,
    /// It demands something that nobody here understands (`crit`, `b64`), or is encrypted.
    #[error("it demands what is not understood")]
    Critical,
    /// It says that it is another kind of token.
    #[error("it is another kind of token")]
    OtherKind,
}

impl<'t> IdToken<'t> {
    /// Reads a token.
    ///
    /// # Errors
    ///
    /// [`BadToken`]
    pub fn read(token: &'t str) -> Result<Self, BadToken> {
        if token.len() > MAX_ID_TOKEN {
            return Err(BadToken::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(BadToken::Malformed)?;
        if payload.contains('.') {
            return Err(BadToken::Malformed);
        }
        let object = |part| base64url::decode(part).and_then(|bytes| json::object(&bytes)).ok_or(BadToken::Malformed);
        let header = object(header)?;
        let Some(Value::String(algorithm)) = header.get("alg") else { return Err(BadToken::Malformed) };
        let algorithm = LoginAlgorithm::named(algorithm).ok_or(BadToken::Algorithm)?;
        if ["crit", "b64", "enc", "zip"].into_iter().any(|name| header.contains_key(name)) {
            return Err(BadToken::Critical);
        }
        match header.get("kid") {
            None => {}
            Some(Value::String(id)) if id.len() <= KEY_ID_LEN_MAX => {}
            Some(_) => return Err(BadToken::Malformed),
        }
        let claims = object(payload)?;
        // RFC 7515, section 4.1.9.
        let kind = header.get("typ").and_then(Value::as_str).unwrap_or("JWT").to_ascii_lowercase();
        if kind.strip_prefix("application/").unwrap_or(&kind) != "jwt" {
            return Err(BadToken::OtherKind);
        }
        let signature = base64url::decode(signature).ok_or(BadToken::Malformed)?;
        Ok(Self { algorithm, claims, signed, signature })
    }

    /// What the token says, if this key has signed it by the algorithm that it names.
    pub fn verified_by(self, key: &ProviderKey) -> Option<TokenClaims> {
        key.has_signed(self.algorithm, self.signed.as_bytes(), &self.signature).then_some(TokenClaims(self.claims))
    }
}

/// What a token says, by the types that OpenID Connect names: a value of another type is never taken
/// for "not said".
#[derive(Clone, Debug, PartialEq)]
pub struct TokenClaims(Map<String, Value>);

/// A claim is missing, or has another type than its name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its claim `{0}` is missing or of the wrong type")]
pub struct BadClaim(pub &'static str);

impl TokenClaims {
    /// A text.
    ///
    /// # Errors
    ///
    /// [`BadClaim`] if it is something else.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, BadClaim> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(BadClaim(name)),
        }
    }

    /// A list of texts; empty if it is not there.
    ///
    /// # Errors
    ///
    /// [`BadClaim`] if it is something else.
    pub fn texts(&self, name: &'static str) -> Result<Vec<&str>, BadClaim> {
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(all)) => all.iter().map(|one| one.as_str().ok_or(BadClaim(name))).collect(),
            Some(_) => Err(BadClaim(name)),
        }
    }

    /// A moment (RFC 7519, section 2, NumericDate) in milliseconds since 1970, rounded down.
    ///
    /// # Errors
    ///
    /// [`BadClaim`] if it is something else, or a number that no clock ever shows.
    pub fn moment_ms(&self, name: &'static str) -> Result<Option<i64>, BadClaim> {
        /// The end of the year 9999.
        const LAST_S: f64 = 253_402_300_799.0;
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let seconds = number.as_f64().filter(|seconds| (0.0..=LAST_S).contains(seconds));
                #[expect(clippy::cast_possible_truncation, reason = "the range was looked at")]
                let ms = |seconds: f64| (seconds * 1000.0).floor() as i64;
                seconds.map(ms).map(Some).ok_or(BadClaim(name))
            }
            Some(_) => Err(BadClaim(name)),
        }
    }
}
