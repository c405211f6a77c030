//! The way to the applications behind the gate.

mod connector;
mod origin;
mod outbound;
mod pool;
mod response;
mod tunnel;

use std::path::PathBuf;
use std::time::Duration;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri};

pub use connector::ConnectorError;
pub use origin::{OriginError, UpstreamOrigin};
pub use outbound::Outbound;
pub use tunnel::{Switched, TunnelEnd, TunnelLimits};

use crate::body::{Body, BodyError, StreamLimits};
use crate::server::Plaintext;
use outbound::Handshake;
use pool::{Pool, PoolError};

pub(crate) use pool::Lease;

/// The limits of the way to one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamLimits {
    /// The longest wait for a connection, TLS included.
    pub connect: Duration,
    /// The longest wait for the head of a response, from the last bytes of the request on.
    pub response_head: Duration,
    /// The longest wait for the next bytes of a response.
    pub response_stall: Duration,
    /// The most bytes of a response, or `None` for no limit.
    pub response_bytes: Option<u64>,
    /// How long an unused connection is kept. Shorter than upstreams keep them
    /// (Node.js: 5 s), so that none is closed under a request.
    pub keep_alive: Duration,
    /// The most unused connections that are kept.
    pub idle_connections: usize,
    /// The most headers of a response.
    pub response_headers: usize,
    /// The most bytes of a response's head.
    pub response_head_bytes: usize,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response_head: Duration::from_secs(60),
            response_stall: Duration::from_secs(300),
            response_bytes: None,
            keep_alive: Duration::from_secs(4),
            idle_connections: 256,
            response_headers: 200,
            response_head_bytes: 256 * 1024,
        }
    }
}

/// The Host header that the upstream gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// The host that the client asked for.
    Original,
    /// The upstream's own.
    Upstream,
}

/// How one upstream is reached.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// Where it is.
    pub origin: UpstreamOrigin,
    /// Whom it must be certified by. `None`: the platform's roots.
    pub certificate_authority: Option<PathBuf>,
    /// The Host header that it gets.
    pub host_header: HostHeader,
    /// Limits.
    pub limits: UpstreamLimits,
}

/// Why a request got no response.
///
/// What was asked for may have happened unless [`ForwardError::nothing_sent`].
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection: nothing was sent.
    #[error("the upstream could not be reached")]
    NotConnected(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke after something may have been sent.
    #[error("the connection to the upstream broke")]
    Broken(#[source] hyper::Error),
    /// The client did not send its body to the end, after something of it may have
    /// been sent. The status is what the client did wrong.
    #[error("the client broke off its request")]
    RequestBody(#[source] hyper::Error, StatusCode),
    /// No response in time, after something may have been sent.
    #[error("the upstream did not answer in time")]
    TimedOut,
    /// The response is not one to this request.
    #[error("the upstream's answer is not valid")]
    Response,
}

impl ForwardError {
    /// A connection that broke, and through whose fault.
    fn broken(error: hyper::Error) -> Self {
        let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        let status = causes.filter_map(|cause| cause.downcast_ref::<BodyError>()).find_map(|cause| match cause {
            BodyError::Broken(_) => Some(StatusCode::BAD_REQUEST),
            BodyError::Stalled => Some(StatusCode::REQUEST_TIMEOUT),
            BodyError::TooLarge => Some(StatusCode::PAYLOAD_TOO_LARGE),
            BodyError::Revoked | BodyError::Local(_) => None,
        });
        match status {
            Some(status) => Self::RequestBody(error, status),
            None => Self::Broken(error),
        }
    }

    /// Whether it is certain that the upstream got nothing of the request. Where
    /// it is not, the outcome is unknown, and the request must not be repeated.
    #[must_use]
    pub fn nothing_sent(&self) -> bool {
        match self {
            Self::NotConnected(_) => true,
            Self::Broken(_) | Self::RequestBody(..) | Self::TimedOut | Self::Response => false,
        }
    }

    /// The status for the client (RFC 9110, section 15.6).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::RequestBody(_, status) => *status,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

/// What an upstream answered.
#[derive(Debug)]
pub enum Answer {
    /// A response, its body still on the way.
    Response(Response<Body>),
    /// It switched to WebSocket.
    Switched(Switched),
}

/// One application behind the gate, with its connections.
#[derive(Debug)]
pub struct Upstream {
    pool: Pool,
    config: UpstreamConfig,
}

impl Upstream {
    /// Makes the way; connects when the first request needs it.
    ///
    /// # Errors
    ///
    /// [`ConnectorError`] where the roots cannot be loaded.
    pub fn new(config: UpstreamConfig) -> Result<Self, ConnectorError> {
        let connector = connector::connector(&config)?;
        let mut address = config.origin.parts();
        address.path_and_query = Some(PathAndQuery::from_static("/"));
        let address = Uri::from_parts(address).map_err(ConnectorError::Address)?;
        let pool = Pool::new(connector, address, &config.limits);
        Ok(Self { pool, config })
    }

    /// Where requests go.
    #[must_use]
    pub fn origin(&self) -> &UpstreamOrigin {
        &self.config.origin
    }

    /// Sends one request, once.
    ///
    /// # Errors
    ///
    /// [`ForwardError`].
    pub async fn send(&self, outbound: Outbound) -> Result<Answer, ForwardError> {
        let (mut request, handshake) = self.prepare(outbound);
        let progress = request.body_mut().progress();
        let mut sent = std::pin::pin!(self.pool.send(request));
        let limit = self.config.limits.response_head;
        let mut wait = limit;
        let answered = loop {
            match (tokio::time::timeout(wait, sent.as_mut()).await, &progress) {
                (Ok(answered), _) => break answered,
                // The request is on its way as long as bytes of it are taken.
                (Err(_), Some(progress)) if progress.still_for() < limit => {
                    wait = limit.saturating_sub(progress.still_for());
                }
                (Err(_), _) => return Err(ForwardError::TimedOut),
            }
        };
        let (response, lease) = answered.map_err(|error| match error {
            PoolError::NotSent(error) => ForwardError::NotConnected(error),
            PoolError::Broken(error) => ForwardError::broken(error),
        })?;
        match handshake {
            Some(handshake) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                tunnel::switched(response, &handshake).map(Answer::Switched)
            }
            _ if response.status().is_informational() => Err(ForwardError::Response),
            _ => Ok(Answer::Response(response::clean(
                response,
                lease,
                StreamLimits { bytes: self.config.limits.response_bytes, stall: self.config.limits.response_stall },
            ))),
        }
    }

    fn prepare(&self, outbound: Outbound) -> (Request<Body>, Option<Handshake>) {
        let mut request = Request::new(outbound.body);
        *request.method_mut() = outbound.method;
        // Path and query alone: what HTTP/1.1 sends to a server that is no proxy.
        *request.uri_mut() = Uri::from(outbound.target);
        *request.headers_mut() = outbound.headers;
        let headers = request.headers_mut();
        let host = match self.config.host_header {
            HostHeader::Original => outbound.host,
            HostHeader::Upstream => self.config.origin.host_header().clone(),
        };
        headers.insert(HOST, host);
        if outbound.handshake.is_some() {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        (request, outbound.handshake)
    }
}
