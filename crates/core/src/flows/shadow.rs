//! A second set of policies, asked beside the live one about everything that doors decide.
//!
//! A request pays for a copy of what was decided on and a place in a queue. What does not fit is dropped and counted.
//! The second set is asked elsewhere ([`Flows::compare_waiting`]), and nothing that it says, or fails to say, comes near
//! a verdict. What differs is counted in windows; each window is an entry.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use stepgate_evidence::{Details, Entry, Event};

use super::Flows;
use crate::decide::{Answer, Beside, Said, Situation};
use crate::policy::Policies;
use crate::ports::StoreError;
use crate::prompts::Differing;

/// Decisions that wait to be compared.
pub const WAITING_MAX: usize = 1_024;
/// Kinds of differences that are told apart in one window; what comes after is counted together.
pub const KINDS_MAX: usize = 2_000;
/// Of them, those that one entry holds.
pub const KINDS_PER_ENTRY: usize = 200;
/// Under this name they stand in an entry's details.
const DIFFERENCES: &str = "differences";
const RULES: &str = "rules";

/// The second set, and what waits to be put to it.
#[derive(Debug, Default)]
pub struct Shadow {
    set: ArcSwapOption<Set>,
    /// Whether there is a set: all that an everyday request looks at where there is none.
    is_on: AtomicBool,
    waiting: Mutex<VecDeque<Waiting>>,
    dropped: AtomicU64,
    /// What was compared; held while comparing, by nobody who decides.
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Set {
    policies: Policies,
    /// The version of the live policies beside which it was loaded.
    live: String,
}

#[derive(Debug)]
struct Waiting {
    situation: Situation,
    said: Said,
    live: String,
}

/// Lost if the process is killed: counts of a few minutes, no evidence of anything that happened.
#[derive(Debug, Default)]
struct Window {
    beside: Beside,
    decided: u64,
    differing: u64,
    /// Of these, those beyond [`KINDS_MAX`].
    untold: u64,
    kinds: HashMap<Differing, u64>,
    /// How often each rule of the second set asked or refused, whether or not the live ones did.
    rules: BTreeMap<String, u64>,
}

/// What one entry tells of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Each kind of difference, and how often.
    pub differences: Vec<(Differing, u64)>,
    /// How often each rule of the second set asked or refused.
    pub rules: BTreeMap<String, u64>,
}

impl Compared {
    /// Reads what stands in the details of an entry; `None` if it was erased or cannot be read.
    pub fn from_details(details: Option<&Details>) -> Option<Self> {
        let body = &details?.body;
        let differences = serde_json::from_value(body.get(DIFFERENCES)?.clone()).ok()?;
        let rules = serde_json::from_value(body.get(RULES)?.clone()).ok()?;
        Some(Self { differences, rules })
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ DIFFERENCES: self.differences, RULES: self.rules })
    }
}

impl Shadow {
    /// From now on these policies are asked beside the live ones of this version; `None`: nobody is.
    pub fn replace(&self, policies: Option<Policies>, live: &str) {
        let set = policies.map(|policies| Arc::new(Set { policies, live: live.to_owned() }));
        self.is_on.store(set.is_some(), Ordering::Relaxed);
        self.set.store(set);
    }

    /// Whether there is a second set.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether something waits to be compared.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    /// Whether something more can wait. What cannot is counted.
    pub(super) fn has_room(&self) -> bool {
        let has_room = self.waiting.lock().len() < WAITING_MAX;
        if !has_room {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    pub(super) fn wait(&self, situation: Situation, said: Said, live: &str) {
        self.waiting.lock().push_back(Waiting { situation, said, live: live.to_owned() });
    }

    /// Puts what waits to the second set, at most so much of it, and gives how much it was.
    fn compare(&self, at_most: usize) -> usize {
        let waiting: Vec<Waiting> = {
            let mut queue = self.waiting.lock();
            let count = queue.len().min(at_most);
            queue.drain(..count).collect()
        };
        let set = self.set.load_full();
        let mut window = self.window.lock();
        for one in &waiting {
            match &set {
                // Decided by other policies, or by those of a configuration that has changed: nothing to compare.
                Some(set) if set.live == one.live => window.compare(&set.policies, one),
                _ => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
            }
        }
        waiting.len()
    }

    fn take(&self) -> (Window, u64) {
        let mut window = self.window.lock();
        let beside = std::mem::take(&mut window.beside);
        let taken = std::mem::replace(&mut *window, Window { beside, ..Window::default() });
        (taken, self.dropped.swap(0, Ordering::Relaxed))
    }
}

impl Window {
    fn compare(&mut self, policies: &Policies, one: &Waiting) {
        let person = one.situation.asker.asker().answerable().map(|person| person.id.to_string());
        let mut situation = one.situation.clone();
        let other = self.beside.decide(policies, &mut situation, &one.said).said;
        self.decided = self.decided.saturating_add(1);
        if matches!(other.answer, Answer::Ask | Answer::Refuse) {
            for rule in &other.rules {
                let count = self.rules.entry(rule.clone()).or_default();
                *count = count.saturating_add(1);
            }
        }
        if other == one.said {
            return;
        }
        self.differing = self.differing.saturating_add(1);
        let resource = one.situation.operation.endpoint.resource.clone();
        let kind = Differing { person: person.unwrap_or_default(), resource, live: one.said.clone(), other };
        if self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&kind) {
            let count = self.kinds.entry(kind).or_default();
            *count = count.saturating_add(1);
        } else {
            self.untold = self.untold.saturating_add(1);
        }
    }
}

impl Flows {
    /// Puts decisions that wait to the second set of policies, at most so many, and gives how many they were. Takes
    /// as long as those policies take: not for a thread that answers requests.
    pub fn compare_waiting(&self, at_most: usize) -> usize {
        self.shadow.compare(at_most)
    }

    /// Writes what was compared since the last time, `window_s` seconds ago; nothing if nothing was.
    pub async fn flush_shadow(&self, window_s: u32) -> Result<(), StoreError> {
        let (window, dropped) = self.shadow.take();
        if window.decided == 0 && dropped == 0 {
            return Ok(());
        }
        let entries = self.compared(window, dropped, window_s);
        self.store.record(entries).await
    }

    fn compared(&self, window: Window, dropped: u64, window_s: u32) -> Vec<Entry> {
        let Window { beside: _, decided, differing, untold, kinds, rules } = window;
        let set = self.shadow.set.load_full();
        let shadow = set.map(|set| set.policies.version().to_owned()).unwrap_or_default();
        let policy = self.live.load().policies.version().to_owned();
        let at = self.clock.now();
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_unstable();
        let mut told: Vec<Compared> = kinds
            .chunks(KINDS_PER_ENTRY)
            .map(|kinds| Compared { differences: kinds.to_vec(), rules: BTreeMap::new() })
            .collect();
        match told.first_mut() {
            Some(first) => first.rules = rules,
            None => told.push(Compared { differences: Vec::new(), rules }),
        }
        // The counts stand in the first entry of a window.
        let counts = std::iter::once([decided, differing, untold, dropped]).chain(std::iter::repeat([0; 4]));
        let entry = |(compared, counts): (Compared, [u64; 4])| {
            let [decided, differing, untold, dropped] = counts.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
            let (node, policy, shadow) = (self.node.to_string(), policy.clone(), shadow.clone());
            let event = Event::PoliciesCompared { node, policy, shadow, decided, differing, untold, dropped, window_s };
            self.entry_with(at, event, compared.to_json())
        };
        told.into_iter().zip(counts).map(entry).collect()
    }
}

#[cfg(test)]
mod tests;
