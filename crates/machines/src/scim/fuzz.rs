//! What a provisioning system may write, for the fuzzer: it is read, or refused with words.

use serde_json::{Map, Value, json};
use stepgate_core::id::Id;
use stepgate_core::person::{Login, Person};
use stepgate_core::ports::{Account, Group, MembersChange, Provisioned};
use stepgate_core::time::Timestamp;

use super::filter::{self, FILTER_LEN_MAX};
use super::schema::{GROUP, USER};
use super::{group, patch, user};

/// The first byte says what the rest is: `u` and `g` the operations of a PATCH of a user or group, else a filter.
pub fn fuzz(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match kind {
        b'u' => patched_user(text),
        b'g' => patched_group(text),
        _ => filtered(text),
    }
}

fn filtered(text: &str) {
    let told = told_user();
    let Ok(read) = filter::parse(text, &USER) else { return };
    assert!(text.len() <= FILTER_LEN_MAX);
    let holds = read.holds(&Value::Object(told.clone()));
    // The opposite is read as the opposite, if it is not too much to read.
    if let Ok(opposite) = filter::parse(&format!("not ({text})"), &USER) {
        assert_ne!(opposite.holds(&Value::Object(told)), holds, "{text}");
    }
}

fn operations(text: &str) -> Option<Map<String, Value>> {
    let operations: Value = serde_json::from_str(text).ok()?;
    let schemas = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"];
    match json!({ "schemas": schemas, "Operations": operations }) {
        Value::Object(body) => Some(body),
        _ => None,
    }
}

/// What is the gate's to say stays as it was, and what comes out is read as anything else that is sent.
fn patched_user(text: &str) {
    let Some(body) = operations(text) else { return };
    let Ok(operations) = patch::operations(&body, &USER) else { return };
    let before = told_user();
    let mut after = before.clone();
    if patch::apply(&USER, &mut after, operations).is_ok() {
        for own in ["id", "meta", "schemas", "groups"] {
            assert_eq!(before.get(own), after.get(own), "{text}");
        }
        let _ = user::wanted(&after, true);
    }
}

/// Nobody comes and goes at once.
fn patched_group(text: &str) {
    let Some(body) = operations(text) else { return };
    let Ok(operations) = patch::operations(&body, &GROUP) else { return };
    let at = Timestamp::from_ms(0);
    let group = Group {
        id: Id::from_bytes([2; 16]),
        name: "approvers".to_owned(),
        external_id: None,
        version: 1,
        added_at: at,
        changed_at: at,
    };
    if let Ok((wanted, MembersChange::Differ { add, remove })) = group::patched(&group, operations) {
        assert!(!wanted.name.is_empty());
        assert!(!add.iter().any(|one| remove.contains(one)), "{text}");
    }
}

fn told_user() -> Map<String, Value> {
    let at = Timestamp::from_ms(0);
    let Ok(login) = Login::parse("ada@example.com") else { return Map::new() };
    let person = Person {
        id: Id::from_bytes([1; 16]),
        login,
        name: "Ada".to_owned(),
        email: "ada@example.com".to_owned(),
        groups: Vec::new(),
        active: true,
    };
    let provisioned = Provisioned { external_id: Some("E-1".to_owned()), active: true, ..Provisioned::default() };
    let account = Account { person, provisioned, link: None, blocked: false, version: 1, added_at: at, changed_at: at };
    match user::told(&account, &[], "https://machines.test/scim/v2") {
        Value::Object(told) => told,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fuzz;

    proptest! {
        #[test]
        fn whatever_is_written_is_read_or_refused(kind in "[fug]", text in r#"[a-z"\[\]{}(): ,.@0-9]{0,80}"#) {
            fuzz(format!("{kind}{text}").as_bytes());
        }
    }

    #[test]
    fn the_seeds_are_read() {
        for seed in [
            &include_bytes!("../../../../fuzz/seeds/scim_requests/filter")[..],
            include_bytes!("../../../../fuzz/seeds/scim_requests/user"),
            include_bytes!("../../../../fuzz/seeds/scim_requests/group"),
        ] {
            fuzz(seed);
        }
    }
}
