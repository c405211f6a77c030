//! A decision, taken apart for people who write policies.

use stepgate_evidence::PolicyRef;

use super::search::{Finding, Tried, Watch, case, find, prepare};
use super::{Asker, Verdict};
use crate::challenge::{Ask, GrantKind};
use crate::factor::FactorKind;
use crate::operation::Operation;
use crate::policy::{NO_PERMIT, NearPermit, Outcome, Policies, PolicyEffect, Proven};
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

/// Why a decision is as it is.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// `permit`, `confirm: passkey`, `sign in`, `deny`: the verdict in one line.
    pub verdict: String,
    /// What would have to be proved, if that helps.
    pub ask: Option<Ask>,
    /// RFC 9470's `max_age`, if a fresh proof would do.
    pub max_age: Option<std::time::Duration>,
    /// The policies that decided.
    pub decided: Vec<PolicyRef>,
    /// Policies that erred.
    pub erred: Vec<String>,
    /// The policies that concern the operation and this asker, and whether they hold now.
    pub policies: Vec<PolicyNow>,
    /// The context of now, in Cedar's JSON form.
    pub context: serde_json::Value,
    /// What was tried, in order.
    pub steps: Vec<Step>,
    /// Where it is denied because no policy permits it: the permits that are about it, and why none does.
    pub near: Vec<NearPermit>,
}

/// One policy, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyNow {
    /// Its `@id`.
    pub id: String,
    /// What it does when it holds.
    pub effect: PolicyEffect,
    /// Whether it holds.
    pub state: PolicyState,
}

/// Whether a policy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// Its conditions are met.
    Holds,
    /// They are not.
    HoldsNot,
    /// They could not be evaluated.
    Errs(String),
}

/// One question of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was assumed, e.g. `fresh totp`, `confirm with passkey`.
    pub tried: String,
    /// Whether it would be allowed.
    pub allowed: bool,
    /// The policies that decided it.
    pub policies: Vec<String>,
}

/// Explains a decision: by the evaluation that [`decide`](super::decide) uses.
pub fn explain(
    policies: &Policies,
    operation: &Operation,
    asker: Asker<'_>,
    surroundings: &Surroundings,
    confirmed: &[(FactorKind, Timestamp)],
) -> Explanation {
    let mut steps = Steps(Vec::new());
    let finding = find(policies, operation, asker, surroundings, confirmed, &mut steps);
    let mut explanation = Explanation {
        verdict: summary(&finding),
        ask: None,
        max_age: None,
        decided: Vec::new(),
        erred: Vec::new(),
        policies: Vec::new(),
        context: serde_json::Value::Null,
        steps: steps.0,
        near: Vec::new(),
    };
    match finding {
        Finding::Permit { policies: ids } => {
            let reason = |id: &str| policies.about(id).map(|about| about.reason.clone()).unwrap_or_default();
            explanation.decided =
                ids.into_iter().map(|id| PolicyRef { reason: reason(&id), id }).collect::<Vec<PolicyRef>>();
        }
        Finding::Challenge { ask, policies, accepted } => {
            explanation.ask = Some(ask);
            explanation.max_age = accepted.map(|ages| ages.for_long);
            explanation.decided = policies;
        }
        Finding::SignIn => {}
        Finding::Deny { policies: refused, erred } => {
            if refused.iter().any(|policy| policy.id == NO_PERMIT) {
                explanation.near = policies.near_permits(operation, asker.principal());
            }
            explanation.decided = refused;
            explanation.erred = erred;
        }
    }
    if let Ok(Some((_, prepared))) = prepare(policies, operation, asker) {
        let case = case(policies, operation, asker, surroundings, &prepared);
        let proven = Proven::now(asker, confirmed, surroundings);
        explanation.context = case.context_json(&proven);
        let state = |holds| match holds {
            Ok(true) => PolicyState::Holds,
            Ok(false) => PolicyState::HoldsNot,
            Err(error) => PolicyState::Errs(error),
        };
        let each = case.ask_each(&proven).into_iter();
        explanation.policies = each.map(|(id, effect, holds)| PolicyNow { id, effect, state: state(holds) }).collect();
    }
    explanation
}

/// Whether an operation is allowed with what is proved, asked of the whole policy
/// set with the whole context, without index and without search.
///
/// Slow; for tests and benchmarks that hold the index against it. Gives whether it
/// is allowed, the policies that decided, and those that erred.
pub fn evaluate_whole(
    policies: &Policies,
    operation: &Operation,
    asker: Asker<'_>,
    surroundings: &Surroundings,
    confirmed: &[(FactorKind, Timestamp)],
) -> (bool, Vec<String>, Vec<String>) {
    let Ok(Some((_, prepared))) = prepare(policies, operation, asker) else {
        return (false, Vec::new(), Vec::new());
    };
    let case = case(policies, operation, asker, surroundings, &prepared);
    let outcome = case.ask_whole(policies, &Proven::now(asker, confirmed, surroundings));
    (outcome.allowed, outcome.decided, outcome.erred)
}

impl Verdict {
    /// The verdict in one line: `permit`, `confirm: passkey`, `fresh: passkey | totp`, `sign in`, `deny`.
    pub fn summary(&self) -> String {
        match self {
            Self::Permit(_) => "permit".to_owned(),
            Self::Challenge(challenged) => challenged.ask.summary(),
            Self::SignIn(_) => "sign in".to_owned(),
            Self::Deny(_) => "deny".to_owned(),
        }
    }
}

fn summary(finding: &Finding) -> String {
    match finding {
        Finding::Permit { .. } => "permit".to_owned(),
        Finding::Challenge { ask, .. } => ask.summary(),
        Finding::SignIn => "sign in".to_owned(),
        Finding::Deny { .. } => "deny".to_owned(),
    }
}

struct Steps(Vec<Step>);

impl Watch for Steps {
    const NAMES: bool = true;

    fn tried(&mut self, what: Tried<'_>, outcome: &Outcome) {
        let name = |kind: &FactorKind| match kind {
            FactorKind::Passkey(_) => kind.to_string(),
            _ => kind.name().to_owned(),
        };
        let names = |kinds: &[FactorKind]| kinds.iter().map(name).collect::<Vec<_>>().join(" + ");
        let tried = match what {
            Tried::Now => "what is proved now".to_owned(),
            Tried::Everything { but, with } => {
                let but = if but.is_empty() { String::new() } else { format!(" but {}", names(but)) };
                let with = with.map(|sort| format!(", with {sort}")).unwrap_or_default();
                format!("everything that could be proved{but}{with}")
            }
            Tried::Way { grant: GrantKind::Freshness, kinds } => format!("fresh {}", names(kinds)),
            Tried::Way { grant: GrantKind::Confirmation, kinds } => format!("confirm with {}", names(kinds)),
        };
        self.0.push(Step { tried, allowed: outcome.allowed, policies: outcome.decided.clone() });
    }
}
