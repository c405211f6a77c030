//! Whether a body is declared as JSON or as a form (RFC 9110 section 8.3).

/// What a body is declared to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// `application/json` or `application/…+json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

impl BodyKind {
    /// The name, for messages.
    pub(super) const fn shown(self) -> &'static str {
        match self {
            Self::Json => "application/json in UTF-8",
            Self::Form => "application/x-www-form-urlencoded in UTF-8",
        }
    }
}

/// What this content type says; `None` if it is neither, or in another character set than UTF-8.
pub(super) fn body_kind(content_type: &str) -> Option<BodyKind> {
    let mut parts = content_type.split(';');
    let essence = parts.next()?.trim_matches(BLANK).to_ascii_lowercase();
    let mut charsets = 0;
    for parameter in parts {
        let (name, value) = parameter.trim_matches(BLANK).split_once('=')?;
        if !is_token(name) || value.is_empty() {
            return None;
        }
        if name.eq_ignore_ascii_case("charset") {
            charsets += 1;
            let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            if charsets > 1 || !value.eq_ignore_ascii_case("utf-8") {
                return None;
            }
        }
    }
    if essence == "application/x-www-form-urlencoded" {
        return Some(BodyKind::Form);
    }
    let subtype = essence.strip_prefix("application/")?;
    let is_json = subtype == "json" || subtype.strip_suffix("+json").is_some_and(|front| !front.is_empty());
    (is_json && is_token(subtype)).then_some(BodyKind::Json)
}

const BLANK: [char; 2] = [' ', '\t'];

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_and_forms_in_utf_8_are_read() {
        let check = |text: &str, expected: Option<BodyKind>| assert_eq!(body_kind(text), expected, "{text:?}");
        check("application/json", Some(BodyKind::Json));
        check("Application/JSON", Some(BodyKind::Json));
        check("application/json; charset=utf-8", Some(BodyKind::Json));
        check("application/json;charset=\"UTF-8\"", Some(BodyKind::Json));
        check("application/vnd.api+json", Some(BodyKind::Json));
        check("application/json; odata=verbose", Some(BodyKind::Json));
        check("application/x-www-form-urlencoded", Some(BodyKind::Form));
        check("application/x-www-form-urlencoded; charset=UTF-8", Some(BodyKind::Form));
        check("application/json; charset=utf-16", None);
        check("application/json; charset=utf-7", None);
        check("application/json; charset=utf-8; charset=utf-16", None);
        check("application/json, text/plain", None);
        check("application/json;", None);
        check("application/+json", None);
        check("application/json+x", None);
        check("application/x y+json", None);
        check("text/json", None);
        check("text/plain", None);
        check("multipart/form-data; boundary=x", None);
        check("", None);
    }
}
