use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::operation::Operation;
use crate::policy::fixture;
use crate::surroundings::{Anonymizer, Geography, Located, Place, Surroundings};
use crate::time::Timestamp;

/// Monday, 6 January 2025, 00:00 UTC.
const MONDAY_MS: i64 = 1_736_121_600_000;
const ZURICH: Spot = Spot { latitude: 47.37, longitude: 8.54, radius_km: 20 };
const NEW_YORK: Spot = Spot { latitude: 40.71, longitude: -74.01, radius_km: 20 };

/// Somebody who comes from one place and pays what bills are: `day` counts from Monday.
struct Moment {
    day: i64,
    hour: i64,
    minute: i64,
    country: &'static str,
    asn: u32,
    spot: Option<Spot>,
    operation: Operation,
}

fn at(day: i64, hour: i64) -> Moment {
    let operation = fixture::operation("ledger payments.approve id=1 amount=900");
    Moment { day, hour, minute: 0, country: "CH", asn: 3303, spot: Some(ZURICH), operation }
}

impl Moment {
    fn around(&self) -> Surroundings {
        let now = Timestamp::from_ms(MONDAY_MS + ((self.day * 24 + self.hour) * 60 + self.minute) * 60_000);
        let address = IpAddr::from([203, 0, 113, 7]);
        let place = Place {
            country: self.country.to_owned(),
            asn: self.asn,
            spot: self.spot,
            anonymizer: Vec::new(),
            ..Place::default()
        };
        let around = Surroundings::new(address, "", now, &fixture::environment());
        Surroundings { located: Located::known(address, place, &Arc::new(Geography::default())), ..around }
    }

    fn act(&self) -> Act {
        Act::of(&self.operation, &self.around(), &TimeZone::UTC)
    }

    fn paying(self, amount: i64) -> Self {
        let operation = fixture::operation(&format!("ledger payments.approve id=1 amount={amount}"));
        Self { operation, ..self }
    }

    fn judged(&self, profile: &Profile) -> Vec<Raised> {
        judge(profile, &self.act(), &self.operation, &self.around(), &settings())
    }

    #[track_caller]
    fn check(&self, profile: &Profile, expected: &[&str]) {
        let names: Vec<&str> = self.judged(profile).iter().map(|raised| raised.signal.name()).collect();
        assert_eq!(names, expected);
    }
}

fn settings() -> BehaviourSettings {
    BehaviourSettings::default()
}

/// Four weeks of workdays from eight to six, with a few payments each.
fn office_worker() -> Profile {
    let mut profile = Profile::default();
    for day in (0..28).filter(|day| day % 7 < 5) {
        for hour in 8..18 {
            let moment = at(day, hour).paying(700 + (day * 37 + hour * 13) % 400);
            profile.learn(&moment.act(), Taught::Everyday, &settings());
        }
    }
    profile
}

#[test]
fn what_is_usual_raises_nothing() {
    let profile = office_worker();
    for hour in 8..18 {
        at(28, hour).check(&profile, &[]);
    }
    at(28, 7).check(&profile, &[]);
    at(33, 11).check(&profile, &[]);
    assert_eq!(Unusual::default().score(), 0);
}

#[test]
fn what_is_unusual_is_named_with_what_it_saw() {
    let profile = office_worker();
    at(28, 3).check(&profile, &["unusual_hour"]);
    Moment { country: "BR", asn: 7738, spot: None, ..at(28, 9) }.check(&profile, &["new_country", "new_network"]);
    Moment { country: "ZZ", asn: 0, spot: None, ..at(28, 9) }.check(&profile, &["new_country", "new_network"]);
    at(28, 9).paying(90_000).check(&profile, &["unusual_amount"]);
    at(28, 9).paying(1_500).check(&profile, &[]);
    let travelled = Moment { spot: Some(NEW_YORK), minute: 30, ..at(25, 17) };
    travelled.check(&profile, &["impossible_travel"]);
    let operation = fixture::operation("ledger read");
    Moment { operation, ..at(28, 9) }.check(&profile, &["first_use"]);
    let told: Vec<String> =
        Moment { minute: 12, ..at(28, 3) }.paying(90_000).judged(&profile).iter().map(Raised::told).collect();
    assert_eq!(told[0], "03:12 is outside their usual 08 to 18 (weighs 30)");
    assert!(told[1].starts_with("amount 90000 is far above their usual, at most about 1"), "{told:?}");
}

