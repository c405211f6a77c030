//! The decision.

use std::time::Duration;

use stepgate_evidence::PolicyRef;

use crate::challenge::Ask;
use crate::factor::FactorKind;
use crate::operation::Operation;
use crate::policy::Policies;
use crate::session::SessionView;
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Asker<'a> {
    /// Nobody is signed in.
    Anonymous,
    /// A person, in a session.
    SignedIn(&'a SessionView),
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
    /// What suffices.
    pub ask: Ask,
    /// The policies that refused, with the reasons for the person.
    pub policies: Vec<PolicyRef>,
    /// RFC 9470's `max_age`: the greatest age that the policies accept; `None` if
    /// the operation itself must be confirmed.
    pub max_age: Option<Duration>,
}

/// An operation that is refused.
#[derive(Debug)]
pub struct Denied {
    /// The operation.
    pub operation: Operation,
    /// The policies that refused; empty if none permits.
    pub policies: Vec<PolicyRef>,
    /// Policies that erred: an alarm.
    pub erred: Vec<String>,
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
pub fn decide(
    _policies: &Policies,
    operation: Operation,
    _asker: Asker<'_>,
    _surroundings: &Surroundings,
    _confirmed: &[(FactorKind, Timestamp)],
) -> Verdict {
    Verdict::Deny(Denied { operation, policies: Vec::new(), erred: Vec::new() })
}
