//! The writer: one task of a node that makes all its changes, many in one transaction.
//!
//! Each intent runs in a savepoint, so that one that is refused leaves no trace and
//! hurts no other. Then the batch takes the head row of the ledger, last of all its
//! locks, and gives the entries their indexes. A crash before the commit leaves
//! nothing; a crash after it leaves everything but the signature over the new head,
//! which the next batch or the next start makes good.

use std::sync::Arc;

use sqlx::{AnyConnection, Connection as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::backend;
use crate::changes::Subject;
use crate::error::is_passing_in_database;
use crate::inner::Inner;
use crate::intent::{Fate, Job, Ran, Work};
use crate::ledger::{self, NewEntry};
use crate::options::{BATCH_MAX, BATCH_TIMEOUT, CHECKPOINT_EVERY, COMMIT_TIMEOUT, LOCK_TRIES};

type Jobs = Vec<Box<dyn Job>>;

pub(crate) struct Writer {
    inner: Arc<Inner>,
    queue: mpsc::Receiver<Box<dyn Job>>,
    connection: Option<AnyConnection>,
    batches_unsigned: u32,
}

/// Why a batch was not committed.
enum Failed {
    /// Another node was in the way.
    InTheWay(String),
    Lost(String),
    Unknown(String),
}

impl Writer {
    pub(crate) fn new(inner: Arc<Inner>, queue: mpsc::Receiver<Box<dyn Job>>, connection: AnyConnection) -> Self {
        Self { inner, queue, connection: Some(connection), batches_unsigned: 1 }
    }

    /// Writes until the queue is closed and empty.
    pub(crate) async fn run(mut self) {
        let mut jobs = Jobs::with_capacity(BATCH_MAX);
        loop {
            if self.batches_unsigned > 0 && (self.queue.is_empty() || self.batches_unsigned >= CHECKPOINT_EVERY) {
                self.sign().await;
            }
            if self.queue.recv_many(&mut jobs, BATCH_MAX).await == 0 {
                break;
            }
            self.write(std::mem::take(&mut jobs)).await;
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }

    /// Writes the jobs as one batch. If other nodes' locks get in its way, each
    /// becomes a batch of its own, which takes few locks, and in one order.
    async fn write(&mut self, jobs: Jobs) {
        let jobs = match self.write_once(jobs).await {
            None => return,
            Some((jobs, _)) => jobs,
        };
        for job in jobs {
            let mut one = vec![job];
            for tried in 1..=LOCK_TRIES {
                match self.write_once(one).await {
                    None => break,
                    Some((jobs, why)) if tried == LOCK_TRIES => {
                        settle(jobs, &Fate::Lost(why));
                        break;
                    }
                    Some((jobs, _)) => one = jobs,
                }
            }
        }
    }

    /// Gives the jobs back, unsettled, if they should run again.
    async fn write_once(&mut self, mut jobs: Jobs) -> Option<(Jobs, String)> {
        let inner = Arc::clone(&self.inner);
        let mut changes = Vec::new();
        let outcome = match self.connected().await {
            Err(error) => Err(Failed::Lost(error.to_string())),
            Ok(connection) => batch(&inner, connection, &mut jobs, &mut changes).await,
        };
        match outcome {
            Ok(size) => {
                self.batches_unsigned = self.batches_unsigned.saturating_add(u32::from(size.is_some()));
                inner.announce(&changes, size);
                settle(jobs, &Fate::Durable);
            }
            Err(Failed::InTheWay(why)) => {
                self.hang_up().await;
                return Some((jobs, why));
            }
            Err(Failed::Lost(why)) => {
                self.hang_up().await;
                tracing::error!(why, jobs = jobs.len(), "a batch of changes was not written");
                settle(jobs, &Fate::Lost(why));
            }
            Err(Failed::Unknown(why)) => {
                self.hang_up().await;
                let size = self.settled_size().await;
                tracing::error!(
                    why,
                    jobs = jobs.len(),
                    ?size,
                    "the answer to a commit is unknown; the head was read again"
                );
                // It may have happened: forgetting too much from memory is harmless.
                inner.announce(&changes, size);
                self.batches_unsigned = self.batches_unsigned.saturating_add(1);
                settle(jobs, &Fate::Unknown(why));
            }
        }
        None
    }

    async fn connected(&mut self) -> Result<&mut AnyConnection, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => match timeout(BATCH_TIMEOUT, backend::connect_to_write(&self.inner.url)).await {
                Ok(connected) => connected?,
                Err(_) => return Err(sqlx::Error::PoolTimedOut),
            },
        };
        Ok(self.connection.insert(connection))
    }

    /// A connection that failed is never used again: what it was doing is not known.
    async fn hang_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = timeout(COMMIT_TIMEOUT, connection.close_hard()).await;
        }
    }

    /// The ledger's size, once the transaction whose fate is not known is over. It holds
    /// the head row if it wrote an entry, so whoever takes that row after it reads what
    /// stays so: who is told `Unknown` and reads again sees the end of it. `None` if the
    /// database does not answer: then it may still change.
    async fn settled_size(&mut self) -> Option<u64> {
        let backend = self.inner.backend;
        let connection = self.connected().await.ok()?;
        let settled = timeout(BATCH_TIMEOUT, ledger::settled_size(backend, connection)).await;
        settled.ok()?.ok()
    }

    /// Signs the committed head. A failure leaves it to the next batch.
    async fn sign(&mut self) {
        let inner = Arc::clone(&self.inner);
        let signed = match self.connected().await {
            Err(error) => Err(error.to_string()),
            Ok(connection) => match timeout(BATCH_TIMEOUT, ledger::sign(&inner, connection)).await {
                Ok(signed) => signed.map_err(|error| error.to_string()),
                Err(late) => Err(late.to_string()),
            },
        };
        match signed {
            Ok(()) => self.batches_unsigned = 0,
            Err(why) => {
                self.hang_up().await;
                // Not at once again, or a database that is away would be called without pause.
                self.batches_unsigned = 0;
                tracing::error!(why, "the ledger's head was not signed; the next batch signs it");
            }
        }
    }
}

