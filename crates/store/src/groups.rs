//! Groups that a provisioning system keeps, and who is in them.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use stepgate_core::id::{GroupId, PersonId};
use stepgate_core::ports::{
    ChangeError, GROUPS_PER_PERSON_MAX, Group, GroupChange, MembersChange, PROVISIONED_GROUPS_MAX, Part, Sought,
    StoreError,
};

use crate::accounts::taken;
use crate::backend::Backend;
use crate::changes::Subject;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::{CHANGES_NAMED_MAX, ROWS_MAX};
use crate::row::Fields;

pub(crate) struct AddGroup {
    pub(crate) group: Group,
    pub(crate) members: Vec<PersonId>,
}

#[async_trait]
impl Intent for AddGroup {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let row = sqlx::query("SELECT '' AS id, COUNT(*) AS found FROM provisioned_groups")
            .fetch_one(&mut *work.connection)
            .await
            .stored()?;
        if Fields::of("provisioned_groups", &row).count::<u32>("found")? >= PROVISIONED_GROUPS_MAX {
            return Err(ChangeError::Limit("provisioned groups"));
        }
        let group = &self.group;
        sqlx::query(
            "INSERT INTO provisioned_groups (id, name, folded, external_id, version, added_at, changed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(group.id.to_string())
        .bind(&group.name)
        .bind(folded(&group.name))
        .bind(&group.external_id)
        .bind(i64::from(group.version))
        .bind(group.added_at.as_ms())
        .bind(group.changed_at.as_ms())
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map_err(taken)?;
        come(work, group.id, &self.members).await
    }
}

pub(crate) struct ChangeGroup {
    pub(crate) change: GroupChange,
}

#[async_trait]
impl Intent for ChangeGroup {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let change = &self.change;
        let id = change.id.to_string();
        let row = work
            .inner
            .backend
            .locked("SELECT id, name, version FROM provisioned_groups WHERE id = $1")
            .bind(id.clone())
            .fetch_optional(&mut *work.connection)
            .await
            .stored()?
            .ok_or(ChangeError::Conflict)?;
        let fields = Fields::of("provisioned_groups", &row);
        if fields.count::<u32>("version")? != change.version {
            return Err(ChangeError::Conflict);
        }
        let renamed = fields.text("name")? != change.name;
        sqlx::query(
            "UPDATE provisioned_groups SET name = $1, folded = $2, external_id = $3, changed_at = $4, \
             version = version + 1 WHERE id = $5",
        )
        .bind(&change.name)
        .bind(folded(&change.name))
        .bind(&change.external_id)
        .bind(change.at.as_ms())
        .bind(&id)
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map_err(taken)?
        .exactly_one()?;
        if renamed {
            members_changed(work, &id).await?;
        }
        match &change.members {
            MembersChange::Are(members) => {
                let stay = list(members)?;
                let sql = format!(
                    "DELETE FROM memberships WHERE group_id = $1 AND person NOT IN {} RETURNING person",
                    each(work.inner.backend)
                );
                gone(work, &id, sql, stay).await?;
                come(work, change.id, members).await
            }
            MembersChange::Differ { add, remove } => {
                come(work, change.id, add).await?;
                let sql = format!(
                    "DELETE FROM memberships WHERE group_id = $1 AND person IN {} RETURNING person",
                    each(work.inner.backend)
                );
                gone(work, &id, sql, list(remove)?).await
            }
        }
    }
}

pub(crate) struct RemoveGroup {
    pub(crate) id: GroupId,
    pub(crate) version: u32,
}

#[async_trait]
impl Intent for RemoveGroup {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let id = self.id.to_string();
        members_changed(work, &id).await?;
        sqlx::query("DELETE FROM provisioned_groups WHERE id = $1 AND version = $2")
            .bind(&id)
            .bind(i64::from(self.version))
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }
}

/// Two names that differ in case alone would be one mistake in a policy.
fn folded(name: &str) -> String {
    name.to_lowercase()
}

fn list(members: &[PersonId]) -> Result<String, StoreError> {
    let mut texts: Vec<_> = members.iter().map(PersonId::to_string).collect();
    texts.sort_unstable();
    texts.dedup();
    serde_json::to_string(&texts).map_err(unavailable)
}

/// The texts of the JSON array that is the second parameter.
pub(crate) const fn each(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "(SELECT value FROM json_each($2))",
        Backend::Postgres => "(SELECT value FROM json_array_elements_text($2::json) AS listed(value))",
    }
}

