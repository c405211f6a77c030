//! The machines' listener: the same guarded listener as the door's, and behind it the services for
//! other systems.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use stepgate_core::flows::{Flows, Provisioning, Signals};
use stepgate_core::id::RequestId;
use stepgate_core::web::LocalService as _;
use stepgate_gateway::body::{Body, BodyLimits, refuse_encoded};
use stepgate_gateway::canonical::TrustedHops;
use stepgate_gateway::server::{Arrived, Binding, Certificates, Handler, Server, ServerLimits};
use stepgate_machines::{Machines, MachinesParts, SCIM_BODY_MAX, Transmitter};
use stepgate_store::Database;
use tokio::net::TcpListener;

use super::error::StartError;
use super::parts::{certificates_of, plaintext};
use crate::config::MachinesSettings;

/// Connections at once: few systems speak here.
const CONNECTIONS_MAX: usize = 1_000;
/// How long a body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("stepgate-request-id");

/// Answers other systems.
#[derive(Debug)]
pub(super) struct MachinesDoor {
    flows: Arc<Flows>,
    machines: Machines,
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
        Some(certificates) => Binding::tls(listener, Arc::clone(certificates))?,
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
    let door = MachinesDoor { flows: Arc::clone(flows), machines: Machines::new(parts) };
    let limits = ServerLimits { connections: CONNECTIONS_MAX, ..ServerLimits::default() };
    let hops = TrustedHops::new(Vec::new(), Vec::new());
    Ok((Server::new(binding, hops, limits, Arc::new(door)), certificates))
}

impl Handler for MachinesDoor {
    async fn handle(&self, arrived: Arrived) -> Response<Body> {
        let mut response = match self.read(arrived).await {
            Ok(request) => self.machines.call(request).await.map(Body::local),
            Err(status) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = status;
                response
            }
        };
        let id = RequestId::random(self.flows.random.as_ref());
        if let Ok(value) = HeaderValue::try_from(id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
}

impl MachinesDoor {
    /// The request as it has one reading, its body whole.
    async fn read(&self, arrived: Arrived) -> Result<Request<Bytes>, StatusCode> {
        let canonical = match arrived.request {
            Ok(canonical) => canonical,
            Err(ambiguous) => {
                self.flows.refused(ambiguous.code()).await;
                return Err(ambiguous.status());
            }
        };
        let limits = BodyLimits { bytes: SCIM_BODY_MAX, deadline: BODY_DEADLINE };
        let body = match refuse_encoded(canonical.headers()) {
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
        let mut request = Request::new(body);
        *request.method_mut() = canonical.method().clone();
        *request.uri_mut() = canonical.target().clone().into();
        *request.headers_mut() = canonical.headers().clone();
        Ok(request)
    }
}
