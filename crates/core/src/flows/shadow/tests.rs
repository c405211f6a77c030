//! A second set beside the live one, without a gate around it.

use super::*;
use crate::decide::{Asker, decide};
use crate::policy::fixture::{SAMPLE, load, operation, person, session, surroundings};

fn put(shadow: &Shadow, live: &Policies, text: &str) {
    let (asked, around) = (operation(text), surroundings());
    let view = session(&person("ada", &["finance"]), "password 1h", "password totp passkey");
    let asker = Asker::SignedIn(&view);
    if shadow.is_on() && shadow.has_room() {
        let situation = Situation::of(&asked, asker, &around);
        let verdict = decide(live, asked, asker, &around, &[]);
        shadow.wait(situation, crate::decide::Decided::of(&verdict, asker).said, live.version());
    }
}

#[test]
fn what_differs_is_counted_by_person_operation_and_rules_and_the_same_is_not() {
    let (live, shadow) = (load(SAMPLE), Shadow::default());
    shadow.replace(
        Some(load(&SAMPLE.replace("unless { context.age.second_factor <= duration(\"5m\") }", ""))),
        live.version(),
    );
    for text in ["ledger reports.export", "ledger reports.export", "ledger read", "wiki read"] {
        put(&shadow, &live, text);
    }
    assert_eq!(shadow.compare(3) + shadow.compare(3), 4);
    let (window, dropped) = shadow.take();
    assert_eq!((window.decided, window.differing, window.untold, dropped), (4, 2, 0, 0));
    let [(kind, count)] = &window.kinds.into_iter().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((kind.live.answer, kind.other.answer, *count), (Answer::Ask, Answer::Refuse, 2));
    assert_eq!(kind.resource, "ledger GET /reports");
    assert_eq!(window.rules["exports-need-a-fresh-second-factor"], 2);
    assert_eq!(shadow.take().0.decided, 0);
}

#[test]
fn the_same_set_differs_nowhere_and_what_it_alone_asked_is_fresh_for_a_while() {
    let (live, shadow) = (load(SAMPLE), Shadow::default());
    shadow.replace(Some(load(SAMPLE)), live.version());
    ["ledger reports.export", "ledger write", "wiki read"].iter().for_each(|text| put(&shadow, &live, text));
    shadow.compare(usize::MAX);
    assert_eq!(shadow.take().0.differing, 0);
    let reads = "@id(\"reads\") @reason(\"Fresh.\") forbid (principal, action == Action::\"read\", resource)\n\
                 unless { context.age.second_factor <= duration(\"5m\") };";
    shadow.replace(Some(load(&format!("{SAMPLE}{reads}"))), live.version());
    // Asked once: then what it alone asked for is proved, and the second request is let through.
    ["ledger read", "ledger read"].iter().for_each(|text| put(&shadow, &live, text));
    shadow.compare(usize::MAX);
    let window = shadow.take().0;
    assert_eq!((window.decided, window.differing, window.rules["reads"]), (2, 1, 1));
}

#[test]
fn b143_what_does_not_fit_is_dropped_and_counted_and_nothing_else_is_kept() {
    let (live, shadow) = (load(SAMPLE), Shadow::default());
    put(&shadow, &live, "ledger read");
    assert!(!shadow.is_waiting(), "without a second set nothing waits");
    shadow.replace(Some(load(SAMPLE)), live.version());
    for _ in 0..WAITING_MAX + 7 {
        put(&shadow, &live, "ledger read");
    }
    assert_eq!(shadow.compare(usize::MAX), WAITING_MAX);
    let (window, dropped) = shadow.take();
    assert_eq!((window.decided, dropped), (WAITING_MAX as u64, 7));
    // What was decided beside another live set is not held against this one.
    put(&shadow, &live, "ledger read");
    shadow.replace(Some(load(SAMPLE)), "another");
    shadow.compare(usize::MAX);
    let (window, dropped) = shadow.take();
    assert_eq!((window.decided, dropped), (0, 1));
}

#[test]
fn b143_a_second_set_that_errs_or_denies_everything_changes_no_verdict() {
    let live = load(SAMPLE);
    for hostile in [
        "@id(\"errs\") @reason(\"E.\") forbid (principal, action, resource) when { context.time.hour + 9223372036854775807 > 0 };",
        "@id(\"no\") @reason(\"No.\") forbid (principal, action, resource);",
    ] {
        let shadow = Shadow::default();
        shadow.replace(Some(load(&format!("{SAMPLE}{hostile}"))), live.version());
        put(&shadow, &live, "ledger read");
        shadow.compare(usize::MAX);
        let kinds: Vec<_> = shadow.take().0.kinds.into_keys().collect();
        assert_eq!((kinds[0].live.answer, kinds[0].other.answer), (Answer::Permit, Answer::Refuse), "{hostile}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let said = |answer| Said::by(answer, "", ["rule".to_owned()]);
    let kind = Differing {
        person: "p".to_owned(),
        resource: "r".to_owned(),
        live: Said::plainly(Answer::Permit),
        other: said(Answer::Refuse),
    };
    let compared = Compared { differences: vec![(kind, 3)], rules: BTreeMap::from([("rule".to_owned(), 3)]) };
    let body = serde_json::from_str(&compared.to_json().to_string()).unwrap();
    let details = Details { salt: stepgate_evidence::Salt([0; 16]), body };
    assert_eq!(Compared::from_details(Some(&details)), Some(compared));
    assert_eq!(Compared::from_details(None), None);
}
