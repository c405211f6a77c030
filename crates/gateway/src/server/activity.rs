//! Whether a connection is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    active: AtomicUsize,
    begun: AtomicU64,
}

pub(super) enum Look {
    Busy,
    Idle,
}

/// One request, from its head until the last byte of its answer.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Activity {
    pub(super) fn begin(this: &Arc<Self>) -> Busy {
        this.active.fetch_add(1, Ordering::Relaxed);
        this.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(this))
    }

    /// Whether anything happened since the look that left `seen`.
    pub(super) fn look(&self, seen: &mut u64) -> Look {
        let begun = self.begun.load(Ordering::Relaxed);
        let quiet = *seen == begun && self.active.load(Ordering::Relaxed) == 0;
        *seen = begun;
        if quiet { Look::Idle } else { Look::Busy }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
