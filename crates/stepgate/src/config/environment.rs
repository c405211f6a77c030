//! `[places]` and `[[calendar]]`: what is known of the world around requests.

use std::path::{Path, PathBuf};

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use stepgate_core::similar::nearest;
use stepgate_core::surroundings::{Calendar, DayMinute, Region};

use super::read::{At, Table};

/// The files of `[places]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceFiles {
    /// Country, or country with region and city.
    pub places: Option<PathBuf>,
    /// Autonomous systems.
    pub systems: Option<PathBuf>,
    /// Anonymizers.
    pub anonymizers: Option<PathBuf>,
}

const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

pub(super) fn places(table: Table<'_>, base: &Path) -> (PlaceFiles, Vec<Region>) {
    let file = |key| table.text(key).map(|at| base.join(at.value));
    let files =
        PlaceFiles { places: file("file"), systems: file("systems_file"), anonymizers: file("anonymizers_file") };
    let mut denied: Vec<Region> = Vec::new();
    for At { value, span } in table.texts("denied") {
        match value.parse() {
            Ok(region) if denied.contains(&region) => table.mistake(span, format!("{region} stands here twice")),
            Ok(_) if files.places.is_none() => {
                table.mistake(span, "nobody knows where requests come from: name a database of places as `file`");
            }
            Ok(region) => denied.push(region),
            Err(error) => table.mistake(span, format!("\"{value}\": {error}")),
        }
    }
    table.finish();
    (files, denied)
}

/// The calendars; those without a zone have that of the gate.
pub(super) fn calendars(tables: Vec<Table<'_>>, gate_zone: &TimeZone) -> Vec<Calendar> {
    let mut calendars: Vec<Calendar> = Vec::new();
    for table in tables {
        let calendar = calendar(&table, gate_zone, &calendars);
        calendars.extend(calendar);
        table.finish();
    }
    calendars
}

fn calendar(table: &Table<'_>, gate_zone: &TimeZone, others: &[Calendar]) -> Option<Calendar> {
    let name = table.required("name");
    let zone = table.parsed("time_zone", "a time zone like \"UTC\" or \"Europe/Zurich\"", TimeZone::get);
    let time = |key| table.parsed(key, "a time of day like \"08:30\"", str::parse::<DayMinute>);
    let (from, to) = (time("from"), time("to"));
    let mut days = Vec::new();
    for At { value, span } in table.texts("days") {
        match DAYS.iter().find(|(name, _)| *name == value) {
            Some((_, day)) => days.push(*day),
            None => {
                let hint = nearest(&value, DAYS.iter().map(|(name, _)| *name));
                let hint = hint.map(|name| format!(": did you mean \"{name}\"?")).unwrap_or_default();
                table.mistake(span, format!("\"{value}\" is no weekday like \"monday\"{hint}"));
            }
        }
    }
    if days.is_empty() {
        days.extend(DAYS.map(|(_, day)| day));
    }
    let mut holidays = std::collections::BTreeSet::new();
    for At { value, span } in table.texts("holidays") {
        match value.parse::<Date>() {
            Ok(date) if date.to_string() == value => {
                holidays.insert(date);
            }
            _ => table.mistake(span, format!("\"{value}\" is no date like \"2026-12-25\"")),
        }
    }
    let name = name?;
    if name.value.is_empty() || others.iter().any(|other| other.name == name.value) {
        table.mistake(name.span, "each calendar has a name of its own");
        return None;
    }
    let end = to.as_ref().map_or(DayMinute::END, |at| at.value);
    let begin = from.as_ref().map_or(DayMinute::MIDNIGHT, |at| at.value);
    if begin >= end {
        let span = to.or(from).map_or(name.span, |at| at.span);
        table.mistake(span, "it ends before it begins; for a shift over midnight make two calendars");
        return None;
    }
    Some(Calendar {
        name: name.value,
        zone: zone.map_or_else(|| gate_zone.clone(), |at| at.value),
        days,
        from: begin,
        to: end,
        holidays,
    })
}
