//! How far the systems that are told the evidence have been told.

use async_trait::async_trait;
use stepgate_core::ports::{
    ChangeError, SINK_TURN_MAX, SINK_WHY_MAX, SinkName, SinkState, SinkTurn, Sinks, StoreError, Told,
};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Entry;

use crate::database::Database;
use crate::error::{ExactlyOne as _, Stored as _};
use crate::inner::read;
use crate::intent::{Intent, Work};
use crate::options::ROWS_MAX;
use crate::row::Fields;
use crate::store::store_error;
use crate::streams::as_int;

fn state(row: &sqlx::any::AnyRow) -> Result<SinkState, StoreError> {
    let fields = Fields::of("sinks", row);
    let sink = SinkName::parse(&fields.text("name")?).map_err(|error| fields.corrupt(error.to_string()))?;
    let at = |ms: Option<i64>| ms.map(Timestamp::from_ms);
    let why = fields.text("why")?;
    Ok(SinkState {
        sink,
        next_entry: fields.count("next_entry")?,
        begun_at: fields.count("begun_at")?,
        told_at: at(fields.maybe_int("told_at")?),
        waits: at(fields.maybe_int("waits_since")?).map(|since| (since, why)),
        is_late: fields.flag("late")?,
        refused: fields.count("refused")?,
    })
}

struct TakeSink {
    turn: SinkTurn,
    begin: u64,
    end: u64,
    now: Timestamp,
    until: Timestamp,
}

#[async_trait]
impl Intent for TakeSink {
    type Output = Option<SinkState>;

    async fn apply(&self, work: &mut Work<'_>) -> Result<Option<SinkState>, ChangeError> {
        sqlx::query(
            "INSERT INTO sinks (name, next_entry, begun_at, why, late, refused, turn, turn_until) VALUES ($1, $2, $3, '', 0, 0, '', 0) \
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(self.turn.sink.as_str())
        .bind(as_int(self.begin)?)
        .bind(as_int(self.end)?)
        .execute(&mut *work.connection)
        .await
        .stored()?;
        let taken = sqlx::query(
            "UPDATE sinks SET turn = $1, turn_until = $2 WHERE name = $3 AND (turn = $1 OR turn_until <= $4 OR turn_until > $5)",
        )
        .bind(self.turn.holder.to_string())
        .bind(self.until.as_ms())
        .bind(self.turn.sink.as_str())
        .bind(self.now.as_ms())
        .bind(self.now.plus(SINK_TURN_MAX).as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
        if taken.rows_affected() == 0 {
            return Ok(None);
        }
        let row = sqlx::query(
            "SELECT name, next_entry, begun_at, told_at, waits_since, why, late, refused FROM sinks WHERE name = $1",
        )
        .bind(self.turn.sink.as_str())
        .fetch_one(&mut *work.connection)
        .await
        .stored()?;
        Ok(Some(state(&row)?))
    }
}

struct ToldSink {
    turn: SinkTurn,
    told: Told,
    now: Timestamp,
    until: Timestamp,
}

#[async_trait]
impl Intent for ToldSink {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query(
            "UPDATE sinks SET next_entry = $1, told_at = $2, waits_since = NULL, why = '', late = $3, \
             refused = refused + $4, turn_until = $5 WHERE name = $6 AND turn = $7 AND next_entry = $8",
        )
        .bind(as_int(self.told.to)?)
        .bind(self.now.as_ms())
        .bind(i64::from(self.told.is_late))
        .bind(as_int(self.told.refused)?)
        .bind(self.until.as_ms())
        .bind(self.turn.sink.as_str())
        .bind(self.turn.holder.to_string())
        .bind(as_int(self.told.from)?)
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()
    }
}

struct SinkWaits {
    turn: SinkTurn,
    why: String,
    is_late: bool,
    now: Timestamp,
    until: Timestamp,
}

#[async_trait]
impl Intent for SinkWaits {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query(
            "UPDATE sinks SET waits_since = COALESCE(waits_since, $1), why = $2, late = $3, turn_until = $4 \
             WHERE name = $5 AND turn = $6",
        )
        .bind(self.now.as_ms())
        .bind(&self.why)
        .bind(i64::from(self.is_late))
        .bind(self.until.as_ms())
        .bind(self.turn.sink.as_str())
        .bind(self.turn.holder.to_string())
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()
    }
}

struct LeaveSink {
    turn: SinkTurn,
}

#[async_trait]
impl Intent for LeaveSink {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query("UPDATE sinks SET turn = '', turn_until = 0 WHERE name = $1 AND turn = $2")
            .bind(self.turn.sink.as_str())
            .bind(self.turn.holder.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        Ok(())
    }
}

struct ForgetSink {
    sink: SinkName,
}

#[async_trait]
impl Intent for ForgetSink {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query("DELETE FROM sinks WHERE name = $1")
            .bind(self.sink.as_str())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }
}

#[async_trait]
impl Sinks for Database {
    async fn take_sink(
        &self,
        turn: &SinkTurn,
        begin: u64,
        end: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<SinkState>, StoreError> {
        let take = TakeSink { turn: turn.clone(), begin, end, now, until };
        self.write(take, Vec::new()).await.map_err(store_error)
    }

    async fn told_sink(
        &self,
        turn: &SinkTurn,
        told: Told,
        now: Timestamp,
        until: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        self.write(ToldSink { turn: turn.clone(), told, now, until }, entries).await
    }

    async fn sink_waits(
        &self,
        turn: &SinkTurn,
        why: &str,
        is_late: bool,
        now: Timestamp,
        until: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        let why = why.chars().take(SINK_WHY_MAX).collect();
        self.write(SinkWaits { turn: turn.clone(), why, is_late, now, until }, entries).await
    }

    async fn leave_sink(&self, turn: &SinkTurn) -> Result<(), StoreError> {
        self.write(LeaveSink { turn: turn.clone() }, Vec::new()).await.map_err(store_error)
    }

    async fn sinks(&self) -> Result<Vec<SinkState>, StoreError> {
        read(async {
            let rows = sqlx::query(
                "SELECT name, next_entry, begun_at, told_at, waits_since, why, late, refused FROM sinks ORDER BY name LIMIT $1",
            )
            .bind(i64::from(ROWS_MAX))
            .fetch_all(&self.inner.readers)
            .await
            .stored()?;
            rows.iter().map(state).collect()
        })
        .await
    }

    async fn forget_sink(&self, sink: &SinkName, entry: Entry) -> Result<(), ChangeError> {
        self.write(ForgetSink { sink: sink.clone() }, vec![entry]).await
    }
}
