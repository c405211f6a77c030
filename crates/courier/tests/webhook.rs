//! Codes through a webhook, over the wire, and what becomes of what waits.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stepgate_core::factor::{Destination, FactorKind, Strength};
use stepgate_core::id::Id;
use stepgate_core::ports::{About, Courier as _, CourierFull, Message};
use stepgate_core::time::Timestamp;
use stepgate_courier::{NotSent, WAITING_MAX, Ways, Webhook, letterbox};
use stepgate_identity::http::{Http, Reach};
use stepgate_testkit::{Answer, FakeClock, RecordingUpstream};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn message() -> Message {
    let at = Timestamp::from_ms(1_763_900_000_000);
    Message {
        id: Id::from_bytes([7; 16]),
        kind: FactorKind::PhoneCode(Strength::NONE),
        to: Destination::phone("+41791234567").unwrap(),
        code: "01234567".into(),
        about: About::Enrolment { login: "alice".to_owned() },
        at,
        expires_at: at.plus(std::time::Duration::from_secs(600)),
    }
}

fn ways(url: &str, reach: Reach) -> Ways {
    let http = Http::new(reach, None).unwrap();
    let clock = Arc::new(FakeClock::new());
    let webhook = Webhook::new(http, url.parse().unwrap(), &SECRET.into(), clock, "gate.test".to_owned()).unwrap();
    Ways { phones: Some(webhook), ..Ways::default() }
}

#[tokio::test]
async fn what_is_posted_is_signed_and_the_same_each_time() {
    let gateway = RecordingUpstream::start(|_| Answer::text("taken")).await;
    let ways = ways(&format!("{}/codes", gateway.url()), Reach::DangerLoopback);
    for _ in 0..2 {
        ways.send(&message()).await.unwrap();
    }
    let requests = gateway.wait_for(2).await;
    for request in &requests {
        let field = |name: &str| request.value(name).unwrap_or_else(|| panic!("no {name}"));
        let body = String::from_utf8(request.body.clone()).unwrap();
        let (id, at) = (field("webhook-id"), field("webhook-timestamp"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(&SECRET[6..]).unwrap());
        let tag = STANDARD.decode(field("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, format!("{id}.{at}.{body}").as_bytes(), &tag).unwrap();
        let said: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&said["data"]["to"], &said["data"]["code"]), (&"+41791234567".into(), &"01234567".into()));
        assert_eq!(id, format!("code_{}", message().id), "so that a gateway sends it once");
    }
    assert_eq!(requests[0].body, requests[1].body);
}

#[tokio::test]
async fn b149_a_gateway_is_called_where_the_configuration_says_and_nowhere_else() {
    let gateway = RecordingUpstream::start(|_| Answer::text("taken")).await;
    let refused = ways(&gateway.url(), Reach::Public).send(&message()).await;
    assert!(matches!(refused, Err(NotSent::Final(_))), "{refused:?}");
    assert!(gateway.requests().is_empty(), "this machine is called only where a dangerous option says so");
    // A redirect would carry the code elsewhere.
    let elsewhere = gateway.url();
    let leads = RecordingUpstream::start(move |_| Answer::new(307, &[("location", &elsewhere)], "")).await;
    let refused = ways(&leads.url(), Reach::DangerLoopback).send(&message()).await;
    assert!(matches!(refused, Err(NotSent::Final(_))), "{refused:?}");
    assert!(gateway.requests().is_empty(), "it is not followed");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_is_refused_is_not() {
    let number = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&number);
    let answers = [429, 503, 408, 400, 401, 410];
    let gateway =
        RecordingUpstream::start(move |_| Answer::new(answers[asked.fetch_add(1, Ordering::Relaxed)], &[], "no")).await;
    let ways = ways(&gateway.url(), Reach::DangerLoopback);
    for status in answers {
        let refused = ways.send(&message()).await.unwrap_err();
        assert_eq!(
            matches!(refused, NotSent::Passing { .. }),
            matches!(status, 429 | 503 | 408),
            "{status}: {refused}"
        );
        assert!(!refused.to_string().contains("4179") && !refused.to_string().contains("0123"), "{refused}");
    }
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let (box_, _outgoing) = letterbox();
    for _ in 0..WAITING_MAX {
        box_.take(Id::from_bytes([1; 16]), message()).unwrap();
    }
    assert_eq!(box_.take(Id::from_bytes([1; 16]), message()), Err(CourierFull));
}
