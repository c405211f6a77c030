//! The contract of `Approvals`.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::challenge::{Challenge, ChallengeState, GrantKind};
use stepgate_core::factor::{ApproverDevice, FactorKind, FactorSecret, FactorUse, Passkey};
use stepgate_core::id::FactorId;
use stepgate_core::ports::{
    Accounts as _, AnsweredChallenge, Approvals as _, NewPush, PushSent, Store as _, Trier, Try, TryLimits,
};
use stepgate_core::push::Subscription;
use stepgate_core::secret::TokenDigest;

use crate::house::{ADDRESS, House, MINUTE, SignedIn, is_conflict, is_limit};

const PUSH: FactorKind = ApproverDevice::OUT_OF_BAND;
const BEFORE_RESET: u32 = 100;

impl House {
    fn device(&self, token: TokenDigest, passkey: Option<Passkey>) -> FactorSecret {
        FactorSecret::Push(Box::new(ApproverDevice { token, passkey }))
    }

    fn subscription(&self, endpoint: &str) -> Subscription {
        let endpoint = format!("https://push.example/{endpoint}");
        Subscription { endpoint, key: [4; 65], secret: [7; 16], made_for: "key".to_owned() }
    }

    fn push(&self, who: &SignedIn, challenge: &Challenge) -> NewPush {
        NewPush {
            id: self.id(),
            person: who.person.id,
            challenge: challenge.id,
            session: who.session,
            at: self.now(),
            until: self.now().plus(MINUTE * 10),
            instead_of: None,
            per_hour: 3,
            per_session: 3,
            before_reset: BEFORE_RESET,
        }
    }

    async fn put(&self, push: NewPush) -> PushSent {
        self.store.send_push(push, self.said("sent")).await.unwrap()
    }
}

pub(crate) async fn a_device_reads_back_and_is_found_by_its_cookie_while_it_is_there(house: House) {
    let alice = house.person("alice").await;
    let FactorSecret::Passkey(passkey) = house.passkey(7) else { panic!("not a passkey") };
    let (plain, signing) = (house.digest(), house.digest());
    let weak = house.enrol(alice.id, house.device(plain, None)).await.unwrap();
    let strong = house.enrol(alice.id, house.device(signing, Some(*passkey.clone()))).await.unwrap();
    let kinds: Vec<_> = house.store.factors(alice.id).await.unwrap().iter().map(|one| one.kind()).collect();
    assert_eq!(kinds, [ApproverDevice::OUT_OF_BAND, ApproverDevice::SIGNING]);
    let factors = house.store.factors(alice.id).await.unwrap();
    let FactorSecret::Push(read) = &factors[1].secret else { panic!("not a device") };
    let kept = read.passkey.as_ref().unwrap();
    assert_eq!((read.token, kept.counter, &kept.public_key), (signing, 7, &passkey.public_key));
    assert_eq!(house.store.device(plain).await.unwrap(), Some((alice.id, weak)));
    assert_eq!(house.store.device(signing).await.unwrap(), Some((alice.id, strong)));
    assert_eq!(house.store.device(house.digest()).await.unwrap(), None);
    house.store.remove_factor(alice.id, weak, vec![strong], house.said("removed")).await.unwrap();
    assert_eq!(house.store.device(plain).await.unwrap(), None);
    let blocked = house.store.set_blocked(alice.id, true, "admin", house.now(), vec![house.said("blocked")]);
    blocked.await.unwrap();
    assert_eq!(house.store.device(signing).await.unwrap(), None, "who is out of service has no devices");
}

