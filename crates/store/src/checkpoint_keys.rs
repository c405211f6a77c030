//! The keys that sign the log's heads, one after the other.
//!
//! Another key begins in one transaction: its private half is kept sealed, the entry that announces it
//! is appended, the head that ends with this entry is signed by both, the head row names the new key,
//! and the private half of the former one is deleted. A crash before the commit leaves the former key
//! as it was, a crash after it the new one; there is no moment with none or with two. Which key signs
//! stands in the head row, so every node signs with the right one without being told.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{AnyConnection, Row as _};
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::time::{Randomness, Timestamp};
use stepgate_evidence::Entry;
use stepgate_ledger::{CheckpointSigner, Frontier, Origin, SignedCheckpoint};
use zeroize::Zeroizing;

use crate::database::Database;
use crate::error::{Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::keys::{self, CHECKPOINT, NewSecret};
use crate::ledger::{self, as_int, undecodable};
use crate::row::Fields;
use crate::seal::{Keyring, Place};

/// What becomes of the private half of the key that signed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormerKey {
    /// It is deleted in the transaction with which the next key begins. Older backups, and pages of
    /// the database that are not yet overwritten, still have it, sealed.
    Destroy,
    /// It stays sealed in the database. Nothing is signed with it.
    Keep,
}

/// A key that signs or signed the log's heads.
#[derive(Clone, Debug)]
pub struct CheckpointKey {
    /// The public half, as a C2SP verifier key (`name+id+base64`).
    pub verifier: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// The first head that it signs counts so many entries; 0 for the log's first key.
    pub from_size: u64,
    /// That head, signed by the key before and by this one; `None` for the first key.
    pub handover: Option<SignedCheckpoint>,
    /// Whether its private half is still in the database.
    pub has_private_half: bool,
}

/// Signs the heads of the log with one key.
#[derive(Debug)]
pub(crate) struct HeadSigner {
    verifier: String,
    signer: CheckpointSigner,
    handover: Option<SignedCheckpoint>,
}

impl HeadSigner {
    pub(crate) fn origin(&self) -> &Origin {
        self.signer.origin()
    }

    /// The signed head. The one with which this key began is signed by the key before as well.
    pub(crate) fn sign(&self, frontier: &Frontier) -> SignedCheckpoint {
        let signed = self.signer.sign_head(frontier.size(), frontier.root());
        match &self.handover {
            Some(handover) if handover.unverified() == signed.unverified() => handover.clone(),
            _ => signed,
        }
    }
}

/// From where on a new key signs.
#[derive(Clone, Copy)]
pub(crate) enum From {
    /// It is the log's first.
    Beginning,
    /// An entry of the same transaction announces it.
    Announcement(FormerKey),
}

/// A new key, not yet announced.
pub(crate) struct NewKey {
    pub(crate) verifier: String,
    pub(crate) secret: String,
    pub(crate) seed: Zeroizing<[u8; 32]>,
}

impl NewKey {
    pub(crate) fn random(origin: &Origin, random: &dyn Randomness) -> Result<Self, StoreError> {
        let mut seed = Zeroizing::new([0; 32]);
        random.fill(seed.as_mut());
        let signer = CheckpointSigner::from_seed(origin.as_str(), *seed).map_err(unavailable)?;
        let verifier = signer.verifier_key();
        // `name+id+key`: the id is the part of the public half that signatures name.
        let id = verifier.split('+').nth(1).unwrap_or_default();
        Ok(Self { secret: format!("{CHECKPOINT}/{id}"), verifier, seed })
    }

    /// Keeps the public half.
    pub(crate) async fn insert(
        &self,
        connection: &mut AnyConnection,
        at: Timestamp,
        from: From,
    ) -> Result<(), StoreError> {
        let (from_size, keeps_former) = match from {
            From::Beginning => (Some(0_i64), false),
            From::Announcement(former) => (None, former == FormerKey::Keep),
        };
        sqlx::query(
            "INSERT INTO checkpoint_keys (verifier, secret, made_at, from_size, handover, keeps_former) \
             VALUES ($1, $2, $3, $4, '', $5)",
        )
        .bind(&self.verifier)
        .bind(&self.secret)
        .bind(at.as_ms())
        .bind(from_size)
        .bind(i64::from(keeps_former))
        .execute(connection)
        .await
        .stored()
        .map(|_| ())
    }
}

impl Inner {
    /// The signer with this verifier key: from memory, or read because the key changed.
    pub(crate) async fn checkpoint_key(
        &self,
        connection: &mut AnyConnection,
        verifier: &str,
    ) -> Result<Arc<HeadSigner>, StoreError> {
        let known = self.signer.load_full();
        if known.verifier == verifier {
            return Ok(known);
        }
        let read = Arc::new(load(connection, &self.keyring.load(), &self.origin, verifier).await?);
        self.signer.store(Arc::clone(&read));
        Ok(read)
    }
}

