//! Registration of a passkey (WebAuthn L3 section 7.1).
//!
//! Attestation is verified by webauthn-rs-core. What it leaves to its caller is
//! checked here: exact origin, no foreign top origin, length of the credential id,
//! the list of models, and that the key is one that the assertion check can read.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stepgate_core::factor::{
    Aaguid, BegunEnrolment, Enrolled, EnrolledFactor, EnrolmentOffer, FactorKind, FactorSecret, NotEnrolled, Passkey,
};
use stepgate_core::person::Person;
use stepgate_core::time::Randomness;
use stepgate_evidence::{EnrolledKey, PublicKey};
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::proto::{
    AttestationCaList, AttestationConveyancePreference, AuthenticatorAttestationResponseRaw, COSEAlgorithm,
    Credential as Registered, ParsedAttestationData, RegisterPublicKeyCredential, RegistrationExtensionsClientOutputs,
    RegistrationState, UserVerificationPolicy,
};

use super::policy::{AuthenticatorPolicy, KnownAuthenticators};
use super::{TIMEOUT_MS, passkeys, user_handle};
use crate::FactorSetError;
use crate::begun;

/// What a passkey is made for.
pub(crate) struct Purpose {
    /// The user handle: an authenticator keeps one passkey for each.
    pub(crate) handle: [u8; 32],
    /// What stands behind the name in the authenticator; may be empty.
    pub(crate) suffix: &'static str,
    /// Ids of passkeys whose authenticators are to make no other.
    pub(crate) exclude: Vec<Vec<u8>>,
    /// Where it is kept.
    pub(crate) kept: Kept,
}

/// Where a passkey is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Anywhere, and found without a name: a person signs in with it.
    Discoverable,
    /// In the device that makes it, and asked for by its id.
    InTheDevice,
}

/// Algorithms that are asked for and accepted: those that the library can check at
/// registration. Ed25519 is not among them.
const ALGORITHMS: [COSEAlgorithm; 3] = [COSEAlgorithm::ES256, COSEAlgorithm::ES384, COSEAlgorithm::RS256];
/// Longest credential id, in bytes (WebAuthn L3 section 7.1 step 25).
const CREDENTIAL_ID_LEN_MAX: usize = 1023;
/// Longest attestation object and client data, in bytes; certificates make the longest ones a few KiB.
const PART_LEN_MAX: usize = 64 * 1024;
/// Bytes of a registration's challenge.
const CHALLENGE_LEN: usize = 32;

/// The registration ceremony of one relying party.
#[derive(Debug)]
pub(crate) struct Registration {
    library: WebauthnCore,
    authenticators: AuthenticatorPolicy,
    roots: Option<AttestationCaList>,
}

/// `RegistrationResponseJSON`, as far as it is looked at. Extensions are not: none is asked for.
#[derive(Deserialize)]
struct Response {
    #[serde(rename = "rawId")]
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: ResponseParts,
}

#[derive(Deserialize)]
struct ResponseParts {
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    #[serde(rename = "attestationObject")]
    attestation_object: String,
}

/// What the browser says of the page, as far as the library does not look.
#[derive(Deserialize)]
struct ClientData {
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: Option<bool>,
    #[serde(rename = "topOrigin", default)]
    top_origin: Option<Value>,
}

fn refused(text: &str) -> NotEnrolled {
    NotEnrolled::Refused(text.to_owned())
}

fn fault(error: impl std::fmt::Display) -> NotEnrolled {
    NotEnrolled::Fault(error.to_string())
}

impl Registration {
    pub(crate) fn new(
        id: &str,
        origin: url::Url,
        name: &str,
        authenticators: AuthenticatorPolicy,
    ) -> Result<Self, FactorSetError> {
        let roots = authenticators.roots()?;
        let timeout = Duration::from_millis(u64::from(TIMEOUT_MS));
        let library = WebauthnCore::new_unsafe_experts_only(name, id, vec![origin], timeout, Some(false), Some(false));
        Ok(Self { library, authenticators, roots })
    }

