//! Logins at identity providers: on their way, and those that sessions rest on.

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::{AnyConnection, Row as _};
use stepgate_core::factor::EnrolledFactor;
use stepgate_core::id::{FactorId, PersonId, SessionId};
use stepgate_core::person::Person;
use stepgate_core::ports::{
    ChangeError, DueRenewal, LeftBy, LoggedOut, PendingLogin, ProvedThere, ProviderLogin, Renewal, StoreError,
};
use stepgate_core::provider::ProviderName;
use stepgate_core::secret::TokenDigest;
use stepgate_core::time::Timestamp;
use zeroize::{Zeroize, Zeroizing};

use crate::changes::Subject;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::factors;
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::{PENDING_LOGINS_MAX, PENDING_LOGINS_OF_ONE_MAX, PROOFS_THERE_MAX};
use crate::people;
use crate::row::Fields;
use crate::sessions;

const PENDING: &str = "pending_logins";
const RESTED_ON: &str = "provider_logins";

pub(crate) struct AddPersonKnownBy {
    pub(crate) person: Person,
    pub(crate) identity: EnrolledFactor,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for AddPersonKnownBy {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        people::insert(work, &self.person, self.at).await?;
        factors::add(work, self.person.id, &self.identity).await
    }
}

pub(crate) struct AddIdentity {
    pub(crate) person: PersonId,
    pub(crate) identity: EnrolledFactor,
}

#[async_trait]
impl Intent for AddIdentity {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        people::take_person(work, &self.person.to_string()).await?;
        factors::add(work, self.person, &self.identity).await?;
        work.changed(Subject::Person(self.person));
        Ok(())
    }
}

pub(crate) struct PutPendingLogin {
    pub(crate) login: PendingLogin,
}

#[async_trait]
impl Intent for PutPendingLogin {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let login = &self.login;
        let state = login.state.to_hex();
        let by = match login.by {
            LeftBy::Stranger(network) => network.to_string(),
            LeftBy::Session(session) => session.to_string(),
        };
        let sealed = work.seal(PENDING, "sealed", &state, login.kept.expose_secret().as_bytes())?;
        sqlx::query(
            "INSERT INTO pending_logins (state, browser, provider, expires_at, sealed, stranger, left_by) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&state)
        .bind(login.browser.to_hex())
        .bind(login.provider.as_str())
        .bind(login.expires_at.as_ms())
        .bind(sealed)
        .bind(i64::from(matches!(login.by, LeftBy::Stranger(_))))
        .bind(&by)
        .execute(&mut *work.connection)
        .await
        .or_conflict()?;
        sqlx::query(
            "DELETE FROM pending_logins WHERE state IN \
             (SELECT state FROM pending_logins WHERE left_by = $1 ORDER BY expires_at DESC, state LIMIT 100 OFFSET $2)",
        )
        .bind(&by)
        .bind(PENDING_LOGINS_OF_ONE_MAX)
        .execute(&mut *work.connection)
        .await
        .stored()?;
        // Nobody needs an account to leave for a provider: whoever leaves again and again
        // pushes out the oldest, and makes the table no larger.
        sqlx::query(
            "DELETE FROM pending_logins WHERE state IN \
             (SELECT state FROM pending_logins WHERE stranger = 1 ORDER BY expires_at DESC, state LIMIT 100 OFFSET $1)",
        )
        .bind(PENDING_LOGINS_MAX)
        .execute(&mut *work.connection)
        .await
        .stored()?;
        Ok(())
    }
}

pub(crate) struct TakePendingLogin {
    pub(crate) state: TokenDigest,
    pub(crate) browser: TokenDigest,
    pub(crate) provider: ProviderName,
    pub(crate) now: Timestamp,
}

#[async_trait]
impl Intent for TakePendingLogin {
    type Output = Option<SecretString>;

