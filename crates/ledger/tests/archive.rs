//! An export in a tar archive says what the same export in a directory says, and no archive says two
//! things.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use stepgate_ledger::export::archive::{BLOCK, header};
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

/// The directory in the archive.
const INSIDE: &str = "evidence-example.com-700";
/// The end of an archive.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

struct Folder(tempfile::TempDir);

impl Folder {
    /// With the directory `evidence` in it, and `evidence.tar` packed from it like the gate packs.
    fn packed() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        written(&folder.at("evidence"));
        std::fs::write(folder.at("evidence/README.md"), "not looked at").unwrap();
        std::fs::write(folder.at("evidence.tar"), [folder.files(), END.to_vec()].concat()).unwrap();
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// All files of `evidence` in an archive that has no end yet.
    fn files(&self) -> Vec<u8> {
        let mut paths = vec![self.at("evidence")];
        let mut files = Vec::new();
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                paths.extend(std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
            } else {
                let name = path.strip_prefix(self.at("evidence")).unwrap().to_str().unwrap();
                files.extend(file(&format!("{INSIDE}/{name}"), &std::fs::read(&path).unwrap()));
            }
        }
        files
    }

    /// Why an archive of all files and what `more` there is cannot be read.
    fn refused_with(&self, more: &[u8]) -> String {
        std::fs::write(self.at("forged.tar"), [&self.files(), more].concat()).unwrap();
        Reader::open(&self.at("forged.tar")).map_or_else(|error| error.to_string(), |_| "it can be read".to_owned())
    }
}

fn filled(bytes: &[u8]) -> Vec<u8> {
    let mut blocks = bytes.to_vec();
    blocks.resize(bytes.len().next_multiple_of(BLOCK), 0);
    blocks
}

/// A file in an archive, as the gate writes it.
fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    [header(name, bytes.len() as u64, 1_700_000_000).unwrap().to_vec(), filled(bytes)].concat()
}

/// A file in an archive with another header: `change` gets the one that the gate would write.
fn other(name: &str, bytes: &[u8], change: impl Fn(&mut tar::Header)) -> Vec<u8> {
    let mut header = tar::Header::from_byte_slice(&header("x", bytes.len() as u64, 0).unwrap()).clone();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    change(&mut header);
    header.set_cksum();
    [header.as_bytes().to_vec(), filled(bytes)].concat()
}

/// A pax header with these records, for the file that comes after it.
fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in records {
        let record = format!(" {key}={value}\n");
        let length = (1..).find(|digits| (record.len() + digits).to_string().len() == *digits).unwrap() + record.len();
        text.push_str(&format!("{length}{record}"));
    }
    other(&format!("{INSIDE}/tile/0/008"), text.as_bytes(), |header| header.set_entry_type(tar::EntryType::XHeader))
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
    let folder = Folder::packed();
    let (report, records) = judged(&folder.at("evidence.tar"));
    assert!(report.is_intact(), "{report:?}");
    assert_eq!((report.entries, records), (SIZE, judged(&folder.at("evidence")).1));
    let archive = Reader::open(&folder.at("evidence.tar")).unwrap();
    let proof = archive.proof_file(77).unwrap();
    let key = CheckpointVerifier::parse(&signer().verifier_key()).unwrap();
    assert!(proof.verify(b"entry 77", &key).is_ok());
    assert_eq!(archive.records().unwrap().count() as u64, SIZE);
    // What filled up the last record of a tape is not looked at.
    assert_eq!(folder.refused_with(&[0; 10_240]), "it can be read");
}

