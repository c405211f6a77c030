//! People as SCIM writes them (RFC 7643, section 4.1).

use serde_json::{Map, Value, json};
use stepgate_core::flows::Wanted;
use stepgate_core::person::{Login, NAME_LEN_MAX, name_of, parse_email, parse_name};
use stepgate_core::ports::{Account, Group, Provisioned};
use stepgate_core::surroundings::is_unseen;
use stepgate_core::time::Timestamp;

use super::error::ScimError;
use super::schema::USER;

/// The longest `externalId`, in bytes.
const EXTERNAL_ID_MAX: usize = 255;

/// A person, as they are told.
pub(crate) fn told(account: &Account, groups: &[Group], base: &str) -> Value {
    let Account { person, provisioned, .. } = account;
    let mut user = json!({
        "schemas": [USER.schema],
        "id": person.id.to_string(),
        "userName": person.login.as_str(),
        // What the directory said itself: a block by hand is neither told to it nor lifted by it.
        "active": provisioned.active,
        "meta": meta("User", &format!("{base}/Users/{}", person.id), account.version, account.added_at, account.changed_at),
    });
    let mut name = Map::new();
    for (part, text) in [("givenName", &provisioned.given_name), ("familyName", &provisioned.family_name)] {
        if !text.is_empty() {
            name.insert(part.to_owned(), text.clone().into());
        }
    }
    if let Some(user) = user.as_object_mut() {
        if !name.is_empty() {
            user.insert("name".to_owned(), name.into());
        }
        // Who has no name is called by what they sign in with, and nobody gave them that as a name.
        if person.name != person.login.as_str() {
            user.insert("displayName".to_owned(), person.name.clone().into());
        }
        if let Some(external_id) = &provisioned.external_id {
            user.insert("externalId".to_owned(), external_id.clone().into());
        }
        if !person.email.is_empty() {
            let email = json!([{ "value": person.email, "type": "work", "primary": true }]);
            user.insert("emails".to_owned(), email);
        }
        if !groups.is_empty() {
            let one = |group: &Group| json!({ "value": group.id.to_string(), "display": group.name, "$ref": format!("{base}/Groups/{}", group.id) });
            user.insert("groups".to_owned(), groups.iter().map(one).collect());
        }
    }
    user
}

pub(crate) fn meta(kind: &str, location: &str, version: u32, added_at: Timestamp, changed_at: Timestamp) -> Value {
    json!({
        "resourceType": kind,
        "location": location,
        "created": added_at.to_string(),
        "lastModified": changed_at.to_string(),
        "version": version_of(version),
    })
}

/// As `ETag` has it.
pub(crate) fn version_of(version: u32) -> String {
    format!("W/\"{version}\"")
}

/// Reads a person as another system wants them. What is not said is empty; whether they are active is
/// what it was, so that nobody comes back because a system left it out.
pub(crate) fn wanted(body: &Map<String, Value>, active: bool) -> Result<Wanted, ScimError> {
    let login = text(body, "userName")?
        .ok_or_else(|| ScimError::InvalidValue("userName is missing: what the person signs in with".to_owned()))?;
    let login = Login::parse(&login).map_err(|error| ScimError::InvalidValue(format!("userName: {error}")))?;
    let parts = match get(body, "name") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(parts)) => parts.clone(),
        Some(_) => return Err(ScimError::InvalidValue("name is an object".to_owned())),
    };
    let given_name = name(&parts, "givenName")?.unwrap_or_default();
    let family_name = name(&parts, "familyName")?.unwrap_or_default();
    let both: String = format!("{given_name} {family_name}").trim().chars().take(NAME_LEN_MAX).collect();
    let shown = [name(body, "displayName")?, name(&parts, "formatted")?, Some(both)];
    let shown = shown.into_iter().flatten().find(|name| !name.trim().is_empty());
    let external_id = external_id(body)?;
    Ok(Wanted {
        name: shown.unwrap_or_else(|| name_of(&login)),
        email: email(body)?,
        provisioned: Provisioned {
            external_id,
            active: bool(body, "active")?.unwrap_or(active),
            given_name,
            family_name,
        },
        login,
    })
}

/// The value under this name, in any case (RFC 7643, section 2.1).
pub(crate) fn get<'b>(body: &'b Map<String, Value>, name: &str) -> Option<&'b Value> {
    body.get(name).or_else(|| body.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

pub(crate) fn text(body: &Map<String, Value>, name: &str) -> Result<Option<String>, ScimError> {
    match get(body, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ScimError::InvalidValue(format!("{name} is a text"))),
    }
}

/// A name or a part of one, by the rules for names; `None` if it is missing or empty.
fn name(body: &Map<String, Value>, key: &str) -> Result<Option<String>, ScimError> {
    match text(body, key)? {
        Some(text) if !text.trim().is_empty() => {
            let name = parse_name(&text).map_err(|error| ScimError::InvalidValue(format!("{key}: {error}")))?;
            Ok(Some(name.to_owned()))
        }
        _ => Ok(None),
    }
}

pub(crate) fn external_id(body: &Map<String, Value>) -> Result<Option<String>, ScimError> {
    let Some(id) = text(body, "externalId")?.filter(|id| !id.is_empty()) else { return Ok(None) };
    if id.len() > EXTERNAL_ID_MAX || id.chars().any(is_unseen) {
        return Err(ScimError::InvalidValue(format!("externalId has at most {EXTERNAL_ID_MAX} visible bytes")));
    }
    Ok(Some(id))
}

/// `true`, or `"True"` as Entra writes it.
fn bool(body: &Map<String, Value>, name: &str) -> Result<Option<bool>, ScimError> {
    match get(body, name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            as_bool(value).map(Some).ok_or_else(|| ScimError::InvalidValue(format!("{name} is true or false")))
        }
    }
}

pub(crate) fn as_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The primary address, or the first.
fn email(body: &Map<String, Value>) -> Result<String, ScimError> {
    let all = match get(body, "emails") {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::Array(all)) => all,
        Some(_) => return Err(ScimError::InvalidValue("emails is a list".to_owned())),
    };
    let mut chosen: Option<String> = None;
    for one in all {
        let Value::Object(one) = one else {
            return Err(ScimError::InvalidValue("each of emails is an object with a value".to_owned()));
        };
        let Some(address) = text(one, "value")?.filter(|address| !address.is_empty()) else { continue };
        parse_email(&address).map_err(|error| ScimError::InvalidValue(format!("emails.value: {error}")))?;
        let primary = get(one, "primary").and_then(as_bool).unwrap_or(false);
        if primary || chosen.is_none() {
            chosen = Some(address);
        }
        if primary {
            break;
        }
    }
    Ok(chosen.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_is_missing_is_told_as_missing() {
        let said = |body: Value| wanted(body.as_object().unwrap(), true).err().map(|error| error.to_string());
        assert!(said(json!({ "active": true })).unwrap().contains("userName is missing"));
        assert!(!said(json!({ "userName": "a b" })).unwrap().contains("missing"), "this one has another form");
        assert_eq!(said(json!({ "userName": "ada" })), None);
    }
}
