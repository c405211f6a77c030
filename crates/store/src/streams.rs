//! Streams of security events to other systems, and what waits in them.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use stepgate_core::id::{PersonId, StreamId};
use stepgate_core::machine::MachineName;
use stepgate_core::ports::{
    ChangeError, Delivery, Departed, Settled, StoreError, Stream, StreamStatus, Streams, Turn, WAITING_MAX, WaitingSet,
};
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Entry, Event};

use crate::accounts::{record, taken};
use crate::database::Database;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::groups::each;
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::ROWS_MAX;
use crate::row::Fields;
use crate::store::store_error;

const TABLE: &str = "streams";

/// Endpoint and sealed authorization, as rows have them.
fn delivery(work: &Work<'_>, stream: &Stream) -> Result<(Option<String>, Option<Vec<u8>>), StoreError> {
    match &stream.delivery {
        Delivery::Poll => Ok((None, None)),
        Delivery::Push { endpoint, authorization } => {
            let sealed = authorization
                .as_ref()
                .map(|value| work.seal(TABLE, "sealed", &stream.id.to_string(), value.expose_secret().as_bytes()));
            Ok((Some(endpoint.clone()), sealed.transpose()?))
        }
    }
}

/// A count as columns have it.
pub(crate) fn as_int(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(unavailable)
}

struct AddStream {
    stream: Stream,
}

#[async_trait]
impl Intent for AddStream {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let stream = &self.stream;
        let machine = work.inner.backend.locked("SELECT name, added_at FROM machines WHERE name = $1");
        let machine = machine.bind(stream.machine.to_string()).fetch_optional(&mut *work.connection).await.stored()?;
        machine.ok_or(ChangeError::Conflict)?;
        let (endpoint, sealed) = delivery(work, stream)?;
        sqlx::query(
            "INSERT INTO streams (id, machine, audience, endpoint, requested, description, status, reason, next_entry, \
             ordinal, waits, verified_at, turn, turn_until, version, sealed) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, '', 0, 1, $10)",
        )
        .bind(stream.id.to_string())
        .bind(stream.machine.as_str())
        .bind(&stream.audience)
        .bind(endpoint)
        .bind(serde_json::to_string(&stream.requested).map_err(unavailable)?)
        .bind(&stream.description)
        .bind(stream.status.name())
        .bind(&stream.reason)
        .bind(as_int(stream.cursor)?)
        .bind(sealed)
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map_err(taken)?;
        Ok(())
    }
}

struct ChangeStream {
    stream: Stream,
}

#[async_trait]
impl Intent for ChangeStream {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let stream = &self.stream;
        let (endpoint, sealed) = delivery(work, stream)?;
        sqlx::query(
            "UPDATE streams SET audience = $1, endpoint = $2, requested = $3, description = $4, status = $5, \
             reason = $6, sealed = $7, version = version + 1 WHERE id = $8 AND version = $9",
        )
        .bind(&stream.audience)
        .bind(endpoint)
        .bind(serde_json::to_string(&stream.requested).map_err(unavailable)?)
        .bind(&stream.description)
        .bind(stream.status.name())
        .bind(&stream.reason)
        .bind(sealed)
        .bind(stream.id.to_string())
        .bind(i64::from(stream.version))
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()?;
        if stream.status == StreamStatus::Disabled {
            for text in ["DELETE FROM waiting_sets WHERE stream = $1", "UPDATE streams SET waits = 0 WHERE id = $1"] {
                sqlx::query(text).bind(stream.id.to_string()).execute(&mut *work.connection).await.stored()?;
            }
        }
        Ok(())
    }
}

struct RemoveStream {
    id: StreamId,
}

#[async_trait]
impl Intent for RemoveStream {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query("DELETE FROM streams WHERE id = $1")
            .bind(self.id.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }
}

struct FillStream {
    id: StreamId,
    from: u64,
    to: u64,
    sets: Vec<WaitingSet>,
}

/// A stream's place, taken for this transaction.
struct Place {
    cursor: i64,
    ordinal: i64,
    waits: i64,
    verified_at: i64,
}

