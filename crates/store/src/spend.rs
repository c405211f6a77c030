//! Spending a passed challenge, and what became of its request.

use async_trait::async_trait;
use stepgate_core::challenge::{AskedBy, ChallengeState, SendOutcome};
use stepgate_core::id::{ChallengeId, NodeId, RequestId};
use stepgate_core::ports::{ChangeError, Spend, StoreError};
use stepgate_core::time::Timestamp;

use crate::challenge_row::{self, select_challenge, standing_json};
use crate::challenges::{asked_by, put_state, take};
use crate::changes::Subject;
use crate::codes::use_resume_code;
use crate::error::{ExactlyOne as _, Stored as _};
use crate::held;
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::{LEASE, ROWS_MAX};
use crate::people::take_active;
use crate::row::Fields;
use crate::sessions::take_live;

pub(crate) struct SpendIt {
    pub(crate) spend: Spend,
}

#[async_trait]
impl Intent for SpendIt {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let spend = &self.spend;
        let (asked_by, person) = asked_by(work, spend.challenge).await?;
        // Memory may not know yet that the session ended or the person left; what spends reads the store.
        match asked_by {
            AskedBy::Session(session) => {
                take_live(work, session, spend.at).await?.ok_or(ChangeError::Conflict)?;
            }
            AskedBy::Token(_) => take_active(work, &person.to_string()).await?,
        }
        let challenge = take(work, spend.challenge, spend.version).await?;
        match challenge.state {
            ChallengeState::Passed { spend_before, .. }
                if spend.at < spend_before && challenge.asked_by == asked_by => {}
            _ => return Err(ChangeError::Conflict),
        }
        if let Some(code) = spend.resume_code {
            use_resume_code(work, code, spend.challenge, spend.at).await?;
        }
        let spent = ChallengeState::Spent { at: spend.at, request: spend.request, outcome: SendOutcome::Sending };
        put_state(work, &challenge, &spent, Some(spend.at)).await?;
        // Who sends has it in memory. From here on nobody may send it again, whatever dies.
        held::drop_it(work, spend.challenge).await?;
        sqlx::query("UPDATE challenges SET sending = 1, request = $1, node = $2 WHERE id = $3")
            .bind(spend.request.to_string())
            .bind(spend.node.to_string())
            .bind(spend.challenge.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        // Who sends, lives: a node that has begun to serve and has not yet said so is not
        // taken for a dead one. Its heartbeat says the rest.
        sqlx::query("INSERT INTO nodes (id, lease_until) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
            .bind(spend.node.to_string())
            .bind(spend.at.plus(LEASE).as_ms())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        Ok(())
    }
}

pub(crate) struct Finish {
    pub(crate) challenge: ChallengeId,
    pub(crate) request: RequestId,
    pub(crate) outcome: SendOutcome,
}

#[async_trait]
impl Intent for Finish {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        const SELECT: &str = select_challenge!("WHERE id = $1 AND request = $2 AND sending = 1");
        let row = work
            .inner
            .backend
            .locked(SELECT)
            .bind(self.challenge.to_string())
            .bind(self.request.to_string())
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?
            .ok_or(ChangeError::Conflict)?;
        let ChallengeState::Spent { at, request, .. } = challenge_row::challenge(&row)?.state else {
            return Err(ChangeError::Conflict);
        };
        if self.outcome == SendOutcome::Sending {
            return Err(ChangeError::Conflict);
        }
        let finished = ChallengeState::Spent { at, request, outcome: self.outcome };
        sqlx::query("UPDATE challenges SET version = version + 1, standing = $1, sending = 0 WHERE id = $2")
            .bind(standing_json(&finished)?)
            .bind(self.challenge.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        work.changed(Subject::Challenge(self.challenge));
        Ok(())
    }
}

pub(crate) struct Heartbeat {
    pub(crate) node: NodeId,
    pub(crate) now: Timestamp,
}

#[async_trait]
impl Intent for Heartbeat {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query(
            "INSERT INTO nodes (id, lease_until) VALUES ($1, $2) \
             ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until",
        )
        .bind(self.node.to_string())
        .bind(self.now.plus(LEASE).as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
        Ok(())
    }
}

impl Inner {
    /// What was being sent by a node that is dead: one whose lease is over, or an
    /// earlier process under the same id. What this process is sending is not among it.
    pub(crate) async fn unfinished(
        &self,
        node: NodeId,
        now: Timestamp,
    ) -> Result<Vec<(ChallengeId, RequestId)>, StoreError> {
        let rows = read(async {
            sqlx::query(
                "SELECT c.id, c.request FROM challenges c LEFT JOIN nodes n ON n.id = c.node \
                 WHERE c.sending = 1 AND (c.node = $1 OR n.lease_until IS NULL OR n.lease_until <= $2) \
                 ORDER BY c.closed_at LIMIT $3",
            )
            .bind(node.to_string())
            .bind(now.as_ms())
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.readers)
            .await
            .stored()
        })
        .await?;
        let mut unfinished = Vec::with_capacity(rows.len());
        for row in &rows {
            let fields = Fields::of("challenges", row);
            let request = fields.id("request")?;
            if !self.sending.lock().contains(&request) {
                unfinished.push((fields.id("id")?, request));
            }
        }
        Ok(unfinished)
    }
}