    async fn apply(&self, work: &mut Work<'_>) -> Result<Option<SecretString>, ChangeError> {
        // The row that is deleted is the row that is had: of two at once, one has none.
        let rows = sqlx::query(
            "DELETE FROM pending_logins WHERE state = $1 AND browser = $2 AND provider = $3 AND expires_at > $4 \
             RETURNING state, sealed",
        )
        .bind(self.state.to_hex())
        .bind(self.browser.to_hex())
        .bind(self.provider.as_str())
        .bind(self.now.as_ms())
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
        let Some(row) = rows.first() else { return Ok(None) };
        let fields = Fields::of(PENDING, row);
        let plain = work.inner.open(PENDING, "sealed", fields.key(), &fields.bytes("sealed")?)?;
        let text = std::str::from_utf8(&plain).map_err(|_| fields.corrupt("sealed is no text"))?;
        Ok(Some(SecretString::from(text.to_owned())))
    }
}

/// What is sealed of a login that a session rests on.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    issuer: String,
    subject: String,
    id_token: String,
    refresh_token: Option<String>,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.id_token.zeroize();
        self.refresh_token.zeroize();
    }
}

fn seal(work: &Work<'_>, session: &str, sealed: &Sealed) -> Result<Vec<u8>, StoreError> {
    let plain = Zeroizing::new(serde_json::to_vec(sealed).map_err(unavailable)?);
    work.seal(RESTED_ON, "sealed", session, &plain)
}

/// Keeps the login that a new session rests on.
///
/// `UsedBefore` if the provider has ended it meanwhile.
pub(crate) async fn keep(
    work: &mut Work<'_>,
    session: SessionId,
    login: &ProviderLogin,
    at: Timestamp,
) -> Result<(), ChangeError> {
    let ProviderLogin { provider, identity, left_at, .. } = login;
    still_stands(work, There { provider, identity: *identity, sid: login.sid.as_deref(), left_at: *left_at }, at)
        .await?;
    let session = session.to_string();
    let refresh_token = login.refresh_token.as_ref().map(|token| token.expose_secret().to_owned());
    let id_token = login.id_token.expose_secret().to_owned();
    let (issuer, subject) = (login.issuer.clone(), login.subject.clone());
    let sealed = Sealed { issuer, subject, id_token, refresh_token };
    let sealed = seal(work, &session, &sealed)?;
    sqlx::query(
        "INSERT INTO provider_logins (session, provider, identity, sid, renew_at, sealed, left_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&session)
    .bind(login.provider.as_str())
    .bind(hex::encode(login.identity))
    .bind(login.sid.as_deref())
    .bind(login.refresh_token.as_ref().and(login.renew_at).map(Timestamp::as_ms))
    .bind(sealed)
    .bind(login.left_at.as_ms())
    .execute(&mut *work.connection)
    .await
    .or_conflict()
    .map(|_| ())
}

/// What a logout may name, in the order in which rows are taken.
#[derive(Clone, Copy)]
enum Ends<'a> {
    /// A session of the provider.
    Sid(&'a str),
    /// All of a person there.
    All([u8; 32]),
    /// What of a person there has no session of the provider's.
    WithoutSid([u8; 32]),
}

impl Ends<'_> {
    fn id(self, provider: &ProviderName) -> String {
        let (what, whom) = match self {
            Self::Sid(sid) => ("sid", sid.to_owned()),
            Self::All(identity) => ("all", hex::encode(identity)),
            Self::WithoutSid(identity) => ("without-sid", hex::encode(identity)),
        };
        // Neither of the first two has such a byte in it, so no two are the same text.
        hex::encode(Sha256::digest(format!("{what}\0{provider}\0{whom}")))
    }
}

/// Notes a logout, or with `0` only that a login asked; gives when it was logged out last. Whoever comes
/// second waits here for the first, and then sees what it did.
async fn note(work: &mut Work<'_>, id: &str, logged_out_at: i64, at: Timestamp) -> Result<i64, ChangeError> {
    let row = sqlx::query(
        "INSERT INTO provider_logouts (id, logged_out_at, noted_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET \
         logged_out_at = CASE WHEN excluded.logged_out_at > provider_logouts.logged_out_at \
         THEN excluded.logged_out_at ELSE provider_logouts.logged_out_at END, noted_at = excluded.noted_at \
         RETURNING id, logged_out_at",
    )
    .bind(id)
    .bind(logged_out_at)
    .bind(at.as_ms())
    .fetch_one(&mut *work.connection)
    .await
    .stored()?;
    Ok(Fields::of("provider_logouts", &row).int("logged_out_at")?)
}

