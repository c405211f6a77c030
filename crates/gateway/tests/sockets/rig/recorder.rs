//! An upstream that records every byte, and answers as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::raw::{Connection, Head};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<String>,
    /// Whether all of the body came.
    pub whole: bool,
}

impl Recorded {
    pub fn method(&self) -> &str {
        self.head.first.split(' ').next().unwrap()
    }

    pub fn target(&self) -> &str {
        self.head.first.split(' ').nth(1).unwrap()
    }
}

#[derive(Clone)]
pub struct Recorder {
    pub address: SocketAddr,
    pub recorded: Arc<Mutex<Vec<Recorded>>>,
    /// Connections that were opened, and those of them that ended.
    pub connections: Arc<AtomicUsize>,
    pub ended: Arc<AtomicUsize>,
}

const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Recorder {
    /// Answers every request with 200.
    pub async fn start() -> Self {
        Self::answering(PLAIN).await
    }

    /// Answers every request with these bytes, and closes where they are empty.
    pub async fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let recorder = Self {
            address: socket.local_addr().unwrap(),
            recorded: Arc::default(),
            connections: Arc::default(),
            ended: Arc::default(),
        };
        let own = recorder.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                own.connections.fetch_add(1, Ordering::SeqCst);
                let (recorded, ended, answer) = (Arc::clone(&own.recorded), Arc::clone(&own.ended), answer.clone());
                tokio::spawn(async move {
                    serve(stream, recorded, answer).await;
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        recorder
    }

    pub fn count(&self) -> usize {
        self.recorded.lock().unwrap().len()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    pub fn last(&self) -> Recorded {
        self.recorded.lock().unwrap().last().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, recorded: Arc<Mutex<Vec<Recorded>>>, answer: String) {
    let mut connection = Connection { stream, buffer: Vec::new() };
    while let Some(head) = connection.head().await {
        let length = head.values("content-length");
        let encoding = head.values("transfer-encoding");
        assert!(length.len() + encoding.len() <= 1, "{head:?}");
        let body = match (length.first(), encoding.first()) {
            (Some(length), _) => connection.exactly(length.parse().unwrap()).await.map(|body| (body, Vec::new())),
            (_, Some(encoding)) => {
                assert_eq!(*encoding, "chunked");
                connection.chunked().await
            }
            _ => Some((Vec::new(), Vec::new())),
        };
        let whole = body.is_some();
        let (body, trailers) = body.unwrap_or_default();
        recorded.lock().unwrap().push(Recorded { head, body, trailers, whole });
        if !whole || answer.is_empty() {
            return;
        }
        if connection.stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if answer.contains("Connection: close") {
            return;
        }
    }
    // Something that is not a request arrived, and must not be overlooked.
    if !connection.buffer.is_empty() {
        let head = Head { first: format!("LEFTOVER {}", connection.buffer.len()), headers: Vec::new() };
        let body = connection.buffer;
        recorded.lock().unwrap().push(Recorded { head, body, trailers: Vec::new(), whole: false });
    }
}
