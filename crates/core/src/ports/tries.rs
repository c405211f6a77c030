//! Counting tries: who tries, and how often.
//!
//! Whoever knows a login can try a password. So that they cannot lock it for its
//! owner, wrong tries are counted apart by where they come from (SP 800-63B-4
//! section 3.2.2 allows it; OWASP: device cookies):
//!
//! - from a device where this person has proved this kind before: a count of its
//!   own, which nobody else touches;
//! - from everywhere else: one count of all strangers, and one of each network
//!   address, which is reached first, so that one address alone locks nobody but
//!   itself, and for longer each time.
//!
//! Over all of them, wrong tries in a row never exceed [`TryLimits::before_reset`],
//! and strangers have half of these at most.

use std::net::IpAddr;
use std::time::Duration;

use crate::secret::TokenDigest;
use crate::surroundings::network_of;
use crate::time::Timestamp;

/// The longest lock of a network address, however often it was locked.
pub const ADDRESS_LOCK_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where a try comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trier {
    /// The device cookie that came with it. It counts as known only where this
    /// person has given a right answer of the same kind with it.
    pub device: Option<TokenDigest>,
    /// The network address, as far as trusted hops tell.
    pub address: IpAddr,
}

impl Trier {
    /// The address as it is counted.
    pub fn network(&self) -> IpAddr {
        network_of(self.address)
    }
}

/// A counted try. The count is durable before the answer is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// It may be verified. So many wrong ones are left, this one included.
    Allowed {
        /// Tries left, this one included.
        left: u32,
    },
    /// Locked until then; nothing was counted.
    Locked {
        /// Until when.
        until: Timestamp,
    },
}

/// Limits of tries per factor and person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryLimits {
    /// Wrong tries of all strangers together, or of one known device, before a lock
    /// (PCI DSS 8.3.4: at most 10). A pause as long as a lock begins the count anew.
    pub before_lock: u32,
    /// How long a lock lasts (PCI DSS 8.3.4: at least 30 minutes).
    pub lock: Duration,
    /// Consecutive wrong tries, wherever they come from, after which an administrator
    /// must reset it (SP 800-63B-4 section 3.2.2: at most 100).
    pub before_reset: u32,
}

impl TryLimits {
    /// Wrong tries from one network address before that address is locked: half of what
    /// locks all strangers.
    pub const fn from_one_address(&self) -> u32 {
        at_least_one(self.before_lock.div_ceil(2))
    }

    /// Consecutive wrong tries of strangers after which no stranger may try until the
    /// person gives a right answer from a known device: the other half is the person's.
    pub const fn of_strangers(&self) -> u32 {
        at_least_one(self.before_reset.div_ceil(2))
    }

    /// How long an address is locked that was locked so many times before: twice as
    /// long each time, at most [`ADDRESS_LOCK_MAX`] or one lock, if that is longer.
    pub fn address_lock(&self, locked_before: u32) -> Duration {
        let doubled = self.lock.saturating_mul(1_u32 << locked_before.min(16));
        doubled.min(ADDRESS_LOCK_MAX.max(self.lock))
    }
}

const fn at_least_one(number: u32) -> u32 {
    if number == 0 { 1 } else { number }
}

impl Default for TryLimits {
    fn default() -> Self {
        Self { before_lock: 10, lock: Duration::from_secs(30 * 60), before_reset: 100 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_counts_with_its_network() {
        for (address, network) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::9", "2001:db8:1:2::"),
            ("2001:db8:1:3::9", "2001:db8:1:3::"),
        ] {
            let trier = Trier { device: None, address: address.parse().unwrap() };
            assert_eq!(trier.network().to_string(), network, "{address}");
        }
    }

    #[test]
    fn an_address_waits_twice_as_long_each_time_and_a_day_at_most() {
        let limits = TryLimits::default();
        let hours: Vec<u64> = (0..9).map(|before| limits.address_lock(before).as_secs() / 1800).collect();
        assert_eq!(hours, [1, 2, 4, 8, 16, 32, 48, 48, 48]);
        let long = TryLimits { lock: Duration::from_secs(48 * 3600), ..limits };
        assert_eq!(long.address_lock(30), long.lock);
    }

    #[test]
    fn every_limit_allows_a_try() {
        let least = TryLimits { before_lock: 0, before_reset: 0, ..TryLimits::default() };
        assert_eq!((least.from_one_address(), least.of_strangers()), (1, 1));
        assert_eq!((TryLimits::default().from_one_address(), TryLimits::default().of_strangers()), (5, 50));
    }
}
