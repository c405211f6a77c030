//! Passkeys and security keys: W3C WebAuthn Level 3.

mod policy;
pub(crate) mod registration;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use stepgate_core::factor::{
    Answer, BegunEnrolment, Binding, Enrolled, EnrolledFactor, EnrolmentAnswer, Factor, FactorKind, FactorSecret,
    FactorUse, NotEnrolled, NotProved, Passkey, Prompt, Proved,
};
use stepgate_core::id::PersonId;
use stepgate_core::person::Person;
use stepgate_core::time::{Randomness, Timestamp};
use stepgate_evidence::{Assertion, Credential, PublicKey, RelyingParty, verify_assertion};

use crate::FactorSetError;

pub use policy::{AuthenticatorPolicy, Demands, KnownAuthenticators};

/// How long a browser may ask, in milliseconds (WebAuthn L3 section 15.1: five minutes
/// where user verification is required).
const TIMEOUT_MS: u32 = 300_000;

/// The user handle of a person: stable, 32 bytes, and telling nothing of the person
/// (WebAuthn L3 section 14.6.1).
pub fn user_handle(person: PersonId) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"stepgate/user-handle/v1\0");
    hash.update(person.as_bytes());
    hash.finalize().into()
}

/// A passkey with user verification.
#[derive(Clone, Debug)]
pub struct PasskeyFactor {
    pub(crate) relying_party: RelyingParty,
    pub(crate) origin: String,
    pub(crate) registration: Arc<registration::Registration>,
}

impl PasskeyFactor {
    /// Passkeys of the relying party `id`, used at `origin` alone.
    pub fn new(
        id: &str,
        origin: &str,
        name: &str,
        authenticators: AuthenticatorPolicy,
    ) -> Result<Self, FactorSetError> {
        let not_an_origin = || FactorSetError::Origin { origin: origin.to_owned() };
        let url = url::Url::parse(origin).map_err(|_| not_an_origin())?;
        if url.origin().ascii_serialization() != origin {
            return Err(not_an_origin());
        }
        let host = url.host_str().ok_or_else(not_an_origin)?;
        let is_parent = host.strip_suffix(id).is_some_and(|front| front.ends_with('.')) && id.contains('.');
        if id.is_empty() || (host != id && !is_parent) {
            return Err(FactorSetError::RelyingParty { id: id.to_owned(), origin: origin.to_owned() });
        }
        Ok(Self {
            relying_party: RelyingParty { id: id.to_owned(), origins: vec![origin.to_owned()] },
            origin: origin.to_owned(),
            registration: Arc::new(registration::Registration::new(id, url, name, authenticators)?),
        })
    }
}

/// The passkeys among these factors.
fn passkeys(factors: &[EnrolledFactor]) -> impl Iterator<Item = (&EnrolledFactor, &Passkey)> {
    factors.iter().filter_map(|factor| match &factor.secret {
        FactorSecret::Passkey(passkey) => Some((factor, passkey.as_ref())),
        _ => None,
    })
}

impl PasskeyFactor {
    /// Why a passkey counts for nothing, if it does: something was reported of its model.
    pub(crate) fn why_refused(&self, passkey: &Passkey) -> Option<String> {
        let models = self.registration.known()?.models().now();
        models.of(passkey.aaguid).filter(|facts| facts.is_refused).map(|facts| facts.status.clone())
    }

    /// What an assertion changes in the passkey that made it over this binding. What was reported of its model is
    /// looked at last: only who has the key learns of it.
    pub(crate) fn signed(
        &self,
        passkey: &Passkey,
        binding: Binding,
        assertion: &Assertion,
    ) -> Result<FactorUse, NotProved> {
        let used = signed(&self.relying_party, passkey, binding, assertion)?;
        match self.why_refused(passkey) {
            Some(status) => Err(NotProved::ModelRefused(status)),
            None => Ok(used),
        }
    }
}

