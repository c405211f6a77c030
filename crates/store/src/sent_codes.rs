//! Codes that are sent to people: what verifies the newest one of each factor, and how many there were.

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_core::factor::{Binding, CodeDelivery, CodeDigest, FactorKind, OpenCode};
use stepgate_core::id::SentCodeId;
use stepgate_core::ports::{ChangeError, NewSentCode, StoreError};
use stepgate_core::secret::TokenDigest;
use zeroize::Zeroizing;

use crate::enrolment::BeginOnTicket;
use crate::error::{ExactlyOne as _, Stored as _};
use crate::inner::Inner;
use crate::intent::{Intent, Work};
use crate::people::take_active;
use crate::row::Fields;

/// How long a code is counted.
const HOUR_MS: i64 = 3_600_000;
/// Bytes of what is sealed: binding and digest.
const SEALED_LEN: usize = 64;

pub(crate) struct PutSentCode {
    pub(crate) code: NewSentCode,
    pub(crate) per_hour: u32,
}

#[async_trait]
impl Intent for PutSentCode {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        put(work, &self.code, self.per_hour).await
    }
}

pub(crate) struct PutCodeOnTicket {
    pub(crate) ticket: TokenDigest,
    pub(crate) begun: (FactorKind, SecretString),
    pub(crate) code: NewSentCode,
    pub(crate) per_hour: u32,
}

#[async_trait]
impl Intent for PutCodeOnTicket {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        put(work, &self.code, self.per_hour).await?;
        let (begun, at) = (self.begun.clone(), self.code.at);
        BeginOnTicket { digest: self.ticket, begun, device_link: None, at }.apply(work).await
    }
}

/// Counts and puts a code. The person's row is taken, so that of many at once no more get through than may.
async fn put(work: &mut Work<'_>, code: &NewSentCode, per_hour: u32) -> Result<(), ChangeError> {
    let (id, person) = (code.id.to_string(), code.person.to_string());
    take_active(work, &person).await?;
    sqlx::query("DELETE FROM sent_codes WHERE person = $1 AND sent_at <= $2 AND expires_at <= $3")
        .bind(&person)
        .bind(code.at.as_ms().saturating_sub(HOUR_MS))
        .bind(code.at.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?;
    let row = sqlx::query(
        "SELECT '' AS id, COUNT(*) AS sent FROM sent_codes WHERE person = $1 AND kind = $2 AND sent_at > $3",
    )
    .bind(&person)
    .bind(code.kind.name())
    .bind(code.at.as_ms().saturating_sub(HOUR_MS))
    .fetch_one(&mut *work.connection)
    .await
    .stored()?;
    if Fields::of("sent_codes", &row).int("sent")? >= i64::from(per_hour) {
        return Err(ChangeError::Limit("codes per hour"));
    }
    // Whoever has many accounts sends no more to one address than who has one.
    let row = sqlx::query("SELECT '' AS id, COUNT(*) AS sent FROM sent_codes WHERE sent_to = $1 AND sent_at > $2")
        .bind(&code.sent_to)
        .bind(code.at.as_ms().saturating_sub(HOUR_MS))
        .fetch_one(&mut *work.connection)
        .await
        .stored()?;
    if Fields::of("sent_codes", &row).int("sent")? >= i64::from(per_hour) {
        return Err(ChangeError::Limit("codes to one address per hour"));
    }
    let mut sealed = None;
    if let Some((factor, Binding(binding), CodeDigest(digest))) = &code.of {
        let factor = factor.to_string();
        // It is theirs, and there.
        sqlx::query("UPDATE factors SET name = name WHERE id = $1 AND person = $2")
            .bind(&factor)
            .bind(&person)
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        sqlx::query("UPDATE sent_codes SET sealed = NULL WHERE factor = $1")
            .bind(&factor)
            .execute(&mut *work.connection)
            .await
            .stored()?;
        let plain = Zeroizing::new([*binding, *digest].concat());
        sealed = Some(work.seal("sent_codes", "sealed", &id, &plain)?);
    }
    sqlx::query(
        "INSERT INTO sent_codes (id, person, kind, factor, sealed, used, delivery, sent_at, expires_at, sent_to) \
         VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9)",
    )
    .bind(&id)
    .bind(&person)
    .bind(code.kind.name())
    .bind(code.of.as_ref().map(|(factor, ..)| factor.to_string()))
    .bind(sealed)
    .bind(CodeDelivery::Sending.name())
    .bind(code.at.as_ms())
    .bind(code.expires_at.as_ms())
    .bind(&code.sent_to)
    .execute(&mut *work.connection)
    .await
    .or_conflict()?;
    Ok(())
}

/// Uses up the newest code of a factor; the compare and the swap in one.
pub(crate) async fn use_up(work: &mut Work<'_>, factor: &str, code: SentCodeId) -> Result<(), ChangeError> {
    let used =
        sqlx::query("UPDATE sent_codes SET used = 1 WHERE id = $1 AND factor = $2 AND used = 0 AND sealed IS NOT NULL")
            .bind(code.to_string())
            .bind(factor)
            .execute(&mut *work.connection)
            .await
            .stored()?;
    if used.rows_affected() == 1 { Ok(()) } else { Err(ChangeError::UsedBefore) }
}

pub(crate) struct CodeDelivered {
    pub(crate) code: SentCodeId,
    pub(crate) delivery: CodeDelivery,
}

#[async_trait]
impl Intent for CodeDelivered {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        // It may be gone by now: that it was delivered is written all the same.
        sqlx::query("UPDATE sent_codes SET delivery = $1 WHERE id = $2")
            .bind(self.delivery.name())
            .bind(self.code.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        Ok(())
    }
}

impl Inner {
    /// The newest code that was sent to a factor.
    pub(crate) async fn newest_code(&self, factor: &str) -> Result<Option<OpenCode>, StoreError> {
        let row = sqlx::query(
            "SELECT id, sealed, used, delivery, expires_at FROM sent_codes WHERE factor = $1 AND sealed IS NOT NULL",
        )
        .bind(factor)
        .fetch_optional(&self.readers)
        .await
        .stored()?;
        let Some(row) = row else { return Ok(None) };
        let fields = Fields::of("sent_codes", &row);
        let plain = self.open("sent_codes", "sealed", fields.key(), &fields.bytes("sealed")?)?;
        let parts: Option<[u8; SEALED_LEN]> = plain.as_slice().try_into().ok();
        let halves = parts.as_ref().and_then(|parts| Some((parts.first_chunk::<32>()?, parts.last_chunk::<32>()?)));
        let (binding, digest) = halves.ok_or_else(|| fields.corrupt("sealed has not the length of a code's"))?;
        let delivery = fields.text("delivery")?;
        let delivery = CodeDelivery::ALL.into_iter().find(|one| one.name() == delivery);
        Ok(Some(OpenCode {
            id: fields.id("id")?,
            binding: Binding(*binding),
            digest: CodeDigest(*digest),
            expires_at: fields.time("expires_at")?,
            is_used: fields.flag("used")?,
            delivery: delivery.ok_or_else(|| fields.corrupt("delivery is no name"))?,
        }))
    }
}