/// A provider's session that ended does not come back; of a person, what left before the logout is over,
/// and what leaves after it is a login of its own.
async fn still_stands(work: &mut Work<'_>, login: There<'_>, at: Timestamp) -> Result<(), ChangeError> {
    let There { provider, identity, sid, left_at } = login;
    let mut over = false;
    if let Some(sid) = sid {
        over |= note(work, &Ends::Sid(sid).id(provider), 0, at).await? > 0;
    }
    let left_at = left_at.as_ms();
    over |= note(work, &Ends::All(identity).id(provider), 0, at).await? > left_at;
    if sid.is_none() {
        over |= note(work, &Ends::WithoutSid(identity).id(provider), 0, at).await? > left_at;
    }
    if over { Err(ChangeError::UsedBefore) } else { Ok(()) }
}

/// A login at a provider, as a logout there may mean it.
#[derive(Clone, Copy)]
struct There<'a> {
    provider: &'a ProviderName,
    identity: [u8; 32],
    sid: Option<&'a str>,
    left_at: Timestamp,
}

/// Keeps which login at a provider proved more in a session. Of very many the oldest are forgotten:
/// what they proved has been proved again since.
///
/// `UsedBefore` if the provider has ended it meanwhile.
pub(crate) async fn proved(
    work: &mut Work<'_>,
    session: SessionId,
    login: &ProvedThere,
    at: Timestamp,
) -> Result<(), ChangeError> {
    let ProvedThere { provider, identity, left_at, .. } = login;
    still_stands(work, There { provider, identity: *identity, sid: login.sid.as_deref(), left_at: *left_at }, at)
        .await?;
    let session = session.to_string();
    sqlx::query(
        "INSERT INTO provider_proofs (session, provider, identity, sid, proved_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (session, provider, identity, sid) DO UPDATE SET proved_at = excluded.proved_at",
    )
    .bind(&session)
    .bind(provider.as_str())
    .bind(hex::encode(identity))
    .bind(login.sid.as_deref().unwrap_or_default())
    .bind(at.as_ms())
    .execute(&mut *work.connection)
    .await
    .or_conflict()?;
    sqlx::query(
        "DELETE FROM provider_proofs WHERE session = $1 AND proved_at < \
         (SELECT MIN(proved_at) FROM (SELECT proved_at FROM provider_proofs WHERE session = $1 \
          ORDER BY proved_at DESC LIMIT $2) newest)",
    )
    .bind(&session)
    .bind(PROOFS_THERE_MAX)
    .execute(&mut *work.connection)
    .await
    .stored()?;
    Ok(())
}

pub(crate) struct LogOut {
    pub(crate) token: TokenDigest,
    pub(crate) provider: ProviderName,
    pub(crate) of: LoggedOut,
    pub(crate) sessions: Vec<SessionId>,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for LogOut {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sessions::use_prompt(work, self.token, self.at).await?;
        let ends = match (&self.of.sid, self.of.identity) {
            (Some(sid), None) => vec![Ends::Sid(sid)],
            (Some(sid), Some(identity)) => vec![Ends::Sid(sid), Ends::WithoutSid(identity)],
            (None, Some(identity)) => vec![Ends::All(identity)],
            (None, None) => Vec::new(),
        };
        for one in ends {
            note(work, &one.id(&self.provider), self.at.as_ms(), self.at).await?;
        }
        let mut resting = resting_on(&mut *work.connection, &self.provider, &self.of, self.at).await?;
        let mut expected = self.sessions.clone();
        resting.sort_unstable();
        expected.sort_unstable();
        if resting.iter().map(|(session, _)| session).ne(&expected) {
            return Err(ChangeError::Conflict);
        }
        for (session, person) in resting {
            sessions::EndSession { session, person, at: self.at }.apply(work).await?;
        }
        Ok(())
    }
}

pub(crate) struct TakeDueRenewal {
    pub(crate) provider: ProviderName,
    pub(crate) now: Timestamp,
    pub(crate) again_at: Timestamp,
}

