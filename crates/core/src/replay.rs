//! Recorded decisions, taken again under other policies, in the order of the ledger.
//!
//! What is assumed: whoever was asked proves what they proved then; what the other policies alone ask is proved at
//! once, by the least trouble ([`Beside`]); refusals that are only counted are decided as the first of their kind.
//! What passed unasked is not in the ledger, so what the others would ask there is not seen: a shadow sees it.

use std::collections::{BTreeMap, HashMap};

use stepgate_evidence::{Asked, Details, Entry, Event};

use crate::catalogue::Catalogue;
use crate::challenge::GrantKind;
use crate::decide::{Answer, Beside, CannotDecide, Decided, Recorded, Said};
use crate::factor::{FactorKind, Strength};
use crate::policy::Policies;
use crate::prompts::{Differences, Differing, Prompt, Prompts, Summary, passed, resists_phishing};
use crate::surroundings::Environment;
use crate::time::Timestamp;

/// Kinds of refusals, and challenges, whose decisions are remembered for what follows of them.
const REMEMBERED_MAX: usize = 50_000;

/// Takes recorded decisions again.
#[derive(Debug)]
pub struct Replay<'a> {
    policies: &'a Policies,
    catalogue: &'a Catalogue,
    environment: &'a Environment,
    beside: Beside,
    live: Prompts,
    other: Prompts,
    differences: Differences,
    decided: u64,
    undecided: BTreeMap<CannotDecide, u64>,
    /// What the others said of a challenge's request; `None` where they say what the live ones said.
    challenges: HashMap<String, Option<Decided>>,
    refusals: HashMap<Kind, Decided>,
}

/// Refusals that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    person: String,
    agent: String,
    resource: String,
    rules: Vec<String>,
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// What the live policies asked.
    pub live: Summary,
    /// What the others would have asked.
    pub other: Summary,
    /// Where they differ.
    pub differences: Differences,
    /// Decisions that were taken again.
    pub decided: u64,
    /// Those that could not be, and why; the others are taken to decide them as the live ones did.
    pub undecided: BTreeMap<CannotDecide, u64>,
}

impl<'a> Replay<'a> {
    /// Under `policies`, which were loaded for `catalogue` and `environment`.
    pub fn new(policies: &'a Policies, catalogue: &'a Catalogue, environment: &'a Environment) -> Self {
        Self {
            policies,
            catalogue,
            environment,
            beside: Beside::default(),
            live: Prompts::default(),
            other: Prompts::default(),
            differences: Differences::default(),
            decided: 0,
            undecided: BTreeMap::new(),
            challenges: HashMap::new(),
            refusals: HashMap::new(),
        }
    }

    /// One more entry.
    pub fn add(&mut self, entry: &Entry) {
        self.live.add(entry);
        let at = Timestamp::from_ms(entry.at_ms);
        match &entry.event {
            Event::ChallengeOpened { challenge, person, asked, policies, offered, .. } => {
                let live = Said::by(Answer::Ask, offered, policies.iter().cloned());
                let decided = self.decide(entry.details.as_ref(), person, asked, &live, 1);
                self.opened(challenge, (at, person, asked), decided, entry);
            }
            Event::ChallengePassed { challenge, grants, proof, .. } => {
                let (came_to, resists) = match self.challenges.get(challenge) {
                    Some(Some(decided)) => (passed(grant(decided).name()), way_resists(&decided.least)),
                    _ => (passed(grants), resists_phishing(proof)),
                };
                self.other.passed(at, challenge, came_to, resists);
            }
            Event::OperationSent { challenge, .. } => {
                self.challenges.remove(challenge);
                self.other.used(challenge);
            }
            Event::ChallengeFailed { challenge, .. }
            | Event::ChallengeExpired { challenge, .. }
            | Event::ChallengeCancelled { challenge, .. } => {
                self.challenges.remove(challenge);
                self.other.ended(challenge);
            }
            Event::OperationRefused { person, agent, asked, policies, count, .. } => {
                let live = Said::by(Answer::Refuse, "", policies.iter().cloned());
                let agent = agent.as_ref().map(|agent| agent.as_str().to_owned()).unwrap_or_default();
                let kind =
                    Kind { person: person.clone(), agent, resource: asked.resource.clone(), rules: live.rules.clone() };
                self.refused(entry, at, asked, &live, kind, u64::from(*count));
            }
            _ => {}
        }
    }

    /// What it came to, held against the ids of rules that could have asked: the live ones', and the others'.
    pub fn finish(self, live: &[&str], other: &[&str]) -> Replayed {
        Replayed {
            live: self.live.summary(live),
            other: self.other.summary(other),
            differences: self.differences,
            decided: self.decided,
            undecided: self.undecided,
        }
    }

