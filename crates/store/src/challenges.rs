//! Challenges: opening, answering, closing. Each change is a compare-and-swap on the version.

use async_trait::async_trait;
use stepgate_core::challenge::{AskedBy, Challenge, ChallengeState, Given, GrantKind, Held, HeldRequest};
use stepgate_core::flows::is_sign_in_again;
use stepgate_core::id::{ChallengeId, PersonId, SessionId};
use stepgate_core::operation::OperationDigest;
use stepgate_core::ports::{AnsweredChallenge, ChangeError, NewCode, StoreError};
use stepgate_core::secret::TokenDigest;
use stepgate_core::session::{Audience, Proof};
use stepgate_core::time::Timestamp;

use crate::challenge_row::{self, ask_json, held_name, select_challenge, standing_json};
use crate::changes::Subject;
use crate::codes;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::factors::apply_use;
use crate::held;
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::logins;
use crate::options::ROWS_MAX;
use crate::people::take_active;
use crate::row::Fields;
use crate::sessions::{prove, take_live, take_not_ended};
use crate::tokens::{NewToken, Succeeds, issue, live_token};
use crate::tries;

pub(crate) struct OpenChallenge {
    pub(crate) challenge: Challenge,
    pub(crate) held: Option<HeldRequest>,
    pub(crate) pending_max: u32,
}

#[async_trait]
impl Intent for OpenChallenge {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let challenge = &self.challenge;
        // The session's row is taken, so that two at once count one after the other.
        let owner = match challenge.asked_by {
            AskedBy::Session(session) if is_sign_in_again(challenge) => take_not_ended(work, session).await?,
            AskedBy::Session(session) => take_live(work, session, challenge.opened_at).await?.map(|live| live.person),
            // The same of the person who answers, who may have left since the token was looked at.
            AskedBy::Token(_)
                if challenge.ask.grant == GrantKind::Confirmation
                    && challenge.held == Held::Nothing
                    && challenge.program.is_some() =>
            {
                take_active(work, &challenge.person.to_string()).await?;
                Some(challenge.person)
            }
            AskedBy::Token(_) => None,
        };
        let pending = matches!(challenge.state, ChallengeState::Pending { .. });
        if owner != Some(challenge.person) || !pending || (challenge.held == Held::Request) != self.held.is_some() {
            return Err(ChangeError::Conflict);
        }
        // A program has as many tokens as its issuer gives it: it is counted itself.
        let row = sqlx::query(
            "SELECT '' AS id, COUNT(*) AS pending FROM challenges \
             WHERE person = $5 AND COALESCE(program, session) = $1 AND state = 'pending' AND expires_at > $2 \
             AND asked_from = $3 AND COALESCE(host, '') = $4",
        )
        .bind(challenge.program.clone().unwrap_or_else(|| challenge.asked_by.to_string()))
        .bind(challenge.opened_at.as_ms())
        .bind(challenge.asked_from.name())
        .bind(challenge.host.as_ref().map(|host| host.as_str().to_owned()).unwrap_or_default())
        .bind(challenge.person.to_string())
        .fetch_one(&mut *work.connection)
        .await
        .stored()?;
        if Fields::of("challenges", &row).int("pending")? >= i64::from(self.pending_max) {
            return Err(ChangeError::Limit("pending challenges per session or program, and service"));
        }
        let sealed = match &self.held {
            None => None,
            Some(request) => Some(held::seal(work, challenge.id, request)?),
        };
        insert(work, challenge, sealed).await
    }
}