#[async_trait]
impl Intent for TakeDueRenewal {
    type Output = Renewal;

    async fn apply(&self, work: &mut Work<'_>) -> Result<Renewal, ChangeError> {
        loop {
            let row = sqlx::query(
                "SELECT l.session, l.sealed, s.person FROM provider_logins l JOIN sessions s ON s.id = l.session \
                 WHERE l.provider = $1 AND l.renew_at <= $2 AND s.ended_at IS NULL AND s.ends_at > $2 \
                 ORDER BY l.renew_at, l.session LIMIT 1",
            )
            .bind(self.provider.as_str())
            .bind(self.now.as_ms())
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?;
            let Some(row) = row else { return Ok(Renewal::None) };
            let fields = Fields::of(RESTED_ON, &row);
            // Of two nodes at once, one changes the row; the other looks for the next.
            let mine = sqlx::query("UPDATE provider_logins SET renew_at = $1 WHERE session = $2 AND renew_at <= $3")
                .bind(self.again_at.as_ms())
                .bind(fields.key())
                .bind(self.now.as_ms())
                .execute(&mut *work.connection)
                .await
                .stored()?;
            if mine.rows_affected() == 1 {
                return Ok(self.read(work.inner, &fields).unwrap_or_else(|error| {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, session = fields.key(), "a login cannot be renewed");
                    Renewal::Unreadable
                }));
            }
        }
    }
}

impl TakeDueRenewal {
    fn read(&self, inner: &Inner, fields: &Fields<'_>) -> Result<Renewal, StoreError> {
        let sealed = open(inner, fields)?;
        let token = sealed.refresh_token.clone().ok_or_else(|| fields.corrupt("it is renewed without a token"))?;
        Ok(Renewal::Due(DueRenewal {
            session: fields.id("session")?,
            person: fields.id("person")?,
            provider: self.provider.clone(),
            issuer: sealed.issuer.clone(),
            subject: sealed.subject.clone(),
            refresh_token: SecretString::from(token),
        }))
    }
}

pub(crate) struct RenewLogin {
    pub(crate) session: SessionId,
    pub(crate) was: SecretString,
    pub(crate) refresh_token: SecretString,
    pub(crate) renew_at: Option<Timestamp>,
}

#[async_trait]
impl Intent for RenewLogin {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let session = self.session.to_string();
        let select = "SELECT session, sealed FROM provider_logins WHERE session = $1";
        let row = work.inner.backend.locked(select).bind(&session).fetch_optional(&mut *work.connection).await;
        let row = row.stored()?.ok_or(ChangeError::Conflict)?;
        let mut sealed = open(work.inner, &Fields::of(RESTED_ON, &row))?;
        if sealed.refresh_token.as_deref() != Some(self.was.expose_secret()) {
            return Err(ChangeError::Conflict);
        }
        sealed.refresh_token.zeroize();
        sealed.refresh_token = Some(self.refresh_token.expose_secret().to_owned());
        let sealed = seal(work, &session, &sealed)?;
        sqlx::query("UPDATE provider_logins SET sealed = $1, renew_at = COALESCE($3, renew_at) WHERE session = $2")
            .bind(sealed)
            .bind(&session)
            .bind(self.renew_at.map(Timestamp::as_ms))
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }
}

/// Whose an identity at a provider is.
pub(crate) const BY_IDENTITY: &str = "SELECT id, person FROM factors WHERE identity = $1";

fn open(inner: &Inner, fields: &Fields<'_>) -> Result<Sealed, StoreError> {
    let plain = inner.open(RESTED_ON, "sealed", fields.key(), &fields.bytes("sealed")?)?;
    serde_json::from_slice(&plain).map_err(|_| fields.corrupt("sealed cannot be read once opened"))
}

pub(crate) fn provider(fields: &Fields<'_>) -> Result<ProviderName, StoreError> {
    ProviderName::parse(&fields.text("provider")?).map_err(|_| fields.corrupt("provider is no provider's name"))
}

