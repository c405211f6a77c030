//! A store in memory that keeps what the door's flows need of the contract.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use secrecy::SecretString;
use stepgate_core::challenge::{AskedBy, Challenge, ChallengeState, Held, HeldRequest, SendOutcome};
use stepgate_core::factor::{CodeDelivery, EnrolledFactor, FactorKind};
use stepgate_core::id::{ChallengeId, FactorId, LinkId, NodeId, PersonId, RequestId, SentCodeId, SessionId};
use stepgate_core::operation::OperationDigest;
use stepgate_core::person::{Login, Person};
use stepgate_core::ports::*;
use stepgate_core::provider::ProviderName;
use stepgate_core::secret::TokenDigest;
use stepgate_core::session::{Audience, SessionView};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Entry;
use tokio::sync::watch;

#[derive(Debug, Default)]
pub struct State {
    pub sessions: HashMap<TokenDigest, SessionView>,
    pub lapsed: HashMap<TokenDigest, (SessionId, PersonId)>,
    pub codes: HashMap<TokenDigest, NewCode>,
    pub challenges: HashMap<ChallengeId, Challenge>,
    pub held: HashMap<ChallengeId, HeldRequest>,
    pub entries: Vec<Entry>,
    pub ended: Vec<SessionId>,
    pub known: HashMap<[u8; 32], Arc<KnownPerson>>,
    pub away: bool,
    /// How often somebody comes between the look at who rests on a login and its end.
    pub arrivals: usize,
    /// How often it was tried to end what rests on a login.
    pub log_outs: usize,
    /// Whether it forgets to look at the browser that asked: what the flows must not rest on.
    pub forgets_browser: bool,
}

#[derive(Debug)]
pub struct Memory {
    pub state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Memory {
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock());
        self.changed();
        changed
    }

    pub fn kinds(&self) -> Vec<String> {
        let name = |entry: &Entry| {
            let event = serde_json::to_value(&entry.event).unwrap();
            event.get("kind").or(event.get("type")).and_then(|kind| kind.as_str()).unwrap_or("?").to_owned()
        };
        self.state.lock().entries.iter().map(name).collect()
    }

    fn open<T>(&self, read: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        let mut state = self.state.lock();
        if state.away { Err(gone()) } else { Ok(read(&mut state)) }
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable("the database is away".into())
}

