//! Exports and what the verifier says of them when somebody has been at them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use stepgate_ledger::export::{Details, Reader, Record, Writer, bundle};
use stepgate_ledger::verify::{Finding, NotChecked, Report, Trust, verify};
use stepgate_ledger::{Checkpoint, CheckpointSigner, CheckpointVerifier, Frontier, Tile, leaf_hash};

const SIZE: u64 = 70_000;

fn signer() -> CheckpointSigner {
    CheckpointSigner::from_seed("example.com/log", [1; 32]).unwrap()
}

fn entry(number: u64) -> Vec<u8> {
    format!(r#"{{"entry":"{number}"}}"#).into_bytes()
}

fn details(number: u64) -> Option<Details> {
    match number % 5 {
        0 => Some(Details::Kept { salt: format!("salt {number}"), body: json!({"amount": number.to_string()}) }),
        1 => Some(Details::Erased),
        _ => None,
    }
}

/// An export in a directory of its own.
struct Export {
    directory: tempfile::TempDir,
}

impl Export {
    fn of(entries: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self::signed_by(&signer(), entries)
    }

    fn signed_by(signer: &CheckpointSigner, entries: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(directory.path()).unwrap();
        for (number, entry) in (0..).zip(entries) {
            writer.append(&entry, details(number).as_ref()).unwrap();
        }
        let head = signer.sign_head(writer.size(), writer.root());
        writer.finish(&head).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn head(&self) -> Checkpoint {
        let reader = Reader::open(self.directory.path()).unwrap();
        reader.checkpoint().unwrap().unverified().clone()
    }

    fn verify(&self, remembered: &[Checkpoint]) -> Report {
        self.verify_visiting(remembered, |_| {})
    }

    fn verify_visiting(&self, remembered: &[Checkpoint], mut visitor: impl FnMut(Record)) -> Report {
        let keys = [CheckpointVerifier::parse(&signer().verifier_key()).unwrap()];
        let reader = Reader::open(self.directory.path()).unwrap();
        let trust = Trust { keys: &keys, remembered };
        verify(&reader, trust, &mut visitor).unwrap()
    }

    /// Rewrites the entries of one bundle.
    fn edit_bundle(&self, tile: Tile, edit: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let path = self.path(&tile.entries_path());
        let bytes = fs::read(&path).unwrap();
        let mut entries: Vec<_> = bundle::entries(&bytes).map(|entry| entry.unwrap().to_vec()).collect();
        edit(&mut entries);
        fs::write(&path, bundle_of(&entries)).unwrap();
    }

    /// Replaces all bundles by those of other entries, keeping hashes and checkpoint.
    fn replace_entries(&self, entries: &[Vec<u8>]) {
        fs::remove_dir_all(self.path("tile/entries")).unwrap();
        for (index, chunk) in (0..).zip(entries.chunks(256)) {
            let width = u16::try_from(chunk.len()).unwrap();
            let tile = Tile::new(0, index, width).unwrap();
            let path = self.path(&tile.entries_path());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bundle_of(chunk)).unwrap();
        }
    }
}

fn bundle_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| bundle::append(&mut bytes, entry).unwrap());
    bytes
}

fn tile(index: u64) -> Tile {
    Tile::new(0, index, 256).unwrap()
}

fn entries(count: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(entry)
}

fn head_of(entries: impl IntoIterator<Item = Vec<u8>>) -> Checkpoint {
    let mut frontier = Frontier::new();
    entries.into_iter().for_each(|entry| frontier.push(leaf_hash(&entry)));
    signer().checkpoint(frontier.size(), frontier.root())
}

