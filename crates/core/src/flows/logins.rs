//! Logins at the company's identity provider: to sign in there, and to prove more there.
//!
//! The browser leaves with a state that only it can bring back, once, and a nonce that
//! is the digest of what the login is for: the provider signs what was asked, as a
//! passkey does.

mod ends;
mod known;
mod prove;

pub use ends::{LogoutError, RENEWED_BESIDE};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stepgate_evidence::{Entry, Event, FactorProof, SignInStatement};

use super::ask::kinds;
use super::look::{Standing, binding};
use super::sign_in::{Arrival, Proven};
use super::{AnswerError, Answered, Flows, SignInError, SignedIn};
use crate::challenge::ChallengeState;
use crate::factor::{Binding, FactorKind, FactorUse, identity_digest};
use crate::id::{ChallengeId, FactorId};
use crate::ports::{LeftBy, PendingLogin, ProviderLogin, StoreError, Trier};
use crate::provider::{
    Ask, Asserted, Authorize, CameBack, IdentityProviders, NotAsserted, NotFinished, Provider, ProviderName,
};
use crate::secret::{Purpose, Token, TokenDigest};
use crate::session::SessionView;
use crate::time::Timestamp;

/// How much younger than a policy accepts a login is to be, for the way back: in seconds.
const WAY_BACK_S: u64 = 60;
/// How long a browser may be away at a provider.
const AWAY_MAX: Duration = Duration::from_secs(10 * 60);

/// A browser that leaves to sign in.
#[derive(Debug)]
pub struct LeaveToSignIn<'a> {
    /// Where to.
    pub provider: &'a ProviderName,
    /// The gate's browser cookie.
    pub browser: &'a Token,
    /// Where it leaves from.
    pub address: IpAddr,
    /// Where it goes on afterwards; given back as it is.
    pub next: Option<String>,
    /// The request that waits for this sign-in.
    pub continues: Option<ChallengeId>,
}

/// A browser that leaves to prove more.
#[derive(Debug)]
pub struct LeaveToProve<'a> {
    /// Where to.
    pub provider: &'a ProviderName,
    /// The challenge.
    pub challenge: ChallengeId,
    /// The session that answers.
    pub session: &'a SessionView,
    /// The number of the asking screen, where another session asked.
    pub number: Option<&'a str>,
    /// The gate's browser cookie.
    pub browser: &'a Token,
}

/// A browser that came back from a provider.
#[derive(Debug)]
pub struct Return<'a> {
    /// The provider whose address it came back to.
    pub provider: &'a ProviderName,
    /// The query as it came, without `?`.
    pub query: &'a str,
    /// The gate's browser cookie.
    pub browser: &'a Token,
    /// The device cookie, if there is one.
    pub device: Option<&'a Token>,
    /// The session at the gate's own origin and its token, if somebody is signed in.
    pub session: Option<(&'a SessionView, TokenDigest)>,
    /// The surroundings.
    pub surroundings: &'a crate::surroundings::Surroundings,
}

/// What came of it.
#[derive(Debug)]
pub enum Returned {
    /// Somebody signed in.
    SignedIn {
        /// The session.
        signed_in: Box<SignedIn>,
        /// Where they wanted to go.
        next: Option<String>,
        /// The request that waited.
        continues: Option<ChallengeId>,
    },
    /// A challenge was answered.
    Answered {
        /// The challenge.
        challenge: ChallengeId,
        /// What came of the answer.
        answered: Box<Answered>,
    },
}

