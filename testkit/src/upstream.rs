//! What stands behind the gate in a test, and writes down what reaches it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::recording::{Reading, RecordedRequest, read_request, read_requests};

/// How long a test waits for a request that it knows will come.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What an upstream does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These bytes, then the connection is kept.
    Bytes(Vec<u8>),
    /// These bytes, then the connection is closed.
    BytesThenClose(Vec<u8>),
    /// Never an answer; the connection stays open until the other side closes it.
    Silence,
}

impl Answer {
    /// A whole answer with its length.
    ///
    /// `headers` are names and values; `Content-Length` is added.
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 {status} Answer\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        Self::Bytes(bytes)
    }

    /// `200` and a page of plain text.
    pub fn text(body: &str) -> Self {
        Self::new(200, &[("Content-Type", "text/plain; charset=utf-8")], body)
    }

    /// `200` and a page of HTML.
    pub fn page(body: &str) -> Self {
        Self::new(200, &[("Content-Type", "text/html; charset=utf-8")], body)
    }

    /// The WebSocket that a browser asks for, and its first message (RFC 6455, sections 4.2.2 and
    /// 5.2). Nothing that comes afterwards is understood.
    ///
    /// # Panics
    ///
    /// When no key is there, or the message has more than 125 bytes.
    pub fn web_socket(request: &RecordedRequest, first: &str) -> Self {
        let key = request.value("sec-websocket-key").expect("a key");
        let mut hashed = key.into_bytes();
        hashed.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &hashed));
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let length = u8::try_from(first.len()).ok().filter(|length| *length <= 125).expect("a short message");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&[0x81, length]);
        bytes.extend_from_slice(first.as_bytes());
        Self::Bytes(bytes)
    }

    /// The connection is closed without a word.
    pub fn hang_up() -> Self {
        Self::BytesThenClose(Vec::new())
    }
}

/// A server on a free port of loopback that records every request and answers as told.
///
/// A request is recorded before it is answered, so whoever has the answer finds
/// the request. What was no request is recorded too ([`Self::broken`]).
#[derive(Debug)]
pub struct RecordingUpstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<RecordedRequest>>,
    broken: Mutex<Vec<String>>,
    arrived: tokio::sync::Notify,
}

impl RecordingUpstream {
    /// Starts a server that answers each request with what `answer` says.
    pub async fn start<F>(answer: F) -> Self
    where
        F: Fn(&RecordedRequest) -> Answer + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let seen = Arc::new(Seen::default());
        let answer: Arc<dyn Fn(&RecordedRequest) -> Answer + Send + Sync> = Arc::new(answer);
        let server = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, Arc::clone(&seen), Arc::clone(&answer)));
                }
            }
        });
        Self { address, seen, server }
    }

    /// Starts a server that answers everything with `200` and `upstream`.
    pub async fn plain() -> Self {
        Self::start(|_| Answer::text("upstream")).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops listening and drops every connection: from now on nobody is there.
    pub async fn stop(&self) {
        self.server.abort();
        while !self.server.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// Every request until now, in the order of arrival.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the requests until now and forgets them.
    pub fn take_requests(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there are `count` requests, and gives them.
    pub async fn wait_for(&self, count: usize) -> Vec<RecordedRequest> {
        let enough = async {
            loop {
                let arrival = self.seen.arrived.notified();
                let requests = self.requests();
                if requests.len() >= count {
                    return requests;
                }
                arrival.await;
            }
        };
        match tokio::time::timeout(LONGEST_WAIT, enough).await {
            Ok(requests) => requests,
            Err(_) => panic!("{count} requests did not come, but these did: {:?}", self.requests()),
        }
    }

    /// What arrived that was no request, each with the reason.
    pub fn broken(&self) -> Vec<String> {
        self.seen.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RecordingUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>, answer: Arc<dyn Fn(&RecordedRequest) -> Answer + Send + Sync>) {
    let mut bytes = Vec::new();
    loop {
        match read_request(&bytes) {
            Reading::Whole(request) => {
                bytes.drain(..request.raw.len());
                let answer = answer(&request);
                seen.requests.lock().unwrap_or_else(PoisonError::into_inner).push(*request);
                seen.arrived.notify_waiters();
                let sent = match &answer {
                    Answer::Bytes(answer) | Answer::BytesThenClose(answer) => stream.write_all(answer).await,
                    Answer::Silence => Ok(()),
                };
                if sent.is_err() || matches!(answer, Answer::BytesThenClose(_)) {
                    return;
                }
            }
            Reading::Unfinished => {
                // Nothing more comes: what is left over was the beginning of a request.
                if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                    if !bytes.is_empty() {
                        note_broken(&seen, "the connection ended within a request", &bytes);
                    }
                    return;
                }
            }
            Reading::Broken(why) => return note_broken(&seen, why, &bytes),
        }
    }
}

fn note_broken(seen: &Seen, why: &str, bytes: &[u8]) {
    let note = format!("{why}: {}", bytes.escape_ascii());
    seen.broken.lock().unwrap_or_else(PoisonError::into_inner).push(note);
}

/// A hop between the gate and an application that nobody here wrote: passes every
/// byte on, both ways, and keeps what went to the application.
#[derive(Debug)]
pub struct RecordingHop {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
    server: JoinHandle<()>,
}

impl RecordingHop {
    /// Starts a hop on a free port of loopback that leads to `application`.
    pub async fn start(application: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let connections = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
        let server = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move {
                let mut tasks = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    tasks.spawn(pass_on(stream, application, Arc::clone(&connections)));
                }
            }
        });
        Self { address, connections, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every whole request until now, connection by connection.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.iter().flat_map(|bytes| read_requests(bytes)).collect()
    }
}

impl Drop for RecordingHop {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Bytes are kept before they are passed on, so the application never has more than the record.
async fn pass_on(client: TcpStream, application: SocketAddr, connections: Arc<Mutex<Vec<Vec<u8>>>>) {
    let Ok(server) = TcpStream::connect(application).await else {
        return;
    };
    let number = {
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push(Vec::new());
        connections.len() - 1
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            let bytes = &buffer[..length];
            connections.lock().unwrap_or_else(PoisonError::into_inner)[number].extend_from_slice(bytes);
            if to_server.write_all(bytes).await.is_err() {
                return;
            }
        }
        // The other side may be gone already, which is as good as told.
        let _ = to_server.shutdown().await;
    };
    let back = async {
        // An error here is one of the connection's ends, and both are about to close.
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(there, back);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_arrives_is_recorded_byte_for_byte() {
        let upstream = RecordingUpstream::start(|request| Answer::text(&request.target())).await;
        let hop = RecordingHop::start(upstream.address()).await;
        let mut stream = TcpStream::connect(hop.address()).await.unwrap();
        let sent = b"POST /a?b HTTP/1.1\r\nhOst: x\r\nContent-Length: 2\r\n\r\n\0\xff".as_slice();
        stream.write_all(sent).await.unwrap();
        let seen = upstream.wait_for(1).await;
        assert_eq!(seen[0].raw, sent);
        assert_eq!(seen[0].value("host").unwrap(), "x");
        assert_eq!(hop.requests(), seen);
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200");
    }

    #[tokio::test]
    async fn what_is_no_request_is_recorded_too() {
        let upstream = RecordingUpstream::plain().await;
        let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n").await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the connection is closed");
        assert!(upstream.broken()[0].starts_with("the content length is no number"));
        assert!(upstream.requests().is_empty());
    }
}
