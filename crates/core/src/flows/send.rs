//! Codes that are sent to somebody, to prove that they read what is sent there.
//!
//! A code is put into the store, with its entry, before it is handed to the courier: what may be on its way is
//! always known. It is bound to what it was sent for; the newest one of a factor is the only one that counts,
//! and asking for another changes nothing about the tries that were counted.

use std::time::Duration;

use secrecy::SecretString;
use stepgate_evidence::Event;

use super::Flows;
use super::ask::kinds;
use super::enrol::{EnrolError, TicketView};
use super::look::{NotAnswerable, binding};
use crate::challenge::{Challenge, ChallengeState};
use crate::factor::{
    CodeDelivery, Destination, EnrolledFactor, EnrolmentAnswer, EnrolmentOffer, FactorKind, FactorSecret, NotEnrolled,
    OpenCode,
};
use crate::id::{ChallengeId, FactorId, PersonId, SentCodeId};
use crate::ports::{About, ChangeError, Message, NewSentCode, StoreError, Trier, Try};
use crate::session::SessionView;
use crate::time::Randomness;

/// Digits of a code that is sent (SP 800-63B-4 section 3.1.3 asks for six at least).
pub const CODE_DIGITS: usize = 8;

/// Limits of codes that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLimits {
    /// Codes of one kind that one person is sent within an hour, and codes that one address is sent, whoever's it is.
    pub per_hour: u32,
    /// How long a code counts (SP 800-63B-4 section 3.1.3: ten minutes at most).
    pub lifetime: Duration,
}

impl Default for CodeLimits {
    fn default() -> Self {
        Self { per_hour: 6, lifetime: Duration::from_secs(10 * 60) }
    }
}

/// Why no code was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is nothing to answer.
    #[error(transparent)]
    NotAnswerable(#[from] NotAnswerable),
    /// No code to this address does here.
    #[error("a code to this address does not suffice here")]
    NotOffered,
    /// Enough were sent within the hour.
    #[error("too many codes were sent within the hour")]
    TooMany,
    /// Nothing more can be sent at this moment.
    #[error("the code could not be sent")]
    NotTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChangeError> for SendError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => Self::Store(error),
            ChangeError::Limit(_) => Self::TooMany,
            ChangeError::Conflict | ChangeError::UsedBefore => Self::NotOffered,
        }
    }
}

/// Why a message was not delivered, as it stands in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Too much was waiting.
    Full,
    /// No server answered, or none in time.
    Unreachable,
    /// A server answered that it will not.
    Refused,
}

impl Undelivered {
    /// The name in entries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }
}

impl Flows {
    /// Sends a code to one of the person's own addresses, for exactly this challenge.
    pub async fn send_code(&self, id: ChallengeId, session: &SessionView, factor: FactorId) -> Result<(), SendError> {
        let (challenge, _) = self.answerable(id, session).await?;
        let ChallengeState::Pending { answered, .. } = &challenge.state else { return Err(SendError::NotOffered) };
        let enrolled = self.store.factors(challenge.person).await?;
        let found = enrolled.iter().find(|one| one.id == factor);
        let Some(EnrolledFactor { secret: FactorSecret::Address { to, .. }, .. }) = found else {
            return Err(SendError::NotOffered);
        };
        let kind = to.kind();
        let is_next = challenge.ask.next(&kinds(answered)).iter().any(|next| next.is_same_factor(kind));
        if !is_next || self.factor(kind).is_none() {
            return Err(SendError::NotOffered);
        }
        let limits = self.live.load().codes;
        let (at, code) = (self.clock.now(), self.code());
        let expires_at = at.plus(limits.lifetime).min(challenge.expires_at);
        let id: SentCodeId = self.id();
        let binding = binding(&challenge)?;
        let of = Some((factor, binding, OpenCode::digest_of(binding, &code)));
        let sent_to = self.sent_to(to);
        let new = NewSentCode { id, person: challenge.person, kind, sent_to, of, at, expires_at };
        let entry = self.code_sent(&new, &challenge.id.to_string());
        self.store.put_sent_code(new, limits.per_hour, entry).await?;
        let about = self.about(&challenge);
        self.hand_over(challenge.person, Message { id, kind, to: to.clone(), code, about, at, expires_at }).await
    }

    /// Sends a code to an address that is being enrolled. What was begun on the ticket goes on with it.
    pub async fn send_enrolment_code(
        &self,
        view: &TicketView,
        kind: FactorKind,
        typed: &str,
    ) -> Result<EnrolmentOffer, EnrolError> {
        if !view.kinds.iter().any(|allowed| allowed.is_same_factor(kind)) {
            return Err(EnrolError::NotAllowed);
        }
        let factor = self.factor(kind).ok_or(EnrolError::NotAllowed)?;
        let to = factor.destination(&view.person, &view.enrolled, typed)?;
        let limits = self.live.load().codes;
        let (at, code) = (self.clock.now(), self.code());
        let expires_at = at.plus(limits.lifetime);
        let id: SentCodeId = self.id();
        let begun = factor.begin_with_code(&view.person, &to, &code, expires_at)?;
        let sent_to = self.sent_to(&to);
        let new = NewSentCode { id, person: view.person.id, kind, sent_to, of: None, at, expires_at };
        let entry = self.code_sent(&new, "");
        let put = self.store.put_code_on_ticket(view.digest(), (kind, begun.state), new, limits.per_hour, entry).await;
        match put {
            Ok(()) => {}
            Err(ChangeError::Limit(_)) => return Err(refused(SendError::TooMany)),
            Err(error) => return Err(error.into()),
        }
        let about = About::Enrolment { login: view.person.login.to_string() };
        match self.hand_over(view.person.id, Message { id, kind, to, code, about, at, expires_at }).await {
            Ok(()) => Ok(begun.offer),
            Err(SendError::Store(error)) => Err(error.into()),
            Err(error) => Err(refused(error)),
        }
    }

