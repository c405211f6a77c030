//! Security events of other systems.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::challenge::{ChallengeState, GrantKind};
use stepgate_core::id::{Id, PersonId, SessionId, SetId};
use stepgate_core::machine::{Machine, MachineName, Scope};
use stepgate_core::ports::{
    Accounts as _, Concerned, Delivery, RiskName, Settled, SignalEffect, SignalFate, SignalStore as _, Store as _,
    Stream, StreamStatus, Streams as _, TakenSignal, Turn, WaitingSet,
};
use stepgate_core::risk::{Risk, RiskKind, RiskLevel, RiskSubject};
use stepgate_core::session::Audience;
use stepgate_core::signals::{EventSubject, Identifier, Principal};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Event;

use stepgate_store::{KeyRotation, SealedKey};

use crate::house::{House, MINUTE, SignedIn, is_conflict, is_limit, is_used_before, until};

const HOUR: Duration = Duration::from_secs(3600);

impl House {
    fn signal(&self, effects: Vec<(Concerned, SignalEffect)>) -> TakenSignal {
        TakenSignal {
            set: self.digest().0,
            transmitter: "corp".to_owned(),
            happened_at: self.now(),
            at: self.now(),
            effects,
        }
    }

    async fn signalled(&self, who: Concerned, effect: SignalEffect) {
        let fate = self.store.take_signal(self.signal(vec![(who, effect)]), vec![self.said("signal")]).await.unwrap();
        assert_eq!(fate, SignalFate::Taken);
    }

    async fn risks(&self, who: &SignedIn) -> Vec<Risk> {
        self.look(who.token).await.unwrap().risks.to_vec()
    }

    fn until(&self, seconds: u64) -> Timestamp {
        self.now().plus(Duration::from_secs(seconds))
    }
}

fn level(level: RiskLevel, until: Timestamp) -> SignalEffect {
    level_of(RiskSubject::person(), level, until)
}

fn level_of(about: RiskSubject, level: RiskLevel, until: Timestamp) -> SignalEffect {
    SignalEffect::Risk { about, kind: RiskKind::Level(level), until }
}

/// A device by its name at the transmitter.
fn device(name: &str) -> RiskSubject {
    RiskSubject::of(&EventSubject {
        device: Some(Identifier::Opaque(name.to_owned())),
        principal: Principal::Device,
        ..EventSubject::default()
    })
}

fn not_compliant(about: RiskSubject, until: Timestamp) -> SignalEffect {
    SignalEffect::Risk { about, kind: RiskKind::Signal("device_not_compliant".to_owned()), until }
}

fn compliant(about: RiskSubject) -> SignalEffect {
    SignalEffect::NoRisk { about, name: RiskName::Signal("device_not_compliant".to_owned()) }
}

pub(crate) async fn an_event_is_taken_once_by_whichever_node(house: House) {
    let alice = house.signed_in("alice").await;
    let signal = house.signal(vec![(Concerned::Person(alice.person.id), level(RiskLevel::High, house.until(60)))]);
    house.store.take_signal(signal.clone(), vec![house.said("signal")]).await.unwrap();
    let other = house.another_node(9).await;
    let fate = other.take_signal(signal, vec![house.said("signal")]).await.unwrap();
    assert_eq!(fate, SignalFate::TakenBefore);
    assert_eq!(house.count_said("signal").await, 1);
}

pub(crate) async fn an_event_ends_sessions_and_what_waits_in_them_with_entries(house: House) {
    let alice = house.signed_in("alice").await;
    let other = house.sign_in(&alice.person, alice.factor).await;
    let (here, there) =
        (house.holding(&alice, GrantKind::Confirmation).await, house.opened(&other, GrantKind::Freshness).await);
    house.signalled(Concerned::Session(alice.person.id, alice.session), SignalEffect::EndSessions).await;
    assert!(house.look(alice.token).await.is_none() && house.look(other.token).await.is_some());
    assert!(matches!(house.read(here.id).await.state, ChallengeState::Cancelled { .. }));
    assert!(house.store.held(here.id).await.unwrap().is_none());
    assert!(matches!(house.read(there.id).await.state, ChallengeState::Pending { .. }));
    house.signalled(Concerned::Person(alice.person.id), SignalEffect::EndSessions).await;
    assert!(house.look(other.token).await.is_none());
    let ended = |event: &Event| matches!(event, Event::SessionEnded { reason, by, .. } if reason == "signal" && by == "signal:corp");
    assert_eq!(house.all().await.iter().filter(|entry| ended(&entry.entry.event)).count(), 2);
    assert!(!house.store.factors(alice.person.id).await.unwrap().is_empty(), "factors stay");
}

