//! Devices where people approve: how they are enrolled and woken, and what is open on them.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_core::factor::ApproverDevice;
use stepgate_core::id::{FactorId, PersonId};
use stepgate_core::ports::{Approvals, ChangeError, NewPush, OpenPush, PushSent, StoreError, Ticket};
use stepgate_core::push::Subscription;
use stepgate_core::secret::TokenDigest;
use stepgate_core::time::Timestamp;
use stepgate_evidence::Entry;

use crate::database::Database;
use crate::enrolment::{BeginOnTicket, seal, select_ticket, take_session_of};
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::{ROWS_MAX, TOUCH_EVERY};
use crate::people::{take_active, take_person};
use crate::row::Fields;
use crate::sessions::take_live;
use crate::subscriptions::{Subscribe, Unsubscribe};
use crate::tries::{is_locked, lock};

/// What is counted of a person's questions, and of a device's changes.
pub(crate) const AN_HOUR: Duration = Duration::from_secs(3600);

/// A question is open while its challenge is and the sessions live that asked it: nobody has to close it. `$3` is
/// now, less what other nodes may be late with writing down uses.
macro_rules! select_open {
    () => {
        "SELECT p.id, p.challenge, p.session, p.sent_at, p.until FROM pushes p JOIN challenges c ON c.id = p.challenge \
         JOIN sessions s ON s.id = p.session \
         WHERE p.person = $1 AND p.until > $2 AND p.withdrawn = 0 AND c.state = 'pending' AND c.expires_at > $2 \
         AND s.ended_at IS NULL AND s.ends_at > $2 AND s.last_used_at + s.idle_ms > $3 AND NOT EXISTS \
         (SELECT 1 FROM sessions a WHERE a.id = c.session AND (a.ended_at IS NOT NULL OR a.ends_at <= $2)) \
         ORDER BY p.sent_at DESC, p.id LIMIT 1"
    };
}

/// When a session must have been used last, at least its idle time before, to count as used at `now`.
fn used_by(now: Timestamp) -> i64 {
    let late_ms = TOUCH_EVERY.saturating_mul(2).as_millis();
    now.as_ms().saturating_sub(i64::try_from(late_ms).unwrap_or(i64::MAX))
}

/// How many questions of one were put within the hour, and when the first of these was.
macro_rules! select_put {
    ($whose:literal) => {
        concat!(
            "SELECT '' AS id, COUNT(*) AS sent, COALESCE(MIN(sent_at), 0) AS first FROM (SELECT sent_at FROM pushes \
             WHERE person = $1 AND ",
            $whose,
            " = $2 AND sent_at > $3 ORDER BY sent_at DESC LIMIT $4) AS newest"
        )
    };
}

/// A device follows a link, or goes on with its half of an enrolment.
struct AtDevice {
    /// What the ticket is found by.
    by: Found,
    state: SecretString,
    at: Timestamp,
}

#[derive(Clone, Copy)]
enum Found {
    ByLink { link: TokenDigest, device: TokenDigest },
    ByDevice(TokenDigest),
}

#[async_trait]
impl Intent for AtDevice {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let (sql, by) = match self.by {
            Found::ByLink { link, .. } => ("SELECT digest FROM tickets WHERE device_link = $1", link),
            Found::ByDevice(device) => ("SELECT digest FROM tickets WHERE device = $1", device),
        };
        let found = sqlx::query(sql).bind(by.to_hex()).fetch_optional(&mut *work.connection).await.stored()?;
        let ticket = Fields::of("tickets", &found.ok_or(ChangeError::Conflict)?).digest("digest")?;
        // The session before its ticket, as everywhere.
        take_session_of(work, ticket, self.at).await?;
        let sealed = seal(work, &ticket.to_hex(), &self.state)?;
        let query = match self.by {
            Found::ByLink { link, device } => sqlx::query(
                "UPDATE tickets SET begun = $1, device_link = NULL, device = $4 \
                 WHERE digest = $2 AND expires_at > $3 AND device_link = $5",
            )
            .bind(sealed)
            .bind(ticket.to_hex())
            .bind(self.at.as_ms())
            .bind(device.to_hex())
            .bind(link.to_hex()),
            Found::ByDevice(device) => {
                sqlx::query("UPDATE tickets SET begun = $1 WHERE digest = $2 AND expires_at > $3 AND device = $4")
                    .bind(sealed)
                    .bind(ticket.to_hex())
                    .bind(self.at.as_ms())
                    .bind(device.to_hex())
            }
        };
        query.execute(&mut *work.connection).await.or_conflict()?.exactly_one()
    }
}

struct SendPush {
    push: NewPush,
    entry: Entry,
}

#[async_trait]
impl Intent for SendPush {
    type Output = PushSent;

