//! Signed heads and proof files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::borrow::Cow;

use stepgate_ledger::{
    Checkpoint, CheckpointError, CheckpointSigner, CheckpointVerifier, Frontier, Hash, HashSource, InclusionProof,
    Origin, ProofFile, SignedCheckpoint, Tile, leaf_hash,
};

const SEED: [u8; 32] = [7; 32];

fn signer() -> CheckpointSigner {
    CheckpointSigner::from_seed("example.com/log", SEED).unwrap()
}

fn verifier() -> CheckpointVerifier {
    CheckpointVerifier::parse(&signer().verifier_key()).unwrap()
}

/// The example key of C2SP signed-note (<https://c2sp.org/signed-note>, CC BY 4.0, credit: C2SP).
const C2SP_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const C2SP_NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

#[test]
fn the_example_of_c2sp_signed_note_verifies() {
    let verifier = signed_note::StandardVerifier::new(C2SP_KEY).unwrap();
    let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let note = signed_note::Note::from_bytes(C2SP_NOTE.as_bytes()).unwrap();
    note.verify(&known).unwrap();
    // The key is one of ours; the message is not a checkpoint, and refused for that alone.
    let verifier = CheckpointVerifier::parse(C2SP_KEY).unwrap();
    assert_eq!(verifier.origin().as_str(), "example.com/foo");
    assert_eq!(verifier.verify(C2SP_NOTE), Err(CheckpointError::Malformed));
    // The identity of a key is part of it: no other name or id is accepted.
    assert!(CheckpointVerifier::parse(&C2SP_KEY.replace("530d903a", "530d903b")).is_err());
    assert!(CheckpointVerifier::parse(&C2SP_KEY.replace("foo", "bar")).is_err());
}

fn head() -> Checkpoint {
    signer().checkpoint(3, leaf_hash(b"root"))
}

#[test]
fn a_signed_checkpoint_reads_back() {
    let signed = signer().sign(&head()).unwrap();
    let expected = format!("example.com/log\n3\n{}\n\n— example.com/log ", leaf_hash(b"root"));
    assert!(signed.text().starts_with(&expected), "{signed}");
    assert_eq!(verifier().verify(signed.text()), Ok(head()));
    assert_eq!(SignedCheckpoint::parse(signed.text()).unwrap(), signed);
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let text = signer().sign(&head()).unwrap().text().to_owned();
    let other = leaf_hash(b"other").to_base64();
    for (from, to) in [
        ("\n3\n", "\n4\n"),
        ("example.com/log\n3", "example.com/lag\n3"),
        (leaf_hash(b"root").to_base64().as_str(), other.as_str()),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(matches!(verifier().verify(&changed), Err(CheckpointError::WrongSignature(_))), "{changed}");
    }
    for bad in [
        "",
        "\n",
        &text[..text.len() - 1],
        &text.replace("\n3\n", "\n03\n"),
        &text.replace("\n3\n", "\n3\r\n"),
        &text.replace("\n\n", "\n"),
        &"x\n".repeat(40_000),
    ] {
        assert_eq!(verifier().verify(bad), Err(CheckpointError::Malformed), "{bad}");
    }
}

#[test]
fn another_key_is_not_believed_and_more_signatures_do_no_harm() {
    let other = CheckpointSigner::from_seed("example.com/log", [8; 32]).unwrap();
    let by_other = other.sign(&head()).unwrap();
    assert!(matches!(verifier().verify(by_other.text()), Err(CheckpointError::NotSigned(_))));

    let signed = signer().sign(&head()).unwrap();
    let cosignature = by_other.text().rsplit_once("\n\n").unwrap().1.to_owned();
    let cosigned = format!("{signed}{cosignature}— witness.example AAAAAAAAAAA=\n");
    assert_eq!(verifier().verify(&cosigned), Ok(head()));
    let extended = format!("{}\nsome extension\n", signed.text().split("\n\n").next().unwrap());
    assert_eq!(
        verifier().verify(&format!("{extended}\n{cosignature}")),
        Err(CheckpointError::NotSigned(signer().verifier_key()))
    );
}

#[test]
fn a_key_signs_for_its_own_log_only() {
    let mut checkpoint = head();
    checkpoint.origin = Origin::parse("example.com/other").unwrap();
    assert!(signer().sign(&checkpoint).is_err());
}

#[test]
fn a_name_that_could_forge_a_line_is_refused() {
    for name in ["", "a b", "a\nb", "a+b", "a\u{1b}[2J", "a\u{2028}b", &"a".repeat(256)] {
        assert!(Origin::parse(name).is_err(), "{name:?}");
    }
    assert!(!format!("{:?}", signer()).contains("7, 7"));
}

struct Leaves(Vec<Hash>);

impl HashSource for Leaves {
    fn tile(&self, tile: Tile) -> Option<Cow<'_, [Hash]>> {
        (tile.level() == 0 && tile.index() == 0).then_some(Cow::Borrowed(&self.0))
    }
}

fn proof_file(extra: Option<Vec<u8>>) -> ProofFile {
    let leaves: Vec<_> = (0_u8..7).map(|number| leaf_hash(&[number])).collect();
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    ProofFile {
        index: 4,
        proof: InclusionProof::build(4, 7, &Leaves(leaves)).unwrap(),
        checkpoint: signer().sign_head(frontier.size(), frontier.root()),
        extra,
    }
}

#[test]
fn a_proof_file_proves_its_entry_and_no_other() {
    for extra in [None, Some(b"the entry".to_vec())] {
        let file = proof_file(extra);
        let text = file.to_text();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\n"));
        let read = ProofFile::parse(&text).unwrap();
        assert_eq!(read, file);
        assert_eq!(read.verify(&[4], &verifier()).unwrap().size, 7);
        assert!(read.verify(&[5], &verifier()).is_err());
        let moved = ProofFile { index: 5, ..read.clone() };
        assert!(moved.verify(&[4], &verifier()).is_err());
        let other = CheckpointSigner::from_seed("example.com/log", [8; 32]).unwrap();
        let other = CheckpointVerifier::parse(&other.verifier_key()).unwrap();
        assert!(read.verify(&[4], &other).is_err());
    }
}

#[test]
fn what_is_not_a_proof_file_is_refused() {
    let text = proof_file(None).to_text();
    for bad in [
        text.replace("@v1", "@v2"),
        text.replace("index 4", "index 04"),
        text.replace("index 4", "index -4"),
        text.replace("index 4\n", ""),
        text.replace("index 4", "extra !\nindex 4"),
        text.replace("\n\n", "\n"),
        text.replace("index 4\n", "index 4\nAAAA\n"),
    ] {
        assert!(ProofFile::parse(&bad).is_err(), "{bad}");
    }
}