pub(crate) async fn a_link_is_followed_once_and_by_the_device_alone(house: House) {
    let alice = house.person("alice").await;
    let ticket = house.ticket(alice.id, &[PUSH]).await;
    let (link, device) = (house.digest(), house.digest());
    let state = |text: &str| SecretString::from(text.to_owned());
    assert!(house.store.invitation(link, house.now()).await.unwrap().is_none());
    house.store.invite_device(ticket.digest, link, state("invited")).await.unwrap();
    let invited = house.store.invitation(link, house.now()).await.unwrap().unwrap();
    assert_eq!((invited.digest, invited.begun.unwrap().1.expose_secret()), (ticket.digest, "invited"));
    is_conflict(house.store.device_did(device, state("early"), house.now()).await);

    house.store.follow_invitation(link, device, state("followed"), house.now(), house.said("followed")).await.unwrap();
    is_conflict(
        house.store.follow_invitation(link, house.digest(), state("late"), house.now(), house.said("late")).await,
    );
    assert!(house.store.invitation(link, house.now()).await.unwrap().is_none());
    house.store.device_did(device, state("done"), house.now()).await.unwrap();
    let read = house.store.ticket_of_device(device, house.now()).await.unwrap().unwrap();
    assert_eq!(read.begun.unwrap().1.expose_secret(), "done");

    // What was begun anew is another device's.
    let again = house.digest();
    house.store.invite_device(ticket.digest, again, state("again")).await.unwrap();
    assert!(house.store.ticket_of_device(device, house.now()).await.unwrap().is_none());
    is_conflict(house.store.device_did(device, state("late"), house.now()).await);
    house.clock.advance(MINUTE * 60);
    assert!(house.store.invitation(again, house.now()).await.unwrap().is_none());
    is_conflict(house.store.follow_invitation(again, device, state("too late"), house.now(), house.said("late")).await);
}

pub(crate) async fn how_a_device_is_woken_goes_with_it_and_is_sealed(house: House) {
    let alice = house.person("alice").await;
    let (one, other) = (house.subscription("one"), house.subscription("other"));
    let device = house.enrol(alice.id, house.device(house.digest(), None)).await.unwrap();
    let totp = house.enrol(alice.id, house.totp()).await.unwrap();
    let subscribe = async |device: FactorId, subscription: &Subscription| {
        house.store.subscribe(alice.id, device, subscription, house.said("set")).await
    };
    is_conflict(subscribe(totp, &one).await);
    is_conflict(subscribe(house.id(), &one).await);
    subscribe(device, &one).await.unwrap();
    subscribe(device, &other).await.unwrap();
    assert_eq!(house.store.subscriptions(alice.id).await.unwrap(), [(device, other.clone())]);
    is_conflict(house.store.unsubscribe(device, &one, house.said("gone")).await);
    house.store.unsubscribe(device, &other, house.said("gone")).await.unwrap();
    assert!(house.store.subscriptions(alice.id).await.unwrap().is_empty());
    assert_eq!((house.count_said("set").await, house.count_said("gone").await), (2, 1));
    subscribe(device, &one).await.unwrap();
    house.store.remove_factor(alice.id, device, vec![totp], house.said("removed")).await.unwrap();
    assert!(house.store.subscriptions(alice.id).await.unwrap().is_empty());
}

pub(crate) async fn a_device_changes_so_often_an_hour_how_it_is_woken(house: House) {
    const MOST: usize = 12;
    let alice = house.person("alice").await;
    let device = house.enrol(alice.id, house.device(house.digest(), None)).await.unwrap();
    let subscribe = async |index: usize| {
        let subscription = house.subscription(&index.to_string());
        house.store.subscribe(alice.id, device, &subscription, house.said("set")).await.map(|()| subscription)
    };
    for index in 0..MOST {
        let set = subscribe(index).await.unwrap();
        // To be forgotten in between begins no new count.
        if index % 2 == 0 {
            house.store.unsubscribe(device, &set, house.said("gone")).await.unwrap();
            assert!(house.store.subscriptions(alice.id).await.unwrap().is_empty());
            is_conflict(house.store.unsubscribe(device, &set, house.said("gone")).await);
        }
    }
    is_limit(subscribe(MOST).await);
    assert_eq!(house.count_said("set").await, MOST, "what is not kept has no entry");
    let other = house.enrol(alice.id, house.device(house.digest(), None)).await.unwrap();
    house.store.subscribe(alice.id, other, &house.subscription("other"), house.said("set")).await.unwrap();
    house.clock.advance(MINUTE * 60);
    subscribe(MOST).await.unwrap();
}