/// Why a login at a provider came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// There is no such provider, or it cannot be asked for this.
    #[error("there is no such provider, or it cannot be asked for this")]
    NoProvider,
    /// What came back was not sent from this browser, came too late, or came before.
    #[error("this login was not begun in this browser, took too long, or was used")]
    Stale,
    /// Too many strangers left for providers, from this address or from all: when the next may, in whole seconds.
    #[error("too many left to sign in, and may again in {retry_after_s} seconds")]
    TooMany {
        /// When the next may leave, in seconds.
        retry_after_s: u32,
    },
    /// The provider's answer is worth nothing.
    #[error("{why}")]
    NotAsserted {
        /// Why.
        why: NotAsserted,
        /// The challenge that it was for.
        challenge: Option<ChallengeId>,
    },
    /// Nobody here is known by that identity, and nobody is added by signing in.
    #[error("nobody here is known by that login")]
    Stranger,
    /// A person would be added, but somebody else has that name to sign in with.
    #[error("somebody else signs in with this name")]
    Taken,
    /// A person would be added, but the provider gave no name to sign in with.
    #[error("the provider gave no name to sign in with")]
    Nameless,
    /// The answer to a challenge did not pass.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The session did not start.
    #[error(transparent)]
    SignIn(#[from] SignInError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is kept while the browser is away.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    what_for: WhatFor,
    /// What the ID token must say.
    nonce: String,
    /// What the provider's implementation needs to finish.
    keep: String,
    asked_at_ms: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum WhatFor {
    SignIn { next: Option<String>, continues: Option<ChallengeId>, statement: SignInStatement },
    Prove { challenge: ChallengeId, session: String, acr: Vec<String>, max_age_s: u64, subject: String },
}

impl WhatFor {
    fn ask(&self) -> Ask {
        match self {
            Self::SignIn { .. } => Ask::SignIn,
            Self::Prove { acr, max_age_s, subject, .. } => {
                Ask::StepUp { acr: acr.clone(), max_age_s: *max_age_s, subject: subject.clone() }
            }
        }
    }

    const fn challenge(&self) -> Option<ChallengeId> {
        match self {
            Self::SignIn { .. } => None,
            Self::Prove { challenge, .. } => Some(*challenge),
        }
    }
}

/// A login at a provider that failed, as its entry tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedThere<'a> {
    /// Where.
    pub(super) provider: &'a ProviderName,
    /// Whose it was, where that is known: issuer and subject.
    pub(super) identity: Option<(&'a str, &'a str)>,
}

impl Flows {
    /// An entry of a login that failed. Whose it was can be erased.
    pub(super) fn entry_of(&self, at: Timestamp, event: Event, there: Option<FailedThere<'_>>) -> Entry {
        match there.and_then(|there| there.identity) {
            None => self.entry(at, event),
            Some((issuer, subject)) => self.entry_with(at, event, json!({ "issuer": issuer, "subject": subject })),
        }
    }

    /// The URL at the provider where somebody signs in.
    pub async fn leave_to_sign_in(&self, leave: LeaveToSignIn<'_>) -> Result<String, LoginError> {
        let asked_at = self.clock.now();
        let network = Trier { device: None, address: leave.address }.network();
        if let Err(wait) = self.departures.count(network, asked_at) {
            self.refused("too_many_logins").await;
            // Rounded up, so that who comes back then may leave.
            let retry_after_s = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
            return Err(LoginError::TooMany { retry_after_s });
        }
        let statement = self.sign_in_statement(&Token::random(self.random.as_ref()), asked_at, leave.browser);
        let nonce = hex::encode(statement.digest().map_err(SignInError::Statement)?);
        let what_for = WhatFor::SignIn { next: leave.next, continues: leave.continues, statement };
        let by = LeftBy::Stranger(network);
        self.leave(leave.provider, what_for, nonce, leave.browser, by, asked_at).await
    }

    /// The URL at the provider where a challenge is answered. What the login must be is
    /// what the challenge asks for; its nonce is the digest of what is confirmed.
    pub async fn leave_to_prove(&self, leave: LeaveToProve<'_>) -> Result<String, LoginError> {
        let (challenge, standing) = self.answerable(leave.challenge, leave.session).await.map_err(AnswerError::from)?;
        let ChallengeState::Pending { answered, wrong } = &challenge.state else {
            return Err(AnswerError::Changed.into());
        };
        let live = self.live.load_full();
        let provider = live.providers.named(leave.provider).ok_or(LoginError::NoProvider)?;
        let (acr, wanted) = classes(provider, &challenge.ask.next(&kinds(answered)));
        if acr.is_empty() {
            return Err(LoginError::NoProvider);
        }
        if standing == Standing::OtherSession {
            self.check_number(&challenge, answered, *wrong, wanted, leave.number).await?;
        }
        let identity = self.identity_at(&challenge, provider).await?.ok_or(LoginError::NoProvider)?;
        let nonce = hex::encode(binding(&challenge).map_err(AnswerError::from)?.0);
        // The way back takes time, and the login has to be young enough then, too.
        let accepted = challenge.proved_within.unwrap_or_default().as_secs();
        let max_age_s = accepted.saturating_sub(WAY_BACK_S.min(accepted / 2));
        let what_for = WhatFor::Prove {
            challenge: challenge.id,
            session: leave.session.id.to_string(),
            acr,
            max_age_s,
            subject: identity.1.subject,
        };
        let by = LeftBy::Session(leave.session.id);
        self.leave(leave.provider, what_for, nonce, leave.browser, by, self.clock.now()).await
    }

