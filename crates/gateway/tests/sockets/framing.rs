//! Rows B29 to B35: where one message ends and the next begins.

use crate::rig::{Rig, raw};

fn post(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n{body}")
}

#[tokio::test]
async fn bodies_arrive_as_they_were_sent() {
    let rig = Rig::start().await;
    let recorded = rig.passes(post("Content-Length: 5\r\n", "hello")).await;
    assert_eq!((recorded.head.one("content-length"), &recorded.body[..]), ("5", &b"hello"[..]));
    let recorded = rig.passes(post("Transfer-Encoding: chunked\r\n", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")).await;
    assert_eq!((recorded.head.one("transfer-encoding"), &recorded.body[..]), ("chunked", &b"hello"[..]));
    let recorded = rig.passes(post("Content-Length: 0\r\n", "")).await;
    assert_eq!((recorded.head.one("content-length"), recorded.body.len()), ("0", 0));
    let recorded = rig.passes("DELETE /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(recorded.body, b"hi");
}

#[tokio::test]
async fn b29_upgrades_to_anything_but_websocket_are_refused_with_what_follows() {
    let rig = Rig::start().await;
    for upgrade in ["foo", "h2c", "websocket, h2c", "TLS/1.0"] {
        let mut connection = raw::Connection::open(rig.gate).await;
        let pipelined = format!(
            "GET /x HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n\
             GET /x/../admin HTTP/1.1\r\nHost: app.test\r\n\r\n"
        );
        connection.send(pipelined.as_bytes()).await;
        let (head, body) = connection.response().await.unwrap();
        assert_eq!((head.status(), &body[..]), (400, &b"upgrade"[..]));
        // The second is read as a request of its own, and refused as one.
        if let Some((head, body)) = connection.response().await {
            assert_eq!((head.status(), &body[..]), (400, &b"dot_segment"[..]));
        }
    }
    rig.refuses("GET /x HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\n\r\n", "upgrade").await;
    assert_eq!(rig.recorder.count(), 0);
}

#[tokio::test]
async fn b31_http_1_0_has_no_transfer_encoding() {
    let rig = Rig::start().await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    rig.refuses(format!("POST /x HTTP/1.0\r\nHost: app.test\r\n{chunked}\r\n0\r\n\r\n"), "transfer_encoding").await;
    let two = format!("{chunked}Transfer-Encoding: identity\r\n");
    rig.refuses(post(&two, "0\r\n\r\n"), "transfer_encoding").await;
    let recorded = rig.passes("POST /x HTTP/1.0\r\nHost: app.test\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(recorded.body, b"hi");
}

#[tokio::test]
async fn b32_a_length_beside_a_transfer_encoding_is_refused_and_nothing_after_it_is_served() {
    let rig = Rig::start().await;
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    for lines in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"]
    {
        let mut connection = raw::Connection::open(rig.gate).await;
        connection.send(post(lines, smuggled).as_bytes()).await;
        let (head, body) = connection.response().await.unwrap();
        assert_eq!((head.status(), &body[..]), (400, &b"two_framings"[..]));
        assert_eq!(head.one("connection"), "close");
        assert!(connection.response().await.is_none(), "{lines}");
    }
    assert_eq!(rig.recorder.count(), 0);
}

#[tokio::test]
async fn b33_other_transfer_encodings_are_refused() {
    let rig = Rig::start().await;
    rig.refuses(post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), "header_value").await;
    for encoding in [
        "xchunked",
        "chunked, identity",
        "identity",
        "chunked, xchunked",
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        ", chunked",
    ] {
        rig.refuses(post(&format!("Transfer-Encoding: {encoding}\r\n"), "0\r\n\r\n"), "transfer_encoding").await;
    }
    rig.refuses(post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "transfer_encoding")
        .await;
}

#[tokio::test]
async fn b33_broken_chunks_never_become_a_whole_request() {
    let rig = Rig::start().await;
    for chunks in [
        "5;x\nhello\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\na\r\n",
        "1\na\r\n0\r\n\r\n",
    ] {
        let before = rig.recorder.count();
        let (status, _) = rig.ask(post("Transfer-Encoding: chunked\r\n", chunks)).await;
        assert_ne!(status, 200, "{chunks:?}");
        if rig.recorder.count() > before {
            assert!(!rig.recorder.last().whole, "{chunks:?}");
        }
    }
}

#[tokio::test]
async fn lengths_are_one_plain_number() {
    let rig = Rig::start().await;
    for lines in [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        // RFC 9112, section 6.3, lets equal ones pass for one; a server before us
        // may take neither.
        "Content-Length: 1\r\nContent-Length: 1\r\n",
    ] {
        rig.refuses(post(lines, "a"), "content_length").await;
    }
}

#[tokio::test]
async fn get_and_head_have_no_body() {
    let rig = Rig::start().await;
    for method in ["GET", "HEAD"] {
        let head = format!("{method} /x HTTP/1.1\r\nHost: app.test\r\n");
        for rest in ["Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
            let mut connection = raw::Connection::open(rig.gate).await;
            connection.send(format!("{head}{rest}").as_bytes()).await;
            assert_eq!(connection.head().await.unwrap().status(), 400);
        }
    }
    assert_eq!(rig.recorder.count(), 0);
    let recorded = rig.passes("GET /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n").await;
    assert!(recorded.head.values("content-length").is_empty());
}

#[tokio::test]
async fn b34_trailers_are_not_forwarded() {
    let rig = Rig::start().await;
    let chunks = "2\r\nhi\r\n0\r\nX-Auth-User: root\r\nStepgate-Principal: root\r\nContent-Length: 9\r\n\r\n";
    let recorded = rig.passes(post("Transfer-Encoding: chunked\r\nTrailer: X-Auth-User\r\n", chunks)).await;
    assert_eq!(recorded.body, b"hi");
    assert!(recorded.trailers.is_empty());
    assert!(recorded.head.values("x-auth-user").is_empty());
    assert!(recorded.head.values("trailer").is_empty());
}

#[tokio::test]
async fn b35_pipelined_requests_are_read_one_by_one() {
    let rig = Rig::start().await;
    let mut connection = raw::Connection::open(rig.gate).await;
    let pipelined = "GET /1 HTTP/1.1\r\nHost: app.test\r\n\r\nGET //2 HTTP/1.1\r\nHost: app.test\r\n\r\n\
                     GET /3 HTTP/1.1\r\nHost: app.test\r\n\r\n";
    connection.send(pipelined.as_bytes()).await;
    for status in [200, 400, 200] {
        assert_eq!(connection.response().await.unwrap().0.status(), status);
    }
    assert_eq!(rig.recorder.count(), 2);
    assert_eq!(rig.recorder.last().target(), "/3");
}
