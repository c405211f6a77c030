//! What a receiver will never take, kept on disk.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::format::Document;
use crate::sink::append;

/// The most bytes of such a file. A sink whose file is full waits: nothing is thrown away.
pub const REFUSED_FILE_LEN_MAX: u64 = 256 * 1024 * 1024;

/// A file of refused documents: one JSON object on each line, with the reason.
#[derive(Clone, Debug)]
pub struct RefusedFile {
    path: PathBuf,
}

impl RefusedFile {
    /// Keeps them at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can be written: asked when the gate starts.
    ///
    /// # Errors
    ///
    /// The file's.
    pub fn try_it(&self) -> std::io::Result<()> {
        append(&self.path, b"")
    }

    /// Adds documents, durably.
    ///
    /// # Errors
    ///
    /// The file's, or that it is full.
    pub(crate) fn keep(&self, refused: &[(Document, &'static str)]) -> std::io::Result<()> {
        let is_full = |metadata: std::fs::Metadata| metadata.len() >= REFUSED_FILE_LEN_MAX;
        if std::fs::metadata(&self.path).is_ok_and(is_full) {
            return Err(std::io::Error::new(
                std::io::ErrorKind::StorageFull,
                "the file of refused documents is full: move it away",
            ));
        }
        let mut lines = String::new();
        for (document, reason) in refused {
            let line = json!({
                "index": document.index, "id": document.id, "reason": reason, "document": document.body.line()
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        append(&self.path, lines.as_bytes())
    }
}
