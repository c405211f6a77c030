//! A gate that forwards whatever has one reading, and an upstream that records
//! the bytes it gets.

pub mod raw;
pub mod recorder;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{HeaderValue, Response, StatusCode};
use stepgate_gateway::body::{Body, StreamLimits};
use stepgate_gateway::canonical::TrustedHops;
use stepgate_gateway::server::{Arrived, Binding, Drained, Handler, Plaintext, Server, ServerLimits};
use stepgate_gateway::upstream::{
    Answer, HostHeader, Outbound, TunnelLimits, Upstream, UpstreamConfig, UpstreamLimits, UpstreamOrigin,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use recorder::Recorder;

/// What the gate read, in a form to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub path: String,
    pub host: String,
    pub client: String,
}

/// Forwards everything that has one reading.
pub struct PassOn {
    pub upstream: Upstream,
    pub seen: Mutex<Vec<Seen>>,
    pub sessions: CancellationToken,
    pub tunnels: TunnelLimits,
    pub stream: StreamLimits,
    pub identity: bool,
}

impl Handler for PassOn {
    async fn handle(&self, arrived: Arrived) -> Response<Body> {
        let request = match arrived.request {
            Ok(request) => request,
            Err(ambiguous) => return say(ambiguous.status(), ambiguous.code()),
        };
        self.seen.lock().unwrap().push(Seen {
            method: request.method().to_string(),
            target: request.target().to_string(),
            path: request.path().as_str().to_owned(),
            host: request.host().to_string(),
            client: request.client().address().to_string(),
        });
        let body = arrived.body.stream(self.stream);
        let mut outbound = Outbound::new(request, body, [7; 16]);
        if self.identity {
            let name = http::HeaderName::from_static("stepgate-principal");
            outbound.set_own(name, HeaderValue::from_static("ada")).unwrap();
        }
        match (self.upstream.send(outbound).await, arrived.upgrade) {
            (Ok(Answer::Response(response)), _) => response,
            (Ok(Answer::Switched(switched)), Some(client)) => {
                let (response, tunnel) = switched.join(client, self.sessions.clone(), self.tunnels);
                tokio::spawn(tunnel);
                response
            }
            (Ok(Answer::Switched(_)), None) => say(StatusCode::INTERNAL_SERVER_ERROR, "no_upgrade"),
            (Err(error), _) if error.nothing_sent() => say(error.status(), "nothing_sent"),
            (Err(error), _) => say(error.status(), "outcome_unknown"),
        }
    }
}

pub fn say(status: StatusCode, code: &str) -> Response<Body> {
    let mut response = Response::new(Body::whole(code.to_owned()));
    *response.status_mut() = status;
    response
}

/// A running gate with its recording upstream.
pub struct Rig {
    pub gate: SocketAddr,
    pub recorder: Recorder,
    pub handler: Arc<PassOn>,
    pub stop: CancellationToken,
    pub serving: JoinHandle<Drained>,
}

/// What a test may change.
pub struct Setup {
    pub hops: TrustedHops,
    pub server: ServerLimits,
    pub upstream: UpstreamLimits,
    pub host_header: HostHeader,
    pub tunnels: TunnelLimits,
    pub stream: StreamLimits,
    pub identity: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            hops: TrustedHops::default(),
            server: ServerLimits::default(),
            upstream: UpstreamLimits::default(),
            host_header: HostHeader::Original,
            tunnels: TunnelLimits::default(),
            stream: StreamLimits { bytes: None, stall: std::time::Duration::from_secs(30) },
            identity: false,
        }
    }
}

impl Setup {
    pub async fn start(self) -> Rig {
        let recorder = Recorder::start().await;
        self.start_before(recorder).await
    }

    pub async fn start_before(self, recorder: Recorder) -> Rig {
        let origin = UpstreamOrigin::parse(&format!("http://{}", recorder.address), Plaintext::OnLoopback).unwrap();
        let upstream = Upstream::new(UpstreamConfig {
            origin,
            certificate_authority: None,
            host_header: self.host_header,
            limits: self.upstream.clone(),
        })
        .unwrap();
        self.start_with(upstream, recorder).await
    }

    pub async fn start_with(self, upstream: Upstream, recorder: Recorder) -> Rig {
        let handler = Arc::new(PassOn {
            upstream,
            seen: Mutex::default(),
            sessions: CancellationToken::new(),
            tunnels: self.tunnels,
            stream: self.stream,
            identity: self.identity,
        });
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let binding = Binding::plain(socket, Plaintext::OnLoopback).unwrap();
        let server = Server::new(binding, self.hops, self.server, Arc::clone(&handler));
        let gate = server.local_address().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone()));
        Rig { gate, recorder, handler, stop, serving }
    }
}

impl Rig {
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// Sends raw bytes on a connection of their own and gives the status and body
    /// of the first answer.
    pub async fn ask(&self, bytes: impl AsRef<[u8]>) -> (u16, String) {
        raw::ask(self.gate, bytes.as_ref()).await
    }

    /// Expects a refusal with this code, and that nothing reached the upstream.
    pub async fn refuses(&self, bytes: impl AsRef<[u8]>, code: &str) {
        let bytes = bytes.as_ref();
        let before = self.recorder.count();
        let (status, body) = self.ask(bytes).await;
        let shown = String::from_utf8_lossy(bytes).into_owned();
        assert_eq!((status, body.as_str()), (400, code), "{shown}");
        assert_eq!(self.recorder.count(), before, "{shown}");
    }

    /// Expects that the request goes through, and gives what arrived.
    pub async fn passes(&self, bytes: impl AsRef<[u8]>) -> recorder::Recorded {
        let bytes = bytes.as_ref();
        let before = self.recorder.count();
        let (status, body) = self.ask(bytes).await;
        assert_eq!(status, 200, "{body} {}", String::from_utf8_lossy(bytes));
        assert_eq!(self.recorder.count(), before + 1);
        self.recorder.last()
    }
}
