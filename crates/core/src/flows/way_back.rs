//! The way back once more: a challenge was passed on another device, or the
//! redirect that led back was lost.

use super::{Flows, GoOn};
use crate::challenge::{Challenge, ChallengeState, GrantKind, Held};
use crate::ports::StoreError;
use crate::secret::{Token, TokenDigest};
use crate::session::{Audience, SessionView};

impl Flows {
    /// A new way back to where a passed challenge was asked, for the session that
    /// asked it and no other. `None` if there is none (any more): it is not passed,
    /// was spent, came too late, or a program goes on by itself.
    ///
    /// Several ways back may be open at once; the request is sent once all the same,
    /// because spending the challenge is what counts.
    pub async fn way_back(&self, challenge: &Challenge, session: &SessionView) -> Result<Option<GoOn>, StoreError> {
        let ChallengeState::Passed { spend_before, .. } = &challenge.state else { return Ok(None) };
        let at = self.clock.now();
        let is_theirs = challenge.asked_by == session.id && challenge.person == session.person.id;
        if !is_theirs || challenge.held == Held::Nothing || at >= *spend_before {
            return Ok(None);
        }
        let (code, new_code) = self.hand_back(challenge, session.id, at);
        self.store.put_code(new_code).await?;
        Ok(Some(GoOn::Browser { origin: self.origin_of(challenge), code }))
    }

    /// A newer gate token for the session that asked, when another session answered
    /// and raised it: the asker's own token does not see that yet. `None` if it does,
    /// or the challenge is not theirs or gave nothing.
    pub async fn catch_up(&self, challenge: &Challenge, session: &SessionView, token: TokenDigest) -> Option<Token> {
        let raised = challenge.ask.grant == GrantKind::Freshness
            && matches!(challenge.state, ChallengeState::Passed { .. } | ChallengeState::Spent { .. });
        let is_theirs = challenge.asked_by == session.id && challenge.person == session.person.id;
        if !raised || !is_theirs || !session.is_behind() || session.audience != Audience::Gate {
            return None;
        }
        self.rotate(token, &Audience::Gate, self.clock.now()).await
    }
}
