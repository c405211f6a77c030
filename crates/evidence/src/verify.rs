//! Checks an exported log without trusting the one who wrote it.
//!
//! On top of [`stepgate_ledger::verify`], which says whether these are the entries that were
//! signed, this says whether they tell a story that holds: every passkey signature is checked again
//! against the statement that it was made for, every company login against the token that the
//! provider signed, and the rules that the gate keeps are held against what it wrote.
//!
//! Entries are taken in batches: read by several threads, judged in order by one, signatures
//! checked by several again. Memory grows with the number of sessions, challenges and factors (some
//! 50 bytes each), not with the number of entries.

mod beside;
mod keys;
mod logins;
mod read;
mod report;
mod rules;
mod spread;

pub use beside::{BadBeside, exported, imported};
pub use logins::{MAX_SIGNING_KEYS, SigningKey, SigningKeys};
pub(crate) use report::moves;
pub use report::{Counts, Finding, MAX_FINDINGS, NotChecked, Problem, Report};

use stepgate_ledger::export::{ReadError, Reader, Record};
use stepgate_ledger::verify::{Announcement, Trust, Visitor};

use crate::login::ProviderKeys;
use rules::Story;

/// How many entries are judged at a time.
const BATCH: usize = 4096;

/// Checks an export. `progress` is told now and then how many entries were read.
///
/// # Errors
///
/// [`ReadError`] if a file cannot be read at all. What can be read and is wrong is in the report.
pub fn verify(reader: &Reader, trust: Trust<'_>, progress: &mut impl FnMut(u64)) -> Result<Report, ReadError> {
    verify_with_providers(reader, trust, ProviderKeys::default(), progress)
}

/// The same, and the keys that signed company logins are compared with those that somebody has of
/// their providers.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_with_providers(
    reader: &Reader,
    trust: Trust<'_>,
    providers: ProviderKeys,
    progress: &mut impl FnMut(u64),
) -> Result<Report, ReadError> {
    let story = Story::knowing(providers);
    let mut batches = Batches { pending: Vec::with_capacity(BATCH), story, progress, seen: 0 };
    let ledger = stepgate_ledger::verify::verify(reader, trust, &mut batches)?;
    batches.judge();
    let Batches { story, .. } = batches;
    Ok(story.into_report(ledger))
}

/// Gathers entries, and has them judged a batch at a time.
struct Batches<'a, P> {
    pending: Vec<Record>,
    story: Story,
    progress: &'a mut P,
    seen: u64,
}

impl<P: FnMut(u64)> Batches<'_, P> {
    fn judge(&mut self) {
        let records = std::mem::take(&mut self.pending);
        self.seen += records.len() as u64;
        let read = spread::map(records, read::read);
        let signatures: Vec<_> = read.into_iter().flat_map(|read| self.story.judge(read)).collect();
        let checked = spread::map(signatures, keys::Signature::check);
        self.story.take_signatures(checked);
        (self.progress)(self.seen);
    }
}

impl<P: FnMut(u64)> Visitor for Batches<'_, P> {
    fn entry(&mut self, record: Record) {
        self.pending.push(record);
        if self.pending.len() >= BATCH {
            self.judge();
        }
    }

    fn announcements(&mut self) -> Vec<Announcement> {
        self.judge();
        self.story.announcements()
    }
}
