//! What Cedar's validator says, and what it lets pass and we do not.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cedar_policy::{
    ActionConstraint, EntityUid, EvalResult, Policy, PolicySet, Schema, ValidationMode, ValidationResult,
    ValidationWarning, Validator,
};
use serde_json::Value;

use super::read::Places;
use super::schema;
use super::{PolicyMistake, needs};
use crate::catalogue::{Catalogue, Effect, SIGN_IN};

/// How far into entities a policy may look: only what a request brings (principal,
/// resource). A literal like `Person::"bob".email` is not in the store, and would
/// err with every request.
const LEVEL: u32 = 1;

/// Validates strictly. Gives mistakes, and advice that stops nothing.
pub(super) fn validate(
    set: &PolicySet,
    catalogue: &Catalogue,
    schema: &Schema,
    places: &Places,
) -> (Vec<PolicyMistake>, Vec<PolicyMistake>) {
    let results: Vec<ValidationResult> = by_actions(set, catalogue, schema)
        .into_iter()
        .map(|(schema, set)| Validator::new(schema).validate_with_level(&set, ValidationMode::Strict, LEVEL))
        .collect();
    let warnings = || results.iter().flat_map(ValidationResult::validation_warnings);
    let (mut mistakes, mut advice) = (Vec::new(), Vec::new());
    let mut wrong = HashSet::new();
    for error in results.iter().flat_map(ValidationResult::validation_errors) {
        wrong.insert(error.policy_id());
        mistakes.extend(places.mistakes(error.policy_id(), error));
    }
    // Cedar says it again for each action that the policy covers: once is enough.
    places.sort(&mut mistakes);
    mistakes.dedup_by(|a, b| (&a.source_name, &a.span) == (&b.source_name, &b.span));
    for warning in warnings() {
        let applies_to_nothing = matches!(warning, ValidationWarning::InvalidActionApplication(_));
        if applies_to_nothing && wrong.insert(warning.policy_id()) {
            mistakes.extend(places.mistakes(warning.policy_id(), warning));
        }
    }
    // A policy that is wrong is impossible as well: that goes without saying.
    for warning in warnings().filter(|warning| !wrong.contains(warning.policy_id())) {
        let found = places.mistakes(warning.policy_id(), warning);
        if is_mistake(warning) {
            mistakes.extend(found);
        } else {
            advice.extend(found);
        }
    }
    (mistakes, advice)
}

/// The policies, each with a schema that has the actions which it can be about.
///
/// Cedar checks each policy against each action of the schema, though the scope
/// of most names one. With thousands of policies that is minutes against seconds.
/// A policy that names a group, no action, or one that is not declared is checked
/// against the whole schema.
fn by_actions(set: &PolicySet, catalogue: &Catalogue, whole: &Schema) -> Vec<(Schema, PolicySet)> {
    let declared: HashSet<&str> = schema::endpoints(catalogue).map(|endpoint| endpoint.action.as_str()).collect();
    let groups = [schema::group(Effect::Read), schema::group(Effect::Write)];
    let named = |policy: &Policy| -> Option<BTreeSet<String>> {
        let (covered, within) = match policy.action_constraint() {
            ActionConstraint::Any => return None,
            ActionConstraint::Eq(uid) => (vec![uid], false),
            ActionConstraint::In(uids) => (uids, true),
        };
        let name = |uid: &EntityUid| -> String {
            let id: &str = uid.id().as_ref();
            id.to_owned()
        };
        let is_group = |uid: &EntityUid| groups.contains(&name(uid).as_str()) || (within && name(uid) == SIGN_IN);
        if covered.iter().any(is_group) {
            return None;
        }
        let literals = policy.entity_literals();
        let mentioned = literals.iter().filter(|uid| uid.type_name().basename() == "Action");
        let names: BTreeSet<String> = covered.iter().chain(mentioned).map(name).collect();
        names.iter().all(|name| declared.contains(name.as_str()) || groups.contains(&name.as_str())).then_some(names)
    };
    let mut parts: BTreeMap<Option<BTreeSet<String>>, Vec<Policy>> = BTreeMap::new();
    for policy in set.policies() {
        parts.entry(named(policy)).or_default().push(policy.clone());
    }
    let part = |(names, policies): (Option<BTreeSet<String>>, Vec<Policy>)| {
        let names = names?;
        let text = schema::text_with(catalogue, |action| names.contains(action)).ok()?;
        Some((schema::parse(&text).ok()?, PolicySet::from_policies(policies).ok()?))
    };
    let parts: Option<Vec<(Schema, PolicySet)>> = {
        let unnamed = parts.remove(&None).unwrap_or_default();
        let rest = PolicySet::from_policies(unnamed).ok().map(|set| (whole.clone(), set));
        parts.into_iter().map(part).chain([rest]).collect()
    };
    parts.unwrap_or_else(|| vec![(whole.clone(), set.clone())])
}

