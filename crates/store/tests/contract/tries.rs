use std::net::IpAddr;
use std::time::Duration;

use stepgate_core::factor::{FactorKind, FactorUse};
use stepgate_core::id::PersonId;
use stepgate_core::ports::{ChangeError, NewSession, Store as _, Trier, Try, TryLimits};
use stepgate_core::secret::TokenDigest;
use stepgate_core::time::Timestamp;
use stepgate_evidence::Event;
use stepgate_store::Database;

use crate::house::{ADDRESS, House};

const LOCK: Duration = Duration::from_secs(1800);
/// Of one address two, of all strangers three before a lock, seven in a row.
const LIMITS: TryLimits = TryLimits { before_lock: 3, lock: LOCK, before_reset: 14 };

/// A stranger whose address nobody has had before.
fn stranger(house: &House) -> Trier {
    let address: [u8; 16] = house.digest().0[..16].try_into().unwrap();
    Trier { device: None, address: IpAddr::from(address) }
}

fn with(device: TokenDigest) -> Trier {
    Trier { device: Some(device), address: ADDRESS }
}

async fn try_from(house: &House, store: &Database, person: PersonId, kind: FactorKind, from: Trier) -> Try {
    let locked = Event::FactorLocked {
        person: person.to_string(),
        factor: kind.name().to_owned(),
        whom: String::new(),
        until_ms: String::new(),
    };
    store.begin_try(person, kind, from, LIMITS, house.now(), house.entry(locked)).await.unwrap()
}

async fn try_once(house: &House, store: &Database, person: PersonId, kind: FactorKind) -> Try {
    try_from(house, store, person, kind, stranger(house)).await
}

async fn totp(house: &House, person: PersonId) -> Try {
    try_once(house, &house.store, person, FactorKind::Totp).await
}

async fn totp_from(house: &House, person: PersonId, from: Trier) -> Try {
    try_from(house, &house.store, person, FactorKind::Totp, from).await
}

fn left(left: u32) -> Try {
    Try::Allowed { left }
}

fn is_locked(tried: Try) -> bool {
    matches!(tried, Try::Locked { .. })
}

fn forever() -> Timestamp {
    Timestamp::from_ms(i64::MAX)
}

/// The locks that the ledger tells of: whom, and until when.
async fn locks(house: &House) -> Vec<(String, String)> {
    let lock = |entry: stepgate_core::ports::RecordedEntry| match entry.entry.event {
        Event::FactorLocked { whom, until_ms, .. } => Some((whom, until_ms)),
        _ => None,
    };
    house.all().await.into_iter().filter_map(lock).collect()
}

/// Somebody with a code that was right once, with this device.
async fn known_device(house: &House) -> (PersonId, TokenDigest, stepgate_core::id::FactorId) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.totp()).await.unwrap();
    let device = house.digest();
    right(house, alice.id, factor, device, 1).await;
    (alice.id, device, factor)
}

async fn right(house: &House, person: PersonId, factor: stepgate_core::id::FactorId, device: TokenDigest, step: u64) {
    let session = house.new_session(person, FactorKind::Totp, (factor, FactorUse::Moved(step)));
    house.store.start_session(NewSession { device, ..session }, vec![house.said("started")]).await.unwrap();
}

pub(crate) async fn a_try_is_counted_before_it_is_verified(house: House) {
    let alice = house.person("alice").await;
    assert_eq!(totp(&house, alice.id).await, left(2));
    assert_eq!(totp(&house, alice.id).await, left(2));
    assert_eq!(totp(&house, alice.id).await, left(1));
}

pub(crate) async fn b62_a_count_outlives_what_fails_after_it(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.totp()).await.unwrap();
    for used in [FactorUse::Nothing, FactorUse::PasskeyCounter { counter: 1, backed_up: false }, FactorUse::Nothing] {
        totp(&house, alice.id).await;
        // A sign-in that is refused, and undone, after its try was counted.
        let kind = FactorKind::PASSKEY;
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
    for kind in FactorKind::BUILT_IN {
        for _ in 0..3 {
            assert!(!is_locked(try_once(&house, &house.store, alice.id, kind).await), "{kind}");
        }
        assert!(is_locked(try_once(&house, &house.store, alice.id, kind).await), "{kind}");
        assert_eq!(try_once(&house, &house.store, bob.id, kind).await, left(2), "{kind}");
    }
}