fn settle(jobs: Jobs, fate: &Fate) {
    for job in jobs {
        job.settle(fate);
    }
}

/// Runs and commits one batch. Gives the new size of the ledger if it grew.
async fn batch(
    inner: &Inner,
    connection: &mut AnyConnection,
    jobs: &mut Jobs,
    changes: &mut Vec<Subject>,
) -> Result<Option<u64>, Failed> {
    let lost = |error: sqlx::Error| match is_passing_in_database(&error) {
        true => Failed::InTheWay(error.to_string()),
        false => Failed::Lost(error.to_string()),
    };
    let run = async {
        let mut transaction = connection.begin_with(inner.backend.begin()).await.map_err(lost)?;
        let mut entries: Vec<NewEntry> = Vec::new();
        for job in jobs.iter_mut() {
            let mut savepoint = transaction.begin().await.map_err(lost)?;
            let mut work = Work { connection: &mut savepoint, inner, entries: Vec::new(), changes: Vec::new() };
            let ran = job.run(&mut work).await;
            let Work { entries: recorded, changes: changed, .. } = work;
            match ran {
                Ran::Kept => {
                    savepoint.commit().await.map_err(lost)?;
                    entries.extend(recorded);
                    for subject in changed {
                        if !changes.contains(&subject) {
                            changes.push(subject);
                        }
                    }
                }
                Ran::Undo => savepoint.rollback().await.map_err(lost)?,
                Ran::Again => return Err(Failed::InTheWay("a lock was in the way".to_owned())),
            }
        }
        let size = ledger::append(inner, &mut transaction, entries, changes).await.map_err(lost)?;
        Ok((transaction, size))
    };
    let (transaction, size) = match timeout(BATCH_TIMEOUT, Box::pin(run)).await {
        Ok(ran) => ran?,
        Err(_) => return Err(Failed::Lost("the database did not answer in time".to_owned())),
    };
    match timeout(COMMIT_TIMEOUT, transaction.commit()).await {
        Ok(Ok(())) => Ok(size),
        Ok(Err(error)) if nothing_was_committed(&error) => Err(lost(error)),
        Ok(Err(error)) => Err(Failed::Unknown(error.to_string())),
        Err(_) => Err(Failed::Unknown("the database did not answer the commit in time".to_owned())),
    }
}

/// Whether a failed commit says for certain that nothing was committed: the
/// database answered, and not with an input or output error (SQLite's 10), after
/// which the log may or may not hold the commit.
fn nothing_was_committed(error: &sqlx::Error) -> bool {
    const SQLITE_IOERR: i64 = 10;
    let Some(database) = error.as_database_error() else { return false };
    let code = database.code().and_then(|code| code.parse::<i64>().ok());
    // PostgreSQL's codes have five places; 08… and 57P… break connections, and come as other errors.
    !code.is_some_and(|code| code & 0xff == SQLITE_IOERR && code < 10_000)
}
