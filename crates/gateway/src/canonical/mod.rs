//! The one place that reads the raw parts of a request.
//!
//! *Architecture invariant:* nothing else in this crate looks at a raw target, a
//! raw header map or a peer address. Whatever two servers could read differently
//! is refused here, before any decision, and what a [`CanonicalRequest`] says is
//! what the upstream receives. So a policy, a person's confirmation and the
//! upstream all speak of one request.

mod ambiguous;
mod chunks;
mod cookies;
mod forwarded;
mod fuzz;
mod head;
mod headers;
mod host;
mod names;
mod path;
mod peer;
mod preferences;
mod query;
mod restore;

use std::sync::Arc;

use base64::Engine as _;
use http::header::HeaderName;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};
use stepgate_core::surroundings::Posture;

pub use ambiguous::Ambiguous;
pub(crate) use chunks::{Broken, Chunks};
pub use cookies::{is_ours as is_our_cookie, sets_ours as sets_our_cookie, without_ours as without_our_cookies};
pub use forwarded::{Client, HopTells, Scheme, TrustedHops};
pub use fuzz::{FuzzOutcome, fuzz_read};
pub(crate) use head::{Follows, RawHead, inspect};
pub use host::Host;
pub use names::{CHALLENGE, OWN_PREFIX};
pub use path::RequestPath;
pub use peer::Peer;
pub(crate) use preferences::preferences;
pub use query::{DuplicateParameter, Parameter, Query, one_parameter, parameters};
pub use restore::Restore;

use crate::server::PresentedCertificate;

/// The most headers that a request may have.
pub const MAX_HEADERS: usize = 100;
/// The most bytes that all header lines of a request may have together.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;
/// The most bytes that a request's path and query may have together.
pub const MAX_TARGET_BYTES: usize = 16 * 1024;

/// Where a request came in.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What the listener itself speaks.
    pub scheme: Scheme,
    /// The servers in front of it that are believed.
    pub hops: TrustedHops,
}

/// Whether the head was all of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterHead {
    /// Nothing follows the head.
    Nothing,
    /// A body follows, or may.
    Body,
}

/// How the body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has as many bytes as were announced.
    Length(u64),
    /// The body ends with a last chunk, or with the end of the HTTP/2 stream.
    Streamed,
}

/// What the client wants of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One request, one response.
    Exchange,
    /// A WebSocket by HTTP/1.1 upgrade (RFC 6455), with the client's key.
    WebSocket {
        /// `Sec-WebSocket-Key`, which the upstream's answer depends on.
        key: HeaderValue,
    },
    /// A WebSocket by extended CONNECT (RFC 8441), which has no key.
    WebSocketOverHttp2,
}

/// A request that has exactly one reading.
///
/// [`CanonicalRequest::read`] is the only way to get one.
#[derive(Clone, Debug)]
pub struct CanonicalRequest {
    method: Method,
    target: PathAndQuery,
    path: RequestPath,
    query: Query,
    host: Arc<Host>,
    headers: HeaderMap,
    framing: Framing,
    purpose: Purpose,
    client: Client,
    posture: Posture,
    client_address: HeaderValue,
    challenge: Option<HeaderValue>,
    certificate: Option<Arc<PresentedCertificate>>,
}

