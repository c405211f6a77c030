//! Answering: the person proves what was asked, bound to what was asked.

use std::time::Duration;

use stepgate_evidence::{Event, FactorProof, Grant};
use subtle::ConstantTimeEq as _;

use super::Flows;
use super::ask::{kinds, reason};
use crate::challenge::{Challenge, ChallengeState, GrantKind, Held};
use crate::factor::{Answer, Binding, EnrolledFactor, FactorKind, NotProved, Prompt, Proved};
use crate::id::{ChallengeId, PersonId};
use crate::ports::{AnsweredChallenge, ChangeError, RotatedToken, StoreError, Try};
use crate::secret::{Purpose, Token, TokenDigest};
use crate::session::SessionView;
use crate::time::Timestamp;

/// Whose challenge it is, seen from a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This session asked.
    Asked,
    /// Another session of the same person asked: the number it shows must be typed.
    OtherSession,
}

/// A challenge as its page shows it.
#[derive(Debug)]
pub struct ChallengeView {
    /// The challenge.
    pub challenge: Challenge,
    /// Whose it is.
    pub standing: Standing,
    /// What may be answered next, with what the page needs to ask.
    pub prompts: Vec<(FactorKind, Prompt)>,
    /// Wrong answers that are left.
    pub tries_left: u32,
}

/// What came of an answer.
#[derive(Debug)]
pub enum Answered {
    /// It was right; one more proof is needed.
    More(Box<Challenge>),
    /// The challenge is passed.
    Passed {
        /// The new session token for the gate's own origin.
        gate_token: Token,
        /// Where the person goes on.
        go_on: GoOn,
    },
}

/// Where the person goes on after passing.
#[derive(Debug)]
pub enum GoOn {
    /// Back to where they were: `{origin}/.stepgate/resume/{challenge}?code={code}`.
    Browser {
        /// The origin of the service.
        origin: String,
        /// The hand-back code.
        code: Token,
    },
    /// A program or another session asked: it goes on by itself.
    Elsewhere,
}

