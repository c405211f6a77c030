//! Permits that come near to a request and do not let it through: for people who ask why.

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use super::evaluate::{AGENT, ANONYMOUS, GROUP, NOBODY, PERSON};
use super::{Policies, schema};
use crate::operation::Operation;
use crate::person::Principal;

/// Longest condition that is repeated, in characters.
const CONDITION_MAX: usize = 240;

/// A permit that is about the operation, and does not permit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearPermit {
    /// Its `@id`.
    pub id: String,
    /// The source's name.
    pub source_name: String,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Why it does not let this through.
    pub why: WhyNot,
}

/// Why a permit does not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// It is for somebody else.
    Principal {
        /// For whom, e.g. `Group::"finance"`.
        scope: String,
    },
    /// Its condition does not hold.
    Condition {
        /// The condition, in Cedar, shortened.
        text: String,
    },
}

impl Policies {
    /// The permits whose scope covers the action and the resource of an operation, each with why it does
    /// not let this person or agent (`None`: nobody who is signed in) through. For a request that no policy
    /// permits; of one that is permitted it would be wrong.
    pub fn near_permits(&self, operation: &Operation, who: Option<Principal<'_>>) -> Vec<NearPermit> {
        let policies = self.whole.iter().flat_map(|whole| whole.set.policies());
        let about = |policy: &&Policy| {
            policy.effect() == Effect::Permit && covers_action(policy, operation) && covers_resource(policy, operation)
        };
        let mut near: Vec<NearPermit> = policies
            .filter(about)
            .filter_map(|policy| {
                let id: &str = policy.id().as_ref();
                let about = self.about(id)?;
                let why = match principal_scope(policy, who) {
                    Some(scope) => WhyNot::Principal { scope },
                    None => WhyNot::Condition { text: condition(policy) },
                };
                let (source_name, line) = (about.source_name.clone(), about.line);
                Some(NearPermit { id: id.to_owned(), source_name, line, why })
            })
            .collect();
        near.sort_by(|a, b| (&a.source_name, a.line).cmp(&(&b.source_name, b.line)));
        near
    }
}

fn is(uid: &EntityUid, kind: &str, id: &str) -> bool {
    let named: &str = uid.id().as_ref();
    uid.type_name().basename() == kind && named == id
}

fn covers_action(policy: &Policy, operation: &Operation) -> bool {
    let endpoint = &operation.endpoint;
    let named = |uid: &EntityUid| {
        is(uid, "Action", endpoint.action.as_str()) || is(uid, "Action", schema::group(endpoint.effect))
    };
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => is(&uid, "Action", endpoint.action.as_str()),
        ActionConstraint::In(uids) => uids.iter().any(named),
    }
}

fn covers_resource(policy: &Policy, operation: &Operation) -> bool {
    let endpoint = |uid: &EntityUid| is(uid, "Endpoint", &operation.endpoint.resource);
    let within = |uid: &EntityUid| endpoint(uid) || is(uid, "Service", operation.service.name.as_str());
    match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
        ResourceConstraint::Eq(uid) => endpoint(&uid),
        ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => within(&uid),
    }
}

/// Whom the permit is for, if that is not these.
fn principal_scope(policy: &Policy, who: Option<Principal<'_>>) -> Option<String> {
    let (kind, id) = match who {
        Some(Principal::Person(person)) => (PERSON, person.login.as_str()),
        Some(Principal::Agent(agent)) => (AGENT, &*agent.name),
        None => (ANONYMOUS, NOBODY),
    };
    let in_group = |uid: &EntityUid| who.is_some_and(|who| who.groups().iter().any(|group| is(uid, GROUP, group)));
    let within = |uid: &EntityUid| in_group(uid) || is(uid, kind, id);
    let (applies, scope) = match policy.principal_constraint() {
        // Nobody is let in by a permit that does not name Anonymous in its scope.
        PrincipalConstraint::Any => (who.is_some(), "somebody who is signed in".to_owned()),
        PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) => (within(&uid), uid.to_string()),
        PrincipalConstraint::Is(name) => (name.basename() == kind, format!("every {name}")),
        PrincipalConstraint::IsIn(name, uid) => (name.basename() == kind && within(&uid), format!("{name} in {uid}")),
    };
    (!applies).then_some(scope)
}

/// `when { … } unless { … }` on one line.
fn condition(policy: &Policy) -> String {
    let text = policy.to_cedar().unwrap_or_default();
    let begins = ["when", "unless"].iter().filter_map(|word| {
        let clause = |(at, word): &(usize, &str)| {
            text.get(at.saturating_add(word.len())..).is_some_and(|rest| rest.trim_start().starts_with('{'))
        };
        text.match_indices(word).find(clause).map(|(at, _)| at)
    });
    let clauses = begins.min().and_then(|at| text.get(at..)).unwrap_or_default();
    let line = clauses.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches(';');
    match line.char_indices().nth(CONDITION_MAX) {
        Some((at, _)) => format!("{} …", line.get(..at).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::person::Principal;
    use crate::policy::fixture::{load, operation};

    const POLICIES: &str = r#"
@id("finance") permit (principal in Group::"finance", action, resource in Service::"ledger");
@id("agents") permit (principal is Agent, action, resource);
@id("by-day") permit (principal, action == Action::"payments.approve", resource)
  when { context.time.hour > 99 } unless { context.device.known };
@id("whoever") permit (principal is Anonymous, action in [Action::"write"], resource);
@id("elsewhere") permit (principal, action, resource in Service::"wiki");
@id("reads") permit (principal, action in Action::"read", resource);
@id("here") permit (principal, action, resource == Endpoint::"ledger POST /payments/{id}/approve") when { false };
"#;

    fn near(groups: Option<&[&str]>) -> Vec<String> {
        let person = groups.map(|groups| {
            std::sync::Arc::new(crate::person::Person {
                id: crate::id::PersonId::from_bytes([1; 16]),
                login: crate::person::Login::parse("alice").unwrap(),
                name: String::new(),
                email: String::new(),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                active: true,
            })
        });
        let policies = load(&POLICIES.replace("when { false }", "when { context.time.hour < 0 }"));
        let operation = operation("ledger payments.approve id=1 amount=1");
        let near = policies.near_permits(&operation, person.as_ref().map(Principal::Person));
        near.into_iter().map(|near| format!("{} line {}: {:?}", near.id, near.line, near.why)).collect()
    }

    #[test]
    fn permits_for_others_and_conditions_that_do_not_hold_are_told_apart() {
        let by_day =
            "by-day line 4: Condition { text: \"when { context.time.hour > 99 } unless { context.device.known }\" }";
        let here = "here line 9: Condition { text: \"when { context.time.hour < 0 }\" }";
        assert_eq!(
            near(Some(&["staff"])),
            [
                "finance line 2: Principal { scope: \"Group::\\\"finance\\\"\" }",
                "agents line 3: Principal { scope: \"every Agent\" }",
                by_day,
                "whoever line 6: Principal { scope: \"every Anonymous\" }",
                here,
            ]
        );
        let nobody = near(None);
        assert!(
            nobody.contains(&"by-day line 4: Principal { scope: \"somebody who is signed in\" }".to_owned()),
            "{nobody:?}"
        );
        assert!(nobody.contains(&"whoever line 6: Condition { text: \"\" }".to_owned()), "{nobody:?}");
    }
}
