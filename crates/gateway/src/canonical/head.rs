//! The head of an HTTP/1 request as it came over the wire, before the HTTP
//! library repairs it.
//!
//! The library drops a `#fragment`, makes one length of two equal ones, drops a
//! length beside a transfer encoding, takes a bare line feed for a line's end, and
//! answers by itself what it cannot parse. So the bytes are looked at first, with
//! the library's own parser: what passes here passes there, with the same framing.

use std::mem::MaybeUninit;

use http::Uri;

use super::{Ambiguous, Framing, MAX_HEADERS};

/// The longest Content-Length; the library keeps the two numbers above it for itself.
const MAX_LENGTH: u64 = u64::MAX - 2;

/// A head that the library reads as we do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawHead {
    /// Its bytes, the empty line at its end included.
    pub(crate) length: usize,
    /// Where the body ends.
    pub(crate) framing: Framing,
    /// Whether what follows may be another protocol.
    pub(crate) follows: Follows,
}

/// What follows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    /// The next request.
    Request,
    /// Whatever the answer to an offered upgrade decides.
    WhatIsAnswered,
}

/// Looks at the head that `bytes` begin with. `None` while its end has not come.
///
/// Only what the library would hide or answer by itself is judged here; all else
/// is judged by [`super::CanonicalRequest::read`], once.
///
/// # Errors
///
/// [`Ambiguous`], with the first reason found.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Option<RawHead>, Ambiguous> {
    let mut slots = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut []);
    let length = match head.parse_with_uninit_headers(bytes, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(reason(error, bytes)),
    };
    check_line_ends(bytes.get(..length).unwrap_or_default())?;
    match head.method {
        Some("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => {}
        Some("CONNECT") => return Err(Ambiguous::Connect),
        _ => return Err(Ambiguous::Method),
    }
    check_target(head.path.unwrap_or_default())?;
    let mut framing = Framing::None;
    let mut follows = Follows::Request;
    for header in head.headers.iter() {
        // Most names are told apart by their length.
        match header.name.len() {
            14 if header.name.eq_ignore_ascii_case("content-length") => match framing {
                Framing::None => framing = Framing::Length(content_length(header.value)?),
                Framing::Length(_) => return Err(Ambiguous::ContentLength),
                Framing::Streamed => return Err(Ambiguous::TwoFramings),
            },
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => match framing {
                Framing::Length(_) => return Err(Ambiguous::TwoFramings),
                Framing::None if head.version == Some(1) && header.value.eq_ignore_ascii_case(b"chunked") => {
                    framing = Framing::Streamed;
                }
                _ => return Err(Ambiguous::TransferEncoding),
            },
            7 if header.name.eq_ignore_ascii_case("upgrade") => follows = Follows::WhatIsAnswered,
            _ => {}
        }
    }
    // What follows is the body of the one reading and the other protocol of the other.
    if follows == Follows::WhatIsAnswered && !matches!(framing, Framing::None | Framing::Length(0)) {
        return Err(Ambiguous::UnexpectedBody);
    }
    Ok(Some(RawHead { length, framing, follows }))
}

/// RFC 9112, section 2.2: a line ends with CR LF. The parser lets no CR stand
/// alone, so as many of one as of the other means that no LF does.
fn check_line_ends(head: &[u8]) -> Result<(), Ambiguous> {
    /// Few enough that one `i8` holds their balance, which is what makes this a few
    /// instructions for each 16 bytes.
    const AT_ONCE: usize = 120;
    let balance = |bytes: &[u8]| {
        let one = |balance: i8, byte: &u8| {
            balance.wrapping_add(i8::from(*byte == b'\n')).wrapping_sub(i8::from(*byte == b'\r'))
        };
        i32::from(bytes.iter().fold(0, one))
    };
    let difference: i32 = head.chunks(AT_ONCE).map(balance).sum();
    if difference == 0 { Ok(()) } else { Err(Ambiguous::LineEnd) }
}

/// A target that the library can read, and reads whole.
fn check_target(target: &str) -> Result<(), Ambiguous> {
    let everyday = |b: &u8| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'/' | b'-' | b'.' | b'_' | b'~' | b'%' | b'?' | b'=' | b'&' | b'+' | b',' | b':' | b'@')
    };
    if target.starts_with('/') && target.as_bytes().iter().all(everyday) {
        return Ok(());
    }
    if target.contains('#') {
        return Err(Ambiguous::Fragment);
    }
    match Uri::try_from(target) {
        Ok(_) => Ok(()),
        Err(_) if target.starts_with('/') => Err(Ambiguous::PathCharacter),
        Err(_) => Err(Ambiguous::TargetForm),
    }
}

/// RFC 9112, section 6.2: digits, and nothing else.
fn content_length(value: &[u8]) -> Result<u64, Ambiguous> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Ambiguous::ContentLength);
    }
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.filter(|number| *number <= MAX_LENGTH).ok_or(Ambiguous::ContentLength)
}

fn reason(error: httparse::Error, bytes: &[u8]) -> Ambiguous {
    match error {
        httparse::Error::TooManyHeaders => Ambiguous::TooManyHeaders,
        httparse::Error::HeaderName => Ambiguous::HeaderLine,
        httparse::Error::HeaderValue => Ambiguous::HeaderValue,
        httparse::Error::NewLine => Ambiguous::LineEnd,
        httparse::Error::Version if names_a_version(bytes) => Ambiguous::Version,
        _ => Ambiguous::RequestLine,
    }
}

