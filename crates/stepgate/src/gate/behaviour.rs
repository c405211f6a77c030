//! Keeps people's habits in memory, and writes them down every few seconds.
//!
//! Memory is bounded in bytes; who is not in it is read when it is needed. What was learned and is not written yet is
//! kept beside, until it is. A crash loses what was learned since the last writing, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use moka::sync::Cache;
use parking_lot::Mutex;
use stepgate_core::behaviour::{PROFILE_BYTES_MAX, Profile, teach};
use stepgate_core::id::PersonId;
use stepgate_core::ports::{Habit, HabitKeeper, KeptProfile, Lesson, ProfileFate, ProfileWrite, Profiles, StoreError};
use stepgate_core::time::Clock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often what was learned is written.
const FLUSH_EVERY: Duration = Duration::from_secs(15);
/// Profiles in one transaction.
const BATCH_MAX: usize = 32;
/// People whose lessons wait to be written; of more, nothing is learned until then.
const WAITING_MAX: usize = 20_000;
/// Lessons of one person that wait; of more, those that came first are not taught again where two nodes wrote at once.
const LESSONS_MAX: usize = 256;
/// Lessons of people who are not in memory that wait.
const LATE_MAX: usize = 4_096;
/// After so long a profile is read again: another node may have taught it.
const READ_AGAIN: Duration = Duration::from_secs(300);
/// What one profile takes in memory at most, about: its lists are as long as they can be, and what waits beside.
const BYTES_OF_ONE: u32 = 320 + PROFILE_BYTES_MAX as u32 * 5 / 4;

/// One person in memory.
#[derive(Debug)]
struct Held {
    profile: Arc<Mutex<Profile>>,
    /// Taken before the profile, never after it.
    waiting: Mutex<Waiting>,
}

/// What is not written yet.
#[derive(Debug)]
struct Waiting {
    /// Of the row that the profile was made of.
    version: u64,
    lessons: Vec<Lesson>,
}

/// Keeps habits for this process.
#[derive(Debug)]
pub struct Keeper {
    profiles: Arc<dyn Profiles>,
    clock: Arc<dyn Clock>,
    memory: Cache<PersonId, Arc<Held>>,
    waiting: Mutex<HashMap<PersonId, Arc<Held>>>,
    late: mpsc::Sender<Lesson>,
    left_out: AtomicU64,
    unreadable: AtomicU64,
}

/// Lessons of people who are not in memory.
#[derive(Debug)]
pub struct LateLessons(mpsc::Receiver<Lesson>);

impl Keeper {
    /// Keeps so many bytes of profiles in memory.
    pub fn new(profiles: Arc<dyn Profiles>, clock: Arc<dyn Clock>, bytes: u64) -> (Arc<Self>, LateLessons) {
        let (late, lessons) = mpsc::channel(LATE_MAX);
        let memory = Cache::builder().max_capacity(bytes).weigher(|_, _| BYTES_OF_ONE).time_to_live(READ_AGAIN).build();
        let (left_out, unreadable) = (AtomicU64::new(0), AtomicU64::new(0));
        let waiting = Mutex::default();
        (Arc::new(Self { profiles, clock, memory, waiting, late, left_out, unreadable }), LateLessons(lessons))
    }

    fn known(&self, person: PersonId) -> Option<Arc<Held>> {
        self.memory.get(&person).or_else(|| {
            // What is not written yet is newer than what a read would give.
            let held = self.waiting.lock().get(&person).map(Arc::clone)?;
            self.memory.insert(person, Arc::clone(&held));
            Some(held)
        })
    }

    async fn held(&self, person: PersonId) -> Result<Arc<Held>, Box<dyn std::error::Error + Send + Sync>> {
        if let Some(held) = self.known(person) {
            return Ok(held);
        }
        let (version, profile) = self.read(person).await?;
        let waiting = Mutex::new(Waiting { version, lessons: Vec::new() });
        let held = Arc::new(Held { profile: Arc::new(Mutex::new(profile)), waiting });
        // Of two that read at once one is kept, so that no lesson is lost with the other.
        Ok(self.memory.entry(person).or_insert(held).into_value())
    }

    async fn read(&self, person: PersonId) -> Result<(u64, Profile), Box<dyn std::error::Error + Send + Sync>> {
        Ok(match self.profiles.profile(person).await? {
            None => (0, Profile::default()),
            Some(KeptProfile { version, bytes }) => (version, Profile::decode(&bytes)?),
        })
    }

