use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use stepgate_core::signals::EventSource as _;
use stepgate_testkit::{Answer, RecordingUpstream};
use url::Url;

use super::*;
use crate::http::Reach;

/// A transmitter that says what it is told to say, by method and path.
async fn transmitter(says: impl Fn(&str, &str, &str) -> (u16, Value) + Send + Sync + 'static) -> Arc<Transmitter> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let upstream = RecordingUpstream::start(move |request| {
        let (method, target) = (request.method(), request.target());
        let origin = format!("http://{}", request.value("host").unwrap_or_default());
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        seen.lock().push((method.clone(), target.clone(), body));
        let (status, said) = says(&origin, &method, &target);
        let said = if said.is_null() { String::new() } else { said.to_string() };
        Answer::new(status, &[("content-type", "application/json")], &said)
    });
    Arc::new(Transmitter { upstream: upstream.await, asked })
}

struct Transmitter {
    upstream: RecordingUpstream,
    asked: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl Transmitter {
    fn subscriber(&self, delivery: Delivery) -> Subscriber {
        Subscriber {
            http: Http::new(Reach::DangerLoopback, None).unwrap(),
            named: Http::new(Reach::DangerLoopback, None).unwrap(),
            issuer: self.upstream.url(),
            audience: "sp".to_owned(),
            token: SecretString::from("t"),
            delivery,
        }
    }
}

fn metadata(origin: &str) -> Value {
    json!({
        "issuer": origin,
        "configuration_endpoint": format!("{origin}/streams"),
        "verification_endpoint": format!("{origin}/verify"),
        "delivery_methods_supported": [PUSH, POLL],
    })
}

fn stream(origin: &str) -> Value {
    let delivery = json!({ "method": POLL, "endpoint_url": format!("{origin}/poll/1") });
    json!({ "stream_id": "1", "iss": origin, "aud": ["sp"], "delivery": delivery })
}

#[tokio::test]
async fn what_a_transmitter_says_wrongly_is_no_stream() {
    type Lie = (&'static str, fn(&mut Value, &mut Value));
    let lies: [Lie; 9] = [
        ("another issuer", |metadata, _| metadata["issuer"] = json!("https://other.example")),
        ("no configuration_endpoint", |metadata, _| metadata["configuration_endpoint"] = Value::Null),
        ("does not deliver", |metadata, _| metadata["delivery_methods_supported"] = json!([PUSH])),
        ("configuration_endpoint", |metadata, _| metadata["configuration_endpoint"] = json!("streams")),
        ("no stream_id", |_, stream| stream["stream_id"] = json!("")),
        ("another issuer's", |_, stream| stream["iss"] = json!("https://other.example")),
        ("what `audience` must be", |_, stream| stream["aud"] = json!("somebody")),
        ("no endpoint_url", |_, stream| stream["delivery"]["endpoint_url"] = Value::Null),
        ("does not deliver as", |_, stream| stream["delivery"]["method"] = json!(PUSH)),
    ];
    for (expected, lie) in lies {
        let transmitter = transmitter(move |origin, method, target| {
            let (mut metadata, mut stream) = (metadata(origin), stream(origin));
            lie(&mut metadata, &mut stream);
            match (method, target) {
                ("GET", "/.well-known/ssf-configuration") => (200, metadata),
                ("GET", "/streams") => (200, json!([])),
                ("POST", "/streams") => (201, stream),
                _ => (404, Value::Null),
            }
        })
        .await;
        let refused = transmitter.subscriber(Delivery::Poll).subscribe(None).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
}

#[tokio::test]
async fn an_endpoint_beyond_reach_is_not_called() {
    // Named by the transmitter itself: an address of another network in the clear.
    let transmitter = transmitter(|origin, _, _| {
        let mut told = metadata(origin);
        told["configuration_endpoint"] = json!("http://169.254.169.254/latest");
        (200, told)
    })
    .await;
    let refused = transmitter.subscriber(Delivery::Poll).subscribe(None).await.unwrap_err();
    assert!(matches!(refused, NotSubscribed::Http(HttpError::NotAllowed(_))), "{refused:?}");
    assert_eq!(transmitter.asked.lock().len(), 1);
}

#[tokio::test]
async fn b127_what_a_transmitter_names_is_called_within_the_reach_for_that() {
    let transmitter = transmitter(|origin, _, _| (200, metadata(origin))).await;
    for reach in [Reach::Public, Reach::Network] {
        let named = Http::new(reach, None).unwrap();
        let subscriber = Subscriber { named, ..transmitter.subscriber(Delivery::Poll) };
        let refused = subscriber.subscribe(None).await.unwrap_err();
        assert!(matches!(refused, NotSubscribed::Http(HttpError::NotAllowed(_))), "{refused:?}");
        let found = Subscription {
            stream: "1".to_owned(),
            poll: Some(Url::parse(&transmitter.upstream.url()).unwrap()),
            verification: Some(Url::parse(&transmitter.upstream.url()).unwrap()),
            default_subjects: DefaultSubjects::All,
        };
        subscriber.ask_to_verify(&found, "state").await.unwrap_err();
        let poller = subscriber.poller(&found).unwrap();
        poller.poll(&[], &BTreeMap::new(), Duration::ZERO).await.unwrap_err();
    }
    let asked: Vec<String> = transmitter.asked.lock().iter().map(|(_, target, _)| target.clone()).collect();
    assert_eq!(asked, ["/.well-known/ssf-configuration"; 2], "only what the configuration names");
}

#[tokio::test]
async fn b127_a_stream_of_somebody_else_is_neither_taken_nor_changed() {
    type Other = fn(&mut Value);
    let others: [Other; 3] = [
        |stream| stream["aud"] = json!(["https://somebody.example"]),
        |stream| stream["aud"] = json!("https://somebody.example"),
        |stream| stream["iss"] = json!("https://other.example"),
    ];
    for delivers_as_wanted in [true, false] {
        for other in others {
            let transmitter = transmitter(move |origin, method, target| {
                let mut theirs = stream(origin);
                other(&mut theirs);
                theirs["stream_id"] = json!("theirs");
                if !delivers_as_wanted {
                    theirs["delivery"]["method"] = json!(PUSH);
                }
                match (method, target) {
                    ("GET", "/.well-known/ssf-configuration") => (200, metadata(origin)),
                    ("GET", "/streams") => (200, json!([theirs])),
                    ("POST", "/streams") => (201, stream(origin)),
                    _ => (500, Value::Null),
                }
            })
            .await;
            let found = transmitter.subscriber(Delivery::Poll).subscribe(None).await.unwrap();
            assert_eq!(found.stream, "1", "one of its own is made");
        }
    }
}

#[tokio::test]
async fn a_stream_is_made_once_and_found_by_who_comes_second() {
    let there = Arc::new(Mutex::new(false));
    let transmitter = transmitter(move |origin, method, target| match (method, target) {
        ("GET", "/.well-known/ssf-configuration") => (200, metadata(origin)),
        ("GET", "/streams") if !*there.lock() => (404, Value::Null),
        ("GET", "/streams") => (200, json!([stream(origin)])),
        // Another node was first.
        ("POST", "/streams") => {
            *there.lock() = true;
            (409, json!({ "err": "invalid_state" }))
        }
        ("POST", "/verify") => (204, Value::Null),
        _ => (500, Value::Null),
    })
    .await;
    let subscriber = transmitter.subscriber(Delivery::Poll);
    let found = subscriber.subscribe(None).await.unwrap();
    let origin = transmitter.upstream.url();
    assert_eq!(found.poll, Some(Url::parse(&format!("{origin}/poll/1")).unwrap()));
    assert_eq!(subscriber.subscribe(Some(&found)).await.unwrap(), found);
    subscriber.ask_to_verify(&found, "state").await.unwrap();
    let asked = transmitter.asked.lock();
    assert_eq!(asked.iter().filter(|(method, _, _)| method == "POST").count(), 2);
    assert_eq!(asked.last().unwrap().2, json!({ "stream_id": "1", "state": "state" }));
}

#[tokio::test]
async fn what_is_presented_here_is_said_anew_by_a_gate_that_starts() {
    let transmitter = transmitter(|origin, method, target| {
        let delivery = json!({ "method": PUSH, "endpoint_url": "https://gate.example/signals/events" });
        let mut stream = stream(origin);
        stream["delivery"] = delivery;
        match (method, target) {
            ("GET", "/.well-known/ssf-configuration") => (200, metadata(origin)),
            ("GET", "/streams") => (200, json!([stream])),
            ("PATCH", "/streams") => (200, stream),
            _ => (500, Value::Null),
        }
    })
    .await;
    let endpoint = "https://gate.example/signals/events".to_owned();
    let subscriber = transmitter.subscriber(Delivery::Push { endpoint, token: SecretString::from("ours") });
    let found = subscriber.subscribe(None).await.unwrap();
    assert_eq!(found.poll, None);
    subscriber.subscribe(Some(&found)).await.unwrap();
    let asked = transmitter.asked.lock();
    let patched: Vec<_> = asked.iter().filter(|(method, _, _)| method == "PATCH").collect();
    assert_eq!(patched.len(), 1, "and not each time that it is looked");
    assert_eq!(patched[0].2["delivery"]["authorization_header"], "Bearer ours");
}
