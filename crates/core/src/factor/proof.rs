//! Asking for a factor, the answer, and what it proves.

use std::fmt;

use secrecy::SecretString;
use stepgate_evidence::Assertion;

use super::{CodeDelivery, FactorKind, FactorUse};
use crate::id::FactorId;
use crate::time::Timestamp;

/// What an answer must be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding(pub [u8; 32]);

/// What a person answered.
pub enum Answer {
    /// A password, authenticator code or recovery code, as typed.
    Text { kind: FactorKind, text: SecretString },
    /// What a passkey signed.
    Passkey(Box<Assertion>),
    /// An approval on a device: what that signed, if it signs.
    Device { kind: FactorKind, assertion: Option<Box<Assertion>> },
}

impl Answer {
    /// The kind of factor that it claims to prove.
    pub fn kind(&self) -> FactorKind {
        match self {
            Self::Text { kind, .. } | Self::Device { kind, .. } => *kind,
            Self::Passkey(_) => FactorKind::PASSKEY,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer::{}(..)", self.kind())
    }
}

/// A verified answer: the factor, what it changes, and the evidence.
#[derive(Clone, Debug)]
pub struct Proved {
    /// The enrolled factor that was proved.
    pub factor: FactorId,
    /// Its kind.
    pub kind: FactorKind,
    /// What the proof changes in the factor.
    pub used: FactorUse,
    /// For a passkey, or a device that signs: the assertion.
    pub assertion: Option<Assertion>,
}

/// Why an answer proves nothing. `code()` stands in the evidence; the person
/// reads only that it was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProved {
    /// The person has no factor of this kind (or not this credential).
    #[error("no such factor is enrolled")]
    NotEnrolled,
    /// Wrong password, code or signature.
    #[error("the answer is wrong: {0}")]
    Wrong(String),
    /// The code was right and has been used before.
    #[error("the code has been used before")]
    UsedBefore {
        /// The factor whose last accepted code it is; `None` if it is an older one.
        last: Option<FactorId>,
    },
    /// It was right, and by a passkey of a model of which something is known that makes it worth nothing.
    #[error("passkeys of this model are not believed: {0}")]
    ModelRefused(String),
    /// The answer has not the form that this factor needs.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
    /// The verifier itself failed; nothing is proved.
    #[error("the factor could not be verified: {0}")]
    Fault(String),
}

impl NotProved {
    /// The stable code in the evidence.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotEnrolled => "not_enrolled",
            Self::Wrong(_) => "wrong",
            Self::UsedBefore { .. } => "used_before",
            Self::ModelRefused(_) => "model_refused",
            Self::Malformed(_) => "malformed",
            Self::Fault(_) => "fault",
        }
    }
}

/// An address to which a code can be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeTo {
    /// The enrolled factor.
    pub factor: FactorId,
    /// The address, as its owner knows it.
    pub masked: String,
    /// The code that was sent there for what is asked, if it is not used: until when it counts, and
    /// what became of sending it.
    pub sent: Option<(Timestamp, CodeDelivery)>,
}

/// What the page needs to ask for a factor.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A field for text.
    Text,
    /// Addresses to which a code can be sent, and a field for it once one was.
    SentCode { to: Vec<CodeTo> },
    /// Options for `navigator.credentials.get` (WebAuthn L3 JSON form: the value of `publicKey`).
    Passkey { options: serde_json::Value },
    /// The names of the devices where it can be approved.
    Devices { names: Vec<String> },
}
