//! What all parts of an open store share.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sqlx::AnyPool;
use stepgate_core::id::RequestId;
use stepgate_core::ports::StoreError;
use stepgate_core::time::{Clock, Randomness};
use stepgate_ledger::Origin;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::backend::{Backend, StoreUrl};
use crate::cache::Cache;
use crate::changes::Waiters;
use crate::checkpoint_keys::HeadSigner;
use crate::error::{Refused, unavailable};
use crate::options::{Options, READ_TIMEOUT};
use crate::seal::{Keyring, Place};

/// What all parts of an open store share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) url: StoreUrl,
    pub(crate) backend: Backend,
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Randomness>,
    pub(crate) keyring: ArcSwap<Keyring>,
    /// The log's name.
    pub(crate) origin: Origin,
    /// The newest checkpoint key that this node has met.
    pub(crate) signer: ArcSwap<HeadSigner>,
    pub(crate) readers: AnyPool,
    pub(crate) cache: Cache,
    pub(crate) waiters: Waiters,
    /// Committed entries, as far as this node knows.
    pub(crate) size: watch::Sender<u64>,
    /// Names this open store in rows of `changes`, which it need not read itself.
    pub(crate) instance: String,
    pub(crate) wake_follower: Notify,
    /// The database answered just now.
    pub(crate) touch: Notify,
    pub(crate) out_of_touch: AtomicBool,
    /// Requests that this process is sending: they are not a dead node's.
    pub(crate) sending: Mutex<HashSet<RequestId>>,
}

impl Inner {
    pub(crate) fn seal(&self, place: &Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.keyring.load().seal(place, plain, self.random.as_ref())
    }

    pub(crate) fn open(
        &self,
        table: &'static str,
        column: &'static str,
        row: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.keyring.load().open(&Place { table, column, row }, sealed)
    }

    /// Refuses to serve from memory once the database has been away for too long.
    pub(crate) fn may_serve_from_memory(&self) -> Result<(), StoreError> {
        if self.out_of_touch.load(Ordering::Acquire) { Err(unavailable(Refused::OutOfTouch)) } else { Ok(()) }
    }
}

/// A read that does not take forever.
pub(crate) async fn read<T>(reading: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
    match timeout(READ_TIMEOUT, reading).await {
        Ok(read) => read,
        Err(_) => Err(unavailable(Refused::TooLate)),
    }
}