pub(crate) async fn an_event_drops_what_was_proved(house: House) {
    let alice = house.signed_in("alice").await;
    let other = house.sign_in(&alice.person, alice.factor).await;
    house.signalled(Concerned::Session(alice.person.id, alice.session), SignalEffect::DropProofs).await;
    assert!(house.look(alice.token).await.unwrap().assurance.proofs().is_empty());
    assert_eq!(house.look(other.token).await.unwrap().assurance.proofs().len(), 1);
    // Each session that lost something has an entry; one that has nothing to lose has none.
    house.signalled(Concerned::Person(alice.person.id), SignalEffect::DropProofs).await;
    let dropped = house.all().await.into_iter().filter_map(|entry| match entry.entry.event {
        Event::AssuranceDropped { session, former, by, .. } => Some((session, former, by)),
        _ => None,
    });
    let of = |session: SessionId| (session.to_string(), "password".to_owned(), "signal:corp".to_owned());
    assert_eq!(dropped.collect::<Vec<_>>(), [of(alice.session), of(other.session)]);
}

pub(crate) async fn a_risk_shows_in_sessions_on_every_node_until_its_time(house: House) {
    let alice = house.signed_in("alice").await;
    let other = house.another_node(9).await;
    let look = || async { other.session(alice.token, &Audience::Gate, house.now()).await.unwrap().unwrap() };
    assert!(look().await.risks.is_empty());
    let who = Concerned::Person(alice.person.id);
    house.signalled(who, level(RiskLevel::High, house.until(60))).await;
    let expected = [Risk { kind: RiskKind::Level(RiskLevel::High), until: house.until(60) }];
    assert_eq!(house.risks(&alice).await, expected);
    until("the other node knows", || async { look().await.risks.to_vec() == expected }).await;
    // The newest of one transmitter counts; another's stands beside it.
    house.signalled(who, level(RiskLevel::Low, house.until(90))).await;
    let mut signal = house.signal(vec![(who, level(RiskLevel::Medium, house.until(30)))]);
    signal.transmitter = "edr".to_owned();
    house.store.take_signal(signal, vec![house.said("signal")]).await.unwrap();
    let kinds: Vec<_> = house.risks(&alice).await.into_iter().map(|risk| risk.kind).collect();
    assert_eq!(kinds, [RiskKind::Level(RiskLevel::Low), RiskKind::Level(RiskLevel::Medium)]);
    house.clock.advance(MINUTE * 2);
    let again = house.sign_in(&alice.person, alice.factor).await;
    assert!(house.risks(&again).await.is_empty());
}

pub(crate) async fn what_happened_earlier_replaces_nothing(house: House) {
    let alice = house.signed_in("alice").await;
    let who = Concerned::Person(alice.person.id);
    house.signalled(who, level(RiskLevel::High, house.until(600))).await;
    let mut late =
        house.signal(vec![(who, level(RiskLevel::Low, house.until(600))), (who, compliant(RiskSubject::person()))]);
    late.happened_at = Timestamp::from_ms(house.now().as_ms() - 1);
    house.signalled(who, not_compliant(RiskSubject::person(), house.until(600))).await;
    house.store.take_signal(late, vec![house.said("late")]).await.unwrap();
    assert_eq!(house.risks(&alice).await.len(), 2);
    assert!(house.risks(&alice).await.iter().any(|risk| risk.kind == RiskKind::Level(RiskLevel::High)));
    house.signalled(who, compliant(RiskSubject::person())).await;
    assert_eq!(house.risks(&alice).await.len(), 1);
}