/// Puts people into a group. All must be accounts.
async fn come(work: &mut Work<'_>, group: GroupId, members: &[PersonId]) -> Result<(), ChangeError> {
    if members.is_empty() {
        return Ok(());
    }
    let (id, members) = (group.to_string(), list(members)?);
    let each = each(work.inner.backend);
    let strangers = AssertSqlSafe(format!(
        "SELECT '' AS id, COUNT(*) AS found FROM {each} AS meant(value) WHERE $1 = $1 AND meant.value NOT IN \
         (SELECT p.id FROM people p WHERE p.provisioned = 1)"
    ));
    let strangers = match work.inner.backend {
        // There a subquery in FROM names its columns itself.
        Backend::Sqlite => AssertSqlSafe(
            "SELECT '' AS id, COUNT(*) AS found FROM json_each($2) meant WHERE $1 = $1 AND meant.value NOT IN \
             (SELECT p.id FROM people p WHERE p.provisioned = 1)"
                .to_owned(),
        ),
        Backend::Postgres => strangers,
    };
    let row = sqlx::query(strangers).bind(&id).bind(&members).fetch_one(&mut *work.connection).await.stored()?;
    if Fields::of("memberships", &row).int("found")? > 0 {
        return Err(ChangeError::Conflict);
    }
    let sql = AssertSqlSafe(format!(
        "INSERT INTO memberships (group_id, person) SELECT $1, p.id FROM people p WHERE p.id IN {each} \
         AND p.id NOT IN (SELECT m.person FROM memberships m WHERE m.group_id = $1) RETURNING person"
    ));
    let rows = sqlx::query(sql).bind(&id).bind(&members).fetch_all(&mut *work.connection).await.or_conflict()?;
    name_changes(work, &rows)?;
    // Only of those who came: whoever was there before has no more groups than then.
    let full = AssertSqlSafe(format!(
        "SELECT m.person AS person FROM memberships m WHERE m.person IN {each} \
         GROUP BY m.person HAVING COUNT(*) > $1 LIMIT 1"
    ));
    let full = sqlx::query(full)
        .bind(i64::from(GROUPS_PER_PERSON_MAX))
        .bind(&members)
        .fetch_optional(&mut *work.connection)
        .await
        .stored()?;
    if full.is_some() { Err(ChangeError::Limit("provisioned groups per person")) } else { Ok(()) }
}

async fn gone(work: &mut Work<'_>, group: &str, sql: String, members: String) -> Result<(), ChangeError> {
    let rows =
        sqlx::query(AssertSqlSafe(sql)).bind(group).bind(members).fetch_all(&mut *work.connection).await.stored()?;
    name_changes(work, &rows)
}

/// Everybody in the group is another than before.
async fn members_changed(work: &mut Work<'_>, group: &str) -> Result<(), ChangeError> {
    let rows = sqlx::query("SELECT person FROM memberships WHERE group_id = $1")
        .bind(group)
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    name_changes(work, &rows)
}

fn name_changes(work: &mut Work<'_>, rows: &[AnyRow]) -> Result<(), ChangeError> {
    if rows.len() > CHANGES_NAMED_MAX {
        work.changed(Subject::Anything);
        return Ok(());
    }
    for row in rows {
        let person = Fields::of("memberships", row).id("person")?;
        work.changed(Subject::Person(person));
    }
    Ok(())
}

/// The condition on `provisioned_groups g` with one parameter, and its value.
fn condition(which: &Sought) -> (&'static str, String) {
    match which {
        Sought::All => ("g.id <> $1", String::new()),
        Sought::Named(name) => ("g.folded = $1", folded(name)),
        Sought::ExternalId(id) => ("g.external_id = $1", id.clone()),
        Sought::MemberOf(group) => ("g.id = $1", group.to_string()),
        Sought::With(person) => ("g.id IN (SELECT group_id FROM memberships WHERE person = $1)", person.to_string()),
    }
}

impl Inner {
    pub(crate) async fn group(&self, id: GroupId) -> Result<Option<Group>, StoreError> {
        Ok(self.groups(&Sought::MemberOf(id), Part { skip: 0, limit: 1 }).await?.pop())
    }

    pub(crate) async fn groups(&self, which: &Sought, part: Part) -> Result<Vec<Group>, StoreError> {
        let (condition, value) = condition(which);
        read(async {
            let sql = AssertSqlSafe(format!(
                "SELECT g.id, g.name, g.external_id, g.version, g.added_at, g.changed_at FROM provisioned_groups g \
                 WHERE {condition} ORDER BY g.name LIMIT $2 OFFSET $3"
            ));
            let rows = sqlx::query(sql)
                .bind(value)
                .bind(i64::from(part.limit.min(ROWS_MAX)))
                .bind(i64::try_from(part.skip).unwrap_or(i64::MAX))
                .fetch_all(&self.readers)
                .await
                .stored()?;
            rows.iter().map(group).collect()
        })
        .await
    }

    pub(crate) async fn count_groups(&self, which: &Sought) -> Result<u64, StoreError> {
        let (condition, value) = condition(which);
        read(async {
            let sql = AssertSqlSafe(format!(
                "SELECT '' AS id, COUNT(*) AS found FROM provisioned_groups g WHERE {condition}"
            ));
            let row = sqlx::query(sql).bind(value).fetch_one(&self.readers).await.stored()?;
            Fields::of("provisioned_groups", &row).count("found")
        })
        .await
    }
}

fn group(row: &AnyRow) -> Result<Group, StoreError> {
    let fields = Fields::of("provisioned_groups", row);
    Ok(Group {
        id: fields.id("id")?,
        name: fields.text("name")?,
        external_id: fields.maybe_text("external_id")?,
        version: fields.count("version")?,
        added_at: fields.time("added_at")?,
        changed_at: fields.time("changed_at")?,
    })
}
