//! Reading the headers once, and taking away what must not go on.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::names::{self, Class, Spelling, classify};
use super::{Ambiguous, MAX_HEADER_BYTES, MAX_HEADERS};

/// What the removed headers said.
pub(super) struct Lifted {
    /// The value of the one Host header.
    pub(super) host: Option<HeaderValue>,
    pub(super) content_length: Option<u64>,
    pub(super) chunked: Chunked,
    /// The value of Upgrade, where Connection names it too.
    pub(super) upgrade: Option<HeaderValue>,
    /// The challenge that a program says it passed.
    pub(super) challenge: Option<HeaderValue>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
    Yes,
    No,
}

/// What stands in the headers, by the one look at all of them.
pub(super) struct Inspected {
    /// The names to remove. Every header that [`lift`] reads is among them.
    removed: Vec<HeaderName>,
    cookies: Cookies,
}

/// Over how many headers the cookies are spread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cookies {
    OneAtMost,
    Several,
}

/// The checks that look at every header, before anything is removed.
pub(super) fn inspect(headers: &HeaderMap) -> Result<Inspected, Ambiguous> {
    if headers.len() > MAX_HEADERS {
        return Err(Ambiguous::TooManyHeaders);
    }
    let mut removed: Vec<HeaderName> = Vec::new();
    let mut cookies = Cookies::OneAtMost;
    let mut bytes = 0_usize;
    let mut previous: Option<&HeaderName> = None;
    for (name, value) in headers {
        // The values of one name follow each other.
        let repeated = previous == Some(name);
        previous = Some(name);
        bytes = bytes.saturating_add(name.as_str().len() + value.len() + 4);
        if !is_readable(value) {
            return Err(Ambiguous::HeaderValue);
        }
        match classify(name) {
            (Class::Plain, _) => {
                if repeated && *name == COOKIE {
                    cookies = Cookies::Several;
                }
            }
            (Class::MethodOverride, _) => return Err(Ambiguous::MethodOverride),
            (Class::Singleton | Class::Framing | Class::Hop, Spelling::Twin) => {
                return Err(Ambiguous::HeaderTwin);
            }
            (Class::Singleton, Spelling::Exact) => {
                if repeated {
                    return Err(Ambiguous::DuplicateHeader);
                }
            }
            (Class::Own | Class::Forwarding | Class::Framing | Class::Hop, _) => {
                if !repeated {
                    removed.push(name.clone());
                }
            }
        }
    }
    if bytes > MAX_HEADER_BYTES {
        return Err(Ambiguous::HeadersTooLarge);
    }
    Ok(Inspected { removed, cookies })
}

/// Reads the framing and hop headers, and leaves only what may go on.
///
/// Headers that Connection names are removed here, long before ours are added,
/// so that nobody can name ours away (RFC 9110, section 7.6.1).
pub(super) fn lift(headers: &mut HeaderMap, inspected: Inspected, version: Version) -> Result<Lifted, Ambiguous> {
    let Inspected { removed, cookies } = inspected;
    let lifted = match removed.as_slice() {
        // As nearly all requests of HTTP/1.1 are: there is nothing else to look for.
        [name] if *name == HOST => Lifted {
            host: only(headers, &HOST).map_err(|Twice| Ambiguous::TwoHosts)?,
            content_length: None,
            chunked: Chunked::No,
            upgrade: None,
            challenge: None,
        },
        _ => lift_all(headers, version)?,
    };
    let named = match removed.contains(&CONNECTION) {
        true => connection_names(headers)?,
        false => Vec::new(),
    };
    for name in removed.into_iter().chain(named) {
        headers.remove(name);
    }
    if cookies == Cookies::Several {
        join_cookies(headers)?;
    }
    Ok(lifted)
}

fn lift_all(headers: &HeaderMap, version: Version) -> Result<Lifted, Ambiguous> {
    let lifted = Lifted {
        host: only(headers, &HOST).map_err(|Twice| Ambiguous::TwoHosts)?,
        content_length: content_length(headers)?,
        chunked: chunked(headers, version)?,
        upgrade: upgrade(headers)?,
        challenge: only(headers, &HeaderName::from_static(names::CHALLENGE))
            .map_err(|Twice| Ambiguous::DuplicateHeader)?,
    };
    if lifted.content_length.is_some() && lifted.chunked == Chunked::Yes {
        return Err(Ambiguous::TwoFramings);
    }
    if let Some(expectation) = only(headers, &EXPECT).map_err(|Twice| Ambiguous::Expectation)?
        && !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Ambiguous::Expectation);
    }
    Ok(lifted)
}

/// The header stands more than once.
struct Twice;

fn only(headers: &HeaderMap, name: &HeaderName) -> Result<Option<HeaderValue>, Twice> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().cloned();
    if values.next().is_some() {
        return Err(Twice);
    }
    Ok(first)
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Ambiguous> {
    let Some(value) = only(headers, &CONTENT_LENGTH).map_err(|Twice| Ambiguous::ContentLength)? else {
        return Ok(None);
    };
    let digits = value.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Ambiguous::ContentLength);
    }
    value.to_str().ok().and_then(|text| text.parse().ok()).map(Some).ok_or(Ambiguous::ContentLength)
}

fn chunked(headers: &HeaderMap, version: Version) -> Result<Chunked, Ambiguous> {
    let value = only(headers, &TRANSFER_ENCODING).map_err(|Twice| Ambiguous::TransferEncoding)?;
    match value {
        None => Ok(Chunked::No),
        Some(value) if version == Version::HTTP_11 && value.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Chunked::Yes)
        }
        Some(_) => Err(Ambiguous::TransferEncoding),
    }
}

fn upgrade(headers: &HeaderMap) -> Result<Option<HeaderValue>, Ambiguous> {
    let value = only(headers, &UPGRADE).map_err(|Twice| Ambiguous::Upgrade)?;
    if value.is_some() && !connection_tokens(headers).any(|t| t.eq_ignore_ascii_case("upgrade")) {
        return Err(Ambiguous::Upgrade);
    }
    Ok(value)
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn connection_names(headers: &HeaderMap) -> Result<Vec<HeaderName>, Ambiguous> {
    let mut named = Vec::new();
    for token in connection_tokens(headers) {
        let folded = names::fold(token);
        if folded == "close" || folded == "keep-alive" {
            continue;
        }
        if names::is_message_header(&folded) {
            return Err(Ambiguous::ConnectionHeader);
        }
        named.push(HeaderName::try_from(token).map_err(|_| Ambiguous::ConnectionHeader)?);
    }
    Ok(named)
}

/// HTTP/2 may split the cookies over several headers (RFC 9113, section 8.2.3);
/// one header is what we read, and what goes on.
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Ambiguous> {
    let mut values = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (values.next(), values.next()) else {
        return Ok(());
    };
    let mut joined = first.as_bytes().to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(value.as_bytes());
    }
    let joined = HeaderValue::from_bytes(&joined).map_err(|_| Ambiguous::HeaderValue)?;
    headers.insert(COOKIE, joined);
    Ok(())
}

/// Text, without controls other than the tab.
fn is_readable(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    // Without a way out in the middle, so that many bytes are looked at at once.
    if bytes.iter().fold(true, |plain, b| plain & matches!(b, b'\t' | 0x20..=0x7e)) {
        return true;
    }
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(|c| c.is_control() && c != '\t'))
}
