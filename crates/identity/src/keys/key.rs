//! One key, and what it may be used for.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use aws_lc_rs::digest::SHA256;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The least size of an RSA key, in bits (NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;
/// The greatest that the library verifies with.
const RSA_BITS_MAX: usize = 8192;

/// What signatures are made with: the whole list. `none` and all that needs a shared
/// secret (`HS256` …) cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519 (RFC 8037), also under its name of RFC 9864.
    EdDsa,
}

/// The text names no algorithm that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("RS256, PS256, ES256, ES384 and EdDSA are the algorithms that are accepted")]
pub struct NotAnAlgorithm;

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rs256, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// Its name (RFC 7518, section 3.1; RFC 8037).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = NotAnAlgorithm;

    fn from_str(text: &str) -> Result<Self, NotAnAlgorithm> {
        if text == "Ed25519" {
            return Ok(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(NotAnAlgorithm)
    }
}

/// A key as its type: it alone says which algorithms the key can serve, so that no public
/// key is ever taken for a shared secret. It is parsed when it is read, and what
/// the library works out of it (a modulus, a point on its curve) is not worked out with each signature.
#[derive(Clone)]
enum Kind {
    Rsa { pkcs1: ParsedPublicKey, pss: ParsedPublicKey },
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
}

impl Kind {
    /// What verifies signatures of this algorithm.
    const fn verifier(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        match (self, algorithm) {
            (Self::Rsa { pkcs1: key, .. }, Algorithm::Rs256)
            | (Self::Rsa { pss: key, .. }, Algorithm::Ps256)
            | (Self::P256(key), Algorithm::Es256)
            | (Self::P384(key), Algorithm::Es384)
            | (Self::Ed25519(key), Algorithm::EdDsa) => Some(key),
            _ => None,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RSA",
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::Ed25519(_) => "Ed25519",
        }
    }
}

/// A public key that verifies signatures.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    kind: Kind,
    only: Option<Algorithm>,
    jwk: Map<String, Value>,
    digest: OnceLock<[u8; 32]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("kind", &self.kind.name()).field("only", &self.only).finish()
    }
}

/// The signature is not that of this key over this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct BadSignature;

impl Key {
    /// Reads a JWK (RFC 7517).
    ///
    /// # Errors
    ///
    /// Why it is not used.
    pub fn read(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let id = text(jwk, "kid")?.map(String::from);
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
            Some(name) => Some(name.parse::<Algorithm>().map_err(|_| "its `alg` is none that is accepted")?),
        };
        let (kind, parts) = read_parts(jwk)?;
        if only.is_some_and(|only| kind.verifier(only).is_none()) {
            return Err("its `alg` does not fit its type");
        }
        let named = ["kid", "alg", "use"].into_iter();
        let kept =
            named.chain(parts.iter().copied()).filter_map(|name| Some((name.to_owned(), jwk.get(name)?.clone())));
        Ok(Self { id, kind, only, jwk: kept.collect(), digest: OnceLock::new() })
    }

    /// Its name.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether it may verify signatures of this algorithm.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.verifier(algorithm).is_some()
    }

    /// As a JWK without private parts, and without what was not looked at.
    pub fn jwk(&self) -> Value {
        Value::Object(self.jwk.clone())
    }

    /// A digest of it and of all that is said of it: its name, its algorithm and its use, too. Made when it is
    /// first asked for; most keys are those of proofs, of which nobody asks.
    pub fn digest(&self) -> [u8; 32] {
        *self.digest.get_or_init(|| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, self.jwk().to_string().as_bytes()).as_ref());
            bytes
        })
    }

    /// Its thumbprint (RFC 7638) with SHA-256, base64url.
    pub fn thumbprint(&self) -> Option<String> {
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(self.jwk()).ok()?;
        jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).ok()
    }

    /// Whether `signature` (base64url) is made by this key over `message`.
    ///
    /// # Errors
    ///
    /// [`BadSignature`], also if the key is not for this algorithm.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> Result<(), BadSignature> {
        let key = self.verifier(algorithm).ok_or(BadSignature)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadSignature)?;
        key.verify_sig(message, &signature).map_err(|_| BadSignature)
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let is_meant = self.only.is_none_or(|only| only == algorithm);
        self.kind.verifier(algorithm).filter(|_| is_meant)
    }
}

fn read_parts(jwk: &Map<String, Value>) -> Result<(Kind, &'static [&'static str]), &'static str> {
    let part = |name| text(jwk, name)?.ok_or("a part of it is missing");
    let unusable = |_| "it cannot be read";
    match part("kty")? {
        "RSA" => {
            let (n, e) = (decoded(part("n")?)?, decoded(part("e")?)?);
            let bits = bits(&n);
            if bits < RSA_BITS_MIN {
                return Err("it has fewer than 2048 bits");
            }
            if bits > RSA_BITS_MAX {
                return Err("it has more than 8192 bits");
            }
            if e.len() > 8
                || e.last().is_none_or(|last| last % 2 == 0)
                || matches!(e.as_slice(), [.., 1] if self::bits(&e) == 1)
            {
                return Err("its exponent is none that is used");
            }
            let key = RsaPublicKeyComponents { n, e };
            let pkcs1 = key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(unusable)?;
            let pss = key.to_parsed_public_key(&RSA_PSS_2048_8192_SHA256).map_err(unusable)?;
            Ok((Kind::Rsa { pkcs1, pss }, &["kty", "n", "e"]))
        }
        "EC" => {
            let (len, curve, kind): (_, _, fn(ParsedPublicKey) -> Kind) = match part("crv")? {
                "P-256" => (32, &ECDSA_P256_SHA256_FIXED, Kind::P256),
                "P-384" => (48, &ECDSA_P384_SHA384_FIXED, Kind::P384),
                _ => return Err("its curve is none that is accepted"),
            };
            let (x, y) = (decoded(part("x")?)?, decoded(part("y")?)?);
            if x.len() != len || y.len() != len {
                return Err("its point has the wrong length");
            }
            // SEC 1, section 2.3.4: an uncompressed point. One that is not on the curve is no key.
            let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
            let key = ParsedPublicKey::new(curve, point).map_err(unusable)?;
            Ok((kind(key), &["kty", "crv", "x", "y"]))
        }
        "OKP" => {
            if part("crv")? != "Ed25519" {
                return Err("its curve is none that is accepted");
            }
            let x = decoded(part("x")?)?;
            if x.len() != 32 {
                return Err("its point has the wrong length");
            }
            let key = ParsedPublicKey::new(&ED25519, x).map_err(unusable)?;
            Ok((Kind::Ed25519(key), &["kty", "crv", "x"]))
        }
        _ => Err("its type is none that is accepted"),
    }
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<Option<&'j str>, &'static str> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("a member of it has the wrong type"),
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a part of it is not base64url")
}

fn bits(number: &[u8]) -> usize {
    let significant =
        number.iter().position(|byte| *byte != 0).and_then(|first| number.get(first..)).unwrap_or_default();
    let leading = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
    significant.len() * 8 - leading
}