impl CanonicalRequest {
    /// Reads the head of a request, once.
    ///
    /// `peer` is the other end of the connection, which may keep what it reads; `after_head` says whether a
    /// body follows (of HTTP/2 the headers do not tell).
    ///
    /// # Errors
    ///
    /// [`Ambiguous`], with the first reason found. The request is then answered
    /// with [`Ambiguous::status`] and nothing of it goes on.
    pub fn read(parts: Parts, after_head: AfterHead, peer: &Peer, listener: &Listener) -> Result<Self, Ambiguous> {
        let Parts { method, uri, version, mut headers, extensions, .. } = parts;
        if !matches!(version, Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2) {
            return Err(Ambiguous::Version);
        }
        let protocol = extensions.get::<hyper::ext::Protocol>();
        check_method(&method, protocol)?;
        let target = read_target(&uri, version)?;
        let path = RequestPath::from_target(&target)?;
        let query = Query::from_target(&target);
        if query.overrides_method() {
            return Err(Ambiguous::MethodOverride);
        }
        let inspected = headers::inspect(&headers)?;
        let client = Client::read(peer.address(), listener.scheme, &listener.hops, &headers)?;
        let posture = listener.hops.take_posture(peer.address(), &mut headers);
        let lifted = headers::lift(&mut headers, inspected, version)?;
        let host = read_host(uri.authority().map(http::uri::Authority::as_str), lifted.host, peer)?;
        let purpose = read_purpose(&method, version, protocol, lifted.upgrade, &headers)?;
        let framing = read_framing(lifted.content_length, lifted.chunked, after_head, &purpose);
        let bodiless = matches!(method, Method::GET | Method::HEAD) || purpose != Purpose::Exchange;
        if bodiless && !matches!(framing, Framing::None | Framing::Length(0)) {
            return Err(Ambiguous::UnexpectedBody);
        }
        Ok(Self {
            // Extended CONNECT is the handshake that GET is in HTTP/1.1.
            method: if purpose == Purpose::WebSocketOverHttp2 { Method::GET } else { method },
            query,
            target,
            path,
            host,
            headers,
            framing: if bodiless { Framing::None } else { framing },
            purpose,
            client_address: peer.write(client.address()),
            client,
            posture,
            challenge: lifted.challenge,
            certificate: None,
        })
    }

    /// Says which certificate the connection showed that it came on.
    pub(crate) fn came_with(&mut self, certificate: Option<Arc<PresentedCertificate>>) {
        self.certificate = certificate;
    }

    /// The certificate that the connection showed, where this host asks for one. No header ever
    /// says that.
    #[must_use]
    pub fn certificate(&self) -> Option<&Arc<PresentedCertificate>> {
        self.certificate.as_ref()
    }

    /// What a trusted hop says of the client's device.
    #[must_use]
    pub fn posture(&self) -> Posture {
        self.posture
    }

    /// GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path, which is forwarded as [`RequestPath::as_str`] has it.
    #[must_use]
    pub fn path(&self) -> &RequestPath {
        &self.path
    }

    /// The query, which is forwarded as [`Query::as_str`] has it.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Path and query together: the target that the upstream receives.
    #[must_use]
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// The host that the request names.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The headers that go on: without those of the connection, of forwarding
    /// servers and of Stepgate. Host and framing are not among them.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// [`CanonicalRequest::headers`], for what takes the request's place.
    pub(crate) fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.headers)
    }

    /// Takes a preference (RFC 7240) away that was applied here, in whatever letters it stands. Others
    /// stay as they are.
    pub(crate) fn drop_preference(&mut self, name: &str) {
        preferences::drop_one(&mut self.headers, name);
    }

    /// How the body is delimited.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// What the client wants of the connection.
    #[must_use]
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// The client, as far as it is known.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client
    }

    /// [`Client::address`] as a header says it.
    pub(crate) fn client_address(&self) -> &HeaderValue {
        &self.client_address
    }

    /// The challenge that a program says it has passed (`Stepgate-Challenge`).
    #[must_use]
    pub fn challenge(&self) -> Option<&str> {
        self.challenge.as_ref().and_then(|value| value.to_str().ok())
    }

    /// The one value of the header `name`, or `None` where it is absent.
    ///
    /// For headers whose value is decided on: a second value, and a name that
    /// some server folds to this one, would be seen by the upstream alone.
    ///
    /// # Errors
    ///
    /// [`Ambiguous::DuplicateHeader`] and [`Ambiguous::HeaderTwin`].
    pub fn one_header(&self, name: &HeaderName) -> Result<Option<&HeaderValue>, Ambiguous> {
        let folded = names::fold(name.as_str());
        let twin = self.headers.keys().any(|given| given != name && names::fold(given.as_str()) == folded);
        if twin {
            return Err(Ambiguous::HeaderTwin);
        }
        let mut values = self.headers.get_all(name).iter();
        let value = values.next();
        if values.next().is_some() {
            return Err(Ambiguous::DuplicateHeader);
        }
        Ok(value)
    }
}