pub(crate) async fn b74_one_question_is_open_at_a_time_and_so_many_an_hour(house: House) {
    let alice = house.signed_in("alice").await;
    let bob = house.signed_in("bob").await;
    let [first, second] =
        [house.opened(&alice, GrantKind::Confirmation).await, house.opened(&alice, GrantKind::Confirmation).await];
    assert_eq!(house.store.open_push(alice.person.id, house.now()).await.unwrap(), None);
    assert_eq!(house.put(house.push(&alice, &first)).await, PushSent::Open);
    let open = house.store.open_push(alice.person.id, house.now()).await.unwrap().unwrap();
    assert_eq!((open.challenge, open.session), (first.id, alice.session));
    assert!(matches!(house.put(house.push(&alice, &second)).await, PushSent::AnotherIsOpen(one) if one == open));
    // Nobody withdraws what another session asked.
    let elsewhere = house.sign_in(&alice.person, alice.factor).await;
    let third = house.opened(&elsewhere, GrantKind::Confirmation).await;
    let not_theirs =
        NewPush { instead_of: Some((first.id, house.said("withdrawn"))), ..house.push(&elsewhere, &third) };
    assert!(matches!(house.put(not_theirs).await, PushSent::AnotherIsOpen(_)));
    let instead = NewPush { instead_of: Some((first.id, house.said("withdrawn"))), ..house.push(&alice, &second) };
    assert_eq!(house.put(instead).await, PushSent::Open);
    assert_eq!(house.store.open_push(alice.person.id, house.now()).await.unwrap().unwrap().challenge, second.id);
    assert_eq!(house.put(house.push(&alice, &second)).await, PushSent::Open, "asked once more");
    let full = house.put(house.push(&alice, &second)).await;
    assert_eq!(full, PushSent::TooMany { again_at: house.now().plus(Duration::from_secs(3600)) });
    assert_eq!(house.count_said("sent").await, 3, "what is not put has no entry");
    assert_eq!(house.count_said("withdrawn").await, 1, "nor what was not withdrawn");
    // Others have an hour of their own.
    let bobs = house.opened(&bob, GrantKind::Confirmation).await;
    assert_eq!(house.put(house.push(&bob, &bobs)).await, PushSent::Open);
}

pub(crate) async fn b74_two_nodes_count_together(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, GrantKind::Confirmation).await;
    let other = house.another_node(9).await;
    let mut sending = Vec::new();
    for index in 0..12 {
        let node = if index % 2 == 0 { Arc::clone(&house.store) } else { Arc::clone(&other) };
        let (push, entry) = (house.push(&alice, &challenge), house.said("sent"));
        sending.push(tokio::spawn(async move { node.send_push(push, entry).await.unwrap() }));
    }
    let mut open = 0;
    for one in sending {
        open += usize::from(one.await.unwrap() == PushSent::Open);
    }
    assert_eq!((open, house.count_said("sent").await), (3, 3));
}

pub(crate) async fn a_question_closes_with_its_challenge_and_by_time(house: House) {
    let alice = house.signed_in("alice").await;
    let bob = house.signed_in("bob").await;
    let challenge = house.opened(&alice, GrantKind::Confirmation).await;
    let push = house.push(&alice, &challenge);
    is_conflict(house.store.send_push(NewPush { person: bob.person.id, ..push.clone() }, house.said("sent")).await);
    is_conflict(house.store.send_push(NewPush { session: bob.session, ..push.clone() }, house.said("sent")).await);
    is_conflict(house.store.send_push(NewPush { challenge: house.id(), ..push.clone() }, house.said("sent")).await);
    house.put(NewPush { until: house.now().plus(MINUTE), ..push.clone() }).await;
    assert!(house.store.open_push(alice.person.id, house.now()).await.unwrap().is_some());
    house.clock.advance(MINUTE);
    assert_eq!(house.store.open_push(alice.person.id, house.now()).await.unwrap(), None);
    house.put(house.push(&alice, &challenge)).await;
    let refused = ChallengeState::Cancelled { reason: "cancelled".to_owned() };
    house.store.close_challenge(challenge.id, challenge.version, refused, vec![house.said("closed")]).await.unwrap();
    assert_eq!(house.store.open_push(alice.person.id, house.now()).await.unwrap(), None);
    is_conflict(house.store.send_push(house.push(&alice, &challenge), house.said("sent")).await);
}

