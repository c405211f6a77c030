use std::sync::Arc;
use std::time::Duration;

use stepgate_core::catalogue::Host;
use stepgate_core::challenge::{AskedFrom, Challenge, ChallengeState, GivenIn, GrantKind, Held, SendOutcome};
use stepgate_core::factor::{ApproverDevice, FactorKind, FactorUse};
use stepgate_core::ports::{AnsweredChallenge, CodeSees, NewCode, NewSession, RotatedToken, Store as _};
use stepgate_core::secret::Purpose;
use stepgate_core::session::Audience;
use tokio::time::timeout;

use crate::house::{AT_MOST, House, IDLE, MINUTE, SignedIn, host, is_conflict, is_limit, is_used_before};

use GrantKind::{Confirmation, Freshness};

fn wrong(wrong: u32) -> ChallengeState {
    ChallengeState::Pending { answered: Vec::new(), wrong }
}

fn rotated(house: &House, who: &SignedIn) -> RotatedToken {
    RotatedToken { session: who.session, digest: house.digest(), succeeds: who.token, at: house.now() }
}

pub(crate) async fn a_challenge_reads_back_as_it_was_opened(house: House) {
    let alice = house.signed_in("alice").await;
    for grant in [Freshness, Confirmation] {
        let challenge = house.opened(&alice, grant).await;
        assert_eq!(format!("{:?}", house.read(challenge.id).await), format!("{challenge:?}"));
    }
    assert!(house.store.challenge(house.id()).await.unwrap().is_none());
    assert_eq!(house.count_said("opened").await, 2);
}

pub(crate) async fn too_many_pending_challenges_are_a_limit(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    let open = |who: &SignedIn| {
        let (challenge, store, entry) = (house.challenge(who, Freshness), &house.store, house.said("opened"));
        async move { store.open_challenge(&challenge, None, 2, vec![entry]).await.map(|()| challenge) }
    };
    let first = open(&alice).await.unwrap();
    open(&alice).await.unwrap();
    is_limit(open(&alice).await);
    open(&bob).await.unwrap();
    assert_eq!(house.count_said("opened").await, 3);
    house.store.close_challenge(first.id, 1, ChallengeState::Expired, vec![]).await.unwrap();
    open(&alice).await.unwrap();
    is_limit(open(&alice).await);
    house.clock.advance(MINUTE * 10);
    open(&alice).await.unwrap();
}

pub(crate) async fn other_services_and_other_origins_pages_use_up_their_own_share(house: House) {
    let alice = house.signed_in("alice").await;
    let open = async |host_name: Option<&str>, asked_from: AskedFrom| {
        let host = host_name.map(|name| Host::parse(name).unwrap());
        let challenge = Challenge { host, asked_from, ..house.challenge(&alice, Freshness) };
        house.store.open_challenge(&challenge, None, 2, vec![house.said("opened")]).await
    };
    let places = [Some("ledger.example.com"), Some("evil.example.com"), None];
    for place in places {
        for from in [AskedFrom::Elsewhere, AskedFrom::Here] {
            for _ in 0..2 {
                open(place, from).await.unwrap();
            }
            is_limit(open(place, from).await);
        }
    }
    assert_eq!(house.count_said("opened").await, 12);
}

pub(crate) async fn a_held_request_reads_back_and_is_not_readable_in_the_database(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.holding(&alice, Confirmation).await;
    assert!(house.store.held(challenge.id).await.unwrap() == Some(house.request()));
    assert_eq!(house.store.held(house.id()).await.unwrap(), None);
    let nothing = house.opened(&alice, Confirmation).await;
    assert_eq!(house.store.held(nothing.id).await.unwrap(), None);
    // A challenge that says that it holds a request holds one, and none holds one in secret.
    let empty = Challenge { held: Held::Request, ..house.challenge(&alice, Confirmation) };
    is_conflict(house.store.open_challenge(&empty, None, 9, vec![]).await);
    let full = house.challenge(&alice, Confirmation);
    is_conflict(house.store.open_challenge(&full, Some(&house.request()), 9, vec![]).await);
    if let Some(path) = house.url.strip_prefix("sqlite:") {
        for file in [path.to_owned(), format!("{path}-wal")] {
            let bytes = std::fs::read(file).unwrap();
            let found = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found(b"nobody's business") && !found(b"not-in-the-clear"));
        }
    }
}