pub(crate) async fn a_risk_of_a_session_is_that_sessions_alone(house: House) {
    let alice = house.signed_in("alice").await;
    let other = house.sign_in(&alice.person, alice.factor).await;
    let who = Concerned::Session(alice.person.id, alice.session);
    house.signalled(who, level(RiskLevel::High, house.until(60))).await;
    assert_eq!(house.risks(&alice).await.len(), 1);
    assert!(house.risks(&other).await.is_empty());
}

/// 200 sessions flagged one by one, and then what matters: it is done, whatever was flagged before.
pub(crate) async fn b94_no_number_of_risks_undoes_what_ends_sessions(house: House) {
    let alice = house.signed_in("alice").await;
    let who = Concerned::Person(alice.person.id);
    for n in 0..210 {
        house.signalled(who, level_of(device(&n.to_string()), RiskLevel::High, house.until(600))).await;
    }
    let raised = SignalEffect::Risk {
        about: RiskSubject::person(),
        kind: RiskKind::Signal("credential_change".to_owned()),
        until: house.until(600),
    };
    let lost = house.signal(vec![(who, SignalEffect::EndSessions), (who, raised)]);
    assert_eq!(house.store.take_signal(lost, vec![house.said("lost")]).await.unwrap(), SignalFate::Taken);
    assert!(house.look(alice.token).await.is_none());
    assert_eq!(house.count_said("lost").await, 1);
}

/// Somebody is removed between the look whom an event concerns and what it does: nothing is said to be done.
pub(crate) async fn an_event_about_somebody_who_is_gone_meanwhile_is_not_taken(house: House) {
    let alice = house.signed_in("alice").await;
    let signal = house.signal(vec![
        (Concerned::Person(alice.person.id), level(RiskLevel::High, house.until(60))),
        (Concerned::Person(house.id()), SignalEffect::EndSessions),
    ]);
    let fate = house.store.take_signal(signal.clone(), vec![house.said("signal")]).await.unwrap();
    assert_eq!((fate, house.count_said("signal").await), (SignalFate::Gone, 0));
    assert!(house.risks(&alice).await.is_empty());
    // The same event may still be taken.
    let signal = TakenSignal { effects: Vec::new(), ..signal };
    assert_eq!(house.store.take_signal(signal, vec![house.said("signal")]).await.unwrap(), SignalFate::Taken);
}

pub(crate) async fn b95_what_is_taken_back_is_what_it_was_told_of(house: House) {
    let alice = house.signed_in("alice").await;
    let who = Concerned::Person(alice.person.id);
    house.signalled(who, not_compliant(device("a"), house.until(600))).await;
    house.signalled(who, level(RiskLevel::High, house.until(600))).await;
    // Another device is fine, and another session, and a device is at low risk.
    house.signalled(who, compliant(device("b"))).await;
    house.signalled(who, compliant(RiskSubject::person())).await;
    house.signalled(who, level_of(device("a"), RiskLevel::Low, house.until(600))).await;
    let kinds: Vec<_> = house.risks(&alice).await.into_iter().map(|risk| risk.kind).collect();
    let not = RiskKind::Signal("device_not_compliant".to_owned());
    assert!(kinds.contains(&not) && kinds.contains(&RiskKind::Level(RiskLevel::High)), "{kinds:?}");
    // What was told where the device was seen in one session is taken back where it is not.
    let session = Concerned::Session(alice.person.id, alice.session);
    house.signalled(session, not_compliant(device("b"), house.until(600))).await;
    house.signalled(who, compliant(device("a"))).await;
    assert!(house.risks(&alice).await.iter().any(|risk| risk.kind == not));
    house.signalled(who, compliant(device("b"))).await;
    assert!(!house.risks(&alice).await.iter().any(|risk| risk.kind == not));
}

