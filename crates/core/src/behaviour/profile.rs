//! What is kept of one person: bounded, and fading.

use super::act::{Act, Hourly, NetworkKey, Size, Spot};
use super::settings::BehaviourSettings;
use crate::time::Timestamp;

/// Countries that are kept; the least usual goes first.
pub const COUNTRIES_MAX: usize = 16;
/// Networks that are kept; the least usual goes first.
pub const NETWORKS_MAX: usize = 24;
/// Actions that are kept; the one that was not used for longest goes first.
pub const ACTIONS_MAX: usize = 64;
/// Inputs of all actions whose sizes are kept.
pub const SIZES_MAX: usize = 36;

/// Length of the window in which a burst is counted, in minutes.
pub(super) const WINDOW_MIN: i64 = 5;
/// Amounts of one input that teach on one day; the others of that day teach nothing more.
const SIZES_A_DAY: u8 = 8;
/// So many amounts weigh as much as all before them.
const SIZES_REMEMBERED: f32 = 60.0;

/// What is usual for one person.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The newest day that was seen.
    pub(super) today: i32,
    /// Days on which they were here: workdays, weekends. They fade.
    pub(super) days: [f32; 2],
    /// On how many of these they were here in each hour.
    pub(super) hours: [[f32; 24]; 2],
    /// The hours that this day has counted already, as bits.
    pub(super) hours_today: u32,
    pub(super) countries: Vec<Known<[u8; 2]>>,
    pub(super) networks: Vec<Known<NetworkKey>>,
    /// Where they were last, and when.
    pub(super) last: Option<(Spot, Timestamp)>,
    pub(super) actions: Vec<ActionHabit>,
    pub(super) sizes: Vec<SizeHabit>,
}

/// Something from where they come: on how many days, as of the last of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Known<K> {
    pub(super) key: K,
    pub(super) days: f32,
    pub(super) last_day: i32,
}

/// How often they do something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ActionHabit {
    pub(super) key: u64,
    /// The last day on which it taught something; [`NEVER`] where it never did.
    pub(super) last_day: i32,
    /// Whether it is no first use any more: confirmed, or taught on two days.
    pub(super) is_known: bool,
    /// The day that is counted below.
    pub(super) counted_day: i32,
    pub(super) uses_today: u32,
    /// Uses on a day of use, on the average of the last ones.
    pub(super) mean_a_day: f32,
    /// The window that is counted, in minutes since 1970.
    pub(super) window_at: u32,
    pub(super) uses_in_window: u16,
    pub(super) busiest_today: u16,
    /// Uses in the busiest window of a day, likewise.
    pub(super) mean_in_window: f32,
}

/// The day of what never was.
pub(super) const NEVER: i32 = i32::MIN;

/// How great a number of an action is, on a logarithmic scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SizeHabit {
    /// Of action and input together.
    pub(super) key: u64,
    pub(super) count: f32,
    pub(super) mean: f32,
    pub(super) variance: f32,
    pub(super) day: i32,
    /// How many taught on that day.
    pub(super) taught_on_day: u8,
}

/// What an operation that went through teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taught {
    /// Nothing doubtful was in it: it is remembered.
    Everyday,
    /// The person proved for this very request that it was they: it is remembered, whatever was unusual.
    Confirmed,
    /// Something was doubtful and nobody confirmed it: it is counted, so that a burst is seen, and teaches nothing.
    Counted,
}

impl Default for Profile {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            today: NEVER,
            days: [0.0; 2],
            hours: [[0.0; 24]; 2],
            hours_today: 0,
            countries: Vec::new(),
            networks: Vec::new(),
            last: None,
            actions: Vec::new(),
            sizes: Vec::new(),
        }
    }
}

impl Profile {
    /// Learns from an operation that went through.
    pub fn learn(&mut self, act: &Act, taught: Taught, settings: &BehaviourSettings) {
        let half_life = half_life(settings);
        self.begin_day(act.hourly.day, half_life);
        self.count(act, taught);
        if taught == Taught::Counted {
            return;
        }
        self.learn_hour(act.hourly);
        touch(&mut self.countries, act.country, self.today, half_life, COUNTRIES_MAX);
        touch(&mut self.networks, act.network, self.today, half_life, NETWORKS_MAX);
        if let Some(spot) = act.spot
            && self.last.is_none_or(|(_, at)| at <= act.at)
        {
            self.last = Some((spot, act.at));
        }
        for size in &act.sizes {
            self.learn_size(act.action, *size, settings);
        }
    }

