//! Signing in and out.

mod prove;

pub(super) use prove::Proven;

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use stepgate_evidence::{Assertion, Event, FactorProof, StatementError};

use super::{Flows, GoOn};
use crate::catalogue::{Endpoint, GATE_SERVICE, SIGN_IN, Service};
use crate::challenge::{Challenge, ChallengeState, Given, GivenIn};
use crate::decide::{Asker, Verdict};
use crate::factor::{FactorKind, Prompt};
use crate::id::{ChallengeId, PersonId, SessionId};
use crate::operation::{InputValue, Operation};
use crate::person::Person;
use crate::ports::{ChangeError, EntryQuery, NewSession, StoreError, Trier};
use crate::secret::{Purpose, Token, TokenDigest};
use crate::session::{Audience, Proof, SessionView};
use crate::surroundings::Surroundings;
use crate::time::Timestamp;
use crate::web::gate_path;

/// How many of somebody's newest sign-ins are looked through for that of their session.
const STARTED_SESSIONS_LOOKED_AT: u32 = 100;

const GO_ON_LABEL: &str = "stepgate/go-on/v1";

/// What the sign-in page needs for a passkey. It went through [`Flows::sign_in_prompt`]
/// and comes back in [`SignInAs::Passkey`].
#[derive(Debug)]
pub struct SignInPrompt {
    /// Hidden field; tagged, so that nobody can make one in advance.
    pub text: String,
    /// Options for the browser.
    pub prompt: Prompt,
}

/// How somebody signs in.
#[derive(Debug)]
pub enum SignInAs {
    /// With name and password.
    Password {
        /// As typed.
        login: String,
        /// As typed.
        password: SecretString,
    },
    /// With a passkey that the browser found.
    Passkey {
        /// [`SignInPrompt::text`].
        prompt: String,
        /// What the passkey signed.
        assertion: Box<Assertion>,
    },
}

/// A try to sign in.
#[derive(Debug)]
pub struct SignInAttempt<'a> {
    /// How.
    pub as_: SignInAs,
    /// The gate's browser cookie.
    pub browser: &'a Token,
    /// The device cookie, if there is one.
    pub device: Option<&'a Token>,
    /// The session that the browser had.
    pub replaces: Option<&'a SessionView>,
    /// The request that waits for this sign-in.
    pub continues: Option<ChallengeId>,
    /// The surroundings.
    pub surroundings: &'a Surroundings,
}

impl SignInAttempt<'_> {
    fn from(&self) -> Trier {
        let device = self.device.map(|device| device.digest(Purpose::Device));
        Trier { device, address: self.surroundings.address }
    }
}

/// Who arrives, however they proved who they are.
pub(super) struct Arrival<'a> {
    pub(super) browser: &'a Token,
    pub(super) device: Option<&'a Token>,
    pub(super) replaces: Option<&'a SessionView>,
    pub(super) continues: Option<ChallengeId>,
    pub(super) surroundings: &'a Surroundings,
}

/// Whoever has just arrived.
struct Arrived {
    session: SessionId,
    gate_token: TokenDigest,
    person: PersonId,
}

/// A new session.
#[derive(Debug)]
pub struct SignedIn {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub person: Person,
    /// The token for the gate's own origin.
    pub gate_token: Token,
    /// The device cookie to set.
    pub device: Token,
    /// How the waiting request goes on.
    pub go_on: Option<SignedInGoesOn>,
}

