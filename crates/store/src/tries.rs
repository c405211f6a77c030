//! Counting tries: before each is verified, in rows of its own, so that no failed
//! transaction takes the count back. Who is counted together, and why, is told in
//! [`stepgate_core::ports::Trier`].

use std::time::Duration;

use async_trait::async_trait;
use stepgate_core::factor::FactorKind;
use stepgate_core::id::PersonId;
use stepgate_core::ports::{ChangeError, Trier, Try, TryLimits};
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Entry, Event};

use crate::error::{ExactlyOne as _, Stored as _};
use crate::intent::{Intent, Work};
use crate::options::{ADDRESSES_REMEMBERED, DEVICES_PER_PERSON_MAX};
use crate::row::Fields;

/// Locked until an administrator resets it, or (strangers) the person answers right.
const FOREVER: Timestamp = Timestamp::from_ms(i64::MAX);

/// Whose tries are counted: the name in rows and entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Device,
    Address,
    Strangers,
    All,
}

impl Whom {
    const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Address => "address",
            Self::Strangers => "strangers",
            Self::All => "all",
        }
    }
}

/// Wrong tries in a row of one kind of factor of one person, wherever they come from.
struct Counts {
    person: String,
    kind: &'static str,
    wrong: u32,
    of_strangers: u32,
    /// By its person, until it is reset.
    is_locked: bool,
}

impl Counts {
    /// Takes the row: everything about these tries happens one after the other.
    async fn take(work: &mut Work<'_>, person: PersonId, kind: FactorKind) -> Result<Self, ChangeError> {
        let (person, kind) = (person.to_string(), kind.name());
        sqlx::query(
            "INSERT INTO tries (person, kind, wrong, of_strangers, locked) VALUES ($1, $2, 0, 0, 0) \
             ON CONFLICT (person, kind) DO NOTHING",
        )
        .bind(&person)
        .bind(kind)
        .execute(&mut *work.connection)
        .await
        .stored()?;
        let row = work
            .inner
            .backend
            .locked("SELECT person, wrong, of_strangers, locked FROM tries WHERE person = $1 AND kind = $2")
            .bind(&person)
            .bind(kind)
            .fetch_one(&mut *work.connection)
            .await
            .stored()?;
        let fields = Fields::of("tries", &row);
        let (wrong, of_strangers) = (fields.count("wrong")?, fields.count("of_strangers")?);
        let is_locked = fields.int("locked")? != 0;
        Ok(Self { person, kind, wrong, of_strangers, is_locked })
    }

    async fn put(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query("UPDATE tries SET wrong = $1, of_strangers = $2, locked = $5 WHERE person = $3 AND kind = $4")
            .bind(i64::from(self.wrong))
            .bind(i64::from(self.of_strangers))
            .bind(&self.person)
            .bind(self.kind)
            .bind(i64::from(self.is_locked))
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }

    /// What a try from there is part of: the count of its device if that is known, else
    /// that of its address and that of all strangers.
    async fn lanes(&self, work: &mut Work<'_>, from: Trier) -> Result<Vec<Lane>, ChangeError> {
        if let Some(device) = from.device
            && let Some(lane) = self.lane(work, Whom::Device, &device.to_hex()).await?
        {
            return Ok(vec![lane]);
        }
        let network = from.network().to_string();
        let mut lanes = Vec::with_capacity(2);
        for (whom, which) in [(Whom::Address, network.as_str()), (Whom::Strangers, "")] {
            lanes.push(match self.lane(work, whom, which).await? {
                Some(lane) => lane,
                None => Lane::new(whom, self.key(whom, which)),
            });
        }
        Ok(lanes)
    }

    fn key(&self, whom: Whom, which: &str) -> String {
        format!("{} {} {} {which}", self.person, self.kind, whom.name())
    }

    async fn lane(&self, work: &mut Work<'_>, whom: Whom, which: &str) -> Result<Option<Lane>, ChangeError> {
        let id = self.key(whom, which);
        let row = sqlx::query("SELECT id, wrong, locked_before, last_at, locked_until FROM try_lanes WHERE id = $1")
            .bind(&id)
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?;
        let Some(row) = row else { return Ok(None) };
        let fields = Fields::of("try_lanes", &row);
        let (wrong, locked_before) = (fields.count("wrong")?, fields.count("locked_before")?);
        let (last_at, locked_until) = (fields.time("last_at")?, fields.maybe_time("locked_until")?);
        Ok(Some(Lane { whom, id, wrong, locked_before, last_at, locked_until }))
    }

