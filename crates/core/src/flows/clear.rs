//! Going on: a passed challenge is decided again, spent, and its request sent once.

use stepgate_evidence::{Event, Outcome, StatementError};

use super::ask::{OpenedBy, Opening, Step};
use super::{Flows, asked};
use crate::challenge::{Challenge, ChallengeState, Given, GrantKind, Held, HeldRequest, SendOutcome};
use crate::decide::{Asker, Permitted, RECORDED, Recorded, Verdict, decide};
use crate::factor::FactorKind;
use crate::id::{ChallengeId, RequestId};
use crate::operation::ExactOperation;
use crate::ports::{ChangeError, Spend, StoreError, ToHold};
use crate::secret::{Purpose, Token, TokenDigest};
use crate::session::{Audience, Proof, SessionView};
use crate::surroundings::Surroundings;
use crate::time::Timestamp;

/// An operation whose confirmation was spent, durably: it may be sent, once.
///
/// [`Flows::clear`] is the only constructor. Whoever holds it sends the request
/// and then calls [`Flows::sent`] with the receipt.
#[derive(Debug)]
#[must_use = "a cleared operation was spent: it must be sent, and its outcome recorded"]
pub struct Cleared {
    /// The permit.
    pub permitted: Permitted,
    /// For the outcome.
    pub receipt: Receipt,
    /// The proofs that it rests on.
    pub proofs: Vec<(FactorKind, Timestamp)>,
    /// A new token for the asker's host, if the asker is not a resumed browser.
    pub new_token: Option<Token>,
}

/// Says which spending an outcome belongs to.
#[derive(Debug)]
#[must_use = "the outcome must be recorded"]
pub struct Receipt {
    /// The challenge.
    pub challenge: ChallengeId,
    /// The request.
    pub request: RequestId,
}

