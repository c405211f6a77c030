//! The application behind the gate: lives in the test's process, so it survives every
//! kill, writes down what reaches it, and is itself a place where the gate is killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use stepgate_core::time::Timestamp;
use stepgate_testkit::recording::{Reading, read_request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::boundary::Send;
use crate::life::Killer;
use crate::world_clock::Time;

/// Begins each answer of the application; no page of the gate does.
pub(crate) const MARK: &str = "approved by the application: ";

/// A request that reached the application, whole or in part.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The round in which it came.
    pub(crate) round: u32,
    /// When, by the deployment's clock.
    pub(crate) at: Timestamp,
    /// Who asks, as the gate tells it, if it came that far.
    pub(crate) person: Option<String>,
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
    round: u32,
    at: Option<(Send, u32)>,
    /// The node that dies, and how.
    victim: Option<(usize, Killer)>,
    has_sprung: bool,
}

/// The application.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    /// Where it listens: for each node there is an address, so that it is known who sends.
    pub(crate) addresses: Vec<SocketAddr>,
    time: Time,
    seen: Arc<Mutex<Seen>>,
    trap: Arc<Mutex<Trap>>,
}

/// What was read, and what is still to be read. One lock, so that nothing is in between.
#[derive(Debug, Default)]
struct Seen {
    arrivals: Vec<Arrival>,
    /// The connections, and how many requests of each are being answered.
    open: BTreeMap<u64, (std::net::TcpStream, bool)>,
    accepted: u64,
}

