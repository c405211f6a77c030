//! The store of a gate that is about to be killed: asks for death at one commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use secrecy::SecretString;
use stepgate_core::challenge::{AskedBy, Challenge, ChallengeState, HeldRequest, SendOutcome};
use stepgate_core::factor::{CodeDelivery, EnrolledFactor, FactorKind, FactorUse};
use stepgate_core::id::{ChallengeId, FactorId, LinkId, NodeId, PersonId, RequestId, SentCodeId, SessionId};
use stepgate_core::operation::OperationDigest;
use stepgate_core::person::{Login, Person};
use stepgate_core::ports::{
    AnsweredChallenge, ChangeError, EnrolmentLink, EntryQuery, KnownPerson, Leaf, LogKeys, LoggedOut, NewCode,
    NewSentCode, NewSession, PendingLogin, ProviderLogin, RecordedEntry, RememberedDevice, Renewal, SessionSummary,
    Spend, Store, StoreError, Ticket, TicketThen, Trier, Try, TryLimits,
};
use stepgate_core::provider::ProviderName;
use stepgate_core::secret::TokenDigest;
use stepgate_core::session::{Audience, SessionView};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Entry;
use stepgate_store::Database;

use crate::boundary::{AtCommit, Side};
use crate::gate::{ASKS_TO_DIE, say};

/// A guard that is taken away, to show that its absence is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    /// Spending is not durable when the request is sent: it is written with the outcome.
    SpendingFirst,
    /// A passed challenge is acknowledged before it is durable.
    DurableAnswers,
    /// Nobody looks for what a dead node was sending.
    LookingBack,
    /// What an answer uses up is not noted.
    CodesOnce,
    /// The end of a session is acknowledged and not done.
    EndingSessions,
}

impl Without {
    const ALL: [Self; 5] =
        [Self::SpendingFirst, Self::DurableAnswers, Self::LookingBack, Self::CodesOnce, Self::EndingSessions];

    /// The guard with this name in the child's environment.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|guard| format!("{guard:?}") == name)
    }
}

/// A store whose process dies at one commit.
#[derive(Debug)]
pub(crate) struct DyingStore {
    database: Arc<Database>,
    at: Mutex<Option<AtCommit>>,
    without: Option<Without>,
    unspent: Mutex<BTreeMap<RequestId, (Spend, Entry)>>,
}

impl DyingStore {
    /// Dies at `at`; without a guard, if one is named.
    pub(crate) fn new(database: Arc<Database>, at: Option<AtCommit>, without: Option<Without>) -> Self {
        Self { database, at: Mutex::new(at), without, unspent: Mutex::default() }
    }

    /// From now on it dies at `at`.
    pub(crate) fn dies_at(&self, at: AtCommit) {
        *self.at.lock() = Some(at);
    }

    /// Never returns where the process is to be killed: the parent does it as soon as it reads the line.
    async fn pass(&self, method: &str, side: Side) {
        if self.is_time(method, side) {
            say(ASKS_TO_DIE);
            std::future::pending::<()>().await;
        }
    }

    fn is_time(&self, method: &str, side: Side) -> bool {
        let mut at = self.at.lock();
        let Some(at) = at.as_mut().filter(|at| at.method == method && at.side == side) else { return false };
        at.call = at.call.saturating_sub(1);
        at.call == 0
    }
}

/// Writes the port with [`DyingStore::pass`] on both sides of each method.
macro_rules! store {
    ($(async fn $name:ident(&$self:ident $(, $arg:ident: $type:ty)*) -> $output:ty;)*) => {
        #[async_trait]
        impl Store for DyingStore {
            $(
                async fn $name(&$self $(, $arg: $type)*) -> $output {
                    $self.pass(stringify!($name), Side::Before).await;
                    let done = $self.database.$name($($arg),*).await;
                    $self.pass(stringify!($name), Side::After).await;
                    done
                }
            )*

            fn touch(&self, session: SessionId, now: Timestamp) {
                self.database.touch(session, now);
            }

            async fn answer_challenge(
                &self,
                mut answer: AnsweredChallenge,
                entries: Vec<Entry>,
            ) -> Result<(), ChangeError> {
                self.pass("answer_challenge", Side::Before).await;
                if self.without == Some(Without::CodesOnce) {
                    answer.used.1 = FactorUse::Nothing;
                }
                if self.without == Some(Without::DurableAnswers) {
                    let database = Arc::clone(&self.database);
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        database.answer_challenge(answer, entries).await
                    });
                    return Ok(());
                }
                let done = self.database.answer_challenge(answer, entries).await;
                self.pass("answer_challenge", Side::After).await;
                done
            }

            async fn end_session(
                &self,
                session: SessionId,
                person: PersonId,
                entry: Entry,
            ) -> Result<(), ChangeError> {
                self.pass("end_session", Side::Before).await;
                if self.without == Some(Without::EndingSessions) {
                    return Ok(());
                }
                let done = self.database.end_session(session, person, entry).await;
                self.pass("end_session", Side::After).await;
                done
            }

            async fn spend(&self, spend: Spend, entry: Entry) -> Result<(), ChangeError> {
                self.pass("spend", Side::Before).await;
                if self.without == Some(Without::SpendingFirst) {
                    self.unspent.lock().insert(spend.request, (spend, entry));
                    return Ok(());
                }
                let done = self.database.spend(spend, entry).await;
                self.pass("spend", Side::After).await;
                done
            }

            async fn finish(
                &self,
                challenge: ChallengeId,
                request: RequestId,
                outcome: SendOutcome,
                entry: Entry,
            ) -> Result<(), ChangeError> {
                self.pass("finish", Side::Before).await;
                let unspent = self.unspent.lock().remove(&request);
                if let Some((spend, spent)) = unspent {
                    self.database.spend(spend, spent).await?;
                }
                let done = self.database.finish(challenge, request, outcome, entry).await;
                self.pass("finish", Side::After).await;
                done
            }

            async fn unfinished(
                &self,
                node: NodeId,
                now: Timestamp,
            ) -> Result<Vec<(ChallengeId, RequestId)>, StoreError> {
                if self.without == Some(Without::LookingBack) {
                    return Ok(Vec::new());
                }
                self.database.unfinished(node, now).await
            }
        }
    };
}

