//! The port: each method is one intent or one read. The contract stands there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_core::challenge::{AskedBy, Challenge, ChallengeState, HeldRequest, SendOutcome};
use stepgate_core::factor::{CodeDelivery, EnrolledFactor, FactorKind};
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
use tokio::time::timeout;

use crate::challenges::{AdoptChallenge, AnswerChallenge, CloseChallenge, OpenChallenge, SucceedChallenge};
use crate::changes::Subject;
use crate::codes::{PutCode, RedeemCode};
use crate::database::Database;
use crate::devices::{ForgetDevice, NameDevice};
use crate::enrolment::{BeginOnTicket, EndTicket, PutLink, PutTicket, UseLink};
use crate::error::unavailable;
use crate::factors::{Enrol, RemoveFactor};
use crate::logins::{
    AddIdentity, AddPersonKnownBy, LogOut, PutPendingLogin, RenewLogin, TakeDueRenewal, TakePendingLogin,
};
use crate::people::{AddPerson, ChangePerson, RemovePerson};
use crate::sent_codes::{CodeDelivered, PutCodeOnTicket, PutSentCode};
use crate::sessions::{EndSession, StartSession};
use crate::spend::{Finish, Heartbeat, SpendIt};
use crate::tokens::RotateToken;
use crate::tries::{BeginTry, Record, ResetTries, TakeBackTry};

/// How long a wait for a challenge lasts at most before the caller looks anyway: a
/// change between the caller's reading and its waiting wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The error of an intent that nothing can be in conflict with.
pub(crate) fn store_error(error: ChangeError) -> StoreError {
    match error {
        ChangeError::Store(error) => error,
        refused => unavailable(refused),
    }
}

/// When the entries say that it happened.
fn time_of(entries: &[Entry], database: &Database) -> Timestamp {
    entries.first().map_or_else(|| database.inner.clock.now(), |entry| Timestamp::from_ms(entry.at_ms))
}

#[async_trait]
impl Store for Database {
    async fn add_person(&self, person: &Person, at: Timestamp, entry: Entry) -> Result<(), ChangeError> {
        self.write(AddPerson { person: person.clone(), at }, vec![entry]).await
    }

    async fn change_person(&self, person: &Person, entry: Entry) -> Result<(), ChangeError> {
        let at = Timestamp::from_ms(entry.at_ms);
        self.write(ChangePerson { person: person.clone(), at }, vec![entry]).await
    }

    async fn remove_person(&self, person: PersonId, by: &str, at: Timestamp, entry: Entry) -> Result<(), ChangeError> {
        self.write(RemovePerson { person, by: by.to_owned(), at }, vec![entry]).await
    }

    async fn person(&self, id: PersonId) -> Result<Option<Person>, StoreError> {
        self.inner.person(id).await
    }

    async fn person_by_login(&self, login: &Login) -> Result<Option<Person>, StoreError> {
        self.inner.person_by_login(login).await
    }

    async fn people(&self, after: Option<&Login>, limit: u32) -> Result<Vec<Person>, StoreError> {
        self.inner.people(after, limit).await
    }

    async fn factors(&self, person: PersonId) -> Result<Vec<EnrolledFactor>, StoreError> {
        self.inner.factors(person).await
    }

    async fn person_by_credential(&self, credential_id: &[u8]) -> Result<Option<PersonId>, StoreError> {
        self.inner.person_by_credential(credential_id).await
    }

    async fn known_by(&self, identity: [u8; 32]) -> Result<Option<Arc<KnownPerson>>, StoreError> {
        Self::known_by(self, identity).await
    }

    async fn person_changed(&self, person: PersonId) {
        Self::person_changed(self, person).await;
    }

    async fn person_by_identity(&self, identity: [u8; 32]) -> Result<Option<(PersonId, FactorId)>, StoreError> {
        self.inner.person_by_identity(identity).await
    }

    async fn add_person_known_by(
        &self,
        person: &Person,
        identity: &EnrolledFactor,
        at: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        self.write(AddPersonKnownBy { person: person.clone(), identity: identity.clone(), at }, entries).await
    }

    async fn add_identity(&self, person: PersonId, identity: &EnrolledFactor, entry: Entry) -> Result<(), ChangeError> {
        self.write(AddIdentity { person, identity: identity.clone() }, vec![entry]).await
    }

