//! What Cedar's validator says, and what it lets pass and we do not.

use std::collections::HashSet;

use cedar_policy::{EntityUid, PolicySet, Schema, ValidationMode, ValidationWarning, Validator};

use super::PolicyMistake;
use super::read::Places;
use super::schema;
use crate::catalogue::Catalogue;

/// How far into entities a policy may look: only what a request brings (principal,
/// resource). A literal like `Person::"bob".email` is not in the store, and would
/// err with every request.
const LEVEL: u32 = 1;

/// Validates strictly. Gives mistakes, and advice that stops nothing.
pub(super) fn validate(set: &PolicySet, schema: Schema, places: &Places) -> (Vec<PolicyMistake>, Vec<PolicyMistake>) {
    let result = Validator::new(schema).validate_with_level(set, ValidationMode::Strict, LEVEL);
    let (mut mistakes, mut advice) = (Vec::new(), Vec::new());
    let mut wrong = HashSet::new();
    for error in result.validation_errors() {
        wrong.insert(error.policy_id());
        mistakes.extend(places.mistakes(error.policy_id(), error));
    }
    // Cedar says it again for each action that the policy covers: once is enough.
    places.sort(&mut mistakes);
    mistakes.dedup_by(|a, b| (&a.source_name, &a.span) == (&b.source_name, &b.span));
    for warning in result.validation_warnings() {
        let applies_to_nothing = matches!(warning, ValidationWarning::InvalidActionApplication(_));
        if applies_to_nothing && wrong.insert(warning.policy_id()) {
            mistakes.extend(places.mistakes(warning.policy_id(), warning));
        }
    }
    // A policy that is wrong is impossible as well: that goes without saying.
    for warning in result.validation_warnings().filter(|warning| !wrong.contains(warning.policy_id())) {
        let found = places.mistakes(warning.policy_id(), warning);
        if is_mistake(warning) {
            mistakes.extend(found);
        } else {
            advice.extend(found);
        }
    }
    (mistakes, advice)
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
