//! Approving on a device: a person is asked there what another browser wants, and answers with the number that
//! it shows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use stepgate_evidence::{Assertion, Event};

use super::answer::{Answerer, Shown, Tried, evidence, is_number};
use super::ask::kinds;
use super::device_enrolment::devices_of;
use super::look::{NotAnswerable, binding};
use super::{AnswerError, Answered, DeviceView, Flows};
use crate::challenge::{Challenge, ChallengeState};
use crate::factor::{Answer, ApproverDevice, DeviceFactor, EnrolledFactor, FactorKind, FactorSecret, NotProved};
use crate::id::{ChallengeId, PersonId, SessionId};
use crate::ports::{
    Approvals, ChangeError, EntryQuery, NewPush, OpenPush, PushSent, SessionSummary, StoreError, Trier, Try,
};
use crate::push::{Wake, Wakes};
use crate::session::SessionView;
use crate::time::Timestamp;

/// How long a question can be answered on a device, if its challenge does not end before (SP 800-63B-4
/// section 3.1.3.2: at most ten minutes).
pub(super) const PUSH_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Digits of the number where every device signs and the configuration says that fewer do.
const SHORT_NUMBER_LEN: usize = 2;

/// What approving on devices needs.
#[derive(Clone, Debug)]
pub struct Devices {
    /// Keeps devices and what they are asked.
    pub store: Arc<dyn Approvals>,
    /// Enrols and verifies them.
    pub factor: Arc<dyn DeviceFactor>,
    /// Wakes them.
    pub wakes: Arc<dyn Wakes>,
    /// How often, and by how long a number.
    pub limits: PushLimits,
}

/// Limits of questions to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushLimits {
    /// Questions to one person's devices within an hour.
    pub per_hour: u32,
    /// Whether two digits do where every device of the person signs what is approved: the signature carries the
    /// strength then.
    pub short_number_when_signed: bool,
}

impl PushLimits {
    /// The share of the hour that one session may use: half of it, so that whoever has one cannot keep the person's
    /// own from asking.
    pub const fn per_session(&self) -> u32 {
        self.per_hour.div_ceil(2)
    }
}

impl Default for PushLimits {
    fn default() -> Self {
        Self { per_hour: 10, short_number_when_signed: false }
    }
}

/// What came of asking a person's devices.
#[derive(Debug)]
pub enum AskedDevices {
    /// They are asked.
    Asked,
    /// Something else is open there.
    AnotherIsOpen {
        /// What.
        challenge: Box<Challenge>,
        /// Whether this session wanted it, and may withdraw it.
        is_own: bool,
    },
    /// Too often within the hour.
    TooMany {
        /// When it may be asked again.
        again_at: Timestamp,
    },
    /// The person said that it was not they who asked; they or an administrator have to undo that.
    Locked,
}

/// What a device is asked.
#[derive(Debug)]
pub struct Question {
    /// The challenge.
    pub challenge: Challenge,
    /// What the device signs, if it signs; options for the browser.
    pub to_sign: Option<Value>,
    /// Whether this device can answer it: one that does not sign cannot where a signature is needed.
    pub suffices: bool,
    /// Digits of the number.
    pub digits: usize,
    /// Until when.
    pub until: Timestamp,
    /// Where the request came from, as far as that is known.
    pub place: Place,
    /// The session that asks, if one does.
    pub asking: Option<SessionSummary>,
}

/// Where a request came from, as it was recorded; each is empty if unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A configured network.
    pub network: String,
    /// ISO 3166-1.
    pub country: String,
    /// In plain words.
    pub city: String,
}

/// What came of an answer on a device.
#[derive(Debug)]
pub enum DeviceAnswered {
    /// Approved; the asker goes on by itself.
    Approved,
    /// Approved; the asker has to prove something more.
    MoreIsNeeded,
}

