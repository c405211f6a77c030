//! A response as the client gets it.

use http::header::{HeaderName, SET_COOKIE};
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
    let mut removed: Vec<HeaderName> = Vec::new();
    let mut sets_ours = false;
    for (name, value) in &*headers {
        match place(name) {
            Place::Connection => {
                removed.push(name.clone());
                let named = value.to_str().unwrap_or_default().split(',').map(str::trim);
                // What nearly all connections say names no header.
                let named = named.filter(|token| !token.eq_ignore_ascii_case("keep-alive"));
                removed.extend(named.filter_map(|token| HeaderName::try_from(token).ok()));
            }
            Place::Here => removed.push(name.clone()),
            Place::Cookie => sets_ours |= sets_our_cookie(value),
            Place::Beyond => {}
        }
    }
    for name in removed {
        headers.remove(name);
    }
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

/// Where a header belongs.
enum Place {
    /// It names others that belong to the connection.
    Connection,
    /// Between the upstream and us.
    Here,
    /// It goes on, unless it sets a cookie of ours.
    Cookie,
    /// It goes on.
    Beyond,
}

/// Hop-by-hop headers (RFC 9110, section 7.6.1), our own, and Alt-Svc: an
/// alternative that an upstream advertises leads around the gate.
fn place(name: &HeaderName) -> Place {
    match name.as_str() {
        "connection" => Place::Connection,
        "keep-alive" | "proxy-connection" | "proxy-authenticate" | "te" | "trailer" | "transfer-encoding"
        | "upgrade" | "alt-svc" => Place::Here,
        "set-cookie" => Place::Cookie,
        name if name.starts_with(OWN_PREFIX) => Place::Here,
        _ => Place::Beyond,
    }
}
