//! What stands in the ledger about a person, in words for that person.

use jiff::Timestamp as Instant;
use stepgate_core::factor::FactorKind;
use stepgate_core::ports::RecordedEntry;
use stepgate_core::surroundings::shown;
use stepgate_evidence::{Asked, Event, FactorProof, Titles};

use crate::device;
use crate::views::{Activity, Tone};
use crate::words::{Moment, at_the_head};

/// Longest text of one line, in characters.
const TEXT_MAX: usize = 160;

/// The kinds of entries that say something to the person themselves.
pub(crate) const KINDS: [&str; 17] = [
    "session.started",
    "session.ended",
    "session.token_reused",
    "device.forgotten",
    "attempt.failed",
    "challenge.opened",
    "challenge.passed",
    "challenge.failed",
    "challenge.expired",
    "challenge.cancelled",
    "factor.enrolled",
    "factor.removed",
    "factor.locked",
    "code.sent",
    "enrolment.link_made",
    "enrolment.link_used",
    "evidence.exported",
];

/// The entries, newest first, as lines. What only repeats another line is left out.
pub(crate) fn in_words(entries: &[RecordedEntry]) -> Vec<Activity> {
    let mut titles = Titles::default();
    for recorded in entries {
        titles.note(&recorded.entry);
    }
    entries.iter().filter_map(|recorded| line(recorded, &titles)).collect()
}

fn line(recorded: &RecordedEntry, titles: &Titles) -> Option<Activity> {
    let detail = |pointer: &str| {
        let body = recorded.entry.details.as_ref().map(|details| &details.body);
        body.and_then(|body| body.pointer(pointer)).and_then(|value| value.as_str()).unwrap_or_default()
    };
    let named = |asked: Option<&Asked>| match titles.of(&recorded.entry) {
        Some(title) => format!("“{title}”"),
        None => asked.map_or_else(|| "a request".to_owned(), |asked| format!("{} at {}", asked.action, asked.service)),
    };
    let (tone, what, more) = match &recorded.entry.event {
        Event::SessionStarted { proof, .. } => {
            let from = format!("{}, from {}", device::in_words(detail("/agent")), detail("/address"));
            let from = if recorded.erased { "details erased".to_owned() } else { from };
            (Tone::Neutral, "Signed in".to_owned(), format!("with {}; {from}", with(proof)))
        }
        Event::SessionEnded { reason, .. } => {
            let why = match reason.as_str() {
                "sign_out" => "you signed out",
                "signed_in_again" => "you signed in again in the same browser",
                "not_me" => "you said that it was not you",
                "sign_in_denied" => "a rule does not let you sign in from there",
                "revoked" => "you signed that device out",
                _ => "it was ended",
            };
            (Tone::Neutral, "A session ended".to_owned(), why.to_owned())
        }
        Event::DeviceForgotten { .. } => {
            (Tone::Neutral, "A device was forgotten".to_owned(), "it counts as new".to_owned())
        }
        Event::TokenReused { .. } => (
            Tone::Warning,
            "An old key of one of your sessions was shown".to_owned(),
            "somebody may have a copy of a browser's cookies; it opened nothing".to_owned(),
        ),
        Event::AttemptFailed { factor, purpose, reason, .. } => {
            let what = match reason.as_str() {
                "used_before" => format!("{} was used a second time", at_the_head(one(factor))),
                "wrong_number" => "A wrong number was typed".to_owned(),
                "locked" => format!("{} was tried while it was locked", at_the_head(one(factor))),
                _ => format!("A wrong {} was tried", kind(factor)),
            };
            let whereat = match purpose.as_str() {
                "sign_in" => "at sign-in".to_owned(),
                "enrolment" => "to add it".to_owned(),
                _ => format!("for {}", named(None)),
            };
            (Tone::Warning, what, whereat)
        }
        Event::ChallengePassed { asked, proof, .. } => {
            (Tone::Good, format!("Confirmed {}", named(Some(asked))), format!("with {}", with(proof)))
        }
        Event::ChallengeFailed { reason, .. } if reason != "succeeded" => {
            (Tone::Bad, format!("Not confirmed: {}", named(None)), "too many wrong answers".to_owned())
        }
        Event::ChallengeExpired { .. } => {
            (Tone::Neutral, format!("Not answered: {}", named(None)), "nothing was done".to_owned())
        }
        Event::ChallengeCancelled { reason, .. } => {
            let (tone, why) = if reason == "not_me" {
                (Tone::Bad, "you said that it was not you")
            } else {
                (Tone::Neutral, "nothing was done")
            };
            (tone, format!("Refused {}", named(None)), why.to_owned())
        }
        Event::FactorEnrolled { factor, .. } => {
            (Tone::Warning, format!("Added {}", thing(factor)), detail("/name").to_owned())
        }
        Event::FactorRemoved { factor, .. } => (Tone::Warning, format!("Removed {}", thing(factor)), String::new()),
        Event::FactorLocked { factor, whom, .. } => {
            let whom = match whom.as_str() {
                "device" => "for one of your devices, after too many wrong tries",
                "address" => "for one network address that tried it too often; your own browsers are not concerned",
                "reported" => "you said that it was not you who asked; you can allow them again in your account",
                "strangers" => "for browsers that you have not used before; somebody tries it, your own go on",
                _ => "for everybody, after too many wrong tries; an administrator can unlock it",
            };
            (Tone::Bad, format!("Your {} was locked", kind(factor)), whom.to_owned())
        }
        Event::CodeSent { factor, challenge, .. } => {
            let what = if challenge.is_empty() { "to add it".to_owned() } else { format!("for {}", named(None)) };
            (Tone::Neutral, format!("You were sent {}", one(factor)), what)
        }
        Event::LinkMade { .. } => (Tone::Warning, "An enrolment link was made for you".to_owned(), String::new()),
        Event::LinkUsed { .. } => (Tone::Warning, "An enrolment link was opened".to_owned(), String::new()),
        Event::EvidenceExported { to_index, .. } => {
            (Tone::Warning, "The whole evidence was exported".to_owned(), format!("up to entry {to_index}, by you"))
        }
        _ => return None,
    };
    let at = Instant::from_millisecond(recorded.entry.at_ms).unwrap_or_default();
    Some(Activity { what: shown(&what, TEXT_MAX), detail: shown(&more, TEXT_MAX), at: Moment::with_day(at), tone })
}

/// The factor by its name in the evidence, as people call it.
fn kind(factor: &str) -> &'static str {
    factor.parse().map_or("factor", FactorKind::title)
}

/// The same with its article, as one that is given: `an authenticator code`.
fn one(factor: &str) -> &'static str {
    factor.parse().map_or("a factor", FactorKind::one)
}

/// What somebody has of it: `an authenticator app`.
fn thing(factor: &str) -> &'static str {
    factor.parse().map_or("a factor", FactorKind::means)
}

fn with(proof: &FactorProof) -> String {
    match proof.user_verified {
        Some(true) => format!("{}, user verified", one(&proof.factor)),
        _ => one(&proof.factor).to_owned(),
    }
}
