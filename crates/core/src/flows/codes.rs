//! One-time codes that lead a browser from the gate to a service's host and back from a
//! challenge, and the held request that waits for it there.

use std::time::Duration;

use super::Flows;
use crate::challenge::{Challenge, ChallengeState, Held, HeldRequest, SendOutcome};
use crate::id::ChallengeId;
use crate::ports::{ChangeError, CodeSees, NewCode, StoreError};
use crate::secret::{Purpose, Token, TokenDigest};
use crate::session::{Audience, SessionView};
use crate::time::Timestamp;

/// How long a hand-off, hand-back or resume code lives.
const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// How long the browser may take to post the resume code.
const RESUME_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// A redeemed code: the browser is at the service's host now.
#[derive(Debug)]
pub struct Redeemed {
    /// The session token for this host.
    pub token: Token,
    /// The challenge that it comes back from.
    pub challenge: Option<Challenge>,
    /// Posted to the original URL to put the held request in its place.
    pub resume: Option<Token>,
}

/// A held request that is about to go on.
#[derive(Debug)]
pub struct HeldForResume {
    /// Its challenge.
    pub challenge: Challenge,
    /// The request.
    pub request: HeldRequest,
}

/// Why a held request cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// There is no such challenge for this session and host: one answer for
    /// unknown, foreign and other people's.
    #[error("there is nothing to go on with")]
    NotYours,
    /// It was spent: what became of it.
    #[error("it was sent already")]
    Spent(SendOutcome),
    /// It is not passed (yet, or any more).
    #[error("the challenge is {0}")]
    NotPassed(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Flows {
    /// Makes a code that takes a signed-in browser from the gate to a service's host.
    ///
    /// `browser` is the digest of the host's own browser cookie: the code is
    /// worthless in any other browser. It gives no more than the session's token
    /// sees: a copy of an older token gains nothing by a detour over another host.
    pub async fn hand_off(
        &self,
        session: &SessionView,
        host: crate::catalogue::Host,
        browser: TokenDigest,
    ) -> Result<Token, StoreError> {
        let token = Token::random(self.random.as_ref());
        let code = NewCode {
            digest: token.digest(Purpose::HandOff),
            purpose: Purpose::HandOff,
            session: session.id,
            audience: Audience::Host(host),
            browser: Some(browser),
            challenge: None,
            sees: CodeSees::UpTo(session.generation),
            expires_at: self.clock.now().plus(CODE_LIFETIME),
        };
        self.store.put_code(code).await?;
        Ok(token)
    }

    pub(super) fn hand_back(
        &self,
        challenge: &Challenge,
        session: crate::id::SessionId,
        at: Timestamp,
    ) -> (Token, NewCode) {
        let token = Token::random(self.random.as_ref());
        let code = NewCode {
            digest: token.digest(Purpose::HandBack),
            purpose: Purpose::HandBack,
            session,
            audience: challenge.host.clone().map_or(Audience::Gate, Audience::Host),
            browser: challenge.browser,
            challenge: Some(challenge.id),
            // It brings back whoever asked, with what was proved for that.
            sees: CodeSees::Everything,
            expires_at: at.plus(RESUME_LIFETIME),
        };
        (token, code)
    }

    /// Redeems a hand-off or hand-back code at the host that it was made for, once.
    ///
    /// `None`: unknown, foreign, used or late; all look the same.
    pub async fn redeem(
        &self,
        code: &Token,
        purpose: Purpose,
        audience: &Audience,
        browser: Option<TokenDigest>,
    ) -> Result<Option<Redeemed>, StoreError> {
        let now = self.clock.now();
        let token = Token::random(self.random.as_ref());
        let session_purpose = match audience {
            Audience::Gate => Purpose::GateSession,
            Audience::Host(_) => Purpose::ServiceSession,
        };
        let redeemed =
            self.store.redeem_code(code.digest(purpose), audience, browser, token.digest(session_purpose), now).await;
        let code = match redeemed {
            Ok(Some(code)) => code,
            Ok(None) | Err(ChangeError::Conflict | ChangeError::UsedBefore | ChangeError::Limit(_)) => return Ok(None),
            Err(ChangeError::Store(error)) => return Err(error),
        };
        let Some(id) = code.challenge else {
            return Ok(Some(Redeemed { token, challenge: None, resume: None }));
        };
        let challenge = self.store.challenge(id).await?;
        let holds = challenge.as_ref().is_some_and(|challenge| challenge.held == Held::Request);
        if !holds {
            return Ok(Some(Redeemed { token, challenge, resume: None }));
        }
        let resume = Token::random(self.random.as_ref());
        let digest = resume.digest(Purpose::Resume);
        let expires_at = now.plus(RESUME_LIFETIME);
        self.store.put_code(NewCode { digest, purpose: Purpose::Resume, expires_at, ..code }).await?;
        Ok(Some(Redeemed { token, challenge, resume: Some(resume) }))
    }

    /// The held request of a challenge, for the session that made it and no other.
    pub async fn held_for_resume(&self, id: ChallengeId, session: &SessionView) -> Result<HeldForResume, ResumeError> {
        let challenge = self.store.challenge(id).await?.ok_or(ResumeError::NotYours)?;
        let audience = challenge.host.clone().map_or(Audience::Gate, Audience::Host);
        if challenge.asked_by != session.id || challenge.person != session.person.id || audience != session.audience {
            return Err(ResumeError::NotYours);
        }
        match &challenge.state {
            ChallengeState::Passed { .. } => {}
            ChallengeState::Spent { outcome, .. } => return Err(ResumeError::Spent(*outcome)),
            other => return Err(ResumeError::NotPassed(other.name())),
        }
        let request = self.store.held(id).await?.ok_or(ResumeError::NotYours)?;
        Ok(HeldForResume { challenge, request })
    }
}
