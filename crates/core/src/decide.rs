//! The decision.
//!
//! Cedar is asked with what is true now; where it refuses, it is asked again with
//! what the person could still prove, from the least to the most trouble. The
//! rule that asks and the rule that lets through are the same text.
//!
//! *Architecture invariant:* [`decide`] is the only way to a [`Permitted`], and a
//! verdict is never kept: what was allowed a moment ago is asked again.

mod beside;
mod explain;
mod recorded;
mod search;
mod situation;
mod until;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stepgate_evidence::{AgentName, PolicyRef};

use crate::access::TokenView;
use crate::challenge::Ask;
use crate::factor::FactorKind;
use crate::operation::Operation;
use crate::person::{Person, Principal};
use crate::policy::{Moment, Policies};
use crate::risk::Risk;
use crate::session::SessionView;
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

pub use beside::Beside;
pub use explain::{Explanation, PolicyNow, PolicyState, Step, evaluate_whole, explain};
pub use recorded::{CannotDecide, RECORDED, Recorded};
pub use search::{MAX_AGE_MAX, NO_LOGIN};
pub use situation::{Answer, Decided, OwnedAsker, Said, Situation};
pub use until::{VALID_FOR_MAX, valid_until};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// Nobody is signed in.
    Anonymous,
    /// A person, in a session.
    SignedIn(&'a SessionView),
    /// A program with an access token: a person's, or its own.
    Token(&'a TokenView),
}

impl<'a> Asker<'a> {
    pub(crate) const fn is_anonymous(self) -> bool {
        matches!(self, Self::Anonymous)
    }

    /// Who acts.
    pub fn principal(self) -> Option<Principal<'a>> {
        match self {
            Self::Anonymous => None,
            Self::SignedIn(session) => Some(Principal::Person(&session.person)),
            Self::Token(view) => Some(view.principal()),
        }
    }

    /// The person who may answer for it.
    pub fn answerable(self) -> Option<&'a Arc<Person>> {
        match self {
            Self::Anonymous => None,
            Self::SignedIn(session) => Some(&session.person),
            Self::Token(view) => Some(&view.person),
        }
    }

    /// The agent that asks, if it is one: evidence names it beside the person who answers for it.
    pub(crate) fn agent(self) -> Option<AgentName> {
        match self.principal()? {
            Principal::Agent(agent) => Some(AgentName::from(&*agent.name)),
            Principal::Person(_) => None,
        }
    }

    /// The session that asks, if one does.
    pub(crate) const fn session(self) -> Option<&'a SessionView> {
        match self {
            Self::SignedIn(session) => Some(session),
            Self::Anonymous | Self::Token(_) => None,
        }
    }

    /// When they signed in: with a token, where its provider says so.
    pub fn signed_in_at(self) -> Option<Timestamp> {
        match self {
            Self::Anonymous => None,
            Self::SignedIn(session) => Some(session.started_at),
            Self::Token(view) => view.token.auth_time,
        }
    }

    /// When they were here last. Nobody keeps that of a token.
    pub(crate) const fn last_used_at(self) -> Option<Timestamp> {
        match self {
            Self::Anonymous | Self::Token(_) => None,
            Self::SignedIn(session) => Some(session.last_used_at),
        }
    }

    /// What other systems told of who asks.
    pub(crate) fn risks(self) -> &'a [Risk] {
        match self {
            Self::Anonymous => &[],
            Self::SignedIn(session) => &session.risks,
            Self::Token(view) => &view.risks,
        }
    }

    /// What was proved, and when.
    pub fn proofs(self) -> impl Iterator<Item = (FactorKind, Timestamp)> + 'a {
        let in_session = match self {
            Self::SignedIn(session) => session.assurance.proofs(),
            Self::Anonymous | Self::Token(_) => &[],
        };
        let of_token = match self {
            Self::Token(view) => view.proof(),
            Self::Anonymous | Self::SignedIn(_) => None,
        };
        in_session.iter().map(|proof| (proof.kind, proof.at)).chain(of_token)
    }
}

