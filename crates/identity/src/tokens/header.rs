//! `Authorization` and `DPoP`, read in one way or not at all.

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use stepgate_core::access::{NotAccepted, Scheme};

/// The longest access token that is read, in bytes.
pub const TOKEN_LEN_MAX: usize = 8 * 1024;
/// The longest DPoP proof that is read, in bytes.
pub const PROOF_LEN_MAX: usize = 4 * 1024;

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// Credentials of a scheme that is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// How the token is presented.
    pub scheme: Scheme,
    /// The token.
    pub token: &'a str,
    /// The proof: one with every DPoP token, none with another.
    pub proof: Option<&'a str>,
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({} ..)", self.scheme.word())
    }
}

/// Reads the credentials of a request; `None` if there is no `Authorization`.
///
/// One header, the scheme's word in any case, one space, and the token in the characters
/// that RFC 6750 (section 2.1) names, to the end. So a list, a parameter, a second token
/// or white space around it is no token that anybody could read in another way.
///
/// # Errors
///
/// `Malformed` or `Scheme`.
pub fn credentials(headers: &HeaderMap) -> Result<Option<Credentials<'_>>, NotAccepted> {
    let malformed = |what| NotAccepted::Malformed { what };
    let Some(value) = only(headers, &AUTHORIZATION).map_err(|Twice| malformed("authorization_twice"))? else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| malformed("authorization_malformed"))?;
    let (word, token) = text.split_once(' ').unwrap_or((text, ""));
    let scheme = match [Scheme::Bearer, Scheme::Dpop].into_iter().find(|known| known.word().eq_ignore_ascii_case(word))
    {
        Some(scheme) => scheme,
        None if is_word(word) => return Err(NotAccepted::Scheme),
        None => return Err(malformed("authorization_malformed")),
    };
    if token.len() > TOKEN_LEN_MAX {
        return Err(malformed("token_too_long"));
    }
    if !is_token68(token) {
        return Err(malformed("authorization_malformed"));
    }
    let proof = match scheme {
        Scheme::Bearer => None,
        Scheme::Dpop => proof(headers)?,
    };
    Ok(Some(Credentials { scheme, token, proof }))
}

fn proof(headers: &HeaderMap) -> Result<Option<&str>, NotAccepted> {
    let malformed = |what| NotAccepted::Malformed { what };
    let Some(value) = only(headers, &DPOP).map_err(|Twice| malformed("dpop_twice"))? else {
        return Ok(None);
    };
    let proof = value.to_str().map_err(|_| malformed("dpop_malformed"))?;
    if proof.len() > PROOF_LEN_MAX {
        return Err(malformed("dpop_too_long"));
    }
    if proof.is_empty() || !proof.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    {
        return Err(malformed("dpop_malformed"));
    }
    Ok(Some(proof))
}

struct Twice;

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h HeaderValue>, Twice> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (one, None) => Ok(one),
        _ => Err(Twice),
    }
}

/// A scheme's name (RFC 9110, section 5.6.2).
fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `b64token` of RFC 6750, section 2.1.
fn is_token68(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn read(all: &[(&str, &str)]) -> String {
        match credentials(&headers(all)) {
            Ok(None) => "none".to_owned(),
            Ok(Some(Credentials { scheme, token, proof })) => {
                format!("{} {token} {}", scheme.word(), proof.unwrap_or("-"))
            }
            Err(error) => error.code(),
        }
    }

    #[test]
    fn what_is_well_formed_is_read() {
        assert_eq!(read(&[]), "none");
        assert_eq!(read(&[("dpop", "a.b.c")]), "none");
        for word in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(
                read(&[("authorization", &format!("{word} mF_9.B5f-4.1JqM~+/=="))]),
                "Bearer mF_9.B5f-4.1JqM~+/== -"
            );
        }
        assert_eq!(read(&[("authorization", "DPoP t"), ("dpop", "a.b.c")]), "DPoP t a.b.c");
        assert_eq!(read(&[("authorization", "dpop t")]), "DPoP t -");
        // A proof that nobody asked for is not looked at.
        assert_eq!(read(&[("authorization", "Bearer t"), ("dpop", "a, b")]), "Bearer t -");
    }

    #[test]
    fn b24_what_could_be_read_in_two_ways_is_not_read() {
        for value in [
            "",
            " ",
            "Bearer",
            "Bearer ",
            "Bearer  t",
            " Bearer t",
            "Bearer t ",
            "Bearer t t",
            "Bearer t,Bearer u",
            "Bearer t;x=y",
            "Bearer =",
            "Bearer t=t",
            "Bearer\tt",
            "Bearer \"t\"",
            "Bearer a%41",
            "DPoP",
            "DPoP a,b",
            "Bea,rer t",
            "Bearer tö",
        ] {
            assert_eq!(read(&[("authorization", value), ("dpop", "a.b.c")]), "authorization_malformed", "{value:?}");
        }
        assert_eq!(read(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]), "authorization_twice");
        assert_eq!(read(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]), "authorization_twice");
        let long = format!("Bearer {}", "a".repeat(TOKEN_LEN_MAX + 1));
        assert_eq!(read(&[("authorization", &long)]), "token_too_long");
        let with = |proof: &str| read(&[("authorization", "DPoP t"), ("dpop", proof)]);
        assert_eq!(read(&[("authorization", "DPoP t"), ("dpop", "a.b.c"), ("dpop", "a.b.c")]), "dpop_twice");
        for proof in ["", "a.b.c, d.e.f", "a.b.c ", "a b", "a.b.c=", "ä"] {
            assert_eq!(with(proof), "dpop_malformed", "{proof:?}");
        }
        assert_eq!(with(&"a".repeat(PROOF_LEN_MAX + 1)), "dpop_too_long");
    }

    #[test]
    fn other_schemes_are_not_ours() {
        for value in ["Basic dXNlcjpwYXNz", "Digest username=\"x\"", "Bearerx t", "Token t", "MAC"] {
            assert_eq!(read(&[("authorization", value)]), "token_scheme", "{value}");
        }
    }

    proptest! {
        /// Whatever is read is the whole header: put together again it is what came.
        #[test]
        fn nothing_is_cut_off(value in "[ -~]{0,40}") {
            if let Ok(Some(read)) = credentials(&headers(&[("authorization", &value)])) {
                let again = format!("{} {}", read.scheme.word(), read.token);
                prop_assert!(value.eq_ignore_ascii_case(&again));
                prop_assert!(value.ends_with(read.token));
            }
        }
    }
}
