//! From a token to its session: memory first, then the database.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Row as _};
use stepgate_core::factor::FactorKind;
use stepgate_core::id::{PersonId, SessionId};
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::provider::ProviderName;
use stepgate_core::secret::TokenDigest;
use stepgate_core::session::{Assurance, Audience, Proof, SessionView};
use stepgate_core::time::Timestamp;
use tokio::time::{sleep, timeout};

use crate::cache::{Cached, Epoch};
use crate::changes::Subject;
use crate::database::Database;
use crate::error::Stored as _;
use crate::inner::{Inner, read};
use crate::logins;
use crate::options::{ENDED_BY_TIME_EVERY, LOOKS_APART};
use crate::people::{columns, person_of};
use crate::row::Fields;
use crate::sessions::device_of;
use crate::tokens::{RetirePredecessors, audience_name, audience_of};

/// A token's session as the database tells it.
struct Loaded {
    cached: Cached,
    ordinal: i64,
    has_predecessors: bool,
}

/// A session that lives.
struct Alive {
    person: PersonId,
    /// How long, if it is not used.
    at_most: Duration,
}

impl Database {
    /// A session that memory knows to live, and may be served from there.
    pub(crate) fn look_in_memory(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
    ) -> Option<Arc<SessionView>> {
        let cached = self.inner.cache.find(&token)?;
        self.inner.may_serve_from_memory().ok()?;
        (cached.view.audience == *audience && cached.lives(now)).then(|| Arc::clone(&cached.view))
    }