impl Place {
    async fn take(work: &mut Work<'_>, id: StreamId) -> Result<Self, ChangeError> {
        let row = work
            .inner
            .backend
            .locked("SELECT id, next_entry, ordinal, waits, verified_at FROM streams WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?
            .ok_or(ChangeError::Conflict)?;
        let fields = Fields::of(TABLE, &row);
        Ok(Self {
            cursor: fields.int("next_entry")?,
            ordinal: fields.int("ordinal")?,
            waits: fields.int("waits")?,
            verified_at: fields.int("verified_at")?,
        })
    }

    /// Puts events at the end.
    async fn put(mut self, work: &mut Work<'_>, id: StreamId, sets: &[WaitingSet]) -> Result<Self, ChangeError> {
        if !sets.is_empty() && self.waits >= i64::from(WAITING_MAX) {
            return Err(ChangeError::Limit("events that wait in a stream"));
        }
        for set in sets {
            self.ordinal = self.ordinal.saturating_add(1);
            self.waits = self.waits.saturating_add(1);
            sqlx::query("INSERT INTO waiting_sets (stream, ordinal, id, claims) VALUES ($1, $2, $3, $4)")
                .bind(id.to_string())
                .bind(self.ordinal)
                .bind(set.id.to_string())
                .bind(&set.claims)
                .execute(&mut *work.connection)
                .await
                .or_conflict()?;
        }
        Ok(self)
    }

    async fn keep(self, work: &mut Work<'_>, id: StreamId) -> Result<(), ChangeError> {
        sqlx::query("UPDATE streams SET next_entry = $1, ordinal = $2, waits = $3, verified_at = $4 WHERE id = $5")
            .bind(self.cursor)
            .bind(self.ordinal)
            .bind(self.waits)
            .bind(self.verified_at)
            .bind(id.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }
}

#[async_trait]
impl Intent for FillStream {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let place = Place::take(work, self.id).await?;
        if place.cursor != as_int(self.from)? {
            return Err(ChangeError::Conflict);
        }
        let place = place.put(work, self.id, &self.sets).await?;
        Place { cursor: as_int(self.to)?, ..place }.keep(work, self.id).await
    }
}

struct VerifyStream {
    id: StreamId,
    set: WaitingSet,
    now: Timestamp,
    every: Duration,
}

#[async_trait]
impl Intent for VerifyStream {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let place = Place::take(work, self.id).await?;
        let last = Timestamp::from_ms(place.verified_at);
        if self.now.since(last).is_some_and(|ago| ago < self.every) {
            return Err(ChangeError::Limit("verifications of a stream in a while"));
        }
        let place = place.put(work, self.id, std::slice::from_ref(&self.set)).await?;
        Place { verified_at: self.now.as_ms(), ..place }.keep(work, self.id).await
    }
}

/// Forgets what is settled, in one statement, and records what was refused of it.
async fn settle(work: &mut Work<'_>, id: StreamId, settled: &Settled, at: Timestamp) -> Result<(), ChangeError> {
    let ids: Vec<String> = settled.ids().map(|set| set.to_string()).collect();
    let sql = format!(
        "DELETE FROM waiting_sets WHERE stream = $1 AND id IN {} RETURNING id, claims",
        each(work.inner.backend)
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(id.to_string())
        .bind(serde_json::to_string(&ids).map_err(unavailable)?)
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    for row in &rows {
        let fields = Fields::of("waiting_sets", row);
        let Some(code) = settled.refusal(fields.id("id")?) else { continue };
        let claims: serde_json::Value = fields.json("claims")?;
        let kind = claims.get("events").and_then(serde_json::Value::as_object).and_then(|events| events.keys().next());
        let kind = kind.and_then(|uri| uri.rsplit('/').next()).unwrap_or_default();
        let txn = claims.get("txn").and_then(serde_json::Value::as_str).unwrap_or_default();
        let event = Event::SignalRefused {
            stream: id.to_string(),
            set: fields.text("id")?,
            event: kind.to_owned(),
            txn: txn.to_owned(),
            code: code.to_owned(),
        };
        record(work, at, event)?;
    }
    sqlx::query("UPDATE streams SET waits = waits - $1 WHERE id = $2")
        .bind(i64::try_from(rows.len()).map_err(unavailable)?)
        .bind(id.to_string())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    Ok(())
}

struct Settle {
    id: StreamId,
    settled: Settled,
    at: Timestamp,
}

#[async_trait]
impl Intent for Settle {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        settle(work, self.id, &self.settled, self.at).await
    }
}