pub(crate) async fn an_ended_session_opens_nothing(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    let foreign = Challenge { person: bob.person.id, ..house.challenge(&alice, Freshness) };
    is_conflict(house.store.open_challenge(&foreign, None, 9, vec![house.said("opened")]).await);
    let late = house.challenge(&alice, Freshness);
    house.end(&alice).await;
    is_conflict(house.store.open_challenge(&late, None, 9, vec![house.said("opened")]).await);
    assert_eq!(house.count_said("opened").await, 0);
}

pub(crate) async fn the_newest_open_challenge_for_an_operation_is_found(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    let old = house.opened(&alice, Confirmation).await;
    let find = |session: stepgate_core::id::SessionId| {
        house.store.challenge_for(session.into(), 1, Some(alice.browser), old.operation, house.now())
    };
    let found =
        async |session: stepgate_core::id::SessionId| find(session).await.unwrap().map(|challenge| challenge.id);
    assert_eq!(found(alice.session).await, Some(old.id));
    assert_eq!(found(bob.session).await, None);
    house.clock.advance(MINUTE);
    let new =
        Challenge { operation: old.operation, held: Held::SafeNavigation, ..house.challenge(&alice, Confirmation) };
    house.store.open_challenge(&new, None, 9, vec![]).await.unwrap();
    assert_eq!(found(alice.session).await, Some(new.id));
    house
        .store
        .close_challenge(new.id, 1, ChallengeState::Cancelled { reason: "not_me".into() }, vec![])
        .await
        .unwrap();
    assert_eq!(found(alice.session).await, Some(old.id));
    let passed = house.pass(&old, &alice).await;
    assert_eq!(found(alice.session).await, Some(old.id));
    house.store.spend(house.spend(&passed), house.said("sent")).await.unwrap();
    assert_eq!(found(alice.session).await, None);
    let held = house.holding(&alice, Confirmation).await;
    let by_operation = house
        .store
        .challenge_for(alice.session.into(), 1, Some(alice.browser), held.operation, house.now())
        .await
        .unwrap();
    assert!(by_operation.is_none(), "what holds a request is resumed by its code");
    let late = house.opened(&alice, Confirmation).await;
    let late_find = async || {
        house
            .store
            .challenge_for(alice.session.into(), 1, Some(alice.browser), late.operation, house.now())
            .await
            .unwrap()
    };
    assert!(late_find().await.is_some());
    house.clock.advance(MINUTE * 10);
    assert!(late_find().await.is_none());
}

pub(crate) async fn b58_an_older_token_finds_nothing_that_a_newer_one_asked(house: House) {
    let alice = house.signed_in("alice").await;
    let newer = Challenge { generation: 2, ..house.challenge(&alice, Confirmation) };
    house.store.open_challenge(&newer, None, 9, vec![]).await.unwrap();
    let passed = house.pass(&newer, &alice).await;
    house.clock.advance(MINUTE);
    let older = Challenge { operation: newer.operation, ..house.challenge(&alice, Confirmation) };
    let find = async |generation| {
        let browser = Some(alice.browser);
        let found = house.store.challenge_for(alice.session.into(), generation, browser, newer.operation, house.now());
        found.await.unwrap().map(|challenge| challenge.id)
    };
    assert_eq!((find(1).await, find(2).await), (None, Some(passed.id)));
    // What the older one asks meanwhile does not stand before what was passed.
    house.store.open_challenge(&older, None, 9, vec![]).await.unwrap();
    assert_eq!((find(1).await, find(2).await), (Some(older.id), Some(passed.id)));
}

pub(crate) async fn b58_another_browsers_token_finds_nothing_that_this_one_asked(house: House) {
    let alice = house.signed_in("alice").await;
    let of_browser = house.opened(&alice, Confirmation).await;
    let of_none = Challenge { browser: None, ..house.challenge(&alice, Confirmation) };
    house.store.open_challenge(&of_none, None, 9, vec![]).await.unwrap();
    for (challenge, own) in [(&of_browser, Some(alice.browser)), (&of_none, None)] {
        let passed = house.pass(challenge, &alice).await;
        for browser in [Some(alice.browser), Some(house.digest()), None] {
            let found =
                house.store.challenge_for(alice.session.into(), 1, browser, passed.operation, house.now()).await;
            assert_eq!(found.unwrap().is_some(), browser == own, "{browser:?}");
        }
    }
}

