//! Row B37: what a TLS listener does with hellos in pieces and files that are not there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use stepgate_core::time::{Clock, Timestamp};
use stepgate_gateway::canonical::TrustedHops;
use stepgate_gateway::server::{
    AuthoritySettings, Binding, CertificateFiles, Certificates, ClientCertificates, PastNextUpdate, Plaintext,
    RevocationLists, Server, ServerLimits, Vouches,
};
use stepgate_gateway::upstream::{HostHeader, Upstream, UpstreamConfig, UpstreamLimits, UpstreamOrigin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::rig::Rig;
use crate::rig::raw::Connection;

fn write_pair(directory: &Path, name: &str) -> (CertificateFiles, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let file = |end: &str| directory.join(format!("{name}.{end}"));
    let files = CertificateFiles { chain: file("chain"), key: file("key") };
    std::fs::write(&files.chain, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    (files, certificate.der().to_vec())
}

/// A client that believes these certificates and cuts its messages into records
/// of at most `record` bytes.
fn client(roots: &[Vec<u8>], record: Option<usize>) -> Arc<rustls::ClientConfig> {
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
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.max_fragment_size = record;
    Arc::new(config)
}

/// Passes a connection on to `gate`, each byte of the client's as a segment of its own.
async fn byte_by_byte(gate: std::net::SocketAddr) -> std::net::SocketAddr {
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (client, _) = socket.accept().await.unwrap();
        let (mut from, mut to) = client.into_split();
        let (mut back, mut on) = TcpStream::connect(gate).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut back, &mut to).await });
        on.as_ref().set_nodelay(true).unwrap();
        let mut byte = [0];
        while from.read_exact(&mut byte).await.is_ok() && on.write_all(&byte).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    address
}

#[tokio::test]
async fn b37_a_hello_in_pieces_gets_the_certificate_and_the_gate_that_a_whole_one_gets() {
    let directory = tempfile::tempdir().unwrap();
    let (first, first_shown) = write_pair(directory.path(), "first.test");
    let (second, second_shown) = write_pair(directory.path(), "second.test");
    let rig = Rig::start().await;
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let binding =
        Binding::tls(socket, Certificates::load(vec![first, second]).unwrap(), ClientCertificates::default()).unwrap();
    let server = Server::new(binding, TrustedHops::default(), ServerLimits::default(), Arc::clone(&rig.handler));
    let gate = server.local_address().unwrap();
    tokio::spawn(server.serve(CancellationToken::new()));

    let roots = [first_shown.clone(), second_shown.clone()];
    for (name, shown) in [("first.test", &first_shown), ("second.test", &second_shown)] {
        // Whole; in records of 32 bytes; in segments of one byte; both.
        for (record, address) in
            [(None, gate), (Some(32), gate), (None, byte_by_byte(gate).await), (Some(32), byte_by_byte(gate).await)]
        {
            let connector = tokio_rustls::TlsConnector::from(client(&roots, record));
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = connector.connect(name.try_into().unwrap(), stream).await.unwrap();
            assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0].as_ref(), shown, "{name} {record:?}");
            stream.write_all(b"GET /a#b HTTP/1.1\r\nHost: app.test\r\n\r\n").await.unwrap();
            let (head, body) = Connection { stream, buffer: Vec::new() }.response().await.unwrap();
            assert_eq!((head.status(), &body[..]), (400, &b"fragment"[..]), "{name} {record:?}");
        }
    }
}

/// Caddy, CVE-2026-27586: without the file of those who vouch, every certificate was good.
#[test]
fn b37_whoever_vouches_for_client_certificates_must_be_there_and_so_must_their_lists() {
    let directory = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(directory.path(), "ca.test");
    let nowhere = directory.path().join("nowhere");
    let (empty, garbage) = (directory.path().join("empty"), directory.path().join("garbage"));
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let der = directory.path().join("der");
    std::fs::write(&der, [0x30, 0x03, 1, 2, 3]).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(Noon);
    let load = |anchors: Vec<PathBuf>, lists| {
        let vouches = Vouches::Anchors { anchors, lists };
        let authority = AuthoritySettings { name: Arc::from("machines"), vouches };
        ClientCertificates::load(&[authority], Vec::new(), &clock)
    };
    assert!(load(vec![files.chain.clone()], RevocationLists::DangerNone).is_ok());
    assert!(load(Vec::new(), RevocationLists::DangerNone).is_err());
    for broken in [&nowhere, &empty, &garbage, &files.key] {
        // One good file does not make up for a broken one.
        for anchors in [vec![broken.clone()], vec![files.chain.clone(), broken.clone()]] {
            assert!(load(anchors, RevocationLists::DangerNone).is_err(), "{broken:?}");
        }
    }
    for lists in [Vec::new(), vec![nowhere], vec![empty], vec![garbage], vec![der], vec![files.chain.clone()]] {
        let told = format!("{lists:?}");
        let lists = RevocationLists::Files { files: lists, past_next_update: PastNextUpdate::DangerBelieve };
        assert!(load(vec![files.chain.clone()], lists).is_err(), "{told}");
    }
}

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(1_767_268_800_000)
    }
}

#[tokio::test]
async fn b37_files_that_are_missing_or_broken_open_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(directory.path(), "app.test");
    let nowhere = directory.path().join("nowhere");
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    assert!(Certificates::load(Vec::new()).is_err());
    for broken in [&nowhere, &empty] {
        assert!(Certificates::load(vec![CertificateFiles { chain: broken.clone(), ..files.clone() }]).is_err());
        assert!(Certificates::load(vec![CertificateFiles { key: broken.clone(), ..files.clone() }]).is_err());
        // One good pair does not make up for a broken one.
        let pairs = vec![files.clone(), CertificateFiles { key: broken.clone(), ..files.clone() }];
        assert!(Certificates::load(pairs).is_err());
        // The authority of an upstream is this one or none: not whom the system believes.
        let upstream = Upstream::new(UpstreamConfig {
            origin: UpstreamOrigin::parse("https://app.test", Plaintext::OnLoopback).unwrap(),
            certificate_authority: Some(broken.clone()),
            host_header: HostHeader::Original,
            limits: UpstreamLimits::default(),
        });
        assert!(upstream.is_err(), "{broken:?}");
    }
}
