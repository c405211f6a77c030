//! Approval on a device of the person's own: out-of-band (SP 800-63B-4 section 3.1.3), and a signature where
//! the device has a passkey for it.

mod begun;
mod message;
mod vapid;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{
    Answer, ApproverDevice, AtDevice, BegunEnrolment, Binding, DeviceFactor, DeviceOffer, Enrolled, EnrolledFactor,
    EnrolmentAnswer, EnrolmentOffer, Factor, FactorKind, FactorSecret, FactorUse, Invitation, NotEnrolled, NotProved,
    Passkey, Prompt, Proved,
};
use stepgate_core::person::Person;
use stepgate_core::push::Subscription;
use stepgate_core::secret::{Purpose, Token, TokenDigest, six_digits};
use stepgate_core::time::{Randomness, Timestamp};
use subtle::ConstantTimeEq as _;
use url::Url;

use crate::passkey::registration::{Kept, Purpose as For};
use crate::passkey::{PasskeyFactor, request_options};
use crate::qr::qr;

use begun::{Begun, Made};
pub use message::NotEncrypted;
pub use vapid::{NoVapidKey, VapidKeys};

/// What a wake-up says: nothing. What is asked is shown by the gate's own page alone.
const NOTHING: &[u8] = b"{}";
/// What stands behind the person's name in their authenticator, so that they know it from what they sign in with.
const SUFFIX: &str = " (approvals)";

/// A wake-up as it is posted to a push service, which can neither read nor make it.
#[derive(Clone, Debug)]
pub struct WakeUp {
    /// Where to.
    pub endpoint: Url,
    /// The value of `Authorization` (RFC 8292).
    pub authorization: String,
    /// The body, as `Content-Encoding: aes128gcm` (RFC 8291).
    pub body: Vec<u8>,
}

impl WakeUp {
    /// A wake-up for a device. `None` where it cannot be woken (any more): its key or address is none, or its
    /// subscription was made for a key of ours that is gone.
    pub fn new(to: &Subscription, keys: &VapidKeys, now: Timestamp, random: &dyn Randomness) -> Option<Self> {
        let endpoint = Url::parse(&to.endpoint).ok()?;
        let authorization = keys.authorization(&to.made_for, &endpoint, now)?;
        let body = message::encrypt(NOTHING, to, random).ok()?;
        Some(Self { endpoint, authorization, body })
    }
}

/// Approver devices. Their passkeys are made and verified as all others are.
#[derive(Debug)]
pub struct Push {
    passkeys: PasskeyFactor,
}

impl Push {
    /// Approver devices of the gate whose passkeys these are.
    pub fn new(passkeys: PasskeyFactor) -> Self {
        Self { passkeys }
    }

    fn offer(&self, link: &str) -> Result<EnrolmentOffer, NotEnrolled> {
        let url = format!("{}/approver/enrol/{link}", self.passkeys.origin);
        let qr_svg = SecretString::from(qr(&url)?);
        Ok(EnrolmentOffer::Device { invitation: Some(Invitation { url: url.into(), qr_svg }) })
    }
}

fn devices(factors: &[EnrolledFactor]) -> impl Iterator<Item = (&EnrolledFactor, &ApproverDevice)> {
    factors.iter().filter_map(|factor| match &factor.secret {
        FactorSecret::Push(device) => Some((factor, device.as_ref())),
        _ => None,
    })
}

fn passkeys(factors: &[EnrolledFactor]) -> impl Iterator<Item = &Passkey> {
    devices(factors).filter_map(|(_, device)| device.passkey.as_ref())
}

#[async_trait]
impl Factor for Push {
    fn kind(&self) -> FactorKind {
        ApproverDevice::OUT_OF_BAND
    }

    /// What is shown where it is asked.
    fn prompt(&self, enrolled: &[EnrolledFactor], _: Binding) -> Prompt {
        Prompt::Devices { names: devices(enrolled).map(|(factor, _)| factor.name.clone()).collect() }
    }

    /// `enrolled` is the device that answers, and no other: it was known by its cookie.
    async fn verify(
        &self,
        enrolled: &[EnrolledFactor],
        answer: &Answer,
        binding: Binding,
        _: Timestamp,
    ) -> Result<Proved, NotProved> {
        let Answer::Device { assertion, .. } = answer else {
            return Err(NotProved::Malformed("not an answer of a device".to_owned()));
        };
        let (factor, device) = devices(enrolled).next().ok_or(NotProved::NotEnrolled)?;
        let used = match (&device.passkey, assertion) {
            (None, None) => FactorUse::Nothing,
            // The passkey of this device alone: what somebody else's signed is nothing here (attack B68).
            (Some(passkey), Some(assertion)) if passkey.credential_id == assertion.credential_id => {
                self.passkeys.signed(passkey, binding, assertion)?
            }
            (Some(_), None) => return Err(NotProved::Malformed("this device has to sign".to_owned())),
            (_, Some(_)) => return Err(NotProved::NotEnrolled),
        };
        let assertion = assertion.as_deref().cloned();
        Ok(Proved { factor: factor.id, kind: device.kind(), used, assertion })
    }

