//! Cookies: ours are read here and go no further.

use http::HeaderValue;

/// The names of Stepgate's own cookies, by their base name: `session` stands for
/// `session`, `__Host-session` and `__Secure-session`, in any case.
#[derive(Clone, Debug, Default)]
pub struct CookieNames(Vec<String>);

impl CookieNames {
    /// Names without their `__Host-` or `__Secure-` prefix.
    #[must_use]
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<str>>(names: I) -> Self {
        Self(names.into_iter().map(|name| base_name(name.as_ref()).to_ascii_lowercase()).collect())
    }

    /// Whether a cookie of this name is ours, or could be taken for ours.
    #[must_use]
    pub fn owns(&self, name: &str) -> bool {
        let base = base_name(name.trim());
        self.0.iter().any(|own| own.eq_ignore_ascii_case(base))
    }

    /// The Cookie header without our cookies, or `None` where nothing is left.
    #[must_use]
    pub fn strip_request(&self, header: &HeaderValue) -> Option<HeaderValue> {
        let Ok(text) = std::str::from_utf8(header.as_bytes()) else {
            // Reading requests refuses this; it must not go on by another way.
            return None;
        };
        if !pairs(text).any(|(name, _)| self.owns(name)) {
            return Some(header.clone());
        }
        let kept = text
            .split(';')
            .filter(|pair| !self.owns(pair.split('=').next().unwrap_or_default()))
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        if kept.is_empty() {
            return None;
        }
        HeaderValue::from_str(&kept).ok().or_else(|| HeaderValue::from_bytes(kept.as_bytes()).ok())
    }

    /// Whether a Set-Cookie header sets one of our cookies.
    ///
    /// A browser that gets `=session=x` stores a cookie without a name and sends
    /// it as `session=x` (RFC 6265bis, section 5.7), so leading `=` are skipped.
    #[must_use]
    pub fn sets(&self, header: &HeaderValue) -> bool {
        let text = String::from_utf8_lossy(header.as_bytes());
        let pair = text.split(';').next().unwrap_or_default();
        let pair = pair.trim_start_matches(|c: char| c == '=' || c.is_whitespace());
        self.owns(pair.split('=').next().unwrap_or_default())
    }
}

/// The values of the cookie `name` in a Cookie header, in their order.
///
/// More than one means that another site of the same domain set one of them:
/// the caller must not simply take the first.
pub fn cookie_values<'h>(header: &'h HeaderValue, name: &str) -> impl Iterator<Item = &'h str> {
    std::str::from_utf8(header.as_bytes())
        .ok()
        .into_iter()
        .flat_map(pairs)
        .filter(move |(given, _)| *given == name)
        .map(|(_, value)| value)
}

fn pairs(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header.split(';').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.trim(), value.trim())
    })
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

    fn names() -> CookieNames {
        CookieNames::new(["__Host-stepgate_session", "stepgate_browser"])
    }

    fn strip(header: &str) -> Option<String> {
        names().strip_request(&HeaderValue::from_str(header).unwrap()).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn our_cookies_never_reach_an_upstream() {
        assert_eq!(strip("a=1; b=2").as_deref(), Some("a=1; b=2"));
        assert_eq!(strip("a=1;stepgate_session=s; b=2").as_deref(), Some("a=1; b=2"));
        assert_eq!(strip("__Host-stepgate_session=s"), None);
        assert_eq!(strip("__HOST-STEPGATE_SESSION=s; x=\"a; stepgate_browser=1\"").as_deref(), Some("x=\"a"));
        assert_eq!(strip("__secure-__Host-stepgate_session=s"), None);
        assert_eq!(strip(" stepgate_session"), None);
    }

    #[test]
    fn no_upstream_may_set_them() {
        for set in [
            "stepgate_session=x",
            "STEPGATE_SESSION=x; Path=/",
            "__Host-stepgate_session=x; Secure",
            " stepgate_browser =x",
            "=stepgate_session=x",
            "= __Host-stepgate_session=x",
            "stepgate_session",
        ] {
            assert!(names().sets(&HeaderValue::from_str(set).unwrap()), "{set}");
        }
        for set in ["session=x", "x=stepgate_session=y", "stepgate_session2=x"] {
            assert!(!names().sets(&HeaderValue::from_str(set).unwrap()), "{set}");
        }
    }

    #[test]
    fn every_value_of_a_cookie_is_seen() {
        let header = HeaderValue::from_static("s=1; t=3;s=2; S=4");
        assert_eq!(cookie_values(&header, "s").collect::<Vec<_>>(), ["1", "2"]);
    }
}
