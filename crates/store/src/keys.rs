//! Signing keys of the deployment, sealed in the database: every node signs with the same.

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};
use sqlx::{AnyConnection, Connection as _};
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::time::{Clock, Randomness, Timestamp};
use stepgate_evidence::{Entry, Event};
use stepgate_ledger::{Frontier, Origin, leaf_hash};
use zeroize::Zeroizing;

use crate::backend::StoreUrl;
use crate::checkpoint_keys::{self, From, HeadSigner, NewKey};
use crate::database::Database;
use crate::error::{Stored as _, unavailable};
use crate::inner::read;
use crate::intent::{Intent, Work};
use crate::ledger;
use crate::row::Fields;
use crate::seal::{Keyring, Place};

pub(crate) const CHECKPOINT: &str = "checkpoint";
const ASSERTION: &str = "assertion";
/// Purpose names of secrets that are no signing keys but are the same on every node.
const COOKIE_MAC: &str = "cookie-mac";
/// Signs security events for other systems.
const SIGNALS: &str = "signals";
/// Wakes devices through their push services.
const PUSH: &str = "push";

/// The public side of the checkpoint key, the assertion keys, and the key of tags.
pub struct SigningKeys {
    /// The key that verifies checkpoints, as a C2SP verifier key (`name+id+base64`).
    pub checkpoint_verifier: String,
    /// ES256 keys, the newest first: one may not sign yet, and those before the one that signs are
    /// there until what they signed is out of date.
    pub assertion: Vec<AssertionKey>,
    /// 32 bytes for [`stepgate_core::secret::MacKey`], the same on every node.
    pub mac: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeys")
            .field("checkpoint_verifier", &self.checkpoint_verifier)
            .field("assertion", &self.assertion)
            .finish_non_exhaustive()
    }
}

/// An ES256 key for assertions to upstreams.
pub struct AssertionKey {
    /// `kid`: the first 96 bits of the SHA-256 of the public key, hex.
    pub id: String,
    /// The private key (PKCS#8, DER).
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// The public key, uncompressed (SEC 1: `04 ‖ x ‖ y`).
    pub public: Vec<u8>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it begins to sign, and the one before it ends.
    pub signs_from: Timestamp,
}

/// A key that signs for others: security events (RSA), or wake-ups of devices (P-256).
pub struct SealedKey {
    /// `kid`; of a key that wakes devices its public half in base64url.
    pub id: String,
    /// The private key (PKCS#8, DER).
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it begins to sign, and the one before it ends.
    pub signs_from: Timestamp,
}

impl std::fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How another assertion key, or another key for security events, begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRotation {
    /// It is published at once and signs from then on; until then the one before does, which stays
    /// published while what it signed is valid.
    PublishedFirst {
        /// When it begins to sign.
        signs_from: Timestamp,
    },
    /// It signs at once, and all others are deleted: for a key that somebody else may have.
    AtOnce,
}

impl std::fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AssertionKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Database {
    /// The deployment's keys.
    pub async fn signing_keys(&self) -> Result<SigningKeys, StoreError> {
        let rows = read(async {
            sqlx::query(
                "SELECT id, purpose, made_at, signs_from, sealed FROM signing_keys WHERE purpose <> $1 \
                 ORDER BY ordinal DESC",
            )
            .bind(CHECKPOINT)
            .fetch_all(&self.inner.readers)
            .await
            .stored()
        })
        .await?;
        let head = read(async { ledger::head(&self.inner.readers).await.stored() }).await?;
        let mut assertion = Vec::new();
        let mut mac = None;
        for row in &rows {
            let fields = Fields::of("signing_keys", row);
            let secret = self.inner.open("signing_keys", "sealed", fields.key(), &fields.bytes("sealed")?)?;
            if fields.text("purpose")? == ASSERTION {
                let public = public_half(&secret).ok_or_else(|| fields.corrupt("sealed is no ES256 key"))?;
                let (id, made_at) = (fields.key().to_owned(), fields.time("made_at")?);
                assertion.push(AssertionKey {
                    id,
                    pkcs8: secret,
                    public,
                    made_at,
                    signs_from: fields.time("signs_from")?,
                });
            } else if fields.text("purpose")? == COOKIE_MAC {
                let bytes = <[u8; 32]>::try_from(secret.as_slice());
                mac = Some(Zeroizing::new(bytes.map_err(|_| fields.corrupt("sealed is not 32 bytes"))?));
            }
        }
        let missing =
            || StoreError::Corrupt { table: "signing_keys", row: COOKIE_MAC.to_owned(), what: "is missing".to_owned() };
        Ok(SigningKeys { checkpoint_verifier: head.checkpoint_key, assertion, mac: mac.ok_or_else(missing)? })
    }

