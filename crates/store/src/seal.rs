//! Sealing: what the database holds and must not tell.
//!
//! AES-256-GCM-SIV (RFC 8452): a repeated nonce would tell that two values are
//! equal, and nothing else. The associated data names table, column and row, so a
//! sealed value that is moved to another row does not open.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use stepgate_core::ports::StoreError;
use stepgate_core::time::Randomness;
use zeroize::Zeroizing;

/// Length of a master key in bytes.
pub const MASTER_KEY_LEN: usize = 32;
/// Most master keys in one keyring: the current one, and old ones until everything is sealed anew.
pub const MASTER_KEYS_MAX: usize = 16;

const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 8;

/// The master keys. The first seals; each opens what it sealed.
#[derive(Clone)]
pub struct Keyring {
    keys: Vec<MasterKey>,
}

#[derive(Clone)]
struct MasterKey {
    id: [u8; KEY_ID_LEN],
    bytes: Zeroizing<[u8; MASTER_KEY_LEN]>,
}

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The text is not a keyring.
    #[error("line {line} is no master key: <id>:<32 bytes in base64> is expected, the id being the key's own")]
    NotAKey {
        /// Which line, from 1.
        line: usize,
    },
    /// There is no key in it, or more than [`MASTER_KEYS_MAX`].
    #[error("a keyring has 1 to {MASTER_KEYS_MAX} different keys")]
    Count,
    /// Others than the owner may read the file.
    #[error("{path} may be read by others than its owner (mode {mode:o}): chmod 600")]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file cannot be read or made.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Keyring {
    /// A keyring with one new key.
    pub fn generate(random: &dyn Randomness) -> Self {
        Self { keys: vec![MasterKey::random(random)] }
    }

    /// This keyring with a new key that seals from now on; the others still open.
    /// Afterwards [`crate::Database::seal_anew`] makes the others needless.
    #[must_use]
    pub fn with_new_key(&self, random: &dyn Randomness) -> Self {
        let keys = std::iter::once(MasterKey::random(random)).chain(self.keys.iter().cloned());
        Self { keys: keys.take(MASTER_KEYS_MAX).collect() }
    }

    /// Only the key that seals: once nothing is sealed with the others any more.
    #[must_use]
    pub fn only_current(&self) -> Self {
        Self { keys: self.keys.iter().take(1).cloned().collect() }
    }

    /// Reads a keyring: one `<id>:<base64>` a line, the current key first; blank
    /// lines and lines that begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = MasterKey::parse(line).ok_or(KeyringError::NotAKey { line: number.saturating_add(1) })?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyringError::Count);
            }
            keys.push(key);
        }
        if keys.is_empty() || keys.len() > MASTER_KEYS_MAX {
            return Err(KeyringError::Count);
        }
        Ok(Self { keys })
    }

    /// Reads a keyring from a file that is its owner's alone.
    pub fn from_file(path: &Path) -> Result<Self, KeyringError> {
        let at = |source| KeyringError::Io { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(at)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyringError::NotPrivate { path: path.to_owned(), mode });
        }
        Self::parse(&Zeroizing::new(std::fs::read_to_string(path).map_err(at)?))
    }

    /// Writes the keyring to a new file with mode 0600; an existing file stays as it is.
    pub fn create_file(&self, path: &Path) -> Result<(), KeyringError> {
        let at = |source| KeyringError::Io { path: path.to_owned(), source };
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(at)?;
        file.write_all(self.expose().as_bytes()).and_then(|()| file.sync_all()).map_err(at)
    }

    /// The text that [`Keyring::parse`] reads: the keys themselves.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.keys.len().saturating_mul(64)));
        for key in &self.keys {
            text.push_str(&hex::encode(key.id));
            text.push(':');
            text.push_str(&Zeroizing::new(STANDARD.encode(key.bytes.as_ref())));
            text.push('\n');
        }
        text
    }

    /// The id of the key that seals.
    pub fn current_id(&self) -> String {
        self.keys.first().map(|key| hex::encode(key.id)).unwrap_or_default()
    }

    pub(crate) fn seal(&self, place: &Place<'_>, plain: &[u8], random: &dyn Randomness) -> Result<Vec<u8>, StoreError> {
        let Some(key) = self.keys.first() else { return Err(StoreError::Sealed { key: String::new() }) };
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut out = Vec::with_capacity(plain.len().saturating_add(64));
        out.push(FORMAT);
        out.extend_from_slice(&key.id);
        out.extend_from_slice(&nonce);
        let mut body = Zeroizing::new(plain.to_vec());
        let aad = Aad::from(place.associated_data());
        let tag = key
            .cipher()
            .and_then(|cipher| {
                cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, body.as_mut()).ok()
            })
            .ok_or_else(|| StoreError::Sealed { key: hex::encode(key.id) })?;
        out.extend_from_slice(&body);
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    pub(crate) fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let corrupt = || StoreError::Corrupt {
            table: place.table,
            row: place.row.to_owned(),
            what: format!("{} is not a sealed value", place.column),
        };
        let (head, rest) = sealed.split_at_checked(1 + KEY_ID_LEN).ok_or_else(corrupt)?;
        let (format, id) = head.split_first().ok_or_else(corrupt)?;
        if *format != FORMAT {
            return Err(corrupt());
        }
        let wrong_key = || StoreError::Sealed { key: hex::encode(id) };
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(corrupt)?;
        let key = self.keys.iter().find(|key| key.id == *id).ok_or_else(wrong_key)?;
        let mut body = Zeroizing::new(body.to_vec());
        let aad = Aad::from(place.associated_data());
        let length = key
            .cipher()
            .and_then(|cipher| {
                let opened = cipher.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, body.as_mut());
                opened.ok().map(|plain| plain.len())
            })
            .ok_or_else(wrong_key)?;
        body.truncate(length);
        Ok(body)
    }

    /// Whether this value was sealed by the key that seals now.
    pub(crate) fn is_current(&self, sealed: &[u8]) -> bool {
        let id = sealed.get(1..1 + KEY_ID_LEN);
        id.is_some() && id == self.keys.first().map(|key| key.id.as_slice())
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|key| hex::encode(key.id)).collect();
        f.debug_tuple("Keyring").field(&ids).finish()
    }
}

