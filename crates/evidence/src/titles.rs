//! What each challenge is about, for whoever reads entries in words.

use std::collections::{BTreeMap, VecDeque};

use crate::entry::{Entry, Event};

/// Titles that are remembered at once; of more challenges the oldest is forgotten.
const MAX_TITLES: usize = 100_000;

/// The titles of challenges, as the person read them.
///
/// A title stands in the statement, beside the entry that opened the challenge; the
/// entries that follow have only the challenge's id. What was erased has no title.
#[derive(Debug, Clone, Default)]
pub struct Titles {
    by_challenge: BTreeMap<String, String>,
    order: VecDeque<String>,
}

impl Titles {
    /// Takes the title from an entry that opened a challenge; from others, nothing.
    pub fn note(&mut self, entry: &Entry) {
        let Event::ChallengeOpened { challenge, .. } = &entry.event else { return };
        let Some(title) = entry.title() else { return };
        if self.by_challenge.insert(challenge.clone(), title.to_owned()).is_none() {
            self.order.push_back(challenge.clone());
        }
        if self.order.len() > MAX_TITLES
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_challenge.remove(&oldest);
        }
    }

    /// What the challenge is about that this entry belongs to, if it belongs to one and
    /// its title was noted.
    ///
    /// It has what somebody typed into a request: show it quoted, and without signs
    /// that nobody sees.
    pub fn of(&self, entry: &Entry) -> Option<&str> {
        self.by_challenge.get(entry.event.challenge()?).map(String::as_str)
    }
}

impl Entry {
    /// The title in the statement beside this entry.
    pub fn title(&self) -> Option<&str> {
        self.details.as_ref()?.body.pointer("/statement/title")?.as_str()
    }
}

impl Event {
    /// The challenge that this event belongs to.
    pub fn challenge(&self) -> Option<&str> {
        let challenge = match self {
            Self::AttemptFailed { challenge, .. }
            | Self::PushSent { challenge, .. }
            | Self::PushWithdrawn { challenge, .. }
            | Self::PushRefused { challenge, .. }
            | Self::ChallengeOpened { challenge, .. }
            | Self::ChallengeAnswered { challenge, .. }
            | Self::ChallengePassed { challenge, .. }
            | Self::ChallengeFailed { challenge, .. }
            | Self::ChallengeExpired { challenge, .. }
            | Self::ChallengeCancelled { challenge, .. }
            | Self::OperationSent { challenge, .. }
            | Self::OperationFinished { challenge, .. } => challenge,
            _ => return None,
        };
        // A try at sign-in belongs to none.
        (!challenge.is_empty()).then_some(challenge)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Asked, Details, Outcome, Salt};

    fn entry(event: Event, title: Option<&str>) -> Entry {
        let details =
            title.map(|title| Details { salt: Salt([0; 16]), body: json!({ "statement": { "title": title } }) });
        Entry { id: "e".to_owned(), at_ms: 0, event, details }
    }

    fn opened(challenge: &str) -> Event {
        let text = str::to_owned;
        Event::ChallengeOpened {
            challenge: text(challenge),
            session: text("s"),
            person: text("p"),
            agent: None,
            asked: Asked {
                service: text("ledger"),
                action: text("payments.approve"),
                resource: text("ledger POST /x"),
                resource_kind: text("payment"),
                sensitivity: text("high"),
            },
            policies: Vec::new(),
            policy: text("v"),
            offered: text("confirm: passkey"),
            statement: text("d"),
            held: false,
            succeeds: String::new(),
        }
    }

    fn finished(challenge: &str) -> Entry {
        let outcome = Outcome::Answered { status: 200 };
        entry(Event::OperationFinished { challenge: challenge.to_owned(), request: "r".to_owned(), outcome }, None)
    }

    #[test]
    fn what_follows_a_challenge_is_called_as_it_is() {
        let mut titles = Titles::default();
        titles.note(&entry(opened("c1"), Some("Approve payment 42 of 12000")));
        titles.note(&entry(opened("c2"), None));
        assert_eq!(titles.of(&finished("c1")), Some("Approve payment 42 of 12000"));
        assert_eq!(titles.of(&finished("c2")), None, "its content was erased");
        assert_eq!(titles.of(&finished("c3")), None);
    }

    #[test]
    fn a_title_counts_only_where_a_challenge_was_opened() {
        let mut titles = Titles::default();
        let mut other = finished("c1");
        other.details = Some(Details { salt: Salt([0; 16]), body: json!({ "statement": { "title": "another" } }) });
        titles.note(&other);
        assert_eq!(titles.of(&finished("c1")), None);
    }

    #[test]
    fn a_try_at_sign_in_belongs_to_no_challenge() {
        let text = str::to_owned;
        let failed = Event::AttemptFailed {
            person: text("p"),
            factor: text("password"),
            provider: None,
            purpose: text("sign_in"),
            challenge: String::new(),
            reason: text("wrong"),
            factor_id: None,
        };
        assert_eq!(failed.challenge(), None);
    }
}
