//! Why the store did not do something.

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is full, or refused. Nothing happened.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke at commit: it may have happened. Read again.
    #[error("the store's answer to the commit is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row contradicts the model.
    #[error("the row {row} of {table} is not valid: {what}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Its key.
        row: String,
        /// Column and what is wrong with it.
        what: String,
    },
    /// Sealed data cannot be opened: wrong or missing master key.
    #[error("sealed data cannot be opened with key {key}")]
    Sealed {
        /// Id of the key that sealed it.
        key: String,
    },
}

/// Why a conditional change did not happen. Nothing was changed, no entry was written.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Somebody else was first, or the state does not allow it: read again.
    #[error("it changed in the meantime")]
    Conflict,
    /// A code or counter was used before (compare-and-swap of [`crate::factor::FactorUse`]).
    #[error("the proof was used before")]
    UsedBefore,
    /// A limit is reached: pending challenges per session and service, factors per person…
    #[error("a limit is reached: {0}")]
    Limit(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
