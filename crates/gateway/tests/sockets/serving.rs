//! The listener: TLS and its reload, limits, and the orderly end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use stepgate_gateway::canonical::TrustedHops;
use stepgate_gateway::server::{
    Binding, BindingError, CertificateFiles, Certificates, ClientCertificates, Drained, Plaintext, Reloaded, Server,
    ServerLimits,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::rig::raw::Connection;
use crate::rig::recorder::Recorder;
use crate::rig::{Rig, Setup};

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: app.test\r\n\r\n";

#[tokio::test]
async fn plain_text_is_for_loopback() {
    let socket = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    assert!(matches!(Binding::plain(socket, Plaintext::OnLoopback), Err(BindingError::NotLoopback(_))));
    let socket = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    assert!(Binding::plain(socket, Plaintext::DangerEverywhere).is_ok());
}

fn write_pair(directory: &Path, name: &str) -> (CertificateFiles, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let files = CertificateFiles { chain: directory.join("chain.pem"), key: directory.join("key.pem") };
    std::fs::write(&files.chain, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    (files, certificate.der().to_vec())
}

/// The certificate that the gate shows, and what it negotiated.
async fn shown(gate: std::net::SocketAddr, roots: &[Vec<u8>]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root.clone().into()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(gate).await.unwrap();
    let stream = connector.connect("app.test".try_into().unwrap(), stream).await.unwrap();
    let (_, session) = stream.get_ref();
    (session.peer_certificates().unwrap()[0].to_vec(), session.alpn_protocol().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn certificates_are_reloaded_and_broken_ones_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (files, first) = write_pair(directory.path(), "app.test");
    let certificates = Certificates::load(vec![files.clone()]).unwrap();
    let rig = Setup::default().start().await;
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let binding = Binding::tls(socket, Arc::clone(&certificates), ClientCertificates::default()).unwrap();
    let server = Server::new(binding, TrustedHops::default(), ServerLimits::default(), Arc::clone(&rig.handler));
    let gate = server.local_address().unwrap();
    tokio::spawn(server.serve(CancellationToken::new()));

    let known = [first.clone()];
    assert_eq!(shown(gate, &known).await, (first.clone(), Some(b"h2".to_vec())));
    assert_eq!(certificates.reload().unwrap(), Reloaded::Unchanged);

    std::fs::write(&files.key, "broken").unwrap();
    assert!(certificates.reload().is_err());
    assert_eq!(certificates.reload().unwrap(), Reloaded::Unchanged, "it is reported once");
    assert_eq!(shown(gate, &known).await.0, first, "the old certificate stays in use");

    let other = KeyPair::generate().unwrap();
    std::fs::write(&files.key, other.serialize_pem()).unwrap();
    assert!(certificates.reload().is_err(), "a key of another certificate");
    assert_eq!(shown(gate, &known).await.0, first);

    let (_, second) = write_pair(directory.path(), "app.test");
    assert_eq!(certificates.reload().unwrap(), Reloaded::Changed);
    assert_eq!(shown(gate, std::slice::from_ref(&second)).await.0, second);

    std::fs::remove_file(&files.chain).unwrap();
    assert!(certificates.reload().is_err());
    assert_eq!(shown(gate, std::slice::from_ref(&second)).await.0, second);
}

#[tokio::test]
async fn a_missing_or_large_certificate_file_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(directory.path(), "app.test");
    assert!(Certificates::load(Vec::new()).is_err());
    let missing = CertificateFiles { chain: directory.path().join("none.pem"), ..files.clone() };
    assert!(Certificates::load(vec![missing]).is_err());
    std::fs::write(&files.chain, vec![b'x'; 2 * 1024 * 1024]).unwrap();
    assert!(Certificates::load(vec![files]).is_err());
}

#[tokio::test]
async fn at_the_end_requests_on_their_way_are_answered() {
    let rig = Rig::start().await;
    let mut busy = Connection::open(rig.gate).await;
    busy.send(b"POST /x HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    assert_eq!(busy.head().await.unwrap().status(), 100);
    let mut idle = Connection::open(rig.gate).await;
    idle.send(GET).await;
    assert_eq!(idle.response().await.unwrap().0.status(), 200);
    rig.stop.cancel();
    assert_eq!(idle.rest().await, b"", "idle connections end at once");
    busy.send(b"hi").await;
    assert_eq!(busy.response().await.unwrap().0.status(), 200);
    assert_eq!(rig.serving.await.unwrap(), Drained::Completely);
    assert!(TcpStream::connect(rig.gate).await.is_err());
}

#[tokio::test]
async fn what_does_not_end_is_cut_off() {
    let server = ServerLimits { drain: Duration::from_millis(20), ..ServerLimits::default() };
    let never = Recorder::answering("HTTP/1.1 200 OK\r\n").await;
    let rig = Setup { server, ..Setup::default() }.start_before(never).await;
    let mut stuck = Connection::open(rig.gate).await;
    stuck.send(GET).await;
    while rig.recorder.count() == 0 {
        tokio::task::yield_now().await;
    }
    rig.stop.cancel();
    assert_eq!(rig.serving.await.unwrap(), Drained::CutOff(1));
    assert_eq!(stuck.rest().await, b"");
}

#[tokio::test]
async fn silent_and_slow_connections_are_closed() {
    let short = Duration::from_millis(20);
    let server = ServerLimits { idle: short, ..ServerLimits::default() };
    let rig = Setup { server, ..Setup::default() }.start().await;
    let mut silent = Connection::open(rig.gate).await;
    assert_eq!(silent.rest().await, b"");
    let server = ServerLimits { head: short, ..ServerLimits::default() };
    let rig = Setup { server, ..Setup::default() }.start().await;
    let mut slow = Connection::open(rig.gate).await;
    slow.send(b"GET /x HTTP/1.1\r\nHost: app.test\r\n").await;
    let (head, body) = slow.response().await.unwrap();
    assert_eq!((head.status(), &body[..]), (408, &b"head_timeout"[..]));
    assert_eq!(slow.rest().await, b"");
    assert_eq!(rig.recorder.count(), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = ServerLimits { connections: 1, ..ServerLimits::default() };
    let rig = Setup { server, ..Setup::default() }.start().await;
    let mut first = Connection::open(rig.gate).await;
    first.send(GET).await;
    first.response().await.unwrap();
    let mut second = Connection::open(rig.gate).await;
    second.send(GET).await;
    assert_eq!(rig.recorder.count(), 1);
    drop(first);
    assert_eq!(second.response().await.unwrap().0.status(), 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let server = ServerLimits { write_stall: Duration::from_millis(20), ..ServerLimits::default() };
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n{}", "x".repeat(50_000_000));
    let rig = Setup { server, ..Setup::default() }.start_before(Recorder::answering(large).await).await;
    let mut lazy = Connection::open(rig.gate).await;
    lazy.send(GET).await;
    while rig.recorder.count() == 0 {
        tokio::task::yield_now().await;
    }
    // The connection ends by itself, so nothing is left to be cut off.
    rig.stop.cancel();
    assert_eq!(rig.serving.await.unwrap(), Drained::Completely);
    assert!(lazy.rest().await.len() < 50_000_000);
}

#[tokio::test]
async fn b38_a_handshake_that_never_ends_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(directory.path(), "app.test");
    let rig = Rig::start().await;
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let binding =
        Binding::tls(socket, Certificates::load(vec![files]).unwrap(), ClientCertificates::default()).unwrap();
    let limits = ServerLimits { handshake: Duration::from_millis(20), ..ServerLimits::default() };
    let server = Server::new(binding, TrustedHops::default(), limits, Arc::clone(&rig.handler));
    let gate = server.local_address().unwrap();
    tokio::spawn(server.serve(CancellationToken::new()));
    let mut silent = Connection::open(gate).await;
    assert_eq!(silent.rest().await, b"");
    let mut half = Connection::open(gate).await;
    half.send(&[22, 3, 1, 2]).await;
    half.rest().await;
    let mut plain = Connection::open(gate).await;
    plain.send(GET).await;
    assert!(!plain.rest().await.starts_with(b"HTTP"), "plain text is not served beside TLS");
}
