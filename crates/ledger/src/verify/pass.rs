//! The one pass: the tree of the entries, the tree of the hash tiles, and what lies between.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use super::Visitor;
use super::align::Aligner;
use super::read::{Batch, READ_AHEAD, TileFile, read_tile, send_batches};
use super::report::{Finding, Findings, NotChecked};
use crate::checkpoint::Checkpoint;
use crate::export::reader::entries_beyond;
use crate::export::{ReadError, Reader, Record};
use crate::frontier::Frontier;
use crate::hash::Hash;
use crate::tile::{TILE_WIDTH, Tile, TileCutter};

/// What the pass computed.
pub(super) struct Pass {
    pub(super) visited: u64,
    /// The tree of the entries as they are.
    entries: Tree,
    /// The tree of the hash tiles of level 0, from where it first differs from the entries.
    tiles: Option<Tree>,
    /// What differs between the two.
    aligner: Aligner,
    /// The first index at which they differ.
    first_difference: Option<u64>,
    tiles_absent: u64,
    first_absent: String,
}

/// A frontier that remembers its root at some sizes.
#[derive(Clone)]
struct Tree {
    frontier: Frontier,
    wanted: Vec<u64>,
    roots: BTreeMap<u64, Hash>,
}

impl Tree {
    fn new(mut wanted: Vec<u64>) -> Self {
        wanted.sort_unstable_by(|left, right| right.cmp(left));
        let mut tree = Self { frontier: Frontier::new(), wanted, roots: BTreeMap::new() };
        tree.note_root();
        tree
    }

    fn push(&mut self, leaf: Hash) {
        self.frontier.push(leaf);
        self.note_root();
    }

    fn note_root(&mut self) {
        while self.wanted.last() == Some(&self.frontier.size()) {
            self.wanted.pop();
            self.roots.insert(self.frontier.size(), self.frontier.root());
        }
    }

    fn is(&self, head: &Checkpoint) -> bool {
        self.frontier.size() == head.size && self.frontier.root() == head.root
    }
}

/// Reads, compares and visits everything up to the claimed size; notes the roots at the sizes that
/// are wanted.
pub(super) fn run(
    reader: &Reader,
    claimed: &Checkpoint,
    wanted: Vec<u64>,
    visitor: &mut impl Visitor,
    findings: &mut Findings,
) -> Result<Pass, ReadError> {
    let mut pass = Pass {
        visited: 0,
        entries: Tree::new(wanted),
        tiles: None,
        aligner: Aligner::default(),
        first_difference: None,
        tiles_absent: 0,
        first_absent: String::new(),
    };
    let mut cutter = TileCutter::default();
    thread::scope(|scope| {
        let (sender, batches) = mpsc::sync_channel(READ_AHEAD);
        scope.spawn(move || send_batches(reader, claimed.size, &sender));
        for batch in batches {
            pass.take(batch?, reader, &mut cutter, visitor, findings)?;
        }
        Ok(())
    })?;
    pass.aligner.settle_all();
    for (tile, hashes) in cutter.partials() {
        pass.compare_tile(reader, tile, hashes, findings)?;
    }
    if let Some(tile) = entries_beyond(reader, claimed.size)? {
        findings.add(Finding::EntriesBeyondCheckpoint { path: tile.entries_path() });
    }
    Ok(pass)
}

impl Pass {
    fn take(
        &mut self,
        batch: Batch,
        reader: &Reader,
        cutter: &mut TileCutter,
        visitor: &mut impl Visitor,
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
        let first = batch.tile.index() * u64::from(TILE_WIDTH);
        batch.findings.into_iter().for_each(|finding| findings.add(finding));
        let signed = match batch.hashes {
            TileFile::Read(hashes) => Some(hashes),
            TileFile::Absent => {
                self.absent(batch.tile);
                None
            }
            TileFile::Broken => {
                findings.add(Finding::TileMismatch { path: batch.tile.path() });
                None
            }
        };
        let actual: Option<Vec<Hash>> =
            batch.entries.as_ref().map(|entries| entries.iter().map(|entry| entry.leaf).collect());
        // Where the hash tile is there, it is told which of a bundle's entries are missing.
        let here = match (&actual, &signed) {
            (None, _) => Some(0),
            (Some(actual), None) if batch.is_shorter => Some(actual.len() as u64),
            (Some(_), _) => None,
        };
        if let Some(here) = here {
            let to = first + u64::from(batch.tile.width());
            findings.add(Finding::EntriesMissing { from: first + here, to });
        }
        match (&signed, &actual) {
            (Some(signed), Some(actual)) => self.aligner.feed(first, signed, actual),
            _ => self.aligner.settle_all(),
        }
        for (tile, hashes) in self.grow(first, signed.as_deref(), actual.as_deref(), cutter) {
            if tile.level() > 0 {
                self.compare_tile(reader, tile, &hashes, findings)?;
            }
        }
        for (index, entry) in (first..).zip(batch.entries.into_iter().flatten()) {
            self.visited += 1;
            visitor.entry(Record { index, entry: entry.bytes, details: entry.details });
        }
        Ok(())
    }

