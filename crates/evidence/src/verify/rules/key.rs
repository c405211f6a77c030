//! An id in 16 bytes, whatever its text.

use sha2::{Digest as _, Sha256};

/// The first 128 bits of an id's SHA-256: two ids that fall together would have to be searched for
/// with 2^64 work by somebody who can also sign the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::verify) struct Key([u8; 16]);

impl Key {
    pub(in crate::verify) fn of(id: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(id).into();
        let (short, _) = digest.split_at(16);
        Self(short.try_into().unwrap_or_default())
    }
}
