//! Chance that repeats: everything that is drawn follows from the seed.

use stepgate_core::time::Randomness as _;
use stepgate_testkit::SeededRandomness;

/// A seeded die.
#[derive(Debug)]
pub(crate) struct Chance(SeededRandomness);

impl Chance {
    /// All throws follow from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRandomness::new(seed))
    }

    /// A number from zero to below `end`.
    pub(crate) fn below(&self, end: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(end).unwrap()).unwrap()
    }

    /// True once in so many throws.
    pub(crate) fn one_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Any number.
    pub(crate) fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}