/// How a request goes on that waited for a sign-in.
#[derive(Debug)]
pub enum SignedInGoesOn {
    /// At once.
    Now(GoOn),
    /// When the sign-in to this service, which asks for more, is decided again: [`Flows::go_on_signed_in`].
    AfterMore {
        /// The service's name.
        service: String,
        /// Says that this session's sign-in was asked to go on with this request: it comes back in
        /// [`Flows::go_on_signed_in`], so that no link of somebody else's makes another one go on.
        tag: String,
    },
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Wrong name, wrong password, locked, not enrolled: one answer for all, so
    /// that nobody learns who has an account.
    #[error("the name or the proof is wrong, or there were too many tries")]
    Refused,
    /// The page is too old, from another browser, or was used: reload it.
    #[error("the sign-in page is too old or was used")]
    Stale,
    /// The statement could not be made.
    #[error("the statement cannot be made")]
    Statement(#[source] StatementError),
    /// The verifier itself failed.
    #[error("the factor could not be verified")]
    Fault,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Flows {
    /// Signs somebody in. The token is always new; the session that the browser had ends.
    pub async fn sign_in(&self, attempt: SignInAttempt<'_>) -> Result<SignedIn, SignInError> {
        let at = attempt.surroundings.now;
        let arrival = Arrival {
            browser: attempt.browser,
            device: attempt.device,
            replaces: attempt.replaces,
            continues: attempt.continues,
            surroundings: attempt.surroundings,
        };
        let proven = match &attempt.as_ {
            SignInAs::Password { login, password } => self.by_password(login, password, &attempt, at).await?,
            SignInAs::Passkey { prompt, assertion } => self.by_passkey(prompt, assertion, &attempt, at).await?,
        };
        self.start(proven, &arrival).await
    }

    /// Starts a session for whoever has proved who they are.
    pub(super) async fn start(&self, proven: Proven, attempt: &Arrival<'_>) -> Result<SignedIn, SignInError> {
        let at = attempt.surroundings.now;
        let live = self.live.load();
        let session: SessionId = self.id();
        let gate_token = Token::random(self.random.as_ref());
        let new_device = Token::random(self.random.as_ref());
        let device = attempt.device.unwrap_or(&new_device);
        let person = proven.person.id;
        let started = self.entry_with(
            at,
            Event::SessionStarted {
                session: session.to_string(),
                person: person.to_string(),
                proof: proven.proof.clone(),
            },
            serde_json::json!({
                "login": proven.person.login.as_str(),
                "address": attempt.surroundings.address.to_string(),
                "network": attempt.surroundings.network,
                "agent": attempt.surroundings.agent,
                "statement": proven.statement,
                "login_at_provider": proven.beside,
            }),
        );
        let mut entries = Vec::new();
        if let Some(old) = attempt.replaces {
            entries.push(self.entry(
                at,
                Event::SessionEnded {
                    session: old.id.to_string(),
                    person: old.person.id.to_string(),
                    reason: "signed_in_again".to_owned(),
                    by: session.to_string(),
                },
            ));
        }
        entries.push(started);
        let new = NewSession {
            id: session,
            person,
            proof: Proof { kind: proven.kind, at: proven.at, generation: 1 },
            used: proven.used,
            prompt: proven.prompt,
            gate_token: gate_token.digest(Purpose::GateSession),
            browser: attempt.browser.digest(Purpose::Browser),
            device: device.digest(Purpose::Device),
            started_at: at,
            ends_at: at.plus(live.sessions.absolute),
            idle: live.sessions.idle,
            address: attempt.surroundings.address,
            country: attempt.surroundings.located.place().country.clone(),
            agent: attempt.surroundings.agent.clone(),
            replaces: attempt.replaces.map(|old| old.id),
            login: proven.login,
        };
        match self.store.start_session(new, entries).await {
            Ok(()) => {}
            Err(ChangeError::UsedBefore) => {
                self.failed(Some(person), proven.kind, "used_before").await?;
                return Err(SignInError::Refused);
            }
            Err(ChangeError::Store(error)) => return Err(SignInError::Store(error)),
            Err(ChangeError::Conflict | ChangeError::Limit(_)) => return Err(SignInError::Stale),
        }
        let go_on = match attempt.continues {
            None => None,
            Some(id) => {
                let arrived = Arrived { session, gate_token: gate_token.digest(Purpose::GateSession), person };
                let proof = (&proven.proof, (proven.kind, proven.at));
                self.go_on(id, &arrived, proof, attempt.surroundings).await?
            }
        };
        let device = Token::parse(device.expose()).unwrap_or(new_device);
        Ok(SignedIn { session, person: proven.person, gate_token, device, go_on })
    }

    /// The waiting request of a lapsed session goes on with the new one, if the same person signed in: at once, or
    /// when the sign-in suffices for its service.
    async fn go_on(
        &self,
        id: ChallengeId,
        arrived: &Arrived,
        (proof, proved): (&FactorProof, (FactorKind, Timestamp)),
        surroundings: &Surroundings,
    ) -> Result<Option<SignedInGoesOn>, SignInError> {
        let at = surroundings.now;
        let Some(challenge) = self.waiting(id, arrived.person, at).await? else { return Ok(None) };
        let Some(view) = self.store.session(arrived.gate_token, &Audience::Gate, at).await? else { return Ok(None) };
        let service = challenge.asked.service.clone();
        if !matches!(self.decide_sign_in(&service, &view, surroundings).await, None | Some(Verdict::Permit(_))) {
            let tag = self.mac.tag(GO_ON_LABEL, &[id.as_bytes(), arrived.session.as_bytes()]);
            return Ok(Some(SignedInGoesOn::AfterMore { service, tag }));
        }
        let go_on = self.adopt(challenge, arrived.session, proof, proved, at).await?;
        Ok(go_on.map(SignedInGoesOn::Now))
    }

    /// The request of a lapsed session that waits for this sign-in goes on with it. To be called when the sign-in
    /// to `service` was permitted; `None` if there is no such request of this person at that service, if this
    /// session's sign-in was not asked to go on with it (`tag` is not what [`SignedInGoesOn::AfterMore`] said), or if
    /// the session has proved more than its token sees.
    pub async fn go_on_signed_in(
        &self,
        id: ChallengeId,
        service: &str,
        tag: &str,
        session: &SessionView,
        at: Timestamp,
    ) -> Result<Option<GoOn>, SignInError> {
        let is_asked = self.mac.is_tag(GO_ON_LABEL, &[id.as_bytes(), session.id.as_bytes()], tag);
        if !is_asked || session.is_behind() {
            return Ok(None);
        }
        let challenge = self.waiting(id, session.person.id, at).await?;
        let Some(challenge) = challenge.filter(|challenge| challenge.asked.service == service) else { return Ok(None) };
        let query = EntryQuery {
            person: Some(session.person.id),
            kinds: vec!["session.started".to_owned()],
            limit: STARTED_SESSIONS_LOOKED_AT,
            before: Some(i64::MAX as u64),
            ..EntryQuery::default()
        };
        let started = self.store.entries(query).await?.into_iter().find_map(|recorded| match recorded.entry.event {
            Event::SessionStarted { session: id, proof, .. } if id == session.id.to_string() => Some(proof),
            _ => None,
        });
        let first = session.assurance.proofs().first().map(|proof| (proof.kind, proof.at));
        let (Some(proof), Some(proved)) = (started, first) else { return Ok(None) };
        self.adopt(challenge, session.id, &proof, proved, at).await
    }

    /// What would be decided of going on to a service with this session. `None` if the gate has no such operation, so that
    /// no rule can be about it.
    async fn decide_sign_in(&self, to: &str, session: &SessionView, surroundings: &Surroundings) -> Option<Verdict> {
        let live = self.live.load_full();
        let service = live.catalogue.by_name(GATE_SERVICE)?;
        let (endpoint, _) = service.endpoint("GET", &[gate_path::HAND_OFF.trim_start_matches('/')]);
        if endpoint.action.as_str() != SIGN_IN {
            return None;
        }
        let inputs = [("service".to_owned(), InputValue::String(to.to_owned()))].into_iter().collect();
        let operation = at_the_gate(service, endpoint, gate_path::HAND_OFF, inputs);
        Some(self.decide_with_habits(operation, session, surroundings).await)
    }

    async fn decide_with_habits(&self, operation: Operation, session: &SessionView, around: &Surroundings) -> Verdict {
        let (asker, mut around) = (Asker::SignedIn(session), around.clone());
        self.look_at_habits(&operation, asker, &mut around).await;
        self.would_decide(operation, asker, &around)
    }

    /// Whether nobody may be signed in with this session, wherever to and whatever it proves: the rules that deny the
    /// page without any input deny the way to services too. A rule about services, or about that page alone, is none
    /// of them, so that no link to what is denied signs anybody out.
    async fn may_not_be_signed_in(&self, session: &SessionView, surroundings: &Surroundings) -> bool {
        let live = self.live.load_full();
        let Some(service) = live.catalogue.by_name(GATE_SERVICE) else { return false };
        let (endpoint, _) = service.endpoint("GET", &[gate_path::ACCOUNT.trim_start_matches('/')]);
        let account = at_the_gate(service, endpoint, gate_path::ACCOUNT, BTreeMap::new());
        let account = self.decide_with_habits(account, session, surroundings).await;
        let way_out = self.decide_sign_in("", session, surroundings).await;
        let (Verdict::Deny(here), Some(Verdict::Deny(there))) = (account, way_out) else { return false };
        here.policies.iter().any(|one| there.policies.iter().any(|other| one.id == other.id))
    }

    /// Ends a session that may not be signed in, and says whether it did: to be asked when an operation at the gate's
    /// own origin was denied.
    pub async fn end_if_not_to_be_signed_in(&self, session: &SessionView, surroundings: &Surroundings) -> bool {
        if !self.may_not_be_signed_in(session, surroundings).await {
            return false;
        }
        match self.end_session(session.id, session, "sign_in_denied").await {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a session that may not be could not be ended"
                );
            }
        }
        true
    }

