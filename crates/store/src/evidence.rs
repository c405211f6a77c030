//! Reading the ledger: searching, exporting, erasing what may be erased.

use async_trait::async_trait;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use stepgate_core::id::PersonId;
use stepgate_core::ports::{ChangeError, EntryQuery, Leaf, LeafDetails, RecordedEntry, StoreError};
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Details, Entry, SALT_LEN, Salt};
use stepgate_ledger::Tile;
use stepgate_ledger::tile::{MAX_LEVEL, TILE_WIDTH};

use crate::database::Database;
use crate::error::{Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::ledger::{self, as_int};
use crate::options::ROWS_MAX;

impl Database {
    /// The hashes of a full tile, as they were kept when it became full.
    pub async fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if level > MAX_LEVEL {
            return Ok(None);
        }
        read(async {
            let row = sqlx::query("SELECT hashes FROM tiles WHERE level = $1 AND number = $2")
                .bind(i64::from(level))
                .bind(as_int(index).stored()?)
                .fetch_optional(&self.inner.readers)
                .await
                .stored()?;
            let Some(row) = row else { return Ok(None) };
            let hashes: Vec<u8> = row.try_get("hashes").stored()?;
            let tile = Tile::new(level, index, TILE_WIDTH).map_err(unavailable)?;
            if tile.hashes(&hashes).is_err() {
                let row = tile.path();
                return Err(StoreError::Corrupt { table: "tiles", row, what: "hashes is not a full tile".to_owned() });
            }
            Ok(Some(hashes))
        })
        .await
    }

    /// How many entries are committed.
    pub async fn ledger_size(&self) -> Result<u64, StoreError> {
        read(async { Ok(ledger::head(&self.inner.readers).await.stored()?.frontier.size()) }).await
    }

    /// Erases what lies beside the entries that concern this person: statements,
    /// names, addresses. The tree stays as it is and still verifies. `entry` makes
    /// the entry that says so, from how many were erased.
    pub async fn erase_details(
        &self,
        person: PersonId,
        entry: impl Fn(u32) -> Entry + Send + Sync + 'static,
    ) -> Result<u32, ChangeError> {
        self.write(EraseDetails { person, entry }, Vec::new()).await
    }
}

struct EraseDetails<F> {
    person: PersonId,
    entry: F,
}

#[async_trait]
impl<F: Fn(u32) -> Entry + Send + Sync + 'static> Intent for EraseDetails<F> {
    type Output = u32;

    async fn apply(&self, work: &mut Work<'_>) -> Result<u32, ChangeError> {
        let person = self.person.to_string();
        // A challenge's later entries name no person themselves.
        let erased = sqlx::query(
            "DELETE FROM details WHERE number IN (SELECT number FROM entries WHERE person = $1 OR challenge IN \
             (SELECT challenge FROM entries WHERE person = $1 AND challenge IS NOT NULL))",
        )
        .bind(&person)
        .execute(&mut *work.connection)
        .await
        .stored()?;
        // Closed challenges repeat the statement until they are purged.
        sqlx::query("DELETE FROM challenges WHERE person = $1 AND closed_at IS NOT NULL AND sending = 0")
            .bind(&person)
            .execute(&mut *work.connection)
            .await
            .stored()?;
        let erased = u32::try_from(erased.rows_affected()).unwrap_or(u32::MAX);
        work.record(&(self.entry)(erased))?;
        Ok(erased)
    }
}

impl Inner {
    pub(crate) async fn leaves(&self, from: u64, limit: u32) -> Result<Vec<Leaf>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT e.number, e.leaf, d.salt, d.body FROM entries e LEFT JOIN details d ON d.number = e.number \
                 WHERE e.number >= $1 ORDER BY e.number LIMIT $2",
            )
            .bind(as_int(from).stored()?)
            .bind(i64::from(limit.min(ROWS_MAX)))
            .fetch_all(&self.readers)
            .await
            .stored()?;
            let leaf = |row| {
                let (index, bytes, entry, committed) = parsed(row)?;
                let details = match (entry.details, committed) {
                    (Some(details), _) => LeafDetails::Kept(details),
                    (None, true) => LeafDetails::Erased,
                    (None, false) => LeafDetails::None,
                };
                Ok(Leaf { index, bytes, details })
            };
            rows.iter().map(leaf).collect()
        })
        .await
    }

    pub(crate) async fn entries(&self, query: EntryQuery) -> Result<Vec<RecordedEntry>, StoreError> {
        read(async {
            let Search { sql, texts, numbers } = Search::of(query);
            // The text is made of constants and numbers of places; values are bound.
            let mut statement = sqlx::query(AssertSqlSafe(sql));
            for text in texts {
                statement = statement.bind(text);
            }
            for number in numbers {
                statement = statement.bind(number);
            }
            let rows = statement.fetch_all(&self.readers).await.stored()?;
            let recorded = |row| {
                let (index, _, entry, committed) = parsed(row)?;
                Ok(RecordedEntry { index, erased: committed && entry.details.is_none(), entry })
            };
            rows.iter().map(recorded).collect()
        })
        .await
    }

    /// The newest checkpoint, over the committed head. It is signed here and not
    /// read: the same head gives the same signature as the one that is kept.
    pub(crate) async fn checkpoint(&self) -> Result<String, StoreError> {
        read(async {
            let mut connection = self.readers.acquire().await.stored()?;
            let head =
                ledger::head(&mut *connection).await.and_then(|head| ledger::not_set_back(self, head)).stored()?;
            let signer = self.checkpoint_key(&mut connection, &head.checkpoint_key).await?;
            Ok(signer.sign(&head.frontier).text().to_owned())
        })
        .await
    }
}