/// What is told of more things than are kept apart is kept together, and rises only.
pub(crate) async fn b95_many_things_at_low_risk_push_none_at_high_risk_out(house: House) {
    let alice = house.signed_in("alice").await;
    let who = Concerned::Person(alice.person.id);
    for n in 0..50 {
        house.signalled(who, level_of(device(&n.to_string()), RiskLevel::Medium, house.until(600))).await;
    }
    house.signalled(who, level_of(device("bad"), RiskLevel::High, house.until(600))).await;
    for n in 50..60 {
        house.signalled(who, level_of(device(&n.to_string()), RiskLevel::Medium, house.until(60))).await;
    }
    let risks = house.risks(&alice).await;
    assert_eq!(risks.len(), 51);
    let high = Risk { kind: RiskKind::Level(RiskLevel::High), until: house.until(600) };
    assert_eq!(risks.iter().filter(|risk| **risk == high).count(), 1);
}

pub(crate) async fn risks_go_with_their_session_and_with_their_time(house: House) {
    let alice = house.signed_in("alice").await;
    let who = Concerned::Person(alice.person.id);
    house.signalled(Concerned::Session(alice.person.id, alice.session), level(RiskLevel::High, house.until(600))).await;
    house.signalled(who, level_of(device("a"), RiskLevel::High, house.until(60))).await;
    house.clock.advance(MINUTE * 2);
    assert_eq!(house.store.purge(house.now()).await.unwrap(), 1);
    assert_eq!(house.store.purge(house.now()).await.unwrap(), 0);
}

pub(crate) async fn what_is_open_ends_when_a_risk_is_told(house: House) {
    let alice = house.signed_in("alice").await;
    let other = house.another_node(9).await;
    let (waits, session) = (std::sync::Arc::clone(&other), alice.session);
    let open = tokio::spawn(async move { waits.ended(session).await });
    // Whoever waits has begun to, once the session was looked at there.
    assert!(other.session(alice.token, &Audience::Gate, house.now()).await.unwrap().is_some());
    tokio::task::yield_now().await;
    let mut said = 0;
    while !open.is_finished() && said < 100 {
        house.signalled(Concerned::Person(alice.person.id), level(RiskLevel::High, house.until(60))).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        said += 1;
    }
    tokio::time::timeout(crate::house::AT_MOST, open).await.expect("what was open ends").unwrap();
}

pub(crate) async fn an_address_finds_whoever_has_it(house: House) {
    let alice = house.person("alice").await;
    assert_eq!(house.store.people_by_email("ALICE@example.com").await.unwrap(), [alice.id]);
    let none: [PersonId; 0] = [];
    assert_eq!(house.store.people_by_email("").await.unwrap(), none);
    assert_eq!(house.store.people_by_email("%").await.unwrap(), none);
    let mut twin = house.somebody("bob");
    twin.email = "alice@EXAMPLE.com".to_owned();
    house.store.add_person(&twin, house.now(), house.said("twin")).await.unwrap();
    assert_eq!(house.store.people_by_email("alice@example.com").await.unwrap().len(), 2);
    // Whatever alphabet the address is in, whoever wrote it, and however.
    let mut other = house.somebody("other");
    for (number, (has, named)) in [
        ("ÄLICE@BÜCHER.example", "älice@bücher.EXAMPLE"),
        ("älice@x.example", "ÄLICE@X.example"),
        ("ИВАН@пример.example", "Иван@ПРИМЕР.example"),
    ]
    .into_iter()
    .enumerate()
    {
        other.email = has.to_owned();
        match number {
            0 => house.store.add_person(&other, house.now(), house.said("other")).await.unwrap(),
            _ => house.store.change_person(&other, house.said("other")).await.unwrap(),
        }
        assert_eq!(house.store.people_by_email(named).await.unwrap(), [other.id], "{named}");
        assert_eq!(house.store.people_by_email(has).await.unwrap(), [other.id], "{has}");
    }
    assert_eq!(house.store.people_by_email("älice@bücher.example").await.unwrap(), none, "the former one is nobody's");
}

pub(crate) async fn b109_who_is_out_of_service_hides_nobody_with_the_same_address(house: House) {
    let alice = house.person("alice").await;
    let mut former = house.somebody("former");
    former.email.clone_from(&alice.email);
    house.store.add_person(&former, house.now(), house.said("former")).await.unwrap();
    house.store.set_blocked(former.id, true, "cli:test", house.now(), vec![house.said("gone")]).await.unwrap();
    assert_eq!(house.store.people_by_email(&alice.email).await.unwrap(), [alice.id]);
    house.store.set_blocked(alice.id, true, "cli:test", house.now(), vec![house.said("gone")]).await.unwrap();
    assert!(house.store.people_by_email(&alice.email).await.unwrap().is_empty());
}