#[async_trait]
impl Store for Memory {
    async fn session(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Option<Arc<SessionView>>, StoreError> {
        self.open(|state| {
            let view = state.sessions.get(&token)?;
            let lives = view.audience == *audience && now < view.ends_at && !state.ended.contains(&view.id);
            lives.then(|| Arc::new(view.clone()))
        })
    }
    async fn lapsed(
        &self,
        token: TokenDigest,
        _audience: &Audience,
        _now: Timestamp,
        _within: Duration,
    ) -> Result<Option<(SessionId, PersonId)>, StoreError> {
        self.open(|state| state.lapsed.get(&token).copied())
    }
    fn touch(&self, _session: SessionId, _now: Timestamp) {}
    async fn ended(&self, session: SessionId) {
        let mut changes = self.changes.subscribe();
        while !self.state.lock().ended.contains(&session) {
            changes.changed().await.unwrap();
        }
    }
    async fn put_code(&self, code: NewCode) -> Result<(), StoreError> {
        self.open(|state| state.codes.insert(code.digest, code)).map(|_| ())
    }
    async fn redeem_code(
        &self,
        code: TokenDigest,
        audience: &Audience,
        browser: Option<TokenDigest>,
        token: TokenDigest,
        at: Timestamp,
    ) -> Result<Option<NewCode>, ChangeError> {
        Ok(self.open(|state| {
            let found = state.codes.get(&code)?;
            let fits = found.audience == *audience
                && (found.browser.is_none() || found.browser == browser)
                && at < found.expires_at;
            if !fits {
                return None;
            }
            let found = state.codes.remove(&code)?;
            let view = state.sessions.values().find(|view| view.id == found.session)?.clone();
            let generation = match found.sees {
                CodeSees::UpTo(generation) => generation,
                CodeSees::Everything => view.newest_generation,
            };
            let view = SessionView { audience: audience.clone(), generation, browser: found.browser, ..view };
            state.sessions.insert(token, view);
            Some(found)
        })?)
    }
    async fn rotate_token(
        &self,
        old: TokenDigest,
        _audience: &Audience,
        new: TokenDigest,
        _at: Timestamp,
    ) -> Result<(), ChangeError> {
        self.open(|state| {
            let view = state.sessions.get(&old).cloned().ok_or(ChangeError::Conflict)?;
            let generation = view.newest_generation;
            state.sessions.insert(new, SessionView { generation, ..view });
            Ok(())
        })?
    }
    async fn open_challenge(
        &self,
        challenge: &Challenge,
        held: Option<&HeldRequest>,
        pending_max: u32,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        self.open(|state| {
            let pending =
                |c: &&Challenge| c.asked_by == challenge.asked_by && matches!(c.state, ChallengeState::Pending { .. });
            if state.challenges.values().filter(pending).count() >= pending_max as usize {
                return Err(ChangeError::Limit("pending challenges"));
            }
            state.challenges.insert(challenge.id, challenge.clone());
            if let Some(held) = held {
                state.held.insert(challenge.id, held.clone());
            }
            state.entries.extend(entries);
            Ok(())
        })?
    }
    async fn succeed_challenge(
        &self,
        old: ChallengeId,
        version: u32,
        new: &Challenge,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        self.open(|state| {
            let was = state.challenges.get_mut(&old).filter(|c| c.version == version).ok_or(ChangeError::Conflict)?;
            was.state = ChallengeState::Failed { reason: "succeeded".into() };
            was.version += 1;
            let held = state.held.remove(&old).ok_or(ChangeError::Conflict)?;
            state.held.insert(new.id, held);
            state.challenges.insert(new.id, Challenge { held: Held::Request, ..new.clone() });
            state.entries.extend(entries);
            Ok(())
        })?
    }
    async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
        self.open(|state| state.challenges.get(&id).cloned())
    }
    async fn challenge_for(
        &self,
        asked_by: AskedBy,
        generation: u32,
        browser: Option<TokenDigest>,
        operation: OperationDigest,
        now: Timestamp,
    ) -> Result<Option<Challenge>, StoreError> {
        self.open(|state| {
            let fits = |c: &&Challenge| {
                c.asked_by == asked_by
                    && c.operation == operation
                    && c.generation <= generation
                    && (c.browser == browser || state.forgets_browser)
                    && c.held != Held::Request
                    && now < c.expires_at
                    && matches!(c.state, ChallengeState::Pending { .. } | ChallengeState::Passed { .. })
            };
            state.challenges.values().filter(fits).max_by_key(|c| (c.state.name() == "passed", c.opened_at)).cloned()
        })
    }
    async fn held(&self, id: ChallengeId) -> Result<Option<HeldRequest>, StoreError> {
        self.open(|state| state.held.get(&id).cloned())
    }
    async fn challenge_changed(&self, _id: ChallengeId, at_most: Duration) {
        let mut changes = self.changes.subscribe();
        let _ = tokio::time::timeout(at_most, changes.changed()).await;
    }
    async fn spend(&self, spend: Spend, entry: Entry) -> Result<(), ChangeError> {
        self.open(|state| {
            let challenge = state
                .challenges
                .get_mut(&spend.challenge)
                .filter(|c| c.version == spend.version && matches!(c.state, ChallengeState::Passed { .. }))
                .ok_or(ChangeError::Conflict)?;
            if let Some(code) = spend.resume_code {
                state.codes.remove(&code).ok_or(ChangeError::Conflict)?;
            }
            challenge.version += 1;
            challenge.state =
                ChallengeState::Spent { at: spend.at, request: spend.request, outcome: SendOutcome::Sending };
            state.entries.push(entry);
            Ok(())
        })?
    }
    async fn finish(
        &self,
        challenge: ChallengeId,
        request: RequestId,
        outcome: SendOutcome,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.change(|state| {
            let challenge = state.challenges.get_mut(&challenge).ok_or(ChangeError::Conflict)?;
            let ChallengeState::Spent { at, .. } = challenge.state else { return Err(ChangeError::Conflict) };
            challenge.state = ChallengeState::Spent { at, request, outcome };
            state.entries.push(entry);
            Ok(())
        })
    }
    async fn record(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.open(|state| state.entries.extend(entries))
    }
    async fn ready(&self) -> Result<(), StoreError> {
        self.open(|_| ())
    }
    async fn heartbeat(&self, _node: NodeId, _now: Timestamp) -> Result<(), StoreError> {
        self.open(|_| ())
    }

