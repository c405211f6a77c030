//! The evidence page with sample entries.

use stepgate_console::views::{Choice, EvidenceEntry, EvidenceForm, EvidencePage, Said, Tone, Way};

use super::{SignedDuration, ago, frame};

fn form() -> EvidenceForm {
    let choice = |value: &str, text: &str| Choice {
        value: value.to_owned(),
        text: text.to_owned(),
        is_chosen: value.is_empty(),
    };
    EvidenceForm {
        action: "/evidence".to_owned(),
        person: String::new(),
        kinds: vec![choice("", "Anything"), choice("challenge.passed", "Challenge passed")],
        services: vec![choice("", "Any"), choice("ledger", "Ledger"), choice("stepgate", "The gate itself")],
        acted: String::new(),
        challenge: String::new(),
        request: String::new(),
        since: String::new(),
        until: String::new(),
        index: String::new(),
        is_open: false,
        is_narrowed: false,
    }
}

/// An entry with this sentence; also for the test of hostile text.
pub(crate) fn entry(index: u64, kind: &str, what: &str, title: Option<&str>, tone: Tone) -> EvidenceEntry {
    EvidenceEntry {
        index,
        link: format!("/evidence?index={index}"),
        what: what.to_owned(),
        title: title.map(str::to_owned),
        kind: kind.to_owned(),
        at: ago(SignedDuration::from_mins(5 * (4720 - i64::try_from(index).unwrap_or_default()))),
        tone,
        links: vec![
            Way::new("All of alice", "/evidence?person=6d7f"),
            Way::new("All of this challenge", "/evidence?challenge=8c21"),
        ],
        erased: index.is_multiple_of(3),
        json: format!(
            "{{\n  \"index\": {index},\n  \"event\": {{\n    \"kind\": \"challenge.passed\",\n    \"person\": \"6d7f5c11c4be9e3e1a9b20c6a8d9f1ce\",\n    \"what\": {what:?}\n  }}\n}}"
        ),
    }
}

/// The page as it opens.
pub(crate) fn newest() -> EvidencePage {
    let payment = Some("Approve payment 42 of 12000");
    EvidencePage {
        if_empty: "No entry is like this.",
        frame: frame(),
        form: form(),
        entries: vec![
            entry(4719, "Evidence searched", "Evidence searched by audrey: everything", None, Tone::Neutral),
            entry(4718, "Operation finished", "Challenge 8c21f3aa: the upstream answered 200", None, Tone::Neutral),
            entry(
                4717,
                "Operation sent",
                "Challenge 8c21f3aa spent: payments.approve (ledger POST /payments/{id}/approve) of alice is being sent, request 51b0a9d2",
                None,
                Tone::Neutral,
            ),
            entry(
                4716,
                "Challenge passed",
                "Challenge 8c21f3aa passed: alice proved passkey (user verified) for payments.approve (ledger POST /payments/{id}/approve) (grants confirmation)",
                None,
                Tone::Good,
            ),
            entry(
                4715,
                "Wrong try",
                "Alice did not prove authenticator code for challenge: wrong",
                None,
                Tone::Warning,
            ),
            entry(
                4714,
                "Challenge opened",
                "Challenge 8c21f3aa: alice asked for payments.approve (ledger POST /payments/{id}/approve) needs confirm: passkey, because large-payment, request held",
                payment,
                Tone::Neutral,
            ),
            entry(4713, "Factor locked", "Password of mallory locked after too many wrong tries", None, Tone::Bad),
        ],
        older: Some("/evidence?before=4713".to_owned()),
        export_action: "/evidence/export".to_owned(),
        said: None,
    }
}

/// A search that was narrowed, with nothing found.
pub(crate) fn found() -> EvidencePage {
    let form = EvidenceForm {
        person: "alice".to_owned(),
        challenge: "8c21f3aa0d7b4c5e9f10a2b3c4d5e6f7".to_owned(),
        is_open: true,
        is_narrowed: true,
        ..form()
    };
    EvidencePage { form, entries: Vec::new(), older: None, ..newest() }
}

/// A search that cannot be read.
pub(crate) fn wrong() -> EvidencePage {
    let said = Some(Said::bad("This search cannot be read.", "since: a day like 2026-11-22 is expected."));
    EvidencePage { said, if_empty: "Nothing was searched.", ..found() }
}
