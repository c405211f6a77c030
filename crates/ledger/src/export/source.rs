//! Where an export's files are: in a directory, or in a tar archive of one.
//!
//! An archive is never unpacked. Its files are looked up by the names that the format has, so
//! nothing in it can reach any other file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::Archive;
use super::reader::{ReadError, at};

/// The files of one export, by their paths in it.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Directory(PathBuf),
    Archive(Arc<Archive>),
}

/// Where a file's bytes are in an archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, ReadError> {
        if std::fs::metadata(path).map_err(at(path))?.is_file() {
            return Ok(Self::Archive(Arc::new(Archive::index(path)?)));
        }
        std::fs::read_dir(path).map_err(at(path))?;
        Ok(Self::Directory(path.to_owned()))
    }

    /// What a file is called in messages.
    pub(super) fn named(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(name),
            Self::Archive(archive) => archive.path.join(archive.inside(name)),
        }
    }

    /// What the export as a whole is called in messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory(directory) => directory,
            Self::Archive(archive) => &archive.path,
        }
    }

    /// The names right in a directory of the export, in no order; none if there is no such directory.
    pub(super) fn names_in(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(folder);
                let files = match std::fs::read_dir(&path) {
                    Ok(files) => files,
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                        return Ok(Vec::new());
                    }
                    Err(source) => return Err(ReadError::Io { path, source }),
                };
                let name = |file: io::Result<std::fs::DirEntry>| file.map(|file| file.file_name().into_string().ok());
                files.filter_map(|file| name(file).transpose()).collect::<io::Result<_>>().map_err(at(&path))
            }
            Self::Archive(archive) => {
                let folder = archive.inside(&format!("{folder}/"));
                let inside = archive.names().filter_map(|path| path.strip_prefix(&folder));
                Ok(inside.filter(|name| !name.contains('/')).map(str::to_owned).collect())
            }
        }
    }

    /// A file, `None` if there is none of this name.
    pub(super) fn file(&self, name: &str) -> Result<Option<Part>, ReadError> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(name);
                match File::open(&path) {
                    Ok(file) => {
                        let length = file.metadata().map_err(at(&path))?.len();
                        Part::new(file, Span { offset: 0, length }).map(Some).map_err(at(&path))
                    }
                    Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                        Ok(None)
                    }
                    Err(source) => Err(ReadError::Io { path, source }),
                }
            }
            Self::Archive(archive) => {
                let Some(span) = archive.file(name) else { return Ok(None) };
                let part = File::open(&archive.path).and_then(|file| Part::new(file, span));
                part.map(Some).map_err(at(&archive.path))
            }
        }
    }
}

/// The part of a file that is one file of the export.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    span: Span,
    /// How far it was read.
    position: u64,
}

impl Part {
    fn new(mut file: File, span: Span) -> io::Result<Self> {
        file.seek(SeekFrom::Start(span.offset))?;
        Ok(Self { file, span, position: 0 })
    }

    /// How many bytes it has.
    pub(super) const fn length(&self) -> u64 {
        self.span.length
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.span.length.saturating_sub(self.position);
        let read = self.file.by_ref().take(left).read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(byte) => Some(byte),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.span.length.checked_add_signed(by),
        };
        let target = target.ok_or(io::ErrorKind::InvalidInput)?;
        let byte = self.span.offset.checked_add(target).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.seek(SeekFrom::Start(byte))?;
        self.position = target;
        Ok(target)
    }
}