fn signed(
    relying_party: &RelyingParty,
    passkey: &Passkey,
    binding: Binding,
    assertion: &Assertion,
) -> Result<FactorUse, NotProved> {
    let public_key = PublicKey::from_cose(&passkey.public_key).map_err(|error| NotProved::Fault(error.to_string()))?;
    let credential = Credential {
        id: passkey.credential_id.clone(),
        public_key,
        owner: passkey.user_handle.clone(),
        counter: passkey.counter,
        backup_eligible: passkey.backup_eligible,
    };
    let verified = verify_assertion(relying_party, &binding.0, &credential, assertion)
        .map_err(|error| NotProved::Wrong(error.to_string()))?;
    Ok(FactorUse::PasskeyCounter { counter: verified.counter, backed_up: verified.backed_up })
}

/// `PublicKeyCredentialRequestOptionsJSON` (WebAuthn L3 section 5.1.10) for these passkeys.
pub(crate) fn request_options<'k>(
    relying_party: &RelyingParty,
    passkeys: impl Iterator<Item = &'k Passkey>,
    binding: Binding,
) -> serde_json::Value {
    let allowed: Vec<_> = passkeys
        .map(|passkey| json!({ "type": "public-key", "id": URL_SAFE_NO_PAD.encode(&passkey.credential_id) }))
        .collect();
    json!({
        "challenge": URL_SAFE_NO_PAD.encode(binding.0),
        "rpId": relying_party.id,
        "allowCredentials": allowed,
        "userVerification": "required",
        "timeout": TIMEOUT_MS,
    })
}

#[async_trait]
impl Factor for PasskeyFactor {
    fn kind(&self) -> FactorKind {
        FactorKind::PASSKEY
    }

    /// Nothing enrolled means that the person is not known yet: any passkey for this gate may answer.
    fn prompt(&self, enrolled: &[EnrolledFactor], binding: Binding) -> Prompt {
        let believed = |passkey: &&Passkey| self.why_refused(passkey).is_none();
        let enrolled = passkeys(enrolled).map(|(_, passkey)| passkey).filter(believed);
        Prompt::Passkey { options: request_options(&self.relying_party, enrolled, binding) }
    }

    async fn verify(
        &self,
        enrolled: &[EnrolledFactor],
        answer: &Answer,
        binding: Binding,
        _: Timestamp,
    ) -> Result<Proved, NotProved> {
        let Answer::Passkey(assertion) = answer else {
            return Err(NotProved::Malformed("not an answer of a passkey".to_owned()));
        };
        // Looked for among this person's passkeys alone: a key of somebody else is
        // not there, whatever it signed (attack B68).
        let (factor, passkey) = passkeys(enrolled)
            .find(|(_, passkey)| passkey.credential_id == assertion.credential_id)
            .ok_or(NotProved::NotEnrolled)?;
        let used = self.signed(passkey, binding, assertion)?;
        let kind = match used {
            FactorUse::PasskeyCounter { backed_up, .. } => passkey.kind_if(backed_up),
            _ => passkey.kind(),
        };
        Ok(Proved { factor: factor.id, kind, used, assertion: Some((**assertion).clone()) })
    }

    /// Nothing: a passkey is found by its credential id, which nobody can guess, so
    /// there is no name whose existence a quick answer would tell.
    async fn verify_nobody(&self, _: &Answer) -> Result<(), NotProved> {
        Ok(())
    }

    fn begin_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        random: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        self.registration.begin(person, existing, random)
    }

    async fn finish_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        answer: &EnrolmentAnswer,
        _: Timestamp,
    ) -> Result<Enrolled, NotEnrolled> {
        let EnrolmentAnswer::Passkey(answer) = answer else {
            return Err(NotEnrolled::Refused("a new passkey is expected".to_owned()));
        };
        self.registration.finish(&self.origin, person, existing, state, answer)
    }
}
