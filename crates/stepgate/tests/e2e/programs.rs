//! Scripts and programs: told what is missing in JSON, and let go on.

use reqwest::Method;
use serde_json::json;
use stepgate_testkit::Person;

use crate::world::{Payments, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_script_repeats_its_call_when_the_challenge_is_passed() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let (here, there) = (list.url.to_string(), world.at_service("/api/payments/42/approve"));
    let call =
        async |amount: i64| ada.person.fetch_json(&here, Method::POST, &there, &json!({ "amount": amount })).await;

    assert_eq!(call(900).await.status, 200);
    let asked = call(12_000).await;
    assert_eq!(asked.status, 401, "{}", asked.told());
    assert!(asked.header("www-authenticate").contains("insufficient_user_authentication"));
    assert_eq!(asked.header("content-type"), "application/problem+json");
    let challenge = asked.json()["challenge"].clone();
    assert_eq!(challenge["factors"], json!([["passkey"]]));

    let page = ada.person.open(challenge["url"].as_str().unwrap()).await;
    ada.person.touch(&page).await;
    // Other bytes are another operation.
    assert_eq!(call(12_001).await.status, 401);
    assert_eq!(call(12_000).await.status, 200);
    assert_eq!(call(12_000).await.status, 401, "a confirmation is spent once");
    let amounts: Vec<String> =
        payments.approvals().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect();
    assert_eq!(amounts, [r#"{"amount":900}"#, r#"{"amount":12000}"#]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_sent_to_sign_in_each_in_their_language() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let stranger = Person::new();
    let page = stranger.open(&world.at_service("/payments")).await;
    assert_eq!(page.url.path(), "/sign-in", "{}", page.told());
    let call = stranger.fetch(&world.at_service("/"), Method::GET, &world.at_service("/payments"), &[], "").await;
    assert_eq!(call.status, 401);
    assert_eq!(call.json()["type"], "urn:stepgate:problem:sign-in");
    assert!(payments.0.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_as_declared_is_refused_and_never_no_amount() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let (here, there) = (list.url.to_string(), world.at_service("/api/payments/42/approve"));
    for (kind, body, status) in [
        ("application/json", r#"{"amount":"900"}"#, 400),
        ("application/json", r#"{"amount":900,"amount":12000}"#, 400),
        ("application/json", r#"{"amount":900"#, 400),
        ("application/json", "{}", 400),
        ("text/plain", r#"{"amount":900}"#, 415),
    ] {
        let answer = ada.person.fetch(&here, Method::POST, &there, &[("content-type", kind)], body).await;
        assert_eq!(answer.status, status, "{kind} {body}: {}", answer.told());
    }
    assert!(payments.approvals().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_waits_on_the_open_connection_until_somebody_answers() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let (here, there) = (list.url.to_string(), world.at_service("/api/payments/42/approve"));
    let body = json!({ "amount": 12_000 }).to_string();
    let kind = ("content-type", "application/json");
    let asked = ada.person.fetch_json(&here, Method::POST, &there, &json!({ "amount": 12_000 })).await;
    let challenge = asked.json()["challenge"].clone();
    let id = challenge["id"].as_str().unwrap();

    let named = [kind, ("stepgate-challenge", id), ("prefer", "wait=60")];
    let waiting = ada.person.fetch(&here, Method::POST, &there, &named, body.clone());
    let answering = async {
        let page = ada.person.open(challenge["url"].as_str().unwrap()).await;
        ada.person.touch(&page).await
    };
    let (went_on, _) = tokio::join!(waiting, answering);
    assert_eq!(went_on.status, 200, "{}", went_on.told());
    assert_eq!(went_on.header("preference-applied"), "wait=60");
    assert_eq!(payments.bodies(), [body.as_str()]);

    // Spent, and named once more; and named for other bytes.
    for amount in [12_000, 12_001] {
        let body = json!({ "amount": amount }).to_string();
        let again = ada.person.fetch(&here, Method::POST, &there, &[kind, ("stepgate-challenge", id)], body).await;
        assert!([401, 403, 409].contains(&again.status.as_u16()), "{}", again.told());
    }
    assert_eq!(payments.bodies(), [body.as_str()]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_answered_in_json_by_a_program_that_holds_a_key() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    let (url, gate) = (asked.url.to_string(), world.at_gate("/"));
    let told = ada.person.fetch(&gate, Method::GET, &url, &[("accept", "application/json")], "").await.json();
    assert_eq!(told["state"], "pending");
    assert_eq!(told["statement"]["inputs"]["amount"], "12000");
    let options = &told["factors"][0]["options"];
    let origin = world.at_gate("");
    let assertion = ada.person.authenticator(|authenticator| authenticator.answer_request(&origin, options));
    let answer = json!({ "factor": "passkey", "assertion": assertion });
    let headers = [("accept", "application/json"), ("content-type", "application/json")];
    let passed =
        ada.person.fetch(&gate, Method::POST, &format!("{url}/answers"), &headers, answer.to_string()).await.json();
    assert_eq!(passed["state"], "passed");
    let approved = ada.person.open(passed["go_on"].as_str().unwrap()).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
}