/// Reads the key with this public half, and opens its private half.
pub(crate) async fn load(
    connection: &mut AnyConnection,
    keyring: &Keyring,
    origin: &Origin,
    verifier: &str,
) -> Result<HeadSigner, StoreError> {
    let row = sqlx::query(
        "SELECT k.verifier, k.secret, k.handover, s.sealed FROM checkpoint_keys k \
         JOIN signing_keys s ON s.id = k.secret WHERE k.verifier = $1",
    )
    .bind(verifier)
    .fetch_optional(connection)
    .await
    .stored()?;
    let missing = || StoreError::Corrupt {
        table: "checkpoint_keys",
        row: verifier.to_owned(),
        what: "has no private half, and the log cannot be signed".to_owned(),
    };
    let row = row.ok_or_else(missing)?;
    let fields = Fields::of("checkpoint_keys", &row);
    let secret = fields.text("secret")?;
    let place = Place { table: "signing_keys", column: "sealed", row: &secret };
    let seed = keyring.open(&place, &fields.bytes("sealed")?)?;
    let seed = <[u8; 32]>::try_from(seed.as_slice()).map_err(|_| fields.corrupt("sealed is not 32 bytes"))?;
    let signer =
        CheckpointSigner::from_seed(origin.as_str(), seed).map_err(|_| fields.corrupt("no key of this log"))?;
    if signer.verifier_key() != verifier {
        return Err(fields.corrupt("the private half belongs to another key"));
    }
    Ok(HeadSigner { handover: handover(&fields)?, verifier: verifier.to_owned(), signer })
}

fn handover(fields: &Fields<'_>) -> Result<Option<SignedCheckpoint>, StoreError> {
    let text = fields.text("handover")?;
    if text.is_empty() {
        return Ok(None);
    }
    SignedCheckpoint::parse(&text).map(Some).map_err(|_| fields.corrupt("handover is no signed checkpoint"))
}

/// The key that signs heads of so many entries.
pub(crate) async fn verifier_at(connection: &mut AnyConnection, size: u64) -> Result<String, sqlx::Error> {
    let query = "SELECT verifier FROM checkpoint_keys WHERE from_size <= $1 ORDER BY from_size DESC LIMIT 1";
    let row = sqlx::query(query).bind(as_int(size)?).fetch_optional(connection).await?;
    row.map_or(Ok(String::new()), |row| row.try_get("verifier"))
}

/// Signs the head that ends with the announcement by the former key and the next one, and begins
/// with the next one. Runs under the head row, within the batch's transaction.
pub(crate) async fn hand_over(
    inner: &Inner,
    connection: &mut AnyConnection,
    (former, next): (&str, &str),
    frontier: &Frontier,
) -> Result<(), sqlx::Error> {
    let keyring = inner.keyring.load_full();
    let before = load(connection, &keyring, &inner.origin, former).await.map_err(undecodable)?;
    let after = load(connection, &keyring, &inner.origin, next).await.map_err(undecodable)?;
    let handover = after.signer.cosign(&before.sign(frontier)).map_err(undecodable)?;
    let begun = sqlx::query(
        "UPDATE checkpoint_keys SET from_size = $1, handover = $2 WHERE verifier = $3 AND from_size IS NULL",
    )
    .bind(as_int(frontier.size())?)
    .bind(handover.text())
    .bind(next)
    .execute(&mut *connection)
    .await?;
    if begun.rows_affected() != 1 {
        return Err(sqlx::Error::Decode("the key that is announced began before".into()));
    }
    sqlx::query(
        "DELETE FROM signing_keys WHERE id IN (SELECT secret FROM checkpoint_keys WHERE verifier = $1) \
         AND EXISTS (SELECT 1 FROM checkpoint_keys WHERE verifier = $2 AND keeps_former = 0)",
    )
    .bind(former)
    .bind(next)
    .execute(connection)
    .await
    .map(|_| ())
}

impl Database {
    /// All keys that sign or signed the log's heads, the first one first.
    pub async fn checkpoint_keys(&self) -> Result<Vec<CheckpointKey>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT k.verifier, k.made_at, k.from_size, k.handover, s.id AS kept FROM checkpoint_keys k \
                 LEFT JOIN signing_keys s ON s.id = k.secret ORDER BY k.from_size",
            )
            .fetch_all(&self.inner.readers)
            .await
            .stored()?;
            let key = |row| {
                let fields = Fields::of("checkpoint_keys", row);
                Ok(CheckpointKey {
                    verifier: fields.key().to_owned(),
                    made_at: fields.time("made_at")?,
                    from_size: fields.count("from_size")?,
                    handover: handover(&fields)?,
                    has_private_half: fields.maybe_text("kept")?.is_some(),
                })
            };
            rows.iter().map(key).collect()
        })
        .await
    }

    /// Makes a key that signs the log's heads from now on, and gives its public half.
    ///
    /// `entry` makes the entry that announces it, from the verifier keys of the new one and of the one
    /// that signed so far: a [`stepgate_evidence::Event::CheckpointKeyAnnounced`]. Every node signs
    /// with the new key from the next head on. Of two that race, one fails and changes nothing.
    pub async fn new_checkpoint_key(
        &self,
        at: Timestamp,
        former: FormerKey,
        entry: impl FnOnce(&str, &str) -> Entry,
    ) -> Result<String, ChangeError> {
        let next = NewKey::random(&self.inner.origin, self.inner.random.as_ref())?;
        let current = read(async { Ok(ledger::head(&self.inner.readers).await.stored()?.checkpoint_key) }).await?;
        let entry = entry(&next.verifier, &current);
        let verifier = next.verifier.clone();
        self.write(NewCheckpointKey { next, at, former }, vec![entry]).await?;
        Ok(verifier)
    }
}

struct NewCheckpointKey {
    next: NewKey,
    at: Timestamp,
    former: FormerKey,
}

#[async_trait]
impl Intent for NewCheckpointKey {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let sealed = work.seal("signing_keys", "sealed", &self.next.secret, self.next.seed.as_slice())?;
        let secret = NewSecret { id: &self.next.secret, purpose: CHECKPOINT, signs_from: self.at, sealed: &sealed };
        keys::insert(work.connection, secret, self.at).await?;
        Ok(self.next.insert(work.connection, self.at, From::Announcement(self.former)).await?)
    }
}
