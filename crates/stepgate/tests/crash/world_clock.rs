//! One clock for everybody of a deployment: the machine's, some time ahead. Between two
//! rounds it is put forward, so that the leases of those who died are over.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use stepgate::system::SystemClock;
use stepgate_core::time::{Clock, Timestamp};

const FILE: &str = "ahead_ms";

/// How the gates of a deployment read it.
#[derive(Debug)]
pub(crate) struct WorldClock(PathBuf);

impl WorldClock {
    /// The clock in the folder of this configuration.
    pub(crate) fn beside(configuration: &Path) -> Self {
        Self(configuration.with_file_name(FILE))
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        let ahead = fs::read_to_string(&self.0).ok().and_then(|text| text.parse().ok());
        now(ahead.expect("a deployment has a clock"))
    }
}

/// Who sets it, and those in the test's process who read it.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    file: PathBuf,
    ahead_ms: Arc<AtomicI64>,
}

impl Time {
    /// A clock in this folder, which begins as the machine's.
    pub(crate) fn begin(folder: &Path) -> Self {
        let time = Self { file: folder.join(FILE), ahead_ms: Arc::default() };
        time.advance(Duration::ZERO);
        time
    }

    /// Puts it forward, at once for everybody.
    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        let ahead = self.ahead_ms.fetch_add(by, Ordering::SeqCst) + by;
        let new = self.file.with_extension("new");
        fs::write(&new, ahead.to_string()).unwrap();
        fs::rename(&new, &self.file).unwrap();
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        now(self.ahead_ms.load(Ordering::SeqCst))
    }
}

fn now(ahead_ms: i64) -> Timestamp {
    Timestamp::from_ms(SystemClock.now().as_ms() + ahead_ms)
}
