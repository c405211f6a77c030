//! Connections to upstreams: what is certain when they fail, and TLS.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use stepgate_gateway::server::Plaintext;
use stepgate_gateway::upstream::{HostHeader, Upstream, UpstreamConfig, UpstreamLimits, UpstreamOrigin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::rig::raw::Connection;
use crate::rig::recorder::Recorder;
use crate::rig::{Rig, Setup};

const GET: &str = "GET /x HTTP/1.1\r\nHost: app.test\r\n\r\n";

#[tokio::test]
async fn where_nothing_was_sent_it_is_certain() {
    let nowhere = Recorder { address: ([127, 0, 0, 1], 1).into(), ..Recorder::start().await };
    let rig = Setup::default().start_before(nowhere).await;
    assert_eq!(rig.ask(GET).await, (502, "nothing_sent".to_owned()));
}

#[tokio::test]
async fn where_something_may_have_been_sent_it_is_not() {
    let rig = Setup::default().start_before(Recorder::answering("").await).await;
    assert_eq!(rig.ask(GET).await, (502, "outcome_unknown".to_owned()));
    assert_eq!(rig.recorder.count(), 1, "and it is not sent again");
    let rig = Setup::default().start_before(Recorder::answering("garbage\r\n\r\n").await).await;
    assert_eq!(rig.ask(GET).await, (502, "outcome_unknown".to_owned()));
    assert_eq!(rig.recorder.count(), 1);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_not_waited_for() {
    let upstream = UpstreamLimits { response_head: Duration::from_millis(50), ..UpstreamLimits::default() };
    // The head never ends.
    let recorder = Recorder::answering("HTTP/1.1 200 OK\r\n").await;
    let rig = Setup { upstream, ..Setup::default() }.start_before(recorder).await;
    assert_eq!(rig.ask(GET).await, (504, "outcome_unknown".to_owned()));
}

#[tokio::test]
async fn a_long_upload_is_no_late_answer() {
    let head = Duration::from_millis(300);
    let upstream = UpstreamLimits { response_head: head, ..UpstreamLimits::default() };
    let rig = Setup { upstream, ..Setup::default() }.start().await;
    let mut connection = Connection::open(rig.gate).await;
    connection.send(b"POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 12\r\n\r\n").await;
    for _ in 0..12 {
        tokio::time::sleep(head / 6).await;
        connection.send(b"x").await;
    }
    assert_eq!(connection.response().await.unwrap().0.status(), 200);
    assert_eq!(rig.recorder.last().body, b"xxxxxxxxxxxx");
}

#[tokio::test]
async fn who_breaks_off_a_request_is_told_that_they_did() {
    let rig = Rig::start().await;
    let chunked = "POST /x HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\nno length\r\n";
    assert_eq!(rig.ask(chunked).await, (400, "outcome_unknown".to_owned()));
}

#[tokio::test]
async fn a_connection_that_answered_head_serves_nobody_else() {
    let rig = Rig::start().await;
    let mut connection = Connection::open(rig.gate).await;
    for count in 1..=2 {
        connection.send(b"HEAD /x HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
        assert_eq!(connection.head().await.unwrap().status(), 200);
        assert_eq!(rig.recorder.connections(), count);
    }
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let rig = Rig::start().await;
    let mut connection = Connection::open(rig.gate).await;
    for _ in 0..3 {
        connection.send(GET.as_bytes()).await;
        assert_eq!(connection.response().await.unwrap().0.status(), 200);
    }
    assert_eq!(rig.recorder.count(), 3);
    assert_eq!(rig.recorder.connections(), 1);
}

#[tokio::test]
async fn what_an_upstream_says_unasked_answers_nobody() {
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let rig = Setup::default().start_before(Recorder::answering(two).await).await;
    for count in 1..=3 {
        assert_eq!(rig.ask(GET).await, (200, "one".to_owned()));
        assert_eq!(rig.recorder.count(), count);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_read_is_not_the_next_ones() {
    let unfinished = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst";
    let rig = Setup::default().start_before(Recorder::answering(unfinished).await).await;
    for count in 1..=3 {
        let mut connection = Connection::open(rig.gate).await;
        connection.send(GET.as_bytes()).await;
        assert_eq!(connection.head().await.unwrap().status(), 200);
        drop(connection);
        assert_eq!(rig.recorder.connections(), count);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_unused_fails_no_request() {
    // It closes without saying so: "close" stands in another header.
    let closing = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Note: Connection: close\r\n\r\nok";
    let rig = Setup::default().start_before(Recorder::answering(closing).await).await;
    for count in 1..=5 {
        assert_eq!(rig.ask(GET).await, (200, "ok".to_owned()));
        while rig.recorder.ended() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The gate's end hears of it a moment later.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(rig.recorder.count(), count, "and each was sent once");
    }
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed() {
    let upstream = UpstreamLimits { keep_alive: Duration::from_millis(40), ..UpstreamLimits::default() };
    let rig = Setup { upstream, ..Setup::default() }.start().await;
    assert_eq!(rig.ask(GET).await.0, 200);
    let closed = async {
        while rig.recorder.ended() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closed).await.unwrap();
    assert_eq!(rig.ask(GET).await.0, 200);
    assert_eq!(rig.recorder.connections(), 2);
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_no_answer() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let rig = Setup::default().start_before(Recorder::answering(switched).await).await;
    assert_eq!(rig.ask(GET).await.0, 502);
}

/// A TLS upstream with a certificate for `name`; gives its port and the certificate as PEM.
async fn tls_upstream(name: &str) -> (u16, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..read].starts_with(b"GET /x"));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntls").await.unwrap();
        }
    });
    (port, certificate.pem())
}

async fn over_tls(url: String, authority: Option<&str>) -> (u16, String) {
    let directory = tempfile::tempdir().unwrap();
    let certificate_authority = authority.map(|pem| {
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, pem).unwrap();
        path
    });
    let upstream = Upstream::new(UpstreamConfig {
        origin: UpstreamOrigin::parse(&url, Plaintext::OnLoopback).unwrap(),
        certificate_authority,
        host_header: HostHeader::Original,
        limits: UpstreamLimits::default(),
    })
    .unwrap();
    let rig = Setup::default().start_with(upstream, Recorder::start().await).await;
    rig.ask(GET).await
}

#[tokio::test]
async fn upstreams_are_verified() {
    let (port, pem) = tls_upstream("localhost").await;
    let there = format!("https://localhost:{port}");
    assert_eq!(over_tls(there.clone(), Some(&pem)).await, (200, "tls".to_owned()));
    assert_eq!(over_tls(there.clone(), None).await, (502, "nothing_sent".to_owned()), "not by the platform's roots");
    let (_, other) = tls_upstream("localhost").await;
    assert_eq!(over_tls(there, Some(&other)).await, (502, "nothing_sent".to_owned()), "not by another root");
    let (port, pem) = tls_upstream("other.test").await;
    let there = format!("https://localhost:{port}");
    assert_eq!(over_tls(there, Some(&pem)).await, (502, "nothing_sent".to_owned()), "not under another name");
}
