//! The ledger inside a batch: entries get their indexes, the tree grows, and the
//! committed head is signed.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _};
use stepgate_core::id::PersonId;
use stepgate_core::ports::StoreError;
use stepgate_evidence::{Entry, Event};
use stepgate_ledger::export::{MAX_DETAILS_LINE, MAX_ENTRY_LENGTH};
use stepgate_ledger::tile::TILE_WIDTH;
use stepgate_ledger::{CheckpointVerifier, Frontier, LoadedTiles, SignedCheckpoint, Tile, leaf_hash};

use crate::backend::Backend;
use crate::changes::Subject;
use crate::checkpoint_keys;
use crate::error::{Refused, unavailable};
use crate::groups::each;
use crate::inner::Inner;
use crate::options::CHANGES_KEPT;

/// What an export adds to the body of details in their line: index, salt, punctuation.
const DETAILS_LINE_FRAME: usize = 256;

/// An entry as its row will be.
#[derive(Clone)]
pub(crate) struct NewEntry {
    id: String,
    at_ms: i64,
    kind: String,
    person: Option<String>,
    /// Those whom an entry names that is about several people: a JSON array.
    people: Option<String>,
    challenge: Option<String>,
    request: Option<String>,
    service: Option<String>,
    action: Option<String>,
    leaf: Vec<u8>,
    details: Option<(Vec<u8>, String)>,
    /// For the entry that announces another checkpoint key: the one that signed so far, and that one.
    announces: Option<(String, String)>,
}

/// Turns an entry into its row. Refuses what an export could not hold.
pub(crate) fn prepare(entry: &Entry) -> Result<NewEntry, StoreError> {
    let event = serde_json::to_value(&entry.event).map_err(unavailable)?;
    let text = |pointer: &str| {
        let text = event.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default();
        (!text.is_empty()).then(|| text.to_owned())
    };
    // Who did something with the evidence is found like whom an entry is about.
    let by = || text("/by").filter(|by| by.parse::<PersonId>().is_ok());
    let leaf = entry.to_leaf().map_err(unavailable)?;
    let details = match &entry.details {
        None => None,
        Some(details) => Some((details.salt.0.to_vec(), serde_json::to_string(&details.body).map_err(unavailable)?)),
    };
    let details_length = details.as_ref().map_or(0, |(_, body)| body.len());
    if leaf.len() > MAX_ENTRY_LENGTH || details_length > MAX_DETAILS_LINE.saturating_sub(DETAILS_LINE_FRAME) {
        return Err(unavailable(Refused::EntryTooLarge));
    }
    let announces = match &entry.event {
        Event::CheckpointKeyAnnounced { former, key, .. } => Some((former.clone(), key.clone())),
        _ => None,
    };
    Ok(NewEntry {
        id: entry.id.clone(),
        at_ms: entry.at_ms,
        kind: text("/kind").unwrap_or_default(),
        person: text("/person").or_else(by),
        people: event.pointer("/people").map(ToString::to_string),
        challenge: text("/challenge"),
        request: text("/request"),
        service: text("/asked/service").or_else(|| text("/service")),
        action: text("/asked/action"),
        leaf,
        details,
        announces,
    })
}

/// The head row.
pub(crate) struct Head {
    pub(crate) frontier: Frontier,
    pub(crate) change_number: i64,
    pub(crate) checkpoint_size: i64,
    pub(crate) checkpoint: String,
    /// The verifier key of who signs this head.
    pub(crate) checkpoint_key: String,
}

const HEAD: &str = "SELECT frontier, change_number, checkpoint_size, checkpoint, checkpoint_key, size \
     FROM ledger_head WHERE id = 1";

impl Head {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let bytes: Vec<u8> = row.try_get("frontier")?;
        let frontier = Frontier::from_bytes(&bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let size: i64 = row.try_get("size")?;
        if u64::try_from(size).ok() != Some(frontier.size()) {
            return Err(sqlx::Error::Decode("the ledger's head contradicts its frontier".into()));
        }
        Ok(Self {
            frontier,
            change_number: row.try_get("change_number")?,
            checkpoint_size: row.try_get("checkpoint_size")?,
            checkpoint: row.try_get("checkpoint")?,
            checkpoint_key: row.try_get("checkpoint_key")?,
        })
    }
}

