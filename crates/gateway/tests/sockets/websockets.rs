//! Rows B29, B30 and B36: WebSockets over HTTP/1.1.

use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use stepgate_gateway::upstream::TunnelLimits;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::rig::raw::Connection;
use crate::rig::recorder::Recorder;
use crate::rig::{Rig, Setup};

/// A WebSocket server that sends back what it gets.
pub async fn echo() -> Recorder {
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() || socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Recorder { address, ..Recorder::start().await }
}

async fn client(rig: &Rig) -> tokio_tungstenite::WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(rig.gate).await.unwrap();
    tokio_tungstenite::client_async("ws://app.test/ws", stream).await.unwrap().0
}

#[tokio::test]
async fn a_websocket_passes_through() {
    let rig = Setup::default().start_before(echo().await).await;
    let mut socket = client(&rig).await;
    for text in ["hello".to_owned(), "x".repeat(1_000_000)] {
        socket.send(Message::text(text.clone())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
}

#[tokio::test]
async fn b36_a_websocket_ends_when_its_session_does() {
    let rig = Setup::default().start_before(echo().await).await;
    let mut socket = client(&rig).await;
    socket.send(Message::text("hello")).await.unwrap();
    socket.next().await.unwrap().unwrap();
    rig.handler.sessions.cancel();
    assert!(matches!(socket.next().await, None | Some(Err(_))));
}

#[tokio::test]
async fn a_silent_websocket_ends() {
    let tunnels = TunnelLimits { idle: Duration::from_millis(20), ..TunnelLimits::default() };
    let rig = Setup { tunnels, ..Setup::default() }.start_before(echo().await).await;
    let mut socket = client(&rig).await;
    assert!(matches!(socket.next().await, None | Some(Err(_))));
}

#[tokio::test]
async fn b30_bytes_before_the_switch_never_reach_the_upstream() {
    // The upstream answers 200: it does not switch.
    let rig = Rig::start().await;
    let mut connection = Connection::open(rig.gate).await;
    let early = "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
                 GET /../smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    connection.send(early.as_bytes()).await;
    assert_eq!(connection.response().await.unwrap().0.status(), 200);
    // The pooled connection is clean: the next request is answered as itself.
    let recorded = rig.passes("GET /next HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(recorded.target(), "/next");
    assert_eq!(rig.recorder.count(), 2);
}

#[tokio::test]
async fn an_upstream_that_pretends_to_switch_is_refused() {
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    let rig = Setup::default().start_before(Recorder::answering(wrong).await).await;
    let request = "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(rig.ask(request).await.0, 502);
}

#[tokio::test]
async fn malformed_handshakes_are_refused() {
    let rig = Rig::start().await;
    let ask = |method: &str, lines: &str| {
        format!("{method} /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{lines}\r\n")
    };
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for lines in [
        "Sec-WebSocket-Version: 13\r\n",
        key,
        &format!("Sec-WebSocket-Version: 8\r\n{key}"),
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
    ] {
        rig.refuses(ask("GET", lines), "websocket_handshake").await;
    }
    rig.refuses(ask("POST", &format!("Sec-WebSocket-Version: 13\r\n{key}")), "websocket_handshake").await;
}
