//! Public keys of authenticators, as COSE keys (RFC 9052, section 7; RFC 9053; RFC 8230).

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents};
use ciborium::Value;

/// Longest COSE key in bytes that is read; an RSA key of 8192 bits needs 1 KiB.
pub const MAX_KEY_LENGTH: usize = 2048;

/// How deep a COSE key nests: it is one map.
const MAX_DEPTH: usize = 4;

/// The signature algorithms that are accepted (IANA COSE Algorithms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with SHA-256 on P-256, -7.
    Es256,
    /// ECDSA with SHA-384 on P-384, -35.
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256, -257.
    Rs256,
    /// EdDSA on Ed25519, -8.
    EdDsa,
}

impl Algorithm {
    /// All of them, the preferred ones first.
    pub const ALL: [Self; 4] = [Self::Es256, Self::EdDsa, Self::Es384, Self::Rs256];

    /// Its number in the IANA registry.
    pub const fn number(self) -> i32 {
        match self {
            Self::Es256 => -7,
            Self::Es384 => -35,
            Self::Rs256 => -257,
            Self::EdDsa => -8,
        }
    }

    /// Its name in the IANA registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Why bytes are not a key that signatures can be checked with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Longer than [`MAX_KEY_LENGTH`].
    #[error("a COSE key has at most {MAX_KEY_LENGTH} bytes")]
    TooLong,
    /// Not CBOR, not a map of small integers, a label twice, or bytes after it.
    #[error("not a COSE key")]
    Malformed,
    /// Not one of [`Algorithm::ALL`].
    #[error("the algorithm {0} is not supported")]
    UnsupportedAlgorithm(i128),
    /// Type, curve or parameters do not fit the algorithm.
    #[error("the key does not fit its algorithm {}", .0.name())]
    DoesNotFit(Algorithm),
    /// The parameters fit, but are no key: a point off its curve, an empty modulus.
    #[error("the parameters are no {} key", .0.name())]
    NotAKey(Algorithm),
}

/// The public key of a passkey or security key.
#[derive(Clone)]
pub struct PublicKey {
    cose: Vec<u8>,
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl PublicKey {
    /// Reads a COSE key, which must have its algorithm and exactly the parameters that it needs
    /// (WebAuthn Level 3, section 6.5.1.1).
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is not one, or its algorithm is not supported.
    pub fn from_cose(cose: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, key) = parse(cose)?;
        Ok(Self { cose: cose.to_vec(), algorithm, key })
    }

    /// The COSE key as it was read.
    pub fn to_cose(&self) -> &[u8] {
        &self.cose
    }

    /// The algorithm that the key signs with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` is this key's over `message`.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.cose == other.cose
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({} {})", self.algorithm.name(), hex::encode(&self.cose))
    }
}

/// Labels of the map: key type, algorithm, and the parameters by type.
const KEY_TYPE: i128 = 1;
const ALGORITHM: i128 = 3;
const CURVE: i128 = -1;
const X: i128 = -2;
const Y: i128 = -3;
const MODULUS: i128 = -1;
const EXPONENT: i128 = -2;

const TYPE_OKP: i128 = 1;
const TYPE_EC2: i128 = 2;
const TYPE_RSA: i128 = 3;

const CURVE_P256: i128 = 1;
const CURVE_P384: i128 = 2;
const CURVE_ED25519: i128 = 6;

fn parse(cose: &[u8]) -> Result<(Algorithm, ParsedPublicKey), KeyError> {
    if cose.len() > MAX_KEY_LENGTH {
        return Err(KeyError::TooLong);
    }
    let map = Map::parse(cose)?;
    let number = map.integer(ALGORITHM).ok_or(KeyError::Malformed)?;
    let algorithm = Algorithm::ALL
        .into_iter()
        .find(|algorithm| i128::from(algorithm.number()) == number)
        .ok_or(KeyError::UnsupportedAlgorithm(number))?;
    let parsed = match algorithm {
        Algorithm::Es256 => {
            let point = map.point(CURVE_P256, 32).ok_or(KeyError::DoesNotFit(algorithm))?;
            ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, point)
        }
        Algorithm::Es384 => {
            let point = map.point(CURVE_P384, 48).ok_or(KeyError::DoesNotFit(algorithm))?;
            ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_ASN1, point)
        }
        Algorithm::EdDsa => {
            let x = map.ed25519().ok_or(KeyError::DoesNotFit(algorithm))?;
            ParsedPublicKey::new(&signature::ED25519, x)
        }
        Algorithm::Rs256 => {
            let (n, e) = map.rsa().ok_or(KeyError::DoesNotFit(algorithm))?;
            RsaPublicKeyComponents { n, e }.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256)
        }
    };
    parsed.map(|key| (algorithm, key)).map_err(|_| KeyError::NotAKey(algorithm))
}

/// A COSE map: each label once, all labels integers.
struct Map(Vec<(i128, Value)>);

impl Map {
    fn parse(cose: &[u8]) -> Result<Self, KeyError> {
        let mut rest = cose;
        let value: Value =
            ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).map_err(|_| KeyError::Malformed)?;
        let Value::Map(members) = value else { return Err(KeyError::Malformed) };
        if !rest.is_empty() {
            return Err(KeyError::Malformed);
        }
        let mut map: Vec<(i128, Value)> = Vec::with_capacity(members.len());
        for (label, value) in members {
            let label = i128::from(label.into_integer().map_err(|_| KeyError::Malformed)?);
            if map.iter().any(|(other, _)| *other == label) {
                return Err(KeyError::Malformed);
            }
            map.push((label, value));
        }
        Ok(Self(map))
    }

    fn value(&self, label: i128) -> Option<&Value> {
        self.0.iter().find(|(other, _)| *other == label).map(|(_, value)| value)
    }

    fn integer(&self, label: i128) -> Option<i128> {
        self.value(label)?.as_integer().map(i128::from)
    }

    fn bytes(&self, label: i128) -> Option<&[u8]> {
        self.value(label)?.as_bytes().map(Vec::as_slice)
    }

    /// Whether it is of this type and has this many members, key type and algorithm included.
    fn is(&self, key_type: i128, members: usize) -> bool {
        self.integer(KEY_TYPE) == Some(key_type) && self.0.len() == members
    }

    /// An uncompressed point (SEC 1, section 2.3.3) whose coordinates have this length.
    fn point(&self, curve: i128, length: usize) -> Option<Vec<u8>> {
        /// The first byte of an uncompressed point.
        const UNCOMPRESSED: u8 = 4;
        let (x, y) = (self.bytes(X)?, self.bytes(Y)?);
        let fits = self.is(TYPE_EC2, 5) && self.integer(CURVE) == Some(curve) && x.len() == length && y.len() == length;
        fits.then(|| [&[UNCOMPRESSED], x, y].concat())
    }

    fn ed25519(&self) -> Option<&[u8]> {
        let x = self.bytes(X)?;
        let fits = self.is(TYPE_OKP, 4) && self.integer(CURVE) == Some(CURVE_ED25519) && x.len() == 32;
        fits.then_some(x)
    }

    fn rsa(&self) -> Option<(&[u8], &[u8])> {
        let numbers = (self.bytes(MODULUS)?, self.bytes(EXPONENT)?);
        self.is(TYPE_RSA, 4).then_some(numbers)
    }
}