    /// On how many days they were here, as it weighs on this day.
    pub(super) fn history(&self, day: i32, half_life: f32) -> f32 {
        self.days.iter().sum::<f32>() * faded(self.today, day, half_life)
    }

    /// How much memory it takes, about, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            .saturating_add(size_of_val(self.countries.as_slice()))
            .saturating_add(size_of_val(self.networks.as_slice()))
            .saturating_add(size_of_val(self.actions.as_slice()))
            .saturating_add(size_of_val(self.sizes.as_slice()))
    }

    /// A day that was before the newest one counts as that: another node may have been slow.
    fn begin_day(&mut self, day: i32, half_life: f32) {
        if day <= self.today {
            return;
        }
        let fades = faded(self.today, day, half_life);
        self.days.iter_mut().chain(self.hours.iter_mut().flatten()).for_each(|days| *days *= fades);
        self.hours_today = 0;
        self.today = day;
    }

    fn learn_hour(&mut self, at: Hourly) {
        let kind = usize::from(at.is_weekend);
        let bit = 1_u32 << at.hour.min(23);
        if let Some(days) = self.days.get_mut(kind).filter(|_| self.hours_today == 0) {
            *days += 1.0;
        }
        let hour = self.hours.get_mut(kind).and_then(|hours| hours.get_mut(usize::from(at.hour)));
        if let Some(hour) = hour.filter(|_| self.hours_today & bit == 0) {
            *hour += 1.0;
        }
        self.hours_today |= bit;
    }

    fn count(&mut self, act: &Act, taught: Taught) {
        let today = self.today;
        let found = self.actions.iter_mut().find(|habit| habit.key == act.action);
        let habit = match found {
            Some(habit) => habit,
            None => {
                if self.actions.len() >= ACTIONS_MAX {
                    let oldest =
                        (0..self.actions.len()).min_by_key(|at| self.actions.get(*at).map(|one| one.counted_day));
                    oldest.map(|at| self.actions.swap_remove(at));
                }
                self.actions.push(ActionHabit::new(act.action, today));
                let Some(habit) = self.actions.last_mut() else { return };
                habit
            }
        };
        *habit = habit.on(today).used(act.at);
        if taught != Taught::Counted {
            habit.is_known |= taught == Taught::Confirmed || (habit.last_day != NEVER && habit.last_day < today);
            habit.last_day = today;
        }
    }

    fn learn_size(&mut self, action: u64, size: Size, settings: &BehaviourSettings) {
        let key = size_key(action, size.input);
        let today = self.today;
        let at = match self.sizes.iter().position(|habit| habit.key == key) {
            Some(at) => at,
            None => {
                if self.sizes.len() >= SIZES_MAX {
                    let oldest = (0..self.sizes.len()).min_by_key(|at| self.sizes.get(*at).map(|one| one.day));
                    oldest.map(|at| self.sizes.swap_remove(at));
                }
                let (count, mean, variance) = (0.0, 0.0, 0.0);
                self.sizes.push(SizeHabit { key, count, mean, variance, day: today, taught_on_day: 0 });
                self.sizes.len().saturating_sub(1)
            }
        };
        if let Some(habit) = self.sizes.get_mut(at) {
            habit.learn(size.log, today, settings);
        }
    }
}

impl ActionHabit {
    fn new(key: u64, today: i32) -> Self {
        Self {
            key,
            last_day: NEVER,
            is_known: false,
            counted_day: today,
            uses_today: 0,
            mean_a_day: 0.0,
            window_at: 0,
            uses_in_window: 0,
            busiest_today: 0,
            mean_in_window: 0.0,
        }
    }

