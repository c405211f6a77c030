//! Our own security events: what is told of the transmitter, and how streams are set up
//! (SSF 1.0, sections 7 and 8).

mod poll;
mod push;
mod stream;

pub use push::{Pushing, TURN};

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use stepgate_core::flows::{Provisioning, Transmitting};
use stepgate_core::machine::{Machine, Scope};
use stepgate_core::ports::{ChangeError, StoreError, Stream};
use stepgate_core::signals::Receivers;
use stepgate_core::web::LocalBody;

use crate::answer;
use crate::caller::{NotHeard, caller};

/// Where the transmitter is described.
pub(crate) const WELL_KNOWN: &str = "/.well-known/ssf-configuration";
const JWKS: &str = "/ssf/jwks.json";
const JSON: &str = "application/json";
/// The largest body of a request about streams.
pub(crate) const BODY_MAX: usize = 256 * 1024;

/// The transmitter.
#[derive(Clone, Debug)]
pub struct Transmitter {
    /// Streams, and what goes into them.
    pub transmitting: Transmitting,
    /// The way to receivers.
    pub receivers: Arc<dyn Receivers>,
}

/// Why a request about streams did nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDone {
    #[error(transparent)]
    NotHeard(#[from] NotHeard),
    #[error("{0}")]
    Invalid(String),
    #[error("there is no such stream")]
    NotFound,
    #[error("there is a stream already")]
    There,
    #[error("it changed in the meantime: try again")]
    Changed,
    #[error("there are too many {0}: try later")]
    TooMany(&'static str),
    #[error("there is no such method here")]
    Method,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChangeError> for NotDone {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::UsedBefore => Self::There,
            ChangeError::Conflict => Self::Changed,
            ChangeError::Limit(what) => Self::TooMany(what),
            ChangeError::Store(error) => Self::Store(error),
        }
    }
}

impl NotDone {
    fn answer(&self) -> Response<LocalBody> {
        let (status, code) = match self {
            Self::NotHeard(error) => (error.status(), "access_denied"),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::There | Self::Changed => (StatusCode::CONFLICT, "invalid_state"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "invalid_state"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request"),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        let description = match self {
            Self::Store(error) => {
                tracing::error!(error = error as &dyn std::error::Error, "a stream could not be served");
                "the store does not answer".to_owned()
            }
            error => error.to_string(),
        };
        let mut response = answer::json(status, JSON, &json!({ "err": code, "description": description }));
        if let Self::NotHeard(error) = self {
            error.challenge(&mut response);
        }
        response
    }
}

type Answer = Result<Response<LocalBody>, NotDone>;

/// Whether the path is the transmitter's.
pub(crate) fn serves(path: &str) -> bool {
    path == WELL_KNOWN || path.starts_with("/ssf/")
}

impl Transmitter {
    /// The machine that calls; none for what is told to all.
    pub(crate) async fn hear(
        &self,
        provisioning: &Provisioning,
        head: &Parts,
    ) -> Result<Option<Machine>, Response<LocalBody>> {
        let path = head.uri.path();
        if head.method == Method::GET && (path == WELL_KNOWN || path == JWKS) {
            return Ok(None);
        }
        let (manage, read) = (Scope::SignalsManage, Scope::SignalsRead);
        let reads = path.starts_with("/ssf/poll/") || head.method == Method::GET;
        let needed: &[Scope] = if reads { &[read, manage] } else { &[manage] };
        let machine = caller(provisioning, &head.headers, needed).await;
        machine.map(Some).map_err(|error| NotDone::from(error).answer())
    }

    pub(crate) async fn call(
        &self,
        provisioning: &Provisioning,
        machine: Option<&Machine>,
        request: &Request<Bytes>,
    ) -> Response<LocalBody> {
        let answer = match machine {
            Some(machine) => self.answer(provisioning, machine, request).await,
            None => self.told_to_all(request),
        };
        answer.unwrap_or_else(|error| error.answer())
    }

    fn told_to_all(&self, request: &Request<Bytes>) -> Answer {
        match request.uri().path() {
            WELL_KNOWN => Ok(answer::json(StatusCode::OK, JSON, &self.configuration())),
            JWKS => Ok(answer::json(StatusCode::OK, JSON, &self.transmitting.signer.jwks())),
            _ => Err(NotDone::NotFound),
        }
    }

    fn base(&self) -> &str {
        &self.transmitting.issuer
    }

    async fn answer(&self, provisioning: &Provisioning, machine: &Machine, request: &Request<Bytes>) -> Answer {
        let (method, path) = (request.method(), request.uri().path());
        match (method, path) {
            (_, "/ssf/streams") => self.streams(method, machine, request).await,
            (&Method::GET | &Method::POST, "/ssf/status") => self.status(method, machine, request).await,
            (&Method::POST, "/ssf/subjects:add") => self.subjects(machine, request, false).await,
            (&Method::POST, "/ssf/subjects:remove") => self.subjects(machine, request, true).await,
            (&Method::POST, "/ssf/verify") => {
                let body = object(request)?;
                let stream = self.stream(machine, text(&body, "stream_id")?.as_deref()).await?;
                let state = text(&body, "state")?;
                if state.as_ref().is_some_and(|state| state.len() > 1_000) {
                    return Err(NotDone::Invalid("state is too long".to_owned()));
                }
                self.transmitting.verify(&stream, state.as_deref()).await?;
                Ok(answer::empty(StatusCode::NO_CONTENT))
            }
            (&Method::POST, path) if path.starts_with("/ssf/poll/") => {
                let id = path.strip_prefix("/ssf/poll/").unwrap_or_default();
                self.poll(provisioning, request, machine, id).await
            }
            (_, "/ssf/status" | "/ssf/subjects:add" | "/ssf/subjects:remove" | "/ssf/verify") => Err(NotDone::Method),
            _ => Err(NotDone::NotFound),
        }
    }

    /// What `/.well-known/ssf-configuration` says (SSF 1.0, section 7.1).
    fn configuration(&self) -> Value {
        let base = self.base();
        json!({
            "spec_version": "1_0",
            "issuer": base,
            "jwks_uri": format!("{base}/ssf/jwks.json"),
            "delivery_methods_supported": [stream::PUSH, stream::POLL],
            "configuration_endpoint": format!("{base}/ssf/streams"),
            "status_endpoint": format!("{base}/ssf/status"),
            "add_subject_endpoint": format!("{base}/ssf/subjects:add"),
            "remove_subject_endpoint": format!("{base}/ssf/subjects:remove"),
            "verification_endpoint": format!("{base}/ssf/verify"),
            "authorization_schemes": [{ "spec_urn": "urn:ietf:rfc:6749" }],
            "default_subjects": "ALL",
        })
    }

    /// The caller's stream, if it is the one that is named.
    async fn stream(&self, machine: &Machine, id: Option<&str>) -> Result<Stream, NotDone> {
        let found = self.transmitting.streams.stream_of(&machine.name).await?.ok_or(NotDone::NotFound)?;
        match id {
            Some(id) if found.id.to_string() != id => Err(NotDone::NotFound),
            _ => Ok(found),
        }
    }
}

/// The body as an object.
fn object(request: &Request<Bytes>) -> Result<Map<String, Value>, NotDone> {
    match serde_json::from_slice(request.body()) {
        Ok(Value::Object(body)) => Ok(body),
        _ => Err(NotDone::Invalid("the body is no JSON object".to_owned())),
    }
}

fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, NotDone> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(NotDone::Invalid(format!("{name} is a text"))),
    }
}