pub(crate) async fn a_lock_is_set_before_the_last_try_is_verified_and_ends_by_time(house: House) {
    let alice = house.person("alice").await;
    totp(&house, alice.id).await;
    totp(&house, alice.id).await;
    assert!(locks(&house).await.is_empty());
    assert_eq!(totp(&house, alice.id).await, left(1));
    let until = house.now().plus(LOCK);
    assert_eq!(locks(&house).await, [("strangers".to_owned(), until.as_ms().to_string())]);
    assert_eq!(totp(&house, alice.id).await, Try::Locked { until });
    house.clock.advance(LOCK - Duration::from_millis(1));
    assert_eq!(totp(&house, alice.id).await, Try::Locked { until });
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(totp(&house, alice.id).await, left(2));
    assert_eq!(locks(&house).await.len(), 1);
}

pub(crate) async fn a_right_answer_lifts_the_lock(house: House) {
    let alice = house.person("alice").await;
    let factor = house.enrol(alice.id, house.totp()).await.unwrap();
    for _ in 0..3 {
        totp(&house, alice.id).await;
        try_once(&house, &house.store, alice.id, FactorKind::Password).await;
    }
    // The last of these tries was right, from a device that was not known.
    right(&house, alice.id, factor, house.digest(), 1).await;
    assert_eq!(totp(&house, alice.id).await, left(2));
    let password = try_once(&house, &house.store, alice.id, FactorKind::Password).await;
    assert!(is_locked(password), "a lock on one factor is lifted by that factor alone");
}

pub(crate) async fn b63_b66_tries_count_per_person_across_sessions_and_nodes(house: House) {
    let alice = house.person("alice").await;
    let other = house.another_node(9).await;
    for store in [&house.store, &other, &house.store] {
        assert!(!is_locked(try_once(&house, store, alice.id, FactorKind::Totp).await));
    }
    assert!(is_locked(try_once(&house, &other, alice.id, FactorKind::Totp).await));
}

pub(crate) async fn b63_a_device_is_known_by_the_kind_that_was_proved_with_it(house: House) {
    let (alice, device, _) = known_device(&house).await;
    let password = house.enrol(alice, house.password("$argon2id$hers")).await.unwrap();
    // Whoever has the password alone makes as many devices as they like, and gets no
    // count of codes by it.
    for _ in 0..3 {
        let new = house.digest();
        let session = house.new_session(alice, FactorKind::Password, (password, FactorUse::Nothing));
        house.store.start_session(NewSession { device: new, ..session }, vec![house.said("started")]).await.unwrap();
        let from = Trier { device: Some(new), ..stranger(&house) };
        assert!(!is_locked(totp_from(&house, alice, from).await));
    }
    let from = Trier { device: Some(house.digest()), ..stranger(&house) };
    assert!(is_locked(totp_from(&house, alice, from).await));
    assert_eq!(totp_from(&house, alice, with(device)).await, left(3));
    let bob = house.person("bob").await;
    assert_eq!(totp_from(&house, bob.id, with(device)).await, left(2), "hers is nobody else's known device");
}

pub(crate) async fn b67_strangers_lock_only_strangers(house: House) {
    let (alice, device, factor) = known_device(&house).await;
    let other = house.another_node(9).await;
    for store in [&house.store, &other, &house.store] {
        try_once(&house, store, alice, FactorKind::Totp).await;
    }
    let until = house.now().plus(LOCK);
    assert_eq!(totp(&house, alice).await, Try::Locked { until });
    // The person's own device knows nothing of it, on whatever node, and has a lock of its own.
    assert_eq!(try_from(&house, &other, alice, FactorKind::Totp, with(device)).await, left(3));
    assert_eq!(totp_from(&house, alice, with(device)).await, left(2));
    assert_eq!(totp_from(&house, alice, with(device)).await, left(1));
    assert_eq!(totp_from(&house, alice, with(device)).await, Try::Locked { until });
    assert_eq!(locks(&house).await.last().unwrap().0, "device");
    right(&house, alice, factor, device, 2).await;
    assert_eq!(totp_from(&house, alice, with(device)).await, left(3));
    assert_eq!(totp(&house, alice).await, Try::Locked { until }, "what is right at home is no pass for strangers");
}

