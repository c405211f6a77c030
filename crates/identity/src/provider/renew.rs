//! Whether a login still stands at the provider (OpenID Connect Core 1.0, section 12).

use secrecy::{ExposeSecret, SecretString};
use stepgate_core::provider::{Claims, NotAsserted, Renewed};
use stepgate_core::time::Timestamp;

use super::Use;
use super::id_token::{Expected, IdToken};
use super::person::TokenOf;
use super::redeem::Tokens;

/// Errors that say that the person has to log in again: the login does not stand.
const ENDS: [&str; 5] =
    ["invalid_grant", "login_required", "interaction_required", "consent_required", "access_denied"];

pub(super) async fn renew(of: &Use<'_>, subject: &str, refresh_token: &SecretString, now: Timestamp) -> Renewed {
    let name = &of.provider.provider.name;
    let fields = vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
    let tokens = match of.post(&of.metadata.token_endpoint, fields, now).await {
        Ok(answer) => Tokens::read(&answer),
        Err(why) => Err(why),
    };
    let tokens = match tokens {
        Ok(tokens) => tokens,
        Err(NotAsserted::Refused { code }) if ENDS.contains(&code.as_str()) => return Renewed::Ended,
        Err(why) => {
            tracing::warn!(provider = %name, %why, "a login cannot be renewed");
            return Renewed::Away { refresh_token: None };
        }
    };
    match claims(of, subject, &tokens, now).await {
        Ok(claims) => Renewed::Stands { claims, refresh_token: tokens.refresh_token },
        Err(NotAsserted::OtherPerson) => {
            tracing::warn!(provider = %name, "a provider renewed the login of another person: it is ended");
            Renewed::Ended
        }
        // The former refresh token may be worth nothing by now: the new one is kept, whatever
        // else was said.
        Err(why) => {
            tracing::warn!(provider = %name, %why, "what a renewal said of somebody cannot be believed");
            Renewed::Away { refresh_token: tokens.refresh_token }
        }
    }
}

async fn claims(of: &Use<'_>, subject: &str, tokens: &Tokens, now: Timestamp) -> Result<Option<Claims>, NotAsserted> {
    let Some(id_token) = &tokens.id_token else { return Ok(None) };
    let (provider, metadata, access_token) = (of.provider, &*of.metadata, tokens.access_token.as_deref());
    let expected = Expected { provider, metadata, nonce: None, access_token, now };
    let read = IdToken::verify(id_token, &expected).await.map_err(|failed| failed.why)?;
    if read.login.subject != subject {
        return Err(NotAsserted::OtherPerson);
    }
    of.provider.people.read(&read.verified.claims, TokenOf::Renewal, now).map(Some)
}