#[test]
fn b132_who_is_asked_is_not_told_what_would_be_usual() {
    let profile = office_worker();
    let mut strange = Moment { country: "BR", asn: 7738, spot: None, ..at(28, 3) }.paying(90_000).judged(&profile);
    strange.extend(Moment { spot: Some(NEW_YORK), minute: 30, ..at(25, 17) }.judged(&profile));
    assert_eq!(strange.len(), 5);
    for raised in &strange {
        let words = raised.to_person();
        for usual in ["08", "18", "CH", "3303", "km"] {
            assert!(!words.contains(usual), "{words}");
        }
        assert!(!words.contains("1,") && !words.contains("at most"), "{words}");
    }
}

#[test]
fn who_is_new_has_no_history_and_gets_one() {
    let mut profile = Profile::default();
    at(0, 9).check(&profile, &["no_history"]);
    for day in 0..4 {
        at(day, 3).check(&profile, &["no_history"]);
        profile.learn(&at(day, 9).act(), Taught::Everyday, &settings());
    }
    at(7, 9).check(&profile, &[]);
    at(7, 21).check(&profile, &["unusual_hour"]);
    at(7 + 365, 9).check(&profile, &["no_history"]);
}

#[test]
fn b130_a_stolen_session_makes_nothing_usual_that_nobody_confirmed() {
    let mut profile = office_worker();
    let strange = || Moment { country: "BR", asn: 7738, spot: Some(NEW_YORK), ..at(29, 3) }.paying(90_000);
    for day in 28..40 {
        for minute in 0..50 {
            let moment = Moment { day, minute, ..strange() };
            profile.learn(&moment.act(), Taught::Counted, &settings());
        }
    }
    let after = Moment { day: 41, ..strange() }.judged(&profile);
    let names: Vec<&str> = after.iter().map(|raised| raised.signal.name()).collect();
    for still in ["unusual_hour", "new_country", "new_network", "unusual_amount"] {
        assert!(names.contains(&still), "{still}: {names:?}");
    }
    // Nor does it shift where they were last.
    assert_eq!(profile.last.unwrap().0, ZURICH);
}

#[test]
fn b130_one_day_weighs_one_day_however_often() {
    let (mut once, mut often) = (office_worker(), office_worker());
    let strange = |minute| Moment { country: "FR", minute, ..at(28, 3) };
    once.learn(&strange(0).act(), Taught::Confirmed, &settings());
    for minute in 0..50 {
        often.learn(&strange(minute).act(), Taught::Confirmed, &settings());
    }
    assert_eq!(once.hours, often.hours);
    assert_eq!(once.countries, often.countries);
    at(29, 3).check(&often, &["unusual_hour"]);
    // The country was confirmed, so it is known; the hour is one night among weeks.
    Moment { country: "FR", ..at(29, 9) }.check(&often, &[]);
}

#[test]
fn b130_the_first_day_of_use_is_a_first_use_unless_confirmed() {
    let operation = || fixture::operation("ledger read");
    let reading = |day| Moment { operation: operation(), ..at(day, 9) };
    let mut profile = office_worker();
    for _ in 0..4 {
        reading(28).check(&profile, &["first_use"]);
        profile.learn(&reading(28).act(), Taught::Counted, &settings());
    }
    reading(29).check(&profile, &["first_use"]);
    profile.learn(&reading(29).act(), Taught::Everyday, &settings());
    reading(29).check(&profile, &["first_use"]);
    reading(30).check(&profile, &[]);
    profile = office_worker();
    profile.learn(&reading(28).act(), Taught::Confirmed, &settings());
    reading(28).check(&profile, &[]);
}

#[test]
fn bursts_and_rates_are_seen_while_they_happen() {
    let mut profile = office_worker();
    let mut raised = Vec::new();
    for use_ in 0..40 {
        let moment = Moment { minute: use_ / 10, ..at(28, 9) };
        raised.push(moment.judged(&profile).iter().map(|raised| raised.signal).collect::<Vec<_>>());
        profile.learn(&moment.act(), Taught::Counted, &settings());
    }
    let first = |signal| raised.iter().position(|raised| raised.contains(&signal));
    assert_eq!(first(Signal::Burst), Some(12));
    assert_eq!(first(Signal::UnusualRate), Some(34), "ten a day are usual, and at most seventeen");
    // Days of plunder make the next one hardly easier.
    let usual = |profile: &Profile| profile.actions.first().map(|habit| habit.mean_a_day).unwrap();
    let before = usual(&profile);
    for day in 29..34 {
        for use_ in 0..1000 {
            let moment = Moment { minute: use_ % 60, ..at(day, 9) };
            profile.learn(&moment.act(), Taught::Counted, &settings());
        }
    }
    assert!(usual(&profile) < before * 2.5, "{before} to {}", usual(&profile));
}

