//! A response as the client gets it.

use http::header::{
    ALT_SVC, CONNECTION, HeaderName, PROXY_AUTHENTICATE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, Version};
use hyper::body::Incoming;

use super::Lease;
use crate::body::{Body, Metered, StreamLimits};
use crate::canonical::{OWN_PREFIX, sets_our_cookie};

/// Takes away what is the connection's and what is ours; the body stays a stream.
/// `lease` is the connection that it comes by.
pub(super) fn clean(response: Response<Incoming>, lease: Lease, limits: StreamLimits) -> Response<Body> {
    let mut response = response.map(|body| Body::metered(Metered::new(body, limits).leased(lease)));
    *response.version_mut() = Version::HTTP_11;
    clean_headers(response.headers_mut());
    response
}

pub(super) fn clean_headers(headers: &mut HeaderMap) {
    let mut removed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::try_from(token.trim()).ok())
        .collect();
    removed.extend(headers.keys().filter(|name| stays_here(name)).cloned());
    for name in removed {
        headers.remove(name);
    }
    let sets_ours = headers.get_all(SET_COOKIE).iter().any(sets_our_cookie);
    if sets_ours {
        tracing::warn!("an upstream tried to set one of Stepgate's cookies");
        let kept: Vec<HeaderValue> =
            headers.get_all(SET_COOKIE).iter().filter(|cookie| !sets_our_cookie(cookie)).cloned().collect();
        headers.remove(SET_COOKIE);
        for cookie in kept {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// Hop-by-hop headers (RFC 9110, section 7.6.1), our own, and Alt-Svc: an
/// alternative that an upstream advertises leads around the gate.
fn stays_here(name: &HeaderName) -> bool {
    const KEEP_ALIVE: &str = "keep-alive";
    const PROXY_CONNECTION: &str = "proxy-connection";
    [CONNECTION, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, ALT_SVC].contains(name)
        || name == KEEP_ALIVE
        || name == PROXY_CONNECTION
        || name.as_str().starts_with(OWN_PREFIX)
}
