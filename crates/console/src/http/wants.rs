//! Whether a person or a program reads the answer.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

/// Who reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// A person: HTML.
    Page,
    /// A program: JSON.
    Json,
}

impl Wants {
    /// Reads it from `Accept`, and where that says nothing, from what was sent.
    ///
    /// A browser's navigation always names `text/html`. Whoever names JSON and
    /// not HTML is a program; whoever sends JSON and accepts anything is one, too.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let names = |sought: &str| {
            headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
                value.split(',').any(|range| {
                    let kind = range.split(';').next().unwrap_or_default().trim();
                    kind.eq_ignore_ascii_case(sought)
                })
            })
        };
        if names("text/html") {
            Self::Page
        } else if names("application/json") || names("application/problem+json") || is_json(headers) {
            Self::Json
        } else {
            Self::Page
        }
    }
}

/// Whether the body is declared as JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    is_kind(headers, "application/json")
}

/// Whether exactly one `Content-Type` names this media type.
pub(crate) fn is_kind(headers: &HeaderMap, sought: &str) -> bool {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => kind
            .to_str()
            .is_ok_and(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(sought)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn check(accept: &'static str, content_type: &'static str, expected: Wants) {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        if !content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        assert_eq!(Wants::of(&headers), expected, "Accept: {accept} Content-Type: {content_type}");
    }

    #[test]
    fn people_get_pages_and_programs_get_json() {
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", Wants::Page);
        check("", "", Wants::Page);
        check("*/*", "", Wants::Page);
        check("application/json", "", Wants::Json);
        check("application/problem+json, application/json;q=0.9", "", Wants::Json);
        check("*/*", "application/json", Wants::Json);
        check("text/html, application/json", "application/x-www-form-urlencoded", Wants::Page);
    }
}
