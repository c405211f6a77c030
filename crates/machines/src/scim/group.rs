//! Groups as SCIM writes them (RFC 7643, section 4.2), and how their members change.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use stepgate_core::flows::WantedGroup;
use stepgate_core::id::PersonId;
use stepgate_core::person::parse_group;
use stepgate_core::ports::{Account, Group, MembersChange};

use super::error::ScimError;
use super::patch::{Op, Operation, Target};
use super::schema::{GROUP, Mutability};
use super::user::{external_id, get, meta, text};

/// The most members that one request may name.
const MEMBERS_NAMED_MAX: usize = 20_000;

/// A group, as it is told; `members` only where they are asked for.
pub(crate) fn told(group: &Group, members: Option<&[Account]>, base: &str) -> Value {
    let mut told = json!({
        "schemas": [GROUP.schema],
        "id": group.id.to_string(),
        "displayName": group.name,
        "meta": meta("Group", &format!("{base}/Groups/{}", group.id), group.version, group.added_at, group.changed_at),
    });
    if let Some(told) = told.as_object_mut() {
        if let Some(external_id) = &group.external_id {
            told.insert("externalId".to_owned(), external_id.clone().into());
        }
        if let Some(members) = members.filter(|members| !members.is_empty()) {
            let one = |account: &Account| {
                let id = account.person.id;
                json!({ "value": id.to_string(), "display": account.person.name, "$ref": format!("{base}/Users/{id}") })
            };
            told.insert("members".to_owned(), members.iter().map(one).collect());
        }
    }
    told
}

/// Reads a group as another system wants it, and its members if it says who they are: an empty list or
/// null says that nobody is, and what is left out says nothing (RFC 7644, section 3.5.1: "not asserted").
pub(crate) fn wanted(body: &Map<String, Value>) -> Result<(WantedGroup, Option<Vec<PersonId>>), ScimError> {
    let wanted = WantedGroup { name: group_name(body)?, external_id: external_id(body)? };
    let members = match get(body, "members") {
        None => None,
        Some(Value::Null) => Some(Vec::new()),
        Some(value) => Some(members(value)?),
    };
    Ok((wanted, members))
}

fn group_name(body: &Map<String, Value>) -> Result<String, ScimError> {
    let name = text(body, "displayName")?;
    let name = name.ok_or_else(|| ScimError::InvalidValue("displayName is missing".to_owned()))?;
    let name = parse_group(&name).map_err(|error| ScimError::InvalidValue(format!("displayName: {error}")))?;
    Ok(name.to_owned())
}

/// Members as a list of objects with `value`, or one of them, or their ids alone.
fn members(value: &Value) -> Result<Vec<PersonId>, ScimError> {
    let all = match value {
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    if all.len() > MEMBERS_NAMED_MAX {
        return Err(ScimError::TooMany(format!("one request names at most {MEMBERS_NAMED_MAX} members")));
    }
    all.iter().map(member).collect()
}

fn member(value: &Value) -> Result<PersonId, ScimError> {
    let id = match value {
        Value::String(id) => Some(id.as_str()),
        Value::Object(parts) => get(parts, "value").and_then(Value::as_str),
        _ => None,
    };
    let id =
        id.ok_or_else(|| ScimError::InvalidValue("a member is an object with the `value` of a User".to_owned()))?;
    id.parse().map_err(|_| ScimError::InvalidValue(format!("{id:.80} is no User's id")))
}

/// What a PATCH makes of a group.
pub(crate) fn patched(group: &Group, operations: Vec<Operation>) -> Result<(WantedGroup, MembersChange), ScimError> {
    let mut wanted = WantedGroup { name: group.name.clone(), external_id: group.external_id.clone() };
    let mut change = Change::default();
    for Operation { op, path, value } in operations {
        match path {
            Some(target) => one(&mut wanted, &mut change, op, &target, &value)?,
            None => {
                let Value::Object(all) = value else { continue };
                for (key, value) in all {
                    if ["schemas", "id", "meta"].iter().any(|own| own.eq_ignore_ascii_case(&key)) {
                        continue;
                    }
                    let target = super::patch::target(&key, &GROUP)?;
                    one(&mut wanted, &mut change, op, &target, &value)?;
                }
            }
        }
    }
    Ok((wanted, change.into()))
}

fn one(wanted: &mut WantedGroup, change: &mut Change, op: Op, target: &Target, value: &Value) -> Result<(), ScimError> {
    let Target::At { attribute, which, part, text } = target else { return Ok(()) };
    if attribute.mutability == Mutability::ReadOnly {
        return Err(ScimError::Mutability(text.clone()));
    }
    let body = Map::from_iter([(attribute.name.to_owned(), value.clone())]);
    match attribute.name {
        "displayName" if op == Op::Remove => Err(ScimError::Mutability("displayName is required, so it".to_owned())),
        "displayName" => {
            wanted.name = group_name(&body)?;
            Ok(())
        }
        "externalId" => {
            wanted.external_id = if op == Op::Remove { None } else { external_id(&body)? };
            Ok(())
        }
        "members" => match (op, which, part) {
            (Op::Remove, Some(which), None) => {
                // Whoever the filter names by id; what else there is of a member, nobody removes by.
                let id = which.demands("value", None).filter(|_| which.is_one_comparison());
                let id = id.ok_or_else(|| {
                    ScimError::InvalidPath("members are removed by members[value eq \"…\"]".to_owned())
                })?;
                change.remove(id.parse().ok());
                Ok(())
            }
            // Entra names who goes in the value; RFC 7644 removes all without it.
            (Op::Remove, None, None) if value.is_null() => {
                change.are(Vec::new());
                Ok(())
            }
            (Op::Remove, None, None) => {
                members(value)?.into_iter().for_each(|id| change.remove(Some(id)));
                Ok(())
            }
            (Op::Add, None, None) => {
                change.add(members(value)?);
                Ok(())
            }
            (Op::Replace, None, None) => {
                change.are(if value.is_null() { Vec::new() } else { members(value)? });
                Ok(())
            }
            _ => Err(ScimError::InvalidPath(format!("{text}: members come and go as a whole"))),
        },
        _ => Err(ScimError::InvalidPath(text.clone())),
    }
}

/// What operations on members come to, one after the other.
#[derive(Default)]
struct Change {
    /// If they were all replaced on the way: by these.
    are: Option<BTreeSet<PersonId>>,
    add: BTreeSet<PersonId>,
    remove: BTreeSet<PersonId>,
}

impl Change {
    fn are(&mut self, members: Vec<PersonId>) {
        self.are = Some(members.into_iter().collect());
    }

    fn add(&mut self, members: Vec<PersonId>) {
        for id in members {
            match &mut self.are {
                Some(are) => {
                    are.insert(id);
                }
                None => {
                    self.remove.remove(&id);
                    self.add.insert(id);
                }
            }
        }
    }

    /// `None`: an id that is none is nobody's.
    fn remove(&mut self, id: Option<PersonId>) {
        let Some(id) = id else { return };
        match &mut self.are {
            Some(are) => {
                are.remove(&id);
            }
            None => {
                self.add.remove(&id);
                self.remove.insert(id);
            }
        }
    }
}

impl From<Change> for MembersChange {
    fn from(change: Change) -> Self {
        match change.are {
            Some(are) => Self::Are(are.into_iter().collect()),
            None => Self::Differ { add: change.add.into_iter().collect(), remove: change.remove.into_iter().collect() },
        }
    }
}
