//! Elastic Common Schema. What it has no field for stands under `stepgate`.

use serde_json::{Map, Value, json};

use super::{kind, put, rfc3339};
use crate::fact::{Area, Change, Disposition, Fact, Outcome, Severity, Thing};
use crate::record::Record;

/// The version whose fields these are.
const VERSION: &str = "9.4.0";

pub(super) fn document(record: &Record, gate: &str) -> Result<Value, serde_json::Error> {
    let (entry, fact) = (&record.recorded.entry, record.fact());
    let kind = kind(record)?;
    let (category, types) = categories(&fact);
    let mut event = json!({
        "kind": if fact.severity == Severity::High { "alert" } else { "event" },
        "category": category,
        "type": types,
        "action": kind,
        "outcome": super::native::outcome(fact.outcome),
        "id": entry.id,
        "sequence": record.recorded.index,
        "module": "stepgate",
        "dataset": "stepgate.audit",
        "provider": "stepgate",
        "severity": severity(fact.severity),
    });
    if let Some(event) = event.as_object_mut() {
        put(event, "reason", fact.reason);
    }
    let mut document = Map::new();
    document.insert("@timestamp".to_owned(), rfc3339(entry.at_ms).into());
    document.insert("ecs".to_owned(), json!({ "version": VERSION }));
    document.insert("message".to_owned(), entry.sentence().into());
    document.insert("event".to_owned(), event);
    document.insert("observer".to_owned(), json!({
        "vendor": "Stepgate", "product": "Stepgate", "type": "gateway", "name": gate, "version": env!("CARGO_PKG_VERSION"),
    }));
    people(&mut document, record, &fact);
    source(&mut document, record);
    if let Some(asked) = fact.asked {
        document.insert("service".to_owned(), json!({ "name": asked.service }));
    }
    if let Some(policy) = fact.policies.first() {
        let mut rule = Map::new();
        put(&mut rule, "id", policy);
        put(&mut rule, "version", fact.policy_version);
        document.insert("rule".to_owned(), rule.into());
    }
    if !fact.challenge.is_empty() {
        document.insert("transaction".to_owned(), json!({ "id": fact.challenge }));
    }
    let mut http = Map::new();
    if !fact.request.is_empty() {
        http.insert("request".to_owned(), json!({ "id": fact.request }));
    }
    if let Some(status) = fact.status {
        http.insert("response".to_owned(), json!({ "status_code": status }));
    }
    if !http.is_empty() {
        document.insert("http".to_owned(), http.into());
    }
    document.insert("stepgate".to_owned(), own(record, &fact)?);
    Ok(Value::Object(document))
}

/// `event.category` and `event.type`, each pair among those that ECS expects.
fn categories(fact: &Fact<'_>) -> (Vec<&'static str>, Vec<&'static str>) {
    match fact.area {
        Area::SignIn | Area::Proof => {
            let types = match (fact.area, fact.outcome) {
                (Area::SignIn, Outcome::Success) => vec!["start"],
                _ => vec!["info"],
            };
            (vec!["authentication"], types)
        }
        Area::SignOut => (vec!["authentication", "session"], vec!["end"]),
        Area::Privilege => (vec!["session"], vec!["info"]),
        Area::Operation => {
            let verdict = match fact.disposition {
                Some(Disposition::Approved | Disposition::Allowed) => "allowed",
                Some(Disposition::Blocked | Disposition::Rejected | Disposition::Errored) => "denied",
                Some(Disposition::Challenged | Disposition::Delayed) | None => "info",
            };
            (vec!["api"], vec!["access", verdict])
        }
        Area::Managed(change, thing) => managed(change, thing),
        Area::Start => (vec!["process"], vec!["start"]),
        Area::Stop => (vec!["process"], vec!["end"]),
        Area::Fault => (vec!["process"], vec!["info"]),
    }
}

