//! One function for fuzzers: raw bytes in, every invariant checked.

use std::net::{Ipv4Addr, SocketAddr};

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::{
    AfterHead, Ambiguous, CanonicalRequest, Framing, Listener, MAX_HEADERS, Peer, Purpose, Scheme, TrustedHops,
    inspect, names,
};

/// What became of fuzzed bytes.
#[derive(Debug)]
pub enum FuzzOutcome {
    /// Not a request head at all.
    Unreadable,
    /// A head that is refused.
    Refused(Ambiguous),
    /// A request with one reading, which was read again and was the same.
    Read(Box<CanonicalRequest>),
}

/// Parses a raw HTTP/1 head as the server does and reads it canonically.
///
/// # Errors
///
/// A sentence that names the invariant which does not hold: reading what was read
/// gives the same, nothing of the hop and none of our names goes on, the path is
/// absolute and without dot segments.
pub fn fuzz_read(bytes: &[u8]) -> Result<FuzzOutcome, &'static str> {
    let request = match parse_head(bytes) {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(FuzzOutcome::Unreadable),
        Err(ambiguous) => return Ok(FuzzOutcome::Refused(ambiguous)),
    };
    let listener = Listener { scheme: Scheme::Https, hops: TrustedHops::default() };
    let peer = Peer::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 4711)));
    let (parts, ()) = request.into_parts();
    let first = match CanonicalRequest::read(parts, AfterHead::Nothing, &peer, &listener) {
        Ok(first) => first,
        Err(ambiguous) => return Ok(FuzzOutcome::Refused(ambiguous)),
    };
    check_invariants(&first)?;
    let again = rebuild(&first).ok_or("what was read cannot be written")?;
    let (parts, ()) = again.into_parts();
    let second = CanonicalRequest::read(parts, AfterHead::Nothing, &peer, &listener)
        .map_err(|_| "what was read is refused when read again")?;
    if first.method != second.method
        || first.target != second.target
        || first.host != second.host
        || first.headers != second.headers
        || first.framing != second.framing
        || first.purpose != second.purpose
        || first.client != second.client
    {
        return Err("what was read reads differently the second time");
    }
    Ok(FuzzOutcome::Read(Box::new(first)))
}

/// What the guard before the server refuses is refused here; the rest is parsed as
/// the server does.
fn parse_head(bytes: &[u8]) -> Result<Option<Request<()>>, Ambiguous> {
    if inspect(bytes)?.is_none() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    if !head.parse(bytes).is_ok_and(|status| status.is_complete()) {
        return Ok(None);
    }
    Ok(into_request(&head))
}

fn into_request(head: &httparse::Request<'_, '_>) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method?.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(head.path?).ok()?;
    *request.version_mut() = match head.version? {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    for header in head.headers.iter() {
        request
            .headers_mut()
            .append(HeaderName::from_bytes(header.name.as_bytes()).ok()?, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some(request)
}

/// Writes a canonical request as the head that the upstream gets.
fn rebuild(read: &CanonicalRequest) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = read.method.clone();
    *request.uri_mut() = Uri::try_from(read.target.as_str()).ok()?;
    *request.headers_mut() = read.headers.clone();
    let headers = request.headers_mut();
    headers.insert(http::header::HOST, HeaderValue::try_from(read.host.to_string()).ok()?);
    match read.framing {
        Framing::None => {}
        Framing::Length(length) => {
            headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Framing::Streamed => {
            headers.insert(http::header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    if let Purpose::WebSocket { .. } = read.purpose {
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    Some(request)
}

fn check_invariants(read: &CanonicalRequest) -> Result<(), &'static str> {
    if !read.path.as_str().starts_with('/') || read.path.as_str().contains("//") {
        return Err("the path is not absolute or has an empty segment");
    }
    let hidden =
        read.path.segments().any(|segment| segment == "." || segment == ".." || segment.contains(['/', '\\', '\0']));
    if hidden {
        return Err("a decoded segment is a dot segment or hides a separator");
    }
    if !read.target.as_str().starts_with(read.path.as_str()) {
        return Err("the path is not what is forwarded");
    }
    let stays = |name: &HeaderName| matches!(names::classify(name).0, names::Class::Plain | names::Class::Singleton);
    if !read.headers.keys().all(stays) {
        return Err("a header goes on that must not");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(bytes: &[u8]) -> Ambiguous {
        match fuzz_read(bytes) {
            Ok(FuzzOutcome::Refused(ambiguous)) => ambiguous,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn heads_are_read_and_refused() {
        assert!(matches!(fuzz_read(b"GET /a?b HTTP/1.1\r\nHost: app.test\r\nX: y\r\n\r\n"), Ok(FuzzOutcome::Read(_))));
        assert!(matches!(fuzz_read(b"GET"), Ok(FuzzOutcome::Unreadable)));
        assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), Ambiguous::NoHost);
    }

    fn fragments() -> impl Strategy<Value = Vec<u8>> {
        let methods = prop::sample::select(vec!["GET", "POST", "get", "CONNECT", "HEAD", "PUT"]);
        let pieces = prop::sample::select(vec![
            "/", "a", "..", ".", "%2e", "%2F", ";x", "\\", "%", "%25", "#", "?", "admin", "%41", "http://h", "h:80",
            "*", "@", "%c3%a9", "~", "//",
        ]);
        let lines = prop::sample::select(vec![
            "Host: h",
            "Host: H:80",
            "Host: other",
            "Host: h.",
            "Content-Length: 3",
            "Content-Length: +3",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Connection: close, x-a",
            "Connection: upgrade",
            "Connection: host",
            "Upgrade: websocket",
            "Upgrade: h2c",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "X-A: 1",
            "X_Forwarded_For: 1",
            "Stepgate_Principal: root",
            "Cookie: a=1",
            "Cookie: b=2",
            "Content_Length: 5",
            "X-HTTP-Method-Override: PUT",
            "Expect: 100-continue",
            "Origin: null",
            "TE: trailers",
        ]);
        (methods, prop::collection::vec(pieces, 1..6), prop::collection::vec(lines, 0..6)).prop_map(
            |(method, pieces, lines)| {
                let mut head = format!("{method} {} HTTP/1.1\r\n", pieces.concat());
                for line in lines {
                    head.push_str(line);
                    head.push_str("\r\n");
                }
                head.push_str("\r\n");
                head.into_bytes()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_is_read_reads_the_same_again(head in fragments()) {
            prop_assert!(fuzz_read(&head).is_ok());
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(fuzz_read(&bytes).is_ok());
        }
    }
}
