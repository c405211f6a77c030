//! What failed lately: wrong answers, refused sign-ins and refused operations, counted in this process.
//!
//! The counters are sketches (count-min with conservative update: Cormode and Muthukrishnan 2005, Estan and
//! Varghese 2002), so that whoever tries with a million names takes no more memory than who tries with one. They never
//! say less than there was; under a flood they may say more, which asks for more. How many people a flood is about is
//! told too low, long after it is a spike.

use std::hash::{BuildHasher as _, Hash};
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::catalogue::ServiceName;
use crate::id::PersonId;
use crate::secret::TokenDigest;
use crate::surroundings::network_of;
use crate::time::Timestamp;

/// An hour, in slots.
const SLOTS: usize = 6;
/// Length of a slot.
const SLOT_MS: i64 = 600_000;
/// Rows of a sketch.
const DEPTH: usize = 4;
/// Counters of a row.
const WIDTH: usize = 8_192;

/// Something that failed, as far as is known of it.
#[derive(Clone, Debug, Default)]
pub struct Failed {
    /// The person whom it was about.
    pub person: Option<PersonId>,
    /// The device cookie that came with it.
    pub device: Option<TokenDigest>,
    /// From where.
    pub address: Option<IpAddr>,
    /// The configured network's name, or `AS3303`; empty where neither is known.
    pub network: String,
    /// At which service.
    pub service: Option<ServiceName>,
}

/// How much failed within the hour. What is not known of a request is −1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureCounts {
    /// Of the person.
    pub person: i64,
    /// Of the device.
    pub device: i64,
    /// From the address.
    pub address: i64,
    /// From the network.
    pub network: i64,
    /// At the service.
    pub service: i64,
    /// People of whom something failed from the address.
    pub people: i64,
}

impl Default for FailureCounts {
    /// Nobody knows.
    fn default() -> Self {
        Self { person: -1, device: -1, address: -1, network: -1, service: -1, people: -1 }
    }
}

impl FailureCounts {
    /// Person, device, address, network, service, people.
    pub(crate) const fn as_array(self) -> [i64; 6] {
        [self.person, self.device, self.address, self.network, self.service, self.people]
    }

    /// From the same order.
    pub(crate) const fn from_array([person, device, address, network, service, people]: [i64; 6]) -> Self {
        Self { person, device, address, network, service, people }
    }
}

