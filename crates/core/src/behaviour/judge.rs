//! What is unusual about an operation.

use super::act::{Act, Hourly};
use super::failures::FailureCounts;
use super::profile::{
    ActionHabit, Known, NEVER, Profile, SIZES_NEEDED, Taught, WINDOW_MIN, faded, half_life, size_key, usual_max,
};
use super::settings::BehaviourSettings;
use super::travel::impossible_km;
use super::words::{About, Whose};
use super::{Raised, Signal, Sure};
use crate::operation::Operation;
use crate::surroundings::Surroundings;

/// A country or network of less than this part of a day is new: it was seen once, and that is long ago.
const DAYS_KNOWN: f32 = 0.4;
/// An hour of fewer days is not usual: one night that was confirmed makes no habit …
const DAYS_USUAL: f32 = 1.2;
/// … unless so few days are known that this part of them is less.
const PART_OF_FEW: f32 = 0.2;
/// How much an hour beside, and the one beside that, says of an hour.
const BESIDE: [f32; 2] = [0.6, 0.25];

/// What of this is unusual for this person. Changes nothing.
pub fn judge(
    profile: &Profile,
    act: &Act,
    operation: &Operation,
    around: &Surroundings,
    settings: &BehaviourSettings,
) -> Vec<Raised> {
    let about = |(signal, found)| Raised {
        signal,
        weight: settings.weights.of(signal),
        about: in_names(found, act, operation, around),
    };
    find(profile, act, settings).into_iter().map(about).collect()
}

/// Learns from what went through, as sure as it is that it was the person.
pub fn teach(profile: &mut Profile, act: &Act, sure: Sure, settings: &BehaviourSettings) {
    let is_doubtful = || find(profile, act, settings).iter().any(|(signal, _)| signal.is_doubtful());
    let taught = match sure {
        Sure::Confirmed => Taught::Confirmed,
        Sure::Everyday if !is_doubtful() => Taught::Everyday,
        Sure::Everyday | Sure::Doubtful => Taught::Counted,
    };
    profile.learn(act, taught, settings);
}

/// What was found, without names.
#[derive(Clone, Copy)]
enum Found {
    NoHistory,
    FirstUse,
    Hour { from: u8, to: u8 },
    Country,
    Network,
    Rate { uses: u32, usual: u32 },
    Burst { uses: u32, usual: u32 },
    Amount { input: u64, usual: u64 },
    Travel { km: u32, minutes: u64 },
}

fn in_names(found: Found, act: &Act, operation: &Operation, around: &Surroundings) -> About {
    match found {
        Found::NoHistory => About::NoHistory,
        Found::FirstUse => About::FirstUse { action: operation.endpoint.action.to_string() },
        Found::Hour { from, to } => {
            let Hourly { hour, minute, .. } = act.hourly;
            About::Hour { hour, minute, from, to }
        }
        Found::Country => About::Country { country: around.located.place().country.clone() },
        Found::Network => About::Network { name: around.network.clone(), asn: around.located.place().asn },
        Found::Rate { uses, usual } => About::Rate { uses, usual },
        Found::Burst { uses, usual } => About::Burst { uses, usual, minutes: WINDOW_MIN },
        Found::Amount { input, usual } => {
            let of = operation.inputs.iter().find(|(name, _)| super::act::key(name) == input);
            let (name, amount) = of.map(|(name, value)| (name.clone(), value.to_string())).unwrap_or_default();
            About::Amount { input: name, amount, usual }
        }
        Found::Travel { km, minutes } => About::Travel { km, minutes },
    }
}

fn find(profile: &Profile, act: &Act, settings: &BehaviourSettings) -> Vec<(Signal, Found)> {
    let mut found = Vec::new();
    if let Some((from, at)) = profile.last
        && let Some(to) = act.spot
        && let Some(since) = act.at.since(at)
        && let Some(km) = impossible_km(from, to, since, settings)
    {
        found.push((Signal::ImpossibleTravel, Found::Travel { km, minutes: since.as_secs() / 60 }));
    }
    let half_life = half_life(settings);
    let day = act.hourly.day.max(profile.today);
    let habit = profile.actions.iter().find(|habit| habit.key == act.action).map(|habit| habit.on(day));
    let used = habit.map(|habit| habit.used(act.at));
    if let Some((uses, usual)) = used.and_then(|used| beyond_window(&used, settings)) {
        found.push((Signal::Burst, Found::Burst { uses, usual }));
    }
    if profile.today == NEVER || profile.history(day, half_life) + 0.5 < f32::from(settings.history_days) {
        found.push((Signal::NoHistory, Found::NoHistory));
        return found;
    }
    if habit.is_none_or(|habit| is_first_day(&habit, day)) {
        found.push((Signal::FirstUse, Found::FirstUse));
    }
    if let Some((from, to)) = outside_hours(profile, act.hourly, settings) {
        found.push((Signal::UnusualHour, Found::Hour { from, to }));
    }
    if !is_known(&profile.countries, &act.country, day, half_life) {
        found.push((Signal::NewCountry, Found::Country));
    }
    if !is_known(&profile.networks, &act.network, day, half_life) {
        found.push((Signal::NewNetwork, Found::Network));
    }
    if let Some((uses, usual)) = used.and_then(|used| beyond_day(&used, settings)) {
        found.push((Signal::UnusualRate, Found::Rate { uses, usual }));
    }
    if let Some((input, usual)) = beyond_sizes(profile, act, settings) {
        found.push((Signal::UnusualAmount, Found::Amount { input, usual }));
    }
    found
}

