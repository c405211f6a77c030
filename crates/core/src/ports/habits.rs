//! What is usual for people: where it is kept, and who keeps it in memory.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::StoreError;
use crate::behaviour::{Act, BehaviourSettings, Profile, Sure};
use crate::id::PersonId;
use crate::time::Timestamp;

/// A profile as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptProfile {
    /// Counts the writes; 0 where there was none.
    pub version: u64,
    /// [`Profile::encode`].
    pub bytes: Vec<u8>,
}

/// A profile that is to be written.
#[derive(Clone, Debug)]
pub struct ProfileWrite {
    /// Whose.
    pub person: PersonId,
    /// What it was made of, as it was read.
    pub kept: KeptProfile,
}

/// What became of a profile that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileFate {
    /// It is kept, at the next version.
    Kept,
    /// Another node wrote meanwhile: it is to be read, and what was learned applied again.
    Changed,
    /// There is no such person, or they are out of service: nothing is kept of them.
    Gone,
}

/// The profiles in the store.
#[async_trait]
pub trait Profiles: Send + Sync + std::fmt::Debug {
    /// The profile of a person; `None` if nothing is kept.
    async fn profile(&self, person: PersonId) -> Result<Option<KeptProfile>, StoreError>;
    /// Writes each that is still at its version, and gives what became of each, in their order.
    async fn keep_profiles(&self, batch: Vec<ProfileWrite>, at: Timestamp) -> Result<Vec<ProfileFate>, StoreError>;
}

/// What is known of somebody's habits.
#[derive(Clone, Debug)]
pub enum Habit {
    /// This, in memory: judged and taught in place.
    Of(Arc<Mutex<Profile>>),
    /// It cannot be read now. That is never taken for usual.
    Unreadable,
}

/// Something that went through, to learn from.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// Who did it.
    pub person: PersonId,
    /// What.
    pub act: Act,
    /// How sure it is that it was they.
    pub sure: Sure,
    /// What counts as unusual.
    pub settings: Arc<BehaviourSettings>,
}

/// Keeps habits in memory, for one process.
#[async_trait]
pub trait HabitKeeper: Send + Sync + std::fmt::Debug {
    /// The habits of a person, if they are in memory. `None` tells nothing: ask [`HabitKeeper::habit`].
    fn in_memory(&self, person: PersonId) -> Option<Habit>;
    /// The habits of a person, from memory or the store.
    async fn habit(&self, person: PersonId) -> Habit;
    /// Learns. Never waits: who is in memory learns at once, of others it is put off, and what is too much is
    /// counted and left out.
    fn learn(&self, lesson: Lesson);
}

/// Keeps nothing: nobody's habits can be read.
#[derive(Clone, Copy, Debug)]
pub struct NoHabits;

#[async_trait]
impl HabitKeeper for NoHabits {
    fn in_memory(&self, _: PersonId) -> Option<Habit> {
        Some(Habit::Unreadable)
    }

    async fn habit(&self, _: PersonId) -> Habit {
        Habit::Unreadable
    }

    fn learn(&self, _: Lesson) {}
}