pub(crate) async fn a_partial_answer_keeps_it_pending_and_uses_the_factor(house: House) {
    let alice = house.signed_in("alice").await;
    let totp = house.enrol(alice.person.id, house.totp()).await.unwrap();
    let challenge = house.opened(&alice, Freshness).await;
    let answered = vec![house.given(FactorKind::Totp, GivenIn::Elsewhere)];
    let state = ChallengeState::Pending { answered, wrong: 0 };
    let answer = AnsweredChallenge {
        state: state.clone(),
        used: (totp, FactorUse::Moved(5)),
        ..house.answer(&challenge, &alice)
    };
    house.store.answer_challenge(answer, vec![house.said("answered")]).await.unwrap();
    let read = house.read(challenge.id).await;
    assert_eq!((read.version, read.state), (2, state));
    assert_eq!(house.look(alice.token).await.unwrap().newest_generation, 1);
    let again = AnsweredChallenge { version: 2, used: (totp, FactorUse::Moved(5)), ..house.answer(&challenge, &alice) };
    is_used_before(house.store.answer_challenge(again, vec![]).await);
}

pub(crate) async fn freshness_raises_the_session_that_asked_in_its_next_generation(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, Freshness).await;
    house.clock.advance(MINUTE);
    let rotated = rotated(&house, &alice);
    let new = rotated.digest;
    let pay = host("pay.example.com");
    let code = NewCode { challenge: Some(challenge.id), ..house.code(alice.session, Purpose::HandBack, pay.clone()) };
    let answer =
        AnsweredChallenge { rotated: Some(rotated), hand_back: Some(code.clone()), ..house.answer(&challenge, &alice) };
    assert!(house.look(alice.token).await.is_some());
    house.store.answer_challenge(answer, vec![house.said("passed")]).await.unwrap();

    let old = house.look(alice.token).await.unwrap();
    assert_eq!(
        (old.generation, old.newest_generation, old.assurance.proofs().len()),
        (1, 2, 1),
        "a copy gains nothing"
    );
    let service = house.digest();
    assert!(house.store.redeem_code(code.digest, &pay, None, service, house.now()).await.unwrap().is_some());
    for (token, audience) in [(new, Audience::Gate), (service, pay)] {
        let view = house.look_at(token, &audience).await.unwrap();
        assert_eq!((view.generation, view.newest_generation), (2, 2));
        let proofs: Vec<_> = view.assurance.proofs().iter().map(|proof| (proof.generation, proof.at)).collect();
        assert_eq!(proofs, [(1, challenge.opened_at), (2, house.now())]);
    }
    assert!(house.look(alice.token).await.is_none(), "its successor was used");
}

pub(crate) async fn b58_a_code_of_an_older_token_gives_nothing_that_was_proved_since(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, Freshness).await;
    let pay = host("pay.example.com");
    let code = |sees| NewCode { sees, ..house.code(alice.session, Purpose::HandOff, pay.clone()) };
    let (before, after, newest) = (code(CodeSees::UpTo(1)), code(CodeSees::UpTo(1)), code(CodeSees::Everything));
    house.store.put_code(before.clone()).await.unwrap();
    let answer = AnsweredChallenge { rotated: Some(rotated(&house, &alice)), ..house.answer(&challenge, &alice) };
    house.store.answer_challenge(answer, vec![house.said("passed")]).await.unwrap();
    house.store.put_code(after.clone()).await.unwrap();
    house.store.put_code(newest.clone()).await.unwrap();
    for (code, generation) in [(before, 1), (after, 1), (newest, 2)] {
        let token = house.digest();
        let redeemed = house.store.redeem_code(code.digest, &pay, None, token, house.now()).await.unwrap().unwrap();
        assert_eq!(redeemed.sees, CodeSees::UpTo(generation));
        let view = house.look_at(token, &pay).await.unwrap();
        let proofs = usize::try_from(generation).unwrap();
        assert_eq!((view.generation, view.assurance.proofs().len()), (generation, proofs));
    }
}

