//! The machines' listener: what other systems tell the gate, and are told by it.
//! Provisioning of people (SCIM), shared signals (SSF, CAEP).
//!
//! *Architecture invariant:* nothing here decides, and nothing is believed that the
//! caller's own credentials do not allow it to say.

mod answer;
mod caller;
mod receiver;
mod scim;
mod transmitter;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use stepgate_core::flows::{Provisioning, Signals};
use stepgate_core::web::{LocalBody, LocalService};

pub use scim::{SCIM_BODY_MAX, fuzz_filter};
pub use transmitter::Transmitter;

/// What the machines' listener serves.
#[derive(Clone, Debug)]
pub struct Machines {
    provisioning: Provisioning,
    scim: Option<Arc<scim::Scim>>,
    signals: Option<Signals>,
    transmitter: Option<Transmitter>,
}

/// What is served, and under which address others know it.
#[derive(Clone, Debug)]
pub struct MachinesParts {
    /// People, groups, and who may call.
    pub provisioning: Provisioning,
    /// The listener's origin as others call it, without a slash at the end.
    pub origin: String,
    /// Whether provisioning is served.
    pub scim: bool,
    /// Whose security events are taken, if anybody's are.
    pub signals: Option<Signals>,
    /// Our own security events, if they are told.
    pub transmitter: Option<Transmitter>,
}

impl Machines {
    /// What the listener serves.
    #[must_use]
    pub fn new(parts: MachinesParts) -> Self {
        let MachinesParts { provisioning, origin, scim, signals, transmitter } = parts;
        let scim = scim.then(|| Arc::new(scim::Scim::new(provisioning.clone(), format!("{origin}/scim/v2"))));
        Self { provisioning, scim, signals, transmitter }
    }
}

#[async_trait]
impl LocalService for Machines {
    async fn call(&self, request: Request<Bytes>) -> Response<LocalBody> {
        let path = request.uri().path();
        if let Some(scim) = self.scim.as_ref().filter(|_| path == "/scim/v2" || path.starts_with("/scim/v2/")) {
            return scim.call(&request).await;
        }
        if let Some(signals) = self.signals.as_ref().filter(|_| path == receiver::PATH) {
            return receiver::call(&self.provisioning, signals, &request).await;
        }
        if let Some(transmitter) = self.transmitter.as_ref().filter(|_| transmitter::serves(path)) {
            return transmitter.call(&self.provisioning, &request).await;
        }
        answer::empty(StatusCode::NOT_FOUND)
    }
}