impl House {
    async fn a_stream(&self, name: &str, cursor: u64) -> Stream {
        let machine = Machine {
            name: MachineName::parse(name).unwrap(),
            scopes: vec![Scope::SignalsManage],
            transmitter: String::new(),
            added_at: self.now(),
            expires_at: None,
        };
        self.store.add_machine(&machine, self.digest(), self.said("machine")).await.unwrap();
        let stream = Stream {
            id: self.id(),
            machine: machine.name,
            audience: "aud".to_owned(),
            delivery: Delivery::Push {
                endpoint: "https://sp.example.net/events".to_owned(),
                authorization: Some(SecretString::from("Bearer not-in-the-clear")),
            },
            requested: vec!["urn:x".to_owned()],
            description: "ours".to_owned(),
            status: StreamStatus::Enabled,
            reason: String::new(),
            cursor,
            waiting: 0,
            version: 1,
            expires_at: None,
        };
        self.store.add_stream(&stream, self.said("stream")).await.unwrap();
        stream
    }

    async fn waits(&self, stream: &Stream) -> Vec<SetId> {
        self.store.waiting(stream.id, 100).await.unwrap().into_iter().map(|set| set.id).collect()
    }
}

fn sets(ids: &[&str]) -> Vec<WaitingSet> {
    let set = |id: &SetId| WaitingSet { id: *id, claims: format!("{{\"jti\":\"{id}\"}}") };
    set_ids(ids).iter().map(set).collect()
}

fn set_ids(names: &[&str]) -> Vec<SetId> {
    let id = |name: &&str| {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Id::from_bytes(bytes)
    };
    names.iter().map(id).collect()
}

fn taken(names: &[&str]) -> Settled {
    let mut settled = Settled::default();
    set_ids(names).into_iter().for_each(|id| settled.take(id).unwrap());
    settled
}

pub(crate) async fn a_stream_reads_back_and_each_machine_has_one(house: House) {
    let stream = house.a_stream("sp", 7).await;
    let read = house.store.stream_of(&stream.machine).await.unwrap().unwrap();
    assert_eq!(format!("{read:?}"), format!("{stream:?}"));
    let Delivery::Push { authorization: Some(value), .. } = &read.delivery else { panic!("{read:?}") };
    assert_eq!(value.expose_secret(), "Bearer not-in-the-clear");
    let twin = Stream { id: house.id(), ..stream.clone() };
    is_used_before(house.store.add_stream(&twin, house.said("twin")).await);
    let nobodys = Stream { id: house.id(), machine: MachineName::parse("nobody").unwrap(), ..stream.clone() };
    is_conflict(house.store.add_stream(&nobodys, house.said("twin")).await);
    assert_eq!(house.count_said("twin").await, 0);
    let changed = Stream { delivery: Delivery::Poll, status: StreamStatus::Paused, ..stream.clone() };
    house.store.change_stream(&changed, house.said("changed")).await.unwrap();
    is_conflict(house.store.change_stream(&changed, house.said("changed")).await);
    let read = house.store.streams().await.unwrap();
    assert_eq!((read.len(), read[0].version, read[0].status), (1, 2, StreamStatus::Paused));
    assert!(matches!(read[0].delivery, Delivery::Poll));
    house.store.remove_stream(stream.id, house.said("removed")).await.unwrap();
    is_conflict(house.store.remove_stream(stream.id, house.said("removed")).await);
    assert!(house.store.streams().await.unwrap().is_empty());
}