/// Why there is no page for this challenge.
#[derive(Debug, thiserror::Error)]
pub enum NotAnswerable {
    /// Unknown, or another person's: one answer for both.
    #[error("there is no such challenge for you")]
    NotYours,
    /// It is over; the challenge says how.
    #[error("the challenge is {}", .0.state.name())]
    Over(Box<Challenge>),
    /// The statement could not be made.
    #[error("the challenge is damaged")]
    Damaged,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an answer did not pass.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// There is nothing to answer.
    #[error(transparent)]
    NotAnswerable(#[from] NotAnswerable),
    /// The factor is not among those that suffice.
    #[error("this factor does not suffice here")]
    NotOffered,
    /// The number of the asking screen is wrong or missing.
    #[error("the number is not the one on the screen that asked")]
    WrongNumber {
        /// Wrong answers that are left for this challenge.
        left: u32,
    },
    /// The answer was wrong.
    #[error("the answer was wrong")]
    Wrong {
        /// The kind that was tried.
        kind: FactorKind,
        /// Wrong answers that are left for this challenge and factor.
        left: u32,
    },
    /// The code was right, but had been used.
    #[error("the code has been used before")]
    UsedBefore {
        /// Wrong answers that are left.
        left: u32,
    },
    /// Too many wrong tries: this factor is locked; others are not.
    #[error("this factor is locked")]
    Locked {
        /// The kind that is locked.
        kind: FactorKind,
        /// Until when.
        until: Timestamp,
    },
    /// The verifier itself failed.
    #[error("the factor could not be verified")]
    Fault,
    /// It changed in the meantime (another tab): look again.
    #[error("the challenge changed in the meantime")]
    Changed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Flows {
    /// A challenge for its page.
    pub async fn challenge(&self, id: ChallengeId, session: &SessionView) -> Result<ChallengeView, NotAnswerable> {
        let (challenge, standing) = self.answerable(id, session).await?;
        let ChallengeState::Pending { answered, wrong } = &challenge.state else {
            return Err(NotAnswerable::Over(Box::new(challenge)));
        };
        let binding = binding(&challenge)?;
        let enrolled = self.store.factors(challenge.person).await?;
        let prompts = challenge
            .ask
            .next(&kinds(answered))
            .into_iter()
            .filter_map(|kind| Some((kind, self.factor(kind)?.prompt(&of_kind(&enrolled, kind), binding))))
            .collect();
        let tries_left = self.live.load().challenges.wrong_answers.saturating_sub(*wrong);
        Ok(ChallengeView { standing, prompts, tries_left, challenge })
    }

    /// The challenge, if this person may answer it. One whose time is over is closed on the way.
    async fn answerable(&self, id: ChallengeId, session: &SessionView) -> Result<(Challenge, Standing), NotAnswerable> {
        let challenge = self.store.challenge(id).await?.ok_or(NotAnswerable::NotYours)?;
        if challenge.person != session.person.id {
            return Err(NotAnswerable::NotYours);
        }
        let standing = if challenge.session == session.id { Standing::Asked } else { Standing::OtherSession };
        match &challenge.state {
            ChallengeState::Pending { .. } if self.clock.now() >= challenge.expires_at => {
                self.expire(&challenge).await?;
                let expired = Challenge { state: ChallengeState::Expired, ..challenge };
                Err(NotAnswerable::Over(Box::new(expired)))
            }
            ChallengeState::Pending { .. } => Ok((challenge, standing)),
            _ => Err(NotAnswerable::Over(Box::new(challenge))),
        }
    }

    /// Takes an answer. The try is counted before it is verified; what is verified
    /// is bound to the statement of exactly this challenge.
    pub async fn answer(
        &self,
        id: ChallengeId,
        session: &SessionView,
        token: TokenDigest,
        answer: &Answer,
        number: Option<&str>,
    ) -> Result<Answered, AnswerError> {
        let (challenge, standing) = self.answerable(id, session).await?;
        let ChallengeState::Pending { answered, wrong } = challenge.state.clone() else {
            return Err(AnswerError::Changed);
        };
        let kind = answer.kind();
        if !challenge.ask.next(&kinds(&answered)).contains(&kind) {
            return Err(AnswerError::NotOffered);
        }
        if standing == Standing::OtherSession && !is_number(&challenge.number, number) {
            let left = self.wrong(&challenge, &answered, wrong, kind, "wrong_number").await?;
            return Err(AnswerError::WrongNumber { left });
        }
        let factor = self.factor(kind).ok_or(AnswerError::NotOffered)?;
        let binding = binding(&challenge)?;
        let person = challenge.person;
        let at = self.clock.now();
        let tries_left = match self.begin_try(person, kind, at).await? {
            Try::Locked { until } => return Err(AnswerError::Locked { kind, until }),
            Try::Allowed { left } => left,
        };
        let enrolled = of_kind(&self.store.factors(person).await?, kind);
        let proved = match factor.verify(&enrolled, answer, binding, at).await {
            Ok(proved) => proved,
            Err(why) => {
                let left = self.wrong(&challenge, &answered, wrong, kind, why.code()).await?;
                let left = left.min(tries_left.saturating_sub(1));
                return Err(match why {
                    NotProved::UsedBefore => AnswerError::UsedBefore { left },
                    NotProved::Fault(fault) => {
                        tracing::error!(factor = %kind, fault, "a factor could not be verified");
                        AnswerError::Fault
                    }
                    _ => AnswerError::Wrong { kind, left },
                });
            }
        };
        self.right(challenge, session, token, answered, proved, binding, at).await
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one flow; each is a different thing")]
    async fn right(
        &self,
        challenge: Challenge,
        session: &SessionView,
        token: TokenDigest,
        mut answered: Vec<(FactorKind, Timestamp)>,
        proved: Proved,
        binding: Binding,
        at: Timestamp,
    ) -> Result<Answered, AnswerError> {
        let live = self.live.load();
        let proof = evidence(&proved, binding);
        answered.push((proved.kind, at));
        let used = (proved.factor, proved.used);
        let ids = || (challenge.id.to_string(), session.id.to_string(), challenge.person.to_string());
        if !challenge.ask.is_met_by(&kinds(&answered)) {
            let state = ChallengeState::Pending { answered, wrong: 0 };
            let (id, by, person) = ids();
            let entry = self.entry(at, Event::ChallengeAnswered { challenge: id, session: by, person, proof });
            let change = AnsweredChallenge {
                id: challenge.id,
                version: challenge.version,
                state: state.clone(),
                raises_session: Vec::new(),
                used,
                rotated: None,
                hand_back: None,
            };
            self.store.answer_challenge(change, vec![entry]).await.map_err(changed)?;
            let version = challenge.version.saturating_add(1);
            return Ok(Answered::More(Box::new(Challenge { state, version, ..challenge })));
        }
        let gate_token = Token::random(self.random.as_ref());
        let asked_here = challenge.session == session.id;
        let hand_back =
            (asked_here && challenge.held != Held::Nothing).then(|| self.hand_back(&challenge, session.id, at));
        let (code, new_code) = hand_back.unzip();
        let (id, by, person) = ids();
        let entry = self.entry(
            at,
            Event::ChallengePassed {
                challenge: id,
                session: by,
                person,
                asked: challenge.asked.clone(),
                grants: challenge.ask.grant.name().to_owned(),
                proof,
            },
        );
        let raises_session = match challenge.ask.grant {
            GrantKind::Freshness => answered.clone(),
            GrantKind::Confirmation => Vec::new(),
        };
        let spend_before = at.plus(spend_within(&challenge, live.challenges.spend_within));
        let change = AnsweredChallenge {
            id: challenge.id,
            version: challenge.version,
            state: ChallengeState::Passed { answered, at, spend_before },
            raises_session,
            used,
            rotated: Some(RotatedToken {
                session: session.id,
                digest: gate_token.digest(Purpose::GateSession),
                succeeds: token,
                at,
            }),
            hand_back: new_code,
        };
        self.store.answer_challenge(change, vec![entry]).await.map_err(changed)?;
        let go_on = match code {
            None => GoOn::Elsewhere,
            Some(code) => GoOn::Browser { origin: self.origin_of(&challenge), code },
        };
        Ok(Answered::Passed { gate_token, go_on })
    }

    /// The origin of the service that was asked.
    pub fn origin_of(&self, challenge: &Challenge) -> String {
        let live = self.live.load();
        let service = challenge.host.as_ref().and_then(|host| live.catalogue.by_host(host));
        service.map_or_else(|| live.catalogue.gate_origin.clone(), |service| service.origin.clone())
    }

    /// Counts a wrong answer to a challenge; the last one fails it. Gives what is left.
    async fn wrong(
        &self,
        challenge: &Challenge,
        answered: &[(FactorKind, Timestamp)],
        wrong: u32,
        kind: FactorKind,
        why: &str,
    ) -> Result<u32, AnswerError> {
        let at = self.clock.now();
        let wrong = wrong.saturating_add(1);
        let left = self.live.load().challenges.wrong_answers.saturating_sub(wrong);
        let (id, session, person) =
            (challenge.id.to_string(), challenge.session.to_string(), challenge.person.to_string());
        let failed = Event::AttemptFailed {
            person: person.clone(),
            factor: kind.name().to_owned(),
            purpose: "challenge".to_owned(),
            challenge: id.clone(),
            reason: reason(why),
        };
        let mut entries = vec![self.entry(at, failed)];
        let state = if left == 0 {
            let reason = "too_many_tries".to_owned();
            entries.push(
                self.entry(at, Event::ChallengeFailed { challenge: id, session, person, reason: reason.clone() }),
            );
            ChallengeState::Failed { reason }
        } else {
            ChallengeState::Pending { answered: answered.to_vec(), wrong }
        };
        match self.store.close_challenge(challenge.id, challenge.version, state, entries.clone()).await {
            Ok(()) => Ok(left),
            // A parallel answer changed the challenge: this failure is recorded all the same.
            Err(ChangeError::Conflict) => {
                entries.truncate(1);
                self.store.record(entries).await?;
                Err(AnswerError::Changed)
            }
            Err(error) => Err(changed(error)),
        }
    }

    /// The person refuses. `not_me`: they did not ask for it; the asking session ends.
    pub async fn cancel(&self, id: ChallengeId, session: &SessionView, not_me: NotMe) -> Result<(), AnswerError> {
        let (challenge, _) = self.answerable(id, session).await?;
        let at = self.clock.now();
        let reason = match not_me {
            NotMe::No => "cancelled",
            NotMe::Yes => "not_me",
        }
        .to_owned();
        let entry = self.entry(
            at,
            Event::ChallengeCancelled {
                challenge: id.to_string(),
                session: session.id.to_string(),
                person: challenge.person.to_string(),
                reason: reason.clone(),
            },
        );
        let state = ChallengeState::Cancelled { reason };
        self.store.close_challenge(id, challenge.version, state, vec![entry]).await.map_err(changed)?;
        if not_me == NotMe::Yes {
            let ended = self.entry(
                at,
                Event::SessionEnded {
                    session: challenge.session.to_string(),
                    person: challenge.person.to_string(),
                    reason: "not_me".to_owned(),
                    by: session.id.to_string(),
                },
            );
            match self.store.end_session(challenge.session, challenge.person, ended).await {
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
                session: challenge.session.to_string(),
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

    pub(super) async fn begin_try(&self, person: PersonId, kind: FactorKind, at: Timestamp) -> Result<Try, StoreError> {
        let limits = self.live.load().tries;
        let locked = Event::FactorLocked {
            person: person.to_string(),
            factor: kind.name().to_owned(),
            until_ms: at.plus(limits.lock).as_ms().to_string(),
        };
        self.store.begin_try(person, kind, limits, at, self.entry(at, locked)).await
    }
}

/// Whether the person says that it was not they who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMe {
    /// They changed their mind.
    No,
    /// They did not ask: the asking session ends.
    Yes,
}

fn binding(challenge: &Challenge) -> Result<Binding, NotAnswerable> {
    challenge.statement.digest().map(Binding).map_err(|_| NotAnswerable::Damaged)
}

pub(super) fn of_kind(enrolled: &[EnrolledFactor], kind: FactorKind) -> Vec<EnrolledFactor> {
    enrolled.iter().filter(|factor| factor.kind() == kind).cloned().collect()
}

pub(super) fn evidence(proved: &Proved, binding: Binding) -> FactorProof {
    FactorProof {
        factor: proved.kind.name().to_owned(),
        factor_id: proved.factor.to_string(),
        user_verified: proved.assertion.as_ref().map(|_| true),
        assertion: proved.assertion.clone(),
        bound_to: hex::encode(binding.0),
    }
}

/// How long a passed challenge may be spent: a confirmation as long as its
/// statement says, because that is what was confirmed.
fn spend_within(challenge: &Challenge, configured: Duration) -> Duration {
    match &challenge.statement.grant {
        Grant::Freshness { .. } => configured,
        Grant::Confirmation { lifetime_s, .. } => lifetime_s.parse().map_or(Duration::ZERO, Duration::from_secs),
    }
}

fn is_number(expected: &str, typed: Option<&str>) -> bool {
    typed.is_some_and(|typed| expected.as_bytes().ct_eq(typed.as_bytes()).into())
}

fn changed(error: ChangeError) -> AnswerError {
    match error {
        ChangeError::Store(error) => AnswerError::Store(error),
        ChangeError::UsedBefore => AnswerError::UsedBefore { left: 0 },
        ChangeError::Conflict | ChangeError::Limit(_) => AnswerError::Changed,
    }
}
