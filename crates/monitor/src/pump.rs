//! The ledger, read in order for one sink.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stepgate_core::id::{Id, PersonId, kind};
use stepgate_core::ports::{ChangeError, EntryQuery, SinkName, SinkState, SinkTurn, Sinks, Store, StoreError, Told};
use stepgate_core::time::{Clock, Randomness, Timestamp};
use stepgate_evidence::{Entry, Event};
use tokio_util::sync::CancellationToken;

use crate::fact::Fact;
use crate::format::{Document, Format};
use crate::record::{Personal, Record};
use crate::refused::RefusedFile;
use crate::sink::{Reason, Sink, Undelivered};

/// The most entries that are read at once.
pub const BATCH_MAX: u32 = 200;
/// From so many bytes of documents on a batch is handed over.
pub const BATCH_LEN_MAX: usize = 1024 * 1024;
/// How long a node tells a sink alone before another may, if it says nothing meanwhile.
pub const TURN: Duration = Duration::from_secs(120);
/// The longest pause before a sink is tried again.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);
/// So many documents that are refused one after the other are not at fault: their receiver is. Then it is waited for.
pub const REFUSED_IN_A_ROW_MAX: u32 = 100;
/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// How long it is waited for an entry, or for a turn.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long one delivery may take; what takes longer is tried again.
const DELIVER_MAX: Duration = Duration::from_secs(90);
/// A receiver that failed so often with the same documents is handed fewer at a time.
const FAILURES_BEFORE_HALVES: u32 = 3;

/// Where a sink that is new begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the first entry of the ledger.
    AtFirst,
    /// With what happens from now on.
    Now,
}

/// What a pump is made of.
#[derive(Debug)]
pub struct PumpParts {
    /// The sink's name.
    pub name: SinkName,
    /// Where documents go.
    pub sink: Box<dyn Sink>,
    /// Their shape.
    pub format: Format,
    /// Whether what is personal is told.
    pub personal: Personal,
    /// Where it begins.
    pub begin: Begin,
    /// After how long without success there is an entry that says so.
    pub late_after: Duration,
    /// Where refused documents are kept.
    pub refused: RefusedFile,
    /// The most bytes of a document.
    pub document_len_max: usize,
    /// The gate's name.
    pub gate: String,
    /// The ledger and people.
    pub store: Arc<dyn Store>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Randomness>,
    /// How far sinks have been told.
    pub sinks: Arc<dyn Sinks>,
}

/// Reads the ledger in order for one sink.
#[derive(Debug)]
pub struct Pump {
    parts: PumpParts,
    turn: SinkTurn,
    /// How far the sink is, and until when that is for this node to say.
    held: Option<(SinkState, Timestamp)>,
    refused_in_a_row: u32,
    failures: u32,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The sink has been told all that there is, before this entry.
    Everything(u64),
    /// There is more.
    More,
    /// Nothing for so long.
    Wait(Duration),
}

impl Pump {
    /// A pump whose turn no other has.
    pub fn new(parts: PumpParts) -> Self {
        let turn = SinkTurn { sink: parts.name.clone(), holder: Id::random(parts.random.as_ref()) };
        Self { parts, turn, held: None, refused_in_a_row: 0, failures: 0 }
    }