    /// Makes another assertion key and gives its id, from which `entry` makes the entry that says so.
    ///
    /// [`ChangeError::Conflict`] if the one before has not begun to sign yet, unless it begins at once.
    pub async fn new_assertion_key(
        &self,
        at: Timestamp,
        rotation: KeyRotation,
        entry: impl FnOnce(&str) -> Entry,
    ) -> Result<String, ChangeError> {
        let (id, secret) = assertion_key()?;
        let entry = entry(&id);
        self.write(NextKey { purpose: ASSERTION, id: id.clone(), secret, at, rotation }, vec![entry]).await?;
        Ok(id)
    }

    /// The keys that sign security events, the newest first, the same on every node: one may not sign
    /// yet, and those before the one that signs are published while somebody may still verify what
    /// they signed. If there is none yet, `made` becomes it, unless another node is first.
    pub async fn signal_keys(
        &self,
        made: impl FnOnce() -> Option<(String, Zeroizing<Vec<u8>>)>,
    ) -> Result<Vec<SealedKey>, StoreError> {
        self.keys_or_first(SIGNALS, made).await
    }

    /// The keys that sign security events, the newest first; none if there never was a transmitter.
    pub async fn stored_signal_keys(&self) -> Result<Vec<SealedKey>, StoreError> {
        self.stored_keys(SIGNALS).await
    }

    /// The keys that wake devices, the newest first, the same on every node. If there is none yet, `made` becomes
    /// it, unless another node is first.
    pub async fn push_keys(
        &self,
        made: impl FnOnce() -> Option<(String, Zeroizing<Vec<u8>>)>,
    ) -> Result<Vec<SealedKey>, StoreError> {
        self.keys_or_first(PUSH, made).await
    }

    /// The keys that wake devices, the newest first; none if none ever was to be woken.
    pub async fn stored_push_keys(&self) -> Result<Vec<SealedKey>, StoreError> {
        self.stored_keys(PUSH).await
    }

    /// Another key that wakes devices: new subscriptions are made for it at once. `AtOnce` deletes all others, and
    /// what was made for them wakes nobody any more.
    pub async fn new_push_key(
        &self,
        (id, secret): (String, Zeroizing<Vec<u8>>),
        at: Timestamp,
        rotation: KeyRotation,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(NextKey { purpose: PUSH, id, secret, at, rotation }, vec![entry]).await
    }

    async fn keys_or_first(
        &self,
        purpose: &'static str,
        made: impl FnOnce() -> Option<(String, Zeroizing<Vec<u8>>)>,
    ) -> Result<Vec<SealedKey>, StoreError> {
        let there = self.stored_keys(purpose).await?;
        if !there.is_empty() {
            return Ok(there);
        }
        let (id, secret) = made().ok_or_else(|| unavailable("a key could not be made"))?;
        let at = self.inner.clock.now();
        match self.write(FirstKey { purpose, id, secret, at }, Vec::new()).await {
            Ok(()) | Err(ChangeError::Conflict) => {}
            Err(ChangeError::Store(error)) => return Err(error),
            Err(other) => return Err(unavailable(other)),
        }
        self.stored_keys(purpose).await
    }

