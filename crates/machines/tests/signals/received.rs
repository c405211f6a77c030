//! What other systems tell: whom it concerns, what it does, and what is said of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use stepgate_core::flows::{EVENT_AGE_MAX, IDLE_SIGNALS_TOLD_MAX, NotTaken, SIGNALS_OF_ONE_MAX, SIGNALS_WINDOW};
use stepgate_core::machine::Scope;
use stepgate_core::ports::StoreError;
use stepgate_core::risk::{RiskKind, RiskLevel};
use stepgate_core::signals::{EventSubject, Foreign, Happened, Identifier, NotASet, Principal};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Event;

use crate::house::{House, SignedIn, opaque, user};

impl House {
    async fn kinds(&self, who: &SignedIn) -> Vec<RiskKind> {
        self.risks(who).await.into_iter().map(|risk| risk.kind).collect()
    }
}

const fn compliant(compliant: bool) -> Happened {
    Happened::DeviceCompliance { compliant }
}

fn of(principal: Principal, subject: EventSubject) -> EventSubject {
    EventSubject { principal, ..subject }
}

fn in_session(sid: &str, subject: EventSubject) -> EventSubject {
    EventSubject { session: opaque(sid), principal: Principal::Session, ..subject }
}

fn on_device(id: &str, subject: EventSubject) -> EventSubject {
    EventSubject { device: opaque(id), principal: Principal::Device, ..subject }
}

#[tokio::test]
async fn b94_an_event_is_taken_only_if_what_it_does_is_done() {
    let house = House::new().await;
    let alice = house.sign_in(&house.person("alice").await, "s1").await;
    let pusher = house.machine("idp", &[Scope::SignalsPush], "corp").await;
    let set = house.event("1", user("alice"), Happened::CredentialChange { lost: true });
    // The store is away: told so, and the next time it is done.
    house.faulty.fails.store(1, Ordering::SeqCst);
    assert_eq!(house.push(&pusher, &set).await.0, 503);
    assert!(house.lives(&alice).await && house.recorded("signal.received").await.is_empty());
    // Whoever it concerns seems gone, again and again: nothing was done, so it is not taken.
    house.faulty.gone.store(u32::MAX, Ordering::SeqCst);
    assert!(matches!(house.receive(&set).await, Err(NotTaken::Store(StoreError::Unavailable(_)))));
    assert_eq!(house.push(&pusher, &set).await.0, 503);
    assert!(house.recorded("signal.received").await.is_empty());
    // Once only: it is looked again, and done.
    house.faulty.gone.store(1, Ordering::SeqCst);
    assert_eq!(house.push(&pusher, &set).await.0, 202);
    assert!(!house.lives(&alice).await);
    assert_eq!(house.recorded("signal.received").await.len(), 1);
    assert!(house.receive(&set).await.unwrap().again);
}

#[tokio::test]
async fn b94_an_event_that_is_older_than_it_is_remembered_is_refused() {
    let house = House::new().await;
    let alice = house.sign_in(&house.person("alice").await, "s1").await;
    let ago = |age: Duration| Timestamp::from_ms(house.now().as_ms() - i64::try_from(age.as_millis()).unwrap());
    let second = Duration::from_secs(1);
    let old = house.event_at(ago(EVENT_AGE_MAX + second), "old", user("alice"), Happened::SessionRevoked);
    assert!(matches!(house.receive(&old).await, Err(NotTaken::NotASet(NotASet::Invalid(_)))));
    assert!(house.lives(&alice).await);
    assert_eq!(house.recorded("request.refused").await.len(), 1);
    let young = house.event_at(ago(EVENT_AGE_MAX), "young", user("alice"), Happened::SessionRevoked);
    assert!(house.receive(&young).await.is_ok());
    assert!(!house.lives(&alice).await);
}

