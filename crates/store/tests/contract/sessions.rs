use std::time::Duration;

use stepgate_core::factor::{FactorKind, FactorUse};
use stepgate_core::id::SessionId;
use stepgate_core::ports::{NewSession, Store as _, Trier, Try, TryLimits};
use stepgate_core::secret::{Purpose, TokenDigest};
use stepgate_core::session::{Audience, OLD_TOKEN_GRACE};
use stepgate_evidence::Event;
use tokio::time::timeout;

use crate::codes::handed_off;
use crate::house::{AT_MOST, House, IDLE, MINUTE, host, is_conflict, is_used_before, until};

pub(crate) async fn a_session_is_found_by_its_token_at_its_audience_only(house: House) {
    let alice = house.signed_in("alice").await;
    for _ in 0..2 {
        // The second look is from memory.
        let view = house.look(alice.token).await.unwrap();
        assert_eq!((view.id, &*view.person), (alice.session, &alice.person));
        assert_eq!((view.generation, view.newest_generation), (1, 1));
        assert_eq!(view.assurance.proofs().len(), 1);
        assert_eq!(*view.enrolled, [FactorKind::Password]);
        assert_eq!(view.audience, Audience::Gate);
        assert_eq!(view.browser, Some(alice.browser));
        assert_eq!((view.started_at, view.last_used_at), (house.now(), house.now()));
        assert_eq!((view.address.to_string().as_str(), view.agent.as_str()), ("192.0.2.1", "a browser"));
        assert_eq!((view.country.as_str(), view.token_reused), ("CH", false));
        assert!(house.look_at(alice.token, &host("pay.example.com")).await.is_none());
        assert!(house.look(house.digest()).await.is_none());
    }
}

async fn start(house: &House, session: NewSession) -> Result<(), stepgate_core::ports::ChangeError> {
    let entry = house.started(&session);
    house.store.start_session(session, vec![entry]).await
}

pub(crate) async fn a_totp_step_counts_once_and_only_upwards(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.totp()).await.unwrap();
    let with = |step| house.new_session(alice.id, FactorKind::Totp, (factor, FactorUse::Moved(step)));
    start(&house, with(100)).await.unwrap();
    is_used_before(start(&house, with(100)).await);
    is_used_before(start(&house, with(99)).await);
    start(&house, with(101)).await.unwrap();
    assert_eq!(house.store.sessions(alice.id, house.now()).await.unwrap().len(), 2);
    let factors = house.store.factors(alice.id).await.unwrap();
    assert_eq!(factors[0].last_used_at, Some(house.now()));
    let stepgate_core::factor::FactorSecret::Oath { last, .. } = factors[0].secret else { panic!() };
    assert_eq!(last, Some(101));
}

pub(crate) async fn a_passkey_counter_rises_or_stays_zero(house: House) {
    let alice = house.person("alice").await;
    let counting = house.enrol(alice.id, house.passkey(5)).await.unwrap();
    let never = house.enrol(alice.id, house.passkey(0)).await.unwrap();
    let with = |factor, counter| {
        let used = FactorUse::PasskeyCounter { counter, backed_up: true };
        house.new_session(alice.id, FactorKind::PASSKEY, (factor, used))
    };
    is_used_before(start(&house, with(counting, 5)).await);
    is_used_before(start(&house, with(counting, 0)).await);
    start(&house, with(counting, 6)).await.unwrap();
    is_used_before(start(&house, with(counting, 6)).await);
    start(&house, with(never, 0)).await.unwrap();
    start(&house, with(never, 0)).await.unwrap();
    start(&house, with(never, 1)).await.unwrap();
    is_used_before(start(&house, with(never, 0)).await);
    let factors = house.store.factors(alice.id).await.unwrap();
    let stepgate_core::factor::FactorSecret::Passkey(passkey) = &factors[0].secret else { panic!() };
    assert_eq!((passkey.counter, passkey.backed_up), (6, true));
}

