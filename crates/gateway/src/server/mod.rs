//! The listener: connections in, canonical requests to a handler.

mod activity;
mod binding;
mod certificates;
mod client_certificates;
mod connection;
mod fuzz;
mod guard;
mod limits;
mod seldom;
mod stall;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use http::Response;
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use activity::Busy;
pub use binding::{Binding, BindingError, Plaintext};
pub use certificates::{CertificateError, CertificateFiles, Certificates, Reloaded};
pub use client_certificates::{
    AskingHost, AuthoritySettings, ClientCertificates, PastNextUpdate, PresentedCertificate, Protocols,
    RevocationLists, Vouches,
};
pub use fuzz::{FramingOutcome, fuzz_framing};
pub use limits::ServerLimits;

use crate::body::{Body, Metered};
use crate::canonical::{Ambiguous, CanonicalRequest, Listener, TrustedHops};

/// What a listener hands on: a request with one reading, or why there is none.
#[derive(Debug)]
pub struct Arrived {
    /// The head, read once.
    pub request: Result<Box<CanonicalRequest>, Ambiguous>,
    /// The body, not yet read.
    pub body: RequestBody,
    /// The other protocol that the connection may switch to.
    pub upgrade: Option<ClientUpgrade>,
}

/// The client's side of a switch to another protocol. It keeps the connection
/// from being taken for an idle one.
#[derive(Debug)]
pub struct ClientUpgrade {
    pub(crate) on_upgrade: OnUpgrade,
    pub(crate) busy: Busy,
}

/// The unread body of a request.
#[derive(Debug)]
pub struct RequestBody(hyper::body::Incoming);

impl RequestBody {
    /// The body as it passes through, without trailers.
    #[must_use]
    pub fn stream(self, limits: crate::body::StreamLimits) -> Body {
        Body::metered(Metered::new(self.0, limits))
    }

    /// How long it is, if that was said; more does not come.
    #[must_use]
    pub fn declared(&self) -> Option<u64> {
        hyper::body::Body::size_hint(&self.0).exact()
    }

    /// The whole body, for an operation that reads it.
    ///
    /// # Errors
    ///
    /// [`crate::body::ReadBodyError`].
    pub async fn whole(self, limits: crate::body::BodyLimits) -> Result<bytes::Bytes, crate::body::ReadBodyError> {
        crate::body::read_whole(self.0, limits).await
    }
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Dropped when the client goes away first, so what
    /// must not be interrupted runs in a task of its own.
    fn handle(&self, arrived: Arrived) -> impl Future<Output = Response<Body>> + Send;
}

/// A listener with its handler.
#[derive(Debug)]
pub struct Server<H> {
    handler: Arc<H>,
    binding: Binding,
    listener: Arc<Listener>,
    limits: ServerLimits,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every connection ended by itself.
    Completely,
    /// The drain deadline passed, and this many connections were cut off.
    CutOff(usize),
}

impl<H: Handler> Server<H> {
    /// Serves `binding` with `handler`; peers from `hops` are believed.
    #[must_use]
    pub fn new(binding: Binding, hops: TrustedHops, limits: ServerLimits, handler: Arc<H>) -> Self {
        let listener = Arc::new(Listener { scheme: binding.scheme(), hops });
        Self { handler, binding, listener, limits }
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// Of the operating system.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.binding.local_address()
    }

    /// Serves until `stop` is cancelled, then lets connections finish for the
    /// drain deadline and cuts off the rest.
    pub async fn serve(self, stop: CancellationToken) -> Drained {
        let (drain_deadline, accept_pause) = (self.limits.drain, self.limits.accept_pause);
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let seats = Arc::new(Semaphore::new(self.limits.connections));
        let context = Arc::new(connection::Context {
            handler: self.handler,
            listener: self.listener,
            limits: self.limits,
            tls: self.binding.handshakes(),
            client: self.binding.client_certificates(),
            stop: stop.clone(),
            cut: cut.clone(),
        });
        loop {
            // The seat is taken before the connection, so what is too much waits
            // in the kernel's queue and costs nothing.
            let accepted = async {
                let seat = Arc::clone(&seats).acquire_owned().await.ok()?;
                Some((seat, self.binding.accept().await))
            };
            let (seat, accepted) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accepted => match accepted {
                    Some(accepted) => accepted,
                    None => break,
                },
            };
            match accepted {
                Ok((stream, peer)) => {
                    let context = Arc::clone(&context);
                    connections.spawn(async move {
                        connection::serve(&context, prepare(stream), peer).await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    // Out of descriptors, for instance: accepting at once again
                    // would spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(accept_pause).await;
                }
            }
        }
        drain(connections, &cut, drain_deadline).await
    }
}

async fn drain(connections: TaskTracker, cut: &CancellationToken, deadline: std::time::Duration) -> Drained {
    connections.close();
    if tokio::time::timeout(deadline, connections.wait()).await.is_ok() {
        return Drained::Completely;
    }
    let left = connections.len();
    cut.cancel();
    connections.wait().await;
    Drained::CutOff(left)
}

fn prepare(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    stream
}