    /// What the others decide, and the difference counted; `None` where they cannot be asked.
    fn decide(
        &mut self,
        details: Option<&Details>,
        person: &str,
        asked: &Asked,
        live: &Said,
        times: u64,
    ) -> Option<Decided> {
        let recorded = Recorded::from_details(details.map(|details| &details.body));
        let situation = recorded.and_then(|recorded| recorded.restore(asked, person, self.catalogue, self.environment));
        let mut situation = match situation {
            Ok(situation) => situation,
            Err(why) => {
                self.cannot(why, times);
                return None;
            }
        };
        let decided = self.beside.decide(self.policies, &mut situation, live);
        self.differ(person, asked, live, &decided, times);
        Some(decided)
    }

    fn differ(&mut self, person: &str, asked: &Asked, live: &Said, decided: &Decided, times: u64) {
        self.decided = self.decided.saturating_add(times);
        let differing = Differing {
            person: person.to_owned(),
            resource: asked.resource.clone(),
            live: live.clone(),
            other: decided.said.clone(),
        };
        self.differences.add(&differing, times);
        if decided.said.answer == Answer::Permit {
            self.other.unasked(&asked.sensitivity, &asked.resource);
        }
    }

    fn cannot(&mut self, why: CannotDecide, times: u64) {
        let count = self.undecided.entry(why).or_default();
        *count = count.saturating_add(times);
    }

    fn opened(
        &mut self,
        challenge: &str,
        (at, person, asked): (Timestamp, &str, &Asked),
        decided: Option<Decided>,
        entry: &Entry,
    ) {
        self.other.moment(at);
        let Some(decided) = decided else {
            self.other.add(entry);
            return;
        };
        match decided.said.answer {
            Answer::Ask => self.other.opened(challenge, prompt(at, person, asked, &decided)),
            Answer::Refuse => self.other.refused(at, person, &asked.resource, &decided.said.rules, 1),
            Answer::Permit | Answer::SignIn => {}
        }
        let Event::ChallengeOpened { offered, .. } = &entry.event else { return };
        if self.challenges.len() >= REMEMBERED_MAX {
            // What is so old that this many came after it is answered no more.
            self.challenges.clear();
        }
        let is_the_same = decided.said.answer == Answer::Ask && decided.said.offered == *offered;
        self.challenges.insert(challenge.to_owned(), (!is_the_same).then_some(decided));
    }

    /// The first of a kind is decided, those that are only counted like it.
    fn refused(&mut self, entry: &Entry, at: Timestamp, asked: &Asked, live: &Said, kind: Kind, times: u64) {
        self.other.moment(at);
        let Event::OperationRefused { person, window_s, .. } = &entry.event else { return };
        let decided = match (*window_s, self.refusals.get(&kind)) {
            (0, _) => self.decide(entry.details.as_ref(), person, asked, live, times),
            (_, Some(first)) => {
                let first = first.clone();
                self.differ(person, asked, live, &first, times);
                Some(first)
            }
            (_, None) => {
                self.cannot(CannotDecide::NotKept, times);
                None
            }
        };
        let Some(decided) = decided else {
            self.other.add(entry);
            return;
        };
        match decided.said.answer {
            Answer::Refuse => self.other.refused(at, person, &asked.resource, &decided.said.rules, times),
            Answer::Ask => {
                for number in 0..times {
                    let id = format!("{} {number}", entry.id);
                    self.other.opened(&id, prompt(at, person, asked, &decided));
                    self.other.passed(at, &id, passed(grant(&decided).name()), way_resists(&decided.least));
                    self.other.used(&id);
                }
            }
            Answer::Permit | Answer::SignIn => {}
        }
        if self.refusals.len() >= REMEMBERED_MAX {
            self.refusals.clear();
        }
        self.refusals.insert(kind, decided);
    }
}

fn prompt(at: Timestamp, person: &str, asked: &Asked, decided: &Decided) -> Prompt {
    Prompt {
        at,
        person: person.to_owned(),
        resource: asked.resource.clone(),
        sensitivity: asked.sensitivity.clone(),
        rules: decided.said.rules.iter().cloned().collect(),
        counts_for: decided.counts_for,
    }
}

fn grant(decided: &Decided) -> GrantKind {
    if decided.counts_for.is_some() { GrantKind::Freshness } else { GrantKind::Confirmation }
}

fn way_resists(way: &[FactorKind]) -> bool {
    way.iter().any(|kind| kind.strength().covers(Strength::PHISHING_RESISTANT))
}

#[cfg(test)]
mod tests;
