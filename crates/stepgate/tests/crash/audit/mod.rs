//! What must be true after every kill, held against what the ledger, the application
//! and the person saw.

mod events;
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use stepgate_evidence::{Entry, Outcome, Statement};
use stepgate_ledger::checkpoint::Checkpoint;
use stepgate_ledger::{CheckpointVerifier, Frontier, Hash, leaf_hash};

use crate::upstream::{Arrival, REPORTS, is_large};

/// How fresh a second factor has to be for a report, as the policy says.
const FRESH_MS: i64 = 60_000;
/// How long a request may be on its way; only a test that fails waits so long.
const ON_THE_WAY_MS: i64 = 15_000;

/// Something happened that must not happen, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Violation(pub(crate) String);

impl From<String> for Violation {
    fn from(words: String) -> Self {
        Self(words)
    }
}

/// What must not be.
pub(crate) fn violated<T>(words: String) -> Result<T, Violation> {
    Err(Violation(words))
}

/// What a person knows for certain, since the gate told them.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// This challenge was opened.
    Asked(String),
    /// The passkey signed for this challenge; whether the gate has heard is not known.
    Signed(String),
    /// A code was typed for this challenge, likewise.
    Typed {
        /// The challenge.
        challenge: String,
        /// Whose code, and which.
        code: String,
    },
    /// It was passed.
    Passed(String),
    /// Its request was answered by the application.
    Approved(String),
    /// What became of its request, as the gate tells it.
    Told(String, String),
}

/// A challenge as the ledger tells it.
#[derive(Debug)]
struct Challenge {
    session: String,
    path: String,
    body_sha256: String,
    passed: bool,
    /// How it ended, other than by being spent.
    over: Option<&'static str>,
    succeeded_by: Option<String>,
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    round: u32,
    request: String,
    finished: Option<Outcome>,
}

/// Everything that is remembered between kills.
#[derive(Debug)]
pub(crate) struct Audit {
    verifier: CheckpointVerifier,
    frontier: Frontier,
    /// The root at each size, by our own arithmetic over what was read once.
    roots: Vec<Hash>,
    /// Every head that the gate signed and told.
    pub(crate) remembered: Vec<Checkpoint>,
    /// The round whose entries are read.
    round: u32,
    last: Option<String>,
    challenges: BTreeMap<String, Challenge>,
    /// Which challenge a request was spent on.
    requests: BTreeMap<String, String>,
    signed: BTreeSet<String>,
    /// Which code was typed for a challenge; for each, one.
    typed: BTreeMap<String, String>,
    /// What each code was accepted for.
    accepted: BTreeMap<String, String>,
    /// When somebody gave a proof that makes fresh.
    fresh: BTreeMap<String, Vec<i64>>,
    ended: BTreeSet<String>,
    /// What was enrolled with a confirmation, by its challenge.
    enrolled: BTreeSet<String>,
    /// Requests at the application, by their ids.
    arrived: BTreeSet<String>,
    /// What has been counted.
    pub(crate) counts: Counts,
}

/// How much was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Challenges that were opened.
    pub(crate) opened: usize,
    /// Challenges that were passed.
    pub(crate) passed: usize,
    /// Requests that were confirmed and sent.
    pub(crate) sent: usize,
    /// Of them, those whose outcome will never be known.
    pub(crate) unknown: usize,
    /// Large payments at the application.
    pub(crate) arrived: usize,
    /// Small payments at the application.
    pub(crate) small: usize,
    /// Reports at the application.
    pub(crate) reports: usize,
    /// Codes of apps that were accepted.
    pub(crate) totp: usize,
    /// Recovery codes that were accepted.
    pub(crate) recovery: usize,
    /// Requests that were carried on by a successor.
    pub(crate) succeeded: usize,
    /// Factors that were enrolled with a confirmation.
    pub(crate) enrolled: usize,
    /// Sessions that ended before their time.
    pub(crate) ended: usize,
    /// Times that policies were loaded.
    pub(crate) policies: usize,
}

