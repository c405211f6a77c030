//! One question to Cedar.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet,
    Request, RestrictedExpression, Schema,
};

use super::context::{self, Moment, Proven};
use super::needs::Needs;
use super::schema;
use super::slice::Subset;
use super::{Policies, PolicyEffect};
use crate::catalogue::{Catalogue, Effect, Endpoint, Service};
use crate::person::Person;

pub(super) const PERSON: &str = "Person";
pub(super) const GROUP: &str = "Group";
pub(super) const SERVICE: &str = "Service";
pub(super) const ENDPOINT: &str = "Endpoint";
pub(super) const ANONYMOUS: &str = "Anonymous";
/// The one entity of the type `Anonymous`.
pub(super) const NOBODY: &str = "nobody";

/// What Cedar said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Permitted, nothing forbids, nothing erred.
    pub(crate) allowed: bool,
    /// The policies that decided: permits if allowed, else forbids (none if no policy permits); sorted.
    pub(crate) decided: Vec<String>,
    /// The policies that erred.
    pub(crate) erred: Vec<String>,
}

/// An endpoint's entities.
pub(super) struct EndpointParts {
    action: EntityUid,
    resource: EntityUid,
    entities: Vec<Entity>,
}

/// What is known of an asker at an endpoint before anything is asked.
#[derive(Debug)]
pub(crate) struct Prepared {
    person: Option<Arc<Person>>,
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    entities: Entities,
    subset: Arc<Subset>,
}

/// An asker, an endpoint and a moment: everything but the proofs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) moment: Moment<'a>,
}

impl Case<'_> {
    /// Asks Cedar, with these proofs.
    pub(crate) fn ask(&self, proven: &Proven) -> Outcome {
        let shortly = self.ask_shortly(proven);
        if shortly.allowed {
            return shortly;
        }
        // Who refused, and who erred.
        match self.response(&self.prepared.subset.set, proven) {
            Ok(response) => Outcome::of(&response),
            Err(error) => Outcome::fault(error),
        }
    }

    /// Asks Cedar, with these proofs; a refusal names no policies.
    ///
    /// Most requests are allowed, and then no forbid has to be named: all of them
    /// are asked as one.
    pub(crate) fn ask_shortly(&self, proven: &Proven) -> Outcome {
        match self.response(&self.prepared.subset.merged, proven).map(|response| Outcome::of(&response)) {
            Ok(outcome) if outcome.allowed => outcome,
            Ok(_) | Err(_) => Outcome { allowed: false, decided: Vec::new(), erred: Vec::new() },
        }
    }

    /// The same, moved to another moment.
    pub(crate) fn at<'b>(&'b self, surroundings: &'b crate::surroundings::Surroundings) -> Case<'b> {
        Case { prepared: self.prepared, moment: Moment { surroundings, ..self.moment } }
    }

    /// Asks Cedar about the whole set with the whole context, checked against the
    /// schema: slow, and the same answer.
    pub(crate) fn ask_whole(&self, policies: &Policies, proven: &Proven) -> Outcome {
        match self.response_whole(policies, proven) {
            Ok(response) => Outcome::of(&response),
            Err(error) => Outcome::fault(error),
        }
    }

    fn response_whole(&self, policies: &Policies, proven: &Proven) -> Result<cedar_policy::Response, String> {
        let whole = policies.whole().ok_or("there are no policies")?;
        let (set, principal) = match &self.prepared.person {
            Some(person) => (whole.set.clone(), principal(person)?),
            // Nobody is let in by a permit that does not name Anonymous in its scope.
            None => (without_unnamed_permits(&whole.set)?, nobody()?),
        };
        let entities = whole.entities.clone().upsert_entities([principal], Some(&whole.schema)).map_err(to_string)?;
        let request = self.request(Needs::ALL, proven, Some(&whole.schema))?;
        Ok(Authorizer::new().is_authorized(&request, &set, &entities))
    }

    /// Asks Cedar about each policy by itself: which hold now, and which err.
    pub(crate) fn ask_each(&self, proven: &Proven) -> Vec<(String, PolicyEffect, Result<bool, String>)> {
        let mut each: Vec<_> = self
            .prepared
            .subset
            .set
            .policies()
            .map(|policy| {
                let id: &str = policy.id().as_ref();
                let effect = PolicyEffect::from(policy.effect());
                (id.to_owned(), effect, self.holds(policy.clone(), proven))
            })
            .collect();
        each.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        each
    }

    /// The context with these proofs, whole, in Cedar's JSON form.
    pub(crate) fn context_json(&self, proven: &Proven) -> serde_json::Value {
        match context::build(Needs::ALL, &self.moment, proven) {
            Ok(context) => context.to_json_value().unwrap_or_default(),
            Err(error) => serde_json::Value::String(error.to_string()),
        }
    }

    fn holds(&self, policy: cedar_policy::Policy, proven: &Proven) -> Result<bool, String> {
        let set = PolicySet::from_policies([policy]).map_err(to_string)?;
        let response = self.response(&set, proven)?;
        match response.diagnostics().errors().next() {
            Some(error) => Err(error.to_string()),
            None => Ok(response.diagnostics().reason().next().is_some()),
        }
    }

    fn response(&self, set: &PolicySet, proven: &Proven) -> Result<cedar_policy::Response, String> {
        let request = self.request(self.prepared.subset.needs, proven, None)?;
        Ok(Authorizer::new().is_authorized(&request, set, &self.prepared.entities))
    }

    fn request(&self, needs: Needs, proven: &Proven, schema: Option<&Schema>) -> Result<Request, String> {
        let context = context::build(needs, &self.moment, proven).map_err(to_string)?;
        let Prepared { principal, action, resource, .. } = self.prepared;
        Request::new(principal.clone(), action.clone(), resource.clone(), context, schema).map_err(to_string)
    }
}

