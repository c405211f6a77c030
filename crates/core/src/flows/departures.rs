//! How often strangers may make the gate call an identity provider.
//!
//! Whoever leaves to sign in causes a pushed request there, and one more call when they
//! come back; nobody has to be known here for that. Counted in this process alone, before
//! the provider is asked.

use std::net::IpAddr;
use std::time::Duration;

use super::rate::Rate;
use crate::time::Timestamp;

/// How long departures are counted together.
pub const DEPARTURES_WINDOW: Duration = Duration::from_secs(60);
/// The most departures from one network address in a window. An office behind one address
/// signs in within it.
pub const DEPARTURES_OF_ONE_MAX: u32 = 60;
/// The most departures of all strangers together in a window.
pub const DEPARTURES_MAX: u32 = 600;

/// The departures of a window.
#[derive(Debug)]
pub struct Departures(Rate<IpAddr>);

impl Default for Departures {
    fn default() -> Self {
        Self(Rate::new(DEPARTURES_WINDOW, DEPARTURES_OF_ONE_MAX, DEPARTURES_MAX))
    }
}

impl Departures {
    /// Counts one more from this address, which stands for its network.
    ///
    /// # Errors
    ///
    /// One too many, which is not counted: how long it is until the next may leave.
    pub(super) fn count(&self, network: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.0.count(network, 1, now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn network(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_ms(s * 1_000)
    }

    #[test]
    fn one_address_is_stopped_alone_and_until_the_window_ends() {
        let departures = Departures::default();
        for count in 1..=DEPARTURES_OF_ONE_MAX {
            assert_eq!(departures.count(network(1), at(100)), Ok(()), "{count}");
        }
        assert_eq!(departures.count(network(1), at(140)), Err(Duration::from_secs(20)));
        assert_eq!(departures.count(network(2), at(140)), Ok(()));
        assert_eq!(departures.count(network(1), at(160)), Ok(()));
    }

    #[test]
    fn all_strangers_together_are_stopped_and_what_is_counted_is_bounded() {
        let departures = Departures::default();
        for number in 0..DEPARTURES_MAX {
            assert_eq!(departures.count(network(number), at(0)), Ok(()));
        }
        for number in DEPARTURES_MAX..DEPARTURES_MAX * 3 {
            assert_eq!(departures.count(network(number), at(59)), Err(Duration::from_secs(1)));
        }
        assert_eq!(departures.0.keys(), usize::try_from(DEPARTURES_MAX).unwrap());
        assert_eq!(departures.count(network(1), at(60)), Ok(()));
        assert_eq!(departures.0.keys(), 1, "what is over makes room");
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nobody_for_long() {
        let departures = Departures::default();
        for _ in 0..DEPARTURES_OF_ONE_MAX {
            departures.count(network(1), at(1_000)).unwrap();
        }
        assert_eq!(departures.count(network(1), at(10)), Ok(()));
    }
}
