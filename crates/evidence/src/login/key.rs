//! Public keys of identity providers, as JWKs (RFC 7517, RFC 7518 section 6, RFC 8037).

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::assertion::base64url;

/// The sizes of RSA keys that are used, in bits (NIST SP 800-131A; what the library verifies with).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest public exponent, in bytes.
const EXPONENT_LEN_MAX: usize = 8;

/// What ID tokens are signed with: the whole list. `none` and all that needs a shared secret
/// (`HS256` …) cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with SHA-256 on P-256.
    Es256,
    /// ECDSA with SHA-384 on P-384.
    Es384,
    /// EdDSA on Ed25519 (RFC 8037), also under its name of RFC 9864.
    EdDsa,
}

impl LoginAlgorithm {
    /// The algorithm of this name (RFC 7518, section 3.1; RFC 8037; RFC 9864).
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// A public key of a provider. What it is made of says what it can verify, so that no public key is
/// ever taken for a shared secret.
#[derive(Clone)]
pub struct ProviderKey {
    kind: Kind,
    /// The one algorithm that it says it is for.
    only: Option<LoginAlgorithm>,
    thumbprint: String,
}

#[derive(Clone)]
enum Kind {
    /// One key, ready for either padding.
    Rsa {
        pkcs1: ParsedPublicKey,
        pss: ParsedPublicKey,
    },
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
}

impl Kind {
    /// The key, made ready for this algorithm; `None` if it is not for it.
    fn ready_for(&self, algorithm: LoginAlgorithm) -> Option<&ParsedPublicKey> {
        match (self, algorithm) {
            (Self::Rsa { pkcs1, .. }, LoginAlgorithm::Rs256) => Some(pkcs1),
            (Self::Rsa { pss, .. }, LoginAlgorithm::Ps256) => Some(pss),
            (Self::P256(key), LoginAlgorithm::Es256)
            | (Self::P384(key), LoginAlgorithm::Es384)
            | (Self::Ed25519(key), LoginAlgorithm::EdDsa) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ProviderKey({})", self.thumbprint)
    }
}

impl ProviderKey {
    /// Reads a JWK.
    ///
    /// # Errors
    ///
    /// Why it is not used: shared secrets, private keys, keys for something else than signatures, and
    /// those that nobody careful signs with.
    pub fn read(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        text(jwk, "kid")?;
        if ["d", "p", "q", "dp", "dq", "qi", "k", "oth"].into_iter().any(|part| jwk.contains_key(part)) {
            return Err("it is a shared secret, or its private part is published");
        }
        if text(jwk, "use")?.is_some_and(|used_for| used_for != "sig") {
            return Err("its `use` is not `sig`");
        }
        match jwk.get("key_ops") {
            None => {}
            Some(Value::Array(operations)) if operations.iter().any(|one| one == "verify") => {}
            Some(_) => return Err("`verify` is not among its `key_ops`"),
        }
        let only = match text(jwk, "alg")? {
            None => None,
            Some(name) => Some(LoginAlgorithm::named(name).ok_or("its `alg` is none that is accepted")?),
        };
        let (kind, members) = parts(jwk)?;
        if only.is_some_and(|only| kind.ready_for(only).is_none()) {
            return Err("its `alg` does not fit its type");
        }
        Ok(Self { kind, only, thumbprint: thumbprint(&members) })
    }

    /// Its thumbprint (RFC 7638) with SHA-256, base64url without padding.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether `signature` is this key's over `message` by this algorithm, for which it must be.
    pub fn has_signed(&self, algorithm: LoginAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let meant = self.only.is_none_or(|only| only == algorithm);
        let key = self.kind.ready_for(algorithm).filter(|_| meant);
        key.is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

type Members<'j> = Vec<(&'static str, &'j str)>;

/// The key, and the members that make it, in the order of their names.
fn parts(jwk: &Map<String, Value>) -> Result<(Kind, Members<'_>), &'static str> {
    let part = |name| text(jwk, name)?.ok_or("a part of it is missing");
    let unusable = |_| "it cannot be read";
    match part("kty")? {
        "RSA" => {
            let (n, e) = (decoded(part("n")?)?, decoded(part("e")?)?);
            if bits(&n) < *RSA_BITS.start() {
                return Err("it has fewer than 2048 bits");
            }
            if bits(&n) > *RSA_BITS.end() {
                return Err("it has more than 8192 bits");
            }
            let is_even = e.last().is_none_or(|last| last % 2 == 0);
            if e.len() > EXPONENT_LEN_MAX || is_even || bits(&e) == 1 {
                return Err("its exponent is none that is used");
            }
            let key = RsaPublicKeyComponents { n, e };
            let pkcs1 = key.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256).map_err(unusable)?;
            let pss = key.to_parsed_public_key(&signature::RSA_PSS_2048_8192_SHA256).map_err(unusable)?;
            Ok((Kind::Rsa { pkcs1, pss }, vec![("e", part("e")?), ("kty", "RSA"), ("n", part("n")?)]))
        }
        "EC" => {
            let (crv, x, y) = (part("crv")?, part("x")?, part("y")?);
            let point = |len: usize| {
                let (x, y) = (decoded(x)?, decoded(y)?);
                let fits = x.len() == len && y.len() == len;
                // Uncompressed (SEC 1, section 2.3.3).
                fits.then(|| [&[4], x.as_slice(), &y].concat()).ok_or("its point has the wrong length")
            };
            let kind = match crv {
                "P-256" => {
                    Kind::P256(ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point(32)?).map_err(unusable)?)
                }
                "P-384" => {
                    Kind::P384(ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point(48)?).map_err(unusable)?)
                }
                _ => return Err("its curve is none that is accepted"),
            };
            Ok((kind, vec![("crv", crv), ("kty", "EC"), ("x", x), ("y", y)]))
        }
        "OKP" => {
            let (crv, x) = (part("crv")?, part("x")?);
            if crv != "Ed25519" {
                return Err("its curve is none that is accepted");
            }
            let point = decoded(x)?;
            if point.len() != 32 {
                return Err("its point has the wrong length");
            }
            let key = ParsedPublicKey::new(&signature::ED25519, point).map_err(unusable)?;
            Ok((Kind::Ed25519(key), vec![("crv", crv), ("kty", "OKP"), ("x", x)]))
        }
        _ => Err("its type is none that is accepted"),
    }
}

/// RFC 7638, section 3. The members are base64url or names from this file: nothing to be escaped.
fn thumbprint(members: &Members<'_>) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
    base64url::encode(&Sha256::digest(format!("{{{}}}", members.join(","))))
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<Option<&'j str>, &'static str> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("a member of it has the wrong type"),
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    base64url::decode(text).ok_or("a part of it is not base64url")
}

fn bits(number: &[u8]) -> usize {
    let significant =
        number.iter().position(|byte| *byte != 0).and_then(|first| number.get(first..)).unwrap_or_default();
    let leading = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
    (significant.len() * 8).saturating_sub(leading)
}
