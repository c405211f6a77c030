//! Our own events: streams, what is fetched of them, and what is posted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepgate_core::flows::Filled;
use stepgate_core::machine::{MachineName, Scope};
use stepgate_core::ports::{Accounts as _, Store as _, Stream, StreamStatus, Streams as _};
use stepgate_core::signals::Happened;
use stepgate_evidence::Event;
use stepgate_machines::{Pushing, TURN};

use crate::house::{House, ISSUER, ORIGIN, user};

const BOTH: [Scope; 2] = [Scope::SignalsManage, Scope::SignalsRead];
const AT_MOST: Duration = Duration::from_secs(20);

/// Waits until it is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let so = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(AT_MOST, so).await.unwrap_or_else(|_| panic!("{what}"));
}

fn posted_to(endpoint: &str) -> Value {
    json!({ "delivery": { "method": "urn:ietf:rfc:8935", "endpoint_url": endpoint } })
}

fn poll_of(stream: &Value) -> String {
    format!("/ssf/poll/{}", stream["stream_id"].as_str().unwrap())
}

impl House {
    async fn stream_of(&self, machine: &str) -> Stream {
        self.store.stream_of(&MachineName::parse(machine).unwrap()).await.unwrap().unwrap()
    }

    /// The ids of what is fetched at once.
    async fn fetch(&self, token: &str, stream: &Value) -> Vec<String> {
        let (status, told) = self.call(token, "POST", &poll_of(stream), &json!({ "returnImmediately": true })).await;
        assert_eq!(status, 200, "{told}");
        told["sets"].as_object().unwrap().keys().cloned().collect()
    }
}

#[tokio::test]
async fn b102_what_is_acknowledged_at_once_is_bounded() {
    let house = House::new().await;
    let alice = house.person("alice").await.0.id;
    let token = house.machine("sp", &BOTH, "").await;
    let stream = house.stream(&token, &json!({})).await;
    house.ended(alice, 3).await;
    house.filled().await;
    let waiting = house.fetch(&token, &stream).await;
    assert_eq!(waiting.len(), 3);
    let ids = |many: usize| (0..many).map(|n| format!("{n:032x}")).collect::<Vec<_>>();
    let errors =
        |many: usize| ids(many).into_iter().map(|id| (id, json!({ "err": "x" }))).collect::<serde_json::Map<_, _>>();
    for body in [
        json!({ "ack": ids(101), "maxEvents": 0 }),
        json!({ "setErrs": errors(101), "maxEvents": 0 }),
        json!({ "ack": ids(60), "setErrs": ids(101).split_off(60).iter().map(|id| (id.clone(), json!({}))).collect::<serde_json::Map<_, _>>() }),
        json!({ "ack": [""] }),
        json!({ "ack": [waiting[0].to_uppercase() + "x"] }),
        json!({ "ack": [7] }),
        json!({ "setErrs": { "x": {} } }),
    ] {
        assert_eq!(house.call(&token, "POST", &poll_of(&stream), &body).await.0, 400, "{body}");
    }
    assert_eq!(house.fetch(&token, &stream).await, waiting, "what was refused did nothing");
    let mut all = ids(98);
    all.push(waiting[0].clone());
    let body =
        json!({ "ack": all, "setErrs": { &waiting[1]: { "err": "invalid_key", "description": "…" } }, "maxEvents": 0 });
    assert_eq!(house.call(&token, "POST", &poll_of(&stream), &body).await.0, 200);
    assert_eq!(house.fetch(&token, &stream).await, waiting[2..]);
    let refused = house.recorded("signal.refused").await;
    let [Event::SignalRefused { set, event, code, .. }] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!((set, event.as_str(), code.as_str()), (&waiting[1], "session-revoked", "invalid_key"));
}

