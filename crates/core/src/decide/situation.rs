//! Everything that a decision is taken on, owned: for those who decide it later, or by other policies.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Asker, Verdict, decide};
use crate::access::TokenView;
use crate::challenge::{GrantKind, Way};
use crate::factor::FactorKind;
use crate::operation::Operation;
use crate::policy::Policies;
use crate::session::SessionView;
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

/// Who asked.
#[derive(Clone, Debug)]
pub enum OwnedAsker {
    /// Nobody was signed in.
    Anonymous,
    /// A person, in a session.
    SignedIn(Box<SessionView>),
    /// A program with an access token.
    Token(Box<TokenView>),
}

impl OwnedAsker {
    /// The same, kept.
    pub fn of(asker: Asker<'_>) -> Self {
        match asker {
            Asker::Anonymous => Self::Anonymous,
            Asker::SignedIn(session) => Self::SignedIn(Box::new(session.clone())),
            Asker::Token(view) => Self::Token(Box::new(view.clone())),
        }
    }

    /// As decisions take it.
    pub fn asker(&self) -> Asker<'_> {
        match self {
            Self::Anonymous => Asker::Anonymous,
            Self::SignedIn(session) => Asker::SignedIn(session),
            Self::Token(view) => Asker::Token(view),
        }
    }
}

/// Everything that a decision is taken on.
#[derive(Clone, Debug)]
pub struct Situation {
    /// The operation.
    pub operation: Operation,
    /// Who asked.
    pub asker: OwnedAsker,
    /// The surroundings.
    pub surroundings: Surroundings,
    /// The proofs of a passed challenge of exactly this operation.
    pub confirmed: Vec<(FactorKind, Timestamp)>,
}

/// What kind of answer a decision gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Let through.
    Permit,
    /// The person is asked for more.
    Ask,
    /// Nobody is signed in, and somebody could be allowed.
    SignIn,
    /// Refused. A token that is not good enough is refused too: nobody is asked.
    Refuse,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Permit, Self::Ask, Self::SignIn, Self::Refuse];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Ask => "ask",
            Self::SignIn => "sign_in",
            Self::Refuse => "refuse",
        }
    }
}

/// What two sets of policies are compared by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The kind of answer.
    pub answer: Answer,
    /// Where it is asked for more, what would suffice: `confirm: passkey`. Empty elsewhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub offered: String,
    /// The policies that asked or refused, sorted, each once. Who lets through is not compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

impl Said {
    /// What was said where neither something was asked for nor any rule refused.
    pub const fn plainly(answer: Answer) -> Self {
        Self { answer, offered: String::new(), rules: Vec::new() }
    }

    /// What rules said.
    pub fn by(answer: Answer, offered: &str, rules: impl IntoIterator<Item = String>) -> Self {
        let mut rules: Vec<String> = rules.into_iter().collect();
        rules.sort_unstable();
        rules.dedup();
        Self { answer, offered: offered.to_owned(), rules }
    }
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What is compared of it.
    pub said: Said,
    /// How long a fresh proof counts; `None` where nothing fresh is asked for.
    pub counts_for: Option<Duration>,
    /// The least trouble that would suffice: what is taken to be proved where nobody knows what would have been.
    pub least: Way,
}

impl Decided {
    /// What a verdict comes to.
    pub fn of(verdict: &Verdict, asker: Asker<'_>) -> Self {
        let ids = |policies: &[stepgate_evidence::PolicyRef]| {
            policies.iter().map(|policy| policy.id.clone()).collect::<Vec<_>>()
        };
        let only = |said| Self { said, counts_for: None, least: Way::new() };
        match verdict {
            Verdict::Permit(_) => only(Said::plainly(Answer::Permit)),
            Verdict::SignIn(_) => only(Said::plainly(Answer::SignIn)),
            Verdict::Deny(denied) => only(Said::by(Answer::Refuse, "", ids(&denied.policies))),
            Verdict::Challenge(challenged) if is_refused(challenged.ask.grant, asker) => {
                only(Said::by(Answer::Refuse, "", ids(&challenged.policies)))
            }
            Verdict::Challenge(challenged) => Self {
                said: Said::by(Answer::Ask, &challenged.ask.summary(), ids(&challenged.policies)),
                counts_for: challenged.max_age,
                least: challenged.ask.ways.first().cloned().unwrap_or_default(),
            },
        }
    }
}

/// Of a token only a confirmation is asked: a better one is its program's matter.
const fn is_refused(grant: GrantKind, asker: Asker<'_>) -> bool {
    matches!((grant, asker), (GrantKind::Freshness, Asker::Token(_)))
}

impl Situation {
    /// What is decided on now, kept.
    pub fn of(operation: &Operation, asker: Asker<'_>, surroundings: &Surroundings) -> Self {
        Self {
            operation: operation.clone(),
            asker: OwnedAsker::of(asker),
            surroundings: surroundings.clone(),
            confirmed: Vec::new(),
        }
    }

    /// What these policies decide.
    pub fn decide(&self, policies: &Policies) -> Decided {
        let asker = self.asker.asker();
        let verdict = decide(policies, self.operation.clone(), asker, &self.surroundings, &self.confirmed);
        Decided::of(&verdict, asker)
    }
}
