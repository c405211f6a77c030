//! Tiles: the tree cut into files of 256 hashes (C2SP tlog-tiles, v0.1.0).
//!
//! A tile of level 0 holds leaf hashes. Each hash in a tile of a higher level is the root of one
//! full tile of the level below.

use std::fmt;

use crate::hash::{HASH_LENGTH, Hash, complete_root};

/// How many hashes a full tile holds.
pub const TILE_WIDTH: u16 = 256;

/// The highest level that a tree of at most 2^63 leaves can have.
pub const MAX_LEVEL: u8 = 7;

const TILE_WIDTH_U64: u64 = TILE_WIDTH as u64;

/// The place of a tile: level, index in the level, and how many hashes it holds (1 to 256).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

/// A tile that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a tile: {0}")]
pub struct NotATile(String);

impl Tile {
    /// The tile of `width` hashes (1 to 256) at `level` (0 to [`MAX_LEVEL`]).
    ///
    /// # Errors
    ///
    /// [`NotATile`] for a level or a width out of range.
    pub fn new(level: u8, index: u64, width: u16) -> Result<Self, NotATile> {
        let tile = Self { level, index, width };
        if level > MAX_LEVEL || !(1..=TILE_WIDTH).contains(&width) {
            return Err(NotATile(format!("{tile:?}")));
        }
        Ok(tile)
    }

    /// A full tile. Levels beyond [`MAX_LEVEL`] are never asked for here.
    pub(crate) const fn full(level: u8, index: u64) -> Self {
        Self { level, index, width: TILE_WIDTH }
    }

    /// The level, 0 for leaf hashes.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// The index in its level.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// How many hashes it holds.
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// Whether it holds 256 hashes and will never change.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.width == TILE_WIDTH
    }

    /// How many nodes of `level` a tree of `size` leaves has.
    #[must_use]
    pub fn nodes_at(level: u8, size: u64) -> u64 {
        size.checked_shr(8 * u32::from(level)).unwrap_or(0)
    }

    /// The full tiles that a tree gains when it grows from `old_size` to `new_size` leaves, of all
    /// levels, lower levels first. Their bytes come from [`crate::proof::tile_hashes`].
    #[must_use]
    pub fn completed_between(old_size: u64, new_size: u64) -> Vec<Self> {
        (0..=MAX_LEVEL)
            .flat_map(|level| {
                let full = |size| Self::nodes_at(level, size) / TILE_WIDTH_U64;
                (full(old_size)..full(new_size)).map(move |index| Self::full(level, index))
            })
            .collect()
    }

    /// The partial tiles at the right edge of a tree of `size` leaves, lower levels first.
    #[must_use]
    pub fn partials(size: u64) -> Vec<Self> {
        (0..=MAX_LEVEL)
            .filter_map(|level| {
                let nodes = Self::nodes_at(level, size);
                let width = u16::try_from(nodes % TILE_WIDTH_U64).ok()?;
                Self::new(level, nodes / TILE_WIDTH_U64, width).ok()
            })
            .collect()
    }

    /// The path of the tile's file, as in `tile/0/x001/x234/067.p/12`.
    #[must_use]
    pub fn path(self) -> String {
        format!("tile/{}/{}", self.level, self.number())
    }

    /// The path of the bundle with the entries under this tile of level 0, as in
    /// `tile/entries/x001/x234/067`.
    #[must_use]
    pub fn entries_path(self) -> String {
        format!("tile/entries/{}", self.number())
    }

    fn number(self) -> String {
        let mut rest = self.index;
        let mut path = format!("{:03}", rest % 1000);
        while rest >= 1000 {
            rest /= 1000;
            path = format!("x{:03}/{path}", rest % 1000);
        }
        if !self.is_full() {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }

    /// Reads the path of a tile's file.
    ///
    /// # Errors
    ///
    /// [`NotATile`] for anything that [`Tile::path`] would not write.
    pub fn parse(path: &str) -> Result<Self, NotATile> {
        Self::read(path).filter(|tile| tile.path() == path).ok_or_else(|| NotATile(path.chars().take(80).collect()))
    }

    fn read(path: &str) -> Option<Self> {
        let (level, number) = path.strip_prefix("tile/")?.split_once('/')?;
        let (number, width) = match number.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok()?),
            None => (number, TILE_WIDTH),
        };
        let mut index = 0_u64;
        for part in number.split('/') {
            let part: u64 = part.strip_prefix('x').unwrap_or(part).parse().ok()?;
            index = index.checked_mul(1000)?.checked_add(part)?;
        }
        Self::new(level.parse().ok()?, index, width).ok()
    }

    /// The bytes of a tile's file: its hashes, one after the other.
    #[must_use]
    pub fn bytes(hashes: &[Hash]) -> Vec<u8> {
        hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }

    /// Reads the bytes of this tile's file.
    ///
    /// # Errors
    ///
    /// [`NotATile`] if they are not exactly as many hashes as the tile is wide.
    pub fn hashes(self, bytes: &[u8]) -> Result<Vec<Hash>, NotATile> {
        let (hashes, rest) = bytes.as_chunks::<HASH_LENGTH>();
        if !rest.is_empty() || hashes.len() != usize::from(self.width) {
            return Err(NotATile(format!("{self} with {} bytes", bytes.len())));
        }
        Ok(hashes.iter().copied().map(Hash::from_bytes).collect())
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path())
    }
}

