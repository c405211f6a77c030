//! Tokens of sessions: each has an audience and a generation, and dies after its successor is issued.

use async_trait::async_trait;
use stepgate_core::catalogue::Host;
use stepgate_core::id::SessionId;
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::secret::TokenDigest;
use stepgate_core::session::{Audience, OLD_TOKEN_GRACE};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Event;

use crate::accounts::record;
use crate::changes::Subject;
use crate::database::Database;
use crate::error::{Stored as _, unavailable};
use crate::inner::read;
use crate::intent::{Intent, Work};
use crate::options::{BROWSERS_PER_HOST_MAX, RETIRED_TOKENS_KEPT, TOKENS_PER_SESSION_MAX};
use crate::row::Fields;
use crate::sessions::{admit_device, take_live};

/// The audience as rows name it.
pub(crate) fn audience_name(audience: &Audience) -> String {
    match audience {
        Audience::Gate => "gate".to_owned(),
        Audience::Host(host) => format!("host:{}", host.as_str()),
    }
}

pub(crate) fn audience_of(fields: &Fields<'_>, column: &'static str) -> Result<Audience, StoreError> {
    let name = fields.text(column)?;
    if name == "gate" {
        return Ok(Audience::Gate);
    }
    let host = name.strip_prefix("host:").and_then(|host| Host::parse(host).ok());
    host.map(Audience::Host).ok_or_else(|| fields.corrupt(format!("{column} is no audience")))
}

/// Whose older tokens of the same session and audience a new one succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succeeds {
    /// Those of its own browser, and what is beyond [`BROWSERS_PER_HOST_MAX`]: a hand-off
    /// proves nothing, so it ends nobody else's token.
    OfBrowser,
    /// Those of every browser: the person has just proved something.
    All,
}

/// A token to issue.
pub(crate) struct NewToken<'a> {
    pub(crate) digest: TokenDigest,
    pub(crate) session: SessionId,
    pub(crate) audience: &'a Audience,
    pub(crate) generation: u32,
    pub(crate) browser: Option<TokenDigest>,
    pub(crate) succeeds: Succeeds,
    pub(crate) at: Timestamp,
}

/// Issues a token. Those that it succeeds live on for [`OLD_TOKEN_GRACE`]; those of its own
/// browser no longer than until it is first looked at.
pub(crate) async fn issue(work: &mut Work<'_>, token: NewToken<'_>) -> Result<(), ChangeError> {
    let session = token.session.to_string();
    let audience = audience_name(token.audience);
    if matches!(token.audience, Audience::Host(_)) {
        admit_device(work, token.session, token.at).await?;
    }
    sqlx::query("UPDATE sessions SET tokens_issued = tokens_issued + 1 WHERE id = $1")
        .bind(&session)
        .execute(&mut *work.connection)
        .await
        .stored()?;
    let row = sqlx::query(
        "SELECT '' AS id, COUNT(*) AS live FROM tokens WHERE session = $1 AND (dies_at IS NULL OR dies_at > $2)",
    )
    .bind(&session)
    .bind(token.at.as_ms())
    .fetch_one(&mut *work.connection)
    .await
    .stored()?;
    if Fields::of("tokens", &row).int("live")? >= TOKENS_PER_SESSION_MAX {
        return Err(ChangeError::Limit("tokens per session"));
    }
    let succeeded = sqlx::query(match token.succeeds {
        Succeeds::All => {
            "UPDATE tokens SET dies_at = $1 WHERE session = $2 AND audience = $3 AND (dies_at IS NULL OR dies_at > $1)"
        }
        Succeeds::OfBrowser => {
            "UPDATE tokens SET dies_at = $1 WHERE session = $2 AND audience = $3 AND (dies_at IS NULL OR dies_at > $1) \
             AND (browser IS NOT DISTINCT FROM $4 OR ordinal NOT IN (SELECT ordinal FROM tokens \
             WHERE session = $2 AND audience = $3 AND dies_at IS NULL ORDER BY ordinal DESC LIMIT $5))"
        }
    })
    .bind(token.at.plus(OLD_TOKEN_GRACE).as_ms())
    .bind(&session)
    .bind(&audience);
    let succeeded = match token.succeeds {
        Succeeds::All => succeeded,
        Succeeds::OfBrowser => succeeded.bind(token.browser.map(TokenDigest::to_hex)).bind(BROWSERS_PER_HOST_MAX - 1),
    };
    succeeded.execute(&mut *work.connection).await.stored()?;
    sqlx::query(
        "INSERT INTO tokens (digest, session, audience, generation, ordinal, browser) \
         SELECT $1, id, $2, $3, tokens_issued, $4 FROM sessions WHERE id = $5",
    )
    .bind(token.digest.to_hex())
    .bind(&audience)
    .bind(i64::from(token.generation))
    .bind(token.browser.map(TokenDigest::to_hex))
    .bind(&session)
    .execute(&mut *work.connection)
    .await
    .or_conflict()?;
    work.changed(Subject::Session(token.session));
    Ok(())
}

/// A token that lives.
pub(crate) struct LiveToken {
    pub(crate) session: SessionId,
    pub(crate) browser: Option<TokenDigest>,
}