#[tokio::test]
async fn somebody_elses_session_is_not_meant_by_naming_it() {
    let house = House::new().await;
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let (alice, bob) = (house.sign_in(&alice, "s1").await, house.sign_in(&bob, "s2").await);
    house.tell(in_session("s2", user("alice")), Happened::SessionRevoked).await;
    assert!(house.lives(&bob).await, "the session that was named is bob's");
    assert!(!house.lives(&alice).await, "a session of alice's that is not known means all of hers");
    let recorded = house.recorded("signal.received").await;
    let Event::SignalReceived { person, session, .. } = &recorded[0] else { panic!("{recorded:?}") };
    assert_eq!((person, session.as_str()), (&alice.person.to_string(), ""));
    // Without a person, the session's own.
    house.tell(in_session("s2", EventSubject::default()), Happened::SessionRevoked).await;
    assert!(!house.lives(&bob).await);
    let recorded = house.recorded("signal.received").await;
    let Event::SignalReceived { session, .. } = &recorded[1] else { panic!("{recorded:?}") };
    assert_eq!(session, &bob.session.to_string());
}

#[tokio::test]
async fn b95_one_device_that_is_fine_says_nothing_of_another() {
    let house = House::new().await;
    let alice = house.sign_in(&house.person("alice").await, "s1").await;
    let raised = [RiskKind::Signal("device_not_compliant".to_owned())];
    house.tell(on_device("a", user("alice")), compliant(false)).await;
    assert_eq!(house.kinds(&alice).await, raised);
    house.tell(on_device("b", user("alice")), compliant(true)).await;
    house.tell(of(Principal::Device, user("alice")), compliant(true)).await;
    house.tell(of(Principal::Device, in_session("s9", user("alice"))), compliant(true)).await;
    assert_eq!(house.kinds(&alice).await, raised);
    house.tell(on_device("a", user("alice")), compliant(true)).await;
    assert!(house.risks(&alice).await.is_empty());
}

#[tokio::test]
async fn b95_a_low_risk_of_one_thing_is_none_of_the_person() {
    let house = House::new().await;
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let (first, second) = (house.sign_in(&alice, "s1").await, house.sign_in(&alice, "s2").await);
    house.sign_in(&bob, "s3").await;
    let (high, low) = (RiskKind::Level(RiskLevel::High), RiskKind::Level(RiskLevel::Low));
    house.tell(user("alice"), Happened::Risk(RiskLevel::High)).await;
    for narrow in [
        in_session("unknown", user("alice")),
        in_session("s3", user("alice")),
        on_device("a", user("alice")),
        of(Principal::Device, user("alice")),
        of(Principal::Session, user("alice")),
        of(Principal::Other("FLEET".to_owned()), user("alice")),
    ] {
        house.tell(narrow.clone(), Happened::Risk(RiskLevel::Low)).await;
        assert_eq!(house.kinds(&second).await, std::slice::from_ref(&high), "{narrow:?}");
    }
    // Of a session that is known it counts there, beside what is said of the person.
    house.tell(in_session("s1", user("alice")), Happened::Risk(RiskLevel::Low)).await;
    assert_eq!(house.kinds(&first).await.len(), 2);
    assert_eq!(house.kinds(&second).await, [high]);
    // The same may be said of the person.
    house.tell(of(Principal::User, in_session("s1", user("alice"))), Happened::Risk(RiskLevel::Low)).await;
    assert_eq!(house.kinds(&second).await, [low]);
}

/// What raises a risk of something that is not known here counts for all of the person, until the same is fine.
#[tokio::test]
async fn b95_a_high_risk_of_an_unknown_session_counts_until_that_session_is_fine() {
    let house = House::new().await;
    let alice = house.person("alice").await;
    let session = house.sign_in(&alice, "s1").await;
    house.tell(in_session("later", user("alice")), Happened::Risk(RiskLevel::High)).await;
    assert_eq!(house.kinds(&session).await, [RiskKind::Level(RiskLevel::High)]);
    house.tell(in_session("other", user("alice")), Happened::Risk(RiskLevel::Low)).await;
    assert_eq!(house.kinds(&session).await, [RiskKind::Level(RiskLevel::High)]);
    // By now it is known.
    let later = house.sign_in(&alice, "later").await;
    house.clock.advance(Duration::from_secs(1));
    house.tell(in_session("later", user("alice")), Happened::Risk(RiskLevel::Medium)).await;
    assert_eq!(house.kinds(&later).await, [RiskKind::Level(RiskLevel::Medium)]);
    assert!(house.risks(&session).await.is_empty());
}

