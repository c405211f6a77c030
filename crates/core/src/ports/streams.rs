//! What transmitting security events needs of the store: streams, and what waits in them.

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_evidence::Entry;

use super::{ChangeError, StoreError};
use crate::id::{PersonId, StreamId};
use crate::machine::MachineName;
use crate::time::Timestamp;

/// The most events that wait in one stream. Where there are as many, the ledger keeps the rest.
pub const WAITING_MAX: u32 = 10_000;

/// How events come to their receiver.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// They are posted there (RFC 8935).
    Push {
        /// Where.
        endpoint: String,
        /// The value of `Authorization`, if the receiver wants one.
        authorization: Option<SecretString>,
    },
    /// They are fetched (RFC 8936).
    Poll,
}

/// What a stream does (SSF 1.0, section 8.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// Events are delivered.
    Enabled,
    /// Events are kept.
    Paused,
    /// Events are neither delivered nor kept.
    Disabled,
}

impl StreamStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Paused, Self::Disabled];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

impl std::str::FromStr for StreamStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.name() == text).ok_or(())
    }
}

/// A stream of security events to another system.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its id.
    pub id: StreamId,
    /// Whose it is; each machine has one at most.
    pub machine: MachineName,
    /// `aud` of its events.
    pub audience: String,
    /// How they come there.
    pub delivery: Delivery,
    /// The events that were asked for, by their URIs; empty: all.
    pub requested: Vec<String>,
    /// What the receiver calls it.
    pub description: String,
    /// What it does.
    pub status: StreamStatus,
    /// Why, as the receiver said.
    pub reason: String,
    /// Entries of the ledger before this one have been looked at.
    pub cursor: u64,
    /// Counts changes, from 1.
    pub version: u32,
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingSet {
    /// `jti`.
    pub id: String,
    /// The claims, not signed yet.
    pub claims: String,
}

/// Streams of security events.
#[async_trait]
pub trait Streams: Send + Sync + std::fmt::Debug {
    /// Adds a stream. `UsedBefore` if its machine has one, `Conflict` if there is no such machine.
    async fn add_stream(&self, stream: &Stream, entry: Entry) -> Result<(), ChangeError>;
    /// All streams (at most 1,000), by machine.
    async fn streams(&self) -> Result<Vec<Stream>, StoreError>;
    /// The stream of a machine.
    async fn stream_of(&self, machine: &MachineName) -> Result<Option<Stream>, StoreError>;
    /// Changes everything but its machine and its cursor; `Conflict` if it is not at that version.
    /// A stream that is disabled forgets what waits.
    async fn change_stream(&self, stream: &Stream, entry: Entry) -> Result<(), ChangeError>;
    /// Removes a stream with what waits in it. `Conflict` if there is none.
    async fn remove_stream(&self, id: StreamId, entry: Entry) -> Result<(), ChangeError>;
    /// Moves a stream's cursor and puts what was found on the way, in order; exactly once across
    /// all nodes: `Conflict` if the cursor is not at `from`. `Limit` if too many wait.
    async fn fill_stream(&self, id: StreamId, from: u64, to: u64, sets: Vec<WaitingSet>) -> Result<(), ChangeError>;
    /// The events that wait longest, in order.
    async fn waiting(&self, id: StreamId, limit: u32) -> Result<Vec<WaitingSet>, StoreError>;
    /// Forgets events: they were delivered, or refused for good.
    async fn settle(&self, id: StreamId, sets: Vec<String>) -> Result<(), StoreError>;
    /// Takes the right to push for this stream until then, alone among all nodes; `false` if
    /// another has it.
    async fn lease_stream(&self, id: StreamId, now: Timestamp, until: Timestamp) -> Result<bool, StoreError>;
    /// Leaves a person out of a stream, or no longer.
    async fn leave_out(&self, id: StreamId, person: PersonId, out: bool) -> Result<(), ChangeError>;
    /// The people who are left out of a stream, among these.
    async fn left_out(&self, id: StreamId, person: PersonId) -> Result<bool, StoreError>;
}
