//! Counts, by rule, person and operation.

use std::collections::BTreeMap;

use super::reached::Weaker;
use crate::time::Timestamp;

const DAY_MS: f64 = 86_400_000.0;

/// How often somebody was asked, or something asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Challenges.
    pub asked: u64,
    /// Of them, those that ended and that no decision used: not proved, or confirmed and never spent.
    pub unused: u64,
    /// Of them, those for rules that the same person had just satisfied, while that still counted: on another device,
    /// say.
    pub repeated: u64,
    /// Refusals that no proof would have turned.
    pub denied: u64,
}

impl Count {
    fn add(&mut self, more: Self) {
        self.asked = self.asked.saturating_add(more.asked);
        self.unused = self.unused.saturating_add(more.unused);
        self.repeated = self.repeated.saturating_add(more.repeated);
        self.denied = self.denied.saturating_add(more.denied);
    }
}

/// What was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The first and the last moment that was counted.
    pub period: Option<(Timestamp, Timestamp)>,
    /// The days between them, one at least.
    pub days: f64,
    /// All of it.
    pub total: Count,
    /// By rule, most asked first. A challenge for which several rules asked counts for each.
    pub rules: Vec<(String, Count)>,
    /// By person (their id; empty is nobody who is signed in), most asked first.
    pub people: Vec<(String, Count)>,
    /// By operation (its resource), most asked first.
    pub operations: Vec<(String, Count)>,
    /// Of the rules that were given, those that neither asked nor refused.
    pub silent: Vec<String>,
    /// Sensitive operations that were reached at lower assurance than their peers.
    pub weaker: Vec<Weaker>,
    /// Challenges that are open, or confirmed and not spent yet.
    pub open: u64,
}

/// What is counted so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) total: Count,
    rules: BTreeMap<String, Count>,
    people: BTreeMap<String, Count>,
    operations: BTreeMap<String, Count>,
    period: Option<(Timestamp, Timestamp)>,
}

impl Tally {
    pub(super) fn add<'a>(
        &mut self,
        person: &str,
        resource: &str,
        rules: impl IntoIterator<Item = &'a String>,
        count: Count,
    ) {
        self.total.add(count);
        let mut to = |counts: fn(&mut Self) -> &mut BTreeMap<String, Count>, name: &str| {
            let counts = counts(self);
            match counts.get_mut(name) {
                Some(known) => known.add(count),
                None => drop(counts.insert(name.to_owned(), count)),
            }
        };
        to(|tally| &mut tally.people, person);
        to(|tally| &mut tally.operations, resource);
        rules.into_iter().for_each(|rule| to(|tally| &mut tally.rules, rule));
    }

    pub(super) fn moment(&mut self, at: Timestamp) {
        self.period = Some(self.period.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
    }

    pub(super) fn summary(self, rules: &[&str], weaker: Vec<Weaker>, open: u64) -> Summary {
        let silent = rules.iter().filter(|rule| !self.rules.contains_key(**rule));
        Summary {
            period: self.period,
            days: self.period.map_or(1.0, days),
            total: self.total,
            silent: silent.map(|rule| (*rule).to_owned()).collect(),
            rules: most_first(self.rules),
            people: most_first(self.people),
            operations: most_first(self.operations),
            weaker,
            open,
        }
    }
}

/// The days of a period, one at least.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of a period, shown with one digit")]
pub fn days((first, last): (Timestamp, Timestamp)) -> f64 {
    (last.as_ms().saturating_sub(first.as_ms()) as f64 / DAY_MS).max(1.0)
}

fn most_first(counts: BTreeMap<String, Count>) -> Vec<(String, Count)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(a, x), (b, y)| (y.asked, y.denied, a).cmp(&(x.asked, x.denied, b)));
    counts
}
