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

fn classify_folded(name: &str) -> Class {
    match name {
        "content-length" | "host" | "transfer-encoding" | "expect" => Class::Framing,
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "proxy-authentication-info"
        | "te"
        | "trailer"
        | "upgrade"
        | "http2-settings" => Class::Hop,
        "forwarded"
        | "x-real-ip"
        | "x-client-ip"
        | "x-cluster-client-ip"
        | "client-ip"
        | "true-client-ip"
        | "cf-connecting-ip"
        | "cf-connecting-ipv6"
        | "cf-visitor"
        | "fastly-client-ip"
        | "fly-client-ip"
        | "x-appengine-user-ip"
        | "x-azure-clientip"
        | "x-originating-ip"
        | "x-remote-ip"
        | "x-remote-addr"
        | "x-proxyuser-ip"
        | "x-rewrite-url"
        | "x-host"
        | "x-scheme"
        | "x-url-scheme"
        | "x-http-host-override"
        | "x-https"
        | "front-end-https"
        | "x-script-name"
        | "x-accel-redirect"
        | "x-sendfile"
        | "proxy" => Class::Forwarding,
        "x-http-method-override" | "x-http-method" | "x-method-override" | "x-method" => Class::MethodOverride,
        "authorization"
        | "content-type"
        | "content-encoding"
        | "content-location"
        | "content-range"
        | "content-disposition"
        | "origin"
        | "referer"
        | "range"
        | "if-range"
        | "if-modified-since"
        | "if-unmodified-since"
        | "date"
        | "from"
        | "max-forwards"
        | "location"
        | "user-agent"
        | "access-control-request-method"
        | "access-control-request-private-network"
        | "idempotency-key"
        | "sec-fetch-site"
        | "sec-fetch-mode"
        | "sec-fetch-dest"
        | "sec-fetch-user"
        | "sec-websocket-key"
        | "sec-websocket-version"
        | "service-worker"
        | "upgrade-insecure-requests"
        | "x-csrf-token"
        | "x-xsrf-token"
        | "x-requested-with"
        | "x-api-key"
        | "destination"
        | "depth"
        | "overwrite" => Class::Singleton,
        name if name.starts_with(OWN_PREFIX) || name == "stepgate" => Class::Own,
        name if name.starts_with("x-forwarded") || name.starts_with("x-original-") => Class::Forwarding,
        name if name.starts_with("x-envoy-") => Class::Forwarding,
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
