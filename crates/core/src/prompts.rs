//! How often people are asked, by which rule, and what comes of it: counted from what the ledger holds, entry by entry.
//!
//! What is remembered is what is open, whose proof still counts, and the counts: so much for each person, rule and
//! operation, however long the ledger is.

mod count;
mod differences;
mod reached;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use stepgate_evidence::{Entry, Event, FactorProof, Grant, Statement};

use crate::factor::{FactorKind, Strength};
use crate::time::Timestamp;

pub use count::{Count, Summary, days};
pub use differences::{Delta, Differences, Differing};
pub use reached::Weaker;

use count::Tally;
use reached::Reached;

/// What was asked so long ago is over, whether or not its end was told: no challenge lives longer.
const OVER_AFTER: Duration = Duration::from_secs(24 * 3600);
/// After so many prompts what is over is forgotten.
const FORGET_EVERY: u64 = 4_096;

/// Counts prompts and refusals, in the order of the ledger.
#[derive(Debug, Default)]
pub struct Prompts {
    tally: Tally,
    reached: Reached,
    open: HashMap<String, Open>,
    /// Until when a person's fresh proof counts for these rules.
    fresh: HashMap<(String, BTreeSet<String>), Timestamp>,
    newest: Option<Timestamp>,
}

/// Somebody was asked.
#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    pub(crate) at: Timestamp,
    pub(crate) person: String,
    pub(crate) resource: String,
    pub(crate) sensitivity: String,
    pub(crate) rules: BTreeSet<String>,
    /// How long its proof counts; `None` where it counts for one request, or where that was erased.
    pub(crate) counts_for: Option<Duration>,
}

/// A prompt that was neither used nor ended.
#[derive(Debug)]
struct Open {
    prompt: Prompt,
}

/// What a proof came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It counts for a while: something rests on it.
    Fresh,
    /// It waits to be spent.
    Confirmed,
}

impl Prompts {
    /// One more entry.
    pub fn add(&mut self, entry: &Entry) {
        let at = Timestamp::from_ms(entry.at_ms);
        match &entry.event {
            Event::ChallengeOpened { challenge, person, asked, policies, .. } => {
                let prompt = Prompt {
                    at,
                    person: person.clone(),
                    resource: asked.resource.clone(),
                    sensitivity: asked.sensitivity.clone(),
                    rules: policies.iter().cloned().collect(),
                    counts_for: counts_for(entry),
                };
                self.opened(challenge, prompt);
            }
            Event::ChallengePassed { challenge, grants, proof, .. } => {
                self.passed(at, challenge, passed(grants), resists_phishing(proof));
            }
            Event::OperationSent { challenge, .. } => self.used(challenge),
            Event::ChallengeFailed { challenge, .. }
            | Event::ChallengeExpired { challenge, .. }
            | Event::ChallengeCancelled { challenge, .. } => self.ended(challenge),
            Event::OperationRefused { person, asked, policies, count, .. } => {
                self.refused(at, person, &asked.resource, policies, u64::from(*count));
            }
            _ => {}
        }
    }

    pub(crate) fn opened(&mut self, challenge: &str, prompt: Prompt) {
        self.tally.moment(prompt.at);
        self.newest = self.newest.max(Some(prompt.at));
        let before = self.fresh.get(&(prompt.person.clone(), prompt.rules.clone()));
        let repeated = u64::from(before.is_some_and(|until| prompt.at < *until));
        let count = Count { asked: 1, repeated, ..Count::default() };
        self.tally.add(&prompt.person, &prompt.resource, &prompt.rules, count);
        self.open.insert(challenge.to_owned(), Open { prompt });
        if self.tally.total.asked.is_multiple_of(FORGET_EVERY) {
            self.forget();
        }
    }

    pub(crate) fn passed(&mut self, at: Timestamp, challenge: &str, passed: Passed, resists_phishing: bool) {
        let Some(Open { prompt }) = self.open.get(challenge) else { return };
        self.reached.by_proof(&prompt.sensitivity, &prompt.resource, resists_phishing);
        if let Some(counts_for) = prompt.counts_for {
            self.fresh.insert((prompt.person.clone(), prompt.rules.clone()), at.plus(counts_for));
        }
        if passed == Passed::Fresh {
            self.used(challenge);
        }
    }

    /// A decision rested on it.
    pub(crate) fn used(&mut self, challenge: &str) {
        self.open.remove(challenge);
    }

    /// It is over, and no decision rested on it.
    pub(crate) fn ended(&mut self, challenge: &str) {
        if let Some(Open { prompt }) = self.open.remove(challenge) {
            self.tally.add(&prompt.person, &prompt.resource, &prompt.rules, UNUSED);
        }
    }

    pub(crate) fn refused<'a>(
        &mut self,
        at: Timestamp,
        person: &str,
        resource: &str,
        rules: impl IntoIterator<Item = &'a String>,
        times: u64,
    ) {
        self.tally.moment(at);
        self.tally.add(person, resource, rules, Count { denied: times, ..Count::default() });
    }

    /// A sensitive operation was let through and nothing was asked.
    pub(crate) fn unasked(&mut self, sensitivity: &str, resource: &str) {
        self.reached.unasked(sensitivity, resource);
    }

    /// So much of a period was looked at, whether or not anybody was asked.
    pub(crate) fn moment(&mut self, at: Timestamp) {
        self.tally.moment(at);
    }

    /// What was counted, held against `rules`: the ids of those that could have asked.
    pub fn summary(&self, rules: &[&str]) -> Summary {
        let mut tally = self.tally.clone();
        let (mut open, now) = (0_u64, self.newest.unwrap_or(Timestamp::from_ms(0)));
        for Open { prompt } in self.open.values() {
            match is_over(prompt, now) {
                true => tally.add(&prompt.person, &prompt.resource, &prompt.rules, UNUSED),
                false => open = open.saturating_add(1),
            }
        }
        tally.summary(rules, self.reached.weaker(), open)
    }

    /// Ends what is over, so that what is remembered does not grow with the ledger.
    fn forget(&mut self) {
        let Some(now) = self.newest else { return };
        let over = self.open.iter().filter(|(_, open)| is_over(&open.prompt, now));
        let over: Vec<String> = over.map(|(challenge, _)| challenge.clone()).collect();
        over.iter().for_each(|challenge| self.ended(challenge));
        self.fresh.retain(|_, until| *until > now);
    }
}

const UNUSED: Count = Count { asked: 0, unused: 1, repeated: 0, denied: 0 };

fn is_over(prompt: &Prompt, now: Timestamp) -> bool {
    now.since(prompt.at).is_some_and(|age| age > OVER_AFTER)
}

/// What a proof came to, as entries say it.
pub(crate) fn passed(grants: &str) -> Passed {
    if grants == "confirmation" { Passed::Confirmed } else { Passed::Fresh }
}

/// How long a fresh proof counts, as its statement says.
fn counts_for(entry: &Entry) -> Option<Duration> {
    let statement = entry.details.as_ref()?.body.get("statement")?;
    match serde_json::from_value::<Statement>(statement.clone()).ok()?.grant {
        Grant::Freshness { max_age_s } => max_age_s.parse().ok().map(Duration::from_secs),
        Grant::Confirmation { .. } => None,
    }
}

pub(crate) fn resists_phishing(proof: &FactorProof) -> bool {
    let resists = |strength: Strength| strength.covers(Strength::PHISHING_RESISTANT);
    match &proof.login {
        Some(login) => login.counts_as.iter().filter_map(|name| Strength::named(name)).any(resists),
        None => proof.factor.parse().is_ok_and(|kind: FactorKind| resists(kind.strength())),
    }
}
