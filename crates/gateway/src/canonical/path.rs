//! The path of a request target.

use std::borrow::Cow;
use std::fmt;

use http::uri::PathAndQuery;
use stepgate_core::surroundings::is_unseen;

use super::Ambiguous;

/// The path of a request, which every server reads in the same way.
///
/// Spelling is settled here, once: there is no empty segment, no dot segment,
/// no backslash, no path parameter, no needless, invalid or double encoding, no
/// control character, plain or encoded. So a policy compares whole segments and
/// never thinks about spelling, and [`RequestPath::as_str`] is, byte for byte,
/// what the upstream receives.
///
/// What is refused rather than repaired could be repaired for one upstream only:
/// one that treats `/a/..;/b` as `/b` and one that does not stand behind the
/// same gate.
#[derive(Clone)]
pub struct RequestPath {
    // The query's bytes are shared, not read: `as_str` ends before them.
    target: PathAndQuery,
}

impl RequestPath {
    /// Reads the path of a request target, once, at the edge.
    ///
    /// # Errors
    ///
    /// Names the first thing that two servers could read differently.
    pub fn parse(raw: &str) -> Result<Self, Ambiguous> {
        if raw.contains('#') {
            return Err(Ambiguous::Fragment);
        }
        if raw.contains('?') {
            return Err(Ambiguous::PathCharacter);
        }
        check_path(raw)?;
        let target = PathAndQuery::try_from(raw).map_err(|_| Ambiguous::PathCharacter)?;
        Self::from_target(&target)
    }

    pub(super) fn from_target(target: &PathAndQuery) -> Result<Self, Ambiguous> {
        // `PathAndQuery::path` answers "/" for an empty path; the bytes do not lie.
        if !target.as_str().starts_with('/') {
            return Err(Ambiguous::TargetForm);
        }
        check_path(target.path())?;
        Ok(Self { target: target.clone() })
    }

    /// The path as it is forwarded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.target.path()
    }

    /// The decoded segments between slashes. `/` has none, and `/a/` has the
    /// two segments `a` and the empty one, since servers tell it from `/a`.
    pub fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let path = self.as_str();
        let rest = path.strip_prefix('/').unwrap_or(path);
        let only_root = rest.is_empty();
        rest.split('/').filter(move |_| !only_root).map(decode)
    }

    /// Whether this path is `parent` or below it, by whole decoded segments.
    /// A parent that ends with a slash holds only what is below it.
    #[must_use]
    pub fn is_under(&self, parent: &Self) -> bool {
        let mut own = self.segments();
        for wanted in parent.segments() {
            match own.next() {
                Some(segment) if segment == wanted => {}
                Some(_) if wanted.is_empty() => return true,
                _ => return false,
            }
        }
        true
    }
}

impl fmt::Debug for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestPath").field(&self.as_str()).finish()
    }
}

impl PartialEq for RequestPath {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RequestPath {}

fn decode(segment: &str) -> Cow<'_, str> {
    // UTF-8 was checked when the path was read; lossy never comes to replace.
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy()
}

fn check_path(path: &str) -> Result<(), Ambiguous> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(Ambiguous::TargetForm);
    };
    let mut encoded = false;
    for byte in path.bytes() {
        match byte {
            b'%' => encoded = true,
            b'\\' => return Err(Ambiguous::Backslash),
            b';' => return Err(Ambiguous::PathParameter),
            b'#' => return Err(Ambiguous::Fragment),
            0..=0x1f | 0x7f => return Err(Ambiguous::ControlInPath),
            byte if stands_plain(byte) => {}
            _ => return Err(Ambiguous::PathCharacter),
        }
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" if !last => return Err(Ambiguous::EmptySegment),
            "." | ".." => return Err(Ambiguous::DotSegment),
            _ => {}
        }
    }
    if encoded {
        check_encoding(path)?;
    }
    Ok(())
}

/// RFC 3986 section 3.3 (`pchar` and `/`), without `;`, and with the four
/// characters that browsers leave as they are (WHATWG URL, path percent-encode
/// set) and that no server gives a meaning.
fn stands_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b':'
                | b'@'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b'['
                | b']'
                | b'^'
                | b'|'
        )
}

