//! A profile as bytes: compact, and of a version that says how to read it.

use super::act::{NetworkKey, Spot};
use super::profile::{ACTIONS_MAX, ActionHabit, COUNTRIES_MAX, Known, NETWORKS_MAX, Profile, SIZES_MAX, SizeHabit};
use crate::time::Timestamp;

/// The format that is written. Others are refused.
pub const FORMAT: u8 = 1;

/// The longest profile, in bytes: each list full.
pub const PROFILE_BYTES_MAX: usize = HEAD + COUNTRIES_MAX * 10 + NETWORKS_MAX * 16 + ACTIONS_MAX * 37 + SIZES_MAX * 25;
/// Format, day, days, hours, hours of today, last place, four lengths.
const HEAD: usize = 1 + 4 + 8 + 192 + 4 + (1 + 4 + 4 + 2 + 8) + 4;

/// Why bytes are no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAProfile {
    /// It was written by another version.
    #[error("a profile of format {0}, and this version reads {FORMAT}")]
    Format(u8),
    /// It ends too early, goes on too long, or has a value that none has.
    #[error("a damaged profile: {0}")]
    Damaged(&'static str),
}

impl Profile {
    /// As bytes, little-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD);
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        let len = |len: usize| [u8::try_from(len).unwrap_or(u8::MAX)];
        put(&[FORMAT]);
        put(&self.today.to_le_bytes());
        self.days.iter().chain(self.hours.iter().flatten()).for_each(|days| put(&days.to_le_bytes()));
        put(&self.hours_today.to_le_bytes());
        match self.last {
            None => put(&[0; 19]),
            Some((spot, at)) => {
                put(&[1]);
                put(&spot.latitude.to_le_bytes());
                put(&spot.longitude.to_le_bytes());
                put(&spot.radius_km.to_le_bytes());
                put(&at.as_ms().to_le_bytes());
            }
        }
        put(&len(self.countries.len()));
        for Known { key, days, last_day } in &self.countries {
            put(key);
            put(&days.to_le_bytes());
            put(&last_day.to_le_bytes());
        }
        put(&len(self.networks.len()));
        for Known { key, days, last_day } in &self.networks {
            put(&key.0.to_le_bytes());
            put(&days.to_le_bytes());
            put(&last_day.to_le_bytes());
        }
        put(&len(self.actions.len()));
        for action in &self.actions {
            put(&action.key.to_le_bytes());
            put(&action.last_day.to_le_bytes());
            put(&[u8::from(action.is_known)]);
            put(&action.counted_day.to_le_bytes());
            put(&action.uses_today.to_le_bytes());
            put(&action.mean_a_day.to_le_bytes());
            put(&action.window_at.to_le_bytes());
            put(&action.uses_in_window.to_le_bytes());
            put(&action.busiest_today.to_le_bytes());
            put(&action.mean_in_window.to_le_bytes());
        }
        put(&len(self.sizes.len()));
        for size in &self.sizes {
            put(&size.key.to_le_bytes());
            [size.count, size.mean, size.variance].iter().for_each(|part| put(&part.to_le_bytes()));
            put(&size.day.to_le_bytes());
            put(&[size.taught_on_day]);
        }
        out
    }

    /// Reads what [`Profile::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`NotAProfile`]: what cannot be read wholly is no profile, and nothing of it counts.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAProfile> {
        let mut from = Bytes(bytes);
        let format = u8::from_le_bytes(from.take()?);
        if format != FORMAT {
            return Err(NotAProfile::Format(format));
        }
        let mut profile = Self { today: from.int()?, ..Self::default() };
        for days in profile.days.iter_mut().chain(profile.hours.iter_mut().flatten()) {
            *days = from.amount()?;
        }
        profile.hours_today = u32::from_le_bytes(from.take()?);
        profile.last = from.last()?;
        for _ in 0..from.len(COUNTRIES_MAX)? {
            profile.countries.push(Known { key: from.take()?, days: from.amount()?, last_day: from.int()? });
        }
        for _ in 0..from.len(NETWORKS_MAX)? {
            let key = NetworkKey(u64::from_le_bytes(from.take()?));
            profile.networks.push(Known { key, days: from.amount()?, last_day: from.int()? });
        }
        for _ in 0..from.len(ACTIONS_MAX)? {
            profile.actions.push(from.action()?);
        }
        for _ in 0..from.len(SIZES_MAX)? {
            profile.sizes.push(SizeHabit {
                key: u64::from_le_bytes(from.take()?),
                count: from.amount()?,
                mean: from.amount()?,
                variance: from.amount()?,
                day: from.int()?,
                taught_on_day: u8::from_le_bytes(from.take()?),
            });
        }
        if from.0.is_empty() { Ok(profile) } else { Err(NotAProfile::Damaged("it goes on after its end")) }
    }
}

/// What is left to read.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NotAProfile> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(NotAProfile::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn int(&mut self) -> Result<i32, NotAProfile> {
        self.take().map(i32::from_le_bytes)
    }

    fn float(&mut self) -> Result<f32, NotAProfile> {
        let float = f32::from_le_bytes(self.take()?);
        if float.is_finite() { Ok(float) } else { Err(NotAProfile::Damaged("a number is none")) }
    }

    fn amount(&mut self) -> Result<f32, NotAProfile> {
        let float = self.float()?;
        if float >= 0.0 { Ok(float) } else { Err(NotAProfile::Damaged("a weight is below nothing")) }
    }

    fn len(&mut self, max: usize) -> Result<usize, NotAProfile> {
        let len = usize::from(u8::from_le_bytes(self.take()?));
        if len <= max { Ok(len) } else { Err(NotAProfile::Damaged("a list is too long")) }
    }

    fn flag(&mut self) -> Result<bool, NotAProfile> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(NotAProfile::Damaged("neither yes nor no")),
        }
    }

    fn last(&mut self) -> Result<Option<(Spot, Timestamp)>, NotAProfile> {
        let is_there = self.flag()?;
        let spot =
            Spot { latitude: self.float()?, longitude: self.float()?, radius_km: u16::from_le_bytes(self.take()?) };
        let at = Timestamp::from_ms(i64::from_le_bytes(self.take()?));
        Ok(is_there.then_some((spot, at)))
    }

    fn action(&mut self) -> Result<ActionHabit, NotAProfile> {
        Ok(ActionHabit {
            key: u64::from_le_bytes(self.take()?),
            last_day: self.int()?,
            is_known: self.flag()?,
            counted_day: self.int()?,
            uses_today: u32::from_le_bytes(self.take()?),
            mean_a_day: self.amount()?,
            window_at: u32::from_le_bytes(self.take()?),
            uses_in_window: u16::from_le_bytes(self.take()?),
            busiest_today: u16::from_le_bytes(self.take()?),
            mean_in_window: self.amount()?,
        })
    }
}
