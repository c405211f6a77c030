use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::challenge::GrantKind;
use stepgate_core::factor::{FactorKind, FactorSecret};
use stepgate_core::ports::{Store as _, StoreError};
use stepgate_ledger::Origin;
use stepgate_store::{Database, Keyring, OlderSchema, OpenError, Options, SchemaError, StoreUrl};

use crate::house::{House, options};

/// Changes the database behind the store's back.
pub(crate) async fn tamper(house: &House, statement: &'static str) -> u64 {
    sqlx::any::install_default_drivers();
    let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&direct(house)).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap().rows_affected()
}

/// The first row's one column, as it lies in the database.
pub(crate) async fn column(house: &House, query: &'static str) -> Vec<u8> {
    sqlx::any::install_default_drivers();
    let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&direct(house)).await.unwrap();
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

fn direct(house: &House) -> String {
    match house.url.strip_prefix("sqlite:") {
        Some(path) => format!("sqlite://{}", path.replace('%', "%25").replace(' ', "%20")),
        None => house.url.clone(),
    }
}

pub(crate) async fn another_master_key_opens_nothing(house: House) {
    let other = Keyring::generate(house.random.as_ref());
    let refused = house.open_with(other.clone(), 9).await;
    let Err(OpenError::Store(StoreError::Sealed { key })) = refused else { panic!("{refused:?}") };
    assert_eq!(key, house.keyring.current_id());
    let alice = house.person("alice").await;
    house.enrol(alice.id, house.totp()).await.unwrap();
    house.store.replace_keyring(other);
    let sealed = house.store.factors(alice.id).await;
    assert!(matches!(sealed, Err(StoreError::Sealed { .. })), "{sealed:?}");
}

pub(crate) async fn a_sealed_value_that_was_moved_does_not_open(house: House) {
    let (alice, mallory) = (house.person("alice").await, house.person("mallory").await);
    house.enrol(alice.id, house.password("alice's")).await.unwrap();
    house.enrol(mallory.id, house.password("mallory's")).await.unwrap();
    let moved = "UPDATE factors SET sealed = (SELECT f.sealed FROM factors f JOIN people p ON p.id = f.person \
         WHERE p.login = 'mallory') WHERE person = (SELECT id FROM people WHERE login = 'alice')";
    assert_eq!(tamper(&house, moved).await, 1);
    let factors = house.store.factors(alice.id).await;
    assert!(matches!(factors, Err(StoreError::Sealed { .. })), "{factors:?}");
}

pub(crate) async fn everything_is_sealed_anew_under_a_new_key(house: House) {
    let alice = house.signed_in("alice").await;
    for _ in 0..3 {
        house.enrol(alice.person.id, house.totp()).await.unwrap();
    }
    let held = house.holding(&alice, GrantKind::Confirmation).await;
    let ticket = house.ticket(alice.person.id, &[FactorKind::Totp]).await;
    house.store.begin_on_ticket(ticket.digest, (FactorKind::Totp, SecretString::from("begun"))).await.unwrap();
    let keys = house.store.signing_keys().await.unwrap();

    let both = house.keyring.with_new_key(house.random.as_ref());
    house.store.replace_keyring(both.clone());
    // Four factors, one held request, one ticket, three keys.
    assert_eq!(house.store.seal_anew().await.unwrap(), 9);
    assert_eq!(house.store.seal_anew().await.unwrap(), 0);

    house.store.replace_keyring(both.only_current());
    let factors = house.store.factors(alice.person.id).await.unwrap();
    let FactorSecret::Oath { key, .. } = &factors[1].secret else { panic!("{factors:?}") };
    assert_eq!(key.seed.expose_secret(), "JBSWY3DPEHPK3PXP-not-in-the-clear");
    assert!(house.store.held(held.id).await.unwrap() == Some(house.request()));
    let begun = house.store.ticket(ticket.digest, ticket.browser, house.now()).await.unwrap().unwrap().begun.unwrap();
    assert_eq!(begun.1.expose_secret(), "begun");
    assert_eq!(house.store.signing_keys().await.unwrap().mac, keys.mac);
    let restarted = house.open_with(both.only_current(), 9).await.unwrap();
    assert_eq!(restarted.signing_keys().await.unwrap().checkpoint_verifier, keys.checkpoint_verifier);
    let refused = house.open_with(house.keyring.clone(), 10).await;
    assert!(matches!(refused, Err(OpenError::Store(StoreError::Sealed { .. }))));
}

pub(crate) async fn a_newer_schema_is_refused(house: House) {
    let newer = "UPDATE _sqlx_migrations SET version = version + 1000";
    assert!(tamper(&house, newer).await > 0);
    let refused = house.open_with(house.keyring.clone(), 9).await;
    assert!(matches!(refused, Err(OpenError::Schema(SchemaError::Newer { found: 1001 }))), "{refused:?}");
    let migrated = Database::migrate(&StoreUrl::parse(&house.url).unwrap()).await;
    assert!(matches!(migrated, Err(OpenError::Schema(SchemaError::Newer { .. }))), "{migrated:?}");
}

pub(crate) async fn a_schema_of_another_build_is_refused_as_that(house: House) {
    let other = match house.url.starts_with("sqlite:") {
        true => "UPDATE _sqlx_migrations SET checksum = x'00'",
        false => "UPDATE _sqlx_migrations SET checksum = '\\x00'::bytea",
    };
    assert!(tamper(&house, other).await > 0);
    let refused = Database::migrate(&StoreUrl::parse(&house.url).unwrap()).await;
    assert!(matches!(refused, Err(OpenError::Schema(SchemaError::OtherHistory { migration: 1 }))), "{refused:?}");
}

pub(crate) async fn an_older_schema_is_refused_where_migrating_was_not_asked_for(house: House) {
    let url = match &house.url {
        url if url.starts_with("sqlite:") => format!("{url}.empty"),
        _ => tokio::task::spawn_blocking(|| stepgate_testkit::Postgres::shared().fresh_database()).await.unwrap(),
    };
    let url = StoreUrl::parse(&url).unwrap();
    let options = Options { schema: OlderSchema::Refuse, ..options() };
    let open = |options| {
        Database::open(url.clone(), house.keyring.clone(), house.clock.clone(), house.random.clone(), options)
    };
    let refused = open(options.clone()).await;
    assert!(matches!(refused, Err(OpenError::Schema(SchemaError::Older { found: 0 }))), "{refused:?}");
    Database::migrate(&url).await.unwrap();
    let opened = open(options.clone()).await.unwrap();
    opened.close().await;
    let renamed = Options { origin: Origin::parse("other.example.com").unwrap(), ..options };
    let again = open(renamed).await.unwrap();
    assert_eq!(again.origin().as_str(), "gate.example.com", "a log keeps its name");
}
