//! The right edge of a growing tree: all that is needed to append and to know the root.

use crate::hash::{HASH_LENGTH, Hash, node_hash};

/// The compact range of a tree of any size: the roots of its complete subtrees, left to right.
///
/// At most 64 hashes, so it fits a database row ([`Frontier::to_bytes`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// Bytes that are not a frontier: their length contradicts the size that they state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frontier of size {size} has {expected} hashes, not {found} bytes")]
pub struct ContradictoryFrontier {
    size: u64,
    expected: u32,
    found: usize,
}

impl Frontier {
    /// The frontier of the tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        let mut rest = self.size;
        while rest & 1 == 1 {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(left, node);
            }
            rest >>= 1;
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle tree hash (RFC 6962, section 2.1).
    #[must_use]
    pub fn root(&self) -> Hash {
        self.peaks.iter().copied().rev().reduce(|right, left| node_hash(left, right)).unwrap_or(Hash::EMPTY_TREE)
    }

    /// The size as eight big-endian bytes, then the hashes from left to right.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        for peak in &self.peaks {
            bytes.extend_from_slice(peak.as_bytes());
        }
        bytes
    }

    /// Reads what [`Frontier::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// [`ContradictoryFrontier`] if there are not exactly as many hashes as a tree of the stated
    /// size has complete subtrees.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ContradictoryFrontier> {
        let Some((size, hashes)) = bytes.split_first_chunk::<8>() else {
            return Err(ContradictoryFrontier { size: 0, expected: 0, found: bytes.len() });
        };
        let size = u64::from_be_bytes(*size);
        let (peaks, rest) = hashes.as_chunks::<HASH_LENGTH>();
        if !rest.is_empty() || peaks.len() != size.count_ones() as usize {
            return Err(ContradictoryFrontier { size, expected: size.count_ones(), found: hashes.len() });
        }
        Ok(Self { size, peaks: peaks.iter().copied().map(Hash::from_bytes).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    #[test]
    fn a_frontier_reads_back_from_its_bytes_at_every_size() {
        let mut frontier = Frontier::new();
        for number in 0_u64..70 {
            assert_eq!(Frontier::from_bytes(&frontier.to_bytes()), Ok(frontier.clone()));
            frontier.push(leaf_hash(&number.to_be_bytes()));
            assert_eq!(frontier.size(), number + 1);
        }
    }

    #[test]
    fn contradictory_bytes_are_refused() {
        let mut frontier = Frontier::new();
        for number in 0_u8..5 {
            frontier.push(leaf_hash(&[number]));
        }
        let good = frontier.to_bytes();
        let mut larger = good.clone();
        larger[7] = 7;
        let mut longer = good.clone();
        longer.push(0);
        for bad in [&good[..good.len() - 1], &good[..40], &good[..3], &[], &larger, &longer] {
            assert!(Frontier::from_bytes(bad).is_err());
        }
    }
}
