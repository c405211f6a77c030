//! The gate that is killed: this very test program, started again with an environment
//! that makes it a gate. Its listener comes as standard input, so that the port stays
//! taken between two lives. Standard output is a socket: what it has to say goes there
//! line by line, and what it is told to do comes from there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stepgate::gate::{Gate, House};
use stepgate::system::SystemRandomness;
use stepgate_core::flows::Flows;
use stepgate_core::ports::{LeafDetails, Store as _};
use stepgate_store::Database;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::dying::{DyingStore, Without};
use crate::world_clock::WorldClock;

/// The configuration of the node: makes the program a gate.
pub(crate) const FILE: &str = "STEPGATE_CRASH_FILE";
/// The first entry of the ledger that the parent has not seen; nothing if no entry is to be told.
pub(crate) const FROM: &str = "STEPGATE_CRASH_FROM";
/// The commit at which it asks to die, or nothing.
pub(crate) const AT: &str = "STEPGATE_CRASH_AT";
/// The guard that is taken away, or nothing.
pub(crate) const WITHOUT: &str = "STEPGATE_CRASH_WITHOUT";

/// The newest checkpoint, as a JSON string.
pub(crate) const CHECKPOINT: &str = "gate checkpoint ";
/// An entry's leaf; the next line may be its details.
pub(crate) const LEAF: &str = "gate leaf ";
/// What lies beside the last leaf, as JSON.
pub(crate) const DETAILS: &str = "gate details ";
/// All entries were told, as it was asked.
pub(crate) const TOLD: &str = "gate told";
/// It serves.
pub(crate) const SERVES: &str = "gate serves";
/// It has looked back at what dead nodes were sending.
pub(crate) const LOOKED_BACK: &str = "gate looked back";
/// It has read its policies again.
pub(crate) const RELOADED: &str = "gate reloaded";
/// It has come to its boundary and waits to be killed.
pub(crate) const ASKS_TO_DIE: &str = "gate asks to die";

/// Told to it: ask to die at this commit.
pub(crate) const DIE: &str = "die ";
/// Told to it: tell all entries from this one on.
pub(crate) const TELL: &str = "tell ";
/// Told to it: do now what it does every few seconds.
pub(crate) const LOOK_BACK: &str = "look back";

/// Leaves that are read at once.
const PAGE: u32 = 1000;

/// Opens the deployment of a configuration.
pub(crate) async fn open(file: &Path) -> House {
    let settings = stepgate::config::load(file).unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)));
    let clock = Arc::new(WorldClock::beside(file));
    let house = House::open(settings, Some(file.to_owned()), clock, Arc::new(SystemRandomness)).await;
    house.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}

/// Lives as a gate until it is killed. Returns at once where this process is none.
pub(crate) fn live_if_told_to() {
    let Ok(file) = std::env::var(FILE) else { return };
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr);
    log.with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(live(PathBuf::from(file)));
}

async fn live(file: PathBuf) {
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    let House { settings, file, database, flows, keys, providers, outgoing, ways, wakes, habits, authenticators } =
        open(&file).await;
    // The test harness has begun a line of its own.
    say("");
    tell_head(&database).await;
    if let Ok(from) = said(FROM).parse() {
        tell(&database, from).await;
    }
    let store = DyingStore::new(Arc::clone(&database), said(AT).parse().ok(), Without::named(&said(WITHOUT)));
    let store = Arc::new(store);
    let flows = Arc::try_unwrap(flows).expect("nobody else has the flows yet");
    let flows = Arc::new(Flows { store: Arc::clone(&store) as _, ..flows });
    let listener = std::net::TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let mut hang_up = signal(SignalKind::hangup()).unwrap();
    let house =
        House { settings, file, database, flows, keys, providers, outgoing, ways, wakes, habits, authenticators };
    let gate = house.serve(vec![listener]).await;
    let gate = gate.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)));
    say(SERVES);
    let mut orders = orders();
    loop {
        tokio::select! {
            // As `stepgate run` does.
            _ = hang_up.recv() => {
                gate.reload().await.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)));
                say(RELOADED);
            }
            order = orders.recv() => match order {
                Some(order) => obey(&gate, &store, &order).await,
                // Whoever started it is gone: a test that ended leaves nobody behind.
                None => return,
            }
        }
    }
}

async fn obey(gate: &Gate, store: &DyingStore, order: &str) {
    if let Some(at) = order.strip_prefix(DIE) {
        store.dies_at(at.parse().unwrap());
    } else if let Some(from) = order.strip_prefix(TELL) {
        tell_head(&gate.database).await;
        tell(&gate.database, from.parse().unwrap()).await;
    } else if order == LOOK_BACK {
        gate.flows.sweep().await.unwrap();
        say(LOOKED_BACK);
    } else {
        panic!("nobody knows how to {order}");
    }
}

async fn tell_head(database: &Database) {
    let checkpoint = database.checkpoint().await.unwrap();
    say(&format!("{CHECKPOINT}{}", serde_json::Value::from(checkpoint)));
}

async fn tell(database: &Database, from: u64) {
    let mut from = from;
    loop {
        let leaves = database.leaves(from, PAGE).await.unwrap();
        let Some(last) = leaves.last() else { break };
        from = last.index + 1;
        for leaf in &leaves {
            say(&format!("{LEAF}{}", String::from_utf8_lossy(&leaf.bytes)));
            if let LeafDetails::Kept(details) = &leaf.details {
                say(&format!("{DETAILS}{}", details.body));
            }
        }
    }
    say(TOLD);
}

/// What it is told to do, until nobody is there who could tell it.
fn orders() -> mpsc::UnboundedReceiver<String> {
    let control = UnixStream::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(control).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

/// One line to whoever started it. Nobody may listen any more.
pub(crate) fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