    /// The same on a later day: what was counted becomes habit, as far as one day may raise it.
    pub(super) fn on(mut self, day: i32) -> Self {
        if day <= self.counted_day {
            return self;
        }
        self.mean_a_day = averaged(self.mean_a_day, self.uses_today as f32);
        self.mean_in_window = averaged(self.mean_in_window, f32::from(self.busiest_today));
        (self.uses_today, self.uses_in_window, self.busiest_today, self.counted_day) = (0, 0, 0, day);
        self
    }

    /// With one use more.
    pub(super) fn used(mut self, at: Timestamp) -> Self {
        let minute = u32::try_from(at.as_ms() / 60_000).unwrap_or_default();
        if i64::from(minute.abs_diff(self.window_at)) >= WINDOW_MIN {
            (self.window_at, self.uses_in_window) = (minute, 0);
        }
        self.uses_today = self.uses_today.saturating_add(1);
        self.uses_in_window = self.uses_in_window.saturating_add(1);
        self.busiest_today = self.busiest_today.max(self.uses_in_window);
        self
    }
}

impl SizeHabit {
    /// The greatest logarithm that is usual: two standard deviations above the mean, and what is configured.
    pub(super) fn usual_max(&self, settings: &BehaviourSettings) -> f32 {
        // Who always enters the same number may enter a little more.
        let deviation = self.variance.sqrt().max(0.25);
        deviation.mul_add(2.0, self.mean) + f32::from(settings.amount_times.max(1)).ln()
    }

    /// What is far above teaches no more than what is just usual.
    fn learn(&mut self, log: f32, today: i32, settings: &BehaviourSettings) {
        if self.day != today {
            (self.day, self.taught_on_day) = (today, 0);
        }
        if self.taught_on_day >= SIZES_A_DAY {
            return;
        }
        self.taught_on_day = self.taught_on_day.saturating_add(1);
        let log = if self.count >= SIZES_NEEDED { log.min(self.usual_max(settings)) } else { log };
        self.count = (self.count + 1.0).min(SIZES_REMEMBERED);
        let weight = 1.0 / self.count;
        let off = log - self.mean;
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (weight * off).mul_add(off, self.variance);
    }
}

/// So many amounts have to be known before one is unusual.
pub(super) const SIZES_NEEDED: f32 = 5.0;

/// What a day adds to an average. A day that was far beyond adds no more than one that was just usual, so that a night
/// of plunder makes the next one no easier.
const DAY_WEIGHS: f32 = 0.2;

fn averaged(mean: f32, day: f32) -> f32 {
    if mean == 0.0 { day.min(usual_max(1.0)) } else { DAY_WEIGHS.mul_add(day.min(usual_max(mean)) - mean, mean) }
}

/// How many are usual at most where there are so many on average: two deviations above it, as of things that happen
/// independently (Poisson), and one.
pub(super) fn usual_max(mean: f32) -> f32 {
    mean.max(0.0).sqrt().mul_add(2.0, mean) + 1.0
}

/// Names an input of an action.
pub(super) const fn size_key(action: u64, input: u64) -> u64 {
    action.rotate_left(17) ^ input
}

pub(super) fn half_life(settings: &BehaviourSettings) -> f32 {
    f32::from(settings.half_life_days.max(1))
}

/// What is left on `day` of what weighed 1 on `from`.
pub(super) fn faded(from: i32, day: i32, half_life: f32) -> f32 {
    let days = day.saturating_sub(from).max(0);
    (-(days as f32) / half_life).exp2()
}

/// One day more of this, once a day.
fn touch<K: Copy + PartialEq>(all: &mut Vec<Known<K>>, key: K, today: i32, half_life: f32, max: usize) {
    if let Some(known) = all.iter_mut().find(|known| known.key == key) {
        if known.last_day != today {
            known.days = known.days.mul_add(faded(known.last_day, today, half_life), 1.0);
            known.last_day = today;
        }
        return;
    }
    if all.len() >= max {
        let weight = |known: &Known<K>| known.days * faded(known.last_day, today, half_life);
        let least = all.iter().enumerate().min_by(|(_, a), (_, b)| weight(a).total_cmp(&weight(b))).map(|(at, _)| at);
        least.map(|at| all.swap_remove(at));
    }
    all.push(Known { key, days: 1.0, last_day: today });
}
