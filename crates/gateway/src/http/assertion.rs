//! `Stepgate-Assertion`: who asks, signed, so that an application can verify it.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use stepgate_core::challenge::Challenge;
use stepgate_core::factor::FactorKind;
use stepgate_core::id::RequestId;
use stepgate_core::person::Principal;
use stepgate_core::session::{acr, amr};
use stepgate_core::time::Timestamp;

use super::asker::Known;
use stepgate_core::catalogue::Site;

/// How long an assertion is valid, in seconds: one request's way.
const LIFETIME_S: i64 = 60;
/// How long a key stays published after the next one began to sign: what it signed last is valid for
/// [`LIFETIME_S`], applications' clocks may be late, and a node may hear of the next key a minute later.
const FORMER_KEYS_PUBLISHED: Duration = Duration::from_secs(15 * 60);

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

/// A key that signs assertions for some time.
pub struct AssertionKey<'a> {
    /// Its id, `kid`.
    pub id: String,
    /// The private key (PKCS #8, DER).
    pub pkcs8: &'a [u8],
    /// When it begins to sign, and the one before it ends.
    pub signs_from: Timestamp,
}

impl std::fmt::Debug for AssertionKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AssertionKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why assertions cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// Not a PKCS #8 key on P-256.
    #[error("the key {0} is not a PKCS #8 key on P-256")]
    Key(String),
    /// There is none.
    #[error("there is no key")]
    NoKey,
}

/// Signs assertions (ES256, RFC 7518 section 3.4), with the key whose time it is.
///
/// The keys are read once: reading one costs more than a signature, and every
/// request may need one.
pub struct AssertionSigner {
    /// By when they begin to sign, the first one first; never empty.
    keys: Vec<Key>,
}

struct Key {
    pair: EcdsaKeyPair,
    id: String,
    /// The encoded header, with its dot.
    header: String,
    signs_from: Timestamp,
}

impl std::fmt::Debug for AssertionSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl AssertionSigner {
    /// Signs with these keys, each from its time on until the next one's. All that may yet sign are
    /// published, and those that signed for as long as anything that they signed is valid.
    ///
    /// # Errors
    ///
    /// [`SignerError`].
    pub fn new(keys: Vec<AssertionKey<'_>>) -> Result<Self, SignerError> {
        let read = |AssertionKey { id, pkcs8, signs_from }: AssertionKey<'_>| {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                .map_err(|_| SignerError::Key(id.clone()))?;
            let header = serde_json::json!({ "typ": "JWT", "alg": "ES256", "kid": id });
            let header = format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string()));
            Ok(Key { pair, id, header, signs_from })
        };
        let mut keys = keys.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        keys.sort_by_key(|key| key.signs_from);
        if keys.is_empty() { Err(SignerError::NoKey) } else { Ok(Self { keys }) }
    }

    /// The key whose time it is. Before the first one's time, by a clock that was set back, the first.
    fn current(&self, now: Timestamp) -> Option<&Key> {
        self.keys.iter().rev().find(|key| key.signs_from <= now).or(self.keys.first())
    }

    /// The ids of the keys, by when they begin to sign.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// The public keys as a JWK set (RFC 7517, section 5): the one that signs, those that will, and
    /// those whose last assertion may still be on its way.
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> serde_json::Value {
        let out_of_date = |next: &Key| next.signs_from.plus(FORMER_KEYS_PUBLISHED) <= now;
        let published = self.keys.iter().enumerate().filter(|(place, _)| {
            let next = self.keys.get(place.saturating_add(1));
            !next.is_some_and(out_of_date)
        });
        serde_json::json!({ "keys": published.map(|(_, key)| jwk(key)).collect::<Vec<_>>() })
    }

    /// JWS compact serialization (RFC 7515, section 7.1).
    pub(super) fn sign(&self, about: &About<'_>) -> Option<String> {
        let key = self.current(about.now)?;
        let Ok(claims) = serde_json::to_vec(&claims(about)?) else {
            tracing::error!("an assertion could not be written");
            return None;
        };
        let mut token = key.header.clone();
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let Ok(signature) = key.pair.sign(&SystemRandom::new(), token.as_bytes()) else {
            tracing::error!("an assertion could not be signed");
            return None;
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

fn jwk(key: &Key) -> serde_json::Value {
    // An uncompressed point (SEC 1, section 2.3.3): 04, x, y.
    let point = key.pair.public_key().as_ref();
    let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
    serde_json::json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": key.id,
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    })
}

/// What an assertion says.
pub(super) struct About<'a> {
    pub(super) site: &'a Site,
    pub(super) known: &'a Known,
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
    /// The session's, or the token's.
    sid: String,
    login: &'a str,
    name: &'a str,
    email: &'a str,
    /// Who acts in the person's name (RFC 8693, section 4.1): the client of their token.
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Act>,
    /// The person who answers for an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// What the token was issued for.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    groups: &'a [String],
    acr: &'static str,
    amr: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
}