impl Application {
    /// Starts it on free ports, one for each node.
    pub(crate) async fn start(nodes: usize, time: Time) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..nodes {
            listeners.push(TcpListener::bind(("127.0.0.1", 0)).await.unwrap());
        }
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let application = Self { addresses, time, seen: Arc::default(), trap: Arc::default() };
        for (node, listener) in listeners.into_iter().enumerate() {
            let serving = application.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let stream = stream.into_std().unwrap();
                    let id = {
                        let mut seen = serving.seen.lock();
                        seen.accepted += 1;
                        let id = seen.accepted;
                        seen.open.insert(id, (stream.try_clone().unwrap(), false));
                        id
                    };
                    let serving = serving.clone();
                    tokio::spawn(async move {
                        serving.serve(node, id, TcpStream::from_std(stream).unwrap()).await;
                        serving.seen.lock().open.remove(&id);
                    });
                }
            });
        }
        application
    }

    /// A new round begins.
    pub(crate) fn begin_round(&self, round: u32) {
        *self.trap.lock() = Trap { round, ..Trap::default() };
    }

    /// The victim of this round dies here.
    pub(crate) fn set_trap(&self, at: (Send, u32), node: usize, killer: Killer) {
        let mut trap = self.trap.lock();
        trap.at = Some(at);
        trap.victim = Some((node, killer));
    }

    /// Whether this round's victim died here.
    pub(crate) fn has_sprung(&self) -> bool {
        self.trap.lock().has_sprung
    }

    /// What arrived since the last call. Nobody sends: who is dead had put on the way
    /// what it had, and who lives waits for nothing. All of that is read first.
    pub(crate) async fn take_arrivals(&self) -> Vec<Arrival> {
        for address in &self.addresses {
            // Connections are accepted in their order, so those of the dead gates are before this one.
            let mut last = TcpStream::connect(address).await.unwrap();
            last.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            last.read_exact(&mut [0]).await.unwrap();
        }
        loop {
            {
                let mut seen = self.seen.lock();
                let waits = |stream: &std::net::TcpStream| {
                    let more = stream.peek(&mut [0]);
                    matches!(more, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
                };
                if seen.open.values().all(|(stream, is_busy)| !is_busy && waits(stream)) {
                    let arrivals = std::mem::take(&mut seen.arrivals);
                    return arrivals.into_iter().filter(|arrival| is_noted(&arrival.path)).collect();
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Kills the victim if this is the place and the time.
    fn pass(&self, node: usize, send: Send) {
        let mut trap = self.trap.lock();
        let Trap { at, victim: Some((victim, killer)), has_sprung, .. } = &mut *trap else { return };
        let Some((_, times)) = at.as_mut().filter(|(at, _)| *at == send && *victim == node) else { return };
        *times = times.saturating_sub(1);
        if *times == 0 {
            // Held while it dies: what arrives now waits here, and counts to this round.
            *has_sprung = killer.kill();
            *at = None;
        }
    }

    async fn serve(&self, node: usize, id: u64, mut stream: TcpStream) {
        self.pass(node, Send::Connected);
        let mut bytes = Vec::new();
        let mut noted = None;
        loop {
            match read_request(&bytes) {
                Reading::Whole(request) => {
                    let rest = bytes.split_off(request.raw.len());
                    let at = self.note(&mut self.seen.lock(), noted.take(), &bytes, Some(request.body.clone()));
                    bytes = rest;
                    let counts = self.seen.lock().arrivals.get(at).is_some_and(|arrival| is_large(&arrival.path));
                    let content = format!("{MARK}{}", request.target());
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len());
                    if self.answer(node, &mut stream, &answer, counts).await.is_err() {
                        return;
                    }
                    if let Some((_, is_busy)) = self.seen.lock().open.get_mut(&id) {
                        *is_busy = false;
                    }
                }
                Reading::Unfinished => {
                    let Ok(()) = stream.readable().await else { return };
                    let at = {
                        let mut seen = self.seen.lock();
                        match stream.try_read_buf(&mut bytes) {
                            Ok(1..) => {}
                            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                            _ => return,
                        }
                        if let Some((_, is_busy)) = seen.open.get_mut(&id) {
                            *is_busy = true;
                        }
                        self.note(&mut seen, noted, &bytes, None)
                    };
                    let counts = self.seen.lock().arrivals.get(at).is_some_and(|seen| is_large(&seen.path));
                    if noted.is_none() && counts {
                        self.pass(node, Send::Begun);
                    }
                    noted = Some(at);
                    if let Reading::Unfinished = read_request(&bytes)
                        && let Some((_, is_busy)) = self.seen.lock().open.get_mut(&id)
                    {
                        // The rest may never come: its sender may be dead.
                        *is_busy = false;
                    }
                }
                Reading::Broken(why) => panic!("{why}: {}", bytes.escape_ascii()),
            }
        }
    }

    /// Answers in two pieces; each step of it may be the victim's last.
    async fn answer(&self, node: usize, stream: &mut TcpStream, answer: &str, counts: bool) -> std::io::Result<()> {
        let pass = |send| {
            if counts {
                self.pass(node, send);
            }
        };
        pass(Send::Arrived);
        let (first, second) = answer.as_bytes().split_at(20);
        stream.write_all(first).await?;
        pass(Send::HalfAnswered);
        stream.write_all(second).await?;
        pass(Send::Answered);
        Ok(())
    }

    /// Writes down what is known of a request, in place of what was known of it before.
    fn note(&self, seen: &mut Seen, at: Option<usize>, bytes: &[u8], body: Option<Vec<u8>>) -> usize {
        let text = String::from_utf8_lossy(bytes);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let header = |sought: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(sought).then(|| value.trim().to_owned())
            })
        };
        let (request, person) = (header("stepgate-request-id"), header("stepgate-principal"));
        let round = self.trap.lock().round;
        let arrival = Arrival { round, at: self.time.now(), person, path, request, body };
        let arrivals = &mut seen.arrivals;
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
/// Payments whose size is a matter of the policy of the moment.
pub(crate) const MEDIUM: &str = "/api/payments/medium-";
/// Reports, which ask for a fresh second factor.
pub(crate) const REPORTS: &str = "/reports/";

fn is_noted(path: &str) -> bool {
    is_approval(path) || path.starts_with(REPORTS)
}

fn is_approval(path: &str) -> bool {
    path.ends_with("/approve")
}

/// Whether it approves a payment that needs a confirmation.
pub(crate) fn is_large(path: &str) -> bool {
    is_approval(path) && !path.starts_with(SMALL) && !path.starts_with(MEDIUM)
}