    async fn stored_keys(&self, purpose: &'static str) -> Result<Vec<SealedKey>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT id, made_at, signs_from, sealed FROM signing_keys WHERE purpose = $1 ORDER BY ordinal DESC",
            )
            .bind(purpose)
            .fetch_all(&self.inner.readers)
            .await
            .stored()?;
            let one = |row| {
                let fields = Fields::of("signing_keys", row);
                let pkcs8 = self.inner.open("signing_keys", "sealed", fields.key(), &fields.bytes("sealed")?)?;
                let (made_at, signs_from) = (fields.time("made_at")?, fields.time("signs_from")?);
                Ok(SealedKey { id: fields.key().to_owned(), pkcs8, made_at, signs_from })
            };
            rows.iter().map(one).collect()
        })
        .await
    }

    /// Puts another key for security events beside those that there are.
    ///
    /// [`ChangeError::Conflict`] if the one before has not begun to sign yet, unless it begins at once.
    pub async fn new_signal_key(
        &self,
        (id, secret): (String, Zeroizing<Vec<u8>>),
        at: Timestamp,
        rotation: KeyRotation,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(NextKey { purpose: SIGNALS, id, secret, at, rotation }, vec![entry]).await
    }

    /// The name of the log.
    pub fn origin(&self) -> &Origin {
        &self.inner.origin
    }
}

struct FirstKey {
    purpose: &'static str,
    id: String,
    secret: Zeroizing<Vec<u8>>,
    at: Timestamp,
}

#[async_trait]
impl Intent for FirstKey {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        // One row that every node takes, so that of two nodes one makes the key.
        let head = work.inner.backend.locked("SELECT origin, size FROM ledger_head WHERE id = 1");
        head.fetch_one(&mut *work.connection).await.stored()?;
        let there = sqlx::query("SELECT id FROM signing_keys WHERE purpose = $1").bind(self.purpose);
        if there.fetch_optional(&mut *work.connection).await.stored()?.is_some() {
            return Err(ChangeError::Conflict);
        }
        let sealed = work.seal("signing_keys", "sealed", &self.id, &self.secret)?;
        let secret = NewSecret { id: &self.id, purpose: self.purpose, signs_from: self.at, sealed: &sealed };
        Ok(insert(work.connection, secret, self.at).await?)
    }
}

/// The next key of a purpose that has one that signs, and perhaps one that will.
struct NextKey {
    purpose: &'static str,
    id: String,
    secret: Zeroizing<Vec<u8>>,
    at: Timestamp,
    rotation: KeyRotation,
}

#[async_trait]
impl Intent for NextKey {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let signs_from = match self.rotation {
            KeyRotation::AtOnce => {
                let delete = sqlx::query("DELETE FROM signing_keys WHERE purpose = $1").bind(self.purpose);
                delete.execute(&mut *work.connection).await.stored()?;
                self.at
            }
            KeyRotation::PublishedFirst { signs_from } => {
                let waits = sqlx::query("SELECT id FROM signing_keys WHERE purpose = $1 AND signs_from > $2")
                    .bind(self.purpose)
                    .bind(self.at.as_ms());
                if waits.fetch_optional(&mut *work.connection).await.stored()?.is_some() {
                    return Err(ChangeError::Conflict);
                }
                signs_from
            }
        };
        let sealed = work.seal("signing_keys", "sealed", &self.id, &self.secret)?;
        let secret = NewSecret { id: &self.id, purpose: self.purpose, signs_from, sealed: &sealed };
        Ok(insert(work.connection, secret, self.at).await?)
    }
}

fn assertion_key() -> Result<(String, Zeroizing<Vec<u8>>), StoreError> {
    // The library makes such keys with its own generator only.
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|_| unavailable("an ES256 key could not be made"))?;
    let secret = Zeroizing::new(document.as_ref().to_vec());
    let public = public_half(&secret).ok_or_else(|| unavailable("an ES256 key could not be read"))?;
    let digest = Sha256::digest(&public);
    Ok((hex::encode(digest.get(..12).unwrap_or_default()), secret))
}

fn public_half(pkcs8: &[u8]) -> Option<Vec<u8>> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
    Some(pair.public_key().as_ref().to_vec())
}

/// A sealed secret as its row will be.
pub(crate) struct NewSecret<'a> {
    pub(crate) id: &'a str,
    pub(crate) purpose: &'a str,
    pub(crate) signs_from: Timestamp,
    pub(crate) sealed: &'a [u8],
}

