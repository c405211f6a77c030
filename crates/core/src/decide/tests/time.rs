//! Decisions that rest on time.

use std::time::Duration;

use crate::decide::{Asker, VALID_FOR_MAX, Verdict, decide, explain, valid_until};
use crate::factor::FactorKind;
use crate::policy::Policies;
use crate::policy::fixture::{self, NOON, SAMPLE, catalogue, load, operation, person, session, source, surroundings};
use crate::surroundings::{Environment, Surroundings};

/// Seconds from noon for which a permission stands.
#[track_caller]
fn check(policies: &Policies, asked: &str, proved: &str, confirmed: &[FactorKind], expected: Option<f64>) {
    let alice = session(&person("alice", &["finance"]), proved, "");
    let confirmed: Vec<_> = confirmed.iter().map(|kind| (*kind, NOON)).collect();
    let until = valid_until(policies, &operation(asked), Asker::SignedIn(&alice), &surroundings(), &confirmed);
    let seconds = until.map(|until| until.since(NOON).unwrap().as_secs_f64());
    assert_eq!(seconds, expected, "{asked}");
}

#[test]
fn a_permission_says_when_the_age_that_it_rests_on_runs_out() {
    let policies = load(SAMPLE);
    // Five minutes are accepted to the millisecond; the first that is not is the next.
    check(&policies, "ledger reports.export", "totp 1m", &[], Some(240.001));
    check(&policies, "ledger reports.export", "totp 1m, passkey 2s", &[], Some(298.001));
    check(&policies, "ledger reports.export", "totp 10m", &[], None);
    check(&policies, "ledger read", "totp 1m", &[], Some(VALID_FOR_MAX.as_secs_f64()));
    check(&policies, "ledger payments.approve amount=12000", "", &[FactorKind::PASSKEY], Some(86_400.0));
    check(&policies, "wiki read", "passkey 0s", &[], None);
}

#[test]
fn a_permission_ends_with_the_time_of_day() {
    let policies = load(
        "@id(\"office-hours\") permit (principal, action, resource)
         when { context.time.hour >= 8 && context.time.hour < 18 && context.time.weekday != \"sunday\" };",
    );
    check(&policies, "wiki read", "", &[], Some(6.0 * 3600.0));
}

#[test]
fn hours_and_weekdays_are_those_of_the_configured_zone() {
    let zone = |name: &str| jiff::tz::TimeZone::fixed(jiff::tz::offset(name.parse().unwrap()));
    let policies = |hours: &str| {
        let environment = Environment { zone: zone(hours), ..Environment::default() };
        Policies::load_in(&catalogue(), &[source(SAMPLE)], &environment).unwrap()
    };
    let alice = session(&person("alice", &["finance"]), "", "");
    for (hours, hour, weekday) in [("0", 12, "wednesday"), ("13", 1, "thursday"), ("-8", 4, "wednesday")] {
        let policies = policies(hours);
        let explained = explain(&policies, &operation("wiki read"), Asker::SignedIn(&alice), &surroundings(), &[]);
        assert_eq!(explained.context["time"]["hour"], hour, "{hours}");
        assert_eq!(explained.context["time"]["weekday"], weekday, "{hours}");
    }
    assert_ne!(policies("13").version(), policies("0").version(), "another zone is another set of rules");
}

#[test]
fn the_greatest_accepted_age_is_that_of_every_way() {
    let policies = load(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"fresh\") @reason(\"Fresh.\") forbid (principal, action, resource)
         unless { context.age.passkey <= duration(\"1h\") || context.age.totp < duration(\"90s\") };
         @id(\"ever\") @reason(\"Ever.\") forbid (principal, action == Action::\"notes.add\", resource)
         unless { context.age.password < duration(\"365d\") };",
    );
    let max_age = |asked: &str, proved: &str| {
        let alice = session(&person("alice", &[]), proved, "passkey totp password");
        match decide(&policies, operation(asked), Asker::SignedIn(&alice), &surroundings(), &[]) {
            Verdict::Challenge(challenged) => (challenged.ask.summary(), challenged.max_age),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(max_age("wiki read", ""), ("fresh: passkey | totp".to_owned(), Some(Duration::from_secs(89))));
    assert_eq!(
        max_age("ledger notes.add", "passkey 1m"),
        ("fresh: password".to_owned(), Some(crate::decide::MAX_AGE_MAX))
    );
}

#[test]
fn calendars_are_open_and_have_holidays_by_name() {
    let text = "@id(\"trading\") permit (principal, action, resource) when { context.time.open.contains(\"trading\") };
         @id(\"holidays\") @reason(\"Closed today.\") forbid (principal, action in Action::\"write\", resource)
         when { context.time.holidays.contains(\"trading\") };";
    let mut environment = fixture::environment();
    let load = |environment: &Environment| Policies::load_in(&catalogue(), &[source(text)], environment).unwrap();
    let alice = session(&person("alice", &[]), "", "");
    let permitted = |policies: &Policies, hours: f64, asked: &str| {
        let now = NOON.plus(Duration::from_secs_f64(hours * 3600.0));
        let around = Surroundings { now, ..surroundings() };
        matches!(decide(policies, operation(asked), Asker::SignedIn(&alice), &around, &[]), Verdict::Permit(_))
    };
    let policies = load(&environment);
    assert!(permitted(&policies, 0.0, "wiki read") && permitted(&policies, 0.0, "wiki write"));
    assert!(!permitted(&policies, 1.0, "wiki read"));
    // Its last minute ends the permission of a stream.
    check(&policies, "wiki read", "", &[], Some(3600.0));
    for calendar in &mut environment.calendars {
        calendar.holidays.insert("2025-01-01".parse().unwrap());
    }
    let closed = load(&environment);
    assert!(!permitted(&closed, 0.0, "wiki read") && !permitted(&closed, 0.0, "wiki write"));
    assert_ne!(policies.version(), closed.version(), "another calendar is another set of rules");
}
