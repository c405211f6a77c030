//! The machines' listener: the same guarded listener as the door's, and behind it the services for
//! other systems.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use parking_lot::Mutex;
use stepgate_core::flows::{Flows, Provisioning, Signals};
use stepgate_core::id::RequestId;
use stepgate_core::machine::MachineName;
use stepgate_gateway::body::{Body, BodyLimits, refuse_encoded};
use stepgate_gateway::canonical::TrustedHops;
use stepgate_gateway::server::{Arrived, Binding, Certificates, ClientCertificates, Handler, Server, ServerLimits};
use stepgate_machines::{Machines, MachinesParts, Transmitter};
use stepgate_store::Database;
use tokio::net::TcpListener;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::error::StartError;
use super::parts::{certificates_of, plaintext};
use crate::config::MachinesSettings;

/// Connections at once: few systems speak here.
const CONNECTIONS_MAX: usize = 1_000;
/// How long a body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// What all bodies together may take, KiB: 16 of the largest.
const BODIES_KIB: usize = 32 * 1024;
/// What those of one caller may: no system keeps the others out.
const BODIES_OF_ONE_KIB: usize = BODIES_KIB / 4;
/// How long a request waits for room among them.
const ROOM_WAIT: Duration = Duration::from_secs(5);
const REQUEST_ID: HeaderName = HeaderName::from_static("stepgate-request-id");

/// Answers other systems.
#[derive(Debug)]
pub(super) struct MachinesDoor {
    flows: Arc<Flows>,
    machines: Machines,
    room: Room,
}

/// Room for bodies, in KiB.
#[derive(Debug)]
struct Room {
    all: Arc<Semaphore>,
    /// The shares of those whose bodies are kept or wait. Nobody stands for all whom everybody may be.
    shares: Mutex<HashMap<Option<MachineName>, Weak<Semaphore>>>,
}

/// Room that was taken: a caller's share of it first.
#[derive(Debug)]
struct Taken {
    _share: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Room {
    fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(BODIES_KIB)), shares: Mutex::default() }
    }

    /// Room for a body of so many bytes, when there is some.
    async fn take(&self, caller: Option<&MachineName>, bytes: usize) -> Result<Taken, AcquireError> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let share = self.share(caller).acquire_many_owned(kib).await?;
        let all = Arc::clone(&self.all).acquire_many_owned(kib).await?;
        Ok(Taken { _share: share, _all: all })
    }

    fn share(&self, caller: Option<&MachineName>) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        let caller = caller.cloned();
        if let Some(share) = shares.get(&caller).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(BODIES_OF_ONE_KIB));
        shares.insert(caller, Arc::downgrade(&share));
        share
    }
}

/// The listener, its socket bound.
pub(super) fn server(
    listener: TcpListener,
    settings: &MachinesSettings,
    flows: &Arc<Flows>,
    database: &Arc<Database>,
    signals: Option<&Signals>,
    transmitter: Option<Transmitter>,
) -> Result<(Server<MachinesDoor>, Option<Arc<Certificates>>), StartError> {
    let certificates = certificates_of(&settings.tls)?;
    let binding = match &certificates {
        Some(certificates) => Binding::tls(listener, Arc::clone(certificates), ClientCertificates::default())?,
        None => Binding::plain(listener, plaintext(settings.danger_plaintext))?,
    };
    let links = settings.scim.as_ref().and_then(|scim| scim.links.clone());
    let provisioning = Provisioning { flows: Arc::clone(flows), accounts: Arc::clone(database) as _, links };
    let parts = MachinesParts {
        provisioning,
        origin: settings.origin.clone(),
        scim: settings.scim.is_some(),
        signals: signals.cloned(),
        transmitter,
    };
    let door = MachinesDoor { flows: Arc::clone(flows), machines: Machines::new(parts), room: Room::new() };
    let limits = ServerLimits { connections: CONNECTIONS_MAX, ..ServerLimits::default() };
    let hops = TrustedHops::new(Vec::new(), Vec::new());
    Ok((Server::new(binding, hops, limits, Arc::new(door)), certificates))
}

impl Handler for MachinesDoor {
    async fn handle(&self, arrived: Arrived) -> Response<Body> {
        let mut response = self.answer(arrived).await.unwrap_or_else(|status| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            if status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
            }
            response
        });
        let id = RequestId::random(self.flows.random.as_ref());
        if let Ok(value) = HeaderValue::try_from(id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
}

impl MachinesDoor {
    /// Hears who calls by the head, and only then reads the body, whole.
    async fn answer(&self, arrived: Arrived) -> Result<Response<Body>, StatusCode> {
        let canonical = match arrived.request {
            Ok(canonical) => canonical,
            Err(ambiguous) => {
                self.flows.refused(ambiguous.code()).await;
                return Err(ambiguous.status());
            }
        };
        let mut head = Request::new(());
        *head.method_mut() = canonical.method().clone();
        *head.uri_mut() = canonical.target().clone().into();
        *head.headers_mut() = canonical.headers().clone();
        let ((head, ()), headers) = (head.into_parts(), canonical.headers());
        let heard = match self.machines.hear(head).await {
            Ok(heard) => heard,
            Err(refused) => return Ok(refused.map(Body::local)),
        };
        // What nobody says the length of may be the longest.
        let declared = arrived.body.declared().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let bytes = declared.unwrap_or(usize::MAX).min(heard.body_max());
        let limits = BodyLimits { bytes, deadline: BODY_DEADLINE };
        // Held until the answer is there: what was read is kept that long.
        let _room = self.room(heard.caller(), bytes).await?;
        let body = match refuse_encoded(headers) {
            Ok(()) => arrived.body.whole(limits).await,
            Err(error) => Err(error),
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                self.flows.refused(error.code()).await;
                return Err(error.status());
            }
        };
        Ok(heard.call(body).await.map(Body::local))
    }

    /// Room for a body of so many bytes.
    async fn room(&self, caller: Option<&MachineName>, bytes: usize) -> Result<Taken, StatusCode> {
        match tokio::time::timeout(ROOM_WAIT, self.room.take(caller, bytes)).await {
            Ok(Ok(taken)) => Ok(taken),
            _ => {
                self.flows.refused("machine_bodies_full").await;
                Err(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}
