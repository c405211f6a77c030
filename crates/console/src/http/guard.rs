//! Whether an unsafe request comes from one of our own pages.

use http::HeaderMap;
use http::header::ORIGIN;

/// An unsafe request that did not come from our own page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFromHere {
    /// `Origin` names another origin, is `null`, or is there twice.
    #[error("the Origin header is not this gate's own origin")]
    Origin,
    /// `Sec-Fetch-Site` says that another site or origin sent it.
    #[error("Sec-Fetch-Site says that the request does not come from this origin")]
    FetchSite,
}

/// Checks `Origin` and `Sec-Fetch-Site` of an unsafe request against the gate's
/// own origin, serialised (`https://gate.example`).
///
/// Browsers send at least one of them with every `POST`; a request without
/// either comes from a program, and is left to the token in the form or to the
/// content type, which no other site's page can send.
pub fn is_from_own_page(headers: &HeaderMap, own_origin: &str) -> Result<(), NotFromHere> {
    if headers.get_all(ORIGIN).iter().any(|origin| origin.as_bytes() != own_origin.as_bytes()) {
        return Err(NotFromHere::Origin);
    }
    if headers.get_all("sec-fetch-site").iter().any(|site| site.as_bytes() != b"same-origin") {
        return Err(NotFromHere::FetchSite);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&'static str, &'static str)], expected: Result<(), NotFromHere>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        assert_eq!(is_from_own_page(&headers, "https://gate.test"), expected, "{lines:?}");
    }

    #[test]
    fn only_our_own_pages_may_post() {
        check(&[], Ok(()));
        check(&[("origin", "https://gate.test")], Ok(()));
        check(&[("origin", "https://gate.test"), ("sec-fetch-site", "same-origin")], Ok(()));
        check(&[("origin", "null")], Err(NotFromHere::Origin));
        check(&[("origin", "https://gate.test.evil.test")], Err(NotFromHere::Origin));
        check(&[("origin", "http://gate.test")], Err(NotFromHere::Origin));
        check(&[("origin", "https://gate.test:8443")], Err(NotFromHere::Origin));
        check(&[("origin", "https://gate.test"), ("origin", "https://evil.test")], Err(NotFromHere::Origin));
        check(&[("sec-fetch-site", "same-site")], Err(NotFromHere::FetchSite));
        check(&[("sec-fetch-site", "cross-site")], Err(NotFromHere::FetchSite));
        check(&[("sec-fetch-site", "none")], Err(NotFromHere::FetchSite));
    }
}