/// The committed head, without taking it.
pub(crate) async fn head<'e>(executor: impl sqlx::Executor<'e, Database = sqlx::Any>) -> Result<Head, sqlx::Error> {
    Head::read(&sqlx::query(HEAD).fetch_one(executor).await?)
}

/// The size that is committed when nobody else holds the head row.
pub(crate) async fn settled_size(backend: Backend, connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
    let mut transaction = connection.begin_with(backend.begin()).await?;
    let head = Head::read(&backend.locked(HEAD).fetch_one(&mut *transaction).await?)?;
    transaction.rollback().await?;
    Ok(head.frontier.size())
}

/// Refuses a head that counts less than what this process has seen committed: the
/// database was set back under it, and to go on would be to write a second history.
pub(crate) fn not_set_back(inner: &Inner, head: Head) -> Result<Head, sqlx::Error> {
    let known = *inner.size.borrow();
    if head.frontier.size() < known {
        let size = head.frontier.size();
        return Err(sqlx::Error::Decode(format!("the ledger was set back from {known} entries to {size}").into()));
    }
    Ok(head)
}

/// Takes the head row, appends entries and changes, and gives the new size if the ledger grew.
///
/// Whoever holds the row is alone: so indexes have no gap and follow the order of commits.
pub(crate) async fn append(
    inner: &Inner,
    connection: &mut AnyConnection,
    entries: Vec<NewEntry>,
    changes: &[Subject],
) -> Result<Option<u64>, sqlx::Error> {
    if entries.is_empty() && changes.is_empty() {
        return Ok(None);
    }
    let row = inner.backend.locked(HEAD).fetch_one(&mut *connection).await?;
    let Head { mut frontier, change_number, mut checkpoint_key, .. } = not_set_back(inner, Head::read(&row)?)?;
    let old_size = frontier.size();
    for entry in &entries {
        let number = as_int(frontier.size())?;
        insert(connection, number, entry).await?;
        if let Some(people) = &entry.people {
            let each = each(inner.backend);
            let sql = format!("INSERT INTO entry_people (number, person) SELECT $1, meant.value FROM {each} AS meant");
            sqlx::query(AssertSqlSafe(sql)).bind(number).bind(people).execute(&mut *connection).await?;
        }
        frontier.push(leaf_hash(&entry.leaf));
        if let Some((former, next)) = &entry.announces {
            if *former != checkpoint_key {
                return Err(sqlx::Error::Decode("another checkpoint key was announced meanwhile".into()));
            }
            checkpoint_keys::hand_over(inner, connection, (former, next), &frontier).await?;
            checkpoint_key.clone_from(next);
        }
    }
    for tile in Tile::completed_between(old_size, frontier.size()) {
        complete(connection, tile).await?;
    }
    let last_change = note(inner, connection, change_number, changes).await?;
    sqlx::query(
        "UPDATE ledger_head SET size = $1, frontier = $2, change_number = $3, checkpoint_key = $4 WHERE id = 1",
    )
    .bind(as_int(frontier.size())?)
    .bind(frontier.to_bytes())
    .bind(last_change)
    .bind(&checkpoint_key)
    .execute(&mut *connection)
    .await?;
    if inner.backend == Backend::Postgres {
        sqlx::query("NOTIFY stepgate_changes").execute(connection).await?;
    }
    Ok((!entries.is_empty()).then(|| frontier.size()))
}