async fn insert(work: &mut Work<'_>, challenge: &Challenge, held_request: Option<Vec<u8>>) -> Result<(), ChangeError> {
    sqlx::query(
        "INSERT INTO challenges (id, version, session, generation, person, host, browser, operation, grant_kind, asked, statement, \
         ask, proved_within_s, number, held, asked_from, succeeds, opened_at, expires_at, state, standing, sending, \
         held_request, program) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, 0, $22, $23)",
    )
    .bind(challenge.id.to_string())
    .bind(i64::from(challenge.version))
    .bind(challenge.asked_by.to_string())
    .bind(i64::from(challenge.generation))
    .bind(challenge.person.to_string())
    .bind(challenge.host.as_ref().map(|host| host.as_str().to_owned()))
    .bind(challenge.browser.map(TokenDigest::to_hex))
    .bind(challenge.operation.to_hex())
    .bind(challenge.ask.grant.name())
    .bind(serde_json::to_string(&challenge.asked).map_err(unavailable)?)
    .bind(serde_json::to_string(&challenge.statement).map_err(unavailable)?)
    .bind(ask_json(&challenge.ask)?)
    .bind(challenge.proved_within.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX)))
    .bind(&challenge.number)
    .bind(held_name(challenge.held))
    .bind(challenge.asked_from.name())
    .bind(challenge.succeeds.map(|id| id.to_string()))
    .bind(challenge.opened_at.as_ms())
    .bind(challenge.expires_at.as_ms())
    .bind(challenge.state.name())
    .bind(standing_json(&challenge.state)?)
    .bind(held_request)
    .bind(&challenge.program)
    .execute(&mut *work.connection)
    .await
    .or_conflict()?;
    work.changed(Subject::Challenge(challenge.id));
    Ok(())
}

