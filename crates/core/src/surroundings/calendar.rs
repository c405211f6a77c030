//! When a business is open, in its own time zone.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use crate::time::Timestamp;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// A minute of the day, from 00:00 to 24:00, which is the end of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DayMinute(u16);

/// The text is no time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time of day is like 08:30, from 00:00 to 24:00")]
pub struct NotADayMinute;

impl DayMinute {
    /// 00:00.
    pub const MIDNIGHT: Self = Self(0);
    /// 24:00.
    pub const END: Self = Self(DAY);
}

impl FromStr for DayMinute {
    type Err = NotADayMinute;

    fn from_str(text: &str) -> Result<Self, NotADayMinute> {
        let (hour, minute) = text.split_once(':').ok_or(NotADayMinute)?;
        let number = |text: &str, max: u16| {
            let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            two_digits.then(|| text.parse::<u16>().ok()).flatten().filter(|number| *number <= max).ok_or(NotADayMinute)
        };
        let (hour, minute) = (number(hour, 24)?, number(minute, 59)?);
        match hour * 60 + minute {
            minutes if minutes <= DAY => Ok(Self(minutes)),
            _ => Err(NotADayMinute),
        }
    }
}

impl fmt::Display for DayMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A business calendar. It is open on its weekdays from one time to another, except on its holidays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Its name in policy: `context.time.open` and `context.time.holidays`.
    pub name: String,
    /// Where its clock hangs.
    pub zone: TimeZone,
    /// The weekdays on which it is open.
    pub days: Vec<Weekday>,
    /// Open from this minute on,
    pub from: DayMinute,
    /// and until this one, which is no longer part of it.
    pub to: DayMinute,
    /// Days on which it is closed, whatever weekday they are.
    pub holidays: BTreeSet<Date>,
}

impl Calendar {
    /// Whether it is open at that moment. A moment that no calendar can name is none at which it is.
    pub fn is_open(&self, at: Timestamp) -> bool {
        let Ok(at) = jiff::Timestamp::from_millisecond(at.as_ms()) else { return false };
        let here = at.to_zoned(self.zone.clone());
        let minute = i32::from(here.hour()) * 60 + i32::from(here.minute());
        self.days.contains(&here.weekday())
            && (i32::from(self.from.0)..i32::from(self.to.0)).contains(&minute)
            && !self.holidays.contains(&here.date())
    }

    /// Whether that moment lies in one of its holidays.
    pub fn is_holiday(&self, at: Timestamp) -> bool {
        let at = jiff::Timestamp::from_millisecond(at.as_ms());
        at.is_ok_and(|at| self.holidays.contains(&at.to_zoned(self.zone.clone()).date()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn zurich() -> Calendar {
        use Weekday::{Friday, Monday, Thursday, Tuesday, Wednesday};
        Calendar {
            name: "office".into(),
            zone: TimeZone::get("Europe/Zurich").unwrap(),
            days: vec![Monday, Tuesday, Wednesday, Thursday, Friday],
            from: "08:00".parse().unwrap(),
            to: "18:00".parse().unwrap(),
            holidays: ["2026-12-25".parse().unwrap()].into(),
        }
    }

    #[test]
    fn a_time_of_day_is_two_numbers_of_two_digits() {
        for (text, expected) in [("00:00", 0), ("08:30", 510), ("23:59", 1439), ("24:00", 1440)] {
            let minute: DayMinute = text.parse().unwrap();
            assert_eq!((minute.0, minute.to_string().as_str()), (expected, text));
        }
        for text in ["", "8:30", "08:60", "24:01", "25:00", "0800", "08:30:00", "+8:30", "08:+1"] {
            assert_eq!(text.parse::<DayMinute>(), Err(NotADayMinute), "{text}");
        }
    }

    #[test]
    fn it_is_open_by_its_own_clock_in_summer_and_winter() {
        let office = zurich();
        // UTC+1 in winter, UTC+2 in summer.
        for (moment, open) in [
            ("2026-11-20T06:59:59.999Z", false),
            ("2026-11-20T07:00:00Z", true),
            ("2026-11-20T16:59:59.999Z", true),
            ("2026-11-20T17:00:00Z", false),
            ("2026-07-17T06:00:00Z", true),
            ("2026-07-17T16:00:00Z", false),
            // A Saturday.
            ("2026-11-21T10:00:00Z", false),
        ] {
            assert_eq!(office.is_open(at(moment)), open, "{moment}");
        }
    }

    #[test]
    fn a_holiday_is_a_day_of_its_own_zone() {
        let office = zurich();
        for (moment, holiday) in [
            ("2026-12-24T22:59:59Z", false),
            ("2026-12-24T23:00:00Z", true),
            ("2026-12-25T10:00:00Z", true),
            ("2026-12-25T23:00:00Z", false),
        ] {
            assert_eq!(office.is_holiday(at(moment)), holiday, "{moment}");
        }
        // A Friday, in hours.
        assert!(!office.is_open(at("2026-12-25T10:00:00Z")));
        assert!(!office.is_open(Timestamp::from_ms(i64::MAX)));
    }
}
