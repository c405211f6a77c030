use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{Reason, Sink, Undelivered};
use crate::format::Document;

/// When a file is put aside, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// From how many bytes on.
    pub at_len: u64,
    /// How many that were put aside are kept: `FILE.1` is the newest.
    pub keep: u32,
}

/// One line each at the end of a file, durable when it is taken.
///
/// The file is opened anew for each batch: whoever moves it away gets what was in it, and the next batch makes
/// another.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    rotation: Option<Rotation>,
}

impl File {
    /// Writes to `path`, which only its owner can read.
    pub fn new(path: PathBuf, rotation: Option<Rotation>) -> Self {
        Self { path, rotation }
    }
}

#[async_trait]
impl Sink for File {
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered> {
        let mut lines = String::new();
        for document in batch {
            lines.push_str(&document.body.line());
            lines.push('\n');
        }
        let (path, rotation) = (self.path.clone(), self.rotation);
        let written = tokio::task::spawn_blocking(move || {
            if let Some(rotation) = rotation {
                rotate(&path, rotation)?;
            }
            append(&path, lines.as_bytes())
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Undelivered::passing(Reason::Disk, format!("{}: {error}", self.path.display()))),
            Err(_) => {
                Err(Undelivered::passing(Reason::Disk, format!("{}: the write was given up", self.path.display())))
            }
        }
    }
}

/// Appends lines and waits until they are on the disk. A line that a crash left without its end gets one first, so that
/// the next is whole.
pub(crate) fn append(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    let len = file.metadata()?.len();
    if len > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(len.saturating_sub(1)))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(lines)?;
    file.sync_data()
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Puts the file aside if it is long enough. A crash between two names leaves a gap among them, and loses nothing.
fn rotate(path: &Path, rotation: Rotation) -> std::io::Result<()> {
    let is_long = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len() >= rotation.at_len,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if !is_long {
        return Ok(());
    }
    for number in (1..rotation.keep).rev() {
        match std::fs::rename(aside(path, number), aside(path, number + 1)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, aside(path, 1))
}
