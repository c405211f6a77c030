use std::time::Duration;

use stepgate_core::factor::{FactorKind, FactorUse};
use stepgate_core::id::PersonId;
use stepgate_core::ports::{ChangeError, Store, Try, TryLimits};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Event;
use stepgate_store::Database;

use crate::house::House;

const LOCK: Duration = Duration::from_secs(1800);
const LIMITS: TryLimits = TryLimits { before_lock: 3, lock: LOCK, before_reset: 7 };

async fn try_once(house: &House, store: &Database, person: PersonId, kind: FactorKind) -> Try {
    let locked = Event::FactorLocked {
        person: person.to_string(),
        factor: kind.name().to_owned(),
        until_ms: house.now().plus(LOCK).as_ms().to_string(),
    };
    store.begin_try(person, kind, LIMITS, house.now(), house.entry(locked)).await.unwrap()
}

async fn totp(house: &House, person: PersonId) -> Try {
    try_once(house, &house.store, person, FactorKind::Totp).await
}

fn left(left: u32) -> Try {
    Try::Allowed { left }
}

async fn locks(house: &House) -> Vec<String> {
    let until = |entry: stepgate_core::ports::RecordedEntry| match entry.entry.event {
        Event::FactorLocked { until_ms, .. } => Some(until_ms),
        _ => None,
    };
    house.all().await.into_iter().filter_map(until).collect()
}

pub(crate) async fn a_try_is_counted_before_it_is_verified(house: House) {
    let alice = house.person("alice").await;
    assert_eq!(totp(&house, alice.id).await, left(3));
    assert_eq!(totp(&house, alice.id).await, left(2));
}

pub(crate) async fn b62_a_count_outlives_what_fails_after_it(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.totp()).await.unwrap();
    for used in [FactorUse::Nothing, FactorUse::PasskeyCounter { counter: 1, backed_up: false }, FactorUse::Nothing] {
        totp(&house, alice.id).await;
        // A sign-in that is refused, and undone, after its try was counted.
        let kind = FactorKind::Passkey;
        let session = house.new_session(alice.id, kind, (factor, used));
        let refused = house.store.start_session(session, vec![house.said("started")]).await;
        assert!(matches!(refused, Err(ChangeError::Conflict)));
    }
    let locked = Try::Locked { until: house.now().plus(LOCK) };
    assert_eq!(totp(&house, alice.id).await, locked);
    let after_a_restart = house.another_node(9).await;
    assert_eq!(try_once(&house, &after_a_restart, alice.id, FactorKind::Totp).await, locked);
}

pub(crate) async fn b64_each_kind_of_factor_is_counted_and_locks_alone(house: House) {
    let (alice, bob) = (house.person("alice").await, house.person("bob").await);
    for kind in FactorKind::ALL {
        for expected in [3, 2, 1] {
            assert_eq!(try_once(&house, &house.store, alice.id, kind).await, left(expected), "{kind}");
        }
        assert!(matches!(try_once(&house, &house.store, alice.id, kind).await, Try::Locked { .. }), "{kind}");
        assert_eq!(try_once(&house, &house.store, bob.id, kind).await, left(3), "{kind}");
    }
}

pub(crate) async fn a_lock_is_set_before_the_last_try_is_verified_and_ends_by_time(house: House) {
    let alice = house.person("alice").await;
    totp(&house, alice.id).await;
    totp(&house, alice.id).await;
    assert!(locks(&house).await.is_empty());
    assert_eq!(totp(&house, alice.id).await, left(1));
    let until = house.now().plus(LOCK);
    assert_eq!(locks(&house).await, [until.as_ms().to_string()]);
    assert_eq!(totp(&house, alice.id).await, Try::Locked { until });
    house.clock.advance(LOCK - Duration::from_millis(1));
    assert_eq!(totp(&house, alice.id).await, Try::Locked { until });
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(totp(&house, alice.id).await, left(3));
    assert_eq!(locks(&house).await.len(), 1);
}

pub(crate) async fn at_the_last_limit_only_an_administrator_unlocks(house: House) {
    let alice = house.person("alice").await;
    for expected in [3, 2, 1, 3, 2, 1, 1] {
        assert_eq!(totp(&house, alice.id).await, left(expected));
        house.clock.advance(LOCK);
    }
    house.clock.advance(Duration::from_secs(1_000_000_000));
    let forever = Timestamp::from_ms(i64::MAX);
    assert_eq!(totp(&house, alice.id).await, Try::Locked { until: forever });
    assert_eq!(locks(&house).await.last(), Some(&forever.as_ms().to_string()));
    house.store.reset_tries(alice.id, FactorKind::Totp, house.said("reset")).await.unwrap();
    assert_eq!(totp(&house, alice.id).await, left(3));
    assert_eq!(house.count_said("reset").await, 1);
}

pub(crate) async fn a_right_answer_lifts_the_lock(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.totp()).await.unwrap();
    for _ in 0..3 {
        totp(&house, alice.id).await;
        try_once(&house, &house.store, alice.id, FactorKind::Password).await;
    }
    let session = house.new_session(alice.id, FactorKind::Totp, (factor, FactorUse::TotpStep(1)));
    house.store.start_session(session, vec![house.said("started")]).await.unwrap();
    assert_eq!(totp(&house, alice.id).await, left(3));
    let password = try_once(&house, &house.store, alice.id, FactorKind::Password).await;
    assert!(matches!(password, Try::Locked { .. }), "a lock on one factor is lifted by that factor alone");
}

pub(crate) async fn b63_b66_tries_count_per_person_across_sessions_and_nodes(house: House) {
    let alice = house.person("alice").await;
    let other = house.another_node(9).await;
    assert_eq!(totp(&house, alice.id).await, left(3));
    assert_eq!(try_once(&house, &other, alice.id, FactorKind::Totp).await, left(2));
    assert_eq!(totp(&house, alice.id).await, left(1));
    assert!(matches!(try_once(&house, &other, alice.id, FactorKind::Totp).await, Try::Locked { .. }));
}
