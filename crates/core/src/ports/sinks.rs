//! What telling the evidence to other systems needs of the store: how far each of them has been told.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use stepgate_evidence::Entry;

use super::{ChangeError, StoreError};
use crate::id::TurnId;
use crate::time::Timestamp;

/// The longest that a turn at a sink is taken for.
pub const SINK_TURN_MAX: Duration = Duration::from_secs(900);
/// The longest text about why a sink waits, in characters.
pub const SINK_WHY_MAX: usize = 300;

/// What a sink is called in the configuration, in entries and by commands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkName(String);

/// The text names no sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sink's name is 1 to 40 of a-z, 0-9 and `-`")]
pub struct NotASinkName;

impl SinkName {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// [`NotASinkName`]
    pub fn parse(text: &str) -> Result<Self, NotASinkName> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 40 || !text.bytes().all(fits) {
            return Err(NotASinkName);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node's right to tell a sink, alone among all nodes.
#[derive(Clone, Debug)]
pub struct SinkTurn {
    /// The sink.
    pub sink: SinkName,
    /// Whose it is; another for each turn.
    pub holder: TurnId,
}

/// How far a sink has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkState {
    /// The sink.
    pub sink: SinkName,
    /// It has every entry before this one, or they lie among those that it refused.
    pub next_entry: u64,
    /// The end of the ledger when it was first told: what is before is the past.
    pub begun_at: u64,
    /// When it last took something.
    pub told_at: Option<Timestamp>,
    /// Since when it takes nothing although something waits, and why.
    pub waits: Option<(Timestamp, String)>,
    /// Whether it is known to be behind: there is an entry that says so.
    pub is_late: bool,
    /// How many entries it refused for good.
    pub refused: u64,
}

/// What came of telling a sink some entries.
#[derive(Clone, Debug)]
pub struct Told {
    /// The first of them.
    pub from: u64,
    /// The one after the last.
    pub to: u64,
    /// How many of them it refused for good.
    pub refused: u64,
    /// Whether it is still behind.
    pub is_late: bool,
}

/// How far sinks have been told.
#[async_trait]
pub trait Sinks: Send + Sync + std::fmt::Debug {
    /// Takes a turn at a sink until then, alone among all nodes; a sink that is new begins at `begin`, when
    /// the ledger ends at `end`. `None` if another node has the turn. A turn that ends later than any is taken for is over:
    /// the clock of who took it was wrong.
    async fn take_sink(
        &self,
        turn: &SinkTurn,
        begin: u64,
        end: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<SinkState>, StoreError>;
    /// Moves a sink's cursor, exactly once across all nodes, and holds the turn until then. `Conflict` if the turn is
    /// over or the cursor is not at `from`: then nothing happened.
    async fn told_sink(
        &self,
        turn: &SinkTurn,
        told: Told,
        now: Timestamp,
        until: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError>;
    /// Notes that a sink took nothing, and why, and holds the turn until then. Since when is kept as it was. `Conflict`
    /// if the turn is over.
    async fn sink_waits(
        &self,
        turn: &SinkTurn,
        why: &str,
        is_late: bool,
        now: Timestamp,
        until: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError>;
    /// Ends a turn, so that another node need not wait. Nothing if it is over.
    async fn leave_sink(&self, turn: &SinkTurn) -> Result<(), StoreError>;
    /// All sinks that were ever told (at most 1,000), by name.
    async fn sinks(&self) -> Result<Vec<SinkState>, StoreError>;
    /// Forgets a sink that is not configured any more. `Conflict` if there is none.
    async fn forget_sink(&self, sink: &SinkName, entry: Entry) -> Result<(), ChangeError>;
}