    async fn enrol(
        &self,
        ticket: TokenDigest,
        then: TicketThen,
        person: PersonId,
        factor: &EnrolledFactor,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(Enrol { ticket, then, person, factor: factor.clone(), at }, vec![entry]).await
    }

    async fn remove_factor(
        &self,
        person: PersonId,
        factor: FactorId,
        leaves: Vec<FactorId>,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(RemoveFactor { person, factor, leaves }, vec![entry]).await
    }

    async fn begin_try(
        &self,
        person: PersonId,
        kind: FactorKind,
        from: Trier,
        limits: TryLimits,
        at: Timestamp,
        locked: Entry,
    ) -> Result<Try, StoreError> {
        self.write(BeginTry { person, kind, from, limits, at, locked }, Vec::new()).await.map_err(store_error)
    }

    async fn take_back_try(&self, person: PersonId, kind: FactorKind, from: Trier) -> Result<(), StoreError> {
        self.write(TakeBackTry { person, kind, from }, Vec::new()).await.map_err(store_error)
    }

    async fn reset_tries(&self, person: PersonId, kind: FactorKind, entry: Entry) -> Result<(), ChangeError> {
        self.write(ResetTries { person, kind }, vec![entry]).await
    }

    async fn record(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.write(Record, entries).await.map_err(store_error)
    }

    async fn start_session(&self, session: NewSession, entries: Vec<Entry>) -> Result<(), ChangeError> {
        self.write(StartSession { new: session }, entries).await
    }

    async fn session(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Option<Arc<SessionView>>, StoreError> {
        self.look_up(token, audience, now).await
    }

    fn session_in_memory(&self, token: TokenDigest, audience: &Audience, now: Timestamp) -> Option<Arc<SessionView>> {
        self.look_in_memory(token, audience, now)
    }

    async fn lapsed(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
        within: Duration,
    ) -> Result<Option<(SessionId, PersonId)>, StoreError> {
        self.inner.lapsed(token, audience, now, within).await
    }

    fn touch(&self, session: SessionId, now: Timestamp) {
        self.inner.cache.touch(session, now);
    }

    async fn sessions(&self, person: PersonId, now: Timestamp) -> Result<Vec<SessionSummary>, StoreError> {
        self.inner.sessions(person, now).await
    }

    async fn devices(&self, person: PersonId) -> Result<Vec<RememberedDevice>, StoreError> {
        self.inner.devices(person).await
    }

    async fn name_device(
        &self,
        person: PersonId,
        device: TokenDigest,
        name: &str,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(NameDevice { person, device, name: name.to_owned() }, vec![entry]).await
    }

    async fn forget_device(&self, person: PersonId, device: TokenDigest, entry: Entry) -> Result<(), ChangeError> {
        self.write(ForgetDevice { person, device }, vec![entry]).await
    }

    async fn end_session(&self, session: SessionId, person: PersonId, entry: Entry) -> Result<(), ChangeError> {
        let at = Timestamp::from_ms(entry.at_ms);
        self.write(EndSession { session, person, at }, vec![entry]).await
    }

    async fn ended(&self, session: SessionId) {
        Database::ended(self, session).await;
    }

    async fn put_pending_login(&self, login: PendingLogin) -> Result<(), StoreError> {
        self.write(PutPendingLogin { login }, Vec::new()).await.map_err(store_error)
    }

    async fn take_pending_login(
        &self,
        state: TokenDigest,
        browser: TokenDigest,
        provider: &ProviderName,
        now: Timestamp,
    ) -> Result<Option<SecretString>, StoreError> {
        let take = TakePendingLogin { state, browser, provider: provider.clone(), now };
        self.write(take, Vec::new()).await.map_err(store_error)
    }

    async fn provider_login(&self, session: SessionId) -> Result<Option<ProviderLogin>, StoreError> {
        self.inner.provider_login(session).await
    }

    async fn sessions_logged_out(
        &self,
        provider: &ProviderName,
        of: &LoggedOut,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, PersonId)>, StoreError> {
        self.inner.sessions_logged_out(provider, of, now).await
    }

    async fn log_out(
        &self,
        token: TokenDigest,
        provider: &ProviderName,
        of: &LoggedOut,
        sessions: Vec<SessionId>,
        at: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        let log_out = LogOut { token, provider: provider.clone(), of: of.clone(), sessions, at };
        self.write(log_out, entries).await
    }

    async fn renewals_due(&self, now: Timestamp) -> Result<Vec<ProviderName>, StoreError> {
        self.inner.renewals_due(now).await
    }

    async fn take_due_renewal(
        &self,
        provider: &ProviderName,
        now: Timestamp,
        again_at: Timestamp,
    ) -> Result<Renewal, StoreError> {
        let take = TakeDueRenewal { provider: provider.clone(), now, again_at };
        self.write(take, Vec::new()).await.map_err(store_error)
    }

    async fn renewed(
        &self,
        session: SessionId,
        was: SecretString,
        refresh_token: SecretString,
        renew_at: Option<Timestamp>,
    ) -> Result<(), ChangeError> {
        self.write(RenewLogin { session, was, refresh_token, renew_at }, Vec::new()).await
    }

    async fn put_code(&self, code: NewCode) -> Result<(), StoreError> {
        self.write(PutCode { code }, Vec::new()).await.map_err(store_error)
    }

    async fn redeem_code(
        &self,
        code: TokenDigest,
        audience: &Audience,
        browser: Option<TokenDigest>,
        token: TokenDigest,
        at: Timestamp,
    ) -> Result<Option<NewCode>, ChangeError> {
        self.write(RedeemCode { code, audience: audience.clone(), browser, token, at }, Vec::new()).await
    }

    async fn rotate_token(
        &self,
        old: TokenDigest,
        audience: &Audience,
        new: TokenDigest,
        at: Timestamp,
    ) -> Result<(), ChangeError> {
        self.write(RotateToken { old, audience: audience.clone(), new, at }, Vec::new()).await
    }

    async fn open_challenge(
        &self,
        challenge: &Challenge,
        held: Option<&HeldRequest>,
        pending_max: u32,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        let intent = OpenChallenge { challenge: challenge.clone(), held: held.cloned(), pending_max };
        self.write(intent, entries).await
    }

    async fn succeed_challenge(
        &self,
        old: ChallengeId,
        version: u32,
        new: &Challenge,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        self.write(SucceedChallenge { old, version, new: new.clone() }, entries).await
    }

    async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
        self.inner.challenge(id).await
    }

