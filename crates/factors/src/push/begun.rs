//! What is kept of an enrolment that two browsers do together.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stepgate_core::factor::{ApproverDevice, NotEnrolled, Passkey};
use stepgate_core::person::Person;
use stepgate_evidence::EnrolledKey;

/// How far it is.
#[derive(Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Begun {
    /// No device has followed the link.
    Invited { link: String },
    /// This one has (the digest of its cookie), and is offered a passkey.
    Followed { device: String, handle: String, options: Value, registration: Value },
    /// It shows the number.
    Ready { device: String, number: String, made: Option<Made> },
}

impl Begun {
    pub(super) fn keep(&self, person: &Person) -> Result<SecretString, NotEnrolled> {
        crate::begun::keep(ApproverDevice::OUT_OF_BAND, person.id, self)
    }

    pub(super) fn open(person: &Person, state: &SecretString) -> Result<Self, NotEnrolled> {
        crate::begun::open(ApproverDevice::OUT_OF_BAND, person.id, state)
    }
}

/// A passkey that a device made.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    /// As it stands in the evidence.
    pub(super) key: EnrolledKey,
    attestation: String,
}

impl Made {
    pub(super) fn new((passkey, key): (Passkey, EnrolledKey)) -> Self {
        Self { key, attestation: URL_SAFE_NO_PAD.encode(passkey.attestation) }
    }

    /// As it is enrolled.
    pub(super) fn passkey(&self) -> Result<Passkey, NotEnrolled> {
        let unreadable = || NotEnrolled::Fault("what the device made cannot be read".to_owned());
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| unreadable());
        Ok(Passkey {
            credential_id: bytes(&self.key.credential_id)?,
            public_key: bytes(&self.key.public_key)?,
            user_handle: bytes(&self.key.user_handle)?,
            counter: self.key.counter,
            backup_eligible: self.key.backup_eligible,
            backed_up: self.key.backed_up,
            aaguid: self.key.aaguid.parse().map_err(|_| unreadable())?,
            is_attested: self.key.is_attested,
            attestation: bytes(&self.attestation)?,
        })
    }
}
