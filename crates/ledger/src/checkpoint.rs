//! Signed heads of the tree: C2SP tlog-checkpoint in a C2SP signed note with Ed25519.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use signed_note::{Note, NoteError, StandardVerifier, VerifierList};
use tlog_tiles::checkpoint as foreign;

use crate::hash::Hash;

/// Longest name of a log in bytes.
pub const MAX_ORIGIN_LENGTH: usize = 255;

/// Longest checkpoint text in bytes, signatures included.
pub const MAX_CHECKPOINT_LENGTH: usize = 64 * 1024;

/// The name of a log, unique to it, such as `example.com/stepgate`: the first line of its
/// checkpoints and the name of its signing key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

/// A text that cannot name a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log's name is 1 to 255 bytes without white space, control characters and plus signs")]
pub struct BadOrigin;

impl Origin {
    /// Reads the name of a log.
    ///
    /// # Errors
    ///
    /// [`BadOrigin`] if a signed note cannot bear it as the name of a key (C2SP signed-note).
    pub fn parse(name: &str) -> Result<Self, BadOrigin> {
        let good = signed_note::is_key_name_valid(name)
            && !name.chars().any(char::is_control)
            && name.len() <= MAX_ORIGIN_LENGTH;
        good.then(|| Self(name.to_owned())).ok_or(BadOrigin)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A head of the tree: how many entries it has and what they hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: Origin,
    /// How many entries.
    pub size: u64,
    /// The Merkle tree hash over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The three lines that are signed.
    fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// Extension lines are allowed and ignored: the signature covers them all the same.
    fn from_body(body: &[u8]) -> Option<Self> {
        let read = foreign::Checkpoint::from_bytes(body).ok()?;
        Some(Self { origin: Origin::parse(read.origin()).ok()?, size: read.size(), root: (*read.hash()).into() })
    }
}

/// The text of a checkpoint with signatures. Having one says nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    text: String,
    claimed: Checkpoint,
}

impl SignedCheckpoint {
    /// Reads the text of a signed note whose body is a checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Malformed`] if it is not one.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let (_, claimed) = read_note(text)?;
        Ok(Self { text: text.to_owned(), claimed })
    }

    /// The signed note, ready to be written to a file.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it claims, nothing verified.
    #[must_use]
    pub const fn unverified(&self) -> &Checkpoint {
        &self.claimed
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn read_note(text: &str) -> Result<(Note, Checkpoint), CheckpointError> {
    if text.len() > MAX_CHECKPOINT_LENGTH {
        return Err(CheckpointError::Malformed);
    }
    let note = Note::from_bytes(text.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
    let claimed = Checkpoint::from_body(note.text()).ok_or(CheckpointError::Malformed)?;
    Ok((note, claimed))
}

/// Why a checkpoint is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note, or its body is not a checkpoint.
    #[error("not a signed checkpoint")]
    Malformed,
    /// No signature on it is by the key that was expected.
    #[error("not signed by the key {0}")]
    NotSigned(String),
    /// A signature claims to be by the key and is not.
    #[error("the signature by the key {0} is wrong")]
    WrongSignature(String),
    /// Signed by the key, but as the head of another log.
    #[error("the checkpoint is of the log {found}, the key is of {expected}")]
    OtherLog {
        /// The log whose key it is.
        expected: Origin,
        /// The log that the checkpoint names.
        found: Origin,
    },
}

/// Signs the heads of one log.
pub struct CheckpointSigner {
    origin: Origin,
    key: SigningKey,
}

/// An attempt to sign the head of another log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key of {key} does not sign checkpoints of {asked}")]
pub struct WrongLog {
    key: Origin,
    asked: Origin,
}

impl CheckpointSigner {
    /// The signer of the log `name` with the Ed25519 private key `seed` (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    ///
    /// [`BadOrigin`] if the name cannot be a log's.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, BadOrigin> {
        Ok(Self { origin: Origin::parse(name)?, key: SigningKey::from_bytes(&seed) })
    }

    /// The log whose heads it signs.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A head of this signer's log, not yet signed.
    #[must_use]
    pub fn checkpoint(&self, size: u64, root: Hash) -> Checkpoint {
        Checkpoint { origin: self.origin.clone(), size, root }
    }

    /// Signs a head.
    ///
    /// # Errors
    ///
    /// [`WrongLog`] if the checkpoint names another log than the key.
    pub fn sign(&self, checkpoint: &Checkpoint) -> Result<SignedCheckpoint, WrongLog> {
        if checkpoint.origin != self.origin {
            return Err(WrongLog { key: self.origin.clone(), asked: checkpoint.origin.clone() });
        }
        Ok(self.sign_own(checkpoint))
    }

    /// Signs the head of its own log with these entries.
    #[must_use]
    pub fn sign_head(&self, size: u64, root: Hash) -> SignedCheckpoint {
        self.sign_own(&self.checkpoint(size, root))
    }

    /// Adds this key's signature to a head that another key of the same log signed, so that
    /// whoever knows either believes it (C2SP signed-note, "multiple signatures").
    ///
    /// # Errors
    ///
    /// [`WrongLog`] if the checkpoint names another log than the key.
    pub fn cosign(&self, signed: &SignedCheckpoint) -> Result<SignedCheckpoint, WrongLog> {
        let claimed = signed.unverified();
        if claimed.origin != self.origin {
            return Err(WrongLog { key: self.origin.clone(), asked: claimed.origin.clone() });
        }
        // The body ends with the line before the first blank one.
        let body = signed.text.split_once("\n\n").map_or(signed.text.as_str(), |(body, _)| body);
        let line = self.signature_line(&format!("{body}\n"));
        Ok(SignedCheckpoint { text: format!("{}{line}", signed.text), claimed: claimed.clone() })
    }

    fn sign_own(&self, checkpoint: &Checkpoint) -> SignedCheckpoint {
        let body = checkpoint.body();
        SignedCheckpoint { text: format!("{body}\n{}", self.signature_line(&body)), claimed: checkpoint.clone() }
    }

    fn signature_line(&self, body: &str) -> String {
        use base64::Engine as _;
        let mut signature = self.key_id().to_be_bytes().to_vec();
        signature.extend_from_slice(&self.key.sign(body.as_bytes()).to_bytes());
        let signature = base64::engine::general_purpose::STANDARD.encode(signature);
        format!("— {} {signature}\n", self.origin)
    }

    fn key_id(&self) -> u32 {
        /// The type of Ed25519 keys in signed notes.
        const ED25519: u8 = 0x01;
        let mut public = vec![ED25519];
        public.extend_from_slice(self.key.verifying_key().as_bytes());
        signed_note::key_id(self.origin.as_str(), &public)
    }

    /// The public key as `name+id+base64`, which is all that a verifier needs.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        signed_note::new_ed25519_verifier_key(self.origin.as_str(), &self.key.verifying_key())
    }
}

