//! An export in a tar archive says what the same export in a directory says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use stepgate_ledger::export::{CHECKPOINT_FILE, Details, ReadError, Reader, Record, Writer};
use stepgate_ledger::verify::{Report, Trust, verify};
use stepgate_ledger::{CheckpointSigner, CheckpointVerifier};

const SIZE: u64 = 700;

fn signer() -> CheckpointSigner {
    CheckpointSigner::from_seed("example.com/log", [1; 32]).unwrap()
}

fn written(to: &Path) {
    let mut writer = Writer::create(to).unwrap();
    for number in 0..SIZE {
        let details = (number % 5 == 0).then_some(Details::Erased);
        writer.append(format!("entry {number}").as_bytes(), details.as_ref()).unwrap();
    }
    let head = signer().sign_head(writer.size(), writer.root());
    writer.finish(&head).unwrap();
}

struct Folder(tempfile::TempDir);

impl Folder {
    /// With the directory `evidence` in it, and `evidence.tar` packed from it under this name.
    fn packed_as(name: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        written(&folder.at("evidence"));
        std::fs::write(folder.at("evidence/README.md"), "not looked at").unwrap();
        let mut builder = tar::Builder::new(std::fs::File::create(folder.at("evidence.tar")).unwrap());
        builder.append_dir_all(name, folder.at("evidence")).unwrap();
        builder.finish().unwrap();
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Adds a file to the archive, whatever it is called.
    fn add(&self, name: &str, kind: tar::EntryType) {
        let path = self.at("evidence.tar");
        let old = std::fs::read(&path).unwrap();
        let end = old.len() - 1024;
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(0);
        header.set_mode(0o644);
        header.set_entry_type(kind);
        header.set_cksum();
        let new = [&old[..end], header.as_bytes(), &[0; 1024]].concat();
        std::fs::write(path, new).unwrap();
    }
}

fn judged(path: &Path) -> (Report, Vec<Record>) {
    let keys = [CheckpointVerifier::parse(&signer().verifier_key()).unwrap()];
    let mut seen = Vec::new();
    let reader = Reader::open(path).unwrap();
    let report = verify(&reader, Trust { keys: &keys, remembered: &[] }, &mut |record| seen.push(record)).unwrap();
    (report, seen)
}

#[test]
fn an_archive_is_read_like_the_directory_that_it_was_packed_from() {
    for name in ["evidence", "./evidence", "a/b", "."] {
        let folder = Folder::packed_as(name);
        let (report, records) = judged(&folder.at("evidence.tar"));
        assert!(report.is_intact(), "{name}: {report:?}");
        assert_eq!((report.entries, records), (SIZE, judged(&folder.at("evidence")).1), "{name}");
        let archive = Reader::open(&folder.at("evidence.tar")).unwrap();
        let proof = archive.proof_file(77).unwrap();
        let key = CheckpointVerifier::parse(&signer().verifier_key()).unwrap();
        assert!(proof.verify(b"entry 77", &key).is_ok());
        assert_eq!(archive.records().unwrap().count() as u64, SIZE);
    }
}

#[test]
fn b84_a_changed_byte_in_an_archive_is_found() {
    let folder = Folder::packed_as("evidence");
    let mut bytes = std::fs::read(folder.at("evidence.tar")).unwrap();
    let at = bytes.windows(9).position(|window| window == b"entry 300").unwrap();
    bytes[at] = b'E';
    std::fs::write(folder.at("evidence.tar"), bytes).unwrap();
    let (report, _) = judged(&folder.at("evidence.tar"));
    assert!(!report.is_intact());
    assert!(report.findings.iter().any(|finding| finding.to_string() == "entry 300 was changed"), "{report:?}");
}

#[test]
fn an_archive_that_broke_off_is_not_whole() {
    let folder = Folder::packed_as("evidence");
    std::fs::remove_file(folder.at("evidence").join(CHECKPOINT_FILE)).unwrap();
    let mut builder = tar::Builder::new(std::fs::File::create(folder.at("broken.tar")).unwrap());
    builder.append_dir_all("evidence", folder.at("evidence")).unwrap();
    builder.finish().unwrap();
    let reader = Reader::open(&folder.at("broken.tar")).unwrap();
    assert!(matches!(reader.checkpoint(), Err(ReadError::NoCheckpoint(_))));
    // In the middle of a file, wherever that is.
    let whole = std::fs::read(folder.at("evidence.tar")).unwrap();
    for length in [whole.len() / 3, whole.len() / 2 + 77, 700] {
        std::fs::write(folder.at("cut.tar"), &whole[..length]).unwrap();
        let key = [CheckpointVerifier::parse(&signer().verifier_key()).unwrap()];
        let intact = Reader::open(&folder.at("cut.tar"))
            .and_then(|reader| verify(&reader, Trust { keys: &key, remembered: &[] }, &mut |_| ()))
            .is_ok_and(|report| report.is_intact());
        assert!(!intact, "cut at {length}");
    }
}

#[test]
fn an_archive_that_could_be_read_two_ways_is_refused() {
    for (name, kind, why) in [
        ("evidence/checkpoint", tar::EntryType::Regular, "a file is in it twice"),
        ("./evidence/tile/entries/000", tar::EntryType::Regular, "a file is in it twice"),
        ("other/checkpoint", tar::EntryType::Regular, "more than one export"),
        ("evidence/../evidence/x", tar::EntryType::Regular, "leads out of it"),
        ("/etc/passwd", tar::EntryType::Regular, "leads out of it"),
        ("evidence/link", tar::EntryType::Symlink, "neither a file nor a directory"),
    ] {
        let folder = Folder::packed_as("evidence");
        folder.add(name, kind);
        let refused = Reader::open(&folder.at("evidence.tar")).unwrap_err().to_string();
        assert!(refused.contains(why), "{name}: {refused}");
    }
    let folder = Folder::packed_as("evidence");
    folder.add("evidence/something-else", tar::EntryType::Regular);
    assert!(judged(&folder.at("evidence.tar")).0.is_intact(), "what the format does not have is not looked at");
}

#[test]
fn what_is_no_archive_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, "no archive, but longer than one header of five hundred and twelve bytes".repeat(20))
        .unwrap();
    assert!(Reader::open(&path).is_err());
    assert!(Reader::open(&folder.path().join("absent")).is_err());
}
