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
use stepgate_evidence::Titles;

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
pub(crate) fn line(recorded: &RecordedEntry, names: &Names, titles: &Titles) -> EvidenceEntry {
    let event = event(recorded);
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = text("/kind");
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
        title: titles.of(&recorded.entry).map(|title| shown(title, SENTENCE_MAX)),
        kind: kinds::words(kind).to_owned(),
        at: Moment::with_day(Instant::from_millisecond(recorded.entry.at_ms).unwrap_or_default()),
        tone: kinds::tone(kind),
        links,
        erased: recorded.erased,
        json: pretty(&for_programs(recorded, titles)),
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
pub(crate) fn for_programs(recorded: &RecordedEntry, titles: &Titles) -> Value {
    let entry = &recorded.entry;
    json!({
        "index": recorded.index,
        "id": entry.id,
        "at": Timestamp::from_ms(entry.at_ms).to_string(),
        "event": event(recorded),
        "details": entry.details.as_ref().map(|details| details.body.clone()),
        "details_erased": recorded.erased,
        "sentence": entry.sentence(),
        "title": titles.of(entry),
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
    use stepgate_evidence::{AgentName, Asked, Details, Entry, Event, Outcome, Salt};

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
        let line = line(&changed, &Names::from([(alice, person)]), &Titles::default());
        assert_eq!(line.what, "alice changed by alice");
        assert_eq!(line.kind, "Person changed");
    }

    #[test]
    fn who_is_gone_is_still_found_by_their_id() {
        let gone = "cd".repeat(16);
        let removed = Event::PersonRemoved { person: gone.clone(), by: "cli:root".to_owned() };
        let line = line(&recorded(removed), &Names::new(), &Titles::default());
        assert_eq!(line.what, "Person cdcdcdcd removed by cli:root");
        assert_eq!(line.links[0].href, format!("/evidence?person={gone}"));
    }

    #[test]
    fn what_an_entry_hides_is_made_visible_and_cut() {
        let mut hostile = recorded(Event::Fault { node: "n".to_owned(), what: "a\u{202e}b\u{1b}[2J\nc".to_owned() });
        hostile.entry.details =
            Some(Details { salt: Salt([0; 16]), body: json!({ "x": vec!["y\u{202e}\u{1b}"; 1000] }) });
        let line = line(&hostile, &Names::new(), &Titles::default());
        assert!(line.what.contains("a·b·[2J·c"), "{}", line.what);
        assert!(!line.json.contains('\u{202e}') && !line.json.contains('\u{1b}'), "{}", line.json);
        assert_eq!(line.json.lines().count(), LINES_MAX + 1);
    }

    #[test]
    fn what_follows_a_challenge_is_named_after_it() {
        let challenge = "ab".repeat(16);
        let asked = Asked {
            service: "ledger".to_owned(),
            action: "payments.approve".to_owned(),
            resource: "ledger POST /x".to_owned(),
            resource_kind: String::new(),
            sensitivity: "high".to_owned(),
        };
        let mut opened = recorded(Event::ChallengeOpened {
            challenge: challenge.clone(),
            session: "s".to_owned(),
            person: "p".to_owned(),
            agent: None,
            asked,
            policies: Vec::new(),
            policy: "v".to_owned(),
            offered: "confirm: passkey".to_owned(),
            statement: "d".to_owned(),
            held: true,
            succeeds: String::new(),
        });
        let body = json!({ "statement": { "title": "Approve 42\u{202e}" } });
        opened.entry.details = Some(Details { salt: Salt([0; 16]), body });
        let mut titles = Titles::default();
        titles.note(&opened.entry);
        let outcome = Outcome::Answered { status: 200 };
        let finished = recorded(Event::OperationFinished { challenge, request: "r".to_owned(), outcome });
        assert_eq!(line(&finished, &Names::new(), &titles).title.as_deref(), Some("Approve 42·"));
        assert_eq!(for_programs(&finished, &titles)["title"], "Approve 42\u{202e}", "programs get what it is");
        assert_eq!(line(&finished, &Names::new(), &Titles::default()).title, None);
    }

    #[test]
    fn what_somebody_named_is_not_spelled_otherwise_at_the_head_of_a_sentence() {
        let person: PersonId = Id::from_bytes([0xab; 16]);
        let alice = Person {
            id: person,
            login: Login::parse("alice").unwrap(),
            name: String::new(),
            email: String::new(),
            groups: Vec::new(),
            active: true,
        };
        let refused = recorded(Event::OperationRefused {
            person: person.to_string(),
            agent: None,
            asked: Asked {
                service: "ledger".to_owned(),
                action: "payments.approve".to_owned(),
                resource: "ledger POST /x".to_owned(),
                resource_kind: String::new(),
                sensitivity: "high".to_owned(),
            },
            policies: vec!["no-permit".to_owned()],
            policy: "v".to_owned(),
            count: 1,
            window_s: 60,
        });
        let names = Names::from([(person, alice)]);
        let mut by_agent = refused.clone();
        let Event::OperationRefused { agent, .. } = &mut by_agent.entry.event else { panic!() };
        *agent = Some(AgentName::from("corp/robot"));
        let line_of_agent = line(&by_agent, &names, &Titles::default());
        let expected = "Request of agent corp/robot (answered for by alice) refused: payments.approve \
                        (ledger POST /x), because no policy permits it (once)";
        assert_eq!(line_of_agent.what, expected);
        assert!(line_of_agent.links.iter().any(|link| link.text == "All of alice"), "it is found by who answers");
        let line = line(&refused, &names, &Titles::default());
        let expected =
            "Request of alice refused: payments.approve (ledger POST /x), because no policy permits it (once)";
        assert_eq!(line.what, expected);
        let challenge = "ab".repeat(16);
        let failed = recorded(Event::AttemptFailed {
            person: person.to_string(),
            factor: "totp".to_owned(),
            provider: None,
            purpose: "challenge".to_owned(),
            challenge,
            reason: "used_before".to_owned(),
            factor_id: None,
        });
        let line = self::line(&failed, &names, &Titles::default());
        assert_eq!(line.what, "alice did not prove authenticator code for challenge abababab: used before");
    }
}