pub(crate) async fn b119_no_session_uses_up_the_persons_hour(house: House) {
    let alice = house.signed_in("alice").await;
    let thief = house.sign_in(&alice.person, alice.factor).await;
    let stolen = house.opened(&thief, GrantKind::Confirmation).await;
    let limited = |who: &SignedIn, challenge: &Challenge| NewPush { per_session: 2, ..house.push(who, challenge) };
    for _ in 0..2 {
        assert_eq!(house.put(limited(&thief, &stolen)).await, PushSent::Open);
        house.clock.advance(MINUTE);
    }
    let again_at = house.now().plus(MINUTE * 58);
    assert_eq!(house.put(limited(&thief, &stolen)).await, PushSent::TooMany { again_at });
    let refused = ChallengeState::Cancelled { reason: "cancelled".to_owned() };
    house.store.close_challenge(stolen.id, stolen.version, refused, vec![house.said("closed")]).await.unwrap();
    let own = house.opened(&alice, GrantKind::Confirmation).await;
    assert_eq!(house.put(limited(&alice, &own)).await, PushSent::Open, "the third of the person's own three");
    assert!(matches!(house.put(limited(&alice, &own)).await, PushSent::TooMany { .. }));
}

pub(crate) async fn b119_what_an_ended_session_asked_is_open_no_more(house: House) {
    let alice = house.signed_in("alice").await;
    let thief = house.sign_in(&alice.person, alice.factor).await;
    let asked = house.opened(&thief, GrantKind::Confirmation).await;
    assert_eq!(house.put(house.push(&thief, &asked)).await, PushSent::Open);
    assert!(house.store.open_push(alice.person.id, house.now()).await.unwrap().is_some());
    house.store.end_session(thief.session, alice.person.id, house.said("ended")).await.unwrap();
    assert_eq!(house.store.open_push(alice.person.id, house.now()).await.unwrap(), None);
    // Nothing of it stands in the person's own way.
    let own = house.opened(&alice, GrantKind::Confirmation).await;
    assert_eq!(house.put(house.push(&alice, &own)).await, PushSent::Open);
}

pub(crate) async fn b120_what_was_withdrawn_or_failed_is_known_as_asked(house: House) {
    let alice = house.signed_in("alice").await;
    let bob = house.signed_in("bob").await;
    let since = house.now();
    house.clock.advance(MINUTE);
    let [first, second] =
        [house.opened(&alice, GrantKind::Confirmation).await, house.opened(&alice, GrantKind::Confirmation).await];
    house.put(house.push(&alice, &first)).await;
    house.clock.advance(MINUTE);
    let instead_of = Some((first.id, house.said("withdrawn")));
    house.put(NewPush { instead_of, ..house.push(&alice, &second) }).await;
    let failed = ChallengeState::Failed { reason: "too_many_tries".to_owned() };
    house.store.close_challenge(second.id, second.version, failed, vec![house.said("failed")]).await.unwrap();
    assert_eq!(house.store.open_push(alice.person.id, house.now()).await.unwrap(), None);
    let asked = house.store.asked_since(alice.person.id, since).await.unwrap();
    let asked: Vec<_> = asked.iter().map(|push| (push.challenge, push.session)).collect();
    assert_eq!(asked, [(second.id, alice.session), (first.id, alice.session)], "the newest first");
    assert!(house.store.asked_since(alice.person.id, house.now()).await.unwrap().is_empty());
    assert!(house.store.asked_since(bob.person.id, since).await.unwrap().is_empty(), "to each their own");
}

