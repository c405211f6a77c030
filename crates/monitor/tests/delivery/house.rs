//! A ledger with entries, and pumps that read it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stepgate_core::id::Id;
use stepgate_core::ports::{EntryQuery, SinkName, SinkState, Sinks as _, Store as _};
use stepgate_core::time::Clock as _;
use stepgate_evidence::{Entry, Event};
use stepgate_ledger::Origin;
use stepgate_monitor::{Begin, Format, Personal, Pump, PumpParts, RefusedFile, Sink};
use stepgate_store::{Database, Keyring, Options, StoreUrl};
use stepgate_testkit::{FakeClock, SeededRandomness};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes; only a test that fails waits for it.
pub(crate) const AT_MOST: Duration = Duration::from_secs(120);
pub(crate) const GATE: &str = "gate.example";

pub(crate) struct House {
    pub(crate) store: Arc<Database>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) random: Arc<SeededRandomness>,
    pub(crate) folder: tempfile::TempDir,
}

/// A pump that runs.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// As a node that is stopped in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As a node that is killed: whatever it was about to do does not happen.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let random = Arc::new(SeededRandomness::new(1));
        let clock = Arc::new(FakeClock::new());
        let keyring = Keyring::generate(random.as_ref());
        let url = StoreUrl::parse(&format!("sqlite:{}", folder.path().join("store.db").display())).unwrap();
        let options = Options::new(Origin::parse(GATE).unwrap());
        let store = Database::open(url, keyring, Arc::clone(&clock) as _, Arc::clone(&random) as _, options).await;
        Self { store: Arc::new(store.unwrap()), clock, random, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Records so many entries.
    pub(crate) async fn happens(&self, what: &str, count: usize) {
        let entries = (0..count).map(|_| self.entry(what)).collect();
        self.store.record(entries).await.unwrap();
    }

    fn entry(&self, what: &str) -> Entry {
        let id: Id<()> = Id::random(self.random.as_ref());
        let event = Event::Fault { node: "test".to_owned(), what: what.to_owned() };
        Entry { id: id.to_string(), at_ms: self.clock.now().as_ms(), event, details: None }
    }

    /// The ids of all entries that are not about sinks, in order.
    pub(crate) async fn ids(&self) -> Vec<String> {
        let entries = self.entries().await;
        let is_told = |entry: &Entry| !kind(entry).starts_with("sink.");
        entries.into_iter().filter(is_told).map(|entry| entry.id).collect()
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        let mut all = Vec::new();
        loop {
            let query =
                EntryQuery { from: Some(u64::try_from(all.len()).unwrap()), limit: 1_000, ..EntryQuery::default() };
            let some = self.store.entries(query).await.unwrap();
            if some.is_empty() {
                return all;
            }
            all.extend(some.into_iter().map(|recorded| recorded.entry));
        }
    }

    pub(crate) fn parts(&self, name: &str, sink: Box<dyn Sink>) -> PumpParts {
        PumpParts {
            name: SinkName::parse(name).unwrap(),
            sink,
            format: Format::Native,
            personal: Personal::Told,
            begin: Begin::AtFirst,
            late_after: Duration::from_secs(300),
            refused: RefusedFile::new(self.path(&format!("refused-by-{name}.jsonl"))),
            document_len_max: stepgate_monitor::DOCUMENT_LEN_MAX,
            gate: GATE.to_owned(),
            store: Arc::clone(&self.store) as _,
            clock: Arc::clone(&self.clock) as _,
            random: Arc::clone(&self.random) as _,
            sinks: Arc::clone(&self.store) as _,
        }
    }

    pub(crate) fn run(&self, parts: PumpParts) -> Running {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Pump::new(parts).run(stop.clone()));
        Running { stop, task }
    }

    pub(crate) async fn state(&self, name: &str) -> Option<SinkState> {
        self.store.sinks().await.unwrap().into_iter().find(|state| state.sink.as_str() == name)
    }

    /// Waits until a sink has everything.
    pub(crate) async fn caught_up(&self, name: &str) {
        let wait = async {
            loop {
                let end = u64::try_from(self.entries().await.len()).unwrap();
                if self.state(name).await.is_some_and(|state| state.next_entry == end && !state.is_late) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(AT_MOST, wait).await.is_err() {
            panic!("{name} is still behind: {:?}", self.state(name).await);
        }
    }
}

pub(crate) fn kind(entry: &Entry) -> String {
    serde_json::to_value(&entry.event).unwrap()["kind"].as_str().unwrap().to_owned()
}

/// What a receiver has, in the order in which it first came, and how often something came again.
#[derive(Debug, Default)]
pub(crate) struct Received(Mutex<(Vec<String>, BTreeSet<String>, usize)>);

impl Received {
    pub(crate) fn take(&self, id: &str) -> bool {
        let (order, all, repeats) = &mut *self.0.lock();
        let is_new = all.insert(id.to_owned());
        if is_new {
            order.push(id.to_owned());
        } else {
            *repeats += 1;
        }
        is_new
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.0.lock().0.clone()
    }

    pub(crate) fn repeats(&self) -> usize {
        self.0.lock().2
    }
}
