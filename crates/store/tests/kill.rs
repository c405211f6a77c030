//! A process that writes is killed at random moments, again and again. Afterwards
//! every change that was acknowledged is there with its entry, nothing is there
//! without the other, and the ledger has no gap. Meanwhile the key of the log is changed
//! again and again, and from the first one everybody can follow to the last.
//!
//! This program is its own child: `kill child <database> <keyring> <seed>`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use stepgate_core::id::{Id, PersonId};
use stepgate_core::person::{Login, Person};
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_core::time::{Clock as _, Randomness as _, Timestamp};
use stepgate_evidence::{Entry, Event, verify};
use stepgate_ledger::export::{Reader, Writer};
use stepgate_ledger::verify::Trust;
use stepgate_ledger::{CheckpointVerifier, Frontier, Origin, SignedCheckpoint, leaf_hash};
use stepgate_store::{Database, FormerKey, Keyring, Options, StoreUrl};
use stepgate_testkit::{FakeClock, SeededRandomness};

const KILLS: u64 = 30;
const WRITERS: usize = 8;
/// How long the child waits before it changes the key of the log again.
const ROTATE_EVERY: Duration = Duration::from_millis(3);
/// A child is killed after at most so many acknowledged changes …
const ACKNOWLEDGED_MAX: u64 = 60;
/// … and then at most this much later, in the middle of whatever it does.
const LATER_MAX_US: u64 = 4_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "child", database, keyring, seed] => child(Path::new(database), Path::new(keyring), seed.parse().unwrap()),
        _ => what_was_acknowledged_outlives_a_kill(),
    }
}

fn what_was_acknowledged_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (database, keyring) = (folder.path().join("stepgate.db"), folder.path().join("master.key"));
    let random = SeededRandomness::new(4_711);
    Keyring::generate(&random).create_file(&keyring).unwrap();
    let number = |below: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_be_bytes(bytes) % below
    };
    let mut acknowledged = HashSet::new();
    for round in 0..KILLS {
        let (mut child, mut said) = start(&database, &keyring, round + 1);
        let mut line = String::new();
        for _ in 0..=number(ACKNOWLEDGED_MAX) {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "the child ended by itself");
            acknowledged.insert(line.trim_end().parse::<PersonId>().unwrap());
        }
        std::thread::sleep(Duration::from_micros(number(LATER_MAX_US)));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died was acknowledged as well; only whole lines count.
        let mut rest = String::new();
        while said.read_line(&mut rest).unwrap() > 0 {
            if let Some(line) = rest.strip_suffix('\n') {
                acknowledged.insert(line.parse().unwrap());
            }
            rest.clear();
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(look_over(&database, &keyring, &acknowledged, round));
    }
    assert!(acknowledged.len() as u64 > KILLS, "the children did something");
    println!("{KILLS} kills, {} changes acknowledged, none lost", acknowledged.len());
}

fn start(database: &Path, keyring: &Path, seed: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("child")
        .args([database, keyring])
        .arg(seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    (child, said)
}

async fn open(database: &Path, keyring: &Path, seed: u64) -> Database {
    let (clock, random) = (Arc::new(FakeClock::new()), Arc::new(SeededRandomness::new(seed)));
    let options = Options::new(Origin::parse("gate.example.com").unwrap());
    let keyring = Keyring::from_file(keyring).unwrap();
    Database::open(StoreUrl::sqlite(database), keyring, clock, random, options).await.unwrap()
}

async fn look_over(database: &Path, keyring: &Path, acknowledged: &HashSet<PersonId>, round: u64) {
    let store = open(database, keyring, 1_000_000 + round).await;
    let mut naive = Frontier::new();
    let mut added = HashSet::new();
    loop {
        let query = EntryQuery { from: Some(naive.size()), limit: 1_000, ..EntryQuery::default() };
        let (leaves, entries) = (store.leaves(naive.size(), 1_000).await.unwrap(), store.entries(query).await.unwrap());
        if leaves.is_empty() {
            break;
        }
        for (leaf, entry) in leaves.iter().zip(&entries) {
            assert_eq!((leaf.index, entry.index), (naive.size(), naive.size()), "a gap");
            naive.push(leaf_hash(&leaf.bytes));
            if let Event::PersonAdded { person, .. } = &entry.entry.event {
                assert!(added.insert(person.parse::<PersonId>().unwrap()), "twice in the ledger");
            }
        }
    }
    let mut people = HashSet::new();
    let mut after = None;
    loop {
        let page = store.people(after.as_ref(), 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.login.clone());
        people.extend(page.iter().map(|person| person.id));
    }
    assert_eq!(people, added, "a change without its entry, or an entry without its change");
    let lost: Vec<_> = acknowledged.difference(&added).collect();
    assert!(lost.is_empty(), "acknowledged and lost after kill {round}: {lost:?}");
    let keys = store.signing_keys().await.unwrap();
    let verifier = CheckpointVerifier::parse(&keys.checkpoint_verifier).unwrap();
    let signed = store.checkpoint().await.unwrap();
    let checkpoint = verifier.verify(&signed).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (naive.size(), naive.root()));
    follow_the_keys(&store, &signed, round).await;
    store.close().await;
}

