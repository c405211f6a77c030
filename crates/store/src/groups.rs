//! Groups that a provisioning system keeps, and who is in them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use stepgate_core::id::{GroupId, PersonId};
use stepgate_core::person::folded;
use stepgate_core::ports::{
    ChangeError, GROUPS_PER_PERSON_MAX, Group, GroupChange, MembersChange, PROVISIONED_GROUPS_MAX, Part, Sought,
    StoreError,
};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Event;

use crate::accounts::{record, taken};
use crate::backend::Backend;
use crate::changes::Subject;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::{CHANGES_NAMED_MAX, PEOPLE_IN_ENTRY_MAX, ROWS_MAX};
use crate::row::Fields;

pub(crate) struct AddGroup {
    pub(crate) group: Group,
    pub(crate) members: Vec<PersonId>,
    pub(crate) by: String,
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
        let telling = Telling { group: group.id, by: &self.by, at: group.added_at };
        come(work, &telling, &self.members).await
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
        let telling = Telling { group: change.id, by: &change.by, at: change.at };
        let each = each(work.inner.backend);
        let (going, listed, coming) = match &change.members {
            MembersChange::Are(members) => (format!("NOT IN {each}"), list(members)?, members.clone()),
            MembersChange::Differ { add, remove } => {
                let going: BTreeSet<_> = remove.iter().collect();
                let coming = add.iter().filter(|id| !going.contains(id)).copied().collect();
                (format!("IN {each}"), list(remove)?, coming)
            }
        };
        gone(work, &telling, &going, listed).await?;
        if renamed {
            members_changed(work, &telling, "renamed").await?;
        }
        come(work, &telling, &coming).await
    }
}

pub(crate) struct RemoveGroup {
    pub(crate) id: GroupId,
    pub(crate) version: u32,
    pub(crate) by: String,
    pub(crate) at: Timestamp,
}

#[async_trait]
impl Intent for RemoveGroup {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let id = self.id.to_string();
        let telling = Telling { group: self.id, by: &self.by, at: self.at };
        members_changed(work, &telling, "went").await?;
        sqlx::query("DELETE FROM provisioned_groups WHERE id = $1 AND version = $2")
            .bind(&id)
            .bind(i64::from(self.version))
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }
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
async fn come(work: &mut Work<'_>, telling: &Telling<'_>, members: &[PersonId]) -> Result<(), ChangeError> {
    if members.is_empty() {
        return Ok(());
    }
    let (id, members) = (telling.group.to_string(), list(members)?);
    let each = each(work.inner.backend);
    let strangers = AssertSqlSafe(format!(
        "SELECT '' AS id, COUNT(*) AS found FROM {each} AS meant WHERE $1 = $1 AND meant.value NOT IN \
         (SELECT p.id FROM people p WHERE p.provisioned = 1)"
    ));
    let row = sqlx::query(strangers).bind(&id).bind(&members).fetch_one(&mut *work.connection).await.stored()?;
    if Fields::of("memberships", &row).int("found")? > 0 {
        return Err(ChangeError::Conflict);
    }
    let sql = AssertSqlSafe(format!(
        "INSERT INTO memberships (group_id, person) SELECT $1, p.id FROM people p WHERE p.id IN {each} \
         AND p.id NOT IN (SELECT m.person FROM memberships m WHERE m.group_id = $1) RETURNING person"
    ));
    let rows = sqlx::query(sql).bind(&id).bind(&members).fetch_all(&mut *work.connection).await.or_conflict()?;
    telling.tell(work, "came", &rows)?;
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

async fn gone(work: &mut Work<'_>, telling: &Telling<'_>, whom: &str, listed: String) -> Result<(), ChangeError> {
    let sql = format!("DELETE FROM memberships WHERE group_id = $1 AND person {whom} RETURNING person");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(telling.group.to_string())
        .bind(listed)
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    telling.tell(work, "went", &rows)
}

/// Everybody in the group is another than before.
async fn members_changed(work: &mut Work<'_>, telling: &Telling<'_>, change: &'static str) -> Result<(), ChangeError> {
    let rows = sqlx::query("SELECT person FROM memberships WHERE group_id = $1 ORDER BY person")
        .bind(telling.group.to_string())
        .fetch_all(&mut *work.connection)
        .await
        .stored()?;
    telling.tell(work, change, &rows)
}

/// How it is told whose groups changed: to caches and those who wait, and in the evidence.
struct Telling<'c> {
    group: GroupId,
    by: &'c str,
    at: Timestamp,
}

impl Telling<'_> {
    fn tell(&self, work: &mut Work<'_>, change: &'static str, rows: &[AnyRow]) -> Result<(), ChangeError> {
        let ids = rows.iter().map(|row| Fields::of("memberships", row).id("person"));
        let people: Vec<PersonId> = ids.collect::<Result<_, _>>()?;
        for some in people.chunks(PEOPLE_IN_ENTRY_MAX) {
            let event = Event::GroupMembers {
                group: self.group.to_string(),
                change: change.to_owned(),
                people: some.iter().map(PersonId::to_string).collect(),
                by: self.by.to_owned(),
            };
            record(work, self.at, event)?;
        }
        if people.len() > CHANGES_NAMED_MAX {
            work.changed(Subject::Anything);
        } else {
            people.into_iter().for_each(|person| work.changed(Subject::Person(person)));
        }
        Ok(())
    }
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

/// The text that reads a part of some groups, and what its first parameter is.
pub(crate) fn part_of(which: &Sought) -> (String, String) {
    let (condition, value) = condition(which);
    let sql = format!(
        "SELECT g.id, g.name, g.external_id, g.version, g.added_at, g.changed_at FROM provisioned_groups g \
         WHERE {condition} ORDER BY g.name LIMIT $2 OFFSET $3"
    );
    (sql, value)
}

impl Inner {
    pub(crate) async fn group(&self, id: GroupId) -> Result<Option<Group>, StoreError> {
        Ok(self.groups(&Sought::MemberOf(id), Part { skip: 0, limit: 1 }).await?.pop())
    }

    pub(crate) async fn groups(&self, which: &Sought, part: Part) -> Result<Vec<Group>, StoreError> {
        let (sql, value) = part_of(which);
        read(async {
            let rows = sqlx::query(AssertSqlSafe(sql))
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