#[tokio::test]
async fn a_level_that_fell_is_told_with_what_counted_before_and_what_does_now() {
    let house = House::new().await;
    let who = house.person("alice").await;
    let alice = house.sign_in(&who, "s1").await;
    let token = house.machine("sp", &BOTH, "").await;
    house.stream(&token, &json!({})).await;
    house.tell(user("alice"), Happened::AssuranceLevelChange { less: true }).await;
    house.tell(user("alice"), Happened::AssuranceLevelChange { less: true }).await;
    let removed = |factor: &str| {
        let event = Event::FactorRemoved {
            person: who.0.id.to_string(),
            factor: factor.to_owned(),
            factor_id: "f".to_owned(),
            authority: "machine:hr".to_owned(),
        };
        house.flows.entry(house.now(), event)
    };
    // The login at the provider is left: less than a passkey, no less than a password.
    house.store.record(vec![removed("passkey"), removed("password")]).await.unwrap();
    // A session that ends by itself tells nothing of a level.
    house.ended(who.0.id, 1).await;
    house.filled().await;
    let waiting = house.store.waiting(house.stream_of("sp").await.id, 100).await.unwrap();
    let level = "https://schemas.openid.net/secevent/caep/event-type/assurance-level-change";
    let told: Vec<Value> = waiting.iter().map(|set| serde_json::from_str(&set.claims).unwrap()).collect();
    assert_eq!(told.len(), 5, "one of proofs, two of each removal but one, one of the end: {told:?}");
    let fell: Vec<_> = told.iter().filter(|claims| claims["events"][level].is_object()).collect();
    let at = house.now().as_ms() / 1000;
    assert_eq!(
        fell.iter().map(|claims| &claims["events"][level]).collect::<Vec<_>>(),
        [
            // What counted was a provider's login, whose methods are not ours to name.
            &json!({ "namespace": format!("{ORIGIN}/ssf/levels"), "current_level": "none",
                "change_direction": "decrease", "initiating_entity": "policy", "event_timestamp": at }),
            &json!({ "namespace": format!("{ORIGIN}/ssf/levels"), "current_level": "idp", "previous_level": "swk",
                "change_direction": "decrease", "initiating_entity": "admin", "event_timestamp": at }),
        ]
    );
    assert_eq!(fell[0]["sub_id"]["session"]["id"], alice.session.to_string());
    assert_eq!(fell[1]["sub_id"]["format"], "iss_sub", "of the person, not of a session");
    let ids: std::collections::BTreeSet<_> = waiting.iter().map(|set| set.id).collect();
    assert_eq!(ids.len(), 5, "two of one entry are two");
}

