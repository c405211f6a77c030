//! The HTTP door: a reverse proxy whose forwarding is built from the permit.
//!
//! *Architecture invariant:* a request goes to an application only by
//! `forward::Inner::forward`, which takes the decision's `Permitted` by value;
//! and what is forwarded is the request that was decided on.

mod answers;
mod ask;
mod asker;
mod assertion;
mod forward;
mod operation;
mod own_paths;
mod pages;
mod problem;
mod resume;
mod script;
mod sign_in;
mod streams;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::Entry;
use http::{HeaderName, HeaderValue, Response};
use stepgate_core::access::AccessTokens;
use stepgate_core::catalogue::{ServiceName, Site};
use stepgate_core::flows::Flows;
use stepgate_core::id::RequestId;
use stepgate_core::web::{LocalService, Transport};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use assertion::{AssertionKey, AssertionMode, AssertionSigner, SignerError};
pub use operation::{NoOperation, endpoint as endpoint_of, near as near_of, operation as operation_of};
pub use script::InjectScript;

use crate::body::{Body, BodyLimits, StreamLimits};
use crate::canonical::CanonicalRequest;
use crate::server::{Arrived, Handler};
use crate::upstream::{TunnelLimits, Upstream};
use asker::Reader;
use operation::Payload;

/// Bears the request's id, in every answer and to every upstream.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("stepgate-request-id");

/// The limits of the door itself.
#[derive(Clone, Debug)]
pub struct DoorLimits {
    /// A body that is read for an operation's inputs.
    pub operation_body: BodyLimits,
    /// A body for the gate's own pages.
    pub page_body: BodyLimits,
    /// How long the body of a request that is held or confirmed may take. Its
    /// size is the challenge limits' `held_body`.
    pub held_body_deadline: Duration,
    /// Bodies that pass through.
    pub stream: StreamLimits,
    /// WebSockets.
    pub tunnel: TunnelLimits,
    /// The most WebSockets and event streams at once.
    pub tunnels: usize,
    /// How often it is looked whether the key still counts by which the token of an open stream was signed.
    pub token_look: Duration,
    /// The longest wait on `Prefer: wait`.
    pub wait: Duration,
    /// How long after its end a session is still known as somebody's.
    pub lapsed_within: Duration,
}

impl Default for DoorLimits {
    fn default() -> Self {
        Self {
            operation_body: BodyLimits { bytes: 1024 * 1024, deadline: Duration::from_secs(30) },
            page_body: BodyLimits { bytes: 256 * 1024, deadline: Duration::from_secs(30) },
            held_body_deadline: Duration::from_secs(120),
            stream: StreamLimits { bytes: None, stall: Duration::from_secs(60) },
            tunnel: TunnelLimits::default(),
            tunnels: 10_000,
            token_look: Duration::from_secs(60),
            wait: Duration::from_secs(120),
            lapsed_within: Duration::from_secs(12 * 3600),
        }
    }
}

/// How one service is reached, and what it is told.
#[derive(Debug)]
pub struct ServiceUpstream {
    /// The way there.
    pub upstream: Upstream,
    /// When it gets a signed assertion.
    pub assertion: AssertionMode,
    /// Whether its pages get the script.
    pub inject_script: InjectScript,
}

/// What the door is made of.
#[derive(Debug)]
pub struct HttpDoorParts {
    /// The decision and everything around it.
    pub flows: Arc<Flows>,
    /// Whether browsers reach us by TLS.
    pub transport: Transport,
    /// The pages that are served without a decision, at the gate's own origin.
    pub pages: Arc<dyn LocalService>,
    /// The pages that are decided like any service.
    pub account: Arc<dyn LocalService>,
    /// The ways to the services.
    pub upstreams: BTreeMap<ServiceName, Arc<ServiceUpstream>>,
    /// Signs `Stepgate-Assertion`.
    pub signer: AssertionSigner,
    /// Verifies the access tokens that services take.
    pub tokens: Arc<dyn AccessTokens>,
    /// Limits.
    pub limits: DoorLimits,
    /// Ends WebSockets and event streams when the process stops.
    pub stop: CancellationToken,
}