pub(crate) async fn a_stream_is_filled_once_by_whichever_node_and_in_order(house: House) {
    let stream = house.a_stream("sp", 7).await;
    let other = house.another_node(9).await;
    house.store.fill_stream(stream.id, 7, 9, sets(&["a", "b"])).await.unwrap();
    is_conflict(other.fill_stream(stream.id, 7, 9, sets(&["c", "d"])).await);
    other.fill_stream(stream.id, 9, 10, sets(&["c"])).await.unwrap();
    assert_eq!(house.waits(&stream).await, set_ids(&["a", "b", "c"]));
    assert_eq!(house.store.waiting(stream.id, 1).await.unwrap(), sets(&["a"]));
    house.store.settle(stream.id, taken(&["a", "nothing"]), house.now()).await.unwrap();
    assert_eq!(house.waits(&stream).await, set_ids(&["b", "c"]));
    // What was disabled is forgotten; the cursor stays.
    let read = house.store.stream_of(&stream.machine).await.unwrap().unwrap();
    assert_eq!((read.cursor, read.waiting), (10, 2));
    let off = Stream { status: StreamStatus::Disabled, ..read };
    house.store.change_stream(&off, house.said("off")).await.unwrap();
    assert!(house.waits(&stream).await.is_empty());
    assert_eq!(house.store.stream_of(&stream.machine).await.unwrap().unwrap().waiting, 0);
}

pub(crate) async fn a_stream_that_is_full_waits_and_loses_nothing(house: House) {
    let stream = house.a_stream("sp", 0).await;
    let many: Vec<WaitingSet> =
        (0..10_000).map(|n| WaitingSet { id: set_ids(&[&n.to_string()])[0], claims: "{}".to_owned() }).collect();
    for (at, some) in many.chunks(2_500).enumerate() {
        let at = u64::try_from(at).unwrap();
        house.store.fill_stream(stream.id, at, at + 1, some.to_vec()).await.unwrap();
    }
    is_limit(house.store.fill_stream(stream.id, 4, 5, sets(&["more"])).await);
    // What tells nothing goes on.
    house.store.fill_stream(stream.id, 4, 5, Vec::new()).await.unwrap();
    house.store.settle(stream.id, taken(&["0"]), house.now()).await.unwrap();
    house.store.fill_stream(stream.id, 5, 6, sets(&["more"])).await.unwrap();
}

pub(crate) async fn one_node_at_a_time_posts_for_a_stream(house: House) {
    let stream = house.a_stream("sp", 0).await;
    house.store.fill_stream(stream.id, 0, 1, sets(&["a", "b"])).await.unwrap();
    let other = house.another_node(9).await;
    let (now, until, later) = (house.now(), house.until(30), house.until(60));
    let turn = || Turn { stream: stream.id, version: 1, holder: house.id() };
    let (first, second) = (turn(), turn());
    assert!(house.store.take_turn(first, now, until).await.unwrap());
    assert!(!other.take_turn(second, now, until).await.unwrap());
    // What it delivers holds it.
    assert!(house.store.posted(first, taken(&["a"]), now, house.until(45)).await.unwrap());
    assert!(!other.take_turn(second, until, later).await.unwrap());
    // Ended by somebody whose it is not, it goes on.
    other.end_turn(second).await.unwrap();
    assert!(!other.take_turn(second, now, later).await.unwrap());
    house.store.end_turn(first).await.unwrap();
    assert!(other.take_turn(second, now, later).await.unwrap());
}

/// A receiver answers so slowly that another node posts by then: what the first says is not heard.
pub(crate) async fn b102_a_turn_that_is_over_settles_nothing(house: House) {
    let stream = house.a_stream("sp", 0).await;
    house.store.fill_stream(stream.id, 0, 1, sets(&["a", "b"])).await.unwrap();
    let (now, until, later) = (house.now(), house.until(30), house.until(60));
    let turn = |version| Turn { stream: stream.id, version, holder: house.id() };
    let (first, second) = (turn(1), turn(1));
    assert!(house.store.take_turn(first, now, until).await.unwrap());
    assert!(house.store.take_turn(second, until, later).await.unwrap());
    assert!(!house.store.posted(first, taken(&["a"]), until, later).await.unwrap());
    house.store.end_turn(first).await.unwrap();
    assert_eq!(house.waits(&stream).await, set_ids(&["a", "b"]));
    assert!(!house.store.take_turn(turn(1), until, later).await.unwrap(), "the second's stands");
    // Whoever changes the stream ends the turn too.
    let read = house.store.stream_of(&stream.machine).await.unwrap().unwrap();
    let elsewhere = Delivery::Push { endpoint: "https://other.example.net/events".to_owned(), authorization: None };
    let changed = Stream { delivery: elsewhere, ..read };
    house.store.change_stream(&changed, house.said("changed")).await.unwrap();
    assert!(!house.store.posted(second, taken(&["a"]), until, later).await.unwrap());
    assert_eq!(house.waits(&stream).await, set_ids(&["a", "b"]));
    assert!(!house.store.take_turn(turn(1), later, house.until(90)).await.unwrap(), "nobody posts by the old rules");
    let read = house.store.stream_of(&stream.machine).await.unwrap().unwrap();
    let paused = Stream { status: StreamStatus::Paused, ..read };
    house.store.change_stream(&paused, house.said("paused")).await.unwrap();
    assert!(!house.store.take_turn(turn(3), later, house.until(90)).await.unwrap(), "it is paused");
}