    fn take(&self, held: &Arc<Held>, lesson: Lesson) {
        let mut waiting = self.waiting.lock();
        let person = lesson.person;
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&person) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.entry(person).or_insert_with(|| Arc::clone(held));
        drop(waiting);
        let mut own = held.waiting.lock();
        teach(&mut held.profile.lock(), &lesson.act, lesson.sure, &lesson.settings);
        if own.lessons.len() >= LESSONS_MAX {
            own.lessons.remove(0);
        }
        own.lessons.push(lesson);
    }

    /// Writes what was learned. What could not be written waits for the next time.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let all: Vec<_> = self.waiting.lock().drain().collect();
        let mut failed = Ok(());
        for batch in all.chunks(BATCH_MAX) {
            if failed.is_ok() {
                failed = self.write(batch).await;
            }
            if failed.is_err() {
                let mut waiting = self.waiting.lock();
                for (person, held) in batch {
                    waiting.entry(*person).or_insert_with(|| Arc::clone(held));
                }
            }
        }
        self.tell();
        failed
    }

    async fn write(&self, batch: &[(PersonId, Arc<Held>)]) -> Result<(), StoreError> {
        let mut writes = Vec::with_capacity(batch.len());
        let mut counts = Vec::with_capacity(batch.len());
        for (person, held) in batch {
            let own = held.waiting.lock();
            let bytes = held.profile.lock().encode();
            counts.push(own.lessons.len());
            writes.push(ProfileWrite { person: *person, kept: KeptProfile { version: own.version, bytes } });
        }
        let fates = self.profiles.keep_profiles(writes, self.clock.now()).await?;
        for (((person, held), count), fate) in batch.iter().zip(counts).zip(fates) {
            match fate {
                ProfileFate::Kept => {
                    let mut own = held.waiting.lock();
                    own.version = own.version.saturating_add(1);
                    let written = count.min(own.lessons.len());
                    own.lessons.drain(..written);
                }
                ProfileFate::Changed => self.teach_again(*person, held).await,
                ProfileFate::Gone => {
                    self.waiting.lock().remove(person);
                    self.memory.invalidate(person);
                }
            }
        }
        Ok(())
    }

    /// Another node wrote meanwhile: what it wrote, and what was learned here, once more on top of it.
    async fn teach_again(&self, person: PersonId, held: &Arc<Held>) {
        let Ok((version, mut profile)) = self.read(person).await else {
            // It cannot be read: what was learned here is lost, and who asks next is told that it is unreadable.
            self.memory.invalidate(&person);
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut own = held.waiting.lock();
        for lesson in &own.lessons {
            teach(&mut profile, &lesson.act, lesson.sure, &lesson.settings);
        }
        *held.profile.lock() = profile;
        own.version = version;
        drop(own);
        self.waiting.lock().entry(person).or_insert_with(|| Arc::clone(held));
    }

    fn tell(&self) {
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            tracing::warn!(left_out, "more was done than habits could be learned from; what is usual is as it was");
        }
        let unreadable = self.unreadable.swap(0, Ordering::Relaxed);
        if unreadable > 0 {
            tracing::error!(unreadable, "habits could not be read: policies saw `habits_unreadable`");
        }
    }
}

#[async_trait]
impl HabitKeeper for Keeper {
    fn in_memory(&self, person: PersonId) -> Option<Habit> {
        self.known(person).map(|held| Habit::Of(Arc::clone(&held.profile)))
    }

    async fn habit(&self, person: PersonId) -> Habit {
        match self.held(person).await {
            Ok(held) => Habit::Of(Arc::clone(&held.profile)),
            Err(error) => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(error = error.as_ref() as &dyn std::error::Error, %person, "habits could not be read");
                Habit::Unreadable
            }
        }
    }

    fn learn(&self, lesson: Lesson) {
        match self.known(lesson.person) {
            Some(held) => self.take(&held, lesson),
            None => {
                if self.late.try_send(lesson).is_err() {
                    self.left_out.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Learns late, and writes, until `stop`; then it writes once more.
pub(super) async fn run(keeper: Arc<Keeper>, LateLessons(mut late): LateLessons, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(FLUSH_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => flush(&keeper).await,
            Some(lesson) = late.recv() => learn_late(&keeper, lesson).await,
        }
    }
    while let Ok(lesson) = late.try_recv() {
        learn_late(&keeper, lesson).await;
    }
    flush(&keeper).await;
}

async fn learn_late(keeper: &Keeper, lesson: Lesson) {
    match keeper.held(lesson.person).await {
        Ok(held) => keeper.take(&held, lesson),
        Err(_) => {
            keeper.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn flush(keeper: &Keeper) {
    if let Err(error) = keeper.flush().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "habits were not written; it is tried again");
    }
}

#[cfg(test)]
mod tests;
