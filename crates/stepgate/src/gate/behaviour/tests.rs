use std::sync::atomic::AtomicBool;

use stepgate_core::behaviour::{Act, BehaviourSettings, FORMAT, Hourly, NetworkKey, Sure};
use stepgate_core::time::Timestamp;

use super::*;

/// Profiles in a map, as the store keeps its promises.
#[derive(Debug, Default)]
struct Rows {
    rows: Mutex<HashMap<PersonId, KeptProfile>>,
    left: Mutex<Vec<PersonId>>,
    is_away: AtomicBool,
    writes: AtomicU64,
}

impl Rows {
    fn is_here(&self) -> Result<(), StoreError> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("away".into())),
            false => Ok(()),
        }
    }

    fn kept(&self, person: PersonId) -> Profile {
        self.rows.lock().get(&person).map(|kept| Profile::decode(&kept.bytes).unwrap()).unwrap_or_default()
    }
}

#[async_trait]
impl Profiles for Rows {
    async fn profile(&self, person: PersonId) -> Result<Option<KeptProfile>, StoreError> {
        self.is_here()?;
        Ok(self.rows.lock().get(&person).cloned())
    }

    async fn keep_profiles(&self, batch: Vec<ProfileWrite>, _: Timestamp) -> Result<Vec<ProfileFate>, StoreError> {
        self.is_here()?;
        assert!(batch.len() <= BATCH_MAX);
        self.writes.fetch_add(1, Ordering::Relaxed);
        let keep = |ProfileWrite { person, kept }: ProfileWrite| {
            let mut rows = self.rows.lock();
            let version = rows.get(&person).map_or(0, |row| row.version);
            if self.left.lock().contains(&person) {
                return ProfileFate::Gone;
            }
            if version != kept.version {
                return ProfileFate::Changed;
            }
            rows.insert(person, KeptProfile { version: version + 1, bytes: kept.bytes });
            ProfileFate::Kept
        };
        Ok(batch.into_iter().map(keep).collect())
    }
}

fn node(rows: &Arc<Rows>) -> (Arc<Keeper>, LateLessons) {
    Keeper::new(Arc::clone(rows) as _, Arc::new(crate::system::SystemClock), 1 << 20)
}

fn person(of: u16) -> PersonId {
    let mut bytes = [9; 16];
    bytes[..2].copy_from_slice(&of.to_be_bytes());
    PersonId::from_bytes(bytes)
}

fn lesson(of: u16, day: i32, network: u64) -> Lesson {
    let act = Act {
        at: Timestamp::from_ms(i64::from(day) * 86_400_000),
        hourly: Hourly { day, hour: 9, minute: 0, is_weekend: false },
        action: 7,
        country: *b"CH",
        network: NetworkKey(network),
        spot: None,
        sizes: Vec::new(),
    };
    let settings = Arc::new(BehaviourSettings::default());
    Lesson { person: person(of), act, sure: Sure::Confirmed, settings }
}

async fn teach_now(keeper: &Keeper, lesson: Lesson) {
    keeper.held(lesson.person).await.unwrap();
    keeper.learn(lesson);
}

fn in_memory(keeper: &Keeper, of: u16) -> Profile {
    match keeper.in_memory(person(of)) {
        Some(Habit::Of(profile)) => profile.lock().clone(),
        other => panic!("{other:?}"),
    }
}

fn of_all(days: &[(i32, u64)]) -> Profile {
    let mut profile = Profile::default();
    for (day, network) in days {
        let Lesson { act, sure, settings, .. } = lesson(1, *day, *network);
        teach(&mut profile, &act, sure, &settings);
    }
    profile
}

#[tokio::test]
async fn what_is_learned_counts_at_once_and_is_written_later() {
    let rows = Arc::new(Rows::default());
    let (keeper, _late) = node(&rows);
    teach_now(&keeper, lesson(1, 1, 5)).await;
    assert_eq!(in_memory(&keeper, 1), of_all(&[(1, 5)]));
    assert_eq!(rows.kept(person(1)), Profile::default());
    keeper.flush().await.unwrap();
    assert_eq!(rows.kept(person(1)), of_all(&[(1, 5)]));
    keeper.flush().await.unwrap();
    assert_eq!(rows.writes.load(Ordering::Relaxed), 1, "nothing new, nothing written");
    let (again, _late) = node(&rows);
    again.habit(person(1)).await;
    assert_eq!(in_memory(&again, 1), of_all(&[(1, 5)]));
}

