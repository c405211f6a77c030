//! Who somebody is whom a provider names: found by issuer and subject alone, or added.

use std::collections::BTreeSet;

use serde_json::json;
use stepgate_evidence::Event;

use super::super::people::details;
use super::super::{Flows, PeopleError};
use super::{LoginError, of_login};
use crate::factor::{EnrolledFactor, FactorKind, FactorSecret, Identity, identity_digest};
use crate::id::FactorId;
use crate::person::{Login, Person, name_of, parse_email, parse_group, parse_name};
use crate::ports::{ChangeError, StoreError};
use crate::provider::{Asserted, Claims, Provider};
use crate::time::Timestamp;

impl Flows {
    /// The person of an identity: found by issuer and subject alone, or added.
    pub(super) async fn known_by(
        &self,
        provider: &Provider,
        asserted: &Asserted,
    ) -> Result<(Person, FactorId), LoginError> {
        if let Some(found) = self.found(provider, asserted).await? {
            return Ok(found);
        }
        let kind = FactorKind::Idp(asserted.strength);
        if !provider.adds_people {
            self.unverified_at(Some(of_login(provider, asserted)), None, kind, "unknown_identity").await?;
            return Err(LoginError::Stranger);
        }
        let Some(login) = asserted.claims.login.as_deref().and_then(|login| Login::parse(login).ok()) else {
            self.unverified_at(Some(of_login(provider, asserted)), None, kind, "nameless_identity").await?;
            return Err(LoginError::Nameless);
        };
        self.add_known_by(provider, login, asserted).await
    }

    async fn found(&self, provider: &Provider, asserted: &Asserted) -> Result<Option<(Person, FactorId)>, LoginError> {
        let digest = identity_digest(&asserted.issuer, &asserted.subject);
        let Some((id, factor)) = self.store.person_by_identity(digest).await? else { return Ok(None) };
        let Some(person) = self.store.person(id).await? else { return Ok(None) };
        if !person.active {
            let there = Some(of_login(provider, asserted));
            self.unverified_at(there, Some(id), FactorKind::Idp(asserted.strength), "inactive").await?;
            return Err(LoginError::Stranger);
        }
        let person = self.as_claimed(provider, person, &asserted.claims).await?;
        Ok(Some((person, factor)))
    }

    async fn add_known_by(
        &self,
        provider: &Provider,
        login: Login,
        asserted: &Asserted,
    ) -> Result<(Person, FactorId), LoginError> {
        let at = self.clock.now();
        let claims = &asserted.claims;
        let groups = fit_groups(claims).filter(|_| provider.governs_groups).unwrap_or_default();
        let name = fit_name(claims).map_or_else(|| name_of(&login), str::to_owned);
        let email = fit_email(claims).unwrap_or_default().to_owned();
        let person = Person { id: self.id(), login, name, email, groups, active: true };
        let by = format!("provider:{}", provider.name);
        let identity = self.identity(provider, asserted.issuer.clone(), asserted.subject.clone(), at);
        let added = Event::PersonAdded { person: person.id.to_string(), by: by.clone() };
        let entries =
            vec![self.entry_with(at, added, details(&person)), self.identity_entry(&person, &identity, by, at)];
        match self.store.add_person_known_by(&person, &identity, at, entries).await {
            Ok(()) => Ok((person, identity.id)),
            Err(ChangeError::Store(error)) => Err(error.into()),
            Err(_) => {
                // Two first logins at once: the other one was faster.
                if let Some(found) = self.found(provider, asserted).await? {
                    return Ok(found);
                }
                let there = Some(of_login(provider, asserted));
                self.unverified_at(there, None, FactorKind::Idp(asserted.strength), "name_taken").await?;
                Err(LoginError::Taken)
            }
        }
    }

