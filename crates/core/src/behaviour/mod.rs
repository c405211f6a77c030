//! What is usual for a person, and what is not: habits as input of policy.
//!
//! ```text
//! operation ─► Act ─► judge(Profile, Act) ─► Unusual ─► context.risk.signals, .score
//!                └──► Profile::learn, once it went through
//! ```
//!
//! Habits are counted in *days*, not in requests: an hour, a country or a network gains one day's weight a day,
//! however often it was seen. So nobody makes a strange thing usual by doing it a thousand times in a night.
//!
//! *Architecture invariant:* pure. No I/O, no clock, no chance; who keeps profiles is behind
//! [`HabitKeeper`](crate::ports::HabitKeeper). Nothing here allows or refuses anything: it names what is unusual,
//! with its weight, and policies say what that means.

mod act;
mod codec;
mod failures;
mod judge;
mod profile;
mod settings;
mod travel;
mod words;

#[cfg(test)]
mod tests;

pub use act::{Act, Hourly, NetworkKey, Size, Spot};
pub use codec::{FORMAT, NotAProfile, PROFILE_BYTES_MAX};
pub use failures::{Failed, FailureCounts, Failures};
pub use judge::{judge, judge_failures, teach};
pub use profile::{ACTIONS_MAX, COUNTRIES_MAX, NETWORKS_MAX, Profile, SIZES_MAX, Taught};
pub use settings::{BehaviourSettings, FailureLimits, Weights};
pub use words::{About, Whose};

/// Something that is unusual, by its name in `context.risk.signals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Too little is known of this person to say what is usual.
    NoHistory,
    /// Their habits cannot be read now.
    HabitsUnreadable,
    /// They never did this before today.
    FirstUse,
    /// They are not here at this hour.
    UnusualHour,
    /// They do not come from this country.
    NewCountry,
    /// They do not come from this network.
    NewNetwork,
    /// They do this far more often today than on other days.
    UnusualRate,
    /// They do this far more often within minutes than ever.
    Burst,
    /// A number in it is far above what they enter.
    UnusualAmount,
    /// They would have had to travel faster than anybody does.
    ImpossibleTravel,
    /// Too much of this person, device or address failed lately.
    ManyFailures,
    /// Too many people's sign-ins failed from where this comes from.
    Spike,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoHistory,
        Self::HabitsUnreadable,
        Self::FirstUse,
        Self::UnusualHour,
        Self::NewCountry,
        Self::NewNetwork,
        Self::UnusualRate,
        Self::Burst,
        Self::UnusualAmount,
        Self::ImpossibleTravel,
        Self::ManyFailures,
        Self::Spike,
    ];

    /// The signal of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.name() == name)
    }

    /// As policies and the configuration write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoHistory => "no_history",
            Self::HabitsUnreadable => "habits_unreadable",
            Self::FirstUse => "first_use",
            Self::UnusualHour => "unusual_hour",
            Self::NewCountry => "new_country",
            Self::NewNetwork => "new_network",
            Self::UnusualRate => "unusual_rate",
            Self::Burst => "burst",
            Self::UnusualAmount => "unusual_amount",
            Self::ImpossibleTravel => "impossible_travel",
            Self::ManyFailures => "many_failures",
            Self::Spike => "spike",
        }
    }

    /// Whether what comes with it teaches nothing until it was confirmed. Who is new has to begin somewhere, and
    /// what is done for the first time is known from the next day on.
    const fn is_doubtful(self) -> bool {
        !matches!(self, Self::NoHistory | Self::FirstUse)
    }
}

/// A signal, with what it is about and what it weighs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Which.
    pub signal: Signal,
    /// What it adds to the score.
    pub weight: u8,
    /// What it saw.
    pub about: About,
}

/// How sure it is that something was done by the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sure {
    /// They proved it for this request.
    Confirmed,
    /// Nothing spoke against it; what their habits say of it is looked at when it is learned.
    Everyday,
    /// Something spoke against it.
    Doubtful,
}

/// The greatest score.
pub const SCORE_MAX: i64 = 100;

/// What is unusual about an operation, and what failed around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unusual {
    /// The signals, each once.
    pub raised: Vec<Raised>,
    /// What failed lately.
    pub failures: FailureCounts,
}

impl Unusual {
    /// The sum of the weights, at most [`SCORE_MAX`]: 0 where nothing is unusual.
    pub fn score(&self) -> i64 {
        self.raised.iter().map(|raised| i64::from(raised.weight)).sum::<i64>().min(SCORE_MAX)
    }

    /// The names of the signals.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.raised.iter().map(|raised| raised.signal.name())
    }

    /// Whether it is so unusual that it teaches nothing unless it was confirmed.
    pub fn is_doubtful(&self) -> bool {
        self.raised.iter().any(|raised| raised.signal.is_doubtful())
    }

    /// What is said of whoever has no habits here: nothing is usual for them.
    pub fn without_history(settings: &BehaviourSettings) -> Self {
        let weight = settings.weights.of(Signal::NoHistory);
        let raised = vec![Raised { signal: Signal::NoHistory, weight, about: About::NoHistory }];
        Self { raised, failures: FailureCounts::default() }
    }

    /// What is said of somebody whose habits cannot be read: never that all is usual. `no_history` is among it, so
    /// a rule on who is new holds as well.
    pub fn unreadable(settings: &BehaviourSettings) -> Self {
        let raised = [(Signal::NoHistory, About::NoHistory), (Signal::HabitsUnreadable, About::Unreadable)];
        let raised = raised.map(|(signal, about)| Raised { signal, weight: settings.weights.of(signal), about });
        Self { raised: raised.into(), failures: FailureCounts::default() }
    }
}