/// Whether the third word of the first line is a version, if not one that is served.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    line.split(|b| *b == b' ').nth(2).is_some_and(|word| word.starts_with(b"HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn accepts(head: &str, framing: Framing) {
        let expected = RawHead { length: head.len(), framing, follows: Follows::Request };
        assert_eq!(inspect(format!("{head}rest").as_bytes()), Ok(Some(expected)), "{head:?}");
    }

    #[track_caller]
    fn refuses(head: &str, reason: Ambiguous) {
        assert_eq!(inspect(head.as_bytes()), Err(reason), "{head:?}");
    }

    fn post(lines: &str) -> String {
        format!("POST /x HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n")
    }

    #[test]
    fn the_framing_is_what_the_head_says() {
        accepts("GET /x?y=1 HTTP/1.1\r\nHost: app.test\r\n\r\n", Framing::None);
        accepts("GET / HTTP/1.0\r\n\r\n", Framing::None);
        accepts(&post("Content-Length: 5\r\n"), Framing::Length(5));
        accepts(&post("content-LENGTH:007 \r\n"), Framing::Length(7));
        accepts(&post("Transfer-Encoding: Chunked\r\n"), Framing::Streamed);
        accepts("OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n", Framing::None);
        accepts("GET http://app.test/x HTTP/1.1\r\nHost: app.test\r\n\r\n", Framing::None);
        let offer = inspect(post("Upgrade: websocket\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!(offer.follows, Follows::WhatIsAnswered);
        refuses(&post("Upgrade: h2c\r\nContent-Length: 5\r\n"), Ambiguous::UnexpectedBody);
        assert_eq!(inspect(b"GET /x HTTP/1.1\r\nHost: app.t"), Ok(None));
    }

    #[test]
    fn b31_b32_b33_every_second_framing_is_refused() {
        refuses(&post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Ambiguous::TwoFramings);
        refuses(&post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), Ambiguous::TwoFramings);
        for length in ["5\r\nContent-Length: 5", "5\r\nContent-Length: 6", "5, 5", "+5", "-1", "0x5", "", "1e1", "５"]
        {
            refuses(&post(&format!("Content-Length: {length}\r\n")), Ambiguous::ContentLength);
        }
        for length in ["18446744073709551616", "18446744073709551615", "18446744073709551614"] {
            refuses(&post(&format!("Content-Length: {length}\r\n")), Ambiguous::ContentLength);
        }
        accepts(&post("Content-Length: 18446744073709551613\r\n"), Framing::Length(MAX_LENGTH));
        for encoding in ["xchunked", "chunked, identity", "gzip, chunked", "chunked\r\nTransfer-Encoding: chunked", ""]
        {
            refuses(&post(&format!("Transfer-Encoding: {encoding}\r\n")), Ambiguous::TransferEncoding);
        }
        refuses("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Ambiguous::TransferEncoding);
    }

    #[test]
    fn section_3_1_lines_that_two_servers_end_differently_are_refused() {
        refuses("GET / HTTP/1.1\nHost: app.test\r\n\r\n", Ambiguous::LineEnd);
        refuses("GET / HTTP/1.1\r\nHost: app.test\nX: y\r\n\r\n", Ambiguous::LineEnd);
        refuses("GET / HTTP/1.1\r\nHost: app.test\r\n\n", Ambiguous::LineEnd);
        let long = "X: yyyyyy\r\n".repeat(45);
        refuses(&format!("GET / HTTP/1.1\r\n{long}X: y\n{long}\r\n"), Ambiguous::LineEnd);
        refuses(&format!("GET / HTTP/1.1\n{}\n", long.replace('\r', "")), Ambiguous::LineEnd);
        refuses("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", Ambiguous::HeaderValue);
        refuses("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", Ambiguous::HeaderValue);
        refuses("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", Ambiguous::HeaderLine);
        refuses("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Ambiguous::HeaderLine);
        refuses("GET / HTTP/1.1\r\n: a\r\n\r\n", Ambiguous::HeaderLine);
        refuses("GET / HTTP/1.1\r\nno colon\r\n\r\n", Ambiguous::HeaderLine);
    }

    #[test]
    fn b08_b09_request_lines_that_the_library_would_repair_or_answer_are_refused() {
        refuses("GET /foo/secret#/x/bar HTTP/1.1\r\n\r\n", Ambiguous::Fragment);
        refuses("GET /a?b#c HTTP/1.1\r\n\r\n", Ambiguous::Fragment);
        refuses("GET /a<b HTTP/1.1\r\n\r\n", Ambiguous::PathCharacter);
        refuses("GET http://[/ HTTP/1.1\r\n\r\n", Ambiguous::TargetForm);
        refuses("GET /a b HTTP/1.1\r\n\r\n", Ambiguous::RequestLine);
        refuses("GET  / HTTP/1.1\r\n\r\n", Ambiguous::RequestLine);
        refuses("GET /\r\n", Ambiguous::RequestLine);
        refuses("GET / HTTP/1.2\r\n\r\n", Ambiguous::Version);
        refuses("GET / HTTP/2.0\r\n\r\n", Ambiguous::Version);
        refuses("PRI * HTTP/1.1\r\n\r\n", Ambiguous::Method);
        refuses("get / HTTP/1.1\r\n\r\n", Ambiguous::Method);
        refuses("CONNECT app.test:443 HTTP/1.1\r\n\r\n", Ambiguous::Connect);
        refuses("\u{16}\u{3}\u{1}\u{2}", Ambiguous::RequestLine);
        let many = "X-A: 1\r\n".repeat(MAX_HEADERS + 1);
        refuses(&format!("GET / HTTP/1.1\r\n{many}\r\n"), Ambiguous::TooManyHeaders);
    }
}
