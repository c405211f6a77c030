//! People, as an administrator adds and removes them.

use std::time::Duration;

use stepgate_evidence::Event;

use super::Flows;
use crate::factor::FactorKind;
use crate::id::LinkId;
use crate::person::{Login, Person, Profile, Unfit};
use crate::ports::{ChangeError, EnrolmentLink, StoreError};
use crate::secret::{Purpose, Token};
use crate::time::Timestamp;

/// Why a person was not added, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// Somebody signs in with this name already.
    #[error("somebody signs in with this name already")]
    Taken,
    /// There is no such person.
    #[error("there is no such person")]
    Unknown,
    /// What is said of them is not fit to be.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// They may not sign in, so nothing begins for them.
    #[error("this person is not active")]
    Inactive,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An enrolment link that was made.
#[derive(Debug)]
pub struct MadeLink {
    /// `{gate origin}/enrol/{token}`: to be given to the person, once.
    pub url: String,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

impl Flows {
    /// Adds a person. `by` says who did it, as it stands in the entry (`cli`, a person's id).
    pub async fn add_person(
        &self,
        login: Login,
        name: &str,
        email: &str,
        groups: Vec<String>,
        by: &str,
    ) -> Result<Person, PeopleError> {
        let at = self.clock.now();
        let (name, email, groups) = Profile::parse(name, email, groups)?.into_parts();
        let person = Person { id: self.id(), login, name, email, groups, active: true };
        let event = Event::PersonAdded { person: person.id.to_string(), by: by.to_owned() };
        let entry = self.entry_with(at, event, details(&person));
        match self.store.add_person(&person, at, entry).await {
            Ok(()) => Ok(person),
            Err(ChangeError::Store(error)) => Err(error.into()),
            Err(_) => Err(PeopleError::Taken),
        }
    }

    /// Changes a person's name, address and groups; their sessions see it at once.
    pub async fn change_person(
        &self,
        person: &Person,
        name: &str,
        email: &str,
        groups: Vec<String>,
        by: &str,
    ) -> Result<Person, PeopleError> {
        let (name, email, groups) = Profile::parse(name, email, groups)?.into_parts();
        let changed = Person { name, email, groups, ..person.clone() };
        let event = Event::PersonChanged { person: person.id.to_string(), by: by.to_owned() };
        let entry = self.entry_with(self.clock.now(), event, details(&changed));
        match self.store.change_person(&changed, entry).await {
            Ok(()) => Ok(changed),
            Err(ChangeError::Store(error)) => Err(error.into()),
            Err(_) => Err(PeopleError::Unknown),
        }
    }

    /// Removes a person: sessions, challenges, factors and links end with them, with the entries that also tell
    /// of whom provisioning removes.
    pub async fn remove_person(&self, person: &Person, by: &str) -> Result<(), PeopleError> {
        let at = self.clock.now();
        let entry = self.entry(at, Event::PersonRemoved { person: person.id.to_string(), by: by.to_owned() });
        match self.store.remove_person(person.id, by, at, entry).await {
            Ok(()) => Ok(()),
            Err(ChangeError::Store(error)) => Err(error.into()),
            Err(_) => Err(PeopleError::Unknown),
        }
    }

    /// Makes a one-time enrolment link for a person.
    pub async fn make_link(
        &self,
        person: &Person,
        kinds: Vec<FactorKind>,
        lifetime: Duration,
        by: &str,
    ) -> Result<MadeLink, PeopleError> {
        if !person.active {
            return Err(PeopleError::Inactive);
        }
        let at = self.clock.now();
        let token = Token::random(self.random.as_ref());
        let id: LinkId = self.id();
        let expires_at = at.plus(lifetime);
        let digest = token.digest(Purpose::EnrolmentLink);
        let link = EnrolmentLink { id, digest, person: person.id, kinds, expires_at };
        let event = Event::LinkMade {
            link: id.to_string(),
            person: person.id.to_string(),
            by: by.to_owned(),
            expires_at_ms: expires_at.as_ms().to_string(),
        };
        match self.store.put_link(&link, self.entry(at, event)).await {
            Ok(()) => {}
            Err(ChangeError::Store(error)) => return Err(error.into()),
            Err(_) => return Err(PeopleError::Unknown),
        }
        let url = format!("{}/enrol/{}", self.live.load().catalogue.gate_origin, token.expose());
        Ok(MadeLink { url, expires_at })
    }
}

pub(super) fn details(person: &Person) -> serde_json::Value {
    serde_json::json!({
        "login": person.login.as_str(),
        "name": person.name,
        "email": person.email,
        "groups": person.groups,
    })
}
