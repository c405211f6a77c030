//! Heads in pieces, in a row, and what comes behind them: what the guard between
//! the socket and the HTTP library must not change.

use std::time::Duration;

use stepgate_gateway::server::ServerLimits;

use crate::rig::raw::Connection;
use crate::rig::{Rig, Setup};

const GET: &str = "GET /x HTTP/1.1\r\nHost: app.test\r\n\r\n";
const CHUNKED: &str = "POST /c HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: z\r\n\r\n";
const LENGTH: &str = "PUT /l HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Sends the pieces as segments of their own.
async fn send_pieces<'p>(connection: &mut Connection<tokio::net::TcpStream>, pieces: impl Iterator<Item = &'p [u8]>) {
    connection.stream.set_nodelay(true).unwrap();
    for piece in pieces {
        connection.send(piece).await;
        // Lets the gate read before the next comes.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn requests_that_come_byte_by_byte_are_read_as_they_are() {
    let rig = Rig::start().await;
    let mut connection = Connection::open(rig.gate).await;
    let requests = [GET, CHUNKED, "\r\n", LENGTH, GET].concat();
    send_pieces(&mut connection, requests.as_bytes().chunks(1)).await;
    for expected in [("/x", ""), ("/c", "hello"), ("/l", "hello"), ("/x", "")] {
        assert_eq!(connection.response().await.unwrap().0.status(), 200, "{expected:?}");
    }
    let recorded = rig.recorder.recorded.lock().unwrap();
    let arrived: Vec<_> = recorded.iter().map(|one| (one.target(), String::from_utf8_lossy(&one.body))).collect();
    assert_eq!(arrived, [("/x", "".into()), ("/c", "hello".into()), ("/l", "hello".into()), ("/x", "".into())]);
}

#[tokio::test]
async fn a_refused_head_is_refused_wherever_it_is_split() {
    let rig = Rig::start().await;
    let bad = "POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for at in 1..bad.len() {
        let mut connection = Connection::open(rig.gate).await;
        let (first, second) = bad.split_at(at);
        send_pieces(&mut connection, [first.as_bytes(), second.as_bytes()].into_iter()).await;
        let (head, body) = connection.response().await.unwrap();
        assert_eq!((head.status(), &body[..]), (400, &b"two_framings"[..]), "at {at}");
        assert!(connection.response().await.is_none());
    }
    assert_eq!(rig.recorder.count(), 0);
}

#[tokio::test]
async fn what_was_asked_before_a_refused_head_is_answered_and_nothing_after_it() {
    let rig = Rig::start().await;
    for pieces in [usize::MAX, 7, 1] {
        let mut connection = Connection::open(rig.gate).await;
        let requests = [GET, LENGTH, CHUNKED, "GET /a#b HTTP/1.1\r\nHost: app.test\r\n\r\n", GET].concat();
        send_pieces(&mut connection, requests.as_bytes().chunks(pieces.min(requests.len()))).await;
        for status in [200, 200, 200] {
            assert_eq!(connection.response().await.unwrap().0.status(), status);
        }
        let (head, body) = connection.response().await.unwrap();
        assert_eq!((head.status(), &body[..], head.one("connection")), (400, &b"fragment"[..], "close"));
        assert!(connection.response().await.is_none());
    }
    assert_eq!(rig.recorder.count(), 9);
}

#[tokio::test]
async fn heads_that_the_library_would_repair_or_answer_by_itself_are_refused_with_a_code() {
    let rig = Rig::start().await;
    for (head, code) in [
        ("GET /x HTTP/1.1\nHost: app.test\r\n\r\n", "line_end"),
        ("GET /x HTTP/1.1\r\nHost: app.test\nX-A: b\r\n\r\n", "line_end"),
        ("GET /x HTTP/1.1\r\nHost: app.test\r\nX-A: a\rb\r\n\r\n", "header_value"),
        ("GET /x HTTP/1.1\r\nHost: app.test\r\nX-A: a\0b\r\n\r\n", "header_value"),
        ("GET /x HTTP/1.1\r\nHost: app.test\r\nX-A: a\r\n b\r\n\r\n", "header_line"),
        ("GET /x HTTP/1.1\r\nHost : app.test\r\n\r\n", "header_line"),
        ("GET /x HTTP/1.1\r\nHost: app.test\r\nno colon\r\n\r\n", "header_line"),
        ("GET /x HTTP/3.0\r\nHost: app.test\r\n\r\n", "version"),
        ("GET /a b HTTP/1.1\r\nHost: app.test\r\n\r\n", "request_line"),
        ("GET /a<b HTTP/1.1\r\nHost: app.test\r\n\r\n", "path_character"),
        ("GET /x\r\n", "request_line"),
        ("hello\r\n", "request_line"),
        ("\u{16}\u{3}\u{1}\u{0}\u{5}hello", "request_line"),
        ("\r\n\r\n\r\n\r\n\r\nGET /x HTTP/1.1\r\nHost: app.test\r\n\r\n", "request_line"),
    ] {
        rig.refuses(head, code).await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let rig = Rig::start().await;
    let mut connection = Connection::open(rig.gate).await;
    let head = "POST /x HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    connection.send(head.as_bytes()).await;
    assert_eq!(connection.head().await.unwrap().status(), 100);
    connection.send(format!("hello{GET}").as_bytes()).await;
    assert_eq!(connection.response().await.unwrap().0.status(), 200);
    assert_eq!(connection.response().await.unwrap().0.status(), 200);
    assert_eq!(rig.recorder.count(), 2);
}

#[tokio::test]
async fn b29_what_follows_an_upgrade_that_is_not_taken_is_a_request_and_looked_at() {
    // The upstream answers 200: nothing is switched.
    let rig = Rig::start().await;
    let mut connection = Connection::open(rig.gate).await;
    connection.send([UPGRADE, GET, "GET /a#b HTTP/1.1\r\nHost: app.test\r\n\r\n"].concat().as_bytes()).await;
    assert_eq!(connection.response().await.unwrap().0.status(), 200);
    assert_eq!(connection.response().await.unwrap().0.status(), 200);
    let (head, body) = connection.response().await.unwrap();
    assert_eq!((head.status(), &body[..]), (400, &b"fragment"[..]));
    assert_eq!(rig.recorder.count(), 2);
    let with_body = UPGRADE.replace("\r\n\r\n", "\r\nContent-Length: 30\r\n\r\n");
    rig.refuses(format!("{with_body}{GET}"), "unexpected_body").await;
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_still_sends() {
    let rig = Rig::start().await;
    let mut connection = Connection::open(rig.gate).await;
    let head = "POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9000000\r\nContent-Length: 9000000\r\n\r\n";
    connection.send(head.as_bytes()).await;
    connection.send(&vec![b'x'; 9_000_000]).await;
    let (head, body) = connection.response().await.unwrap();
    assert_eq!((head.status(), &body[..]), (400, &b"content_length"[..]));
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_answered_though_an_idle_connection_may_wait() {
    let server = ServerLimits { head: Duration::from_millis(20), ..ServerLimits::default() };
    let rig = Setup { server, ..Setup::default() }.start().await;
    let mut connection = Connection::open(rig.gate).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        connection.send(GET.as_bytes()).await;
        assert_eq!(connection.response().await.unwrap().0.status(), 200);
    }
    connection.send(b"GET /x HTTP/1.1\r\nHost").await;
    let (head, body) = connection.response().await.unwrap();
    assert_eq!((head.status(), &body[..]), (408, &b"head_timeout"[..]));
}
