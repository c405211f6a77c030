//! Entries as lines of the page. All that stands in an entry may have been chosen
//! by somebody hostile: it is text here, without control characters, cut to a
//! length, and escaped by the template.

use std::collections::BTreeMap;

use jiff::Timestamp as Instant;
use serde_json::{Value, json};
use stepgate_core::id::PersonId;
use stepgate_core::person::Person;
use stepgate_core::ports::RecordedEntry;
use stepgate_core::surroundings::shown;
use stepgate_core::time::Timestamp;

use super::kinds;
use super::search::link_to;
use crate::views::{EvidenceEntry, Way};
use crate::words::{Moment, at_the_head};

/// Longest sentence, in characters.
const SENTENCE_MAX: usize = 400;
/// Most lines of an entry's JSON that a page shows; an export has all of it.
const LINES_MAX: usize = 400;
/// Longest of these lines, in characters.
const LINE_MAX: usize = 2000;
/// Digits of an id that a sentence shows.
const SHORT: usize = 8;

/// The people whom a page's entries name, as far as they are still there.
pub(crate) type Names = BTreeMap<PersonId, Person>;

/// The people whom these entries are about, or who did something with the evidence.
pub(crate) fn people_of(entries: &[RecordedEntry]) -> Vec<PersonId> {
    let mut found: Vec<PersonId> = entries.iter().flat_map(|recorded| people_in(&event(recorded))).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn people_in(event: &Value) -> Vec<PersonId> {
    let id = |name: &str| event.get(name).and_then(Value::as_str).and_then(|id| id.parse().ok());
    ["person", "by"].into_iter().filter_map(id).collect()
}

fn event(recorded: &RecordedEntry) -> Value {
    serde_json::to_value(&recorded.entry.event).unwrap_or_default()
}

/// One entry as a line.
pub(crate) fn line(recorded: &RecordedEntry, names: &Names) -> EvidenceEntry {
    let event = event(recorded);
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = text("/kind");
    let title = recorded.entry.details.as_ref().and_then(|details| details.body.pointer("/statement/title"));
    let mut links = Vec::new();
    for person in people_in(&event) {
        let name = names.get(&person).map_or_else(|| "the same person".to_owned(), |known| known.login.to_string());
        links.push(Way::new(format!("All of {}", shown(&name, 60)), link_to("person", &person.to_string())));
    }
    if !text("/challenge").is_empty() {
        links.push(Way::new("All of this challenge", link_to("challenge", text("/challenge"))));
    }
    if !text("/request").is_empty() {
        links.push(Way::new("All of this request", link_to("request", text("/request"))));
    }
    EvidenceEntry {
        index: recorded.index,
        link: link_to("index", &recorded.index.to_string()),
        what: shown(&sentence(recorded, names), SENTENCE_MAX),
        title: title.and_then(Value::as_str).map(|title| shown(title, SENTENCE_MAX)),
        kind: kinds::words(kind).to_owned(),
        at: Moment::with_day(Instant::from_millisecond(recorded.entry.at_ms).unwrap_or_default()),
        tone: kinds::tone(kind),
        links,
        erased: recorded.erased,
        json: pretty(&for_programs(recorded)),
    }
}

/// The entry's sentence, with names to sign in with where it has the first digits of
/// people's ids. Those are unique and have no spaces, so no name reads like a sentence.
fn sentence(recorded: &RecordedEntry, names: &Names) -> String {
    let mut sentence = at_the_head(&recorded.entry.sentence());
    for (id, person) in names {
        let id = id.to_string();
        let short = id.get(..SHORT).unwrap_or(&id);
        let login = person.login.as_str();
        for called in ["person", "Person"] {
            sentence = sentence.replace(&format!("{called} {short}"), login);
        }
        sentence = sentence.replace(&format!("by {short}"), &format!("by {login}"));
    }
    sentence
}

/// An entry for programs.
pub(crate) fn for_programs(recorded: &RecordedEntry) -> Value {
    let entry = &recorded.entry;
    json!({
        "index": recorded.index,
        "id": entry.id,
        "at": Timestamp::from_ms(entry.at_ms).to_string(),
        "event": event(recorded),
        "details": entry.details.as_ref().map(|details| details.body.clone()),
        "details_erased": recorded.erased,
        "sentence": entry.sentence(),
    })
}

fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().take(LINES_MAX).map(|line| shown(line, LINE_MAX)).collect();
    if text.lines().nth(LINES_MAX).is_some() {
        lines.push("… (the rest is in an export)".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use stepgate_core::id::Id;
    use stepgate_core::person::Login;
    use stepgate_evidence::{Details, Entry, Event, Salt};

    use super::*;

    fn recorded(event: Event) -> RecordedEntry {
        RecordedEntry { index: 7, entry: Entry { id: "e".to_owned(), at_ms: 0, event, details: None }, erased: false }
    }

    #[test]
    fn people_are_called_by_name() {
        let alice: PersonId = Id::from_bytes([0xab; 16]);
        let person = Person {
            id: alice,
            login: Login::parse("alice").unwrap(),
            name: "Alice Miller".to_owned(),
            email: String::new(),
            groups: Vec::new(),
            active: true,
        };
        let changed = recorded(Event::PersonChanged { person: alice.to_string(), by: alice.to_string() });
        assert_eq!(people_of(std::slice::from_ref(&changed)), [alice]);
        let line = line(&changed, &Names::from([(alice, person)]));
        assert_eq!(line.what, "alice changed by alice");
        assert_eq!(line.kind, "Person changed");
    }

    #[test]
    fn who_is_gone_is_still_found_by_their_id() {
        let gone = "cd".repeat(16);
        let line =
            line(&recorded(Event::PersonRemoved { person: gone.clone(), by: "cli:root".to_owned() }), &Names::new());
        assert_eq!(line.what, "Person cdcdcdcd removed by cli:root");
        assert_eq!(line.links[0].href, format!("/evidence?person={gone}"));
    }

    #[test]
    fn what_an_entry_hides_is_made_visible_and_cut() {
        let mut hostile = recorded(Event::Fault { node: "n".to_owned(), what: "a\u{202e}b\u{1b}[2J\nc".to_owned() });
        hostile.entry.details = Some(Details {
            salt: Salt([0; 16]),
            body: json!({ "statement": { "title": "t\u{202e}" }, "x": vec!["y"; 1000] }),
        });
        let line = line(&hostile, &Names::new());
        assert!(line.what.contains("a·b·[2J·c"), "{}", line.what);
        assert_eq!(line.title.as_deref(), Some("t·"));
        assert!(!line.json.contains('\u{202e}') && !line.json.contains('\u{1b}'), "{}", line.json);
        assert_eq!(line.json.lines().count(), LINES_MAX + 1);
    }
}
