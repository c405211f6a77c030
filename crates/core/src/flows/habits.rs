//! What is usual: looked up for decisions that look at it, and learned from what went through.

use std::sync::Arc;
use std::time::Duration;

use super::Flows;
use crate::behaviour::{Act, Failed, FailureCounts, Failures, Raised, Sure, Unusual, judge, judge_failures};
use crate::decide::Asker;
use crate::factor::Strength;
use crate::id::PersonId;
use crate::operation::Operation;
use crate::person::Principal;
use crate::ports::{Habit, HabitKeeper, Lesson, NoHabits, Trier};
use crate::surroundings::Surroundings;

/// So long after a second factor was proved what is done counts as confirmed.
const JUST_PROVED: Duration = Duration::from_secs(120);

/// Habits of people, and what failed lately.
#[derive(Debug)]
pub struct Habits {
    /// Keeps what is usual for people.
    pub keeper: Arc<dyn HabitKeeper>,
    /// Counts what fails.
    pub failures: Failures,
}

impl Default for Habits {
    /// Nothing is kept, and failures are counted.
    fn default() -> Self {
        Self { keeper: Arc::new(NoHabits), failures: Failures::default() }
    }
}

/// Something that went through, of which is learned.
#[derive(Clone, Debug)]
pub struct WentThrough {
    person: PersonId,
    act: Act,
    sure: Sure,
}

impl Flows {
    /// Finds out what is unusual about an operation, where a policy that concerns it looks at that. For all other
    /// operations it is one look into a table: nothing is read, nothing is awaited.
    pub async fn look_at_habits(&self, operation: &Operation, asker: Asker<'_>, around: &mut Surroundings) {
        let live = self.live.load();
        if !live.policies.look_at_habits_for(operation) {
            return;
        }
        let habitual = habitual(asker).filter(|_| live.environment.behaviour.keep);
        drop(live);
        let habit = match habitual {
            None => None,
            Some(person) => Some(match self.habits.keeper.in_memory(person) {
                Some(habit) => habit,
                None => Box::pin(self.habits.keeper.habit(person)).await,
            }),
        };
        around.unusual = self.unusual(operation, asker, around, habit.as_ref());
    }

    fn unusual(
        &self,
        operation: &Operation,
        asker: Asker<'_>,
        around: &Surroundings,
        habit: Option<&Habit>,
    ) -> Unusual {
        let live = self.live.load();
        let settings = &live.environment.behaviour;
        let failures = self.failures_around(Some(operation), asker, around);
        let own: Vec<Raised> = match habit {
            // Nobody, programs, and everybody where none are kept.
            None => Unusual::without_history(settings).raised,
            Some(Habit::Unreadable) => Unusual::unreadable(settings).raised,
            Some(Habit::Of(profile)) => {
                let act = Act::of(operation, around, live.policies.zone());
                judge(&profile.lock(), &act, operation, around, settings)
            }
        };
        let raised = own.into_iter().chain(judge_failures(&failures, settings)).collect();
        Unusual { raised, failures }
    }

    fn failures_around(&self, operation: Option<&Operation>, asker: Asker<'_>, around: &Surroundings) -> FailureCounts {
        let of = Failed {
            person: asker.answerable().map(|person| person.id),
            device: asker.session().and_then(|session| session.device.cookie),
            service: operation.map(|operation| operation.service.name.clone()),
            ..failed_from(around)
        };
        self.habits.failures.counts(&of, around.now)
    }

    /// What there is to learn of an operation that is about to be sent; `None` where nothing is learned, because no
    /// policy at all looks at habits, or nobody's habit it is. `confirmed`: it was asked for and proved.
    pub fn to_learn(
        &self,
        operation: &Operation,
        asker: Asker<'_>,
        around: &Surroundings,
        confirmed: Confirmed,
    ) -> Option<WentThrough> {
        let live = self.live.load();
        if !live.policies.look_at_habits() || !live.environment.behaviour.keep {
            return None;
        }
        let person = habitual(asker)?;
        let sure = match confirmed {
            Confirmed::Yes => Sure::Confirmed,
            Confirmed::No if has_just_proved(asker, around) => Sure::Confirmed,
            Confirmed::No if around.unusual.is_doubtful() => Sure::Doubtful,
            Confirmed::No => Sure::Everyday,
        };
        Some(WentThrough { person, act: Act::of(operation, around, live.policies.zone()), sure })
    }

    /// Learns. To be called once it went through.
    pub fn learn(&self, went: WentThrough) {
        let WentThrough { person, act, sure } = went;
        let settings = Arc::new(self.live.load().environment.behaviour.clone());
        self.habits.keeper.learn(Lesson { person, act, sure, settings });
    }

    /// Counts that somebody did not prove who they are. `person`: as whom they tried, if that is anybody.
    pub(super) fn note_failed_try(&self, person: Option<PersonId>, from: Trier) {
        let around = self.surroundings(from.address, "");
        self.note_failure(Failed { person, device: from.device, ..failed_from(&around) }, &around);
    }

    /// Counts that an operation was refused.
    pub fn note_refused(&self, operation: &Operation, asker: Asker<'_>, around: &Surroundings) {
        let failed = Failed {
            person: asker.answerable().map(|person| person.id),
            device: asker.session().and_then(|session| session.device.cookie),
            service: Some(operation.service.name.clone()),
            ..failed_from(around)
        };
        self.note_failure(failed, around);
    }

    /// Where no policy looks at it, nothing is counted.
    fn note_failure(&self, failed: Failed, around: &Surroundings) {
        if self.live.load().policies.look_at_habits() {
            self.habits.failures.note(&failed, around.now);
        }
    }
}

/// Whether the person proved for this very request that it was they.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// They did.
    Yes,
    /// It was not asked for.
    No,
}

/// Whether they proved a second factor just now: a challenge that held nothing but a page is passed so.
fn has_just_proved(asker: Asker<'_>, around: &Surroundings) -> bool {
    let young = |at| around.now.since(at).is_some_and(|age| age <= JUST_PROVED);
    asker.session().is_some()
        && asker.proofs().any(|(kind, at)| kind.strength().covers(Strength::SECOND_FACTOR) && young(at))
}

/// Whose habits are meant: a person's, in a session or with a token of their own. What a program does by itself is
/// nobody's habit.
fn habitual(asker: Asker<'_>) -> Option<PersonId> {
    match asker.principal()? {
        Principal::Person(person) => Some(person.id),
        Principal::Agent(_) => None,
    }
}

fn failed_from(around: &Surroundings) -> Failed {
    let asn = around.located.place().asn;
    let network = match (around.network.is_empty(), asn) {
        (false, _) => around.network.clone(),
        (true, 0) => String::new(),
        (true, asn) => format!("AS{asn}"),
    };
    Failed { address: Some(around.address), network, ..Failed::default() }
}
