//! What is refused before any decision, by whoever finds it.

use serde_json::Value;

use crate::raw::Connection;
use crate::rig::{Door, NAVIGATE};

#[tokio::test]
async fn b08_b31_b32_b33_refused_heads_are_answered_with_code_and_id_and_counted_as_others_are() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let long = "a".repeat(70_000);
    let many = "X-A: 1\r\n".repeat(101);
    for (first, lines, status, code) in [
        ("POST /x HTTP/1.1", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400, "two_framings"),
        ("POST /x HTTP/1.1", "Content-Length: 4\r\nContent-Length: 4\r\n", 400, "content_length"),
        ("POST /x HTTP/1.0", "Transfer-Encoding: chunked\r\n", 400, "transfer_encoding"),
        ("GET /payments#/public HTTP/1.1", "", 400, "fragment"),
        ("GET /payments HTTP/1.1", "X-A: b\nX-B: c\r\n", 400, "line_end"),
        ("GET /payments HTTP/1.1", "X-A : b\r\n", 400, "header_line"),
        ("GET /payments HTTP/1.1", "X-A: b\0\r\n", 400, "header_value"),
        ("GET /a b HTTP/1.1", "", 400, "request_line"),
        ("get /payments HTTP/1.1", "", 400, "method"),
        ("GET /payments HTTP/1.7", "", 400, "version"),
        (&format!("GET /{long} HTTP/1.1"), "", 414, "target_too_long"),
        ("GET /payments HTTP/1.1", &many, 431, "too_many_headers"),
        ("GET /payments HTTP/1.1", &format!("X-A: {long}\r\n"), 431, "headers_too_large"),
        // Found by the one reading of the head, and answered no differently.
        ("GET /a/../b HTTP/1.1", "", 400, "dot_segment"),
    ] {
        let mut connection = Connection::open(door.address).await;
        let head = format!("{first}\r\nHost: {}\r\n{}{lines}\r\n", door.ledger, ada.cookie());
        connection.send(head.as_bytes()).await;
        let (head, body) = connection.response().await.unwrap();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((head.status(), problem["code"].as_str()), (status, Some(code)), "{first} {lines:.80}");
        assert_eq!(head.one("stepgate-request-id").len(), 32, "{code}");
        let last = door.store.state.lock().entries.last().map(|entry| serde_json::to_value(&entry.event).unwrap());
        assert_eq!(last.as_ref().map(|last| &last["code"]), Some(&Value::from(code)), "{last:?}");
    }
    assert_eq!(door.recorder.count(), 0);
}

#[tokio::test]
async fn b33_a_body_that_breaks_off_is_answered_with_an_id_and_is_never_whole() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    for chunks in ["5\nhello", "3\r\nabcd\r\n", "1;x\ny\r\n", "2 \r\nab\r\n0\r\n\r\n"] {
        for path in ["/payments", "/pay"] {
            let mut connection = Connection::open(door.address).await;
            let head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n{}", door.ledger, ada.cookie());
            let lines = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n";
            connection.send(format!("{head}{lines}\r\n{chunks}").as_bytes()).await;
            let (head, _) = connection.response().await.unwrap();
            assert_ne!(head.status(), 200, "{path} {chunks:?}");
            assert_eq!(head.one("stepgate-request-id").len(), 32, "{path} {chunks:?}");
        }
    }
    assert!(door.recorder.recorded.lock().unwrap().iter().all(|recorded| !recorded.whole));
}

/// Whether the page has this link.
fn leads_to(page: &str, url: &str) -> bool {
    page.contains(&format!(r#"href="{url}""#))
}

#[tokio::test]
async fn a_page_that_says_no_has_a_reference_to_quote_and_a_way_from_there() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let lines = format!("{}{NAVIGATE}", ada.cookie());
    let account = format!("{}/account", door.gate_origin);
    for (first, status, code, way) in [
        ("DELETE /all", 403, "denied", account.as_str()),
        ("DELETE /all", 403, "denied", "/"),
        ("GET /.stepgate/nothing", 404, "not_found", "/"),
    ] {
        let (head, page) = door.ask(first, &lines, "").await;
        assert_eq!(head.status(), status, "{first}");
        let reference = head.one("stepgate-request-id");
        assert!(page.contains(&format!("Reference <code>{reference}</code>")), "{page}");
        assert!(page.contains(&format!("<code>{code}</code>, HTTP {status}")) && page.contains("<svg "), "{page}");
        assert!(leads_to(&page, way), "{way}: {page}");
    }
}

#[tokio::test]
async fn an_unknown_host_is_told_where_the_gate_is_and_nothing_of_its_services() {
    let door = Door::open().await;
    let host = door.address.to_string();
    let (head, page) = door.ask_at(&host, "GET /", NAVIGATE, "").await;
    assert_eq!(head.status(), 421);
    assert!(leads_to(&page, &door.gate_origin) && !page.contains("ledger"), "{page}");
    let (head, problem) = door.ask_at(&host, "GET /", "", "").await;
    assert_eq!(head.status(), 421);
    let problem: Value = serde_json::from_str(&problem).unwrap();
    assert_eq!((&problem["gate"], &problem["code"]), (&door.gate_origin.as_str().into(), &"unknown_host".into()));
}

/// The hop of this door is on loopback, like everybody here.
#[tokio::test]
async fn b138_what_a_hop_says_of_a_device_is_decided_by_and_reaches_no_application() {
    let door = Door::open().await;
    let ada = door.sign_in("ada");
    let lines =
        |posture: &str| format!("{}X-Device-Posture: {posture}\r\nx_device_posture: compliant\r\n", ada.cookie());
    for (posture, status) in [("compliant", 200), ("not_compliant", 403), ("whatever", 200)] {
        let (head, body) = door.ask("POST /notes", &lines(posture), "").await;
        assert_eq!(head.status(), status, "{posture}: {body}");
    }
    let recorded = door.recorder.recorded.lock().unwrap();
    assert_eq!(recorded.len(), 2);
    for one in recorded.iter() {
        assert!(
            !one.head.headers.iter().any(|(name, _)| name.to_ascii_lowercase().contains("posture")),
            "{:?}",
            one.head
        );
    }
}
