//! `Prefer` (RFC 7240): what a client would like, if it can be.

use http::{HeaderMap, HeaderName, HeaderValue};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The preferences of a request, each with its parameters.
pub(crate) fn preferences(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(split).map(str::trim).filter(|one| !one.is_empty())
}

/// Takes every preference of this name away (section 2: names are compared without regard to
/// case). A line that cannot be read stays.
pub(super) fn drop_one(headers: &mut HeaderMap, name: &str) {
    let lines: Vec<HeaderValue> = headers.get_all(PREFER).iter().cloned().collect();
    headers.remove(PREFER);
    for line in lines {
        let Ok(text) = line.to_str() else {
            headers.append(PREFER, line);
            continue;
        };
        let all: Vec<&str> = split(text).map(str::trim).filter(|one| !one.is_empty()).collect();
        let kept: Vec<&str> = all.iter().copied().filter(|one| !is_named(one, name)).collect();
        let line = if kept.len() == all.len() { Ok(line) } else { HeaderValue::try_from(kept.join(", ")) };
        if let Ok(line) = line
            && !line.is_empty()
        {
            headers.append(PREFER, line);
        }
    }
}

/// Whether a preference, with or without value and parameters, has this name.
fn is_named(preference: &str, name: &str) -> bool {
    preference.split(['=', ';']).next().unwrap_or_default().trim().eq_ignore_ascii_case(name)
}

/// The members of a line, cut at commas outside of quotes (RFC 9110, section 5.6.1).
fn split(line: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: &[&str]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, HeaderValue::try_from(*line).unwrap());
        }
        drop_one(&mut headers, "wait");
        let left: Vec<_> = headers.get_all(PREFER).iter().map(|line| line.to_str().unwrap()).collect();
        assert_eq!(left, expected, "{lines:?}");
    }

    #[test]
    fn only_what_was_applied_is_taken_away() {
        check(&["wait=60"], &[]);
        check(&["Wait = 60; foo"], &[]);
        check(&["respond-async, wait=60"], &["respond-async"]);
        check(
            &["wait=5", "return=minimal; foo=\"a, wait=1\"", "handling=lenient,wait=7 , x"],
            &["return=minimal; foo=\"a, wait=1\"", "handling=lenient, x"],
        );
        check(&["waiting=5, a-wait=1, foo=wait"], &["waiting=5, a-wait=1, foo=wait"]);
        check(&["a=\"\\\", wait=1\", wait=2"], &["a=\"\\\", wait=1\""]);
        check(&[], &[]);
    }
}