/// A search for entries as the database is asked.
pub(crate) struct Search {
    pub(crate) sql: String,
    /// What is bound first.
    pub(crate) texts: Vec<String>,
    /// What is bound after that.
    pub(crate) numbers: Vec<i64>,
}

impl Search {
    pub(crate) fn of(query: EntryQuery) -> Self {
        let mut texts: Vec<String> = query.person.iter().map(ToString::to_string).collect();
        let (mut numbers, mut conditions) = (Vec::new(), String::new());
        for (column, sought) in [
            ("request", query.request.map(|request| request.to_string())),
            ("service", query.service.map(|service| service.to_string())),
            ("action", query.action.map(|action| action.to_string())),
        ] {
            if let Some(sought) = sought {
                texts.push(sought);
                conditions.push_str(&format!(" AND e.{column} = ${}", texts.len()));
            }
        }
        let challenges = query.challenges.iter().map(ToString::to_string).collect();
        for (column, any_of) in [("challenge", challenges), ("kind", query.kinds)] {
            let places = any_of.into_iter().map(|sought: String| {
                texts.push(sought);
                format!("${}", texts.len())
            });
            let places = places.collect::<Vec<_>>().join(", ");
            if !places.is_empty() {
                conditions.push_str(&format!(" AND e.{column} IN ({places})"));
            }
        }
        // What no index can be is beyond every index.
        let index = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
        for (column, bound, comparison) in [
            ("{number}", query.from.map(index), ">="),
            ("{number}", query.before.map(index), "<"),
            ("e.at", query.since.map(Timestamp::as_ms), ">="),
            ("e.at", query.until.map(Timestamp::as_ms), "<"),
        ] {
            if let Some(bound) = bound {
                numbers.push(bound);
                let place = texts.len().saturating_add(numbers.len());
                conditions.push_str(&format!(" AND {column} {comparison} ${place}"));
            }
        }
        let order = if query.from.is_some() { "ASC" } else { "DESC" };
        let limit = query.limit.min(ROWS_MAX);
        let some = |number: &str, source: &str| {
            let conditions = conditions.replace("{number}", number);
            format!("SELECT {number} AS number FROM {source}{conditions} ORDER BY {number} {order} LIMIT {limit}")
        };
        let sought = match query.person {
            None => some("e.number", "entries e WHERE 1 = 1"),
            // Each half gives no more than is asked for: who is in many entries costs no more than others.
            Some(_) => {
                let theirs = some("e.number", "entries e WHERE e.person = $1");
                let named =
                    some("n.number", "entry_people n JOIN entries e ON e.number = n.number WHERE n.person = $1");
                format!(
                    "SELECT number FROM ({theirs}) AS theirs UNION SELECT number FROM ({named}) AS named \
                     ORDER BY number {order} LIMIT {limit}"
                )
            }
        };
        let sql = format!(
            "SELECT e.number, e.leaf, d.salt, d.body FROM ({sought}) AS sought JOIN entries e ON e.number = sought.number \
             LEFT JOIN details d ON d.number = e.number ORDER BY e.number {order}"
        );
        Self { sql, texts, numbers }
    }
}

/// Index, bytes, entry with its details, and whether it commits to details.
fn parsed(row: &AnyRow) -> Result<(u64, Vec<u8>, Entry, bool), StoreError> {
    let number: i64 = row.try_get("number").stored()?;
    let corrupt = |what: &str| StoreError::Corrupt { table: "entries", row: number.to_string(), what: what.to_owned() };
    let index = u64::try_from(number).map_err(|_| corrupt("number is negative"))?;
    let bytes: Vec<u8> = row.try_get("leaf").stored()?;
    let (mut entry, commitment) = Entry::from_leaf(&bytes).map_err(|error| corrupt(&format!("leaf: {error}")))?;
    let salt: Option<Vec<u8>> = row.try_get("salt").stored()?;
    let body: Option<String> = row.try_get("body").stored()?;
    entry.details = match (salt, body) {
        (Some(salt), Some(body)) => {
            let salt = <[u8; SALT_LEN]>::try_from(salt.as_slice()).map_err(|_| corrupt("its details have no salt"))?;
            let body = serde_json::from_str(&body).map_err(|_| corrupt("its details are not JSON"))?;
            Some(Details { salt: Salt(salt), body })
        }
        _ => None,
    };
    Ok((index, bytes, entry, commitment.is_some()))
}
