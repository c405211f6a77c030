//! Approver devices: a factor that is enrolled and proved in another browser than the one that asks.

use secrecy::SecretString;
use serde_json::Value;

use super::{ApproverDevice, Binding, EnrolledFactor, Factor, NotEnrolled};
use crate::person::Person;
use crate::secret::TokenDigest;
use crate::time::Randomness;

/// What a device that is being enrolled is to do next.
#[derive(Clone, Debug)]
pub enum DeviceOffer {
    /// Make a passkey for approving, with these options for `navigator.credentials.create`, or go on without.
    Passkey {
        /// The value of `publicKey`.
        options: Value,
    },
    /// Show this number, which is typed where the enrolment was begun.
    Number(SecretString),
}

/// What a device that is being enrolled did.
#[derive(Clone, Debug)]
pub enum AtDevice {
    /// It made a passkey: `PublicKeyCredential.toJSON()`.
    Passkey(Value),
    /// It has none, and approves without a signature.
    NoPasskey,
}

/// The verifier of approver devices: beside what every factor does, the other half of an enrolment.
///
/// It keeps nothing either: state goes in and comes out.
pub trait DeviceFactor: Factor {
    /// What a device is asked to sign to approve: options for `navigator.credentials.get`; `None` if it signs nothing.
    fn to_sign(&self, device: &ApproverDevice, binding: Binding) -> Option<Value>;

    /// A device has followed the link: it is the one from here on.
    fn follow(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        device: TokenDigest,
        random: &dyn Randomness,
    ) -> Result<SecretString, NotEnrolled>;

    /// What it is to do next.
    fn on_device(&self, person: &Person, state: &SecretString) -> Result<DeviceOffer, NotEnrolled>;

    /// Takes what it did.
    fn take(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        did: &AtDevice,
        random: &dyn Randomness,
    ) -> Result<SecretString, NotEnrolled>;
}