    /// What is published of models, if anything is read of it.
    pub(super) fn known(&self) -> Option<&KnownAuthenticators> {
        self.authenticators.metadata.as_deref()
    }

    /// A passkey that a person signs in and confirms with.
    pub(super) fn begin(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        random: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        let exclude = passkeys(existing).map(|(_, passkey)| passkey.credential_id.clone()).collect();
        let purpose = Purpose { handle: user_handle(person.id), suffix: "", exclude, kept: Kept::Discoverable };
        let (options, state) = self.options(person, purpose, random)?;
        let state = begun::keep(FactorKind::PASSKEY, person.id, state)?;
        Ok(BegunEnrolment { offer: EnrolmentOffer::Passkey { options }, state, link: None })
    }

    /// Options for `navigator.credentials.create`, and what has to hold of the answer.
    pub(crate) fn options(
        &self,
        person: &Person,
        purpose: Purpose,
        random: &dyn Randomness,
    ) -> Result<(Value, Value), NotEnrolled> {
        let login = format!("{}{}", person.login, purpose.suffix);
        let name = if person.name.trim().is_empty() { person.login.as_str() } else { person.name.as_str() };
        let name = format!("{name}{}", purpose.suffix);
        let conveyance = if self.authenticators.asks_for_attestation() {
            AttestationConveyancePreference::Direct
        } else {
            AttestationConveyancePreference::None
        };
        let builder = self
            .library
            .new_challenge_register_builder(&purpose.handle, &login, &name)
            .map_err(fault)?
            .attestation(conveyance)
            .user_verification_policy(UserVerificationPolicy::Required)
            // Discoverable, so that a person can sign in without typing a name.
            .require_resident_key(purpose.kept == Kept::Discoverable)
            .credential_algorithms(ALGORITHMS.to_vec())
            .exclude_credentials(Some(purpose.exclude));
        let (options, state) = self.library.generate_challenge_register(builder).map_err(fault)?;
        let mut options = serde_json::to_value(options.public_key).map_err(fault)?;
        let mut state = serde_json::to_value(state).map_err(fault)?;
        // The library draws the challenge from a generator of its own; here it comes
        // from the one that was handed in, as everything that has to be unpredictable.
        let mut challenge = [0; CHALLENGE_LEN];
        random.fill(&mut challenge);
        for place in [&mut options, &mut state] {
            let Some(slot) = place.get_mut("challenge") else {
                return Err(fault("the registration has no challenge"));
            };
            *slot = Value::String(URL_SAFE_NO_PAD.encode(challenge));
        }
        if purpose.kept == Kept::InTheDevice
            && let Some(selection) = options.get_mut("authenticatorSelection").and_then(Value::as_object_mut)
        {
            selection.insert("authenticatorAttachment".to_owned(), "platform".into());
        }
        Ok((options, state))
    }

    /// Verifies the answer of the browser.
    pub(super) fn finish(
        &self,
        origin: &str,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        answer: &Value,
    ) -> Result<Enrolled, NotEnrolled> {
        let state: Value = begun::open(FactorKind::PASSKEY, person.id, state)?;
        let has = |id: &[u8]| passkeys(existing).any(|(_, passkey)| passkey.credential_id == id);
        let (passkey, key) = self.verify(origin, state, user_handle(person.id), has, answer)?;
        Ok(Enrolled { secret: FactorSecret::Passkey(Box::new(passkey)), key: Some(key) })
    }

