//! An append-only evidence log as a format: Merkle tree, signed checkpoints, proofs, verifier
