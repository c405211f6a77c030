//! Access tokens of others: what is asked with one, and who somebody is who comes with one.

use std::time::Duration;

use stepgate_core::catalogue::Host;
use stepgate_core::challenge::{AskedBy, Challenge, ChallengeState, GrantKind, Held};
use stepgate_core::factor::{EnrolledFactor, FactorKind, FactorSecret, Identity, identity_digest};
use stepgate_core::ports::{Accounts as _, Store as _};
use stepgate_core::provider::ProviderName;
use tokio::time::timeout;

use crate::house::{AT_MOST, House, MINUTE, SignedIn, is_conflict, is_limit};

use GrantKind::{Confirmation, Freshness};

const ISSUER: &str = "https://id.example";

fn asked_with(house: &House, by: AskedBy, who: &SignedIn) -> Challenge {
    let program = by.session().is_none().then(|| "corp/app".to_owned());
    Challenge { asked_by: by, program, generation: 0, browser: None, ..house.challenge(who, Confirmation) }
}

fn token(house: &House) -> AskedBy {
    AskedBy::Token(house.id())
}

async fn opened(house: &House, by: AskedBy, who: &SignedIn) -> Challenge {
    let challenge = asked_with(house, by, who);
    house.store.open_challenge(&challenge, None, 9, vec![house.said("opened")]).await.unwrap();
    challenge
}

pub(crate) async fn what_a_token_asks_is_answered_by_its_person_from_a_session(house: House) {
    let alice = house.signed_in("alice").await;
    let by = token(&house);
    let challenge = opened(&house, by, &alice).await;
    assert_eq!(format!("{:?}", house.read(challenge.id).await), format!("{challenge:?}"));
    let passed = house.pass(&challenge, &alice).await;
    assert_eq!((passed.asked_by, passed.state.name()), (by, "passed"));
    // The session that answered got nothing of it.
    let view = house.look(alice.token).await.unwrap();
    assert_eq!((view.newest_generation, view.assurance.proofs().len()), (1, 1));
    house.store.spend(house.spend(&passed), house.said("sent")).await.unwrap();
    is_conflict(house.store.spend(house.spend(&passed), house.said("sent")).await);
    assert_eq!(house.count_said("sent").await, 1);
}

pub(crate) async fn what_one_token_asked_no_other_and_no_session_finds(house: House) {
    let alice = house.signed_in("alice").await;
    let by = token(&house);
    let challenge = opened(&house, by, &alice).await;
    let found = async |by: AskedBy| {
        let found = house.store.challenge_for(by, 0, None, challenge.operation, house.now()).await;
        found.unwrap().map(|challenge| challenge.id)
    };
    assert_eq!(found(by).await, Some(challenge.id));
    assert_eq!(found(token(&house)).await, None);
    assert_eq!(found(alice.session.into()).await, None);
}

pub(crate) async fn a_token_asks_for_confirmations_that_hold_nothing_and_of_who_is_active(house: House) {
    let alice = house.signed_in("alice").await;
    let open =
        async |challenge: Challenge| house.store.open_challenge(&challenge, None, 9, vec![house.said("opened")]).await;
    let good = asked_with(&house, token(&house), &alice);
    let fresh = Challenge { ask: house.challenge(&alice, Freshness).ask, ..good.clone() };
    is_conflict(open(fresh).await);
    is_conflict(open(Challenge { held: Held::SafeNavigation, ..good.clone() }).await);
    is_conflict(open(Challenge { person: house.id(), ..good.clone() }).await);
    is_conflict(open(Challenge { program: None, ..good.clone() }).await);
    house.store.set_blocked(alice.person.id, true, "machine:hr", house.now(), Vec::new()).await.unwrap();
    is_conflict(open(good).await);
    assert_eq!(house.count_said("opened").await, 0);
}

