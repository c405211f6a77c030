//! The tree, its proofs and its frontier, against public vectors and against each other.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::borrow::Cow;

use proptest::prelude::*;
use serde::Deserialize;
use stepgate_ledger::proof::tile_hashes;
use stepgate_ledger::{
    ConsistencyProof, Frontier, Hash, HashSource, InclusionProof, LoadedTiles, Tile, leaf_hash, node_hash,
};

/// The leaves and roots that Certificate Transparency implementations are tested with
/// (transparency-dev/merkle, `testonly/constants.go`, Apache-2.0).
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn roots_of_the_certificate_transparency_vectors() {
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root().to_hex(), ROOTS[0]);
    for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
        frontier.push(leaf_hash(&hex::decode(leaf).unwrap()));
        assert_eq!(frontier.root().to_hex(), *root);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionCase {
    case: String,
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

/// Several cases hold texts that are no hashes ("don't care 1"); what matters of them is only which
/// are equal.
fn hash(text: &str) -> Hash {
    Hash::from_base64(text).unwrap_or_else(|_| leaf_hash(text.as_bytes()))
}

fn hashes(texts: Option<Vec<String>>) -> Vec<Hash> {
    texts.unwrap_or_default().iter().map(|text| hash(text)).collect()
}

#[test]
fn inclusion_cases_of_transparency_dev() {
    let cases: Vec<InclusionCase> = serde_json::from_str(include_str!("data/inclusion.json")).unwrap();
    assert_eq!(cases.len(), 98);
    for case in cases {
        // An absent root or leaf cannot even be written down in our types.
        let absent = case.root.is_empty() || case.leaf_hash.is_empty();
        let verified = InclusionProof::from_hashes(hashes(case.proof))
            .verify(case.leaf_idx, case.tree_size, hash(&case.leaf_hash), hash(&case.root))
            .is_ok_and(|()| !absent);
        assert_eq!(verified, !case.want_err, "{}", case.case);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConsistencyCase {
    case: String,
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

#[test]
fn consistency_cases_of_transparency_dev() {
    let cases: Vec<ConsistencyCase> = serde_json::from_str(include_str!("data/consistency.json")).unwrap();
    assert_eq!(cases.len(), 98);
    for case in cases {
        let verified = ConsistencyProof::from_hashes(hashes(case.proof))
            .verify(case.size1, hash(&case.root1), case.size2, hash(&case.root2))
            .is_ok();
        assert_eq!(verified, !case.want_err, "{}", case.case);
    }
}

/// The definition of RFC 6962, section 2.1, word for word.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::from_hex(ROOTS[0]).unwrap(),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            node_hash(naive_root(&leaves[..split]), naive_root(&leaves[split..]))
        }
    }
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

/// What a store keeps: each full tile once, and the newest leaf hashes. Anything else is refused,
/// so that a proof that asked for more would fail.
struct Kept {
    leaves: Vec<Hash>,
}

impl HashSource for Kept {
    fn tile(&self, tile: Tile) -> Option<Cow<'_, [Hash]>> {
        let size = self.leaves.len() as u64;
        let kept = tile.is_full() || (tile.level() == 0 && Tile::partials(size).contains(&tile));
        let span = 256_usize.pow(tile.level().into());
        let first = usize::try_from(tile.index()).unwrap() * 256 * span;
        let covered = self.leaves.get(first..first + usize::from(tile.width()) * span)?;
        kept.then(|| Cow::Owned(covered.chunks(span).map(naive_root).collect()))
    }
}

fn check_proofs(size: u64, indexes: impl IntoIterator<Item = u64>) {
    let kept = Kept { leaves: leaves(size) };
    let root = naive_root(&kept.leaves);
    for index in indexes {
        let leaf = kept.leaves[usize::try_from(index).unwrap()];
        let proof = InclusionProof::build(index, size, &kept).unwrap();
        proof.verify(index, size, leaf, root).unwrap();

        let old_size = index + 1;
        let old_root = naive_root(&kept.leaves[..usize::try_from(old_size).unwrap()]);
        let consistency = ConsistencyProof::build(old_size, size, &kept).unwrap();
        consistency.verify(old_size, old_root, size, root).unwrap();

        let mut loaded = LoadedTiles::new();
        for tile in InclusionProof::tiles(index, size).unwrap() {
            loaded.insert(tile, &Tile::bytes(&kept.tile(tile).unwrap())).unwrap();
        }
        assert_eq!(InclusionProof::build(index, size, &loaded), Ok(proof));
        let mut loaded = LoadedTiles::new();
        for tile in ConsistencyProof::tiles(old_size, size).unwrap() {
            loaded.insert(tile, &Tile::bytes(&kept.tile(tile).unwrap())).unwrap();
        }
        assert_eq!(ConsistencyProof::build(old_size, size, &loaded), Ok(consistency));
    }
}

#[test]
fn every_proof_of_small_trees_verifies() {
    for size in 1..=66 {
        check_proofs(size, 0..size);
    }
}

#[test]
fn proofs_across_tiles_verify() {
    for size in [255, 256, 257, 511, 512, 513, 1000] {
        check_proofs(size, [0, 1, 254, size / 2, size - 1]);
    }
    check_proofs(65_700, [300, 65_699]);
}

#[test]
fn a_missing_tile_is_named() {
    let error = InclusionProof::build(3, 300, &LoadedTiles::new()).unwrap_err();
    assert_eq!(error.to_string(), "the tile tile/0/000 is missing");
    assert!(InclusionProof::build(3, 3, &LoadedTiles::new()).is_err());
    assert!(ConsistencyProof::build(0, 3, &LoadedTiles::new()).is_err());
    assert!(ConsistencyProof::build(4, 3, &LoadedTiles::new()).is_err());
}

#[test]
fn higher_tiles_come_from_the_tiles_beneath() {
    struct OnlyLevelZero(Kept);
    impl HashSource for OnlyLevelZero {
        fn tile(&self, tile: Tile) -> Option<Cow<'_, [Hash]>> {
            (tile.level() == 0).then(|| self.0.tile(tile))?
        }
    }
    let source = OnlyLevelZero(Kept { leaves: leaves(65_536) });
    let tile = Tile::new(1, 0, 256).unwrap();
    assert_eq!(tile_hashes(tile, &source).unwrap(), source.0.tile(tile).unwrap().into_owned());
}

