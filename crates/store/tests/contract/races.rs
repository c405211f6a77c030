//! Many at once, on real threads and, where it says so, on two nodes.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use stepgate_core::challenge::GrantKind;
use stepgate_core::factor::{FactorKind, FactorUse};
use stepgate_core::ports::{ChangeError, EntryQuery, NewSession, Store as _, Trier, Try, TryLimits};
use stepgate_core::secret::Purpose;
use stepgate_core::session::Audience;
use stepgate_store::Database;
use tokio::task::JoinSet;

use crate::house::{House, host};

const MANY: usize = 50;

/// Runs [`MANY`] at once, half of them on another node; gives what each came to.
async fn at_once<T, F>(house: &House, task: impl Fn(usize, Arc<Database>) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let other = house.another_node(9).await;
    let barrier = Arc::new(tokio::sync::Barrier::new(MANY));
    let mut tasks = JoinSet::new();
    for number in 0..MANY {
        let store = if number % 2 == 0 { Arc::clone(&house.store) } else { Arc::clone(&other) };
        let (task, barrier) = (task(number, store), Arc::clone(&barrier));
        tasks.spawn(async move {
            barrier.wait().await;
            task.await
        });
    }
    tasks.join_all().await
}

fn one_got_through(results: Vec<Result<(), ChangeError>>) {
    assert_eq!(results.len(), MANY);
    let through = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(through, 1, "{results:?}");
    let refused =
        |result: &&Result<(), ChangeError>| matches!(result, Err(ChangeError::UsedBefore | ChangeError::Conflict));
    assert_eq!(results.iter().filter(refused).count(), MANY - 1, "{results:?}");
}

async fn sign_ins(house: &House, session: impl Fn() -> NewSession) {
    let results = at_once(house, |_, store| {
        let session = session();
        let entry = house.said("started");
        async move { store.start_session(session, vec![entry]).await }
    })
    .await;
    one_got_through(results);
    assert_eq!(house.count_said("started").await, 1);
}

pub(crate) async fn b61_one_of_fifty_gets_through_with_a_totp_step(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.totp()).await.unwrap();
    sign_ins(&house, || house.new_session(alice.id, FactorKind::Totp, (factor, FactorUse::Moved(7)))).await;
}

pub(crate) async fn b61_one_of_fifty_gets_through_with_a_hardware_code(house: House) {
    let alice = house.person("alice").await;
    let factor = house.active_token("A-1", alice.id).await;
    sign_ins(&house, || house.new_session(alice.id, FactorKind::Hotp, (factor, FactorUse::Moved(7)))).await;
}

pub(crate) async fn b61_one_of_fifty_gets_through_with_a_recovery_code(house: House) {
    let alice = house.person("alice").await;
    let (secret, codes) = house.recovery_codes(3);
    let factor = house.enrol(alice.id, secret).await.unwrap();
    let used = (factor, FactorUse::RecoveryCode(codes[1]));
    sign_ins(&house, || house.new_session(alice.id, FactorKind::RecoveryCode, used.clone())).await;
}

pub(crate) async fn b61_one_of_fifty_gets_through_with_a_code_that_was_sent(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.address()).await.unwrap();
    let used = (factor, FactorUse::SentCode(house.send(alice.id, factor).await.unwrap()));
    sign_ins(&house, || house.new_session(alice.id, FactorKind::EmailCode, used.clone())).await;
}

pub(crate) async fn no_more_codes_are_sent_at_once_than_may_be(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.address()).await.unwrap();
    let results = at_once(&house, |_, store| {
        let (code, entry) = (house.sent(alice.id, factor), house.said("sent"));
        async move { store.put_sent_code(code, 5, entry).await }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5, "{results:?}");
}

pub(crate) async fn one_of_fifty_redeems_a_code(house: House) {
    let alice = house.signed_in("alice").await;
    let pay = host("pay.example.com");
    let code = house.code(alice.session, Purpose::HandOff, pay.clone());
    house.store.put_code(code.clone()).await.unwrap();
    let tokens: Vec<_> = (0..MANY).map(|_| house.digest()).collect();
    let results = at_once(&house, |number, store| {
        let (digest, audience, token, at) = (code.digest, pay.clone(), tokens[number], house.now());
        async move { store.redeem_code(digest, &audience, None, token, at).await.unwrap().map(|_| token) }
    })
    .await;
    let won: Vec<_> = results.into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
    for token in tokens {
        assert_eq!(house.look_at(token, &pay).await.is_some(), won.contains(&token));
    }
}

pub(crate) async fn one_of_fifty_spends_across_two_nodes(house: House) {
    let alice = house.signed_in("alice").await;
    let challenge = house.holding(&alice, GrantKind::Confirmation).await;
    let passed = house.pass(&challenge, &alice).await;
    let results = at_once(&house, |_, store| {
        let (spend, entry) = (house.spend(&passed), house.said("sent"));
        async move { store.spend(spend, entry).await }
    })
    .await;
    one_got_through(results);
    assert_eq!(house.count_said("sent").await, 1);
}

