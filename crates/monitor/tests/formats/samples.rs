//! An entry of each kind.

use serde_json::json;
use stepgate_core::ports::RecordedEntry;
use stepgate_evidence::{Details, Entry, Salt};
use stepgate_monitor::Record;

/// An entry of each kind, one JSON object on each line.
const EVENTS: &str = include_str!("data/events.jsonl");

pub(crate) fn record(event: &str) -> Record {
    let body = json!({
        "statement": { "title": "Approve payment 42 of 12,000.00" },
        "surroundings": {
            "address": "192.0.2.7", "network": "office", "country": "CH", "region": "ZH", "city": "Zürich",
            "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        },
    });
    let entry = Entry {
        id: "00112233445566778899aabbccddeeff".to_owned(),
        at_ms: 1_787_392_800_123,
        event: serde_json::from_str(event).unwrap_or_else(|error| panic!("{event}: {error}")),
        details: Some(Details { salt: Salt([7; 16]), body }),
    };
    Record { recorded: RecordedEntry { index: 41, entry, erased: false }, login: Some("alice".to_owned()) }
}

pub(crate) fn records() -> Vec<Record> {
    EVENTS.lines().map(record).collect()
}
