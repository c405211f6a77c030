//! Words that a policy compares with and that nothing ever is.
//!
//! Cedar knows a `String`; which strings there are, we know: `context.confirmed.contains("paskey")`
//! never holds, and the rule around it asks for nothing or lets nobody through.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::PolicySet;
use serde_json::Value;

use super::read::Places;
use super::{PolicyMistake, schema};
use crate::behaviour::Signal;
use crate::catalogue::Catalogue;
use crate::factor::{FactorKind, Strength};
use crate::similar::nearest;
use crate::surroundings::{Anonymizer, Environment, Region};

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const POSTURES: [&str; 3] = ["unknown", "compliant", "not_compliant"];
const RISK_LEVELS: [&str; 4] = ["unknown", "low", "medium", "high"];

/// Comparisons with words, in Cedar's JSON form.
const COMPARISONS: [&str; 5] = ["==", "!=", "contains", "containsAll", "containsAny"];

/// What a part of the request can be.
struct Words {
    /// What it is, for people.
    what: &'static str,
    known: BTreeSet<String>,
    others: Others,
}

/// What of a word that resembles none of the known ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// There is no other: it is a mistake.
    None,
    /// Another may come with the next change of the configuration: it is advice.
    Later,
    /// Others are not ours to know: it is let pass.
    Unknown,
}

/// Words that a part never is: mistakes, and advice for those that it may be one day.
///
/// `environment` has the configured names; `None` where they are not known.
pub(super) fn unknown(
    set: &PolicySet,
    catalogue: &Catalogue,
    environment: Option<&Environment>,
    places: &Places,
) -> (Vec<PolicyMistake>, Vec<PolicyMistake>) {
    let parts = parts(catalogue, environment);
    let (mut mistakes, mut advice) = (Vec::new(), Vec::new());
    for policy in set.policies() {
        let Ok(json) = policy.to_json() else { continue };
        let mut found = BTreeSet::new();
        comparisons(&json, &mut found);
        for (path, word) in found {
            if let Some(message) = no_region(&path, &word) {
                mistakes.push(places.of_word(policy.id(), &word, message));
                continue;
            }
            let Some(words) = parts.get(path.as_str()) else { continue };
            if words.known.contains(&word) {
                continue;
            }
            let known = || words.known.iter().map(String::as_str).filter(|known| !known.is_empty());
            let near = nearest(&word, known());
            let hint = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None if words.known.iter().all(String::is_empty) => "there are none".to_owned(),
                None => format!("there are: {}", known().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("{path} is never {word:?}: {} by that name does not exist; {hint}", words.what);
            let mistake = places.of_word(policy.id(), &word, message);
            match (near, words.others) {
                (None, Others::Unknown) => {}
                (None, Others::Later) => advice.push(mistake),
                _ => mistakes.push(mistake),
            }
        }
    }
    (mistakes, advice)
}

/// Why a country or region is never that word: it has not even the form of one.
fn no_region(path: &str, word: &str) -> Option<String> {
    let (what, has_part) = match path {
        "context.network.country" => ("a country is two capital letters like \"CH\" (ISO 3166-1)", false),
        "context.network.region" => ("a region is like \"CH-ZH\" (ISO 3166-2), \"ZZ\" if unknown", true),
        _ => return None,
    };
    let right = word.parse::<Region>().is_ok() && (word == "ZZ" || word.contains('-') == has_part);
    (!right).then(|| format!("{path} is never {word:?}: {what}"))
}

fn parts(catalogue: &Catalogue, environment: Option<&Environment>) -> BTreeMap<&'static str, Words> {
    let fixed = |what, known: &[&str]| Words {
        what,
        known: known.iter().map(|&k| k.to_owned()).collect(),
        others: Others::None,
    };
    let factors = FactorKind::ALL.map(FactorKind::name).into_iter().chain(Strength::NAMED.map(|(name, _)| name));
    let declared = |what, of: fn(&crate::catalogue::Endpoint) -> &String| Words {
        what,
        known: schema::endpoints(catalogue).map(of).cloned().collect(),
        others: Others::Later,
    };
    let mut parts = BTreeMap::from([
        ("context.confirmed", fixed("a factor or what one counts as", &factors.collect::<Vec<_>>())),
        ("context.risk.level", fixed("a level of risk", &RISK_LEVELS)),
        ("context.risk.signals", Words { others: Others::Unknown, ..fixed("a signal of risk", &known_signals()) }),
        ("context.device.posture", fixed("a posture", &POSTURES)),
        ("context.time.weekday", fixed("a weekday", &WEEKDAYS)),
        ("context.network.anonymizer", fixed("an anonymizer", &Anonymizer::ALL.map(Anonymizer::name))),
        ("resource.kind", declared("a kind of operation", |endpoint| &endpoint.kind)),
        ("resource.sensitivity", declared("a sensitivity of an operation", |endpoint| &endpoint.sensitivity)),
    ]);
    if let Some(environment) = environment {
        // Outside all of them the name is empty.
        let networks: Vec<&str> =
            environment.networks.iter().map(|network| network.name.as_str()).chain([""]).collect();
        parts.insert("context.network.name", fixed("a [[network]]", &networks));
        let calendars: Vec<&str> = environment.calendars.iter().map(|calendar| calendar.name.as_str()).collect();
        for part in ["context.time.open", "context.time.holidays"] {
            parts.insert(part, fixed("a [[calendar]]", &calendars));
        }
    }
    parts
}

/// The signals that have a meaning here. Other systems may tell of others.
fn known_signals() -> Vec<&'static str> {
    let told = [crate::flows::DEVICE_NOT_COMPLIANT, crate::flows::CREDENTIAL_CHANGE];
    Signal::ALL.map(Signal::name).into_iter().chain(told).collect()
}

