//! Chance that repeats: the same seed gives the same bytes.

use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use stepgate_core::time::Randomness;

/// Bytes from a seed: the digests of the seed and a counter, one after the other.
#[derive(Debug)]
pub struct SeededRandomness {
    seed: u64,
    drawn: Mutex<u64>,
}

impl SeededRandomness {
    /// Everything it gives follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: Mutex::new(0) }
    }
}

impl Randomness for SeededRandomness {
    fn fill(&self, buffer: &mut [u8]) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in buffer.chunks_mut(32) {
            let digest = Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(drawn.to_be_bytes());
            piece.copy_from_slice(&digest.finalize()[..piece.len()]);
            *drawn += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(chance: &SeededRandomness) -> [u8; 40] {
        let mut bytes = [0; 40];
        chance.fill(&mut bytes);
        bytes
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_never_the_same_twice() {
        let (one, same, other) = (SeededRandomness::new(1), SeededRandomness::new(1), SeededRandomness::new(2));
        let first = draw(&one);
        assert_eq!(first, draw(&same));
        assert_ne!(first, draw(&one));
        assert_ne!(first, draw(&other));
    }
}
