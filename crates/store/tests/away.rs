//! The database goes away, comes back, or lets the writer wait.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::sync::Arc;
use std::time::Duration;

use stepgate_core::factor::{EnrolledFactor, FactorKind, FactorSecret, FactorUse, PasswordStands};
use stepgate_core::id::Id;
use stepgate_core::person::{Login, Person};
use stepgate_core::ports::{EntryQuery, NewSession, RestsOn, Store as _, StoreError, Ticket, TicketThen};
use stepgate_core::secret::TokenDigest;
use stepgate_core::session::{Audience, Proof};
use stepgate_core::time::{Clock as _, Randomness as _, Timestamp};
use stepgate_evidence::{Entry, Event};
use stepgate_ledger::Origin;
use stepgate_store::{Database, Keyring, Options, StoreUrl};
use stepgate_testkit::{FakeClock, Postgres, SeededRandomness};

/// Longer than anything here takes; only a test that fails waits for it.
const AT_MOST: Duration = Duration::from_secs(90);

struct House {
    store: Arc<Database>,
    random: Arc<SeededRandomness>,
}

impl House {
    async fn new(url: StoreUrl, options: Options) -> Self {
        let random = Arc::new(SeededRandomness::new(1));
        let keyring = Keyring::generate(random.as_ref());
        let clock = Arc::new(FakeClock::new());
        let opened = Database::open(url, keyring, clock, Arc::clone(&random) as _, options).await.unwrap();
        Self { store: Arc::new(opened), random }
    }

    fn now(&self) -> Timestamp {
        FakeClock::new().now()
    }

    fn digest(&self) -> TokenDigest {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes);
        TokenDigest(bytes)
    }

    fn said(&self, what: &str) -> Entry {
        let event = Event::Fault { node: "test".to_owned(), what: what.to_owned() };
        let id = Id::<()>::random(self.random.as_ref()).to_string();
        Entry { id, at_ms: self.now().as_ms(), event, details: None }
    }

    async fn ids(&self) -> Vec<String> {
        let (mut ids, mut from) = (Vec::new(), 0);
        loop {
            let query = EntryQuery { from: Some(from), limit: 1_000, ..EntryQuery::default() };
            let page = self.store.entries(query).await.unwrap();
            let Some(last) = page.last() else { return ids };
            from = last.index + 1;
            ids.extend(page.into_iter().map(|entry| entry.entry.id));
        }
    }

    /// A token of somebody who signed in.
    async fn token(&self) -> TokenDigest {
        let (random, now) = (self.random.as_ref(), self.now());
        let person = Person {
            id: Id::random(random),
            login: Login::parse("alice").unwrap(),
            name: String::new(),
            email: String::new(),
            groups: Vec::new(),
            active: true,
        };
        self.store.add_person(&person, now, self.said("added")).await.unwrap();
        let ticket = Ticket {
            digest: self.digest(),
            person: person.id,
            authority: "link".to_owned(),
            rests_on: RestsOn::Link,
            kinds: vec![FactorKind::Password],
            browser: self.digest(),
            begun: None,
            expires_at: now.plus(AT_MOST),
        };
        self.store.put_ticket(&ticket).await.unwrap();
        self.store.begin_on_ticket(ticket.digest, (FactorKind::Password, "state".into())).await.unwrap();
        let secret = FactorSecret::Password { phc: "phc".into(), stands: PasswordStands::Alone };
        let factor = EnrolledFactor {
            id: Id::random(random),
            name: String::new(),
            enrolled_at: now,
            last_used_at: None,
            last_used_from: None,
            secret,
        };
        self.store
            .enrol(ticket.digest, TicketThen::Stays, person.id, &factor, now, self.said("enrolled"))
            .await
            .unwrap();
        let session = NewSession {
            id: Id::random(random),
            person: person.id,
            proof: Proof { kind: FactorKind::Password, at: now, generation: 1 },
            used: (factor.id, FactorUse::Nothing),
            prompt: None,
            gate_token: self.digest(),
            browser: self.digest(),
            device: self.digest(),
            started_at: now,
            ends_at: now.plus(Duration::from_secs(3600)),
            idle: Duration::from_secs(3600),
            address: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            country: "ZZ".to_owned(),
            agent: String::new(),
            replaces: None,
            login: None,
        };
        let token = session.gate_token;
        self.store.start_session(session, vec![self.said("started")]).await.unwrap();
        token
    }
}

