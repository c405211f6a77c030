//! The one place that reads the clock and the random generator of the machine.

use std::cell::RefCell;

use stepgate_core::time::{Clock, Randomness, Timestamp};

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is handed")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// How many times sixteen bytes a thread draws at once for [`Randomness::everyday`]:
/// a call of the generator costs as much as a hundred times that.
const DRAWN_AT_ONCE: usize = 64;

/// The machine's random generator, through aws-lc.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, buffer: &mut [u8]) {
        if aws_lc_rs::rand::fill(buffer).is_err() {
            // Tokens that somebody could predict are worse than no service.
            eprintln!("stepgate: the random generator failed; stopping");
            std::process::abort();
        }
    }

    fn everyday(&self) -> [u8; 16] {
        thread_local! {
            static DRAWN: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
        }
        let drawn = DRAWN.try_with(|drawn| {
            let mut drawn = drawn.borrow_mut();
            if drawn.is_empty() {
                let mut bytes = [0; 16 * DRAWN_AT_ONCE];
                self.fill(&mut bytes);
                drawn.extend_from_slice(bytes.as_chunks().0);
            }
            drawn.pop()
        });
        // A thread that is ending keeps nothing.
        drawn.ok().flatten().unwrap_or_else(|| {
            let mut bytes = [0; 16];
            self.fill(&mut bytes);
            bytes
        })
    }
}

/// Time since the first call, by the clock that never jumps.
pub fn monotonic() -> std::time::Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "what the wall clock is compared with")]
    let now = std::time::Instant::now();
    now.duration_since(*START.get_or_init(|| now))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_drawn_beforehand_is_given_out_once() {
        let draw = || (0..5 * DRAWN_AT_ONCE).map(|_| SystemRandomness.everyday()).collect::<Vec<_>>();
        let others: Vec<_> = (0..3).map(|_| std::thread::spawn(draw)).collect();
        let mut seen: HashSet<[u8; 16]> = HashSet::new();
        let all = others.into_iter().flat_map(|thread| thread.join().unwrap()).chain(draw());
        for bytes in all {
            assert!(seen.insert(bytes), "{bytes:?} came twice");
        }
        assert_eq!(seen.len(), 4 * 5 * DRAWN_AT_ONCE);
        // Each byte varies: nothing of the buffer is left as it was made.
        for at in 0..16 {
            assert!(seen.iter().map(|bytes| bytes[at]).collect::<HashSet<_>>().len() > 100, "byte {at}");
        }
    }
}
