//! The entry as it is, and what it says in words.

use serde_json::{Map, Value, json};

use super::rfc3339;
use crate::fact::{Outcome, Severity};
use crate::record::Record;

/// The version of this form: it grows by fields, and another number would mean another thing.
const VERSION: u32 = 1;

pub(super) fn document(record: &Record, gate: &str) -> Result<Value, serde_json::Error> {
    let (entry, fact) = (&record.recorded.entry, record.fact());
    let mut event = record.event()?;
    let kind = event.as_object_mut().and_then(|event| event.remove("kind")).unwrap_or_default();
    let mut document = Map::new();
    document.insert("v".to_owned(), VERSION.into());
    document.insert("gate".to_owned(), gate.into());
    document.insert("index".to_owned(), record.recorded.index.into());
    document.insert("id".to_owned(), entry.id.as_str().into());
    document.insert("time".to_owned(), rfc3339(entry.at_ms).into());
    document.insert("kind".to_owned(), kind);
    document.insert("severity".to_owned(), severity(fact.severity).into());
    document.insert("outcome".to_owned(), outcome(fact.outcome).into());
    document.insert("message".to_owned(), entry.sentence().into());
    document.insert("event".to_owned(), event);
    if let Some(login) = &record.login {
        document.insert("login".to_owned(), login.as_str().into());
    }
    if let Some(details) = &entry.details {
        document.insert("details".to_owned(), details.body.clone());
    }
    if record.recorded.erased {
        document.insert("erased".to_owned(), json!(true));
    }
    Ok(Value::Object(document))
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "informational",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
    }
}

/// ECS has the same three words.
pub(super) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Unknown => "unknown",
    }
}
