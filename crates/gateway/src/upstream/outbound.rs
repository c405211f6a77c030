//! A request as the upstream gets it.

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, COOKIE, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use stepgate_core::access::Forwarded;

use crate::body::Body;
use crate::canonical::{CanonicalRequest, Framing, OWN_PREFIX, Purpose, without_our_cookies};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A request on its way to an upstream.
///
/// Made from a [`CanonicalRequest`] only: method, target, host and headers are
/// what was decided on, less our cookies, plus what only we may say.
#[derive(Debug)]
pub struct Outbound {
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) host: HeaderValue,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) handshake: Option<Handshake>,
}

/// The WebSocket handshake on its way.
#[derive(Clone, Debug)]
pub(super) struct Handshake {
    pub(super) key: HeaderValue,
    pub(super) client: ClientSide,
}

/// How the client asked for the WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientSide {
    Http1,
    Http2,
}

/// A header that is not ours to set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("only headers that begin with stepgate- are set for upstreams")]
pub struct NotOwnHeader;

impl Outbound {
    /// The request `canonical` with `body`.
    ///
    /// `websocket_nonce` is 16 fresh random bytes: the key of the upstream's
    /// handshake where the client, speaking HTTP/2, has none (RFC 8441, section 5).
    #[must_use]
    pub fn new(mut canonical: Box<CanonicalRequest>, body: Body, websocket_nonce: [u8; 16]) -> Self {
        let mut headers = canonical.take_headers();
        strip_cookies(&mut headers);
        let host = canonical.host().value().clone();
        set_forwarded(&mut headers, &canonical, &host);
        if let Framing::Length(length) = canonical.framing() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let handshake = handshake(canonical.purpose(), websocket_nonce);
        if let Some(handshake) = &handshake {
            headers.insert("sec-websocket-key", handshake.key.clone());
        }
        Self { method: canonical.method().clone(), target: canonical.target().clone(), host, headers, body, handshake }
    }

    /// Sets one of our own headers, in place of any other value.
    ///
    /// # Errors
    ///
    /// `NotOwnHeader` for names that are not ours.
    pub fn set_own(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), NotOwnHeader> {
        if !name.as_str().starts_with(OWN_PREFIX) {
            return Err(NotOwnHeader);
        }
        self.headers.insert(name, value);
        Ok(())
    }
}

impl Outbound {
    /// Takes away the credentials that were for the gate. A proof is worth nothing to
    /// anybody else; a token stays only where the upstream is to see it.
    pub fn take_away_token(&mut self, forwarded: Forwarded) {
        self.headers.remove("dpop");
        if forwarded == Forwarded::Never {
            self.headers.remove(AUTHORIZATION);
        }
    }

    /// Asks for an answer that is not compressed, because something is put into it.
    pub fn accept_plain(&mut self) {
        self.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
}

fn strip_cookies(headers: &mut HeaderMap) {
    // Reading the request left at most one.
    let Some(cookies) = headers.get(COOKIE) else {
        return;
    };
    match without_our_cookies(cookies) {
        Some(kept) if kept == cookies => {}
        Some(kept) => {
            headers.insert(COOKIE, kept);
        }
        None => {
            headers.remove(COOKIE);
        }
    }
}

fn set_forwarded(headers: &mut HeaderMap, canonical: &CanonicalRequest, host: &HeaderValue) {
    headers.insert(FORWARDED_FOR, canonical.client_address().clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(canonical.client().scheme().as_str()));
    headers.insert(FORWARDED_HOST, host.clone());
}

/// Base64 is visible ASCII; anything else would not be forwarded as what it is not.
fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

fn handshake(purpose: &Purpose, nonce: [u8; 16]) -> Option<Handshake> {
    use base64::Engine as _;
    match purpose {
        Purpose::Exchange => None,
        Purpose::WebSocket { key } => Some(Handshake { key: key.clone(), client: ClientSide::Http1 }),
        Purpose::WebSocketOverHttp2 => Some(Handshake {
            key: header_value(base64::engine::general_purpose::STANDARD.encode(nonce)),
            client: ClientSide::Http2,
        }),
    }
}
