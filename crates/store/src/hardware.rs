//! Hardware tokens. What makes their codes is sealed here and nowhere else: a factor that is a token has its seed and
//! its counter in the token's row, so that neither is there twice and no counter goes back when a factor goes.

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use stepgate_core::factor::{EnrolledFactor, FactorSecret, FactorUse, Moves, OathKey, TokenOf};
use stepgate_core::id::{FactorId, Id, PersonId, TokenId};
use stepgate_core::ports::{ChangeError, HardwareToken, HardwareTokens, NewToken, StoreError, TicketThen, TokenState};
use stepgate_core::secret::TokenDigest;
use stepgate_core::time::Timestamp;
use stepgate_evidence::Entry;
use zeroize::{Zeroize, Zeroizing};

use crate::changes::Subject;
use crate::database::Database;
use crate::enrolment::take_session_of;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::factors;
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::ROWS_MAX;
use crate::people::take_active;
use crate::row::Fields;

/// What is sealed of a token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    seed: String,
    hash: String,
    digits: u8,
    /// Seconds of a step; none for a counter.
    step_s: Option<u32>,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

/// What is read of `hardware_tokens t` with a factor, beside it or as what it would be.
pub(crate) const COLUMNS: &str = "t.id AS token, t.serial AS token_serial, t.last AS token_last, t.ends_at AS token_ends_at, t.sealed AS token_sealed";

/// The factor's secret in a row that has [`COLUMNS`].
pub(crate) fn secret_of(inner: &Inner, fields: &Fields<'_>) -> Result<FactorSecret, StoreError> {
    let id = fields.text("token")?;
    let plain = inner.open("hardware_tokens", "sealed", &id, &fields.bytes("token_sealed")?)?;
    let sealed: Sealed =
        serde_json::from_slice(&plain).map_err(|_| fields.corrupt("the token's seed cannot be read once opened"))?;
    let key = OathKey {
        seed: SecretString::from(sealed.seed.clone()),
        hash: sealed.hash.parse().map_err(|_| fields.corrupt("the token's hash is none"))?,
        digits: sealed.digits,
        moves: sealed.step_s.map_or(Moves::Counts, |step_s| Moves::Clock { step_s }),
    };
    let token = TokenOf {
        id: fields.id("token")?,
        serial: fields.text("token_serial")?,
        until: fields.maybe_time("token_ends_at")?,
    };
    Ok(FactorSecret::Oath { key, last: fields.maybe_count("token_last")?, token: Some(token) })
}

/// Moves a token's counter or step on; gives whether it did.
pub(crate) async fn moves_on(work: &mut Work<'_>, token: &str, to: u64) -> Result<bool, ChangeError> {
    let moved = sqlx::query(
        "UPDATE hardware_tokens SET last = $1 WHERE id = $2 AND revoked_at IS NULL AND (last IS NULL OR last < $1)",
    )
    .bind(i64::try_from(to).map_err(unavailable)?)
    .bind(token)
    .execute(&mut *work.connection)
    .await
    .stored()?;
    Ok(moved.rows_affected() == 1)
}

struct Import {
    tokens: Vec<NewToken>,
    at: Timestamp,
}

#[async_trait]
impl Intent for Import {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        for token in &self.tokens {
            self.put(work, token).await?;
        }
        Ok(())
    }
}

impl Import {
    async fn put(&self, work: &mut Work<'_>, token: &NewToken) -> Result<(), ChangeError> {
        let id = token.id.to_string();
        let sealed = Sealed {
            seed: token.key.seed.expose_secret().to_owned(),
            hash: token.key.hash.name().to_owned(),
            digits: token.key.digits,
            step_s: match token.key.moves {
                Moves::Counts => None,
                Moves::Clock { step_s } => Some(step_s),
            },
        };
        let plain = Zeroizing::new(serde_json::to_vec(&sealed).map_err(unavailable)?);
        let sealed = work.seal("hardware_tokens", "sealed", &id, &plain)?;
        // The code before the next one counts as used.
        let last = token.next.checked_sub(1).map(i64::try_from).transpose().map_err(unavailable)?;
        let inserted = sqlx::query(
            "INSERT INTO hardware_tokens (id, serial, manufacturer, kind, imported_at, ends_at, last, sealed) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (serial) DO NOTHING",
        )
        .bind(id)
        .bind(&token.serial)
        .bind(&token.manufacturer)
        .bind(token.key.kind().name())
        .bind(self.at.as_ms())
        .bind(token.until.map(Timestamp::as_ms))
        .bind(last)
        .bind(sealed)
        .execute(&mut *work.connection)
        .await
        .stored()?;
        if inserted.rows_affected() == 1 { Ok(()) } else { Err(ChangeError::UsedBefore) }
    }
}

