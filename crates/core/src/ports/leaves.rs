//! The ledger's leaves, as an export takes them.

use stepgate_evidence::Details;
use stepgate_ledger::SignedCheckpoint;

/// A leaf of the ledger as it is exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Its index in the tree.
    pub index: u64,
    /// The bytes of the entry.
    pub bytes: Vec<u8>,
    /// What lies beside it.
    pub details: LeafDetails,
}

/// What lies beside a leaf.
#[derive(Clone, Debug, PartialEq)]
pub enum LeafDetails {
    /// There never was anything.
    None,
    /// Salt and body, as they were committed to.
    Kept(Details),
    /// They were erased.
    Erased,
}

/// The keys that sign the log's heads, as an export needs them.
#[derive(Clone, Debug)]
pub struct LogKeys {
    /// The public key that signs, as a C2SP verifier key (`name+id+base64`).
    pub signing: String,
    /// The heads with which each key handed over to the next, oldest first.
    pub handovers: Vec<SignedCheckpoint>,
}