    async fn leave(
        &self,
        provider: &ProviderName,
        what_for: WhatFor,
        nonce: String,
        browser: &Token,
        by: LeftBy,
        asked_at: Timestamp,
    ) -> Result<String, LoginError> {
        let state = Token::random(self.random.as_ref());
        let ask = what_for.ask();
        let request = Authorize { provider, ask: &ask, state: state.expose(), nonce: &nonce, hint: None };
        let challenge = what_for.challenge();
        let providers = Arc::clone(&self.live.load().providers);
        let leave = match providers.authorize(request).await {
            Ok(leave) => leave,
            Err(why) => return Err(self.not_asserted(provider, challenge, why.into()).await?),
        };
        let keep = leave.keep.expose_secret().to_owned();
        let kept = Kept { what_for, nonce, keep, asked_at_ms: asked_at.as_ms() };
        let kept = serde_json::to_string(&kept).map_err(|_| LoginError::Stale)?;
        let pending = PendingLogin {
            state: state.digest(Purpose::ProviderState),
            browser: browser.digest(Purpose::Browser),
            by,
            provider: provider.clone(),
            kept: SecretString::from(kept),
            expires_at: asked_at.plus(AWAY_MAX),
        };
        self.store.put_pending_login(pending).await?;
        Ok(leave.url)
    }

    /// Takes what a provider's answer brings back, once.
    pub async fn come_back(&self, back: Return<'_>) -> Result<Returned, LoginError> {
        let now = self.clock.now();
        let Some(state) = state_of(back.query) else { return Err(self.stale("login_without_state").await) };
        let (state, browser) = (state.digest(Purpose::ProviderState), back.browser.digest(Purpose::Browser));
        let Some(kept) = self.store.take_pending_login(state, browser, back.provider, now).await? else {
            return Err(self.stale("login_unknown_state").await);
        };
        let kept: Kept = serde_json::from_str(kept.expose_secret()).map_err(|_| LoginError::Stale)?;
        let ask = kept.what_for.ask();
        let providers = Arc::clone(&self.live.load().providers);
        let keep = SecretString::from(kept.keep);
        let answer = CameBack {
            provider: back.provider,
            ask: &ask,
            keep: &keep,
            nonce: &kept.nonce,
            query: back.query,
            asked_at: Timestamp::from_ms(kept.asked_at_ms),
            now,
        };
        let finished = providers.finish(answer).await;
        match kept.what_for {
            WhatFor::SignIn { next, continues, statement } => {
                let asserted = match finished {
                    Ok(asserted) => asserted,
                    Err(why) => return Err(self.not_asserted(back.provider, None, why).await?),
                };
                let provider = providers.named(back.provider).ok_or(LoginError::NoProvider)?;
                let (person, factor) = self.known_by(provider, &asserted).await?;
                let arrival = Arrival {
                    browser: back.browser,
                    device: back.device,
                    replaces: back.session.map(|(session, _)| session),
                    continues,
                    surroundings: back.surroundings,
                };
                let binding = Binding(statement.digest().map_err(SignInError::Statement)?);
                let proven = Proven {
                    person,
                    kind: FactorKind::Idp(asserted.strength),
                    at: login_time(&asserted, now),
                    used: (factor, FactorUse::Nothing),
                    proof: proof(factor, binding, &asserted),
                    prompt: None,
                    statement: Some(statement),
                    beside: Some(beside(&asserted)),
                    login: Some(rests_on(provider, asserted, Timestamp::from_ms(kept.asked_at_ms), now)),
                };
                let signed_in = Box::new(self.start(proven, &arrival).await?);
                Ok(Returned::SignedIn { signed_in, next, continues })
            }
            WhatFor::Prove { challenge, session, .. } => {
                let by = back.session.filter(|(view, _)| view.id.to_string() == session);
                let Some((session, token)) = by else { return Err(self.stale("login_of_another_session").await) };
                let trier = Trier {
                    device: back.device.map(|device| device.digest(Purpose::Device)),
                    address: back.surroundings.address,
                };
                let left_at = Timestamp::from_ms(kept.asked_at_ms);
                let answered = match finished {
                    Ok(asserted) => {
                        let provider = providers.named(back.provider).ok_or(LoginError::NoProvider)?;
                        self.login_answers(challenge, (session, token), provider, asserted, left_at, trier).await?
                    }
                    Err(failed) => {
                        let there = failed_there(providers.as_ref(), back.provider, &failed);
                        return Err(self.login_failed(challenge, session, there, failed.why.clone()).await?);
                    }
                };
                Ok(Returned::Answered { challenge, answered: Box::new(answered) })
            }
        }
    }

