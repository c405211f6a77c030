//! Answering: the person proves what was asked, bound to what was asked.

use std::time::Duration;

use stepgate_evidence::{Event, FactorProof, Grant};
use subtle::ConstantTimeEq as _;

use super::Flows;
use super::ask::{kinds, reason};
use super::look::{NotAnswerable, Standing, binding};
use crate::challenge::{Challenge, ChallengeState, Given, GivenIn, Held};
use crate::factor::{Answer, Binding, EnrolledFactor, FactorKind, NotProved, Proved};
use crate::id::{ChallengeId, FactorId, PersonId};
use crate::ports::{AnsweredChallenge, ChangeError, ProvedThere, RotatedToken, StoreError, Trier, Try};
use crate::secret::{Purpose, Token, TokenDigest};
use crate::session::SessionView;
use crate::time::Timestamp;

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
    /// The device is the browser that asked: it shows the number to itself.
    #[error("the browser that asks cannot approve")]
    SameBrowser,
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
    /// Takes an answer. The try is counted before it is verified; what is verified
    /// is bound to the statement of exactly this challenge.
    ///
    /// The answer that this challenge has just taken, once more (a double click, a
    /// repeat), is no try: it gets what the challenge is by now, and nothing else.
    pub async fn answer(
        &self,
        id: ChallengeId,
        session: &SessionView,
        token: TokenDigest,
        answer: &Answer,
        number: Option<&str>,
        from: Trier,
    ) -> Result<Answered, AnswerError> {
        let answered = self.answer_once(id, session, token, answer, number, from).await;
        if let Err(AnswerError::Wrong { .. } | AnswerError::UsedBefore { .. } | AnswerError::Locked { .. }) = answered {
            self.note_failed_try(Some(session.person.id), from);
        }
        answered
    }

    async fn answer_once(
        &self,
        id: ChallengeId,
        session: &SessionView,
        token: TokenDigest,
        answer: &Answer,
        number: Option<&str>,
        from: Trier,
    ) -> Result<Answered, AnswerError> {
        let (challenge, standing) = self.answerable(id, session).await?;
        let ChallengeState::Pending { answered, wrong } = challenge.state.clone() else {
            return Err(AnswerError::Changed);
        };
        let claimed = answer.kind();
        if kinds(&answered).iter().any(|kind| kind.is_same_factor(claimed)) {
            // Asked already and answered right; what came now was not looked at.
            return Ok(Answered::More(Box::new(challenge)));
        }
        let mut asked = challenge.ask.next(&kinds(&answered));
        asked.retain(|kind| kind.is_same_factor(claimed));
        let kind = *asked.first().ok_or(AnswerError::NotOffered)?;
        if standing == Standing::OtherSession {
            self.check_number(&challenge, &answered, wrong, kind, number).await?;
        }
        let factor = self.factor(kind).ok_or(AnswerError::NotOffered)?;
        let binding = binding(&challenge)?;
        let person = challenge.person;
        let at = self.clock.now();
        let tries_left = match self.begin_try(person, kind, from, at).await? {
            Try::Locked { until } => return Err(AnswerError::Locked { kind, until }),
            Try::Allowed { left } => left,
        };
        let enrolled = of_kinds(&self.store.factors(person).await?, &asked);
        let proved = match factor.verify(&enrolled, answer, binding, at).await {
            Ok(proved) => proved,
            Err(NotProved::Fault(fault)) => {
                tracing::error!(factor = %kind, fault, "a factor could not be verified");
                self.store.take_back_try(person, kind, from).await?;
                return Err(AnswerError::Fault);
            }
            Err(why) => {
                if let NotProved::UsedBefore { last: Some(factor) } = &why
                    && let used = enrolled.iter().find(|one| one.id == *factor)
                    && let Some(used_at) = used.and_then(|one| one.last_used_at)
                    && let Some(taken) = self.taken_already(&challenge, kind, used_at).await?
                {
                    self.store.take_back_try(person, kind, from).await?;
                    return as_it_is(taken);
                }
                let left = self.wrong(&challenge, &answered, wrong, kind.into(), why.code()).await?;
                let left = left.min(tries_left.saturating_sub(1));
                return Err(match why {
                    NotProved::UsedBefore { .. } => AnswerError::UsedBefore { left },
                    _ => AnswerError::Wrong { kind, left },
                });
            }
        };
        let proofs = answered.clone();
        let shown = Shown { at, proof: evidence(&proved, binding), beside: None, there: None };
        match self.right(&challenge, Answerer::Session { view: session, token }, proofs, proved, shown, at, from).await
        {
            // It was right, but the challenge has changed beside it: no wrong try.
            Err(AnswerError::Changed) => {
                self.store.take_back_try(person, kind, from).await?;
                match self.store.challenge(id).await? {
                    Some(changed) if has_answer(&changed, kind) => as_it_is(changed),
                    _ => Err(AnswerError::Changed),
                }
            }
            // The same code was taken for something else at the same moment: a replay.
            Err(AnswerError::UsedBefore { .. }) => {
                let left = self.wrong(&challenge, &answered, wrong, kind.into(), "used_before").await?;
                Err(AnswerError::UsedBefore { left: left.min(tries_left.saturating_sub(1)) })
            }
            other => other,
        }
    }

    /// Whether the number of the asking screen was typed; a wrong one is a wrong answer.
    pub(super) async fn check_number(
        &self,
        challenge: &Challenge,
        answered: &[Given],
        wrong: u32,
        kind: FactorKind,
        typed: Option<&str>,
    ) -> Result<(), AnswerError> {
        if is_number(&challenge.number, typed) {
            return Ok(());
        }
        let left = self.wrong(challenge, answered, wrong, kind.into(), "wrong_number").await?;
        Err(AnswerError::WrongNumber { left })
    }

    /// The challenge as it is by now, if it was this very challenge that took the code at
    /// `used_at`: the same code came twice. Taken for anything else, it is a replay.
    async fn taken_already(
        &self,
        before: &Challenge,
        kind: FactorKind,
        used_at: Timestamp,
    ) -> Result<Option<Challenge>, StoreError> {
        let now = self.store.challenge(before.id).await?;
        Ok(now.filter(|now| match &now.state {
            ChallengeState::Pending { answered, .. } | ChallengeState::Passed { answered, .. } => {
                answered.iter().any(|one| one.kind.is_same_factor(kind) && one.at == used_at)
            }
            // It no longer holds its proofs; it was open when this answer came.
            ChallengeState::Spent { at, .. } => before.opened_at <= used_at && used_at <= *at,
            _ => false,
        }))
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one flow; each is a different thing")]
    pub(super) async fn right(
        &self,
        challenge: &Challenge,
        by: Answerer<'_>,
        mut answered: Vec<Given>,
        proved: Proved,
        shown: Shown,
        at: Timestamp,
        from: Trier,
    ) -> Result<Answered, AnswerError> {
        let live = self.live.load();
        let Shown { at: proved_at, proof, beside, there } = shown;
        let entry = |event| match beside {
            Some(beside) => self.entry_with(at, event, serde_json::json!({ "login": beside })),
            None => self.entry(at, event),
        };
        answered.push(Given { kind: proved.kind, at: proved_at, place: by.place(challenge) });
        let used = (proved.factor, proved.used);
        let ids = || (challenge.id.to_string(), by.session_of(challenge), challenge.person.to_string());
        if !challenge.ask.is_met_by(&kinds(&answered)) {
            let state = ChallengeState::Pending { answered, wrong: 0 };
            let (id, by, person) = ids();
            let entry = entry(Event::ChallengeAnswered { challenge: id, session: by, person, proof });
            let change = AnsweredChallenge {
                id: challenge.id,
                version: challenge.version,
                state: state.clone(),
                used,
                login: there,
                from,
                rotated: None,
                hand_back: None,
            };
            self.store.answer_challenge(change, vec![entry]).await.map_err(changed)?;
            let version = challenge.version.saturating_add(1);
            return Ok(Answered::More(Box::new(Challenge { state, version, ..challenge.clone() })));
        }
        let gate_token = Token::random(self.random.as_ref());
        let (rotated, hand_back) = match by {
            Answerer::Session { view, token } => {
                let rotated = RotatedToken {
                    session: view.id,
                    digest: gate_token.digest(Purpose::GateSession),
                    succeeds: token,
                    at,
                };
                let goes_back = challenge.asked_by == view.id && challenge.held != Held::Nothing;
                (Some(rotated), goes_back.then(|| self.hand_back(challenge, view.id, at)))
            }
            // The asker sees it and goes on by itself.
            Answerer::Device => (None, None),
        };
        let (code, new_code) = hand_back.unzip();
        let (id, by, person) = ids();
        let entry = entry(Event::ChallengePassed {
            challenge: id,
            session: by,
            person,
            asked: challenge.asked.clone(),
            grants: challenge.ask.grant.name().to_owned(),
            proof,
        });
        let spend_before = at.plus(spend_within(challenge, live.challenges.spend_within));
        let change = AnsweredChallenge {
            id: challenge.id,
            version: challenge.version,
            state: ChallengeState::Passed { answered, at, spend_before },
            used,
            login: there,
            from,
            rotated,
            hand_back: new_code,
        };
        self.store.answer_challenge(change, vec![entry]).await.map_err(changed)?;
        let go_on = match code {
            None => GoOn::Elsewhere,
            Some(code) => GoOn::Browser { origin: self.origin_of(challenge), code },
        };
        Ok(Answered::Passed { gate_token, go_on })
    }

    /// Counts a wrong answer to a challenge; the last one fails it. Gives what is left.
    pub(super) async fn wrong(
        &self,
        challenge: &Challenge,
        answered: &[Given],
        wrong: u32,
        tried: Tried,
        why: &str,
    ) -> Result<u32, AnswerError> {
        let at = self.clock.now();
        let wrong = wrong.saturating_add(1);
        let left = self.live.load().challenges.wrong_answers.saturating_sub(wrong);
        let (id, session, person) =
            (challenge.id.to_string(), challenge.asked_by.to_string(), challenge.person.to_string());
        let failed = Event::AttemptFailed {
            person: person.clone(),
            factor: tried.kind.name().to_owned(),
            provider: None,
            purpose: "challenge".to_owned(),
            challenge: id.clone(),
            reason: reason(why),
            factor_id: tried.factor.map(|id| id.to_string()),
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

    pub(super) async fn begin_try(
        &self,
        person: PersonId,
        kind: FactorKind,
        from: Trier,
        at: Timestamp,
    ) -> Result<Try, StoreError> {
        let limits = self.live.load().tries;
        let locked = Event::FactorLocked {
            person: person.to_string(),
            factor: kind.name().to_owned(),
            whom: String::new(),
            until_ms: at.plus(limits.lock).as_ms().to_string(),
        };
        self.store.begin_try(person, kind, from, limits, at, self.entry(at, locked)).await
    }
}

/// Those that can prove it.
pub(super) fn of_kind(enrolled: &[EnrolledFactor], kind: FactorKind) -> Vec<EnrolledFactor> {
    of_kinds(enrolled, &[kind])
}

/// Those that can prove one of these.
pub(super) fn of_kinds(enrolled: &[EnrolledFactor], asked: &[FactorKind]) -> Vec<EnrolledFactor> {
    let proves = |factor: &&EnrolledFactor| asked.iter().any(|kind| factor.kind().proves_when_enrolled(*kind));
    enrolled.iter().filter(proves).cloned().collect()
}

/// What was tried, and by which factor where that is known before it is right.
#[derive(Clone, Copy)]
pub(super) struct Tried {
    pub(super) kind: FactorKind,
    pub(super) factor: Option<FactorId>,
}

impl From<FactorKind> for Tried {
    fn from(kind: FactorKind) -> Self {
        Self { kind, factor: None }
    }
}

/// Who answers.
#[derive(Clone, Copy)]
pub(super) enum Answerer<'a> {
    /// A session: the one that asked, or another one of the same person.
    Session {
        /// What it shows.
        view: &'a SessionView,
        /// Its token, which another one follows.
        token: TokenDigest,
    },
    /// A device of theirs, which has no session.
    Device,
}

impl Answerer<'_> {
    /// The session as it stands in entries: of a device's answer, the one that asked.
    fn session_of(self, challenge: &Challenge) -> String {
        match self {
            Self::Session { view, .. } => view.id.to_string(),
            Self::Device => challenge.asked_by.to_string(),
        }
    }

    /// Where that is, seen from the session that asked.
    fn place(self, challenge: &Challenge) -> GivenIn {
        match self {
            Self::Session { view, .. } if challenge.asked_by == view.id => GivenIn::AskingSession,
            Self::Session { .. } | Self::Device => GivenIn::Elsewhere,
        }
    }
}

