//! Factors: what verifies them is sealed, what compare-and-swap needs stands beside it.

use std::net::IpAddr;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, AssertSqlSafe};
use stepgate_core::factor::{
    Aaguid, ApproverDevice, Backup, CodeDigest, Destination, EnrolledFactor, FactorKind, FactorSecret, FactorUse,
    Identity, OathKey, Passkey, PasskeySort, PasswordStands,
};
use stepgate_core::id::{FactorId, PersonId};
use stepgate_core::ports::{ChangeError, StoreError, TicketThen};
use stepgate_core::secret::TokenDigest;
use stepgate_core::time::Timestamp;
use zeroize::{Zeroize, Zeroizing};

use crate::changes::Subject;
use crate::enrolment::take_session_of;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::hardware::{self, COLUMNS as TOKEN};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::logins;
use crate::options::FACTORS_PER_PERSON_MAX;
use crate::people::{take_active, take_person};
use crate::row::Fields;
use crate::sent_codes;

/// What is sealed of a factor. Counters are not in it: they change with each use.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Sealed {
    Password {
        phc: String,
        stands_alone: bool,
    },
    Totp {
        seed: String,
    },
    /// Its seed is in the row of its token.
    HardwareToken {},
    Passkey(SealedPasskey),
    RecoveryCode {},
    Idp {
        issuer: String,
        subject: String,
    },
    EmailCode {
        address: String,
    },
    PhoneCode {
        number: String,
    },
    Push {
        passkey: Option<SealedPasskey>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedPasskey {
    public_key: String,
    user_handle: String,
    backup_eligible: bool,
    aaguid: String,
    is_attested: bool,
    attestation: String,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        match self {
            Self::Password { phc, .. } => phc.zeroize(),
            Self::Totp { seed } => seed.zeroize(),
            Self::Passkey(_)
            | Self::RecoveryCode {}
            | Self::HardwareToken {}
            | Self::Idp { .. }
            | Self::EmailCode { .. }
            | Self::PhoneCode { .. }
            | Self::Push { .. } => {}
        }
    }
}

pub(crate) struct Enrol {
    pub(crate) ticket: TokenDigest,
    pub(crate) then: TicketThen,
    pub(crate) person: PersonId,
    pub(crate) factor: EnrolledFactor,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for Enrol {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let person = self.person.to_string();
        take_active(work, &person).await?;
        take_session_of(work, self.ticket, self.at).await?;
        let kind = self.factor.kind();
        sqlx::query(
            "UPDATE tickets SET begun_kind = NULL, begun = NULL \
             WHERE digest = $1 AND person = $2 AND begun_kind = $3 AND expires_at > $4",
        )
        .bind(self.ticket.to_hex())
        .bind(&person)
        .bind(kind.name())
        .bind(self.at.as_ms())
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()?;
        if self.then == TicketThen::Ends {
            sqlx::query("DELETE FROM tickets WHERE digest = $1")
                .bind(self.ticket.to_hex())
                .execute(&mut *work.connection)
                .await
                .stored()?;
        }
        if matches!(self.factor.secret, FactorSecret::Password { stands: PasswordStands::BesideAnother, .. }) {
            let enrolled = enrolled(work, &person).await?;
            if !enrolled.iter().any(|(_, kind)| kind.stands_beside_a_password()) {
                return Err(ChangeError::Conflict);
            }
        }
        if matches!(kind, FactorKind::Password | FactorKind::RecoveryCode) {
            sqlx::query("DELETE FROM factors WHERE person = $1 AND kind = $2")
                .bind(&person)
                .bind(kind.name())
                .execute(&mut *work.connection)
                .await
                .stored()?;
        }
        add(work, self.person, &self.factor).await?;
        work.changed(Subject::Person(self.person));
        Ok(())
    }
}

/// Adds a factor to a person whose row is taken.
pub(crate) async fn add(work: &mut Work<'_>, person: PersonId, factor: &EnrolledFactor) -> Result<(), ChangeError> {
    let person = person.to_string();
    let ordinal = next_ordinal(work.connection, &person).await?;
    insert(work, &person, factor, ordinal).await
}

