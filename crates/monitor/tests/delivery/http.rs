//! Strict receivers of what is called over HTTP. Each takes what the real one takes, and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use stepgate_identity::http::{Http, Reach, WebhookKey};
use stepgate_monitor::{Elasticsearch, Otlp, Sink, Splunk, Webhook};
use stepgate_testkit::{Answer, RecordedRequest, RecordingUpstream};
use url::Url;

use crate::house::{GATE, House, Received};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const CHANNEL: &str = "0aeb1f9c-5f5a-8a8a-9a8a-aabbccddeeff";

/// How a receiver fails once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It has everything, and hangs up before it says so.
    LostAcknowledgement,
    /// It takes the first half, and says so as its protocol has it.
    Half,
    /// It is asked too often.
    TooMany,
    /// It fails.
    Broken,
    /// It answers what nobody understands.
    Garbage,
    /// It begins an answer and hangs up.
    HalfAnAnswer,
    /// It never answers.
    Silence,
}

/// What is called over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Webhook,
    Splunk,
    Elasticsearch,
    Otlp,
}

pub(crate) const KINDS: [Kind; 4] = [Kind::Webhook, Kind::Splunk, Kind::Elasticsearch, Kind::Otlp];

/// A receiver and what it has.
pub(crate) struct Receiver {
    pub(crate) received: Arc<Received>,
    pub(crate) faults: Arc<Mutex<VecDeque<Fault>>>,
    pub(crate) server: RecordingUpstream,
    kind: Kind,
}

impl Receiver {
    pub(crate) async fn start(kind: Kind, faults: impl IntoIterator<Item = Fault>) -> Self {
        let received = Arc::new(Received::default());
        let faults = Arc::new(Mutex::new(faults.into_iter().collect::<VecDeque<_>>()));
        let server = RecordingUpstream::start({
            let (received, faults) = (Arc::clone(&received), Arc::clone(&faults));
            let acks = Mutex::new(0_u64);
            move |request| {
                // Asking whether something was indexed is no delivery.
                if kind == Kind::Splunk && request.target() == "/services/collector/ack" {
                    return acknowledged(request);
                }
                let ids = ids(kind, request);
                let fault = faults.lock().pop_front();
                let answer = |ids: &[String], taken: usize| {
                    for id in &ids[..taken] {
                        received.take(id);
                    }
                    answer(kind, ids, taken, &mut acks.lock())
                };
                match fault {
                    None => answer(&ids, ids.len()),
                    Some(Fault::Half) => answer(&ids, ids.len() / 2),
                    Some(Fault::LostAcknowledgement) => {
                        let _ = answer(&ids, ids.len());
                        Answer::hang_up()
                    }
                    Some(Fault::TooMany) => Answer::new(429, &[("Retry-After", "1")], ""),
                    Some(Fault::Broken) => Answer::new(503, &[], "<html>sorry</html>"),
                    Some(Fault::Garbage) => Answer::new(500, &[("Content-Type", "image/png")], [0xff, 0, 0x1b, b'[']),
                    Some(Fault::HalfAnAnswer) => {
                        Answer::BytesThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"te".to_vec())
                    }
                    Some(Fault::Silence) => Answer::Silence,
                }
            }
        })
        .await;
        Self { received, faults, server, kind }
    }

    /// A sink that calls it.
    pub(crate) fn sink(&self, house: &House) -> Box<dyn Sink> {
        let http = Http::new(Reach::DangerLoopback, None).unwrap();
        let url = Url::parse(&self.server.url()).unwrap();
        let clock = Arc::clone(&house.clock) as Arc<dyn stepgate_core::time::Clock>;
        let secret = Some("ApiKey a2V5".into());
        match self.kind {
            Kind::Webhook => Box::new(Webhook::new(http, url, WebhookKey::parse(&SECRET.into()).unwrap(), clock)),
            Kind::Splunk => Box::new(
                Splunk::new(http, &url, "t0k3n".into(), Some("audit".into()), CHANNEL.into(), GATE.into(), "_json")
                    .unwrap(),
            ),
            Kind::Elasticsearch => Box::new(Elasticsearch::new(http, &url, "stepgate".into(), secret).unwrap()),
            Kind::Otlp => Box::new(Otlp::new(http, &url, secret, GATE.into(), clock).unwrap()),
        }
    }
}

fn text(request: &RecordedRequest) -> String {
    String::from_utf8(request.body.clone()).expect("UTF-8")
}

fn is_json(request: &RecordedRequest) {
    assert_eq!(request.method(), "POST");
    assert_eq!(request.value("content-type").unwrap(), "application/json");
}

