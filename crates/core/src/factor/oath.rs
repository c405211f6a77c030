//! One-time codes of OATH: RFC 4226 (HOTP), and RFC 6238 (TOTP), which is the same with a clock for a counter.

use std::fmt;
use std::str::FromStr;

use secrecy::SecretString;

use super::FactorKind;
use crate::id::TokenId;
use crate::time::Timestamp;

/// Fewest bytes of a seed: 128 bits (RFC 4226, section 4, R6).
pub const SEED_LEN_MIN: usize = 16;
/// Most bytes of a seed; HMAC digests what is longer than its block.
pub const SEED_LEN_MAX: usize = 128;

/// What makes one-time codes.
#[derive(Clone)]
pub struct OathKey {
    /// The shared secret, base32.
    pub seed: SecretString,
    /// The hash of the HMAC.
    pub hash: OathHash,
    /// Digits of a code: six to eight.
    pub digits: u8,
    /// What a code is made of beside the seed.
    pub moves: Moves,
}

/// The hash of an HMAC that makes codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OathHash {
    /// RFC 4226 knows no other.
    Sha1,
    /// RFC 6238, section 1.2.
    Sha256,
    /// Likewise.
    Sha512,
}

impl OathHash {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// The name in files and rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// The text names no such hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sha1, sha256 or sha512 is expected")]
pub struct NotAHash;

impl FromStr for OathHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or(NotAHash)
    }
}

/// What moves from one code to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// A counter, with each code that is shown.
    Counts,
    /// A clock, every so many seconds.
    Clock {
        /// Seconds of a step (SP 800-63B-4 section 3.1.4: two minutes at most).
        step_s: u32,
    },
}

impl OathKey {
    /// What the gate makes for an authenticator app: six digits, half a minute, and SHA-1, because many apps silently
    /// use it whatever they are told.
    pub const fn of_app(seed: SecretString) -> Self {
        Self { seed, hash: OathHash::Sha1, digits: 6, moves: Moves::Clock { step_s: 30 } }
    }

    /// The kind of factor that it is.
    pub const fn kind(&self) -> FactorKind {
        match self.moves {
            Moves::Counts => FactorKind::Hotp,
            Moves::Clock { .. } => FactorKind::Totp,
        }
    }
}

impl fmt::Debug for OathKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OathKey({}, ..)", self.kind())
    }
}

/// The hardware token that a factor is. Whoever imported it may know its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOf {
    /// Its id.
    pub id: TokenId,
    /// What is printed on it.
    pub serial: String,
    /// When its maker says that it ends; no code counts from then on.
    pub until: Option<Timestamp>,
}

impl TokenOf {
    /// Whether its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// The last four signs of the serial number, as its holder knows it.
    pub fn ending(&self) -> &str {
        let from = self.serial.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        self.serial.get(from..).unwrap_or_default()
    }
}