pub(crate) async fn b67_one_address_locks_nobody_but_itself_and_longer_each_time(house: House) {
    let alice = house.person("alice").await;
    let attacker = stranger(&house);
    for locked_for in [1, 2, 4] {
        assert_eq!(totp_from(&house, alice.id, attacker).await, left(2));
        assert_eq!(totp_from(&house, alice.id, attacker).await, left(1));
        let until = house.now().plus(LOCK * locked_for);
        assert_eq!(totp_from(&house, alice.id, attacker).await, Try::Locked { until });
        assert_eq!(locks(&house).await.last().unwrap(), &("address".to_owned(), until.as_ms().to_string()));
        house.clock.advance(LOCK * locked_for);
    }
    // Whoever has one address of an IPv6 network has them all.
    let bob = house.person("bob").await;
    let IpAddr::V6(address) = attacker.address else { panic!("an IPv6 address") };
    let neighbour = Trier { address: IpAddr::V6((address.to_bits() ^ 1).into()), ..attacker };
    assert_eq!(totp_from(&house, bob.id, attacker).await, left(2));
    assert_eq!(totp_from(&house, bob.id, neighbour).await, left(1));
    assert!(is_locked(totp_from(&house, bob.id, attacker).await));
    assert_eq!(totp(&house, bob.id).await, left(1), "elsewhere there is one left of the strangers' three");
}

pub(crate) async fn b67_strangers_have_half_of_the_tries_in_a_row(house: House) {
    let (alice, device, factor) = known_device(&house).await;
    let mut counted = 0;
    while !matches!(totp(&house, alice).await, Try::Locked { until } if until == forever()) {
        counted += 1;
        house.clock.advance(LOCK);
    }
    assert_eq!(counted, 7, "half of fourteen");
    assert_eq!(locks(&house).await.last().unwrap(), &("strangers".to_owned(), forever().as_ms().to_string()));
    house.clock.advance(Duration::from_secs(1_000_000_000));
    assert!(is_locked(totp(&house, alice).await), "no time opens it");
    // The person still has the other half, and opens it to strangers again by being right.
    assert_eq!(totp_from(&house, alice, with(device)).await, left(3));
    right(&house, alice, factor, device, 2).await;
    assert_eq!(totp(&house, alice).await, left(2));
}

pub(crate) async fn b67_in_a_row_no_more_than_the_last_limit_wherever_they_come_from(house: House) {
    let (alice, device, _) = known_device(&house).await;
    let (mut counted, mut locked) = (0, 0);
    while locked < 4 {
        for from in [stranger(&house), with(device)] {
            match totp_from(&house, alice, from).await {
                Try::Allowed { .. } => counted += 1,
                Try::Locked { until } if until == forever() => locked += 1,
                Try::Locked { .. } => {}
            }
        }
        house.clock.advance(LOCK);
    }
    assert_eq!(counted, LIMITS.before_reset);
    assert_eq!(locks(&house).await.last().unwrap(), &("all".to_owned(), forever().as_ms().to_string()));
    house.store.reset_tries(alice, FactorKind::Totp, house.said("reset")).await.unwrap();
    assert_eq!(totp(&house, alice).await, left(2));
    assert_eq!(totp_from(&house, alice, with(device)).await, left(3), "the device is known still");
    assert_eq!(house.count_said("reset").await, 1);
}

pub(crate) async fn a_try_that_was_none_is_taken_back_with_its_lock(house: House) {
    let (alice, device, _) = known_device(&house).await;
    for from in [with(device), stranger(&house)] {
        let limit = if from.device.is_some() { 3 } else { 2 };
        for _ in 0..limit {
            totp_from(&house, alice, from).await;
        }
        assert!(is_locked(totp_from(&house, alice, from).await));
        house.store.take_back_try(alice, FactorKind::Totp, from).await.unwrap();
        assert_eq!(totp_from(&house, alice, from).await, left(1));
        assert!(is_locked(totp_from(&house, alice, from).await));
    }
    // Nothing to take back is nothing: no count goes below none.
    let bob = house.person("bob").await;
    house.store.take_back_try(bob.id, FactorKind::Totp, with(device)).await.unwrap();
    assert_eq!(totp_from(&house, bob.id, with(device)).await, left(2));
}