/// What the person has by now.
async fn enrolled(work: &mut Work<'_>, person: &str) -> Result<Vec<(FactorId, FactorKind)>, ChangeError> {
    let rows = sqlx::query("SELECT id, kind FROM factors WHERE person = $1")
        .bind(person)
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    let one = |row| {
        let fields = Fields::of("factors", row);
        Ok((fields.id("id")?, fields.parsed("kind")?))
    };
    rows.iter().map(one).collect()
}

async fn next_ordinal(connection: &mut AnyConnection, person: &str) -> Result<i64, ChangeError> {
    let row = sqlx::query(
        "SELECT '' AS id, COUNT(*) AS enrolled, COALESCE(MAX(ordinal), 0) + 1 AS next FROM factors WHERE person = $1",
    )
    .bind(person)
    .fetch_one(connection)
    .await
    .stored()?;
    let fields = Fields::of("factors", &row);
    if fields.int("enrolled")? >= FACTORS_PER_PERSON_MAX {
        return Err(ChangeError::Limit("factors per person"));
    }
    Ok(fields.int("next")?)
}

async fn insert(work: &mut Work<'_>, person: &str, factor: &EnrolledFactor, ordinal: i64) -> Result<(), ChangeError> {
    let id = factor.id.to_string();
    let passkey = match &factor.secret {
        FactorSecret::Passkey(passkey) => Some(passkey.as_ref()),
        FactorSecret::Push(device) => device.passkey.as_ref(),
        _ => None,
    };
    let device = match &factor.secret {
        FactorSecret::Push(device) => Some(device.token.to_hex()),
        _ => None,
    };
    if let Some(passkey) = passkey
        && owner(&mut *work.connection, &passkey.credential_id).await?.is_some()
    {
        return Err(ChangeError::UsedBefore);
    }
    let identity = match &factor.secret {
        FactorSecret::Idp(identity) => Some((identity.provider.as_str(), hex::encode(identity.digest()))),
        _ => None,
    };
    let token = match &factor.secret {
        FactorSecret::Oath { token: Some(token), .. } => Some(token.id.to_string()),
        _ => None,
    };
    let last_step = match &factor.secret {
        FactorSecret::Oath { last, token: None, .. } => last.map(i64::try_from).transpose().map_err(unavailable)?,
        _ => None,
    };
    let plain = Zeroizing::new(serde_json::to_vec(&to_seal(&factor.secret)).map_err(unavailable)?);
    let sealed = work.seal("factors", "sealed", &id, &plain)?;
    let inserted = sqlx::query(
        "INSERT INTO factors (id, person, kind, name, enrolled_at, ordinal, last_used_at, last_step, counter, \
         backed_up, credential_id, provider, identity, device, sealed, token) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(&id)
    .bind(person)
    .bind(factor.kind().to_string())
    .bind(&factor.name)
    .bind(factor.enrolled_at.as_ms())
    .bind(ordinal)
    .bind(factor.last_used_at.map(Timestamp::as_ms))
    .bind(last_step)
    .bind(passkey.map(|passkey| i64::from(passkey.counter)))
    .bind(passkey.map(|passkey| i64::from(passkey.backed_up)))
    .bind(passkey.map(|passkey| passkey.credential_id.clone()))
    .bind(identity.as_ref().map(|(provider, _)| *provider))
    .bind(identity.as_ref().map(|(_, digest)| digest.as_str()))
    .bind(device)
    .bind(sealed)
    .bind(token)
    .execute(&mut *work.connection)
    .await;
    match inserted.or_conflict() {
        // Two nodes at once with one credential or identity: the other was first.
        Err(ChangeError::Conflict) if passkey.is_some() || identity.is_some() => return Err(ChangeError::UsedBefore),
        other => other?,
    };
    if let FactorSecret::RecoveryCodes { left } = &factor.secret {
        for (ordinal, code) in (0_i64..).zip(left) {
            sqlx::query("INSERT INTO recovery_codes (factor, digest, ordinal) VALUES ($1, $2, $3)")
                .bind(&id)
                .bind(hex::encode(code.0))
                .bind(ordinal)
                .execute(&mut *work.connection)
                .await
                .or_conflict()?;
        }
    }
    Ok(())
}

fn to_seal(secret: &FactorSecret) -> Sealed {
    match secret {
        FactorSecret::Password { phc, stands } => {
            Sealed::Password { phc: phc.expose_secret().to_owned(), stands_alone: *stands == PasswordStands::Alone }
        }
        FactorSecret::Oath { token: Some(_), .. } => Sealed::HardwareToken {},
        FactorSecret::Oath { key, .. } => Sealed::Totp { seed: key.seed.expose_secret().to_owned() },
        FactorSecret::Passkey(passkey) => Sealed::Passkey(SealedPasskey::of(passkey)),
        FactorSecret::Push(device) => Sealed::Push { passkey: device.passkey.as_ref().map(SealedPasskey::of) },
        FactorSecret::RecoveryCodes { .. } => Sealed::RecoveryCode {},
        FactorSecret::Idp(identity) => {
            Sealed::Idp { issuer: identity.issuer.clone(), subject: identity.subject.clone() }
        }
        FactorSecret::Address { to: Destination::Email(address), .. } => Sealed::EmailCode { address: address.clone() },
        FactorSecret::Address { to: Destination::Phone(number), .. } => Sealed::PhoneCode { number: number.clone() },
    }
}

impl SealedPasskey {
    fn of(passkey: &Passkey) -> Self {
        Self {
            public_key: STANDARD.encode(&passkey.public_key),
            user_handle: STANDARD.encode(&passkey.user_handle),
            backup_eligible: passkey.backup_eligible,
            aaguid: hex::encode(passkey.aaguid.0),
            is_attested: passkey.is_attested,
            attestation: STANDARD.encode(&passkey.attestation),
        }
    }

    fn opened(&self, fields: &Fields<'_>) -> Result<Passkey, StoreError> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| fields.corrupt("sealed is not base64"));
        let mut aaguid = [0; 16];
        hex::decode_to_slice(&self.aaguid, &mut aaguid).map_err(|_| fields.corrupt("the model is not 16 bytes"))?;
        Ok(Passkey {
            credential_id: fields.bytes("credential_id")?,
            public_key: decode(&self.public_key)?,
            user_handle: decode(&self.user_handle)?,
            counter: fields.count("counter")?,
            backup_eligible: self.backup_eligible,
            backed_up: fields.flag("backed_up")?,
            aaguid: Aaguid(aaguid),
            is_attested: self.is_attested,
            attestation: decode(&self.attestation)?,
        })
    }
}

/// Issuer and subject of a factor that is an identity; reads `id` and `sealed` alone.
pub(crate) fn identity_of(inner: &Inner, fields: &Fields<'_>) -> Result<Option<(String, String)>, StoreError> {
    let plain = inner.open("factors", "sealed", fields.key(), &fields.bytes("sealed")?)?;
    let sealed: Sealed =
        serde_json::from_slice(&plain).map_err(|_| fields.corrupt("sealed cannot be read once opened"))?;
    Ok(match &sealed {
        Sealed::Idp { issuer, subject } => Some((issuer.clone(), subject.clone())),
        _ => None,
    })
}

pub(crate) struct RemoveFactor {
    pub(crate) person: PersonId,
    pub(crate) factor: FactorId,
    pub(crate) leaves: Vec<FactorId>,
}

#[async_trait]
impl Intent for RemoveFactor {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let person = self.person.to_string();
        take_person(work, &person).await?;
        let mut now: Vec<FactorId> = enrolled(work, &person).await?.into_iter().map(|(id, _)| id).collect();
        let mut expected = self.leaves.clone();
        expected.push(self.factor);
        now.sort_unstable();
        expected.sort_unstable();
        if now != expected {
            return Err(ChangeError::Conflict);
        }
        sqlx::query("DELETE FROM factors WHERE id = $1 AND person = $2")
            .bind(self.factor.to_string())
            .bind(self.person.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()?;
        work.changed(Subject::Person(self.person));
        Ok(())
    }
}

/// When and from where a factor proved something, and nothing else.
const USED: &str = "UPDATE factors SET last_used_at = $2, last_used_from = $3 WHERE id = $1";

/// Applies what a proof changes in its factor; each statement is the compare and the
/// swap in one, so that of two at once one is refused, on whatever nodes they run.
pub(crate) async fn apply_use(
    work: &mut Work<'_>,
    person: PersonId,
    (factor, used): &(FactorId, FactorUse),
    from: IpAddr,
    at: Timestamp,
) -> Result<FactorKind, ChangeError> {
    let id = factor.to_string();
    let row = sqlx::query("SELECT id, kind, token FROM factors WHERE id = $1 AND person = $2")
        .bind(&id)
        .bind(person.to_string())
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?
        .ok_or(ChangeError::Conflict)?;
    let fields = Fields::of("factors", &row);
    let (kind, token): (FactorKind, Option<String>) = (fields.parsed("kind")?, fields.maybe_text("token")?);
    let fits = match used {
        FactorUse::Nothing => true,
        FactorUse::Moved(_) => matches!(kind, FactorKind::Totp | FactorKind::Hotp),
        FactorUse::PasskeyCounter { .. } => matches!(kind, FactorKind::Passkey(_) | ApproverDevice::SIGNING),
        FactorUse::RecoveryCode(_) => kind == FactorKind::RecoveryCode,
        FactorUse::SentCode(_) => matches!(kind, FactorKind::EmailCode | FactorKind::PhoneCode(_)),
    };
    if !fits {
        return Err(ChangeError::Conflict);
    }
    let on_factor = |text| sqlx::query(text).bind(id.clone()).bind(at.as_ms()).bind(from.to_string());
    let query = match used {
        FactorUse::Nothing => on_factor(USED),
        FactorUse::Moved(to) if let Some(token) = &token => {
            if !hardware::moves_on(work, token, *to).await? {
                return Err(ChangeError::UsedBefore);
            }
            on_factor(USED)
        }
        FactorUse::Moved(step) => on_factor(
            "UPDATE factors SET last_used_at = $2, last_used_from = $3, last_step = $4 \
             WHERE id = $1 AND (last_step IS NULL OR last_step < $4)",
        )
        .bind(i64::try_from(*step).map_err(unavailable)?),
        FactorUse::PasskeyCounter { counter, backed_up } => on_factor(
            "UPDATE factors SET last_used_at = $2, last_used_from = $3, counter = $4, backed_up = $5 \
             WHERE id = $1 AND (counter < $4 OR (counter = 0 AND $4 = 0))",
        )
        .bind(i64::from(*counter))
        .bind(i64::from(*backed_up)),
        FactorUse::RecoveryCode(code) => {
            let spent = sqlx::query("DELETE FROM recovery_codes WHERE factor = $1 AND digest = $2")
                .bind(&id)
                .bind(hex::encode(code.0))
                .execute(&mut *work.connection)
                .await
                .stored()?;
            if spent.rows_affected() != 1 {
                return Err(ChangeError::UsedBefore);
            }
            on_factor(USED)
        }
        FactorUse::SentCode(code) => {
            sent_codes::use_up(work, &id, *code).await?;
            on_factor(USED)
        }
    };
    let changed = query.execute(&mut *work.connection).await.stored()?;
    if changed.rows_affected() != 1 {
        return Err(ChangeError::UsedBefore);
    }
    match (kind, used) {
        (FactorKind::Passkey(sort), FactorUse::PasskeyCounter { backed_up, .. }) => {
            let backup = Backup::of_flags(sort.backup.may_be_synced(), *backed_up);
            note_sort(work, (&id, person), sort, PasskeySort { backup, ..sort }).await
        }
        _ => Ok(kind),
    }
}

/// A passkey is of another sort from now on: it is synced by now, or not any more.
async fn note_sort(
    work: &mut Work<'_>,
    (factor, person): (&str, PersonId),
    before: PasskeySort,
    now: PasskeySort,
) -> Result<FactorKind, ChangeError> {
    let kind = FactorKind::Passkey(now);
    if now != before {
        sqlx::query("UPDATE factors SET kind = $2 WHERE id = $1")
            .bind(factor)
            .bind(kind.to_string())
            .execute(&mut *work.connection)
            .await
            .stored()?;
        work.changed(Subject::Person(person));
    }
    Ok(kind)
}

async fn owner<'e>(
    executor: impl sqlx::Executor<'e, Database = sqlx::Any>,
    credential_id: &[u8],
) -> Result<Option<PersonId>, StoreError> {
    let row = sqlx::query("SELECT id, person FROM factors WHERE credential_id = $1")
        .bind(credential_id)
        .fetch_optional(executor)
        .await
        .stored()?;
    row.map(|row| Fields::of("factors", &row).id("person")).transpose()
}

