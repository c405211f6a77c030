//! `[behaviour]`: what is kept of habits, and what is unusual.

use stepgate_core::behaviour::{BehaviourSettings, FailureLimits, Signal, Weights};

use super::read::Table;

/// Most memory for profiles, MiB.
const MEMORY_MIB_MAX: u64 = 65_536;

/// What `[behaviour]` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behaviour {
    /// What is unusual.
    pub settings: BehaviourSettings,
    /// How many profiles are kept in memory.
    pub memory: ProfileMemory,
}

/// The memory for profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileMemory {
    /// In bytes.
    pub bytes: u64,
}

impl Default for ProfileMemory {
    fn default() -> Self {
        Self { bytes: 64 << 20 }
    }
}

pub(super) fn behaviour(table: Table<'_>) -> Behaviour {
    let default = BehaviourSettings::default();
    let small = |key, range, default: u16| {
        let number = table.number(key, range);
        number.and_then(|number| u16::try_from(number).ok()).unwrap_or(default)
    };
    let wide = |key, range, default: u32| {
        let number = table.number(key, range);
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    let settings = BehaviourSettings {
        keep: table.value("keep").is_none() || table.flag("keep"),
        half_life_days: small("half_life_days", 1..=365, default.half_life_days),
        history_days: small("history_days", 1..=60, default.history_days),
        hour_percent: u8::try_from(small("hour_percent", 0..=50, default.hour_percent.into())).unwrap_or_default(),
        rate_times: small("rate_times", 1..=1000, default.rate_times),
        rate_min: wide("rate_min", 1..=1_000_000, default.rate_min),
        burst_times: small("burst_times", 1..=1000, default.burst_times),
        burst_min: wide("burst_min", 1..=60_000, default.burst_min),
        amount_times: small("amount_times", 1..=1000, default.amount_times),
        travel_kmh: wide("travel_kmh", 100..=100_000, default.travel_kmh),
        travel_km: wide("travel_km", 10..=20_000, default.travel_km),
        failures: FailureLimits {
            person: small("failures_of_person", 1..=1000, default.failures.person),
            device: small("failures_of_device", 1..=1000, default.failures.device),
            address: small("failures_of_address", 1..=60_000, default.failures.address),
            people: small("spike_people", 1..=1000, default.failures.people),
        },
        weights: table.table("weights").map(weights).unwrap_or_default(),
    };
    let memory = table.number("memory_mib", 1..=MEMORY_MIB_MAX).map(|mib| ProfileMemory { bytes: mib << 20 });
    table.finish();
    Behaviour { settings, memory: memory.unwrap_or_default() }
}

fn weights(table: Table<'_>) -> Weights {
    let weigh = |weights: Weights, signal: Signal| {
        let weight = table.number(signal.name(), 0..=100).and_then(|weight| u8::try_from(weight).ok());
        weight.map_or(weights, |weight| weights.with(signal, weight))
    };
    let weights = Signal::ALL.into_iter().fold(Weights::default(), weigh);
    table.finish();
    weights
}
