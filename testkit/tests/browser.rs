//! Chromium makes and uses a passkey on a page of ours, and shows an application
//! that nobody here wrote.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use stepgate_testkit::browser::Owner;
use stepgate_testkit::{Answer, Browser, NodeRed, RecordingHop, RecordingUpstream};
use thirtyfour::prelude::*;

/// Makes a passkey and gives what the page would post.
const CREATE: &str = r#"
    const [options, done] = arguments;
    navigator.credentials
        .create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
        .then(key => done(key.toJSON()), error => done({ error: error.name }));
"#;

/// Uses a passkey and gives what the page would post.
const USE: &str = r#"
    const [options, done] = arguments;
    navigator.credentials
        .get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) })
        .then(key => done(key.toJSON()), error => done({ error: error.name }));
"#;

async fn run(browser: &Browser, script: &str, options: &Value) -> Value {
    let ran = browser.execute_async(script, vec![options.clone()]).await.unwrap();
    ran.json().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_made_and_used_at_localhost() {
    let upstream = RecordingUpstream::start(|_| Answer::page("<!doctype html><title>A page</title>")).await;
    let browser = Browser::start().await;
    browser.goto(&format!("http://localhost:{}/", upstream.address().port())).await.unwrap();
    assert_eq!(browser.title().await.unwrap(), "A page");
    let authenticator = browser.add_authenticator().await;

    let creation = json!({
        "challenge": "AAAAAAAAAAAAAAAAAAAAAA",
        "rp": { "name": "Stepgate", "id": "localhost" },
        "user": { "id": "AQ", "name": "ada", "displayName": "Ada" },
        "pubKeyCredParams": [{ "type": "public-key", "alg": -7 }],
        "authenticatorSelection": { "residentKey": "required", "userVerification": "required" },
    });
    let made = run(&browser, CREATE, &creation).await;
    assert!(made.get("error").is_none(), "{made}");
    assert_eq!(browser.keys_of(&authenticator).await.len(), 1);

    let request = json!({
        "challenge": "AQEBAQEBAQEBAQEBAQEBAQ",
        "rpId": "localhost",
        "userVerification": "required",
        "allowCredentials": [{ "type": "public-key", "id": made["id"] }],
    });
    let used = run(&browser, USE, &request).await;
    let data = URL_SAFE_NO_PAD.decode(used["response"]["authenticatorData"].as_str().unwrap()).unwrap();
    assert_eq!(data[32] & 0x05, 0x05, "the owner was there and was verified: {used}");

    browser.set_owner_present(&authenticator, Owner::Absent).await;
    assert_eq!(run(&browser, USE, &request).await["error"], "NotAllowedError");
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn service_hosts_are_this_machine_and_others_are_nowhere() {
    let upstream = RecordingUpstream::plain().await;
    let port = upstream.address().port();
    let browser = Browser::start().await;
    browser.goto(&format!("http://ledger.localhost:{port}/")).await.unwrap();
    assert_eq!(upstream.requests()[0].value("host").unwrap(), format!("ledger.localhost:{port}"));
    assert!(browser.goto(&format!("http://stepgate.example:{port}/")).await.is_err());
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_red_runs_behind_a_recording_hop() {
    let application = NodeRed::start();
    let hop = RecordingHop::start(application.address()).await;
    let browser = Browser::start().await;
    browser.goto(&hop.url()).await.unwrap();
    // The editor has loaded its flows: the comment stands on the canvas.
    browser.query(By::Css(".red-ui-flow-node-group, .red-ui-flow-node")).first().await.unwrap();
    let seen = hop.requests();
    assert!(seen.iter().any(|request| request.method() == "GET" && request.target().starts_with("/flows")));
    assert!(seen.iter().any(|request| request.value("upgrade").as_deref() == Some("websocket")));
    assert_eq!(application.deployed()[1]["name"], "valve closed");
    browser.quit().await;
}