impl MasterKey {
    fn random(random: &dyn Randomness) -> Self {
        let mut bytes = Zeroizing::new([0; MASTER_KEY_LEN]);
        random.fill(bytes.as_mut());
        Self { id: Self::id_of(&bytes), bytes }
    }

    fn parse(line: &str) -> Option<Self> {
        let (id, text) = line.split_once(':')?;
        let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
        let bytes = Zeroizing::new(<[u8; MASTER_KEY_LEN]>::try_from(decoded.as_slice()).ok()?);
        let key = Self { id: Self::id_of(&bytes), bytes };
        (hex::encode(key.id) == id).then_some(key)
    }

    /// Derived from the key, so that a key cannot go by another's name.
    fn id_of(bytes: &[u8; MASTER_KEY_LEN]) -> [u8; KEY_ID_LEN] {
        let digest = Sha256::new().chain_update(b"stepgate/master-key-id/v1\0").chain_update(bytes).finalize();
        let mut id = [0; KEY_ID_LEN];
        for (to, from) in id.iter_mut().zip(digest) {
            *to = from;
        }
        id
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM_SIV, self.bytes.as_ref()).ok().map(LessSafeKey::new)
    }
}

/// Where a sealed value stands.
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) row: &'a str,
}

impl Place<'_> {
    /// Each part after its length, so that no two places have the same data.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = b"stepgate/seal/v1\0".to_vec();
        for part in [self.table, self.column, self.row] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Count(std::sync::atomic::AtomicU8);

    impl Randomness for Count {
        fn fill(&self, buffer: &mut [u8]) {
            for byte in buffer {
                *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    fn random() -> Count {
        Count(std::sync::atomic::AtomicU8::new(0))
    }

    const HERE: Place<'_> = Place { table: "factors", column: "sealed", row: "a" };

    #[test]
    fn what_is_sealed_opens_with_the_same_key_in_the_same_place_only() {
        let random = random();
        let keyring = Keyring::generate(&random);
        let sealed = keyring.seal(&HERE, b"seed", &random).unwrap();
        assert_eq!(keyring.open(&HERE, &sealed).unwrap().as_slice(), b"seed");
        for elsewhere in [
            Place { table: "tickets", ..HERE },
            Place { column: "begun", ..HERE },
            Place { row: "b", ..HERE },
            Place { column: "seale", row: "da", ..HERE },
        ] {
            assert!(matches!(keyring.open(&elsewhere, &sealed), Err(StoreError::Sealed { .. })));
        }
        let other = Keyring::generate(&random);
        assert!(matches!(other.open(&HERE, &sealed), Err(StoreError::Sealed { key }) if key == keyring.current_id()));
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(keyring.open(&HERE, &bent).is_err(), "byte {at}");
        }
        assert!(keyring.open(&HERE, &sealed[..sealed.len() - 1]).is_err());
        assert!(keyring.open(&HERE, &[]).is_err());
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let random = random();
        let old = Keyring::generate(&random);
        let sealed = old.seal(&HERE, b"seed", &random).unwrap();
        let both = old.with_new_key(&random);
        assert_ne!(both.current_id(), old.current_id());
        assert!(!both.is_current(&sealed));
        assert_eq!(both.open(&HERE, &sealed).unwrap().as_slice(), b"seed");
        assert!(both.only_current().open(&HERE, &sealed).is_err());
    }

    #[test]
    fn a_keyring_reads_back_and_nothing_else_is_one() {
        let random = random();
        let keyring = Keyring::generate(&random).with_new_key(&random);
        let text = keyring.expose();
        let read = Keyring::parse(&format!("# keys\n\n{}", text.as_str())).unwrap();
        assert_eq!(read.expose().as_str(), text.as_str());
        let line = text.lines().next().unwrap();
        for bad in
            ["", "#", "abc", &line[1..], &line[..line.len() - 4], &format!("{line}\n{line}"), &line.replace(':', "")]
        {
            assert!(Keyring::parse(bad).is_err(), "{bad}");
        }
        assert!(!format!("{keyring:?}").contains(line.split_once(':').unwrap().1));
    }

    #[test]
    fn a_key_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let keyring = Keyring::generate(&random());
        keyring.create_file(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Keyring::from_file(&path).unwrap().current_id(), keyring.current_id());
        assert!(keyring.create_file(&path).is_err(), "an existing key is never overwritten");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keyring::from_file(&path), Err(KeyringError::NotPrivate { mode: 0o640, .. })));
    }
}
