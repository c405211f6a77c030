//! Enrolling a factor: what is offered, answered and kept.

use std::fmt;

use secrecy::SecretString;
use stepgate_evidence::EnrolledKey;

use super::{Destination, FactorSecret};
use crate::secret::TokenDigest;

/// What the page needs to enrol a factor, made by the verifier.
#[derive(Clone, Debug)]
pub enum EnrolmentOffer {
    /// Fields for a new password.
    Password,
    /// The secret for an authenticator app.
    Totp { uri: SecretString, secret_base32: SecretString, qr_svg: SecretString },
    /// Options for `navigator.credentials.create` (the value of `publicKey`).
    Passkey { options: serde_json::Value },
    /// Where a code is sent first: to `known`, which nobody types, or to what the person types.
    Address { known: Option<Destination> },
    /// A field for the code that was sent there.
    SentCode { to: Destination },
    /// The device shows a number, once it has followed the invitation; that is the answer.
    Device { invitation: Option<Invitation> },
    /// Codes to keep; shown once.
    RecoveryCodes { codes: Vec<SecretString> },
}

/// An invitation to a device that is there until a device has followed it.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The address that the device is to open.
    pub url: SecretString,
    /// The same to scan, as SVG.
    pub qr_svg: SecretString,
}

/// A begun enrolment: what the page shows, and what the server keeps (sealed) until it is finished.
#[derive(Debug)]
pub struct BegunEnrolment {
    /// For the page.
    pub offer: EnrolmentOffer,
    /// For the store; only this verifier reads it.
    pub state: SecretString,
    /// What another device finds it by, if one takes part.
    pub link: Option<TokenDigest>,
}

/// What the person sent to finish an enrolment.
pub enum EnrolmentAnswer {
    /// The new password, or the first code of the new authenticator app, or the number
    /// that the new device shows, or
    /// empty where nothing is asked (recovery codes: "I have kept them").
    Text(SecretString),
    /// `PublicKeyCredential.toJSON()` of the new passkey.
    Passkey(serde_json::Value),
}

impl fmt::Debug for EnrolmentAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentAnswer(..)")
    }
}

/// A finished enrolment.
#[derive(Debug)]
pub struct Enrolled {
    /// What will verify the factor.
    pub secret: FactorSecret,
    /// For a passkey: what stands in the evidence.
    pub key: Option<EnrolledKey>,
}

/// Why an enrolment was not finished; the text is for the person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEnrolled {
    /// What was sent does not fit (too short, wrong code, refused authenticator…).
    #[error("{0}")]
    Refused(String),
    /// What is to be enrolled is somewhere else and not ready yet: nothing was tried.
    #[error("The device is not ready yet. It shows a number when it is.")]
    TooEarly,
    /// The verifier itself failed.
    #[error("the factor could not be enrolled: {0}")]
    Fault(String),
}