    async fn stale(&self, code: &'static str) -> LoginError {
        self.refused(code).await;
        LoginError::Stale
    }

    /// Records a login that came to nothing before anybody was known by it: the provider did not take our request, or
    /// its answer is worth nothing. Strangers can make such as fast as they like, so the log is told as often as the
    /// ledger is: of the first of its kind in a window.
    async fn not_asserted(
        &self,
        provider: &ProviderName,
        challenge: Option<ChallengeId>,
        failed: NotFinished,
    ) -> Result<LoginError, StoreError> {
        let providers = Arc::clone(&self.live.load().providers);
        let there = Some(failed_there(providers.as_ref(), provider, &failed));
        let why = failed.why.clone();
        let is_news = match challenge {
            None => {
                let kind = FactorKind::Idp(crate::factor::Strength::NONE);
                self.unverified_at(there, None, kind, why.code()).await?
            }
            // Nobody was away yet, so the challenge is as it was, and who is signed in may try again.
            Some(_) => true,
        };
        if is_news {
            tracing::warn!(%provider, reason = %why, "a login at an identity provider was refused");
        }
        Ok(LoginError::NotAsserted { why, challenge })
    }
}

/// A login that was verified, and is not enough or nobody's.
fn of_login<'a>(provider: &'a Provider, asserted: &'a Asserted) -> FailedThere<'a> {
    FailedThere { provider: &provider.name, identity: Some((&asserted.issuer, &asserted.subject)) }
}

/// A login that came to nothing, by the issuer that the provider is configured with.
fn failed_there<'a>(
    providers: &'a dyn IdentityProviders,
    provider: &'a ProviderName,
    failed: &'a NotFinished,
) -> FailedThere<'a> {
    let known = providers.named(provider).zip(failed.subject.as_deref());
    FailedThere { provider, identity: known.map(|(known, subject)| (known.issuer.as_str(), subject)) }
}

/// The classes of a provider that would answer one of these, in its order of preference,
/// and the least that is asked for.
pub(super) fn classes(provider: &Provider, next: &[FactorKind]) -> (Vec<String>, FactorKind) {
    let wanted: Vec<_> = next
        .iter()
        .filter_map(|kind| match kind {
            FactorKind::Idp(strength) => Some(*strength),
            _ => None,
        })
        .collect();
    let does = |strength: crate::factor::Strength| wanted.iter().any(|wanted| strength.covers(*wanted));
    let acr = provider.levels.iter().filter(|level| does(level.strength)).map(|level| level.acr.clone()).collect();
    (acr, FactorKind::Idp(wanted.first().copied().unwrap_or_default()))
}

/// `state`, which must be there once.
fn state_of(query: &str) -> Option<Token> {
    let mut states = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "state");
    let state = states.next()?.1;
    if states.next().is_some() { None } else { Token::parse(&state) }
}

/// When the person logged in there: never in our future, and as long ago as can be where
/// the provider does not say.
fn login_time(asserted: &Asserted, now: Timestamp) -> Timestamp {
    asserted.auth_time.map_or(Timestamp::from_ms(0), |at| at.min(now))
}

fn proof(factor: FactorId, binding: Binding, asserted: &Asserted) -> FactorProof {
    FactorProof {
        factor: "idp".to_owned(),
        factor_id: factor.to_string(),
        user_verified: None,
        assertion: None,
        login: Some(asserted.proof()),
        bound_to: hex::encode(binding.0),
    }
}

/// What lies beside the entry: the token that the provider signed, and the key.
fn beside(asserted: &Asserted) -> serde_json::Value {
    json!({ "id_token": asserted.id_token.expose_secret(), "key": asserted.key, "amr": asserted.amr })
}

fn rests_on(provider: &Provider, asserted: Asserted, left_at: Timestamp, now: Timestamp) -> ProviderLogin {
    ProviderLogin {
        provider: provider.name.clone(),
        identity: identity_digest(&asserted.issuer, &asserted.subject),
        issuer: asserted.issuer,
        subject: asserted.subject,
        left_at,
        sid: asserted.sid,
        id_token: asserted.id_token,
        renew_at: provider.renews_every.map(|every| now.plus(every)),
        refresh_token: asserted.refresh_token,
    }
}