/// Whether a warning stops loading: a policy that can never hold protects
/// nothing, and text that reorders itself is not what the reviewer read.
const fn is_mistake(warning: &ValidationWarning) -> bool {
    !matches!(
        warning,
        ValidationWarning::MixedScriptString(_)
            | ValidationWarning::MixedScriptIdentifier(_)
            | ValidationWarning::ConfusableIdentifier(_)
    )
}

/// Permits of the whole group of the sign-in, which would open the evidence to everybody whom they name; and, as
/// advice, forbids of the sign-in alone.
pub(super) fn of_sign_in(set: &PolicySet, places: &Places) -> (Vec<PolicyMistake>, Vec<PolicyMistake>) {
    let (mut mistakes, mut advice) = (Vec::new(), Vec::new());
    let is_sign_in = |uid: &EntityUid| {
        let id: &str = uid.id().as_ref();
        id == SIGN_IN
    };
    for policy in set.policies() {
        match (policy.effect(), policy.action_constraint()) {
            (cedar_policy::Effect::Permit, ActionConstraint::In(uids)) if uids.iter().any(is_sign_in) => {
                let message = "every operation of the gate is in Action::\"sign_in\", those of the evidence among them: \
                               permit them by their names; the sign-in itself is permitted already";
                mistakes.push(places.of_policy(policy.id(), message.to_owned()));
            }
            (cedar_policy::Effect::Forbid, ActionConstraint::Eq(uid)) if is_sign_in(&uid) => {
                let message = "action == Action::\"sign_in\" is the way to services alone; with `in` it is about the \
                               gate's own pages too";
                advice.push(places.of_policy(policy.id(), message.to_owned()));
            }
            _ => {}
        }
    }
    (mistakes, advice)
}

/// Services and endpoints that no configuration declares: a rule for `Service::"ledgr"` protects nothing.
pub(super) fn unknown_names(set: &PolicySet, catalogue: &Catalogue, places: &Places) -> Vec<PolicyMistake> {
    let known: HashSet<&str> = schema::endpoints(catalogue).map(|endpoint| endpoint.resource.as_str()).collect();
    let unknown = |uid: &EntityUid| -> Option<String> {
        let id: &str = uid.id().as_ref();
        match uid.type_name().basename() {
            "Service" if catalogue.by_name(id).is_none() => {
                let names: Vec<_> = catalogue.services.keys().map(|name| name.as_str()).collect();
                Some(format!("there is no service {id:?}; there are: {}", names.join(", ")))
            }
            "Endpoint" if !known.contains(id) => {
                Some(format!("there is no endpoint {id:?}: write it as `stepgate check` shows it"))
            }
            _ => None,
        }
    };
    let mut mistakes = Vec::new();
    for policy in set.policies() {
        for uid in policy.entity_literals() {
            mistakes.extend(unknown(&uid).map(|message| places.of_policy(policy.id(), message)));
        }
    }
    mistakes
}

/// Durations that come near to "never": a rule with one would take a factor that
/// was never proved for one that was. And the context as a whole.
pub(super) fn conditions(set: &PolicySet, places: &Places) -> Vec<PolicyMistake> {
    let too_long = |text: &str| {
        let question = format!("duration({text:?}) > duration(\"{LONGEST}\")");
        // What is no duration at all, the validator tells better.
        needs::evaluate(&question) == Some(EvalResult::Bool(true))
    };
    let mut mistakes = Vec::new();
    for policy in set.policies() {
        let mut found = Vec::new();
        match policy.to_json() {
            Ok(mut json) => {
                durations(&json, &mut found);
                if needs::Needs::rewrite(&mut json).whole {
                    let message = "context can be used by its parts only, like context.age.passkey or \
                                   context.input.amount; every part is always there";
                    mistakes.push(places.of_policy(policy.id(), message.to_owned()));
                }
            }
            Err(error) => mistakes.push(places.of_policy(policy.id(), error.to_string())),
        }
        for text in found.iter().filter(|text| too_long(text)) {
            let message = format!("duration({text:?}) is longer than {LONGEST}, as long as never: take a shorter one");
            mistakes.push(places.of_policy(policy.id(), message));
        }
    }
    mistakes
}

/// The longest duration in a policy: a hundred years.
const LONGEST: &str = "36525d";

/// The literal arguments of `duration(…)` in a policy's JSON form.
fn durations(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let literal = inner.get(0).and_then(|first| first.get("Value")).and_then(Value::as_str);
                if let ("duration", Some(text)) = (name.as_str(), literal) {
                    found.push(text.to_owned());
                }
                durations(inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|inner| durations(inner, found)),
        _ => {}
    }
}
