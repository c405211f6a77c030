//! The proofs that were taken, for as long as they would be accepted: none is taken twice.
//!
//! The memory is this process's own. Another node does not know of what was taken here;
//! where that matters, nonces are demanded, which are each node's own too.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use stepgate_core::time::Timestamp;

/// Parts of the memory. All proofs of one key are in one, and which one nobody outside can tell.
const PARTS: usize = 16;
/// Proofs that one part remembers.
const PROOFS_MAX: usize = 64 * 1024;
/// Keys that it takes to fill one part: none has more than its share, so that the flood of one leaves the
/// others room.
const SHARES: usize = 4;

/// The memory.
pub(super) struct Remembered {
    parts: Vec<Mutex<Part>>,
    at_most: usize,
    /// Where a key's proofs lie: of this process alone.
    places: RandomState,
}

#[derive(Default)]
struct Part {
    proofs: HashMap<[u8; 16], Proof>,
    /// How many of them are of one key.
    of_key: HashMap<u64, usize>,
    /// When what is over is looked for again.
    swept_at: Option<Timestamp>,
}

struct Proof {
    until: Timestamp,
    key: u64,
}

impl Part {
    /// Forgets what is over, at most ten times a second.
    fn sweep(&mut self, now: Timestamp) {
        if self.swept_at.is_some_and(|at| now <= at) {
            return;
        }
        self.swept_at = Some(now.plus(std::time::Duration::from_millis(100)));
        self.proofs.retain(|_, proof| now < proof.until);
        self.of_key.clear();
        for proof in self.proofs.values() {
            let count = self.of_key.entry(proof.key).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn has_room(&self, key: u64, at_most: usize) -> bool {
        let own = self.of_key.get(&key).copied().unwrap_or_default();
        self.proofs.len() < at_most && own < at_most.div_ceil(SHARES)
    }
}

/// Whether a proof was taken before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was not, and now it is.
    Never,
    /// It was.
    Before,
    /// There is no room to remember it, so it is not taken.
    NobodyKnows,
}

impl Default for Remembered {
    fn default() -> Self {
        Self::with_room_for(PROOFS_MAX)
    }
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered").field("parts", &self.parts.len()).field("at_most", &self.at_most).finish()
    }
}

impl Remembered {
    pub(super) fn with_room_for(at_most: usize) -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect(), at_most, places: RandomState::new() }
    }

    /// Takes the proof with this id by this key, which is accepted until then.
    pub(super) fn take(&self, thumbprint: &str, id: &str, until: Timestamp, now: Timestamp) -> Seen {
        let mut hash = Context::new(&SHA256);
        // A thumbprint has one length, so no two pairs are the same bytes.
        hash.update(thumbprint.as_bytes());
        hash.update(id.as_bytes());
        let hash = hash.finish();
        let Some(Ok(id)) = hash.as_ref().get(..16).map(<[u8; 16]>::try_from) else { return Seen::NobodyKnows };
        let key = self.places.hash_one(thumbprint);
        let number = usize::try_from(key % PARTS as u64).unwrap_or_default();
        let Some(part) = self.parts.get(number) else { return Seen::NobodyKnows };
        let mut part = part.lock();
        if part.proofs.get(&id).is_some_and(|proof| now < proof.until) {
            return Seen::Before;
        }
        if !part.has_room(key, self.at_most) {
            part.sweep(now);
        }
        if !part.has_room(key, self.at_most) {
            return Seen::NobodyKnows;
        }
        // One that is over and was not swept yet is counted already.
        if part.proofs.insert(id, Proof { until, key }).is_none() {
            let count = part.of_key.entry(key).or_default();
            *count = count.saturating_add(1);
        }
        Seen::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn a_proof_is_taken_once_while_it_would_be_accepted() {
        let memory = Remembered::default();
        assert_eq!(memory.take(KEY, "a", at(60), at(0)), Seen::Never);
        assert_eq!(memory.take(KEY, "a", at(60), at(59)), Seen::Before);
        assert_eq!(memory.take(KEY, "b", at(60), at(59)), Seen::Never);
        assert_eq!(memory.take(&KEY.replace('0', "1"), "a", at(60), at(59)), Seen::Never);
    }

    #[test]
    fn what_does_not_fit_is_not_taken_and_what_is_over_makes_room() {
        let memory = Remembered::with_room_for(40);
        for number in 0..10 {
            assert_eq!(memory.take(KEY, &number.to_string(), at(1_000), at(0)), Seen::Never);
        }
        assert_eq!(memory.take(KEY, "x", at(1_000), at(1)), Seen::NobodyKnows);
        assert_eq!(memory.take(KEY, "3", at(1_000), at(1)), Seen::Before, "a flood makes nothing forgotten");
        assert_eq!(memory.take(KEY, "x", at(2_000), at(1_000)), Seen::Never);
        assert!(memory.parts.iter().all(|part| part.lock().proofs.len() <= 10));
    }

    #[test]
    fn b113_one_keys_flood_leaves_the_others_room_and_many_keys_choose_no_part() {
        let memory = Remembered::with_room_for(40);
        // As many keys as it takes to meet every part: whoever floods has their share, and each other key has room.
        for number in 0..1_000 {
            memory.take(KEY, &number.to_string(), at(1_000), at(0));
        }
        let kept: usize = memory.parts.iter().map(|part| part.lock().proofs.len()).sum();
        assert_eq!(kept, 10);
        for other in 0..30 {
            let other = format!("{}{other:02}", &KEY[2..]);
            assert_eq!(memory.take(&other, "a", at(1_000), at(0)), Seen::Never, "{other}");
        }
        // The same keys lie elsewhere in another process.
        let part_of = |memory: &Remembered, key: &str| memory.places.hash_one(key) % 16;
        let others: Vec<_> = (0..8).map(|_| Remembered::default()).collect();
        assert!((0..100).any(|key| {
            let key = key.to_string();
            others.iter().any(|other| part_of(other, &key) != part_of(&memory, &key))
        }));
        // What is over makes room for whoever flooded, too.
        assert_eq!(memory.take(KEY, "later", at(3_000), at(2_000)), Seen::Never);
    }

    #[test]
    fn of_two_at_once_one_is_taken() {
        let memory = Remembered::default();
        for round in 0..50 {
            let id = round.to_string();
            let take = || memory.take(KEY, &id, at(0).plus(Duration::from_secs(60)), at(0));
            let taken = std::thread::scope(|scope| {
                let both = [scope.spawn(take), scope.spawn(take)];
                both.into_iter().map(|one| one.join().unwrap()).filter(|seen| *seen == Seen::Never).count()
            });
            assert_eq!(taken, 1);
        }
    }
}