pub(crate) async fn b121_an_approval_on_its_way_lifts_no_lock(house: House) {
    let alice = house.signed_in("alice").await;
    let device = house.enrol(alice.person.id, house.device(house.digest(), None)).await.unwrap();
    let challenge = house.opened(&alice, GrantKind::Confirmation).await;
    house.store.lock_approvals(alice.person.id, house.said("locked")).await.unwrap();
    house.store.lock_approvals(alice.person.id, house.said("locked")).await.unwrap();
    assert_eq!(house.count_said("locked").await, 1, "what is locked is locked");
    let answer = AnsweredChallenge { used: (device, FactorUse::Nothing), ..house.answer(&challenge, &alice) };
    is_conflict(house.store.answer_challenge(answer, vec![house.said("passed")]).await);
    let from = Trier { device: None, address: ADDRESS };
    for _ in 0..3 {
        house.store.take_back_try(alice.person.id, PUSH, from).await.unwrap();
    }
    assert!(house.store.approvals_locked(alice.person.id, BEFORE_RESET).await.unwrap());
    assert!(matches!(house.read(challenge.id).await.state, ChallengeState::Pending { .. }));
}

pub(crate) async fn b160_what_is_locked_stays_locked_until_somebody_resets_it(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, GrantKind::Confirmation).await;
    let locked = async || house.store.approvals_locked(alice.person.id, BEFORE_RESET).await.unwrap();
    assert!(!locked().await);
    house.store.lock_approvals(alice.person.id, house.said("locked")).await.unwrap();
    assert!(locked().await);
    assert_eq!(house.put(house.push(&alice, &challenge)).await, PushSent::Locked);
    // Too many wrong tries in a row do the same.
    let bob = house.signed_in("bob").await;
    let bobs = house.opened(&bob, GrantKind::Confirmation).await;
    let (known, limits) = (Trier { device: None, address: ADDRESS }, TryLimits::default());
    house.store.begin_try(bob.person.id, PUSH, known, limits, house.now(), house.said("try")).await.unwrap();
    assert_eq!(house.put(NewPush { before_reset: 1, ..house.push(&bob, &bobs) }).await, PushSent::Locked);
    assert_eq!(house.put(NewPush { before_reset: 2, ..house.push(&bob, &bobs) }).await, PushSent::Open);
    let from = Trier { device: Some(house.digest()), address: ADDRESS };
    let try_it = async || {
        let limits = TryLimits::default();
        house.store.begin_try(alice.person.id, PUSH, from, limits, house.now(), house.said("try")).await.unwrap()
    };
    assert!(matches!(try_it().await, Try::Locked { .. }));
    house.store.take_back_try(alice.person.id, PUSH, from).await.unwrap();
    house.clock.advance(Duration::from_secs(365 * 24 * 3600));
    assert!(matches!(try_it().await, Try::Locked { .. }), "no clock ends it");
    house.store.reset_tries(alice.person.id, PUSH, house.said("reset")).await.unwrap();
    assert!(!locked().await && matches!(try_it().await, Try::Allowed { .. }));
}

pub(crate) async fn a_devices_passkey_counts_as_any_other(house: House) {
    let alice = house.signed_in("alice").await;
    let FactorSecret::Passkey(passkey) = house.passkey(7) else { panic!("not a passkey") };
    let device = house.enrol(alice.person.id, house.device(house.digest(), Some(*passkey))).await.unwrap();
    let challenge = house.opened(&alice, GrantKind::Confirmation).await;
    let mut answer = house.answer(&challenge, &alice);
    answer.used = (device, FactorUse::PasskeyCounter { counter: 7, backed_up: false });
    crate::house::is_used_before(house.store.answer_challenge(answer, vec![house.said("passed")]).await);
    let mut answer = house.answer(&challenge, &alice);
    answer.used = (device, FactorUse::PasskeyCounter { counter: 8, backed_up: false });
    answer.rotated = None;
    house.store.answer_challenge(answer, vec![house.said("passed")]).await.unwrap();
    assert!(matches!(house.read(challenge.id).await.state, ChallengeState::Passed { .. }));
}