    pub(crate) async fn look_up(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Option<Arc<SessionView>>, StoreError> {
        if let Some(cached) = self.inner.cache.find(&token) {
            self.inner.may_serve_from_memory()?;
            if cached.view.audience != *audience {
                return Ok(None);
            }
            if cached.lives(now) {
                return Ok(Some(Arc::clone(&cached.view)));
            }
            // Another node may know of a later use: the database decides.
        }
        let epoch = self.inner.cache.epoch();
        let Some(loaded) = self.inner.load(token, audience, now).await? else {
            self.note_reuse(token, audience, now).await?;
            return Ok(None);
        };
        if !loaded.has_predecessors {
            return Ok(Some(self.keep(token, loaded.cached, epoch)));
        }
        let retire = RetirePredecessors {
            token,
            session: loaded.cached.view.id,
            audience: audience.clone(),
            browser: loaded.cached.view.browser,
            ordinal: loaded.ordinal,
            at: now,
        };
        match self.write(retire, Vec::new()).await {
            Ok(()) => {}
            // It ended or was succeeded while we looked.
            Err(ChangeError::Store(error)) => return Err(error),
            Err(_) => return Ok(None),
        }
        let epoch = self.inner.cache.epoch();
        let loaded = self.inner.load(token, audience, now).await?;
        Ok(loaded.map(|loaded| self.keep(token, loaded.cached, epoch)))
    }

    fn keep(&self, token: TokenDigest, cached: Cached, epoch: Epoch) -> Arc<SessionView> {
        let cached = Arc::new(cached);
        let view = Arc::clone(&cached.view);
        self.inner.cache.keep(token, cached, epoch);
        view
    }

    pub(crate) async fn ended(&self, session: SessionId) {
        let inner = &self.inner;
        let of_session = inner.waiters.wait_for(Subject::Session(session));
        let mut session_changed = std::pin::pin!(of_session.notify.notified());
        session_changed.as_mut().enable();
        // Whose it is tells which changes of people concern it.
        let Ok(Some(Alive { person, mut at_most })) = inner.alive(session, inner.clock.now()).await else { return };
        let of_person = inner.waiters.wait_for(Subject::Person(person));
        let mut person_changed = std::pin::pin!(of_person.notify.notified());
        person_changed.as_mut().enable();
        loop {
            let changed = async {
                tokio::select! {
                    () = &mut session_changed => Subject::Session(session),
                    () = &mut person_changed => Subject::Person(person),
                }
            };
            match timeout(at_most.clamp(LOOKS_APART, ENDED_BY_TIME_EVERY), changed).await {
                Ok(Subject::Person(_)) => return,
                // A new token or a new proof is no end: look again.
                Ok(_) => {
                    session_changed.set(of_session.notify.notified());
                    session_changed.as_mut().enable();
                }
                Err(_) => {}
            }
            match inner.alive(session, inner.clock.now()).await {
                Ok(Some(alive)) => at_most = alive.at_most,
                Ok(None) => return,
                // While the database is away nobody knows; after `stale_for` that is an end.
                Err(_) if inner.may_serve_from_memory().is_err() => return,
                Err(_) => sleep(inner.options.poll_every).await,
            }
        }
    }
}

impl Inner {
    async fn load(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Option<Loaded>, StoreError> {
        read(async {
            let columns = columns(self.backend);
            let sql = AssertSqlSafe(format!(
                "SELECT t.digest, t.session, t.audience, t.generation, t.ordinal, t.browser, t.dies_at, \
                 s.person, s.started_at, s.last_used_at, s.ends_at, s.idle_ms, s.generation AS newest_generation, \
                 s.device, s.device_used_before, s.address, s.country, s.agent, s.token_reused_at, d.admitted_at, d.name AS device_name, \
                 {columns}, \
                 (SELECT COUNT(*) FROM tokens o WHERE o.session = t.session AND o.audience = t.audience AND o.browser IS NOT DISTINCT FROM t.browser \
                  AND o.ordinal < t.ordinal AND o.retired_at IS NULL AND (o.dies_at IS NULL OR o.dies_at > $2)) AS predecessors \
                 FROM tokens t JOIN sessions s ON s.id = t.session JOIN people p ON p.id = s.person \
                 LEFT JOIN devices d ON d.person = s.person AND d.device = s.device \
                 WHERE t.digest = $1 AND t.audience = $3 AND t.retired_at IS NULL AND (t.dies_at IS NULL OR t.dies_at > $2) \
                 AND s.ended_at IS NULL AND s.ends_at > $2 AND p.active = 1"
            ));
            let row = sqlx::query(sql)
            .bind(token.to_hex())
            .bind(now.as_ms())
            .bind(audience_name(audience))
            .fetch_optional(&self.readers)
            .await
            .stored()?;
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::of("tokens", &row);
            let session: SessionId = fields.id("session")?;
            let used = self.cache.used(session, fields.time("last_used_at")?);
            let idle = Duration::from_millis(fields.count("idle_ms")?);
            if now >= used.last().plus(idle) {
                return Ok(None);
            }
            let generation = fields.count("generation")?;
            let person = Arc::new(person_of(&fields, "person")?);
            let (enrolled, providers) = self.enrolled(person.id).await?;
            let view = SessionView {
                id: session,
                audience: audience_of(&fields, "audience")?,
                generation,
                newest_generation: fields.count("newest_generation")?,
                assurance: Assurance::new(self.proofs(session).await?).seen_by(generation),
                enrolled,
                providers,
                risks: self.risks(person.id, Some(session), now).await?.into(),
                person,
                started_at: fields.time("started_at")?,
                last_used_at: used.last(),
                ends_at: fields.time("ends_at")?,
                browser: fields.maybe_digest("browser")?,
                device: device_of(&fields)?,
                address: fields.parsed("address")?,
                country: fields.text("country")?,
                agent: fields.text("agent")?,
                token_reused: fields.maybe_time("token_reused_at")?.is_some(),
            };
            let dies_at = fields.maybe_time("dies_at")?;
            let has_predecessors = fields.int("predecessors")? > 0;
            let ordinal = fields.int("ordinal")?;
            Ok(Some(Loaded { cached: Cached { view: Arc::new(view), dies_at, idle, used }, ordinal, has_predecessors }))
        })
        .await
    }

    async fn proofs(&self, session: SessionId) -> Result<Vec<Proof>, StoreError> {
        let rows = sqlx::query("SELECT session, kind, at, generation FROM proofs WHERE session = $1 ORDER BY ordinal")
            .bind(session.to_string())
            .fetch_all(&self.readers)
            .await
            .stored()?;
        let proof = |row| {
            let fields = Fields::of("proofs", row);
            Ok(Proof { kind: fields.parsed("kind")?, at: fields.time("at")?, generation: fields.count("generation")? })
        };
        rows.iter().map(proof).collect()
    }

    pub(crate) async fn enrolled_now(
        &self,
        person: PersonId,
    ) -> Result<(Arc<[FactorKind]>, Arc<[ProviderName]>), StoreError> {
        read(self.enrolled(person)).await
    }

    /// The kinds of factors that a person has, least trouble first. Recovery codes count while some are left.
    /// And the identity providers where they are known.
    async fn enrolled(&self, person: PersonId) -> Result<(Arc<[FactorKind]>, Arc<[ProviderName]>), StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT f.kind AS kind, f.provider AS provider FROM factors f WHERE f.person = $1 AND (f.kind <> $2 OR EXISTS \
             (SELECT 1 FROM recovery_codes c WHERE c.factor = f.id))",
        )
        .bind(person.to_string())
        .bind(FactorKind::RecoveryCode.name())
        .fetch_all(&self.readers)
        .await
        .stored()?;
        let (mut kinds, mut providers) = (Vec::new(), Vec::new());
        for row in &rows {
            let fields = Fields::of("factors", row);
            match fields.parsed("kind")? {
                // What it counts as is configured, and asked of the provider.
                FactorKind::Idp(_) => providers.push(logins::provider(&fields)?),
                kind => kinds.push(kind),
            }
        }
        kinds.sort_unstable();
        providers.sort_unstable();
        Ok((kinds.into(), providers.into()))
    }

