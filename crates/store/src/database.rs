//! Opening, closing, and the way into the writer's queue.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use sqlx::{AnyConnection, Connection as _};
use stepgate_core::id::SessionId;
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::time::{Clock, Randomness, Timestamp};
use stepgate_evidence::Entry;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::backend::{self, NotPrivate, StoreUrl};
use crate::cache::Cache;
use crate::changes::{self, Waiters};
use crate::error::{Refused, Stored as _, unavailable};
use crate::inner::Inner;
use crate::intent::{Intent, Job, Waiting, Work};
use crate::keys;
use crate::ledger::{self, BrokenLedger, prepare};
use crate::options::{FLUSH_EVERY, OlderSchema, Options, TOUCHES_AT_ONCE};
use crate::schema::{self, SchemaError};
use crate::seal::Keyring;
use crate::writer::Writer;

/// An open database. It is the [`stepgate_core::ports::Store`] of one process.
pub struct Database {
    pub(crate) inner: Arc<Inner>,
    queue: mpsc::Sender<Box<dyn Job>>,
    writer: JoinHandle<()>,
    helpers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.inner.url).finish()
    }
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file of it is open to others.
    #[error("the database is open to others than its owner")]
    NotPrivate(#[source] NotPrivate),
    /// It cannot be reached.
    #[error("the database cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// Its schema is not the one that is needed.
    #[error("the database has not the schema that is needed")]
    Schema(#[source] SchemaError),
    /// Its ledger cannot be continued.
    #[error("the ledger in the database is broken: nothing is written to it")]
    Ledger(#[source] BrokenLedger),
    /// Its keys cannot be opened, or what was read makes no sense.
    #[error("the database cannot be used")]
    Store(#[source] StoreError),
}

impl Database {
    /// Opens the database. A new one gets its schema, its keys, and the first entry
    /// of its ledger.
    pub async fn open(
        url: StoreUrl,
        keyring: Keyring,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Randomness>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let backend = url.backend();
        url.look_at_modes().map_err(OpenError::NotPrivate)?;
        let mut connection = backend::connect_to_write(&url).await.map_err(OpenError::Unreachable)?;
        match options.schema {
            OlderSchema::Migrate => schema::migrate(&mut connection, backend).await.map_err(OpenError::Schema)?,
            OlderSchema::Refuse => schema::check(&mut connection).await.map_err(OpenError::Schema)?,
        }
        let signer = keys::begin(&mut connection, &url, &keyring, clock.as_ref(), random.as_ref(), &options.origin)
            .await
            .map_err(OpenError::Store)?;
        if let Some(broken) = ledger::look_over(&mut connection).await.map_err(OpenError::Unreachable)? {
            return Err(OpenError::Ledger(broken));
        }
        let head = ledger::head(&mut connection).await.map_err(OpenError::Unreachable)?;
        let readers = backend::pool_to_read(&url, options.readers.max(1)).map_err(OpenError::Unreachable)?;
        let mut instance = [0; 16];
        random.fill(&mut instance);
        let inner = Arc::new(Inner {
            backend,
            keyring: ArcSwap::from_pointee(keyring),
            clock,
            random,
            origin: signer.origin().clone(),
            signer: ArcSwap::from_pointee(signer),
            readers,
            cache: Cache::new(options.cached_tokens),
            waiters: Waiters::default(),
            size: watch::Sender::new(head.frontier.size()),
            instance: hex::encode(instance),
            wake_follower: Notify::new(),
            touch: Notify::new(),
            out_of_touch: AtomicBool::new(false),
            sending: Default::default(),
            options,
            url,
        });
        Ok(Self::start(inner, connection, head.change_number))
    }

    fn start(inner: Arc<Inner>, connection: AnyConnection, seen: i64) -> Self {
        let (queue, jobs) = mpsc::channel(inner.options.queue.max(1));
        let writer = tokio::spawn(Writer::new(Arc::clone(&inner), jobs, connection).run());
        let helpers = vec![
            tokio::spawn(changes::follow(Arc::clone(&inner), seen)),
            tokio::spawn(changes::watch_over(Arc::clone(&inner))),
            tokio::spawn(changes::listen(Arc::clone(&inner), inner.url.clone())),
            tokio::spawn(flush(Arc::clone(&inner), queue.downgrade())),
        ];
        Self { inner, queue, writer, helpers }
    }

    /// Brings the schema to this program's version and does nothing else.
    pub async fn migrate(url: &StoreUrl) -> Result<(), OpenError> {
        url.look_at_modes().map_err(OpenError::NotPrivate)?;
        let mut connection = backend::connect_to_write(url).await.map_err(OpenError::Unreachable)?;
        let migrated = schema::migrate(&mut connection, url.backend()).await.map_err(OpenError::Schema);
        let _ = connection.close().await;
        migrated
    }

    /// Writes what waits, signs the head, and closes the connections.
    pub async fn close(mut self) {
        let touched = self.inner.cache.take_touched();
        if !touched.is_empty() {
            let _ = self.write(Touch { touched }, Vec::new()).await;
        }
        self.helpers.iter().for_each(JoinHandle::abort);
        let (closed, _) = mpsc::channel(1);
        self.queue = closed;
        let _ = (&mut self.writer).await;
        self.inner.readers.close().await;
    }

    /// Refuses if the writer is gone: then nothing can be changed any more.
    pub(crate) fn is_writing(&self) -> Result<(), StoreError> {
        if self.queue.is_closed() { Err(unavailable(Refused::Closed)) } else { Ok(()) }
    }

    /// Queues an intent with its entries, and waits until the batch with it is durable.
    pub(crate) async fn write<I: Intent>(&self, intent: I, entries: Vec<Entry>) -> Result<I::Output, ChangeError> {
        submit(&self.queue, intent, &entries).await
    }
}

/// What was not closed in order is cut off: what was acknowledged is durable, what
/// still waits in the queue is written, and nobody waits for it.
impl Drop for Database {
    fn drop(&mut self) {
        self.helpers.iter().for_each(JoinHandle::abort);
    }
}

async fn submit<I: Intent>(
    queue: &mpsc::Sender<Box<dyn Job>>,
    intent: I,
    entries: &[Entry],
) -> Result<I::Output, ChangeError> {
    let entries = entries.iter().map(prepare).collect::<Result<_, _>>()?;
    let (waiting, answer) = Waiting::new(intent, entries);
    queue.try_send(Box::new(waiting)).map_err(|error| {
        unavailable(match error {
            mpsc::error::TrySendError::Full(_) => Refused::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })
    })?;
    // The writer always answers; if it is gone, whether it wrote is not known.
    answer.await.unwrap_or_else(|gone| Err(ChangeError::Store(StoreError::Unknown(Box::new(gone)))))
}

/// Writes down when sessions were used, every few seconds.
async fn flush(inner: Arc<Inner>, queue: mpsc::WeakSender<Box<dyn Job>>) {
    loop {
        sleep(FLUSH_EVERY).await;
        let Some(queue) = queue.upgrade() else { return };
        let touched = inner.cache.take_touched();
        for chunk in touched.chunks(TOUCHES_AT_ONCE) {
            if let Err(error) = submit(&queue, Touch { touched: chunk.to_vec() }, &[]).await {
                tracing::warn!(error = %error, "uses of sessions were not written down; the next use is");
            }
        }
    }
}

struct Touch {
    touched: Vec<(SessionId, Timestamp)>,
}

#[async_trait]
impl Intent for Touch {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        // In the order of ids, as every batch that takes several sessions.
        let mut touched = self.touched.clone();
        touched.sort_unstable();
        for (session, at) in touched {
            sqlx::query("UPDATE sessions SET last_used_at = $1 WHERE id = $2 AND last_used_at < $1")
                .bind(at.as_ms())
                .bind(session.to_string())
                .execute(&mut *work.connection)
                .await
                .stored()?;
        }
        Ok(())
    }
}