impl Flows {
    /// Asks the person's devices to approve. `instead_of`: what this session asked before and does not want any more.
    pub async fn ask_devices(
        &self,
        id: ChallengeId,
        session: &SessionView,
        instead_of: Option<ChallengeId>,
    ) -> Result<AskedDevices, AnswerError> {
        let devices = self.devices.as_ref().ok_or(AnswerError::NotOffered)?;
        let (challenge, _) = self.answerable(id, session).await?;
        let able = self.able_devices(&challenge).await?;
        if able.is_empty() {
            return Err(AnswerError::NotOffered);
        }
        let at = self.clock.now();
        let (session_id, person) = (session.id.to_string(), challenge.person.to_string());
        let withdrawn = |other: ChallengeId| {
            let (session, person) = (session_id.clone(), person.clone());
            let event = Event::PushWithdrawn { challenge: other.to_string(), session, person };
            (other, self.entry(at, event))
        };
        let push = NewPush {
            id: self.id(),
            person: challenge.person,
            challenge: id,
            session: session.id,
            at,
            until: at.plus(PUSH_LIFETIME).min(challenge.expires_at),
            instead_of: instead_of.map(withdrawn),
            per_hour: devices.limits.per_hour,
            per_session: devices.limits.per_session(),
            before_reset: self.live.load().tries.before_reset,
        };
        let until = push.until;
        let event = Event::PushSent {
            challenge: id.to_string(),
            session: session_id.clone(),
            person: person.clone(),
            devices: u32::try_from(able.len()).unwrap_or(u32::MAX),
        };
        match devices.store.send_push(push, self.entry(at, event)).await {
            Ok(PushSent::Open) => {}
            Ok(PushSent::AnotherIsOpen(open)) => {
                self.push_refused(&challenge, session, "another_is_open").await?;
                return self.another_is_open(open, session).await;
            }
            Ok(PushSent::TooMany { again_at }) => {
                self.push_refused(&challenge, session, "too_many").await?;
                return Ok(AskedDevices::TooMany { again_at });
            }
            Ok(PushSent::Locked) => {
                self.push_refused(&challenge, session, "locked").await?;
                return Ok(AskedDevices::Locked);
            }
            Err(ChangeError::Store(error)) => return Err(error.into()),
            Err(_) => return Err(AnswerError::Changed),
        }
        for (device, subscription) in devices.store.subscriptions(challenge.person).await? {
            if able.iter().any(|one| one.id == device) {
                devices.wakes.wake(Wake { person: challenge.person, device, subscription, challenge: id, until });
            }
        }
        Ok(AskedDevices::Asked)
    }

    async fn another_is_open(&self, open: OpenPush, session: &SessionView) -> Result<AskedDevices, AnswerError> {
        let Some(challenge) = self.store.challenge(open.challenge).await? else { return Err(AnswerError::Changed) };
        Ok(AskedDevices::AnotherIsOpen { challenge: Box::new(challenge), is_own: open.session == session.id })
    }

    /// The devices whose approval would do for what the challenge needs next.
    async fn able_devices(&self, challenge: &Challenge) -> Result<Vec<EnrolledFactor>, AnswerError> {
        let ChallengeState::Pending { answered, .. } = &challenge.state else { return Err(AnswerError::Changed) };
        let next = challenge.ask.next(&kinds(answered));
        let does = |device: &EnrolledFactor| next.iter().any(|asked| device.kind().does_for(*asked));
        let enrolled = self.store.factors(challenge.person).await?;
        Ok(devices_of(&enrolled).filter(|device| does(device)).cloned().collect())
    }

    /// Until when a challenge is open on the person's devices, and the number for them; `None` if it is not.
    pub async fn shown_on_devices(&self, challenge: &Challenge) -> Result<Option<(Timestamp, String)>, StoreError> {
        let Some(until) = self.open_on_devices(challenge.person, challenge.id).await? else { return Ok(None) };
        let digits = self.digits(challenge.person).await?;
        Ok(Some((until, challenge.number.chars().take(digits).collect())))
    }

