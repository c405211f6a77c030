//! Where two sets of policies differ: who would be asked that was not, and who would be no longer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::decide::{Answer, Said};

/// One kind of difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Differing {
    /// Who asked, or answers for the agent that did; empty for nobody.
    pub person: String,
    /// What was asked for.
    pub resource: String,
    /// What the live policies said.
    pub live: Said,
    /// What the others said.
    pub other: Said,
}

/// How often two sets differed, in what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Asked by the others alone.
    pub newly_asked: u64,
    /// Asked by the live ones alone.
    pub no_longer_asked: u64,
    /// Asked by both, for something else or by other rules.
    pub asked_otherwise: u64,
    /// Refused by the others alone.
    pub newly_refused: u64,
    /// Refused by the live ones alone.
    pub no_longer_refused: u64,
}

impl Delta {
    fn of(live: Answer, other: Answer, times: u64) -> Self {
        let only = |one: Answer, that: Answer, this: Answer| if one == this && that != this { times } else { 0 };
        Self {
            newly_asked: only(other, live, Answer::Ask),
            no_longer_asked: only(live, other, Answer::Ask),
            asked_otherwise: if live == Answer::Ask && other == Answer::Ask { times } else { 0 },
            newly_refused: only(other, live, Answer::Refuse),
            no_longer_refused: only(live, other, Answer::Refuse),
        }
    }

    fn add(&mut self, more: Self) {
        for (sum, more) in [
            (&mut self.newly_asked, more.newly_asked),
            (&mut self.no_longer_asked, more.no_longer_asked),
            (&mut self.asked_otherwise, more.asked_otherwise),
            (&mut self.newly_refused, more.newly_refused),
            (&mut self.no_longer_refused, more.no_longer_refused),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// All of it.
    pub fn all(&self) -> u64 {
        let Self { newly_asked, no_longer_asked, asked_otherwise, newly_refused, no_longer_refused } = *self;
        [newly_asked, no_longer_asked, asked_otherwise, newly_refused, no_longer_refused]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// Where two sets of policies differed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// All of them.
    pub total: Delta,
    /// From which answer to which, how often.
    pub answers: BTreeMap<(Answer, Answer), u64>,
    rules: BTreeMap<String, Delta>,
    people: BTreeMap<String, Delta>,
    operations: BTreeMap<String, Delta>,
}

impl Differences {
    /// Counts a difference, so many times. What is the same is none.
    pub fn add(&mut self, differing: &Differing, times: u64) {
        let Differing { person, resource, live, other } = differing;
        if live == other || times == 0 {
            return;
        }
        let answers = self.answers.entry((live.answer, other.answer)).or_default();
        *answers = answers.saturating_add(times);
        let delta = Delta::of(live.answer, other.answer, times);
        self.total.add(delta);
        self.people.entry(person.clone()).or_default().add(delta);
        self.operations.entry(resource.clone()).or_default().add(delta);
        // A rule is counted for what it does itself: it asks, or refuses, or does so no longer.
        for rule in live.rules.iter().chain(&other.rules).collect::<BTreeSet<_>>() {
            let as_it_does = |said: &Said| if said.rules.contains(rule) { said.answer } else { Answer::Permit };
            let (before, after) = (as_it_does(live), as_it_does(other));
            self.rules.entry(rule.clone()).or_default().add(Delta::of(before, after, times));
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// By rule, most first.
    pub fn rules(&self) -> Vec<(&str, Delta)> {
        most_first(&self.rules)
    }

    /// By person (their id; empty is nobody who is signed in), most first.
    pub fn people(&self) -> Vec<(&str, Delta)> {
        most_first(&self.people)
    }

    /// By operation (its resource), most first.
    pub fn operations(&self) -> Vec<(&str, Delta)> {
        most_first(&self.operations)
    }
}

fn most_first(deltas: &BTreeMap<String, Delta>) -> Vec<(&str, Delta)> {
    let mut deltas: Vec<_> = deltas.iter().map(|(name, delta)| (name.as_str(), *delta)).collect();
    deltas.sort_by(|(a, x), (b, y)| (y.all(), a).cmp(&(x.all(), b)));
    deltas
}
