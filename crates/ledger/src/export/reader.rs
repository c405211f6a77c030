//! Reads an export file by file; nothing is believed here, see [`crate::verify`].

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::bundle;
use super::details::BadDetailsLine;
use super::lines::DetailsLines;
use super::source::Source;
use super::{CHECKPOINT_FILE, Details, HANDOVER_DIRECTORY, MAX_ENTRY_LENGTH, MAX_HANDOVERS};
use crate::checkpoint::{CheckpointError, MAX_CHECKPOINT_LENGTH, SignedCheckpoint};
use crate::hash::HASH_LENGTH;
use crate::proof::{CannotProve, InclusionProof, LoadedTiles};
use crate::proof_file::ProofFile;
use crate::tile::{TILE_WIDTH, Tile};

/// Largest bundle in bytes that is read.
const MAX_BUNDLE_LENGTH: usize = 2 * TILE_WIDTH as usize * (MAX_ENTRY_LENGTH + 2);

/// An exported log, in a directory or in a tar archive of one.
#[derive(Debug, Clone)]
pub struct Reader {
    source: Source,
}

/// Why an export cannot be read. What can be read and is wrong is a finding of the verifier.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system refused.
    #[error("cannot read {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive is not written as the gate writes one, so that it could be read two ways.
    #[error(
        "{path} is no archive of an export as the gate sends it: at byte {byte}, {what}; take it as it came, or \
         verify a directory"
    )]
    Archive {
        /// Which archive.
        path: PathBuf,
        /// Where in it: the header of the file that is wrong, or the block.
        byte: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file is larger than the format allows.
    #[error("{0} is larger than the format allows")]
    TooLarge(PathBuf),
    /// The export has no checkpoint: it was broken off, or is none.
    #[error("{0} has no checkpoint")]
    NoCheckpoint(PathBuf),
    /// The file `checkpoint` is not one.
    #[error("the checkpoint cannot be read")]
    Checkpoint(#[source] CheckpointError),
    /// A file that the checkpoint demands is not there.
    #[error("{0} is missing")]
    Missing(PathBuf),
    /// A bundle or a tile does not hold what it should.
    #[error("{0} does not hold {1} entries or hashes")]
    Bundle(PathBuf, u16),
    /// There is no such entry, or the hash tiles to prove it are missing.
    #[error("the entry cannot be proved")]
    NotProven(#[source] CannotProve),
    /// A line of `details.jsonl` cannot be read.
    #[error("line {line} of details.jsonl cannot be read")]
    Details {
        /// The line, counted from one.
        line: u64,
        /// Why.
        #[source]
        source: BadDetailsLine,
    },
}

/// An entry of an export with what lies beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its place in the log, counted from zero.
    pub index: u64,
    /// Its bytes.
    pub entry: Vec<u8>,
    /// What lies beside it, if anything does.
    pub details: Option<Details>,
}

impl Reader {
    /// An export in a directory, or in the tar archive that `path` is.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`] if it cannot be read; [`ReadError::Archive`] if it is a file and not an archive
    /// as the gate writes it, see [`super::archive`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self { source: Source::open(path)? })
    }

    /// The text of the file `checkpoint`, `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`], [`ReadError::TooLarge`].
    pub fn checkpoint_text(&self) -> Result<Option<String>, ReadError> {
        let bytes = self.file(CHECKPOINT_FILE, MAX_CHECKPOINT_LENGTH)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The signed head, not verified.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoCheckpoint`] and [`ReadError::Checkpoint`].
    pub fn checkpoint(&self) -> Result<SignedCheckpoint, ReadError> {
        let text = self.checkpoint_text()?.ok_or_else(|| ReadError::NoCheckpoint(self.source.path().to_owned()))?;
        SignedCheckpoint::parse(&text).map_err(ReadError::Checkpoint)
    }

    /// The heads with which one key handed over to the next, by the number of their entries; not
    /// verified. Files with other names are not read.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`], [`ReadError::TooLarge`].
    pub fn handovers(&self) -> Result<BTreeMap<u64, String>, ReadError> {
        let mut handovers = BTreeMap::new();
        for name in self.source.names_in(HANDOVER_DIRECTORY)? {
            let Some(size) = name.parse::<u64>().ok().filter(|size| size.to_string() == name) else {
                continue;
            };
            if handovers.len() == MAX_HANDOVERS {
                return Err(ReadError::TooLarge(self.source.named(HANDOVER_DIRECTORY)));
            }
            if let Some(bytes) = self.file(&format!("{HANDOVER_DIRECTORY}/{size}"), MAX_CHECKPOINT_LENGTH)? {
                handovers.insert(size, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        Ok(handovers)
    }

    /// The bytes of a tile's file, `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`], [`ReadError::TooLarge`].
    pub fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, ReadError> {
        self.file(&tile.path(), 2 * usize::from(TILE_WIDTH) * HASH_LENGTH)
    }

    /// The bytes of the bundle with the entries under a tile of level 0, `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`], [`ReadError::TooLarge`].
    pub fn bundle(&self, tile: Tile) -> Result<Option<Vec<u8>>, ReadError> {
        self.file(&tile.entries_path(), MAX_BUNDLE_LENGTH)
    }

    /// The widest partial tile of level 0 at this index whose bundle is there, whatever the
    /// checkpoint says.
    pub(crate) fn widest_partial_bundle(&self, index: u64) -> Result<Option<Tile>, ReadError> {
        let tile = |width| Tile::new(0, index, width).ok();
        let Some(path) = tile(1).map(|tile| tile.entries_path()) else { return Ok(None) };
        let Some((directory, _)) = path.rsplit_once('/') else { return Ok(None) };
        let widths = self.source.names_in(directory)?.into_iter().filter_map(|name| {
            let width = name.parse::<u16>().ok()?;
            (width < TILE_WIDTH && width.to_string() == name).then_some(width)
        });
        Ok(widths.max().and_then(tile))
    }

    /// The lines of `details.jsonl`, which may be absent.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`].
    pub fn details(&self) -> Result<DetailsLines, ReadError> {
        DetailsLines::open(&self.source)
    }

    /// The proof that the entry at `index` is in this log, as a file for somebody who has neither.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotProven`] if there is no such entry or a hash tile is missing, and as
    /// [`Reader::checkpoint`].
    pub fn proof_file(&self, index: u64) -> Result<ProofFile, ReadError> {
        let checkpoint = self.checkpoint()?;
        let size = checkpoint.unverified().size;
        let mut tiles = LoadedTiles::new();
        for tile in InclusionProof::tiles(index, size).map_err(ReadError::NotProven)? {
            if let Some(bytes) = self.tile(tile)? {
                let path = self.source.named(&tile.path());
                tiles.insert(tile, &bytes).map_err(|_| ReadError::Bundle(path, tile.width()))?;
            }
        }
        let proof = InclusionProof::build(index, size, &tiles).map_err(ReadError::NotProven)?;
        Ok(ProofFile { index, proof, checkpoint, extra: None })
    }

    /// All entries up to the checkpoint in order, with memory for one bundle. Nothing is verified.
    ///
    /// # Errors
    ///
    /// As [`Reader::checkpoint`]; the iterator ends after its first error.
    pub fn records(&self) -> Result<impl Iterator<Item = Result<Record, ReadError>> + use<>, ReadError> {
        let size = self.checkpoint()?.unverified().size;
        let mut details = self.details()?.peekable();
        let reader = self.clone();
        let mut tiles = level_0_tiles(size);
        let mut entries = Vec::new().into_iter();
        let mut index = 0;
        let mut broken = false;
        Ok(std::iter::from_fn(move || {
            if broken {
                return None;
            }
            let mut next = || {
                let entry: Vec<u8> = match entries.next() {
                    Some(entry) => entry,
                    None => {
                        let Some(tile) = tiles.next() else { return Ok(None) };
                        entries = reader.entries_under(tile)?.into_iter();
                        let Some(entry) = entries.next() else { return Ok(None) };
                        entry
                    }
                };
                let mut beside = None;
                while let Some(line) =
                    details.next_if(|line| line.as_ref().is_ok_and(|(_, line)| line.index <= index) || line.is_err())
                {
                    let (_, line) = line?;
                    if line.index == index {
                        beside = Some(line.details);
                    }
                }
                index += 1;
                Ok(Some(Record { index: index - 1, entry, details: beside }))
            };
            let next = next().transpose();
            broken = matches!(next, Some(Err(_)));
            next
        }))
    }

    /// The entry at `index` with what lies beside it, read without those before it; `None` if the
    /// export ends before. Nothing is verified.
    ///
    /// # Errors
    ///
    /// As [`Reader::records`].
    pub fn record(&self, index: u64) -> Result<Option<Record>, ReadError> {
        let size = self.checkpoint()?.unverified().size;
        let width = u64::from(TILE_WIDTH);
        let Some(tile) = level_0_tiles_from(index / width, size).next().filter(|_| index < size) else {
            return Ok(None);
        };
        let place = usize::try_from(index % width).unwrap_or_default();
        let entry = self.entries_under(tile)?.into_iter().nth(place);
        match self.details()?.beside(index) {
            // Read one after the other, it is told on which line.
            Err(ReadError::Details { .. }) => {
                let wanted =
                    |record: &Result<Record, ReadError>| record.as_ref().is_ok_and(|record| record.index == index);
                self.records()?.find(|record| wanted(record) || record.is_err()).transpose()
            }
            beside => {
                let details = beside?;
                Ok(entry.map(|entry| Record { index, entry, details }))
            }
        }
    }

    fn entries_under(&self, tile: Tile) -> Result<Vec<Vec<u8>>, ReadError> {
        let path = self.source.named(&tile.entries_path());
        let Some(bytes) = self.bundle(tile)? else {
            return Err(ReadError::Missing(path));
        };
        bundle::entries(&bytes)
            .map(|entry| entry.map(<[u8]>::to_vec))
            .collect::<Option<Vec<_>>>()
            .filter(|entries| entries.len() == usize::from(tile.width()))
            .ok_or(ReadError::Bundle(path, tile.width()))
    }

    fn file(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(file) = self.source.file(name)? else { return Ok(None) };
        let path = self.source.named(name);
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(at(&path))?;
        if bytes.len() > limit {
            return Err(ReadError::TooLarge(path));
        }
        Ok(Some(bytes))
    }
}

/// The tiles of level 0 of a tree, left to right, the partial one last.
pub(crate) fn level_0_tiles(size: u64) -> impl Iterator<Item = Tile> {
    level_0_tiles_from(0, size)
}

fn level_0_tiles_from(first: u64, size: u64) -> impl Iterator<Item = Tile> {
    let width = u64::from(TILE_WIDTH);
    (first..size.div_ceil(width)).filter_map(move |index| {
        let left = size - index * width;
        Tile::new(0, index, u16::try_from(left.min(width)).ok()?).ok()
    })
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    let path = path.to_owned();
    move |source| ReadError::Io { path, source }
}

/// Whether the export holds what no tree of this size needs: entries beyond the checkpoint.
pub(crate) fn entries_beyond(reader: &Reader, size: u64) -> Result<Option<Tile>, ReadError> {
    let width = u64::from(TILE_WIDTH);
    let first = size / width;
    for tile in [Tile::full(0, first), Tile::full(0, first + 1)] {
        if reader.bundle(tile)?.is_some() {
            return Ok(Some(tile));
        }
    }
    // A partial one under the last tile itself was judged with that tile.
    reader.widest_partial_bundle(size.div_ceil(width))
}