    /// Until when a challenge is what is open on the person's devices; `None` if it is not (any more).
    pub async fn open_on_devices(&self, person: PersonId, id: ChallengeId) -> Result<Option<Timestamp>, StoreError> {
        let Some(devices) = &self.devices else { return Ok(None) };
        let open = devices.store.open_push(person, self.clock.now()).await?;
        Ok(open.filter(|open| open.challenge == id).map(|open| open.until))
    }

    /// Of a person's number: two, where all of their devices sign and the configuration says so.
    async fn digits(&self, person: PersonId) -> Result<usize, StoreError> {
        const WHOLE: usize = 6;
        if !self.devices.as_ref().is_some_and(|devices| devices.limits.short_number_when_signed) {
            return Ok(WHOLE);
        }
        let enrolled = self.store.factors(person).await?;
        let all_sign = devices_of(&enrolled).all(|device| device.kind() == ApproverDevice::SIGNING);
        Ok(if all_sign { SHORT_NUMBER_LEN } else { WHOLE })
    }

    /// What is open on a device.
    pub async fn question(&self, device: &DeviceView) -> Result<Option<Question>, NotAnswerable> {
        let Some(devices) = &self.devices else { return Ok(None) };
        let Some(open) = devices.store.open_push(device.person.id, self.clock.now()).await? else { return Ok(None) };
        let Some(challenge) = self.store.challenge(open.challenge).await? else { return Ok(None) };
        let ChallengeState::Pending { answered, .. } = &challenge.state else { return Ok(None) };
        let next = challenge.ask.next(&kinds(answered));
        let suffices = next.iter().any(|asked| device.kind().does_for(*asked));
        let to_sign = match &device.factor.secret {
            FactorSecret::Push(approver) => devices.factor.to_sign(approver, binding(&challenge)?),
            _ => None,
        };
        let (digits, place) = (self.digits(device.person.id).await?, self.place_of(&challenge).await?);
        let sessions = self.store.sessions(device.person.id, self.clock.now()).await?;
        let asking = sessions.into_iter().find(|session| challenge.asked_by == session.id);
        Ok(Some(Question { to_sign, suffices, digits, until: open.until, place, asking, challenge }))
    }