    /// Whether a session lives, and how long it does if nobody uses it. What is open does
    /// not count as use: it ends with the session that idles out under it.
    async fn alive(&self, session: SessionId, now: Timestamp) -> Result<Option<Alive>, StoreError> {
        read(async {
            let row = sqlx::query(
                "SELECT id, person, last_used_at, idle_ms, ends_at FROM sessions \
                 WHERE id = $1 AND ended_at IS NULL AND ends_at > $2",
            )
            .bind(session.to_string())
            .bind(now.as_ms())
            .fetch_optional(&self.readers)
            .await
            .stored()?;
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::of("sessions", &row);
            let used = self.cache.used(session, fields.time("last_used_at")?);
            let idle = Duration::from_millis(fields.count("idle_ms")?);
            let ends_at = used.last().plus(idle).min(fields.time("ends_at")?);
            match ends_at.since(now) {
                None | Some(Duration::ZERO) => Ok(None),
                Some(at_most) => Ok(Some(Alive { person: fields.id("person")?, at_most })),
            }
        })
        .await
    }

    /// A session that ended by time, and the person whose it was.
    pub(crate) async fn lapsed(
        &self,
        token: TokenDigest,
        audience: &Audience,
        now: Timestamp,
        within: Duration,
    ) -> Result<Option<(SessionId, PersonId)>, StoreError> {
        read(async {
            let row = sqlx::query(
                "SELECT t.digest, t.session, t.dies_at, s.person, s.last_used_at, s.idle_ms, s.ends_at \
                 FROM tokens t JOIN sessions s ON s.id = t.session \
                 WHERE t.digest = $1 AND t.audience = $2 AND s.ended_at IS NULL",
            )
            .bind(token.to_hex())
            .bind(audience_name(audience))
            .fetch_optional(&self.readers)
            .await
            .stored()?;
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::of("tokens", &row);
            let session = fields.id("session")?;
            let used = self.cache.used(session, fields.time("last_used_at")?);
            let unused = used.last().plus(Duration::from_millis(fields.count("idle_ms")?));
            let lapsed_at = fields.time("ends_at")?.min(unused);
            let succeeded = fields.maybe_time("dies_at")?.is_some_and(|dies_at| dies_at < lapsed_at);
            let lately = now.since(lapsed_at).is_some_and(|ago| ago <= within);
            if succeeded || !lately { Ok(None) } else { Ok(Some((session, fields.id("person")?))) }
        })
        .await
    }

    /// The newest committed entry's index and one more, as the database tells it.
    pub(crate) async fn answers(&self) -> Result<(), StoreError> {
        read(async {
            let row =
                sqlx::query("SELECT size FROM ledger_head WHERE id = 1").fetch_one(&self.readers).await.stored()?;
            row.try_get::<i64, _>(0).stored().map(|_| ())
        })
        .await
    }
}