    /// Grows both trees; gives the tiles that the hash tiles beneath complete.
    fn grow(
        &mut self,
        first: u64,
        signed: Option<&[Hash]>,
        actual: Option<&[Hash]>,
        cutter: &mut TileCutter,
    ) -> Vec<(Tile, Vec<Hash>)> {
        let actual_leaves = actual.unwrap_or_default();
        let reference = signed.unwrap_or(actual_leaves);
        // Without a hash tile nothing says that the entries should be others.
        if reference != actual_leaves || (actual.is_none() && signed.is_some()) {
            let same = reference.iter().zip(actual_leaves).take_while(|(a, b)| a == b);
            self.first_difference.get_or_insert(first + same.count() as u64);
            self.tiles.get_or_insert_with(|| self.entries.clone());
        }
        for leaf in actual_leaves {
            self.entries.push(*leaf);
        }
        if let Some(tiles) = &mut self.tiles {
            reference.iter().for_each(|leaf| tiles.push(*leaf));
        }
        reference.iter().flat_map(|leaf| cutter.push(*leaf)).collect()
    }

    fn compare_tile(
        &mut self,
        reader: &Reader,
        tile: Tile,
        hashes: &[Hash],
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
        if tile.level() == 0 {
            return Ok(());
        }
        match read_tile(reader, tile)? {
            TileFile::Absent => self.absent(tile),
            TileFile::Read(read) if read == hashes => {}
            TileFile::Read(_) | TileFile::Broken => {
                findings.add(Finding::TileMismatch { path: tile.path() });
            }
        }
        Ok(())
    }

    fn absent(&mut self, tile: Tile) {
        if self.tiles_absent == 0 {
            self.first_absent = tile.path();
        }
        self.tiles_absent += 1;
    }

    /// The root over the first `size` entries as they are, if it was wanted and nothing is missing before.
    pub(super) fn root_at(&self, size: u64) -> Option<Hash> {
        self.entries.roots.get(&size).copied()
    }

    /// Holds the trees against what was signed now and then.
    pub(super) fn judge(&self, claimed: &Checkpoint, remembered: &[Checkpoint], findings: &mut Findings) {
        let tiles_signed = self.tiles.as_ref().filter(|tiles| tiles.is(claimed));
        let entries_signed = self.entries.is(claimed);
        match (entries_signed, tiles_signed, self.first_difference) {
            (true, _, None) => {}
            (false, Some(_), _) => {
                self.aligner.differences().iter().for_each(|difference| findings.add(difference.clone()))
            }
            (_, _, difference) => {
                if let Some(index) = difference {
                    let tile = Tile::full(0, index / u64::from(TILE_WIDTH));
                    findings.add(Finding::TileMismatch { path: tile.path() });
                }
            }
        }
        if !entries_signed {
            findings.add(Finding::RootMismatch {
                size: claimed.size,
                expected: claimed.root,
                found_size: self.entries.frontier.size(),
                found: self.entries.frontier.root(),
            });
        }
        if self.tiles_absent > 0 {
            findings
                .not_checked(NotChecked::TilesAbsent { count: self.tiles_absent, first: self.first_absent.clone() });
        }
        if remembered.is_empty() {
            findings.not_checked(NotChecked::NoRememberedCheckpoint);
        }
        let authentic = match tiles_signed {
            _ if entries_signed => Some(&self.entries),
            other => other,
        };
        for head in remembered {
            self.compare_with_remembered(head, claimed, authentic, findings);
        }
    }

    fn compare_with_remembered(
        &self,
        head: &Checkpoint,
        claimed: &Checkpoint,
        authentic: Option<&Tree>,
        findings: &mut Findings,
    ) {
        if head.origin != claimed.origin {
            findings.add(Finding::OtherLog { remembered: head.origin.to_string(), found: claimed.origin.to_string() });
        } else if head.size > claimed.size {
            findings.add(Finding::Truncated { remembered: head.size, found: claimed.size });
        } else if let Some(tree) = authentic {
            match tree.roots.get(&head.size) {
                Some(root) if *root == head.root => {}
                Some(root) => findings.add(Finding::Forked { size: head.size, remembered: head.root, found: *root }),
                None => findings.not_checked(NotChecked::Remembered { size: head.size }),
            }
        } else {
            match self.entries.roots.get(&head.size) {
                Some(root) if *root == head.root => {}
                Some(_) => findings.add(Finding::DiffersFromRemembered { size: head.size }),
                None => findings.not_checked(NotChecked::Remembered { size: head.size }),
            }
        }
    }
}
