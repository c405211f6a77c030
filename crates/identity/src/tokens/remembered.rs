//! The proofs that were taken, for as long as they would be accepted: none is taken twice.
//!
//! The memory is this process's own. Another node does not know of what was taken here;
//! where that matters, nonces are demanded, which are each node's own too.

use std::collections::HashMap;

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use stepgate_core::time::Timestamp;

/// Parts of the memory. All proofs of one key are in one, so that one key's flood leaves
/// the others room.
const PARTS: usize = 16;
/// Proofs that one part remembers.
const PROOFS_MAX: usize = 64 * 1024;

/// The memory.
pub(super) struct Remembered {
    parts: Vec<Mutex<Part>>,
    at_most: usize,
}

#[derive(Default)]
struct Part {
    until: HashMap<[u8; 16], Timestamp>,
    /// When what is over is looked for again.
    swept_at: Option<Timestamp>,
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
    fn with_room_for(at_most: usize) -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect(), at_most }
    }

    /// Takes the proof with this id by this key, which is accepted until then.
    pub(super) fn take(&self, thumbprint: &str, id: &str, until: Timestamp, now: Timestamp) -> Seen {
        let mut hash = Context::new(&SHA256);
        // A thumbprint has one length, so no two pairs are the same bytes.
        hash.update(thumbprint.as_bytes());
        hash.update(id.as_bytes());
        let hash = hash.finish();
        let Some(Ok(key)) = hash.as_ref().get(..16).map(<[u8; 16]>::try_from) else { return Seen::NobodyKnows };
        let number = thumbprint.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let Some(part) = self.parts.get(number % PARTS) else { return Seen::NobodyKnows };
        let mut part = part.lock();
        if part.until.get(&key).is_some_and(|until| now < *until) {
            return Seen::Before;
        }
        if part.until.len() >= self.at_most && part.swept_at.is_none_or(|at| at < now) {
            part.until.retain(|_, until| now < *until);
            part.swept_at = Some(now.plus(std::time::Duration::from_millis(100)));
        }
        if part.until.len() >= self.at_most {
            return Seen::NobodyKnows;
        }
        part.until.insert(key, until);
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
        let memory = Remembered::with_room_for(10);
        for number in 0..10 {
            assert_eq!(memory.take(KEY, &number.to_string(), at(1_000), at(0)), Seen::Never);
        }
        assert_eq!(memory.take(KEY, "x", at(1_000), at(1)), Seen::NobodyKnows);
        assert_eq!(memory.take(KEY, "3", at(1_000), at(1)), Seen::Before, "a flood makes nothing forgotten");
        assert_eq!(memory.take(KEY, "x", at(2_000), at(1_000)), Seen::Never);
        assert!(memory.parts.iter().all(|part| part.lock().until.len() <= 10));
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
