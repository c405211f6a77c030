//! What a header's name means to us, and to servers that fold names.

use std::borrow::Cow;

use http::HeaderName;

/// The prefix of every header that only Stepgate may set.
pub const OWN_PREFIX: &str = "stepgate-";
/// The one of them that a client may send: it names the challenge that it passed.
pub const CHALLENGE: &str = "stepgate-challenge";

/// What becomes of a request header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Goes on.
    Plain,
    /// Goes on, and may stand once.
    Singleton,
    /// Bears one of our names: removed.
    Own,
    /// Says where a request came from: removed, except that a trusted hop's is
    /// read first.
    Forwarding,
    /// Belongs to one connection (RFC 9110, section 7.6.1): removed.
    Hop,
    /// Frames or addresses the message: read and then set anew by us.
    Framing,
    /// Asks for another method: refused.
    MethodOverride,
}

/// Classifies a name by what the servers behind us may take it for.
///
/// CGI and its heirs (WSGI, Rack, PHP) fold `-` and `_`, older ones every
/// punctuation mark, into one character. The second value is whether the name
/// is spelled as the class's own name is.
pub(crate) fn classify(name: &HeaderName) -> (Class, Spelling) {
    match fold(name.as_str()) {
        Cow::Borrowed(plain) => (classify_folded(plain), Spelling::Exact),
        Cow::Owned(folded) => (classify_folded(&folded), Spelling::Twin),
    }
}

/// Whether a name is written as it should be or merely folds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    Exact,
    Twin,
}

/// The name with every character that is neither letter nor digit as `-`, and
/// in lower case.
pub(crate) fn fold(name: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    name.chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
            _ => '-',
        })
        .collect()
}

/// By the first letter, since this is asked for every header of every request.
fn classify_folded(name: &str) -> Class {
    match name.as_bytes().first() {
        Some(b'a') => {
            named(name, &["authorization", "access-control-request-method", "access-control-request-private-network"])
        }
        Some(b'c') => match name {
            "content-length" => Class::Framing,
            "connection" => Class::Hop,
            "client-ip" | "cf-connecting-ip" | "cf-connecting-ipv6" | "cf-visitor" => Class::Forwarding,
            // RFC 9440, section 3: who shows a certificate shows it in TLS, here.
            "client-cert" | "client-cert-chain" => Class::Forwarding,
            name => named(
                name,
                &["content-type", "content-encoding", "content-location", "content-range", "content-disposition"],
            ),
        },
        Some(b'e') if name == "expect" => Class::Framing,
        Some(b'f') => match name {
            "forwarded" | "fastly-client-ip" | "fly-client-ip" | "front-end-https" => Class::Forwarding,
            name => named(name, &["from"]),
        },
        Some(b'h') => match name {
            "host" => Class::Framing,
            "http2-settings" => Class::Hop,
            _ => Class::Plain,
        },
        Some(b'i') => named(name, &["if-range", "if-modified-since", "if-unmodified-since", "idempotency-key"]),
        Some(b'k') if name == "keep-alive" => Class::Hop,
        Some(b'p') => match name {
            // Read by CGI programs as the address of a proxy (CVE-2016-5385).
            "proxy" => Class::Forwarding,
            "proxy-connection" | "proxy-authenticate" | "proxy-authorization" | "proxy-authentication-info" => {
                Class::Hop
            }
            _ => Class::Plain,
        },
        // What nginx and Apache tell their applications of a client certificate.
        Some(b's') if name.starts_with("ssl-client") => Class::Forwarding,
        Some(b's') if name == "stepgate" || name.starts_with(OWN_PREFIX) => Class::Own,
        Some(b's') => named(
            name,
            &[
                "sec-fetch-site",
                "sec-fetch-mode",
                "sec-fetch-dest",
                "sec-fetch-user",
                "sec-websocket-key",
                "sec-websocket-version",
                "service-worker",
            ],
        ),
        Some(b't') => match name {
            "transfer-encoding" => Class::Framing,
            "te" | "trailer" => Class::Hop,
            "true-client-ip" => Class::Forwarding,
            _ => Class::Plain,
        },
        Some(b'u') => match name {
            "upgrade" => Class::Hop,
            name => named(name, &["user-agent", "upgrade-insecure-requests"]),
        },
        Some(b'x') => classify_x(name),
        Some(_) => named(
            name,
            &["origin", "referer", "range", "date", "max-forwards", "location", "destination", "depth", "overwrite"],
        ),
        None => Class::Plain,
    }
}

fn named(name: &str, singletons: &[&str]) -> Class {
    if singletons.contains(&name) { Class::Singleton } else { Class::Plain }
}

fn classify_x(name: &str) -> Class {
    const FORWARDING: [&str; 15] = [
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-appengine-user-ip",
        "x-azure-clientip",
        "x-originating-ip",
        "x-remote-ip",
        "x-remote-addr",
        "x-proxyuser-ip",
        "x-rewrite-url",
        "x-host",
        "x-scheme",
        "x-url-scheme",
        "x-http-host-override",
        "x-https",
    ];
    match name {
        "x-http-method-override" | "x-http-method" | "x-method-override" | "x-method" => Class::MethodOverride,
        "x-script-name" | "x-accel-redirect" | "x-sendfile" => Class::Forwarding,
        "x-csrf-token" | "x-xsrf-token" | "x-requested-with" | "x-api-key" => Class::Singleton,
        name if FORWARDING.contains(&name)
            || name.starts_with("x-forwarded")
            || name.starts_with("x-original-")
            || name.starts_with("x-envoy-")
            || name.starts_with("x-client-cert")
            || name.starts_with("x-ssl") =>
        {
            Class::Forwarding
        }
        _ => Class::Plain,
    }
}

/// Headers that `Connection` must not name, because they belong to the message
/// and not to the hop (RFC 9110, section 7.6.1).
pub(crate) fn is_message_header(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "transfer-encoding"
            | "content-type"
            | "content-encoding"
            | "authorization"
            | "cookie"
            | "origin"
            | "referer"
            | "range"
            | "cache-control"
            | "expect"
            | "forwarded"
    ) || name.starts_with("x-forwarded")
        || name.starts_with("sec-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> (Class, Spelling) {
        classify(&HeaderName::try_from(name).unwrap())
    }

    #[test]
    fn b18_every_spelling_that_folds_to_ours_is_ours() {
        for name in [
            "Stepgate-Principal",
            "STEPGATE_PRINCIPAL",
            "Stepgate_Principal",
            "stepgate.principal",
            "Stepgate-Anything",
            "Stepgate",
        ] {
            assert_eq!(class(name).0, Class::Own, "{name}");
        }
        assert_eq!(class("stepgated").0, Class::Plain);
    }

    #[test]
    fn forwarding_headers_are_known_in_every_spelling() {
        for name in [
            "X-Forwarded-For",
            "X_Forwarded_For",
            "X-Forwarded-User",
            "x_forwarded-uri",
            "Forwarded",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-Real-IP",
            "Proxy",
        ] {
            assert_eq!(class(name).0, Class::Forwarding, "{name}");
        }
    }

    #[test]
    fn a_twin_of_a_framing_header_is_known_as_a_twin() {
        assert_eq!(class("content_length"), (Class::Framing, Spelling::Twin));
        assert_eq!(class("Content-Length"), (Class::Framing, Spelling::Exact));
        assert_eq!(class("X_Http_Method_Override").0, Class::MethodOverride);
    }
}
