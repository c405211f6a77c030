//! What the core needs from outside. Intents, not tables.
//!
//! Every method of [`Store`] is one transaction. When it returns `Ok`, the change
//! *and* its ledger entries are durable; when it returns `Err`, neither happened,
//! except [`StoreError::Unknown`]: the connection broke at commit, and the caller
//! reads again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_evidence::Entry;

use crate::challenge::{Challenge, ChallengeState, Held, HeldRequest, SendOutcome};
use crate::factor::{EnrolledFactor, FactorKind, FactorUse};
use crate::id::{ChallengeId, FactorId, LinkId, NodeId, PersonId, RequestId, SessionId};
use crate::operation::OperationDigest;
use crate::person::{Login, Person};
use crate::secret::{Purpose, TokenDigest};
use crate::session::{Audience, Proof, SessionView};
use crate::time::Timestamp;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is full, or refused. Nothing happened.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke at commit: it may have happened. Read again.
    #[error("the store's answer to the commit is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row contradicts the model.
    #[error("the row {row} of {table} is not valid: {what}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Its key.
        row: String,
        /// Column and what is wrong with it.
        what: String,
    },
    /// Sealed data cannot be opened: wrong or missing master key.
    #[error("sealed data cannot be opened with key {key}")]
    Sealed {
        /// Id of the key that sealed it.
        key: String,
    },
}

/// Why a conditional change did not happen. Nothing was changed, no entry was written.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Somebody else was first, or the state does not allow it: read again.
    #[error("it changed in the meantime")]
    Conflict,
    /// A code or counter was used before (compare-and-swap of [`FactorUse`]).
    #[error("the proof was used before")]
    UsedBefore,
    /// A limit is reached: pending challenges per session, factors per person…
    #[error("a limit is reached: {0}")]
    Limit(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

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
    /// Where from.
    pub address: String,
    /// User agent, shortened.
    pub agent: String,
    /// The session that this sign-in replaces in the same browser; it ends (entry included in `entries`).
    pub replaces: Option<SessionId>,
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
    /// The new state: `Pending` with one proof more, or `Passed`.
    pub state: ChallengeState,
    /// The proof; appended to the session that asked, with the session's next
    /// generation, when the state is `Passed` and the grant is freshness, or
    /// kept with the challenge alone when it is a confirmation.
    pub raises_session: Vec<(FactorKind, Timestamp)>,
    /// The factor, and what the proof changes in it.
    pub used: (FactorId, FactorUse),
    /// The new token for the gate's own origin with the new generation; the
    /// answering token (and its siblings of this audience) live on for
    /// [`crate::session::OLD_TOKEN_GRACE`] or until the new one's first use.
    pub rotated: Option<RotatedToken>,
    /// A code that brings the browser back to the service's host.
    pub hand_back: Option<NewCode>,
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

/// A counted try. The count is durable before the answer is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// It may be verified. So many wrong ones are left, this one included.
    Allowed {
        /// Tries left, this one included.
        left: u32,
    },
    /// Locked until then; nothing was counted.
    Locked {
        /// Until when.
        until: Timestamp,
    },
}

/// Limits of tries per factor and person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryLimits {
    /// Consecutive wrong tries before a lock (PCI DSS 8.3.4: at most 10).
    pub before_lock: u32,
    /// How long a lock lasts (PCI DSS 8.3.4: at least 30 minutes).
    pub lock: Duration,
    /// Consecutive wrong tries after which an administrator must reset it
    /// (SP 800-63B-4 section 3.2.2: at most 100).
    pub before_reset: u32,
}

impl Default for TryLimits {
    fn default() -> Self {
        Self { before_lock: 10, lock: Duration::from_secs(30 * 60), before_reset: 100 }
    }
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
    /// The kinds that may be enrolled with it.
    pub kinds: Vec<FactorKind>,
    /// The browser that it belongs to.
    pub browser: TokenDigest,
    /// What is being enrolled, and the verifier's sealed state.
    pub begun: Option<(FactorKind, SecretString)>,
    /// Until when.
    pub expires_at: Timestamp,
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
#[derive(Clone, Debug, Default)]
pub struct EntryQuery {
    /// Only entries of this person.
    pub person: Option<PersonId>,
    /// Only entries of this challenge.
    pub challenge: Option<ChallengeId>,
    /// Only these kinds (`challenge.passed` …); empty means all.
    pub kinds: Vec<String>,
    /// From this index on (inclusive).
    pub from: Option<u64>,
    /// Before this index (exclusive); newest first if only this is set.
    pub before: Option<u64>,
    /// At most so many (capped at 1,000).
    pub limit: u32,
}

/// The store: see the module for the contract that each method keeps.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    // --- people and factors -------------------------------------------------

