//! What stays open is let go when the session that opened it ends.

use stepgate_testkit::{Answer, Person, RecordingUpstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Member, PASSWORD, Payments, World};

/// RFC 6455, section 1.3: its sample key, and the answer to it.
pub(crate) const HANDSHAKE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// The first event of a stream that never ends, as one chunk.
const FIRST_EVENT: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\nd\r\ndata: first\n\n\r\n";

pub(crate) async fn streaming() -> Payments {
    let upstream = RecordingUpstream::start(|request| match request.target().as_str() {
        "/socket" => Answer::Bytes(SWITCHED.into()),
        "/events" => Answer::Bytes(FIRST_EVENT.into()),
        _ => Answer::text("here"),
    });
    Payments(upstream.await)
}

/// A request with the member's session, whose answer goes on; `until` is in its beginning.
pub(crate) async fn open(world: &World, member: &Member, target: &str, more: &str, until: &str) -> TcpStream {
    let cookie = member.person.cookie("ledger.localhost", "stepgate").unwrap();
    let host = format!("ledger.localhost:{}", world.port);
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: stepgate={cookie}\r\n{more}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begun = Vec::new();
    while !String::from_utf8_lossy(&begun).contains(until) {
        let read = stream.read_buf(&mut begun).await.unwrap();
        assert!(read > 0, "it ended early: {}", begun.escape_ascii());
    }
    stream
}

async fn ends_with_its_session(target: &str, more: &str, until: &str) {
    let payments = streaming().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    let mut stream = open(&world, &ada, target, more, until).await;

    // From another of her browsers she ends all other sessions.
    let elsewhere = Member { person: Person::new(), login: ada.login.clone(), secret: String::new() };
    let asked = elsewhere.person.open(&world.at_gate("/sign-in")).await;
    let form = asked.form_with("password").fill("name", "ada").fill("password", PASSWORD);
    elsewhere.person.submit(&asked, &form).await;
    let account = elsewhere.person.open(&world.at_gate("/account")).await;
    let ended = elsewhere.person.submit(&account, &account.form_to("/account/sessions/end-others")).await;
    assert!(ended.status.is_success(), "{}", ended.told());

    let mut rest = Vec::new();
    // An abortive end is an end too.
    let _ = stream.read_to_end(&mut rest).await;
    let again = ada.person.open_once(&world.at_service("/payments")).await;
    assert!(again.status.is_redirection(), "{}", again.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_ends_with_the_session_that_opened_it() {
    ends_with_its_session("/socket", HANDSHAKE, "\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_ends_with_the_session_that_opened_it() {
    ends_with_its_session("/events", "Accept: text/event-stream\r\n", "data: first").await;
}
