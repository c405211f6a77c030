//! Sending to people.

use std::fmt;

use secrecy::SecretString;

use crate::factor::{Destination, FactorKind};
use crate::id::{PersonId, SentCodeId};
use crate::time::Timestamp;

/// Sends to people what the flows hand it.
///
/// It takes at once and sends later, so that no request waits for somebody else's server. What became of a
/// message is told by [`Flows::delivered`](crate::flows::Flows::delivered), once for each that was taken. What
/// was taken and not sent when the process ends is lost: the person asks for another code.
pub trait Courier: Send + Sync + fmt::Debug {
    /// Takes a message for this person. It is bounded in how many wait.
    fn take(&self, person: PersonId, message: Message) -> Result<(), CourierFull>;
}

/// Too much waits to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much waits to be sent")]
pub struct CourierFull;

/// A code, and everything that its message says.
#[derive(Clone, Debug)]
pub struct Message {
    /// The code's id: who sends it again sends the same.
    pub id: SentCodeId,
    /// The kind of factor that it is for.
    pub kind: FactorKind,
    /// Where it goes.
    pub to: Destination,
    /// The code.
    pub code: SecretString,
    /// What it is for.
    pub about: About,
    /// When it was asked for.
    pub at: Timestamp,
    /// When it is no longer accepted: a message that cannot arrive before is not sent.
    pub expires_at: Timestamp,
}

/// What a code is for, in plain words. It is text from outside: whoever writes it into a message escapes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The operation that is confirmed.
    Operation {
        /// The service, as people know it.
        service: String,
        /// What is done there: the title that the challenge shows.
        title: String,
        /// The inputs that the operation declares.
        inputs: Vec<(String, String)>,
        /// The network address that asked.
        address: String,
        /// The program or browser that asked.
        agent: String,
    },
    /// This address is to be a way to prove who one is.
    Enrolment {
        /// Who signs in with this name.
        login: String,
    },
}

/// Nothing can be sent: no kind whose codes are sent is configured.
#[derive(Clone, Copy, Debug)]
pub struct NoCourier;

impl Courier for NoCourier {
    fn take(&self, _: PersonId, _: Message) -> Result<(), CourierFull> {
        Err(CourierFull)
    }
}
