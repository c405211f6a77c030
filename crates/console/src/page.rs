//! A rendered view as an HTTP answer, with the headers that every page bears.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};

/// Where forms on our pages may lead: this origin, and the origins of the
/// services that a passed challenge returns to.
///
/// Browsers apply `form-action` also to the redirect that follows a submission,
/// so an answer that leads back to a service needs that service's origin here.
#[derive(Debug, Clone)]
pub struct ContentPolicy(HeaderValue);

impl ContentPolicy {
    /// The policy for pages of the gate's own origin. `service_origins` are
    /// serialised origins such as `https://ledger.example.com`; one that cannot
    /// stand in a header is left out, which refuses the redirect and no more.
    #[must_use]
    pub fn for_services<'a>(service_origins: impl IntoIterator<Item = &'a str>) -> Self {
        let mut policy = String::from(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
             connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        );
        for origin in service_origins {
            let is_plain = origin
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'/' | b'.' | b'-' | b'[' | b']'));
            if is_plain {
                policy.push(' ');
                policy.push_str(origin);
            }
        }
        Self(HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'")))
    }

    /// The policy for pages of an approver device, which can be put on a home screen.
    #[must_use]
    pub fn for_devices() -> Self {
        Self(HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
             worker-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ))
    }

    /// The policy for a page that a door shows on a service's host, with style
    /// and mark from the gate's origin and nothing else.
    #[must_use]
    pub fn on_service_host(gate_origin: &str) -> Self {
        let policy = format!(
            "default-src 'none'; style-src {gate_origin}; img-src {gate_origin}; \
             script-src {gate_origin}; frame-ancestors 'none'; base-uri 'none'; \
             form-action 'self' {gate_origin}"
        );
        Self(HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'")))
    }
}

/// Renders a view and gives it the headers of a page: never cached, never
/// framed, never sniffed, telling no other origin where it came from.
pub fn respond(status: StatusCode, policy: &ContentPolicy, view: &impl Template) -> Response {
    let html = match view.render() {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(error = %error, "a page could not be rendered");
            let words = "This page could not be made. Nothing was done.\n";
            return (StatusCode::INTERNAL_SERVER_ERROR, words).into_response();
        }
    };
    let mut response = (status, html).into_response();
    dress(&mut response, policy);
    response
}

/// Adds `Retry-After` in whole seconds, for pages that say to try again.
#[must_use]
pub fn retry_after(mut response: Response, seconds: u32) -> Response {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn dress(response: &mut Response, policy: &ContentPolicy) {
    let fixed: [(HeaderName, &'static str); 8] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // `same-origin` would blank the `Origin` header of no form of ours, and
        // tells other origins nothing.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), \
             microphone=(), geolocation=(), payment=()",
        ),
    ];
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CONTENT_SECURITY_POLICY, policy.0.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_origins_may_be_returned_to() {
        let policy = ContentPolicy::for_services([
            "https://ledger.example.com",
            "https://evil.example; script-src *",
            "http://notes.localhost:8081",
        ]);
        let text = policy.0.to_str().unwrap();
        assert!(text.ends_with("form-action 'self' https://ledger.example.com http://notes.localhost:8081"));
        assert!(!text.contains("evil"));
        assert!(!text.contains("unsafe"));
    }
}