    /// Where a challenge was asked from: the details of its first entry know it, unless they were erased.
    async fn place_of(&self, challenge: &Challenge) -> Result<Place, StoreError> {
        let query = EntryQuery {
            challenges: vec![challenge.id],
            kinds: vec!["challenge.opened".to_owned()],
            limit: 1,
            ..EntryQuery::default()
        };
        let opened = self.store.entries(query).await?.into_iter().next();
        let Some(details) = opened.and_then(|opened| opened.entry.details) else { return Ok(Place::default()) };
        let text = |name: &str| {
            let text = details.body.get("surroundings").and_then(|around| around.get(name)).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let country = Some(text("country")).filter(|country| country != "ZZ").unwrap_or_default();
        Ok(Place { network: text("network"), country, city: text("city") })
    }

    /// Takes the answer of a device. Tries are counted before anything is looked at: a wrong number counts against
    /// the challenge and against the person, as a wrong signature does. `beside`: the session that the same browser has.
    pub async fn device_approves(
        &self,
        device: &DeviceView,
        id: ChallengeId,
        number: &str,
        assertion: Option<Assertion>,
        from: Trier,
        beside: Option<SessionId>,
    ) -> Result<DeviceAnswered, AnswerError> {
        let (devices, challenge) = self.open_on(device, id).await?;
        if beside.is_some() && beside == challenge.asked_by.session() {
            return Err(AnswerError::SameBrowser);
        }
        let ChallengeState::Pending { answered, wrong } = challenge.state.clone() else {
            return Err(AnswerError::Changed);
        };
        let kind = device.kind();
        if !challenge.ask.next(&kinds(&answered)).iter().any(|asked| kind.does_for(*asked)) {
            return Err(AnswerError::NotOffered);
        }
        let binding = binding(&challenge)?;
        let (person, at) = (challenge.person, self.clock.now());
        let tries_left = match self.begin_try(person, kind, from, at).await? {
            Try::Locked { until } => return Err(AnswerError::Locked { kind, until }),
            Try::Allowed { left } => left,
        };
        let tried = Tried { kind, factor: Some(device.factor.id) };
        let left_of = |left: u32| left.min(tries_left.saturating_sub(1));
        let digits = self.digits(person).await?;
        let expected: String = challenge.number.chars().take(digits).collect();
        if !is_number(&expected, Some(number)) {
            self.note_failed_try(Some(person), from);
            let left = self.wrong(&challenge, &answered, wrong, tried, "wrong_number").await?;
            return Err(AnswerError::WrongNumber { left: left_of(left) });
        }
        let answer = Answer::Device { kind, assertion: assertion.map(Box::new) };
        let proved = match devices.factor.verify(std::slice::from_ref(&device.factor), &answer, binding, at).await {
            Ok(proved) => proved,
            Err(NotProved::Fault(fault)) => {
                tracing::error!(factor = %kind, fault, "a factor could not be verified");
                self.store.take_back_try(person, kind, from).await?;
                return Err(AnswerError::Fault);
            }
            Err(why) => {
                self.note_failed_try(Some(person), from);
                let left = self.wrong(&challenge, &answered, wrong, tried, why.code()).await?;
                return Err(AnswerError::Wrong { kind, left: left_of(left) });
            }
        };
        let shown = Shown { at, proof: evidence(&proved, binding), beside: None, there: None };
        match self.right(&challenge, Answerer::Device, answered, proved, shown, at, from).await {
            Ok(Answered::More(_)) => Ok(DeviceAnswered::MoreIsNeeded),
            Ok(Answered::Passed { .. }) => Ok(DeviceAnswered::Approved),
            // It was right, but the challenge has changed beside it: no wrong try.
            Err(AnswerError::Changed) => {
                self.store.take_back_try(person, kind, from).await?;
                Err(AnswerError::Changed)
            }
            Err(error) => Err(error),
        }
    }

    /// The challenge, if it is what is open on this person's devices.
    pub(super) async fn open_on(
        &self,
        device: &DeviceView,
        id: ChallengeId,
    ) -> Result<(&Devices, Challenge), AnswerError> {
        let devices = self.devices.as_ref().ok_or(AnswerError::NotOffered)?;
        let challenge = self.store.challenge(id).await?.ok_or(NotAnswerable::NotYours)?;
        if challenge.person != device.person.id {
            return Err(NotAnswerable::NotYours.into());
        }
        if !matches!(challenge.state, ChallengeState::Pending { .. }) {
            return Err(NotAnswerable::Over(Box::new(challenge)).into());
        }
        let open = devices.store.open_push(device.person.id, self.clock.now()).await?;
        match open {
            Some(open) if open.challenge == id => Ok((devices, challenge)),
            // Its time on devices is over, or another question has taken its place.
            _ => Err(AnswerError::Changed),
        }
    }

    /// The kinds of factors that are verified here, as each counts: a device counts as two.
    pub fn verified(&self) -> Vec<FactorKind> {
        let signing = self.devices.as_ref().map(|_| ApproverDevice::SIGNING);
        self.factors.keys().copied().chain(signing).collect()
    }

    /// Whether the person's approvals are locked until they or an administrator undo that.
    pub async fn approvals_locked(&self, person: PersonId) -> Result<bool, StoreError> {
        match &self.devices {
            Some(devices) => devices.store.approvals_locked(person, self.live.load().tries.before_reset).await,
            None => Ok(false),
        }
    }

    /// Lets devices be asked again. The caller is the operation `factors.unlock`, which was decided.
    pub async fn unlock_approvals(&self, session: &SessionView, authority: &str) -> Result<(), ChangeError> {
        let event = Event::PersonChanged { person: session.person.id.to_string(), by: authority.to_owned() };
        let details = serde_json::json!({ "unlocked": ApproverDevice::OUT_OF_BAND.name() });
        let entry = self.entry_with(self.clock.now(), event, details);
        self.store.reset_tries(session.person.id, ApproverDevice::OUT_OF_BAND, entry).await
    }
}
