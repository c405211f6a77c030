//! A device refuses, or says that it was not its person who asked.

use std::time::Duration;

use stepgate_evidence::Event;

use super::answer::changed;
use super::approvals::PUSH_LIFETIME;
use super::look::NotAnswerable;
use super::refuse::Report;
use super::{AnswerError, DeviceView, Flows, NotMe};
use crate::challenge::{Challenge, ChallengeState};
use crate::id::{ChallengeId, SessionId};
use crate::ports::StoreError;
use crate::time::Timestamp;

/// How long a person can say of a question that it was not they who asked: as long as it is known.
const REPORTED_WITHIN: Duration = Duration::from_secs(2 * 3600);

/// What a person's devices were asked last, whatever became of it.
#[derive(Debug)]
pub struct LastAsked {
    /// The challenge.
    pub challenge: Challenge,
    /// When the devices were asked.
    pub asked_at: Timestamp,
}

impl Flows {
    /// A device refuses. `not_me`: the person did not ask, whatever became of the question since; their approvals are
    /// locked on all devices before anything else, and the sessions that asked end.
    pub async fn device_refuses(&self, device: &DeviceView, id: ChallengeId, not_me: NotMe) -> Result<(), AnswerError> {
        if not_me == NotMe::Yes {
            return self.device_reports(device, id).await;
        }
        let (_, challenge) = self.open_on(device, id).await?;
        self.refuse(&challenge, &challenge.asked_by.to_string()).await
    }

    async fn device_reports(&self, device: &DeviceView, id: ChallengeId) -> Result<(), AnswerError> {
        let devices = self.devices.as_ref().ok_or(AnswerError::NotOffered)?;
        let (person, at) = (device.person.id, self.clock.now());
        let asked = devices.store.asked_since(person, at.before(REPORTED_WITHIN)).await?;
        let mut asking: Vec<SessionId> =
            asked.iter().filter(|push| push.challenge == id).map(|push| push.session).collect();
        if asking.is_empty() {
            return Err(NotAnswerable::NotYours.into());
        }
        let event = Event::FactorLocked {
            person: person.to_string(),
            factor: device.kind().name().to_owned(),
            whom: "reported".to_owned(),
            until_ms: i64::MAX.to_string(),
        };
        devices.store.lock_approvals(person, self.entry(at, event)).await.map_err(changed)?;
        tracing::warn!(%person, challenge = %id, "somebody said that it was not they who asked");
        let asked_by = self.store.challenge(id).await?.and_then(|challenge| challenge.asked_by.session());
        asking.extend(asked_by);
        asking.sort_unstable();
        asking.dedup();
        let by = format!("device:{}", device.factor.id);
        self.report(Report { challenge: id, person, asking: &asking, session: None, by: &by }).await
    }

    /// What this person's devices were asked last, for as long as a question can be open: whoever withdraws it before
    /// the person has looked at it did not thereby not ask. `None` if they said already that it was not they.
    pub async fn last_asked(&self, device: &DeviceView) -> Result<Option<LastAsked>, StoreError> {
        let Some(devices) = &self.devices else { return Ok(None) };
        let since = self.clock.now().before(PUSH_LIFETIME);
        let Some(last) = devices.store.asked_since(device.person.id, since).await?.into_iter().next() else {
            return Ok(None);
        };
        let challenge = self.store.challenge(last.challenge).await?;
        let is_reported =
            |one: &Challenge| matches!(&one.state, ChallengeState::Cancelled { reason } if reason == "not_me");
        let challenge = challenge.filter(|challenge| !is_reported(challenge));
        Ok(challenge.map(|challenge| LastAsked { challenge, asked_at: last.sent_at }))
    }
}
