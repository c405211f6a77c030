//! An export as one tar archive: how it is written, and that nothing else is read as one.
//!
//! Tar has dialects (old, ustar, pax, GNU, star), and two programs need not find the same files in
//! one archive. So an archive is read only if it is, header for header, what [`header`] writes:
//! there is one spelling of a file's name and length, and whatever reads tar reads that one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::reader::{ReadError, at};
use super::source::Span;
use super::{CHECKPOINT_FILE, DETAILS_FILE, HANDOVER_DIRECTORY};
use crate::tile::Tile;

/// Tar counts in blocks of this many bytes (POSIX.1-1988, ustar).
pub const BLOCK: usize = 512;
/// Where the log's public key is in an archive. It proves nothing: it came with the export.
pub const KEY_FILE: &str = "public-key";
/// Where the directions are in an archive.
pub const README_FILE: &str = "README.md";
/// How the name of the directory begins that everything in an archive is in. After it come letters
/// and digits of ASCII, `-` and `.`.
pub const FOLDER_PREFIX: &str = "evidence-";

const NOTHING: [u8; BLOCK] = [0; BLOCK];

/// The header of a regular file of `length` bytes at `path`, last changed `mtime_s` seconds after
/// 1970. The file's bytes follow it, and zeros up to a whole block; after the last file come two
/// blocks of zeros.
///
/// # Errors
///
/// If `path` is longer than 100 bytes, or leads out of the archive.
pub fn header(path: &str, length: u64, mtime_s: u64) -> io::Result<[u8; BLOCK]> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path)?;
    header.set_size(length);
    header.set_mode(0o644);
    header.set_mtime(mtime_s);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// An archive, and where in it each file's bytes are.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) path: PathBuf,
    /// The directory in it that has all of it, with a `/`; empty if the archive has no file.
    folder: String,
    files: BTreeMap<String, Span>,
}

impl Archive {
    /// Finds the files, and refuses whatever [`header`] would not have written.
    pub(super) fn index(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(at(path))?;
        let length = file.metadata().map_err(at(path))?.len();
        let mut walk = Walk { path, file: BufReader::new(file), byte: 0, length };
        let (mut folder, mut files) = (String::new(), BTreeMap::new());
        while let Some((name, span)) = walk.next()? {
            let inside = name.split_once('/').filter(|(folder, file)| is_folder(folder) && is_file(file));
            let Some((inside, _)) = inside else { return Err(walk.refused("an export has no file of this name")) };
            let inside = format!("{inside}/");
            if !files.is_empty() && inside != folder {
                return Err(walk.refused("a second export begins"));
            }
            folder = inside;
            if files.insert(name, span).is_some() {
                return Err(walk.refused("a file is there a second time"));
            }
            walk.pass(span)?;
        }
        walk.end()?;
        Ok(Self { path: path.to_owned(), folder, files })
    }

    pub(super) fn file(&self, name: &str) -> Option<Span> {
        self.files.get(&self.inside(name)).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub(super) fn inside(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }
}

fn is_folder(name: &str) -> bool {
    let plain = |sign: u8| sign.is_ascii_alphanumeric() || b"-.".contains(&sign);
    name.starts_with(FOLDER_PREFIX) && name.bytes().all(plain)
}

/// Whether the format has a file of this name. Each has one spelling.
fn is_file(name: &str) -> bool {
    let is_handover = |size: &str| size.parse::<u64>().is_ok_and(|number| number.to_string() == size);
    if let Some(number) = name.strip_prefix("tile/entries/") {
        return Tile::parse(&format!("tile/0/{number}")).is_ok();
    }
    match name.split_once('/') {
        Some((HANDOVER_DIRECTORY, size)) => is_handover(size),
        Some(_) => Tile::parse(name).is_ok(),
        None => [README_FILE, KEY_FILE, DETAILS_FILE, CHECKPOINT_FILE].contains(&name),
    }
}

/// One way through an archive, block by block.
struct Walk<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Where the block is that was read last, or the next one.
    byte: u64,
    length: u64,
}

impl Walk<'_> {
    fn refused(&self, what: &'static str) -> ReadError {
        ReadError::Archive { path: self.path.to_owned(), byte: self.byte, what }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ReadError> {
        let mut block = NOTHING;
        match self.file.read_exact(&mut block) {
            Ok(()) => Ok(block),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.refused("it breaks off")),
            Err(error) => Err(at(self.path)(error)),
        }
    }

    /// The next file's name and place; `None` where the end begins.
    fn next(&mut self) -> Result<Option<(String, Span)>, ReadError> {
        let block = self.block()?;
        if block == NOTHING {
            return Ok(None);
        }
        let (name, span, rewritten) =
            self.read_twice(&block).ok_or_else(|| self.refused("this is no header of a file"))?;
        if rewritten != block {
            return Err(self.refused("the header is not written as the gate writes one"));
        }
        Ok(Some((name, span)))
    }

    /// What a header says, and the header that the gate writes for that.
    fn read_twice(&self, block: &[u8; BLOCK]) -> Option<(String, Span, [u8; BLOCK])> {
        let read = tar::Header::from_byte_slice(block);
        let name = String::from_utf8(read.path_bytes().into_owned()).ok()?;
        let (length, mtime_s) = (read.entry_size().ok()?, read.mtime().ok()?);
        let rewritten = header(&name, length, mtime_s).ok()?;
        Some((name, Span { offset: self.byte.checked_add(BLOCK as u64)?, length }, rewritten))
    }

    /// Passes over a file's bytes, and the zeros that fill its last block.
    fn pass(&mut self, span: Span) -> Result<(), ReadError> {
        let whole = span.length.checked_next_multiple_of(BLOCK as u64);
        let end = whole.and_then(|whole| span.offset.checked_add(whole)).filter(|end| *end <= self.length);
        let by = i64::try_from(span.length).ok();
        let (Some(end), Some(by)) = (end, by) else { return Err(self.refused("it breaks off in this file")) };
        self.file.seek_relative(by).map_err(at(self.path))?;
        let mut rest = Vec::new();
        let filled = end.saturating_sub(span.offset).saturating_sub(span.length);
        self.file.by_ref().take(filled).read_to_end(&mut rest).map_err(at(self.path))?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(self.refused("something is hidden after this file"));
        }
        self.byte = end;
        Ok(())
    }

    /// The second block of zeros, after which there are only more.
    fn end(&mut self) -> Result<(), ReadError> {
        let mut after = self.block()? != NOTHING;
        while !after {
            let bytes = self.file.fill_buf().map_err(at(self.path))?;
            if bytes.is_empty() {
                return Ok(());
            }
            after = bytes.iter().any(|byte| *byte != 0);
            let length = bytes.len();
            self.file.consume(length);
        }
        Err(self.refused("something comes after the end that begins here"))
    }
}
