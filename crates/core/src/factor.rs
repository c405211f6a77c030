//! Factors: what a person can prove, and the port that verifies it.

mod destination;
mod device;
mod enrolled;
mod enrolment;
mod kind;
mod models;
mod oath;
mod proof;
mod sort;
mod strength;

use std::fmt;

use async_trait::async_trait;
use secrecy::SecretString;

pub use destination::Destination;
pub use device::{AtDevice, DeviceFactor, DeviceOffer};
pub use enrolled::{
    ApproverDevice, CodeDelivery, CodeDigest, EnrolledFactor, FactorSecret, FactorUse, Identity, OpenCode, Passkey,
    PasswordStands, identity_digest,
};
pub use enrolment::{BegunEnrolment, Enrolled, EnrolmentAnswer, EnrolmentOffer, Invitation, NotEnrolled};
pub use kind::{FactorKind, NotAFactor};
pub use models::{KnownModels, ModelFacts, Models};
pub use oath::{Moves, NotAHash, OathHash, OathKey, SEED_LEN_MAX, SEED_LEN_MIN, TokenOf};
pub use proof::{Answer, Binding, CodeTo, NotProved, Prompt, Proved};
pub use sort::{Aaguid, Backup, NotAnAaguid, PasskeySort};
pub use strength::{NotAStrength, Strength};

use crate::person::Person;
use crate::time::{Randomness, Timestamp};

/// One kind of factor: asks, verifies, enrols.
///
/// An implementation keeps nothing: what it needs is handed in, what changes is
/// handed back as [`FactorUse`]. Counting tries is the caller's.
#[async_trait]
pub trait Factor: Send + Sync + fmt::Debug {
    /// The kind that it verifies.
    fn kind(&self) -> FactorKind;

    /// What the page needs to ask. `enrolled` are the person's factors of this
    /// kind; empty for a sign-in where the person is not known yet.
    fn prompt(&self, enrolled: &[EnrolledFactor], binding: Binding) -> Prompt;

    /// Verifies an answer against the person's factors of this kind. Where there
    /// are none, it does the work of a verification that fails all the same.
    async fn verify(
        &self,
        enrolled: &[EnrolledFactor],
        answer: &Answer,
        binding: Binding,
        now: Timestamp,
    ) -> Result<Proved, NotProved>;

    /// Does the work of a verification that fails, so that an unknown name takes as long
    /// as a wrong answer; [`NotProved::Fault`] where that work could not be done, as
    /// [`Factor::verify`] would say at that moment.
    async fn verify_nobody(&self, answer: &Answer) -> Result<(), NotProved>;

    /// Begins an enrolment. All secrets are made here, never by the client.
    fn begin_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        random: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled>;

    /// What the page shows again after an answer that did not fit, where the person
    /// has already acted on it (scanned a secret); `None` where it is begun anew.
    fn offer_again(&self, _person: &Person, _state: &SecretString) -> Option<EnrolmentOffer> {
        None
    }

    /// Reads where a code is to be sent to enrol this; `typed` is what the person typed, if anything was asked.
    /// [`NotEnrolled::Refused`] where nothing is sent for this kind.
    fn destination(
        &self,
        _person: &Person,
        _existing: &[EnrolledFactor],
        _typed: &str,
    ) -> Result<Destination, NotEnrolled> {
        Err(NotEnrolled::Refused("nothing is sent for this".to_owned()))
    }

    /// What is kept of an enrolment that goes on with a code which was sent there, until `expires_at`.
    fn begin_with_code(
        &self,
        _person: &Person,
        _to: &Destination,
        _code: &SecretString,
        _expires_at: Timestamp,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        Err(NotEnrolled::Refused("nothing is sent for this".to_owned()))
    }

    /// Finishes it. `existing` are all of the person's factors (a password may be
    /// shorter where it is not the only factor: SP 800-63B-4).
    async fn finish_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        answer: &EnrolmentAnswer,
        now: Timestamp,
    ) -> Result<Enrolled, NotEnrolled>;
}
