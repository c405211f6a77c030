//! What the core needs from outside. Intents, not tables.
//!
//! Every method of [`Store`] is one transaction. When it returns `Ok`, the change
//! *and* its ledger entries are durable; when it returns `Err`, neither happened,
//! except [`StoreError::Unknown`]: the connection broke at commit, and the caller
//! reads again.

mod accounts;
mod approvals;
mod changes;
mod courier;
mod error;
mod habits;
mod hardware;
mod leaves;
mod logins;
mod signals;
mod sinks;
mod streams;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_evidence::Entry;

use crate::challenge::{AskedBy, Challenge, ChallengeState, HeldRequest, SendOutcome};
use crate::factor::{CodeDelivery, EnrolledFactor, FactorKind};
use crate::id::{ChallengeId, FactorId, LinkId, NodeId, PersonId, RequestId, SentCodeId, SessionId};
use crate::operation::OperationDigest;
use crate::person::{Login, Person};
use crate::provider::ProviderName;
use crate::secret::TokenDigest;
use crate::session::{Audience, SessionView};
use crate::time::Timestamp;

pub use accounts::{
    Account, AccountChange, Accounts, GROUPS_PER_PERSON_MAX, Group, GroupChange, MembersChange, PROVISIONED_GROUPS_MAX,
    Part, Provisioned, ProvisionedLink, Sought,
};
pub use approvals::{Approvals, NewPush, OpenPush, PushSent};
pub use changes::{
    AnsweredChallenge, CodeSees, EnrolmentLink, EntryQuery, KnownPerson, NewCode, NewSentCode, NewSession, ProvedThere,
    RecordedEntry, RememberedDevice, RestsOn, RotatedToken, SessionSummary, Spend, Ticket, TicketThen, ToHold,
};
pub use courier::{About, Courier, CourierFull, Message, NoCourier};
pub use error::{ChangeError, StoreError};
pub use habits::{Habit, HabitKeeper, KeptProfile, Lesson, NoHabits, ProfileFate, ProfileWrite, Profiles};
pub use hardware::{HardwareToken, HardwareTokens, NewToken, TokenState};
pub use leaves::{Leaf, LeafDetails, LogKeys};
pub use logins::{DueRenewal, LeftBy, LoggedOut, PendingLogin, ProviderLogin, Renewal};
pub use signals::{Concerned, RiskName, SignalEffect, SignalFate, SignalStore, TakenSignal};
pub use sinks::{NotASinkName, SINK_TURN_MAX, SINK_WHY_MAX, SinkName, SinkState, SinkTurn, Sinks, Told};
pub use streams::{
    Delivery, Departed, SETTLED_MAX, Settled, Stream, StreamStatus, Streams, TooManySettled, Turn, WAITING_MAX,
    WaitingSet,
};
pub use tries::{ADDRESS_LOCK_MAX, Trier, Try, TryLimits};

