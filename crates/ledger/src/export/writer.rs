//! Writes an export, entry by entry, with memory for one bundle and the right edge of the tree.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::bundle::{self, EntryTooLong};
use super::{CHECKPOINT_FILE, DETAILS_FILE, Details, DetailsLine, HANDOVER_DIRECTORY, MAX_DETAILS_LINE};
use crate::checkpoint::SignedCheckpoint;
use crate::frontier::Frontier;
use crate::hash::{Hash, leaf_hash};
use crate::tile::{Tile, TileCutter};

/// Writes one export.
///
/// The checkpoint is written last: an export that was broken off has none, and says by that that
/// it is not whole.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    frontier: Frontier,
    tiles: TileCutter,
    bundle: Vec<u8>,
    details: BufWriter<File>,
}

/// Why an export cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The directory has something in it already.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// The file system refused.
    #[error("cannot write {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
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

impl Writer {
    /// Begins an export in `directory`, which is made if need be and must be empty.
    ///
    /// # Errors
    ///
    /// [`WriteError::NotEmpty`] and [`WriteError::Io`].
    pub fn create(directory: &Path) -> Result<Self, WriteError> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        if fs::read_dir(directory).map_err(at(directory))?.next().is_some() {
            return Err(WriteError::NotEmpty(directory.to_owned()));
        }
        let path = directory.join(DETAILS_FILE);
        let details = File::create_new(&path).map_err(at(&path))?;
        Ok(Self {
            directory: directory.to_owned(),
            frontier: Frontier::new(),
            tiles: TileCutter::default(),
            bundle: Vec::new(),
            details: BufWriter::new(details),
        })
    }

    /// Appends the next entry and what lies beside it.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the export is of no use after one.
    pub fn append(&mut self, entry: &[u8], details: Option<&Details>) -> Result<(), WriteError> {
        let index = self.frontier.size();
        bundle::append(&mut self.bundle, entry).map_err(|source| WriteError::Entry { index, source })?;
        if let Some(details) = details {
            let line = DetailsLine::to_json(index, details).map_err(|source| WriteError::Details(index, source))?;
            if line.len() > MAX_DETAILS_LINE {
                return Err(WriteError::DetailsTooLong(index));
            }
            writeln!(self.details, "{line}").map_err(at(&self.directory.join(DETAILS_FILE)))?;
        }
        let leaf = leaf_hash(entry);
        self.frontier.push(leaf);
        for (tile, hashes) in self.tiles.push(leaf) {
            self.write(&tile.path(), &Tile::bytes(&hashes))?;
            if tile.level() == 0 {
                let bundle = std::mem::take(&mut self.bundle);
                self.write(&tile.entries_path(), &bundle)?;
            }
        }
        Ok(())
    }

    /// Adds the head with which one key handed over to the next.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn handover(&mut self, handover: &SignedCheckpoint) -> Result<(), WriteError> {
        let size = handover.unverified().size;
        self.write(&format!("{HANDOVER_DIRECTORY}/{size}"), handover.text().as_bytes())
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

    /// Writes what is left, and last the checkpoint.
    ///
    /// # Errors
    ///
    /// [`WriteError::OtherTree`] if the checkpoint is not of exactly the entries appended, and
    /// [`WriteError::Io`].
    pub fn finish(mut self, checkpoint: &SignedCheckpoint) -> Result<(), WriteError> {
        let signed = checkpoint.unverified();
        if signed.size != self.size() || signed.root != self.root() {
            return Err(WriteError::OtherTree {
                size: self.size(),
                root: self.root(),
                signed: signed.size,
                signed_root: signed.root,
            });
        }
        for (tile, hashes) in self.tiles.partials() {
            self.write(&tile.path(), &Tile::bytes(hashes))?;
            if tile.level() == 0 {
                self.write(&tile.entries_path(), &self.bundle)?;
            }
        }
        self.details.flush().map_err(at(&self.directory.join(DETAILS_FILE)))?;
        let path = self.directory.join(CHECKPOINT_FILE);
        let mut file = File::create_new(&path).map_err(at(&path))?;
        file.write_all(checkpoint.text().as_bytes()).and_then(|()| file.sync_all()).map_err(at(&path))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        fs::write(&path, bytes).map_err(at(&path))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError::Io { path, source }
}
