//! Mail to a real server, over the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use secrecy::SecretString;
use serde_json::json;
use stepgate_core::factor::{Destination, FactorKind};
use stepgate_core::id::Id;
use stepgate_core::ports::{About, Message};
use stepgate_core::time::Timestamp;
use stepgate_courier::{MailSettings, Mailer, NotSent, Security, Ways};
use stepgate_testkit::MailServer;

fn settings(server: &MailServer, security: Security) -> MailSettings {
    MailSettings {
        server: "localhost".to_owned(),
        port: server.port(),
        security,
        certificates: Some(server.certificate().as_bytes().to_vec()),
        account: None,
        from: "Stepgate <no-reply@example.com>".to_owned(),
        gate: "gate.example.com".to_owned(),
    }
}

fn message(to: &str) -> Message {
    let at = Timestamp::from_ms(1_763_900_000_000);
    let about = About::Operation {
        service: "Ledger".to_owned(),
        title: "Approve payment 42\r\nBcc: mallory@example.com".to_owned(),
        inputs: vec![("to".to_owned(), "Zürich".to_owned())],
        address: "192.0.2.7".to_owned(),
        agent: "Firefox".to_owned(),
    };
    Message {
        id: Id::from_bytes([7; 16]),
        kind: FactorKind::EmailCode,
        to: Destination::email(to).unwrap(),
        code: "01234567".into(),
        about,
        at,
        expires_at: at.plus(std::time::Duration::from_secs(600)),
    }
}

async fn send(settings: &MailSettings, message: &Message) -> Result<(), NotSent> {
    let ways = Ways { mail: Some(Mailer::new(settings).unwrap()), ..Ways::default() };
    ways.send(message).await
}

#[tokio::test]
async fn a_mail_arrives_by_starttls_and_by_tls_with_its_account() {
    for (security, secure) in [(Security::StartTls, false), (Security::Tls, true)] {
        let server = MailServer::start(&json!({ "secure": secure, "user": "gate", "pass": "let me in" }));
        let account = Some(("gate".to_owned(), SecretString::from("let me in")));
        let settings = MailSettings { account, ..settings(&server, security) };
        send(&settings, &message("alice@example.com")).await.unwrap();
        let mail = server.next_mail();
        assert_eq!((mail.to(), mail.user(), mail.is_secure()), (vec!["alice@example.com"], "gate", true));
        assert_eq!(mail.code(), "01234567");
        let (head, body) = { mail.text() }.split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert!(!head.contains("\r\nBcc"), "{head}");
        assert!(body.contains("text/plain") && body.contains("text/html"), "{body}");
        assert_eq!(server.taken(), 1);
    }
}

#[tokio::test]
async fn b147_a_server_that_offers_no_tls_gets_nothing() {
    let server = MailServer::start(&json!({ "offers": false }));
    let refused = send(&settings(&server, Security::StartTls), &message("alice@example.com")).await;
    assert!(refused.is_err());
    assert_eq!(server.taken(), 0);
    // So it would go where that is not asked for.
    send(&settings(&server, Security::DangerPlain), &message("alice@example.com")).await.unwrap();
    assert!(!server.next_mail().is_secure());
}

#[tokio::test]
async fn b147_a_server_with_another_certificate_gets_nothing() {
    let (server, other) = (MailServer::start(&json!({})), MailServer::start(&json!({})));
    let wrong = MailSettings {
        certificates: Some(other.certificate().as_bytes().to_vec()),
        ..settings(&server, Security::StartTls)
    };
    let refused = send(&wrong, &message("alice@example.com")).await;
    assert!(refused.is_err());
    let elsewhere = MailSettings { server: "127.0.0.1".to_owned(), ..settings(&server, Security::StartTls) };
    assert!(send(&elsewhere, &message("alice@example.com")).await.is_err(), "it is localhost's certificate");
    assert_eq!(server.taken(), 0);
}

#[tokio::test]
async fn what_a_server_refuses_is_told_without_the_address_that_it_repeats() {
    let server = MailServer::start(&json!({ "refuses": "nobody@example.com" }));
    let refused = send(&settings(&server, Security::StartTls), &message("nobody@example.com")).await;
    assert_eq!(refused, Err(NotSent::Final("the mail server answered 550".to_owned())));
    drop(server);
}
