//! An open question to a person, made for one operation.
//!
//! `Pending → Passed | Failed | Expired | Cancelled`, and `Passed → Spent`.
//! Moves protect one process; across nodes the row is protected by
//! compare-and-swap on `version`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use stepgate_evidence::{Asked, Grant, Statement};

use crate::catalogue::Host;
use crate::factor::FactorKind;
use crate::id::{AccessTokenId, ChallengeId, NotAnId, PersonId, RequestId, SessionId};
use crate::operation::OperationDigest;
use crate::secret::TokenDigest;
use crate::time::Timestamp;

/// What a challenge asks for: one of several ways, each a set of proofs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What passing grants.
    pub grant: GrantKind,
    /// The ways that suffice, least trouble first. Each way is one factor or two.
    pub ways: Vec<Way>,
    /// Factors that would suffice but are not enrolled: "you need one; here is how to get it".
    pub not_enrolled: Vec<FactorKind>,
}

/// Factors which together suffice, in the order of trouble.
pub type Way = Vec<FactorKind>;

impl Ask {
    /// As it stands in the evidence, e.g. `confirm: passkey | totp + password`.
    pub fn summary(&self) -> String {
        let grant = match self.grant {
            GrantKind::Freshness => "fresh",
            GrantKind::Confirmation => "confirm",
        };
        let way = |way: &Way| way.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ");
        let mut ways: Vec<String> = self.ways.iter().map(way).collect();
        ways.extend(self.not_enrolled.iter().map(|kind| format!("{kind} (not enrolled)")));
        format!("{grant}: {}", ways.join(" | "))
    }

    /// The factors that may be answered next, given what was answered already.
    pub fn next(&self, answered: &[FactorKind]) -> Vec<FactorKind> {
        let mut next: Vec<FactorKind> = self
            .ways
            .iter()
            .filter(|way| answered.iter().all(|kind| way.iter().any(|asked| kind.does_for(*asked))))
            .flat_map(|way| way.iter().copied().filter(|asked| !answered.iter().any(|kind| kind.does_for(*asked))))
            .collect();
        next.sort_unstable();
        next.dedup();
        next
    }

    /// Whether these answers are enough.
    pub fn is_met_by(&self, answered: &[FactorKind]) -> bool {
        self.ways.iter().any(|way| way.iter().all(|asked| answered.iter().any(|kind| kind.does_for(*asked))))
    }
}

/// What a passed challenge grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    /// What stays of the proofs in the session that asked ([`Given::in_session`]) is set there.
    Freshness,
    /// This operation, once.
    Confirmation,
}

impl GrantKind {
    /// The name in evidence and rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Freshness => "freshness",
            Self::Confirmation => "confirmation",
        }
    }
}

/// A challenge.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Its id.
    pub id: ChallengeId,
    /// Counts every change; compare-and-swap.
    pub version: u32,
    /// The session or access token that asked: no other spends it.
    pub asked_by: AskedBy,
    /// The program that asked, as provider and client of its token; `None` if a session asked.
    pub program: Option<String>,
    /// The generation of the session's token that asked: an older one does not spend it.
    pub generation: u32,
    /// Whose session or token that is, or who answers for the agent: nobody else answers it.
    pub person: PersonId,
    /// The host of the service that was asked; `None` for the gate itself.
    pub host: Option<Host>,
    /// The browser that asked, at the service's host. What holds nothing goes on from there alone: a
    /// token that a copied gate cookie got by a hand-off is another browser's.
    pub browser: Option<TokenDigest>,
    /// The exact request.
    pub operation: OperationDigest,
    /// What was asked, as it stands in entries.
    pub asked: Asked,
    /// What the person confirms.
    pub statement: Statement,
    /// What suffices.
    pub ask: Ask,
    /// How old a login at a provider may be that answers it; `None` if the operation itself is confirmed.
    pub proved_within: Option<Duration>,
    /// Six digits that the asker shows; the same person types them when answering from another session.
    pub number: String,
    /// Whether a request is held for it, and what kind.
    pub held: Held,
    /// Whose page made the browser ask.
    pub asked_from: AskedFrom,
    /// The challenge that this one succeeds.
    pub succeeds: Option<ChallengeId>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it can no longer be answered.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: ChallengeState,
}

impl Challenge {
    /// RFC 9470's `max_age`: how long the policies that asked accept the proof for this
    /// operation, in whole seconds; zero: for this request alone. `None` if the operation
    /// itself is confirmed. It was found when the challenge was opened, and what was
    /// signed says the same.
    pub fn max_age(&self) -> Option<Duration> {
        match &self.statement.grant {
            Grant::Freshness { max_age_s } => max_age_s.parse().ok().map(Duration::from_secs),
            Grant::Confirmation { .. } => None,
        }
    }
}

/// What a challenge belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AskedBy {
    /// A session.
    Session(SessionId),
    /// An access token that somebody else issued.
    Token(AccessTokenId),
}

impl AskedBy {
    /// The session, if it is one.
    pub const fn session(self) -> Option<SessionId> {
        match self {
            Self::Session(session) => Some(session),
            Self::Token(_) => None,
        }
    }
}

