//! People whom a provisioning system governs.

mod leaving;
mod link;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use stepgate_core::id::{FactorId, PersonId};
use stepgate_core::person::{Login, folded};
use stepgate_core::ports::{
    Account, AccountChange, ChangeError, Part, Provisioned, ProvisionedLink, Sought, StoreError,
};
use stepgate_core::time::Timestamp;

use crate::backend::Backend;
use crate::changes::Subject;
use crate::error::{ExactlyOne as _, Stored as _};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::ROWS_MAX;
use crate::people::{columns, person_of, take_person};
use crate::row::Fields;
use leaving::leave;
pub(crate) use leaving::{cancel_challenges, end_sessions, leave_for_good, record};

pub(crate) struct AddAccount {
    pub(crate) account: Account,
    pub(crate) link: Option<ProvisionedLink>,
}

#[async_trait]
impl Intent for AddAccount {
    type Output = Option<FactorId>;

    async fn apply(&self, work: &mut Work<'_>) -> Result<Option<FactorId>, ChangeError> {
        let Account { person, provisioned, blocked, version, added_at, changed_at, .. } = &self.account;
        sqlx::query(
            "INSERT INTO people (id, login, name, email, group_names, directory_active, blocked, provisioned, external_id, \
             given_name, family_name, version, added_at, changed_at, email_folded) \
             VALUES ($1, $2, $3, $4, '[]', $5, $12, 1, $6, $7, $8, $9, $10, $11, $13)",
        )
        .bind(person.id.to_string())
        .bind(person.login.as_str())
        .bind(&person.name)
        .bind(&person.email)
        .bind(i64::from(provisioned.active))
        .bind(&provisioned.external_id)
        .bind(&provisioned.given_name)
        .bind(&provisioned.family_name)
        .bind(i64::from(*version))
        .bind(added_at.as_ms())
        .bind(changed_at.as_ms())
        .bind(i64::from(*blocked))
        .bind(folded(&person.email))
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map_err(taken)?;
        match &self.link {
            Some(link) => link::set(work, person, link, "", *added_at).await,
            None => Ok(None),
        }
    }
}

/// A value that must be one's own is somebody else's.
pub(crate) fn taken(error: ChangeError) -> ChangeError {
    match error {
        ChangeError::Conflict => ChangeError::UsedBefore,
        other => other,
    }
}

pub(crate) struct ChangeAccount {
    pub(crate) change: AccountChange,
}

#[async_trait]
impl Intent for ChangeAccount {
    type Output = Option<FactorId>;

    async fn apply(&self, work: &mut Work<'_>) -> Result<Option<FactorId>, ChangeError> {
        let AccountChange { person, provisioned, link, version, at, by } = &self.change;
        let id = person.id.to_string();
        let was_active = take_person(work, &id).await?;
        sqlx::query(
            "UPDATE people SET login = $1, name = $2, email = $3, external_id = $4, given_name = $5, \
             family_name = $6, changed_at = $7, directory_active = $10, email_folded = $11, version = version + 1 \
             WHERE id = $8 AND version = $9 AND provisioned = 1",
        )
        .bind(person.login.as_str())
        .bind(&person.name)
        .bind(&person.email)
        .bind(&provisioned.external_id)
        .bind(&provisioned.given_name)
        .bind(&provisioned.family_name)
        .bind(at.as_ms())
        .bind(&id)
        .bind(i64::from(*version))
        .bind(i64::from(provisioned.active))
        .bind(folded(&person.email))
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map_err(taken)?
        .exactly_one()?;
        settle(work, person.id, was_active, by, *at).await?;
        match link {
            Some(link) => link::set(work, person, link, by, *at).await,
            None => link::kept(work, person.id).await,
        }
    }
}

pub(crate) struct SetBlocked {
    pub(crate) person: PersonId,
    pub(crate) blocked: bool,
    pub(crate) at: Timestamp,
    pub(crate) by: String,
}

#[async_trait]
impl Intent for SetBlocked {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let id = self.person.to_string();
        let was_active = take_person(work, &id).await?;
        sqlx::query(
            "UPDATE people SET blocked = $1, changed_at = $2, version = version + 1 WHERE id = $3 AND blocked <> $1",
        )
        .bind(i64::from(self.blocked))
        .bind(self.at.as_ms())
        .bind(&id)
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()?;
        settle(work, self.person, was_active, &self.by, self.at).await
    }
}

/// Does what follows if a person whose row is taken is by now out of service, or back.
async fn settle(
    work: &mut Work<'_>,
    person: PersonId,
    was_active: bool,
    by: &str,
    at: Timestamp,
) -> Result<(), ChangeError> {
    work.changed(Subject::Person(person));
    match (was_active, take_person(work, &person.to_string()).await?) {
        (true, false) => leave(work, person, by, at).await,
        (false, true) => leaving::came_back(work, person, by, at),
        (true, true) | (false, false) => Ok(()),
    }
}

pub(crate) struct RemoveAccount {
    pub(crate) person: PersonId,
    pub(crate) version: u32,
    pub(crate) at: Timestamp,
    pub(crate) by: String,
}