    async fn challenge_for(
        &self,
        asked_by: AskedBy,
        generation: u32,
        browser: Option<TokenDigest>,
        operation: OperationDigest,
        now: Timestamp,
    ) -> Result<Option<Challenge>, StoreError> {
        self.inner.challenge_for(asked_by, generation, browser, operation, now).await
    }

    async fn held(&self, id: ChallengeId) -> Result<Option<HeldRequest>, StoreError> {
        self.inner.held(id).await
    }

    async fn answer_challenge(&self, answer: AnsweredChallenge, entries: Vec<Entry>) -> Result<(), ChangeError> {
        let at = time_of(&entries, self);
        self.write(AnswerChallenge { answer, at }, entries).await
    }

    async fn close_challenge(
        &self,
        id: ChallengeId,
        version: u32,
        state: ChallengeState,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        let at = time_of(&entries, self);
        self.write(CloseChallenge { id, version, state, at }, entries).await
    }

    async fn adopt_challenge(
        &self,
        id: ChallengeId,
        version: u32,
        session: SessionId,
        state: ChallengeState,
        hand_back: NewCode,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        let at = time_of(&entries, self);
        self.write(AdoptChallenge { id, version, session, state, hand_back, at }, entries).await
    }

    async fn challenge_changed(&self, id: ChallengeId, at_most: Duration) {
        let wait = self.inner.waiters.wait_for(Subject::Challenge(id));
        let _ = timeout(at_most.min(LOOK_AGAIN), wait.notify.notified()).await;
    }

    async fn spend(&self, spend: Spend, entry: Entry) -> Result<(), ChangeError> {
        let request = spend.request;
        // Noted before it is durable, so that this process never takes its own request for a dead node's.
        self.inner.sending.lock().insert(request);
        let spent = self.write(SpendIt { spend }, vec![entry]).await;
        match &spent {
            // It may be spent, and then whoever reads again sends it: `finish` ends that.
            Ok(()) | Err(ChangeError::Store(StoreError::Unknown(_))) => {}
            Err(_) => {
                self.inner.sending.lock().remove(&request);
            }
        }
        spent
    }

