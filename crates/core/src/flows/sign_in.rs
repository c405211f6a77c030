//! Signing in and out.

use std::time::Duration;

use secrecy::SecretString;
use stepgate_evidence::{Assertion, Event, SignInStatement, StatementError};

use super::answer::{evidence, of_kind};
use super::{Flows, GoOn};
use crate::challenge::{Challenge, ChallengeState};
use crate::factor::{Answer, Binding, Factor, FactorKind, NotProved, Prompt};
use crate::id::{ChallengeId, PersonId, SessionId};
use crate::person::{Login, Person};
use crate::ports::{ChangeError, NewSession, StoreError, Try, TryLimits};
use crate::secret::{Purpose, Token, TokenDigest};
use crate::session::{Proof, SessionView};
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

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
    /// Where the waiting request goes on.
    pub go_on: Option<GoOn>,
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

/// How long a sign-in page with a passkey prompt may stay open.
const PROMPT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(15 * 60);
const PROMPT_LABEL: &str = "stepgate/sign-in-prompt/v1";

struct Proven {
    person: Person,
    proof: stepgate_evidence::FactorProof,
    kind: FactorKind,
    used: (crate::id::FactorId, crate::factor::FactorUse),
    prompt: Option<TokenDigest>,
    /// What a passkey signed; lies in the details, so that the signature can be checked against it.
    statement: Option<SignInStatement>,
}

impl Flows {
    /// What the sign-in page needs for a passkey. Nothing is stored.
    pub fn sign_in_prompt(&self, browser: &Token) -> Result<SignInPrompt, SignInError> {
        let nonce = Token::random(self.random.as_ref());
        let at = self.clock.now();
        let binding = binding(&self.sign_in_statement(&nonce, at, browser))?;
        let tag = self.mac.tag(PROMPT_LABEL, &[nonce.expose().as_bytes(), &at.as_ms().to_be_bytes(), &binding.0]);
        let prompt = self.factor(FactorKind::Passkey).ok_or(SignInError::Fault)?.prompt(&[], binding);
        Ok(SignInPrompt { text: format!("{}.{}.{tag}", nonce.expose(), at.as_ms()), prompt })
    }

    fn sign_in_statement(&self, nonce: &Token, at: Timestamp, browser: &Token) -> SignInStatement {
        SignInStatement {
            origin: self.live.load().catalogue.gate_origin.clone(),
            nonce: nonce.digest(Purpose::SignInPrompt).to_hex(),
            browser: browser.digest(Purpose::Browser).to_hex(),
            asked_at_ms: at.as_ms().to_string(),
        }
    }