#[test]
fn b84_a_changed_byte_in_an_archive_is_found() {
    let folder = Folder::packed();
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
    let folder = Folder::packed();
    std::fs::remove_file(folder.at("evidence").join(CHECKPOINT_FILE)).unwrap();
    std::fs::write(folder.at("broken.tar"), [folder.files(), END.to_vec()].concat()).unwrap();
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

const NAME: &str = "an export has no file of this name";
const HEADER: &str = "not written as the gate writes one";
const AFTER: &str = "comes after the end";

/// Each of these is a file more that one program finds in the archive and another does not, or finds
/// under another name.
#[test]
fn b84_an_archive_that_another_program_reads_another_way_is_refused() {
    let folder = Folder::packed();
    let details = &format!("{INSIDE}/details.jsonl");
    let tile = &format!("{INSIDE}/tile/0/007");
    let kind = |name: &str, kind| other(name, b"", |header| header.set_entry_type(kind));
    let ustar = |version: [u8; 2]| {
        other("tile/0/007", b"forged", |header| {
            let bytes = header.as_mut_bytes();
            bytes[257..265].copy_from_slice(&[b"ustar\0", &version[..]].concat());
            bytes[345..345 + INSIDE.len()].copy_from_slice(INSIDE.as_bytes());
        })
    };
    let sparse = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", details),
        ("GNU.sparse.realsize", "6"),
    ];
    let mut wrong = Vec::new();
    for (trick, more, why) in [
        ("a prefix that counts only in ustar 00", ustar(*b"  "), HEADER),
        ("a prefix in ustar 00", ustar(*b"00"), HEADER),
        ("a sparse file that pax renames", [pax(&sparse), file(tile, b"1\n0\n6\n")].concat(), HEADER),
        ("a name with NUL in pax", [pax(&[("path", "details.jsonl\0z")]), file(tile, b"")].concat(), HEADER),
        ("a length in pax", [pax(&[("size", "1")]), file(tile, b"forged")].concat(), HEADER),
        (
            "pax under a name that is one",
            other(tile, b"", |header| header.set_entry_type(tar::EntryType::XHeader)),
            HEADER,
        ),
        ("a long name of GNU", [kind(tile, tar::EntryType::GNULongName), file(tile, b"")].concat(), HEADER),
        ("a name that a system that ignores case takes for another", file(&details.to_uppercase(), b""), NAME),
        ("the same in one letter", file(&format!("{INSIDE}/Details.jsonl"), b""), NAME),
        (
            "a directory of the old kind",
            other(&format!("{INSIDE}/tile/"), b"", |header| header.as_old_mut().linkflag = [0]),
            HEADER,
        ),
        ("a file of the old kind", other(tile, b"", |header| header.as_old_mut().linkflag = [0]), HEADER),
        ("a directory", kind(tile, tar::EntryType::Directory), HEADER),
        ("a link", kind(tile, tar::EntryType::Symlink), HEADER),
        ("a hard link", kind(tile, tar::EntryType::Link), HEADER),
        ("a name that goes on after NUL", other(tile, b"", |header| header.as_old_mut().name[99] = b'x'), HEADER),
        ("a length with spaces", other(tile, b"forged", |header| header.as_old_mut().size = *b"          6 "), HEADER),
        ("an owner", other(tile, b"", |header| header.set_uid(1)), HEADER),
        (
            "a checksum in another form",
            {
                let mut bytes = file(tile, b"");
                bytes[148..156].rotate_right(1);
                bytes
            },
            HEADER,
        ),
        ("a file twice", file(details, b"forged"), "a second time"),
        ("a file twice, from here", other(&format!("./{details}"), b"", |_| ()), HEADER),
        ("a file twice, with two slashes", other(&details.replace('/', "//"), b"", |_| ()), HEADER),
        ("another export", file("evidence-x-1/checkpoint", b""), "a second export"),
        ("a name from the root", other("/etc/passwd", b"", |_| ()), "no header of a file"),
        ("a name that leads out", other("../x", b"", |_| ()), "no header of a file"),
        ("a name that the format does not have", file(&format!("{INSIDE}/something-else"), b""), NAME),
        ("another spelling of a number", file(&format!("{INSIDE}/handover/007"), b""), NAME),
        ("another spelling of a bundle", file(&format!("{INSIDE}/tile/entries/0007"), b""), NAME),
        (
            "a file that is longer than the archive",
            other(tile, b"", |header| header.set_size(1 << 40)),
            "breaks off in this file",
        ),
        (
            "a file whose length is beyond all",
            other(tile, b"", |header| header.set_size(u64::MAX - 5)),
            "breaks off in this file",
        ),
    ] {
        let told = folder.refused_with(&[more, END.to_vec()].concat());
        if !(told.contains(why) && told.contains("forged.tar") && told.contains("at byte ")) {
            wrong.push(format!("{trick}: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn b84_nothing_is_hidden_between_the_files_of_an_archive_or_after_them() {
    let folder = Folder::packed();
    let forged = file(&format!("{INSIDE}/tile/0/007"), b"forged");
    let mut between = forged.clone();
    *between.last_mut().unwrap() = 1;
    let mut wrong = Vec::new();
    for (trick, more, why) in [
        ("bytes that fill a block", [between, END.to_vec()].concat(), "hidden after this file"),
        ("a second archive", [END.to_vec(), folder.files(), END.to_vec()].concat(), AFTER),
        ("a file after one block of zeros", [vec![0; BLOCK], forged.clone(), END.to_vec()].concat(), AFTER),
        ("a byte after the end", [END.to_vec(), vec![0; 70_000], vec![1]].concat(), AFTER),
        ("half an end", vec![0; BLOCK + 100], "it breaks off"),
        ("no end", Vec::new(), "it breaks off"),
    ] {
        let told = folder.refused_with(&more);
        if !told.contains(why) {
            wrong.push(format!("{trick}: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
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