pub(crate) async fn live_token(
    work: &mut Work<'_>,
    digest: TokenDigest,
    audience: &Audience,
    at: Timestamp,
) -> Result<Option<LiveToken>, ChangeError> {
    let row = sqlx::query(
        "SELECT digest, session, browser FROM tokens \
         WHERE digest = $1 AND audience = $2 AND retired_at IS NULL AND (dies_at IS NULL OR dies_at > $3)",
    )
    .bind(digest.to_hex())
    .bind(audience_name(audience))
    .bind(at.as_ms())
    .fetch_optional(&mut *work.connection)
    .await
    .stored()?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::of("tokens", &row);
    Ok(Some(LiveToken { session: fields.id("session")?, browser: fields.maybe_digest("browser")? }))
}

pub(crate) struct RotateToken {
    pub(crate) old: TokenDigest,
    pub(crate) audience: Audience,
    pub(crate) new: TokenDigest,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for RotateToken {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let found = live_token(work, self.old, &self.audience, self.at).await?.ok_or(ChangeError::Conflict)?;
        let live = take_live(work, found.session, self.at).await?.ok_or(ChangeError::Conflict)?;
        // Once more, now that the session is taken: another node may have been first.
        let old = live_token(work, self.old, &self.audience, self.at).await?.ok_or(ChangeError::Conflict)?;
        let token = NewToken {
            digest: self.new,
            session: old.session,
            audience: &self.audience,
            generation: live.generation,
            browser: old.browser,
            succeeds: Succeeds::All,
            at: self.at,
        };
        issue(work, token).await
    }
}

/// The first look at a token ends its predecessors of the same audience and browser.
pub(crate) struct RetirePredecessors {
    pub(crate) token: TokenDigest,
    pub(crate) session: SessionId,
    pub(crate) audience: Audience,
    pub(crate) browser: Option<TokenDigest>,
    pub(crate) ordinal: i64,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for RetirePredecessors {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        take_live(work, self.session, self.at).await?.ok_or(ChangeError::Conflict)?;
        live_token(work, self.token, &self.audience, self.at).await?.ok_or(ChangeError::Conflict)?;
        let (audience, browser) = (audience_name(&self.audience), self.browser.map(TokenDigest::to_hex));
        let retired = sqlx::query(
            "UPDATE tokens SET retired_at = $5, dies_at = CASE WHEN dies_at < $5 THEN dies_at ELSE $5 END \
             WHERE session = $1 AND audience = $2 AND ordinal < $3 AND browser IS NOT DISTINCT FROM $4 \
             AND retired_at IS NULL",
        )
        .bind(self.session.to_string())
        .bind(&audience)
        .bind(self.ordinal)
        .bind(&browser)
        .bind(self.at.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
        if retired.rows_affected() > 0 {
            work.changed(Subject::Session(self.session));
        }
        // Of hand-offs there may be any number: only the newest are told apart from what never was.
        sqlx::query(
            "DELETE FROM tokens WHERE session = $1 AND audience = $2 AND browser IS NOT DISTINCT FROM $3 \
             AND retired_at IS NOT NULL AND ordinal NOT IN (SELECT ordinal FROM tokens WHERE session = $1 \
             AND audience = $2 AND browser IS NOT DISTINCT FROM $3 AND retired_at IS NOT NULL \
             ORDER BY ordinal DESC LIMIT $4)",
        )
        .bind(self.session.to_string())
        .bind(&audience)
        .bind(&browser)
        .bind(RETIRED_TOKENS_KEPT)
        .execute(&mut *work.connection)
        .await
        .stored()?;
        Ok(())
    }
}

/// A token was shown that its successor retired long ago: its session is marked, once.
struct NoteReuse {
    session: SessionId,
    at: Timestamp,
}

#[async_trait]
impl Intent for NoteReuse {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let Some(live) = take_live(work, self.session, self.at).await? else { return Ok(()) };
        let marked = sqlx::query("UPDATE sessions SET token_reused_at = $1 WHERE id = $2 AND token_reused_at IS NULL")
            .bind(self.at.as_ms())
            .bind(self.session.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        if marked.rows_affected() > 0 {
            let event = Event::TokenReused { session: self.session.to_string(), person: live.person.to_string() };
            record(work, self.at, event)?;
            work.changed(Subject::Session(self.session));
        }
        Ok(())
    }
}

impl Database {
    /// Marks the session of a token that is worth nothing, if that was retired long enough ago that no browser
    /// has it by itself. Whoever holds such a token gets nothing for it; all they cause is that more is asked.
    pub(crate) async fn note_reuse(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let grace = i64::try_from(OLD_TOKEN_GRACE.as_millis()).unwrap_or(i64::MAX);
        let session = read(async {
            let row = sqlx::query(
                "SELECT t.digest, t.session FROM tokens t JOIN sessions s ON s.id = t.session \
                 WHERE t.digest = $1 AND t.audience = $2 AND t.retired_at <= $3 \
                 AND s.token_reused_at IS NULL AND s.ended_at IS NULL AND s.ends_at > $4",
            )
            .bind(token.to_hex())
            .bind(audience_name(audience))
            .bind(now.as_ms().saturating_sub(grace))
            .bind(now.as_ms())
            .fetch_optional(&self.inner.readers)
            .await
            .stored()?;
            row.map_or(Ok(None), |row| Fields::of("tokens", &row).id("session").map(Some))
        })
        .await?;
        let Some(session) = session else { return Ok(()) };
        match self.write(NoteReuse { session, at: now }, Vec::new()).await {
            Ok(()) => Ok(()),
            Err(ChangeError::Store(error)) => Err(error),
            Err(refused) => Err(unavailable(refused)),
        }
    }
}
