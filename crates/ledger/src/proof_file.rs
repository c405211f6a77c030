//! One entry's proof in one file, verifiable offline: C2SP tlog-proof.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointVerifier, SignedCheckpoint};
use crate::hash::{Hash, leaf_hash};
use crate::proof::{InclusionProof, InvalidProof};

/// How such a file's name ends.
pub const FILE_EXTENSION: &str = "tlog-proof";

/// Longest proof file in bytes.
pub const MAX_LENGTH: usize = 1024 * 1024;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// The place of an entry in the log, its path to the root, and the signed root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// Which entry, counted from zero.
    pub index: u64,
    /// The path from the entry to the root of the checkpoint.
    pub proof: InclusionProof,
    /// The signed head.
    pub checkpoint: SignedCheckpoint,
    /// Bytes for the reader, such as the entry itself. Nothing authenticates them.
    pub extra: Option<Vec<u8>>,
}

/// A text that is not a proof file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a tlog-proof file: {0}")]
pub struct NotAProofFile(&'static str);

/// Why a proof file does not prove that an entry is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// The head in it is not believed.
    #[error("the checkpoint in the proof is not believed")]
    Checkpoint(#[source] CheckpointError),
    /// The entry is not at that index in that tree.
    #[error("the entry is not in the log that was signed")]
    NotIncluded(#[source] InvalidProof),
}

impl ProofFile {
    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", STANDARD.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in self.proof.hashes() {
            text.push_str(&format!("{hash}\n"));
        }
        text.push('\n');
        text.push_str(self.checkpoint.text());
        text
    }

    /// Reads the text of a file. Nothing is verified yet.
    ///
    /// # Errors
    ///
    /// [`NotAProofFile`] with the reason.
    pub fn parse(text: &str) -> Result<Self, NotAProofFile> {
        if text.len() > MAX_LENGTH {
            return Err(NotAProofFile("too long"));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(NotAProofFile("no empty line before the checkpoint"))?;
        let checkpoint = SignedCheckpoint::parse(checkpoint).map_err(|_| NotAProofFile("no checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(NotAProofFile("the first line is another"));
        }
        let extra = lines
            .next_if(|line| line.starts_with("extra "))
            .and_then(|line| line.strip_prefix("extra "))
            .map(|extra| STANDARD.decode(extra))
            .transpose()
            .map_err(|_| NotAProofFile("the extra data is not base64"))?;
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(|digits| digits.parse::<u64>().ok().filter(|index| index.to_string() == digits))
            .ok_or(NotAProofFile("the index is not a number"))?;
        let hashes = lines
            .map(Hash::from_base64)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| NotAProofFile("a line of the proof is not a hash"))?;
        Ok(Self { index, proof: InclusionProof::from_hashes(hashes), checkpoint, extra })
    }

    /// Checks that `entry` is in the log that the key signed, and gives the head that says so.
    ///
    /// # Errors
    ///
    /// [`ProofFileError`] if the head is not by the key, or the entry is not under it.
    pub fn verify(&self, entry: &[u8], verifier: &CheckpointVerifier) -> Result<Checkpoint, ProofFileError> {
        let head = verifier.verify(self.checkpoint.text()).map_err(ProofFileError::Checkpoint)?;
        self.proof.verify(self.index, head.size, leaf_hash(entry), head.root).map_err(ProofFileError::NotIncluded)?;
        Ok(head)
    }
}
