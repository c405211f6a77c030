//! HTTP/2: pseudo-headers, cookies in pieces, WebSockets by extended CONNECT.

use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::rig::{Rig, Setup};

type Sender = SendRequest<Full<bytes::Bytes>>;

async fn connect(rig: &Rig) -> Sender {
    let stream = TcpStream::connect(rig.gate).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

async fn code(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn ask(rig: &Rig, request: Request<Full<bytes::Bytes>>) -> (StatusCode, String) {
    code(connect(rig).await.send_request(request).await.unwrap()).await
}

#[tokio::test]
async fn requests_pass_and_cookies_are_joined() {
    let rig = Rig::start().await;
    let request = Request::post("http://app.test/x?y=1")
        .header("cookie", "a=1")
        .header("cookie", "stepgate=secret")
        .header("cookie", "b=2")
        .body(Full::from("hello"))
        .unwrap();
    assert_eq!(ask(&rig, request).await.0, 200);
    let recorded = rig.recorder.last();
    assert_eq!((recorded.method(), recorded.target()), ("POST", "/x?y=1"));
    assert_eq!(recorded.head.one("host"), "app.test");
    assert_eq!(recorded.head.one("cookie"), "a=1; b=2");
    assert_eq!(recorded.body, b"hello");
}

#[tokio::test]
async fn b11_b12_the_same_rules_hold() {
    let rig = Rig::start().await;
    for (uri, expected) in [
        ("http://app.test/a/../b", "dot_segment"),
        ("http://app.test/%2e%2e/b", "dot_segment"),
        ("http://app.test//a", "empty_segment"),
        ("http://app.test/a;b", "path_parameter"),
        ("http://app.test./a", "trailing_dot"),
        ("http://u:p@app.test/a", "user_info"),
        ("gopher://app.test/a", "scheme"),
    ] {
        let (status, body) = ask(&rig, get(uri).body(Full::default()).unwrap()).await;
        assert_eq!((status.as_u16(), body.as_str()), (400, expected), "{uri}");
    }
    let two = get("http://app.test/a").header("host", "other.test").body(Full::default()).unwrap();
    assert_eq!(ask(&rig, two).await.1, "host_mismatch");
    let with_body = get("http://app.test/a").body(Full::from("x")).unwrap();
    assert_eq!(ask(&rig, with_body).await.1, "unexpected_body");
    let twin = get("http://app.test/a").header("content_type", "x").body(Full::default()).unwrap();
    assert_eq!(ask(&rig, twin).await.1, "header_twin");
    assert_eq!(rig.recorder.count(), 0);
}

#[tokio::test]
async fn b34_trailers_of_answers_stay_here_too() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n\
                  2\r\nok\r\n0\r\nX-Late: 1\r\nSet-Cookie: stepgate=evil\r\n\r\n";
    let recorder = crate::rig::recorder::Recorder::answering(answer).await;
    let rig = Setup::default().start_before(recorder).await;
    let request = get("http://app.test/x").header("te", "trailers").body(Full::default()).unwrap();
    let response = connect(&rig).await.send_request(request).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert!(collected.trailers().is_none());
    assert_eq!(collected.to_bytes(), "ok");
}

#[tokio::test]
async fn b35_connect_is_refused() {
    let rig = Rig::start().await;
    let mut request = Request::new(Full::default());
    *request.method_mut() = http::Method::CONNECT;
    *request.uri_mut() = Uri::from_static("app.test:443");
    assert_eq!(ask(&rig, request).await, (StatusCode::BAD_REQUEST, "connect".to_owned()));
}

#[tokio::test]
async fn a_websocket_over_http2_is_bridged() {
    let rig = Setup::default().start_before(crate::websockets::echo().await).await;
    let stream = TcpStream::connect(rig.gate).await.unwrap();
    let (mut sender, connection) =
        handshake::<_, _, Empty<bytes::Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap();
    let mut answer = None;
    // The peer's settings, which allow extended CONNECT, may come after the first try.
    for _ in 0..1_000 {
        let request = Request::connect("http://app.test/ws")
            .extension(hyper::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(Empty::new())
            .unwrap();
        match sender.send_request(request).await {
            Ok(response) => {
                answer = Some(response);
                break;
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
    let mut response = answer.expect("extended CONNECT is enabled");
    assert_eq!(response.status(), 200);
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
    let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(TokioIo::new(upgraded), role, None).await;
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    socket.send(Message::text("over h2")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("over h2"));
    rig.handler.sessions.cancel();
    assert!(matches!(socket.next().await, None | Some(Err(_))));
}

#[tokio::test]
async fn other_protocols_by_extended_connect_are_refused() {
    let rig = Rig::start().await;
    let mut sender = connect(&rig).await;
    let mut refused = None;
    for _ in 0..1_000 {
        let request = Request::connect("http://app.test/x")
            .extension(hyper::ext::Protocol::from_static("connect-udp"))
            .body(Full::default())
            .unwrap();
        match sender.send_request(request).await {
            Ok(response) => {
                refused = Some(code(response).await);
                break;
            }
            Err(_) => tokio::task::yield_now().await,
        }
    }
    assert_eq!(refused, Some((StatusCode::BAD_REQUEST, "upgrade".to_owned())));
}

/// One frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The types of the frames that the gate sends until the connection ends.
async fn flood(rig: &Rig, frames: Vec<u8>) -> Vec<u8> {
    let mut connection = crate::rig::raw::Connection::open(rig.gate).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frames);
    connection.send(&bytes).await;
    let mut kinds = Vec::new();
    while let Some(head) = connection.exactly(9).await {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        connection.exactly(length).await;
        kinds.push(head[3]);
    }
    kinds
}

const GOAWAY: u8 = 7;
/// GET http://app.test/ by HPACK's static table (RFC 7541, appendix A).
const HEADERS: &[u8] = b"\x82\x86\x84\x41\x08app.test";

#[tokio::test]
async fn b87_a_flood_of_resets_ends_the_connection() {
    let rig = Rig::start().await;
    let mut frames = Vec::new();
    for number in 0..2_000 {
        let stream = number * 2 + 1;
        frames.extend(frame(1, 5, stream, HEADERS));
        frames.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    assert!(flood(&rig, frames).await.contains(&GOAWAY));
    assert!(rig.recorder.count() < 200, "{}", rig.recorder.count());
}

#[tokio::test]
async fn b87_a_flood_of_continuations_ends_the_connection() {
    let rig = Rig::start().await;
    let mut frames = frame(1, 1, 1, HEADERS);
    // A header `x: xxx…`, never indexed, again and again, without END_HEADERS.
    let mut field = vec![0x10, 1, b'x', 0x7f, 0x81, 0x07];
    field.extend([b'x'; 1024]);
    for _ in 0..2_000 {
        frames.extend(frame(9, 0, 1, &field));
    }
    assert!(flood(&rig, frames).await.contains(&GOAWAY));
    assert_eq!(rig.recorder.count(), 0);
}
