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

pub use report::{Finding, MAX_FINDINGS, NotChecked, Report};

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointVerifier, SignedCheckpoint};
use crate::export::{ReadError, Reader, Record};
use report::Findings;

/// What the one who verifies brings along.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// Public keys of the log. One of them must have signed the checkpoint.
    pub keys: &'a [CheckpointVerifier],
    /// Heads seen earlier. Without one, a log that was cut or rewritten by the holder of its key
    /// cannot be told from one that was always so.
    pub remembered: &'a [Checkpoint],
}

/// Sees every entry in order, to check what the ledger knows nothing of.
pub trait Visitor {
    /// One entry, as it stands in the export; it may be one that was changed or inserted.
    fn entry(&mut self, record: Record);
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
    let signed_by = signers(&text, trust.keys, &mut findings);
    let pass = pass::run(reader, &claimed, trust.remembered, visitor, &mut findings)?;
    pass.judge(&claimed, trust.remembered, &mut findings);
    let mut report = findings.into_report();
    report.entries = pass.visited;
    report.size = claimed.size;
    report.root = Some(claimed.root);
    report.origin = Some(claimed.origin.to_string());
    report.signed_by = signed_by;
    Ok(report)
}

/// The keys among `keys` that signed the checkpoint. That none did is a finding, and so is a
/// signature in a key's name that is not by it.
fn signers(text: &str, keys: &[CheckpointVerifier], findings: &mut Findings) -> Vec<String> {
    let mut signed_by = Vec::new();
    let mut reasons = Vec::new();
    for key in keys {
        match key.verify(text) {
            Ok(_) => signed_by.push(key.key().to_owned()),
            Err(error @ CheckpointError::WrongSignature(_)) => {
                findings.add(Finding::CheckpointNotBelieved { reason: error.to_string() });
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if signed_by.is_empty() && findings.is_empty() {
        if reasons.is_empty() {
            reasons.push("no key to verify it with".to_owned());
        }
        findings.add(Finding::CheckpointNotBelieved { reason: reasons.join("; ") });
    }
    signed_by
}