pub(crate) async fn b115_a_programs_many_tokens_open_no_more_challenges_than_one(house: House) {
    let (alice, bob) = (house.signed_in("alice").await, house.signed_in("bob").await);
    let by = token(&house);
    let of = |who: &SignedIn, by: AskedBy| asked_with(&house, by, who);
    let open =
        async |challenge: Challenge| house.store.open_challenge(&challenge, None, 2, vec![house.said("opened")]).await;
    open(of(&alice, by)).await.unwrap();
    open(of(&alice, token(&house))).await.unwrap();
    is_limit(open(of(&alice, by)).await);
    is_limit(open(of(&alice, token(&house))).await);
    // Another program's, another person's and another service's are counted by themselves, and so is a session's.
    open(Challenge { program: Some("corp/other".to_owned()), ..of(&alice, token(&house)) }).await.unwrap();
    open(of(&bob, token(&house))).await.unwrap();
    let elsewhere = Some(Host::parse("ledger.example.com").unwrap());
    open(Challenge { host: elsewhere, ..of(&alice, token(&house)) }).await.unwrap();
    open(house.challenge(&alice, Confirmation)).await.unwrap();
    house.clock.advance(MINUTE * 10);
    open(of(&alice, token(&house))).await.unwrap();
}

pub(crate) async fn who_has_left_confirms_and_spends_nothing_that_a_token_asked(house: House) {
    let alice = house.signed_in("alice").await;
    let (pending, passed) = (opened(&house, token(&house), &alice).await, opened(&house, token(&house), &alice).await);
    let passed = house.pass(&passed, &alice).await;
    house.store.set_blocked(alice.person.id, true, "machine:hr", house.now(), Vec::new()).await.unwrap();
    for challenge in [&pending, &passed] {
        assert!(matches!(house.read(challenge.id).await.state, ChallengeState::Cancelled { .. }));
    }
    is_conflict(house.store.spend(house.spend(&passed), house.said("sent")).await);
    is_conflict(house.store.answer_challenge(house.answer(&pending, &alice), vec![house.said("late")]).await);
    assert_eq!(house.count_said("sent").await + house.count_said("late").await, 0);
}

async fn known(house: &House, who: &SignedIn, subject: &str) -> [u8; 32] {
    let provider = ProviderName::parse("corp").unwrap();
    let identity = Identity { provider, issuer: ISSUER.to_owned(), subject: subject.to_owned() };
    let identity: EnrolledFactor = house.factor(FactorSecret::Idp(identity));
    house.store.add_identity(who.person.id, &identity, house.said("known")).await.unwrap();
    identity_digest(ISSUER, subject)
}

pub(crate) async fn a_person_is_known_by_an_identity_while_they_are_active(house: House) {
    let alice = house.signed_in("alice").await;
    assert!(house.store.known_by(identity_digest(ISSUER, "00u1")).await.unwrap().is_none());
    let identity = known(&house, &alice, "00u1").await;
    for _ in 0..2 {
        let found = house.store.known_by(identity).await.unwrap().unwrap();
        assert_eq!(found.person.id, alice.person.id);
        assert!(found.enrolled.contains(&FactorKind::Password), "{:?}", found.enrolled);
    }
    let changed = stepgate_core::person::Person { groups: vec!["new".into()], ..alice.person.clone() };
    house.store.change_person(&changed, house.said("changed")).await.unwrap();
    assert_eq!(house.store.known_by(identity).await.unwrap().unwrap().person.groups, ["new"]);
    house.store.set_blocked(alice.person.id, true, "machine:hr", house.now(), Vec::new()).await.unwrap();
    assert!(house.store.known_by(identity).await.unwrap().is_none());
    house.store.set_blocked(alice.person.id, false, "machine:hr", house.now(), Vec::new()).await.unwrap();
    let back = house.store.known_by(identity).await.unwrap().unwrap();
    assert_eq!(back.tokens_after, Some(house.now()), "what they had is not theirs again");
    house.store.remove_person(alice.person.id, "cli:test", house.now(), house.said("removed")).await.unwrap();
    assert!(house.store.known_by(identity).await.unwrap().is_none());
}

pub(crate) async fn who_left_on_one_node_is_nobody_on_the_other_within_a_second(house: House) {
    let alice = house.signed_in("alice").await;
    let identity = known(&house, &alice, "00u1").await;
    let other = house.another_node(9).await;
    assert!(other.known_by(identity).await.unwrap().is_some());
    let noticed = async {
        other.person_changed(alice.person.id).await;
        while other.known_by(identity).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let leaves = house.store.set_blocked(alice.person.id, true, "machine:hr", house.now(), Vec::new());
    let (left, noticed) = tokio::join!(leaves, timeout(AT_MOST, noticed));
    left.unwrap();
    noticed.unwrap();
    // Who is gone already is not waited for.
    timeout(AT_MOST, other.person_changed(alice.person.id)).await.unwrap();
}