    /// Nothing: a device is known by its cookie, and signs nobody in.
    async fn verify_nobody(&self, _: &Answer) -> Result<(), NotProved> {
        Ok(())
    }

    fn begin_enrolment(
        &self,
        person: &Person,
        _: &[EnrolledFactor],
        random: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        let link = Token::random(random);
        let state = Begun::Invited { link: link.expose().to_owned() }.keep(person)?;
        let offer = self.offer(link.expose())?;
        Ok(BegunEnrolment { offer, state, link: Some(link.digest(Purpose::DeviceLink)) })
    }

    fn offer_again(&self, person: &Person, state: &SecretString) -> Option<EnrolmentOffer> {
        match Begun::open(person, state).ok()? {
            Begun::Invited { link } => self.offer(&link).ok(),
            Begun::Followed { .. } | Begun::Ready { .. } => Some(EnrolmentOffer::Device { invitation: None }),
        }
    }

    async fn finish_enrolment(
        &self,
        person: &Person,
        _: &[EnrolledFactor],
        state: &SecretString,
        answer: &EnrolmentAnswer,
        _: Timestamp,
    ) -> Result<Enrolled, NotEnrolled> {
        let EnrolmentAnswer::Text(typed) = answer else { return Err(NotEnrolled::TooEarly) };
        let Begun::Ready { device, number, made } = Begun::open(person, state)? else {
            return Err(NotEnrolled::TooEarly);
        };
        if !bool::from(number.as_bytes().ct_eq(typed.expose_secret().as_bytes())) {
            return Err(NotEnrolled::Refused("That is not the number that the device shows.".to_owned()));
        }
        let passkey = made.as_ref().map(Made::passkey).transpose()?;
        let token = TokenDigest::from_hex(&device).ok_or_else(|| NotEnrolled::Fault("no digest".to_owned()))?;
        let secret = FactorSecret::Push(Box::new(ApproverDevice { token, passkey }));
        Ok(Enrolled { secret, key: made.map(|made| made.key) })
    }
}

impl DeviceFactor for Push {
    fn to_sign(&self, device: &ApproverDevice, binding: Binding) -> Option<serde_json::Value> {
        let passkey = device.passkey.as_ref()?;
        Some(request_options(&self.passkeys.relying_party, std::iter::once(passkey), binding))
    }

    fn follow(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        device: TokenDigest,
        random: &dyn Randomness,
    ) -> Result<SecretString, NotEnrolled> {
        let Begun::Invited { .. } = Begun::open(person, state)? else {
            return Err(NotEnrolled::Refused("This link was used already.".to_owned()));
        };
        // A handle of its own: an authenticator that keeps one passkey for each would else put this one in the
        // place of the one that the person signs in with, or of another device's.
        let mut handle = [0; 32];
        random.fill(&mut handle);
        let exclude = passkeys(existing).map(|passkey| passkey.credential_id.clone()).collect();
        let purpose = For { handle, suffix: SUFFIX, exclude, kept: Kept::InTheDevice };
        let (options, registration) = self.passkeys.registration.options(person, purpose, random)?;
        Begun::Followed { device: device.to_hex(), handle: hex::encode(handle), options, registration }.keep(person)
    }

    fn on_device(&self, person: &Person, state: &SecretString) -> Result<DeviceOffer, NotEnrolled> {
        match Begun::open(person, state)? {
            Begun::Invited { .. } => Err(NotEnrolled::Fault("no device has followed".to_owned())),
            Begun::Followed { options, .. } => Ok(DeviceOffer::Passkey { options }),
            Begun::Ready { number, .. } => Ok(DeviceOffer::Number(number.into())),
        }
    }

    fn take(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        did: &AtDevice,
        random: &dyn Randomness,
    ) -> Result<SecretString, NotEnrolled> {
        let Begun::Followed { device, handle, registration, .. } = Begun::open(person, state)? else {
            return Err(NotEnrolled::Refused("This was done already.".to_owned()));
        };
        let made = match did {
            AtDevice::NoPasskey => None,
            AtDevice::Passkey(credential) => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(&handle, &mut bytes).map_err(|error| NotEnrolled::Fault(error.to_string()))?;
                let has = |id: &[u8]| passkeys(existing).any(|passkey| passkey.credential_id == id);
                let registration =
                    self.passkeys.registration.verify(&self.passkeys.origin, registration, bytes, has, credential)?;
                Some(Made::new(registration))
            }
        };
        Begun::Ready { device, number: six_digits(random), made }.keep(person)
    }
}
