//! Logout: that of the provider, told to us by itself (OpenID Connect Back-Channel
//! Logout 1.0), and ours, told to it by the browser (RP-Initiated Logout 1.0).

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use stepgate_core::provider::{LogoutToken, NotAsserted};
use stepgate_core::time::Timestamp;

use super::Use;
use super::id_token::{check_frame, of_jws, of_type, sid, subject, token};
use super::request::with_query;
use crate::jws::Jws;

/// The longest logout token that is read; it has no more than a few claims.
const TOKEN_LEN_MAX: usize = 16 * 1024;
/// A logout is told at once or not at all (section 2.6 lets us choose).
const TOKEN_AGE_MAX: Duration = Duration::from_secs(10 * 60);
/// The longest `jti`.
const ID_LEN_MAX: usize = 255;
/// The longest URL to which a browser is sent with an ID token in it.
const URL_LEN_MAX: usize = 7000;
/// The member of `events` (section 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Verifies a logout token (section 2.6).
pub(super) async fn verify(of: &Use<'_>, text: &str, now: Timestamp) -> Result<LogoutToken, NotAsserted> {
    let read = Jws::read(text, TOKEN_LEN_MAX).map_err(of_jws)?;
    // Older providers say only JWT; `events` tells it from any other token.
    if !matches!(read.kind().as_deref(), None | Some("logout+jwt" | "jwt")) {
        return Err(token("typ"));
    }
    let verified = read.verify(&of.metadata.keys, &of.provider.algorithms, now).await.map_err(of_jws)?;
    let claims = &verified.claims;
    check_frame(claims, of.provider, &of.metadata, now)?;
    // It is taken once, and that is remembered for a day: an older one might be taken again.
    let is_old = |iat: Timestamp| now.since(iat).is_some_and(|age| age > TOKEN_AGE_MAX);
    if claims.moment("iat").map_err(of_type)?.is_none_or(is_old) {
        return Err(token("old"));
    }
    if !claims.value("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object) {
        return Err(token("events"));
    }
    if claims.value("nonce").is_some() {
        return Err(token("nonce"));
    }
    let id = match claims.text("jti") {
        Ok(Some(id)) if !id.is_empty() && id.len() <= ID_LEN_MAX => id.to_owned(),
        _ => return Err(token("jti")),
    };
    let (subject, sid) = (subject(claims)?.map(String::from), sid(claims)?.map(String::from));
    if subject.is_none() && sid.is_none() {
        return Err(token("subject"));
    }
    Ok(LogoutToken { issuer: of.metadata.issuer.clone(), id, subject, sid })
}

/// Where the browser signs out at the provider too.
pub(super) fn url(of: &Use<'_>, id_token: &SecretString) -> Option<String> {
    let endpoint = of.metadata.end_session_endpoint.as_ref()?;
    let mut pairs = vec![("client_id", of.provider.client_id.as_str())];
    if let Some(uri) = &of.provider.post_logout_redirect_uri {
        pairs.push(("post_logout_redirect_uri", uri.as_str()));
    }
    let without = with_query(endpoint, pairs.iter().copied());
    let hint = [("id_token_hint", id_token.expose_secret())];
    let whole = with_query(endpoint, pairs.into_iter().chain(hint));
    // A token with many groups makes a URL that servers refuse: then the provider asks.
    Some(if whole.as_str().len() <= URL_LEN_MAX { whole.into() } else { without.into() })
}
