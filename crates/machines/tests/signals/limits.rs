//! Every limit of what others subscribe to, at it and one beyond.

use serde_json::{Value, json};
use stepgate_core::machine::Scope;

use crate::house::House;

const BOTH: [Scope; 2] = [Scope::SignalsManage, Scope::SignalsRead];

#[tokio::test]
async fn one_answer_tells_of_as_many_events_as_it_may_and_no_more() {
    let house = House::new().await;
    let alice = house.person("alice").await.0.id;
    let token = house.machine("sp", &BOTH, "").await;
    let stream = house.stream(&token, &json!({})).await;
    let path = format!("/ssf/poll/{}", stream["stream_id"].as_str().unwrap());
    let told = async |most: Value| {
        let mut body = json!({ "returnImmediately": true });
        if !most.is_null() {
            body["maxEvents"] = most;
        }
        let (status, told) = house.call(&token, "POST", &path, &body).await;
        assert_eq!(status, 200, "{told}");
        (told["sets"].as_object().unwrap().len(), told["moreAvailable"].as_bool().unwrap())
    };
    house.ended(alice, 100).await;
    house.filled().await;
    for most in [Value::Null, json!(100), json!(101), json!(u64::MAX)] {
        assert_eq!(told(most.clone()).await, (100, false), "{most}");
    }
    house.ended(alice, 1).await;
    house.filled().await;
    for most in [Value::Null, json!(100), json!(101), json!(u64::MAX)] {
        assert_eq!(told(most.clone()).await, (100, true), "{most}");
    }
    assert_eq!(told(json!(7)).await, (7, true));
}

#[tokio::test]
async fn a_stream_asks_for_as_many_kinds_of_events_as_it_may_and_no_more() {
    let house = House::new().await;
    let token = house.machine("sp", &BOTH, "").await;
    let kinds = |many: usize| (0..many).map(|number| format!("https://kinds.test/{number}")).collect::<Vec<_>>();
    let ask = async |requested: Value| {
        house.call(&token, "POST", "/ssf/streams", &json!({ "events_requested": requested })).await.0
    };
    assert_eq!(ask(kinds(101).into()).await, 400);
    assert_eq!(ask(json!(["x".repeat(201)])).await, 400);
    let mut longest = kinds(99);
    longest.push("x".repeat(200));
    assert_eq!(ask(longest.into()).await, 201);
}

#[tokio::test]
async fn of_a_body_as_much_is_read_as_is_of_use_there() {
    let house = House::new().await;
    let both = house.machine("sp", &BOTH, "").await;
    let push = house.machine("idp", &[Scope::SignalsPush], "corp").await;
    for (token, method, path, most) in [
        (&both, "POST", "/ssf/streams", 256 << 10),
        (&both, "GET", "/ssf/streams", 4 << 10),
        (&both, "DELETE", "/ssf/streams", 4 << 10),
        (&push, "POST", "/signals/events", 64 << 10),
    ] {
        assert_eq!(house.reads(token, method, path).await, most, "{method} {path}");
    }
}
