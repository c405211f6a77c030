//! What Cedar's validator lets pass and we do not.

use cedar_policy::{EntityUid, PolicySet, ValidationWarning};

use super::PolicyMistake;
use super::read::Places;
use super::schema;
use crate::catalogue::Catalogue;

/// Whether a warning stops loading: a policy that can never hold protects
/// nothing, and text that reorders itself is not what the reviewer read.
pub(super) const fn is_mistake(warning: &ValidationWarning) -> bool {
    !matches!(
        warning,
        ValidationWarning::MixedScriptString(_)
            | ValidationWarning::MixedScriptIdentifier(_)
            | ValidationWarning::ConfusableIdentifier(_)
    )
}

/// Services and endpoints that no configuration declares: a rule for `Service::"ledgr"` protects nothing.
pub(super) fn unknown_names(set: &PolicySet, catalogue: &Catalogue, places: &Places) -> Vec<PolicyMistake> {
    let known: std::collections::HashSet<&str> =
        schema::endpoints(catalogue).map(|endpoint| endpoint.resource.as_str()).collect();
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