/// Why a passed challenge cannot be spent.
#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    /// It is pending, failed, expired, cancelled, or was spent already.
    #[error("the challenge is not passed, or was spent already")]
    NotPassed,
    /// Its confirmation was not spent in time.
    #[error("the confirmation has expired")]
    Expired,
    /// It belongs to another request, session, browser or person.
    #[error("the challenge is not for this request")]
    NotForThis,
    /// The decision asks for something new, and there was a successor already.
    #[error("too many challenges for one request")]
    TooMany,
    /// A successor's statement could not be made.
    #[error("the statement cannot be made")]
    Statement(#[source] StatementError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Flows {
    /// Decides a passed challenge's request *again*, spends it and lets it go.
    ///
    /// The decision is taken with the surroundings of now. If it asks for
    /// something new, one successor challenge may carry a held request on.
    pub async fn clear(
        &self,
        challenge: &Challenge,
        exact: ExactOperation,
        asker: Asker<'_>,
        surroundings: &Surroundings,
        resume_code: Option<TokenDigest>,
        rotate: Option<(TokenDigest, Audience)>,
    ) -> Result<Step, ClearError> {
        let ChallengeState::Passed { answered, spend_before, .. } = &challenge.state else {
            return Err(ClearError::NotPassed);
        };
        let by = OpenedBy::of(asker).ok_or(ClearError::NotForThis)?;
        if challenge.operation != exact.digest() || !by.may_spend(challenge) {
            return Err(ClearError::NotForThis);
        }
        let mut surroundings = surroundings.clone();
        self.look_at_habits(exact.operation(), asker, &mut surroundings).await;
        let surroundings = &surroundings;
        let now = surroundings.now;
        if now >= *spend_before {
            return Err(ClearError::Expired);
        }
        // Only what this challenge proved is added: as a confirmation it counts for
        // this operation alone; as freshness it is on the session already, but an
        // asker whose token is older does not see it yet.
        let (confirmed, seen) = match (challenge.ask.grant, asker) {
            (GrantKind::Confirmation, _) => (for_operation(answered), None),
            (GrantKind::Freshness, Asker::Anonymous | Asker::Token(_)) => return Err(ClearError::NotForThis),
            (GrantKind::Freshness, Asker::SignedIn(session)) => {
                // What was proved elsewhere leaves less in the session than it is worth for what was asked.
                let proof = |(kind, at): (FactorKind, Timestamp)| Proof { kind, at, generation: 0 };
                let assurance = for_operation(answered).into_iter().map(proof);
                let assurance = assurance.fold(session.assurance.clone(), |sum, one| sum.with(one));
                (Vec::new(), Some(SessionView { assurance, ..session.clone() }))
            }
        };
        let asker = seen.as_ref().map_or(asker, Asker::SignedIn);
        let body_sha256 = hex::encode(exact.body_sha256());
        let verdict = decide(&self.live.load().policies, exact.operation().clone(), asker, surroundings, &confirmed);
        match verdict {
            Verdict::Permit(permitted) => {
                let recorded = Recorded::of(permitted.operation(), asker, surroundings, &confirmed);
                self.spend(challenge, (permitted, recorded), body_sha256, now, resume_code, rotate).await
            }
            Verdict::Challenge(challenged) => {
                if challenge.succeeds.is_some() || challenge.held != Held::Request {
                    return Err(ClearError::TooMany);
                }
                let surroundings = &surroundings.with_risks_of(asker);
                let opening = Opening {
                    exact: &exact,
                    ask: challenged.ask,
                    max_age: challenged.max_age,
                    proved_within: challenged.proved_within,
                    policies: challenged.policies,
                    seen: challenged.seen,
                    recorded: challenged.recorded.as_deref(),
                    by: &OpenedBy { browser: challenge.browser, ..by.clone() },
                    kind: "browser",
                    asked_from: challenge.asked_from,
                    surroundings,
                    hold: &ToHold::Request(HeldRequest {
                        method: String::new(),
                        target: String::new(),
                        headers: Vec::new(),
                        body: Vec::new(),
                    }),
                    succeeds: Some(challenge.id),
                };
                let (successor, opened) = self.new_challenge(opening).map_err(ClearError::Statement)?;
                let failed = self.entry(
                    now,
                    Event::ChallengeFailed {
                        challenge: challenge.id.to_string(),
                        session: by.asked_by.to_string(),
                        person: by.person.to_string(),
                        reason: "succeeded".to_owned(),
                    },
                );
                match self
                    .store
                    .succeed_challenge(challenge.id, challenge.version, &successor, vec![failed, opened])
                    .await
                {
                    Ok(()) => Ok(Step::Ask(Box::new(successor))),
                    Err(ChangeError::Store(error)) => Err(ClearError::Store(error)),
                    Err(_) => Err(ClearError::TooMany),
                }
            }
            Verdict::Deny(denied) => Ok(Step::Deny(Box::new(denied))),
            Verdict::SignIn(_) => Err(ClearError::NotForThis),
        }
    }

    async fn spend(
        &self,
        challenge: &Challenge,
        (permitted, recorded): (Permitted, Recorded),
        body_sha256: String,
        now: Timestamp,
        resume_code: Option<TokenDigest>,
        rotate: Option<(TokenDigest, Audience)>,
    ) -> Result<Step, ClearError> {
        let ChallengeState::Passed { answered, .. } = &challenge.state else {
            return Err(ClearError::NotPassed);
        };
        let request: RequestId = self.id();
        let statement = challenge.statement.digest().map_err(ClearError::Statement)?;
        let entry = self.entry_with(
            now,
            Event::OperationSent {
                challenge: challenge.id.to_string(),
                session: challenge.asked_by.to_string(),
                person: challenge.person.to_string(),
                request: request.to_string(),
                asked: asked(permitted.operation()),
                policies: permitted.policies().to_vec(),
                policy: self.live.load().policies.version().to_owned(),
                statement: hex::encode(statement),
                body_sha256,
            },
            serde_json::json!({ RECORDED: recorded.to_json() }),
        );
        let spend = Spend {
            challenge: challenge.id,
            version: challenge.version,
            request,
            node: self.node,
            at: now,
            resume_code,
        };
        match self.store.spend(spend, entry).await {
            Ok(()) => {}
            Err(ChangeError::Store(error @ StoreError::Unknown(_))) => {
                if !self.is_spent(challenge.id, request).await {
                    return Err(ClearError::Store(error));
                }
            }
            Err(ChangeError::Store(error)) => return Err(ClearError::Store(error)),
            // Another tab, node or click was first.
            Err(_) => return Err(ClearError::NotPassed),
        }
        let new_token = match rotate {
            None => None,
            Some((old, audience)) => self.rotate(old, &audience, now).await,
        };
        Ok(Step::Go(Box::new(Cleared {
            permitted,
            receipt: Receipt { challenge: challenge.id, request },
            proofs: for_operation(answered),
            new_token,
        })))
    }

    /// Whether a spending whose commit has no answer is durable all the same. If not,
    /// or if nobody can say, nothing is sent; that is noted in case that it was spent.
    async fn is_spent(&self, challenge: ChallengeId, request: RequestId) -> bool {
        let found = match self.store.challenge(challenge).await {
            Ok(found) => found.map(|challenge| challenge.state),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a spending could not be read again");
                None
            }
        };
        match found {
            Some(ChallengeState::Spent { request: by, outcome: SendOutcome::Sending, .. }) if by == request => true,
            _ => {
                let noted = self.sent(Receipt { challenge, request }, SendOutcome::NotSent).await;
                // A conflict is the rule here: nothing was spent.
                if let Err(ChangeError::Store(error)) = noted {
                    tracing::warn!(error = &error as &dyn std::error::Error, "what was not sent could not be noted");
                }
                false
            }
        }
    }

    /// A failed rotation does not undo what was spent: the old token lives on as it was.
    pub(super) async fn rotate(&self, old: TokenDigest, audience: &Audience, now: Timestamp) -> Option<Token> {
        let token = Token::random(self.random.as_ref());
        let purpose = match audience {
            Audience::Gate => Purpose::GateSession,
            Audience::Host(_) => Purpose::ServiceSession,
        };
        match self.store.rotate_token(old, audience, token.digest(purpose), now).await {
            Ok(()) => Some(token),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a session token was not rotated");
                None
            }
        }
    }

    /// Records how the upstream answered what was sent.
    pub async fn sent(&self, receipt: Receipt, outcome: SendOutcome) -> Result<(), ChangeError> {
        let recorded = match outcome {
            SendOutcome::Answered { status } => Outcome::Answered { status },
            SendOutcome::NotSent => Outcome::NotSent,
            SendOutcome::Sending | SendOutcome::Unknown => Outcome::Unknown,
        };
        let entry = self.entry(
            self.clock.now(),
            Event::OperationFinished {
                challenge: receipt.challenge.to_string(),
                request: receipt.request.to_string(),
                outcome: recorded,
            },
        );
        let noted = self.store.finish(receipt.challenge, receipt.request, outcome, entry.clone()).await;
        if !matches!(noted, Err(ChangeError::Store(StoreError::Unknown(_)))) {
            return noted;
        }
        // Noting it again is reading again: a conflict says that it was noted.
        match self.store.finish(receipt.challenge, receipt.request, outcome, entry).await {
            Ok(()) | Err(ChangeError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The proofs as they count for the operation that was asked for.
fn for_operation(answered: &[Given]) -> Vec<(FactorKind, Timestamp)> {
    answered.iter().map(Given::for_operation).collect()
}