/// One statement settles all, and only what waited is recorded as refused.
pub(crate) async fn b102_what_a_receiver_settles_is_bounded_and_a_refusal_is_recorded_once(house: House) {
    let stream = house.a_stream("sp", 0).await;
    let mut some = sets(&["a", "b"]);
    some[0].claims = r#"{"txn":"because","events":{"https://x/session-revoked":{}}}"#.to_owned();
    house.store.fill_stream(stream.id, 0, 1, some).await.unwrap();
    for _ in 0..2 {
        let mut settled = taken(&["nothing"]);
        settled.refuse(set_ids(&["a"])[0], "invalid_key <b>").unwrap();
        settled.refuse(set_ids(&["none"])[0], "invalid_key").unwrap();
        house.store.settle(stream.id, settled, house.now()).await.unwrap();
    }
    assert_eq!(house.waits(&stream).await, set_ids(&["b"]));
    let all = house.all().await;
    let refused: Vec<_> = all.iter().map(|entry| &entry.entry.event).collect();
    let refused: Vec<_> = refused.into_iter().filter(|event| matches!(event, Event::SignalRefused { .. })).collect();
    let [Event::SignalRefused { event, txn, code, set, .. }] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!((event.as_str(), txn.as_str(), code.as_str()), ("session-revoked", "because", "invalid_keyb"));
    assert_eq!(set, &set_ids(&["a"])[0].to_string());
    let mut many = Settled::default();
    for n in 0..100 {
        many.take(set_ids(&[&n.to_string()])[0]).unwrap();
    }
    assert!(many.take(set_ids(&["more"])[0]).is_err());
}

pub(crate) async fn a_verification_is_asked_for_once_in_a_while(house: House) {
    let stream = house.a_stream("sp", 7).await;
    let every = Duration::from_secs(10);
    let ask = |name: &'static str| {
        let set = sets(&[name]).remove(0);
        house.store.verify_stream(stream.id, set, house.now(), every)
    };
    ask("a").await.unwrap();
    is_limit(ask("b").await);
    house.clock.advance(every);
    ask("c").await.unwrap();
    assert_eq!(house.waits(&stream).await, set_ids(&["a", "c"]));
    // Where it was read to stays.
    assert_eq!(house.store.stream_of(&stream.machine).await.unwrap().unwrap().cursor, 7);
}

pub(crate) async fn a_stream_goes_with_its_machine(house: House) {
    let stream = house.a_stream("sp", 0).await;
    house.store.fill_stream(stream.id, 0, 1, sets(&["a"])).await.unwrap();
    let alice = house.person("alice").await.id;
    house.store.leave_out(stream.id, alice, true, house.said("out")).await.unwrap();
    house.store.remove_machine(&stream.machine, house.said("removed")).await.unwrap();
    assert!(house.store.streams().await.unwrap().is_empty());
    assert!(house.waits(&stream).await.is_empty());
    assert!(!house.store.left_out(stream.id, alice).await.unwrap());
}

