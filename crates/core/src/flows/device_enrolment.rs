//! A device becomes an approver: what happens in its own browser, while the one that is signed in waits for the
//! number that it shows. And what is known of a device afterwards.

use serde_json::json;
use stepgate_evidence::Event;

use super::{Devices, EnrolError, Flows};
use crate::factor::{AtDevice, DeviceOffer, EnrolledFactor, FactorKind, FactorSecret};
use crate::id::{FactorId, PersonId};
use crate::person::Person;
use crate::ports::{ChangeError, StoreError, Ticket};
use crate::push::{NotASubscription, Subscription};
use crate::secret::{Purpose, Token};
use crate::surroundings::Surroundings;

/// A device that is being enrolled.
#[derive(Debug)]
pub struct DeviceEnrolment {
    /// Whose it will be.
    pub person: Person,
    /// What it is to do next.
    pub offer: DeviceOffer,
}

/// A device that is enrolled, known by its cookie.
#[derive(Debug)]
pub struct DeviceView {
    /// Whose it is.
    pub person: Person,
    /// The factor that it is.
    pub factor: EnrolledFactor,
}

impl DeviceView {
    /// What an approval there counts as.
    pub fn kind(&self) -> FactorKind {
        self.factor.kind()
    }
}

impl Flows {
    /// Looks at an invitation without following it.
    pub async fn look_at_invitation(&self, link: &Token) -> Result<Person, EnrolError> {
        let ticket = self.invitation(link).await?;
        self.store.person(ticket.person).await?.ok_or(EnrolError::Gone)
    }

    /// Follows an invitation, exactly once, in this browser; gives the cookie that it is known by from here on.
    /// `Taken` where this browser is an approver already: its cookie would be lost, and with it that device.
    /// `NotAllowed` where it is the browser that wants the device: it would approve what it asks itself.
    pub async fn follow_invitation(
        &self,
        link: &Token,
        browser: &Token,
        had: Option<&Token>,
        surroundings: &Surroundings,
    ) -> Result<Token, EnrolError> {
        let devices = self.devices()?;
        if let Some(had) = had
            && self.device(had).await?.is_some()
        {
            return Err(EnrolError::Taken);
        }
        let ticket = self.invitation(link).await?;
        if ticket.browser == browser.digest(Purpose::Browser) {
            return Err(EnrolError::NotAllowed);
        }
        let person = self.store.person(ticket.person).await?.ok_or(EnrolError::Gone)?;
        let existing = self.store.factors(person.id).await?;
        let (_, state) = ticket.begun.as_ref().ok_or(EnrolError::Gone)?;
        let cookie = Token::random(self.random.as_ref());
        let device = cookie.digest(Purpose::Approver);
        let state = devices.factor.follow(&person, &existing, state, device, self.random.as_ref())?;
        let link = link.digest(Purpose::DeviceLink);
        let at = self.clock.now();
        let event = Event::DeviceFollowed { person: person.id.to_string(), authority: ticket.authority.clone() };
        let from = json!({ "address": surroundings.address.to_string(), "agent": surroundings.agent });
        devices.store.follow_invitation(link, device, state, at, self.entry_with(at, event, from)).await?;
        Ok(cookie)
    }

    /// How far the enrolment of this device is; `None` if it is not being enrolled (any more).
    pub async fn device_enrolment(&self, cookie: &Token) -> Result<Option<DeviceEnrolment>, EnrolError> {
        let Some((person, ticket)) = self.being_enrolled(cookie).await? else { return Ok(None) };
        let (_, state) = ticket.begun.as_ref().ok_or(EnrolError::Gone)?;
        let offer = self.devices()?.factor.on_device(&person, state)?;
        Ok(Some(DeviceEnrolment { person, offer }))
    }

    /// Takes what a device did that is being enrolled.
    pub async fn device_did(&self, cookie: &Token, did: &AtDevice) -> Result<(), EnrolError> {
        let devices = self.devices()?;
        let (person, ticket) = self.being_enrolled(cookie).await?.ok_or(EnrolError::Gone)?;
        let existing = self.store.factors(person.id).await?;
        let (_, state) = ticket.begun.as_ref().ok_or(EnrolError::Gone)?;
        let state = devices.factor.take(&person, &existing, state, did, self.random.as_ref())?;
        Ok(devices.store.device_did(cookie.digest(Purpose::Approver), state, self.clock.now()).await?)
    }