impl Inner {
    pub(crate) async fn person_by_credential(&self, credential_id: &[u8]) -> Result<Option<PersonId>, StoreError> {
        read(owner(&self.readers, credential_id)).await
    }

    pub(crate) async fn factors(&self, person: PersonId) -> Result<Vec<EnrolledFactor>, StoreError> {
        read(async {
            let rows = sqlx::query(AssertSqlSafe(format!(
                "SELECT f.id, f.kind, f.name, f.enrolled_at, f.last_used_at, f.last_used_from, f.last_step, f.counter, \
                 f.backed_up, f.credential_id, f.provider, f.device, f.sealed, {TOKEN} \
                 FROM factors f LEFT JOIN hardware_tokens t ON t.id = f.token WHERE f.person = $1 ORDER BY f.ordinal",
            )))
            .bind(person.to_string())
            .fetch_all(&self.readers)
            .await
            .stored()?;
            let mut factors = Vec::with_capacity(rows.len());
            for row in &rows {
                factors.push(self.factor(&Fields::of("factors", row)).await?);
            }
            Ok(factors)
        })
        .await
    }

    async fn factor(&self, fields: &Fields<'_>) -> Result<EnrolledFactor, StoreError> {
        let plain = self.open("factors", "sealed", fields.key(), &fields.bytes("sealed")?)?;
        let sealed: Sealed =
            serde_json::from_slice(&plain).map_err(|_| fields.corrupt("sealed cannot be read once opened"))?;
        let secret = match &sealed {
            Sealed::Password { phc, stands_alone } => FactorSecret::Password {
                phc: SecretString::from(phc.clone()),
                stands: if *stands_alone { PasswordStands::Alone } else { PasswordStands::BesideAnother },
            },
            Sealed::Totp { seed } => FactorSecret::Oath {
                key: OathKey::of_app(SecretString::from(seed.clone())),
                last: fields.maybe_count("last_step")?,
                token: None,
            },
            Sealed::HardwareToken {} => hardware::secret_of(self, fields)?,
            Sealed::Passkey(passkey) => FactorSecret::Passkey(Box::new(passkey.opened(fields)?)),
            Sealed::Push { passkey } => FactorSecret::Push(Box::new(ApproverDevice {
                token: fields.digest("device")?,
                passkey: passkey.as_ref().map(|passkey| passkey.opened(fields)).transpose()?,
            })),
            Sealed::RecoveryCode {} => FactorSecret::RecoveryCodes { left: self.codes_left(fields.key()).await? },
            Sealed::Idp { issuer, subject } => FactorSecret::Idp(Identity {
                provider: logins::provider(fields)?,
                issuer: issuer.clone(),
                subject: subject.clone(),
            }),
            Sealed::EmailCode { address } => {
                let to = Destination::email(address).ok_or_else(|| fields.corrupt("sealed is no address"))?;
                FactorSecret::Address { to, newest: self.newest_code(fields.key()).await? }
            }
            Sealed::PhoneCode { number } => {
                let to = Destination::phone(number).ok_or_else(|| fields.corrupt("sealed is no number"))?;
                FactorSecret::Address { to, newest: self.newest_code(fields.key()).await? }
            }
        };
        if secret.kind() != fields.parsed("kind")? {
            return Err(fields.corrupt("kind is another than what is sealed"));
        }
        Ok(EnrolledFactor {
            id: fields.id("id")?,
            name: fields.text("name")?,
            enrolled_at: fields.time("enrolled_at")?,
            last_used_at: fields.maybe_time("last_used_at")?,
            last_used_from: fields.maybe_parsed("last_used_from")?,
            secret,
        })
    }

    async fn codes_left(&self, factor: &str) -> Result<Vec<CodeDigest>, StoreError> {
        let rows = sqlx::query("SELECT digest FROM recovery_codes WHERE factor = $1 ORDER BY ordinal")
            .bind(factor)
            .fetch_all(&self.readers)
            .await
            .stored()?;
        rows.iter().map(|row| Ok(CodeDigest(Fields::of("recovery_codes", row).digest("digest")?.0))).collect()
    }
}
