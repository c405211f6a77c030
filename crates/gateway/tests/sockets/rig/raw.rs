//! HTTP/1 by hand: a client that sends exactly the bytes it is given, and a
//! parser that shares nothing with the gate's.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long anything is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A head as lines, split at CR LF and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub first: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn one(&self, name: &str) -> &str {
        let values = self.values(name);
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values[0]
    }

    pub fn status(&self) -> u16 {
        self.first.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// A connection with what was read too far.
pub struct Connection<S> {
    pub stream: S,
    pub buffer: Vec<u8>,
}

impl Connection<TcpStream> {
    pub async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // The gate may already have answered and closed.
        let _ = self.stream.write_all(bytes).await;
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    async fn more(&mut self) -> bool {
        let mut chunk = [0; 8192];
        // So that what should have come or ended is a failure, and no test hangs.
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await;
        match read.expect("nothing came and nothing ended") {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                true
            }
        }
    }

    /// The next head, or `None` where the connection ends before one.
    pub async fn head(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            if !self.more().await {
                return None;
            }
        };
        let raw: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let text = raw.iter().map(|&b| b as char).collect::<String>();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().unwrap().to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Some(Head { first, headers })
    }

    pub async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// A chunked body and its trailers, or `None` where it is cut short.
    pub async fn chunked(&mut self) -> Option<(Vec<u8>, Vec<String>)> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size).await?);
            assert_eq!(self.exactly(2).await?, b"\r\n");
        }
        let mut trailers = Vec::new();
        loop {
            match self.line().await?.as_str() {
                "" => return Some((body, trailers)),
                line => trailers.push(line.to_owned()),
            }
        }
    }

    /// All that comes until the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// The next response with its body.
    pub async fn response(&mut self) -> Option<(Head, Vec<u8>)> {
        let head = self.head().await?;
        let body = if head.status() == 101 || head.status() == 204 || head.status() == 304 {
            Vec::new()
        } else if head.values("transfer-encoding") == ["chunked"] {
            self.chunked().await?.0
        } else if let [length] = head.values("content-length")[..] {
            self.exactly(length.parse().unwrap()).await?
        } else {
            self.rest().await
        };
        Some((head, body))
    }
}

/// One request on a connection of its own. The sending side stays open until the
/// answer is there. Status 0: the connection ended without an answer.
pub async fn ask(address: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut connection = Connection::open(address).await;
    connection.send(bytes).await;
    match connection.response().await {
        Some((head, body)) => (head.status(), String::from_utf8_lossy(&body).into_owned()),
        None => (0, String::new()),
    }
}