    /// Tells the sink until `stop`; then another node may.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let step = tokio::select! {
                () = stop.cancelled() => break,
                step = self.step() => step,
            };
            let pause = async {
                match step {
                    Step::More => {}
                    Step::Everything(next) => self.parts.store.entries_after(next, LOOK_EVERY).await,
                    Step::Wait(pause) => tokio::time::sleep(pause).await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = pause => {}
            }
        }
        if let Err(error) = self.parts.sinks.leave_sink(&self.turn).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(sink = %self.parts.name, error, "the turn at a sink could not be ended; another node waits for it");
        }
    }

    /// Tells one batch, and waits for nothing.
    async fn step(&mut self) -> Step {
        match self.try_step().await {
            Ok(step) => step,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(sink = %self.parts.name, error, "a sink waits for the store");
                Step::Wait(LOOK_EVERY)
            }
        }
    }

    async fn try_step(&mut self) -> Result<Step, StoreError> {
        let Some(state) = self.hold().await? else { return Ok(Step::Wait(LOOK_EVERY)) };
        let query = EntryQuery { from: Some(state.next_entry), limit: BATCH_MAX, ..EntryQuery::default() };
        let entries = self.parts.store.entries(query).await?;
        if entries.is_empty() {
            self.caught_up(&state).await?;
            return Ok(Step::Everything(state.next_entry));
        }
        let records = self.records(entries).await?;
        let (documents, to) = self.documents(&records, state.next_entry);
        if documents.is_empty() {
            let why = format!("entry {to} has no document");
            return self.waits(&state, Halt { reason: Reason::Configuration, why, after: None }).await;
        }
        let oldest =
            records.first().map_or(self.parts.clock.now(), |record| Timestamp::from_ms(record.recorded.entry.at_ms));
        match self.hand_over(documents).await {
            Ok(refused) => self.taken(&state, oldest, to, refused).await,
            Err(halt) => self.waits(&state, halt).await,
        }
    }

    /// How far the sink is, if it is this node's turn, which lasts at least for one delivery more.
    async fn hold(&mut self) -> Result<Option<SinkState>, StoreError> {
        let now = self.parts.clock.now();
        if let Some((state, until)) = &self.held
            && now.plus(DELIVER_MAX).plus(LOOK_EVERY) <= *until
        {
            return Ok(Some(state.clone()));
        }
        let end = self.end().await?;
        let begin = match self.parts.begin {
            Begin::AtFirst => 0,
            Begin::Now => end,
        };
        let until = now.plus(TURN);
        let state = self.parts.sinks.take_sink(&self.turn, begin, end, now, until).await?;
        self.held = state.clone().map(|state| (state, until));
        Ok(state)
    }

    /// The end of the ledger.
    async fn end(&self) -> Result<u64, StoreError> {
        let newest = EntryQuery { before: Some(i64::MAX.unsigned_abs()), limit: 1, ..EntryQuery::default() };
        let newest = self.parts.store.entries(newest).await?;
        Ok(newest.first().map_or(0, |entry| entry.index.saturating_add(1)))
    }

    /// With the names of whom they concern.
    async fn records(&self, entries: Vec<stepgate_core::ports::RecordedEntry>) -> Result<Vec<Record>, StoreError> {
        let mut logins: HashMap<PersonId, Option<String>> = HashMap::new();
        let mut records = Vec::with_capacity(entries.len());
        for recorded in entries {
            let person: Option<PersonId> = Fact::of(&recorded.entry.event).person.parse().ok();
            let login = match person {
                Some(person) if self.parts.personal == Personal::Told => match logins.get(&person) {
                    Some(login) => login.clone(),
                    None => {
                        let found = self.parts.store.person(person).await?;
                        let login = found.map(|found| found.login.as_str().to_owned());
                        logins.insert(person, login.clone());
                        login
                    }
                },
                _ => None,
            };
            records.push(Record { recorded, login }.telling(self.parts.personal));
        }
        Ok(records)
    }

    /// The documents of as many entries as go into a batch, and the entry after them. An entry that has no document ends
    /// the batch before it: nothing is passed over.
    fn documents(&self, records: &[Record], from: u64) -> (Vec<Document>, u64) {
        let (mut documents, mut len, mut to) = (Vec::new(), 0usize, from);
        for record in records {
            let rendered = match self.parts.format.render(record, &self.parts.gate, self.parts.document_len_max) {
                Ok(rendered) => rendered,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(sink = %self.parts.name, index = record.recorded.index, error, "an entry has no document");
                    break;
                }
            };
            len = rendered.iter().fold(len, |len, document| len.saturating_add(document.body.line().len()));
            documents.extend(rendered);
            to = record.recorded.index.saturating_add(1);
            if len >= BATCH_LEN_MAX {
                break;
            }
        }
        (documents, to)
    }

    /// Hands over documents; where the receiver rejects some and does not say which, by halves. Gives what it refused,
    /// once the whole batch was tried: documents are at fault only if the receiver takes others.
    async fn hand_over(&mut self, documents: Vec<Document>) -> Result<Vec<(Document, &'static str)>, Halt> {
        let mut handed = Handed::default();
        let mut waiting = vec![documents];
        while let Some(mut batch) = waiting.pop().filter(|batch| !batch.is_empty()) {
            self.keep_turn().await?;
            let delivered = match tokio::time::timeout(DELIVER_MAX, self.parts.sink.deliver(&batch)).await {
                Ok(delivered) => delivered,
                Err(_) => Err(Undelivered::passing(Reason::TooSlow, "it takes too long")),
            };
            match delivered {
                Ok(()) => handed.took_some = true,
                Err(Undelivered::Passing { reason, why, after }) => return Err(Halt { reason, why, after }),
                Err(Undelivered::Refused(some)) => {
                    handed.took_some |= some.len() < batch.len();
                    for (place, why) in some {
                        if let Some(document) = batch.get(place) {
                            tracing::warn!(sink = %self.parts.name, index = document.index, why, "a sink refuses an entry");
                            handed.refused.push((document.clone(), "refused"));
                        }
                    }
                }
                Err(Undelivered::Failing { status }) if self.failures < FAILURES_BEFORE_HALVES => {
                    let why = format!("the receiver answered {status}");
                    return Err(Halt { reason: Reason::Failing, why, after: None });
                }
                Err(error @ (Undelivered::Failing { .. } | Undelivered::Rejected(_))) if batch.len() == 1 => {
                    handed.is_guess |= matches!(error, Undelivered::Failing { .. });
                    let why = error.to_string();
                    for document in batch {
                        tracing::warn!(sink = %self.parts.name, index = document.index, why, "a sink rejects an entry");
                        handed.refused.push((document, "rejected"));
                    }
                }
                Err(Undelivered::Failing { .. } | Undelivered::Rejected(_)) => {
                    let second = batch.split_off(batch.len().div_ceil(2));
                    waiting.push(second);
                    waiting.push(batch);
                }
            }
        }
        self.judge(handed)
    }

    /// Whether documents are at fault, or their receiver.
    fn judge(&mut self, handed: Handed) -> Result<Vec<(Document, &'static str)>, Halt> {
        let count = u32::try_from(handed.refused.len()).unwrap_or(u32::MAX);
        self.refused_in_a_row = if handed.took_some { 0 } else { self.refused_in_a_row.saturating_add(count) };
        if self.refused_in_a_row > REFUSED_IN_A_ROW_MAX || handed.is_guess && !handed.took_some {
            let why = "it refuses everything".to_owned();
            return Err(Halt { reason: Reason::RefusesEverything, why, after: None });
        }
        Ok(handed.refused)
    }

    /// Holds the turn for as long as one delivery takes.
    async fn keep_turn(&mut self) -> Result<(), Halt> {
        match self.hold().await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Halt::lost("another node has the turn")),
            Err(error) => Err(Halt::lost(&error.to_string())),
        }
    }

    /// The receiver has a batch. What it refused is on disk before the cursor moves.
    async fn taken(
        &mut self,
        state: &SinkState,
        at: Timestamp,
        to: u64,
        refused: Vec<(Document, &'static str)>,
    ) -> Result<Step, StoreError> {
        let mut entries = Vec::new();
        if !refused.is_empty() {
            let (file, kept) = (self.parts.refused.clone(), refused.clone());
            let written = tokio::task::spawn_blocking(move || file.keep(&kept)).await;
            let failed = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the write was given up".to_owned()),
            };
            if let Some(why) = failed {
                let why = format!("{}: {why}", self.parts.refused.path().display());
                return self.waits(state, Halt { reason: Reason::Disk, why, after: None }).await;
            }
            for (document, why) in &refused {
                // What tells of this sink and is refused by it is on disk; an entry would be refused again, for ever.
                if !document.kind.starts_with("sink.") {
                    entries.push(self.refusal(document, why));
                }
            }
        }
        self.failures = 0;
        let now = self.parts.clock.now();
        // It takes something, and yet what it is told now happened long ago: it falls behind. Not so while it is told
        // the past for the first time.
        let falls_behind =
            !state.is_late && state.next_entry >= state.begun_at && at.plus(self.parts.late_after) <= now;
        if falls_behind {
            entries.push(self.late(state, at, Reason::TooSlow));
        }
        let told = Told {
            from: state.next_entry,
            to,
            refused: u64::try_from(refused.len()).unwrap_or(u64::MAX),
            is_late: state.is_late || falls_behind,
        };
        self.tell(state, told, now, entries).await?;
        Ok(Step::More)
    }

    /// Moves the cursor. If another node has the turn by now, nothing happened, and the store is asked again.
    async fn tell(
        &mut self,
        state: &SinkState,
        told: Told,
        now: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), StoreError> {
        let until = now.plus(TURN);
        let moved = SinkState {
            next_entry: told.to,
            told_at: Some(now),
            waits: None,
            is_late: told.is_late,
            refused: state.refused.saturating_add(told.refused),
            ..state.clone()
        };
        self.held = None;
        match self.parts.sinks.told_sink(&self.turn, told, now, until, entries).await {
            Ok(()) => self.held = Some((moved, until)),
            Err(ChangeError::Store(error)) => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    fn refusal(&self, document: &Document, why: &str) -> Entry {
        let event = Event::SinkRefused {
            sink: self.parts.name.to_string(),
            index: document.index.to_string(),
            reason: why.to_owned(),
        };
        self.entry(event)
    }

    /// The sink has everything; if it was late, that is over.
    async fn caught_up(&mut self, state: &SinkState) -> Result<(), StoreError> {
        if !state.is_late {
            return Ok(());
        }
        let now = self.parts.clock.now();
        let entry = self.entry(Event::SinkCaughtUp { sink: self.parts.name.to_string() });
        let told = Told { from: state.next_entry, to: state.next_entry, refused: 0, is_late: false };
        self.tell(state, told, now, vec![entry]).await
    }

    /// The receiver takes nothing. After a while that is an entry, once.
    async fn waits(&mut self, state: &SinkState, halt: Halt) -> Result<Step, StoreError> {
        let Halt { reason, why, after } = halt;
        let pause = self.pause(after);
        let now = self.parts.clock.now();
        let since = state.waits.as_ref().map_or(now, |(since, _)| *since);
        let is_overdue = since.plus(self.parts.late_after) <= now;
        let entries = match is_overdue && !state.is_late {
            true => vec![self.late(state, since, reason)],
            false => Vec::new(),
        };
        tracing::warn!(sink = %self.parts.name, why, next = state.next_entry, "a sink takes nothing; it is told later");
        let (is_late, until) = (state.is_late || is_overdue, now.plus(TURN).plus(pause));
        self.held = None;
        match self.parts.sinks.sink_waits(&self.turn, &why, is_late, now, until, entries).await {
            Ok(()) => {
                let waits = Some((since, why));
                self.held = Some((SinkState { waits, is_late, ..state.clone() }, until));
            }
            Err(ChangeError::Store(error)) => return Err(error),
            Err(_) => {}
        }
        Ok(Step::Wait(pause))
    }

    fn late(&self, state: &SinkState, since: Timestamp, reason: Reason) -> Entry {
        self.entry(Event::SinkLate {
            sink: self.parts.name.to_string(),
            next_index: state.next_entry.to_string(),
            since_ms: since.as_ms().to_string(),
            why: reason.name().to_owned(),
        })
    }

    fn entry(&self, event: Event) -> Entry {
        let id: Id<kind::Entry> = Id::random(self.parts.random.as_ref());
        Entry { id: id.to_string(), at_ms: self.parts.clock.now().as_ms(), event, details: None }
    }

    /// Twice as long each time, within bounds, and never all sinks at one moment; what the receiver asks for, if that
    /// is longer.
    fn pause(&mut self, after: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        let mut chance = [0; 1];
        self.parts.random.fill(&mut chance);
        let jittered = doubled.mul_f64(0.5 + f64::from(chance.first().copied().unwrap_or_default()) / 512.0);
        after.map_or(jittered, |after| after.max(jittered))
    }
}

/// What came of handing over a batch.
#[derive(Default)]
struct Handed {
    /// What the receiver will never take.
    refused: Vec<(Document, &'static str)>,
    /// Whether it took anything.
    took_some: bool,
    /// Whether a refusal is only guessed, from failures.
    is_guess: bool,
}

/// The sink takes nothing now.
struct Halt {
    reason: Reason,
    why: String,
    after: Option<Duration>,
}

impl Halt {
    fn lost(why: &str) -> Self {
        Self { reason: Reason::Unreachable, why: why.to_owned(), after: None }
    }
}