struct Assign {
    token: TokenId,
    person: PersonId,
}

#[async_trait]
impl Intent for Assign {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        take_active(work, &self.person.to_string()).await?;
        sqlx::query("UPDATE hardware_tokens SET person = $1 WHERE id = $2 AND person IS NULL AND revoked_at IS NULL")
            .bind(self.person.to_string())
            .bind(self.token.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        work.changed(Subject::Person(self.person));
        Ok(())
    }
}

/// Takes a token back, or puts it out of use.
struct TakeBack {
    token: TokenId,
    /// Whose it is to be; `None`: whoever has it.
    of: Option<PersonId>,
    removed: Option<(FactorId, Entry)>,
    revoked_at: Option<Timestamp>,
}

#[async_trait]
impl Intent for TakeBack {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let id = self.token.to_string();
        let taken =
            work.inner.backend.locked("SELECT id, person FROM hardware_tokens WHERE id = $1 AND revoked_at IS NULL");
        let row = taken.bind(id.clone()).fetch_optional(&mut *work.connection).await.stored()?;
        let row = row.ok_or(ChangeError::Conflict)?;
        let person: Option<PersonId> = Fields::of("hardware_tokens", &row).maybe_parsed("person")?;
        if self.of.is_some() && self.of != person {
            return Err(ChangeError::Conflict);
        }
        let factor = sqlx::query("SELECT id FROM factors WHERE token = $1").bind(&id);
        let factor = factor.fetch_optional(&mut *work.connection).await.stored()?;
        let factor: Option<FactorId> = factor.map(|row| Fields::of("factors", &row).id("id")).transpose()?;
        // What is removed has its entry: another factor than the one that was seen has none.
        if factor != self.removed.as_ref().map(|(factor, _)| *factor) {
            return Err(ChangeError::Conflict);
        }
        if let Some((factor, entry)) = &self.removed {
            let deleted = sqlx::query("DELETE FROM factors WHERE id = $1").bind(factor.to_string());
            deleted.execute(&mut *work.connection).await.stored()?.exactly_one()?;
            work.record(entry)?;
        }
        let changed = match self.revoked_at {
            None => sqlx::query("UPDATE hardware_tokens SET person = NULL WHERE id = $1").bind(&id),
            Some(at) => {
                sqlx::query("UPDATE hardware_tokens SET person = NULL, sealed = NULL, revoked_at = $2 WHERE id = $1")
                    .bind(&id)
                    .bind(at.as_ms())
            }
        };
        changed.execute(&mut *work.connection).await.stored()?.exactly_one()?;
        if let Some(person) = person {
            work.changed(Subject::Person(person));
        }
        Ok(())
    }
}

struct Activate {
    ticket: TokenDigest,
    then: TicketThen,
    person: PersonId,
    factor: EnrolledFactor,
    used: FactorUse,
}

#[async_trait]
impl Intent for Activate {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let (person, at) = (self.person.to_string(), self.factor.enrolled_at);
        let FactorSecret::Oath { token: Some(token), .. } = &self.factor.secret else {
            return Err(ChangeError::Conflict);
        };
        let FactorUse::Moved(to) = self.used else { return Err(ChangeError::Conflict) };
        take_active(work, &person).await?;
        take_session_of(work, self.ticket, at).await?;
        let lives = "WHERE digest = $1 AND person = $2 AND expires_at > $3";
        let ticket = match self.then {
            TicketThen::Ends => format!("DELETE FROM tickets {lives}"),
            TicketThen::Stays => format!("UPDATE tickets SET begun_kind = NULL, begun = NULL {lives}"),
        };
        sqlx::query(AssertSqlSafe(ticket))
            .bind(self.ticket.to_hex())
            .bind(&person)
            .bind(at.as_ms())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        let mine = sqlx::query("SELECT id FROM hardware_tokens WHERE id = $1 AND person = $2");
        let mine =
            mine.bind(token.id.to_string()).bind(&person).fetch_optional(&mut *work.connection).await.stored()?;
        mine.ok_or(ChangeError::Conflict)?;
        if !moves_on(work, &token.id.to_string(), to).await? {
            return Err(ChangeError::UsedBefore);
        }
        factors::add(work, self.person, &self.factor).await?;
        work.changed(Subject::Person(self.person));
        Ok(())
    }
}