pub(crate) async fn b45_a_confirmation_raises_no_session(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, Confirmation).await;
    let rotated = rotated(&house, &alice);
    let new = rotated.digest;
    let answer = AnsweredChallenge { rotated: Some(rotated), ..house.answer(&challenge, &alice) };
    house.store.answer_challenge(answer, vec![house.said("passed")]).await.unwrap();
    let view = house.look(new).await.unwrap();
    assert_eq!((view.generation, view.assurance.proofs().len()), (1, 1));
}

pub(crate) async fn another_session_answers_and_only_its_own_token_rotates(house: House) {
    let asking = house.signed_in("alice").await;
    let answering = house.sign_in(&asking.person, asking.factor).await;
    let challenge = house.opened(&asking, Freshness).await;
    let rotated = rotated(&house, &answering);
    let new = rotated.digest;
    let answer = AnsweredChallenge { rotated: Some(rotated), ..house.answer(&challenge, &asking) };
    house.store.answer_challenge(answer, vec![house.said("passed")]).await.unwrap();
    let answered = house.look(new).await.unwrap();
    assert_eq!((answered.id, answered.newest_generation), (answering.session, 1), "it asked for nothing");
    let asked = house.look(asking.token).await.unwrap();
    assert_eq!((asked.generation, asked.newest_generation), (1, 2));
    let fresh = house.digest();
    house.store.rotate_token(asking.token, &Audience::Gate, fresh, house.now()).await.unwrap();
    assert_eq!(house.look(fresh).await.unwrap().assurance.proofs().len(), 2);
    house.clock.advance(MINUTE);
    assert!(house.look(answering.token).await.is_none());
}

pub(crate) async fn b57_a_token_of_another_session_does_not_rotate(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    let challenge = house.opened(&alice, Freshness).await;
    for (session, succeeds) in [(alice.session, bob.token), (bob.session, bob.token), (bob.session, alice.token)] {
        let rotated = RotatedToken { session, digest: house.digest(), succeeds, at: house.now() };
        let answer = AnsweredChallenge { rotated: Some(rotated), ..house.answer(&challenge, &alice) };
        is_conflict(house.store.answer_challenge(answer, vec![house.said("passed")]).await);
    }
    // Nor does bob's factor answer for alice.
    let answer = AnsweredChallenge { used: (bob.factor, FactorUse::Nothing), ..house.answer(&challenge, &alice) };
    is_conflict(house.store.answer_challenge(answer, vec![house.said("passed")]).await);
    assert_eq!(house.read(challenge.id).await.version, 1);
    assert_eq!(house.count_said("passed").await, 0);
    assert!(house.look(alice.token).await.is_some() && house.look(bob.token).await.is_some());
}

pub(crate) async fn an_old_version_is_a_conflict_and_changes_nothing(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, Freshness).await;
    house.store.close_challenge(challenge.id, 1, wrong(1), vec![house.said("wrong")]).await.unwrap();
    is_conflict(house.store.answer_challenge(house.answer(&challenge, &alice), vec![house.said("passed")]).await);
    is_conflict(house.store.close_challenge(challenge.id, 1, wrong(1), vec![house.said("wrong")]).await);
    let passed = house.pass(&Challenge { version: 2, ..challenge }, &alice).await;
    assert_eq!(passed.version, 3);
    let stale = stepgate_core::ports::Spend { version: 2, ..house.spend(&passed) };
    is_conflict(house.store.spend(stale, house.said("sent")).await);
    assert_eq!(house.look(alice.token).await.unwrap().newest_generation, 2);
    assert_eq!((house.count_said("wrong").await, house.count_said("sent").await), (1, 0));
}

pub(crate) async fn an_answer_that_was_used_before_changes_nothing(house: House) {
    let alice = house.signed_in("alice").await;
    let totp = house.enrol(alice.person.id, house.totp()).await.unwrap();
    let (first, second) = (house.opened(&alice, Freshness).await, house.opened(&alice, Freshness).await);
    let used = (totp, FactorUse::Moved(77));
    let answer = AnsweredChallenge { used: used.clone(), ..house.answer(&first, &alice) };
    house.store.answer_challenge(answer, vec![house.said("passed")]).await.unwrap();
    let replay = AnsweredChallenge { used, rotated: Some(rotated(&house, &alice)), ..house.answer(&second, &alice) };
    is_used_before(house.store.answer_challenge(replay, vec![house.said("passed")]).await);
    let read = house.read(second.id).await;
    assert_eq!((read.version, read.state), (1, wrong(0)));
    assert_eq!(house.look(alice.token).await.unwrap().newest_generation, 2);
    assert_eq!(house.count_said("passed").await, 1);
}