    /// The challenge of this person's lapsed session that waits for nothing but a new sign-in.
    async fn waiting(
        &self,
        id: ChallengeId,
        person: PersonId,
        at: Timestamp,
    ) -> Result<Option<Challenge>, SignInError> {
        let Some(challenge) = self.store.challenge(id).await? else { return Ok(None) };
        let waits = matches!(challenge.state, ChallengeState::Pending { .. }) && is_sign_in_again(&challenge);
        Ok((waits && challenge.person == person && at < challenge.expires_at).then_some(challenge))
    }

    async fn adopt(
        &self,
        challenge: Challenge,
        session: SessionId,
        proof: &FactorProof,
        // As the session has it: a company login may be older than this sign-in.
        proved: (FactorKind, Timestamp),
        at: Timestamp,
    ) -> Result<Option<GoOn>, SignInError> {
        let (id, person) = (challenge.id, challenge.person);
        let adopted = Challenge { asked_by: session.into(), ..challenge.clone() };
        let (code, new_code) = self.hand_back(&adopted, session, at);
        let entry = self.entry(
            at,
            Event::ChallengePassed {
                challenge: id.to_string(),
                session: session.to_string(),
                person: person.to_string(),
                asked: challenge.asked.clone(),
                grants: "sign_in".to_owned(),
                proof: proof.clone(),
            },
        );
        let spend_before = at.plus(self.live.load().challenges.spend_within);
        let given = Given { kind: proved.0, at: proved.1, place: GivenIn::AskingSession };
        let state = ChallengeState::Passed { answered: vec![given], at, spend_before };
        match self.store.adopt_challenge(id, challenge.version, session, state, new_code, vec![entry]).await {
            Ok(()) => Ok(Some(GoOn::Browser { origin: self.origin_of(&challenge), code })),
            Err(ChangeError::Store(error)) => Err(SignInError::Store(error)),
            // It expired or was taken in the meantime: the person is signed in all the same.
            Err(_) => Ok(None),
        }
    }