fn token(row: &sqlx::any::AnyRow) -> Result<HardwareToken, StoreError> {
    let fields = Fields::of("hardware_tokens", row);
    let (person, factor): (Option<PersonId>, Option<FactorId>) =
        (fields.maybe_parsed("person")?, fields.maybe_parsed("factor")?);
    let state = match (fields.maybe_time("revoked_at")?, person, factor) {
        (Some(_), ..) => TokenState::Revoked,
        (None, None, None) => TokenState::Free,
        (None, Some(person), None) => TokenState::Assigned(person),
        (None, Some(person), Some(factor)) => TokenState::Active(person, factor),
        (None, None, Some(_)) => return Err(fields.corrupt("it is a factor of nobody's")),
    };
    Ok(HardwareToken {
        id: fields.id("id")?,
        serial: fields.text("serial")?,
        manufacturer: fields.text("manufacturer")?,
        kind: fields.parsed("kind")?,
        imported_at: fields.time("imported_at")?,
        until: fields.maybe_time("ends_at")?,
        state,
    })
}

const TOKEN: &str = "SELECT t.id, t.serial, t.manufacturer, t.kind, t.imported_at, t.ends_at, t.revoked_at, t.person, \
     f.id AS factor FROM hardware_tokens t LEFT JOIN factors f ON f.token = t.id";

#[async_trait]
impl HardwareTokens for Database {
    async fn import_tokens(&self, tokens: Vec<NewToken>, at: Timestamp, entry: Entry) -> Result<(), ChangeError> {
        self.write(Import { tokens, at }, vec![entry]).await
    }

    async fn token(&self, serial: &str) -> Result<Option<HardwareToken>, StoreError> {
        read(async {
            let sql = AssertSqlSafe(format!("{TOKEN} WHERE t.serial = $1"));
            let row = sqlx::query(sql).bind(serial).fetch_optional(&self.inner.readers).await.stored()?;
            row.as_ref().map(token).transpose()
        })
        .await
    }

    async fn tokens(&self, after: Option<&str>, limit: u32) -> Result<Vec<HardwareToken>, StoreError> {
        read(async {
            let sql = AssertSqlSafe(format!("{TOKEN} WHERE t.serial > $1 ORDER BY t.serial LIMIT $2"));
            let rows = sqlx::query(sql)
                .bind(after.unwrap_or_default())
                .bind(i64::from(limit.min(ROWS_MAX)))
                .fetch_all(&self.inner.readers)
                .await
                .stored()?;
            rows.iter().map(token).collect()
        })
        .await
    }

    async fn assign_token(&self, token: TokenId, person: PersonId, entry: Entry) -> Result<(), ChangeError> {
        self.write(Assign { token, person }, vec![entry]).await
    }

    async fn unassign_token(
        &self,
        token: TokenId,
        person: PersonId,
        removed: Option<(FactorId, Entry)>,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(TakeBack { token, of: Some(person), removed, revoked_at: None }, vec![entry]).await
    }

    async fn revoke_token(
        &self,
        token: TokenId,
        removed: Option<(FactorId, Entry)>,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        let at = Timestamp::from_ms(entry.at_ms);
        self.write(TakeBack { token, of: None, removed, revoked_at: Some(at) }, vec![entry]).await
    }

    async fn assigned_tokens(&self, person: PersonId) -> Result<Vec<EnrolledFactor>, StoreError> {
        read(async {
            let sql = AssertSqlSafe(format!(
                "SELECT t.id, t.imported_at, {COLUMNS} FROM hardware_tokens t \
                 WHERE t.person = $1 AND t.revoked_at IS NULL \
                 AND NOT EXISTS (SELECT 1 FROM factors f WHERE f.token = t.id) ORDER BY t.serial"
            ));
            let rows = sqlx::query(sql).bind(person.to_string()).fetch_all(&self.inner.readers).await.stored()?;
            rows.iter().map(|row| waiting(&self.inner, &Fields::of("hardware_tokens", row))).collect()
        })
        .await
    }

    async fn activate_token(
        &self,
        ticket: TokenDigest,
        then: TicketThen,
        person: PersonId,
        factor: &EnrolledFactor,
        used: FactorUse,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(Activate { ticket, then, person, factor: factor.clone(), used }, vec![entry]).await
    }
}

/// A token that waits, as the factor that it would be. It has its token's id until it is one.
fn waiting(inner: &Inner, fields: &Fields<'_>) -> Result<EnrolledFactor, StoreError> {
    let secret = secret_of(inner, fields)?;
    let token: TokenId = fields.id("id")?;
    let ending = match &secret {
        FactorSecret::Oath { token: Some(token), .. } => token.ending().to_owned(),
        _ => String::new(),
    };
    Ok(EnrolledFactor {
        id: Id::from_bytes(*token.as_bytes()),
        name: format!("Hardware token …{ending}"),
        enrolled_at: fields.time("imported_at")?,
        last_used_at: None,
        last_used_from: None,
        secret,
    })
}
