//! Proofs that an entry is in a tree, and that one tree is the beginning of another
//! (RFC 6962, sections 2.1.1 and 2.1.2).

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use tlog_tiles::tlog;

use crate::hash::{Hash, complete_root};
use crate::tile::{MAX_LEVEL, NotATile, TILE_WIDTH, Tile};

/// The largest tree that proofs are made for.
pub const MAX_SIZE: u64 = 1 << 60;

/// Where the hashes of a tree are read from.
///
/// Asked for are full tiles of any level, and of partial tiles only that of level 0, the hashes of
/// the newest leaves. What is partial above is computed from the full tiles beneath it, so whoever
/// stores a tree needs to write each tile only once.
pub trait HashSource {
    /// The hashes of a tile, exactly as many as it is wide, or `None` if it is not there.
    fn tile(&self, tile: Tile) -> Option<Cow<'_, [Hash]>>;
}

/// Tiles in memory.
#[derive(Debug, Clone, Default)]
pub struct LoadedTiles(BTreeMap<Tile, Vec<Hash>>);

impl LoadedTiles {
    /// No tiles yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tile from the bytes of its file.
    ///
    /// # Errors
    ///
    /// [`NotATile`] if they are not as many hashes as the tile is wide.
    pub fn insert(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), NotATile> {
        self.0.insert(tile, tile.hashes(bytes)?);
        Ok(())
    }
}

impl HashSource for LoadedTiles {
    fn tile(&self, tile: Tile) -> Option<Cow<'_, [Hash]>> {
        self.0.get(&tile).map(|hashes| Cow::Borrowed(hashes.as_slice()))
    }
}

/// Why a proof cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotProve {
    /// There is no such entry or no such smaller tree.
    #[error("{0} is not in a tree of {1} entries")]
    OutOfRange(u64, u64),
    /// The source lacks a tile, or has it in another width.
    #[error("the tile {0} is missing")]
    MissingTile(Tile),
}

/// A proof that does not prove what it is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to the root")]
pub struct InvalidProof;

/// The path from a leaf to the root: the sibling of each node on it, from the leaf upwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof(Vec<Hash>);

impl InclusionProof {
    /// Proves that the tree of the first `size` leaves has a leaf at `index`.
    ///
    /// # Errors
    ///
    /// [`CannotProve`] if it has not, or if the source lacks a tile.
    pub fn build(index: u64, size: u64, source: &impl HashSource) -> Result<Self, CannotProve> {
        if index >= size || size > MAX_SIZE {
            return Err(CannotProve::OutOfRange(index, size));
        }
        let tree = Tree::new(size, source);
        tree.finish(tlog::prove_record(size, index, &tree)).map(Self)
    }

    /// The tiles that [`InclusionProof::build`] will ask for.
    ///
    /// # Errors
    ///
    /// [`CannotProve::OutOfRange`] if there is no such leaf.
    pub fn tiles(index: u64, size: u64) -> Result<BTreeSet<Tile>, CannotProve> {
        let asked = AskedFor::default();
        Self::build(index, size, &asked)?;
        Ok(asked.0.into_inner())
    }

    /// Wraps hashes that came from elsewhere; they prove nothing until verified.
    #[must_use]
    pub const fn from_hashes(hashes: Vec<Hash>) -> Self {
        Self(hashes)
    }

    /// The hashes, from the sibling of the leaf upwards.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.0
    }

    /// Checks that `leaf` is at `index` in the tree of `size` leaves with this `root`.
    ///
    /// # Errors
    ///
    /// [`InvalidProof`] if the proof does not show that.
    pub fn verify(&self, index: u64, size: u64, leaf: Hash, root: Hash) -> Result<(), InvalidProof> {
        tlog::check_record(&foreign(&self.0), size, root.into(), index, leaf.into()).map_err(|_| InvalidProof)
    }
}

/// The nodes from which the roots of a smaller and of a larger tree can both be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof(Vec<Hash>);

impl ConsistencyProof {
    /// Proves that the first `old_size` leaves of the tree of `new_size` leaves are the whole tree
    /// of `old_size` leaves.
    ///
    /// # Errors
    ///
    /// [`CannotProve`] if `old_size` is zero or larger than `new_size`, or if the source lacks a
    /// tile.
    pub fn build(old_size: u64, new_size: u64, source: &impl HashSource) -> Result<Self, CannotProve> {
        if old_size == 0 || old_size > new_size || new_size > MAX_SIZE {
            return Err(CannotProve::OutOfRange(old_size, new_size));
        }
        let tree = Tree::new(new_size, source);
        tree.finish(tlog::prove_tree(new_size, old_size, &tree)).map(Self)
    }

    /// The tiles that [`ConsistencyProof::build`] will ask for.
    ///
    /// # Errors
    ///
    /// [`CannotProve::OutOfRange`] as there.
    pub fn tiles(old_size: u64, new_size: u64) -> Result<BTreeSet<Tile>, CannotProve> {
        let asked = AskedFor::default();
        Self::build(old_size, new_size, &asked)?;
        Ok(asked.0.into_inner())
    }

