//! Links and tickets: what may enrol a factor.

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::any::AnyRow;
use stepgate_core::factor::FactorKind;
use stepgate_core::id::{LinkId, PersonId, SessionId};
use stepgate_core::ports::{ChangeError, EnrolmentLink, RestsOn, StoreError, Ticket};
use stepgate_core::secret::TokenDigest;
use stepgate_core::time::Timestamp;

use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::people::take_active;
use crate::row::Fields;
use crate::sessions::take_live;

/// Tickets that hold at `$2`: their time is not over, and the session that they rest on lives.
macro_rules! select_ticket {
    ($which:literal) => {
        concat!(
            "SELECT t.digest, t.person, t.authority, t.session, t.kinds, t.browser, t.begun_kind, t.begun, t.expires_at \
             FROM tickets t WHERE ",
            $which,
            " AND t.expires_at > $2 AND (t.session IS NULL \
             OR t.session IN (SELECT s.id FROM sessions s WHERE s.ended_at IS NULL AND s.ends_at > $2))"
        )
    };
}
pub(crate) use select_ticket;

pub(crate) struct PutLink {
    pub(crate) link: EnrolmentLink,
}

#[async_trait]
impl Intent for PutLink {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        take_active(work, &self.link.person.to_string()).await?;
        sqlx::query("INSERT INTO links (id, digest, person, kinds, expires_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.link.id.to_string())
            .bind(self.link.digest.to_hex())
            .bind(self.link.person.to_string())
            .bind(kinds_json(&self.link.kinds)?)
            .bind(self.link.expires_at.as_ms())
            .execute(&mut *work.connection)
            .await
            .or_conflict()
            .map(|_| ())
    }
}

pub(crate) struct UseLink {
    pub(crate) link: LinkId,
    pub(crate) ticket: Ticket,
    pub(crate) now: Timestamp,
}

#[async_trait]
impl Intent for UseLink {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query(
            "UPDATE links SET used_at = $1 WHERE id = $2 AND person = $3 AND used_at IS NULL AND expires_at > $1",
        )
        .bind(self.now.as_ms())
        .bind(self.link.to_string())
        .bind(self.ticket.person.to_string())
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()?;
        put(work, &self.ticket, self.now).await
    }
}

pub(crate) struct PutTicket {
    pub(crate) ticket: Ticket,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for PutTicket {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        put(work, &self.ticket, self.at).await
    }
}

/// Takes the session that a ticket of this person rests on, if it rests on one: `Conflict` if it does not
/// live. Whoever ends a session takes its row before those of its tickets, so this comes before a
/// ticket's row is taken.
async fn take_session(
    work: &mut Work<'_>,
    session: Option<SessionId>,
    person: PersonId,
    at: Timestamp,
) -> Result<(), ChangeError> {
    let Some(session) = session else { return Ok(()) };
    match take_live(work, session, at).await? {
        Some(live) if live.person == person => Ok(()),
        _ => Err(ChangeError::Conflict),
    }
}

/// Likewise, for a ticket that is there.
pub(crate) async fn take_session_of(
    work: &mut Work<'_>,
    ticket: TokenDigest,
    at: Timestamp,
) -> Result<(), ChangeError> {
    let row = sqlx::query("SELECT digest, person, session FROM tickets WHERE digest = $1")
        .bind(ticket.to_hex())
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?
        .ok_or(ChangeError::Conflict)?;
    let fields = Fields::of("tickets", &row);
    take_session(work, fields.maybe_parsed("session")?, fields.id("person")?, at).await
}

/// Nothing more is enrolled with what this session was given.
pub(crate) async fn end_tickets_of(work: &mut Work<'_>, session: SessionId) -> Result<(), ChangeError> {
    sqlx::query("DELETE FROM tickets WHERE session = $1")
        .bind(session.to_string())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    Ok(())
}

