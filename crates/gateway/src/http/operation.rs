//! A request as an operation.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use std::sync::Arc;
use stepgate_core::catalogue::{Endpoint, Service};
use stepgate_core::inputs;
use stepgate_core::operation::Operation;

use super::{Exchange, Inner};
use crate::body::{Body, BodyLimits, ReadBodyError, StreamLimits, refuse_encoded};
use crate::canonical::{Ambiguous, CanonicalRequest};
use crate::server::RequestBody;

/// The body of a request, read or not.
#[derive(Debug)]
pub(super) enum Payload {
    /// Still on the connection.
    Unread(RequestBody),
    /// All of it: the bytes that were decided on are the bytes that go on.
    Whole(Bytes),
}

impl Payload {
    pub(super) async fn whole(self, limits: BodyLimits) -> Result<Bytes, ReadBodyError> {
        match self {
            Self::Unread(body) => body.whole(limits).await,
            Self::Whole(bytes) if bytes.len() > limits.bytes => Err(ReadBodyError::TooLarge),
            Self::Whole(bytes) => Ok(bytes),
        }
    }

    pub(super) fn into_body(self, limits: StreamLimits) -> Body {
        match self {
            Self::Unread(body) => body.stream(limits),
            Self::Whole(bytes) => Body::whole(bytes),
        }
    }
}

/// Why a request is no operation of its service.
#[derive(Debug, thiserror::Error)]
pub enum NoOperation {
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    #[error(transparent)]
    Body(#[from] ReadBodyError),
    #[error(transparent)]
    Inputs(#[from] inputs::InputError),
}

impl Inner {
    /// Reads the operation of an exchange, and its body where inputs are in it.
    pub(super) async fn operation(&self, exchange: &mut Exchange) -> Result<Operation, NoOperation> {
        let found = Found::of(&exchange.site.service, &exchange.request)?;
        if !found.endpoint.reads_body() {
            return found.operation(&exchange.site.service, &exchange.request, None);
        }
        refuse_encoded(exchange.request.headers())?;
        let payload = std::mem::replace(&mut exchange.payload, Payload::Whole(Bytes::new()));
        let body = payload.whole(self.limits.operation_body).await?;
        exchange.payload = Payload::Whole(body.clone());
        found.operation(&exchange.site.service, &exchange.request, Some(&body))
    }
}

/// The operation that a canonical request is at a service. `body` is there where
/// the endpoint reads it.
///
/// # Errors
///
/// [`NoOperation`]: nothing may then be decided or forwarded.
pub fn operation(
    service: &Arc<Service>,
    request: &CanonicalRequest,
    body: Option<&[u8]>,
) -> Result<Operation, NoOperation> {
    Found::of(service, request)?.operation(service, request, body)
}

/// The endpoint of a canonical request at a service: what can be said before there is a body.
///
/// # Errors
///
/// The path is another spelling of a declared operation's: the gate refuses it.
pub fn endpoint(service: &Service, request: &CanonicalRequest) -> Result<Arc<Endpoint>, Ambiguous> {
    Found::of(service, request).map(|found| found.endpoint)
}

/// The declared operation whose path a request spells differently, which is why the gate refuses it
/// ([`Ambiguous::NearOperation`]). For operators: clients are not told.
pub fn near<'s>(service: &'s Service, request: &CanonicalRequest) -> Option<&'s Arc<Endpoint>> {
    let segments: Vec<Cow<'_, str>> = request.path().segments().collect();
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    service.almost_another(request.method().as_str(), &segments)
}

/// The endpoint of a request, with the values of its path placeholders.
struct Found {
    endpoint: Arc<Endpoint>,
    path_values: BTreeMap<String, String>,
}

impl Found {
    fn of(service: &Service, request: &CanonicalRequest) -> Result<Self, Ambiguous> {
        let segments: Vec<Cow<'_, str>> = request.path().segments().collect();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let method = request.method().as_str();
        if service.almost_another(method, &segments).is_some() {
            return Err(Ambiguous::NearOperation);
        }
        let (endpoint, path_values) = service.endpoint(method, &segments);
        Ok(Self { endpoint: Arc::clone(endpoint), path_values })
    }

    fn operation(
        self,
        service: &Arc<Service>,
        request: &CanonicalRequest,
        body: Option<&[u8]>,
    ) -> Result<Operation, NoOperation> {
        let Self { endpoint, path_values } = self;
        let content_type = match request.headers().get(CONTENT_TYPE) {
            Some(value) => Some(value.to_str().map_err(|_| Ambiguous::HeaderValue)?),
            None => None,
        };
        let inputs = inputs::read(&endpoint, &path_values, request.query().as_str(), content_type, body)?;
        Ok(Operation {
            effect_headers: effect_headers(request, &endpoint.effect_headers)?,
            service: Arc::clone(service),
            endpoint,
            inputs,
            method: request.method().as_str().to_owned(),
            url: [service.origin.as_str(), request.target().as_str()].concat(),
            content_type: content_type.unwrap_or_default().to_owned(),
        })
    }
}

/// Headers that change the effect: each once, or the decision and the upstream
/// might see different ones.
fn effect_headers(request: &CanonicalRequest, names: &[String]) -> Result<BTreeMap<String, String>, Ambiguous> {
    names
        .iter()
        .map(|name| {
            let header = HeaderName::try_from(name.as_str()).map_err(|_| Ambiguous::HeaderValue)?;
            let value = match request.one_header(&header)? {
                Some(value) => value.to_str().map_err(|_| Ambiguous::HeaderValue)?.to_owned(),
                None => String::new(),
            };
            Ok((name.clone(), value))
        })
        .collect()
}