    /// Wraps hashes that came from elsewhere; they prove nothing until verified.
    #[must_use]
    pub const fn from_hashes(hashes: Vec<Hash>) -> Self {
        Self(hashes)
    }

    /// The hashes in the order of RFC 6962.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.0
    }

    /// Checks that the tree of `old_size` leaves with `old_root` is the beginning of the tree of
    /// `new_size` leaves with `new_root`.
    ///
    /// # Errors
    ///
    /// [`InvalidProof`] if the proof does not show that, and always for an `old_size` of zero: an
    /// empty tree is the beginning of every tree, so a proof of it says nothing.
    pub fn verify(&self, old_size: u64, old_root: Hash, new_size: u64, new_root: Hash) -> Result<(), InvalidProof> {
        let proof = foreign(&self.0);
        tlog::check_tree(&proof, new_size, new_root.into(), old_size, old_root.into()).map_err(|_| InvalidProof)
    }
}

/// The hashes of any tile of a tree, computed where the source does not keep it.
///
/// # Errors
///
/// [`CannotProve::MissingTile`] if the source lacks a tile beneath.
pub fn tile_hashes(tile: Tile, source: &impl HashSource) -> Result<Vec<Hash>, CannotProve> {
    if let Some(hashes) = source.tile(tile) {
        return Ok(hashes.into_owned());
    }
    let Some(below) = tile.level().checked_sub(1) else {
        return Err(CannotProve::MissingTile(tile));
    };
    let first = tile.index() * u64::from(TILE_WIDTH);
    (first..first + u64::from(tile.width())).map(|index| tile_root(Tile::full(below, index), source)).collect()
}

fn tile_root(tile: Tile, source: &impl HashSource) -> Result<Hash, CannotProve> {
    source.tile(tile).and_then(|hashes| complete_root(&hashes)).ok_or(CannotProve::MissingTile(tile))
}

fn foreign(hashes: &[Hash]) -> Vec<tlog::Hash> {
    hashes.iter().copied().map(Into::into).collect()
}

/// A tree of a certain size over a source, as tlog_tiles wants to read it.
struct Tree<'a, S> {
    size: u64,
    source: &'a S,
    /// The tile that was missing: tlog_tiles' errors have no room for it.
    missing: Cell<Option<Tile>>,
}

impl<'a, S: HashSource> Tree<'a, S> {
    fn new(size: u64, source: &'a S) -> Self {
        Self { size, source, missing: Cell::new(None) }
    }

    fn finish(&self, made: Result<Vec<tlog::Hash>, tlog::Error>) -> Result<Vec<Hash>, CannotProve> {
        match (made, self.missing.get()) {
            (Ok(hashes), None) => Ok(hashes.into_iter().map(Into::into).collect()),
            (_, Some(tile)) => Err(CannotProve::MissingTile(tile)),
            (Err(_), None) => Err(CannotProve::OutOfRange(self.size, self.size)),
        }
    }

    /// The root of the complete subtree of 2^`height` leaves with this index among those.
    fn node(&self, height: u8, index: u64) -> Result<Hash, CannotProve> {
        let (level, within) = (height / 8, height % 8);
        let first = index << within;
        let tile_index = first / u64::from(TILE_WIDTH);
        let nodes = Tile::nodes_at(level, self.size);
        let left = nodes.saturating_sub(tile_index * u64::from(TILE_WIDTH));
        if level == 0 || left >= u64::from(TILE_WIDTH) {
            let width = u16::try_from(left.min(u64::from(TILE_WIDTH))).unwrap_or(TILE_WIDTH);
            let tile = Tile::new(level.min(MAX_LEVEL), tile_index, width)
                .map_err(|_| CannotProve::OutOfRange(index, self.size))?;
            let start = usize::try_from(first % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
            return self
                .source
                .tile(tile)
                .filter(|hashes| hashes.len() == usize::from(width))
                .and_then(|hashes| complete_root(hashes.get(start..start + (1 << within))?))
                .ok_or(CannotProve::MissingTile(tile));
        }
        let roots: Vec<Hash> = (first..first + (1 << within))
            .map(|index| tile_root(Tile::full(level - 1, index), self.source))
            .collect::<Result<_, _>>()?;
        complete_root(&roots).ok_or(CannotProve::OutOfRange(index, self.size))
    }
}

impl<S: HashSource> tlog::HashReader for Tree<'_, S> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        indexes
            .iter()
            .map(|stored| {
                let (height, index) = tlog::split_stored_hash_index(*stored);
                self.node(height, index).map(Into::into).map_err(|error| {
                    if let CannotProve::MissingTile(tile) = error {
                        self.missing.set(Some(tile));
                    }
                    tlog::Error::IndexesNotInTree
                })
            })
            .collect()
    }
}

/// A source that has every tile, all zeros, and remembers what it was asked for.
#[derive(Default)]
struct AskedFor(RefCell<BTreeSet<Tile>>);

impl HashSource for AskedFor {
    fn tile(&self, tile: Tile) -> Option<Cow<'_, [Hash]>> {
        self.0.borrow_mut().insert(tile);
        Some(Cow::Owned(vec![Hash::EMPTY_TREE; usize::from(tile.width())]))
    }
}
