//! Writes an export into a directory, entry by entry.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::cutter::{CutError, Cutter, ExportFile};
use super::{CHECKPOINT_FILE, DETAILS_FILE, Details};
use crate::checkpoint::SignedCheckpoint;
use crate::hash::Hash;

/// Writes one export.
///
/// The checkpoint is written last: an export that was broken off has none, and says by that that
/// it is not whole.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    cutter: Cutter,
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
    /// The log cannot be cut into an export.
    #[error(transparent)]
    Cut(#[from] CutError),
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
        Ok(Self { directory: directory.to_owned(), cutter: Cutter::default(), details: BufWriter::new(details) })
    }

    /// Appends the next entry and what lies beside it.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the export is of no use after one.
    pub fn append(&mut self, entry: &[u8], details: Option<&Details>) -> Result<(), WriteError> {
        let piece = self.cutter.append(entry, details)?;
        if let Some(line) = piece.details_line {
            self.details.write_all(line.as_bytes()).map_err(at(&self.directory.join(DETAILS_FILE)))?;
        }
        piece.files.iter().try_for_each(|file| self.write(file))
    }

    /// Adds the head with which one key handed over to the next.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn handover(&mut self, handover: &SignedCheckpoint) -> Result<(), WriteError> {
        self.write(&ExportFile::handover(handover))
    }

    /// How many entries were appended.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.cutter.size()
    }

    /// The root over them.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.cutter.root()
    }

    /// Writes what is left, and last the checkpoint.
    ///
    /// # Errors
    ///
    /// [`CutError::OtherTree`] if the checkpoint is not of exactly the entries appended, and
    /// [`WriteError::Io`].
    pub fn finish(mut self, checkpoint: &SignedCheckpoint) -> Result<(), WriteError> {
        let cutter = std::mem::take(&mut self.cutter);
        cutter.finish(checkpoint)?.iter().try_for_each(|file| self.write(file))?;
        self.details.flush().map_err(at(&self.directory.join(DETAILS_FILE)))?;
        let path = self.directory.join(CHECKPOINT_FILE);
        let mut file = File::create_new(&path).map_err(at(&path))?;
        file.write_all(checkpoint.text().as_bytes()).and_then(|()| file.sync_all()).map_err(at(&path))
    }

    fn write(&self, file: &ExportFile) -> Result<(), WriteError> {
        let path = self.directory.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        fs::write(&path, &file.bytes).map_err(at(&path))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError::Io { path, source }
}