/// What of the failures around an operation is too much.
pub fn judge_failures(failures: &FailureCounts, settings: &BehaviourSettings) -> Vec<Raised> {
    let limits = settings.failures;
    let counted = [
        (failures.person, limits.person, Whose::Person),
        (failures.device, limits.device, Whose::Device),
        (failures.address, limits.address, Whose::Address),
    ];
    let reached = |(count, limit, _): &(i64, u16, Whose)| *count >= i64::from((*limit).max(1));
    let many = counted.into_iter().find(reached).map(|(count, _, whose)| {
        let about = About::Failures { count, whose };
        Raised { signal: Signal::ManyFailures, weight: settings.weights.of(Signal::ManyFailures), about }
    });
    let spike = (failures.people >= i64::from(limits.people.max(1))).then(|| {
        let about = About::Spike { people: failures.people };
        Raised { signal: Signal::Spike, weight: settings.weights.of(Signal::Spike), about }
    });
    many.into_iter().chain(spike).collect()
}

/// What was done today for the first time stays so for the day, unless it was confirmed.
const fn is_first_day(habit: &ActionHabit, day: i32) -> bool {
    !habit.is_known && (habit.last_day == NEVER || habit.last_day >= day)
}

fn is_known<K: PartialEq>(all: &[Known<K>], key: &K, day: i32, half_life: f32) -> bool {
    let known = all.iter().find(|known| known.key == *key);
    known.is_some_and(|known| known.days * faded(known.last_day, day, half_life) >= DAYS_KNOWN)
}

/// How often, and how often at most usually, if that is far more.
fn beyond_day(used: &ActionHabit, settings: &BehaviourSettings) -> Option<(u32, u32)> {
    let usual = usual_max(used.mean_a_day);
    let limit = (usual * f32::from(settings.rate_times)).max(settings.rate_min as f32);
    (used.uses_today as f32 > limit).then_some((used.uses_today, usual as u32))
}

fn beyond_window(used: &ActionHabit, settings: &BehaviourSettings) -> Option<(u32, u32)> {
    let usual = usual_max(used.mean_in_window);
    let limit = (usual * f32::from(settings.burst_times)).max(settings.burst_min as f32);
    let uses = u32::from(used.uses_in_window);
    (uses as f32 > limit).then_some((uses, usual as u32))
}

fn beyond_sizes(profile: &Profile, act: &Act, settings: &BehaviourSettings) -> Option<(u64, u64)> {
    act.sizes.iter().find_map(|size| {
        let key = size_key(act.action, size.input);
        let habit = profile.sizes.iter().find(|habit| habit.key == key && habit.count >= SIZES_NEEDED)?;
        let usual = habit.variance.sqrt().max(0.25).mul_add(2.0, habit.mean).exp_m1().round();
        (size.log > habit.usual_max(settings)).then_some((size.input, usual as u64))
    })
}

/// Their usual hours, if this is outside of them.
fn outside_hours(profile: &Profile, at: Hourly, settings: &BehaviourSettings) -> Option<(u8, u8)> {
    let hours = Hours::of(profile, at.is_weekend, settings);
    (!hours.is_usual(at.hour)).then(|| hours.longest())
}

/// On how many days they were here in each hour, and around it.
struct Hours {
    own: [f32; 24],
    around: [f32; 24],
    limit: f32,
}

impl Hours {
    /// Where little is known of this kind of day, all days together tell.
    fn of(profile: &Profile, is_weekend: bool, settings: &BehaviourSettings) -> Self {
        let of_kind = |kind: usize, hour: usize| profile.hours.get(kind).and_then(|one| one.get(hour)).copied();
        let own = usize::from(is_weekend);
        let own_days = profile.days.get(own).copied().unwrap_or_default();
        let is_enough = own_days * 2.0 >= f32::from(settings.history_days);
        let days = if is_enough { own_days } else { profile.days.iter().sum() };
        let on = |hour: usize| {
            let hour = hour % 24;
            let kinds = if is_enough { own..own.saturating_add(1) } else { 0..2 };
            kinds.filter_map(|kind| of_kind(kind, hour)).sum::<f32>()
        };
        // The greatest, and not the sum: one long night is one day.
        let near = |hour: usize| {
            let beside = BESIDE.iter().zip(1_usize..).map(|(weight, off)| {
                let (before, after) =
                    (on(hour.saturating_add(24_usize.saturating_sub(off))), on(hour.saturating_add(off)));
                weight * before.max(after)
            });
            beside.fold(on(hour), f32::max)
        };
        let part = days * f32::from(settings.hour_percent) / 100.0;
        let limit = part.max(DAYS_USUAL.min(days * PART_OF_FEW));
        Self { own: std::array::from_fn(on), around: std::array::from_fn(near), limit }
    }

    fn is_usual(&self, hour: u8) -> bool {
        self.around.get(usize::from(hour) % 24).is_some_and(|around| *around >= self.limit)
    }

    /// The longest run of usual hours, over midnight too: from, and to, which is outside.
    fn longest(&self) -> (u8, u8) {
        let is_own = |hour: u8| self.own.get(usize::from(hour % 24)).is_some_and(|own| *own >= self.limit);
        let run = |from: u8| (0..24_u8).take_while(|on| is_own(from.wrapping_add(*on))).count();
        let runs = (0..24_u8).map(|from| (from, run(from)));
        let (from, len) = runs.max_by_key(|(from, len)| (*len, 24 - from)).unwrap_or((0, 0));
        (from, from.wrapping_add(u8::try_from(len).unwrap_or(24)) % 24)
    }
}
