//! The gate that is killed: this very test program, started again with an environment
//! that makes it a gate. Its listener comes as standard input, so that the port stays
//! taken between two lives; what it has to say goes to standard output, line by line.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stepgate::gate::House;
use stepgate::system::{SystemClock, SystemRandomness};
use stepgate_core::flows::Flows;
use stepgate_core::ports::Store as _;
use stepgate_core::time::{Clock, Timestamp};
use stepgate_store::LeafDetails;
use tokio::net::TcpListener;

use crate::dying::{DyingStore, Without};

/// The folder of the deployment: makes the program a gate.
pub(crate) const FOLDER: &str = "STEPGATE_CRASH_FOLDER";
/// How far its clock is ahead of the machine's, in milliseconds.
pub(crate) const AHEAD_MS: &str = "STEPGATE_CRASH_AHEAD_MS";
/// The first entry of the ledger that the parent has not seen.
pub(crate) const FROM: &str = "STEPGATE_CRASH_FROM";
/// The commit at which it asks to die, or nothing.
pub(crate) const AT: &str = "STEPGATE_CRASH_AT";
/// The guard that is taken away, or nothing.
pub(crate) const WITHOUT: &str = "STEPGATE_CRASH_WITHOUT";

/// Who it is: `node` and its id.
pub(crate) const NODE: &str = "gate node ";
/// The newest checkpoint, as a JSON string.
pub(crate) const CHECKPOINT: &str = "gate checkpoint ";
/// An entry's leaf; the next line may be its details.
pub(crate) const LEAF: &str = "gate leaf ";
/// What lies beside the last leaf, as JSON.
pub(crate) const DETAILS: &str = "gate details ";
/// All entries were told: it is about to serve.
pub(crate) const TOLD: &str = "gate told";
/// It has come to its boundary and waits to be killed.
pub(crate) const ASKS_TO_DIE: &str = "gate asks to die";

/// Leaves that are read at once.
const PAGE: u32 = 1000;

/// The machine's clock, some time ahead: a life after the last one's lease is over.
#[derive(Debug)]
pub(crate) struct ClockAhead(pub(crate) i64);

impl Clock for ClockAhead {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(SystemClock.now().as_ms() + self.0)
    }
}

/// Opens the deployment in a folder.
pub(crate) async fn open(folder: &Path, ahead_ms: i64) -> House {
    let file = folder.join("stepgate.toml");
    let settings = stepgate::config::load(&file).unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)));
    let house = House::open(settings, Some(file), Arc::new(ClockAhead(ahead_ms)), Arc::new(SystemRandomness)).await;
    house.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}

/// Lives as a gate until it is killed. Returns at once where this process is none.
pub(crate) fn live_if_told_to() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(live(Path::new(&folder)));
}

async fn live(folder: &Path) {
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    let House { settings, file, database, flows, keys } = open(folder, said(AHEAD_MS).parse().unwrap()).await;
    // The test harness has begun a line of its own.
    say(&format!("\n{NODE}{}", flows.node));
    let checkpoint = database.checkpoint().await.unwrap();
    say(&format!("{CHECKPOINT}{}", serde_json::Value::from(checkpoint)));
    let mut from: u64 = said(FROM).parse().unwrap();
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
    let store = DyingStore::new(Arc::clone(&database), said(AT).parse().ok(), Without::named(&said(WITHOUT)));
    let flows = Arc::try_unwrap(flows).expect("nobody else has the flows yet");
    let flows = Arc::new(Flows { store: Arc::new(store), ..flows });
    let listener = std::net::TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let gate = House { settings, file, database, flows, keys }.serve(vec![listener]).await;
    let _gate = gate.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)));
    // A test that ended leaves nobody behind.
    let parent = parent_id();
    while parent_id() == parent {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}