    /// Finishes an enrolment with a code that was sent, or with the number that a device shows. A try is counted before
    /// it is verified, together with those to answer with this kind: a new code or a new enrolment gives no new tries.
    pub async fn finish_with_code(
        &self,
        view: &TicketView,
        kind: FactorKind,
        name: &str,
        code: SecretString,
        from: Trier,
    ) -> Result<EnrolledFactor, EnrolError> {
        let is_device = matches!(kind, FactorKind::Push(_));
        if let Try::Locked { until } = self.begin_try(view.person.id, kind, from, self.clock.now()).await? {
            return Err(EnrolError::Refused(NotEnrolled::Refused(match is_device {
                true => "Approvals are locked. Allow them again in your account, or try again later.".to_owned(),
                false => format!("There were too many wrong codes. Try again after {until}."),
            })));
        }
        let enrolled = self.finish_enrolment_by(view, kind, name, &EnrolmentAnswer::Text(code)).await;
        match &enrolled {
            // The entry says nothing of what was typed.
            Err(EnrolError::Refused(NotEnrolled::Refused(_))) => {
                let event = Event::AttemptFailed {
                    person: view.person.id.to_string(),
                    factor: kind.name().to_owned(),
                    provider: None,
                    purpose: "enrolment".to_owned(),
                    challenge: String::new(),
                    reason: if is_device { "wrong_number" } else { "wrong" }.to_owned(),
                    factor_id: None,
                };
                self.store.record(vec![self.entry(self.clock.now(), event)]).await?;
            }
            // It was right, or nothing was verified.
            _ => self.store.take_back_try(view.person.id, kind, from).await?,
        }
        enrolled
    }

    /// What became of a message that the courier took.
    pub async fn delivered(
        &self,
        (code, person, kind): (SentCodeId, PersonId, FactorKind),
        what: Result<(), Undelivered>,
    ) -> Result<(), StoreError> {
        let (person, factor, id) = (person.to_string(), kind.name().to_owned(), code.to_string());
        let (delivery, event) = match what {
            Ok(()) => (CodeDelivery::Taken, Event::CodeDelivered { person, factor, code: id }),
            Err(why) => {
                let reason = why.name().to_owned();
                (CodeDelivery::Failed, Event::CodeUndelivered { person, factor, code: id, reason })
            }
        };
        let entry = self.entry(self.clock.now(), event);
        match self.store.code_delivered(code, delivery, entry).await {
            Err(ChangeError::Store(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// By what codes to one address are counted: nobody who reads the store can try addresses without our key.
    fn sent_to(&self, to: &Destination) -> String {
        self.mac.tag("sent-to", &[to.expose().as_bytes()])
    }

    async fn hand_over(&self, person: PersonId, message: Message) -> Result<(), SendError> {
        let (id, kind) = (message.id, message.kind);
        if self.courier.take(person, message).is_err() {
            self.delivered((id, person, kind), Err(Undelivered::Full)).await?;
            return Err(SendError::NotTaken);
        }
        Ok(())
    }

    fn code_sent(&self, code: &NewSentCode, challenge: &str) -> stepgate_evidence::Entry {
        let factor_id = code.of.map(|(factor, ..)| factor.to_string()).unwrap_or_default();
        let event = Event::CodeSent {
            person: code.person.to_string(),
            factor: code.kind.name().to_owned(),
            factor_id,
            code: code.id.to_string(),
            challenge: challenge.to_owned(),
        };
        self.entry(code.at, event)
    }

    fn about(&self, challenge: &Challenge) -> About {
        let live = self.live.load();
        let statement = &challenge.statement;
        let service = live.catalogue.by_name(&challenge.asked.service).map(|service| service.title.clone());
        About::Operation {
            service: service.unwrap_or_else(|| challenge.asked.service.clone()),
            title: statement.title.clone(),
            inputs: statement.inputs.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            address: statement.asker.address.clone(),
            agent: statement.asker.agent.clone(),
        }
    }

    /// A new code, all of them equally likely but for one part in 180 thousand million.
    fn code(&self) -> SecretString {
        code(self.random.as_ref())
    }
}

fn code(random: &dyn Randomness) -> SecretString {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    let number = u64::from_be_bytes(bytes) % 10_u64.pow(CODE_DIGITS as u32);
    SecretString::from(format!("{number:0CODE_DIGITS$}"))
}

fn refused(why: SendError) -> EnrolError {
    let words = match why {
        SendError::TooMany => "Enough codes were sent for now. Try again in an hour.",
        _ => "The code could not be sent. Try again later.",
    };
    EnrolError::Refused(NotEnrolled::Refused(words.to_owned()))
}
