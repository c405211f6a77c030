//! Where an upstream is.

use std::net::IpAddr;

use http::uri::{Authority, Parts, Scheme};
use http::{HeaderValue, Uri};

use super::Plaintext;

/// Scheme, host and port of an upstream.
///
/// Plain HTTP only where nobody else can listen in, or where that is explicitly
/// allowed.
#[derive(Clone, Debug)]
pub struct UpstreamOrigin {
    scheme: Scheme,
    authority: Authority,
    host_header: HeaderValue,
}

/// Why an address is not an upstream's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not a URL.
    #[error("it is not a URL like https://app.internal:8443")]
    NotUrl,
    /// Neither `http` nor `https`.
    #[error("its scheme is neither http nor https")]
    Scheme,
    /// It has a path, a query or user information.
    #[error("it has more than scheme, host and port")]
    MoreThanOrigin,
    /// Plain HTTP to somewhere else.
    #[error("plain http would leave this machine; use https or allow it explicitly")]
    Plaintext,
}

impl UpstreamOrigin {
    /// Reads `http://127.0.0.1:1880` or `https://app.internal`.
    ///
    /// # Errors
    ///
    /// [`OriginError`].
    pub fn parse(url: &str, plaintext: Plaintext) -> Result<Self, OriginError> {
        let uri: Uri = url.parse().map_err(|_| OriginError::NotUrl)?;
        let Parts { scheme: Some(scheme), authority: Some(authority), path_and_query, .. } = uri.into_parts() else {
            return Err(OriginError::NotUrl);
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(OriginError::Scheme);
        }
        let bare = path_and_query.is_none_or(|path| path.as_str() == "/");
        if !bare || authority.as_str().contains('@') {
            return Err(OriginError::MoreThanOrigin);
        }
        if scheme == Scheme::HTTP && plaintext == Plaintext::OnLoopback && !is_loopback(authority.host()) {
            return Err(OriginError::Plaintext);
        }
        let host_header = HeaderValue::from_str(authority.as_str()).map_err(|_| OriginError::NotUrl)?;
        Ok(Self { scheme, authority, host_header })
    }

    /// Whether the way there is plain text to another machine, which is recorded.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.scheme == Scheme::HTTP && !is_loopback(self.authority.host())
    }

    pub(super) fn is_plain(&self) -> bool {
        self.scheme == Scheme::HTTP
    }

    pub(super) fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    pub(super) fn parts(&self) -> Parts {
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts
    }
}

impl std::fmt::Display for UpstreamOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// A loopback address, or a name that is resolved to nothing else (RFC 6761,
/// section 6.3; see the connector).
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback()) || is_local_name(host)
}

pub(super) fn is_local_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, plaintext: Plaintext, expected: Result<(), OriginError>) {
        assert_eq!(UpstreamOrigin::parse(url, plaintext).map(|_| ()), expected, "{url}");
    }

    #[test]
    fn plain_text_stays_on_this_machine() {
        use Plaintext::{DangerEverywhere, OnLoopback};
        check("http://127.0.0.1:1880", OnLoopback, Ok(()));
        check("http://[::1]:1880/", OnLoopback, Ok(()));
        check("http://ledger.localhost:80", OnLoopback, Ok(()));
        check("https://app.internal", OnLoopback, Ok(()));
        check("http://app.internal", OnLoopback, Err(OriginError::Plaintext));
        check("http://127.0.0.1.evil.test", OnLoopback, Err(OriginError::Plaintext));
        check("http://app.internal", DangerEverywhere, Ok(()));
        check("http://u:p@127.0.0.1", OnLoopback, Err(OriginError::MoreThanOrigin));
        check("https://app.internal/base", OnLoopback, Err(OriginError::MoreThanOrigin));
        check("ftp://app.internal", OnLoopback, Err(OriginError::Scheme));
        check("app.internal", OnLoopback, Err(OriginError::NotUrl));
    }
}