fn managed(change: Change, thing: Thing) -> (Vec<&'static str>, Vec<&'static str>) {
    let kind = match change {
        Change::Create | Change::Enroll => "creation",
        Change::Read => "info",
        Change::Delete | Change::Unenroll => "deletion",
        Change::Update | Change::Activate | Change::Deactivate | Change::Suspend => "change",
    };
    match thing {
        Thing::Group => (vec!["iam"], vec!["group", kind]),
        Thing::Person | Thing::Factor | Thing::Device | Thing::EnrolmentLink => (vec!["iam"], vec!["user", kind]),
        Thing::Machine => (vec!["iam"], vec!["admin", kind]),
        Thing::Policies
        | Thing::Authenticators
        | Thing::Configuration
        | Thing::Stream
        | Thing::Sink
        | Thing::Key
        | Thing::Evidence => (vec!["configuration"], vec![kind]),
    }
}

/// Who did it, and to whom.
fn people(document: &mut Map<String, Value>, record: &Record, fact: &Fact<'_>) {
    let mut person = Map::new();
    put(&mut person, "id", fact.person);
    put(&mut person, "name", record.login.as_deref().unwrap_or_default());
    let mut related: Vec<&str> = [fact.person, record.login.as_deref().unwrap_or_default(), fact.by, fact.agent].into();
    related.retain(|one| !one.is_empty());
    related.dedup();
    let user = if fact.by.is_empty() || fact.by == fact.person {
        person
    } else {
        let mut user = Map::new();
        put(&mut user, "id", fact.by);
        if !person.is_empty() {
            user.insert("target".to_owned(), person.into());
        }
        user
    };
    if !user.is_empty() {
        document.insert("user".to_owned(), user.into());
    }
    if !related.is_empty() {
        document.insert("related".to_owned(), json!({ "user": related }));
    }
}

/// Where from.
fn source(document: &mut Map<String, Value>, record: &Record) {
    if let Some(address) = record.address() {
        let mut source = Map::new();
        put(&mut source, "address", address);
        if address.parse::<std::net::IpAddr>().is_ok() {
            put(&mut source, "ip", address);
        }
        let mut geo = Map::new();
        put(&mut geo, "country_iso_code", record.detail("/surroundings/country").unwrap_or_default());
        put(&mut geo, "region_name", record.detail("/surroundings/region").unwrap_or_default());
        put(&mut geo, "city_name", record.detail("/surroundings/city").unwrap_or_default());
        if !geo.is_empty() {
            source.insert("geo".to_owned(), geo.into());
        }
        document.insert("source".to_owned(), source.into());
    }
    if let Some(agent) = record.user_agent() {
        document.insert("user_agent".to_owned(), json!({ "original": agent }));
    }
}

/// What ECS has no field for.
fn own(record: &Record, fact: &Fact<'_>) -> Result<Value, serde_json::Error> {
    let mut own = Map::new();
    put(&mut own, "session", fact.session);
    put(&mut own, "factor", fact.factor);
    put(&mut own, "agent", fact.agent);
    put(&mut own, "thing", fact.thing);
    put(&mut own, "title", record.title().unwrap_or_default());
    if let Some(asked) = fact.asked {
        put(&mut own, "action", &asked.action);
        put(&mut own, "resource", &asked.resource);
        put(&mut own, "resource_kind", &asked.resource_kind);
        put(&mut own, "sensitivity", &asked.sensitivity);
    }
    if !fact.policies.is_empty() {
        own.insert("policies".to_owned(), json!(fact.policies));
    }
    if fact.count > 1 {
        own.insert("count".to_owned(), fact.count.into());
    }
    // The entry word for word, as one text: its fields would be other mappings for each kind.
    own.insert("entry".to_owned(), record.event()?.to_string().into());
    Ok(Value::Object(own))
}

/// As syslog has it: smaller is worse.
const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 6,
        Severity::Low => 5,
        Severity::Medium => 4,
        Severity::High => 2,
    }
}