pub(crate) async fn b71_one_of_fifty_uses_a_link(house: House) {
    let alice = house.person("alice").await;
    let link = house.link(alice.id);
    house.store.put_link(&link, house.said("made")).await.unwrap();
    let results = at_once(&house, |_, store| {
        let ticket = stepgate_core::ports::Ticket {
            digest: house.digest(),
            person: alice.id,
            authority: link.id.to_string(),
            rests_on: stepgate_core::ports::RestsOn::Link,
            kinds: link.kinds.clone(),
            browser: house.digest(),
            begun: None,
            expires_at: link.expires_at,
        };
        let (entry, id, now) = (house.said("used"), link.id, house.now());
        async move { store.use_link(id, &ticket, now, entry).await }
    })
    .await;
    one_got_through(results);
    assert_eq!(house.count_said("used").await, 1);
}

pub(crate) async fn b64_fifty_tries_at_once_are_all_counted(house: House) {
    let alice = house.person("alice").await;
    let limits = TryLimits { before_lock: 10, ..TryLimits::default() };
    let results = at_once(&house, |number, store| {
        let (at, entry) = (house.now(), house.said("locked"));
        // Each from an address of its own.
        let address = IpAddr::from([192, 0, 2, u8::try_from(number).unwrap()]);
        let from = Trier { device: None, address };
        async move { store.begin_try(alice.id, FactorKind::Totp, from, limits, at, entry).await.unwrap() }
    })
    .await;
    let mut allowed: Vec<_> = results
        .into_iter()
        .filter_map(|result| match result {
            Try::Allowed { left } => Some(left),
            Try::Locked { .. } => None,
        })
        .collect();
    allowed.sort_unstable();
    // Each address has five, so that is the most which anyone is told.
    assert_eq!(allowed, [1, 2, 3, 4, 5, 5, 5, 5, 5, 5]);
    assert_eq!(house.count_said("locked").await, 1);
}

pub(crate) async fn pending_challenges_are_limited_under_load(house: House) {
    let alice = house.signed_in("alice").await;
    let results = at_once(&house, |_, store| {
        let (challenge, entry) = (house.challenge(&alice, GrantKind::Freshness), house.said("opened"));
        async move { store.open_challenge(&challenge, None, 8, vec![entry]).await }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 8);
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(ChangeError::Limit(_)))), "{results:?}");
    assert_eq!(house.count_said("opened").await, 8);
}

pub(crate) async fn b57_parallel_sign_ins_of_two_people_do_not_mix(house: House) {
    let people = [house.signed_in("alice").await, house.signed_in("bob").await];
    let results = at_once(&house, |number, store| {
        // Both people on both nodes.
        let who = &people[number / 2 % 2];
        let used = (who.factor, FactorUse::Nothing);
        let session = house.new_session(who.person.id, FactorKind::Password, used);
        let (token, person, now, entry) = (session.gate_token, who.person.id, house.now(), house.said("started"));
        async move {
            store.start_session(session, vec![entry]).await.unwrap();
            let view = store.session(token, &Audience::Gate, now).await.unwrap().unwrap();
            (view.person.id, person, token)
        }
    })
    .await;
    for (seen, expected, token) in results {
        assert_eq!(seen, expected);
        assert_eq!(house.look(token).await.unwrap().person.id, expected);
    }
}

pub(crate) async fn indexes_have_no_gap_under_load_from_two_nodes(house: House) {
    let before = house.store.ledger_size().await.unwrap();
    let results = at_once(&house, |number, store| {
        let entries: Vec<_> = (0..3).map(|part| house.said(&format!("{number}/{part}"))).collect();
        async move { store.record(entries).await }
    })
    .await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let query = EntryQuery { from: Some(before), limit: 1_000, ..EntryQuery::default() };
    let entries = house.store.entries(query).await.unwrap();
    assert_eq!(entries.len(), MANY * 3);
    for (expected, entry) in (before..).zip(&entries) {
        assert_eq!(entry.index, expected);
    }
    let ids: HashSet<_> = entries.iter().map(|entry| entry.entry.id.clone()).collect();
    assert_eq!(ids.len(), MANY * 3);
    crate::evidence::verify_offline(&house).await;
}

pub(crate) async fn sessions_look_right_while_they_change(house: House) {
    let alice = house.signed_in("alice").await;
    let (store, token, now) = (Arc::clone(&house.store), alice.token, house.now());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let reader = tokio::spawn(async move {
        // Groups only ever grow here: a look that went back would have come from a stale memory.
        let mut most = 0;
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            let view = store.session(token, &Audience::Gate, now).await.unwrap().unwrap();
            assert!(view.person.groups.len() >= most);
            most = view.person.groups.len();
            // From memory nothing waits, and a task that never waits keeps others off its thread.
            tokio::task::yield_now().await;
        }
    });
    let mut person = alice.person.clone();
    for number in 0..60 {
        person.groups.push(format!("zz{number:03}"));
        house.store.change_person(&person, house.said("changed")).await.unwrap();
        // What was acknowledged is seen at once on this node.
        assert_eq!(house.look(alice.token).await.unwrap().person.groups, person.groups);
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    reader.await.unwrap();
}
