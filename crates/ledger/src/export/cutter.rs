//! Cuts a log into the files of an export. It writes none of them: where they go is the caller's.

use super::bundle::{self, EntryTooLong};
use super::{Details, DetailsLine, HANDOVER_DIRECTORY, MAX_DETAILS_LINE};
use crate::checkpoint::SignedCheckpoint;
use crate::frontier::Frontier;
use crate::hash::{Hash, leaf_hash};
use crate::tile::{Tile, TileCutter};

/// Cuts one export, entry by entry, with memory for one bundle and the right edge of the tree.
#[derive(Debug, Default)]
pub struct Cutter {
    frontier: Frontier,
    tiles: TileCutter,
    bundle: Vec<u8>,
}

/// A whole file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// Its path in the export, with `/`.
    pub path: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl ExportFile {
    /// The head with which one key handed over to the next.
    #[must_use]
    pub fn handover(handover: &SignedCheckpoint) -> Self {
        let path = format!("{HANDOVER_DIRECTORY}/{}", handover.unverified().size);
        Self { path, bytes: handover.text().as_bytes().to_vec() }
    }
}

/// What one entry adds to an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The files that became full with it.
    pub files: Vec<ExportFile>,
    /// Its line of `details.jsonl` with the line feed, if something lies beside it.
    pub details_line: Option<String>,
}

/// Why a log cannot be cut into an export.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The entry is larger than the format allows.
    #[error("entry {index} cannot be exported")]
    Entry {
        /// Which entry.
        index: u64,
        /// Why.
        #[source]
        source: EntryTooLong,
    },
    /// The details cannot be written as a line of JSON.
    #[error("the details of entry {0} cannot be written")]
    Details(u64, #[source] serde_json::Error),
    /// The line would be longer than a reader accepts.
    #[error("the details of entry {0} are longer than {MAX_DETAILS_LINE} bytes")]
    DetailsTooLong(u64),
    /// The checkpoint is of another tree than the entries that were appended.
    #[error("the checkpoint is of {signed} entries with root {signed_root}, exported are {size} with root {root}")]
    OtherTree {
        /// Entries exported.
        size: u64,
        /// Their root.
        root: Hash,
        /// Entries under the checkpoint.
        signed: u64,
        /// Their root.
        signed_root: Hash,
    },
}

impl Cutter {
    /// Appends the next entry and what lies beside it.
    ///
    /// # Errors
    ///
    /// [`CutError`]; the export is of no use after one.
    pub fn append(&mut self, entry: &[u8], details: Option<&Details>) -> Result<Piece, CutError> {
        let index = self.frontier.size();
        bundle::append(&mut self.bundle, entry).map_err(|source| CutError::Entry { index, source })?;
        let details_line = details.map(|details| details_line(index, details)).transpose()?;
        let leaf = leaf_hash(entry);
        self.frontier.push(leaf);
        let mut files = Vec::new();
        for (tile, hashes) in self.tiles.push(leaf) {
            files.push(ExportFile { path: tile.path(), bytes: Tile::bytes(&hashes) });
            if tile.level() == 0 {
                let bytes = std::mem::take(&mut self.bundle);
                files.push(ExportFile { path: tile.entries_path(), bytes });
            }
        }
        Ok(Piece { files, details_line })
    }

    /// How many entries were appended.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root over them.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The files that are not full at the end. The checkpoint is the caller's to write, last of
    /// all: an export that was broken off has none, and says by that that it is not whole.
    ///
    /// # Errors
    ///
    /// [`CutError::OtherTree`] if the checkpoint is not of exactly the entries appended.
    pub fn finish(mut self, checkpoint: &SignedCheckpoint) -> Result<Vec<ExportFile>, CutError> {
        let signed = checkpoint.unverified();
        if signed.size != self.size() || signed.root != self.root() {
            return Err(CutError::OtherTree {
                size: self.size(),
                root: self.root(),
                signed: signed.size,
                signed_root: signed.root,
            });
        }
        let mut files = Vec::new();
        for (tile, hashes) in self.tiles.partials() {
            files.push(ExportFile { path: tile.path(), bytes: Tile::bytes(hashes) });
            if tile.level() == 0 {
                let bytes = std::mem::take(&mut self.bundle);
                files.push(ExportFile { path: tile.entries_path(), bytes });
            }
        }
        Ok(files)
    }
}

fn details_line(index: u64, details: &Details) -> Result<String, CutError> {
    let mut line = DetailsLine::to_json(index, details).map_err(|source| CutError::Details(index, source))?;
    if line.len() > MAX_DETAILS_LINE {
        return Err(CutError::DetailsTooLong(index));
    }
    line.push('\n');
    Ok(line)
}
