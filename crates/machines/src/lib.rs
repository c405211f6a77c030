//! The machines' listener: what other systems tell the gate, and are told by it.
//! Provisioning of people (SCIM), shared signals (SSF, CAEP).
//!
//! *Architecture invariant:* nothing here decides, and nothing is believed that the
//! caller's own credentials do not allow it to say.

mod answer;
mod caller;
mod polling;
mod receiver;
mod scim;
mod transmitter;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use stepgate_core::flows::{Provisioning, Signals};
use stepgate_core::machine::{Machine, MachineName, Scope};
use stepgate_core::signals::SET_LEN_MAX;
use stepgate_core::web::LocalBody;

pub use polling::poll;
pub use scim::fuzz;
pub use transmitter::{Pushing, TURN, Transmitter};

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

/// The largest body of a request that has no use for one.
const NO_BODY_MAX: usize = 4 * 1024;

/// A request whose caller was heard by its head alone: only then its body is read, so
/// that nobody unknown makes the gate keep anything.
#[derive(Debug)]
#[must_use = "who was heard is to be answered"]
pub struct Heard {
    head: Parts,
    by: By,
    body_max: usize,
}

/// Who answers, and whom.
#[derive(Debug)]
enum By {
    Scim(Arc<scim::Scim>, Machine),
    Receiver(Signals, Machine),
    /// What is told to all has no caller.
    Transmitter(Transmitter, Provisioning, Option<Machine>),
}

impl Heard {
    /// Who calls; nobody where everybody is answered.
    #[must_use]
    pub fn caller(&self) -> Option<&MachineName> {
        match &self.by {
            By::Scim(_, machine) | By::Receiver(_, machine) | By::Transmitter(_, _, Some(machine)) => {
                Some(&machine.name)
            }
            By::Transmitter(_, _, None) => None,
        }
    }

    /// The most bytes that its body may have.
    #[must_use]
    pub fn body_max(&self) -> usize {
        self.body_max
    }

    /// Answers the request with its body; with 413 if that is longer than [`Heard::body_max`].
    pub async fn call(self, body: Bytes) -> Response<LocalBody> {
        if body.len() > self.body_max {
            return match self.by {
                By::Scim(..) => scim::too_large(),
                By::Receiver(..) | By::Transmitter(..) => answer::empty(StatusCode::PAYLOAD_TOO_LARGE),
            };
        }
        let request = Request::from_parts(self.head, body);
        match self.by {
            By::Scim(scim, machine) => scim.call(machine, &request).await,
            By::Receiver(signals, machine) => receiver::call(&machine, &signals, &request).await,
            By::Transmitter(transmitter, provisioning, machine) => {
                transmitter.call(&provisioning, machine.as_ref(), &request).await
            }
        }
    }
}

impl Machines {
    /// Hears a caller by the head of the request.
    ///
    /// # Errors
    ///
    /// The answer to who may not call, or calls what is not there.
    pub async fn hear(&self, head: Parts) -> Result<Heard, Response<LocalBody>> {
        let path = head.uri.path();
        let (by, most) = if let Some(scim) = self.scim.as_ref().filter(|_| scim::serves(path)) {
            let machine = caller::caller(&self.provisioning, &head.headers, &[Scope::Scim]).await;
            let machine = machine.map_err(scim::not_heard)?;
            (By::Scim(Arc::clone(scim), machine), scim::SCIM_BODY_MAX)
        } else if let Some(signals) = self.signals.as_ref().filter(|_| path == receiver::PATH) {
            let machine = caller::caller(&self.provisioning, &head.headers, &[Scope::SignalsPush]).await;
            let machine = machine.map_err(|error| receiver::not_heard(&error))?;
            (By::Receiver(signals.clone(), machine), SET_LEN_MAX)
        } else if let Some(transmitter) = self.transmitter.as_ref().filter(|_| transmitter::serves(path)) {
            let machine = transmitter.hear(&self.provisioning, &head).await?;
            (By::Transmitter(transmitter.clone(), self.provisioning.clone(), machine), transmitter::BODY_MAX)
        } else {
            return Err(answer::empty(StatusCode::NOT_FOUND));
        };
        let body_max =
            if matches!(head.method, Method::GET | Method::HEAD | Method::DELETE) { NO_BODY_MAX } else { most };
        Ok(Heard { head, by, body_max })
    }
}
