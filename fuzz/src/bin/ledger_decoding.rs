//! Everything of the ledger that is read back from bytes or text: reading never
//! panics, and what was read is written again as it stood.
//!
//! The first byte says what the rest is read as.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stepgate_ledger::export::details::DetailsLine;
use stepgate_ledger::export::{MAX_ENTRY_LENGTH, bundle};
use stepgate_ledger::{CheckpointVerifier, Frontier, Hash, ProofFile, SignedCheckpoint, Tile, jcs, leaf_hash};

/// A public key in the form of C2SP's signed notes; whose it is does not matter here.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 8 {
        0 => text(rest, checkpoint),
        1 => text(rest, proof_file),
        2 => text(rest, tile_path),
        3 => text(rest, verifier_key),
        4 => frontier(rest),
        5 => entries(rest),
        6 => details(rest),
        _ => json(rest),
    }
});

fn text(bytes: &[u8], read: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read(text);
    }
}

fn checkpoint(text: &str) {
    let verifier = CheckpointVerifier::parse(KEY).expect("the key above is one");
    let parsed = SignedCheckpoint::parse(text);
    if verifier.verify(text).is_ok() {
        panic!("a checkpoint was signed by a key that nobody here has");
    }
    if let Ok(parsed) = parsed {
        assert_eq!(parsed.text(), text);
        assert_eq!(SignedCheckpoint::parse(parsed.text()).unwrap().unverified(), parsed.unverified());
    }
}

fn proof_file(text: &str) {
    if let Ok(parsed) = ProofFile::parse(text) {
        assert_eq!(ProofFile::parse(&parsed.to_text()).unwrap().to_text(), parsed.to_text());
        let head = parsed.checkpoint.unverified();
        // Whatever it says, it is not in the tree by accident.
        let leaf = leaf_hash(text.as_bytes());
        assert!(parsed.proof.verify(parsed.index, head.size, leaf, head.root).is_err());
    }
}

fn tile_path(text: &str) {
    if let Ok(tile) = Tile::parse(text) {
        assert_eq!(tile.path(), text);
    }
}

fn verifier_key(text: &str) {
    if let Ok(verifier) = CheckpointVerifier::parse(text) {
        assert_eq!(verifier.key(), text);
    }
}

fn frontier(bytes: &[u8]) {
    if let Ok(mut frontier) = Frontier::from_bytes(bytes) {
        assert_eq!(frontier.to_bytes(), bytes);
        if frontier.size() < u64::MAX {
            let before = frontier.size();
            frontier.push(Hash::from_bytes([0; 32]));
            assert_eq!(frontier.size(), before + 1);
        }
        let _ = frontier.root();
    }
}

fn entries(bytes: &[u8]) {
    let mut written = Vec::new();
    for entry in bundle::entries(bytes) {
        match entry {
            Some(entry) => {
                assert!(entry.len() <= MAX_ENTRY_LENGTH);
                bundle::append(&mut written, entry).expect("what was read is not too long");
            }
            None => {
                assert!(bytes.starts_with(&written));
                return;
            }
        }
    }
    assert_eq!(written, bytes);
}

fn details(bytes: &[u8]) {
    if let Ok(line) = DetailsLine::parse(bytes) {
        let written = DetailsLine::to_json(line.index, &line.details).expect("what was read can be written");
        assert_eq!(DetailsLine::parse(written.as_bytes()).unwrap(), line);
    }
}

fn json(bytes: &[u8]) {
    let Ok(value) = jcs::parse_strict(bytes) else {
        return;
    };
    if let Ok(canonical) = jcs::canonical(&value) {
        let again = jcs::parse_strict(&canonical).expect("the canonical form has one reading");
        assert_eq!(jcs::canonical(&again).expect("and a canonical form"), canonical);
    }
}
