//! What the store is given to change, and what it gives back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stepgate_evidence::Entry;

use super::{ProviderLogin, Trier};
use crate::catalogue::{ActionName, ServiceName};
use crate::challenge::{ChallengeState, Held, HeldRequest};
use crate::factor::{Binding, CodeDigest, FactorKind, FactorUse};
use crate::id::{ChallengeId, FactorId, LinkId, NodeId, PersonId, RequestId, SentCodeId, SessionId};
use crate::person::Person;
use crate::provider::ProviderName;
use crate::risk::Risk;
use crate::secret::{Purpose, TokenDigest};
use crate::session::{Audience, Device, Proof};
use crate::time::Timestamp;

/// A session to start.
#[derive(Debug)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub person: PersonId,
    /// The proof of the sign-in; its generation is 1.
    pub proof: Proof,
    /// The factor, and what the proof changes in it.
    pub used: (FactorId, FactorUse),
    /// The prompt that a passkey answered: `UsedBefore` if a session was started with it already.
    pub prompt: Option<TokenDigest>,
    /// The token for the gate's own origin.
    pub gate_token: TokenDigest,
    /// The browser's cookie at the gate.
    pub browser: TokenDigest,
    /// The device cookie: known if this person used it before; remembered from now on.
    pub device: TokenDigest,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ends, used or not.
    pub ends_at: Timestamp,
    /// Idle lifetime.
    pub idle: Duration,
    /// Where from; with the device it says whose count of tries this ends.
    pub address: IpAddr,
    /// The country of that address; `ZZ` if nobody knows it.
    pub country: String,
    /// User agent, shortened.
    pub agent: String,
    /// The session that this sign-in replaces in the same browser; it ends (entry included in `entries`).
    pub replaces: Option<SessionId>,
    /// The login at an identity provider that it rests on.
    pub login: Option<ProviderLogin>,
}

/// A person as what is decided for their tokens sees them.
#[derive(Clone, Debug)]
pub struct KnownPerson {
    /// The person.
    pub person: Arc<Person>,
    /// The kinds of factors that they have enrolled.
    pub enrolled: Arc<[FactorKind]>,
    /// What other systems told of them.
    pub risks: Arc<[Risk]>,
    /// Access tokens that were issued before this are worth nothing, if there is such a moment.
    pub tokens_after: Option<Timestamp>,
}

/// A session as its owner's list shows it.
#[derive(Clone, Debug)]
pub struct SessionSummary {
    /// Its id.
    pub id: SessionId,
    /// When it started.
    pub started_at: Timestamp,
    /// Last use, coarse.
    pub last_used_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// Address at sign-in.
    pub address: String,
    /// User agent at sign-in.
    pub agent: String,
    /// The device that signed in.
    pub device: Device,
}

/// A device that a person signed in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedDevice {
    /// The digest of its cookie, by which it is named in pages and entries.
    pub device: TokenDigest,
    /// The first sign-in.
    pub first_seen: Timestamp,
    /// The last one.
    pub last_used: Timestamp,
    /// What the person calls it; may be empty.
    pub name: String,
    /// What the browser called itself at the last sign-in.
    pub agent: String,
}

/// What the token sees that a code is redeemed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSees {
    /// What was proved up to this generation: a code gives no more than was seen by
    /// the token that it was made with, however late it is redeemed.
    UpTo(u32),
    /// All that the session has proved when the code is put: it is part of an answer.
    Everything,
}

/// A one-time code to put.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// What it is looked up by; its purpose is hashed into it.
    pub digest: TokenDigest,
    /// Its purpose.
    pub purpose: Purpose,
    /// The session that it belongs to.
    pub session: SessionId,
    /// The host where it may be redeemed.
    pub audience: Audience,
    /// The browser that may redeem it.
    pub browser: Option<TokenDigest>,
    /// The challenge that it brings back to.
    pub challenge: Option<ChallengeId>,
    /// What its token sees.
    pub sees: CodeSees,
    /// Until when.
    pub expires_at: Timestamp,
}

/// How a challenge's answer changes it.
#[derive(Debug)]
pub struct AnsweredChallenge {
    /// The challenge.
    pub id: ChallengeId,
    /// The version that was read.
    pub version: u32,
    /// The new state: `Pending` with one proof more, or `Passed`. Where that is so and the grant is freshness, what
    /// stays of the proofs ([`crate::challenge::Given::in_session`]) is appended to the session that asked, with its
    /// next generation; of a confirmation they are kept with the challenge alone.
    pub state: ChallengeState,
    /// The factor, and what the proof changes in it.
    pub used: (FactorId, FactorUse),
    /// The login at a provider that proved it, if one did.
    pub login: Option<ProvedThere>,
    /// Where the answer came from: the device is known from now on.
    pub from: Trier,
    /// The new token for the gate's own origin with the new generation; the
    /// answering token (and its siblings of this audience) live on for
    /// [`crate::session::OLD_TOKEN_GRACE`] or until the new one's first use.
    pub rotated: Option<RotatedToken>,
    /// A code that brings the browser back to the service's host.
    pub hand_back: Option<NewCode>,
}

