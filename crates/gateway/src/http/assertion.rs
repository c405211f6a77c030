//! `Stepgate-Assertion`: who asks, signed, so that an application can verify it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use stepgate_core::challenge::Challenge;
use stepgate_core::factor::FactorKind;
use stepgate_core::id::RequestId;
use stepgate_core::session::{SessionView, acr, amr};
use stepgate_core::time::Timestamp;

use super::Site;

/// How long an assertion is valid, in seconds: one request's way.
const LIFETIME_S: i64 = 60;
/// Length of an uncompressed P-256 point (SEC 1, section 2.3.3).
const POINT_BYTES: usize = 65;

/// When an upstream gets an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionMode {
    /// With every request of a signed-in person.
    Always,
    /// With requests that a challenge was passed for.
    SteppedUp,
    /// Never.
    Never,
}

/// A key that assertions are or were signed with.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// Its id, `kid`.
    pub id: String,
    /// The uncompressed point, 65 bytes.
    pub point: Vec<u8>,
}

/// Why assertions cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// Not a PKCS #8 key on P-256.
    #[error("the key is not a PKCS #8 key on P-256")]
    Key,
    /// A previous key is not a point on P-256.
    #[error("the previous key {0} is not an uncompressed P-256 point")]
    Previous(String),
}

/// Signs assertions (ES256, RFC 7518 section 3.4).
///
/// The key is read once: reading it costs more than a signature, and every
/// request may need one.
pub struct AssertionSigner {
    key: EcdsaKeyPair,
    /// The encoded header, with its dot.
    header: String,
    current: PublicKey,
    previous: Vec<PublicKey>,
}

impl std::fmt::Debug for AssertionSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AssertionSigner").field("kid", &self.current.id).finish_non_exhaustive()
    }
}

impl AssertionSigner {
    /// Signs with a PKCS #8 key; `previous` keys stay in the JWKS until what they
    /// signed is out of date.
    ///
    /// # Errors
    ///
    /// [`SignerError`].
    pub fn new(pkcs8_der: &[u8], id: impl Into<String>, previous: Vec<PublicKey>) -> Result<Self, SignerError> {
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8_der).map_err(|_| SignerError::Key)?;
        let current = PublicKey { id: id.into(), point: key.public_key().as_ref().to_vec() };
        if let Some(odd) = previous.iter().find(|key| key.point.len() != POINT_BYTES) {
            return Err(SignerError::Previous(odd.id.clone()));
        }
        let header = serde_json::json!({ "typ": "JWT", "alg": "ES256", "kid": current.id });
        let header = format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string()));
        Ok(Self { key, header, current, previous })
    }

    /// The public keys as a JWK set (RFC 7517, section 5).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let keys: Vec<_> = std::iter::once(&self.current).chain(&self.previous).map(jwk).collect();
        serde_json::json!({ "keys": keys })
    }

    /// JWS compact serialization (RFC 7515, section 7.1).
    pub(super) fn sign(&self, about: &About<'_>) -> Option<String> {
        let Ok(claims) = serde_json::to_vec(&claims(about)) else {
            tracing::error!("an assertion could not be written");
            return None;
        };
        let mut token = self.header.clone();
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let Ok(signature) = self.key.sign(&SystemRandom::new(), token.as_bytes()) else {
            tracing::error!("an assertion could not be signed");
            return None;
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

fn jwk(key: &PublicKey) -> serde_json::Value {
    let (x, y) = key.point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
    serde_json::json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": key.id,
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    })
}

/// What an assertion says.
pub(super) struct About<'a> {
    pub(super) site: &'a Site,
    pub(super) session: &'a SessionView,
    pub(super) request: RequestId,
    pub(super) now: Timestamp,
    pub(super) passed: Option<&'a Passed>,
}

/// The challenge that was passed for the request.
#[derive(Clone, Debug)]
pub(super) struct Passed {
    pub(super) challenge: stepgate_core::id::ChallengeId,
    pub(super) operation: stepgate_core::operation::OperationDigest,
    pub(super) proofs: Vec<(FactorKind, Timestamp)>,
}

impl Passed {
    pub(super) fn of(challenge: &Challenge, proofs: Vec<(FactorKind, Timestamp)>) -> Self {
        Self { challenge: challenge.id, operation: challenge.operation, proofs }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    sid: String,
    login: &'a str,
    name: &'a str,
    email: &'a str,
    groups: &'a [String],
    acr: &'static str,
    amr: Vec<&'static str>,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
}

fn claims<'a>(about: &About<'a>) -> Claims<'a> {
    let person = &about.session.person;
    let mut proofs: Vec<(FactorKind, Timestamp)> =
        about.session.assurance.proofs().iter().map(|proof| (proof.kind, proof.at)).collect();
    proofs.extend(about.passed.iter().flat_map(|passed| passed.proofs.iter().copied()));
    let kinds: Vec<FactorKind> = proofs.iter().map(|(kind, _)| *kind).collect();
    let latest = proofs.iter().map(|(_, at)| *at).max().unwrap_or(about.session.started_at);
    let iat = about.now.as_ms().div_euclid(1000);
    Claims {
        iss: &about.site.gate_origin,
        aud: about.site.service.name.as_str(),
        sub: person.id.to_string(),
        jti: about.request.to_string(),
        iat,
        nbf: iat,
        exp: iat.saturating_add(LIFETIME_S),
        sid: session_hash(about.session),
        login: person.login.as_str(),
        name: &person.name,
        email: &person.email,
        groups: &person.groups,
        acr: acr(&kinds),
        amr: amr(&kinds),
        auth_time: latest.as_ms().div_euclid(1000),
        challenge: about.passed.map(|passed| passed.challenge.to_string()),
        operation: about.passed.map(|passed| passed.operation.to_hex()),
    }
}

/// Tells sessions apart without being of use to anybody who reads it.
fn session_hash(session: &SessionView) -> String {
    let digest = Sha256::digest([b"stepgate/sid/v1\0".as_slice(), session.id.as_bytes()].concat());
    URL_SAFE_NO_PAD.encode(digest.get(..16).unwrap_or_default())
}