    /// Says who a person is at a provider, as an administrator knows it. `by` did it.
    pub async fn add_identity(
        &self,
        person: &Person,
        provider: &Provider,
        subject: &str,
        by: &str,
    ) -> Result<FactorId, ChangeError> {
        let at = self.clock.now();
        let identity = self.identity(provider, provider.issuer.clone(), subject.to_owned(), at);
        let entry = self.identity_entry(person, &identity, by.to_owned(), at);
        self.store.add_identity(person.id, &identity, entry).await?;
        Ok(identity.id)
    }

    pub(in super::super) fn identity(
        &self,
        provider: &Provider,
        issuer: String,
        subject: String,
        at: Timestamp,
    ) -> EnrolledFactor {
        EnrolledFactor {
            id: self.id(),
            name: provider.title.clone(),
            enrolled_at: at,
            last_used_at: None,
            last_used_from: None,
            secret: FactorSecret::Idp(Identity { provider: provider.name.clone(), issuer, subject }),
        }
    }

    pub(in super::super) fn identity_entry(
        &self,
        person: &Person,
        identity: &EnrolledFactor,
        authority: String,
        at: Timestamp,
    ) -> stepgate_evidence::Entry {
        let event = Event::FactorEnrolled {
            person: person.id.to_string(),
            factor: identity.kind().name().to_owned(),
            factor_id: identity.id.to_string(),
            authority,
            key: None,
        };
        let FactorSecret::Idp(who) = &identity.secret else { return self.entry(at, event) };
        self.entry_with(at, event, json!({ "name": identity.name, "issuer": who.issuer, "subject": who.subject }))
    }

    /// The person with what the provider says about them now, where it governs that.
    pub(in super::super) async fn as_claimed(
        &self,
        provider: &Provider,
        person: Person,
        claims: &Claims,
    ) -> Result<Person, StoreError> {
        let Some(groups) = fit_groups(claims).filter(|_| provider.governs_groups) else { return Ok(person) };
        let name = fit_name(claims).unwrap_or(&person.name);
        let email = fit_email(claims).unwrap_or(&person.email);
        // In which order they stand says nothing.
        let same_groups = groups.iter().eq(person.groups.iter().collect::<BTreeSet<_>>());
        if same_groups && (name, email) == (person.name.as_str(), person.email.as_str()) {
            return Ok(person);
        }
        let by = format!("provider:{}", provider.name);
        match self.change_person(&person, name, email, groups, &by).await {
            Ok(changed) => Ok(changed),
            Err(PeopleError::Store(error)) => Err(error),
            // They were removed beside this; the session will not start.
            Err(_) => Ok(person),
        }
    }
}

/// What a claim says, where it is fit to be a person's: a provider's bad name or address locks nobody out.
fn fit_name(claims: &Claims) -> Option<&str> {
    parse_name(claims.name.as_deref()?).ok()
}

fn fit_email(claims: &Claims) -> Option<&str> {
    parse_email(claims.email.as_deref()?).ok()
}

/// A group that no other door would let be is none of ours; nor is one that would be ours but for white space.
fn fit_groups(claims: &Claims) -> Option<Vec<String>> {
    let fit = claims.groups.as_ref()?.iter().filter(|group| parse_group(group) == Ok(group.as_str()));
    Some(fit.cloned().collect::<BTreeSet<_>>().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_says_that_no_door_lets_in_is_left_out() {
        let claims = Claims {
            login: None,
            name: Some("a\u{202e}b".to_owned()),
            email: Some("a@b@c".to_owned()),
            groups: Some(["ops", "", " admins", "a\u{200b}", "finance", "ops"].map(str::to_owned).to_vec()),
        };
        assert_eq!((fit_name(&claims), fit_email(&claims)), (None, None));
        assert_eq!(fit_groups(&claims), Some(vec!["finance".to_owned(), "ops".to_owned()]));
        // To say nothing of groups is not to say that there are none.
        let silent = Claims { name: Some("Ada".to_owned()), email: Some("a@b".to_owned()), ..Claims::default() };
        assert_eq!((fit_name(&silent), fit_email(&silent), fit_groups(&silent)), (Some("Ada"), Some("a@b"), None));
    }
}