    async fn failed(&self, person: Option<PersonId>, kind: FactorKind, reason: &str) -> Result<(), StoreError> {
        let event = Event::AttemptFailed {
            person: person.map(|id| id.to_string()).unwrap_or_default(),
            factor: kind.name().to_owned(),
            provider: None,
            purpose: "sign_in".to_owned(),
            challenge: String::new(),
            reason: reason.to_owned(),
            factor_id: None,
        };
        self.store.record(vec![self.entry(self.clock.now(), event)]).await
    }

    /// Ends a session of this person, on every host.
    pub async fn end_session(
        &self,
        session: SessionId,
        by: &SessionView,
        reason: &'static str,
    ) -> Result<(), ChangeError> {
        let entry = self.entry(
            self.clock.now(),
            Event::SessionEnded {
                session: session.to_string(),
                person: by.person.id.to_string(),
                reason: reason.to_owned(),
                by: by.id.to_string(),
            },
        );
        self.store.end_session(session, by.person.id, entry).await
    }
}

/// Reading a page of the gate's own service.
fn at_the_gate(
    service: &Arc<Service>,
    endpoint: &Arc<Endpoint>,
    path: &str,
    inputs: BTreeMap<String, InputValue>,
) -> Operation {
    Operation {
        url: format!("{}{path}", service.origin),
        service: Arc::clone(service),
        endpoint: Arc::clone(endpoint),
        inputs,
        method: "GET".to_owned(),
        content_type: String::new(),
        effect_headers: BTreeMap::new(),
    }
}

/// Whether a challenge only waits for its person to sign in again.
pub fn is_sign_in_again(challenge: &Challenge) -> bool {
    challenge.ask.ways.is_empty() && challenge.ask.not_enrolled.is_empty()
}
