//! Who calls: a bearer token of a machine (RFC 6750), in the header alone.

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use stepgate_core::flows::Provisioning;
use stepgate_core::machine::{Machine, Scope};
use stepgate_core::ports::StoreError;
use stepgate_core::secret::{TOKEN_TEXT_LEN, Token};

/// Why nobody is heard.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotHeard {
    /// The header is there twice, or is no `Bearer` with one token (RFC 6750, section 3.1: `invalid_request`).
    #[error("the Authorization header is malformed or there twice")]
    Malformed,
    /// There is no token.
    #[error("a token is needed")]
    NoToken,
    /// It is nobody's, was revoked, or its time is over.
    #[error("the token is not valid")]
    InvalidToken,
    /// The machine may do other things.
    #[error("the token is not for this: it needs the scope {}", needed.name())]
    Scope {
        /// One that would do.
        needed: Scope,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NotHeard {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::NoToken | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::Scope { .. } => StatusCode::FORBIDDEN,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Says in the header what is wrong (RFC 6750, section 3).
    pub(crate) fn challenge<B>(&self, response: &mut Response<B>) {
        const REALM: &str = "Bearer realm=\"stepgate machines\"";
        let text = match self {
            Self::NoToken => REALM.to_owned(),
            Self::Malformed => format!("{REALM}, error=\"invalid_request\""),
            Self::InvalidToken => format!("{REALM}, error=\"invalid_token\""),
            Self::Scope { needed } => format!("{REALM}, error=\"insufficient_scope\", scope=\"{}\"", needed.name()),
            Self::Store(_) => return,
        };
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
    }
}

/// The machine that calls, if it may do one of these. Who is refused is counted in the evidence.
pub(crate) async fn caller(
    provisioning: &Provisioning,
    headers: &HeaderMap,
    scopes: &[Scope],
) -> Result<Machine, NotHeard> {
    let heard = find(provisioning, headers, scopes).await;
    let code = match &heard {
        Ok(_) | Err(NotHeard::Store(_) | NotHeard::NoToken) => return heard,
        Err(NotHeard::Malformed) => "machine_authorization",
        Err(NotHeard::InvalidToken) => "machine_token",
        Err(NotHeard::Scope { .. }) => "machine_scope",
    };
    provisioning.flows.refused(code).await;
    heard
}

async fn find(provisioning: &Provisioning, headers: &HeaderMap, scopes: &[Scope]) -> Result<Machine, NotHeard> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = given.next() else { return Err(NotHeard::NoToken) };
    if given.next().is_some() {
        return Err(NotHeard::Malformed);
    }
    let text = header.to_str().map_err(|_| NotHeard::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(NotHeard::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(NotHeard::NoToken);
    }
    let token = token.trim_matches(' ');
    // RFC 6750, section 2.1: b64token.
    let fits =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    if token.is_empty() || token.len() > TOKEN_TEXT_LEN * 100 || !token.bytes().all(fits) {
        return Err(NotHeard::Malformed);
    }
    let token = Token::parse(token).ok_or(NotHeard::InvalidToken)?;
    let machine = provisioning.machine(&token).await?.ok_or(NotHeard::InvalidToken)?;
    match scopes {
        [needed, ..] if !scopes.iter().any(|scope| machine.may(*scope)) => Err(NotHeard::Scope { needed: *needed }),
        _ => Ok(machine),
    }
}
