//! Logins that end: at the provider, here, or because they no longer stand.

use std::sync::Arc;
use std::time::Duration;

use stepgate_evidence::Event;

use super::super::Flows;
use crate::factor::identity_digest;
use crate::id::{PersonId, SessionId};
use crate::ports::{ChangeError, DueRenewal, LoggedOut, StoreError};
use crate::provider::{IdentityProviders, NotAsserted, ProviderName, Renewed};
use crate::secret::once;

/// How many logins are asked about at once.
const RENEWED_AT_ONCE: u32 = 20;
/// When a provider that was away is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Why a provider's logout was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// The token is worth nothing.
    #[error(transparent)]
    NotAsserted(#[from] NotAsserted),
    /// It came before.
    #[error("this logout token came before")]
    Again,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Flows {
    /// A logout that a provider sent by itself (OpenID Connect Back-Channel Logout 1.0):
    /// the sessions that rest on it end on every host, with what is open under them.
    /// Gives how many that were.
    pub async fn logged_out_at_provider(&self, provider: &ProviderName, token: &str) -> Result<u32, LogoutError> {
        let now = self.clock.now();
        let providers = Arc::clone(&self.live.load().providers);
        let logout = match providers.logout_token(provider, token, now).await {
            Ok(logout) => logout,
            Err(why) => {
                self.refused(logout_code(&why)).await;
                return Err(why.into());
            }
        };
        let digest = once("logout-token", &[&logout.issuer, &logout.id]);
        match self.store.use_once(digest, now).await {
            Ok(()) => {}
            Err(ChangeError::Store(error)) => return Err(error.into()),
            Err(_) => return Err(LogoutError::Again),
        }
        let of = match (logout.sid, logout.subject) {
            (Some(sid), _) => LoggedOut::Sid(sid),
            (None, Some(subject)) => LoggedOut::Identity(identity_digest(&logout.issuer, &subject)),
            (None, None) => return Err(NotAsserted::Malformed("neither sid nor sub".to_owned()).into()),
        };
        let mut ended = 0_u32;
        for (session, person) in self.store.sessions_logged_out(provider, &of, now).await? {
            self.end_login(session, person, provider, "logged_out_at_provider").await?;
            ended = ended.saturating_add(1);
        }
        Ok(ended)
    }

    /// Where the person of a session signs out at their provider too; `None` if they did
    /// not come from one, or it has no such place. To be asked before the session ends.
    pub async fn logout_url(&self, session: SessionId) -> Option<String> {
        let login = match self.store.provider_login(session).await {
            Ok(login) => login?,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the login of a session could not be read");
                return None;
            }
        };
        let providers = Arc::clone(&self.live.load().providers);
        providers.logout_url(&login.provider, &login.id_token).await
    }

    /// Asks providers whether the logins that sessions rest on still stand, where that is
    /// due. What does not, ends; what is said about people, holds. Gives how many were asked.
    pub async fn renew_logins(&self) -> Result<u32, StoreError> {
        let live = self.live.load_full();
        if live.providers.all().iter().all(|provider| provider.renews_every.is_none()) {
            return Ok(0);
        }
        let now = self.clock.now();
        let due = self.store.take_due_renewals(now, now.plus(AGAIN_AFTER), RENEWED_AT_ONCE).await?;
        let asked = u32::try_from(due.len()).unwrap_or(u32::MAX);
        for one in due {
            self.renew_login(live.providers.as_ref(), one).await?;
        }
        Ok(asked)
    }

    async fn renew_login(&self, providers: &dyn IdentityProviders, due: DueRenewal) -> Result<(), StoreError> {
        let DueRenewal { session, person, provider, subject, refresh_token } = due;
        let now = self.clock.now();
        let Some(known) = providers.named(&provider) else {
            // It is configured no longer: nobody can say that the login stands.
            return self.end_login(session, person, &provider, "provider_removed").await;
        };
        match providers.renew(&provider, &subject, &refresh_token, now).await {
            Renewed::Away => Ok(()),
            Renewed::Ended => self.end_login(session, person, &provider, "ended_at_provider").await,
            Renewed::Stands { claims, refresh_token: next } => {
                if let (Some(claims), Some(person)) = (claims, self.store.person(person).await?) {
                    self.as_claimed(known, person, &claims).await?;
                }
                let renew_at = known.renews_every.map(|every| now.plus(every));
                match self.store.renewed(session, next.unwrap_or(refresh_token), renew_at).await {
                    Err(ChangeError::Store(error)) => Err(error),
                    // The session ended beside this.
                    Ok(()) | Err(_) => Ok(()),
                }
            }
        }
    }

    async fn end_login(
        &self,
        session: SessionId,
        person: PersonId,
        provider: &ProviderName,
        reason: &'static str,
    ) -> Result<(), StoreError> {
        let event = Event::SessionEnded {
            session: session.to_string(),
            person: person.to_string(),
            reason: reason.to_owned(),
            by: format!("provider:{provider}"),
        };
        match self.store.end_session(session, person, self.entry(self.clock.now(), event)).await {
            Err(ChangeError::Store(error)) => Err(error),
            // It had ended already.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// What stands in the window of refusals; a provider's own code would do for a login.
const fn logout_code(why: &NotAsserted) -> &'static str {
    match why {
        NotAsserted::Unknown => "logout_unknown_provider",
        NotAsserted::Away(_) | NotAsserted::Unusable(_) => "logout_provider_away",
        _ => "logout_token_refused",
    }
}