impl Counts {
    /// Both together.
    pub(crate) fn plus(self, more: Self) -> Self {
        Self {
            opened: self.opened + more.opened,
            passed: self.passed + more.passed,
            sent: self.sent + more.sent,
            unknown: self.unknown + more.unknown,
            arrived: self.arrived + more.arrived,
            small: self.small + more.small,
            reports: self.reports + more.reports,
            totp: self.totp + more.totp,
            recovery: self.recovery + more.recovery,
            succeeded: self.succeeded + more.succeeded,
            enrolled: self.enrolled + more.enrolled,
            ended: self.ended + more.ended,
            policies: self.policies + more.policies,
        }
    }
}

impl Audit {
    /// Begins with an empty ledger, whose heads this key signs.
    pub(crate) fn new(verifier: CheckpointVerifier) -> Self {
        let frontier = Frontier::new();
        let roots = vec![frontier.root()];
        Self {
            verifier,
            frontier,
            roots,
            remembered: Vec::new(),
            round: 0,
            last: None,
            challenges: BTreeMap::new(),
            requests: BTreeMap::new(),
            signed: BTreeSet::new(),
            typed: BTreeMap::new(),
            accepted: BTreeMap::new(),
            fresh: BTreeMap::new(),
            ended: BTreeSet::new(),
            enrolled: BTreeSet::new(),
            arrived: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// How many entries were read.
    pub(crate) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The round whose entries are read.
    pub(crate) fn round(&self) -> u32 {
        self.round
    }

    /// All entries of earlier rounds were read. What is read from now on was written in this one, or later.
    pub(crate) fn begin_round(&mut self, round: u32) {
        self.round = round;
    }

    /// A signed head. Held against the entries by [`Self::heads`], when they are read.
    pub(crate) fn head(&mut self, text: &str) -> Result<(), Violation> {
        let checkpoint = self.verifier.verify(text).map_err(|error| format!("a head is not signed: {error}"))?;
        if self.remembered.last().is_some_and(|last| last.size > checkpoint.size) {
            return violated(format!("a head of {} entries after {:?}", checkpoint.size, self.remembered.last()));
        }
        self.remembered.push(checkpoint);
        Ok(())
    }

    /// All entries were told: the last head must be the root over what was read, most of it long ago.
    pub(crate) fn heads(&self) -> Result<(), Violation> {
        let Some(head) = self.remembered.last() else { return Ok(()) };
        let size = usize::try_from(head.size).unwrap();
        match self.roots.get(size) {
            Some(root) if *root == head.root => Ok(()),
            Some(_) => violated(format!("the head of {size} entries is another tree than the one that was read")),
            None => violated(format!("a head of {size} entries, and only {} are there", self.size())),
        }
    }

    /// The next entry of the ledger.
    pub(crate) fn leaf(&mut self, leaf: &[u8]) -> Result<(), Violation> {
        self.frontier.push(leaf_hash(leaf));
        self.roots.push(self.frontier.root());
        let (entry, _) = Entry::from_leaf(leaf).map_err(|error| error.to_string())?;
        self.last = None;
        self.event(entry)
    }

    /// What lies beside the last entry.
    pub(crate) fn details(&mut self, body: serde_json::Value) -> Result<(), Violation> {
        let Some(challenge) = self.last.take() else { return Ok(()) };
        let statement = body.get("statement").cloned().unwrap_or_default();
        let statement: Statement = serde_json::from_value(statement).map_err(|error| error.to_string())?;
        let url = url::Url::parse(&statement.url).map_err(|error| error.to_string())?;
        let known = self.challenge(&challenge)?;
        url.path().clone_into(&mut known.path);
        known.body_sha256 = statement.body_sha256;
        Ok(())
    }

    /// What a person knows. Heard while the gate lived; held against the ledger after its death.
    pub(crate) fn known(&mut self, known: &[Known]) -> Result<(), Violation> {
        for known in known {
            let (Known::Asked(id) | Known::Passed(id) | Known::Approved(id) | Known::Told(id, _)) = known else {
                continue;
            };
            let challenge =
                self.challenges.get(id).ok_or_else(|| format!("{known:?}, and the ledger does not know"))?;
            let outcome = challenge.sent.as_ref().and_then(|sent| sent.finished.as_ref());
            let holds = match known {
                Known::Asked(_) | Known::Signed(_) | Known::Typed { .. } => true,
                Known::Passed(_) => challenge.passed,
                Known::Approved(_) => outcome == Some(&Outcome::Answered { status: 200 }),
                // It may have been finished since; what is final stays as it was told.
                Known::Told(_, told) => match (told.as_str(), outcome) {
                    ("sending", _) => challenge.sent.is_some(),
                    ("answered", Some(Outcome::Answered { .. }))
                    | ("unknown", Some(Outcome::Unknown))
                    | ("not_sent", Some(Outcome::NotSent)) => true,
                    _ => false,
                },
            };
            if !holds {
                return violated(format!("{known:?}, and the ledger says {challenge:?}"));
            }
        }
        Ok(())
    }

    /// Somebody proved something: from now on the challenge may be passed.
    pub(crate) fn proved(&mut self, known: &[Known]) {
        for known in known {
            match known {
                Known::Signed(id) => {
                    self.signed.insert(id.clone());
                }
                Known::Typed { challenge, code } => {
                    self.typed.insert(challenge.clone(), code.clone());
                }
                _ => {}
            }
        }
    }

    /// What reached the application in a round whose entries were all read.
    pub(crate) fn arrivals(&mut self, arrivals: Vec<Arrival>) -> Result<(), Violation> {
        for arrival in arrivals {
            if arrival.path.starts_with(REPORTS) {
                self.report(&arrival)?;
                continue;
            }
            if !is_large(&arrival.path) {
                self.counts.small += 1;
                continue;
            }
            self.counts.arrived += 1;
            let Some(request) = &arrival.request else {
                // Its head came in pieces: somebody must have been allowed to send to this path, in this round.
                let is_it = |challenge: &&Challenge| {
                    challenge.path == arrival.path
                        && challenge.sent.as_ref().is_some_and(|sent| sent.round == arrival.round)
                };
                self.challenges.values().find(is_it).ok_or_else(|| format!("without evidence: {arrival:?}"))?;
                continue;
            };
            if !self.arrived.insert(request.clone()) {
                return violated(format!("sent twice: {arrival:?}"));
            }
            let challenge = self.requests.get(request).and_then(|challenge| self.challenges.get(challenge));
            let challenge = challenge.ok_or_else(|| format!("without evidence: {arrival:?}"))?;
            let in_its_round = challenge.sent.as_ref().is_some_and(|sent| sent.round == arrival.round);
            if challenge.path != arrival.path || !in_its_round {
                return violated(format!(
                    "another request than the one that was confirmed: {arrival:?}, {challenge:?}"
                ));
            }
            if let Some(body) = &arrival.body
                && hex::encode(Sha256::digest(body)) != challenge.body_sha256
            {
                return violated(format!("other bytes than those that were confirmed: {arrival:?}, {challenge:?}"));
            }
        }
        Ok(())
    }

    /// Somebody's second factor was fresh when a report came: by a sign-in or a passed
    /// challenge, and never by a confirmation.
    fn report(&mut self, arrival: &Arrival) -> Result<(), Violation> {
        self.counts.reports += 1;
        // A head that came in pieces does not tell whose it is.
        let Some(person) = &arrival.person else { return Ok(()) };
        let at = arrival.at.as_ms();
        let is_fresh = |proof: &i64| (at - FRESH_MS - ON_THE_WAY_MS..=at + ON_THE_WAY_MS).contains(proof);
        match self.fresh.get(person).is_some_and(|proofs| proofs.iter().any(is_fresh)) {
            true => Ok(()),
            false => violated(format!("without a fresh proof: {arrival:?}")),
        }
    }

    /// At the end: every request has one outcome, and it is true.
    pub(crate) fn is_complete(&self) -> Result<(), Violation> {
        for challenge in self.challenges.values() {
            let Some(sent) = &challenge.sent else { continue };
            // What stays at the gate's own origin does not arrive anywhere.
            let arrived = match is_large(&challenge.path) {
                true => self.arrived.contains(&sent.request),
                false => matches!(sent.finished, Some(Outcome::Answered { .. })),
            };
            match (&sent.finished, arrived) {
                (None, _) => return violated(format!("nobody says what became of {challenge:?}")),
                (Some(Outcome::Answered { .. }), false) | (Some(Outcome::NotSent), true) => {
                    return violated(format!("the application saw otherwise ({arrived}): {challenge:?}"));
                }
                (Some(_), _) => {}
            }
        }
        Ok(())
    }
}
