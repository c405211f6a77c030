//! Open Cybersecurity Schema Framework.

use serde_json::{Map, Value, json};

use super::{kind, put};
use crate::fact::{Area, Change, Disposition, Fact, Outcome, Severity, Thing};
use crate::record::Record;

/// The version whose classes these are.
pub const VERSION: &str = "1.8.0";

/// The name for somebody who is not known.
const UNKNOWN: &str = "unknown";
/// What stands behind the id of the second document of an entry.
const RAISED: &str = "-session";

/// The documents of an entry. A proof that makes a session worth more is two: that it was given, and what came of it.
pub(super) fn documents(record: &Record, gate: &str) -> Result<Vec<(&'static str, Value)>, serde_json::Error> {
    let fact = record.fact();
    let mut documents = vec![("", document(record, &fact, gate, "")?)];
    if fact.raises() {
        let raised = Fact { area: Area::Privilege, ..fact };
        documents.push((RAISED, document(record, &raised, gate, RAISED)?));
    }
    Ok(documents)
}

/// Class, activity and its name.
struct Class {
    category: u32,
    class: u32,
    activity: u32,
    activity_name: String,
}

fn class(fact: &Fact<'_>) -> Class {
    let of = |class: u32, activity: u32, name: &str| Class {
        category: class / 1000,
        class,
        activity,
        activity_name: name.to_owned(),
    };
    match fact.area {
        Area::SignIn => of(3002, 1, "Logon"),
        Area::SignOut => of(3002, 2, "Logoff"),
        Area::Proof => of(3002, 6, "Preauth"),
        Area::Privilege if fact.outcome == Outcome::Success && fact.by.is_empty() => of(3003, 1, "Assign Privileges"),
        Area::Privilege => of(3003, 99, "Remove Privileges"),
        // An operation is known by the name that the configuration gives it, not as one of four kinds of access.
        Area::Operation => of(6003, 99, fact.asked.map_or("Request", |asked| &asked.action)),
        Area::Managed(change, _) => {
            let (activity, name) = match change {
                Change::Create => (1, "Create"),
                Change::Read => (2, "Read"),
                Change::Update => (3, "Update"),
                Change::Delete => (4, "Delete"),
                Change::Enroll => (6, "Enroll"),
                Change::Unenroll => (7, "Unenroll"),
                Change::Activate => (10, "Activate"),
                Change::Deactivate => (11, "Deactivate"),
                Change::Suspend => (12, "Suspend"),
            };
            of(3004, activity, name)
        }
        Area::Start => of(6002, 3, "Start"),
        Area::Stop => of(6002, 4, "Stop"),
        Area::Fault => of(6008, 1, "General Error"),
    }
}

fn document(record: &Record, fact: &Fact<'_>, gate: &str, part: &str) -> Result<Value, serde_json::Error> {
    let (entry, class) = (&record.recorded.entry, class(fact));
    let (severity_id, severity) = severity(fact.severity);
    let (status_id, status) = status(fact.outcome);
    let mut metadata = json!({
        "version": VERSION,
        "product": { "name": "Stepgate", "vendor_name": "Stepgate", "version": env!("CARGO_PKG_VERSION") },
        "uid": format!("{}{part}", entry.id),
        "sequence": record.recorded.index,
        "event_code": kind(record)?,
        "log_name": gate,
        "profiles": if fact.disposition.is_some() { vec!["security_control"] } else { Vec::new() },
    });
    if let Some(metadata) = metadata.as_object_mut() {
        put(metadata, "correlation_uid", fact.challenge);
    }
    let mut document = Map::new();
    document.insert("category_uid".to_owned(), class.category.into());
    document.insert("class_uid".to_owned(), class.class.into());
    document.insert("activity_id".to_owned(), class.activity.into());
    document.insert("activity_name".to_owned(), class.activity_name.into());
    document.insert("type_uid".to_owned(), (class.class * 100 + class.activity).into());
    document.insert("time".to_owned(), entry.at_ms.into());
    document.insert("severity_id".to_owned(), severity_id.into());
    document.insert("severity".to_owned(), severity.into());
    document.insert("status_id".to_owned(), status_id.into());
    document.insert("status".to_owned(), status.into());
    put(&mut document, "status_detail", fact.reason);
    document.insert("metadata".to_owned(), metadata);
    document.insert("message".to_owned(), entry.sentence().into());
    if fact.count > 1 {
        document.insert("count".to_owned(), fact.count.into());
    }
    document.insert("unmapped".to_owned(), unmapped(record)?);
    match class.class {
        3002 => authentication(&mut document, record, fact, gate),
        3003 => authorize(&mut document, record, fact),
        3004 => entity(&mut document, record, fact),
        6003 => api(&mut document, record, fact),
        6002 => {
            document.insert("app".to_owned(), product());
        }
        _ => {}
    }
    Ok(Value::Object(document))
}