/// Whoever knows the log's first key can follow to the one that signs now: whenever the process was
/// killed, a key was announced and handed over to, or there was none.
async fn follow_the_keys(store: &Database, checkpoint: &str, round: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path()).unwrap();
    loop {
        let leaves = store.leaves(writer.size(), 1_000).await.unwrap();
        if leaves.is_empty() {
            break;
        }
        leaves.iter().for_each(|leaf| writer.append(&leaf.bytes, None).unwrap());
    }
    let keys = store.checkpoint_keys().await.unwrap();
    keys.iter().flat_map(|key| &key.handover).for_each(|handover| writer.handover(handover).unwrap());
    writer.finish(&SignedCheckpoint::parse(checkpoint).unwrap()).unwrap();
    let first = [CheckpointVerifier::parse(&keys[0].verifier).unwrap()];
    let trust = Trust { keys: &first, remembered: &[] };
    let report = verify::verify(&Reader::open(folder.path()).unwrap(), trust, &mut |_| {}).unwrap();
    assert!(report.ledger.is_intact(), "after kill {round}: {report}");
    assert!(keys.iter().rev().skip(1).all(|former| !former.has_private_half), "a former key outlived its end");
    assert!(keys.last().unwrap().has_private_half, "the key that signs is gone");
}

/// Adds people from several tasks until it is killed; says each id once it was acknowledged.
fn child(database: &Path, keyring: &Path, seed: u64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Arc::new(open(database, keyring, seed).await);
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            writers.spawn(async move {
                let random = SeededRandomness::new(seed * 1_000 + writer as u64);
                loop {
                    let id = add(&store, &random).await;
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "{id}").and_then(|()| out.flush()).unwrap();
                }
            });
        }
        let rotator = Arc::clone(&store);
        writers.spawn(async move {
            let random = SeededRandomness::new(seed * 1_000 + WRITERS as u64);
            loop {
                rotate(&rotator, &random).await;
                tokio::time::sleep(ROTATE_EVERY).await;
            }
        });
        writers.join_all().await;
    });
}

/// Changes the key of the log, and forgets the former one.
async fn rotate(store: &Database, random: &SeededRandomness) {
    let at: Timestamp = FakeClock::new().now();
    let id = Id::<()>::random(random).to_string();
    let announced = |key: &str, former: &str| {
        let event = Event::CheckpointKeyAnnounced { key: key.into(), former: former.into(), by: "test".into() };
        Entry { id, at_ms: at.as_ms(), event, details: None }
    };
    store.new_checkpoint_key(at, FormerKey::Destroy, announced).await.unwrap();
}

async fn add(store: &Database, random: &SeededRandomness) -> PersonId {
    let id: PersonId = Id::random(random);
    let person = Person {
        id,
        login: Login::parse(&format!("p{id}")).unwrap(),
        name: String::new(),
        email: String::new(),
        groups: Vec::new(),
        active: true,
    };
    let at: Timestamp = FakeClock::new().now();
    let event = Event::PersonAdded { person: id.to_string(), by: "test".to_owned() };
    let entry = Entry { id: Id::<()>::random(random).to_string(), at_ms: at.as_ms(), event, details: None };
    store.add_person(&person, at, entry).await.unwrap();
    id
}
