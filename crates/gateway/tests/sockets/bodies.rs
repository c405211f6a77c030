//! Bodies that are read whole, and bodies that pass through.

use std::time::Duration;

use http::HeaderMap;
use stepgate_gateway::body::{Body, BodyLimits, ReadBodyError, StreamLimits, read_whole, refuse_encoded};

use crate::rig::raw::Connection;
use crate::rig::recorder::Recorder;
use crate::rig::{Rig, Setup};

const LIMITS: BodyLimits = BodyLimits { bytes: 5, deadline: Duration::from_secs(30) };

#[tokio::test]
async fn a_body_is_read_up_to_its_limit() {
    assert_eq!(read_whole(Body::whole("hello"), LIMITS).await.unwrap(), "hello");
    assert!(matches!(read_whole(Body::whole("hello!"), LIMITS).await, Err(ReadBodyError::TooLarge)));
    let frames = futures_util::stream::iter(["he", "l", "lo"].map(Ok::<_, std::io::Error>));
    assert_eq!(read_whole(streamed(frames), LIMITS).await.unwrap(), "hello");
    let frames = futures_util::stream::iter(["hel", "lo!"].map(Ok::<_, std::io::Error>));
    assert!(matches!(read_whole(streamed(frames), LIMITS).await, Err(ReadBodyError::TooLarge)));
    let broken = futures_util::stream::iter([Ok("he"), Err(std::io::Error::other("cut"))]);
    assert!(matches!(read_whole(streamed(broken), LIMITS).await, Err(ReadBodyError::Broken(_))));
}

fn streamed<E>(stream: impl futures_util::Stream<Item = Result<&'static str, E>> + Send + Unpin + 'static) -> Body
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    use futures_util::StreamExt as _;
    let frames = stream.map(|part| part.map(|text| http_body::Frame::data(bytes::Bytes::from_static(text.as_bytes()))));
    Body::local(http_body_util::StreamBody::new(frames))
}

#[tokio::test]
async fn a_body_has_a_deadline() {
    let never = futures_util::stream::pending::<Result<&'static str, std::io::Error>>();
    let limits = BodyLimits { deadline: Duration::ZERO, ..LIMITS };
    assert!(matches!(read_whole(streamed(never), limits).await, Err(ReadBodyError::TimedOut)));
}

#[tokio::test]
async fn b34_trailers_after_a_body_that_is_read_are_refused() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-auth-user", "root".parse().unwrap());
    let frames =
        [Ok(http_body::Frame::data("hi".into())), Ok::<_, std::io::Error>(http_body::Frame::trailers(trailers))];
    let body = Body::local(http_body_util::StreamBody::new(futures_util::stream::iter(frames)));
    assert!(matches!(read_whole(body, LIMITS).await, Err(ReadBodyError::Trailers)));
}

#[test]
fn b44_encoded_bodies_are_refused() {
    let check = |encoding: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", encoding.parse().unwrap());
        refuse_encoded(&headers).is_ok()
    };
    assert!(check("identity"));
    assert!(!check("gzip") && !check("zstd") && !check("identity, gzip"));
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let body = "x".repeat(3_000_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let rig = Setup::default().start_before(Recorder::answering(answer).await).await;
    let head = format!("POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len());
    let (status, answered) = rig.ask(format!("{head}{body}")).await;
    assert_eq!((status, answered.len()), (200, body.len()));
    assert_eq!(rig.recorder.last().body.len(), body.len());
}

#[tokio::test]
async fn a_stream_that_grows_too_large_breaks_off() {
    let stream = StreamLimits { bytes: Some(10), stall: Duration::from_secs(30) };
    let rig = Setup { stream, ..Setup::default() }.start().await;
    let head = "POST /x HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (status, _) = rig.ask(format!("{head}b\r\n01234567890\r\n0\r\n\r\n")).await;
    assert_eq!(status, 413);
    assert!(rig.recorder.count() == 0 || !rig.recorder.last().whole);
}

#[tokio::test]
async fn a_truncated_body_never_arrives_whole() {
    let rig = Rig::start().await;
    let mut connection = Connection::open(rig.gate).await;
    connection.send(b"POST /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nhalf").await;
    tokio::io::AsyncWriteExt::shutdown(&mut connection.stream).await.unwrap();
    connection.rest().await;
    assert!(rig.recorder.count() == 0 || !rig.recorder.last().whole);
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_off() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf";
    let rig = Setup::default().start_before(Recorder::answering(cut).await).await;
    let mut connection = Connection::open(rig.gate).await;
    connection.send(b"GET /x HTTP/1.1\r\nHost: app.test\r\n\r\n").await;
    assert_eq!(connection.head().await.unwrap().one("content-length"), "10");
    assert_eq!(connection.rest().await, b"half");
}
