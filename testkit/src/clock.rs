//! Time that stands still until a test moves it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use stepgate_core::time::{Clock, Timestamp};

/// 2026-01-01T00:00:00Z, where a [`FakeClock`] begins unless told otherwise.
pub const BEGINNING: Timestamp = Timestamp::from_ms(1_767_225_600_000);

/// A clock that is set by hand.
#[derive(Debug)]
pub struct FakeClock(AtomicI64);

impl FakeClock {
    /// Stands at [`BEGINNING`].
    pub fn new() -> Self {
        Self::at(BEGINNING)
    }

    /// Stands at this moment.
    pub fn at(moment: Timestamp) -> Self {
        Self(AtomicI64::new(moment.as_ms()))
    }

    /// Moves on by a while.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).expect("less than a hundred million years");
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    /// Jumps, forwards or backwards, as clocks of real machines do.
    pub fn jump_to(&self, moment: Timestamp) {
        self.0.store(moment.as_ms(), Ordering::SeqCst);
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_until_it_is_moved() {
        let clock = FakeClock::new();
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:00.000Z");
        clock.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now(), BEGINNING.plus(Duration::from_millis(1_500)));
        clock.jump_to(Timestamp::from_ms(0));
        assert_eq!(BEGINNING.since(clock.now()), Some(Duration::from_millis(1_767_225_600_000)));
    }
}
