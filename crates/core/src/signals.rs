//! Security events that other systems tell of (SSF 1.0, CAEP 1.0), as the flows need them.
//!
//! Whoever implements [`Transmitters`] reads and verifies what was signed; what it does
//! here is for the flows.

use async_trait::async_trait;

use crate::provider::ProviderName;
use crate::risk::RiskLevel;
use crate::time::Timestamp;

/// The longest security event token, in bytes.
pub const SET_LEN_MAX: usize = 64 * 1024;

/// Somebody or something, as a subject identifier names it (RFC 9493).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identifier {
    /// `iss_sub`.
    Identity {
        /// `iss`.
        issuer: String,
        /// `sub`.
        subject: String,
    },
    /// `email`.
    Email(String),
    /// `opaque`.
    Opaque(String),
    /// A format that is not understood here: one of these is told from another, and nobody is found by it.
    Other {
        /// The whole, as it stands there.
        text: String,
    },
}

/// What of a subject a security event speaks of (CAEP 1.0, section 3.8, `principal`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Principal {
    /// The person.
    #[default]
    User,
    /// One session of theirs.
    Session,
    /// One device of theirs.
    Device,
    /// Something else of theirs, by the transmitter's word.
    Other(String),
}

/// What a security event is about (SSF 1.0, section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSubject {
    /// The person.
    pub user: Option<Identifier>,
    /// The session.
    pub session: Option<Identifier>,
    /// The device.
    pub device: Option<Identifier>,
    /// Which of these is meant.
    pub principal: Principal,
    /// Whether a tenant, group or organisation is meant and no single person.
    pub wider: bool,
}

/// What happened (CAEP 1.0, section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// `session-revoked`.
    SessionRevoked,
    /// `credential-change`.
    CredentialChange {
        /// Whether a credential was revoked or deleted, rather than created or updated.
        lost: bool,
    },
    /// `assurance-level-change`.
    AssuranceLevelChange {
        /// Whether it is less than before, or nobody says that it is not.
        less: bool,
    },
    /// `device-compliance-change`.
    DeviceCompliance {
        /// Whether the device is compliant now.
        compliant: bool,
    },
    /// `risk-level-change`.
    Risk(RiskLevel),
    /// The transmitter shows that the stream works (SSF 1.0, section 8.1.4.1).
    Verification {
        /// What the receiver asked to have said.
        state: Option<String>,
    },
    /// The transmitter changed the stream (SSF 1.0, section 8.1.5).
    StreamUpdated {
        /// `enabled`, `paused` or `disabled`.
        status: String,
    },
    /// Something that nothing here depends on.
    Other,
}

/// A security event whose token was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent {
    /// `iss`.
    pub issuer: String,
    /// `jti`.
    pub id: String,
    /// `event_timestamp`, or else `iat`.
    pub at: Timestamp,
    /// About whom.
    pub subject: EventSubject,
    /// The last part of the event's type, for entries.
    pub name: String,
    /// What happened.
    pub happened: Happened,
}

/// Why a token is no event that counts. `code()` is RFC 8935's (section 2.4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASet {
    /// It cannot be read, or says what such a token must not say.
    #[error("the security event token is not valid: {0}")]
    Invalid(String),
    /// Its key is unknown, or cannot be used.
    #[error("the key of the security event token is not valid: {0}")]
    Key(String),
    /// Its signature does not hold, or its algorithm is not accepted.
    #[error("the security event token is not authentic: {0}")]
    NotAuthentic(String),
    /// It is not the transmitter's.
    #[error("the issuer is not the transmitter's")]
    Issuer,
    /// It is for somebody else.
    #[error("the audience is another")]
    Audience,
    /// It speaks of somebody of whom this transmitter may not, and such events are refused.
    #[error("the transmitter may not speak of this subject")]
    Foreign,
    /// No such transmitter is configured.
    #[error("no such transmitter is configured")]
    Unknown,
    /// The transmitter's keys cannot be had now: try again.
    #[error("the transmitter cannot be reached: {0}")]
    Away(String),
}

