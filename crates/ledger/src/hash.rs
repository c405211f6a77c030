//! Hashes of the tree: SHA-256 with the domain separation of RFC 6962, section 2.1.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Length of a hash in bytes.
pub const HASH_LENGTH: usize = 32;

/// A hash of the tree: of a leaf, of a node, or of the whole (the root).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_LENGTH]);

/// The hash of a leaf: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(tlog_tiles::tlog::record_hash(entry).0)
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: Hash, right: Hash) -> Hash {
    Hash(tlog_tiles::tlog::node_hash(left.into(), right.into()).0)
}

/// The root of a complete subtree over `leaves`, whose number is a power of two.
///
/// `None` if there are none, or if their number is not a power of two.
pub(crate) fn complete_root(leaves: &[Hash]) -> Option<Hash> {
    if !leaves.len().is_power_of_two() {
        return None;
    }
    let mut row = leaves.to_vec();
    while row.len() > 1 {
        row = row
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(node_hash(*left, *right)),
                _ => None,
            })
            .collect();
    }
    row.first().copied()
}

/// A hash that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 32 bytes")]
pub struct NotAHash;

impl Hash {
    /// The root of the tree without leaves: SHA-256 of nothing.
    pub const EMPTY_TREE: Self = Self(tlog_tiles::tlog::EMPTY_HASH.0);

    /// Wraps the bytes of a hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HASH_LENGTH]) -> Self {
        Self(bytes)
    }

    /// Reads a hash from a slice, which must be 32 bytes long.
    ///
    /// # Errors
    ///
    /// [`NotAHash`] for any other length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, NotAHash> {
        bytes.try_into().map(Self).map_err(|_| NotAHash)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_LENGTH] {
        &self.0
    }

    /// Standard base64 with padding, as checkpoints and proofs write it.
    #[must_use]
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads standard base64 with padding.
    ///
    /// # Errors
    ///
    /// [`NotAHash`] if it is not base64, not canonical, or not of 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, NotAHash> {
        Self::from_slice(&STANDARD.decode(text).map_err(|_| NotAHash)?)
    }

    /// Lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`NotAHash`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, NotAHash> {
        let digits: Vec<u8> = text
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or(NotAHash)?;
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(NotAHash);
        }
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        Self::from_slice(&bytes)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_hex())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_base64())
    }
}

impl From<Hash> for tlog_tiles::tlog::Hash {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

impl From<tlog_tiles::tlog::Hash> for Hash {
    fn from(hash: tlog_tiles::tlog::Hash) -> Self {
        Self(hash.0)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_base64(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_from_what_it_writes() {
        let hash = leaf_hash(b"entry");
        assert_eq!(Hash::from_base64(&hash.to_base64()), Ok(hash));
        assert_eq!(Hash::from_hex(&hash.to_hex()), Ok(hash));
        assert_eq!(Hash::from_slice(hash.as_bytes()), Ok(hash));
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<Hash>(&json).unwrap(), hash);
    }

    #[test]
    fn what_is_not_a_hash_is_refused() {
        for text in ["", "00", "zz", &"0".repeat(63), &"0".repeat(66)] {
            assert_eq!(Hash::from_hex(text), Err(NotAHash), "{text}");
        }
        let unpadded = leaf_hash(b"").to_base64().replace('=', "");
        assert_eq!(Hash::from_base64(&unpadded), Err(NotAHash));
        assert_eq!(Hash::from_slice(&[0; 31]), Err(NotAHash));
    }
}