async fn put(work: &mut Work<'_>, ticket: &Ticket, at: Timestamp) -> Result<(), ChangeError> {
    let session = match ticket.rests_on {
        RestsOn::Link => None,
        RestsOn::Session(session) => Some(session),
    };
    take_session(work, session, ticket.person, at).await?;
    let digest = ticket.digest.to_hex();
    let (kind, begun) = match &ticket.begun {
        None => (None, None),
        Some((kind, state)) => (Some(kind.name()), Some(seal(work, &digest, state)?)),
    };
    sqlx::query(
        "INSERT INTO tickets (digest, person, authority, kinds, browser, begun_kind, begun, expires_at, session) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&digest)
    .bind(ticket.person.to_string())
    .bind(&ticket.authority)
    .bind(kinds_json(&ticket.kinds)?)
    .bind(ticket.browser.to_hex())
    .bind(kind)
    .bind(begun)
    .bind(ticket.expires_at.as_ms())
    .bind(session.map(|session| session.to_string()))
    .execute(&mut *work.connection)
    .await
    .or_conflict()
    .map(|_| ())
}

pub(crate) fn seal(work: &Work<'_>, digest: &str, state: &SecretString) -> Result<Vec<u8>, StoreError> {
    work.seal("tickets", "begun", digest, state.expose_secret().as_bytes())
}

pub(crate) struct BeginOnTicket {
    pub(crate) digest: TokenDigest,
    pub(crate) begun: (FactorKind, SecretString),
    /// What another device finds it by, if one takes part.
    pub(crate) device_link: Option<TokenDigest>,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for BeginOnTicket {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        take_session_of(work, self.digest, self.at).await?;
        let digest = self.digest.to_hex();
        let (kind, state) = &self.begun;
        let row = work
            .inner
            .backend
            .locked("SELECT digest, kinds FROM tickets WHERE digest = $1 AND expires_at > $2")
            .bind(&digest)
            .bind(self.at.as_ms())
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?
            .ok_or(ChangeError::Conflict)?;
        if !kinds_of(&Fields::of("tickets", &row))?.iter().any(|allowed| allowed.is_same_factor(*kind)) {
            return Err(ChangeError::Conflict);
        }
        let sealed = seal(work, &digest, state)?;
        // Whatever another device was doing for what was begun before is over.
        sqlx::query("UPDATE tickets SET begun_kind = $1, begun = $2, device_link = $4, device = NULL WHERE digest = $3")
            .bind(kind.name())
            .bind(sealed)
            .bind(&digest)
            .bind(self.device_link.map(TokenDigest::to_hex))
            .execute(&mut *work.connection)
            .await
            .or_conflict()?
            .exactly_one()
    }
}

pub(crate) struct EndTicket {
    pub(crate) digest: TokenDigest,
}

#[async_trait]
impl Intent for EndTicket {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query("DELETE FROM tickets WHERE digest = $1")
            .bind(self.digest.to_hex())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        Ok(())
    }
}

impl Inner {
    pub(crate) async fn link(&self, digest: TokenDigest, now: Timestamp) -> Result<Option<EnrolmentLink>, StoreError> {
        read(async {
            let row = sqlx::query(
                "SELECT id, digest, person, kinds, expires_at FROM links \
                 WHERE digest = $1 AND used_at IS NULL AND expires_at > $2",
            )
            .bind(digest.to_hex())
            .bind(now.as_ms())
            .fetch_optional(&self.readers)
            .await
            .stored()?;
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::of("links", &row);
            Ok(Some(EnrolmentLink {
                id: fields.id("id")?,
                digest,
                person: fields.id("person")?,
                kinds: kinds_of(&fields)?,
                expires_at: fields.time("expires_at")?,
            }))
        })
        .await
    }

    pub(crate) async fn ticket(
        &self,
        digest: TokenDigest,
        browser: TokenDigest,
        now: Timestamp,
    ) -> Result<Option<Ticket>, StoreError> {
        read(async {
            const SELECT: &str = select_ticket!("t.digest = $1 AND t.browser = $3");
            let row = sqlx::query(SELECT)
                .bind(digest.to_hex())
                .bind(now.as_ms())
                .bind(browser.to_hex())
                .fetch_optional(&self.readers)
                .await
                .stored()?;
            row.map(|row| self.ticket_of(&row)).transpose()
        })
        .await
    }

    pub(crate) fn ticket_of(&self, row: &AnyRow) -> Result<Ticket, StoreError> {
        let fields = Fields::of("tickets", row);
        let begun = match (fields.maybe_parsed("begun_kind")?, fields.maybe_bytes("begun")?) {
            (None, None) => None,
            (Some(kind), Some(sealed)) => {
                let plain = self.open("tickets", "begun", fields.key(), &sealed)?;
                let text = std::str::from_utf8(&plain).map_err(|_| fields.corrupt("begun is not text"))?;
                Some((kind, SecretString::from(text)))
            }
            _ => return Err(fields.corrupt("begun and begun_kind do not go together")),
        };
        Ok(Ticket {
            digest: fields.digest("digest")?,
            person: fields.id("person")?,
            authority: fields.text("authority")?,
            rests_on: fields.maybe_parsed("session")?.map_or(RestsOn::Link, RestsOn::Session),
            kinds: kinds_of(&fields)?,
            browser: fields.digest("browser")?,
            begun,
            expires_at: fields.time("expires_at")?,
        })
    }
}

fn kinds_json(kinds: &[FactorKind]) -> Result<String, StoreError> {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    serde_json::to_string(&names).map_err(unavailable)
}

fn kinds_of(fields: &Fields<'_>) -> Result<Vec<FactorKind>, StoreError> {
    let names: Vec<String> = fields.json("kinds")?;
    names.iter().map(|name| name.parse().map_err(|_| fields.corrupt("kinds names no factor"))).collect()
}