/// Cuts a stream of leaf hashes into tiles of all levels, with memory for the right edge only.
#[derive(Debug, Default)]
pub(crate) struct TileCutter {
    /// For each level the hashes of its unfinished tile, and the index of that tile.
    levels: Vec<(u64, Vec<Hash>)>,
}

impl TileCutter {
    /// Takes the next leaf; gives every tile that it completes, lower levels first.
    pub(crate) fn push(&mut self, leaf: Hash) -> Vec<(Tile, Vec<Hash>)> {
        let mut completed = Vec::new();
        let mut carried = Some(leaf);
        for level in 0..=MAX_LEVEL {
            let Some(node) = carried.take() else { break };
            let position = usize::from(level);
            if self.levels.len() <= position {
                self.levels.push((0, Vec::new()));
            }
            let Some((index, hashes)) = self.levels.get_mut(position) else {
                break;
            };
            hashes.push(node);
            if hashes.len() == usize::from(TILE_WIDTH) {
                let full = std::mem::take(hashes);
                carried = complete_root(&full);
                completed.push((Tile::full(level, *index), full));
                *index += 1;
            }
        }
        completed
    }

    /// The partial tiles of the right edge as it is now.
    pub(crate) fn partials(&self) -> Vec<(Tile, &[Hash])> {
        (0..=MAX_LEVEL)
            .zip(&self.levels)
            .filter_map(|(level, (index, hashes))| {
                let width = u16::try_from(hashes.len()).ok()?;
                Some((Tile::new(level, *index, width).ok()?, hashes.as_slice()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    #[test]
    fn paths_are_those_of_the_specification() {
        for (level, index, width, path) in [
            (0, 0, 256, "tile/0/000"),
            (0, 1_234_067, 256, "tile/0/x001/x234/067"),
            (4, 1_234_067, 1, "tile/4/x001/x234/067.p/1"),
            (1, 999, 255, "tile/1/999.p/255"),
            (1, 1000, 256, "tile/1/x001/000"),
        ] {
            let tile = Tile::new(level, index, width).unwrap();
            assert_eq!(tile.path(), path);
            assert_eq!(Tile::parse(path), Ok(tile));
        }
        let bundle = Tile::new(0, 1_234_067, 7).unwrap();
        assert_eq!(bundle.entries_path(), "tile/entries/x001/x234/067.p/7");
    }

    #[test]
    fn other_spellings_of_a_path_are_refused() {
        for path in [
            "",
            "tile/0",
            "tile/0/0",
            "tile/0/0000",
            "tile/00/000",
            "tile/8/000",
            "tile/0/000.p/256",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/x000/000",
            "tile/0/001/000",
            "/tile/0/000",
            "tile/0/x001/x01/000",
            "tile/0/../000",
            "tile/0/000/",
            "tile/0/+00",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(Tile::parse(path).is_err(), "{path}");
        }
    }

    /// The example in the specification's section on partial tiles.
    #[test]
    fn a_tree_of_70_000_has_the_tiles_that_the_specification_counts() {
        let full = Tile::completed_between(0, 70_000);
        let at = |level| full.iter().filter(|tile| tile.level() == level).count();
        assert_eq!([at(0), at(1), at(2)], [273, 1, 0]);
        let partials: Vec<_> = Tile::partials(70_000).iter().map(|tile| tile.width()).collect();
        assert_eq!(partials, [112, 17, 1]);
        assert_eq!(Tile::partials(256), [Tile::new(1, 0, 1).unwrap()]);
        assert_eq!(Tile::completed_between(255, 257), [Tile::full(0, 0)]);
        assert!(Tile::completed_between(256, 511).is_empty());
    }

    #[test]
    fn the_cutter_gives_the_tiles_that_the_sizes_say() {
        let mut cutter = TileCutter::default();
        let mut seen = Vec::new();
        let size = 66_000_u64;
        for number in 0..size {
            let completed = cutter.push(leaf_hash(&number.to_be_bytes()));
            let expected = Tile::completed_between(number, number + 1);
            assert_eq!(completed.iter().map(|(tile, _)| *tile).collect::<Vec<_>>(), expected);
            seen.extend(expected);
        }
        seen.sort_unstable();
        let mut all = Tile::completed_between(0, size);
        all.sort_unstable();
        assert_eq!(seen, all);
        let partials: Vec<_> = cutter.partials().iter().map(|(tile, _)| *tile).collect();
        assert_eq!(partials, Tile::partials(size));
    }
}
