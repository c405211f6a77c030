//! Checks an exported log: that it is what was signed, whole, and in order.
//!
//! One pass over the entries, with memory for a few bundles. One thread reads and hashes, the
//! caller's compares and visits.
//!
//! Where the hash tiles are authentic (they lead to the signed root), it is told *which* entry was
//! changed, is missing, was inserted or moved. Where they are not, only that the entries are not
//! those that were signed.

mod align;
mod pass;
mod read;
mod report;
mod succession;

pub use report::{BelievedKey, Finding, MAX_FINDINGS, NotChecked, Report};
pub use succession::Announcement;

use crate::checkpoint::{Checkpoint, CheckpointVerifier, SignedCheckpoint};
use crate::export::{ReadError, Reader, Record};
use report::Findings;
use succession::Succession;

/// What the one who verifies brings along.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// Public keys of the log. One of them, or one that follows one of them, must have signed the
    /// checkpoint, and each must be of this log: one that neither signed it nor stands in its
    /// succession is a finding ([`Finding::KeyNotOfThisLog`]).
    pub keys: &'a [CheckpointVerifier],
    /// Heads seen earlier. Without one, a log that was cut or rewritten by the holder of its key
    /// cannot be told from one that was always so.
    pub remembered: &'a [Checkpoint],
}

/// Sees every entry in order, to check what the ledger knows nothing of.
pub trait Visitor {
    /// One entry, as it stands in the export; it may be one that was changed or inserted.
    fn entry(&mut self, record: Record);

    /// Which of the entries announce that another key signs from there on. Asked once, after the
    /// last entry.
    fn announcements(&mut self) -> Vec<Announcement> {
        Vec::new()
    }
}

impl<F: FnMut(Record)> Visitor for F {
    fn entry(&mut self, record: Record) {
        self(record);
    }
}

/// Checks an export.
///
/// # Errors
///
/// [`ReadError`] if a file cannot be read at all. What can be read and is wrong is in the report.
pub fn verify(reader: &Reader, trust: Trust<'_>, visitor: &mut impl Visitor) -> Result<Report, ReadError> {
    let mut findings = Findings::default();
    let Some(text) = reader.checkpoint_text()? else {
        findings.add(Finding::CheckpointMissing);
        return Ok(findings.into_report());
    };
    let claimed = match SignedCheckpoint::parse(&text) {
        Ok(signed) => signed.unverified().clone(),
        Err(error) => {
            findings.add(Finding::CheckpointNotBelieved { reason: error.to_string() });
            return Ok(findings.into_report());
        }
    };
    let handovers = reader.handovers()?;
    let wanted = trust.remembered.iter().map(|head| head.size).chain(handovers.keys().copied()).collect();
    let mut later = Findings::default();
    let pass = pass::run(reader, &claimed, wanted, visitor, &mut later)?;
    pass.judge(&claimed, trust.remembered, &mut later);
    let mut succession = Succession::new(trust.keys);
    for announcement in visitor.announcements() {
        succession.follow(&announcement, &handovers, |size| pass.root_at(size), &mut findings);
    }
    let signed_by = succession.signers(&text, &claimed, &mut findings);
    let mut report = findings.and_then(later).into_report();
    report.entries = pass.visited;
    report.size = claimed.size;
    report.root = Some(claimed.root);
    report.origin = Some(claimed.origin.to_string());
    report.signed_by = signed_by;
    report.believed = succession.into_believed();
    Ok(report)
}
