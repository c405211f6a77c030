//! The application behind the gate: lives in the test's process, so it survives every
//! kill, writes down what reaches it, and is itself a place where the gate is killed.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use stepgate_testkit::recording::{Reading, read_request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::boundary::Send;
use crate::life::Killer;

/// Begins each answer of the application; no page of the gate does.
pub(crate) const MARK: &str = "approved by the application: ";

/// A request that reached the application, whole or in part.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The life of the gate that sent it.
    pub(crate) life: u32,
    /// Its path.
    pub(crate) path: String,
    /// `Stepgate-Request-Id`, if it came that far.
    pub(crate) request: Option<String>,
    /// The body, if all of it came.
    pub(crate) body: Option<Vec<u8>>,
}

/// Where a life ends, seen from here.
#[derive(Debug, Default)]
struct Trap {
    life: u32,
    at: Option<(Send, u32)>,
    killer: Option<Killer>,
    has_sprung: bool,
}

/// The application.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    trap: Arc<Mutex<Trap>>,
    connections: Arc<watch::Sender<usize>>,
}

impl Application {
    /// Starts it on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(watch::Sender::new(0));
        let application = Self { address, arrivals: Arc::default(), trap: Arc::default(), connections };
        let serving = application.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.send_modify(|open| *open += 1);
                let serving = serving.clone();
                tokio::spawn(async move {
                    serving.serve(stream).await;
                    serving.connections.send_modify(|open| *open -= 1);
                });
            }
        });
        application
    }

    /// A new life of the gate begins; it may end here.
    pub(crate) fn set_trap(&self, life: u32, at: Option<(Send, u32)>, killer: Killer) {
        *self.trap.lock() = Trap { life, at, killer: Some(killer), has_sprung: false };
    }

    /// Whether this life was ended here.
    pub(crate) fn has_sprung(&self) -> bool {
        self.trap.lock().has_sprung
    }

    /// What arrived since the last call. The gate is dead: all that it had put on the
    /// way is read first.
    pub(crate) async fn take_arrivals(&self) -> Vec<Arrival> {
        // Connections are accepted in their order, so those of the dead gate are before this one.
        let mut last = TcpStream::connect(self.address).await.unwrap();
        last.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        last.read_exact(&mut [0]).await.unwrap();
        drop(last);
        self.connections.subscribe().wait_for(|open| *open == 0).await.unwrap();
        let arrivals = std::mem::take(&mut *self.arrivals.lock());
        arrivals.into_iter().filter(|arrival| is_approval(&arrival.path)).collect()
    }

    /// Kills the gate if this is the place and the time.
    fn pass(&self, send: Send) {
        let mut trap = self.trap.lock();
        let Some((at, times)) = &mut trap.at else { return };
        if *at != send {
            return;
        }
        *times = times.saturating_sub(1);
        if *times == 0 {
            trap.at = None;
            // Held while it dies: what arrives now waits here, and counts to this life.
            trap.has_sprung = trap.killer.as_ref().is_some_and(Killer::kill);
        }
    }

    async fn serve(&self, mut stream: TcpStream) {
        let life = self.trap.lock().life;
        self.pass(Send::Connected);
        let mut bytes = Vec::new();
        let mut noted = None;
        loop {
            match read_request(&bytes) {
                Reading::Whole(request) => {
                    let rest = bytes.split_off(request.raw.len());
                    let at = self.note(life, noted.take(), &bytes, Some(request.body.clone()));
                    bytes = rest;
                    let counts = self.arrivals.lock().get(at).is_some_and(|arrival| is_large(&arrival.path));
                    if counts {
                        self.pass(Send::Arrived);
                    }
                    let content = format!("{MARK}{}", request.target());
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len());
                    let (first, second) = answer.as_bytes().split_at(20);
                    if stream.write_all(first).await.is_err() {
                        return;
                    }
                    if counts {
                        self.pass(Send::HalfAnswered);
                    }
                    if stream.write_all(second).await.is_err() {
                        return;
                    }
                    if counts {
                        self.pass(Send::Answered);
                    }
                }
                Reading::Unfinished => {
                    if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                        return;
                    }
                    let at = self.note(life, noted, &bytes, None);
                    if noted.is_none() && self.arrivals.lock().get(at).is_some_and(|seen| is_large(&seen.path)) {
                        self.pass(Send::Begun);
                    }
                    noted = Some(at);
                }
                Reading::Broken(why) => panic!("{why}: {}", bytes.escape_ascii()),
            }
        }
    }

    /// Writes down what is known of a request, in place of what was known of it before.
    fn note(&self, life: u32, at: Option<usize>, bytes: &[u8], body: Option<Vec<u8>>) -> usize {
        let text = String::from_utf8_lossy(bytes);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let request = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("stepgate-request-id").then(|| value.trim().to_owned())
        });
        let arrival = Arrival { life, path, request, body };
        let mut arrivals = self.arrivals.lock();
        match at.and_then(|at| arrivals.get_mut(at)) {
            Some(known) => {
                *known = arrival;
                at.unwrap_or_default()
            }
            None => {
                arrivals.push(arrival);
                arrivals.len() - 1
            }
        }
    }
}

/// Small payments have paths of their own, so that they are known by half a request.
pub(crate) const SMALL: &str = "/api/payments/small-";

fn is_approval(path: &str) -> bool {
    path.ends_with("/approve")
}

/// Whether it approves a payment that needs a confirmation.
pub(crate) fn is_large(path: &str) -> bool {
    is_approval(path) && !path.starts_with(SMALL)
}