impl Inner {
    pub(crate) async fn person_by_identity(
        &self,
        identity: [u8; 32],
    ) -> Result<Option<(PersonId, FactorId)>, StoreError> {
        read(async {
            let row =
                sqlx::query(BY_IDENTITY).bind(hex::encode(identity)).fetch_optional(&self.readers).await.stored()?;
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::of("factors", &row);
            Ok(Some((fields.id("person")?, fields.id("id")?)))
        })
        .await
    }

    pub(crate) async fn provider_login(&self, session: SessionId) -> Result<Option<ProviderLogin>, StoreError> {
        read(async {
            let row = sqlx::query(
                "SELECT l.session, l.provider, l.identity, l.left_at, l.sid, l.renew_at, l.sealed FROM provider_logins l \
                 JOIN sessions s ON s.id = l.session WHERE l.session = $1 AND s.ended_at IS NULL",
            )
            .bind(session.to_string())
            .fetch_optional(&self.readers)
            .await
            .stored()?;
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::of(RESTED_ON, &row);
            let sealed = open(self, &fields)?;
            Ok(Some(ProviderLogin {
                provider: provider(&fields)?,
                identity: fields.digest("identity")?.0,
                issuer: sealed.issuer.clone(),
                subject: sealed.subject.clone(),
                left_at: fields.time("left_at")?,
                sid: fields.maybe_text("sid")?,
                id_token: SecretString::from(sealed.id_token.clone()),
                refresh_token: sealed.refresh_token.clone().map(SecretString::from),
                renew_at: fields.maybe_time("renew_at")?,
            }))
        })
        .await
    }

    pub(crate) async fn renewals_due(&self, now: Timestamp) -> Result<Vec<ProviderName>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT DISTINCT l.provider FROM provider_logins l JOIN sessions s ON s.id = l.session \
                 WHERE l.renew_at <= $1 AND s.ended_at IS NULL AND s.ends_at > $1 ORDER BY l.provider",
            )
            .bind(now.as_ms())
            .fetch_all(&self.readers)
            .await
            .stored()?;
            let mut due = Vec::with_capacity(rows.len());
            for row in &rows {
                match ProviderName::parse(&row.try_get::<String, _>("provider").stored()?) {
                    Ok(provider) => due.push(provider),
                    // One that cannot be read is no reason not to ask the others.
                    Err(_) => tracing::error!("logins cannot be renewed whose provider has no provider's name"),
                }
            }
            Ok(due)
        })
        .await
    }

    pub(crate) async fn sessions_logged_out(
        &self,
        provider: &ProviderName,
        of: &LoggedOut,
        now: Timestamp,
    ) -> Result<Vec<(SessionId, PersonId)>, StoreError> {
        read(async {
            let mut connection = self.readers.acquire().await.stored()?;
            resting_on(&mut connection, provider, of, now).await
        })
        .await
    }
}

/// The live sessions that rest on logins like this, or in which they proved more.
async fn resting_on(
    connection: &mut AnyConnection,
    provider: &ProviderName,
    of: &LoggedOut,
    now: Timestamp,
) -> Result<Vec<(SessionId, PersonId)>, StoreError> {
    let rows = sqlx::query(
        "SELECT s.id AS session, s.person FROM sessions s WHERE s.id IN (\
           SELECT session FROM provider_logins \
           WHERE provider = $1 AND (sid = $2 OR (identity = $3 AND ($5 = 1 OR sid IS NULL))) \
           UNION SELECT session FROM provider_proofs \
           WHERE provider = $1 AND (sid = $2 OR (identity = $3 AND ($5 = 1 OR sid = '')))) \
         AND s.ended_at IS NULL AND s.ends_at > $4 ORDER BY s.started_at, s.id",
    )
    .bind(provider.as_str())
    .bind(of.sid.as_deref())
    .bind(of.identity.map(hex::encode))
    .bind(now.as_ms())
    .bind(i64::from(of.sid.is_none()))
    .fetch_all(connection)
    .await
    .stored()?;
    let one = |row| {
        let fields = Fields::of(RESTED_ON, row);
        Ok((fields.id("session")?, fields.id("person")?))
    };
    rows.iter().map(one).collect()
}
