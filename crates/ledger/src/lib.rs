//! An append-only evidence log as a format.
//!
//! Entries are bytes. They are the leaves of a Merkle tree (RFC 6962, section 2.1), whose head is
//! signed as a C2SP checkpoint. What is exported is a directory of C2SP tiles, and anybody who has
//! the directory and a public key can check it without trusting the one who wrote it.
//!
//! ```text
//! entry ─ leaf_hash ─► Frontier ─ root ─► Checkpoint ─ CheckpointSigner ─► signed note
//!                        │
//!                        └─► Tile … ─► InclusionProof, ConsistencyProof, ProofFile
//! ```
//!
//! This crate knows nothing of what entries mean, and does no I/O but in [`export`] and
//! [`verify`], which work on directories.

pub mod checkpoint;
pub mod export;
pub mod frontier;
pub mod hash;
pub mod jcs;
pub mod proof;
pub mod proof_file;
pub mod tile;
pub mod verify;

pub use checkpoint::{Checkpoint, CheckpointError, CheckpointSigner, CheckpointVerifier, Origin, SignedCheckpoint};
pub use frontier::Frontier;
pub use hash::{Hash, leaf_hash, node_hash};
pub use proof::{ConsistencyProof, HashSource, InclusionProof, LoadedTiles};
pub use proof_file::ProofFile;
pub use tile::Tile;
