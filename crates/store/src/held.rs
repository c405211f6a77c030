//! Held requests, sealed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use stepgate_core::challenge::HeldRequest;
use stepgate_core::id::ChallengeId;
use stepgate_core::ports::{ChangeError, StoreError};
use zeroize::Zeroizing;

use crate::error::{Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::Work;
use crate::row::Fields;

const TABLE: &str = "challenges";
const COLUMN: &str = "held_request";

/// What is sealed: a line of JSON with the head, a line feed, and the body as it is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    method: String,
    target: String,
    /// Values in base64: they need not be text.
    headers: Vec<(String, String)>,
}

pub(crate) fn seal(work: &Work<'_>, id: ChallengeId, request: &HeldRequest) -> Result<Vec<u8>, StoreError> {
    let headers = request.headers.iter().map(|(name, value)| (name.clone(), STANDARD.encode(value)));
    let head = Head { method: request.method.clone(), target: request.target.clone(), headers: headers.collect() };
    let mut plain = Zeroizing::new(serde_json::to_vec(&head).map_err(unavailable)?);
    plain.push(b'\n');
    plain.extend_from_slice(&request.body);
    work.seal(TABLE, COLUMN, &id.to_string(), &plain)
}

/// What `old` holds, sealed for `new`: a sealed value opens in its own row only.
pub(crate) async fn reseal(work: &mut Work<'_>, old: ChallengeId, new: ChallengeId) -> Result<Vec<u8>, ChangeError> {
    let row = sqlx::query("SELECT id, held_request FROM challenges WHERE id = $1")
        .bind(old.to_string())
        .fetch_one(&mut *work.connection)
        .await
        .stored()?;
    let fields = Fields::of(TABLE, &row);
    let sealed = fields.maybe_bytes(COLUMN)?.ok_or(ChangeError::Conflict)?;
    let plain = work.inner.open(TABLE, COLUMN, fields.key(), &sealed)?;
    Ok(work.seal(TABLE, COLUMN, &new.to_string(), &plain)?)
}

/// Forgets what a challenge holds: it will not be sent any more.
pub(crate) async fn drop_it(work: &mut Work<'_>, id: ChallengeId) -> Result<(), ChangeError> {
    sqlx::query("UPDATE challenges SET held_request = NULL WHERE id = $1 AND held_request IS NOT NULL")
        .bind(id.to_string())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    Ok(())
}

impl Inner {
    pub(crate) async fn held(&self, id: ChallengeId) -> Result<Option<HeldRequest>, StoreError> {
        read(async {
            let row = sqlx::query("SELECT id, held_request FROM challenges WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&self.readers)
                .await
                .stored()?;
            let Some(row) = row else { return Ok(None) };
            let fields = Fields::of(TABLE, &row);
            let Some(sealed) = fields.maybe_bytes(COLUMN)? else { return Ok(None) };
            let plain = self.open(TABLE, COLUMN, fields.key(), &sealed)?;
            let unreadable = || fields.corrupt("held_request cannot be read once opened");
            let end = plain.iter().position(|byte| *byte == b'\n').ok_or_else(unreadable)?;
            let (head, body) = plain.split_at_checked(end).ok_or_else(unreadable)?;
            let head: Head = serde_json::from_slice(head).map_err(|_| unreadable())?;
            let header =
                |(name, value): (String, String)| Ok((name, STANDARD.decode(value).map_err(|_| unreadable())?));
            Ok(Some(HeldRequest {
                method: head.method,
                target: head.target,
                headers: head.headers.into_iter().map(header).collect::<Result<_, StoreError>>()?,
                body: body.get(1..).unwrap_or_default().to_vec(),
            }))
        })
        .await
    }
}
