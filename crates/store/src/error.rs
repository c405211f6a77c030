//! From the driver's errors to the contract's.

use stepgate_core::ports::{ChangeError, StoreError};

/// Turns the driver's answer into the store's.
pub(crate) trait Stored<T> {
    /// Any failure before the commit: nothing happened.
    fn stored(self) -> Result<T, StoreError>;
    /// Likewise, but a value that is there already is a [`ChangeError::Conflict`].
    fn or_conflict(self) -> Result<T, ChangeError>;
}

impl<T> Stored<T> for Result<T, sqlx::Error> {
    fn stored(self) -> Result<T, StoreError> {
        self.map_err(unavailable)
    }

    fn or_conflict(self) -> Result<T, ChangeError> {
        self.map_err(|error| match error.as_database_error() {
            Some(inner) if inner.is_unique_violation() || inner.is_foreign_key_violation() => ChangeError::Conflict,
            _ => ChangeError::Store(unavailable(error)),
        })
    }
}

/// Whether exactly one row was changed, else [`ChangeError::Conflict`].
pub(crate) trait ExactlyOne {
    fn exactly_one(self) -> Result<(), ChangeError>;
}

impl ExactlyOne for sqlx::any::AnyQueryResult {
    fn exactly_one(self) -> Result<(), ChangeError> {
        match self.rows_affected() {
            1 => Ok(()),
            _ => Err(ChangeError::Conflict),
        }
    }
}

pub(crate) fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Unavailable(error.into())
}

/// Errors that stand for a moment: the same again may work. PostgreSQL's
/// deadlock_detected, serialization_failure and lock_not_available.
pub(crate) fn is_passing(error: &ChangeError) -> bool {
    let ChangeError::Store(StoreError::Unavailable(source)) = error else { return false };
    source.downcast_ref::<sqlx::Error>().is_some_and(is_passing_in_database)
}

pub(crate) fn is_passing_in_database(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(code.as_ref(), "40P01" | "40001" | "55P03"))
}

/// The writer could not take an intent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("too many changes wait to be written")]
    QueueFull,
    #[error("the store is closed")]
    Closed,
    #[error("the database did not answer in time")]
    TooLate,
    #[error("the database has not answered for longer than sessions may be served from memory")]
    OutOfTouch,
    #[error("the entry is larger than the ledger's format allows")]
    EntryTooLarge,
    #[error("another batch failed with this change in it: {0}")]
    Batch(String),
}
