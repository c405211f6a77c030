//! Other policies, asked about what the live ones decide, as if they had been live.
//!
//! What was proved depends on what was asked. So a proof that somebody gave because the live policies asked, where the
//! others would not have, does not count for the others; and what they alone would have asked is taken to be proved at
//! once, by the least trouble, and counts until its time is over.

use std::collections::HashMap;

use super::situation::{Answer, Decided, OwnedAsker, Said, Situation};
use crate::factor::FactorKind;
use crate::id::SessionId;
use crate::policy::Policies;
use crate::session::{Assurance, Proof};
use crate::time::Timestamp;

/// Sessions that are remembered in each of two generations; the older goes when the younger is full.
const SESSIONS_MAX: usize = 20_000;
/// Prompts and proofs that are remembered of one session, the newest.
const OF_ONE_MAX: usize = 64;

/// What other policies would have made of sessions.
#[derive(Debug, Default)]
pub struct Beside {
    young: HashMap<SessionId, Lived>,
    old: HashMap<SessionId, Lived>,
}

/// What a session would have been asked and would have proved.
#[derive(Clone, Debug, Default)]
struct Lived {
    /// When the live policies asked, and whether the others asked as well.
    asked: Vec<(Timestamp, bool)>,
    /// What was proved because the others alone asked.
    proved: Vec<(FactorKind, Timestamp)>,
}

impl Beside {
    /// What `policies` decide, where `live` was decided.
    pub fn decide(&mut self, policies: &Policies, situation: &mut Situation, live: &Said) -> Decided {
        let OwnedAsker::SignedIn(view) = &mut situation.asker else { return situation.decide(policies) };
        let now = situation.surroundings.now;
        let session = view.id;
        let mut lived = self.take(session);
        view.assurance = lived.assurance(&view.assurance);
        let decided = situation.decide(policies);
        let is_asked = decided.said.answer == Answer::Ask;
        if live.answer == Answer::Ask {
            push(&mut lived.asked, (now, is_asked));
        }
        if is_asked && decided.counts_for.is_some() && decided.said != *live {
            decided.least.iter().for_each(|kind| push(&mut lived.proved, (*kind, now)));
        }
        if !lived.asked.is_empty() || !lived.proved.is_empty() {
            self.keep(session, lived);
        }
        decided
    }

    fn take(&mut self, session: SessionId) -> Lived {
        self.young.remove(&session).or_else(|| self.old.remove(&session)).unwrap_or_default()
    }

    fn keep(&mut self, session: SessionId, lived: Lived) {
        if self.young.len() >= SESSIONS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(session, lived);
    }
}

impl Lived {
    /// What would be proved: without what came of prompts that would not have been, and with what came of others.
    fn assurance(&self, live: &Assurance) -> Assurance {
        let counts = |proof: &&Proof| {
            // A proof came of the last prompt before it; one that no prompt was before came of the sign-in.
            self.asked.iter().rev().find(|(at, _)| *at <= proof.at).is_none_or(|(_, is_asked)| *is_asked)
        };
        let more = self.proved.iter().map(|(kind, at)| Proof { kind: *kind, at: *at, generation: 0 });
        Assurance::new(live.proofs().iter().filter(counts).copied().chain(more).collect())
    }
}

fn push<T>(kept: &mut Vec<T>, one: T) {
    if kept.len() >= OF_ONE_MAX {
        kept.remove(0);
    }
    kept.push(one);
}