/// What rules tell passkeys apart by is what was said at the last use, at once and for every session.
pub(crate) async fn b155_a_passkey_that_is_synced_by_now_is_of_another_sort(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.passkey(0)).await.unwrap();
    let with = |backed_up| {
        let used = FactorUse::PasskeyCounter { counter: 0, backed_up };
        house.new_session(alice.id, FactorKind::PASSKEY, (factor, used))
    };
    let first = with(false);
    let token = first.gate_token;
    start(&house, first).await.unwrap();
    let model = "09090909-0909-0909-0909-090909090909";
    let enrolled =
        || async { house.look(token).await.unwrap().enrolled.iter().map(ToString::to_string).collect::<Vec<_>>() };
    assert_eq!(enrolled().await, [format!("passkey:backup_eligible/{model}")]);
    for (backed_up, sort) in [(true, "backed_up"), (false, "backup_eligible")] {
        start(&house, with(backed_up)).await.unwrap();
        assert_eq!(enrolled().await, [format!("passkey:{sort}/{model}")]);
        assert_eq!(
            house.store.factors(alice.id).await.unwrap()[0].kind().to_string(),
            format!("passkey:{sort}/{model}")
        );
    }
}

pub(crate) async fn a_recovery_code_is_gone_after_its_use(house: House) {
    let alice = house.person("alice").await;
    let (secret, codes) = house.recovery_codes(2);
    let factor = house.enrol(alice.id, secret).await.unwrap();
    let with = |code| house.new_session(alice.id, FactorKind::RecoveryCode, (factor, FactorUse::RecoveryCode(code)));
    let first = with(codes[0]);
    let token = first.gate_token;
    start(&house, first).await.unwrap();
    assert_eq!(*house.look(token).await.unwrap().enrolled, [FactorKind::RecoveryCode]);
    is_used_before(start(&house, with(codes[0])).await);
    let last = with(codes[1]);
    let token = last.gate_token;
    start(&house, last).await.unwrap();
    is_used_before(start(&house, with(codes[1])).await);
    assert!(house.look(token).await.unwrap().enrolled.is_empty(), "no code is left to ask for");
}

pub(crate) async fn a_factor_of_somebody_else_starts_no_session(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    let factor = house.enrol(alice.id, house.totp()).await.unwrap();
    is_conflict(start(&house, house.new_session(bob.id, FactorKind::Totp, (factor, FactorUse::Moved(1)))).await);
    // Nor does a factor prove another kind than its own.
    is_conflict(start(&house, house.new_session(alice.id, FactorKind::PASSKEY, (factor, FactorUse::Moved(1)))).await);
    start(&house, house.new_session(alice.id, FactorKind::Totp, (factor, FactorUse::Moved(1)))).await.unwrap();
}

pub(crate) async fn b61_a_prompt_starts_one_session(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.passkey(0)).await.unwrap();
    let prompt = house.digest();
    let with = || {
        let used = FactorUse::PasskeyCounter { counter: 0, backed_up: false };
        NewSession { prompt: Some(prompt), ..house.new_session(alice.id, FactorKind::PASSKEY, (factor, used)) }
    };
    start(&house, with()).await.unwrap();
    is_used_before(start(&house, with()).await);
    assert_eq!(house.store.sessions(alice.id, house.now()).await.unwrap().len(), 1);
}

/// The session is let to a service.
async fn let_in(house: &House, session: SessionId) {
    let pay = host("pay.example");
    let code = house.code(session, Purpose::HandOff, pay.clone());
    let digest = code.digest;
    house.store.put_code(code).await.unwrap();
    assert!(house.store.redeem_code(digest, &pay, None, house.digest(), house.now()).await.unwrap().is_some());
}

/// Somebody with a stolen password signs in once and again, and never gives what is asked of a new device.
pub(crate) async fn b140_a_device_that_no_session_left_for_a_service_stays_new(house: House) {
    let alice = house.signed_in("alice").await;
    let (own, device) = (house.digest(), house.digest());
    let sign_in = async |device| {
        let used = (alice.factor, FactorUse::Nothing);
        let session = NewSession { device, ..house.new_session(alice.person.id, FactorKind::Password, used) };
        let (id, token) = (session.id, session.gate_token);
        start(&house, session).await.unwrap();
        house.clock.advance(MINUTE);
        (id, house.look(token).await.unwrap().device.clone())
    };
    let_in(&house, sign_in(own).await.0).await;
    for _ in 0..3 {
        let (_, told) = sign_in(device).await;
        assert_eq!((told.first_seen, told.seen_before, told.is_known()), (None, None, false));
    }
    // Nor do strange ones push out what is known.
    for _ in 0..60 {
        let (session, _) = sign_in(house.digest()).await;
        house.store.end_session(session, alice.person.id, house.said("over")).await.unwrap();
    }
    let (session, told) = sign_in(own).await;
    assert!(told.is_known());
    // What it was away for is told until one is let in again.
    let (_, again) = sign_in(own).await;
    assert_eq!(again.seen_before, told.seen_before);
    let_in(&house, session).await;
    assert!(sign_in(own).await.1.seen_before > told.seen_before);
}

