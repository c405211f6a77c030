//! What transmitting security events needs of the store: streams, and what waits in them.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_evidence::Entry;

use super::{ChangeError, StoreError};
use crate::id::{PersonId, SetId, StreamId, TurnId};
use crate::machine::MachineName;
use crate::time::Timestamp;

/// The most events that wait in one stream. Where there are as many, the ledger keeps the rest.
pub const WAITING_MAX: u32 = 10_000;
/// The most events that a receiver can settle at once.
pub const SETTLED_MAX: usize = 100;
/// The longest code of a receiver that refuses an event, in characters.
const CODE_MAX: usize = 40;

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
    /// How many events wait in it.
    pub waiting: u32,
    /// Counts changes, from 1.
    pub version: u32,
    /// When the token of its machine expires; `None`: never.
    pub expires_at: Option<Timestamp>,
}

impl Stream {
    /// Whether nobody can ask for its events any more, until its machine has another token.
    pub fn is_nobodys(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingSet {
    /// `jti`.
    pub id: SetId,
    /// The claims, not signed yet.
    pub claims: String,
}

/// What a receiver says of events: it has them, or will never take them. At most [`SETTLED_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Settled {
    taken: BTreeSet<SetId>,
    refused: BTreeMap<SetId, String>,
}

/// More events than a receiver can settle at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {SETTLED_MAX} events are settled at once")]
pub struct TooManySettled;

impl Settled {
    /// It has this one.
    ///
    /// # Errors
    ///
    /// There are as many as can be.
    pub fn take(&mut self, id: SetId) -> Result<(), TooManySettled> {
        self.taken.insert(id);
        self.fits()
    }

    /// It will never take this one, for this reason: the code of RFC 8935 or 8936.
    ///
    /// # Errors
    ///
    /// There are as many as can be.
    pub fn refuse(&mut self, id: SetId, code: &str) -> Result<(), TooManySettled> {
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        self.refused.insert(id, code.chars().filter(plain).take(CODE_MAX).collect());
        self.fits()
    }

    fn fits(&self) -> Result<(), TooManySettled> {
        if self.ids().count() > SETTLED_MAX { Err(TooManySettled) } else { Ok(()) }
    }

    /// All of them.
    pub fn ids(&self) -> impl Iterator<Item = SetId> {
        self.taken.iter().chain(self.refused.keys()).copied()
    }

    /// Why this one was refused, if it was.
    pub fn refusal(&self, id: SetId) -> Option<&str> {
        self.refused.get(&id).map(String::as_str)
    }
}

/// A node's right to post for a stream, alone among all nodes, as long as nobody changes the stream.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The stream.
    pub stream: StreamId,
    /// At this version: what was changed meanwhile is posted by its new rules.
    pub version: u32,
    /// Whose it is; another for each turn.
    pub holder: TurnId,
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
    /// Changes everything but its machine, when that one's token expires, and its cursor; `Conflict` if it is not at that version.
    /// A stream that is disabled forgets what waits.
    async fn change_stream(&self, stream: &Stream, entry: Entry) -> Result<(), ChangeError>;
    /// Removes a stream with what waits in it. `Conflict` if there is none.
    async fn remove_stream(&self, id: StreamId, entry: Entry) -> Result<(), ChangeError>;
    /// Moves a stream's cursor and puts what was found on the way, in order; exactly once across
    /// all nodes: `Conflict` if the cursor is not at `from`. `Limit` if too many wait.
    async fn fill_stream(&self, id: StreamId, from: u64, to: u64, sets: Vec<WaitingSet>) -> Result<(), ChangeError>;
    /// The events that wait longest, in order.
    async fn waiting(&self, id: StreamId, limit: u32) -> Result<Vec<WaitingSet>, StoreError>;
    /// Puts the event that shows that a stream works. `Conflict` if there is no such stream, `Limit` if
    /// too many wait, or the last was put less than `every` ago.
    async fn verify_stream(
        &self,
        id: StreamId,
        set: WaitingSet,
        now: Timestamp,
        every: std::time::Duration,
    ) -> Result<(), ChangeError>;
    /// Forgets events: they were delivered, or refused for good. Each that waited and was refused has an
    /// entry in the same transaction.
    async fn settle(&self, id: StreamId, settled: Settled, at: Timestamp) -> Result<(), StoreError>;
    /// Takes a turn to post until then, alone among all nodes; `false` if another has one or the
    /// stream is not enabled at that version.
    async fn take_turn(&self, turn: Turn, now: Timestamp, until: Timestamp) -> Result<bool, StoreError>;
    /// Settles what was posted in a turn, and holds the turn until then. `false` if it is over, because another
    /// node has one or the stream was changed: then nothing happened.
    async fn posted(&self, turn: Turn, settled: Settled, now: Timestamp, until: Timestamp) -> Result<bool, StoreError>;
    /// Ends a turn, so that whoever is next need not wait. Nothing if it is over.
    async fn end_turn(&self, turn: Turn) -> Result<(), StoreError>;
    /// Leaves a person out of a stream, or no longer.
    async fn leave_out(&self, id: StreamId, person: PersonId, out: bool, entry: Entry) -> Result<(), ChangeError>;
    /// The people who are left out of a stream, among these.
    async fn left_out(&self, id: StreamId, person: PersonId) -> Result<bool, StoreError>;
    /// How others knew a person who was deleted, until every stream has looked at all that was recorded of them.
    async fn departed(&self, person: PersonId) -> Result<Option<Departed>, StoreError>;
}

/// A person who was deleted, as they were known then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Issuer and subject of the identity that they signed in with.
    pub identity: Option<(String, String)>,
    /// The streams that they were left out of.
    pub left_out: Vec<StreamId>,
}