    async fn apply(&self, work: &mut Work<'_>) -> Result<PushSent, ChangeError> {
        let push = &self.push;
        let person = push.person.to_string();
        // The person's row is taken, so that two at once count one after the other.
        take_active(work, &person).await?;
        if take_live(work, push.session, push.at).await?.is_none_or(|live| live.person != push.person) {
            return Err(ChangeError::Conflict);
        }
        let pending = sqlx::query(
            "SELECT id FROM challenges WHERE id = $1 AND person = $2 AND state = 'pending' AND expires_at > $3",
        )
        .bind(push.challenge.to_string())
        .bind(&person)
        .bind(push.at.as_ms())
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?;
        pending.ok_or(ChangeError::Conflict)?;
        if is_locked(work, push.person, ApproverDevice::OUT_OF_BAND, push.before_reset).await? {
            return Ok(PushSent::Locked);
        }
        // Before anything is withdrawn: what is not asked takes no other question's place.
        if let Some(again_at) = self.too_many(work, &person).await? {
            return Ok(PushSent::TooMany { again_at });
        }
        self.withdraw(work, &person).await?;
        let open = sqlx::query(select_open!())
            .bind(&person)
            .bind(push.at.as_ms())
            .bind(used_by(push.at))
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?;
        if let Some(row) = open {
            let open = open_push(&Fields::of("pushes", &row))?;
            if open.challenge != push.challenge {
                return Ok(PushSent::AnotherIsOpen(open));
            }
        }
        self.insert(work, &person).await?;
        work.record(&self.entry)?;
        Ok(PushSent::Open)
    }
}

impl SendPush {
    /// When the next one may be put, if there were too many within the hour, whatever became of them: of this person,
    /// or of this session, so that no session uses up all of the person's.
    async fn too_many(&self, work: &mut Work<'_>, person: &str) -> Result<Option<Timestamp>, ChangeError> {
        let push = &self.push;
        let since = push.at.as_ms().saturating_sub(i64::try_from(AN_HOUR.as_millis()).map_err(unavailable)?);
        let session = push.session.to_string();
        let mut again_at = None;
        for (select, whose, most) in [
            (select_put!("person"), person, push.per_hour),
            (select_put!("session"), session.as_str(), push.per_session),
        ] {
            let row = sqlx::query(select)
                .bind(person)
                .bind(whose)
                .bind(since)
                .bind(i64::from(most))
                .fetch_one(&mut *work.connection)
                .await
                .stored()?;
            let fields = Fields::of("pushes", &row);
            if fields.int("sent")? >= i64::from(most) {
                again_at = again_at.max(Some(fields.time("first")?.plus(AN_HOUR)));
            }
        }
        Ok(again_at)
    }

    /// Withdraws what this session asked before and does not want any more.
    async fn withdraw(&self, work: &mut Work<'_>, person: &str) -> Result<(), ChangeError> {
        let Some((other, entry)) = &self.push.instead_of else { return Ok(()) };
        let withdrawn = sqlx::query(
            "UPDATE pushes SET withdrawn = 1 WHERE person = $1 AND challenge = $2 AND session = $3 AND withdrawn = 0",
        )
        .bind(person)
        .bind(other.to_string())
        .bind(self.push.session.to_string())
        .execute(&mut *work.connection)
        .await
        .stored()?;
        if withdrawn.rows_affected() > 0 {
            work.record(entry)?;
        }
        Ok(())
    }

    async fn insert(&self, work: &mut Work<'_>, person: &str) -> Result<(), ChangeError> {
        let push = &self.push;
        sqlx::query(
            "INSERT INTO pushes (id, person, challenge, session, sent_at, until, withdrawn) \
             VALUES ($1, $2, $3, $4, $5, $6, 0)",
        )
        .bind(push.id.to_string())
        .bind(person)
        .bind(push.challenge.to_string())
        .bind(push.session.to_string())
        .bind(push.at.as_ms())
        .bind(push.until.as_ms())
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map(|_| ())
    }
}

fn open_push(fields: &Fields<'_>) -> Result<OpenPush, StoreError> {
    Ok(OpenPush {
        challenge: fields.id("challenge")?,
        session: fields.id("session")?,
        sent_at: fields.time("sent_at")?,
        until: fields.time("until")?,
    })
}

struct LockApprovals {
    person: PersonId,
    entry: Entry,
}

