//! Whoever was deleted, as the streams that have yet to tell of it know them.

use stepgate_core::id::{PersonId, StreamId};
use stepgate_core::ports::{ChangeError, Departed, StoreError};
use stepgate_core::time::Timestamp;

use crate::error::{Stored as _, unavailable};
use crate::factors::identity_of;
use crate::inner::{Inner, read};
use crate::intent::Work;
use crate::row::Fields;

/// Keeps how others know a person who is about to be deleted, and which streams are not told of them. Their
/// row is taken, so nobody is left out of a stream meanwhile.
pub(crate) async fn keep(work: &mut Work<'_>, person: PersonId, at: Timestamp) -> Result<(), ChangeError> {
    let id = person.to_string();
    let row = sqlx::query("SELECT id, sealed FROM factors WHERE person = $1 AND kind = 'idp' ORDER BY ordinal LIMIT 1")
        .bind(&id)
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?;
    let identity = match row.as_ref().map(|row| identity_of(work.inner, &Fields::of("factors", row))) {
        None => None,
        Some(Ok(identity)) => identity,
        // Who has to go goes, whether or not what is kept of them can be read.
        Some(Err(error)) => {
            tracing::error!(
                person = id,
                error = &error as &dyn std::error::Error,
                "subscribers are told of a deleted person by the gate's own id"
            );
            None
        }
    };
    let rows = sqlx::query("SELECT stream FROM left_out WHERE person = $1")
        .bind(&id)
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    let streams = rows.iter().map(|row| Fields::of("left_out", row).text("stream")).collect::<Result<Vec<_>, _>>()?;
    let (issuer, subject) = identity.unzip();
    sqlx::query("INSERT INTO departed (person, issuer, subject, left_out, at) VALUES ($1, $2, $3, $4, $5)")
        .bind(&id)
        .bind(issuer)
        .bind(subject)
        .bind(serde_json::to_string(&streams).map_err(unavailable)?)
        .bind(at.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    Ok(())
}

impl Inner {
    pub(crate) async fn departed(&self, person: PersonId) -> Result<Option<Departed>, StoreError> {
        read(async {
            let row = sqlx::query("SELECT person AS id, issuer, subject, left_out FROM departed WHERE person = $1")
                .bind(person.to_string())
                .fetch_optional(&self.readers)
                .await
                .stored()?;
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::of("departed", &row);
            let streams: Vec<String> = fields.json("left_out")?;
            let stream = |text: &String| text.parse::<StreamId>().map_err(|_| fields.corrupt("left_out is no stream"));
            Ok(Some(Departed {
                identity: fields.maybe_text("issuer")?.zip(fields.maybe_text("subject")?),
                left_out: streams.iter().map(stream).collect::<Result<_, _>>()?,
            }))
        })
        .await
    }
}
