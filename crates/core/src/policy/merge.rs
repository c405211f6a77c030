//! Several forbids as one: most requests are allowed, and then no forbid has to be
//! named. Cedar looks at one condition faster than at many policies.

use cedar_policy::{Policy, PolicyId};
use serde_json::{Value, json};

/// The id of the forbid that stands for all; never named to anybody.
const MERGED_FORBID: &str = "any forbid";

/// One forbid for several conditions.
///
/// It is false only if each of them is false and none errs: `||` looks at the
/// next as long as the one before is false.
pub(super) fn forbid(conditions: &[&Value]) -> Result<Policy, String> {
    let json = json!({
        "effect": "forbid",
        "principal": { "op": "All" },
        "action": { "op": "All" },
        "resource": { "op": "All" },
        "conditions": [{ "kind": "when", "body": any_of(conditions) }],
    });
    Policy::from_json(Some(PolicyId::new(MERGED_FORBID)), json).map_err(|error| error.to_string())
}

/// `a || b || …` as a balanced tree, since Cedar's evaluation recurs.
fn any_of(conditions: &[&Value]) -> Value {
    match conditions {
        [] => json!({ "Value": false }),
        [one] => (*one).clone(),
        several => {
            let (left, right) = several.split_at(several.len() / 2);
            json!({ "||": { "left": any_of(left), "right": any_of(right) } })
        }
    }
}

/// A policy's `when` and `unless` as one condition, in Cedar's JSON form.
pub(super) fn condition(policy: &Value) -> Result<Value, String> {
    let conditions = policy.get("conditions").and_then(Value::as_array).ok_or("a policy without conditions")?;
    let mut all: Option<Value> = None;
    for part in conditions {
        let body = part.get("body").ok_or("a condition without body")?;
        let holds = match part.get("kind").and_then(Value::as_str) {
            Some("when") => body.clone(),
            Some("unless") => json!({ "!": { "arg": body } }),
            _ => return Err("a condition that is neither when nor unless".to_owned()),
        };
        all = Some(match all {
            None => holds,
            Some(before) => json!({ "&&": { "left": before, "right": holds } }),
        });
    }
    Ok(all.unwrap_or_else(|| json!({ "Value": true })))
}