/// The entry word for word, and what lies beside it.
fn unmapped(record: &Record) -> Result<Value, serde_json::Error> {
    let mut unmapped = Map::new();
    unmapped.insert("event".to_owned(), record.event()?);
    if let Some(details) = &record.recorded.entry.details {
        unmapped.insert("details".to_owned(), details.body.clone());
    }
    Ok(unmapped.into())
}

fn product() -> Value {
    json!({ "name": "Stepgate", "vendor_name": "Stepgate", "version": env!("CARGO_PKG_VERSION") })
}

fn authentication(document: &mut Map<String, Value>, record: &Record, fact: &Fact<'_>, gate: &str) {
    document.insert("user".to_owned(), user(fact.person, record.login.as_deref()));
    let service = fact.asked.map_or(gate, |asked| asked.service.as_str());
    document.insert("service".to_owned(), json!({ "name": service }));
    session(document, fact);
    source(document, record);
    if !fact.factor.is_empty() {
        document.insert("auth_factors".to_owned(), json!([auth_factor(fact.factor)]));
    }
    if fact.factor == "idp" {
        document.insert("auth_protocol_id".to_owned(), 4.into());
        document.insert("auth_protocol".to_owned(), "OpenID".into());
    }
    document.insert("is_remote".to_owned(), true.into());
}

fn authorize(document: &mut Map<String, Value>, record: &Record, fact: &Fact<'_>) {
    document.insert("user".to_owned(), user(fact.person, record.login.as_deref()));
    let what = if fact.factor.is_empty() { "assurance" } else { fact.factor };
    document.insert("privileges".to_owned(), json!([format!("fresh {what}")]));
    session(document, fact);
}

fn session(document: &mut Map<String, Value>, fact: &Fact<'_>) {
    if !fact.session.is_empty() {
        document.insert("session".to_owned(), json!({ "uid": fact.session }));
    }
}

fn source(document: &mut Map<String, Value>, record: &Record) {
    if let Some(endpoint) = endpoint(record) {
        document.insert("src_endpoint".to_owned(), endpoint);
    }
}

/// Where it came from.
fn endpoint(record: &Record) -> Option<Value> {
    let address = record.address()?;
    let mut endpoint = Map::new();
    put(&mut endpoint, "ip", address);
    let mut location = Map::new();
    put(&mut location, "country", record.detail("/surroundings/country").unwrap_or_default());
    put(&mut location, "city", record.detail("/surroundings/city").unwrap_or_default());
    // ISO 3166-2 is wanted; the databases give the part after the country.
    if !location.is_empty() {
        endpoint.insert("location".to_owned(), location.into());
    }
    Some(endpoint.into())
}

fn entity(document: &mut Map<String, Value>, record: &Record, fact: &Fact<'_>) {
    let Area::Managed(_, thing) = fact.area else { return };
    let (type_id, own) = match thing {
        Thing::Person => (2, Some(("user", user(fact.thing, record.login.as_deref())))),
        Thing::Group => (3, Some(("group", json!({ "uid": fact.thing })))),
        Thing::Policies => (5, Some(("policy", json!({ "uid": fact.thing, "name": "policies" })))),
        _ => (99, None),
    };
    let mut entity = Map::new();
    put(&mut entity, "uid", if fact.thing.is_empty() { UNKNOWN } else { fact.thing });
    put(&mut entity, "type", thing.name());
    entity.insert("type_id".to_owned(), type_id.into());
    if !fact.factor.is_empty() {
        put(&mut entity, "name", fact.factor);
    }
    if let Some((name, own)) = own {
        entity.insert(name.to_owned(), own);
    } else if !fact.person.is_empty() {
        entity.insert("user".to_owned(), user(fact.person, record.login.as_deref()));
    }
    document.insert("entity".to_owned(), entity.into());
    let by = if fact.by.is_empty() { fact.person } else { fact.by };
    if !by.is_empty() {
        let login = if by == fact.person { record.login.as_deref() } else { None };
        document.insert("actor".to_owned(), json!({ "user": user(by, login) }));
    }
    source(document, record);
}

