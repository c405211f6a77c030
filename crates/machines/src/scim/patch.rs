//! Changes by PATCH (RFC 7644, section 3.5.2), in the dialects of Entra ID and Okta too:
//! `op` in any case, an object of paths without a `path`, texts for truth values.

use serde_json::{Map, Value, json};

use super::error::ScimError;
use super::filter::{self, Filter, Operator};
use super::schema::{Attribute, Kind, Mutability, Resource};
use super::user::get;

/// The most operations in one request.
const OPERATIONS_MAX: usize = 100;
const SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Replace,
    Remove,
}

/// One operation, with its path read.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) op: Op,
    pub(crate) path: Option<Target>,
    pub(crate) value: Value,
}

/// Where an operation acts.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Something that is passed over here.
    PassedOver,
    At {
        attribute: &'static Attribute,
        /// Which of several values.
        which: Option<Filter>,
        part: Option<&'static Attribute>,
        /// As it was written, for messages.
        text: String,
    },
}

/// Reads the operations of a request.
pub(crate) fn operations(body: &Map<String, Value>, resource: &Resource) -> Result<Vec<Operation>, ScimError> {
    let schemas = get(body, "schemas").and_then(Value::as_array);
    if !schemas.is_some_and(|schemas| schemas.iter().any(|schema| schema == SCHEMA)) {
        return Err(ScimError::InvalidSyntax(format!("`schemas` has {SCHEMA}")));
    }
    let Some(Value::Array(all)) = get(body, "Operations") else {
        return Err(ScimError::InvalidSyntax("`Operations` is a list".to_owned()));
    };
    if all.is_empty() || all.len() > OPERATIONS_MAX {
        return Err(ScimError::InvalidSyntax(format!("there are 1 to {OPERATIONS_MAX} operations")));
    }
    all.iter().map(|one| operation(one, resource)).collect()
}

fn operation(one: &Value, resource: &Resource) -> Result<Operation, ScimError> {
    let Value::Object(one) = one else {
        return Err(ScimError::InvalidSyntax("each operation is an object".to_owned()));
    };
    let op = match get(one, "op").and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
        Some("add") => Op::Add,
        Some("replace") => Op::Replace,
        Some("remove") => Op::Remove,
        _ => return Err(ScimError::InvalidSyntax("`op` is add, replace or remove".to_owned())),
    };
    let path = match get(one, "path") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(target(text, resource)?),
        Some(_) => return Err(ScimError::InvalidPath("`path` is a text".to_owned())),
    };
    let value = get(one, "value").cloned().unwrap_or(Value::Null);
    match (op, &path) {
        (Op::Remove, None) => Err(ScimError::NoTarget("(none)".to_owned())),
        (Op::Add | Op::Replace, None) if !value.is_object() => {
            Err(ScimError::InvalidValue("without a path, `value` is an object".to_owned()))
        }
        (Op::Add, Some(_)) if value.is_null() => Err(ScimError::InvalidValue("`value` is missing".to_owned())),
        _ => Ok(Operation { op, path, value }),
    }
}

/// Reads a path: `attribute`, `attribute.part`, `attribute[filter]`, `attribute[filter].part`.
pub(crate) fn target(text: &str, resource: &Resource) -> Result<Target, ScimError> {
    let bad = |why: String| ScimError::InvalidPath(format!("{text:.80}: {why}"));
    if text.len() > filter::FILTER_LEN_MAX {
        return Err(ScimError::InvalidPath("it is too long".to_owned()));
    }
    if resource.is_passed_over(text) {
        return Ok(Target::PassedOver);
    }
    let unknown = || bad(format!("{} has no such attribute", resource.name));
    let Some((name, rest)) = text.split_once('[') else {
        let (path, _) = resource.path(text).ok_or_else(unknown)?;
        let attribute = resource.attribute(path.attribute).ok_or_else(unknown)?;
        let part = path.part.and_then(|part| attribute.part(part));
        return Ok(Target::At { attribute, which: None, part, text: text.to_owned() });
    };
    let (path, _) = resource.path(name).ok_or_else(unknown)?;
    let attribute = resource.attribute(path.attribute).ok_or_else(unknown)?;
    if path.part.is_some() || !attribute.several {
        return Err(bad("it has not several values".to_owned()));
    }
    let (inside, after) = rest.rsplit_once(']').ok_or_else(|| bad("`]` is missing".to_owned()))?;
    let which = filter::parse_within(inside, attribute).map_err(bad)?;
    let part = match after.strip_prefix('.') {
        Some(part) => Some(attribute.part(part).ok_or_else(unknown)?),
        None if after.is_empty() => None,
        None => return Err(bad("`.` and a part are expected after `]`".to_owned())),
    };
    Ok(Target::At { attribute, which: Some(which), part, text: text.to_owned() })
}

