//! The query of a request target.

use std::borrow::Cow;
use std::fmt;

use http::uri::PathAndQuery;

use super::Ambiguous;

/// The query, forwarded byte for byte as it came.
///
/// Most queries are never read. Where an operation declares an input from the
/// query it is read by [`Query::one`], which refuses whatever another server
/// could read differently.
#[derive(Clone)]
pub struct Query {
    target: PathAndQuery,
}

impl Query {
    pub(super) fn from_target(target: &PathAndQuery) -> Self {
        Self { target: target.clone() }
    }

    /// The raw query without its `?`, or `None` where there is no `?`.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.target.query()
    }

    /// Whether a parameter is named `_method`, by which frameworks let a form name
    /// the method that they then take (attack B42).
    pub(super) fn overrides_method(&self) -> bool {
        let Some(raw) = self.as_str() else {
            return false;
        };
        raw.split(['&', ';']).any(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            fold(&decoded) == "_method"
        })
    }

    /// All parameters in their order, duplicates included, decoded as
    /// `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    ///
    /// [`Ambiguous::QuerySeparator`] for a raw `;`, [`Ambiguous::QueryEncoding`]
    /// for an invalid percent-encoding and what is not UTF-8.
    pub fn parameters(&self) -> Result<Vec<Parameter<'_>>, Ambiguous> {
        let Some(raw) = self.as_str() else {
            return Ok(Vec::new());
        };
        parameters(raw)
    }

    /// The one value of the parameter `name`, or `None` where it is absent.
    ///
    /// Names that some server takes for `name` (another case, `name[]`,
    /// `name%00x`, `na.me` for `na_me`, blanks around it) count as `name`, so a
    /// twin is a duplicate, and a twin alone is refused too: the policy would
    /// see no value where the upstream sees one.
    ///
    /// # Errors
    ///
    /// As [`Query::parameters`], and [`Ambiguous::QueryDuplicate`].
    pub fn one(&self, name: &str) -> Result<Option<Cow<'_, str>>, Ambiguous> {
        one_parameter(self.parameters()?, name).map_err(|DuplicateParameter| Ambiguous::QueryDuplicate)
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold what nobody should read in a log.
        f.debug_struct("Query").field("bytes", &self.as_str().map(str::len)).finish()
    }
}

/// One decoded parameter of a query or a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its value, empty where there is none.
    pub value: Cow<'a, str>,
}

/// Reads `application/x-www-form-urlencoded` text strictly. Forms in a body are
/// read by the same function as queries.
///
/// # Errors
///
/// As [`Query::parameters`].
pub fn parameters(raw: &str) -> Result<Vec<Parameter<'_>>, Ambiguous> {
    if raw.contains(';') {
        return Err(Ambiguous::QuerySeparator);
    }
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok(Parameter { name: decode(name)?, value: decode(value)? })
        })
        .collect()
}

/// A parameter stands twice, or only under a name that some servers take for it.
#[derive(Debug, PartialEq, Eq)]
pub struct DuplicateParameter;

/// The one value of `name` among `parameters`; see [`Query::one`].
///
/// # Errors
///
/// [`DuplicateParameter`].
pub fn one_parameter<'a>(
    parameters: Vec<Parameter<'a>>,
    name: &str,
) -> Result<Option<Cow<'a, str>>, DuplicateParameter> {
    let folded = fold(name);
    let mut found = None;
    for Parameter { name: given, value } in parameters {
        if given != name {
            if fold(&given) == folded {
                return Err(DuplicateParameter);
            }
            continue;
        }
        if found.is_some() {
            return Err(DuplicateParameter);
        }
        found = Some(value);
    }
    Ok(found)
}

/// What frameworks make of a parameter's name: PHP cuts at NUL and `[`, trims
/// blanks and folds `.` and blanks to `_`; others ignore case.
fn fold(name: &str) -> String {
    name.trim()
        .split(['\0', '['])
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .map(|c| match c {
            '.' | ' ' | '-' => '_',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

fn decode(text: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair = (bytes.next(), bytes.next());
            let valid = matches!(pair, (Some(a), Some(b)) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
            if !valid {
                return Err(Ambiguous::QueryEncoding);
            }
        }
    }
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .map(|decoded| Cow::Owned(decoded.into_owned()))
        .map_err(|_| Ambiguous::QueryEncoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(raw: &str, name: &str) -> Result<Option<String>, Ambiguous> {
        let target = PathAndQuery::try_from(format!("/x?{raw}")).unwrap();
        Query::from_target(&target).one(name).map(|value| value.map(Cow::into_owned))
    }

    #[test]
    fn a_parameter_is_read_once_or_not_at_all() {
        assert_eq!(one("amount=5", "amount"), Ok(Some("5".to_owned())));
        assert_eq!(one("a=b&amount=%35+0", "amount"), Ok(Some("5 0".to_owned())));
        assert_eq!(one("amount", "amount"), Ok(Some(String::new())));
        assert_eq!(one("", "amount"), Ok(None));
        assert_eq!(one("x=1", "amount"), Ok(None));
    }

    #[test]
    fn b24_duplicates_and_twins_are_seen() {
        for raw in [
            "amount=1&amount=2",
            "amount=1&amount=1",
            "amount=1&%61mount=2",
            "amount=1&Amount=2",
            "amount[]=2",
            "amount%5B%5D=2&amount=1",
            "amount%00x=2",
            "+amount=2",
        ] {
            assert_eq!(one(raw, "amount"), Err(Ambiguous::QueryDuplicate), "{raw}");
        }
        assert_eq!(one("pay.id=1", "pay_id"), Err(Ambiguous::QueryDuplicate));
        assert_eq!(one("a=1;amount=2", "amount"), Err(Ambiguous::QuerySeparator));
        assert_eq!(one("amount=%zz", "amount"), Err(Ambiguous::QueryEncoding));
        assert_eq!(one("amount=%ff", "amount"), Err(Ambiguous::QueryEncoding));
    }
}
