//! What a verification found.

use serde::Serialize;

use crate::hash::Hash;

/// How many findings are listed; beyond that they are counted.
pub const MAX_FINDINGS: usize = 1000;

/// Something wrong with an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// There is no checkpoint: the export was broken off, or somebody took it away.
    #[error("the checkpoint is missing")]
    CheckpointMissing,
    /// The checkpoint is not signed by a key that is trusted.
    #[error("the checkpoint is not believed: {reason}")]
    CheckpointNotBelieved {
        /// Why.
        reason: String,
    },
    /// An entry announces a key, and what makes an announcement count is not there: it is not
    /// followed.
    #[error("entry {index} announces a key that is not believed: {reason}")]
    AnnouncementNotBelieved {
        /// The entry.
        index: u64,
        /// Why.
        reason: String,
    },
    /// The checkpoint is signed by a key that had been replaced.
    #[error("the checkpoint of {size} entries is signed by {key}, which entry {index} had replaced")]
    SignedByFormerKey {
        /// The key.
        key: String,
        /// Entries under the checkpoint.
        size: u64,
        /// The entry that announced its successor.
        index: u64,
    },
    /// A key was given as one of this log, and nothing in the log leads to it or from it.
    #[error(
        "{key} was given and is no key of this log: it did not sign the checkpoint, and no entry announces it or its \
         successor; either this is another log, or the export was made before that key was announced (then export \
         again), or somebody with another key, such as an older one, forked the log"
    )]
    KeyNotOfThisLog {
        /// The key.
        key: String,
    },
    /// The checkpoint counts another number of entries than the files of the export are made for.
    #[error(
        "the checkpoint counts {size} entries, the files of the export are of {found}: this checkpoint is of another \
         export, or it was changed"
    )]
    CheckpointOfOtherSize {
        /// Entries according to the checkpoint.
        size: u64,
        /// Entries according to the names of the files.
        found: u64,
    },
    /// The entries do not hash to the root in the checkpoint.
    #[error("the {found_size} entries hash to {found}, the checkpoint says {size} entries and {expected}")]
    RootMismatch {
        /// Entries according to the checkpoint.
        size: u64,
        /// Their root according to the checkpoint.
        expected: Hash,
        /// Entries found.
        found_size: u64,
        /// Their root.
        found: Hash,
    },
    /// Entries from `from` on, before `to`, have no file.
    #[error("entries {from} to {to} (exclusive) are missing")]
    EntriesMissing {
        /// The first that is missing.
        from: u64,
        /// The first that is there again.
        to: u64,
    },
    /// A bundle ends within an entry.
    #[error("the bundle {path} ends within an entry")]
    BundleCut {
        /// Its file.
        path: String,
    },
    /// The entry at this index is not the one that was signed.
    #[error("entry {index} was changed")]
    EntryChanged {
        /// Its index.
        index: u64,
    },
    /// The entry that was signed at this index is not there.
    #[error("entry {index} is missing")]
    EntryMissing {
        /// Its index.
        index: u64,
    },
    /// An entry that was never signed stands at this place.
    #[error("an entry was inserted at {found_at}")]
    EntryInserted {
        /// Where it stands.
        found_at: u64,
    },
    /// An entry that was signed stands at another place.
    #[error("entry {index} was moved to {found_at}")]
    EntryMoved {
        /// The index at which it was signed.
        index: u64,
        /// Where it stands.
        found_at: u64,
    },
    /// The export holds entries that the checkpoint does not cover.
    #[error("{path} holds entries beyond the checkpoint")]
    EntriesBeyondCheckpoint {
        /// The file with them.
        path: String,
    },
    /// A hash tile is not what is beneath it.
    #[error("the hash tile {path} does not fit what is beneath it")]
    TileMismatch {
        /// Its file.
        path: String,
    },
    /// The log is shorter than it was.
    #[error(
        "the remembered checkpoint has {remembered} entries, this export only {found}: either the export was made \
         before that checkpoint (then export again), or the log was cut"
    )]
    Truncated {
        /// Entries of the remembered head.
        remembered: u64,
        /// Entries now.
        found: u64,
    },
    /// What was signed now contradicts what was signed then.
    #[error("the log was rewritten: its first {size} entries hashed to {remembered}, now they hash to {found}")]
    Forked {
        /// Entries of the remembered head.
        size: u64,
        /// Its root.
        remembered: Hash,
        /// The root over as many entries of what is signed now.
        found: Hash,
    },
    /// The entries, which are not those that the checkpoint signed either, are not those of the
    /// remembered head.
    #[error("the first {size} entries are not those of the remembered checkpoint")]
    DiffersFromRemembered {
        /// Entries of the remembered head.
        size: u64,
    },
    /// The remembered head is of another log.
    #[error("the remembered checkpoint is of the log {remembered}, this is {found}")]
    OtherLog {
        /// The log of the remembered head.
        remembered: String,
        /// The log of the export.
        found: String,
    },
    /// A line of `details.jsonl` that cannot be read.
    #[error("line {line} of details.jsonl: {reason}")]
    DetailsMalformed {
        /// The line, counted from one.
        line: u64,
        /// Why.
        reason: String,
    },
    /// A line of `details.jsonl` that is out of order, doubled, or of no entry.
    #[error("line {line} of details.jsonl is for entry {index}, which is out of place")]
    DetailsMisplaced {
        /// The line, counted from one.
        line: u64,
        /// The entry that it names.
        index: u64,
    },
}