pub(crate) async fn b110_who_was_deleted_is_known_until_every_stream_has_told_of_it(house: House) {
    let stream = house.a_stream("sp", 0).await;
    let alice = house.person("alice").await.id;
    house.store.leave_out(stream.id, alice, true, house.said("out")).await.unwrap();
    assert_eq!(house.store.departed(alice).await.unwrap(), None);
    let event = Event::PersonRemoved { person: alice.to_string(), by: "cli:test".to_owned() };
    let removed = stepgate_evidence::Entry { event, ..house.said("removed") };
    house.store.remove_person(alice, "cli:test", house.now(), removed).await.unwrap();
    let departed = house.store.departed(alice).await.unwrap().unwrap();
    assert_eq!((departed.identity, departed.left_out), (None, vec![stream.id]));
    house.store.purge(house.now()).await.unwrap();
    assert!(house.store.departed(alice).await.unwrap().is_some(), "the stream is behind");
    house.store.fill_stream(stream.id, 0, 1_000, Vec::new()).await.unwrap();
    house.store.purge(house.now()).await.unwrap();
    assert_eq!(house.store.departed(alice).await.unwrap(), None);
}

pub(crate) async fn somebody_may_be_left_out_of_a_stream(house: House) {
    let stream = house.a_stream("sp", 0).await;
    let (alice, bob) = (house.person("alice").await.id, house.person("bob").await.id);
    for _ in 0..2 {
        house.store.leave_out(stream.id, alice, true, house.said("out")).await.unwrap();
    }
    assert!(house.store.left_out(stream.id, alice).await.unwrap());
    assert!(!house.store.left_out(stream.id, bob).await.unwrap());
    house.store.leave_out(stream.id, alice, false, house.said("in")).await.unwrap();
    assert!(!house.store.left_out(stream.id, alice).await.unwrap());
    is_conflict(house.store.leave_out(stream.id, house.id(), true, house.said("out")).await);
}

pub(crate) async fn the_key_of_signals_is_made_once_and_sealed(house: House) {
    let made = |id: &str, byte: u8| Some((id.to_owned(), vec![byte; 40].into()));
    let only = |keys: Vec<SealedKey>| match keys.as_slice() {
        [key] => (key.id.clone(), key.pkcs8.to_vec()),
        _ => panic!("{keys:?}"),
    };
    assert!(house.store.stored_signal_keys().await.unwrap().is_empty());
    let first = only(house.store.signal_keys(|| made("one", 1)).await.unwrap());
    assert_eq!(first, ("one".to_owned(), vec![1; 40]));
    let other = house.another_node(9).await;
    assert_eq!(only(other.signal_keys(|| made("two", 2)).await.unwrap()), first);
    // The other keys are found beside it.
    assert_eq!(house.store.signing_keys().await.unwrap().assertion.len(), 1);
}

pub(crate) async fn a_former_key_of_signals_is_published_for_a_week_unless_it_is_compromised(house: House) {
    let made = |id: &str, byte: u8| (id.to_owned(), vec![byte; 40].into());
    let ids = || async {
        let keys = house.store.stored_signal_keys().await.unwrap();
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    house.store.signal_keys(|| Some(made("one", 1))).await.unwrap();
    let next = KeyRotation::PublishedFirst { signs_from: house.now().plus(HOUR) };
    house.store.new_signal_key(made("two", 2), house.now(), next, house.said("two")).await.unwrap();
    assert_eq!((ids().await, house.count_said("two").await), (vec!["two".to_owned(), "one".to_owned()], 1));
    // While it waits, no other is made.
    is_conflict(house.store.new_signal_key(made("three", 3), house.now(), next, house.said("three")).await);
    assert_eq!(house.count_said("three").await, 0);
    for (hours, left) in [(2, 2), (24 * 7 - 2, 2), (2, 1)] {
        house.clock.advance(HOUR * hours);
        house.store.purge(house.now()).await.unwrap();
        assert_eq!(ids().await.len(), left, "{hours}");
    }
    let at_once = KeyRotation::AtOnce;
    house.store.new_signal_key(made("four", 4), house.now(), at_once, house.said("four")).await.unwrap();
    assert_eq!(ids().await, ["four"]);
    assert_eq!(house.store.signing_keys().await.unwrap().assertion.len(), 1, "another purpose's keys stay");
}
