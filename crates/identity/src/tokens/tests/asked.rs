//! Tokens that only their issuer can read (RFC 7662), and keys that it changes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::SecretString;
use serde_json::json;
use stepgate_core::factor::Strength;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::certificates::THUMBPRINT;
use super::*;
use crate::http::{Http, Reach};
use crate::tokens::{Introspection, IntrospectionSettings, TokenType};

/// An issuer that answers with what it was told to, and counts.
#[derive(Debug)]
struct Issuer {
    url: url::Url,
    answer: Mutex<(u16, String, String)>,
    asked: AtomicUsize,
    last: Mutex<String>,
    /// Held by who wants the answers to wait.
    gate: tokio::sync::RwLock<()>,
}

impl Issuer {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/x", listener.local_addr().unwrap().port()).parse().unwrap();
        let issuer = Arc::new(Self {
            url,
            answer: Mutex::new((200, String::new(), String::new())),
            asked: AtomicUsize::new(0),
            last: Mutex::default(),
            gate: tokio::sync::RwLock::default(),
        });
        let serving = Arc::clone(&issuer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                tokio::spawn(async move {
                    let request = read_request(&mut stream).await;
                    serving.asked.fetch_add(1, Ordering::Relaxed);
                    *serving.last.lock() = request;
                    let _open = serving.gate.read().await;
                    let (status, headers, body) = serving.answer.lock().clone();
                    let head = format!(
                        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        issuer
    }

    fn answers(&self, status: u16, headers: &str, body: &serde_json::Value) {
        *self.answer.lock() = (status, headers.to_owned(), body.to_string());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn verifier(&self) -> TokenVerifier {
        self.verifier_by(|introspection| introspection)
    }

    /// Until so many questions came.
    async fn is_asked(&self, times: usize) {
        while self.asked() < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // More would have come by now.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(self.asked(), times);
    }

    fn settings(&self) -> IntrospectionSettings {
        IntrospectionSettings {
            url: self.url.clone(),
            client_id: "gate".into(),
            client_secret: SecretString::from("s:e c"),
            kept_at_most: Duration::from_secs(60),
            token_type: TokenType::Said,
        }
    }

    fn verifier_by(&self, by: impl FnOnce(Introspection) -> Introspection) -> TokenVerifier {
        let http = Http::new(Reach::DangerLoopback, None).unwrap();
        let by = by(Introspection::new(http, self.settings()));
        let by = VerifiedBy::Introspection(by);
        let issuer = TokenIssuer { name: name("corp"), issuer: ISSUER.into(), levels: levels(), by };
        TokenVerifier::new(vec![issuer], Keeps::Verified, &Chance)
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap_or(0);
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let length = text
            .to_ascii_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next().and_then(|length| length.parse::<usize>().ok()));
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if read == 0 || body.is_some_and(|body| body >= length.unwrap_or(0)) {
            return text;
        }
    }
}

fn active() -> serde_json::Value {
    let mut says = with(json!({ "active": true, "token_type": "Bearer" }));
    says.as_object_mut().unwrap().remove("jti");
    says
}

async fn later(verifier: &TokenVerifier, token: &str, seconds: i64) -> String {
    let value = format!("Bearer {token}");
    match present(verifier, &rules(), &[("authorization", &value)], at(NOW_S + seconds)).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_once_in_a_while() {
    let issuer = Issuer::start().await;
    issuer.answers(200, "", &active());
    let verifier = issuer.verifier();
    let token = bearer(&verifier, "opaque~1").await.unwrap();
    assert_eq!((token.answerable(), token.strength, token.acr.as_str()), ("alice", Strength::SECOND_FACTOR, "mfa"));
    let request = issuer.last.lock().clone();
    assert!(request.starts_with("POST /x "), "{request}");
    // `gate:s%3Ae+c`, as RFC 6749 (section 2.3.1) wants it.
    assert!(request.to_ascii_lowercase().contains("authorization: basic z2f0ztpzjtnbzstj"), "{request}");
    assert!(request.ends_with("token=opaque%7E1&token_type_hint=access_token"), "{request}");
    assert_eq!(later(&verifier, "opaque~1", 59).await, "ok");
    assert_eq!(issuer.asked(), 1);
    issuer.answers(200, "", &json!({ "active": false }));
    assert_eq!(later(&verifier, "opaque~1", 60).await, "token_inactive");
    assert_eq!(issuer.asked(), 2);
}

/// Presents it in a task of its own.
fn comes(verifier: &Arc<TokenVerifier>, token: &str) -> tokio::task::JoinHandle<String> {
    let (verifier, token) = (Arc::clone(verifier), token.to_owned());
    tokio::spawn(async move { later(&verifier, &token, 0).await })
}

#[tokio::test]
async fn b112_one_token_that_comes_often_is_asked_about_once() {
    let issuer = Issuer::start().await;
    // Not even an answer that nobody may keep is asked for twice at once.
    issuer.answers(200, "Cache-Control: no-store\r\n", &active());
    let verifier = Arc::new(issuer.verifier_by(|by| by.with_seats(2, 0, Duration::from_secs(60))));
    let shut = issuer.gate.write().await;
    let all: Vec<_> = (0..20).map(|_| comes(&verifier, "fresh")).collect();
    issuer.is_asked(1).await;
    drop(shut);
    for one in all {
        assert_eq!(one.await.unwrap(), "ok");
    }
    assert_eq!(issuer.asked(), 1);
    assert_eq!(later(&verifier, "fresh", 0).await, "ok");
    assert_eq!(issuer.asked(), 2, "what was answered is not said again");
    // Who goes away takes the answer from nobody, and leaves nothing behind.
    let shut = issuer.gate.write().await;
    let [first, second] = [comes(&verifier, "left"), comes(&verifier, "left")];
    issuer.is_asked(3).await;
    first.abort();
    issuer.is_asked(4).await;
    let third = comes(&verifier, "left");
    drop(shut);
    assert_eq!((second.await.unwrap(), third.await.unwrap()), ("ok".into(), "ok".into()));
    let shut = issuer.gate.write().await;
    let alone = comes(&verifier, "alone");
    while verifier.open_questions() == 0 {
        tokio::task::yield_now().await;
    }
    alone.abort();
    assert!(alone.await.is_err());
    drop(shut);
    assert_eq!(verifier.open_questions(), 0);
}

#[tokio::test]
async fn b112_who_finds_no_seat_waits_a_short_while() {
    let issuer = Issuer::start().await;
    issuer.answers(200, "", &active());
    let verifier = Arc::new(issuer.verifier_by(|by| by.with_seats(2, 2, Duration::from_secs(60))));
    let shut = issuer.gate.write().await;
    let all: Vec<_> = ["a", "b", "c", "d"].iter().map(|token| comes(&verifier, token)).collect();
    while verifier.open_questions() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    issuer.is_asked(2).await;
    assert_eq!(later(&verifier, "e", 0).await, "token_issuer_away", "neither seat nor place in the queue");
    drop(shut);
    for one in all {
        assert_eq!(one.await.unwrap(), "ok");
    }
    assert_eq!(later(&verifier, "e", 0).await, "ok", "a failure is not remembered");
    assert_eq!(issuer.asked(), 5);
    let verifier = Arc::new(issuer.verifier_by(|by| by.with_seats(1, 1, Duration::from_millis(50))));
    let shut = issuer.gate.write().await;
    let first = comes(&verifier, "f");
    issuer.is_asked(6).await;
    assert_eq!(later(&verifier, "g", 0).await, "token_issuer_away", "nobody waits for ever");
    drop(shut);
    assert_eq!(first.await.unwrap(), "ok");
}

#[tokio::test]
async fn b111_a_jwt_goes_to_nobody_but_whom_it_names() {
    let issuer = Issuer::start().await;
    issuer.answers(200, "", &active());
    let verifier = issuer.verifier();
    let key = es256("k1");
    let mut number = 0;
    let mut jwt = |header: &serde_json::Value, iss: serde_json::Value| {
        number += 1;
        mint(header, &with(json!({ "iss": iss, "jti": number })), &key)
    };
    let usual = json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k1" });
    for (header, iss) in [
        (usual.clone(), json!("https://other.example")),
        (usual.clone(), json!(format!("{ISSUER}/"))),
        (usual.clone(), json!("")),
        (usual.clone(), json!(1)),
        (usual.clone(), json!([ISSUER])),
        // Such as nobody here verifies.
        (json!({ "alg": "HS256" }), json!("https://other.example")),
        (json!({ "alg": "ES256", "crit": ["x"] }), json!("https://other.example")),
        (json!({}), json!("https://other.example")),
    ] {
        let said = later(&verifier, &jwt(&header, iss.clone()), 0).await;
        assert!(said.starts_with("token_"), "{header} {iss} {said}");
        assert_eq!(issuer.asked(), 0, "{header} {iss}");
    }
    assert_eq!(later(&verifier, &jwt(&usual, json!(ISSUER)), 0).await, "ok", "its own it may be asked about");
    assert_eq!(later(&verifier, "not.a.jwt", 0).await, "ok");
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn a_token_that_is_not_kept_lives_all_the_same() {
    let issuer = Issuer::start().await;
    let mut says = active();
    says.as_object_mut().unwrap().remove("exp");
    issuer.answers(200, "", &says);
    let settings = IntrospectionSettings { kept_at_most: Duration::ZERO, ..issuer.settings() };
    let http = Http::new(Reach::DangerLoopback, None).unwrap();
    let verifier = issuer.verifier_by(|_| Introspection::new(http, settings));
    for asked in 1..4 {
        let token = bearer(&verifier, "endless").await.unwrap();
        assert_eq!((token.expires_at, issuer.asked()), (at(NOW_S + 60), asked));
    }
    issuer.answers(200, "", &json!({ "active": false }));
    assert_eq!(later(&verifier, "endless", 0).await, "token_inactive");
}

#[tokio::test]
async fn it_is_believed_no_longer_than_exp_and_cache_control_allow() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let mut says = active();
    says["exp"] = json!(NOW_S + 5);
    issuer.answers(200, "", &says);
    assert_eq!(later(&verifier, "a", 0).await, "ok");
    assert_eq!(later(&verifier, "a", 4).await, "ok");
    assert_eq!(issuer.asked(), 1);
    assert_eq!(later(&verifier, "a", 5).await, "token_expired");
    assert_eq!(issuer.asked(), 2);
    issuer.answers(200, "Cache-Control: no-store\r\n", &active());
    for round in 3..5 {
        assert_eq!(later(&verifier, "b", 0).await, "ok");
        assert_eq!(issuer.asked(), round);
    }
    issuer.answers(200, "Cache-Control: private, max-age=10\r\n", &active());
    assert_eq!(later(&verifier, "c", 0).await, "ok");
    assert_eq!(later(&verifier, "c", 9).await, "ok");
    assert_eq!(issuer.asked(), 5);
    assert_eq!(later(&verifier, "c", 10).await, "ok");
    assert_eq!(issuer.asked(), 6);
}

#[tokio::test]
async fn an_inactive_token_is_asked_about_again_soon() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    issuer.answers(200, "", &json!({ "active": false, "sub": "alice" }));
    for seconds in [0, 4] {
        assert_eq!(later(&verifier, "a", seconds).await, "token_inactive");
    }
    assert_eq!(issuer.asked(), 1);
    issuer.answers(200, "", &active());
    assert_eq!(later(&verifier, "a", 5).await, "ok");
}

#[tokio::test]
async fn an_issuer_that_gives_no_answer_gives_no_verdict() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    for (status, body) in [
        (200, json!({})),
        (200, json!({ "sub": "alice" })),
        (200, json!({ "active": "true" })),
        (200, json!([])),
        (401, json!({ "error": "invalid_client" })),
        (500, active()),
        (302, active()),
    ] {
        issuer.answers(status, "", &body);
        assert_eq!(later(&verifier, "a", 0).await, "token_issuer_away", "{status} {body}");
    }
    issuer.answers(200, "", &active());
    assert_eq!(later(&verifier, "a", 0).await, "ok", "and nothing of it was kept");
}

#[tokio::test]
async fn what_the_issuer_says_is_held_against_the_service() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let mut number = 0;
    for (changes, expected) in [
        (json!({ "aud": "https://other.example" }), "token_audience"),
        (json!({ "iss": "https://other.example" }), "token_issuer"),
        (json!({ "exp": "never" }), "token_exp_type"),
        (json!({ "exp": NOW_S }), "token_expired"),
        (json!({ "sub": null }), "token_subject"),
        (json!({ "cnf": { "x5t#S256": "x" } }), "token_cnf"),
        (json!({ "cnf": { "x5t#S256": THUMBPRINT } }), "token_certificate_missing"),
        (json!({}), "ok"),
    ] {
        let mut says = active();
        for (name, value) in changes.as_object().unwrap() {
            says[name] = value.clone();
        }
        issuer.answers(200, "", &says);
        number += 1;
        assert_eq!(later(&verifier, &number.to_string(), 0).await, expected, "{changes}");
    }
    let mut says = active();
    says.as_object_mut().unwrap().remove("exp");
    says.as_object_mut().unwrap().remove("iss");
    issuer.answers(200, "", &says);
    assert_eq!(bearer(&verifier, "last").await.unwrap().expires_at, at(NOW_S + 60));
    says.as_object_mut().unwrap().remove("aud");
    issuer.answers(200, "", &says);
    assert_eq!(later(&verifier, "nobody's", 0).await, "authorization_malformed");
    assert_eq!(later(&verifier, "nobodys", 0).await, "token_audience");
}

#[tokio::test]
async fn b97_a_refresh_token_is_no_access_token() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier();
    let bound = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" });
    for (number, (changes, expected)) in [
        (json!({ "token_type": "refresh_token" }), "token_not_an_access_token"),
        (json!({ "token_use": "refresh_token" }), "token_not_an_access_token"),
        (json!({ "typ": "Refresh" }), "token_not_an_access_token"),
        (json!({ "token_type": "DPoP" }), "token_token_type"),
        (json!({ "cnf": bound }), "token_token_type"),
        (json!({ "token_type": "DPoP", "cnf": bound }), "token_bound_to_a_key"),
        (json!({}), "ok"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut says = active();
        for (name, value) in changes.as_object().unwrap() {
            says[name] = value.clone();
        }
        issuer.answers(200, "", &says);
        assert_eq!(later(&verifier, &number.to_string(), 0).await, expected, "{changes}");
    }
    let mut says = active();
    says.as_object_mut().unwrap().remove("token_type");
    issuer.answers(200, "", &says);
    assert_eq!(later(&verifier, "unsaid", 0).await, "token_token_type_missing");
}

#[tokio::test]
async fn a_key_that_the_issuer_took_back_is_gone_also_for_what_was_verified() {
    let issuer = Issuer::start().await;
    let (old, new) = (es256("k1"), es256("k2"));
    let http = Http::new(Reach::DangerLoopback, None).unwrap();
    let keys = Keys::at(http, issuer.url.clone());
    let verifier = TokenVerifier::new(vec![signing(keys, &Algorithm::ALL)], Keeps::Verified, &Chance);
    let long = json!({ "exp": NOW_S + 100_000 });
    let [of_old, of_new] = [&old, &new].map(|key| at_jwt(key, &with(long.clone())));
    issuer.answers(200, "", &json!({ "keys": [old.jwk()] }));
    assert_eq!(later(&verifier, &of_old, 0).await, "ok");
    assert_eq!(later(&verifier, &of_old, 1).await, "ok");
    assert_eq!((issuer.asked(), verifier.kept.len()), (1, 1));
    issuer.answers(200, "", &json!({ "keys": [new.jwk()] }));
    // A token names a key that is not known: the keys are had again, and the old one is gone.
    for _ in 0..2 {
        assert_eq!(later(&verifier, &of_new, 11).await, "ok");
    }
    assert_eq!(issuer.asked(), 2);
    assert_eq!(later(&verifier, &of_old, 12).await, "token_key_unknown");
    assert_eq!(verifier.kept.len(), 1);
    // Where all that comes was verified before, they are had again too, when they are old.
    issuer.answers(200, "", &json!({ "keys": [] }));
    assert_eq!(later(&verifier, &of_new, 3_700).await, "token_key_unknown");
}

#[tokio::test]
async fn keys_that_stayed_the_same_leave_what_was_verified_as_it_is() {
    let issuer = Issuer::start().await;
    let key = es256("k1");
    let keys = Keys::at(Http::new(Reach::DangerLoopback, None).unwrap(), issuer.url.clone());
    issuer.answers(200, "", &json!({ "keys": [key.jwk()] }));
    let found = keys.key_for(Some("k1"), Algorithm::Es256, now()).await;
    assert!(found.is_ok(), "{found:?}");
    let generation = keys.generation();
    assert!(keys.still_are(generation, at(NOW_S + 900)));
    assert!(!keys.still_are(generation, at(NOW_S + 3_601)), "so old, they are asked for first");
    assert!(keys.key_for(Some("k1"), Algorithm::Es256, at(NOW_S + 3_601)).await.is_ok());
    assert_eq!((keys.generation(), issuer.asked()), (generation, 2));
    assert!(!keys.still_are(generation + 1, at(NOW_S + 3_601)));
}