/// Applies operations to a resource as it is told.
pub(crate) fn apply(
    resource: &Resource,
    told: &mut Map<String, Value>,
    operations: Vec<Operation>,
) -> Result<(), ScimError> {
    for Operation { op, path, value } in operations {
        match path {
            Some(Target::PassedOver) => {}
            Some(Target::At { attribute, which, part, text }) => {
                at(told, op, (attribute, which.as_ref(), part, &text), value)?;
            }
            None => {
                let Value::Object(all) = value else { continue };
                for (key, value) in all {
                    // Okta sends the whole resource, Entra paths as keys.
                    if ["schemas", "id", "meta"].iter().any(|own| own.eq_ignore_ascii_case(&key)) {
                        continue;
                    }
                    match target(&key, resource)? {
                        Target::PassedOver => {}
                        // A whole resource is sent back with what only the gate says of it.
                        Target::At { attribute, part: None, .. } if attribute.mutability == Mutability::ReadOnly => {}
                        Target::At { attribute, which, part, text } => {
                            at(told, op, (attribute, which.as_ref(), part, &text), value)?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

type Where<'w> = (&'static Attribute, Option<&'w Filter>, Option<&'static Attribute>, &'w str);

fn at(told: &mut Map<String, Value>, op: Op, place: Where<'_>, value: Value) -> Result<(), ScimError> {
    let (attribute, which, part, text) = place;
    let read_only = |attribute: &Attribute| attribute.mutability == Mutability::ReadOnly;
    if read_only(attribute) || part.is_some_and(read_only) {
        // RFC 7644, section 3.5.2: what is read-only is not changed.
        return match attribute.name {
            "groups" => Err(ScimError::Mutability("groups: members of a Group are changed instead".to_owned())),
            _ => Err(ScimError::Mutability(text.to_owned())),
        };
    }
    if attribute.required && op == Op::Remove {
        return Err(ScimError::Mutability(format!("{text} is required, so it")));
    }
    match (which, part) {
        (None, None) => whole(told, op, attribute, value),
        (None, Some(part)) if attribute.several => {
            let mut all = take(told, attribute.name);
            if all.is_empty() && op != Op::Remove {
                all.push(json!({}));
            }
            for one in all.iter_mut().filter_map(Value::as_object_mut) {
                set(one, op, part, value.clone());
            }
            told.insert(attribute.name.to_owned(), all.into());
            Ok(())
        }
        (None, Some(part)) => {
            let parts = told.entry(attribute.name).or_insert_with(|| json!({}));
            if let Some(parts) = parts.as_object_mut() {
                set(parts, op, part, value);
            }
            Ok(())
        }
        (Some(which), part) => {
            let mut all = take(told, attribute.name);
            let done = chosen(&mut all, op, (attribute, which, part, text), value);
            told.insert(attribute.name.to_owned(), all.into());
            done
        }
    }
}

/// Acts on the values that a filter chooses.
fn chosen(
    all: &mut Vec<Value>,
    op: Op,
    (attribute, which, part, text): (&'static Attribute, &Filter, Option<&'static Attribute>, &str),
    value: Value,
) -> Result<(), ScimError> {
    if !all.iter().any(|one| which.holds(one)) {
        match (op, made(which)) {
            // Entra replaces `emails[type eq "work"].value` of who has none, and means that one comes.
            (Op::Add | Op::Replace, Some(new)) => all.push(new),
            _ => return Err(ScimError::NoTarget(text.to_owned())),
        }
    }
    if op == Op::Remove && part.is_none() {
        all.retain(|one| !which.holds(one));
        return Ok(());
    }
    for one in all.iter_mut().filter(|one| which.holds(one)).filter_map(Value::as_object_mut) {
        match (part, &value) {
            (Some(part), _) => set(one, op, part, value.clone()),
            (None, Value::Object(new)) => {
                for (key, value) in new {
                    if let Some(part) = attribute.part(key) {
                        set(one, op, part, value.clone());
                    }
                }
            }
            (None, _) => return Err(ScimError::InvalidValue(format!("{text} is an object"))),
        }
    }
    Ok(())
}

/// The value that a filter of comparisons with `eq` describes.
fn made(which: &Filter) -> Option<Value> {
    match which {
        Filter::Compare(path, Operator::Eq, value) => Some(json!({ path.attribute: value })),
        Filter::And(one, other) => {
            let (mut one, other) = (made(one)?, made(other)?);
            one.as_object_mut()?.extend(other.as_object()?.clone());
            Some(one)
        }
        _ => None,
    }
}

fn whole(told: &mut Map<String, Value>, op: Op, attribute: &Attribute, value: Value) -> Result<(), ScimError> {
    let name = attribute.name.to_owned();
    match (op, attribute.kind) {
        (Op::Remove, _) => {
            told.remove(&name);
        }
        (Op::Replace, _) if value.is_null() => {
            told.remove(&name);
        }
        (Op::Add, Kind::Complex) if attribute.several => {
            let mut all = take(told, attribute.name);
            let new = match value {
                Value::Array(new) => new,
                one => vec![one],
            };
            for one in new {
                // A new primary one is the only one (RFC 7644, section 3.5.2).
                if one.get("primary").and_then(super::user::as_bool) == Some(true) {
                    for old in all.iter_mut().filter_map(Value::as_object_mut) {
                        old.insert("primary".to_owned(), false.into());
                    }
                }
                if !all.contains(&one) {
                    all.push(one);
                }
            }
            told.insert(name, all.into());
        }
        (_, Kind::Complex) if !attribute.several => {
            let Value::Object(new) = value else {
                return Err(ScimError::InvalidValue(format!("{name} is an object")));
            };
            let parts = told.entry(name).or_insert_with(|| json!({}));
            if let Some(parts) = parts.as_object_mut() {
                for (key, value) in new {
                    match (attribute.parts.iter().find(|part| part.name.eq_ignore_ascii_case(&key)), op) {
                        (Some(part), _) if part.mutability == Mutability::ReadWrite => {
                            parts.insert(part.name.to_owned(), value);
                        }
                        // Who has no other name is called by it.
                        (None, _) if key.eq_ignore_ascii_case("formatted") => {
                            parts.insert(key, value);
                        }
                        _ => {}
                    }
                }
            }
        }
        _ => {
            told.insert(name, value);
        }
    }
    Ok(())
}

fn set(parts: &mut Map<String, Value>, op: Op, part: &Attribute, value: Value) {
    if op == Op::Remove || value.is_null() {
        parts.remove(part.name);
    } else {
        parts.insert(part.name.to_owned(), value);
    }
}

/// The values of an attribute with several, taken out.
fn take(told: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match told.remove(name) {
        Some(Value::Array(all)) => all,
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one],
    }
}
