//! Logins that end: at the provider, here, or because they no longer stand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::SecretString;
use stepgate_evidence::{Entry, Event};

use super::super::Flows;
use crate::factor::identity_digest;
use crate::id::{PersonId, SessionId};
use crate::ports::{ChangeError, DueRenewal, LoggedOut, Renewal, StoreError};
use crate::provider::{IdentityProviders, NotAsserted, ProviderName, Renewed};
use crate::secret::once;
use crate::time::Timestamp;

/// How many logins a provider is asked about in one go.
const RENEWED_AT_ONCE: u32 = 20;
/// How many of them at a time.
pub const RENEWED_BESIDE: usize = 4;
/// When a provider that was away is asked again; longer than one question takes with all
/// its calls, so that no other node asks with the same token meanwhile.
const AGAIN_AFTER: Duration = Duration::from_secs(120);
/// How often it is looked who rests on a login that ends, before others are let in.
const LOOKS: usize = 5;
/// How often it is tried to keep a refresh token.
const KEEPS: usize = 5;

/// Why a provider's logout was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    /// The token is worth nothing.
    #[error(transparent)]
    NotAsserted(#[from] NotAsserted),
    /// People come and go there faster than it can be carried out.
    #[error("sessions begin and end too fast; try again")]
    Busy,
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
        let of = LoggedOut {
            identity: logout.subject.as_deref().map(|subject| identity_digest(&logout.issuer, subject)),
            sid: logout.sid,
        };
        if of.sid.is_none() && of.identity.is_none() {
            return Err(NotAsserted::Malformed("neither sid nor sub".to_owned()).into());
        }
        let token = once("logout-token", &[&logout.issuer, &logout.id]);
        // Somebody may arrive between the look and the end: then it is looked at again.
        for _ in 0..LOOKS {
            let sessions = self.store.sessions_logged_out(provider, &of, now).await?;
            let entries = sessions
                .iter()
                .map(|(session, person)| self.login_ended(*session, *person, provider, "logged_out_at_provider"))
                .collect();
            let ids: Vec<_> = sessions.iter().map(|(session, _)| *session).collect();
            let ended = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            match self.store.log_out(token, provider, &of, ids, now, entries).await {
                Ok(()) => return Ok(ended),
                Err(ChangeError::UsedBefore) => return Err(LogoutError::Again),
                Err(ChangeError::Store(error)) => return Err(error.into()),
                Err(ChangeError::Conflict | ChangeError::Limit(_)) => {}
            }
        }
        Err(LogoutError::Busy)
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
        let is_that = providers.named(&login.provider).is_some_and(|known| known.issuer == login.issuer);
        if is_that { providers.logout_url(&login.provider, &login.id_token).await } else { None }
    }

    /// The providers that are to be asked whether logins still stand.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn renewals_due(&self) -> Result<Vec<ProviderName>, StoreError> {
        let live = self.live.load_full();
        if live.providers.all().iter().all(|provider| provider.renews_every.is_none()) {
            return Ok(Vec::new());
        }
        self.store.renewals_due(self.clock.now()).await
    }

    /// Asks a provider whether the logins that sessions rest on still stand, where that is due, [`RENEWED_BESIDE`] at a
    /// time. What does not, ends; what is said about people, holds. Gives how many were asked about, which is bounded.
    ///
    /// # Errors
    ///
    /// The store's, after what was being asked about is finished.
    pub async fn renew_logins_of(&self, provider: &ProviderName) -> Result<u32, StoreError> {
        let (left, asked) = (AtomicU32::new(RENEWED_AT_ONCE), AtomicU32::new(0));
        let one_after_the_other = || async {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                // Each is put off just before it is asked about, so that it is this node's alone.
                let now = self.clock.now();
                let due = match self.store.take_due_renewal(provider, now, now.plus(AGAIN_AFTER)).await? {
                    Renewal::None => break,
                    Renewal::Unreadable => continue,
                    Renewal::Due(due) => due,
                };
                asked.fetch_add(1, Ordering::Relaxed);
                let (session, providers) = (due.session, Arc::clone(&self.live.load().providers));
                if let Err(error) = self.renew_login(providers.as_ref(), due).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, %session, "what a provider said of a login could not be kept");
                }
            }
            Ok(())
        };
        // None is given up because another failed: a refresh token that came must be kept.
        let ended = join_all((0..RENEWED_BESIDE).map(|_| one_after_the_other())).await;
        ended.into_iter().collect::<Result<(), StoreError>>()?;
        Ok(asked.into_inner())
    }

    async fn renew_login(&self, providers: &dyn IdentityProviders, due: DueRenewal) -> Result<(), StoreError> {
        let DueRenewal { session, person, provider, issuer, subject, refresh_token } = due;
        let now = self.clock.now();
        let Some(known) = providers.named(&provider).filter(|known| known.issuer == issuer) else {
            // It is configured no longer, or its name is another's: nobody can say that the
            // login stands, and nobody else is to see the token.
            return self.end_login(session, person, &provider, "provider_removed").await;
        };
        match providers.renew(&provider, &subject, &refresh_token, now).await {
            Renewed::Ended => self.end_login(session, person, &provider, "ended_at_provider").await,
            Renewed::Away { refresh_token: None } => Ok(()),
            Renewed::Away { refresh_token: Some(next) } => self.keep(session, &refresh_token, next, None).await,
            Renewed::Stands { claims, refresh_token: next } => {
                // First what nobody can ask for again.
                let renew_at = known.renews_every.map(|every| now.plus(every));
                let next = next.unwrap_or_else(|| refresh_token.clone());
                self.keep(session, &refresh_token, next, renew_at).await?;
                if let (Some(claims), Some(person)) = (claims, self.store.person(person).await?) {
                    self.as_claimed(known, person, &claims).await?;
                }
                Ok(())
            }
        }
    }

    /// Keeps a refresh token. The former one may be worth nothing by now, so it is tried
    /// again where nobody knows whether it was kept.
    async fn keep(
        &self,
        session: SessionId,
        was: &SecretString,
        next: SecretString,
        renew_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut failed = None;
        for _ in 0..KEEPS {
            match self.store.renewed(session, was.clone(), next.clone(), renew_at).await {
                Err(ChangeError::Store(error)) => failed = Some(error),
                // The session ended beside this, or it was kept after all.
                Ok(()) | Err(_) => return Ok(()),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn end_login(
        &self,
        session: SessionId,
        person: PersonId,
        provider: &ProviderName,
        reason: &'static str,
    ) -> Result<(), StoreError> {
        let entry = self.login_ended(session, person, provider, reason);
        match self.store.end_session(session, person, entry).await {
            Err(ChangeError::Store(error)) => Err(error),
            // It had ended already.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Flows {
    fn login_ended(
        &self,
        session: SessionId,
        person: PersonId,
        provider: &ProviderName,
        reason: &'static str,
    ) -> Entry {
        let event = Event::SessionEnded {
            session: session.to_string(),
            person: person.to_string(),
            reason: reason.to_owned(),
            by: format!("provider:{provider}"),
        };
        self.entry(self.clock.now(), event)
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
