//! Risk that other systems told of: about a person or one of their sessions, for a while.

use crate::decide::Asker;
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

/// How great a risk is said to be (CAEP, `risk-level-change`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RiskLevel {
    /// Small.
    Low,
    /// Middling.
    Medium,
    /// Great.
    High,
}

impl RiskLevel {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// As policies write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl std::str::FromStr for RiskLevel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RiskKind {
    /// How great the risk is.
    Level(RiskLevel),
    /// A signal by its name: `device_not_compliant`, `credential_change` …
    Signal(String),
}

/// A risk, until its time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    /// What is said.
    pub kind: RiskKind,
    /// Until when it counts.
    pub until: Timestamp,
}

/// The level for a decision: the greatest of those that count now. `unknown` if nobody says one.
pub fn level<'a>(surroundings: &'a Surroundings, told: &[Risk]) -> &'a str {
    let told = told.iter().filter(|risk| surroundings.now < risk.until).filter_map(|risk| match risk.kind {
        RiskKind::Level(level) => Some(level),
        RiskKind::Signal(_) => None,
    });
    let around: Option<RiskLevel> = surroundings.risk_level.parse().ok();
    match told.max() {
        Some(level) if Some(level) > around => level.name(),
        _ => &surroundings.risk_level,
    }
}

/// The signals for a decision: all that count now.
pub fn signals<'a>(surroundings: &'a Surroundings, told: &'a [Risk]) -> impl Iterator<Item = &'a str> {
    let told = told.iter().filter(|risk| surroundings.now < risk.until).filter_map(|risk| match &risk.kind {
        RiskKind::Signal(name) => Some(name.as_str()),
        RiskKind::Level(_) => None,
    });
    surroundings.risk_signals.iter().map(String::as_str).chain(told)
}

impl Surroundings {
    /// These, with what other systems told about who asks.
    #[must_use]
    pub fn with_risks_of(&self, asker: Asker<'_>) -> Self {
        Self {
            risk_level: level(self, asker.risks()).to_owned(),
            risk_signals: signals(self, asker.risks()).map(str::to_owned).collect(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::policy::fixture;
    use crate::session::SessionView;

    #[test]
    fn the_greatest_level_that_counts_now_is_the_level() {
        let surroundings = fixture::surroundings();
        let now = surroundings.now;
        let risk = |kind, s| Risk { kind, until: now.plus(Duration::from_secs(s)) };
        let mut session = fixture::session(&fixture::person("alice", &[]), "", "");
        let check = |session: &SessionView, around: &str, expected: &str| {
            let surroundings = Surroundings { risk_level: around.to_owned(), ..surroundings.clone() };
            assert_eq!(level(&surroundings, &session.risks), expected);
        };
        check(&session, "unknown", "unknown");
        session.risks = Arc::new([
            risk(RiskKind::Level(RiskLevel::Medium), 60),
            risk(RiskKind::Level(RiskLevel::Low), 60),
            risk(RiskKind::Level(RiskLevel::High), 0),
            risk(RiskKind::Signal("device_not_compliant".to_owned()), 60),
            risk(RiskKind::Signal("over".to_owned()), 0),
        ]);
        check(&session, "unknown", "medium");
        check(&session, "low", "medium");
        check(&session, "high", "high");
        assert_eq!(signals(&surroundings, &session.risks).collect::<Vec<_>>(), ["device_not_compliant"]);
        assert_eq!(signals(&surroundings, &[]).count(), 0);
        let later = Surroundings { now: now.plus(Duration::from_secs(60)), ..surroundings.clone() };
        assert_eq!(level(&later, &session.risks), "unknown");
    }
}