pub(crate) async fn b118_what_was_proved_elsewhere_leaves_less_in_the_session_that_asked(house: House) {
    let signing = ApproverDevice::SIGNING;
    for (name, (kind, place, left)) in ["alice", "bob", "carol", "dora"].into_iter().zip([
        (FactorKind::PASSKEY, GivenIn::AskingSession, FactorKind::PASSKEY),
        (FactorKind::PASSKEY, GivenIn::Elsewhere, ApproverDevice::OUT_OF_BAND),
        (signing, GivenIn::Elsewhere, ApproverDevice::OUT_OF_BAND),
        (FactorKind::Totp, GivenIn::Elsewhere, FactorKind::Totp),
    ]) {
        let alice = house.signed_in(name).await;
        let challenge = house.opened(&alice, Freshness).await;
        let answered = vec![house.given(kind, place)];
        let spend_before = house.now().plus(MINUTE * 5);
        let state = ChallengeState::Passed { answered, at: house.now(), spend_before };
        let (rotated, answer) = (rotated(&house, &alice), house.answer(&challenge, &alice));
        let new = rotated.digest;
        let answer = AnsweredChallenge { state: state.clone(), rotated: Some(rotated), ..answer };
        house.store.answer_challenge(answer, vec![house.said("passed")]).await.unwrap();
        assert_eq!(house.read(challenge.id).await.state, state, "for what was asked it is what it was");
        let view = house.look(new).await.unwrap();
        let left_there = view.assurance.proofs().last().map(|proof| proof.kind);
        assert_eq!(left_there, Some(left), "{kind} given {}", place.name());
    }
}

pub(crate) async fn b65_a_challenge_that_is_over_cannot_be_answered(house: House) {
    let alice = house.signed_in("alice").await;
    let late = house.opened(&alice, Freshness).await;
    let cancelled = house.opened(&alice, Freshness).await;
    let reason = "cancelled".to_owned();
    house.store.close_challenge(cancelled.id, 1, ChallengeState::Cancelled { reason }, vec![]).await.unwrap();
    let answer = AnsweredChallenge { version: 2, ..house.answer(&cancelled, &alice) };
    is_conflict(house.store.answer_challenge(answer, vec![house.said("passed")]).await);
    house.clock.advance(MINUTE * 10);
    is_conflict(house.store.answer_challenge(house.answer(&late, &alice), vec![house.said("passed")]).await);
    let in_time = house.opened(&alice, Freshness).await;
    house.end(&alice).await;
    is_conflict(house.store.answer_challenge(house.answer(&in_time, &alice), vec![house.said("passed")]).await);
    assert_eq!(house.count_said("passed").await, 0);
}

pub(crate) async fn closing_counts_wrong_answers_and_ends_once(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.holding(&alice, Confirmation).await;
    let close = |version, state| house.store.close_challenge(challenge.id, version, state, vec![house.said("closed")]);
    close(1, wrong(1)).await.unwrap();
    close(2, wrong(2)).await.unwrap();
    is_conflict(close(3, house.passed()).await);
    let failed = ChallengeState::Failed { reason: "too_many_tries".into() };
    close(3, failed.clone()).await.unwrap();
    assert_eq!(house.read(challenge.id).await.state, failed);
    assert_eq!(house.store.held(challenge.id).await.unwrap(), None, "what cannot be sent is not kept");
    for state in [wrong(0), ChallengeState::Expired, failed] {
        is_conflict(close(4, state).await);
    }
    let passed = house.opened(&alice, Confirmation).await;
    let passed = house.pass(&passed, &alice).await;
    is_conflict(house.store.close_challenge(passed.id, passed.version, wrong(0), vec![]).await);
    let gone = ChallengeState::Cancelled { reason: "cancelled".into() };
    house.store.close_challenge(passed.id, passed.version, gone, vec![]).await.unwrap();
    assert_eq!(house.count_said("closed").await, 3);
}