impl From<SessionId> for AskedBy {
    fn from(session: SessionId) -> Self {
        Self::Session(session)
    }
}

impl PartialEq<SessionId> for AskedBy {
    fn eq(&self, session: &SessionId) -> bool {
        self.session() == Some(*session)
    }
}

impl fmt::Display for AskedBy {
    /// The session's id; of a token `token:` and its id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => session.fmt(f),
            Self::Token(token) => write!(f, "{}{token}", stepgate_evidence::TOKEN_PREFIX),
        }
    }
}

impl FromStr for AskedBy {
    type Err = NotAnId;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        match text.strip_prefix(stepgate_evidence::TOKEN_PREFIX) {
            Some(token) => token.parse().map(Self::Token),
            None => text.parse().map(Self::Session),
        }
    }
}

/// A proof that a challenge was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// What was proved.
    pub kind: FactorKind,
    /// When.
    pub at: Timestamp,
    /// Where.
    pub place: GivenIn,
}

/// Where a proof was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenIn {
    /// In the session that asked.
    AskingSession,
    /// On a device, or in another session of the same person, where the number of the asking screen was typed.
    Elsewhere,
}

impl GivenIn {
    /// The name in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AskingSession => "here",
            Self::Elsewhere => "elsewhere",
        }
    }
}

impl Given {
    /// What it is for the operation that was asked for: its statement was shown where it was proved, and a signature
    /// is over that, so it counts as what it is.
    pub fn for_operation(&self) -> (FactorKind, Timestamp) {
        (self.kind, self.at)
    }

    /// What stays of it in the session that asked, for later operations. Nobody who proved it elsewhere saw which
    /// browser that is: a number ties the two, and a number can be relayed (SP 800-63B-4 section 3.2.5: what is
    /// entered by hand is not phishing-resistant).
    pub fn in_session(&self) -> (FactorKind, Timestamp) {
        match self.place {
            GivenIn::AskingSession => (self.kind, self.at),
            GivenIn::Elsewhere => (self.kind.carried_over(), self.at),
        }
    }
}

/// Whose page made the browser ask: what another one asks is limited by itself, so that
/// it cannot use up what the person may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedFrom {
    /// The service's own page, the person, or no browser.
    Here,
    /// Another site's page, one of a sibling host, or nobody knows whose.
    Elsewhere,
}

impl AskedFrom {
    /// The name in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// Whether a challenge holds a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A program or script repeats the request itself.
    Nothing,
    /// A navigation of a safe method: the browser repeats it.
    SafeNavigation,
    /// A navigation with an effect: sealed in the store, sent from there.
    Request,
}

/// Where a challenge stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChallengeState {
    /// It may be answered.
    Pending {
        /// The proofs that were given, in order.
        answered: Vec<Given>,
        /// Wrong answers so far.
        wrong: u32,
    },
    /// It was passed and may be spent until then.
    Passed {
        /// The proofs.
        answered: Vec<Given>,
        /// When.
        at: Timestamp,
        /// The confirmation is spent before this or never.
        spend_before: Timestamp,
    },
    /// It was spent: its request was sent, or was about to be sent.
    Spent {
        /// When.
        at: Timestamp,
        /// The request that it was spent on.
        request: RequestId,
        /// How it ended, if that is known.
        outcome: SendOutcome,
    },
    /// Too many wrong answers, or the decision changed.
    Failed {
        /// Why; stands in the evidence.
        reason: String,
    },
    /// Nobody answered in time.
    Expired,
    /// The person refused it.
    Cancelled {
        /// `cancelled` or `not_me`.
        reason: String,
    },
}

impl ChallengeState {
    /// The state's name in rows and on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Passed { .. } => "passed",
            Self::Spent { .. } => "spent",
            Self::Failed { .. } => "failed",
            Self::Expired => "expired",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

/// What became of a request after its confirmation was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// It is being sent, or the node died while sending.
    Sending,
    /// The upstream answered.
    Answered {
        /// HTTP status.
        status: u16,
    },
    /// Nothing was sent.
    NotSent,
    /// Whether it took effect is not known.
    Unknown,
}

/// Limits of challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChallengeLimits {
    /// How long a challenge may be answered.
    pub answer_within: Duration,
    /// How long a confirmation may be spent after it was passed.
    pub spend_within: Duration,
    /// Wrong answers to one challenge.
    pub wrong_answers: u32,
    /// Pending challenges of one session at one service; as many again of what other
    /// origins' pages ask there. Of a person's tokens, as many for each program, however
    /// many tokens it has.
    pub pending_per_session: u32,
    /// Bytes of a held request's body.
    pub held_body: usize,
}

impl Default for ChallengeLimits {
    fn default() -> Self {
        Self {
            answer_within: Duration::from_secs(10 * 60),
            spend_within: Duration::from_secs(5 * 60),
            wrong_answers: 5,
            pending_per_session: 8,
            held_body: 10 * 1024 * 1024,
        }
    }
}

/// A request that waits, as it will be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct HeldRequest {
    /// The method.
    pub method: String,
    /// Path and query, exactly.
    pub target: String,
    /// The headers of the browser, in order, without our cookies.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for HeldRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldRequest({} …, {} bytes)", self.method, self.body.len())
    }
}
