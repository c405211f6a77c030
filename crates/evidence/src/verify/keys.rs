//! The passkeys that a log enrols, and the signatures to be checked with them.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::report::Problem;
use crate::assertion::{
    Assertion, AssertionError, AuthenticatorData, Credential, RelyingParty, base64url, verify_assertion,
};
use crate::cose::PublicKey;
use crate::entry::EnrolledKey;

/// How many different relying parties nodes may have named; later ones replace the oldest.
const MAX_RELYING_PARTIES: usize = 16;

/// A signature to be checked: everything that the check needs, so that any thread can make it.
pub(super) struct Signature {
    pub(super) index: u64,
    parties: Arc<Vec<RelyingParty>>,
    challenge: [u8; 32],
    credential: Arc<Credential>,
    /// The counter before this assertion.
    counter: u32,
    assertion: Assertion,
}

impl Signature {
    /// The one check of an assertion, as it was made when the key was touched.
    pub(super) fn check(self) -> (u64, Result<(), AssertionError>) {
        let allowed = Credential { counter: self.counter, ..self.credential.as_ref().clone() };
        let hash = self.assertion.authenticator_data.get(..32).unwrap_or_default();
        let newest = self.parties.last();
        let party = self.parties.iter().rev().find(|party| Sha256::digest(&party.id)[..] == *hash).or(newest);
        let verified = match party {
            Some(party) => verify_assertion(party, &self.challenge, &allowed, &self.assertion).map(|_| ()),
            None => Err(AssertionError::OtherRelyingParty),
        };
        (self.index, verified)
    }
}

struct Enrolled {
    credential: Arc<Credential>,
    /// The highest counter that an assertion of it said.
    counter: u32,
    person: String,
    factor: String,
    removed: bool,
}

/// The passkeys of a log as they are at the current entry.
#[derive(Default)]
pub(super) struct Keys {
    by_credential: HashMap<Vec<u8>, Enrolled>,
    credential_of_factor: HashMap<String, Vec<u8>>,
    parties: Arc<Vec<RelyingParty>>,
}

impl Keys {
    /// A node said what assertions are checked against.
    pub(super) fn add_party(&mut self, id: &str, origins: &[String]) {
        let parties = Arc::make_mut(&mut self.parties);
        match parties.iter_mut().find(|party| party.id == id) {
            Some(party) => {
                let new: Vec<_> = origins.iter().filter(|origin| !party.origins.contains(origin)).cloned().collect();
                party.origins.extend(new);
            }
            None => {
                if parties.len() == MAX_RELYING_PARTIES {
                    parties.remove(0);
                }
                parties.push(RelyingParty { id: id.to_owned(), origins: origins.to_vec() });
            }
        }
    }

    pub(super) fn knows_party(&self) -> bool {
        !self.parties.is_empty()
    }

    pub(super) fn enrol(&mut self, person: &str, factor: &str, key: &EnrolledKey) -> Result<(), Problem> {
        let bad = |reason: &str| Problem::BadKey { reason: reason.to_owned() };
        let id = base64url::decode(&key.credential_id).ok_or_else(|| bad("the credential id"))?;
        let owner = base64url::decode(&key.user_handle).ok_or_else(|| bad("the user handle"))?;
        let cose = base64url::decode(&key.public_key).ok_or_else(|| bad("the public key"))?;
        let public_key = PublicKey::from_cose(&cose).map_err(|error| bad(&error.to_string()))?;
        if self.by_credential.get(&id).is_some_and(|enrolled| !enrolled.removed) {
            return Err(Problem::EnrolledTwice);
        }
        let credential = Credential {
            id: id.clone(),
            public_key,
            owner,
            counter: key.counter,
            backup_eligible: key.backup_eligible,
        };
        let enrolled = Enrolled {
            counter: key.counter,
            credential: Arc::new(credential),
            person: person.to_owned(),
            factor: factor.to_owned(),
            removed: false,
        };
        self.credential_of_factor.insert(factor.to_owned(), id.clone());
        self.by_credential.insert(id, enrolled);
        Ok(())
    }

    pub(super) fn remove(&mut self, factor: &str) {
        if let Some(enrolled) =
            self.credential_of_factor.get(factor).and_then(|credential| self.by_credential.get_mut(credential))
        {
            enrolled.removed = true;
        }
    }

    pub(super) fn remove_all_of(&mut self, person: &str) {
        self.by_credential.values_mut().filter(|enrolled| enrolled.person == person).for_each(|enrolled| {
            enrolled.removed = true;
        });
    }

    /// The signature to be checked for a proof that `person` gave with the factor `factor`.
    ///
    /// The counter that the assertion claims counts for the next one from here on, whether the
    /// signature turns out valid or not: if it does not, that is a finding anyway.
    pub(super) fn signature(
        &mut self,
        index: u64,
        person: &str,
        factor: &str,
        challenge: [u8; 32],
        assertion: &Assertion,
    ) -> Result<Signature, Problem> {
        let enrolled = self.by_credential.get_mut(&assertion.credential_id).ok_or(Problem::UnknownCredential)?;
        if enrolled.removed {
            return Err(Problem::RemovedCredential);
        }
        if enrolled.person != person || enrolled.factor != factor {
            return Err(Problem::OtherCredential);
        }
        let counter = enrolled.counter;
        if let Ok(said) = AuthenticatorData::parse(&assertion.authenticator_data) {
            enrolled.counter = enrolled.counter.max(said.counter);
        }
        Ok(Signature {
            index,
            parties: Arc::clone(&self.parties),
            challenge,
            credential: Arc::clone(&enrolled.credential),
            counter,
            assertion: assertion.clone(),
        })
    }
}
