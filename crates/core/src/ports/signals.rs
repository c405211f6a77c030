//! What shared signals need of the store.

use async_trait::async_trait;
use stepgate_evidence::Entry;

use super::StoreError;
use crate::id::{PersonId, SessionId};
use crate::provider::ProviderName;
use crate::risk::{RiskKind, RiskSubject};
use crate::time::Timestamp;

/// Whom a security event concerns here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerned {
    /// A person, with all their sessions.
    Person(PersonId),
    /// One session of a person.
    Session(PersonId, SessionId),
}

impl Concerned {
    /// Whose it is.
    pub const fn person(self) -> PersonId {
        match self {
            Self::Person(person) | Self::Session(person, _) => person,
        }
    }

    /// The one session, if it is one.
    pub const fn session(self) -> Option<SessionId> {
        match self {
            Self::Person(_) => None,
            Self::Session(_, session) => Some(session),
        }
    }
}

/// What a security event does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalEffect {
    /// Sessions end, and what waits in them is never sent. Of the person's access tokens, those that were
    /// issued until now are worth nothing.
    EndSessions,
    /// What was proved counts as never, and what waits is never sent; sessions stay. Access tokens as above.
    DropProofs,
    /// A risk counts until then. It replaces what the same transmitter told earlier under this name
    /// about the same, and nothing else; what happened earlier replaces nothing.
    Risk {
        /// What was spoken of.
        about: RiskSubject,
        /// What is said.
        kind: RiskKind,
        /// Until when.
        until: Timestamp,
    },
    /// What the same transmitter told earlier under this name about the same counts no longer.
    NoRisk {
        /// What is spoken of.
        about: RiskSubject,
        /// The name: a level's or a signal's.
        name: RiskName,
    },
}

/// Under which name a risk is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RiskName {
    /// How great it is.
    Level,
    /// The signal of this name.
    Signal(String),
}

/// What became of a security event in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalFate {
    /// It and its effects are durable.
    Taken,
    /// It was taken before: nothing happened now.
    TakenBefore,
    /// Somebody whom it concerns is there no longer: nothing happened. Whom it concerns is to be found again.
    Gone,
}

/// A security event that was verified, and what it does here.
#[derive(Clone, Debug)]
pub struct TakenSignal {
    /// SHA-256 of issuer and `jti`: it is taken once.
    pub set: [u8; 32],
    /// Whose event it is, by its name in the configuration.
    pub transmitter: String,
    /// When it happened, as the transmitter says.
    pub happened_at: Timestamp,
    /// Now.
    pub at: Timestamp,
    /// Whom it concerns, and what it does to them.
    pub effects: Vec<(Concerned, SignalEffect)>,
}

/// Security events of other systems.
#[async_trait]
pub trait SignalStore: Send + Sync + std::fmt::Debug {
    /// Takes an event, once, by whichever node. Its effects and entries (none, where the event does nothing and is
    /// only counted) are in the same transaction; sessions and challenges that end have entries of their own. Every node knows
    /// within a second. No limit undoes it: of things of one person beyond the fiftieth that one
    /// transmitter tells a risk of, all together are kept as one, which only rises.
    async fn take_signal(&self, signal: TakenSignal, entries: Vec<Entry>) -> Result<SignalFate, StoreError>;
    /// The active people with this address, in any case (at most a thousand). Who is out of service holds no
    /// address: an old account does not hide the one that is in use.
    async fn people_by_email(&self, email: &str) -> Result<Vec<PersonId>, StoreError>;
    /// The live sessions that rest on this session of a provider, or in which it proved more.
    async fn sessions_of_provider(
        &self,
        provider: &ProviderName,
        sid: &str,
        now: Timestamp,
    ) -> Result<Vec<(PersonId, SessionId)>, StoreError>;
}
