//! Strict receivers of syslog.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use serde_json::Value;
use stepgate_monitor::{Sink, Syslog, SyslogTransport};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::house::{GATE, House, Received};
use crate::http::Fault;

/// The id in a message, once it is one (RFC 5424, section 6).
fn id(message: &str) -> String {
    static FORM: LazyLock<regex::Regex> = LazyLock::new(|| {
        let form = r#"^<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) \[meta sequenceId="(\d+)"\] (.*)$"#;
        regex::Regex::new(form).unwrap()
    });
    let found = FORM.captures(message).unwrap_or_else(|| panic!("no message: {message}"));
    let priority: u32 = found[1].parse().unwrap();
    assert!(priority <= 191 && priority / 8 == 10, "authpriv");
    assert_eq!((&found[3], &found[4]), (GATE, "stepgate"));
    assert!((1..=2_147_483_647).contains(&found[7].parse::<u64>().unwrap()));
    let value: Value = serde_json::from_str(&found[8]).unwrap();
    assert_eq!(value["kind"], found[6]);
    value["id"].as_str().unwrap().to_owned()
}

/// The whole frames at the beginning (RFC 6587, section 3.4.1).
fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
        let len: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().expect("a length");
        let Some(message) = bytes.get(space + 1..space + 1 + len) else { break };
        all.push(String::from_utf8(message.to_vec()).unwrap());
        bytes = &bytes[space + 1 + len..];
    }
    all
}

pub(crate) struct Receiver {
    pub(crate) received: Arc<Received>,
    pub(crate) faults: Arc<Mutex<VecDeque<Fault>>>,
    pub(crate) address: SocketAddr,
    own: Option<(rcgen::CertifiedKey<rcgen::KeyPair>, tempfile::TempDir)>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub(crate) async fn start(is_tls: bool, faults: impl IntoIterator<Item = Fault>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Received::default());
        let faults = Arc::new(Mutex::new(faults.into_iter().collect::<VecDeque<_>>()));
        let own = is_tls.then(|| (certificate(), tempfile::tempdir().unwrap()));
        let acceptor = own.as_ref().map(|(own, _)| acceptor(own));
        let task = tokio::spawn({
            let (received, faults) = (Arc::clone(&received), Arc::clone(&faults));
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let fault = faults.lock().pop_front();
                    if fault == Some(Fault::LostAcknowledgement) {
                        // When it is dropped, a reset goes out instead of an end.
                        stream.set_zero_linger().unwrap();
                    }
                    let (acceptor, received) = (acceptor.clone(), Arc::clone(&received));
                    connections.spawn(async move {
                        match acceptor {
                            None => read(stream, fault, &received).await,
                            Some(acceptor) => {
                                if let Ok(stream) = acceptor.accept(stream).await {
                                    read(stream, fault, &received).await;
                                }
                            }
                        }
                    });
                }
            }
        });
        Self { received, faults, address, own, task }
    }

    pub(crate) fn sink(&self, _: &House) -> Box<dyn Sink> {
        let transport = match &self.own {
            None => SyslogTransport::Tcp,
            Some((own, folder)) => {
                let file = folder.path().join("ca.pem");
                std::fs::write(&file, own.cert.pem()).unwrap();
                SyslogTransport::tls("localhost", Some(&file)).unwrap()
            }
        };
        Box::new(Syslog::new(self.address.to_string(), transport, GATE.to_owned()))
    }
}

/// A certificate for this machine, and its key.
fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn acceptor(own: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, fault: Option<Fault>, received: &Received) {
    let mut bytes = Vec::new();
    match fault {
        Some(Fault::Half) => {
            let mut some = vec![0; 2_000];
            let read = stream.read_exact(&mut some).await.unwrap_or_default();
            some.truncate(read);
            bytes = some;
        }
        Some(Fault::Silence) => {
            let _ = stream.read_to_end(&mut bytes).await;
            // It has read everything, and does not say so.
            std::mem::forget(stream);
            return;
        }
        Some(Fault::Broken | Fault::TooMany) => return,
        _ => {
            if stream.read_to_end(&mut bytes).await.is_err() {
                return;
            }
        }
    }
    for message in frames(&bytes) {
        received.take(&id(&message));
    }
    match fault {
        None => stream.shutdown().await.unwrap_or_default(),
        Some(Fault::Garbage) => {
            let _ = stream.write_all(b"\xff\x00what?").await;
            let _ = stream.shutdown().await;
        }
        Some(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_are_one_message_each() {
    let house = House::new().await;
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    house.happens("one", 20).await;
    let sink = Syslog::new(address.to_string(), SyslogTransport::Udp, GATE.to_owned());
    let running = house.run(house.parts("udp", Box::new(sink)));
    let mut got = Vec::new();
    let mut buffer = vec![0; 65_536];
    let ids = house.ids().await;
    while got.len() < ids.len() {
        let len = tokio::time::timeout(crate::house::AT_MOST, socket.recv(&mut buffer)).await.unwrap().unwrap();
        got.push(id(std::str::from_utf8(&buffer[..len]).unwrap()));
    }
    assert_eq!(got, ids);
    running.stop().await;
}

/// Whoever stands between cannot make the gate believe that its evidence arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_with_another_certificate_gets_nothing() {
    let house = House::new().await;
    house.happens("one", 3).await;
    let receiver = Receiver::start(true, []).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.pem");
    std::fs::write(&file, certificate().cert.pem()).unwrap();
    let transport = SyslogTransport::tls("localhost", Some(&file)).unwrap();
    let sink = Syslog::new(receiver.address.to_string(), transport, GATE.to_owned());
    let running = house.run(house.parts("siem", Box::new(sink)));
    let waits = async {
        loop {
            if let Some((_, why)) = house.state("siem").await.and_then(|state| state.waits) {
                return why;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let why = tokio::time::timeout(crate::house::AT_MOST, waits).await.unwrap();
    assert!(why.contains("certificate"), "{why}");
    assert_eq!(receiver.received.ids(), Vec::<String>::new());
    running.stop().await;
}

/// Its end came before ours: what it says of a batch that it never read is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_ends_before_it_reads_has_taken_nothing() {
    let house = House::new().await;
    for is_tls in [false, true] {
        let receiver = Receiver::start(is_tls, [Fault::Broken; 20]).await;
        let mut sink = receiver.sink(&house);
        for _ in 0..20 {
            let document = stepgate_monitor::Document {
                index: 1,
                id: "a".to_owned(),
                at_ms: 0,
                kind: "fault".to_owned(),
                severity: stepgate_monitor::fact::Severity::High,
                body: stepgate_monitor::Body::Line("x".repeat(3_000)),
            };
            let batch = vec![document; 10];
            assert!(sink.deliver(&batch).await.is_err(), "TLS: {is_tls}");
        }
    }
}
