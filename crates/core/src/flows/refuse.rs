//! Refusing a challenge, and closing one whose time is over.

use stepgate_evidence::Event;

use super::Flows;
use super::answer::{AnswerError, changed};
use crate::challenge::{Challenge, ChallengeState};
use crate::id::{ChallengeId, PersonId, SessionId};
use crate::ports::{ChangeError, StoreError};
use crate::session::SessionView;

/// How often a challenge that changes beside it is closed anew: more often than it can be answered wrong.
const CLOSES_MAX: u32 = 16;

/// Whether the person says that it was not they who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMe {
    /// They changed their mind.
    No,
    /// They did not ask: the asking session ends.
    Yes,
}

/// That a person did not ask for something.
pub(super) struct Report<'a> {
    /// For what; there may be no such challenge any more.
    pub(super) challenge: ChallengeId,
    /// Who says so.
    pub(super) person: PersonId,
    /// The sessions that asked for it.
    pub(super) asking: &'a [SessionId],
    /// The session that refuses, as it stands in the challenge's entry; `None`: a device does, which has none, and
    /// the one that asked stands there.
    pub(super) session: Option<SessionId>,
    /// Who ends the sessions, as it stands in their entries.
    pub(super) by: &'a str,
}

impl Flows {
    /// The person refuses. `not_me`: they did not ask for it; the asking session ends.
    pub async fn cancel(&self, id: ChallengeId, session: &SessionView, not_me: NotMe) -> Result<(), AnswerError> {
        let (challenge, _) = self.answerable(id, session).await?;
        if not_me == NotMe::No {
            return self.refuse(&challenge, &session.id.to_string()).await;
        }
        // A token is its issuer's to end. The program it was given to can ask nothing more by this challenge.
        let asking: Vec<SessionId> = challenge.asked_by.session().into_iter().collect();
        let (by, person) = (session.id.to_string(), challenge.person);
        self.report(Report { challenge: id, person, asking: &asking, session: Some(session.id), by: &by }).await
    }

    /// Closes it as refused. `session`: as it stands in the entry.
    pub(super) async fn refuse(&self, challenge: &Challenge, session: &str) -> Result<(), AnswerError> {
        self.close_as(challenge, session, "cancelled").await.map_err(changed)
    }

    /// Closes what the person did not ask for, if it is not over, and ends the sessions that asked, whatever becomes
    /// of it: whoever asks may answer wrong, withdraw it or be right at this very moment.
    pub(super) async fn report(&self, report: Report<'_>) -> Result<(), AnswerError> {
        let closed = self.close_reported(&report).await;
        for session in report.asking {
            let ended = Event::SessionEnded {
                session: session.to_string(),
                person: report.person.to_string(),
                reason: "not_me".to_owned(),
                by: report.by.to_owned(),
            };
            let ended = self.entry(self.clock.now(), ended);
            match self.store.end_session(*session, report.person, ended).await {
                // It has ended already.
                Ok(()) | Err(ChangeError::Conflict) => {}
                Err(error) => return Err(changed(error)),
            }
        }
        closed
    }

    async fn close_reported(&self, report: &Report<'_>) -> Result<(), AnswerError> {
        for _ in 0..CLOSES_MAX {
            let Some(challenge) = self.store.challenge(report.challenge).await? else { return Ok(()) };
            if !matches!(challenge.state, ChallengeState::Pending { .. } | ChallengeState::Passed { .. }) {
                return Ok(());
            }
            let session = report.session.map_or_else(|| challenge.asked_by.to_string(), |id| id.to_string());
            match self.close_as(&challenge, &session, "not_me").await {
                Ok(()) => return Ok(()),
                // It changed beside this: read again.
                Err(ChangeError::Conflict) => {}
                Err(error) => return Err(changed(error)),
            }
        }
        Err(AnswerError::Changed)
    }

    async fn close_as(&self, challenge: &Challenge, session: &str, reason: &str) -> Result<(), ChangeError> {
        let event = Event::ChallengeCancelled {
            challenge: challenge.id.to_string(),
            session: session.to_owned(),
            person: challenge.person.to_string(),
            reason: reason.to_owned(),
        };
        let entry = self.entry(self.clock.now(), event);
        let state = ChallengeState::Cancelled { reason: reason.to_owned() };
        self.store.close_challenge(challenge.id, challenge.version, state, vec![entry]).await
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
