//! Streams of security events to other systems, and what waits in them.

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use stepgate_core::id::{PersonId, StreamId};
use stepgate_core::machine::MachineName;
use stepgate_core::ports::{ChangeError, Delivery, StoreError, Stream, StreamStatus, Streams, WAITING_MAX, WaitingSet};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Entry;

use crate::accounts::taken;
use crate::database::Database;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::ROWS_MAX;
use crate::row::Fields;

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

fn as_int(number: u64) -> Result<i64, StoreError> {
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
             ordinal, leased_until, version, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 1, $10)",
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
            sqlx::query("DELETE FROM waiting_sets WHERE stream = $1")
                .bind(stream.id.to_string())
                .execute(&mut *work.connection)
                .await
                .stored()?;
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

#[async_trait]
impl Intent for FillStream {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let id = self.id.to_string();
        let row = work
            .inner
            .backend
            .locked("SELECT id, next_entry, ordinal FROM streams WHERE id = $1")
            .bind(id.clone())
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?
            .ok_or(ChangeError::Conflict)?;
        let fields = Fields::of(TABLE, &row);
        if fields.int("next_entry")? != as_int(self.from)? {
            return Err(ChangeError::Conflict);
        }
        let mut ordinal = fields.int("ordinal")?;
        let row = sqlx::query("SELECT '' AS id, COUNT(*) AS found FROM waiting_sets WHERE stream = $1")
            .bind(&id)
            .fetch_one(&mut *work.connection)
            .await
            .stored()?;
        if !self.sets.is_empty() && Fields::of("waiting_sets", &row).int("found")? >= i64::from(WAITING_MAX) {
            return Err(ChangeError::Limit("events that wait in a stream"));
        }
        for set in &self.sets {
            ordinal = ordinal.saturating_add(1);
            sqlx::query("INSERT INTO waiting_sets (stream, ordinal, id, claims) VALUES ($1, $2, $3, $4)")
                .bind(&id)
                .bind(ordinal)
                .bind(&set.id)
                .bind(&set.claims)
                .execute(&mut *work.connection)
                .await
                .or_conflict()?;
        }
        sqlx::query("UPDATE streams SET next_entry = $1, ordinal = $2 WHERE id = $3")
            .bind(as_int(self.to)?)
            .bind(ordinal)
            .bind(&id)
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }
}

struct Settle {
    id: StreamId,
    sets: Vec<String>,
}

#[async_trait]
impl Intent for Settle {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        for set in &self.sets {
            sqlx::query("DELETE FROM waiting_sets WHERE stream = $1 AND id = $2")
                .bind(self.id.to_string())
                .bind(set)
                .execute(&mut *work.connection)
                .await
                .stored()?;
        }
        Ok(())
    }
}

struct LeaseStream {
    id: StreamId,
    now: Timestamp,
    until: Timestamp,
}

#[async_trait]
impl Intent for LeaseStream {
    type Output = bool;

    async fn apply(&self, work: &mut Work<'_>) -> Result<bool, ChangeError> {
        let leased = sqlx::query("UPDATE streams SET leased_until = $1 WHERE id = $2 AND leased_until <= $3")
            .bind(self.until.as_ms())
            .bind(self.id.to_string())
            .bind(self.now.as_ms())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        Ok(leased.rows_affected() == 1)
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
                "SELECT id, machine, audience, endpoint, requested, description, status, reason, next_entry, version, \
                 sealed FROM streams WHERE {condition} ORDER BY machine LIMIT $2"
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
            version: fields.count("version")?,
        })
    }
}

fn store_error(error: ChangeError) -> StoreError {
    match error {
        ChangeError::Store(error) => error,
        refused => unavailable(refused),
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
                Ok(WaitingSet { id: fields.text("id")?, claims: fields.text("claims")? })
            };
            rows.iter().map(one).collect()
        })
        .await
    }

    async fn settle(&self, id: StreamId, sets: Vec<String>) -> Result<(), StoreError> {
        self.write(Settle { id, sets }, Vec::new()).await.map_err(store_error)
    }

    async fn lease_stream(&self, id: StreamId, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.write(LeaseStream { id, now, until }, Vec::new()).await.map_err(store_error)
    }

    async fn leave_out(&self, id: StreamId, person: PersonId, out: bool) -> Result<(), ChangeError> {
        self.write(LeaveOut { id, person, out }, Vec::new()).await
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
}
