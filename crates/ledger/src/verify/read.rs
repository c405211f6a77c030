//! The reading half: bundles, hashes and details, one bundle after the other.

use std::sync::mpsc::SyncSender;

use super::report::Finding;
use crate::export::DetailsLines;
use crate::export::bundle;
use crate::export::reader::{entries_beyond, level_0_tiles};
use crate::export::{Details, DetailsLine, ReadError, Reader};
use crate::hash::{Hash, leaf_hash};
use crate::tile::{TILE_WIDTH, Tile};

/// How many bundles are read ahead.
pub(super) const READ_AHEAD: usize = 4;

/// After how many bundles in a row of which nothing is there the rest is taken as missing: a
/// checkpoint may claim any size.
const MAX_GAP: u64 = 4096;

/// The hashes in a tile's file.
pub(super) enum TileFile {
    Absent,
    /// There, but not as many hashes as the tile is wide.
    Broken,
    Read(Vec<Hash>),
}

/// Everything under one tile of level 0.
pub(super) struct Batch {
    pub(super) tile: Tile,
    /// `None` if the bundle's file is missing.
    pub(super) entries: Option<Vec<Entry>>,
    /// Whether the bundle that is there in place of the tile's is of fewer entries.
    pub(super) is_shorter: bool,
    pub(super) hashes: TileFile,
    pub(super) findings: Vec<Finding>,
}

impl Batch {
    /// No entries, only something to tell.
    const fn of_findings(tile: Tile, findings: Vec<Finding>) -> Self {
        Self { tile, entries: Some(Vec::new()), is_shorter: false, hashes: TileFile::Read(Vec::new()), findings }
    }

    const fn is_absent(&self) -> bool {
        self.entries.is_none() && matches!(self.hashes, TileFile::Absent)
    }
}

pub(super) struct Entry {
    pub(super) leaf: Hash,
    pub(super) bytes: Vec<u8>,
    pub(super) details: Option<Details>,
}

/// Sends every batch of a tree of `size` entries in order, until the other side hangs up.
pub(super) fn send_batches(reader: &Reader, size: u64, sender: &SyncSender<Result<Batch, ReadError>>) {
    let mut lines = match reader.details() {
        Ok(lines) => DetailsInOrder::new(lines),
        Err(error) => {
            // Nobody listens only if the other side failed first, and told why.
            let _ = sender.send(Err(error));
            return;
        }
    };
    let mut gap = 0;
    let mut held = size;
    for tile in level_0_tiles(size) {
        let batch = read_batch(reader, tile, size, &mut lines);
        for finding in batch.iter().flat_map(|batch| &batch.findings) {
            if let Finding::CheckpointOfOtherSize { found, .. } = finding {
                held = held.max(*found);
            }
        }
        let broken = batch.is_err();
        let absent = batch.as_ref().is_ok_and(Batch::is_absent);
        gap = if absent { gap + 1 } else { 0 };
        if sender.send(batch).is_err() || broken {
            return;
        }
        if gap == MAX_GAP {
            let from = (tile.index() + 1) * u64::from(TILE_WIDTH);
            let missing = Finding::EntriesMissing { from, to: size.max(from) };
            let _ = sender.send(Ok(Batch::of_findings(tile, vec![missing])));
            break;
        }
    }
    // What lies beside entries beyond the checkpoint is no more wrong than they are.
    let rest =
        entries_beyond(reader, size).and_then(|beyond| lines.rest(if beyond.is_some() { u64::MAX } else { held }));
    if !matches!(&rest, Ok(findings) if findings.is_empty()) {
        let end = Tile::full(0, size / u64::from(TILE_WIDTH));
        let _ = sender.send(rest.map(|findings| Batch::of_findings(end, findings)));
    }
}

/// What a tile's file holds.
pub(super) fn read_tile(reader: &Reader, tile: Tile) -> Result<TileFile, ReadError> {
    Ok(match reader.tile(tile)? {
        None => TileFile::Absent,
        Some(bytes) => tile.hashes(&bytes).map_or(TileFile::Broken, TileFile::Read),
    })
}