    /// Adds a person. `Conflict` if the login exists.
    async fn add_person(&self, person: &Person, at: Timestamp, entry: Entry) -> Result<(), ChangeError>;
    /// Replaces name, e-mail and groups. `Conflict` if there is no such person.
    async fn change_person(&self, person: &Person, entry: Entry) -> Result<(), ChangeError>;
    /// Removes a person with factors, links and sessions. `entries` say so.
    async fn remove_person(&self, person: PersonId, entries: Vec<Entry>) -> Result<(), ChangeError>;
    /// The person with this id.
    async fn person(&self, id: PersonId) -> Result<Option<Person>, StoreError>;
    /// The person who signs in with this name.
    async fn person_by_login(&self, login: &Login) -> Result<Option<Person>, StoreError>;
    /// All people, by login, from after `after`, at most `limit` (capped at 1,000).
    async fn people(&self, after: Option<&Login>, limit: u32) -> Result<Vec<Person>, StoreError>;
    /// A person's factors, oldest first.
    async fn factors(&self, person: PersonId) -> Result<Vec<EnrolledFactor>, StoreError>;
    /// The owner of a passkey.
    async fn person_by_credential(&self, credential_id: &[u8]) -> Result<Option<PersonId>, StoreError>;
    /// Adds a factor; consumes what was begun on the ticket (or the whole ticket: `Ticket::begun` becomes `None`).
    /// A password replaces the person's password, recovery codes replace recovery codes.
    /// `Conflict` if the ticket is gone, foreign or changed; `UsedBefore` if the credential id is taken.
    async fn enrol(
        &self,
        ticket: TokenDigest,
        person: PersonId,
        factor: &EnrolledFactor,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// Removes a factor. `Conflict` if it is not this person's.
    async fn remove_factor(&self, person: PersonId, factor: FactorId, entry: Entry) -> Result<(), ChangeError>;

    // --- tries ---------------------------------------------------------------

    /// Counts a try before it is verified, durably, across sessions and nodes.
    ///
    /// Reaching a multiple of `before_lock` sets the lock (and writes `locked`)
    /// *before* this try is verified; a right answer lifts it with everything else.
    async fn begin_try(
        &self,
        person: PersonId,
        kind: FactorKind,
        limits: TryLimits,
        at: Timestamp,
        locked: Entry,
    ) -> Result<Try, StoreError>;
    /// Forgets the wrong tries and any lock: an administrator's reset.
    async fn reset_tries(&self, person: PersonId, kind: FactorKind, entry: Entry) -> Result<(), ChangeError>;
    /// Writes entries that change nothing else (a failed try, an alarm, a window of refusals).
    async fn record(&self, entries: Vec<Entry>) -> Result<(), StoreError>;

    // --- sessions ------------------------------------------------------------

    /// Starts a session: applies the factor's use (`UsedBefore` if it was), forgets
    /// wrong tries of that factor, remembers the device.
    async fn start_session(&self, session: NewSession, entries: Vec<Entry>) -> Result<(), ChangeError>;
    /// The session of a token, from memory where possible; `None` if there is
    /// none, it ended, idled out, or the token was succeeded and its grace is over.
    ///
    /// The first look at a new token ends its predecessors of the same audience.
    async fn session(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Option<Arc<SessionView>>, StoreError>;
    /// The session that a token belonged to, if it ended by time at most `within` ago:
    /// whose it was, so that the same person can sign in and go on.
    async fn lapsed(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
        within: Duration,
    ) -> Result<Option<(SessionId, PersonId)>, StoreError>;
    /// Notes the use of a session; coarse and not durable at once.
    fn touch(&self, session: SessionId, now: Timestamp);
    /// A person's live sessions.
    async fn sessions(&self, person: PersonId, now: Timestamp) -> Result<Vec<SessionSummary>, StoreError>;
    /// Ends a session of this person on every host. `Conflict` if it is not theirs or has ended.
    /// On this node it bites at once, on others within a second.
    async fn end_session(&self, session: SessionId, person: PersonId, entry: Entry) -> Result<(), ChangeError>;
    /// Completes when the session has ended or its person changed; for streams and WebSockets.
    async fn ended(&self, session: SessionId);

    // --- codes ----------------------------------------------------------------

    /// Puts a one-time code.
    async fn put_code(&self, code: NewCode) -> Result<(), StoreError>;
    /// Takes a one-time code, exactly once across all nodes, and issues a token for
    /// its audience that sees what [`NewCode::sees`] says; older tokens of that
    /// audience and session live on for the grace. `None` if there is no such code
    /// for this audience and browser, it expired, or the session ended.
    async fn redeem_code(
        &self,
        code: TokenDigest,
        audience: &Audience,
        browser: Option<TokenDigest>,
        token: TokenDigest,
        at: Timestamp,
    ) -> Result<Option<NewCode>, ChangeError>;
    /// Issues a token with the newest generation to an old token's bearer (a program
    /// whose challenge was passed). The old one lives on for the grace.
    async fn rotate_token(
        &self,
        old: TokenDigest,
        audience: &Audience,
        new: TokenDigest,
        at: Timestamp,
    ) -> Result<(), ChangeError>;

    // --- challenges -----------------------------------------------------------

    /// Opens a challenge, seals what it holds. `Limit` if the session has too many pending.
    /// The session is live, or (where only a new sign-in is waited for) at most lapsed.
    async fn open_challenge(
        &self,
        challenge: &Challenge,
        held: Option<&HeldRequest>,
        pending_max: u32,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError>;
    /// Opens a successor for the held request of `old` (which becomes `Failed`), once:
    /// `Conflict` if `old` is itself a successor or is not passed at that version.
    async fn succeed_challenge(
        &self,
        old: ChallengeId,
        version: u32,
        new: &Challenge,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError>;
    /// The challenge with this id, as it stands in the store.
    async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError>;
    /// The newest pending or passed challenge of this session for this exact
    /// operation that has not expired and holds nothing.
    async fn challenge_for(
        &self,
        session: SessionId,
        operation: OperationDigest,
        now: Timestamp,
    ) -> Result<Option<Challenge>, StoreError>;
    /// The request that it holds, unsealed.
    async fn held(&self, id: ChallengeId) -> Result<Option<HeldRequest>, StoreError>;
    /// Applies an answer that was right: factor's use, challenge, session's proofs
    /// and generation, tokens, codes, wrong tries forgotten, entries.
    async fn answer_challenge(&self, answer: AnsweredChallenge, entries: Vec<Entry>) -> Result<(), ChangeError>;
    /// Applies a state that ends it or counts a wrong answer.
    async fn close_challenge(
        &self,
        id: ChallengeId,
        version: u32,
        state: ChallengeState,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError>;
    /// Gives a lapsed session's pending challenge to the session that the same person
    /// signed in to, in the given state (`Passed`), with a code that brings the browser back.
    async fn adopt_challenge(
        &self,
        id: ChallengeId,
        version: u32,
        session: SessionId,
        state: ChallengeState,
        hand_back: NewCode,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError>;
    /// Completes when the challenge may have changed, or after `at_most`.
    async fn challenge_changed(&self, id: ChallengeId, at_most: Duration);
    /// Spends a passed challenge, exactly once across all nodes, and notes that its
    /// request is about to be sent. Durable before the first byte leaves.
    ///
    /// After `Unknown` the caller reads the challenge again: spent by this request, it
    /// may be sent; if not, or if nobody can say, it is not sent. Either way `finish` follows.
    async fn spend(&self, spend: Spend, entry: Entry) -> Result<(), ChangeError>;
    /// Notes how the upstream answered.
    async fn finish(
        &self,
        challenge: ChallengeId,
        request: RequestId,
        outcome: SendOutcome,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// Challenges that `node` (or any node whose lease is over at `now`) was sending
    /// when it died; the caller finishes each as unknown.
    async fn unfinished(&self, node: NodeId, now: Timestamp) -> Result<Vec<(ChallengeId, RequestId)>, StoreError>;
    /// Pending challenges whose time is over at `now`, at most 1,000; the caller closes each.
    async fn overdue(&self, now: Timestamp) -> Result<Vec<Challenge>, StoreError>;

    // --- enrolment ------------------------------------------------------------

    /// Puts an enrolment link.
    async fn put_link(&self, link: &EnrolmentLink, entry: Entry) -> Result<(), ChangeError>;
    /// The link with this digest, if it can still be used.
    async fn link(&self, digest: TokenDigest, now: Timestamp) -> Result<Option<EnrolmentLink>, StoreError>;
    /// Uses up a link, exactly once, and puts the ticket that it gives.
    async fn use_link(&self, link: LinkId, ticket: &Ticket, now: Timestamp, entry: Entry) -> Result<(), ChangeError>;
    /// Puts a ticket that a passed challenge allowed.
    async fn put_ticket(&self, ticket: &Ticket) -> Result<(), ChangeError>;
    /// The ticket with this digest and browser, unless its time is over.
    async fn ticket(
        &self,
        digest: TokenDigest,
        browser: TokenDigest,
        now: Timestamp,
    ) -> Result<Option<Ticket>, StoreError>;
    /// Notes what is being enrolled, in place of what was begun before.
    async fn begin_on_ticket(&self, digest: TokenDigest, begun: (FactorKind, SecretString)) -> Result<(), ChangeError>;
    /// Ends a ticket.
    async fn end_ticket(&self, digest: TokenDigest) -> Result<(), StoreError>;

    // --- evidence -------------------------------------------------------------

    /// Finds entries.
    async fn entries(&self, query: EntryQuery) -> Result<Vec<RecordedEntry>, StoreError>;
    /// The newest signed checkpoint (C2SP signed note), over committed entries only.
    async fn checkpoint(&self) -> Result<String, StoreError>;
    /// Completes when there may be entries from `index` on, or after `at_most`.
    async fn entries_after(&self, index: u64, at_most: Duration);

    // --- the node -------------------------------------------------------------

    /// Whether the store answers; for readiness and for `stale_for`.
    async fn ready(&self) -> Result<(), StoreError>;
    /// Renews this node's lease; called every few seconds.
    async fn heartbeat(&self, node: NodeId, now: Timestamp) -> Result<(), StoreError>;
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
