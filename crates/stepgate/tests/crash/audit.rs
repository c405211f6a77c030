//! What must be true after every kill, held against what the ledger, the application
//! and the person saw.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use stepgate_evidence::{Entry, Event, Outcome, Statement};
use stepgate_ledger::checkpoint::Checkpoint;
use stepgate_ledger::{CheckpointVerifier, Frontier, Hash, leaf_hash};

use crate::upstream::{Arrival, is_large};

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
    path: String,
    body_sha256: String,
    passed: bool,
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    life: u32,
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
    /// Which node lived when.
    lives: BTreeMap<String, u32>,
    /// The node whose entries are read.
    life: u32,
    last: Option<String>,
    challenges: BTreeMap<String, Challenge>,
    /// Which challenge a request was spent on.
    requests: BTreeMap<String, String>,
    signed: BTreeSet<String>,
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
            lives: BTreeMap::new(),
            life: 0,
            last: None,
            challenges: BTreeMap::new(),
            requests: BTreeMap::new(),
            signed: BTreeSet::new(),
            arrived: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// How many entries were read.
    pub(crate) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// A life tells its name.
    pub(crate) fn node(&mut self, node: &str, life: u32) {
        self.lives.insert(node.to_owned(), life);
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
        match entry.event {
            Event::NodeStarted { node, .. } => {
                self.life = *self.lives.get(&node).ok_or_else(|| format!("nobody knows node {node}"))?;
            }
            Event::ChallengeOpened { challenge, .. } => {
                self.counts.opened += 1;
                let new = Challenge { path: String::new(), body_sha256: String::new(), passed: false, sent: None };
                self.last = Some(challenge.clone());
                if self.challenges.insert(challenge.clone(), new).is_some() {
                    return violated(format!("challenge {challenge} was opened twice"));
                }
            }
            Event::ChallengePassed { challenge, proof, .. } => {
                self.counts.passed += 1;
                if !self.signed.contains(&challenge) || proof.factor != "passkey" {
                    return violated(format!("challenge {challenge} was passed, and nobody touched a key for it"));
                }
                let known = self.challenge(&challenge)?;
                if std::mem::replace(&mut known.passed, true) {
                    return violated(format!("challenge {challenge} was passed twice"));
                }
            }
            Event::OperationSent { challenge, request, body_sha256, .. } => {
                self.counts.sent += 1;
                let life = self.life;
                let known = self.challenge(&challenge)?;
                if !known.passed {
                    return violated(format!("{request} was sent for {challenge}, which was not passed"));
                }
                if known.body_sha256 != body_sha256 {
                    return violated(format!("{request} was sent with another body than {challenge} confirms"));
                }
                let sent = Sent { life, request: request.clone(), finished: None };
                if let Some(before) = known.sent.replace(sent) {
                    return violated(format!("{challenge} was spent twice: on {} and on {request}", before.request));
                }
                if self.requests.insert(request.clone(), challenge).is_some() {
                    return violated(format!("{request} was sent twice"));
                }
            }
            Event::OperationFinished { challenge, request, outcome } => {
                let life = self.life;
                let known = self.challenge(&challenge)?;
                let sent = known.sent.as_mut().filter(|sent| sent.request == request);
                let sent = sent.ok_or_else(|| format!("{request} has an outcome and was not sent"))?;
                if sent.life != life && outcome != Outcome::Unknown {
                    return violated(format!(
                        "{request} was sent in life {}, and life {life} says {outcome:?}",
                        sent.life
                    ));
                }
                let unknown = outcome == Outcome::Unknown;
                if sent.finished.replace(outcome).is_some() {
                    return violated(format!("{request} has two outcomes"));
                }
                self.counts.unknown += usize::from(unknown);
            }
            _ => {}
        }
        Ok(())
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
                Known::Asked(_) | Known::Signed(_) => true,
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

    /// The key was touched: from now on the challenge may be passed.
    pub(crate) fn signed(&mut self, known: &[Known]) {
        self.signed.extend(known.iter().filter_map(|known| match known {
            Known::Signed(id) => Some(id.clone()),
            _ => None,
        }));
    }

    /// What reached the application in a life whose entries were all read.
    pub(crate) fn arrivals(&mut self, arrivals: Vec<Arrival>) -> Result<(), Violation> {
        for arrival in arrivals {
            if !is_large(&arrival.path) {
                self.counts.small += 1;
                continue;
            }
            self.counts.arrived += 1;
            let Some(request) = &arrival.request else {
                // Its head came in pieces: somebody must have been allowed to send to this path, in this life.
                let is_it = |challenge: &&Challenge| {
                    challenge.path == arrival.path
                        && challenge.sent.as_ref().is_some_and(|sent| sent.life == arrival.life)
                };
                self.challenges.values().find(is_it).ok_or_else(|| format!("without evidence: {arrival:?}"))?;
                continue;
            };
            if !self.arrived.insert(request.clone()) {
                return violated(format!("sent twice: {arrival:?}"));
            }
            let challenge = self.requests.get(request).and_then(|challenge| self.challenges.get(challenge));
            let challenge = challenge.ok_or_else(|| format!("without evidence: {arrival:?}"))?;
            let in_its_life = challenge.sent.as_ref().is_some_and(|sent| sent.life == arrival.life);
            if challenge.path != arrival.path || !in_its_life {
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

    /// At the end: every request has one outcome, and it is true.
    pub(crate) fn is_complete(&self) -> Result<(), Violation> {
        for challenge in self.challenges.values() {
            let Some(sent) = &challenge.sent else { continue };
            let arrived = self.arrived.contains(&sent.request);
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

    fn challenge(&mut self, id: &str) -> Result<&mut Challenge, Violation> {
        self.challenges.get_mut(id).ok_or_else(|| Violation(format!("challenge {id} was not opened")))
    }
}