/// A proof as it stands in evidence.
pub(super) struct Shown {
    /// When it was given: now, or when the person logged in at their provider.
    pub(super) at: Timestamp,
    /// For the entry.
    pub(super) proof: FactorProof,
    /// What lies beside the entry.
    pub(super) beside: Option<serde_json::Value>,
    /// The login at a provider that it is.
    pub(super) there: Option<ProvedThere>,
}

pub(super) fn evidence(proved: &Proved, binding: Binding) -> FactorProof {
    FactorProof {
        factor: proved.kind.name().to_owned(),
        factor_id: proved.factor.to_string(),
        user_verified: proved.assertion.as_ref().map(|_| true),
        assertion: proved.assertion.clone(),
        login: None,
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

fn has_answer(challenge: &Challenge, kind: FactorKind) -> bool {
    match &challenge.state {
        ChallengeState::Pending { answered, .. } => kinds(answered).iter().any(|one| one.is_same_factor(kind)),
        _ => true,
    }
}

/// What somebody gets who answered a challenge once more: no token, and no way back
/// but the one that looking at it gives.
fn as_it_is(challenge: Challenge) -> Result<Answered, AnswerError> {
    match challenge.state {
        ChallengeState::Pending { .. } => Ok(Answered::More(Box::new(challenge))),
        _ => Err(NotAnswerable::Over(Box::new(challenge)).into()),
    }
}

pub(super) fn is_number(expected: &str, typed: Option<&str>) -> bool {
    typed.is_some_and(|typed| expected.as_bytes().ct_eq(typed.as_bytes()).into())
}

pub(super) fn changed(error: ChangeError) -> AnswerError {
    match error {
        ChangeError::Store(error) => AnswerError::Store(error),
        ChangeError::UsedBefore => AnswerError::UsedBefore { left: 0 },
        ChangeError::Conflict | ChangeError::Limit(_) => AnswerError::Changed,
    }
}