#[derive(Serialize)]
struct Act {
    sub: String,
}

fn claims<'a>(about: &About<'a>) -> Option<Claims<'a>> {
    let asker = about.known.asker();
    let who = asker.principal()?;
    let (login, name, email): (&str, &str, &str) = match who {
        Principal::Person(person) => (person.login.as_str(), &person.name, &person.email),
        Principal::Agent(agent) => (&agent.name, &agent.name, ""),
    };
    let (act, owner, scope) = match about.known {
        Known::Session(_) => (None, None, None),
        Known::Token(view) => {
            let acts = || Act { sub: format!("{}/{}", view.token.provider, view.token.client) };
            let owner = view.agent.as_ref().map(|_| view.person.id.to_string());
            (view.agent.is_none().then(acts), owner, Some(view.token.scopes.join(" ")))
        }
    };
    let mut proofs: Vec<(FactorKind, Timestamp)> = asker.proofs().collect();
    proofs.extend(about.passed.iter().flat_map(|passed| passed.proofs.iter().copied()));
    let kinds: Vec<FactorKind> = proofs.iter().map(|(kind, _)| *kind).collect();
    let latest = proofs.iter().map(|(_, at)| *at).max().or(asker.signed_in_at());
    let iat = about.now.as_ms().div_euclid(1000);
    Some(Claims {
        iss: &about.site.gate_origin,
        aud: about.site.service.name.as_str(),
        sub: who.id(),
        jti: about.request.to_string(),
        iat,
        nbf: iat,
        exp: iat.saturating_add(LIFETIME_S),
        sid: session_hash(about.known),
        login,
        name,
        email,
        act,
        owner,
        scope,
        groups: match who {
            Principal::Person(person) => &person.groups,
            Principal::Agent(agent) => &agent.groups,
        },
        acr: acr(&kinds),
        amr: amr(&kinds),
        auth_time: latest.map(|at| at.as_ms().div_euclid(1000)),
        challenge: about.passed.map(|passed| passed.challenge.to_string()),
        operation: about.passed.map(|passed| passed.operation.to_hex()),
    })
}

/// Tells sessions apart without being of use to anybody who reads it.
fn session_hash(known: &Known) -> String {
    let id = match known {
        Known::Session(signed) => signed.view.id.as_bytes(),
        Known::Token(view) => view.token.id.as_bytes(),
    };
    let digest = Sha256::digest([b"stepgate/sid/v1\0".as_slice(), id].concat());
    URL_SAFE_NO_PAD.encode(digest.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{AssertionKey, AssertionSigner, SignerError};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use std::time::Duration;
    use stepgate_core::time::Timestamp;

    const MINUTE: Duration = Duration::from_secs(60);

    fn signer(keys: &[(&str, Timestamp)]) -> Result<AssertionSigner, SignerError> {
        let documents: Vec<_> = keys
            .iter()
            .map(|_| EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap())
            .collect();
        let key = |((id, signs_from), pkcs8): (&(&str, Timestamp), _)| AssertionKey {
            id: (*id).to_owned(),
            pkcs8,
            signs_from: *signs_from,
        };
        AssertionSigner::new(keys.iter().zip(documents.iter().map(AsRef::as_ref)).map(key).collect())
    }

    fn published(signer: &AssertionSigner, now: Timestamp) -> Vec<String> {
        let jwks = signer.jwks(now);
        let kid = |key: &serde_json::Value| key["kid"].as_str().unwrap().to_owned();
        jwks["keys"].as_array().unwrap().iter().map(kid).collect()
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_until_what_it_signed_is_out_of_date() {
        let start = Timestamp::from_ms(1_767_000_000_000);
        let change = start.plus(MINUTE * 10);
        // In whichever order the store gives them.
        let signer = signer(&[("next", change), ("first", start)]).unwrap();
        let signs = |now| signer.current(now).unwrap().id.clone();
        for (now, by, set) in [
            (Timestamp::from_ms(0), "first", ["first", "next"].as_slice()),
            (start, "first", &["first", "next"]),
            (Timestamp::from_ms(change.as_ms() - 1), "first", &["first", "next"]),
            (change, "next", &["first", "next"]),
            (change.plus(MINUTE * 14), "next", &["first", "next"]),
            (change.plus(MINUTE * 15), "next", &["next"]),
        ] {
            assert_eq!(signs(now), by, "{now}");
            assert_eq!(published(&signer, now), set, "{now}");
        }
    }

    #[test]
    fn without_a_key_nothing_is_signed() {
        assert!(matches!(signer(&[]), Err(SignerError::NoKey)));
        let none = AssertionKey { id: "k".to_owned(), pkcs8: b"no key", signs_from: Timestamp::from_ms(0) };
        assert!(matches!(AssertionSigner::new(vec![none]), Err(SignerError::Key(id)) if id == "k"));
    }
}