fn by_email(email: &str) -> EventSubject {
    EventSubject { user: Some(Identifier::Email(email.to_owned())), ..EventSubject::default() }
}

#[tokio::test]
async fn b109_an_address_that_several_have_warns_of_each_and_clears_nobody() {
    let house = House::with(|transmitter| transmitter.by_email = true).await;
    let alice = house.sign_in(&house.person("alice").await, "s1").await;
    let twin = house.sign_in(&house.with_address("twin", "alice@example.com").await, "s2").await;
    let shared = || by_email("alice@example.com");
    let (high, medium) = (RiskKind::Level(RiskLevel::High), RiskKind::Level(RiskLevel::Medium));
    let raised = RiskKind::Signal("device_not_compliant".to_owned());
    house.tell(shared(), Happened::Risk(RiskLevel::High)).await;
    let device = EventSubject { device: opaque("a"), principal: Principal::Device, ..shared() };
    house.tell(device.clone(), compliant(false)).await;
    house.tell(shared(), Happened::Risk(RiskLevel::Medium)).await;
    house.tell(shared(), Happened::Risk(RiskLevel::Low)).await;
    house.tell(device, compliant(true)).await;
    for who in [&alice, &twin] {
        let kinds = house.kinds(who).await;
        assert_eq!(kinds.len(), 3, "{kinds:?}");
        assert!([&high, &medium, &raised].into_iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    }
    // The provider's session says which of them is meant.
    house.tell(in_session("s2", shared()), Happened::SessionRevoked).await;
    assert!(house.lives(&alice).await && !house.lives(&twin).await);
    house.tell(shared(), Happened::SessionRevoked).await;
    assert!(!house.lives(&alice).await);
    // Nobody whom it did something to is unnamed.
    let recorded = house.recorded("signal.received").await;
    let mut named: Vec<_> = recorded
        .iter()
        .filter_map(|event| match event {
            Event::SignalReceived { person, effect, .. } if effect == "risk_high" => Some(person.clone()),
            _ => None,
        })
        .collect();
    named.sort();
    let mut both = [alice.person.to_string(), twin.person.to_string()];
    both.sort();
    assert_eq!(named, both);
}

#[tokio::test]
async fn b109_an_old_account_with_the_same_address_silences_nothing() {
    let house = House::with(|transmitter| transmitter.by_email = true).await;
    let alice = house.sign_in(&house.person("alice").await, "s1").await;
    let (former, _) = house.with_address("former", "alice@example.com").await;
    house.provisioning.set_blocked(former.id, true, "cli:test").await.unwrap();
    let level = |level| [RiskKind::Level(level)];
    house.tell(by_email("Alice@Example.com"), Happened::Risk(RiskLevel::High)).await;
    assert_eq!(house.kinds(&alice).await, level(RiskLevel::High));
    // It is certain who is meant, so it can be taken back.
    house.tell(by_email("alice@example.com"), Happened::Risk(RiskLevel::Low)).await;
    assert_eq!(house.kinds(&alice).await, level(RiskLevel::Low));
    house.tell(by_email("alice@example.com"), Happened::SessionRevoked).await;
    assert!(!house.lives(&alice).await);
}

/// Whoever can write an address or a number elsewhere speaks of nobody here unless the operator said so.
#[tokio::test]
async fn nobody_is_found_by_what_the_transmitter_may_not_name() {
    let house = House::new().await;
    let alice = house.sign_in(&house.account("alice", "E-1").await, "s1").await;
    let by_number = || EventSubject { user: opaque("E-1"), ..EventSubject::default() };
    house.tell(by_email("alice@example.com"), Happened::SessionRevoked).await;
    house.tell(by_number(), Happened::SessionRevoked).await;
    assert!(house.lives(&alice).await);
    let recorded = house.recorded("signal.received").await;
    for event in &recorded {
        let Event::SignalReceived { person, effect, .. } = event else { panic!("{event:?}") };
        assert_eq!((person.as_str(), effect.as_str()), ("", "not_its_own"));
    }
    assert_eq!(recorded.len(), 2);
    let house = House::with(|transmitter| transmitter.by_external_id = true).await;
    let alice = house.sign_in(&house.account("alice", "E-1").await, "s1").await;
    house.tell(by_email("alice@example.com"), Happened::SessionRevoked).await;
    assert!(house.lives(&alice).await);
    house.tell(by_number(), Happened::SessionRevoked).await;
    assert!(!house.lives(&alice).await);
}

fn by_number(number: &str) -> EventSubject {
    EventSubject { user: opaque(number), ..EventSubject::default() }
}

/// A directory may give one number twice. Neither of the two is out of its reach by that.
#[tokio::test]
async fn b124_a_number_that_two_have_warns_of_each_and_clears_nobody() {
    let house = House::with(|transmitter| transmitter.by_external_id = true).await;
    let alice = house.sign_in(&house.account("alice", "E-1").await, "s1").await;
    let twin = house.sign_in(&house.account("twin", "E-1").await, "s2").await;
    house.tell(by_number("E-1"), Happened::Risk(RiskLevel::High)).await;
    house.tell(by_number("E-1"), Happened::Risk(RiskLevel::Low)).await;
    for who in [&alice, &twin] {
        assert_eq!(house.kinds(who).await, [RiskKind::Level(RiskLevel::High)]);
    }
    house.tell(by_number("E-1"), Happened::SessionRevoked).await;
    assert!(!house.lives(&alice).await && !house.lives(&twin).await);
    let recorded = house.recorded("signal.received").await;
    let ended = |event: &&Event| matches!(event, Event::SignalReceived { effect, .. } if effect == "sessions_ended");
    assert_eq!(recorded.iter().filter(ended).count(), 2, "each of them is named");
}

#[tokio::test]
async fn b124_an_old_account_with_the_same_number_silences_nothing() {
    let house = House::with(|transmitter| transmitter.by_external_id = true).await;
    let alice = house.sign_in(&house.account("alice", "E-1").await, "s1").await;
    let (former, _) = house.account("former", "E-1").await;
    house.provisioning.set_blocked(former.id, true, "cli:test").await.unwrap();
    house.tell(by_number("E-1"), Happened::Risk(RiskLevel::High)).await;
    house.tell(by_number("E-1"), Happened::Risk(RiskLevel::Low)).await;
    assert_eq!(house.kinds(&alice).await, [RiskKind::Level(RiskLevel::Low)], "it is certain who is meant");
    house.tell(by_number("E-1"), Happened::SessionRevoked).await;
    assert!(!house.lives(&alice).await);
}

#[tokio::test]
async fn b125_events_without_effect_are_taken_and_do_not_fill_the_ledger() {
    let house = House::new().await;
    let told = IDLE_SIGNALS_TOLD_MAX;
    for _ in 0..told + 5 {
        house.tell(user("nobody"), Happened::SessionRevoked).await;
    }
    assert_eq!(house.recorded("signal.received").await.len(), told as usize);
    house.flows.flush_refusals().await.unwrap();
    let counted = house.recorded("signal.counted").await;
    let expected =
        Event::SignalsCounted { transmitter: "corp".to_owned(), effect: "nothing".to_owned(), count: 5, window_s: 60 };
    assert_eq!(counted, [expected]);
    // What was only counted is remembered as taken, as durably as any other.
    let again = house.receive(&format!("told-{}", told + 4)).await.unwrap();
    assert!(again.again);
    // And what does something is done, however much did nothing before it.
    let alice = house.sign_in(&house.person("alice").await, "s1").await;
    house.tell(user("alice"), Happened::SessionRevoked).await;
    assert!(!house.lives(&alice).await);
}

#[tokio::test]
async fn b125_a_transmitter_that_tells_too_much_is_told_to_come_again() {
    let house = House::with(|transmitter| transmitter.by_email = true).await;
    let pusher = house.machine("idp", &[Scope::SignalsPush], "corp").await;
    // One event about many makes many entries.
    for number in 0..100 {
        house.with_address(&format!("p{number}"), "all@example.com").await;
    }
    let alice = house.sign_in(&house.person("alice").await, "s1").await;
    for _ in 0..SIGNALS_OF_ONE_MAX / 100 {
        house.tell(by_email("all@example.com"), Happened::CredentialChange { lost: false }).await;
    }
    let set = house.event("one-more", user("alice"), Happened::SessionRevoked);
    assert_eq!(house.push(&pusher, &set).await.0, 429);
    assert!(house.lives(&alice).await, "it was not judged");
    let refused = house.recorded("request.refused").await;
    assert!(matches!(&refused[..], [Event::RequestRefused { code, .. }] if code == "signal_too_many"), "{refused:?}");
    house.clock.advance(SIGNALS_WINDOW);
    assert_eq!(house.push(&pusher, &set).await.0, 202);
    assert!(!house.lives(&alice).await);
}

#[tokio::test]
async fn b126_what_is_said_of_somebody_elses_people_is_recorded_as_that_or_refused() {
    let foreign = || {
        let user = Identifier::Identity { issuer: "https://other.test".to_owned(), subject: "alice".to_owned() };
        EventSubject { user: Some(user), ..EventSubject::default() }
    };
    let house = House::new().await;
    let alice = house.sign_in(&house.person("alice").await, "s1").await;
    house.tell(foreign(), Happened::SessionRevoked).await;
    house.tell(in_session("s1", foreign()), Happened::SessionRevoked).await;
    let recorded = house.recorded("signal.received").await;
    for event in &recorded {
        let Event::SignalReceived { person, effect, .. } = event else { panic!("{event:?}") };
        assert_eq!((person.as_str(), effect.as_str()), ("", "not_its_own"));
    }
    assert_eq!(recorded.len(), 2);
    assert!(house.lives(&alice).await);
    // Of a session nobody may speak for whom no provider is named.
    let house = House::with(|transmitter| transmitter.provider = None).await;
    house.tell(in_session("s1", EventSubject::default()), Happened::SessionRevoked).await;
    let recorded = house.recorded("signal.received").await;
    assert!(matches!(&recorded[..], [Event::SignalReceived { effect, .. }] if effect == "not_its_own"));
    let house = House::with(|transmitter| transmitter.foreign = Foreign::Refuse).await;
    let pusher = house.machine("idp", &[Scope::SignalsPush], "corp").await;
    let set = house.event("1", foreign(), Happened::SessionRevoked);
    let (status, body) = house.push(&pusher, &set).await;
    assert_eq!((status, body["err"].as_str()), (400, Some("access_denied")));
    assert!(house.recorded("signal.received").await.is_empty());
    // Somebody of its own who is not known here is no stranger.
    house.tell(user("nobody"), Happened::SessionRevoked).await;
}

#[tokio::test]
async fn a_session_of_the_provider_says_which_of_two_with_one_number_is_meant() {
    let house = House::with(|transmitter| transmitter.by_external_id = true).await;
    let alice = house.sign_in(&house.account("alice", "E-1").await, "s1").await;
    let twin = house.sign_in(&house.account("twin", "E-1").await, "s2").await;
    house.tell(in_session("s2", by_number("E-1")), Happened::SessionRevoked).await;
    assert!(house.lives(&alice).await && !house.lives(&twin).await);
}