    async fn put_lane(&self, work: &mut Work<'_>, lane: &Lane) -> Result<(), ChangeError> {
        sqlx::query(
            "INSERT INTO try_lanes (id, person, kind, whom, wrong, locked_before, last_at, locked_until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET \
             wrong = $5, locked_before = $6, last_at = $7, locked_until = $8",
        )
        .bind(&lane.id)
        .bind(&self.person)
        .bind(self.kind)
        .bind(lane.whom.name())
        .bind(i64::from(lane.wrong))
        .bind(i64::from(lane.locked_before))
        .bind(lane.last_at.as_ms())
        .bind(lane.locked_until.map(Timestamp::as_ms))
        .execute(&mut *work.connection)
        .await
        .stored()?;
        Ok(())
    }
}

/// One count, and its lock.
struct Lane {
    whom: Whom,
    id: String,
    wrong: u32,
    locked_before: u32,
    last_at: Timestamp,
    locked_until: Option<Timestamp>,
}

impl Lane {
    fn new(whom: Whom, id: String) -> Self {
        Self { whom, id, wrong: 0, locked_before: 0, last_at: Timestamp::from_ms(0), locked_until: None }
    }

    fn is_locked(&self, at: Timestamp) -> Option<Timestamp> {
        self.locked_until.filter(|until| at < *until)
    }

    /// Counts a try at `at`; gives how many were left, this one included.
    fn count(&mut self, limits: &TryLimits, at: Timestamp) -> u32 {
        let paused = |at_least: Duration| at.since(self.last_at).is_some_and(|pause| pause >= at_least);
        let (begins_anew, is_forgotten) = (paused(limits.lock), paused(ADDRESSES_REMEMBERED));
        if begins_anew {
            self.wrong = 0;
        }
        if is_forgotten {
            self.locked_before = 0;
        }
        let limit = match self.whom {
            Whom::Address => limits.from_one_address(),
            Whom::Device | Whom::Strangers | Whom::All => limits.before_lock.max(1),
        };
        let left = limit.saturating_sub(self.wrong).max(1);
        self.wrong = self.wrong.saturating_add(1);
        self.last_at = at;
        self.locked_until = (left == 1).then(|| match self.whom {
            Whom::Address => at.plus(limits.address_lock(self.locked_before)),
            Whom::Device | Whom::Strangers | Whom::All => at.plus(limits.lock),
        });
        if self.locked_until.is_some() {
            self.locked_before = self.locked_before.saturating_add(1);
        }
        left
    }

    /// As if one of its tries had not been: without it, the limit was not reached.
    fn take_back(&mut self) {
        self.wrong = self.wrong.saturating_sub(1);
        if self.locked_until.take().is_some() {
            self.locked_before = self.locked_before.saturating_sub(1);
        }
    }
}

pub(crate) struct BeginTry {
    pub(crate) person: PersonId,
    pub(crate) kind: FactorKind,
    pub(crate) from: Trier,
    pub(crate) limits: TryLimits,
    pub(crate) at: Timestamp,
    pub(crate) locked: Entry,
}

#[async_trait]
impl Intent for BeginTry {
    type Output = Try;

    async fn apply(&self, work: &mut Work<'_>) -> Result<Try, ChangeError> {
        let (limits, at) = (&self.limits, self.at);
        let mut counts = Counts::take(work, self.person, self.kind).await?;
        let mut lanes = counts.lanes(work, self.from).await?;
        let is_stranger = lanes.iter().any(|lane| lane.whom == Whom::Strangers);
        let mut left = limits.before_reset.saturating_sub(counts.wrong);
        if is_stranger {
            left = left.min(limits.of_strangers().saturating_sub(counts.of_strangers));
        }
        if left == 0 || counts.is_locked {
            return Ok(Try::Locked { until: FOREVER });
        }
        if let Some(until) = lanes.iter().filter_map(|lane| lane.is_locked(at)).max() {
            return Ok(Try::Locked { until });
        }
        // The widest lock that this try sets is the one that is told.
        let mut lock = None;
        let last = |counted: u32, most: u32| counted.saturating_add(1) >= most;
        let (last_of_strangers, last_of_all) =
            (is_stranger && last(counts.of_strangers, limits.of_strangers()), last(counts.wrong, limits.before_reset));
        for lane in &mut lanes {
            left = left.min(lane.count(limits, at));
            counts.put_lane(work, lane).await?;
            lock = lane.locked_until.map(|until| (lane.whom, until)).or(lock);
        }
        if last_of_strangers {
            lock = Some((Whom::Strangers, FOREVER));
        }
        if last_of_all {
            lock = Some((Whom::All, FOREVER));
        }
        counts.wrong = counts.wrong.saturating_add(1);
        counts.of_strangers = counts.of_strangers.saturating_add(u32::from(is_stranger));
        counts.put(work).await?;
        if let Some((whom, until)) = lock {
            work.record(&with_lock(&self.locked, whom, until))?;
        }
        Ok(Try::Allowed { left })
    }
}