#[tokio::test]
async fn a_stream_rests_from_when_its_token_expired_until_there_is_another() {
    let house = House::new().await;
    let alice = house.person("alice").await.0.id;
    let name = || MachineName::parse("sp").unwrap();
    let add = |until| house.provisioning.add_machine(name(), BOTH.to_vec(), String::new(), until, "test");
    let minute = Duration::from_secs(60);
    let token = add(Some(house.now().plus(minute))).await.unwrap().expose().to_owned();
    let stream = house.stream(&token, &json!({})).await;
    let other = house.machine("other", &BOTH, "").await;
    let paused = house.stream(&other, &json!({})).await;
    let pause = json!({ "stream_id": paused["stream_id"], "status": "paused", "reason": "ours" });
    assert_eq!(house.call(&other, "POST", "/ssf/status", &pause).await.0, 200);
    house.ended(alice, 1).await;
    let transmitter = &house.transmitter;
    transmitter.follow_tokens().await.unwrap();
    house.filled().await;
    assert_eq!(house.stream_of("sp").await.status, StreamStatus::Enabled);
    assert!(add(None).await.is_err(), "there is one whose token is good");

    house.clock.advance(minute);
    house.ended(alice, 2).await;
    for _ in 0..2 {
        transmitter.follow_tokens().await.unwrap();
        house.filled().await;
    }
    let rests = house.stream_of("sp").await;
    assert_eq!((rests.status, rests.waiting), (StreamStatus::Paused, 1), "what waits is kept, nothing comes to it");
    assert_eq!(rests.reason, "the token of this machine expired");
    assert_eq!(house.call(&token, "POST", &poll_of(&stream), &json!({})).await.0, 401);

    let token = add(None).await.unwrap().expose().to_owned();
    let status = format!("/ssf/status?stream_id={}", stream["stream_id"].as_str().unwrap());
    assert_eq!(house.call(&token, "GET", &status, &Value::Null).await.1["reason"], rests.reason.as_str());
    for _ in 0..2 {
        transmitter.follow_tokens().await.unwrap();
        house.filled().await;
    }
    assert_eq!(house.fetch(&token, &stream).await.len(), 3, "nothing was lost");
    let told = house.recorded("stream.changed").await.into_iter().filter_map(|event| match event {
        Event::StreamChanged { change, by, .. } if by == "gate" => Some(change),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["token_expired", "token_renewed"]);
    // Whoever paused theirs finds it so, and nobody says the gate's words.
    assert_eq!(house.stream_of("other").await.reason, "ours");
    let feigned = json!({ "stream_id": stream["stream_id"], "status": "paused", "reason": rests.reason });
    assert_eq!(house.call(&token, "POST", "/ssf/status", &feigned).await.0, 400);
}

#[tokio::test]
async fn b102_a_full_stream_is_waited_for_by_nobody() {
    let house = House::new().await;
    let alice = house.person("alice").await.0.id;
    let (full, other) = (house.machine("full", &BOTH, "").await, house.machine("other", &BOTH, "").await);
    let stream = house.stream(&full, &json!({})).await;
    for _ in 0..51 {
        house.ended(alice, 200).await;
    }
    house.filled().await;
    let stopped = house.stream_of("full").await;
    assert!(stopped.waiting >= 10_000);
    let end = house.transmitter.transmitting.end().await.unwrap();
    assert!(stopped.cursor < end, "the rest is in the ledger");
    // Alone it is waited for by nobody; beside another, that one is waited for.
    assert_eq!(house.transmitter.transmitting.fill_all().await.unwrap(), None);
    assert_eq!(house.transmitter.transmitting.fill(&stopped).await.unwrap(), Filled::Full);
    house.stream(&other, &json!({})).await;
    let end = house.transmitter.transmitting.end().await.unwrap();
    assert_eq!(house.filled().await, Some(end));
    // What is settled makes room, and it goes on where it stood.
    for _ in 0..3 {
        let body = json!({ "ack": house.fetch(&full, &stream).await, "maxEvents": 0 });
        assert_eq!(house.call(&full, "POST", &poll_of(&stream), &body).await.0, 200);
    }
    house.transmitter.transmitting.fill_all().await.unwrap();
    assert!(house.stream_of("full").await.cursor > stopped.cursor);
}

#[tokio::test]
async fn b102_a_verification_is_asked_for_once_in_ten_seconds() {
    let house = House::new().await;
    let token = house.machine("sp", &BOTH, "").await;
    let stream = house.stream(&token, &json!({})).await;
    assert_eq!(stream["min_verification_interval"], 10);
    let body = json!({ "stream_id": stream["stream_id"] });
    assert_eq!(house.call(&token, "POST", "/ssf/verify", &body).await.0, 204);
    assert_eq!(house.call(&token, "POST", "/ssf/verify", &body).await.0, 429);
    assert_eq!(house.fetch(&token, &stream).await.len(), 1);
    house.clock.advance(Duration::from_secs(10));
    assert_eq!(house.call(&token, "POST", "/ssf/verify", &body).await.0, 204);
    assert_eq!(house.fetch(&token, &stream).await.len(), 2);
}

#[tokio::test]
async fn b102_a_slow_receiver_keeps_no_other_waiting() {
    let house = House::new().await;
    let alice = house.person("alice").await.0.id;
    let (slow, quick) = ("https://a.test/slow", "https://b.test/quick");
    for (name, endpoint) in [("a", slow), ("b", quick)] {
        let token = house.machine(name, &BOTH, "").await;
        house.stream(&token, &posted_to(endpoint)).await;
    }
    let gate = house.receivers.slow(slow);
    house.ended(alice, 25).await;
    house.filled().await;
    let mut pushing = Pushing::new(house.transmitter.clone());
    let all = async {
        while house.receivers.came(quick).len() < 25 {
            pushing.look().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(AT_MOST, all).await.expect("the other is not waited for");
    assert_eq!(house.receivers.came(slow).len(), 1, "in order: the next waits for the first");
    // Stopped, it ends with the event that is being posted.
    gate.add_permits(1);
    pushing.stop().await;
    assert_eq!(house.stream_of("a").await.waiting, 24);
    assert_eq!(house.receivers.came(slow).len(), 1);
}

#[tokio::test]
async fn b102_a_turn_that_lapsed_while_its_receiver_slept_goes_to_another_node() {
    let house = House::new().await;
    let alice = house.person("alice").await.0.id;
    let endpoint = "https://a.test/slow";
    let token = house.machine("a", &BOTH, "").await;
    house.stream(&token, &posted_to(endpoint)).await;
    let gate = house.receivers.slow(endpoint);
    house.ended(alice, 3).await;
    house.filled().await;
    let (mut one, mut two) = (Pushing::new(house.transmitter.clone()), Pushing::new(house.transmitter.clone()));
    one.look().await.unwrap();
    until("the first node posts", async || house.receivers.came(endpoint).len() == 1).await;
    // While it is that node's turn, no other posts.
    two.look().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(house.receivers.came(endpoint).len(), 1);
    house.clock.advance(TURN);
    let second = async {
        while house.receivers.came(endpoint).len() < 2 {
            two.look().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(AT_MOST, second).await.expect("the second node posts");
    house.receivers.slow.lock().clear();
    gate.add_permits(1);
    // The first is answered, and stops: it is another's turn.
    one.stop().await;
    let came = house.receivers.came(endpoint);
    assert_eq!(came[0], came[1], "at least once");
    gate.add_permits(10);
    until("all is delivered", async || house.stream_of("a").await.waiting == 0).await;
    two.stop().await;
    let came = house.receivers.came(endpoint);
    assert_eq!(came.len(), 4, "{came:?}");
}

#[tokio::test]
async fn a_held_question_ends_with_its_token_and_with_its_stream() {
    let house = Arc::new(House::new().await);
    let token = house.machine("sp", &BOTH, "").await;
    let stream = house.stream(&token, &json!({})).await;
    let held = |house: &Arc<House>| {
        let (house, token, path) = (Arc::clone(house), token.clone(), poll_of(&stream));
        tokio::spawn(async move { house.call(&token, "POST", &path, &json!({})).await })
    };
    // Paused meanwhile: nothing is told.
    let waits = held(&house);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let paused = json!({ "stream_id": stream["stream_id"], "status": "paused" });
    assert_eq!(house.call(&token, "POST", "/ssf/status", &paused).await.0, 200);
    let (status, told) = tokio::time::timeout(AT_MOST, waits).await.expect("it is let go").unwrap();
    assert_eq!((status, &told["sets"]), (200, &json!({})));
    let enabled = json!({ "stream_id": stream["stream_id"], "status": "enabled" });
    assert_eq!(house.call(&token, "POST", "/ssf/status", &enabled).await.0, 200);
    // Revoked meanwhile, and something comes: it is not told.
    let waits = held(&house);
    tokio::time::sleep(Duration::from_millis(100)).await;
    house.revoke("sp").await;
    let (status, _) = tokio::time::timeout(AT_MOST, waits).await.expect("it is let go").unwrap();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn another_machines_stream_is_nobody_elses() {
    let house = House::new().await;
    let alice = house.person("alice").await.0.id;
    let (mine, theirs) = (house.machine("mine", &BOTH, "").await, house.machine("theirs", &BOTH, "").await);
    let stream = house.stream(&mine, &json!({})).await;
    house.ended(alice, 1).await;
    house.filled().await;
    let id = stream["stream_id"].as_str().unwrap();
    let waiting = house.fetch(&mine, &stream).await;
    let subject = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "alice" });
    // With a stream of their own, and without one.
    for _ in 0..2 {
        for (method, path, body) in [
            ("POST", poll_of(&stream), json!({ "ack": waiting, "returnImmediately": true })),
            ("GET", format!("/ssf/streams?stream_id={id}"), Value::Null),
            ("DELETE", format!("/ssf/streams?stream_id={id}"), Value::Null),
            ("PATCH", "/ssf/streams".to_owned(), posted_to("https://evil.test/")),
            ("PUT", "/ssf/streams".to_owned(), posted_to("https://evil.test/")),
            ("GET", format!("/ssf/status?stream_id={id}"), Value::Null),
            ("POST", "/ssf/status".to_owned(), json!({ "status": "disabled" })),
            ("POST", "/ssf/verify".to_owned(), json!({})),
            ("POST", "/ssf/subjects:add".to_owned(), json!({ "subject": subject })),
            ("POST", "/ssf/subjects:remove".to_owned(), json!({ "subject": subject })),
        ] {
            let mut body = body;
            if let Some(body) = body.as_object_mut() {
                body.insert("stream_id".to_owned(), id.into());
            }
            assert_eq!(house.call(&theirs, method, &path, &body).await.0, 404, "{method} {path}");
        }
        let _ = house.call(&theirs, "POST", "/ssf/streams", &json!({})).await;
    }
    assert_eq!(house.fetch(&mine, &stream).await, waiting);
    assert_eq!(house.stream_of("mine").await.version, 1);
    assert!(!house.store.left_out(house.stream_of("mine").await.id, alice).await.unwrap());
    // Who may only read settles what it fetched, and changes nothing.
    let reader = house.machine("reader", &[Scope::SignalsRead], "").await;
    for (method, path) in [
        ("POST", "/ssf/streams"),
        ("PATCH", "/ssf/streams"),
        ("PUT", "/ssf/streams"),
        ("DELETE", "/ssf/streams"),
        ("POST", "/ssf/status"),
        ("POST", "/ssf/verify"),
        ("POST", "/ssf/subjects:add"),
        ("POST", "/ssf/subjects:remove"),
    ] {
        assert_eq!(house.call(&reader, method, path, &json!({})).await.0, 403, "{method} {path}");
    }
}

#[tokio::test]
async fn who_is_left_out_is_not_told_of_and_it_is_recorded() {
    let house = House::new().await;
    let (alice, bob) = (house.person("alice").await.0.id, house.person("bob").await.0.id);
    let token = house.machine("sp", &BOTH, "").await;
    let stream = house.stream(&token, &json!({})).await;
    let subject = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "alice" });
    let subject = json!({ "stream_id": stream["stream_id"], "subject": subject });
    assert_eq!(house.call(&token, "POST", "/ssf/subjects:remove", &subject).await.0, 204);
    house.ended(alice, 1).await;
    house.filled().await;
    assert!(house.fetch(&token, &stream).await.is_empty());
    house.ended(bob, 1).await;
    house.filled().await;
    assert_eq!(house.fetch(&token, &stream).await.len(), 1);
    assert_eq!(house.call(&token, "POST", "/ssf/subjects:add", &subject).await.0, 200);
    house.ended(alice, 1).await;
    house.filled().await;
    assert_eq!(house.fetch(&token, &stream).await.len(), 2);
    let recorded = house.recorded("stream.subject").await;
    let changes: Vec<_> = recorded
        .iter()
        .map(|event| match event {
            Event::StreamSubject { person, change, by, .. } => (person.clone(), change.as_str(), by.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    let alice = alice.to_string();
    assert_eq!(changes, [(alice.clone(), "left_out", "machine:sp"), (alice, "taken_in", "machine:sp")]);
}

#[tokio::test]
async fn a_disabled_stream_keeps_nothing_and_goes_on_from_there() {
    let house = House::new().await;
    let alice = house.person("alice").await.0.id;
    let token = house.machine("sp", &BOTH, "").await;
    let stream = house.stream(&token, &json!({})).await;
    let status = async |status: &str| {
        let body = json!({ "stream_id": stream["stream_id"], "status": status });
        assert_eq!(house.call(&token, "POST", "/ssf/status", &body).await.0, 200);
    };
    house.ended(alice, 2).await;
    house.filled().await;
    status("disabled").await;
    assert_eq!(house.stream_of("sp").await.waiting, 0);
    house.ended(alice, 2).await;
    house.filled().await;
    status("enabled").await;
    house.filled().await;
    assert!(house.fetch(&token, &stream).await.is_empty());
    house.ended(alice, 1).await;
    house.filled().await;
    assert_eq!(house.fetch(&token, &stream).await.len(), 1);
    // What is paused is kept, and not told.
    status("paused").await;
    house.ended(alice, 1).await;
    house.filled().await;
    assert!(house.fetch(&token, &stream).await.is_empty());
    status("enabled").await;
    assert_eq!(house.fetch(&token, &stream).await.len(), 2);
}

#[tokio::test]
async fn where_events_are_posted_and_who_refused_them_is_recorded() {
    let house = House::new().await;
    let alice = house.person("alice").await.0.id;
    let token = house.machine("sp", &BOTH, "").await;
    let stream = house.stream(&token, &json!({})).await;
    let mut redirected = posted_to("https://elsewhere.test/with-a-secret/refuses");
    redirected["stream_id"] = stream["stream_id"].clone();
    assert_eq!(house.call(&token, "PATCH", "/ssf/streams", &redirected).await.0, 200);
    let recorded = house.recorded("stream.changed").await;
    let [Event::StreamChanged { delivery: before, .. }, Event::StreamChanged { delivery, receiver, endpoint, .. }] =
        recorded.as_slice()
    else {
        panic!("{recorded:?}")
    };
    assert_eq!((before.as_str(), delivery.as_str(), receiver.as_str()), ("poll", "push", "https://elsewhere.test"));
    assert_eq!(endpoint.len(), 64);
    house.ended(alice, 1).await;
    house.filled().await;
    let mut pushing = Pushing::new(house.transmitter.clone());
    pushing.look().await.unwrap();
    until("it is refused", async || house.stream_of("sp").await.waiting == 0).await;
    pushing.stop().await;
    let refused = house.recorded("signal.refused").await;
    let [Event::SignalRefused { code, txn, .. }] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!((code.as_str(), txn.len()), ("invalid_key", 32));
}

/// Whom the directory deletes and whom an operator deletes, told when their account is there no longer.
#[tokio::test]
async fn b110_who_was_deleted_is_named_as_receivers_know_them_and_stays_left_out() {
    let house = House::new().await;
    let (token, other) = (house.machine("sp", &BOTH, "").await, house.machine("other", &BOTH, "").await);
    let (stream, discreet) = (house.stream(&token, &json!({})).await, house.stream(&other, &json!({})).await);
    let (alice, bob) = (house.account("alice", "E-1").await, house.person("bob").await);
    for (who, sid) in [(&alice, "s1"), (&bob, "s2")] {
        house.sign_in(who, sid).await;
        let subject = json!({ "format": "iss_sub", "iss": ISSUER, "sub": who.0.login.as_str() });
        let subject = json!({ "stream_id": discreet["stream_id"], "subject": subject });
        assert_eq!(house.call(&other, "POST", "/ssf/subjects:remove", &subject).await.0, 204);
    }
    let account = house.store.account(alice.0.id).await.unwrap().unwrap();
    house.provisioning.remove(&account, "machine:hr").await.unwrap();
    house.flows.remove_person(&bob.0, "cli:root").await.unwrap();
    // Whatever waits to be told is not forgotten in the meantime.
    house.store.purge(house.now()).await.unwrap();
    house.filled().await;
    let (status, told) = house.call(&token, "POST", &poll_of(&stream), &json!({ "returnImmediately": true })).await;
    assert_eq!(status, 200);
    let mut users: Vec<Value> = told["sets"]
        .as_object()
        .unwrap()
        .values()
        .map(|set| serde_json::from_str::<Value>(set.as_str().unwrap()).unwrap()["sub_id"].clone())
        // Of their session, and of their login there, which was the last proof that they had.
        .map(|subject| subject.get("user").cloned().unwrap_or(subject))
        .collect();
    assert_eq!(users.len(), 4, "{users:?}");
    users.sort_by_key(ToString::to_string);
    users.dedup();
    let named = |login: &str| json!({ "format": "iss_sub", "iss": ISSUER, "sub": login });
    assert_eq!(users, [named("alice"), named("bob")]);
    assert!(house.fetch(&other, &discreet).await.is_empty(), "who was left out is still");
    // Both left with the same entries.
    let ended = house.recorded("session.ended").await;
    assert_eq!(ended.len(), 2, "{ended:?}");
    assert_eq!(house.recorded("factor.removed").await.len(), 2);
    // Once all is told, nothing of them is kept.
    house.store.purge(house.now()).await.unwrap();
    for who in [alice.0.id, bob.0.id] {
        assert_eq!(house.store.departed(who).await.unwrap(), None);
    }
}