#[test]
fn a_hidden_place_is_no_travel() {
    let profile = office_worker();
    let mut around = Moment { spot: Some(NEW_YORK), minute: 30, ..at(25, 17) }.around();
    let place = Place { anonymizer: vec![Anonymizer::Vpn], ..around.located.place().clone() };
    around.located = Located::known(around.address, place, &Arc::new(Geography::default()));
    let operation = at(0, 0).operation;
    assert_eq!(Act::of(&operation, &around, &TimeZone::UTC).spot, None);
    let office = Surroundings { network: "office".into(), ..Moment { spot: Some(NEW_YORK), ..at(25, 17) }.around() };
    assert_eq!(Act::of(&operation, &office, &TimeZone::UTC).spot, None);
    assert!(profile.last.is_some());
}

#[test]
fn a_profile_stays_small_however_much_is_seen() {
    let mut profile = Profile::default();
    for many in 0..3000_u32 {
        let day = i64::from(many / 20);
        let moment = Moment { asn: many + 1, ..at(day, i64::from(many % 24)) };
        let mut act = moment.act();
        act.action = u64::from(many);
        act.country = [b'A' + (many % 26) as u8, b'A' + (many / 26 % 26) as u8];
        profile.learn(&act, Taught::Confirmed, &settings());
    }
    assert_eq!(
        [profile.countries.len(), profile.networks.len(), profile.actions.len(), profile.sizes.len()],
        [COUNTRIES_MAX, NETWORKS_MAX, ACTIONS_MAX, SIZES_MAX]
    );
    let bytes = profile.encode();
    assert_eq!(bytes.len(), PROFILE_BYTES_MAX);
    const { assert!(PROFILE_BYTES_MAX <= 4096) };
    assert_eq!(Profile::decode(&bytes).unwrap(), profile);
}

#[test]
fn a_profile_reads_back_and_what_is_none_is_refused() {
    for profile in [Profile::default(), office_worker()] {
        let bytes = profile.encode();
        assert_eq!(Profile::decode(&bytes).unwrap(), profile);
        for cut in 0..bytes.len() {
            assert!(Profile::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Profile::decode(&[&bytes[..], &[0]].concat()).is_err());
        let newer = [&[FORMAT + 1], &bytes[1..]].concat();
        assert_eq!(Profile::decode(&newer), Err(NotAProfile::Format(FORMAT + 1)));
    }
    let mut nan = office_worker().encode();
    nan[5..9].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(Profile::decode(&nan), Err(NotAProfile::Damaged("a number is none")));
}

#[test]
fn an_older_day_of_another_node_undoes_nothing() {
    let mut profile = office_worker();
    let before = profile.clone();
    profile.learn(&at(20, 9).act(), Taught::Everyday, &settings());
    assert_eq!(profile.today, before.today);
    assert!(profile.last == before.last);
}

#[test]
fn failures_are_signals_from_their_limits_on() {
    let counts = |person, people| FailureCounts { person, people, ..FailureCounts::default() };
    let names =
        |counts| judge_failures(&counts, &settings()).iter().map(|raised| raised.signal.name()).collect::<Vec<_>>();
    assert!(names(counts(-1, -1)).is_empty());
    assert!(names(counts(4, 4)).is_empty());
    assert_eq!(names(counts(5, 5)), ["many_failures", "spike"]);
}

#[test]
fn what_cannot_be_read_is_never_usual() {
    let unusual = Unusual::unreadable(&settings());
    assert_eq!(unusual.names().collect::<Vec<_>>(), ["no_history", "habits_unreadable"]);
    assert_eq!(unusual.score(), SCORE_MAX);
    assert!(unusual.is_doubtful());
}

#[test]
fn the_clock_on_the_wall_is_that_of_the_zone() {
    let zone = TimeZone::get("Pacific/Auckland").unwrap();
    let hourly = Hourly::of(Timestamp::from_ms(MONDAY_MS).plus(Duration::from_secs(4 * 86_400 + 12 * 3600)), &zone);
    assert_eq!((hourly.hour, hourly.is_weekend), (1, true), "Friday noon in UTC is Saturday there");
}