/// Shows the log only: the key is a secret.
impl fmt::Debug for CheckpointSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CheckpointSigner").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Believes the heads that one key signed.
#[derive(Clone)]
pub struct CheckpointVerifier {
    key: String,
    origin: Origin,
    verifier: StandardVerifier,
}

/// A text that is not the public key of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a verifier key looks like name+id+key, with an Ed25519 key")]
pub struct BadVerifierKey;

impl CheckpointVerifier {
    /// Reads a public key written as `name+id+base64`.
    ///
    /// # Errors
    ///
    /// [`BadVerifierKey`] if it is not one, its id is not that of its key, or the key is not
    /// Ed25519.
    pub fn parse(key: &str) -> Result<Self, BadVerifierKey> {
        let verifier = StandardVerifier::new(key).map_err(|_| BadVerifierKey)?;
        let name = key.split('+').next().unwrap_or_default();
        Ok(Self { key: key.to_owned(), origin: Origin::parse(name).map_err(|_| BadVerifierKey)?, verifier })
    }

    /// The log whose key it is.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key as it was written.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The head in a signed checkpoint, if this key signed it. Signatures by other keys are
    /// ignored, be they witnesses' or a newer key's.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if it is not a checkpoint, or not by this key, or not of this log.
    pub fn verify(&self, text: &str) -> Result<Checkpoint, CheckpointError> {
        let (note, checkpoint) = read_note(text)?;
        let known = VerifierList::new(vec![Box::new(self.verifier.clone())]);
        note.verify(&known).map_err(|error| match error {
            NoteError::InvalidSignature { .. } => CheckpointError::WrongSignature(self.key.clone()),
            _ => CheckpointError::NotSigned(self.key.clone()),
        })?;
        if checkpoint.origin != self.origin {
            return Err(CheckpointError::OtherLog { expected: self.origin.clone(), found: checkpoint.origin });
        }
        Ok(checkpoint)
    }
}

impl fmt::Debug for CheckpointVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("CheckpointVerifier").field(&self.key).finish()
    }
}