pub(crate) async fn a_device_is_known_from_the_second_sign_in_on(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    let device = house.digest();
    for (who, known) in [(&alice, false), (&alice, true), (&bob, false)] {
        let used = (who.factor, FactorUse::Nothing);
        let session = NewSession { device, ..house.new_session(who.person.id, FactorKind::Password, used) };
        let (id, token) = (session.id, session.gate_token);
        start(&house, session).await.unwrap();
        assert_eq!(house.look(token).await.unwrap().device.is_known(), known);
        let_in(&house, id).await;
    }
}

pub(crate) async fn a_device_is_told_with_when_it_was_seen_first_and_last_before(house: House) {
    let alice = house.signed_in("alice").await;
    let device = house.digest();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let used = (alice.factor, FactorUse::Nothing);
        let session = NewSession { device, ..house.new_session(alice.person.id, FactorKind::Password, used) };
        let (id, token) = (session.id, session.gate_token);
        start(&house, session).await.unwrap();
        let view = house.look(token).await.unwrap();
        seen.push((view.started_at, view.device.first_seen, view.device.seen_before));
        let_in(&house, id).await;
        house.clock.advance(MINUTE * 10);
    }
    let at: Vec<_> = seen.iter().map(|(at, ..)| *at).collect();
    assert_eq!(seen, [(at[0], None, None), (at[1], Some(at[0]), Some(at[0])), (at[2], Some(at[0]), Some(at[1]))]);
}

pub(crate) async fn a_device_is_named_and_forgotten_by_its_person_alone(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    let device = house.digest();
    let sign_in = async || {
        let used = (alice.factor, FactorUse::Nothing);
        let session = NewSession { device, ..house.new_session(alice.person.id, FactorKind::Password, used) };
        let (id, token) = (session.id, session.gate_token);
        start(&house, session).await.unwrap();
        let_in(&house, id).await;
        house.clock.advance(MINUTE);
        token
    };
    let told = async |token| house.look(token).await.unwrap().device.clone();
    let (_, second) = (sign_in().await, sign_in().await);
    let other = house.another_node(7).await;
    let elsewhere =
        async || other.session(second, &Audience::Gate, house.now()).await.unwrap().unwrap().device.is_known();
    assert!(told(second).await.is_known() && elsewhere().await);

    is_conflict(house.store.name_device(bob.person.id, device, "mine", house.said("no")).await);
    house.store.name_device(alice.person.id, device, "the laptop", house.said("named")).await.unwrap();
    assert_eq!(told(second).await.name, "the laptop");
    let devices = house.store.devices(alice.person.id).await.unwrap();
    let named = devices.iter().find(|one| one.device == device).unwrap();
    assert_eq!((named.name.as_str(), named.agent.as_str()), ("the laptop", "a browser"));
    assert!(named.first_seen < named.last_used);
    assert_eq!(devices[0].device, device, "the last used comes first");

    is_conflict(house.store.forget_device(bob.person.id, device, house.said("no")).await);
    house.store.forget_device(alice.person.id, device, house.said("forgotten")).await.unwrap();
    is_conflict(house.store.forget_device(alice.person.id, device, house.said("again")).await);
    assert_eq!((house.count_said("forgotten").await, house.count_said("again").await), (1, 0));
    // It is new for the session that it has, on every node, and for the next one.
    assert!(!told(second).await.is_known());
    until("the other node knows", async || !elsewhere().await).await;
    let third = sign_in().await;
    assert_eq!(told(third).await.seen_before, None);
    assert!(!told(third).await.is_known());
    assert!(!told(second).await.is_known(), "a session of before does not trust what began anew");
    assert!(told(sign_in().await).await.is_known());
}

