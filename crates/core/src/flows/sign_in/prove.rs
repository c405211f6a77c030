//! Proving who it is: name and password, or a passkey that answers a prompt of ours.

use std::time::Duration;

use secrecy::SecretString;
use stepgate_evidence::{Assertion, Event, FactorProof, SignInStatement};

use super::super::Flows;
use super::super::answer::{evidence, of_kind};
use super::{SignInAttempt, SignInError, SignInPrompt};
use crate::factor::{Answer, Binding, Factor, FactorKind, FactorUse, NotProved};
use crate::id::{FactorId, PersonId};
use crate::person::{Login, Person};
use crate::ports::{ProviderLogin, StoreError, Trier, Try, TryLimits};
use crate::secret::{Purpose, Token, TokenDigest};
use crate::time::Timestamp;

/// How long a sign-in page with a passkey prompt may stay open.
const PROMPT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(15 * 60);
const PROMPT_LABEL: &str = "stepgate/sign-in-prompt/v1";

/// Somebody who has proved who they are.
pub(in super::super) struct Proven {
    pub(in super::super) person: Person,
    pub(in super::super) proof: FactorProof,
    pub(in super::super) kind: FactorKind,
    /// When.
    pub(in super::super) at: Timestamp,
    pub(in super::super) used: (FactorId, FactorUse),
    pub(in super::super) prompt: Option<TokenDigest>,
    /// What a passkey signed; lies in the details, so that the signature can be checked against it.
    pub(in super::super) statement: Option<SignInStatement>,
    /// What else lies in the details: a provider's token.
    pub(in super::super) beside: Option<serde_json::Value>,
    /// The login at a provider that the session rests on.
    pub(in super::super) login: Option<ProviderLogin>,
}

impl Flows {
    /// What the sign-in page needs for a passkey. Nothing is stored.
    pub fn sign_in_prompt(&self, browser: &Token) -> Result<SignInPrompt, SignInError> {
        let nonce = Token::random(self.random.as_ref());
        let at = self.clock.now();
        let binding = binding(&self.sign_in_statement(&nonce, at, browser))?;
        let tag = self.mac.tag(PROMPT_LABEL, &[nonce.expose().as_bytes(), &at.as_ms().to_be_bytes(), &binding.0]);
        let prompt = self.factor(FactorKind::PASSKEY).ok_or(SignInError::Fault)?.prompt(&[], binding);
        Ok(SignInPrompt { text: format!("{}.{}.{tag}", nonce.expose(), at.as_ms()), prompt })
    }

    pub(in super::super) fn sign_in_statement(&self, nonce: &Token, at: Timestamp, browser: &Token) -> SignInStatement {
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

    pub(super) async fn by_password(
        &self,
        login: &str,
        password: &SecretString,
        attempt: &SignInAttempt<'_>,
        at: Timestamp,
    ) -> Result<Proven, SignInError> {
        let (kind, from) = (FactorKind::Password, attempt.from());
        let factor = self.factor(kind).ok_or(SignInError::Fault)?;
        let answer = Answer::Text { kind, text: password.clone() };
        let person = match Login::parse(login) {
            Ok(login) => self.store.person_by_login(&login).await?,
            Err(_) => None,
        };
        let Some(person) = person else {
            self.note_failed_try(None, from);
            self.try_for_nobody(factor.as_ref(), &answer, from, at).await?;
            self.unverified(None, kind, "unknown_name").await?;
            return Err(SignInError::Refused);
        };
        if let Try::Locked { .. } = self.begin_try(person.id, kind, from, at).await? {
            self.note_failed_try(Some(person.id), from);
            self.try_for_nobody(factor.as_ref(), &answer, from, at).await?;
            self.unverified(Some(person.id), kind, "locked").await?;
            return Err(SignInError::Refused);
        }
        let enrolled = of_kind(&self.store.factors(person.id).await?, kind);
        // A password signs nothing; it is bound to the browser that sent it.
        let binding = Binding(attempt.browser.digest(Purpose::Browser).0);
        match factor.verify(&enrolled, &answer, binding, at).await {
            Ok(proved) => {
                let proof = evidence(&proved, binding);
                let used = (proved.factor, proved.used);
                Ok(Proven { person, proof, kind, at, used, prompt: None, statement: None, beside: None, login: None })
            }
            Err(why) => Err(self.not_proved(person.id, kind, from, why).await?),
        }
    }

    /// What a wrong answer costs, for nobody: a durable count before it, the
    /// verification, and a durable entry after it. So neither an unknown name nor a
    /// lock shows in the time that the answer takes.
    /// Nor does a gate that has too much to verify: that is a fault for everybody.
    async fn try_for_nobody(
        &self,
        factor: &dyn Factor,
        answer: &Answer,
        from: Trier,
        at: Timestamp,
    ) -> Result<(), SignInError> {
        const NOBODY: PersonId = PersonId::from_bytes([0; 16]);
        const NEVER_LOCKED: TryLimits =
            TryLimits { before_lock: u32::MAX, lock: Duration::ZERO, before_reset: u32::MAX };
        let kind = answer.kind();
        let count = || {
            let event = Event::RequestRefused { code: "tries_for_nobody".to_owned(), count: u32::MAX, window_s: 0 };
            self.store.begin_try(NOBODY, kind, from, NEVER_LOCKED, at, self.entry(at, event))
        };
        count().await?;
        let verified = factor.verify_nobody(answer).await;
        count().await?;
        verified.map_err(refusal)
    }

    /// Records what was not proved. Where nothing was verified, the try does not count.
    async fn not_proved(
        &self,
        person: PersonId,
        kind: FactorKind,
        from: Trier,
        why: NotProved,
    ) -> Result<SignInError, StoreError> {
        match &why {
            NotProved::Fault(_) => self.store.take_back_try(person, kind, from).await?,
            _ => {
                self.note_failed_try(Some(person), from);
                self.failed(Some(person), kind, why.code()).await?;
            }
        }
        Ok(refusal(why))
    }

    pub(super) async fn by_passkey(
        &self,
        prompt: &str,
        assertion: &Assertion,
        attempt: &SignInAttempt<'_>,
        at: Timestamp,
    ) -> Result<Proven, SignInError> {
        let (kind, from) = (FactorKind::PASSKEY, attempt.from());
        let factor = self.factor(kind).ok_or(SignInError::Fault)?;
        let (statement, once) = self.read_prompt(prompt, attempt.browser)?;
        let binding = binding(&statement)?;
        let owner = self.store.person_by_credential(&assertion.credential_id).await?;
        let person = match owner {
            None => None,
            Some(id) => self.store.person(id).await?,
        };
        let Some(person) = person else {
            self.note_failed_try(None, from);
            self.unverified(None, kind, "unknown_credential").await?;
            return Err(SignInError::Refused);
        };
        if let Try::Locked { .. } = self.begin_try(person.id, kind, from, at).await? {
            self.note_failed_try(Some(person.id), from);
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
                    kind: proved.kind,
                    at,
                    used: (proved.factor, proved.used),
                    prompt: Some(once),
                    statement: Some(statement),
                    beside: None,
                    login: None,
                })
            }
            Err(why) => Err(self.not_proved(person.id, kind, from, why).await?),
        }
    }
}

fn binding(statement: &SignInStatement) -> Result<Binding, SignInError> {
    statement.digest().map(Binding).map_err(SignInError::Statement)
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
