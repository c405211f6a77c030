//! Refusing a challenge, and closing one whose time is over.

use stepgate_evidence::Event;

use super::Flows;
use super::answer::{AnswerError, changed};
use crate::challenge::{Challenge, ChallengeState};
use crate::id::ChallengeId;
use crate::ports::{ChangeError, StoreError};
use crate::session::SessionView;

/// Whether the person says that it was not they who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMe {
    /// They changed their mind.
    No,
    /// They did not ask: the asking session ends.
    Yes,
}

impl Flows {
    /// The person refuses. `not_me`: they did not ask for it; the asking session ends.
    pub async fn cancel(&self, id: ChallengeId, session: &SessionView, not_me: NotMe) -> Result<(), AnswerError> {
        let (challenge, _) = self.answerable(id, session).await?;
        self.refuse(&challenge, &session.id.to_string(), &session.id.to_string(), not_me).await
    }

    /// `session` and `by` as they stand in the entries: the session that refuses, and who ends the one that asked.
    pub(super) async fn refuse(
        &self,
        challenge: &Challenge,
        session: &str,
        by: &str,
        not_me: NotMe,
    ) -> Result<(), AnswerError> {
        let at = self.clock.now();
        let reason = match not_me {
            NotMe::No => "cancelled",
            NotMe::Yes => "not_me",
        }
        .to_owned();
        let entry = self.entry(
            at,
            Event::ChallengeCancelled {
                challenge: challenge.id.to_string(),
                session: session.to_owned(),
                person: challenge.person.to_string(),
                reason: reason.clone(),
            },
        );
        let state = ChallengeState::Cancelled { reason };
        self.store.close_challenge(challenge.id, challenge.version, state, vec![entry]).await.map_err(changed)?;
        // A token is its issuer's to end. The program it was given to can ask nothing more by this challenge.
        if let (NotMe::Yes, Some(asking)) = (not_me, challenge.asked_by.session()) {
            let ended = self.entry(
                at,
                Event::SessionEnded {
                    session: challenge.asked_by.to_string(),
                    person: challenge.person.to_string(),
                    reason: "not_me".to_owned(),
                    by: by.to_owned(),
                },
            );
            match self.store.end_session(asking, challenge.person, ended).await {
                Ok(()) | Err(ChangeError::Conflict) => {}
                Err(error) => return Err(changed(error)),
            }
        }
        Ok(())
    }

    pub(super) async fn expire(&self, challenge: &Challenge) -> Result<(), StoreError> {
        let entry = self.entry(
            self.clock.now(),
            Event::ChallengeExpired {
                challenge: challenge.id.to_string(),
                session: challenge.asked_by.to_string(),
                person: challenge.person.to_string(),
            },
        );
        let state = ChallengeState::Expired;
        match self.store.close_challenge(challenge.id, challenge.version, state, vec![entry]).await {
            Err(ChangeError::Store(error)) => Err(error),
            // Somebody else closed it first: it is closed.
            _ => Ok(()),
        }
    }
}