/// Sets until when a turn lasts, where it is (or may become) this one; gives whether it is.
async fn hold(
    work: &mut Work<'_>,
    turn: Turn,
    over_at: Option<Timestamp>,
    until: Timestamp,
) -> Result<bool, ChangeError> {
    let held = sqlx::query(
        "UPDATE streams SET turn = $1, turn_until = $2 \
         WHERE id = $3 AND version = $4 AND status = 'enabled' AND (turn = $1 OR turn_until <= $5)",
    )
    .bind(turn.holder.to_string())
    .bind(until.as_ms())
    .bind(turn.stream.to_string())
    .bind(i64::from(turn.version))
    .bind(over_at.map_or(-1, Timestamp::as_ms))
    .execute(&mut *work.connection)
    .await
    .stored()?;
    Ok(held.rows_affected() == 1)
}

struct TakeTurn {
    turn: Turn,
    now: Timestamp,
    until: Timestamp,
}

#[async_trait]
impl Intent for TakeTurn {
    type Output = bool;

    async fn apply(&self, work: &mut Work<'_>) -> Result<bool, ChangeError> {
        hold(work, self.turn, Some(self.now), self.until).await
    }
}

struct Posted {
    turn: Turn,
    settled: Settled,
    now: Timestamp,
    until: Timestamp,
}

#[async_trait]
impl Intent for Posted {
    type Output = bool;

    async fn apply(&self, work: &mut Work<'_>) -> Result<bool, ChangeError> {
        if !hold(work, self.turn, None, self.until).await? {
            return Ok(false);
        }
        settle(work, self.turn.stream, &self.settled, self.now).await?;
        Ok(true)
    }
}

struct EndTurn {
    turn: Turn,
}

#[async_trait]
impl Intent for EndTurn {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query("UPDATE streams SET turn = '', turn_until = 0 WHERE id = $1 AND turn = $2")
            .bind(self.turn.stream.to_string())
            .bind(self.turn.holder.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        Ok(())
    }
}

struct LeaveOut {
    id: StreamId,
    person: PersonId,
    out: bool,
}

#[async_trait]
impl Intent for LeaveOut {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let text = if self.out {
            "INSERT INTO left_out (stream, person) VALUES ($1, $2) ON CONFLICT (stream, person) DO NOTHING"
        } else {
            "DELETE FROM left_out WHERE stream = $1 AND person = $2"
        };
        sqlx::query(text)
            .bind(self.id.to_string())
            .bind(self.person.to_string())
            .execute(&mut *work.connection)
            .await
            .or_conflict()
            .map(|_| ())
    }
}

impl Inner {
    async fn streams_where(&self, condition: &'static str, value: &str) -> Result<Vec<Stream>, StoreError> {
        read(async {
            let sql = AssertSqlSafe(format!(
                "SELECT id, machine, audience, endpoint, requested, description, status, reason, next_entry, waits, version, \
                 sealed, expires_at FROM streams JOIN machines ON name = machine WHERE {condition} ORDER BY machine LIMIT $2"
            ));
            let rows =
                sqlx::query(sql).bind(value).bind(i64::from(ROWS_MAX)).fetch_all(&self.readers).await.stored()?;
            rows.iter().map(|row| self.stream(row)).collect()
        })
        .await
    }