/// The store: see the module for the contract that each method keeps.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    // --- people and factors -------------------------------------------------

    /// Adds a person. `Conflict` if the login exists.
    async fn add_person(&self, person: &Person, at: Timestamp, entry: Entry) -> Result<(), ChangeError>;
    /// Replaces name, e-mail and groups. `Conflict` if there is no such person.
    async fn change_person(&self, person: &Person, entry: Entry) -> Result<(), ChangeError>;
    /// Removes a person with factors, links, sessions and what waits for them, each session, challenge and factor
    /// with an entry of its own, as it is for whom provisioning removes. How others know them is kept for the
    /// streams that have yet to tell of it. `Conflict` if there is no such person.
    async fn remove_person(&self, person: PersonId, by: &str, at: Timestamp, entry: Entry) -> Result<(), ChangeError>;
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
    /// The owner of an identity at a provider, and the factor that says so. `identity` is
    /// the digest of issuer and subject.
    async fn person_by_identity(&self, identity: [u8; 32]) -> Result<Option<(PersonId, FactorId)>, StoreError>;
    /// The active person of an identity, from memory where possible. Who was removed or
    /// deactivated, or is known by it no longer, is nobody: on this node at once, on others
    /// within a second.
    async fn known_by(&self, identity: [u8; 32]) -> Result<Option<Arc<KnownPerson>>, StoreError>;
    /// Completes when anything about this person may have changed since it was first
    /// polled; for streams that began with a token. While nobody can say, after a while too.
    async fn person_changed(&self, person: PersonId);
    /// Adds a person who is known by an identity alone. `Conflict` if the login exists,
    /// `UsedBefore` if the identity is somebody's.
    async fn add_person_known_by(
        &self,
        person: &Person,
        identity: &EnrolledFactor,
        at: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError>;
    /// Adds an identity to a person. `Conflict` if there is no such person, `UsedBefore`
    /// if the identity is somebody's.
    async fn add_identity(&self, person: PersonId, identity: &EnrolledFactor, entry: Entry) -> Result<(), ChangeError>;
    /// Adds a factor; consumes what was begun on the ticket, or the whole ticket, as `then`
    /// says. A password replaces the person's password, recovery codes replace recovery codes.
    /// `Conflict` if the ticket is gone, foreign or changed, or if a short password would
    /// stand alone; `UsedBefore` if the credential id is taken.
    async fn enrol(
        &self,
        ticket: TokenDigest,
        then: TicketThen,
        person: PersonId,
        factor: &EnrolledFactor,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// Removes a factor. `Conflict` if it is not this person's, or if what is left would be
    /// other than `leaves`: that is what it was judged by.
    async fn remove_factor(
        &self,
        person: PersonId,
        factor: FactorId,
        leaves: Vec<FactorId>,
        entry: Entry,
    ) -> Result<(), ChangeError>;

    // --- tries ---------------------------------------------------------------

    /// Counts a try before it is verified, durably, across sessions and nodes, apart
    /// for known devices and strangers as [`Trier`] tells.
    ///
    /// Reaching a limit sets the lock (and writes `locked`, with its end and whom it
    /// concerns) *before* this try is verified. A right answer makes its device known,
    /// lifts the locks that the try was part of, and ends the row of wrong ones; a lock
    /// of strangers goes on when the answer came from a known device.
    async fn begin_try(
        &self,
        person: PersonId,
        kind: FactorKind,
        from: Trier,
        limits: TryLimits,
        at: Timestamp,
        locked: Entry,
    ) -> Result<Try, StoreError>;
    /// Takes back a try that was counted and was not wrong: nothing was verified, or
    /// the same answer had just passed the same challenge.
    async fn take_back_try(&self, person: PersonId, kind: FactorKind, from: Trier) -> Result<(), StoreError>;
    /// Forgets the wrong tries and any lock: an administrator's reset. Known devices stay known.
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
    /// The first look at a new token ends its predecessors of the same audience and browser.
    async fn session(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Option<Arc<SessionView>>, StoreError>;
    /// What [`Store::session`] would give if that is in memory, without the cost of waiting.
    /// `None` tells nothing: ask there.
    fn session_in_memory(
        &self,
        _token: TokenDigest,
        _audience: &Audience,
        _now: Timestamp,
    ) -> Option<Arc<SessionView>> {
        None
    }
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
    /// The devices that a person signed in with and that are remembered, the last used first.
    async fn devices(&self, person: PersonId) -> Result<Vec<RememberedDevice>, StoreError>;
    /// Gives a device of this person a name. `Conflict` if it is not theirs.
    async fn name_device(
        &self,
        person: PersonId,
        device: TokenDigest,
        name: &str,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// Forgets a device of this person: it is new from now on, for living sessions too (here at once, elsewhere
    /// within a second), and its wrong tries are counted as a stranger's. `Conflict` if it is not theirs.
    async fn forget_device(&self, person: PersonId, device: TokenDigest, entry: Entry) -> Result<(), ChangeError>;
    /// Ends a session of this person on every host. `Conflict` if it is not theirs or has ended.
    /// On this node it bites at once, on others within a second.
    async fn end_session(&self, session: SessionId, person: PersonId, entry: Entry) -> Result<(), ChangeError>;
    /// Completes when the session has ended or its person changed; for streams and WebSockets.
    async fn ended(&self, session: SessionId);

    // --- logins at identity providers ------------------------------------------

    /// Puts a login that is on its way. What is too many pushes out the oldest: of the same
    /// network or session, and of all strangers together; never those of the signed-in.
    async fn put_pending_login(&self, login: PendingLogin) -> Result<(), StoreError>;
    /// Takes a login that is on its way, exactly once across all nodes. `None` if there is
    /// none with this state for this browser and provider, or its time is over.
    async fn take_pending_login(
        &self,
        state: TokenDigest,
        browser: TokenDigest,
        provider: &ProviderName,
        now: Timestamp,
    ) -> Result<Option<SecretString>, StoreError>;
    /// The login that a live session rests on, unsealed.
    async fn provider_login(&self, session: SessionId) -> Result<Option<ProviderLogin>, StoreError>;
    /// The live sessions that rest on such logins at this provider, or in which they proved more, with their persons.
    async fn sessions_logged_out(
        &self,
        provider: &ProviderName,
        of: &LoggedOut,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, PersonId)>, StoreError>;
    /// Carries out a logout at a provider: takes its token, once (`UsedBefore` if it was taken),
    /// and ends these sessions. `Conflict` if others than these rest on it by now: then
    /// nothing happened, and the caller looks again.
    async fn log_out(
        &self,
        token: TokenDigest,
        provider: &ProviderName,
        of: &LoggedOut,
        sessions: Vec<SessionId>,
        at: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError>;
    /// The providers that are to be asked at `now` about logins that live sessions rest on.
    async fn renewals_due(&self, now: Timestamp) -> Result<Vec<ProviderName>, StoreError>;
    /// The live session whose login this provider is to be asked about first at `now`. It is put off until
    /// `again_at`, readable or not, so that no other node asks too and the next call gives another.
    async fn take_due_renewal(
        &self,
        provider: &ProviderName,
        now: Timestamp,
        again_at: Timestamp,
    ) -> Result<Renewal, StoreError>;
    /// Keeps the refresh token that followed `was`, and when to ask again (`None`: as it is).
    /// `Conflict` if the session rests on no login, or another token followed already.
    async fn renewed(
        &self,
        session: SessionId,
        was: SecretString,
        refresh_token: SecretString,
        renew_at: Option<Timestamp>,
    ) -> Result<(), ChangeError>;

    // --- codes ----------------------------------------------------------------

    /// Puts a one-time code.
    async fn put_code(&self, code: NewCode) -> Result<(), StoreError>;
    /// Takes a one-time code, exactly once across all nodes, and issues a token for
    /// its audience that sees what [`NewCode::sees`] says; older tokens of that
    /// audience and session live on for the grace. A hand-off ends only those of its own
    /// browser (and of the oldest, where there are too many), a hand-back those of all. `None` if there is no such code
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
    /// whose challenge was passed). The old one, and those of other browsers for this
    /// audience, live on for the grace.
    async fn rotate_token(
        &self,
        old: TokenDigest,
        audience: &Audience,
        new: TokenDigest,
        at: Timestamp,
    ) -> Result<(), ChangeError>;

    // --- challenges -----------------------------------------------------------

    /// Opens a challenge, seals what it holds. `Limit` if the session or token has `pending_max`
    /// pending at this host that were asked from there or, if this one was, from elsewhere.
    /// The session is live, or (where only a new sign-in is waited for) at most lapsed; the
    /// person who answers for a token is active, and what it asks for is a confirmation
    /// that holds nothing.
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
    /// The newest passed challenge of this session or token for this exact operation, else the
    /// newest pending one, that has not expired, holds nothing, and was not asked by a
    /// token of a newer generation than this or of another browser (`None`: of none).
    async fn challenge_for(
        &self,
        asked_by: AskedBy,
        generation: u32,
        browser: Option<TokenDigest>,
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
    /// Spends a passed challenge, exactly once across all nodes, notes that its request
    /// is about to be sent, and erases what it held: the caller has it in memory, and
    /// nobody may send it again. Durable before the first byte leaves.
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

    // --- codes that are sent ----------------------------------------------------

    /// Puts a code that is about to be sent; no older one of its factor is good for anything then.
    /// `Limit` if the person was sent so many of this kind within the hour, whatever became of
    /// them and of their factors; `Conflict` if the person or factor is gone.
    async fn put_sent_code(&self, code: NewSentCode, per_hour: u32, entry: Entry) -> Result<(), ChangeError>;
    /// The same for an enrolment: what was begun on the ticket is replaced by what goes on with this code.
    async fn put_code_on_ticket(
        &self,
        ticket: TokenDigest,
        begun: (FactorKind, SecretString),
        code: NewSentCode,
        per_hour: u32,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// What became of sending a code: the entry is written even if the code is gone by now.
    async fn code_delivered(&self, code: SentCodeId, delivery: CodeDelivery, entry: Entry) -> Result<(), ChangeError>;

    // --- enrolment ------------------------------------------------------------

    /// Puts an enrolment link.
    async fn put_link(&self, link: &EnrolmentLink, entry: Entry) -> Result<(), ChangeError>;
    /// The link with this digest, if it can still be used.
    async fn link(&self, digest: TokenDigest, now: Timestamp) -> Result<Option<EnrolmentLink>, StoreError>;
    /// Uses up a link, exactly once, and puts the ticket that it gives.
    async fn use_link(&self, link: LinkId, ticket: &Ticket, now: Timestamp, entry: Entry) -> Result<(), ChangeError>;
    /// Puts a ticket that a passed challenge allowed. `Conflict` if the session that it rests on does not
    /// live, or is somebody else's.
    async fn put_ticket(&self, ticket: &Ticket) -> Result<(), ChangeError>;
    /// The ticket with this digest and browser, unless its time is over or the session that it rests on ended.
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
    /// The leaves from index `from` on, in order, at most `limit` (capped at 1,000).
    ///
    /// For an export: take [`Store::checkpoint`] first, then exactly as many leaves as it
    /// counts; what is appended meanwhile changes neither.
    async fn leaves(&self, from: u64, limit: u32) -> Result<Vec<Leaf>, StoreError>;
    /// The newest signed checkpoint (C2SP signed note), over committed entries only.
    async fn checkpoint(&self) -> Result<String, StoreError>;
    /// The keys of the log up to the head that counts `size` entries.
    async fn log_keys(&self, size: u64) -> Result<LogKeys, StoreError>;
    /// Completes when there may be entries from `index` on, or after `at_most`.
    async fn entries_after(&self, index: u64, at_most: Duration);

    // --- the node -------------------------------------------------------------

    /// Whether the store answers; for readiness and for `stale_for`.
    async fn ready(&self) -> Result<(), StoreError>;
    /// Renews this node's lease; called every few seconds.
    async fn heartbeat(&self, node: NodeId, now: Timestamp) -> Result<(), StoreError>;
}
