//! One signing key follows another, and the verifier follows them, or says why not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use stepgate_ledger::export::{Reader, Record, Writer};
use stepgate_ledger::verify::{Announcement, BelievedKey, Finding, Report, Trust, Visitor, verify};
use stepgate_ledger::{CheckpointSigner, CheckpointVerifier, Frontier, SignedCheckpoint, leaf_hash};

const SIZE: u64 = 600;

fn signer(seed: u8) -> CheckpointSigner {
    CheckpointSigner::from_seed("example.com/log", [seed; 32]).unwrap()
}

fn key(seed: u8) -> String {
    signer(seed).verifier_key()
}

/// Entry `index` announces that after `former` comes `next`.
fn announces(index: u64, former: u8, next: u8) -> Announcement {
    Announcement { index, former: key(former), next: key(next) }
}

/// A log whose entries say nothing; what they announce is told beside.
struct Log {
    directory: tempfile::TempDir,
    writer: Option<Writer>,
    frontier: Frontier,
    announced: Vec<Announcement>,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let writer = Some(Writer::create(&directory.path().join("export")).unwrap());
        Self { directory, writer, frontier: Frontier::new(), announced: Vec::new() }
    }

    fn entries_until(&mut self, size: u64) -> &mut Self {
        for number in self.frontier.size()..size {
            let entry = format!("{{\"entry\":\"{number}\"}}").into_bytes();
            self.frontier.push(leaf_hash(&entry));
            self.writer.as_mut().unwrap().append(&entry, None).unwrap();
        }
        self
    }

    /// The next entry announces; whoever `signs` signs the handover.
    fn announce(&mut self, former: u8, next: u8, signs: &[u8]) -> &mut Self {
        let index = self.frontier.size();
        self.entries_until(index + 1);
        self.announced.push(announces(index, former, next));
        let mut handover = signer(signs[0]).sign_head(index + 1, self.frontier.root());
        for seed in &signs[1..] {
            handover = signer(*seed).cosign(&handover).unwrap();
        }
        self.handover(&handover)
    }

    fn handover(&mut self, handover: &SignedCheckpoint) -> &mut Self {
        self.writer.as_mut().unwrap().handover(handover).unwrap();
        self
    }

    /// Ends the log with a checkpoint by this key, and verifies it with those.
    fn verified(&mut self, signs: u8, known: &[u8]) -> Report {
        let head = signer(signs).sign_head(self.frontier.size(), self.frontier.root());
        self.writer.take().unwrap().finish(&head).unwrap();
        self.verify(known)
    }

    fn verify(&self, known: &[u8]) -> Report {
        let keys: Vec<_> = known.iter().map(|seed| CheckpointVerifier::parse(&key(*seed)).unwrap()).collect();
        let reader = Reader::open(&self.directory.path().join("export")).unwrap();
        verify(&reader, Trust { keys: &keys, remembered: &[] }, &mut Knows(&self.announced)).unwrap()
    }
}

struct Knows<'a>(&'a [Announcement]);

impl Visitor for Knows<'_> {
    fn entry(&mut self, _: Record) {}

    fn announcements(&mut self) -> Vec<Announcement> {
        self.0.to_vec()
    }
}

/// Entries 300 and 400 hand over from key 1 to 2 to 3.
fn two_handovers() -> Log {
    let mut log = Log::new();
    log.entries_until(300).announce(1, 2, &[1, 2]).entries_until(400).announce(2, 3, &[2, 3]).entries_until(SIZE);
    log
}