    fn stream(&self, row: &AnyRow) -> Result<Stream, StoreError> {
        let fields = Fields::of(TABLE, row);
        let delivery = match fields.maybe_text("endpoint")? {
            None => Delivery::Poll,
            Some(endpoint) => {
                let authorization = match fields.maybe_bytes("sealed")? {
                    None => None,
                    Some(sealed) => {
                        let plain = self.open(TABLE, "sealed", fields.key(), &sealed)?;
                        let text = std::str::from_utf8(&plain).map_err(|_| fields.corrupt("sealed is no text"))?;
                        Some(SecretString::from(text.to_owned()))
                    }
                };
                Delivery::Push { endpoint, authorization }
            }
        };
        Ok(Stream {
            id: fields.id("id")?,
            machine: MachineName::parse(&fields.text("machine")?).map_err(|_| fields.corrupt("machine is no name"))?,
            audience: fields.text("audience")?,
            delivery,
            requested: fields.json("requested")?,
            description: fields.text("description")?,
            status: fields.parsed("status")?,
            reason: fields.text("reason")?,
            cursor: fields.count("next_entry")?,
            waiting: fields.count("waits")?,
            version: fields.count("version")?,
            expires_at: fields.maybe_time("expires_at")?,
        })
    }
}

#[async_trait]
impl Streams for Database {
    async fn add_stream(&self, stream: &Stream, entry: Entry) -> Result<(), ChangeError> {
        self.write(AddStream { stream: stream.clone() }, vec![entry]).await
    }

    async fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.inner.streams_where("machine <> $1", "").await
    }

    async fn stream_of(&self, machine: &MachineName) -> Result<Option<Stream>, StoreError> {
        Ok(self.inner.streams_where("machine = $1", machine.as_str()).await?.pop())
    }

    async fn change_stream(&self, stream: &Stream, entry: Entry) -> Result<(), ChangeError> {
        self.write(ChangeStream { stream: stream.clone() }, vec![entry]).await
    }

    async fn remove_stream(&self, id: StreamId, entry: Entry) -> Result<(), ChangeError> {
        self.write(RemoveStream { id }, vec![entry]).await
    }

    async fn fill_stream(&self, id: StreamId, from: u64, to: u64, sets: Vec<WaitingSet>) -> Result<(), ChangeError> {
        self.write(FillStream { id, from, to, sets }, Vec::new()).await
    }

    async fn waiting(&self, id: StreamId, limit: u32) -> Result<Vec<WaitingSet>, StoreError> {
        read(async {
            let rows = sqlx::query("SELECT id, claims FROM waiting_sets WHERE stream = $1 ORDER BY ordinal LIMIT $2")
                .bind(id.to_string())
                .bind(i64::from(limit.min(ROWS_MAX)))
                .fetch_all(&self.inner.readers)
                .await
                .stored()?;
            let one = |row| {
                let fields = Fields::of("waiting_sets", row);
                Ok(WaitingSet { id: fields.id("id")?, claims: fields.text("claims")? })
            };
            rows.iter().map(one).collect()
        })
        .await
    }

    async fn verify_stream(
        &self,
        id: StreamId,
        set: WaitingSet,
        now: Timestamp,
        every: Duration,
    ) -> Result<(), ChangeError> {
        self.write(VerifyStream { id, set, now, every }, Vec::new()).await
    }

    async fn settle(&self, id: StreamId, settled: Settled, at: Timestamp) -> Result<(), StoreError> {
        self.write(Settle { id, settled, at }, Vec::new()).await.map_err(store_error)
    }

    async fn take_turn(&self, turn: Turn, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.write(TakeTurn { turn, now, until }, Vec::new()).await.map_err(store_error)
    }

    async fn posted(&self, turn: Turn, settled: Settled, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.write(Posted { turn, settled, now, until }, Vec::new()).await.map_err(store_error)
    }

    async fn end_turn(&self, turn: Turn) -> Result<(), StoreError> {
        self.write(EndTurn { turn }, Vec::new()).await.map_err(store_error)
    }

    async fn leave_out(&self, id: StreamId, person: PersonId, out: bool, entry: Entry) -> Result<(), ChangeError> {
        self.write(LeaveOut { id, person, out }, vec![entry]).await
    }

    async fn left_out(&self, id: StreamId, person: PersonId) -> Result<bool, StoreError> {
        read(async {
            let row = sqlx::query("SELECT stream FROM left_out WHERE stream = $1 AND person = $2")
                .bind(id.to_string())
                .bind(person.to_string())
                .fetch_optional(&self.inner.readers)
                .await
                .stored()?;
            Ok(row.is_some())
        })
        .await
    }

    async fn departed(&self, person: PersonId) -> Result<Option<Departed>, StoreError> {
        self.inner.departed(person).await
    }
}