pub(crate) async fn a_successor_carries_the_held_request_on_once(house: House) {
    let alice = house.signed_in("alice").await;
    let old = house.holding(&alice, Freshness).await;
    let new = Challenge { held: Held::Request, ..house.challenge(&alice, Confirmation) };
    let succeed = |old: &Challenge, new: &Challenge| {
        let (old, new, store, entry) = (old.clone(), new.clone(), &house.store, house.said("succeeded"));
        async move { store.succeed_challenge(old.id, old.version, &new, vec![entry]).await }
    };
    is_conflict(succeed(&old, &new).await);
    let passed = house.pass(&old, &alice).await;
    succeed(&passed, &new).await.unwrap();
    assert!(matches!(house.read(old.id).await.state, ChallengeState::Failed { .. }));
    assert_eq!(house.store.held(old.id).await.unwrap(), None);
    assert!(house.store.held(new.id).await.unwrap() == Some(house.request()));
    assert_eq!(house.read(new.id).await.succeeds, Some(old.id));
    let passed = house.pass(&new, &alice).await;
    let third = Challenge { held: Held::Request, ..house.challenge(&alice, Confirmation) };
    is_conflict(succeed(&passed, &third).await);
    assert_eq!(house.count_said("succeeded").await, 1);
}

/// A new session of the same person, and what it takes to adopt.
async fn adopt(
    house: &House,
    challenge: &Challenge,
    who: &SignedIn,
) -> Result<NewCode, stepgate_core::ports::ChangeError> {
    let code = NewCode {
        challenge: Some(challenge.id),
        ..house.code(who.session, Purpose::HandBack, host("pay.example.com"))
    };
    let (id, version, session) = (challenge.id, challenge.version, who.session);
    let entries = vec![house.said("adopted")];
    house.store.adopt_challenge(id, version, session, house.passed(), code.clone(), entries).await.map(|()| code)
}

pub(crate) async fn a_lapsed_sessions_request_is_adopted(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    house.clock.advance(IDLE - MINUTE);
    let challenge = house.holding(&alice, Freshness).await;
    house.clock.advance(MINUTE);
    is_conflict(adopt(&house, &challenge, &bob).await);
    let used = (alice.factor, FactorUse::Nothing);
    let new =
        NewSession { replaces: Some(alice.session), ..house.new_session(alice.person.id, FactorKind::Password, used) };
    let again = SignedIn { session: new.id, token: new.gate_token, browser: new.browser, ..alice.clone() };
    house.store.start_session(new, vec![house.said("started")]).await.unwrap();
    let code = adopt(&house, &challenge, &again).await.unwrap();
    let read = house.read(challenge.id).await;
    assert_eq!((read.asked_by, read.state.name()), (again.session.into(), "passed"));
    assert!(house.store.held(challenge.id).await.unwrap().is_some());
    let redeemed =
        house.store.redeem_code(code.digest, &code.audience, None, house.digest(), house.now()).await.unwrap();
    assert_eq!(redeemed.unwrap().challenge, Some(challenge.id));
    is_conflict(adopt(&house, &challenge, &again).await);
    is_conflict(adopt(&house, &read, &again).await);
    assert_eq!(house.count_said("adopted").await, 1);
}

pub(crate) async fn a_revoked_sessions_request_is_not_adopted(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.holding(&alice, Freshness).await;
    house.end(&alice).await;
    let again = house.sign_in(&alice.person, alice.factor).await;
    is_conflict(adopt(&house, &challenge, &again).await);
    assert_eq!(house.count_said("adopted").await, 0);
}

pub(crate) async fn spending_is_once_and_only_while_it_may_be_spent(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.holding(&alice, Confirmation).await;
    is_conflict(house.store.spend(house.spend(&challenge), house.said("sent")).await);
    let passed = house.pass(&challenge, &alice).await;
    let spend = house.spend(&passed);
    let request = spend.request;
    house.store.spend(spend, house.said("sent")).await.unwrap();
    let spent = house.read(challenge.id).await;
    let sending = ChallengeState::Spent { at: house.now(), request, outcome: SendOutcome::Sending };
    assert_eq!(spent.state, sending);
    assert_eq!(house.store.held(challenge.id).await.unwrap(), None, "who sends it has it in memory");
    is_conflict(house.store.spend(house.spend(&passed), house.said("sent")).await);
    is_conflict(house.store.spend(house.spend(&spent), house.said("sent")).await);
    let late = house.opened(&alice, Confirmation).await;
    let late = house.pass(&late, &alice).await;
    house.clock.advance(MINUTE * 5);
    is_conflict(house.store.spend(house.spend(&late), house.said("sent")).await);
    assert_eq!(house.count_said("sent").await, 1);
}

