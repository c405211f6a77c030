use std::sync::Arc;

use stepgate_core::challenge::{GrantKind, SendOutcome};
use stepgate_core::ports::{Spend, Store as _};
use stepgate_core::session::Audience;
use tokio::time::timeout;

use crate::house::{AT_MOST, House, MINUTE, until};

/// Nodes that start beside one that writes.
const STARTS: u64 = 40;

pub(crate) async fn a_restart_finds_everything(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.holding(&alice, GrantKind::Freshness).await;
    let before = house.all().await;
    let checkpoint = house.store.checkpoint().await.unwrap();
    let again = house.another_node(9).await;
    assert!(again.session(alice.token, &Audience::Gate, house.now()).await.unwrap().is_some());
    assert!(again.held(challenge.id).await.unwrap().is_some());
    assert_eq!(again.checkpoint().await.unwrap(), checkpoint);
    again.record(vec![house.said("after")]).await.unwrap();
    let after = house.all().await;
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(after.last().unwrap().index, before.last().unwrap().index + 1);
}

pub(crate) async fn a_revocation_reaches_the_other_node(house: House) {
    let alice = house.signed_in("alice").await;
    let other = house.another_node(9).await;
    let look = || async { other.session(alice.token, &Audience::Gate, house.now()).await.unwrap() };
    assert!(look().await.is_some());
    let (waiting, session) = (Arc::clone(&other), alice.session);
    let ended = tokio::spawn(async move { waiting.ended(session).await });
    house.end(&alice).await;
    until("the other node knows that the session ended", || async { look().await.is_none() }).await;
    timeout(AT_MOST, ended).await.expect("whoever waits on the other node is woken").unwrap();
}

pub(crate) async fn a_changed_person_reaches_the_other_node(house: House) {
    let alice = house.signed_in("alice").await;
    let other = house.another_node(9).await;
    let look = || async { other.session(alice.token, &Audience::Gate, house.now()).await.unwrap() };
    assert_eq!(look().await.unwrap().person.groups.len(), 2);
    let changed = stepgate_core::person::Person { groups: vec![], ..alice.person.clone() };
    house.store.change_person(&changed, house.said("changed")).await.unwrap();
    until("the other node knows the groups", || async { look().await.unwrap().person.groups.is_empty() }).await;
}

pub(crate) async fn a_challenge_answered_on_one_node_wakes_the_other(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.opened(&alice, GrantKind::Freshness).await;
    let (other, id) = (house.another_node(9).await, challenge.id);
    let waiting = tokio::spawn(async move {
        while other.challenge(id).await.unwrap().unwrap().version == 1 {
            other.challenge_changed(id, AT_MOST).await;
        }
    });
    house.pass(&challenge, &alice).await;
    timeout(AT_MOST, waiting).await.expect("the change is noticed").unwrap();
}

pub(crate) async fn entries_of_one_node_wake_the_other(house: House) {
    let size = house.store.ledger_size().await.unwrap();
    let other = house.another_node(9).await;
    let waiting = tokio::spawn(async move { other.entries_after(size, AT_MOST * 2).await });
    house.store.record(vec![house.said("something")]).await.unwrap();
    timeout(AT_MOST, waiting).await.expect("the entry is noticed").unwrap();
}

pub(crate) async fn what_a_dead_node_was_sending_is_found_and_what_this_one_sends_is_not(house: House) {
    let alice = house.signed_in("alice").await;
    let dead = house.another_node(9).await;
    let (dead_id, this) = (house.id(), house.id());
    dead.heartbeat(dead_id, house.now()).await.unwrap();
    house.store.heartbeat(this, house.now()).await.unwrap();
    let mut spends = Vec::new();
    for _ in 0..2 {
        let challenge = house.opened(&alice, GrantKind::Confirmation).await;
        let passed = house.pass(&challenge, &alice).await;
        spends.push(house.spend(&passed));
    }
    let [by_dead, by_this] = [0, 1].map(|at: usize| {
        let node = if at == 0 { dead_id } else { this };
        Spend { node, ..house.spend_again(&spends[at]) }
    });
    let (challenge, request) = (by_dead.challenge, by_dead.request);
    dead.spend(by_dead, house.said("sent")).await.unwrap();
    house.store.spend(by_this, house.said("sent")).await.unwrap();
    let unfinished = || house.store.unfinished(this, house.now());
    assert_eq!(unfinished().await.unwrap(), [], "both live");
    drop(dead);
    house.clock.advance(MINUTE);
    house.store.heartbeat(this, house.now()).await.unwrap();
    assert_eq!(unfinished().await.unwrap(), [(challenge, request)]);
    house.store.finish(challenge, request, SendOutcome::Unknown, house.said("finished")).await.unwrap();
    assert_eq!(unfinished().await.unwrap(), []);
    // A process that starts under the same id: what the one before it was sending is nobody's.
    let restarted = house.another_node(10).await;
    assert_eq!(restarted.unfinished(this, house.now()).await.unwrap().len(), 1);
}

pub(crate) async fn a_node_that_sends_lives_even_if_it_never_said_so(house: House) {
    let alice = house.signed_in("alice").await;
    let (new, this) = (house.id(), house.id());
    let challenge = house.opened(&alice, GrantKind::Confirmation).await;
    let passed = house.pass(&challenge, &alice).await;
    let spend = Spend { node: new, ..house.spend(&passed) };
    let request = spend.request;
    house.store.spend(spend, house.said("sent")).await.unwrap();
    let other = house.another_node(9).await;
    assert_eq!(other.unfinished(this, house.now()).await.unwrap(), [], "it has only just begun");
    house.clock.advance(MINUTE);
    assert_eq!(other.unfinished(this, house.now()).await.unwrap(), [(challenge.id, request)]);
}

pub(crate) async fn a_node_starts_while_another_writes(house: House) {
    let house = Arc::new(house);
    let busy = Arc::clone(&house);
    let writing = tokio::spawn(async move {
        loop {
            busy.store.record(vec![busy.said("something")]).await.unwrap();
        }
    });
    for node in 0..STARTS {
        house.another_node(100 + node).await;
    }
    assert!(!writing.is_finished(), "the other node writes all the time");
    writing.abort();
}