/// The ids in a request, once it is one that this receiver takes.
fn ids(kind: Kind, request: &RecordedRequest) -> Vec<String> {
    match kind {
        Kind::Webhook => webhook(request),
        Kind::Splunk => splunk(request),
        Kind::Elasticsearch => elasticsearch(request),
        Kind::Otlp => otlp(request),
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn webhook(request: &RecordedRequest) -> Vec<String> {
    is_json(request);
    let body = text(request);
    let (id, at) = (request.value("webhook-id").unwrap(), request.value("webhook-timestamp").unwrap());
    let key = WebhookKey::parse(&SECRET.into()).unwrap();
    let [.., (_, signature)] = key.headers(&id, at.parse().unwrap(), &body);
    assert_eq!(request.value("webhook-signature").unwrap(), signature);
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["type"], "evidence");
    value["data"].as_array().unwrap().iter().map(|one| string(&one["id"])).collect()
}

/// As the collector reads it: one object after the other, each with what indexing needs.
fn splunk(request: &RecordedRequest) -> Vec<String> {
    is_json(request);
    assert_eq!(request.target(), "/services/collector/event");
    assert_eq!(request.value("authorization").unwrap(), "Splunk t0k3n");
    assert_eq!(request.value("x-splunk-request-channel").unwrap(), CHANNEL);
    let body = text(request);
    let envelopes: Vec<Value> =
        serde_json::Deserializer::from_str(&body).into_iter::<Value>().collect::<Result<_, _>>().unwrap();
    envelopes
        .iter()
        .map(|envelope| {
            let names: Vec<&str> = envelope.as_object().unwrap().keys().map(String::as_str).collect();
            let known = ["time", "host", "source", "sourcetype", "index", "event", "fields"];
            assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
            assert!(envelope["time"].as_str().unwrap().parse::<f64>().unwrap() > 1.0e9);
            assert!(!envelope["event"].is_null(), "Event field cannot be blank");
            assert!(envelope["fields"].as_object().unwrap().values().all(Value::is_string), "fields are flat");
            string(&envelope["fields"]["id"])
        })
        .collect()
}

fn acknowledged(request: &RecordedRequest) -> Answer {
    assert_eq!(request.value("x-splunk-request-channel").unwrap(), CHANNEL);
    let value: Value = serde_json::from_str(&text(request)).unwrap();
    let acks = value["acks"].as_array().unwrap().iter().map(|id| (id.to_string(), Value::Bool(true))).collect();
    Answer::new(200, &[("Content-Type", "application/json")], json!({ "acks": Value::Object(acks) }).to_string())
}

/// As `_bulk` reads it: lines in pairs, the last with its end.
fn elasticsearch(request: &RecordedRequest) -> Vec<String> {
    assert_eq!((request.method().as_str(), request.target().as_str()), ("POST", "/_bulk"));
    assert_eq!(request.value("content-type").unwrap(), "application/x-ndjson");
    assert_eq!(request.value("authorization").unwrap(), "ApiKey a2V5");
    let body = text(request);
    assert!(body.ends_with('\n'), "The bulk request must be terminated by a newline");
    let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() % 2, 0);
    lines
        .chunks(2)
        .map(|pair| {
            assert_eq!(pair[0]["create"]["_index"], "stepgate");
            assert!(pair[1].is_object());
            string(&pair[0]["create"]["_id"])
        })
        .collect()
}

/// As OTLP's JSON has it: numbers of 64 bits are texts.
fn otlp(request: &RecordedRequest) -> Vec<String> {
    is_json(request);
    assert_eq!(request.target(), "/v1/logs");
    let value: Value = serde_json::from_str(&text(request)).unwrap();
    let resource = &value["resourceLogs"][0];
    assert_eq!(resource["resource"]["attributes"][0]["key"], "service.name");
    let records = resource["scopeLogs"][0]["logRecords"].as_array().unwrap();
    records
        .iter()
        .map(|record| {
            for nanoseconds in ["timeUnixNano", "observedTimeUnixNano"] {
                assert!(string(&record[nanoseconds]).parse::<u64>().unwrap() > 1_000_000_000_000_000_000);
            }
            assert!((1..=24).contains(&record["severityNumber"].as_u64().unwrap()));
            any_value(&record["body"]);
            let attributes = record["attributes"].as_array().unwrap();
            let id = attributes.iter().find(|one| one["key"] == "log.record.uid").unwrap();
            string(&id["value"]["stringValue"])
        })
        .collect()
}

/// One member at most, and that of its type.
fn any_value(value: &Value) {
    let members: Vec<_> = value.as_object().unwrap().iter().collect();
    match members.as_slice() {
        [] => {}
        [(name, value)] => match name.as_str() {
            "stringValue" => assert!(value.is_string()),
            "boolValue" => assert!(value.is_boolean()),
            "intValue" => assert!(value.as_str().is_some_and(|text| text.parse::<i64>().is_ok())),
            "doubleValue" => assert!(value.is_number()),
            "arrayValue" => value["values"].as_array().unwrap().iter().for_each(any_value),
            "kvlistValue" => {
                for pair in value["values"].as_array().unwrap() {
                    assert!(pair["key"].is_string());
                    any_value(&pair["value"]);
                }
            }
            other => panic!("{other} is no member of AnyValue"),
        },
        more => panic!("{more:?}"),
    }
}

/// What a receiver says of documents of which it took the first ones.
fn answer(kind: Kind, ids: &[String], taken: usize, acks: &mut u64) -> Answer {
    let json =
        |status: u16, value: Value| Answer::new(status, &[("Content-Type", "application/json")], value.to_string());
    let is_all = taken == ids.len();
    match kind {
        // These take all or nothing: who took half says that it failed.
        Kind::Webhook if is_all => Answer::new(204, &[], ""),
        Kind::Webhook | Kind::Splunk if !is_all => Answer::new(503, &[], ""),
        Kind::Webhook | Kind::Splunk => {
            *acks += 1;
            json(200, json!({ "text": "Success", "code": 0, "ackId": *acks }))
        }
        Kind::Elasticsearch => {
            let item = |place: usize, id: &String| match place < taken {
                true => json!({ "create": { "_index": "stepgate", "_id": id, "status": 201, "result": "created" } }),
                false => json!({ "create": { "_index": "stepgate", "_id": id, "status": 429,
                    "error": { "type": "es_rejected_execution_exception", "reason": "queue full" } } }),
            };
            let items: Vec<Value> = ids.iter().enumerate().map(|(place, id)| item(place, id)).collect();
            json(200, json!({ "took": 3, "errors": !is_all, "items": items }))
        }
        Kind::Otlp if is_all => json(200, json!({})),
        Kind::Otlp => {
            let rejected = (ids.len() - taken).to_string();
            json(200, json!({ "partialSuccess": { "rejectedLogRecords": rejected, "errorMessage": "no" } }))
        }
    }
}