/// The HTTP door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpDoor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    flows: Arc<Flows>,
    transport: Transport,
    pages: Arc<dyn LocalService>,
    account: Arc<dyn LocalService>,
    upstreams: ArcSwap<BTreeMap<ServiceName, Arc<ServiceUpstream>>>,
    signer: ArcSwap<AssertionSigner>,
    tokens: Arc<dyn AccessTokens>,
    limits: DoorLimits,
    stop: CancellationToken,
    tunnels: Arc<Semaphore>,
    reloads: watch::Sender<u64>,
}

impl HttpDoor {
    /// Opens the door.
    #[must_use]
    pub fn new(parts: HttpDoorParts) -> Self {
        Self(Arc::new(Inner {
            flows: parts.flows,
            transport: parts.transport,
            pages: parts.pages,
            account: parts.account,
            upstreams: ArcSwap::from_pointee(parts.upstreams),
            signer: ArcSwap::from_pointee(parts.signer),
            tokens: parts.tokens,
            tunnels: Arc::new(Semaphore::new(parts.limits.tunnels)),
            limits: parts.limits,
            stop: parts.stop,
            reloads: watch::Sender::new(0),
        }))
    }

    /// Decides every open WebSocket and event stream again; to be called after
    /// the flows' `live` was replaced.
    pub fn reloaded(&self) {
        self.0.reloads.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Replaces the ways to the services, and decides open streams again.
    pub fn replace_upstreams(&self, upstreams: BTreeMap<ServiceName, Arc<ServiceUpstream>>) {
        self.0.upstreams.store(Arc::new(upstreams));
        self.reloaded();
    }

    /// Replaces the keys that sign assertions.
    pub fn replace_signer(&self, signer: AssertionSigner) {
        self.0.signer.store(Arc::new(signer));
    }
}

impl Handler for HttpDoor {
    async fn handle(&self, arrived: Arrived) -> Response<Body> {
        let id = RequestId::everyday(self.0.flows.random.as_ref());
        let mut response = self.0.route(arrived, id).await;
        // What was spent for a challenge bears the id that is in its entry.
        if let Ok(Entry::Vacant(entry)) = response.headers_mut().try_entry(REQUEST_ID)
            && let Ok(value) = HeaderValue::from_bytes(&id.digits())
        {
            entry.insert(value);
        }
        pages::finish(&mut response);
        response
    }
}

/// A request at one of our hosts.
struct Exchange {
    request: Box<CanonicalRequest>,
    payload: Payload,
    upgrade: Option<crate::server::ClientUpgrade>,
    id: RequestId,
    site: Arc<Site>,
    reader: Reader,
}

impl Inner {
    async fn route(self: &Arc<Self>, arrived: Arrived, id: RequestId) -> Response<Body> {
        let request = match arrived.request {
            Ok(request) => request,
            Err(ambiguous) => {
                self.flows.refused(ambiguous.code()).await;
                return answers::ambiguous(ambiguous);
            }
        };
        let host = request.host();
        let site = self.flows.live.load().catalogue.site(host.name(), host.port()).map(Arc::clone);
        let reader = Reader::of(request.headers());
        let Some(site) = site else {
            self.flows.refused("unknown_host").await;
            return answers::unknown_host(reader, &self.flows.live.load().catalogue.gate_origin);
        };
        let payload = Payload::Unread(arrived.body);
        let exchange = Exchange { request, payload, upgrade: arrived.upgrade, id, site, reader };
        // What is rare is boxed, so that the everyday request's future stays small.
        if self.is_own(&exchange) {
            return match Box::pin(self.own_path(exchange)).await {
                Ok(response) => response,
                Err(exchange) => Box::pin(self.decide(*exchange)).await,
            };
        }
        self.decide(exchange).await
    }
}