/// Who asked, and who answers for it: what is to be taken before the challenge itself.
pub(crate) async fn asked_by(work: &mut Work<'_>, id: ChallengeId) -> Result<(AskedBy, PersonId), ChangeError> {
    let row = sqlx::query("SELECT id, session, person FROM challenges WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?
        .ok_or(ChangeError::Conflict)?;
    let fields = Fields::of("challenges", &row);
    Ok((fields.parsed("session")?, fields.id("person")?))
}

/// Takes the challenge's row at this version, or `Conflict`.
pub(crate) async fn take(work: &mut Work<'_>, id: ChallengeId, version: u32) -> Result<Challenge, ChangeError> {
    const SELECT: &str = select_challenge!("WHERE id = $1 AND version = $2");
    let row = work
        .inner
        .backend
        .locked(SELECT)
        .bind(id.to_string())
        .bind(i64::from(version))
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?
        .ok_or(ChangeError::Conflict)?;
    Ok(challenge_row::challenge(&row)?)
}

/// Writes the new state of a challenge that was taken.
pub(crate) async fn put_state(
    work: &mut Work<'_>,
    taken: &Challenge,
    state: &ChallengeState,
    closed_at: Option<Timestamp>,
) -> Result<(), ChangeError> {
    let spend_before = match state {
        ChallengeState::Passed { spend_before, .. } => Some(spend_before.as_ms()),
        _ => None,
    };
    sqlx::query(
        "UPDATE challenges SET version = version + 1, state = $1, standing = $2, spend_before = $3, closed_at = $4 \
         WHERE id = $5 AND version = $6",
    )
    .bind(state.name())
    .bind(standing_json(state)?)
    .bind(spend_before)
    .bind(closed_at.map(Timestamp::as_ms))
    .bind(taken.id.to_string())
    .bind(i64::from(taken.version))
    .execute(&mut *work.connection)
    .await
    .stored()?
    .exactly_one()?;
    work.changed(Subject::Challenge(taken.id));
    Ok(())
}

pub(crate) struct AnswerChallenge {
    pub(crate) answer: AnsweredChallenge,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for AnswerChallenge {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let answer = &self.answer;
        let (asked_by, person) = asked_by(work, answer.id).await?;
        if let (Some(login), Some(session)) = (&answer.login, asked_by.session()) {
            // Before any session is taken, as a logout does it.
            logins::proved(work, session, login, self.at).await?;
        }
        if asked_by.session().is_none() {
            // A person before their sessions, as everywhere. Nothing is granted to who has left.
            take_active(work, &person.to_string()).await?;
        }
        // Sessions before challenges, and lower ids before higher: two batches never wait for each other in a ring.
        let mut sessions: Vec<SessionId> = asked_by.session().into_iter().collect();
        sessions.extend(answer.rotated.as_ref().map(|rotated| rotated.session));
        sessions.sort_unstable();
        sessions.dedup();
        for taken in sessions {
            // Whoever asked may have gone in the meantime; nothing is granted to an ended session.
            take_live(work, taken, self.at).await?.ok_or(ChangeError::Conflict)?;
        }
        let challenge = take(work, answer.id, answer.version).await?;
        let pending = matches!(challenge.state, ChallengeState::Pending { .. });
        if !pending || challenge.asked_by != asked_by || self.at >= challenge.expires_at {
            return Err(ChangeError::Conflict);
        }
        let kind = apply_use(work, challenge.person, &answer.used, answer.from.address, self.at).await?;
        tries::forget(work, challenge.person, kind, answer.from, self.at).await?;
        match &answer.state {
            ChallengeState::Pending { .. } => {}
            ChallengeState::Passed { answered, .. } if challenge.ask.grant == GrantKind::Freshness => {
                self.raise(work, challenge.asked_by.session().ok_or(ChangeError::Conflict)?, answered).await?;
            }
            ChallengeState::Passed { .. } => {}
            _ => return Err(ChangeError::Conflict),
        }
        put_state(work, &challenge, &answer.state, None).await?;
        self.rotate(work, &challenge).await?;
        match &answer.hand_back {
            None => Ok(()),
            Some(code) => codes::put(work, code).await,
        }
    }
}

impl AnswerChallenge {
    /// The session that asked gets what stays of the proofs, in its next generation.
    async fn raise(&self, work: &mut Work<'_>, session: SessionId, answered: &[Given]) -> Result<(), ChangeError> {
        sqlx::query("UPDATE sessions SET generation = generation + 1 WHERE id = $1")
            .bind(session.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        let live = take_live(work, session, self.at).await?.ok_or(ChangeError::Conflict)?;
        for (kind, at) in answered.iter().map(Given::in_session) {
            prove(work, session, Proof { kind, at, generation: live.generation }).await?;
        }
        work.changed(Subject::Session(session));
        Ok(())
    }

    /// The session that answered gets a new token for the gate.
    async fn rotate(&self, work: &mut Work<'_>, challenge: &Challenge) -> Result<(), ChangeError> {
        let Some(rotated) = &self.answer.rotated else { return Ok(()) };
        let live = take_live(work, rotated.session, rotated.at).await?.ok_or(ChangeError::Conflict)?;
        let old =
            live_token(work, rotated.succeeds, &Audience::Gate, rotated.at).await?.ok_or(ChangeError::Conflict)?;
        if live.person != challenge.person || old.session != rotated.session {
            return Err(ChangeError::Conflict);
        }
        let token = NewToken {
            digest: rotated.digest,
            session: rotated.session,
            audience: &Audience::Gate,
            generation: live.generation,
            browser: old.browser,
            succeeds: Succeeds::All,
            at: rotated.at,
        };
        issue(work, token).await
    }
}

pub(crate) struct CloseChallenge {
    pub(crate) id: ChallengeId,
    pub(crate) version: u32,
    pub(crate) state: ChallengeState,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for CloseChallenge {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let challenge = take(work, self.id, self.version).await?;
        let ends = match (&challenge.state, &self.state) {
            (ChallengeState::Pending { .. }, ChallengeState::Pending { .. }) => false,
            (
                ChallengeState::Pending { .. } | ChallengeState::Passed { .. },
                ChallengeState::Failed { .. } | ChallengeState::Expired | ChallengeState::Cancelled { .. },
            ) => true,
            _ => return Err(ChangeError::Conflict),
        };
        put_state(work, &challenge, &self.state, ends.then_some(self.at)).await?;
        if ends { held::drop_it(work, self.id).await } else { Ok(()) }
    }
}

pub(crate) struct SucceedChallenge {
    pub(crate) old: ChallengeId,
    pub(crate) version: u32,
    pub(crate) new: Challenge,
}

#[async_trait]
impl Intent for SucceedChallenge {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let at = self.new.opened_at;
        // Only a session's challenge holds anything that a successor could carry on.
        let session = self.new.asked_by.session().ok_or(ChangeError::Conflict)?;
        let live = take_live(work, session, at).await?.ok_or(ChangeError::Conflict)?;
        let old = take(work, self.old, self.version).await?;
        let passed = matches!(old.state, ChallengeState::Passed { .. });
        let same = old.asked_by == self.new.asked_by && old.person == self.new.person && live.person == old.person;
        if !passed || !same || old.succeeds.is_some() || self.new.held != old.held {
            return Err(ChangeError::Conflict);
        }
        let sealed = match old.held {
            Held::Request => Some(held::reseal(work, old.id, self.new.id).await?),
            Held::Nothing | Held::SafeNavigation => None,
        };
        let failed = ChallengeState::Failed { reason: "decided_anew".to_owned() };
        put_state(work, &old, &failed, Some(at)).await?;
        held::drop_it(work, old.id).await?;
        let new = Challenge { succeeds: Some(old.id), ..self.new.clone() };
        insert(work, &new, sealed).await
    }
}

pub(crate) struct AdoptChallenge {
    pub(crate) id: ChallengeId,
    pub(crate) version: u32,
    pub(crate) session: SessionId,
    pub(crate) state: ChallengeState,
    pub(crate) hand_back: NewCode,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for AdoptChallenge {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let live = take_live(work, self.session, self.at).await?.ok_or(ChangeError::Conflict)?;
        let challenge = take(work, self.id, self.version).await?;
        let pending = matches!(challenge.state, ChallengeState::Pending { .. });
        let passed = matches!(self.state, ChallengeState::Passed { .. });
        if !pending || !passed || live.person != challenge.person || self.at >= challenge.expires_at {
            return Err(ChangeError::Conflict);
        }
        self.refuse_if_revoked(work, challenge.asked_by.session().ok_or(ChangeError::Conflict)?).await?;
        put_state(work, &challenge, &self.state, None).await?;
        sqlx::query("UPDATE challenges SET session = $1 WHERE id = $2")
            .bind(self.session.to_string())
            .bind(self.id.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        codes::put(work, &self.hand_back).await
    }
}

impl AdoptChallenge {
    /// What a revoked session asked dies with it: a thief's request is not the person's.
    async fn refuse_if_revoked(&self, work: &mut Work<'_>, session: SessionId) -> Result<(), ChangeError> {
        let row = sqlx::query("SELECT id, end_reason FROM sessions WHERE id = $1")
            .bind(session.to_string())
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?
            .ok_or(ChangeError::Conflict)?;
        match Fields::of("sessions", &row).maybe_text("end_reason")?.as_deref() {
            Some("revoked") => Err(ChangeError::Conflict),
            _ => Ok(()),
        }
    }
}

impl Inner {
    pub(crate) async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
        let found = self.challenges(select_challenge!("WHERE id = $1"), |query| query.bind(id.to_string())).await?;
        Ok(found.into_iter().next())
    }

    pub(crate) async fn challenge_for(
        &self,
        asked_by: AskedBy,
        generation: u32,
        browser: Option<TokenDigest>,
        operation: OperationDigest,
        now: Timestamp,
    ) -> Result<Option<Challenge>, StoreError> {
        const SELECT: &str = select_challenge!(
            "WHERE session = $1 AND operation = $2 AND held <> 'request' \
             AND ((state = 'pending' AND expires_at > $3) OR (state = 'passed' AND spend_before > $3)) \
             AND generation <= $4 AND browser IS NOT DISTINCT FROM $5 \
             ORDER BY CASE state WHEN 'passed' THEN 0 ELSE 1 END, opened_at DESC, id LIMIT 1"
        );
        let found = self
            .challenges(SELECT, |query| {
                let query = query.bind(asked_by.to_string()).bind(operation.to_hex()).bind(now.as_ms());
                query.bind(i64::from(generation)).bind(browser.map(TokenDigest::to_hex))
            })
            .await?;
        Ok(found.into_iter().next())
    }

    pub(crate) async fn overdue(&self, now: Timestamp) -> Result<Vec<Challenge>, StoreError> {
        const SELECT: &str =
            select_challenge!("WHERE state = 'pending' AND expires_at <= $1 ORDER BY expires_at LIMIT $2");
        self.challenges(SELECT, |query| query.bind(now.as_ms()).bind(i64::from(ROWS_MAX))).await
    }

    async fn challenges(
        &self,
        select: &'static str,
        bind: impl FnOnce(AnyQuery) -> AnyQuery + Send,
    ) -> Result<Vec<Challenge>, StoreError> {
        read(async {
            let rows = bind(sqlx::query(select)).fetch_all(&self.readers).await.stored()?;
            rows.iter().map(challenge_row::challenge).collect()
        })
        .await
    }
}

type AnyQuery = sqlx::query::Query<'static, sqlx::Any, sqlx::any::AnyArguments>;
