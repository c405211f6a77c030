//! Each event in each format, held against the schemas of those who read them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod cef;
mod ecs;
mod hostile;
mod ocsf;
mod samples;

use std::collections::BTreeSet;

use serde_json::Value;
use stepgate_monitor::{Body, Format, Personal};

use samples::{record, records};

const GATE: &str = "gate.example";

/// The kinds that an entry can have, as the evidence spells them.
fn kinds() -> BTreeSet<String> {
    let text = include_str!("../../../evidence/src/entry.rs");
    let events = &text[text.find("pub enum Event {").unwrap()..];
    let events = &events[..events.find("\n}\n").unwrap()];
    let names = events.lines().filter_map(|line| line.trim().strip_prefix("#[serde(rename = \"")?.strip_suffix("\")]"));
    names.map(str::to_owned).collect()
}

#[test]
fn there_is_a_sample_of_every_event() {
    let sampled: BTreeSet<String> =
        records().iter().map(|record| record.event().unwrap()["kind"].as_str().unwrap().to_owned()).collect();
    assert!(kinds().len() > 60);
    assert_eq!(sampled, kinds());
}

#[test]
fn the_native_form_tells_every_entry_with_its_words() {
    for record in records() {
        let documents = Format::Native.render(&record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX).unwrap();
        let [document] = documents.as_slice() else { panic!("one document") };
        let Body::Json(value) = &document.body else { panic!("JSON") };
        let kind = record.event().unwrap()["kind"].clone();
        assert_eq!(value["kind"], kind);
        assert_eq!(value["index"], record.recorded.index);
        assert_eq!(value["message"], record.recorded.entry.sentence());
        assert_eq!(value["time"], "2026-08-22T10:00:00.123Z");
        assert_eq!(value["gate"], GATE);
        assert_eq!(value["details"]["surroundings"]["address"], "192.0.2.7");
        assert_eq!(value["login"], "alice");
        let mut event = record.event().unwrap();
        event.as_object_mut().unwrap().remove("kind");
        assert_eq!(value["event"], event, "word for word");
    }
}

#[test]
fn what_is_personal_is_in_no_format_where_it_is_withheld() {
    for format in Format::ALL {
        for record in records() {
            let told = lines(format, &record);
            assert!(told.contains("alice") || told.contains("192.0.2.7") || !format.is_json(), "{format:?}: {told}");
            let withheld = lines(format, &record.telling(Personal::Withheld));
            for personal in ["alice", "192.0.2.7", "Firefox", "Zürich", "Approve payment"] {
                assert!(!withheld.contains(personal), "{format:?}: {withheld}");
            }
        }
    }
}

#[test]
fn an_entry_with_more_than_fits_is_told_without_its_details() {
    let mut large = record(r#"{"kind":"node.stopped","node":"n"}"#);
    let many: Vec<Value> = (0..40).map(|_| "x".repeat(7_000).into()).collect();
    large.recorded.entry.details.as_mut().unwrap().body["many"] = many.into();
    for format in Format::ALL {
        let line = lines(format, &large);
        assert!(line.len() < stepgate_monitor::DOCUMENT_LEN_MAX, "{format:?}: {}", line.len());
        assert!(line.contains("node.stopped"), "{format:?}");
    }
}

fn lines(format: Format, record: &stepgate_monitor::Record) -> String {
    format
        .render(record, GATE, stepgate_monitor::DOCUMENT_LEN_MAX)
        .unwrap()
        .iter()
        .map(|document| document.body.line())
        .collect::<Vec<_>>()
        .join("\n")
}
