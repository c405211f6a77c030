//! One-time codes that move a browser between the gate and a service's host.

use async_trait::async_trait;
use stepgate_core::id::{ChallengeId, SessionId};
use stepgate_core::ports::{ChangeError, CodeSees, NewCode};
use stepgate_core::secret::{Purpose, TokenDigest};
use stepgate_core::session::Audience;
use stepgate_core::time::Timestamp;

use crate::error::{ExactlyOne as _, Stored as _};
use crate::intent::{Intent, Work};
use crate::options::CODES_PER_SESSION_MAX;
use crate::row::Fields;
use crate::sessions::take_live;
use crate::tokens::{NewToken, Succeeds, audience_name, issue};

pub(crate) struct PutCode {
    pub(crate) code: NewCode,
}

#[async_trait]
impl Intent for PutCode {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        put(work, &self.code).await
    }
}

/// Puts a code. A session that has too many loses its oldest: a browser that asks
/// again and again harms only itself.
pub(crate) async fn put(work: &mut Work<'_>, code: &NewCode) -> Result<(), ChangeError> {
    sqlx::query(
        "INSERT INTO codes (digest, purpose, session, audience, browser, challenge, generation, expires_at) \
         SELECT $1, $2, id, $4, $5, $6, COALESCE($7, generation), $8 FROM sessions WHERE id = $3",
    )
    .bind(code.digest.to_hex())
    .bind(code.purpose.name())
    .bind(code.session.to_string())
    .bind(audience_name(&code.audience))
    .bind(code.browser.map(TokenDigest::to_hex))
    .bind(code.challenge.map(|challenge| challenge.to_string()))
    .bind(match code.sees {
        CodeSees::UpTo(generation) => Some(i64::from(generation)),
        CodeSees::Everything => None,
    })
    .bind(code.expires_at.as_ms())
    .execute(&mut *work.connection)
    .await
    .or_conflict()?
    .exactly_one()?;
    sqlx::query(
        "DELETE FROM codes WHERE session = $1 AND digest NOT IN \
         (SELECT digest FROM codes WHERE session = $1 ORDER BY expires_at DESC, digest LIMIT $2)",
    )
    .bind(code.session.to_string())
    .bind(CODES_PER_SESSION_MAX)
    .execute(&mut *work.connection)
    .await
    .stored()?;
    Ok(())
}

pub(crate) struct RedeemCode {
    pub(crate) code: TokenDigest,
    pub(crate) audience: Audience,
    pub(crate) browser: Option<TokenDigest>,
    pub(crate) token: TokenDigest,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for RedeemCode {
    type Output = Option<NewCode>;

    async fn apply(&self, work: &mut Work<'_>) -> Result<Option<NewCode>, ChangeError> {
        // The row that is deleted is the row that is had: of two at once, one has none.
        let rows = sqlx::query(
            "DELETE FROM codes WHERE digest = $1 AND audience = $2 AND (browser IS NULL OR browser = $3) \
             AND expires_at > $4 AND purpose IN ($5, $6) \
             RETURNING digest, purpose, session, browser, challenge, generation, expires_at",
        )
        .bind(self.code.to_hex())
        .bind(audience_name(&self.audience))
        .bind(self.browser.map(TokenDigest::to_hex))
        .bind(self.at.as_ms())
        .bind(Purpose::HandOff.name())
        .bind(Purpose::HandBack.name())
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
        let Some(row) = rows.first() else { return Ok(None) };
        let fields = Fields::of("codes", row);
        let purpose = match fields.text("purpose")?.as_str() {
            purpose if purpose == Purpose::HandOff.name() => Purpose::HandOff,
            _ => Purpose::HandBack,
        };
        let session: SessionId = fields.id("session")?;
        // A code of a session that ended is gone all the same.
        if take_live(work, session, self.at).await?.is_none() {
            return Ok(None);
        }
        let generation = fields.count("generation")?;
        let token = NewToken {
            digest: self.token,
            session,
            audience: &self.audience,
            generation,
            browser: self.browser,
            // Whoever has only the gate's cookie can be handed off; back comes who passed a challenge.
            succeeds: match purpose {
                Purpose::HandBack => Succeeds::All,
                _ => Succeeds::OfBrowser,
            },
            at: self.at,
        };
        issue(work, token).await?;
        Ok(Some(NewCode {
            digest: self.code,
            purpose,
            session,
            audience: self.audience.clone(),
            browser: fields.maybe_digest("browser")?,
            challenge: fields.maybe_parsed::<ChallengeId>("challenge")?,
            sees: CodeSees::UpTo(generation),
            expires_at: fields.time("expires_at")?,
        }))
    }
}

/// Uses up the resume code of a challenge, exactly once; `Conflict` if it is not there any more.
pub(crate) async fn use_resume_code(
    work: &mut Work<'_>,
    code: TokenDigest,
    challenge: ChallengeId,
    at: Timestamp,
) -> Result<(), ChangeError> {
    sqlx::query("DELETE FROM codes WHERE digest = $1 AND purpose = $2 AND challenge = $3 AND expires_at > $4")
        .bind(code.to_hex())
        .bind(Purpose::Resume.name())
        .bind(challenge.to_string())
        .bind(at.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()
}
