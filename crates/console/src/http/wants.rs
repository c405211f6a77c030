//! Whether a person or a program reads the answer.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use stepgate_core::web::Reader;

/// Who reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// A person: HTML.
    Page,
    /// A program: JSON.
    Json,
}

impl Wants {
    /// By the rule that the door goes by ([`Reader::of`]): who navigates, or names
    /// `text/html`, reads pages; `Accept: */*` alone is a program's.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        match Reader::of(headers) {
            Reader::Person => Self::Page,
            Reader::Script | Reader::Program => Self::Json,
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

    fn check(lines: &[(&'static str, &'static str)], expected: Wants) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        assert_eq!(Wants::of(&headers), expected, "{lines:?}");
    }

    #[test]
    fn people_get_pages_and_programs_get_json() {
        let html = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        check(&[html], Wants::Page);
        check(&[html, ("content-type", "application/x-www-form-urlencoded")], Wants::Page);
        check(&[("accept", "*/*"), ("sec-fetch-mode", "navigate")], Wants::Page);
        check(&[], Wants::Json);
        check(&[("accept", "*/*")], Wants::Json);
        check(&[("accept", "application/json")], Wants::Json);
        check(&[("accept", "application/problem+json, application/json;q=0.9")], Wants::Json);
        check(&[("accept", "*/*"), ("content-type", "application/json")], Wants::Json);
        check(&[html, ("sec-fetch-mode", "cors")], Wants::Json);
        check(&[html, ("x-requested-with", "XMLHttpRequest")], Wants::Json);
    }
}
