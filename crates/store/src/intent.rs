//! An intent: one change as one caller asked for it, run by the writer inside a batch.

use async_trait::async_trait;
use sqlx::AnyConnection;
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_evidence::Entry;
use tokio::sync::oneshot;

use crate::changes::Subject;
use crate::error::{Refused, unavailable};
use crate::inner::Inner;
use crate::ledger::{NewEntry, prepare};
use crate::seal::Place;

/// One change. It may run more than once if the database asks for that, and each
/// time nothing of the run before is left.
#[async_trait]
pub(crate) trait Intent: Send + Sync + 'static {
    type Output: Send + 'static;

    /// Makes the change. Any error undoes what this intent did, and that alone.
    async fn apply(&self, work: &mut Work<'_>) -> Result<Self::Output, ChangeError>;
}

/// What an intent works with: a savepoint of its own in the batch's transaction.
pub(crate) struct Work<'c> {
    pub(crate) connection: &'c mut AnyConnection,
    pub(crate) inner: &'c Inner,
    pub(crate) entries: Vec<NewEntry>,
    pub(crate) changes: Vec<Subject>,
}

impl Work<'_> {
    /// Writes an entry that only the intent itself knows to be due.
    pub(crate) fn record(&mut self, entry: &Entry) -> Result<(), StoreError> {
        self.entries.push(prepare(entry)?);
        Ok(())
    }

    /// Says that this changed: caches forget it and waiters look again, on every node.
    pub(crate) fn changed(&mut self, subject: Subject) {
        if !self.changes.contains(&subject) {
            self.changes.push(subject);
        }
    }

    pub(crate) fn seal(
        &self,
        table: &'static str,
        column: &'static str,
        row: &str,
        plain: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        self.inner.seal(&Place { table, column, row }, plain)
    }
}

/// An intent that waits, with its entries and the caller who waits for it.
pub(crate) struct Waiting<I: Intent> {
    intent: I,
    entries: Vec<NewEntry>,
    outcome: Option<Result<I::Output, ChangeError>>,
    caller: oneshot::Sender<Result<I::Output, ChangeError>>,
}

impl<I: Intent> Waiting<I> {
    pub(crate) fn new(intent: I, entries: Vec<NewEntry>) -> (Self, oneshot::Receiver<Result<I::Output, ChangeError>>) {
        let (caller, answer) = oneshot::channel();
        (Self { intent, entries, outcome: None, caller }, answer)
    }
}

/// What became of a run.
pub(crate) enum Ran {
    /// Its changes belong to the batch.
    Kept,
    /// Undo it; the caller is told the error.
    Undo,
    /// Undo the batch, and run it in smaller pieces.
    Again,
}

/// What became of a batch.
#[derive(Clone)]
pub(crate) enum Fate {
    /// Committed.
    Durable,
    /// Nothing happened.
    Lost(String),
    /// The answer to the commit is not known.
    Unknown(String),
}

/// A [`Waiting`] whose output is forgotten about, so that batches can hold any.
#[async_trait]
pub(crate) trait Job: Send {
    async fn run(&mut self, work: &mut Work<'_>) -> Ran;
    fn settle(self: Box<Self>, fate: &Fate);
}

#[async_trait]
impl<I: Intent> Job for Waiting<I> {
    async fn run(&mut self, work: &mut Work<'_>) -> Ran {
        work.entries.extend(self.entries.iter().cloned());
        match self.intent.apply(work).await {
            Ok(output) => {
                self.outcome = Some(Ok(output));
                Ran::Kept
            }
            Err(error) => {
                let again = crate::error::is_passing(&error);
                self.outcome = Some(Err(error));
                if again { Ran::Again } else { Ran::Undo }
            }
        }
    }

    fn settle(self: Box<Self>, fate: &Fate) {
        let refused = |why: &String| Box::new(Refused::Batch(why.clone()));
        let answer = match (self.outcome, fate) {
            // What was refused was undone, whatever became of the others.
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(output)), Fate::Durable) => Ok(output),
            (_, Fate::Unknown(why)) => Err(ChangeError::Store(StoreError::Unknown(refused(why)))),
            (_, Fate::Lost(why)) => Err(ChangeError::Store(StoreError::Unavailable(refused(why)))),
            (None, Fate::Durable) => Err(ChangeError::Store(unavailable(Refused::Closed))),
        };
        // A caller who is gone does not need to know.
        let _ = self.caller.send(answer);
    }
}