#[tokio::test]
async fn what_two_nodes_learn_of_one_person_is_all_kept() {
    let rows = Arc::new(Rows::default());
    let ((one, _late), (other, _other_late)) = (node(&rows), node(&rows));
    for keeper in [&one, &other] {
        keeper.habit(person(1)).await;
    }
    one.learn(lesson(1, 1, 5));
    other.learn(lesson(1, 2, 6));
    one.flush().await.unwrap();
    other.flush().await.unwrap();
    assert_eq!(rows.kept(person(1)), of_all(&[(1, 5)]), "the other read again instead");
    assert_eq!(in_memory(&other, 1), of_all(&[(1, 5), (2, 6)]));
    other.flush().await.unwrap();
    assert_eq!(rows.kept(person(1)), of_all(&[(1, 5), (2, 6)]));
}

#[tokio::test]
async fn what_cannot_be_read_is_unreadable_and_never_new() {
    let rows = Arc::new(Rows::default());
    let (keeper, _late) = node(&rows);
    rows.is_away.store(true, Ordering::Relaxed);
    assert!(matches!(keeper.habit(person(1)).await, Habit::Unreadable));
    rows.is_away.store(false, Ordering::Relaxed);
    for bytes in [vec![FORMAT + 1], vec![FORMAT, 1, 2]] {
        rows.rows.lock().insert(person(1), KeptProfile { version: 1, bytes });
        assert!(matches!(keeper.habit(person(1)).await, Habit::Unreadable));
        assert!(keeper.in_memory(person(1)).is_none());
    }
}

#[tokio::test]
async fn what_could_not_be_written_waits_and_is_written_then() {
    let rows = Arc::new(Rows::default());
    let (keeper, _late) = node(&rows);
    for of in 0..100 {
        teach_now(&keeper, lesson(of, 1, 5)).await;
    }
    rows.is_away.store(true, Ordering::Relaxed);
    assert!(keeper.flush().await.is_err());
    rows.is_away.store(false, Ordering::Relaxed);
    keeper.flush().await.unwrap();
    for of in 0..100 {
        assert_eq!(rows.kept(person(of)), of_all(&[(1, 5)]), "{of}");
    }
}

#[tokio::test]
async fn b131_who_left_is_forgotten_in_memory_too() {
    let rows = Arc::new(Rows::default());
    let (keeper, _late) = node(&rows);
    teach_now(&keeper, lesson(1, 1, 5)).await;
    rows.left.lock().push(person(1));
    keeper.flush().await.unwrap();
    assert!(keeper.in_memory(person(1)).is_none());
    assert!(rows.rows.lock().is_empty());
}

#[tokio::test]
async fn who_is_not_in_memory_is_learned_late_and_too_much_is_left_out() {
    let rows = Arc::new(Rows::default());
    let (keeper, late) = node(&rows);
    for _ in 0..LATE_MAX + 3 {
        keeper.learn(lesson(1, 1, 5));
    }
    assert_eq!(keeper.left_out.load(Ordering::Relaxed), 3);
    let stop = CancellationToken::new();
    stop.cancel();
    run(Arc::clone(&keeper), late, stop).await;
    let kept = rows.kept(person(1));
    assert_ne!(kept, Profile::default(), "at the stop all that waits is written");
}

#[tokio::test]
async fn memory_is_bounded_and_nothing_that_waits_is_lost() {
    let rows = Arc::new(Rows::default());
    let (keeper, _late) = Keeper::new(Arc::clone(&rows) as _, Arc::new(crate::system::SystemClock), 50_000);
    for of in 0..200 {
        teach_now(&keeper, lesson(of, 1, 5)).await;
    }
    keeper.memory.run_pending_tasks();
    assert!(keeper.memory.weighted_size() <= 50_000);
    assert!(keeper.memory.entry_count() >= 5, "{}", keeper.memory.entry_count());
    for of in 0..200 {
        assert_eq!(in_memory(&keeper, of), of_all(&[(1, 5)]), "what waits is found though memory was full");
    }
    keeper.flush().await.unwrap();
    assert_eq!(rows.rows.lock().len(), 200);
}