/// A login at a provider that proved more in a session, however that began: a logout there
/// ends it as it ends one that rests on its login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedThere {
    /// The provider.
    pub provider: ProviderName,
    /// [`crate::factor::identity_digest`] of who logged in.
    pub identity: [u8; 32],
    /// The provider's session.
    pub sid: Option<String>,
    /// When the browser left for the provider.
    pub left_at: Timestamp,
}

/// A new token of an existing session.
#[derive(Debug)]
pub struct RotatedToken {
    /// The session (the answering one).
    pub session: SessionId,
    /// Digest of the new token.
    pub digest: TokenDigest,
    /// The digest that it succeeds.
    pub succeeds: TokenDigest,
    /// Now.
    pub at: Timestamp,
}

/// An enrolment in progress.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// What it is looked up by.
    pub digest: TokenDigest,
    /// Whose.
    pub person: PersonId,
    /// What allowed it: a link's or a challenge's id, as it will stand in the entry.
    pub authority: String,
    /// What it ends with.
    pub rests_on: RestsOn,
    /// The kinds that may be enrolled with it.
    pub kinds: Vec<FactorKind>,
    /// The browser that it belongs to.
    pub browser: TokenDigest,
    /// What is being enrolled, and the verifier's sealed state.
    pub begun: Option<(FactorKind, SecretString)>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// What a ticket rests on. Without that it opens nothing, whoever holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestsOn {
    /// A link that was used up when it gave the ticket: time alone ends it.
    Link,
    /// A session: whatever ends that, ends the ticket, and what was begun on it enrols nothing.
    Session(SessionId),
}

/// What becomes of a ticket when something was enrolled with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketThen {
    /// More may be enrolled with it.
    Stays,
    /// It was for this alone.
    Ends,
}

/// An enrolment link.
#[derive(Clone, Debug)]
pub struct EnrolmentLink {
    /// Its id.
    pub id: LinkId,
    /// What it is looked up by.
    pub digest: TokenDigest,
    /// Whose.
    pub person: PersonId,
    /// The kinds that may be enrolled with it.
    pub kinds: Vec<FactorKind>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// What an operation spends when it is sent.
#[derive(Debug)]
pub struct Spend {
    /// The passed challenge.
    pub challenge: ChallengeId,
    /// The version that was read.
    pub version: u32,
    /// The request that it is spent on.
    pub request: RequestId,
    /// The node that sends.
    pub node: NodeId,
    /// Now.
    pub at: Timestamp,
    /// The resume code, if the browser posted one: consumed in the same transaction.
    pub resume_code: Option<TokenDigest>,
}

/// How a held request is described when a challenge is opened.
#[derive(Debug)]
pub enum ToHold {
    /// The asker repeats the request itself.
    Nothing,
    /// The browser repeats it by itself (safe method).
    SafeNavigation,
    /// Sealed in the store.
    Request(HeldRequest),
}

impl ToHold {
    /// What stands in the challenge.
    pub const fn held(&self) -> Held {
        match self {
            Self::Nothing => Held::Nothing,
            Self::SafeNavigation => Held::SafeNavigation,
            Self::Request(_) => Held::Request,
        }
    }
}

/// A code that is about to be sent.
#[derive(Clone, Debug)]
pub struct NewSentCode {
    /// Its id.
    pub id: SentCodeId,
    /// Who gets it.
    pub person: PersonId,
    /// The kind of factor that it is for.
    pub kind: FactorKind,
    /// Keyed digest of the address that it goes to.
    pub sent_to: String,
    /// What verifies it, and the factor whose it is; `None` while that is being enrolled.
    pub of: Option<(FactorId, Binding, CodeDigest)>,
    /// When it is sent.
    pub at: Timestamp,
    /// When it is no longer accepted.
    pub expires_at: Timestamp,
}

/// A committed line of the ledger, with what lies beside it.
#[derive(Clone, Debug)]
pub struct RecordedEntry {
    /// Its index in the tree.
    pub index: u64,
    /// The entry; `details` are there unless erased or none.
    pub entry: Entry,
    /// Whether there were details that have been erased.
    pub erased: bool,
}

/// What to look for in the evidence. All set fields must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryQuery {
    /// Only entries of this person: about them, about challenges that they were asked, or of
    /// what they did with the evidence.
    pub person: Option<PersonId>,
    /// Only entries of any of these challenges; empty means all.
    pub challenges: Vec<ChallengeId>,
    /// Only entries of this request that was sent.
    pub request: Option<RequestId>,
    /// Only entries about operations of this service.
    pub service: Option<ServiceName>,
    /// Only entries about this action.
    pub action: Option<ActionName>,
    /// Only these kinds (`challenge.passed` …); empty means all.
    pub kinds: Vec<String>,
    /// From this moment on (inclusive), by the clock of the node that wrote the entry.
    pub since: Option<Timestamp>,
    /// Before this moment (exclusive).
    pub until: Option<Timestamp>,
    /// From this index on (inclusive).
    pub from: Option<u64>,
    /// Before this index (exclusive); newest first if only this is set.
    pub before: Option<u64>,
    /// At most so many (capped at 1,000).
    pub limit: u32,
}
