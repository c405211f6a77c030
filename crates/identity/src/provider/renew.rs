//! Whether a login still stands at the provider (OpenID Connect Core 1.0, section 12).

use secrecy::{ExposeSecret, SecretString};
use stepgate_core::provider::{NotAsserted, Renewed};
use stepgate_core::time::Timestamp;

use super::Use;
use super::id_token::{Expected, IdToken};
use super::redeem::Tokens;

pub(super) async fn renew(of: &Use<'_>, subject: &str, refresh_token: &SecretString, now: Timestamp) -> Renewed {
    match renewed(of, subject, refresh_token, now).await {
        Ok(renewed) => renewed,
        Err(NotAsserted::Refused { code }) if code == "invalid_grant" => Renewed::Ended,
        Err(NotAsserted::OtherPerson) => {
            tracing::warn!(provider = %of.provider.provider.name, "a provider renewed the login of another person: it is ended");
            Renewed::Ended
        }
        Err(why) => {
            tracing::warn!(provider = %of.provider.provider.name, %why, "a login cannot be renewed");
            Renewed::Away
        }
    }
}

async fn renewed(
    of: &Use<'_>,
    subject: &str,
    refresh_token: &SecretString,
    now: Timestamp,
) -> Result<Renewed, NotAsserted> {
    let fields = vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
    let tokens = Tokens::read(&of.post(&of.metadata.token_endpoint, fields, now).await?)?;
    let mut claims = None;
    if let Some(id_token) = &tokens.id_token {
        let (provider, metadata, access_token) = (of.provider, &*of.metadata, tokens.access_token.as_deref());
        let expected = Expected { provider, metadata, nonce: None, access_token, now };
        let read = IdToken::verify(id_token, &expected).await?;
        if read.login.subject != subject {
            return Err(NotAsserted::OtherPerson);
        }
        claims = Some(of.provider.people.read(&read.verified.claims)?);
    }
    Ok(Renewed::Stands { claims, refresh_token: tokens.refresh_token })
}