fn read_batch(reader: &Reader, tile: Tile, size: u64, lines: &mut DetailsInOrder) -> Result<Batch, ReadError> {
    let mut findings = Vec::new();
    let first = tile.index() * u64::from(TILE_WIDTH);
    let after = first + u64::from(tile.width());
    let mut is_shorter = false;
    let entries = match read_bundle(reader, tile)? {
        None => None,
        Some(Bundle { bytes: bundle, width }) => {
            if let Some(width) = width {
                findings.push(Finding::CheckpointOfOtherSize { size, found: first + u64::from(width) });
                is_shorter = width < tile.width();
            }
            let mut entries = Vec::with_capacity(usize::from(TILE_WIDTH));
            for (index, bytes) in (first..).zip(bundle::entries(&bundle)) {
                let Some(bytes) = bytes else {
                    findings.push(Finding::BundleCut { path: tile.entries_path() });
                    break;
                };
                let details = if index < after { lines.of(index, &mut findings)? } else { None };
                entries.push(Entry { leaf: leaf_hash(bytes), bytes: bytes.to_vec(), details });
            }
            Some(entries)
        }
    };
    Ok(Batch { tile, entries, is_shorter, hashes: read_tile(reader, tile)?, findings })
}

struct Bundle {
    bytes: Vec<u8>,
    /// The width of the partial tile whose bundle this is, if it is another than the one sought.
    width: Option<u16>,
}

/// A log that grew may have the full bundle in place of the partial one (C2SP tlog-tiles,
/// "Partial Tiles"); what is beyond the tile is left out here. A partial one of another width says
/// that the export was made for another checkpoint.
fn read_bundle(reader: &Reader, tile: Tile) -> Result<Option<Bundle>, ReadError> {
    if let Some(bytes) = reader.bundle(tile)? {
        return Ok(Some(Bundle { bytes, width: None }));
    }
    let cut = |bytes: &[u8]| {
        let length =
            bundle::entries(bytes).take(usize::from(tile.width())).flatten().map(|entry| entry.len() + 2).sum();
        bytes.get(..length).map(<[u8]>::to_vec)
    };
    if !tile.is_full()
        && let Some(full) = reader.bundle(Tile::full(0, tile.index()))?
    {
        return Ok(cut(&full).map(|bytes| Bundle { bytes, width: None }));
    }
    let Some(other) = reader.widest_partial_bundle(tile.index())? else {
        return Ok(None);
    };
    let bytes = reader.bundle(other)?.and_then(|bytes| cut(&bytes));
    Ok(bytes.map(|bytes| Bundle { bytes, width: Some(other.width()) }))
}

/// Gives each entry its line of details, in one pass over the file.
struct DetailsInOrder {
    lines: DetailsLines,
    pending: Option<(u64, DetailsLine)>,
    /// The lowest index that the next line may have.
    next_index: u64,
}

impl DetailsInOrder {
    const fn new(lines: DetailsLines) -> Self {
        Self { lines, pending: None, next_index: 0 }
    }

    fn of(&mut self, index: u64, findings: &mut Vec<Finding>) -> Result<Option<Details>, ReadError> {
        loop {
            let Some((number, line)) =
                self.pending.take().map_or_else(|| self.advance(findings), |line| Ok(Some(line)))?
            else {
                return Ok(None);
            };
            match line.index.cmp(&index) {
                // Of an entry that is missing, which is a finding already.
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(Some(line.details)),
                std::cmp::Ordering::Greater => {
                    self.pending = Some((number, line));
                    return Ok(None);
                }
            }
        }
    }

    /// The lines after that of the last entry: those of no entry in the tree are findings.
    fn rest(&mut self, size: u64) -> Result<Vec<Finding>, ReadError> {
        let mut findings = Vec::new();
        while let Some((line, read)) = match self.pending.take() {
            Some(pending) => Some(pending),
            None => self.advance(&mut findings)?,
        } {
            if read.index >= size {
                findings.push(Finding::DetailsMisplaced { line, index: read.index });
            }
            if findings.len() > super::MAX_FINDINGS {
                break;
            }
        }
        Ok(findings)
    }

    /// The next line that can be read and is in order.
    fn advance(&mut self, findings: &mut Vec<Finding>) -> Result<Option<(u64, DetailsLine)>, ReadError> {
        loop {
            match self.lines.next() {
                None => return Ok(None),
                Some(Ok((line, read))) if read.index < self.next_index => {
                    findings.push(Finding::DetailsMisplaced { line, index: read.index });
                }
                Some(Ok((line, read))) => {
                    self.next_index = read.index + 1;
                    return Ok(Some((line, read)));
                }
                Some(Err(ReadError::Details { line, source })) => {
                    findings.push(Finding::DetailsMalformed { line, reason: source.to_string() });
                }
                Some(Err(error)) => return Err(error),
            }
            if findings.len() > super::MAX_FINDINGS {
                return Ok(None);
            }
        }
    }
}