pub(crate) async fn insert(connection: &mut AnyConnection, number: i64, entry: &NewEntry) -> Result<(), sqlx::Error> {
    // What belongs to a challenge is found by whom and for what it was opened, also where
    // the entry itself names neither.
    sqlx::query(
        "INSERT INTO entries (number, id, at, kind, person, challenge, request, service, action, leaf) \
         VALUES ($1, $2, $3, $4, \
         COALESCE($5, (SELECT person FROM entries WHERE challenge = $6 AND kind = 'challenge.opened' LIMIT 1)), \
         $6, $7, \
         COALESCE($8, (SELECT service FROM entries WHERE challenge = $6 AND kind = 'challenge.opened' LIMIT 1)), \
         COALESCE($9, (SELECT action FROM entries WHERE challenge = $6 AND kind = 'challenge.opened' LIMIT 1)), $10)",
    )
    .bind(number)
    .bind(&entry.id)
    .bind(entry.at_ms)
    .bind(&entry.kind)
    .bind(entry.person.as_deref())
    .bind(entry.challenge.as_deref())
    .bind(entry.request.as_deref())
    .bind(entry.service.as_deref())
    .bind(entry.action.as_deref())
    .bind(entry.leaf.as_slice())
    .execute(&mut *connection)
    .await?;
    if let Some((salt, body)) = &entry.details {
        sqlx::query("INSERT INTO details (number, salt, body) VALUES ($1, $2, $3)")
            .bind(number)
            .bind(salt.as_slice())
            .bind(body)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Writes a tile that became full. Lower levels come first, so what it is made of is there.
async fn complete(connection: &mut AnyConnection, tile: Tile) -> Result<(), sqlx::Error> {
    let hashes = match tile.level().checked_sub(1) {
        None => {
            let leaves = "SELECT leaf FROM entries WHERE number >= $1 AND number < $2 ORDER BY number";
            let rows = beneath(connection, leaves, tile, None).await?;
            rows.iter().map(|leaf| leaf_hash(leaf)).collect::<Vec<_>>()
        }
        Some(below) => {
            let tiles = "SELECT hashes FROM tiles WHERE number >= $1 AND number < $2 AND level = $3 ORDER BY number";
            let mut loaded = LoadedTiles::new();
            let first = tile.index().saturating_mul(u64::from(TILE_WIDTH));
            for (index, bytes) in (first..).zip(beneath(connection, tiles, tile, Some(below)).await?) {
                let full = Tile::new(below, index, TILE_WIDTH).map_err(undecodable)?;
                loaded.insert(full, &bytes).map_err(undecodable)?;
            }
            stepgate_ledger::proof::tile_hashes(tile, &loaded).map_err(|error| sqlx::Error::Decode(Box::new(error)))?
        }
    };
    if hashes.len() != usize::from(TILE_WIDTH) {
        return Err(sqlx::Error::Decode(format!("the tile {} has not all that lies beneath it", tile.path()).into()));
    }
    sqlx::query("INSERT INTO tiles (level, number, hashes) VALUES ($1, $2, $3)")
        .bind(i64::from(tile.level()))
        .bind(as_int(tile.index())?)
        .bind(Tile::bytes(&hashes))
        .execute(connection)
        .await
        .map(|_| ())
}

async fn beneath(
    connection: &mut AnyConnection,
    select: &'static str,
    tile: Tile,
    level: Option<u8>,
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let first = tile.index().saturating_mul(u64::from(TILE_WIDTH));
    let next = first.saturating_add(u64::from(TILE_WIDTH));
    let query = sqlx::query(select).bind(as_int(first)?).bind(as_int(next)?);
    let query = match level {
        None => query,
        Some(level) => query.bind(i64::from(level)),
    };
    query.fetch_all(connection).await?.iter().map(|row| row.try_get(0)).collect()
}

async fn note(
    inner: &Inner,
    connection: &mut AnyConnection,
    last: i64,
    changes: &[Subject],
) -> Result<i64, sqlx::Error> {
    let mut number = last;
    for subject in changes {
        number = number.saturating_add(1);
        sqlx::query("INSERT INTO changes (number, subject_kind, subject, instance) VALUES ($1, $2, $3, $4)")
            .bind(number)
            .bind(subject.kind())
            .bind(subject.id())
            .bind(&inner.instance)
            .execute(&mut *connection)
            .await?;
        if number % CHANGES_KEPT == 0 {
            sqlx::query("DELETE FROM changes WHERE number <= $1")
                .bind(number.saturating_sub(CHANGES_KEPT))
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(number)
}

/// Signs the committed head and keeps the checkpoint, unless there is one that is as new.
///
/// Which key signs stands in the head itself, so a node that has not heard of a new key cannot sign
/// with the former one: it reads the new one here.
pub(crate) async fn sign(inner: &Inner, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let head = not_set_back(inner, head(&mut *connection).await?)?;
    let size = as_int(head.frontier.size())?;
    if head.checkpoint_size >= size {
        return Ok(());
    }
    let signer = inner.checkpoint_key(connection, &head.checkpoint_key).await.map_err(undecodable)?;
    let signed = signer.sign(&head.frontier);
    sqlx::query("UPDATE ledger_head SET checkpoint = $1, checkpoint_size = $2 WHERE id = 1 AND checkpoint_size < $2")
        .bind(signed.text())
        .bind(size)
        .execute(connection)
        .await
        .map(|_| ())
}

/// Why the ledger of a database cannot be continued: somebody changed it by hand,
/// or an old copy of one table lies beside a newer one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenLedger {
    /// Entries are missing at the end, or there are more than the head knows.
    #[error("the head counts {head} entries, but {entries} are there")]
    Entries {
        /// As the head says.
        head: u64,
        /// As the last one's index says.
        entries: u64,
    },
    /// A checkpoint was signed over more entries than there are: the log was cut or set back.
    #[error("a checkpoint was signed over {signed} entries, but the head counts {head}: the log was set back")]
    SetBack {
        /// Entries under the checkpoint.
        signed: u64,
        /// Entries that the head counts.
        head: u64,
    },
    /// The checkpoint that is kept was not signed by the log's key.
    #[error("the checkpoint that is kept is not signed by the log's key")]
    NotSigned,
    /// The newest checkpoint says another root for the same number of entries.
    #[error("the head of {size} entries is another than the one that was signed")]
    OtherRoot {
        /// How many entries.
        size: u64,
    },
}

/// Looks whether the log can be continued: cheap signs of a cut or exchanged log.
/// The whole proof is an export's, checked by the verifier.
pub(crate) async fn look_over(connection: &mut AnyConnection) -> Result<Option<BrokenLedger>, sqlx::Error> {
    // One statement, so that both are of one moment: other nodes may be writing.
    let row = sqlx::query(
        "SELECT frontier, change_number, checkpoint_size, checkpoint, checkpoint_key, size, \
         (SELECT COALESCE(MAX(number) + 1, 0) FROM entries) AS entries FROM ledger_head WHERE id = 1",
    )
    .fetch_one(&mut *connection)
    .await?;
    let head = Head::read(&row)?;
    let size = head.frontier.size();
    let entries = u64::try_from(row.try_get::<i64, _>("entries")?).unwrap_or_default();
    if entries != size {
        return Ok(Some(BrokenLedger::Entries { head: size, entries }));
    }
    if head.checkpoint_size == 0 && head.checkpoint.is_empty() {
        return Ok(None);
    }
    // Broken off between a change of the key and the next signature, the one that is kept is the former key's.
    let kept = SignedCheckpoint::parse(&head.checkpoint).map(|kept| kept.unverified().size).unwrap_or_default();
    let key = checkpoint_keys::verifier_at(connection, kept).await?;
    let verified = CheckpointVerifier::parse(&key).ok().and_then(|key| key.verify(&head.checkpoint).ok());
    let Some(signed) = verified else { return Ok(Some(BrokenLedger::NotSigned)) };
    if signed.size > size {
        return Ok(Some(BrokenLedger::SetBack { signed: signed.size, head: size }));
    }
    if signed.size == size && signed.root != head.frontier.root() {
        return Ok(Some(BrokenLedger::OtherRoot { size }));
    }
    Ok(None)
}

pub(crate) fn as_int(number: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(number).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

pub(crate) fn undecodable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
