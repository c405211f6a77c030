use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use stepgate_core::time::Clock;
use stepgate_identity::http::Http;
use url::Url;

use super::{Reason, Sink, Undelivered, call, secret_header};
use crate::fact::Severity;
use crate::format::{Body, Document};

/// OpenTelemetry logs over HTTP, as JSON (OTLP 1.x, `POST /v1/logs`).
#[derive(Debug)]
pub struct Otlp {
    http: Http,
    logs: Url,
    authorization: Option<SecretString>,
    gate: String,
    clock: Arc<dyn Clock>,
}

impl Otlp {
    /// Sends to the collector at `url` (scheme, host and port). `authorization` is the whole value of that field.
    ///
    /// # Errors
    ///
    /// `url` has no place for a path.
    pub fn new(
        http: Http,
        url: &Url,
        authorization: Option<SecretString>,
        gate: String,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, url::ParseError> {
        Ok(Self { http, logs: url.join("/v1/logs")?, authorization, gate, clock })
    }

    fn record(&self, document: &Document) -> Value {
        let (number, text) = severity(document.severity);
        let body = match &document.body {
            Body::Json(value) => any(value),
            Body::Line(line) => json!({ "stringValue": line }),
        };
        json!({
            "timeUnixNano": nanoseconds(document.at_ms),
            "observedTimeUnixNano": nanoseconds(self.clock.now().as_ms()),
            "severityNumber": number,
            "severityText": text,
            "eventName": format!("stepgate.{}", document.kind),
            "body": body,
            "attributes": [
                { "key": "log.record.uid", "value": { "stringValue": document.id } },
                { "key": "stepgate.index", "value": { "intValue": document.index.to_string() } },
            ],
        })
    }
}

#[async_trait]
impl Sink for Otlp {
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered> {
        let records: Vec<Value> = batch.iter().map(|document| self.record(document)).collect();
        let attribute = |key: &str, text: &str| json!({ "key": key, "value": { "stringValue": text } });
        let body = json!({ "resourceLogs": [{
            "resource": { "attributes": [
                attribute("service.name", "stepgate"),
                attribute("service.version", env!("CARGO_PKG_VERSION")),
                attribute("service.instance.id", &self.gate),
            ] },
            "scopeLogs": [{ "scope": { "name": "stepgate.evidence" }, "logRecords": records }],
        }] });
        let mut post = self.http.post(&self.logs);
        if let Some(authorization) = &self.authorization {
            post = post.header(header::AUTHORIZATION, secret_header(authorization.expose_secret())?);
        }
        let answer = call(post.body(HeaderValue::from_static("application/json"), body.to_string().into())).await?;
        if answer.body.is_empty() {
            return Ok(());
        }
        let answer = answer
            .object()
            .map_err(|error| Undelivered::passing(Reason::Unintelligible, format!("the collector: {error}")))?;
        match rejected(&answer) {
            0 => Ok(()),
            number => Err(Undelivered::Rejected(format!("the collector rejected {number} records"))),
        }
    }
}

/// `rejectedLogRecords`: a number, or as JSON of Protocol Buffers has 64 bits, a text.
fn rejected(answer: &Map<String, Value>) -> u64 {
    // JSON of Protocol Buffers is read by either name.
    let partial = answer.get("partialSuccess").or_else(|| answer.get("partial_success"));
    let number =
        partial.and_then(|partial| partial.get("rejectedLogRecords").or_else(|| partial.get("rejected_log_records")));
    match number {
        Some(Value::String(text)) => text.parse().unwrap_or(1),
        Some(Value::Number(number)) => number.as_u64().unwrap_or(1),
        _ => 0,
    }
}

fn nanoseconds(ms: i64) -> String {
    (i128::from(ms) * 1_000_000).to_string()
}

/// A value as `AnyValue`.
fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(flag) => json!({ "boolValue": flag }),
        Value::Number(number) => match number.as_i64() {
            Some(number) => json!({ "intValue": number.to_string() }),
            None => json!({ "doubleValue": number }),
        },
        Value::String(text) => json!({ "stringValue": text }),
        Value::Array(values) => json!({ "arrayValue": { "values": values.iter().map(any).collect::<Vec<_>>() } }),
        Value::Object(object) => {
            let pairs: Vec<Value> =
                object.iter().map(|(key, value)| json!({ "key": key, "value": any(value) })).collect();
            json!({ "kvlistValue": { "values": pairs } })
        }
    }
}

/// Number and text of the data model's table.
const fn severity(severity: Severity) -> (u32, &'static str) {
    match severity {
        Severity::Informational => (9, "INFO"),
        Severity::Low => (10, "INFO2"),
        Severity::Medium => (13, "WARN"),
        Severity::High => (17, "ERROR"),
    }
}