pub(crate) async fn insert(
    connection: &mut AnyConnection,
    secret: NewSecret<'_>,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO signing_keys (id, purpose, ordinal, made_at, signs_from, sealed) \
         SELECT $1, $2, COALESCE(MAX(ordinal), 0) + 1, $3, $4, $5 FROM signing_keys",
    )
    .bind(secret.id)
    .bind(secret.purpose)
    .bind(at.as_ms())
    .bind(secret.signs_from.as_ms())
    .bind(secret.sealed)
    .execute(connection)
    .await
    .stored()
    .map(|_| ())
}

/// Makes what a new database lacks, in one transaction: the head row, the keys and
/// entry 0. Of nodes that start together one does it and the others wait. Gives the
/// signer of the log, which shows as well that the keyring is the right one.
pub(crate) async fn begin(
    connection: &mut AnyConnection,
    url: &StoreUrl,
    keyring: &Keyring,
    clock: &dyn Clock,
    random: &dyn Randomness,
    origin: &Origin,
) -> Result<HeadSigner, StoreError> {
    let backend = url.backend();
    let mut transaction = connection.begin_with(backend.begin()).await.stored()?;
    let empty = Frontier::new();
    sqlx::query(
        "INSERT INTO ledger_head (id, origin, size, frontier, change_number, checkpoint_size, checkpoint, \
         checkpoint_key) VALUES (1, $1, 0, $2, 0, 0, '', '') ON CONFLICT (id) DO NOTHING",
    )
    .bind(origin.as_str())
    .bind(empty.to_bytes())
    .execute(&mut *transaction)
    .await
    .stored()?;
    let row = backend
        .locked("SELECT origin, size, checkpoint_key FROM ledger_head WHERE id = 1")
        .fetch_one(&mut *transaction)
        .await
        .stored()?;
    let fields = Fields::of("ledger_head", &row);
    let named = Origin::parse(&fields.text("origin")?).map_err(|_| fields.corrupt("origin is no name of a log"))?;
    let mut verifier = fields.text("checkpoint_key")?;
    if fields.int("size")? == 0 {
        let at = clock.now();
        let first = NewKey::random(&named, random)?;
        let mut mac = Zeroizing::new([0; 32]);
        random.fill(mac.as_mut());
        let (assertion_id, assertion) = assertion_key()?;
        for (id, purpose, secret) in [
            (first.secret.as_str(), CHECKPOINT, first.seed.as_slice()),
            (COOKIE_MAC, COOKIE_MAC, mac.as_slice()),
            (&assertion_id, ASSERTION, assertion.as_slice()),
        ] {
            let place = Place { table: "signing_keys", column: "sealed", row: id };
            let sealed = keyring.seal(&place, secret, random)?;
            insert(&mut transaction, NewSecret { id, purpose, signs_from: at, sealed: &sealed }, at).await?;
        }
        first.insert(&mut transaction, at, From::Beginning).await?;
        first_entry(&mut transaction, &named, &first.verifier, at, random).await?;
        verifier = first.verifier;
    }
    let signer = checkpoint_keys::load(&mut transaction, keyring, &named, &verifier).await?;
    transaction.commit().await.stored()?;
    Ok(signer)
}

async fn first_entry(
    connection: &mut AnyConnection,
    origin: &Origin,
    verifier: &str,
    at: Timestamp,
    random: &dyn Randomness,
) -> Result<(), StoreError> {
    let mut id = [0; 16];
    random.fill(&mut id);
    let event = Event::LogOpened { origin: origin.as_str().to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let entry = Entry { id: hex::encode(id), at_ms: at.as_ms(), event, details: None };
    let leaf = entry.to_leaf().map_err(unavailable)?;
    let mut frontier = Frontier::new();
    frontier.push(leaf_hash(&leaf));
    ledger::insert(connection, 0, &ledger::prepare(&entry)?).await.stored()?;
    sqlx::query("UPDATE ledger_head SET size = 1, frontier = $1, checkpoint_key = $2 WHERE id = 1")
        .bind(frontier.to_bytes())
        .bind(verifier)
        .execute(connection)
        .await
        .stored()
        .map(|_| ())
}