fn flip(hashes: &[Hash], bit: usize) -> Vec<Hash> {
    let mut bytes = Tile::bytes(hashes);
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.chunks(32).map(|hash| Hash::from_slice(hash).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_frontier_has_the_root_of_the_definition(size in 0_u64..700) {
        let leaves = leaves(size);
        let mut frontier = Frontier::new();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        prop_assert_eq!(frontier.root(), naive_root(&leaves));
        let again = Frontier::from_bytes(&frontier.to_bytes()).unwrap();
        prop_assert_eq!(again.root(), frontier.root());
    }

    #[test]
    fn a_proof_with_any_bit_flipped_fails(size in 2_u64..600, index: u64, bit: usize) {
        let kept = Kept { leaves: leaves(size) };
        let root = naive_root(&kept.leaves);
        let index = index % size;
        let leaf = kept.leaves[usize::try_from(index).unwrap()];
        let proof = InclusionProof::build(index, size, &kept).unwrap();
        let flipped = InclusionProof::from_hashes(flip(proof.hashes(), bit));
        prop_assert!(flipped.verify(index, size, leaf, root).is_err());
        prop_assert!(proof.verify(index, size, flip(&[leaf], bit)[0], root).is_err());
        prop_assert!(proof.verify(index, size, leaf, flip(&[root], bit)[0]).is_err());
        prop_assert!(proof.verify(index ^ 1, size, leaf, root).is_err());

        let old_size = 1 + index % (size - 1);
        let old_root = naive_root(&kept.leaves[..usize::try_from(old_size).unwrap()]);
        let proof = ConsistencyProof::build(old_size, size, &kept).unwrap();
        let flipped = ConsistencyProof::from_hashes(flip(proof.hashes(), bit));
        prop_assert!(flipped.verify(old_size, old_root, size, root).is_err());
        prop_assert!(proof.verify(old_size, flip(&[old_root], bit)[0], size, root).is_err());
        prop_assert!(proof.verify(old_size, old_root, size, flip(&[root], bit)[0]).is_err());
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes: Vec<u8>, text: String) {
        let _ = Frontier::from_bytes(&bytes);
        let _ = stepgate_ledger::export::bundle::entries(&bytes).count();
        let _ = stepgate_ledger::export::DetailsLine::parse(&bytes);
        let _ = Tile::parse(&text);
        let _ = stepgate_ledger::ProofFile::parse(&text);
        let _ = stepgate_ledger::SignedCheckpoint::parse(&text);
    }
}