/// Every word that a part is compared with, as `(path, word)`.
fn comparisons(value: &Value, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if let (true, Some(left), Some(right)) =
                    (COMPARISONS.contains(&name.as_str()), inner.get("left"), inner.get("right"))
                {
                    for (part, literal) in [(left, right), (right, left)] {
                        if let Some(path) = path(part) {
                            found.extend(words(literal).into_iter().map(|word| (path.clone(), word)));
                        }
                    }
                }
                comparisons(inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|inner| comparisons(inner, found)),
        _ => {}
    }
}

/// `context.network.name`, from its JSON form.
fn path(value: &Value) -> Option<String> {
    if let Some(variable) = value.get("Var") {
        return variable.as_str().map(str::to_owned);
    }
    let access = value.get(".")?;
    Some(format!("{}.{}", path(access.get("left")?)?, access.get("attr")?.as_str()?))
}

/// The words of a literal: a string, or a set of strings.
fn words(value: &Value) -> Vec<String> {
    match (value.get("Value"), value.get("Set")) {
        (Some(word), _) => word.as_str().map(str::to_owned).into_iter().collect(),
        (_, Some(Value::Array(items))) => items.iter().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::Policies;
    use crate::policy::fixture::{self, catalogue, source};
    use crate::surroundings::{Environment, NamedNetwork};

    /// What is said of a policy with this condition: the mistakes, or the advice with `advice: ` before it.
    fn said(condition: &str) -> String {
        let text = format!(
            "@id(\"p\")\n@reason(\"Not \\\"x\\\".\")\nforbid (principal, action, resource)\nwhen {{ {condition} }};"
        );
        let network = |name: &str| NamedNetwork { name: name.to_owned(), ranges: Vec::new() };
        let environment = Environment { networks: vec![network("office"), network("vpn")], ..fixture::environment() };
        match Policies::load_in(&catalogue(), &[source(&text)], &environment) {
            Ok(policies) => policies.advice().iter().map(|advice| format!("advice: {advice}")).collect(),
            Err(mistakes) => mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    #[track_caller]
    fn check(condition: &str, expected: &str) {
        let said = said(condition);
        assert!(if expected.is_empty() { said.is_empty() } else { said.contains(expected) }, "{condition}: {said}");
    }

    #[test]
    fn words_that_can_be_are_let_pass() {
        for condition in [
            "context.confirmed.contains(\"passkey\")",
            "context.confirmed.containsAny([\"totp\", \"recovery_code\"])",
            "context.risk.level == \"high\" || \"medium\" == context.risk.level",
            "context.device.posture != \"compliant\" && context.device.name == \"whatever\"",
            "context.time.weekday != \"sunday\"",
            "context.network.name == \"office\" && context.network.name != \"\"",
            "resource.kind == \"payments\" || resource.sensitivity == \"high\"",
            "[\"saturday\", \"sunday\"].contains(context.time.weekday)",
            // What is not ours to know is not looked at.
            "context.network.country == \"XX\" || context.risk.signals.contains(\"whatever\")",
            "[\"CH-ZH\", \"ZZ\"].contains(context.network.region) || context.network.city == \"Zürich\"",
            "context.network.anonymizer.contains(\"tor\") || context.network.anonymizer.contains(\"unknown\")",
            "!context.time.open.contains(\"trading\") && context.time.holidays.isEmpty()",
        ] {
            check(condition, "");
        }
    }

    #[test]
    fn a_word_that_nothing_is_stands_with_its_place_and_what_was_meant() {
        check("context.confirmed.contains(\"paskey\")", "test.cedar:4:35: context.confirmed is never \"paskey\"");
        check("context.confirmed.contains(\"paskey\")", "did you mean \"passkey\"?");
        check(
            "context.confirmed.contains(\"fingerprint\")",
            "there are: certificate, email_code, hotp, idp, knowledge, passkey, password, phishing_resistant, phone_code, possession, push, recovery_code, second_factor, totp",
        );
        check("context.confirmed.containsAll([\"totp\", \"pin\"])", "\"pin\"");
        check("context.device.posture == \"complaint\"", "did you mean \"compliant\"?");
        check("\"hihg\" == context.risk.level", "did you mean \"high\"?");
        check("context.risk.signals.contains(\"unusal_hour\")", "did you mean \"unusual_hour\"?");
        check("[\"Sunday\"].contains(context.time.weekday)", "did you mean \"sunday\"?");
        check("if context.network.name == \"offce\" then true else false", "did you mean \"office\"?");
        check("!(context.network.name != \"home\")", "there are: office, vpn");
        check("context.network.country == \"ch\"", "two capital letters");
        check("[\"CH\", \"CH-ZH\"].contains(context.network.country)", "never \"CH-ZH\"");
        check("context.network.region == \"ZH\"", "like \"CH-ZH\"");
        check("context.network.anonymizer.contains(\"torr\")", "did you mean \"tor\"?");
        check("context.time.open.contains(\"tradng\")", "did you mean \"trading\"?");
        check("context.time.holidays.containsAny([\"bank\"])", "there are: trading");
    }

    #[test]
    fn a_kind_that_may_come_one_day_is_advice_and_a_slip_is_a_mistake() {
        check("resource.kind == \"paymnets\"", "test.cedar:4:");
        check("resource.sensitivity == \"hgih\"", "did you mean \"high\"?");
        check("resource.kind == \"warehouses-abroad\"", "advice: test.cedar:4:");
        check("resource.sensitivity == \"critical\"", "advice: ");
    }

    #[test]
    fn names_of_networks_are_let_pass_where_nobody_knows_them() {
        let text = "@id(\"p\") permit (principal, action, resource) when { context.network.name == \"x\" };";
        assert!(Policies::load(&catalogue(), &[source(text)]).is_ok());
    }
}