/// A key that was believed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BelievedKey {
    /// The key, as `name+id+base64`.
    pub key: String,
    /// For a key that was not given: the entry that announces it, under a head that a believed key
    /// signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced_by: Option<u64>,
    /// Where another key followed it: it signs no head of more entries than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signs_until: Option<u64>,
}

/// Something that could not be checked, though nothing is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "not_checked", rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotChecked {
    /// No earlier head was given.
    #[error("whether the log was cut or rewritten: no remembered checkpoint was given")]
    NoRememberedCheckpoint,
    /// Hash tiles are absent; what they would have told is not lost, only where it went wrong.
    #[error(
        "{count} hash tile{} missing, {first} first: the entries were held against the checkpoint without; but had \
         one been changed there, it could not be told which, and what proves a single entry cannot be made",
        if *count == 1 { " is" } else { "s are" }
    )]
    TilesAbsent {
        /// How many.
        count: u64,
        /// The file of the first.
        first: String,
    },
    /// Too much is missing to compute the root of a remembered head.
    #[error("the remembered checkpoint of {size} entries: too much is missing")]
    Remembered {
        /// Entries of that head.
        size: u64,
    },
}

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The log that the checkpoint names.
    pub origin: Option<String>,
    /// Entries according to the checkpoint.
    pub size: u64,
    /// The root according to the checkpoint.
    pub root: Option<Hash>,
    /// The believed keys that signed it.
    pub signed_by: Vec<String>,
    /// The keys that were believed: those that were given, and those that follow them.
    pub believed: Vec<BelievedKey>,
    /// Entries that were read and visited.
    pub entries: u64,
    /// What is wrong, at most [`MAX_FINDINGS`] of it.
    pub findings: Vec<Finding>,
    /// How many more findings there were.
    pub more_findings: u64,
    /// What could not be checked.
    pub not_checked: Vec<NotChecked>,
}

impl Report {
    /// Whether nothing is wrong: a trusted key signed exactly these entries in this order, and they
    /// continue every remembered head.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.findings.is_empty() && self.more_findings == 0
    }
}

/// Collects findings up to the limit.
#[derive(Debug, Default)]
pub(super) struct Findings {
    listed: Vec<Finding>,
    more: u64,
    not_checked: Vec<NotChecked>,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        if let (Some(Finding::EntriesMissing { to: end, .. }), Finding::EntriesMissing { from, to }) =
            (self.listed.last_mut(), &finding)
            && end == from
        {
            *end = *to;
            return;
        }
        if self.listed.len() < MAX_FINDINGS {
            self.listed.push(finding);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn not_checked(&mut self, what: NotChecked) {
        self.not_checked.push(what);
    }

    /// These findings, then those of `later`.
    pub(super) fn and_then(mut self, later: Self) -> Self {
        later.listed.into_iter().for_each(|finding| self.add(finding));
        self.more += later.more;
        self.not_checked.extend(later.not_checked);
        self
    }

    pub(super) fn into_report(self) -> Report {
        Report {
            origin: None,
            size: 0,
            root: None,
            signed_by: Vec::new(),
            believed: Vec::new(),
            entries: 0,
            findings: self.listed,
            more_findings: self.more,
            not_checked: self.not_checked,
        }
    }
}
