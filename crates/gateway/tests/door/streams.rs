//! What stays open ends with the session.

use std::sync::Arc;
use std::time::Duration;

use stepgate_core::policy::{Policies, PolicySource};
use stepgate_core::session::Audience;
use stepgate_core::surroundings::Environment;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::raw::Connection;
use crate::recorder::Recorder;
use crate::rig::{Door, Person_};

pub const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n";
/// RFC 6455, section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An upstream that switches to WebSocket and then echoes bytes.
pub async fn echo() -> Recorder {
    echo_behind(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))).await
}

/// The same, which answers each handshake when there is a permit for it.
pub async fn echo_behind(gate: Arc<Semaphore>) -> Recorder {
    let recorder = Recorder::start().await;
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let mut connection = Connection { stream, buffer: Vec::new() };
                let head = connection.head().await.unwrap();
                assert_eq!(head.one("upgrade"), "websocket");
                gate.acquire().await.unwrap().forget();
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
                );
                connection.stream.write_all(answer.as_bytes()).await.unwrap();
                let (mut read, mut write) = connection.stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    Recorder { address, ..recorder }
}

async fn open_websocket(door: &Door, person: &Person_) -> Connection<tokio::net::TcpStream> {
    let mut connection = Connection::open(door.address).await;
    connection.send(handshake(door, person, &door.ledger_origin).as_bytes()).await;
    let head = connection.head().await.unwrap();
    assert_eq!((head.status(), head.one("sec-websocket-accept")), (101, ACCEPT));
    connection.send(b"hello").await;
    assert_eq!(connection.exactly(5).await.unwrap(), b"hello");
    connection
}

fn handshake(door: &Door, person: &Person_, origin: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\nOrigin: {origin}\r\n\r\n",
        door.ledger,
        person.cookie()
    )
}

#[tokio::test]
async fn b36_a_websocket_is_decided_and_ends_with_its_session() {
    let door = Door::before(echo().await).await;
    let ada = door.sign_in("ada");
    let mut connection = open_websocket(&door, &ada).await;
    door.store.change(|state| state.ended.push(ada.session));
    assert_eq!(connection.rest().await, b"", "it ends");
    let mut connection = Connection::open(door.address).await;
    connection.send(handshake(&door, &ada, &door.ledger_origin).as_bytes()).await;
    assert_eq!(connection.head().await.unwrap().status(), 401, "and cannot be opened again");
}

#[tokio::test]
async fn a_websocket_of_another_origin_is_refused() {
    let door = Door::before(echo().await).await;
    let ada = door.sign_in("ada");
    for origin in ["https://evil.test", "null", &door.gate_origin] {
        let mut connection = Connection::open(door.address).await;
        connection.send(handshake(&door, &ada, origin).as_bytes()).await;
        assert_eq!(connection.head().await.unwrap().status(), 403, "{origin}");
    }
}

#[tokio::test]
async fn open_streams_are_decided_again_when_policies_change() {
    let door = Door::before(echo().await).await;
    let ada = door.sign_in("ada");
    let mut connection = open_websocket(&door, &ada).await;
    let live = door.flows.live.load_full();
    let text = "@id(\"nothing\") @reason(\"No.\") forbid (principal, action, resource);".to_owned();
    let policies = Policies::load(&live.catalogue, &[PolicySource { name: "new.cedar".into(), text }]).unwrap();
    let catalogue = stepgate_core::catalogue::Catalogue::new(
        live.catalogue.gate_origin.clone(),
        live.catalogue.gate_host.clone(),
        live.catalogue.services.values().cloned().collect(),
    )
    .unwrap();
    door.flows.live.store(Arc::new(stepgate_core::flows::Live {
        catalogue,
        policies,
        environment: Environment::default(),
        challenges: live.challenges,
        tries: live.tries,
        sessions: live.sessions,
        codes: live.codes,
        providers: std::sync::Arc::clone(&live.providers),
    }));
    door.door.reloaded();
    assert_eq!(connection.rest().await, b"");
}

#[tokio::test]
async fn an_event_stream_arrives_unbuffered_and_ends_with_its_session() {
    let door = Door::before(Recorder::answering(EVENTS).await).await;
    let ada = door.sign_in("ada");
    let mut connection = Connection::open(door.address).await;
    connection.send(format!("GET /events HTTP/1.1\r\nHost: {}\r\n{}\r\n", door.ledger, ada.cookie()).as_bytes()).await;
    assert_eq!(connection.head().await.unwrap().status(), 200);
    assert_eq!(connection.line().await.unwrap(), "8");
    assert_eq!(connection.exactly(10).await.unwrap(), b"data: 1\n\r\n");
    door.store.change(|state| state.ended.push(ada.session));
    assert_eq!(connection.rest().await, b"", "it breaks off, without a last chunk");
}

#[tokio::test]
async fn a_long_answer_of_our_own_pages_ends_with_its_session() {
    let door = Door::open().await;
    let ada = door.sign_in_at("ada", Audience::Gate);
    let mut connection = Connection::open(door.address).await;
    let head = format!("GET /account/endless HTTP/1.1\r\nHost: {}\r\n{}\r\n", door.gate, ada.cookie());
    connection.send(head.as_bytes()).await;
    assert_eq!(connection.head().await.unwrap().status(), 200);
    assert_eq!(connection.line().await.unwrap(), "5");
    assert_eq!(connection.exactly(7).await.unwrap(), b"begun\r\n");
    door.store.change(|state| state.ended.push(ada.session));
    assert_eq!(connection.rest().await, b"", "it breaks off, without a last chunk");
}

#[tokio::test]
async fn a_stream_ends_when_the_absolute_lifetime_is_over() {
    let door = Door::before(echo().await).await;
    let ada = door.sign_in("ada");
    let mut connection = open_websocket(&door, &ada).await;
    door.clock.advance(Duration::from_secs(25 * 3600));
    door.door.reloaded();
    let mut rest = Vec::new();
    let _ = connection.stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