    /// Verifies the answer of the browser to what [`Self::options`] gave for this user handle. `has`: whether a
    /// passkey of this id is enrolled.
    pub(crate) fn verify(
        &self,
        origin: &str,
        state: Value,
        handle: [u8; 32],
        has: impl Fn(&[u8]) -> bool,
        answer: &Value,
    ) -> Result<(Passkey, EnrolledKey), NotEnrolled> {
        let state: RegistrationState =
            serde_json::from_value(state).map_err(|_| fault("what was begun cannot be read"))?;
        let answer = Response::deserialize(answer).map_err(|_| refused("The answer of the browser cannot be read."))?;
        if answer.kind != "public-key" {
            return Err(refused("That is not a passkey."));
        }
        let client_data_json = decoded(&answer.response.client_data_json)?;
        let attestation_object = decoded(&answer.response.attestation_object)?;
        let raw_id = decoded(&answer.raw_id)?;
        check_page(&client_data_json, origin)?;

        let verified = |roots: Option<&AttestationCaList>| {
            self.verified(&state, &raw_id, (&client_data_json, &attestation_object), roots)
        };
        let registered = verified(None)?;
        let attested = Attested::read(&attestation_object).ok_or_else(|| fault("verified but unreadable"))?;
        if attested.credential_id != registered.cred_id.as_slice() || attested.credential_id != raw_id {
            return Err(refused("The passkey's ids contradict each other."));
        }
        if attested.credential_id.len() > CREDENTIAL_ID_LEN_MAX {
            return Err(refused("The passkey's id is too long."));
        }
        if has(&attested.credential_id) {
            return Err(refused("This passkey is enrolled already."));
        }
        let is_attested = self.is_attested(&registered, verified)?;
        self.check_model(attested.aaguid, is_attested)?;
        // What cannot be verified when it is used is not enrolled.
        PublicKey::from_cose(&attested.public_key)
            .map_err(|_| refused("This authenticator's kind of key cannot be verified here."))?;
        Ok(made(handle, attested, &registered, attestation_object, is_attested))
    }

    fn verified(
        &self,
        state: &RegistrationState,
        raw_id: &[u8],
        (client_data_json, attestation_object): (&[u8], &[u8]),
        roots: Option<&AttestationCaList>,
    ) -> Result<Registered, NotEnrolled> {
        let credential = RegisterPublicKeyCredential {
            id: URL_SAFE_NO_PAD.encode(raw_id),
            raw_id: raw_id.to_vec(),
            response: AuthenticatorAttestationResponseRaw {
                attestation_object: attestation_object.to_vec(),
                client_data_json: client_data_json.to_vec(),
                transports: None,
            },
            type_: "public-key".to_owned(),
            extensions: RegistrationExtensionsClientOutputs::default(),
        };
        self.library
            .register_credential(&credential, state, roots)
            .map_err(|error| NotEnrolled::Refused(format!("The passkey was not accepted: {error}.")))
    }

    /// Whether an attestation that leads to a maker who is known proved the model. A passkey that does not attest, or
    /// attests itself, could name any model, so it is refused where something is demanded.
    fn is_attested(
        &self,
        registered: &Registered,
        verified: impl Fn(Option<&AttestationCaList>) -> Result<Registered, NotEnrolled>,
    ) -> Result<bool, NotEnrolled> {
        if !is_vouched_for(registered) {
            return match self.authenticators.demands_attestation() {
                true => {
                    Err(refused("This gate accepts only authenticators that attest their model; this one did not."))
                }
                false => Ok(false),
            };
        }
        let published = self.authenticators.metadata.as_ref().map(|metadata| metadata.roots());
        let roots = self.roots.as_ref().into_iter().chain(published.as_deref().and_then(Option::as_ref));
        let mut why = refused("Nothing is known of the makers of authenticators yet, so none can be added.");
        for known in roots {
            match verified(Some(known)) {
                Ok(_) => return Ok(true),
                Err(error) => why = error,
            }
        }
        // A maker of whom nothing is known: the model is what the client says.
        if self.authenticators.demands_known_maker() { Err(why) } else { Ok(false) }
    }

    /// Holds the model against the list, and against what is published of it.
    fn check_model(&self, aaguid: Aaguid, is_attested: bool) -> Result<(), NotEnrolled> {
        if !self.authenticators.allows(aaguid) {
            return Err(refused("This model of authenticator is not accepted here."));
        }
        let Some(metadata) = &self.authenticators.metadata else { return Ok(()) };
        let (models, demands) = (metadata.models().now(), metadata.demands());
        let facts = models.of(aaguid);
        if let Some(facts) = facts.filter(|facts| facts.is_refused) {
            return Err(NotEnrolled::Refused(format!(
                "This model of authenticator is not accepted here: {} was reported of it.",
                facts.status
            )));
        }
        if metadata.is_too_old() {
            return Err(refused("What is known here of authenticators is too old, so none can be added now."));
        }
        let certified = facts.filter(|_| is_attested).map_or(0, |facts| facts.certified);
        if certified < demands.level {
            return Err(NotEnrolled::Refused(format!(
                "This gate accepts only authenticators that are certified for FIDO level {} or a higher one.",
                demands.level
            )));
        }
        Ok(())
    }
}