#[async_trait]
impl Intent for RemoveAccount {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let id = self.person.to_string();
        take_person(work, &id).await?;
        let row = sqlx::query("SELECT id, version FROM people WHERE id = $1 AND provisioned = 1")
            .bind(&id)
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?
            .ok_or(ChangeError::Conflict)?;
        if Fields::of("people", &row).count::<u32>("version")? != self.version {
            return Err(ChangeError::Conflict);
        }
        leave_for_good(work, self.person, &self.by, self.at).await
    }
}

pub(crate) struct Govern {
    pub(crate) person: PersonId,
    pub(crate) provisioned: bool,
}

#[async_trait]
impl Intent for Govern {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let id = self.person.to_string();
        take_person(work, &id).await?;
        sqlx::query(
            "UPDATE people SET provisioned = $1, blocked = CASE WHEN directory_active = 0 THEN 1 ELSE blocked END, \
             directory_active = 1, version = version + 1 WHERE id = $2 AND provisioned <> $1",
        )
        .bind(i64::from(self.provisioned))
        .bind(&id)
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()?;
        if !self.provisioned {
            for text in ["DELETE FROM memberships WHERE person = $1", "UPDATE people SET link = NULL WHERE id = $1"] {
                sqlx::query(text).bind(&id).execute(&mut *work.connection).await.stored()?;
            }
        }
        work.changed(Subject::Person(self.person));
        Ok(())
    }
}

/// The condition on `people p` with one parameter, and its value.
fn condition(which: &Sought) -> (&'static str, String) {
    match which {
        Sought::All => ("p.provisioned = 1 AND $1 = ''", String::new()),
        Sought::Named(login) => {
            // What is no login is nobody's.
            let login = Login::parse(login).map(|login| login.as_str().to_owned()).unwrap_or_default();
            ("p.provisioned = 1 AND p.login = $1", login)
        }
        Sought::ExternalId(id) => ("p.provisioned = 1 AND p.external_id = $1", id.clone()),
        Sought::MemberOf(group) => {
            ("p.provisioned = 1 AND p.id IN (SELECT person FROM memberships WHERE group_id = $1)", group.to_string())
        }
        Sought::With(person) => ("p.provisioned = 1 AND p.id = $1", person.to_string()),
    }
}

/// The text that reads a part of some accounts, and what its first parameter is.
pub(crate) fn part_of(backend: Backend, which: &Sought) -> (String, String) {
    let (columns, (condition, value)) = (columns(backend), condition(which));
    let sql = format!(
        "SELECT p.id, {columns}, p.directory_active, p.blocked, p.external_id, p.link, p.given_name, p.family_name, p.version, p.added_at, \
         p.changed_at FROM people p WHERE {condition} ORDER BY p.login LIMIT $2 OFFSET $3"
    );
    (sql, value)
}

/// The text that counts them.
pub(crate) fn count_of(which: &Sought) -> (String, String) {
    let (condition, value) = condition(which);
    (format!("SELECT '' AS id, COUNT(*) AS found FROM people p WHERE {condition}"), value)
}

impl Inner {
    pub(crate) async fn account(&self, id: PersonId) -> Result<Option<Account>, StoreError> {
        Ok(self.accounts(&Sought::With(id), Part { skip: 0, limit: 1 }).await?.pop())
    }

    pub(crate) async fn accounts(&self, which: &Sought, part: Part) -> Result<Vec<Account>, StoreError> {
        let (sql, value) = part_of(self.backend, which);
        read(async {
            let rows = sqlx::query(AssertSqlSafe(sql))
                .bind(value)
                .bind(i64::from(part.limit.min(ROWS_MAX)))
                .bind(i64::try_from(part.skip).unwrap_or(i64::MAX))
                .fetch_all(&self.readers)
                .await
                .stored()?;
            rows.iter().map(account).collect()
        })
        .await
    }

    pub(crate) async fn count_accounts(&self, which: &Sought) -> Result<u64, StoreError> {
        let (sql, value) = count_of(which);
        read(async {
            let row = sqlx::query(AssertSqlSafe(sql)).bind(value).fetch_one(&self.readers).await.stored()?;
            Fields::of("people", &row).count("found")
        })
        .await
    }

    pub(crate) async fn governed(&self, login: &Login) -> Result<Option<bool>, StoreError> {
        read(async {
            let row = sqlx::query("SELECT id, provisioned FROM people WHERE login = $1")
                .bind(login.as_str())
                .fetch_optional(&self.readers)
                .await
                .stored()?;
            row.map(|row| Fields::of("people", &row).flag("provisioned")).transpose()
        })
        .await
    }
}

fn account(row: &AnyRow) -> Result<Account, StoreError> {
    let fields = Fields::of("people", row);
    Ok(Account {
        person: person_of(&fields, "id")?,
        provisioned: Provisioned {
            external_id: fields.maybe_text("external_id")?,
            active: fields.flag("directory_active")?,
            given_name: fields.text("given_name")?,
            family_name: fields.text("family_name")?,
        },
        link: fields.maybe_parsed("link")?,
        blocked: fields.flag("blocked")?,
        version: fields.count("version")?,
        added_at: fields.time("added_at")?,
        changed_at: fields.time("changed_at")?,
    })
}