    async fn known_by(&self, identity: [u8; 32]) -> Result<Option<Arc<KnownPerson>>, StoreError> {
        self.open(|state| state.known.get(&identity).map(Arc::clone))
    }

    async fn person_changed(&self, person: PersonId) {
        let find = || self.state.lock().known.values().find(|known| known.person.id == person).map(Arc::clone);
        let mut changes = self.changes.subscribe();
        let before = find();
        loop {
            let same = find().zip(before.clone()).is_some_and(|(now, before)| Arc::ptr_eq(&now, &before));
            if !same || changes.changed().await.is_err() {
                return;
            }
        }
    }

    // The door never comes here.
    async fn person_by_identity(&self, _: [u8; 32]) -> Result<Option<(PersonId, FactorId)>, StoreError> {
        Err(gone())
    }
    async fn add_person_known_by(
        &self,
        _: &Person,
        _: &EnrolledFactor,
        _: Timestamp,
        _: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn add_identity(&self, _: PersonId, _: &EnrolledFactor, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn put_pending_login(&self, _: PendingLogin) -> Result<(), StoreError> {
        Err(gone())
    }
    async fn take_pending_login(
        &self,
        _: TokenDigest,
        _: TokenDigest,
        _: &ProviderName,
        _: Timestamp,
    ) -> Result<Option<SecretString>, StoreError> {
        Err(gone())
    }
    async fn provider_login(&self, _: SessionId) -> Result<Option<ProviderLogin>, StoreError> {
        Err(gone())
    }
    async fn sessions_logged_out(
        &self,
        _: &ProviderName,
        _: &LoggedOut,
        _: Timestamp,
    ) -> Result<Vec<(SessionId, PersonId)>, StoreError> {
        self.open(|_| Vec::new())
    }
    async fn log_out(
        &self,
        _: TokenDigest,
        _: &ProviderName,
        _: &LoggedOut,
        _: Vec<SessionId>,
        _: Timestamp,
        _: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        let came = self.open(|state| {
            state.log_outs += 1;
            state.arrivals.checked_sub(1).map(|left| state.arrivals = left).is_some()
        })?;
        if came { Err(ChangeError::Conflict) } else { Ok(()) }
    }
    async fn renewals_due(&self, _: Timestamp) -> Result<Vec<ProviderName>, StoreError> {
        Err(gone())
    }
    async fn take_due_renewal(&self, _: &ProviderName, _: Timestamp, _: Timestamp) -> Result<Renewal, StoreError> {
        Err(gone())
    }
    async fn renewed(
        &self,
        _: SessionId,
        _: SecretString,
        _: SecretString,
        _: Option<Timestamp>,
    ) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn add_person(&self, _: &Person, _: Timestamp, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn change_person(&self, _: &Person, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn remove_person(&self, _: PersonId, _: &str, _: Timestamp, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn person(&self, _: PersonId) -> Result<Option<Person>, StoreError> {
        Err(gone())
    }
    async fn person_by_login(&self, _: &Login) -> Result<Option<Person>, StoreError> {
        Err(gone())
    }
    async fn people(&self, _: Option<&Login>, _: u32) -> Result<Vec<Person>, StoreError> {
        Err(gone())
    }
    async fn factors(&self, _: PersonId) -> Result<Vec<EnrolledFactor>, StoreError> {
        Err(gone())
    }
    async fn person_by_credential(&self, _: &[u8]) -> Result<Option<PersonId>, StoreError> {
        Err(gone())
    }
    async fn enrol(
        &self,
        _: TokenDigest,
        _: TicketThen,
        _: PersonId,
        _: &EnrolledFactor,
        _: Timestamp,
        _: Entry,
    ) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn remove_factor(&self, _: PersonId, _: FactorId, _: Vec<FactorId>, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn begin_try(
        &self,
        _: PersonId,
        _: FactorKind,
        _: Trier,
        _: TryLimits,
        _: Timestamp,
        _: Entry,
    ) -> Result<Try, StoreError> {
        Err(gone())
    }
    async fn take_back_try(&self, _: PersonId, _: FactorKind, _: Trier) -> Result<(), StoreError> {
        Err(gone())
    }
    async fn reset_tries(&self, _: PersonId, _: FactorKind, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn start_session(&self, _: NewSession, _: Vec<Entry>) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn sessions(&self, _: PersonId, _: Timestamp) -> Result<Vec<SessionSummary>, StoreError> {
        Err(gone())
    }
    async fn devices(&self, _: PersonId) -> Result<Vec<RememberedDevice>, StoreError> {
        Err(gone())
    }
    async fn name_device(&self, _: PersonId, _: TokenDigest, _: &str, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn forget_device(&self, _: PersonId, _: TokenDigest, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn end_session(&self, _: SessionId, _: PersonId, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn answer_challenge(&self, _: AnsweredChallenge, _: Vec<Entry>) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn close_challenge(
        &self,
        _: ChallengeId,
        _: u32,
        _: ChallengeState,
        _: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn adopt_challenge(
        &self,
        _: ChallengeId,
        _: u32,
        _: SessionId,
        _: ChallengeState,
        _: NewCode,
        _: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn unfinished(&self, _: NodeId, _: Timestamp) -> Result<Vec<(ChallengeId, RequestId)>, StoreError> {
        Err(gone())
    }
    async fn overdue(&self, _: Timestamp) -> Result<Vec<Challenge>, StoreError> {
        Err(gone())
    }
    async fn put_link(&self, _: &EnrolmentLink, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn link(&self, _: TokenDigest, _: Timestamp) -> Result<Option<EnrolmentLink>, StoreError> {
        Err(gone())
    }
    async fn use_link(&self, _: LinkId, _: &Ticket, _: Timestamp, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn put_ticket(&self, _: &Ticket) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn ticket(&self, _: TokenDigest, _: TokenDigest, _: Timestamp) -> Result<Option<Ticket>, StoreError> {
        Err(gone())
    }
    async fn put_sent_code(&self, _: NewSentCode, _: u32, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn put_code_on_ticket(
        &self,
        _: TokenDigest,
        _: (FactorKind, SecretString),
        _: NewSentCode,
        _: u32,
        _: Entry,
    ) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn code_delivered(&self, _: SentCodeId, _: CodeDelivery, _: Entry) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn begin_on_ticket(&self, _: TokenDigest, _: (FactorKind, SecretString)) -> Result<(), ChangeError> {
        Err(gone().into())
    }
    async fn end_ticket(&self, _: TokenDigest) -> Result<(), StoreError> {
        Err(gone())
    }
    async fn entries(&self, _: EntryQuery) -> Result<Vec<RecordedEntry>, StoreError> {
        Err(gone())
    }
    async fn leaves(&self, _: u64, _: u32) -> Result<Vec<Leaf>, StoreError> {
        Ok(Vec::new())
    }
    async fn log_keys(&self, _: u64) -> Result<LogKeys, StoreError> {
        Ok(LogKeys { signing: String::new(), handovers: Vec::new() })
    }
    async fn checkpoint(&self) -> Result<String, StoreError> {
        Err(gone())
    }
    async fn entries_after(&self, _: u64, _: Duration) {}
}
