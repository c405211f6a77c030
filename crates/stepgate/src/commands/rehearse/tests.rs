//! What a hostile application can make a rehearsal do: nothing.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};
use stepgate_testkit::{Answer, RecordingUpstream};
use url::Url;

use super::home::Sent;
use super::person::{KeyFile, TestPerson};
use super::play::prove;
use crate::commands::policy::SignsIn;
use crate::headless::{Authenticator, Browser};

const ID: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn browser() -> Browser {
    Browser::new("test", SocketAddr::from(([127, 0, 0, 1], 1)), &[]).unwrap()
}

/// Somebody whose gate has this origin.
fn person(gate: &str, directory: &Path) -> TestPerson {
    let options = json!({ "rp": { "id": "127.0.0.1" }, "user": { "id": "cml0YQ" }, "challenge": "YQ" });
    let (passkey, _) = Authenticator::create(gate, &options).unwrap();
    let kept = json!({ "login": "rita", "gate": gate, "password": "secret", "passkey": passkey.to_json().unwrap() });
    let file = directory.join("rita.json");
    fs::write(&file, kept.to_string()).unwrap();
    TestPerson::kept(&file).unwrap()
}

/// A sign-in page whose form leads there.
fn sign_in_page(action: &str) -> String {
    format!(
        "<form action=\"{action}\"><input name=\"csrf\" value=\"x\"><input name=\"name\">\
         <input name=\"ceremony\" value=\"c\"><input name=\"password\"><b data-passkey=\"get\" \
         data-options=\"{{&quot;challenge&quot;:&quot;YQ&quot;}}\"></b></form>"
    )
}

#[tokio::test]
async fn b141_no_origin_that_begins_like_the_gates_is_signed_in_at() {
    let hostile = RecordingUpstream::start(|_| Answer::page(&sign_in_page("/sign-in"))).await;
    let start = Url::parse(&hostile.url()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    // The port without its last digit: the hostile origin's text begins with this gate's.
    let gate = hostile.url();
    let gate = gate.get(..gate.len() - 1).unwrap();
    for how in [SignsIn::WithPassword, SignsIn::WithPasskey] {
        let person = person(gate, directory.path());
        let refused = person.sign_in(&browser(), &start, how).await.unwrap_err();
        let said: Vec<_> = refused.report.chain().map(ToString::to_string).collect();
        let said = said.join(": ");
        assert!(said.contains("nothing of the test person is sent there"), "{said}");
    }
    assert!(hostile.requests().iter().all(|request| request.method() == "GET"), "{:?}", hostile.requests());
}

#[tokio::test]
async fn b141_a_form_of_the_gates_page_that_leads_away_is_not_filled_in() {
    let hostile = RecordingUpstream::plain().await;
    let action = format!("{}/take", hostile.url());
    let gate = RecordingUpstream::start(move |_| Answer::page(&sign_in_page(&action))).await;
    let directory = tempfile::tempdir().unwrap();
    let person = person(&gate.url(), directory.path());
    for how in [SignsIn::WithPassword, SignsIn::WithPasskey] {
        person.sign_in(&browser(), &Url::parse(&gate.url()).unwrap(), how).await.unwrap_err();
    }
    assert!(hostile.requests().is_empty());
}

/// What was sent.
const fn sent(body: &[u8]) -> Sent<'_> {
    Sent { method: "GET", url: "https://shop.example/", body }
}

/// What a gate says of a challenge about that.
fn told(method: &str, url: &str, body: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = hex::encode(sha2::Sha256::digest(body));
    json!({
        "statement": { "method": method, "url": url, "body_sha256": digest },
        "factors": [{ "factor": "passkey", "options": { "challenge": "YQ" } }],
    })
    .to_string()
}

/// A gate that says so of every challenge, and takes every answer.
async fn gate(said: String) -> RecordingUpstream {
    RecordingUpstream::start(move |_| Answer::new(200, &[("content-type", "application/json")], &said)).await
}

#[tokio::test]
async fn b142_nothing_is_signed_at_an_address_that_an_application_names() {
    let gate = gate(told("GET", "https://shop.example/", b"")).await;
    let hostile = RecordingUpstream::start(|_| {
        let said = told("GET", "https://shop.example/", b"");
        Answer::new(200, &[("content-type", "application/json")], said)
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let person = person(&gate.url(), directory.path());
    let named = |id: &str, url: String| json!({ "id": id, "url": url });
    let at = |origin: &str| format!("{origin}/challenges/{ID}");
    let bad = [
        Value::Null,
        json!({ "url": at(&gate.url()) }),
        named(ID, at(&hostile.url())),
        named(ID, at(&format!("{}0", gate.url()))),
        named(ID, at(&format!("{}@{}", gate.url(), hostile.address()))),
        named(ID, format!("{}/elsewhere/{ID}", gate.url())),
        named(ID, format!("{}/challenges/{OTHER}", gate.url())),
        named(ID, format!("{}?x", at(&gate.url()))),
        named("..", format!("{}/challenges/..", gate.url())),
        named("../x", format!("{}/challenges/../x", gate.url())),
    ];
    for bad in bad {
        let stuck = prove(&browser(), &person, &bad, sent(b"")).await.unwrap();
        assert!(stuck.is_some_and(|why| why.contains("is not where")), "{bad}");
    }
    assert!(hostile.requests().is_empty() && gate.requests().is_empty());
    let stuck = prove(&browser(), &person, &named(ID, at(&gate.url())), sent(b"")).await.unwrap();
    assert_eq!(stuck, None);
    assert_eq!(gate.requests().len(), 2, "what the gate asks about this request is answered");
}

#[tokio::test]
async fn b142_nothing_is_signed_for_another_request_than_the_one_that_was_sent() {
    for (said, body) in [
        (told("POST", "https://shop.example/", b""), &b""[..]),
        (told("GET", "https://shop.example/pay", b""), b""),
        (told("GET", "https://shop.example/", b"amount=9"), b""),
        (told("GET", "https://shop.example/", b""), b"amount=1"),
        ("{}".to_owned(), b""),
    ] {
        let gate = gate(said.clone()).await;
        let directory = tempfile::tempdir().unwrap();
        let named = json!({ "id": ID, "url": format!("{}/challenges/{ID}", gate.url()) });
        let stuck = prove(&browser(), &person(&gate.url(), directory.path()), &named, sent(body)).await.unwrap();
        assert!(stuck.is_some_and(|why| why.contains("the challenge is about")), "{said}");
        assert!(gate.requests().iter().all(|request| request.method() == "GET"), "{said}");
    }
}

#[test]
fn a_key_file_is_there_before_anybody_enrols_and_gone_if_nobody_did() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.json");
    let file = KeyFile::new(&path).unwrap();
    assert!(KeyFile::new(&path).is_err(), "one that is there is not touched");
    assert!(path.exists());
    drop(file);
    assert!(!path.exists());
    KeyFile::new(&path).unwrap().keep(&person("https://gate.example", directory.path())).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(TestPerson::kept(&path).unwrap().home().name(), "https://gate.example");
    assert!(KeyFile::new(&directory.path().join("nowhere/key.json")).is_err());
}