/// What is decided.
#[derive(Debug)]
pub enum Verdict {
    /// It may go.
    Permit(Permitted),
    /// It may go once something more is proved.
    Challenge(Challenged),
    /// Nobody is signed in, and a signed-in person could be allowed.
    SignIn(Operation),
    /// It may not go.
    Deny(Denied),
}

/// An operation together with the proof that [`decide`] allowed it.
#[derive(Debug)]
#[must_use = "a permitted operation that is not forwarded is lost"]
pub struct Permitted {
    operation: Operation,
    policies: Vec<String>,
}

/// An operation that needs more proof.
#[derive(Debug)]
pub struct Challenged {
    /// The operation.
    pub operation: Operation,
    /// What suffices. No way is offered that the person cannot go: if `ways` is
    /// empty, `not_enrolled` says what they need to have.
    pub ask: Ask,
    /// The policies that refused, with the reasons for the person. Where nothing
    /// forbids but nothing permits yet either, one entry with the id
    /// [`NO_PERMIT`](crate::policy::NO_PERMIT) says so.
    pub policies: Vec<PolicyRef>,
    /// RFC 9470's `max_age`: the greatest age that the policies accept, in whole
    /// seconds; `None` if the operation itself must be confirmed.
    pub max_age: Option<Duration>,
    /// How old a proof may be that suffices now. Less than `max_age` where what counts is that it was proved in
    /// this session: then it counts for as long as that lasts.
    pub proved_within: Option<Duration>,
    /// What those policies looked at of the surroundings and saw, by path in the context:
    /// `network.country` was `KP`.
    pub seen: BTreeMap<String, String>,
    /// All that it was decided on, for its entry; `None`: it was asked for by no decision.
    pub recorded: Option<Box<Recorded>>,
}

/// An operation that is refused.
#[derive(Debug)]
pub struct Denied {
    /// The operation.
    pub operation: Operation,
    /// The policies that refuse whatever is proved. Where nothing forbids it so and nothing
    /// permits it either, one entry with the id [`NO_PERMIT`](crate::policy::NO_PERMIT) says
    /// so; empty only where something erred.
    pub policies: Vec<PolicyRef>,
    /// Policies that erred: an alarm.
    pub erred: Vec<String>,
    /// What those policies looked at of the surroundings and saw, by path in the context.
    pub seen: BTreeMap<String, String>,
    /// All that it was decided on, for its entry; `None`: no policy refused it.
    pub recorded: Option<Box<Recorded>>,
}

impl Permitted {
    /// The operation.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The policies that permitted it.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// Gives the operation back.
    pub fn into_operation(self) -> Operation {
        self.operation
    }
}

/// Decides.
///
/// `confirmed` are the proofs of a passed challenge of exactly this operation:
/// they make `context.confirmed`, and count as fresh here and nowhere else.
pub fn decide(
    policies: &Policies,
    operation: Operation,
    asker: Asker<'_>,
    surroundings: &Surroundings,
    confirmed: &[(FactorKind, Timestamp)],
) -> Verdict {
    let seen = |refused: &[PolicyRef]| {
        let moment =
            Moment { operation: &operation, asker, surroundings, clocks: policies.clocks(), later: Duration::ZERO };
        policies.seen(refused, &moment)
    };
    let recorded = || Some(Box::new(Recorded::of(&operation, asker, surroundings, confirmed)));
    match search::find(policies, &operation, asker, surroundings, confirmed, &mut search::Unwatched) {
        search::Finding::Permit { policies } => Verdict::Permit(Permitted { operation, policies }),
        search::Finding::Challenge { ask, policies: refused, accepted } => {
            let (seen, recorded) = (seen(&refused), recorded());
            let refused = policies.with_words(refused, &surroundings.unusual);
            let (max_age, proved_within) = (accepted.map(|ages| ages.for_long), accepted.map(|ages| ages.now));
            Verdict::Challenge(Challenged { operation, ask, policies: refused, max_age, proved_within, seen, recorded })
        }
        search::Finding::SignIn => Verdict::SignIn(operation),
        search::Finding::Deny { policies: refused, erred } => {
            let (seen, recorded) = (seen(&refused), recorded());
            let refused = policies.with_words(refused, &surroundings.unusual);
            Verdict::Deny(Denied { operation, policies: refused, erred, seen, recorded })
        }
    }
}