/// Whether somebody else than the authenticator itself says what it is. Who that is, the roots say.
fn is_vouched_for(registered: &Registered) -> bool {
    use ParsedAttestationData::{AnonCa, AttCa, Basic};
    matches!(registered.attestation.data, Basic(_) | AttCa(_) | AnonCa(_))
}

fn decoded(text: &str) -> Result<Vec<u8>, NotEnrolled> {
    if text.len() > PART_LEN_MAX {
        return Err(refused("The answer of the browser is too long."));
    }
    URL_SAFE_NO_PAD.decode(text).map_err(|_| refused("The answer of the browser cannot be read."))
}

/// The page was the gate's own and stood alone: not in another site's frame.
fn check_page(client_data_json: &[u8], origin: &str) -> Result<(), NotEnrolled> {
    let client_data: ClientData =
        serde_json::from_slice(client_data_json).map_err(|_| refused("The answer of the browser cannot be read."))?;
    // The library compares parsed URLs, of which a path would be a part that it ignores.
    if client_data.origin != origin {
        return Err(refused("The passkey was made on another page."));
    }
    if client_data.cross_origin.unwrap_or(false) || client_data.top_origin.is_some() {
        return Err(refused("The passkey was made inside a page of another site."));
    }
    Ok(())
}

/// The attested credential data (WebAuthn L3 section 6.5.2), as bytes.
struct Attested {
    aaguid: Aaguid,
    credential_id: Vec<u8>,
    public_key: Vec<u8>,
    counter: u32,
}

impl Attested {
    fn read(attestation_object: &[u8]) -> Option<Self> {
        let object: ciborium::Value = ciborium::from_reader(attestation_object).ok()?;
        let members = object.as_map()?;
        let data = members.iter().find(|(name, _)| name.as_text() == Some("authData")).map(|(_, data)| data)?;
        // Digest of the relying party id (32), flags (1), counter (4).
        let (_, rest) = data.as_bytes()?.split_at_checked(33)?;
        let (counter, rest) = rest.split_first_chunk::<4>()?;
        let (aaguid, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (credential_id, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        // The key is one CBOR item; extensions may follow it.
        let mut after = rest;
        let _: ciborium::Value = ciborium::from_reader(&mut after).ok()?;
        let public_key = rest.get(..rest.len().checked_sub(after.len())?)?;
        Some(Self {
            aaguid: Aaguid(*aaguid),
            credential_id: credential_id.to_vec(),
            public_key: public_key.to_vec(),
            counter: u32::from_be_bytes(*counter),
        })
    }
}

fn made(
    handle: [u8; 32],
    attested: Attested,
    registered: &Registered,
    attestation: Vec<u8>,
    is_attested: bool,
) -> (Passkey, EnrolledKey) {
    let key = EnrolledKey {
        credential_id: URL_SAFE_NO_PAD.encode(&attested.credential_id),
        public_key: URL_SAFE_NO_PAD.encode(&attested.public_key),
        user_handle: URL_SAFE_NO_PAD.encode(handle),
        counter: attested.counter,
        backup_eligible: registered.backup_eligible,
        backed_up: registered.backup_state,
        aaguid: attested.aaguid.to_string(),
        is_attested,
        attestation_sha256: hex::encode(Sha256::digest(&attestation)),
    };
    let passkey = Passkey {
        credential_id: attested.credential_id,
        public_key: attested.public_key,
        user_handle: handle.to_vec(),
        counter: attested.counter,
        backup_eligible: registered.backup_eligible,
        backed_up: registered.backup_state,
        aaguid: attested.aaguid,
        is_attested,
        attestation,
    };
    (passkey, key)
}