fn check_encoding(path: &str) -> Result<(), Ambiguous> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let value = match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(Ambiguous::PercentEncoding),
        };
        match value {
            b'/' => return Err(Ambiguous::EncodedSlash),
            b'\\' => return Err(Ambiguous::Backslash),
            0..=0x1f | 0x7f => return Err(Ambiguous::ControlInPath),
            // Only an encoded dot can spell a dot segment; it has its own name
            // because that is what the sender tried.
            b'.' => return Err(Ambiguous::DotSegment),
            b'-' | b'_' | b'~' => return Err(Ambiguous::UnneededEncoding),
            value if value.is_ascii_alphanumeric() => return Err(Ambiguous::UnneededEncoding),
            value => decoded.push(value),
        }
    }
    let decoded = std::str::from_utf8(&decoded).map_err(|_| Ambiguous::PathNotUtf8)?;
    // A person who is asked to confirm this path would read another.
    if decoded.chars().any(is_unseen) {
        return Err(Ambiguous::ControlInPath);
    }
    if decodes_again(decoded.as_bytes()) {
        return Err(Ambiguous::DoubleEncoding);
    }
    Ok(())
}

fn decodes_again(decoded: &[u8]) -> bool {
    decoded.windows(3).any(|window| match window {
        [b'%', high, low] => hex(*high).is_some() && hex(*low).is_some(),
        _ => false,
    })
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Result<(), Ambiguous>) {
        assert_eq!(RequestPath::parse(raw).map(|_| ()), expected, "{raw}");
    }

    #[test]
    fn one_reading_is_accepted() {
        for raw in [
            "/",
            "/a",
            "/a/",
            "/payments/42/approve",
            "/~user/a.b/..c/...",
            "/caf%C3%A9",
            "/caf%c3%a9",
            "/100%25",
            "/a:b@c!$&'()*+,=",
            "/[x]|^",
            "/a%3Bb/a%3Fb/a%23b/a%20b",
        ] {
            check(raw, Ok(()));
        }
    }

    #[test]
    fn b01_dot_segments_are_refused() {
        check("/public/../admin/secrets", Err(Ambiguous::DotSegment));
        check("/public/.", Err(Ambiguous::DotSegment));
        check("/./admin", Err(Ambiguous::DotSegment));
        check("/..", Err(Ambiguous::DotSegment));
    }

    #[test]
    fn b02_encoded_dot_segments_are_refused() {
        check("/public/%2e%2e/user/x", Err(Ambiguous::DotSegment));
        check("/public/.%2E/user/x", Err(Ambiguous::DotSegment));
        check("/user/%2e%2e%2fadmin", Err(Ambiguous::DotSegment));
        check("/user/..%2fadmin", Err(Ambiguous::EncodedSlash));
        check("/user/..%5cadmin", Err(Ambiguous::Backslash));
        check("/user/%252e%252e/admin", Err(Ambiguous::DoubleEncoding));
        check("/user/%252fadmin", Err(Ambiguous::DoubleEncoding));
        check("/user/%25%32%65", Err(Ambiguous::UnneededEncoding));
        check("/user/%c0%ae%c0%ae/admin", Err(Ambiguous::PathNotUtf8));
        check("/user/%e0%80%ae", Err(Ambiguous::PathNotUtf8));
        check("/user/%ff", Err(Ambiguous::PathNotUtf8));
        check("/user/%u002e", Err(Ambiguous::PercentEncoding));
    }

    #[test]
    fn b03_a_dot_that_is_glued_to_a_prefix_is_refused() {
        check("/api%2e/admin/secret", Err(Ambiguous::DotSegment));
    }

    #[test]
    fn b04_dots_that_are_glued_to_a_prefix_stay_in_their_segment() {
        check("/api%2e%2e/admin", Err(Ambiguous::DotSegment));
        // Not a dot segment to anybody: it is a segment of its own, and not under /api.
        let glued = RequestPath::parse("/api../admin").unwrap();
        assert!(!glued.is_under(&RequestPath::parse("/api").unwrap()));
    }

    #[test]
    fn b06_b13_empty_segments_are_refused() {
        check("//admin/secret-endpoint", Err(Ambiguous::EmptySegment));
        check("///admin", Err(Ambiguous::EmptySegment));
        check("/a//b", Err(Ambiguous::EmptySegment));
        check("/a//", Err(Ambiguous::EmptySegment));
    }

    #[test]
    fn b07_path_parameters_are_refused() {
        check("/a;x=1/..;/admin", Err(Ambiguous::PathParameter));
        check("/payments/42/approve;x", Err(Ambiguous::PathParameter));
        check("/..;/admin", Err(Ambiguous::PathParameter));
    }

    #[test]
    fn b08_b09_separators_nul_and_fragments_are_refused() {
        check("/a%2fadmin", Err(Ambiguous::EncodedSlash));
        check("/a%2Fadmin", Err(Ambiguous::EncodedSlash));
        check("/a%5Cadmin", Err(Ambiguous::Backslash));
        check("/a\\admin", Err(Ambiguous::Backslash));
        check("/a%00", Err(Ambiguous::ControlInPath));
        check("/a%0d%0aX: y", Err(Ambiguous::PathCharacter));
        check("/a%0d%0aX", Err(Ambiguous::ControlInPath));
        check("/a%7f", Err(Ambiguous::ControlInPath));
        check("/a%C2%85", Err(Ambiguous::ControlInPath));
        for unseen in
            ["\u{202e}", "\u{200b}", "\u{ad}", "\u{115f}", "\u{2028}", "\u{2800}", "\u{3164}", "\u{fe0f}", "\u{e0041}"]
        {
            let encoded: String = unseen.bytes().map(|byte| format!("%{byte:02X}")).collect();
            check(&format!("/a{encoded}b"), Err(Ambiguous::ControlInPath));
        }
        check("/admin#x", Err(Ambiguous::Fragment));
        check("/foo/secret#/x/bar", Err(Ambiguous::Fragment));
    }

    #[test]
    fn b11_a_path_without_its_slash_is_refused() {
        check("admin", Err(Ambiguous::TargetForm));
        check("", Err(Ambiguous::TargetForm));
        check("*", Err(Ambiguous::TargetForm));
    }

    #[test]
    fn b12_needless_encoding_is_refused() {
        check("/%41dmin", Err(Ambiguous::UnneededEncoding));
        check("/%7Euser", Err(Ambiguous::UnneededEncoding));
        check("/a%", Err(Ambiguous::PercentEncoding));
        check("/a%4", Err(Ambiguous::PercentEncoding));
        check("/a%zz", Err(Ambiguous::PercentEncoding));
        check("/a b", Err(Ambiguous::PathCharacter));
        check("/é", Err(Ambiguous::PathCharacter));
    }

    #[test]
    fn b13_under_means_whole_segments() {
        let under =
            |path: &str, parent: &str| RequestPath::parse(path).unwrap().is_under(&RequestPath::parse(parent).unwrap());
        assert!(under("/wire", "/wire"));
        assert!(under("/wire/1", "/wire"));
        assert!(under("/wire/", "/wire"));
        assert!(under("/anything", "/"));
        assert!(under("/wire/1", "/wire/"));
        assert!(under("/caf%c3%a9/x", "/caf%C3%A9"));
        assert!(!under("/wiretap", "/wire"));
        assert!(!under("/administrators", "/admin"));
        assert!(!under("/wire", "/wire/"));
        assert!(!under("/", "/wire"));
    }

    #[test]
    fn segments_are_decoded_and_the_trailing_slash_is_seen() {
        let segments =
            |path: &str| RequestPath::parse(path).unwrap().segments().map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(segments("/"), Vec::<String>::new());
        assert_eq!(segments("/a%20b/c"), ["a b", "c"]);
        assert_eq!(segments("/a/"), ["a", ""]);
    }
}