    /// The statement and the once-only digest of a prompt that came back.
    fn read_prompt(&self, text: &str, browser: &Token) -> Result<(SignInStatement, TokenDigest), SignInError> {
        let mut parts = text.splitn(3, '.');
        let (Some(nonce), Some(at), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SignInError::Stale);
        };
        let nonce = Token::parse(nonce).ok_or(SignInError::Stale)?;
        let at = Timestamp::from_ms(at.parse().map_err(|_| SignInError::Stale)?);
        let statement = self.sign_in_statement(&nonce, at, browser);
        let binding = binding(&statement)?;
        let parts: [&[u8]; 3] = [nonce.expose().as_bytes(), &at.as_ms().to_be_bytes(), &binding.0];
        let fresh = self.clock.now().since(at).is_some_and(|age| age < PROMPT_LIFETIME);
        if !fresh || !self.mac.is_tag(PROMPT_LABEL, &parts, tag) {
            return Err(SignInError::Stale);
        }
        Ok((statement, nonce.digest(Purpose::SignInPrompt)))
    }

    /// Signs somebody in. The token is always new; the session that the browser had ends.
    pub async fn sign_in(&self, attempt: SignInAttempt<'_>) -> Result<SignedIn, SignInError> {
        let at = attempt.surroundings.now;
        let proven = match &attempt.as_ {
            SignInAs::Password { login, password } => self.by_password(login, password, &attempt, at).await?,
            SignInAs::Passkey { prompt, assertion } => self.by_passkey(prompt, assertion, attempt.browser, at).await?,
        };
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
            proof: Proof { kind: proven.kind, at, generation: 1 },
            used: proven.used,
            prompt: proven.prompt,
            gate_token: gate_token.digest(Purpose::GateSession),
            browser: attempt.browser.digest(Purpose::Browser),
            device: device.digest(Purpose::Device),
            started_at: at,
            ends_at: at.plus(live.sessions.absolute),
            idle: live.sessions.idle,
            address: attempt.surroundings.address.to_string(),
            agent: attempt.surroundings.agent.clone(),
            replaces: attempt.replaces.map(|old| old.id),
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
            Some(id) => self.adopt(id, person, session, &proven.proof, proven.kind, at).await?,
        };
        let device = Token::parse(device.expose()).unwrap_or(new_device);
        Ok(SignedIn { session, person: proven.person, gate_token, device, go_on })
    }

    async fn by_password(
        &self,
        login: &str,
        password: &SecretString,
        attempt: &SignInAttempt<'_>,
        at: Timestamp,
    ) -> Result<Proven, SignInError> {
        let kind = FactorKind::Password;
        let factor = self.factor(kind).ok_or(SignInError::Fault)?;
        let answer = Answer::Text { kind, text: password.clone() };
        let person = match Login::parse(login) {
            Ok(login) => self.store.person_by_login(&login).await?,
            Err(_) => None,
        };
        let Some(person) = person else {
            self.try_for_nobody(factor.as_ref(), &answer, at).await?;
            self.unverified(None, kind, "unknown_name").await?;
            return Err(SignInError::Refused);
        };
        if let Try::Locked { .. } = self.begin_try(person.id, kind, at).await? {
            self.try_for_nobody(factor.as_ref(), &answer, at).await?;
            self.unverified(Some(person.id), kind, "locked").await?;
            return Err(SignInError::Refused);
        }
        let enrolled = of_kind(&self.store.factors(person.id).await?, kind);
        // A password signs nothing; it is bound to the browser that sent it.
        let binding = Binding(attempt.browser.digest(Purpose::Browser).0);
        match factor.verify(&enrolled, &answer, binding, at).await {
            Ok(proved) => {
                let proof = evidence(&proved, binding);
                Ok(Proven { person, proof, kind, used: (proved.factor, proved.used), prompt: None, statement: None })
            }
            Err(why) => {
                self.failed(Some(person.id), kind, why.code()).await?;
                Err(refusal(why))
            }
        }
    }

    /// What a wrong answer costs, for nobody: a durable count before it, the
    /// verification, and a durable entry after it. So neither an unknown name nor a
    /// lock shows in the time that the answer takes.
    async fn try_for_nobody(&self, factor: &dyn Factor, answer: &Answer, at: Timestamp) -> Result<(), StoreError> {
        const NOBODY: PersonId = PersonId::from_bytes([0; 16]);
        const NEVER_LOCKED: TryLimits =
            TryLimits { before_lock: u32::MAX, lock: Duration::ZERO, before_reset: u32::MAX };
        let kind = answer.kind();
        let count = || {
            let event = Event::RequestRefused { code: "tries_for_nobody".to_owned(), count: u32::MAX, window_s: 0 };
            self.store.begin_try(NOBODY, kind, NEVER_LOCKED, at, self.entry(at, event))
        };
        count().await?;
        factor.verify_nobody(answer).await;
        count().await?;
        Ok(())
    }

    async fn by_passkey(
        &self,
        prompt: &str,
        assertion: &Assertion,
        browser: &Token,
        at: Timestamp,
    ) -> Result<Proven, SignInError> {
        let kind = FactorKind::Passkey;
        let factor = self.factor(kind).ok_or(SignInError::Fault)?;
        let (statement, once) = self.read_prompt(prompt, browser)?;
        let binding = binding(&statement)?;
        let owner = self.store.person_by_credential(&assertion.credential_id).await?;
        let person = match owner {
            None => None,
            Some(id) => self.store.person(id).await?,
        };
        let Some(person) = person else {
            self.unverified(None, kind, "unknown_credential").await?;
            return Err(SignInError::Refused);
        };
        if let Try::Locked { .. } = self.begin_try(person.id, kind, at).await? {
            self.unverified(Some(person.id), kind, "locked").await?;
            return Err(SignInError::Refused);
        }
        let enrolled = of_kind(&self.store.factors(person.id).await?, kind);
        let answer = Answer::Passkey(Box::new(assertion.clone()));
        match factor.verify(&enrolled, &answer, binding, at).await {
            Ok(proved) => {
                let proof = evidence(&proved, binding);
                Ok(Proven {
                    person,
                    proof,
                    kind,
                    used: (proved.factor, proved.used),
                    prompt: Some(once),
                    statement: Some(statement),
                })
            }
            Err(why) => {
                self.failed(Some(person.id), kind, why.code()).await?;
                Err(refusal(why))
            }
        }
    }

    /// The waiting request of a lapsed session goes on with the new one, if the same person signed in.
    async fn adopt(
        &self,
        id: ChallengeId,
        person: PersonId,
        session: SessionId,
        proof: &stepgate_evidence::FactorProof,
        kind: FactorKind,
        at: Timestamp,
    ) -> Result<Option<GoOn>, SignInError> {
        let Some(challenge) = self.store.challenge(id).await? else { return Ok(None) };
        let waits = matches!(challenge.state, ChallengeState::Pending { .. }) && is_sign_in_again(&challenge);
        if !waits || challenge.person != person || at >= challenge.expires_at {
            return Ok(None);
        }
        let adopted = Challenge { session, ..challenge.clone() };
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
        let state = ChallengeState::Passed { answered: vec![(kind, at)], at, spend_before };
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
            purpose: "sign_in".to_owned(),
            challenge: String::new(),
            reason: reason.to_owned(),
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

fn binding(statement: &SignInStatement) -> Result<Binding, SignInError> {
    statement.digest().map(Binding).map_err(SignInError::Statement)
}

/// Whether a challenge only waits for its person to sign in again.
pub fn is_sign_in_again(challenge: &Challenge) -> bool {
    challenge.ask.ways.is_empty() && challenge.ask.not_enrolled.is_empty()
}

fn refusal(why: NotProved) -> SignInError {
    match why {
        NotProved::Fault(fault) => {
            tracing::error!(fault, "a factor could not be verified");
            SignInError::Fault
        }
        _ => SignInError::Refused,
    }
}
