//! People.

use async_trait::async_trait;
use sqlx::any::AnyRow;
use stepgate_core::id::PersonId;
use stepgate_core::person::{Login, Person};
use stepgate_core::ports::{ChangeError, StoreError};
use stepgate_core::time::Timestamp;

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
        sqlx::query(
            "INSERT INTO people (id, login, name, email, group_names, added_at) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(self.person.id.to_string())
        .bind(self.person.login.as_str())
        .bind(&self.person.name)
        .bind(&self.person.email)
        .bind(names(&self.person)?)
        .bind(self.at.as_ms())
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map(|_| ())
    }
}

pub(crate) struct ChangePerson {
    pub(crate) person: Person,
}

#[async_trait]
impl Intent for ChangePerson {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query("UPDATE people SET name = $1, email = $2, group_names = $3 WHERE id = $4")
            .bind(&self.person.name)
            .bind(&self.person.email)
            .bind(names(&self.person)?)
            .bind(self.person.id.to_string())
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
}

#[async_trait]
impl Intent for RemovePerson {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let id = self.person.to_string();
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
        work.changed(Subject::Person(self.person));
        Ok(())
    }
}

const COLUMNS: &str = "SELECT id, login, name, email, group_names FROM people";

impl Inner {
    pub(crate) async fn person(&self, id: PersonId) -> Result<Option<Person>, StoreError> {
        self.one_person("id", &id.to_string()).await
    }

    pub(crate) async fn person_by_login(&self, login: &Login) -> Result<Option<Person>, StoreError> {
        self.one_person("login", login.as_str()).await
    }

    async fn one_person(&self, column: &'static str, value: &str) -> Result<Option<Person>, StoreError> {
        read(async {
            let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE {column} = $1"));
            let row = sqlx::query(sql).bind(value).fetch_optional(&self.readers).await.stored()?;
            row.as_ref().map(person).transpose()
        })
        .await
    }

    pub(crate) async fn people(&self, after: Option<&Login>, limit: u32) -> Result<Vec<Person>, StoreError> {
        read(async {
            // No login is the empty text, so all come after it.
            let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE login > $1 ORDER BY login LIMIT $2"));
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
    Ok(Person {
        id: fields.id(id)?,
        login: Login::parse(&fields.text("login")?).map_err(|_| fields.corrupt("login is no login name"))?,
        name: fields.text("name")?,
        email: fields.text("email")?,
        groups: fields.json("group_names")?,
    })
}

fn names(person: &Person) -> Result<String, StoreError> {
    serde_json::to_string(&person.groups).map_err(unavailable)
}
