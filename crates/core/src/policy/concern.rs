//! Which policies an endpoint's sensitivity and kind leave in question, whoever asks and whenever.
//!
//! For people who read a set: the scope says what a policy may be about, and `resource.kind == "payment"` in its
//! condition says more. No decision rests on this.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Policies;
use crate::catalogue::Endpoint;

/// What is known of a part of a condition before anybody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Bool(bool),
    Word(String),
    Words(BTreeSet<String>),
    Nothing,
}

impl Policies {
    /// The ids of the policies that can hold at an endpoint, sorted: what their scope and their comparisons with
    /// `resource.sensitivity` and `resource.kind` leave in question.
    pub fn may_hold_at(&self, endpoint: &Endpoint) -> Vec<&str> {
        let conditions = self.slices.at(endpoint).into_iter().flat_map(|slice| slice.conditions());
        let may_hold = conditions.filter(|(_, condition)| known(condition, endpoint) != Known::Bool(false));
        let mut ids: Vec<&str> = may_hold.map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }
}

/// Three-valued: what is not known stays so.
fn known(expression: &Value, at: &Endpoint) -> Known {
    let Some((operator, of)) = expression.as_object().and_then(|fields| fields.iter().next()) else {
        return Known::Nothing;
    };
    let side = |name: &str| of.get(name).map_or(Known::Nothing, |side| known(side, at));
    let both = || (side("left"), side("right"));
    match operator.as_str() {
        "Value" => match of {
            Value::Bool(value) => Known::Bool(*value),
            Value::String(word) => Known::Word(word.clone()),
            _ => Known::Nothing,
        },
        "Set" => {
            let word = |item: &Value| match known(item, at) {
                Known::Word(word) => Some(word),
                _ => None,
            };
            let words = of.as_array().and_then(|items| items.iter().map(word).collect());
            words.map_or(Known::Nothing, Known::Words)
        }
        "." if of.pointer("/left/Var").and_then(Value::as_str) == Some("resource") => {
            match of.get("attr").and_then(Value::as_str) {
                Some("sensitivity") => Known::Word(at.sensitivity.clone()),
                Some("kind") => Known::Word(at.kind.clone()),
                _ => Known::Nothing,
            }
        }
        "&&" => match both() {
            (Known::Bool(false), _) | (_, Known::Bool(false)) => Known::Bool(false),
            (Known::Bool(true), Known::Bool(true)) => Known::Bool(true),
            _ => Known::Nothing,
        },
        "||" => match both() {
            (Known::Bool(true), _) | (_, Known::Bool(true)) => Known::Bool(true),
            (Known::Bool(false), Known::Bool(false)) => Known::Bool(false),
            _ => Known::Nothing,
        },
        "!" => match side("arg") {
            Known::Bool(value) => Known::Bool(!value),
            _ => Known::Nothing,
        },
        "==" | "!=" => match both() {
            (Known::Word(left), Known::Word(right)) => Known::Bool((left == right) == (operator == "==")),
            _ => Known::Nothing,
        },
        "contains" => match both() {
            (Known::Words(words), Known::Word(word)) => Known::Bool(words.contains(&word)),
            _ => Known::Nothing,
        },
        _ => Known::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::Policies;
    use crate::policy::fixture::{catalogue, source};
    use crate::policy::schema::endpoints;

    /// Whether a forbid with this condition may hold where sensitivity is `high` and kind `payments`.
    #[track_caller]
    fn check(condition: &str, expected: bool) {
        let text =
            format!("@id(\"p\")\n@reason(\"No.\")\nforbid (principal, action, resource)\nwhen {{ {condition} }};");
        let policies = Policies::load(&catalogue(), &[source(&text)]).unwrap();
        let catalogue = catalogue();
        let endpoint = endpoints(&catalogue).find(|one| one.kind == "payments" && one.sensitivity == "high").unwrap();
        assert_eq!(policies.may_hold_at(endpoint), if expected { vec!["p"] } else { vec![] }, "{condition}");
    }

    #[test]
    fn what_sensitivity_and_kind_rule_out_is_ruled_out_and_nothing_else() {
        for (condition, expected) in [
            ("resource.kind == \"payments\"", true),
            ("resource.kind != \"payments\"", false),
            ("resource.sensitivity == \"normal\"", false),
            ("[\"high\", \"normal\"].contains(resource.sensitivity)", true),
            ("[\"normal\"].contains(resource.sensitivity)", false),
            ("!([\"normal\"].contains(resource.sensitivity))", true),
            ("resource.sensitivity == \"normal\" || context.device.known", true),
            ("resource.sensitivity == \"normal\" && context.device.known", false),
            ("context.device.known && resource.sensitivity == \"normal\"", false),
            ("context.device.known || context.time.hour > 3", true),
            ("!(resource.kind == \"payments\" || context.device.known)", false),
        ] {
            check(condition, expected);
        }
    }

    #[test]
    fn a_scope_rules_out_as_well() {
        let text = "@id(\"p\")\n@reason(\"No.\")\nforbid (principal, action in Action::\"write\", resource);";
        let policies = Policies::load(&catalogue(), &[source(text)]).unwrap();
        for endpoint in endpoints(&catalogue()) {
            let expected = endpoint.effect == crate::catalogue::Effect::Write;
            assert_eq!(!policies.may_hold_at(endpoint).is_empty(), expected, "{}", endpoint.resource);
        }
    }
}