fn api(document: &mut Map<String, Value>, record: &Record, fact: &Fact<'_>) {
    let mut actor = Map::new();
    if !fact.person.is_empty() {
        actor.insert("user".to_owned(), user(fact.person, record.login.as_deref()));
    }
    put(&mut actor, "app_uid", fact.agent);
    if !fact.session.is_empty() {
        actor.insert("session".to_owned(), json!({ "uid": fact.session }));
    }
    let decision = decision(fact.disposition);
    let authorizations: Vec<Value> = fact
        .policies
        .iter()
        .map(|policy| {
            let mut rule = Map::new();
            put(&mut rule, "uid", policy);
            put(&mut rule, "version", fact.policy_version);
            json!({ "decision": decision, "policy": rule })
        })
        .collect();
    if !authorizations.is_empty() {
        actor.insert("authorizations".to_owned(), authorizations.into());
    }
    if actor.keys().all(|key| key == "authorizations") {
        put(&mut actor, "app_name", UNKNOWN);
    }
    document.insert("actor".to_owned(), actor.into());
    document.insert("src_endpoint".to_owned(), endpoint(record).unwrap_or_else(|| json!({ "name": UNKNOWN })));
    let mut operation = Map::new();
    put(&mut operation, "operation", fact.asked.map_or(UNKNOWN, |asked| asked.action.as_str()));
    if let Some(asked) = fact.asked {
        operation.insert("service".to_owned(), json!({ "name": asked.service }));
        document.insert("resources".to_owned(), json!([{
            "name": asked.resource, "type": asked.resource_kind, "labels": [format!("sensitivity:{}", asked.sensitivity)],
        }]));
    }
    if !fact.request.is_empty() {
        operation.insert("request".to_owned(), json!({ "uid": fact.request }));
    }
    if let Some(status) = fact.status {
        operation.insert("response".to_owned(), json!({ "code": status }));
    }
    document.insert("api".to_owned(), operation.into());
    control(document, fact.disposition);
}

const fn decision(disposition: Option<Disposition>) -> &'static str {
    match disposition {
        Some(Disposition::Approved | Disposition::Allowed) => "allow",
        Some(Disposition::Challenged | Disposition::Delayed) => "challenge",
        Some(Disposition::Blocked | Disposition::Rejected | Disposition::Errored) | None => "deny",
    }
}

/// The profile `security_control`: what the gate did.
fn control(document: &mut Map<String, Value>, disposition: Option<Disposition>) {
    let Some(disposition) = disposition else { return };
    let (action_id, action, disposition_id, disposition) = match disposition {
        Disposition::Allowed => (1, "Allowed", 1, "Allowed"),
        Disposition::Approved => (1, "Allowed", 8, "Approved"),
        Disposition::Challenged => (2, "Denied", 23, "Challenge"),
        Disposition::Delayed => (4, "Modified", 14, "Delayed"),
        Disposition::Blocked => (2, "Denied", 2, "Blocked"),
        Disposition::Rejected => (2, "Denied", 25, "Rejected"),
        Disposition::Errored => (2, "Denied", 27, "Error"),
    };
    document.insert("action_id".to_owned(), action_id.into());
    document.insert("action".to_owned(), action.into());
    document.insert("disposition_id".to_owned(), disposition_id.into());
    document.insert("disposition".to_owned(), disposition.into());
}

fn user(id: &str, login: Option<&str>) -> Value {
    let mut user = Map::new();
    put(&mut user, "uid", id);
    put(&mut user, "name", login.unwrap_or_default());
    if user.is_empty() {
        put(&mut user, "name", UNKNOWN);
    }
    user.into()
}

/// One `auth_factor`.
fn auth_factor(kind: &str) -> Value {
    let (id, name) = match kind {
        "passkey" => (10, "WebAuthn"),
        "push" => (5, "Push Notification"),
        "totp" | "hotp" => (7, "OTP"),
        "phone_code" => (1, "SMS"),
        "email_code" => (8, "Email"),
        "password" => (11, "Password"),
        "certificate" => (6, "Hardware Token"),
        other => (99, other),
    };
    let mut factor = json!({ "factor_type_id": id, "factor_type": name });
    if let Some(factor) = factor.as_object_mut()
        && id == 7
    {
        let flag = if kind == "totp" { "is_totp" } else { "is_hotp" };
        factor.insert(flag.to_owned(), true.into());
    }
    factor
}

const fn severity(severity: Severity) -> (u32, &'static str) {
    match severity {
        Severity::Informational => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
    }
}

const fn status(outcome: Outcome) -> (u32, &'static str) {
    match outcome {
        Outcome::Success => (1, "Success"),
        Outcome::Failure => (2, "Failure"),
        Outcome::Unknown => (0, "Unknown"),
    }
}
