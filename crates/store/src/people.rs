//! People.

use async_trait::async_trait;
use sqlx::any::AnyRow;
use stepgate_core::id::PersonId;
use stepgate_core::person::{Login, Person, folded};
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::time::Timestamp;

use crate::accounts::leave_for_good;
use crate::backend::Backend;
use crate::changes::Subject;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::ROWS_MAX;
use crate::row::Fields;

pub(crate) struct AddPerson {
    pub(crate) person: Person,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for AddPerson {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        insert(work, &self.person, self.at).await
    }
}

/// Adds a person; `Conflict` if the login is somebody's.
pub(crate) async fn insert(work: &mut Work<'_>, person: &Person, at: Timestamp) -> Result<(), ChangeError> {
    sqlx::query(
        "INSERT INTO people (id, login, name, email, group_names, blocked, directory_active, provisioned, given_name, \
         family_name, version, added_at, changed_at, email_folded) \
         VALUES ($1, $2, $3, $4, $5, $6, 1, 0, '', '', 1, $7, $7, $8)",
    )
    .bind(person.id.to_string())
    .bind(person.login.as_str())
    .bind(&person.name)
    .bind(&person.email)
    .bind(names(&person.groups)?)
    .bind(i64::from(!person.active))
    .bind(at.as_ms())
    .bind(folded(&person.email))
    .execute(&mut *work.connection)
    .await
    .or_conflict()
    .map(|_| ())
}

pub(crate) struct ChangePerson {
    pub(crate) person: Person,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for ChangePerson {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let id = self.person.id.to_string();
        take_person(work, &id).await?;
        // A provisioned group's name is not kept a second time: it would outlast the membership.
        let provisioned = provisioned_names(work, &id).await?;
        let own: Vec<String> =
            self.person.groups.iter().filter(|group| !provisioned.contains(group)).cloned().collect();
        sqlx::query(
            "UPDATE people SET name = $1, email = $2, group_names = $3, version = version + 1, changed_at = $4, email_folded = $6 \
             WHERE id = $5",
        )
        .bind(&self.person.name)
        .bind(&self.person.email)
        .bind(names(&own)?)
        .bind(self.at.as_ms())
        .bind(&id)
        .bind(folded(&self.person.email))
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()?;
        work.changed(Subject::Person(self.person.id));
        Ok(())
    }
}

/// Rows that hang on the person go with it (`ON DELETE CASCADE`).
pub(crate) struct RemovePerson {
    pub(crate) person: PersonId,
    pub(crate) by: String,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for RemovePerson {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        leave_for_good(work, self.person, &self.by, self.at).await
    }
}

pub(crate) async fn remove(work: &mut Work<'_>, person: PersonId) -> Result<(), ChangeError> {
    let id = person.to_string();
    sqlx::query("DELETE FROM people WHERE id = $1")
        .bind(&id)
        .execute(&mut *work.connection)
        .await
        .stored()?
        .exactly_one()?;
    for text in [
        "DELETE FROM tries WHERE person = $1",
        "DELETE FROM try_lanes WHERE person = $1",
        // What was spent stays until its outcome is known.
        "DELETE FROM challenges WHERE person = $1 AND sending = 0",
        "UPDATE challenges SET held_request = NULL WHERE person = $1",
    ] {
        sqlx::query(text).bind(&id).execute(&mut *work.connection).await.stored()?;
    }
    work.changed(Subject::Person(person));
    Ok(())
}

/// Takes the person's row, so that what changes them happens one after the other. Gives whether they
/// are active; `Conflict` if there is no such person.
pub(crate) async fn take_person(work: &mut Work<'_>, person: &str) -> Result<bool, ChangeError> {
    let found = work.inner.backend.locked("SELECT id, active FROM people WHERE id = $1").bind(person.to_owned());
    let row = found.fetch_optional(&mut *work.connection).await.stored()?.ok_or(ChangeError::Conflict)?;
    Ok(Fields::of("people", &row).flag("active")?)
}

/// Likewise, and `Conflict` if they are not active: nothing begins for them.
pub(crate) async fn take_active(work: &mut Work<'_>, person: &str) -> Result<(), ChangeError> {
    if take_person(work, person).await? { Ok(()) } else { Err(ChangeError::Conflict) }
}

async fn provisioned_names(work: &mut Work<'_>, person: &str) -> Result<Vec<String>, ChangeError> {
    let rows = sqlx::query(
        "SELECT g.name AS name FROM memberships m JOIN provisioned_groups g ON g.id = m.group_id WHERE m.person = $1",
    )
    .bind(person)
    .fetch_all(&mut *work.connection)
    .await
    .stored()?;
    rows.iter().map(|row| Ok(Fields::of("provisioned_groups", row).text("name")?)).collect()
}

/// What [`person_of`] reads of `people p`, its id apart.
pub(crate) fn columns(backend: Backend) -> String {
    let names = match backend {
        Backend::Sqlite => "json_group_array(g.name)",
        Backend::Postgres => "COALESCE(json_agg(g.name), '[]')::text",
    };
    format!(
        "p.login, p.name, p.email, p.group_names, p.active, (SELECT {names} FROM memberships m \
         JOIN provisioned_groups g ON g.id = m.group_id WHERE m.person = p.id) AS provisioned_names"
    )
}

impl Inner {
    pub(crate) async fn person(&self, id: PersonId) -> Result<Option<Person>, StoreError> {
        self.one_person("id", &id.to_string()).await
    }

    pub(crate) async fn person_by_login(&self, login: &Login) -> Result<Option<Person>, StoreError> {
        self.one_person("login", login.as_str()).await
    }

    async fn one_person(&self, column: &'static str, value: &str) -> Result<Option<Person>, StoreError> {
        read(async {
            let columns = columns(self.backend);
            let sql = sqlx::AssertSqlSafe(format!("SELECT p.id, {columns} FROM people p WHERE p.{column} = $1"));
            let row = sqlx::query(sql).bind(value).fetch_optional(&self.readers).await.stored()?;
            row.as_ref().map(person).transpose()
        })
        .await
    }

    pub(crate) async fn people(&self, after: Option<&Login>, limit: u32) -> Result<Vec<Person>, StoreError> {
        read(async {
            // No login is the empty text, so all come after it.
            let columns = columns(self.backend);
            let sql = sqlx::AssertSqlSafe(format!(
                "SELECT p.id, {columns} FROM people p WHERE p.login > $1 ORDER BY p.login LIMIT $2"
            ));
            let rows = sqlx::query(sql)
                .bind(after.map(Login::as_str).unwrap_or_default())
                .bind(i64::from(limit.min(ROWS_MAX)))
                .fetch_all(&self.readers)
                .await
                .stored()?;
            rows.iter().map(person).collect()
        })
        .await
    }
}

fn person(row: &AnyRow) -> Result<Person, StoreError> {
    person_of(&Fields::of("people", row), "id")
}

/// The person in a row that has the columns of `people`, its id under another name.
pub(crate) fn person_of(fields: &Fields<'_>, id: &'static str) -> Result<Person, StoreError> {
    let mut groups: Vec<String> = fields.json("group_names")?;
    groups.extend(fields.json::<Vec<String>>("provisioned_names")?);
    groups.sort();
    groups.dedup();
    Ok(Person {
        id: fields.id(id)?,
        login: Login::parse(&fields.text("login")?).map_err(|_| fields.corrupt("login is no login name"))?,
        name: fields.text("name")?,
        email: fields.text("email")?,
        groups,
        active: fields.flag("active")?,
    })
}

fn names(groups: &[String]) -> Result<String, StoreError> {
    serde_json::to_string(groups).map_err(unavailable)
}
