//! What counts as unusual, and how much it weighs. The defaults are frozen by recorded traces.

use std::time::Duration;

use super::Signal;

/// What is kept of habits, and from where on something is unusual.
#[derive(Clone, Debug, PartialEq)]
pub struct BehaviourSettings {
    /// Whether habits are kept at all. If not, nobody has a history.
    pub keep: bool,
    /// After so many days a day counts half.
    pub half_life_days: u16,
    /// Days on which somebody was here before anything is unusual for them.
    pub history_days: u16,
    /// An hour on fewer of their days than this part, in percent, is unusual.
    pub hour_percent: u8,
    /// So many times what they do of something on a day at most is unusual …
    pub rate_times: u16,
    /// … if it is more than this.
    pub rate_min: u32,
    /// So many times what they do of something within five minutes at most is a burst …
    pub burst_times: u16,
    /// … if it is more than this.
    pub burst_min: u32,
    /// A number that is so many times their greatest usual one is unusual.
    pub amount_times: u16,
    /// Faster than this, in km/h, nobody travels.
    pub travel_kmh: u32,
    /// Shorter ways than this, in km, are no travel: databases of places are that far off.
    pub travel_km: u32,
    /// From where on failures are too many.
    pub failures: FailureLimits,
    /// What each signal adds to the score.
    pub weights: Weights,
}

/// From where on failures are too many. They are counted over an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimits {
    /// Of one person.
    pub person: u16,
    /// Of one device.
    pub device: u16,
    /// From one address.
    pub address: u16,
    /// So many people for whom something failed from one address are a spike.
    pub people: u16,
}

impl Default for FailureLimits {
    fn default() -> Self {
        Self { person: 5, device: 5, address: 20, people: 5 }
    }
}

impl BehaviourSettings {
    /// The half-life as a time.
    pub const fn half_life(&self) -> Duration {
        Duration::from_secs(86_400 * self.half_life_days as u64)
    }
}

impl Default for BehaviourSettings {
    fn default() -> Self {
        Self {
            keep: true,
            half_life_days: 60,
            history_days: 4,
            hour_percent: 5,
            rate_times: 2,
            rate_min: 12,
            burst_times: 3,
            burst_min: 8,
            amount_times: 3,
            travel_kmh: 1_000,
            travel_km: 500,
            failures: FailureLimits::default(),
            weights: Weights::default(),
        }
    }
}

/// What each signal adds to the score, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights([u8; Signal::ALL.len()]);

impl Weights {
    /// The weight of a signal.
    pub fn of(&self, signal: Signal) -> u8 {
        let at = Signal::ALL.iter().position(|one| *one == signal);
        at.and_then(|at| self.0.get(at)).copied().unwrap_or(100)
    }

    /// These, with another weight of one signal.
    #[must_use]
    pub fn with(mut self, signal: Signal, weight: u8) -> Self {
        let at = Signal::ALL.iter().position(|one| *one == signal);
        if let Some(own) = at.and_then(|at| self.0.get_mut(at)) {
            *own = weight.min(100);
        }
        self
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self(Signal::ALL.map(|signal| match signal {
            Signal::HabitsUnreadable | Signal::ImpossibleTravel => 100,
            Signal::UnusualAmount | Signal::Burst | Signal::Spike => 40,
            Signal::NoHistory | Signal::NewCountry | Signal::UnusualHour | Signal::ManyFailures => 30,
            Signal::UnusualRate => 25,
            Signal::NewNetwork | Signal::FirstUse => 15,
        }))
    }
}
