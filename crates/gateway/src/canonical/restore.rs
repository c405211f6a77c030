//! A canonical request that was kept, and is read again before it goes on.

use http::header::{CONTENT_LENGTH, HOST, HeaderName};
use http::{HeaderValue, Method, Request, Uri, Version};

use super::{AfterHead, Ambiguous, CanonicalRequest, Client, Host, Listener, Peer, TrustedHops};

/// The parts of a request that was held.
#[derive(Debug)]
pub struct Restore<'h> {
    /// The method.
    pub method: &'h str,
    /// Path and query.
    pub target: &'h str,
    /// The headers that [`CanonicalRequest::headers`] gave.
    pub headers: &'h [(String, Vec<u8>)],
    /// The length of its body.
    pub body_length: usize,
    /// The host that it named.
    pub host: &'h Host,
    /// Whoever brings it back.
    pub client: Client,
}

impl CanonicalRequest {
    /// Reads a held request again.
    ///
    /// It passes through the same checks as a request from a socket, so whatever
    /// came into the store by another way does not get out by this one.
    ///
    /// # Errors
    ///
    /// [`Ambiguous`].
    pub fn restore(held: &Restore<'_>) -> Result<Self, Ambiguous> {
        let mut request = Request::new(());
        *request.version_mut() = Version::HTTP_11;
        *request.method_mut() = Method::from_bytes(held.method.as_bytes()).map_err(|_| Ambiguous::Method)?;
        *request.uri_mut() = Uri::try_from(held.target).map_err(|_| Ambiguous::TargetForm)?;
        let headers = request.headers_mut();
        for (name, value) in held.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Ambiguous::HeaderValue)?;
            let value = HeaderValue::from_bytes(value).map_err(|_| Ambiguous::HeaderValue)?;
            headers.append(name, value);
        }
        let host = held.host.value().clone();
        headers.insert(HOST, host);
        let bodiless = held.body_length == 0 && matches!(held.method, "GET" | "HEAD" | "DELETE" | "OPTIONS");
        let after_head = if bodiless { AfterHead::Nothing } else { AfterHead::Body };
        if !bodiless {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(held.body_length));
        }
        let (parts, ()) = request.into_parts();
        // No hop is trusted: the client was read when it came.
        let listener = Listener { scheme: held.client.scheme(), hops: TrustedHops::default() };
        let peer = Peer::new(std::net::SocketAddr::new(held.client.address(), 0));
        Self::read(parts, after_head, &peer, &listener)
    }
}