impl Outcome {
    fn of(response: &cedar_policy::Response) -> Self {
        let mut decided: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        decided.sort_unstable();
        let mut erred: Vec<String> = response
            .diagnostics()
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id().to_string())
            .collect();
        erred.sort_unstable();
        // INVARIANT (errors deny): Cedar skips a policy that errs, so a forbid that
        // errs would leave the permit standing. Here any error refuses.
        let allowed = response.decision() == Decision::Allow && erred.is_empty();
        if response.decision() == Decision::Allow && !allowed {
            // The permits that Cedar names did not refuse.
            decided.clear();
        }
        Self { allowed, decided, erred }
    }

    fn fault(error: String) -> Self {
        Self { allowed: false, decided: Vec::new(), erred: vec![error] }
    }
}

impl EndpointParts {
    pub(super) fn new(service: &Service, endpoint: &Endpoint, schema: &Schema) -> Result<Self, String> {
        let action = uid("Action", endpoint.action.as_str())?;
        let actions = schema.action_entities().map_err(to_string)?;
        let mut entities = Vec::new();
        for name in [endpoint.action.as_str(), schema::group(Effect::Read), schema::group(Effect::Write)] {
            let uid = uid("Action", name)?;
            let entity = actions.get(&uid).ok_or_else(|| format!("the schema has no action {name:?}"))?;
            if !entities.contains(entity) {
                entities.push(entity.clone());
            }
        }
        entities.extend(service_entities(service)?);
        entities.push(endpoint_entity(service, endpoint)?);
        Ok(Self { action, resource: uid(ENDPOINT, &endpoint.resource)?, entities })
    }
}

impl Prepared {
    pub(super) fn person(parts: &EndpointParts, subset: Arc<Subset>, person: &Arc<Person>) -> Result<Self, String> {
        Self::new(parts, subset, Some(Arc::clone(person)), principal(person)?)
    }

    pub(super) fn anonymous(parts: &EndpointParts, subset: Arc<Subset>) -> Result<Self, String> {
        Self::new(parts, subset, None, nobody()?)
    }

    /// Whether it was made for this person as they are now: another group is another preparation.
    pub(super) fn is_for(&self, person: &Arc<Person>) -> bool {
        self.person.as_ref().is_some_and(|own| Arc::ptr_eq(own, person) || own == person)
    }

    fn new(
        parts: &EndpointParts,
        subset: Arc<Subset>,
        person: Option<Arc<Person>>,
        principal: Entity,
    ) -> Result<Self, String> {
        let uid = principal.uid();
        let entities = Entities::from_entities(parts.entities.iter().cloned().chain([principal]), None);
        Ok(Self {
            person,
            principal: uid,
            action: parts.action.clone(),
            resource: parts.resource.clone(),
            entities: entities.map_err(to_string)?,
            subset,
        })
    }
}

/// The entities of a whole catalogue, checked against the schema.
pub(super) fn all_entities(catalogue: &Catalogue, schema: &Schema) -> Result<Entities, String> {
    let mut entities = vec![nobody()?];
    for service in catalogue.services.values() {
        entities.extend(service_entities(service)?);
        for endpoint in service.endpoints.iter().chain([&service.read, &service.write]) {
            entities.push(endpoint_entity(service, endpoint)?);
        }
    }
    Entities::from_entities(entities, Some(schema)).map_err(to_string)
}

fn service_entities(service: &Service) -> Result<[Entity; 1], String> {
    Ok([Entity::new_no_attrs(uid(SERVICE, service.name.as_str())?, HashSet::new())])
}

fn endpoint_entity(service: &Service, endpoint: &Endpoint) -> Result<Entity, String> {
    let attributes = [("sensitivity", &endpoint.sensitivity), ("kind", &endpoint.kind)];
    entity(uid(ENDPOINT, &endpoint.resource)?, attributes, HashSet::from([uid(SERVICE, service.name.as_str())?]))
}

fn principal(person: &Person) -> Result<Entity, String> {
    let login = person.login.as_str().to_owned();
    let groups = person.groups.iter().map(|group| uid(GROUP, group)).collect::<Result<_, _>>()?;
    entity(uid(PERSON, &login)?, [("login", &login), ("email", &person.email)], groups)
}

fn nobody() -> Result<Entity, String> {
    let empty = String::new();
    entity(uid(ANONYMOUS, NOBODY)?, [("login", &empty), ("email", &empty)], HashSet::new())
}

fn entity(uid: EntityUid, attributes: [(&str, &String); 2], parents: HashSet<EntityUid>) -> Result<Entity, String> {
    let attributes: HashMap<String, RestrictedExpression> = attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), RestrictedExpression::new_string(value.clone())))
        .collect();
    Entity::new(uid, attributes, parents).map_err(to_string)
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind: EntityTypeName = kind.parse().map_err(to_string)?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

fn without_unnamed_permits(set: &PolicySet) -> Result<PolicySet, String> {
    use cedar_policy::PrincipalConstraint as P;
    let names = |policy: &&cedar_policy::Policy| match policy.principal_constraint() {
        P::Any => false,
        P::Is(name) | P::IsIn(name, _) => name.basename() == ANONYMOUS,
        P::In(uid) | P::Eq(uid) => uid.type_name().basename() == ANONYMOUS,
    };
    let kept = set.policies().filter(|policy| policy.effect() == cedar_policy::Effect::Forbid || names(policy));
    PolicySet::from_policies(kept.cloned()).map_err(to_string)
}

fn to_string(error: impl std::fmt::Display) -> String {
    error.to_string()
}
