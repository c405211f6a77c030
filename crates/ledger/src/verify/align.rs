//! Lays the entries that are there beside the hashes that were signed, and tells what was changed,
//! taken away, put in or moved, looking at most [`WINDOW`] entries ahead.

use std::collections::VecDeque;

use super::report::{Finding, MAX_FINDINGS};
use crate::hash::Hash;

/// How far an entry is looked for, in entries.
const WINDOW: usize = 1024;

/// Whether more will be fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    More,
    Finished,
}

#[derive(Debug, Default)]
pub(super) struct Aligner {
    expected: VecDeque<(u64, Hash)>,
    actual: VecDeque<(u64, Hash)>,
    /// At most [`MAX_FINDINGS`], after which it no longer looks.
    differences: Vec<Finding>,
}

impl Aligner {
    /// Takes the hashes under one tile, as signed and as they are, both from index `first` on.
    pub(super) fn feed(&mut self, first: u64, expected: &[Hash], actual: &[Hash]) {
        if self.differences.len() >= MAX_FINDINGS {
            return;
        }
        if self.expected.is_empty() && self.actual.is_empty() && expected == actual {
            return;
        }
        self.expected.extend((first..).zip(expected.iter().copied()));
        self.actual.extend((first..).zip(actual.iter().copied()));
        self.settle(Feed::More);
    }

    /// Settles what is pending without waiting for more: after this comes the end or a gap.
    pub(super) fn settle_all(&mut self) {
        self.settle(Feed::Finished);
        self.expected.clear();
        self.actual.clear();
    }

    pub(super) fn differences(&self) -> &[Finding] {
        &self.differences
    }

    fn settle(&mut self, feed: Feed) {
        while self.differences.len() < MAX_FINDINGS {
            let difference = match (self.expected.front(), self.actual.front()) {
                (None, None) => return,
                (Some((_, expected)), Some((_, actual))) if expected == actual => {
                    self.expected.pop_front();
                    self.actual.pop_front();
                    continue;
                }
                _ if feed == Feed::More && (self.expected.len() < WINDOW || self.actual.len() < WINDOW) => {
                    return;
                }
                (Some(&(index, _)), None) => {
                    self.expected.pop_front();
                    Finding::EntryMissing { index }
                }
                (None, Some(&(found_at, _))) => {
                    self.actual.pop_front();
                    Finding::EntryInserted { found_at }
                }
                (Some(&expected), Some(&actual)) => self.tell(expected, actual),
            };
            self.differences.push(difference);
        }
    }

    /// What the difference between the two fronts is; takes from the fronts what it explains.
    fn tell(&mut self, (index, signed): (u64, Hash), (found_at, here): (u64, Hash)) -> Finding {
        let later =
            |entries: &VecDeque<(u64, Hash)>, hash| entries.iter().take(WINDOW).position(|(_, other)| *other == hash);
        let here_belongs = later(&self.expected, here);
        let signed_is = later(&self.actual, signed);
        match (here_belongs, signed_is) {
            (None, None) => {
                self.expected.pop_front();
                self.actual.pop_front();
                Finding::EntryChanged { index }
            }
            (Some(_), None) => {
                self.expected.pop_front();
                Finding::EntryMissing { index }
            }
            (None, Some(_)) => {
                self.actual.pop_front();
                Finding::EntryInserted { found_at }
            }
            (Some(place), Some(_)) => {
                let index = self.expected.remove(place).map_or(index, |(index, _)| index);
                self.actual.pop_front();
                Finding::EntryMoved { index, found_at }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    fn check(signed: &str, found: &str, expected: &[Finding]) {
        let hashes = |text: &str| text.bytes().map(|byte| leaf_hash(&[byte])).collect::<Vec<_>>();
        let mut aligner = Aligner::default();
        aligner.feed(0, &hashes(signed), &hashes(found));
        aligner.settle_all();
        assert_eq!(aligner.differences(), expected, "{signed} -> {found}");
    }

    #[test]
    fn differences_are_told_by_index() {
        check("abcdef", "abcdef", &[]);
        check("abcdef", "abXdef", &[Finding::EntryChanged { index: 2 }]);
        check("abcdef", "abdef", &[Finding::EntryMissing { index: 2 }]);
        check("abcdef", "abcde", &[Finding::EntryMissing { index: 5 }]);
        check("abcdef", "abXcdef", &[Finding::EntryInserted { found_at: 2 }]);
        check("abcdef", "abcdefX", &[Finding::EntryInserted { found_at: 6 }]);
        check("abcdef", "acbdef", &[Finding::EntryMoved { index: 2, found_at: 1 }]);
        check("abcdef", "fabcde", &[Finding::EntryMoved { index: 5, found_at: 0 }]);
        check("abcdef", "acXef", &[Finding::EntryMissing { index: 1 }, Finding::EntryChanged { index: 3 }]);
    }

    #[test]
    fn differences_are_found_across_tiles() {
        let hashes: Vec<_> = (0_u64..4096).map(|number| leaf_hash(&number.to_be_bytes())).collect();
        let mut found = hashes.clone();
        found.remove(700);
        found.swap(3000, 3001);
        let mut aligner = Aligner::default();
        for (number, (signed, found)) in hashes.chunks(256).zip(found.chunks(256)).enumerate() {
            aligner.feed(256 * number as u64, signed, found);
        }
        aligner.settle_all();
        assert_eq!(
            aligner.differences(),
            [Finding::EntryMissing { index: 700 }, Finding::EntryMoved { index: 3002, found_at: 3000 },]
        );
    }
}