#[test]
fn one_entry_is_read_with_what_lies_beside_it_and_nothing_beyond_the_end_is() {
    let export = Export::of(entries(1000));
    let reader = Reader::open(export.directory.path()).unwrap();
    for index in [0, 1, 2, 3, 255, 256, 511, 600, 601, 604, 998, 999] {
        let record = reader.record(index).unwrap().unwrap();
        assert_eq!((record.index, record.entry, record.details), (index, entry(index), details(index)));
    }
    assert_eq!(reader.record(1000).unwrap(), None);
    assert_eq!(reader.record(u64::MAX).unwrap(), None);
    // A broken line is told by its number, and nothing is beside an entry without the file.
    let path = export.path("details.jsonl");
    let kept = fs::read_to_string(&path).unwrap();
    fs::write(&path, kept.replace(r#"{"index":"500""#, r#"{"index":"5x0""#)).unwrap();
    let found = format!("{:?}", reader.record(500));
    assert!(found.contains("line: 201") || fs::read_to_string(&path).unwrap() == kept, "{found}");
    fs::remove_file(&path).unwrap();
    assert_eq!(reader.record(500).unwrap().unwrap().details, None);
}

#[test]
fn an_untouched_export_is_intact_and_every_entry_is_visited() {
    for size in [0, 1, 255, 256, 257, 1024, SIZE] {
        let export = Export::of(entries(size));
        let mut next = 0;
        let report = export.verify_visiting(&[head_of(entries(size / 2)), export.head()], |record| {
            assert_eq!(record.index, next);
            assert_eq!(record.entry, entry(next));
            assert_eq!(record.details, details(next));
            next += 1;
        });
        assert!(report.is_intact(), "{report:?}");
        assert_eq!((next, report.size, report.entries), (size, size, size));
        assert_eq!(report.signed_by, [signer().verifier_key()]);
        assert!(report.not_checked.is_empty(), "{report:?}");
    }
}

#[test]
fn an_export_is_what_the_tile_specification_says() {
    let export = Export::of(entries(SIZE));
    for name in [
        "checkpoint",
        "details.jsonl",
        "tile/0/000",
        "tile/0/272",
        "tile/0/273.p/112",
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
        "tile/entries/272",
        "tile/entries/273.p/112",
    ] {
        assert!(export.path(name).is_file(), "{name}");
    }
    assert_eq!(fs::metadata(export.path("tile/1/000")).unwrap().len(), 8192);
    let records: Vec<_> =
        Reader::open(export.directory.path()).unwrap().records().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.len() as u64, SIZE);
    assert_eq!(records[65_000].entry, entry(65_000));
    assert_eq!(records[65_000].details, details(65_000));
}

#[test]
fn an_entry_is_proved_from_an_export_alone() {
    let export = Export::of(entries(SIZE));
    let reader = Reader::open(export.directory.path()).unwrap();
    let verifier = CheckpointVerifier::parse(&signer().verifier_key()).unwrap();
    for index in [0, 255, 256, 65_536, SIZE - 1] {
        let proof = reader.proof_file(index).unwrap();
        assert_eq!(proof.verify(&entry(index), &verifier).unwrap().size, SIZE);
    }
    assert!(reader.proof_file(SIZE).is_err());
}

#[test]
fn without_a_remembered_head_the_report_says_what_it_cannot_know() {
    let report = Export::of(entries(3)).verify(&[]);
    assert!(report.is_intact());
    assert_eq!(report.not_checked, [NotChecked::NoRememberedCheckpoint]);
}

/// Changes an export by `edit`; the findings must be these, and a root mismatch where the entries
/// themselves are not those that were signed.
fn check(edit: impl FnOnce(&Export), expected: &[Finding]) {
    let export = Export::of(entries(3000));
    let head = export.head();
    edit(&export);
    let report = export.verify(&[head]);
    let mut findings = report.findings;
    findings.retain(|finding| !matches!(finding, Finding::RootMismatch { .. }));
    assert_eq!(findings, expected);
}

#[test]
fn a_changed_entry_is_named() {
    check(
        |export| export.edit_bundle(tile(2), |entries| entries[9] = entry(9_999)),
        &[Finding::EntryChanged { index: 521 }],
    );
    check(|export| export.edit_bundle(tile(0), |entries| entries[0][3] ^= 1), &[Finding::EntryChanged { index: 0 }]);
}

#[test]
fn a_deleted_entry_is_named() {
    check(
        |export| export.edit_bundle(tile(2), |entries| drop(entries.remove(9))),
        &[Finding::EntryMissing { index: 521 }],
    );
    let mut without: Vec<_> = entries(3000).collect();
    without.remove(1234);
    let path = Tile::new(0, 11, 183).unwrap().entries_path();
    check(
        |export| {
            export.replace_entries(&without);
            // The last bundle now has one entry less, under the name that it had.
            let left = export.path(&path);
            fs::rename(&left, left.with_file_name("184")).unwrap();
        },
        &[Finding::EntryMissing { index: 1234 }],
    );
}

#[test]
fn an_inserted_entry_is_named() {
    check(
        |export| export.edit_bundle(tile(2), |entries| entries.insert(9, entry(9_999))),
        &[Finding::EntryInserted { found_at: 521 }],
    );
}

#[test]
fn a_moved_entry_is_named() {
    check(
        |export| export.edit_bundle(tile(2), |entries| entries.swap(9, 10)),
        &[Finding::EntryMoved { index: 522, found_at: 521 }],
    );
}

#[test]
fn a_missing_bundle_and_a_cut_bundle_are_named() {
    check(
        |export| fs::remove_file(export.path("tile/entries/003")).unwrap(),
        &[Finding::EntriesMissing { from: 768, to: 1024 }],
    );
    check(
        |export| {
            let path = export.path("tile/entries/003");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        },
        &[Finding::BundleCut { path: "tile/entries/003".into() }, Finding::EntryMissing { index: 1023 }],
    );
}

#[test]
fn entries_beyond_the_checkpoint_are_named() {
    check(
        |export| fs::write(export.path("tile/entries/012"), bundle_of(&[entry(1)])).unwrap(),
        &[Finding::EntriesBeyondCheckpoint { path: "tile/entries/012".into() }],
    );
}

#[test]
fn a_forged_hash_tile_does_not_blame_the_entries() {
    for name in ["tile/0/001", "tile/1/000.p/11"] {
        check(
            |export| {
                let path = export.path(name);
                let mut bytes = fs::read(&path).unwrap();
                bytes[40] ^= 1;
                fs::write(&path, bytes).unwrap();
            },
            &if name == "tile/0/001" {
                // What is above the forged tile no longer fits it either.
                vec![
                    Finding::TileMismatch { path: "tile/1/000.p/11".into() },
                    Finding::TileMismatch { path: name.into() },
                ]
            } else {
                vec![Finding::TileMismatch { path: name.into() }]
            },
        );
    }
}

#[test]
fn an_entry_changed_together_with_its_hash_tile_still_does_not_hash_to_the_signed_root() {
    let export = Export::of(entries(3000));
    let forged = Export::of((0..3000).map(|number| entry(if number == 521 { 9_999 } else { number })));
    for name in ["tile/entries/002", "tile/0/002", "tile/1/000.p/11"] {
        fs::copy(forged.path(name), export.path(name)).unwrap();
    }
    let report = export.verify(&[export.head()]);
    assert!(matches!(report.findings[0], Finding::RootMismatch { .. }), "{report:?}");
    assert!(report.findings.contains(&Finding::DiffersFromRemembered { size: 3000 }));
}

#[test]
fn absent_hash_tiles_are_said_and_cost_nothing_else() {
    let export = Export::of(entries(3000));
    fs::remove_dir_all(export.path("tile/0")).unwrap();
    fs::remove_dir_all(export.path("tile/1")).unwrap();
    let report = export.verify(&[export.head()]);
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(report.not_checked, [NotChecked::TilesAbsent { count: 13, first: "tile/0/000".to_owned() }]);
    export.edit_bundle(tile(2), |entries| entries.swap(9, 10));
    assert!(!export.verify(&[]).is_intact());
}

/// A checkpoint that counts another number of entries than the export has, with its own signature.
fn check_of_other_size(entries_there: u64, claimed: u64, expected: &[Finding]) {
    let export = Export::of(entries(entries_there));
    let other = Export::of(entries(claimed));
    fs::copy(other.path("checkpoint"), export.path("checkpoint")).unwrap();
    let report = export.verify(&[]);
    let mut findings = report.findings;
    findings.retain(|finding| !matches!(finding, Finding::RootMismatch { .. }));
    assert_eq!(findings, expected, "{entries_there} entries, {claimed} claimed");
}

#[test]
fn a_checkpoint_of_another_size_is_told_as_that_and_not_as_missing_entries() {
    let other_size = |size, found| Finding::CheckpointOfOtherSize { size, found };
    let missing = |from, to| Finding::EntriesMissing { from, to };
    check_of_other_size(33, 31, &[other_size(31, 33)]);
    check_of_other_size(33, 40, &[other_size(40, 33), missing(33, 40)]);
    check_of_other_size(33, 600, &[other_size(600, 33), missing(33, 600)]);
    check_of_other_size(600, 590, &[other_size(590, 600)]);
    // An older checkpoint of the same log covers what it counts; the rest is beyond it.
    let beyond = |path: &str| Finding::EntriesBeyondCheckpoint { path: path.to_owned() };
    check_of_other_size(600, 33, &[beyond("tile/entries/000")]);
    check_of_other_size(300, 256, &[beyond("tile/entries/001.p/44")]);
}

#[test]
fn a_shorter_bundle_that_its_hash_tile_names_is_told_by_the_tile() {
    let export = Export::of(entries(300));
    fs::rename(export.path("tile/entries/001.p/44"), export.path("tile/entries/001.p/40")).unwrap();
    let report = export.verify(&[]);
    assert!(!report.is_intact(), "the name says 40 entries, whatever is in it");
    assert!(report.findings.contains(&Finding::CheckpointOfOtherSize { size: 300, found: 296 }), "{report:?}");
}

#[test]
fn details_that_are_out_of_place_are_named() {
    let edit = |edit: fn(&mut Vec<String>)| {
        move |export: &Export| {
            let path = export.path("details.jsonl");
            let text = fs::read_to_string(&path).unwrap();
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            edit(&mut lines);
            fs::write(&path, lines.join("\n")).unwrap();
        }
    };
    check(edit(|lines| lines.swap(2, 3)), &[Finding::DetailsMisplaced { line: 4, index: 5 }]);
    check(
        edit(|lines| lines.push(r#"{"index":"3000","erased":true}"#.into())),
        &[Finding::DetailsMisplaced { line: 1201, index: 3000 }],
    );
    check(edit(|lines| lines.insert(1, lines[0].clone())), &[Finding::DetailsMisplaced { line: 2, index: 0 }]);
    let export = Export::of(entries(10));
    fs::write(export.path("details.jsonl"), "{}\n").unwrap();
    let report = export.verify(&[export.head()]);
    assert!(matches!(report.findings[..], [Finding::DetailsMalformed { line: 1, .. }]), "{report:?}");
}

#[test]
fn a_checkpoint_that_nobody_trusted_signed_is_not_believed() {
    let mallory = CheckpointSigner::from_seed("example.com/log", [2; 32]).unwrap();
    let report = Export::signed_by(&mallory, entries(10)).verify(&[]);
    assert!(matches!(report.findings[..], [Finding::CheckpointNotBelieved { .. }]), "{report:?}");
    assert!(report.signed_by.is_empty());

    let export = Export::of(entries(10));
    fs::write(export.path("checkpoint"), "what?").unwrap();
    let report = export.verify(&[]);
    assert!(matches!(report.findings[..], [Finding::CheckpointNotBelieved { .. }]), "{report:?}");

    let export = Export::of(entries(10));
    let reader = Reader::open(export.directory.path()).unwrap();
    let nobody = Trust { keys: &[], remembered: &[] };
    let report = verify(&reader, nobody, &mut |_: Record| {}).unwrap();
    assert!(!report.is_intact(), "without a key nothing is verified");
}

#[test]
fn a_checkpoint_that_claims_more_than_there_is_comes_to_an_end() {
    let export = Export::of(entries(10));
    let forged = signer().sign_head(1 << 55, leaf_hash(b"x"));
    fs::write(export.path("checkpoint"), forged.text()).unwrap();
    let report = export.verify(&[]);
    assert!(report.findings.contains(&Finding::EntriesMissing { from: 10, to: 1 << 55 }), "{report:?}");
}

/// Tail cut: the newest entries and the checkpoint that covered them are gone, an older signed
/// checkpoint is in their place.
#[test]
fn b84_a_cut_tail_is_found_against_a_remembered_head() {
    let remembered = head_of(entries(3000));
    let cut = Export::of(entries(2500));
    let report = cut.verify(&[remembered]);
    assert_eq!(report.findings, [Finding::Truncated { remembered: 3000, found: 2500 }]);
}

/// The same, but the newest checkpoint was left: no older one had been kept.
#[test]
fn b84_a_cut_tail_under_its_own_checkpoint_is_found_without_any_memory() {
    let export = Export::of(entries(3000));
    for name in ["tile/entries/011.p/184", "tile/0/011.p/184", "tile/entries/010", "tile/0/010"] {
        fs::remove_file(export.path(name)).unwrap();
    }
    let report = export.verify(&[]);
    assert_eq!(report.findings[0], Finding::EntriesMissing { from: 2560, to: 3000 });
}

#[test]
fn b84_deletion_of_the_whole_log_is_found() {
    let remembered = head_of(entries(3000));
    let report = Export::of(entries(0)).verify(std::slice::from_ref(&remembered));
    assert_eq!(report.findings, [Finding::Truncated { remembered: 3000, found: 0 }]);

    let export = Export::of(entries(3000));
    fs::remove_file(export.path("checkpoint")).unwrap();
    assert_eq!(export.verify(&[remembered]).findings, [Finding::CheckpointMissing]);
}

/// Two histories, both signed with the true key, of the same and of another size.
#[test]
fn b84_a_fork_is_found() {
    let fork = |number| entry(if number == 2 { 9_999 } else { number });
    for size in [3000, 3500] {
        let report = Export::of((0..size).map(fork)).verify(&[head_of(entries(3000))]);
        assert!(matches!(report.findings[..], [Finding::Forked { size: 3000, .. }]), "{report:?}");
    }
    // What both have in common is no fork.
    assert!(Export::of((0..3000).map(fork)).verify(&[head_of(entries(2))]).is_intact());
}

/// The log was cut, the process restarted, seeded itself from the shorter log and went on, even
/// beyond the size that it had before.
#[test]
fn b84_a_restart_from_a_truncated_head_is_found() {
    let remembered = head_of(entries(3000));
    let restarted = |size| entries(2000).chain((0..size).map(|number| entry(10_000 + number)));
    for (grown, expected) in [(500, "cut"), (1000, "rewritten"), (5000, "rewritten")] {
        let report = Export::of(restarted(grown)).verify(std::slice::from_ref(&remembered));
        assert_eq!(report.findings.len(), 1, "{report:?}");
        assert!(report.findings[0].to_string().contains(expected), "{report:?}");
    }
}

#[test]
fn a_remembered_head_of_another_log_is_said() {
    let mut other = head_of(entries(10));
    other.origin = stepgate_ledger::Origin::parse("example.com/other").unwrap();
    let report = Export::of(entries(10)).verify(&[other]);
    assert!(matches!(report.findings[..], [Finding::OtherLog { .. }]), "{report:?}");
}

#[test]
fn findings_are_limited_and_counted() {
    let export = Export::of(entries(3000));
    let others: Vec<_> = (0..3000).map(|number| entry(10_000 + number)).collect();
    export.replace_entries(&others);
    let report = export.verify(&[]);
    assert_eq!(report.findings.len(), 1000);
    assert!(report.more_findings > 0);
}

#[test]
fn a_writer_refuses_what_would_not_verify() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(directory.path()).unwrap();
    writer.append(&entry(0), None).unwrap();
    let other = signer().sign_head(1, leaf_hash(b"other"));
    assert!(writer.finish(&other).is_err());
    assert!(!directory.path().join("checkpoint").exists());
    assert!(Writer::create(directory.path()).is_err(), "not empty");

    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(directory.path()).unwrap();
    assert!(writer.append(&[0; 65_536], None).is_err());
    assert_broken_off(directory.path());
}

/// An export that was broken off says so by having no checkpoint.
fn assert_broken_off(directory: &Path) {
    let reader = Reader::open(directory).unwrap();
    assert!(reader.checkpoint_text().unwrap().is_none());
    assert!(reader.records().is_err());
}