pub(crate) async fn spending_uses_up_the_resume_code(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.holding(&alice, Confirmation).await;
    let other = house.opened(&alice, Confirmation).await;
    let passed = house.pass(&challenge, &alice).await;
    let pay = host("pay.example.com");
    let code = |challenge: &Challenge, purpose| NewCode {
        challenge: Some(challenge.id),
        ..house.code(alice.session, purpose, pay.clone())
    };
    let (right, foreign, wrong) =
        (code(&challenge, Purpose::Resume), code(&other, Purpose::Resume), code(&challenge, Purpose::HandBack));
    for code in [&right, &foreign, &wrong] {
        house.store.put_code(code.clone()).await.unwrap();
    }
    let spend = |code| stepgate_core::ports::Spend { resume_code: Some(code), ..house.spend(&passed) };
    for bad in [house.digest(), foreign.digest, wrong.digest] {
        is_conflict(house.store.spend(spend(bad), house.said("sent")).await);
    }
    house.store.spend(spend(right.digest), house.said("sent")).await.unwrap();
    is_conflict(house.store.spend(spend(right.digest), house.said("sent")).await);
    assert_eq!(house.count_said("sent").await, 1);
}

pub(crate) async fn nothing_is_spent_for_an_ended_session(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, Confirmation).await;
    let passed = house.pass(&challenge, &alice).await;
    house.end(&alice).await;
    is_conflict(house.store.spend(house.spend(&passed), house.said("sent")).await);
    assert_eq!(house.count_said("sent").await, 0);
}

pub(crate) async fn the_outcome_is_noted_once_and_the_request_forgotten(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.holding(&alice, Confirmation).await;
    let passed = house.pass(&challenge, &alice).await;
    let spend = house.spend(&passed);
    let request = spend.request;
    let outcome = SendOutcome::Answered { status: 201 };
    let finish = |request, outcome| house.store.finish(challenge.id, request, outcome, house.said("finished"));
    is_conflict(finish(request, outcome).await);
    house.store.spend(spend, house.said("sent")).await.unwrap();
    is_conflict(finish(house.id(), outcome).await);
    finish(request, outcome).await.unwrap();
    is_conflict(finish(request, SendOutcome::Unknown).await);
    let read = house.read(challenge.id).await;
    assert_eq!(read.state, ChallengeState::Spent { at: house.now(), request, outcome });
    assert_eq!(house.store.held(challenge.id).await.unwrap(), None);
    assert_eq!(house.count_said("finished").await, 1);
}

pub(crate) async fn overdue_challenges_are_those_that_wait_too_long(house: House) {
    let alice = house.signed_in("alice").await;
    let (late, passed) = (house.opened(&alice, Freshness).await, house.opened(&alice, Freshness).await);
    house.pass(&passed, &alice).await;
    house.clock.advance(MINUTE * 10 - Duration::from_millis(1));
    house.opened(&alice, Freshness).await;
    assert!(house.store.overdue(house.now()).await.unwrap().is_empty());
    house.clock.advance(Duration::from_millis(1));
    let overdue = house.store.overdue(house.now()).await.unwrap();
    assert_eq!(overdue.iter().map(|challenge| challenge.id).collect::<Vec<_>>(), [late.id]);
}

pub(crate) async fn waiting_for_a_challenge_completes_when_it_changes(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, Freshness).await;
    let (store, id) = (Arc::clone(&house.store), challenge.id);
    let waiting = tokio::spawn(async move {
        loop {
            store.challenge_changed(id, AT_MOST).await;
            let read = store.challenge(id).await.unwrap().unwrap();
            if read.version > 1 {
                return read.state;
            }
        }
    });
    house.pass(&challenge, &alice).await;
    let state = timeout(AT_MOST, waiting).await.expect("the change is noticed").unwrap();
    assert_eq!(state.name(), "passed");
    // Where nothing changes, the wait is over when its time is.
    timeout(AT_MOST, house.store.challenge_changed(house.id(), Duration::from_millis(5))).await.unwrap();
}