pub(crate) async fn a_forgotten_device_tries_as_a_stranger(house: House) {
    let alice = house.signed_in("alice").await;
    let device = house.digest();
    let used = (alice.factor, FactorUse::Nothing);
    let session = NewSession { device, ..house.new_session(alice.person.id, FactorKind::Password, used) };
    start(&house, session).await.unwrap();
    let limits = TryLimits { before_lock: 10, lock: MINUTE * 30, before_reset: 100 };
    let from = Trier { device: Some(device), address: [192, 0, 2, 77].into() };
    let left = async || {
        let counted =
            house.store.begin_try(alice.person.id, FactorKind::Password, from, limits, house.now(), house.said("x"));
        match counted.await.unwrap() {
            Try::Allowed { left } => left,
            Try::Locked { .. } => 0,
        }
    };
    assert_eq!(left().await, 10, "one of theirs");
    house.store.forget_device(alice.person.id, device, house.said("forgotten")).await.unwrap();
    assert_eq!(left().await, 5, "one address of strangers");
}

/// Alice's second token of one browser, in use; the first one, which it retired; and another browser's.
async fn with_a_retired_token(house: &House) -> (crate::house::SignedIn, TokenDigest, [TokenDigest; 2]) {
    let alice = house.signed_in("alice").await;
    let audience = host("pay.example.com");
    let handed_off = async |browser| handed_off(house, &alice, &audience, browser).await;
    let (mine, other) = (house.digest(), house.digest());
    let (first, elsewhere) = (handed_off(mine).await, handed_off(other).await);
    assert!(house.look_at(first, &audience).await.is_some());
    let second = handed_off(mine).await;
    assert!(house.look_at(second, &audience).await.is_some(), "its first use retires the one before");
    (alice, first, [second, elsewhere])
}

pub(crate) async fn b134_a_retired_token_that_is_seen_again_marks_its_session_once_and_opens_nothing(house: House) {
    let (alice, first, living) = with_a_retired_token(&house).await;
    let audience = host("pay.example.com");
    let reused = async |token| house.look_at(token, &audience).await.unwrap().token_reused;
    let marked = async || {
        let is_it = |event: &Event| {
            matches!(event, Event::TokenReused { session, person }
                if *session == alice.session.to_string() && *person == alice.person.id.to_string())
        };
        house.all().await.iter().filter(|recorded| is_it(&recorded.entry.event)).count()
    };
    // What was on its way while the other took its place is no copy.
    assert!(house.look_at(first, &audience).await.is_none());
    assert!(!reused(living[0]).await);
    house.clock.advance(OLD_TOKEN_GRACE);
    for times in 0..3 {
        assert!(house.look_at(first, &audience).await.is_none(), "it opens nothing, however often it is shown");
        assert_eq!(marked().await, 1, "{times}");
        for token in living {
            assert!(reused(token).await, "every living token of the session is told");
        }
    }
    assert!(house.look(alice.token).await.unwrap().token_reused, "at every audience");
}

pub(crate) async fn b134_what_is_no_retired_token_of_that_host_marks_nothing(house: House) {
    let (alice, first, living) = with_a_retired_token(&house).await;
    house.clock.advance(OLD_TOKEN_GRACE);
    for (token, audience) in
        [(first, Audience::Gate), (first, host("wiki.example.com")), (house.digest(), host("pay.example.com"))]
    {
        assert!(house.look_at(token, &audience).await.is_none());
    }
    assert!(house.look_at(living[1], &host("pay.example.com")).await.is_some(), "another browser's lives on");
    assert!(!house.look(alice.token).await.unwrap().token_reused);
    let noted = |event: &Event| matches!(event, Event::TokenReused { .. });
    assert!(!house.all().await.iter().any(|recorded| noted(&recorded.entry.event)));
}