/// What is counted, each apart.
#[derive(Clone, Copy, Hash)]
enum Counted<'a> {
    Person(PersonId),
    Device(TokenDigest),
    Address(IpAddr),
    Network(&'a str),
    Service(&'a str),
    PersonFrom(PersonId, IpAddr),
    PeopleFrom(IpAddr),
}

/// The counts of the last hour, of this process. Lost when it ends.
#[derive(Debug)]
pub struct Failures {
    hashers: [foldhash::fast::RandomState; DEPTH],
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    /// `counts[(slot * DEPTH + row) * WIDTH + column]`; none until something failed.
    counts: Vec<u16>,
    /// Which slot of all times each holds.
    of: [i64; SLOTS],
}

impl Default for Failures {
    fn default() -> Self {
        let slots = Slots { counts: Vec::new(), of: [i64::MIN; SLOTS] };
        Self { hashers: std::array::from_fn(|_| foldhash::fast::RandomState::default()), slots: Mutex::new(slots) }
    }
}

impl Failures {
    /// Counts a failure.
    pub fn note(&self, failed: &Failed, at: Timestamp) {
        let mut slots = self.slots.lock();
        let slot = slots.begin(at);
        let address = failed.address.map(network_of);
        let mut add = |counted: Counted<'_>| slots.add(slot, self.columns(&counted));
        let known =
            [failed.person.map(Counted::Person), failed.device.map(Counted::Device), address.map(Counted::Address)];
        known.into_iter().flatten().for_each(&mut add);
        if !failed.network.is_empty() {
            add(Counted::Network(&failed.network));
        }
        if let Some(service) = &failed.service {
            add(Counted::Service(service.as_str()));
        }
        if let (Some(person), Some(address)) = (failed.person, address) {
            let from = self.columns(&Counted::PersonFrom(person, address));
            // Each of them once.
            if slots.count(from, at) == 0 {
                slots.add(slot, self.columns(&Counted::PeopleFrom(address)));
            }
            slots.add(slot, from);
        }
    }

    /// What failed of these within the hour.
    pub fn counts(&self, of: &Failed, now: Timestamp) -> FailureCounts {
        let slots = self.slots.lock();
        let count = |counted: Counted<'_>| i64::from(slots.count(self.columns(&counted), now));
        let address = of.address.map(network_of);
        FailureCounts {
            person: of.person.map_or(-1, |person| count(Counted::Person(person))),
            device: of.device.map_or(-1, |device| count(Counted::Device(device))),
            address: address.map_or(-1, |address| count(Counted::Address(address))),
            network: if of.network.is_empty() { -1 } else { count(Counted::Network(&of.network)) },
            service: of.service.as_ref().map_or(-1, |service| count(Counted::Service(service.as_str()))),
            people: address.map_or(-1, |address| count(Counted::PeopleFrom(address))),
        }
    }

    fn columns(&self, counted: &Counted<'_>) -> [usize; DEPTH] {
        let column = |hasher: &foldhash::fast::RandomState| hasher.hash_one(counted) % WIDTH as u64;
        std::array::from_fn(|row| {
            self.hashers.get(row).map_or(0, |hasher| usize::try_from(column(hasher)).unwrap_or_default())
        })
    }
}

impl Slots {
    /// The slot of this moment, empty if it is a new one.
    fn begin(&mut self, at: Timestamp) -> usize {
        if self.counts.is_empty() {
            self.counts = vec![0; SLOTS * DEPTH * WIDTH];
        }
        let (number, slot) = slot_of(at);
        if let Some(of) = self.of.get_mut(slot).filter(|of| **of != number) {
            *of = number;
            self.counts.iter_mut().skip(slot * DEPTH * WIDTH).take(DEPTH * WIDTH).for_each(|count| *count = 0);
        }
        slot
    }

    /// One more: only the least of its counters rise, since the others hold others' too.
    fn add(&mut self, slot: usize, columns: [usize; DEPTH]) {
        let places = columns.iter().enumerate().map(|(row, column)| place(slot, row, *column));
        let least = places.clone().filter_map(|at| self.counts.get(at)).min().copied().unwrap_or_default();
        for at in places {
            if let Some(count) = self.counts.get_mut(at).filter(|count| **count == least) {
                *count = count.saturating_add(1);
            }
        }
    }

    fn count(&self, columns: [usize; DEPTH], now: Timestamp) -> u32 {
        let (number, _) = slot_of(now);
        let recent = |of: i64| number.checked_sub(of).is_some_and(|age| (0..SLOTS as i64).contains(&age));
        let slots = self.of.iter().enumerate().filter(|(_, of)| recent(**of)).map(|(slot, _)| slot);
        let in_slot = |slot: usize| {
            let rows = columns.iter().enumerate();
            rows.filter_map(|(row, column)| self.counts.get(place(slot, row, *column)))
                .min()
                .copied()
                .unwrap_or_default()
        };
        slots.map(|slot| u32::from(in_slot(slot))).sum()
    }
}

const fn place(slot: usize, row: usize, column: usize) -> usize {
    (slot * DEPTH + row) * WIDTH + column
}

/// The number of the slot of all times, and where it lies.
fn slot_of(at: Timestamp) -> (i64, usize) {
    let number = at.as_ms().div_euclid(SLOT_MS);
    (number, usize::try_from(number.rem_euclid(SLOTS as i64)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn person(at: u32) -> PersonId {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&at.to_be_bytes());
        PersonId::from_bytes(bytes)
    }

    fn from(address: &str, of: u32) -> Failed {
        Failed { person: Some(person(of)), address: address.parse().ok(), ..Failed::default() }
    }

    #[test]
    fn failures_are_counted_of_each_by_itself_for_an_hour() {
        let failures = Failures::default();
        let now = Timestamp::from_ms(1_700_000_000_000);
        assert_eq!(failures.counts(&from("192.0.2.1", 1), now).person, 0);
        for _ in 0..3 {
            failures.note(&from("192.0.2.1", 1), now);
        }
        failures.note(&from("192.0.2.1", 2), now);
        let counts = failures.counts(&from("192.0.2.1", 1), now);
        assert_eq!(counts, FailureCounts { person: 3, address: 4, people: 2, ..FailureCounts::default() });
        assert_eq!(failures.counts(&from("192.0.2.9", 9), now).people, 0);
        assert_eq!(failures.counts(&Failed::default(), now), FailureCounts::default(), "unknown is a value");
        let later = |min: u64| now.plus(Duration::from_secs(60 * min));
        assert_eq!(failures.counts(&from("192.0.2.1", 1), later(49)).person, 3);
        assert_eq!(failures.counts(&from("192.0.2.1", 1), later(60)).person, 0);
        failures.note(&from("192.0.2.1", 1), later(61));
        assert_eq!(failures.counts(&from("192.0.2.1", 1), later(61)).person, 1);
    }

    #[test]
    fn b133_a_flood_of_names_takes_no_more_memory_and_hides_nobody() {
        let failures = Failures::default();
        let now = Timestamp::from_ms(1_700_000_000_000);
        for _ in 0..7 {
            failures.note(&from("198.51.100.7", 1), now);
        }
        for of in 0..20_000 {
            failures.note(&from("203.0.113.5", 10 + of), now);
        }
        let counts = failures.counts(&from("198.51.100.7", 1), now);
        assert!(counts.person >= 7 && counts.address >= 7, "never less than there was: {counts:?}");
        assert!(failures.counts(&from("203.0.113.5", 1), now).people > 1_000, "the spike is seen, if not its size");
        assert_eq!(failures.slots.lock().counts.len(), SLOTS * DEPTH * WIDTH);
    }
}