/// The entry with the lock as it is: only the store knows whom it concerns and when it ends.
fn with_lock(entry: &Entry, of: Whom, until: Timestamp) -> Entry {
    let mut entry = entry.clone();
    if let Event::FactorLocked { whom, until_ms, .. } = &mut entry.event {
        of.name().clone_into(whom);
        *until_ms = until.as_ms().to_string();
    }
    entry
}

pub(crate) struct TakeBackTry {
    pub(crate) person: PersonId,
    pub(crate) kind: FactorKind,
    pub(crate) from: Trier,
}

#[async_trait]
impl Intent for TakeBackTry {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let mut counts = Counts::take(work, self.person, self.kind).await?;
        let mut lanes = counts.lanes(work, self.from).await?;
        for lane in &mut lanes {
            lane.take_back();
            counts.put_lane(work, lane).await?;
        }
        counts.wrong = counts.wrong.saturating_sub(1);
        if lanes.iter().any(|lane| lane.whom == Whom::Strangers) {
            counts.of_strangers = counts.of_strangers.saturating_sub(1);
        }
        counts.put(work).await
    }
}

pub(crate) struct ResetTries {
    pub(crate) person: PersonId,
    pub(crate) kind: FactorKind,
}

#[async_trait]
impl Intent for ResetTries {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let mut counts = Counts::take(work, self.person, self.kind).await?;
        (counts.wrong, counts.of_strangers, counts.is_locked) = (0, 0, false);
        counts.put(work).await?;
        for text in [
            "DELETE FROM try_lanes WHERE person = $1 AND kind = $2 AND whom <> 'device'",
            "UPDATE try_lanes SET wrong = 0, locked_before = 0, locked_until = NULL WHERE person = $1 AND kind = $2",
        ] {
            sqlx::query(text).bind(&counts.person).bind(counts.kind).execute(&mut *work.connection).await.stored()?;
        }
        Ok(())
    }
}

/// Whether nothing of this kind is taken from anybody until it is reset: its person locked it, or there were so many
/// wrong tries in a row. The row is taken.
pub(crate) async fn is_locked(
    work: &mut Work<'_>,
    person: PersonId,
    kind: FactorKind,
    before_reset: u32,
) -> Result<bool, ChangeError> {
    let counts = Counts::take(work, person, kind).await?;
    Ok(counts.is_locked || counts.wrong >= before_reset)
}

/// Locks a kind of a person for everybody, until it is reset; whether that is new.
pub(crate) async fn lock(work: &mut Work<'_>, person: PersonId, kind: FactorKind) -> Result<bool, ChangeError> {
    let mut counts = Counts::take(work, person, kind).await?;
    let is_new = !std::mem::replace(&mut counts.is_locked, true);
    counts.put(work).await?;
    Ok(is_new)
}

/// A right answer: the row of wrong ones ends, the locks that it was part of are
/// lifted, and its device is known from now on. A right answer from a known device
/// says nothing of strangers: their lock goes on.
///
/// `Conflict` if its person locked it while the answer was on its way: that lock is theirs to lift.
pub(crate) async fn forget(
    work: &mut Work<'_>,
    person: PersonId,
    kind: FactorKind,
    from: Trier,
    at: Timestamp,
) -> Result<(), ChangeError> {
    let mut counts = Counts::take(work, person, kind).await?;
    if counts.is_locked {
        return Err(ChangeError::Conflict);
    }
    (counts.wrong, counts.of_strangers) = (0, 0);
    counts.put(work).await?;
    for lane in counts.lanes(work, from).await? {
        sqlx::query("DELETE FROM try_lanes WHERE id = $1")
            .bind(&lane.id)
            .execute(&mut *work.connection)
            .await
            .stored()?;
    }
    let Some(device) = from.device else { return Ok(()) };
    let lane = Lane { last_at: at, ..Lane::new(Whom::Device, counts.key(Whom::Device, &device.to_hex())) };
    counts.put_lane(work, &lane).await?;
    sqlx::query(
        "DELETE FROM try_lanes WHERE person = $1 AND kind = $2 AND whom = 'device' AND id NOT IN \
         (SELECT id FROM try_lanes WHERE person = $1 AND kind = $2 AND whom = 'device' \
         ORDER BY last_at DESC, id LIMIT $3)",
    )
    .bind(&counts.person)
    .bind(counts.kind)
    .bind(DEVICES_PER_PERSON_MAX)
    .execute(&mut *work.connection)
    .await
    .stored()?;
    Ok(())
}

/// Nothing but its entries.
pub(crate) struct Record;

#[async_trait]
impl Intent for Record {
    type Output = ();

    async fn apply(&self, _: &mut Work<'_>) -> Result<(), ChangeError> {
        Ok(())
    }
}