pub(crate) async fn a_session_ends_at_its_end_and_when_it_is_not_used(house: House) {
    let alice = house.signed_in("alice").await;
    assert!(house.look(alice.token).await.is_some());
    house.clock.advance(IDLE - Duration::from_millis(1));
    assert!(house.look(alice.token).await.is_some());
    house.clock.advance(Duration::from_millis(1));
    assert!(house.look(alice.token).await.is_none(), "unused for as long as it may be");

    let busy = house.sign_in(&alice.person, alice.factor).await;
    for _ in 0..47 {
        assert!(house.look(busy.token).await.is_some());
        house.store.touch(busy.session, house.now());
        house.clock.advance(MINUTE * 30);
    }
    assert!(house.look(busy.token).await.is_some());
    house.store.touch(busy.session, house.now());
    house.clock.advance(MINUTE * 30);
    assert!(house.look(busy.token).await.is_none(), "24 hours, however busy");
}

pub(crate) async fn use_keeps_a_session_alive_and_is_written_down(house: House) {
    let alice = house.signed_in("alice").await;
    assert!(house.look(alice.token).await.is_some());
    house.clock.advance(MINUTE * 50);
    let used_at = house.now();
    house.store.touch(alice.session, used_at);
    assert_eq!(house.look(alice.token).await.unwrap().last_used_at, used_at);
    let other = house.another_node(9).await;
    crate::house::until("the other node knows of the use", || async {
        other.sessions(alice.person.id, house.now()).await.unwrap()[0].last_used_at == used_at
    })
    .await;
    house.clock.advance(MINUTE * 50);
    assert!(house.look(alice.token).await.is_some());
    assert!(other.session(alice.token, &Audience::Gate, house.now()).await.unwrap().is_some());
}

pub(crate) async fn a_lapsed_session_tells_whose_it_was_for_a_while(house: House) {
    let alice = house.signed_in("alice").await;
    let lapsed = |within| house.store.lapsed(alice.token, &Audience::Gate, house.now(), within);
    assert_eq!(lapsed(MINUTE).await.unwrap(), None, "it has not ended");
    house.clock.advance(IDLE + MINUTE);
    assert_eq!(lapsed(MINUTE).await.unwrap(), Some((alice.session, alice.person.id)));
    assert_eq!(lapsed(MINUTE - Duration::from_millis(1)).await.unwrap(), None);
    let elsewhere = host("pay.example.com");
    assert_eq!(house.store.lapsed(alice.token, &elsewhere, house.now(), MINUTE).await.unwrap(), None);
    assert_eq!(house.store.lapsed(house.digest(), &Audience::Gate, house.now(), MINUTE).await.unwrap(), None);
}

pub(crate) async fn an_ended_session_is_gone_at_once_and_did_not_lapse(house: House) {
    let alice = house.signed_in("alice").await;
    assert!(house.look(alice.token).await.is_some());
    house.end(&alice).await;
    assert!(house.look(alice.token).await.is_none());
    assert_eq!(house.count_said("ended").await, 1);
    house.clock.advance(IDLE);
    assert_eq!(house.store.lapsed(alice.token, &Audience::Gate, house.now(), MINUTE * 600).await.unwrap(), None);
}

pub(crate) async fn ending_a_session_twice_or_anothers_is_a_conflict(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    is_conflict(house.store.end_session(alice.session, bob.person.id, house.said("ended")).await);
    assert!(house.look(alice.token).await.is_some());
    house.end(&alice).await;
    is_conflict(house.store.end_session(alice.session, alice.person.id, house.said("ended")).await);
    is_conflict(house.store.end_session(house.id(), alice.person.id, house.said("ended")).await);
    assert_eq!(house.count_said("ended").await, 1);
}

pub(crate) async fn a_sign_in_replaces_the_session_of_the_same_browser(house: House) {
    let alice = house.signed_in("alice").await;
    assert!(house.look(alice.token).await.is_some());
    let used = (alice.factor, FactorUse::Nothing);
    let session =
        NewSession { replaces: Some(alice.session), ..house.new_session(alice.person.id, FactorKind::Password, used) };
    let token = session.gate_token;
    start(&house, session).await.unwrap();
    assert!(house.look(alice.token).await.is_none());
    assert!(house.look(token).await.is_some());
}