store! {
    async fn add_person(&self, person: &Person, at: Timestamp, entry: Entry) -> Result<(), ChangeError>;
    async fn change_person(&self, person: &Person, entry: Entry) -> Result<(), ChangeError>;
    async fn remove_person(&self, person: PersonId, by: &str, at: Timestamp, entry: Entry) -> Result<(), ChangeError>;
    async fn person(&self, id: PersonId) -> Result<Option<Person>, StoreError>;
    async fn person_by_login(&self, login: &Login) -> Result<Option<Person>, StoreError>;
    async fn people(&self, after: Option<&Login>, limit: u32) -> Result<Vec<Person>, StoreError>;
    async fn devices(&self, person: PersonId) -> Result<Vec<RememberedDevice>, StoreError>;
    async fn name_device(&self, person: PersonId, device: TokenDigest, name: &str, entry: Entry) -> Result<(), ChangeError>;
    async fn forget_device(&self, person: PersonId, device: TokenDigest, entry: Entry) -> Result<(), ChangeError>;
    async fn factors(&self, person: PersonId) -> Result<Vec<EnrolledFactor>, StoreError>;
    async fn person_by_credential(&self, credential_id: &[u8]) -> Result<Option<PersonId>, StoreError>;
    async fn person_by_identity(&self, identity: [u8; 32]) -> Result<Option<(PersonId, FactorId)>, StoreError>;
    async fn known_by(&self, identity: [u8; 32]) -> Result<Option<Arc<KnownPerson>>, StoreError>;
    async fn person_changed(&self, person: PersonId) -> ();
    async fn add_person_known_by(&self, person: &Person, identity: &EnrolledFactor, at: Timestamp, entries: Vec<Entry>) -> Result<(), ChangeError>;
    async fn add_identity(&self, person: PersonId, identity: &EnrolledFactor, entry: Entry) -> Result<(), ChangeError>;
    async fn put_pending_login(&self, login: PendingLogin) -> Result<(), StoreError>;
    async fn take_pending_login(&self, state: TokenDigest, browser: TokenDigest, provider: &ProviderName, now: Timestamp) -> Result<Option<SecretString>, StoreError>;
    async fn provider_login(&self, session: SessionId) -> Result<Option<ProviderLogin>, StoreError>;
    async fn sessions_logged_out(&self, provider: &ProviderName, of: &LoggedOut, now: Timestamp) -> Result<Vec<(SessionId, PersonId)>, StoreError>;
    async fn log_out(&self, token: TokenDigest, provider: &ProviderName, of: &LoggedOut, sessions: Vec<SessionId>, at: Timestamp, entries: Vec<Entry>) -> Result<(), ChangeError>;
    async fn renewals_due(&self, now: Timestamp) -> Result<Vec<ProviderName>, StoreError>;
    async fn take_due_renewal(&self, provider: &ProviderName, now: Timestamp, again_at: Timestamp) -> Result<Renewal, StoreError>;
    async fn renewed(&self, session: SessionId, was: SecretString, refresh_token: SecretString, renew_at: Option<Timestamp>) -> Result<(), ChangeError>;
    async fn enrol(&self, ticket: TokenDigest, then: TicketThen, person: PersonId, factor: &EnrolledFactor, at: Timestamp, entry: Entry) -> Result<(), ChangeError>;
    async fn remove_factor(&self, person: PersonId, factor: FactorId, leaves: Vec<FactorId>, entry: Entry) -> Result<(), ChangeError>;
    async fn begin_try(&self, person: PersonId, kind: FactorKind, from: Trier, limits: TryLimits, at: Timestamp, locked: Entry) -> Result<Try, StoreError>;
    async fn take_back_try(&self, person: PersonId, kind: FactorKind, from: Trier) -> Result<(), StoreError>;
    async fn reset_tries(&self, person: PersonId, kind: FactorKind, entry: Entry) -> Result<(), ChangeError>;
    async fn record(&self, entries: Vec<Entry>) -> Result<(), StoreError>;
    async fn start_session(&self, session: NewSession, entries: Vec<Entry>) -> Result<(), ChangeError>;
    async fn session(&self, token: TokenDigest, audience: &Audience, now: Timestamp) -> Result<Option<Arc<SessionView>>, StoreError>;
    async fn lapsed(&self, token: TokenDigest, audience: &Audience, now: Timestamp, within: Duration) -> Result<Option<(SessionId, PersonId)>, StoreError>;
    async fn sessions(&self, person: PersonId, now: Timestamp) -> Result<Vec<SessionSummary>, StoreError>;
    async fn ended(&self, session: SessionId) -> ();
    async fn put_code(&self, code: NewCode) -> Result<(), StoreError>;
    async fn redeem_code(&self, code: TokenDigest, audience: &Audience, browser: Option<TokenDigest>, token: TokenDigest, at: Timestamp) -> Result<Option<NewCode>, ChangeError>;
    async fn rotate_token(&self, old: TokenDigest, audience: &Audience, new: TokenDigest, at: Timestamp) -> Result<(), ChangeError>;
    async fn open_challenge(&self, challenge: &Challenge, held: Option<&HeldRequest>, pending_max: u32, entries: Vec<Entry>) -> Result<(), ChangeError>;
    async fn succeed_challenge(&self, old: ChallengeId, version: u32, new: &Challenge, entries: Vec<Entry>) -> Result<(), ChangeError>;
    async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError>;
    async fn challenge_for(&self, asked_by: AskedBy, generation: u32, browser: Option<TokenDigest>, operation: OperationDigest, now: Timestamp) -> Result<Option<Challenge>, StoreError>;
    async fn held(&self, id: ChallengeId) -> Result<Option<HeldRequest>, StoreError>;
    async fn close_challenge(&self, id: ChallengeId, version: u32, state: ChallengeState, entries: Vec<Entry>) -> Result<(), ChangeError>;
    async fn adopt_challenge(&self, id: ChallengeId, version: u32, session: SessionId, state: ChallengeState, hand_back: NewCode, entries: Vec<Entry>) -> Result<(), ChangeError>;
    async fn challenge_changed(&self, id: ChallengeId, at_most: Duration) -> ();
    async fn overdue(&self, now: Timestamp) -> Result<Vec<Challenge>, StoreError>;
    async fn put_link(&self, link: &EnrolmentLink, entry: Entry) -> Result<(), ChangeError>;
    async fn link(&self, digest: TokenDigest, now: Timestamp) -> Result<Option<EnrolmentLink>, StoreError>;
    async fn use_link(&self, link: LinkId, ticket: &Ticket, now: Timestamp, entry: Entry) -> Result<(), ChangeError>;
    async fn put_ticket(&self, ticket: &Ticket) -> Result<(), ChangeError>;
    async fn ticket(&self, digest: TokenDigest, browser: TokenDigest, now: Timestamp) -> Result<Option<Ticket>, StoreError>;
    async fn put_sent_code(&self, code: NewSentCode, per_hour: u32, entry: Entry) -> Result<(), ChangeError>;
    async fn put_code_on_ticket(&self, ticket: TokenDigest, begun: (FactorKind, SecretString), code: NewSentCode, per_hour: u32, entry: Entry) -> Result<(), ChangeError>;
    async fn code_delivered(&self, code: SentCodeId, delivery: CodeDelivery, entry: Entry) -> Result<(), ChangeError>;
    async fn begin_on_ticket(&self, digest: TokenDigest, begun: (FactorKind, SecretString)) -> Result<(), ChangeError>;
    async fn end_ticket(&self, digest: TokenDigest) -> Result<(), StoreError>;
    async fn entries(&self, query: EntryQuery) -> Result<Vec<RecordedEntry>, StoreError>;
    async fn leaves(&self, from: u64, limit: u32) -> Result<Vec<Leaf>, StoreError>;
    async fn log_keys(&self, size: u64) -> Result<LogKeys, StoreError>;
    async fn checkpoint(&self) -> Result<String, StoreError>;
    async fn entries_after(&self, index: u64, at_most: Duration) -> ();
    async fn ready(&self) -> Result<(), StoreError>;
    async fn heartbeat(&self, node: NodeId, now: Timestamp) -> Result<(), StoreError>;
}
