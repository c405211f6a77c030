//! Printing for people and for programs.

use std::process::ExitCode;

use serde_json::Value;
use stepgate_core::surroundings::shown;
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Entry, Titles};

use super::Done;
use crate::cli::Format;

/// Longest title in a line, in characters.
const TITLE_MAX: usize = 200;

/// This program as it was called, for commands that can be typed again: `stepgate`, or
/// `target/debug/stepgate` where it is not in the path.
pub(crate) fn program() -> String {
    let called = std::env::args_os().next().and_then(|called| called.into_string().ok()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-~".contains(c);
    if called.is_empty() || shown(&called, usize::MAX) != called {
        "stepgate".to_owned()
    } else if called.chars().all(plain) {
        called
    } else {
        format!("'{}'", called.replace('\'', "'\\''"))
    }
}

/// Prints one JSON document.
pub(crate) fn json(value: &Value) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("stepgate: the result is no JSON: {error}"),
    }
}

/// Prints what was done: as one JSON document, or in words.
pub(crate) fn done(format: Format, value: &Value, words: &str) -> Done {
    match format {
        Format::Json => json(value),
        Format::Text => println!("{words}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for an entry: index, time, sentence; and what its challenge is about, last and
/// quoted, since a request chose it.
pub(crate) fn entry_line(index: u64, entry: &Entry, titles: &Titles) -> String {
    let title = titles.of(entry).map(|title| format!(": “{}”", shown(title, TITLE_MAX))).unwrap_or_default();
    format!("{index:>8}  {}  {}{title}", Timestamp::from_ms(entry.at_ms), entry.sentence())
}

/// An entry for programs.
pub(crate) fn entry_json(index: u64, entry: &Entry, titles: &Titles) -> Value {
    serde_json::json!({
        "index": index,
        "id": entry.id,
        "at": Timestamp::from_ms(entry.at_ms).to_string(),
        "event": serde_json::to_value(&entry.event).unwrap_or_default(),
        "details": entry.details.as_ref().map(|details| details.body.clone()),
        "sentence": entry.sentence(),
        "title": titles.of(entry),
    })
}