pub(crate) async fn the_list_of_sessions_has_the_live_ones(house: House) {
    let alice = house.signed_in("alice").await;
    house.clock.advance(IDLE);
    let second = house.sign_in(&alice.person, alice.factor).await;
    let third = house.sign_in(&alice.person, alice.factor).await;
    house.end(&third).await;
    let listed = house.store.sessions(alice.person.id, house.now()).await.unwrap();
    assert_eq!(listed.iter().map(|session| session.id).collect::<Vec<_>>(), [second.session]);
    assert_eq!(listed[0].started_at, house.now());
    assert_eq!(listed[0].ends_at, house.now().plus(Duration::from_secs(24 * 3600)));
}

pub(crate) async fn a_change_of_the_person_shows_in_cached_sessions(house: House) {
    let alice = house.signed_in("alice").await;
    assert_eq!(house.look(alice.token).await.unwrap().person.groups, ["finance", "staff"]);
    let mut changed = alice.person.clone();
    changed.groups = vec!["staff".to_owned()];
    house.store.change_person(&changed, house.said("changed")).await.unwrap();
    assert_eq!(house.look(alice.token).await.unwrap().person.groups, ["staff"]);
    let app = house.enrol(alice.person.id, house.totp()).await.unwrap();
    assert_eq!(*house.look(alice.token).await.unwrap().enrolled, [FactorKind::Totp, FactorKind::Password]);
    house.store.remove_factor(alice.person.id, alice.factor, vec![app], house.said("removed")).await.unwrap();
    assert_eq!(*house.look(alice.token).await.unwrap().enrolled, [FactorKind::Totp]);
}

pub(crate) async fn waiting_for_the_end_completes_at_the_end(house: House) {
    let alice = house.signed_in("alice").await;
    let bob = house.signed_in("bob").await;
    let (session, ended) = (alice.session, std::sync::Arc::clone(&house.store));
    let waiting = tokio::spawn(async move { ended.ended(session).await });
    let (session, ended) = (bob.session, std::sync::Arc::clone(&house.store));
    let changed = tokio::spawn(async move { ended.ended(session).await });
    house.end(&alice).await;
    timeout(AT_MOST, waiting).await.expect("the end is noticed").unwrap();
    house.store.change_person(&bob.person, house.said("changed")).await.unwrap();
    // It may have begun to wait after the change; the next change is noticed for certain.
    let changes = async {
        while !changed.is_finished() {
            house.store.change_person(&bob.person, house.said("changed")).await.unwrap();
        }
    };
    timeout(AT_MOST, changes).await.expect("a changed person is noticed");
    timeout(AT_MOST, house.store.ended(alice.session)).await.expect("what has ended is not waited for");
}

pub(crate) async fn waiting_for_the_end_completes_when_it_ends_by_time(house: House) {
    let (idle, moment) = (IDLE, Duration::from_millis(300));
    for (lives, is_used) in [(idle, false), (Duration::from_secs(24 * 3600), true)] {
        let alice = house.signed_in(if is_used { "busy" } else { "idle" }).await;
        assert!(house.look(alice.token).await.is_some());
        house.clock.advance(lives - moment);
        if is_used {
            house.store.touch(alice.session, house.now());
        }
        let mut waiting = std::pin::pin!(house.store.ended(alice.session));
        let early = timeout(moment / 3, &mut waiting).await;
        assert!(early.is_err(), "it has not ended yet");
        house.clock.advance(moment);
        timeout(AT_MOST, waiting).await.expect("the end is noticed");
        assert!(house.look(alice.token).await.is_none());
    }
}

pub(crate) async fn waiting_for_the_end_outlasts_a_new_token(house: House) {
    let alice = house.signed_in("alice").await;
    let mut waiting = std::pin::pin!(house.store.ended(alice.session));
    let rotations = async {
        let mut token = alice.token;
        for _ in 0..5 {
            let new = house.digest();
            house.store.rotate_token(token, &Audience::Gate, new, house.now()).await.unwrap();
            token = new;
        }
        token
    };
    let token = tokio::select! {
        () = &mut waiting => panic!("a new token is no end"),
        token = rotations => token,
    };
    let alice = crate::house::SignedIn { token, ..alice };
    let end = async {
        house.end(&alice).await;
        waiting.await;
    };
    timeout(AT_MOST, end).await.expect("the end is noticed");
}
