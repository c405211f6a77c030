//! What was verified, for as long as it holds: bounded, and of what is signed only what comes again.
//!
//! The tokens of a program that fetches one for each call come once. To keep each costs a quarter of what verifying its
//! signature does, and pushes out those that come again. So the first time only a few bits say that it came
//! ([`CameBefore`]), the second time it is kept, and only what came before is looked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use moka::sync::Cache;

/// Verified tokens that are kept.
pub const KEPT_MAX: u64 = 100_000;

/// The digest of a token, and of all that decides whose it is.
pub(super) type Key = [u8; 32];

/// How a token is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// By its signature: to verify it again costs nobody else anything.
    BySignature,
    /// By asking its issuer, who is not asked twice about one.
    ByAsking,
}

/// What was verified.
#[derive(Debug)]
pub(super) struct Verified<T: Send + Sync + 'static> {
    of: Cache<Key, Arc<T>>,
    came: CameBefore,
}

impl<T: Send + Sync + 'static> Verified<T> {
    /// Room for so many.
    pub(super) fn with_room_for(at_most: u64) -> Self {
        Self { of: Cache::new(at_most), came: CameBefore::new() }
    }

    /// What is kept of a token. `known`: how it would be known if it is not.
    pub(super) fn get(&self, key: &Key, known: Known) -> Option<Arc<T>> {
        (known == Known::ByAsking || self.came.has(key)).then(|| self.of.get(key)).flatten()
    }

    /// Keeps what was verified of a token, or remembers that it came.
    pub(super) fn keep(&self, key: Key, verified: T, known: Known) {
        if self.came.again(&key) || known == Known::ByAsking {
            self.of.insert(key, Arc::new(verified));
        }
    }

    /// Forgets one.
    pub(super) fn forget(&self, key: &Key) {
        self.of.invalidate(key);
    }

    /// Forgets all.
    pub(super) fn forget_all(&self) {
        self.of.invalidate_all();
        self.came.clear();
    }

    /// How many are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.of.run_pending_tasks();
        self.of.entry_count()
    }
}

/// Bits that say which tokens came before (a Bloom filter). It never takes one for new that it has, and one in a hundred
/// new ones for old: that one is kept at once. When it is full it begins anew, and all that come are verified once more.
struct CameBefore {
    words: Box<[AtomicU64]>,
    /// How many it has.
    has: AtomicU32,
}

/// Words of 64 bits; a power of two, for [`places`]. 256 KiB.
const WORDS: usize = 1 << 15;
/// How many it has when it is full: a hundredth of what is new looks old then.
const FULL: u32 = 200_000;
/// Bits of one token.
const BITS: usize = 4;

/// The word and the bit of each place: parts of a digest, which is as good as random.
fn places(key: &Key) -> impl Iterator<Item = (usize, u64)> + '_ {
    let parts = key.chunks_exact(4).take(BITS).filter_map(|part| <[u8; 4]>::try_from(part).ok());
    parts.map(u32::from_be_bytes).map(|part| (part as usize / 64 % WORDS, 1 << (part % 64)))
}

impl CameBefore {
    fn new() -> Self {
        Self { words: (0..WORDS).map(|_| AtomicU64::new(0)).collect(), has: AtomicU32::new(0) }
    }

    fn has(&self, key: &Key) -> bool {
        places(key).all(|(word, bit)| self.words.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0))
    }

    /// Whether it came before; from now on it did.
    fn again(&self, key: &Key) -> bool {
        if self.has(key) {
            return true;
        }
        if self.has.fetch_add(1, Ordering::Relaxed) >= FULL {
            self.clear();
        }
        for (word, bit) in places(key) {
            if let Some(word) = self.words.get(word) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        false
    }

    fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.has.store(0, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for CameBefore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CameBefore").field("has", &self.has).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digests are as good as random, and so is this.
    fn key(number: u64) -> Key {
        super::super::digest(&[&number.to_be_bytes()])
    }

    #[test]
    fn what_is_signed_is_kept_when_it_comes_again_and_what_was_asked_at_once() {
        let verified = Verified::with_room_for(10);
        let get = |number: u64, known| verified.get(&key(number), known).map(|it: Arc<u64>| *it);
        verified.keep(key(1), 1, Known::BySignature);
        assert_eq!((get(1, Known::BySignature), verified.len()), (None, 0));
        verified.keep(key(1), 1, Known::BySignature);
        assert_eq!((get(1, Known::BySignature), verified.len()), (Some(1), 1));
        verified.keep(key(2), 2, Known::ByAsking);
        assert_eq!((get(2, Known::ByAsking), verified.len()), (Some(2), 2));
        verified.forget(&key(1));
        assert_eq!((get(1, Known::BySignature), verified.len()), (None, 1));
        verified.forget_all();
        assert_eq!((get(2, Known::ByAsking), verified.len()), (None, 0));
        verified.keep(key(1), 1, Known::BySignature);
        assert_eq!(verified.len(), 0, "that it came is forgotten, too");
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let verified = Verified::with_room_for(10);
        for number in 0..100 {
            for known in [Known::BySignature, Known::BySignature, Known::ByAsking] {
                verified.keep(key(number), number, known);
            }
        }
        assert_eq!(verified.len(), 10);
        let gate = super::super::TokenVerifier::new(Vec::new(), super::super::Keeps::Verified, &Chance);
        assert_eq!(gate.kept.of.policy().max_capacity(), Some(KEPT_MAX));
    }

    #[derive(Debug)]
    struct Chance;

    impl stepgate_core::time::Randomness for Chance {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(7);
        }
    }

    #[test]
    fn few_new_ones_look_old_and_when_it_is_full_it_begins_anew() {
        let came = CameBefore::new();
        for number in 0..u64::from(FULL) {
            came.again(&key(number));
        }
        assert!((0..u64::from(FULL)).all(|number| came.has(&key(number))));
        let beyond = u64::from(FULL) * 2;
        let look_old = (beyond..beyond + 10_000).filter(|number| came.has(&key(*number))).count();
        assert!(look_old < 300, "{look_old} of 10,000");
        // Until it is full, those that looked old already were counted as such.
        let mut number = beyond * 2;
        while came.has(&key(0)) {
            came.again(&key(number));
            number += 1;
        }
        assert!(number < beyond * 2 + 20_000, "it begins anew");
        assert!(came.has(&key(number - 1)));
    }
}
