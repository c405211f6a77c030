//! Cookies: ours are read here and go no further.

use http::HeaderValue;
use stepgate_core::web::{OurCookie, cookie_pairs};

/// Whether a cookie of this name is ours, or could be taken for ours: any case,
/// any of the prefixes that browsers treat specially, one after the other.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    let name = name.trim();
    // Ours begin with their name or with one of the prefixes.
    matches!(name.as_bytes().first(), Some(b's' | b'S' | b'_')) && OurCookie::is_ours(base_name(name))
}

/// The Cookie header without our cookies, or `None` where nothing is left.
#[must_use]
pub fn without_ours(header: &HeaderValue) -> Option<HeaderValue> {
    let Ok(text) = std::str::from_utf8(header.as_bytes()) else {
        // Reading requests refuses this; it must not go on by another way.
        return None;
    };
    if !cookie_pairs(text).any(|pair| is_ours(pair.name)) {
        return Some(header.clone());
    }
    let mut kept = String::new();
    for pair in cookie_pairs(text).filter(|pair| !is_ours(pair.name)) {
        let whole = pair.whole.trim();
        if whole.is_empty() {
            continue;
        }
        if !kept.is_empty() {
            kept.push_str("; ");
        }
        kept.push_str(whole);
    }
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(kept.as_bytes()).ok()
}

/// Whether a Set-Cookie header sets one of our cookies.
///
/// A browser that gets `=stepgate=x` stores a cookie without a name and sends it
/// as `stepgate=x` (RFC 6265bis, section 5.7), so leading `=` are skipped.
#[must_use]
pub fn sets_ours(header: &HeaderValue) -> bool {
    let text = String::from_utf8_lossy(header.as_bytes());
    let pair = text.split(';').next().unwrap_or_default();
    let pair = pair.trim_start_matches(|c: char| c == '=' || c.is_whitespace());
    is_ours(pair.split('=').next().unwrap_or_default())
}

fn base_name(name: &str) -> &str {
    for prefix in ["__Host-", "__Secure-", "__Http-", "__Host-Http-"] {
        if let (Some(start), Some(rest)) = (name.get(..prefix.len()), name.get(prefix.len()..))
            && start.eq_ignore_ascii_case(prefix)
        {
            return base_name(rest);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(header: &str) -> Option<String> {
        without_ours(&HeaderValue::from_str(header).unwrap()).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn our_cookies_never_reach_an_upstream() {
        assert_eq!(strip("a=1; b=2").as_deref(), Some("a=1; b=2"));
        assert_eq!(strip("a=1;stepgate=s; b=2").as_deref(), Some("a=1; b=2"));
        assert_eq!(strip("__Host-stepgate=s"), None);
        assert_eq!(strip("__HOST-STEPGATE-RESUME=s; x=\"a; stepgate-browser=1\"").as_deref(), Some("x=\"a"));
        assert_eq!(strip("__secure-__Host-stepgate=s"), None);
        assert_eq!(strip(" stepgate"), None);
    }

    #[test]
    fn no_upstream_may_set_them() {
        for set in [
            "stepgate=x",
            "STEPGATE=x; Path=/",
            "__Host-stepgate=x; Secure",
            " stepgate-browser =x",
            "=stepgate=x",
            "= __Host-stepgate-device=x",
            "stepgate",
        ] {
            assert!(sets_ours(&HeaderValue::from_str(set).unwrap()), "{set}");
        }
        for set in ["session=x", "x=stepgate=y", "stepgated=x"] {
            assert!(!sets_ours(&HeaderValue::from_str(set).unwrap()), "{set}");
        }
    }
}