    /// The device of this cookie. One that was removed is none.
    pub async fn device(&self, cookie: &Token) -> Result<Option<DeviceView>, StoreError> {
        let Some(devices) = &self.devices else { return Ok(None) };
        let Some((person, id)) = devices.store.device(cookie.digest(Purpose::Approver)).await? else { return Ok(None) };
        let factor = self.store.factors(person).await?.into_iter().find(|factor| factor.id == id);
        let person = self.store.person(person).await?;
        Ok(person.zip(factor).map(|(person, factor)| DeviceView { person, factor }))
    }

    /// Keeps how a device is woken. `Err` in words where its push service is not to be called.
    pub async fn subscribe_device(&self, device: &DeviceView, json: &str) -> Result<Result<(), String>, StoreError> {
        let Some(devices) = &self.devices else { return Ok(Err("devices are not offered here".to_owned())) };
        let Some(key) = devices.wakes.key() else { return Ok(Err("no push service is called here".to_owned())) };
        let subscription = match Subscription::parse(json, &key) {
            Ok(subscription) => subscription,
            Err(error @ NotASubscription) => return Ok(Err(error.to_string())),
        };
        if let Err(why) = devices.wakes.allowed(&subscription.endpoint) {
            return Ok(Err(why));
        }
        let there = devices.store.subscriptions(device.person.id).await?;
        if there.iter().any(|(id, known)| *id == device.factor.id && *known == subscription) {
            return Ok(Ok(()));
        }
        let (person, device) = (device.person.id, device.factor.id);
        let entry = self.entry(self.clock.now(), subscription_event(person, device, &subscription, "set"));
        match devices.store.subscribe(person, device, &subscription, entry).await {
            Ok(()) => Ok(Ok(())),
            Err(ChangeError::Store(error)) => Err(error),
            Err(refused) => Ok(Err(refused.to_string())),
        }
    }

    /// Forgets how a device is woken: its push service says that it is gone, or its owner wants it.
    pub async fn unsubscribe_device(
        &self,
        person: PersonId,
        device: FactorId,
        subscription: &Subscription,
        why: &str,
    ) -> Result<(), StoreError> {
        let Some(devices) = &self.devices else { return Ok(()) };
        let entry = self.entry(self.clock.now(), subscription_event(person, device, subscription, why));
        match devices.store.unsubscribe(device, subscription, entry).await {
            // Another one has taken its place, or it went with its device.
            Ok(()) | Err(ChangeError::Conflict) => Ok(()),
            Err(ChangeError::Store(error)) => Err(error),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn devices(&self) -> Result<&Devices, EnrolError> {
        self.devices.as_ref().ok_or(EnrolError::NotAllowed)
    }

    async fn invitation(&self, link: &Token) -> Result<Ticket, EnrolError> {
        let link = link.digest(Purpose::DeviceLink);
        self.devices()?.store.invitation(link, self.clock.now()).await?.ok_or(EnrolError::Gone)
    }

    async fn being_enrolled(&self, cookie: &Token) -> Result<Option<(Person, Ticket)>, EnrolError> {
        let device = cookie.digest(Purpose::Approver);
        let Some(ticket) = self.devices()?.store.ticket_of_device(device, self.clock.now()).await? else {
            return Ok(None);
        };
        let person = self.store.person(ticket.person).await?;
        Ok(person.map(|person| (person, ticket)))
    }
}

fn subscription_event(person: PersonId, device: FactorId, subscription: &Subscription, change: &str) -> Event {
    Event::DeviceSubscription {
        person: person.to_string(),
        factor_id: device.to_string(),
        change: change.to_owned(),
        endpoint: subscription.endpoint_digest(),
    }
}

/// The devices among these factors.
pub(super) fn devices_of(enrolled: &[EnrolledFactor]) -> impl Iterator<Item = &EnrolledFactor> {
    enrolled.iter().filter(|one| matches!(one.secret, FactorSecret::Push(_)))
}