#[async_trait]
impl Intent for LockApprovals {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        take_person(work, &self.person.to_string()).await?;
        if lock(work, self.person, ApproverDevice::OUT_OF_BAND).await? {
            work.record(&self.entry)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Approvals for Database {
    async fn invite_device(
        &self,
        ticket: TokenDigest,
        link: TokenDigest,
        state: SecretString,
    ) -> Result<(), ChangeError> {
        let at = self.inner.clock.now();
        let begun = (ApproverDevice::OUT_OF_BAND, state);
        self.write(BeginOnTicket { digest: ticket, begun, device_link: Some(link), at }, Vec::new()).await
    }

    async fn invitation(&self, link: TokenDigest, now: Timestamp) -> Result<Option<Ticket>, StoreError> {
        const SELECT: &str = select_ticket!("t.device_link = $1");
        self.inner.device_ticket(SELECT, link, now).await
    }

    async fn follow_invitation(
        &self,
        link: TokenDigest,
        device: TokenDigest,
        state: SecretString,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(AtDevice { by: Found::ByLink { link, device }, state, at }, vec![entry]).await
    }

    async fn ticket_of_device(&self, device: TokenDigest, now: Timestamp) -> Result<Option<Ticket>, StoreError> {
        const SELECT: &str = select_ticket!("t.device = $1");
        self.inner.device_ticket(SELECT, device, now).await
    }

    async fn device_did(&self, device: TokenDigest, state: SecretString, at: Timestamp) -> Result<(), ChangeError> {
        self.write(AtDevice { by: Found::ByDevice(device), state, at }, Vec::new()).await
    }

    async fn device(&self, token: TokenDigest) -> Result<Option<(PersonId, FactorId)>, StoreError> {
        read(async {
            let row = sqlx::query(
                "SELECT f.id, f.person FROM factors f JOIN people p ON p.id = f.person \
                 WHERE f.device = $1 AND p.active = 1",
            )
            .bind(token.to_hex())
            .fetch_optional(&self.inner.readers)
            .await
            .stored()?;
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::of("factors", &row);
            Ok(Some((fields.id("person")?, fields.id("id")?)))
        })
        .await
    }

    async fn subscriptions(&self, person: PersonId) -> Result<Vec<(FactorId, Subscription)>, StoreError> {
        self.inner.subscriptions(person).await
    }

    async fn subscribe(
        &self,
        person: PersonId,
        device: FactorId,
        subscription: &Subscription,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        let at = self.inner.clock.now();
        self.write(Subscribe { person, device, subscription: subscription.clone(), at }, vec![entry]).await
    }

    async fn unsubscribe(
        &self,
        device: FactorId,
        subscription: &Subscription,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(Unsubscribe { device, subscription: subscription.clone() }, vec![entry]).await
    }

    async fn send_push(&self, push: NewPush, entry: Entry) -> Result<PushSent, ChangeError> {
        self.write(SendPush { push, entry }, Vec::new()).await
    }

    async fn open_push(&self, person: PersonId, now: Timestamp) -> Result<Option<OpenPush>, StoreError> {
        read(async {
            let row = sqlx::query(select_open!())
                .bind(person.to_string())
                .bind(now.as_ms())
                .bind(used_by(now))
                .fetch_optional(&self.inner.readers)
                .await
                .stored()?;
            row.map(|row| open_push(&Fields::of("pushes", &row))).transpose()
        })
        .await
    }

    async fn asked_since(&self, person: PersonId, since: Timestamp) -> Result<Vec<OpenPush>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT id, challenge, session, sent_at, until FROM pushes WHERE person = $1 AND sent_at > $2 \
                 ORDER BY sent_at DESC, id LIMIT $3",
            )
            .bind(person.to_string())
            .bind(since.as_ms())
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.inner.readers)
            .await
            .stored()?;
            rows.iter().map(|row| open_push(&Fields::of("pushes", row))).collect()
        })
        .await
    }

    async fn lock_approvals(&self, person: PersonId, entry: Entry) -> Result<(), ChangeError> {
        self.write(LockApprovals { person, entry }, Vec::new()).await
    }

    async fn approvals_locked(&self, person: PersonId, before_reset: u32) -> Result<bool, StoreError> {
        read(async {
            let row = sqlx::query("SELECT person, wrong, locked FROM tries WHERE person = $1 AND kind = $2")
                .bind(person.to_string())
                .bind(ApproverDevice::OUT_OF_BAND.name())
                .fetch_optional(&self.inner.readers)
                .await
                .stored()?;
            let Some(row) = row else { return Ok(false) };
            let fields = Fields::of("tries", &row);
            Ok(fields.int("locked")? != 0 || fields.int("wrong")? >= i64::from(before_reset))
        })
        .await
    }
}

impl Inner {
    async fn device_ticket(
        &self,
        select: &'static str,
        by: TokenDigest,
        now: Timestamp,
    ) -> Result<Option<Ticket>, StoreError> {
        read(async {
            let query = sqlx::query(select).bind(by.to_hex()).bind(now.as_ms());
            let row = query.fetch_optional(&self.readers).await.stored()?;
            row.map(|row| self.ticket_of(&row)).transpose()
        })
        .await
    }
}