fn reasons(report: &Report) -> String {
    report.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn whoever_knows_the_first_key_follows_to_the_last_and_is_told_how() {
    let report = two_handovers().verified(3, &[1]);
    assert!(report.is_intact(), "{}", reasons(&report));
    assert_eq!(report.signed_by, [key(3)]);
    let believed = |seed, announced_by, signs_until| BelievedKey { key: key(seed), announced_by, signs_until };
    assert_eq!(
        report.believed,
        [believed(1, None, Some(301)), believed(2, Some(300), Some(401)), believed(3, Some(400), None)]
    );
}

#[test]
fn whoever_knows_a_later_key_believes_no_earlier_one_for_it() {
    for known in [2, 3] {
        let report = two_handovers().verified(3, &[known]);
        assert!(report.is_intact(), "{}", reasons(&report));
        assert!(report.believed.iter().all(|believed| believed.key != key(1)));
    }
    let report = two_handovers().verified(3, &[9]);
    assert!(reasons(&report).contains("not signed by the key"), "{}", reasons(&report));
}

#[test]
fn b84_a_former_key_signs_no_later_head() {
    for (signs, known) in [(1, vec![1]), (2, vec![1]), (2, vec![2]), (1, vec![1, 2, 3])] {
        let report = two_handovers().verified(signs, &known);
        assert!(report.signed_by.is_empty(), "{signs} {known:?}");
        let told =
            |finding: &Finding| matches!(finding, Finding::SignedByFormerKey { key: by, .. } if *by == key(signs));
        assert!(report.findings.iter().any(told), "{}", reasons(&report));
    }
    // Not even a key that is given and stands outside the succession replaces the one that should sign.
    let report = two_handovers().verified(7, &[1, 7]);
    assert!(reasons(&report).contains("by entry 400") && reasons(&report).contains("did not sign"));
}

#[test]
fn b84_a_fork_by_an_older_key_is_found_by_whoever_gives_the_newer_one_too() {
    // Key 1 was stolen, and signs a log that forks before entry 300, which announced key 2.
    let mut log = Log::new();
    log.entries_until(250);
    for known in [&[1, 2], &[2, 1]] {
        let report = if known[0] == 1 { log.verified(1, known) } else { log.verify(known) };
        let [Finding::KeyNotOfThisLog { key: stranger }] = report.findings.as_slice() else {
            panic!("{known:?}: {}", reasons(&report));
        };
        assert_eq!(*stranger, key(2));
        assert!(reasons(&report).contains("no key of this log"), "{}", reasons(&report));
    }
    assert!(log.verify(&[1]).is_intact(), "with the older key alone nobody can tell");

    // Or it announces a key of the thief's own.
    let mut log = Log::new();
    log.entries_until(300).announce(1, 9, &[1, 9]).entries_until(SIZE);
    let report = log.verified(9, &[1, 2]);
    let stranger = Finding::KeyNotOfThisLog { key: key(2) };
    assert_eq!(report.findings, [stranger]);
}

#[test]
fn each_key_of_a_succession_may_be_given_with_any_other() {
    let mut log = two_handovers();
    assert!(log.verified(3, &[1, 2, 3]).is_intact());
    for known in [vec![1, 3], vec![3, 1], vec![2, 3], vec![1, 2]] {
        let report = log.verify(&known);
        assert!(report.is_intact(), "{known:?}: {}", reasons(&report));
    }
    // At the head that hands over, before the next key signed any other.
    let mut log = Log::new();
    log.entries_until(300).announce(1, 2, &[1, 2]);
    assert!(log.verified(1, &[1, 2]).is_intact());
}

#[test]
fn the_head_that_hands_over_is_believed_with_either_key() {
    let mut log = Log::new();
    log.entries_until(300).announce(1, 2, &[1, 2]);
    let report = log.verified(1, &[1]);
    assert!(report.is_intact(), "{}", reasons(&report));
    let mut log = Log::new();
    log.entries_until(300).announce(1, 2, &[1, 2]);
    assert!(log.verified(2, &[2]).is_intact());
}

#[test]
fn b84_a_forged_announcement_gains_no_belief() {
    // Mallory appends an announcement of key 9, without the former key, or without her own.
    for (signs, reason) in [(vec![9], "not signed by the key"), (vec![8, 9], "not signed"), (vec![1], "not signed")] {
        let mut log = Log::new();
        log.entries_until(300).announce(1, 9, &signs).entries_until(SIZE);
        let report = log.verified(9, &[1]);
        assert!(reasons(&report).contains(reason), "{signs:?}: {}", reasons(&report));
        assert!(report.signed_by.is_empty(), "{signs:?}");
    }
}

#[test]
fn an_announcement_without_its_handover_is_not_followed() {
    let mut log = two_handovers();
    std::fs::remove_file(log.directory.path().join("export/handover/401")).unwrap();
    let report = log.verified(3, &[1]);
    assert!(reasons(&report).contains("handover/401, the head with which"), "{}", reasons(&report));
    assert!(report.signed_by.is_empty());
}

#[test]
fn b84_a_fork_at_a_handover_is_found() {
    let mut log = Log::new();
    log.entries_until(300);
    let index = log.frontier.size();
    log.entries_until(index + 1);
    log.announced.push(announces(index, 1, 2));
    // What the former key signed had another history before the announcement.
    let other = signer(2).cosign(&signer(1).sign_head(index + 1, leaf_hash(b"another history"))).unwrap();
    log.handover(&other).entries_until(SIZE);
    let report = log.verified(2, &[1]);
    assert!(reasons(&report).contains("the log was forked"), "{}", reasons(&report));
    assert!(report.signed_by.is_empty());
}

#[test]
fn a_head_of_another_size_hands_nothing_over() {
    let mut log = Log::new();
    log.entries_until(200);
    let earlier = signer(2).cosign(&signer(1).sign_head(200, log.frontier.root())).unwrap();
    log.entries_until(301);
    log.announced.push(announces(300, 1, 2));
    log.handover(&earlier).entries_until(SIZE);
    std::fs::rename(log.directory.path().join("export/handover/200"), log.directory.path().join("export/handover/301"))
        .unwrap();
    assert!(reasons(&log.verified(2, &[1])).contains("handover/301 is a head of 200 entries"));
}

#[test]
fn who_was_replaced_announces_nobody_and_nobody_comes_back() {
    let mut log = two_handovers();
    log.announce(1, 9, &[1, 9]).entries_until(SIZE + 50);
    let report = log.verified(9, &[1]);
    assert!(reasons(&report).contains("which entry 300 had replaced") || reasons(&report).contains("which entry 400"));
    assert!(report.signed_by.is_empty(), "{}", reasons(&report));

    for (former, next) in [(3, 1), (3, 3)] {
        let mut log = two_handovers();
        log.announce(former, next, &[former, next]).entries_until(SIZE + 50);
        assert!(reasons(&log.verified(next, &[1])).contains("had signed before"), "{former} {next}");
    }
}