    async fn finish(
        &self,
        challenge: ChallengeId,
        request: RequestId,
        outcome: SendOutcome,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        let finished = self.write(Finish { challenge, request, outcome }, vec![entry]).await;
        // If it could not be written down, the next sweep says that the outcome is unknown.
        self.inner.sending.lock().remove(&request);
        finished
    }

    async fn unfinished(&self, node: NodeId, now: Timestamp) -> Result<Vec<(ChallengeId, RequestId)>, StoreError> {
        self.inner.unfinished(node, now).await
    }

    async fn overdue(&self, now: Timestamp) -> Result<Vec<Challenge>, StoreError> {
        self.inner.overdue(now).await
    }

    async fn put_link(&self, link: &EnrolmentLink, entry: Entry) -> Result<(), ChangeError> {
        self.write(PutLink { link: link.clone() }, vec![entry]).await
    }

    async fn link(&self, digest: TokenDigest, now: Timestamp) -> Result<Option<EnrolmentLink>, StoreError> {
        self.inner.link(digest, now).await
    }

    async fn use_link(&self, link: LinkId, ticket: &Ticket, now: Timestamp, entry: Entry) -> Result<(), ChangeError> {
        self.write(UseLink { link, ticket: ticket.clone(), now }, vec![entry]).await
    }

    async fn put_ticket(&self, ticket: &Ticket) -> Result<(), ChangeError> {
        let at = self.inner.clock.now();
        self.write(PutTicket { ticket: ticket.clone(), at }, Vec::new()).await
    }

    async fn ticket(
        &self,
        digest: TokenDigest,
        browser: TokenDigest,
        now: Timestamp,
    ) -> Result<Option<Ticket>, StoreError> {
        self.inner.ticket(digest, browser, now).await
    }

    async fn put_sent_code(&self, code: NewSentCode, per_hour: u32, entry: Entry) -> Result<(), ChangeError> {
        self.write(PutSentCode { code, per_hour }, vec![entry]).await
    }

    async fn put_code_on_ticket(
        &self,
        ticket: TokenDigest,
        begun: (FactorKind, SecretString),
        code: NewSentCode,
        per_hour: u32,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(PutCodeOnTicket { ticket, begun, code, per_hour }, vec![entry]).await
    }

    async fn code_delivered(&self, code: SentCodeId, delivery: CodeDelivery, entry: Entry) -> Result<(), ChangeError> {
        self.write(CodeDelivered { code, delivery }, vec![entry]).await
    }

    async fn begin_on_ticket(&self, digest: TokenDigest, begun: (FactorKind, SecretString)) -> Result<(), ChangeError> {
        let at = self.inner.clock.now();
        self.write(BeginOnTicket { digest, begun, device_link: None, at }, Vec::new()).await
    }

    async fn end_ticket(&self, digest: TokenDigest) -> Result<(), StoreError> {
        self.write(EndTicket { digest }, Vec::new()).await.map_err(store_error)
    }

    async fn entries(&self, query: EntryQuery) -> Result<Vec<RecordedEntry>, StoreError> {
        self.inner.entries(query).await
    }

    async fn leaves(&self, from: u64, limit: u32) -> Result<Vec<Leaf>, StoreError> {
        self.inner.leaves(from, limit).await
    }

    async fn checkpoint(&self) -> Result<String, StoreError> {
        self.inner.checkpoint().await
    }

    async fn log_keys(&self, size: u64) -> Result<LogKeys, StoreError> {
        let mut keys = LogKeys { signing: String::new(), handovers: Vec::new() };
        for key in self.checkpoint_keys().await? {
            if key.from_size <= size {
                keys.signing = key.verifier;
                keys.handovers.extend(key.handover);
            }
        }
        Ok(keys)
    }

    async fn entries_after(&self, index: u64, at_most: Duration) {
        let mut size = self.inner.size.subscribe();
        let _ = timeout(at_most, size.wait_for(|size| *size > index)).await;
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.is_writing()?;
        self.inner.answers().await
    }

    async fn heartbeat(&self, node: NodeId, now: Timestamp) -> Result<(), StoreError> {
        self.write(Heartbeat { node, now }, Vec::new()).await.map_err(store_error)
    }
}