impl NotASet {
    /// The registered code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::Key(_) => "invalid_key",
            Self::NotAuthentic(_) => "authentication_failed",
            Self::Issuer => "invalid_issuer",
            Self::Audience => "invalid_audience",
            Self::Foreign | Self::Unknown => "access_denied",
            Self::Away(_) => "unavailable",
        }
    }
}

/// What becomes of an event about somebody of whom its transmitter may not speak. It does nothing either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Foreign {
    /// It is taken, and recorded as what it is.
    #[default]
    Ignore,
    /// It is refused.
    Refuse,
}

impl Foreign {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ignore, Self::Refuse];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Refuse => "refuse",
        }
    }
}

/// A transmitter as the flows know it: whom it may speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmitter {
    /// Its name in the configuration.
    pub name: String,
    /// The issuers of whose subjects it may speak by `iss_sub`.
    pub subject_issuers: Vec<String>,
    /// The provider of whose sessions it may speak.
    pub provider: Option<ProviderName>,
    /// Whether it may name people by address.
    pub by_email: bool,
    /// Whether `opaque` is the `externalId` that provisioning gave.
    pub by_external_id: bool,
    /// What becomes of an event about anybody else.
    pub foreign: Foreign,
    /// How long what it says of a risk counts, if it says nothing newer.
    pub keep: std::time::Duration,
}

/// The transmitters that are configured.
#[async_trait]
pub trait Transmitters: Send + Sync + std::fmt::Debug {
    /// The one with this name.
    fn named(&self, name: &str) -> Option<&Transmitter>;

    /// Reads and verifies a security event token of this transmitter.
    async fn verify(&self, transmitter: &str, set: &str, now: Timestamp) -> Result<SecurityEvent, NotASet>;
}

/// No transmitter at all.
#[derive(Clone, Copy, Debug)]
pub struct NoTransmitters;

#[async_trait]
impl Transmitters for NoTransmitters {
    fn named(&self, _: &str) -> Option<&Transmitter> {
        None
    }

    async fn verify(&self, _: &str, _: &str, _: Timestamp) -> Result<SecurityEvent, NotASet> {
        Err(NotASet::Unknown)
    }
}

/// Signs security event tokens (RS256, so that every receiver can check them).
pub trait SetSigner: Send + Sync + std::fmt::Debug {
    /// The token with these claims.
    ///
    /// # Errors
    ///
    /// Why it cannot be signed, for the operator.
    fn sign(&self, claims: &str) -> Result<String, String>;
    /// The public keys, as a JWK set.
    fn jwks(&self) -> serde_json::Value;
}

/// What a receiver said to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It has it.
    Taken,
    /// It will never take this one: its code and words, shortened.
    Refused(String),
}

/// The way to receivers.
#[async_trait]
pub trait Receivers: Send + Sync + std::fmt::Debug {
    /// Whether events may be posted there: https, and no address that a stranger must not name.
    ///
    /// # Errors
    ///
    /// Why not.
    fn allowed(&self, endpoint: &str) -> Result<(), String>;
    /// Scheme, host and port of an endpoint, for the evidence; empty if it is none.
    fn origin(&self, endpoint: &str) -> String;
    /// Posts an event (RFC 8935, section 2).
    ///
    /// # Errors
    ///
    /// Why it did not come there, or was not judged: it is to be tried again.
    async fn push(
        &self,
        endpoint: &str,
        authorization: Option<&secrecy::SecretString>,
        set: &str,
    ) -> Result<Delivered, String>;
}

/// What a transmitter had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollAnswer {
    /// Tokens by their `jti`.
    pub sets: std::collections::BTreeMap<String, String>,
    /// Whether there is more at once.
    pub more: bool,
}

/// A transmitter whose events are fetched.
#[async_trait]
pub trait EventSource: Send + Sync + std::fmt::Debug {
    /// Says which events were taken and which were refused (by code and words), and fetches more
    /// (RFC 8936, section 2.4). `patience`: how long it may hold the question if it has nothing.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    async fn poll(
        &self,
        taken: &[String],
        refused: &std::collections::BTreeMap<String, (String, String)>,
        patience: std::time::Duration,
    ) -> Result<PollAnswer, String>;
}