fn check_method(method: &Method, protocol: Option<&hyper::ext::Protocol>) -> Result<(), Ambiguous> {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            Ok(())
        }
        Method::CONNECT if protocol.is_some() => Ok(()),
        Method::CONNECT => Err(Ambiguous::Connect),
        _ => Err(Ambiguous::Method),
    }
}

fn read_target(uri: &http::Uri, version: Version) -> Result<PathAndQuery, Ambiguous> {
    match uri.scheme_str() {
        None => {
            // "GET a" and "GET other:80" parse as authorities without a path.
            if version != Version::HTTP_2 && uri.authority().is_some() {
                return Err(Ambiguous::TargetForm);
            }
        }
        Some("http" | "https") => {}
        Some(_) => return Err(Ambiguous::Scheme),
    }
    let target = uri.path_and_query().ok_or(Ambiguous::TargetForm)?;
    if target.as_str().len() > MAX_TARGET_BYTES {
        return Err(Ambiguous::TargetTooLong);
    }
    if target.as_str() == "/" {
        // "http://host" has an empty path, which is forwarded as "/" (RFC 9112,
        // section 3.2.1) and must not differ from it.
        return Ok(PathAndQuery::from_static("/"));
    }
    Ok(target.clone())
}

/// RFC 9112 section 3.2 and RFC 9113 section 8.3.1, but where authority and Host
/// differ neither wins.
fn read_host(authority: Option<&str>, header: Option<HeaderValue>, peer: &Peer) -> Result<Arc<Host>, Ambiguous> {
    let header = header.map(|value| peer.host(value)).transpose()?;
    match (authority.map(Host::parse).transpose()?.map(Arc::new), header) {
        (Some(authority), Some(header)) if authority != header => Err(Ambiguous::HostMismatch),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(Ambiguous::NoHost),
    }
}

fn read_purpose(
    method: &Method,
    version: Version,
    protocol: Option<&hyper::ext::Protocol>,
    upgrade: Option<HeaderValue>,
    headers: &HeaderMap,
) -> Result<Purpose, Ambiguous> {
    if let Some(protocol) = protocol {
        return if protocol.as_str() == "websocket" {
            check_websocket_version(headers)?;
            Ok(Purpose::WebSocketOverHttp2)
        } else {
            Err(Ambiguous::Upgrade)
        };
    }
    let Some(upgrade) = upgrade else {
        return Ok(Purpose::Exchange);
    };
    if !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") {
        return Err(Ambiguous::Upgrade);
    }
    check_websocket_version(headers)?;
    let key = headers.get("sec-websocket-key").ok_or(Ambiguous::WebSocketHandshake)?;
    // RFC 6455, section 4.1: 16 bytes in base64.
    let key_bytes =
        base64::engine::general_purpose::STANDARD.decode(key.as_bytes()).map_err(|_| Ambiguous::WebSocketHandshake)?;
    if method != Method::GET || version != Version::HTTP_11 || key_bytes.len() != 16 {
        return Err(Ambiguous::WebSocketHandshake);
    }
    Ok(Purpose::WebSocket { key: key.clone() })
}

fn check_websocket_version(headers: &HeaderMap) -> Result<(), Ambiguous> {
    match headers.get("sec-websocket-version") {
        Some(version) if version == "13" => Ok(()),
        _ => Err(Ambiguous::WebSocketHandshake),
    }
}

fn read_framing(
    content_length: Option<u64>,
    chunked: headers::Chunked,
    after_head: AfterHead,
    purpose: &Purpose,
) -> Framing {
    match (chunked, content_length, after_head) {
        (headers::Chunked::Yes, _, _) => Framing::Streamed,
        (headers::Chunked::No, Some(length), _) => Framing::Length(length),
        // What follows an extended CONNECT is the tunnel, not a body.
        (headers::Chunked::No, None, AfterHead::Body) if *purpose != Purpose::WebSocketOverHttp2 => Framing::Streamed,
        (headers::Chunked::No, None, _) => Framing::None,
    }
}