fn options() -> Options {
    Options::new(Origin::parse("gate.example.com").unwrap())
}

async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(AT_MOST, wait).await.unwrap_or_else(|_| panic!("it never became so that {what}"));
}

async fn own_postgres() -> Postgres {
    tokio::task::spawn_blocking(Postgres::start).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn known_sessions_are_served_for_stale_for_and_no_longer() {
    let mut postgres = own_postgres().await;
    let url = StoreUrl::parse(&postgres.fresh_database()).unwrap();
    let stale_for = Duration::from_secs(4);
    let house = House::new(url, Options { stale_for, ..options() }).await;
    let token = house.token().await;
    let look = || house.store.session(token, &Audience::Gate, house.now());
    assert!(look().await.unwrap().is_some());
    postgres.kill();
    assert!(look().await.unwrap().is_some(), "known from memory");
    assert!(matches!(
        house.store.session(house.digest(), &Audience::Gate, house.now()).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(house.store.ready().await.is_err());
    until("memory is not trusted any more", || async { matches!(look().await, Err(StoreError::Unavailable(_))) }).await;
    postgres.restart();
    until("sessions are served again", || async { matches!(look().await, Ok(Some(_))) }).await;
    until("changes are written again", || async { house.store.record(vec![house.said("again")]).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_there_what_was_refused_is_not_and_unknown_is_either() {
    let mut postgres = own_postgres().await;
    let url = StoreUrl::parse(&postgres.fresh_database()).unwrap();
    let house = Arc::new(House::new(url, options()).await);
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let enough = Arc::new(tokio::sync::Semaphore::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (house, enough) = (Arc::clone(&house), Arc::clone(&enough));
            tasks.spawn(async move {
                let mut results = Vec::new();
                loop {
                    let entry = house.said("something");
                    let id = entry.id.clone();
                    let result = house.store.record(vec![entry]).await;
                    let broke = result.is_err();
                    results.push((id, result));
                    enough.add_permits(1);
                    if broke {
                        return results;
                    }
                }
            });
        }
        enough.acquire_many(200).await.unwrap().forget();
        postgres.kill();
        for (id, result) in tasks.join_all().await.into_iter().flatten() {
            match result {
                Ok(()) => acknowledged.push(id),
                Err(StoreError::Unavailable(_)) => refused.push(id),
                Err(StoreError::Unknown(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        postgres.restart();
        until("changes are written again", || async { house.store.record(vec![house.said("again")]).await.is_ok() })
            .await;
    }
    let ids = house.ids().await;
    assert!(acknowledged.len() > 200);
    for id in &acknowledged {
        assert!(ids.contains(id), "acknowledged and lost: {id}");
    }
    for id in &refused {
        assert!(!ids.contains(id), "refused, and there all the same: {id}");
    }
    assert_eq!(ids.len() as u64, house.store.ledger_size().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_queue_refuses_at_once_and_what_is_in_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stepgate.db");
    let house = Arc::new(House::new(StoreUrl::sqlite(&path), Options { queue: 1, ..options() }).await);
    house.store.record(vec![house.said("first")]).await.unwrap();
    let url = format!("sqlite://{}", path.display());
    let mut other = <sqlx::AnyConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..10 {
        let house = Arc::clone(&house);
        tasks.spawn(async move { house.store.record(vec![house.said(&number.to_string())]).await });
    }
    let mut refused = 0;
    // The writer has one at most and the queue one; the others are told at once.
    while refused < 8 {
        let result = tasks.join_next().await.unwrap().unwrap();
        // Not because it waited until the database gave up.
        let Err(StoreError::Unavailable(why)) = &result else { panic!("{result:?}") };
        assert_eq!(why.to_string(), "too many changes wait to be written");
        refused += 1;
    }
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    let rest = tasks.join_all().await;
    let written = rest.iter().filter(|result| result.is_ok()).count();
    assert!((1..=2).contains(&written), "{rest:?}");
    assert_eq!(house.store.ledger_size().await.unwrap(), 2 + written as u64);
}
