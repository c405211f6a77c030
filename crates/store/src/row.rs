//! Rows into values. A row that contradicts the model says where.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use stepgate_core::id::Id;
use stepgate_core::ports::StoreError;
use stepgate_core::secret::TokenDigest;
use stepgate_core::time::Timestamp;

/// A row of one table, with the key that names it in errors.
pub(crate) struct Fields<'r> {
    row: &'r AnyRow,
    table: &'static str,
    key: String,
}

impl<'r> Fields<'r> {
    /// Reads `row`, whose key is the text in its first column.
    pub(crate) fn of(table: &'static str, row: &'r AnyRow) -> Self {
        let key = row.try_get::<String, _>(0).unwrap_or_default();
        Self { row, table, key }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn corrupt(&self, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt { table: self.table, row: self.key.clone(), what: what.into() }
    }

    fn read<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: for<'d> sqlx::Decode<'d, sqlx::Any> + sqlx::Type<sqlx::Any>,
    {
        self.row.try_get(column).map_err(|error| self.corrupt(format!("{column}: {error}")))
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.read(column)
    }

    pub(crate) fn maybe_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.read(column)
    }

    pub(crate) fn int(&self, column: &'static str) -> Result<i64, StoreError> {
        self.read(column)
    }

    pub(crate) fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        self.read(column)
    }

    /// A count or the like, which is never negative.
    pub(crate) fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, StoreError> {
        T::try_from(self.int(column)?).map_err(|_| self.corrupt(format!("{column} is out of range")))
    }

    pub(crate) fn maybe_count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        match self.maybe_int(column)? {
            None => Ok(None),
            Some(_) => self.count(column).map(Some),
        }
    }

    pub(crate) fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        match self.int(column)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt(format!("{column} is neither 0 nor 1"))),
        }
    }

    pub(crate) fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        self.read(column)
    }

    pub(crate) fn maybe_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(column)
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.int(column).map(Timestamp::from_ms)
    }

    pub(crate) fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_int(column)?.map(Timestamp::from_ms))
    }

    pub(crate) fn id<T>(&self, column: &'static str) -> Result<Id<T>, StoreError> {
        self.parsed(column)
    }

    pub(crate) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| self.corrupt(format!("{column} cannot be read")))
    }

    pub(crate) fn maybe_parsed<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        match self.maybe_text(column)? {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| self.corrupt(format!("{column} cannot be read"))),
        }
    }

    pub(crate) fn digest(&self, column: &'static str) -> Result<TokenDigest, StoreError> {
        let text = self.text(column)?;
        TokenDigest::from_hex(&text).ok_or_else(|| self.corrupt(format!("{column} is no digest")))
    }

    pub(crate) fn maybe_digest(&self, column: &'static str) -> Result<Option<TokenDigest>, StoreError> {
        match self.maybe_text(column)? {
            None => Ok(None),
            Some(_) => self.digest(column).map(Some),
        }
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(column)?).map_err(|error| self.corrupt(format!("{column}: {error}")))
    }
}
