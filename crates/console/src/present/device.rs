//! A challenge as a device shows it.

use stepgate_core::catalogue::Catalogue;
use stepgate_core::challenge::ChallengeState;
use stepgate_core::flows::{LastAsked, Place, Question};
use stepgate_core::ports::SessionSummary;
use stepgate_core::surroundings::shown;
use stepgate_core::time::Timestamp;

use super::{SHOWN_MAX, inputs, instant, reasons, service};
use crate::device;
use crate::views::{DeviceQuestion, LastQuestion, PasskeyCall};
use crate::words::{self, Moment};

/// What is asked, in plain words.
pub(crate) fn device_question(question: &Question, catalogue: &Catalogue, now: Timestamp) -> DeviceQuestion {
    let challenge = &question.challenge;
    let statement = &challenge.statement;
    let name = device::in_words(&statement.asker.agent);
    let asker = match statement.asker.kind.as_str() {
        "browser" => format!("Signed in as you, in {name}"),
        _ => format!("A program signed in as you: {name}"),
    };
    let call = |options: &serde_json::Value| PasskeyCall {
        action: String::new(),
        options: options.to_string(),
        ceremony: String::new(),
    };
    DeviceQuestion {
        id: challenge.id.to_string(),
        service: service(challenge, catalogue),
        title: shown(&statement.title, SHOWN_MAX),
        inputs: inputs(statement, catalogue),
        reasons: reasons(statement),
        asker,
        since: question.asking.as_ref().map(|session| since(session, now)),
        place: place(&statement.asker.address, &question.place),
        asked: Moment::of_today(instant(challenge.opened_at)),
        expires: Moment::of_today(instant(question.until)),
        expires_in: words::until(instant(now), instant(question.until)),
        digits: question.digits,
        passkey: question.to_sign.as_ref().map(call),
        suffices: question.suffices,
        statement_digest: statement.digest().ok().map(|digest| words::in_groups(&words::hex(&digest), 8)),
    }
}

/// What was asked last, and what became of it.
pub(crate) fn last_question(last: &LastAsked, catalogue: &Catalogue) -> LastQuestion {
    let challenge = &last.challenge;
    LastQuestion {
        id: challenge.id.to_string(),
        service: service(challenge, catalogue),
        title: shown(&challenge.statement.title, SHOWN_MAX),
        asked: Moment::of_today(instant(last.asked_at)),
        became: match &challenge.state {
            ChallengeState::Pending { .. } => "not asked here any more",
            ChallengeState::Passed { .. } | ChallengeState::Spent { .. } => "approved",
            ChallengeState::Failed { .. } => "failed",
            ChallengeState::Expired => "not answered in time",
            ChallengeState::Cancelled { .. } => "refused",
        },
    }
}

/// `signed in 12 minutes ago, a browser not seen before`.
fn since(session: &SessionSummary, now: Timestamp) -> String {
    let age = words::span(now.since(session.started_at).unwrap_or_default());
    let seen = if session.device.is_known() { "" } else { ", a browser not seen before" };
    format!("signed in {age} ago{seen}")
}

/// `from 192.0.2.7, office, Berlin, DE`.
fn place(address: &str, place: &Place) -> String {
    let known = [address, &place.network, &place.city, &place.country];
    let known: Vec<&str> = known.into_iter().filter(|one| !one.is_empty()).collect();
    format!("from {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_of_a_place_is_not_said() {
        let known = Place { network: "office".into(), country: "DE".into(), city: "Berlin".into() };
        assert_eq!(place("192.0.2.7", &known), "from 192.0.2.7, office, Berlin, DE");
        assert_eq!(place("192.0.2.7", &Place::default()), "from 192.0.2.7");
    }
}
