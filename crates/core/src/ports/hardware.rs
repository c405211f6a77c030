//! Hardware tokens: imported, handed out, activated by their holders.

use async_trait::async_trait;
use stepgate_evidence::Entry;

use super::{ChangeError, StoreError, TicketThen};
use crate::factor::{EnrolledFactor, FactorKind, FactorUse, OathKey};
use crate::id::{FactorId, PersonId, TokenId};
use crate::secret::TokenDigest;
use crate::time::Timestamp;

/// A hardware token of an import.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its id.
    pub id: TokenId,
    /// What is printed on it; there is one of each.
    pub serial: String,
    /// Who made it; may be empty.
    pub manufacturer: String,
    /// What makes its codes.
    pub key: OathKey,
    /// The counter of its next code, as the file says; 0 for a clock.
    pub next: u64,
    /// When its maker says that it ends.
    pub until: Option<Timestamp>,
}

/// A hardware token, without what makes its codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardwareToken {
    /// Its id.
    pub id: TokenId,
    /// What is printed on it.
    pub serial: String,
    /// Who made it; may be empty.
    pub manufacturer: String,
    /// Whether it counts or has a clock.
    pub kind: FactorKind,
    /// When it was imported.
    pub imported_at: Timestamp,
    /// When its maker says that it ends.
    pub until: Option<Timestamp>,
    /// What it is by now.
    pub state: TokenState,
}

/// What a token is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// Nobody's.
    Free,
    /// Handed out to this person, who has not activated it.
    Assigned(PersonId),
    /// A factor of this person.
    Active(PersonId, FactorId),
    /// Out of use for good; its seed is gone.
    Revoked,
}

impl TokenState {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Assigned(_) => "assigned",
            Self::Active(..) => "active",
            Self::Revoked => "revoked",
        }
    }

    /// Whose it is.
    pub const fn person(self) -> Option<PersonId> {
        match self {
            Self::Assigned(person) | Self::Active(person, _) => Some(person),
            Self::Free | Self::Revoked => None,
        }
    }
}

/// Where hardware tokens are.
///
/// A serial number is there once and for good: what was revoked cannot be imported again, so no counter goes back.
#[async_trait]
pub trait HardwareTokens: Send + Sync + std::fmt::Debug {
    /// Imports all of them, or none. `UsedBefore` if a serial number is there already.
    async fn import_tokens(&self, tokens: Vec<NewToken>, at: Timestamp, entry: Entry) -> Result<(), ChangeError>;
    /// The token with this serial number.
    async fn token(&self, serial: &str) -> Result<Option<HardwareToken>, StoreError>;
    /// All tokens, by serial number, from after `after`, at most `limit` (capped at 1,000).
    async fn tokens(&self, after: Option<&str>, limit: u32) -> Result<Vec<HardwareToken>, StoreError>;
    /// Hands a free token out. `Conflict` if it is not free, or the person not active.
    async fn assign_token(&self, token: TokenId, person: PersonId, entry: Entry) -> Result<(), ChangeError>;
    /// Takes a token back from this person: it is free, and their factor gone (with `removed`, if there was one).
    /// `Conflict` if it is not theirs.
    async fn unassign_token(
        &self,
        token: TokenId,
        person: PersonId,
        removed: Option<(FactorId, Entry)>,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// Puts a token out of use for good: its seed is erased, and its factor gone, as above. `Conflict` if it is
    /// revoked, or has become somebody's factor meanwhile.
    async fn revoke_token(
        &self,
        token: TokenId,
        removed: Option<(FactorId, Entry)>,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// The tokens that this person was handed and has not activated, each as the factor that it would be.
    async fn assigned_tokens(&self, person: PersonId) -> Result<Vec<EnrolledFactor>, StoreError>;
    /// Adds a handed-out token as a factor, with the code that showed that the person holds it. Consumes the ticket
    /// as `then` says. `Conflict` if ticket or token are not theirs (any more), `UsedBefore` if the code was used.
    async fn activate_token(
        &self,
        ticket: TokenDigest,
        then: TicketThen,
        person: PersonId,
        factor: &EnrolledFactor,
        used: FactorUse,
        entry: Entry,
    ) -> Result<(), ChangeError>;
}
