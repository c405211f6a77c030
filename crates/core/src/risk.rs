//! Risk that other systems told of: about a person or one of their sessions, for a while.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::decide::Asker;
use crate::person::folded;
use crate::signals::{EventSubject, Identifier, Principal};
use crate::surroundings::{Posture, Surroundings};
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

/// What a transmitter spoke of when it told a risk: the person as a whole, one session, one device.
/// Only who speaks of the same again replaces it or takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RiskSubject(String);

impl RiskSubject {
    /// The person as a whole.
    pub const fn person() -> Self {
        Self(String::new())
    }

    /// What the event speaks of, by its principal. A device that is not named is that of the session.
    pub fn of(subject: &EventSubject) -> Self {
        let (kind, named) = match &subject.principal {
            Principal::User => return Self::person(),
            Principal::Session => ("session", vec![&subject.session]),
            Principal::Device if subject.device.is_some() => ("device", vec![&subject.device]),
            Principal::Device => ("device of", vec![&subject.session]),
            Principal::Other(kind) => (kind.as_str(), vec![&subject.session, &subject.device]),
        };
        let mut hash = Sha256::new();
        let mut put = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        put("stepgate/risk-subject/v1");
        put(kind);
        for one in named {
            match one {
                None => put("none"),
                Some(Identifier::Identity { issuer, subject }) => {
                    ["iss_sub", issuer, subject].into_iter().for_each(&mut put)
                }
                Some(Identifier::Email(email)) => ["email", folded(email).as_str()].into_iter().for_each(&mut put),
                Some(Identifier::Opaque(id)) => ["opaque", id].into_iter().for_each(&mut put),
                Some(Identifier::Other { text }) => ["other", text].into_iter().for_each(&mut put),
            }
        }
        Self(hex::encode(hash.finalize()))
    }

    /// The same, told of whichever of several people: at each level it is a thing of its own, so what is told of
    /// one of them later lowers nothing that was told of another.
    pub fn of_one_among(&self, level: RiskLevel) -> Self {
        let mut hash = Sha256::new();
        for text in ["stepgate/risk-subject-among/v1", self.as_str(), level.name()] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        Self(hex::encode(hash.finalize()))
    }

    /// As rows have it: empty for the person as a whole, or else 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
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

/// The signals for a decision: all that count now, other systems' and the person's own.
pub fn signals<'a>(surroundings: &'a Surroundings, told: &'a [Risk]) -> impl Iterator<Item = &'a str> {
    let told = told.iter().filter(|risk| surroundings.now < risk.until).filter_map(|risk| match &risk.kind {
        RiskKind::Signal(name) => Some(name.as_str()),
        RiskKind::Level(_) => None,
    });
    let own = surroundings.unusual.raised.iter().map(|raised| raised.signal.name());
    surroundings.risk_signals.iter().map(String::as_str).chain(told).chain(own)
}

/// The posture of the device: what a trusted hop says of it, unless another system told that it breaks the rules.
pub(crate) fn posture(surroundings: &Surroundings, told: &[Risk]) -> Posture {
    let breaks = signals(surroundings, told).any(|name| name == crate::flows::DEVICE_NOT_COMPLIANT);
    if breaks { Posture::NotCompliant } else { surroundings.posture }
}

impl Surroundings {
    /// These, with what other systems told about who asks.
    #[must_use]
    pub fn with_risks_of(&self, asker: Asker<'_>) -> Self {
        Self {
            risk_level: level(self, asker.risks()).to_owned().into(),
            risk_signals: signals(self, asker.risks())
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
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
            let surroundings = Surroundings { risk_level: around.to_owned().into(), ..surroundings.clone() };
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
