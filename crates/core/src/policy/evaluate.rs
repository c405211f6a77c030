//! One question to Cedar.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, RestrictedExpression, Schema};
use cedar_policy_core::ast::{self, EntityUIDEntry, Expr, Literal, Request, RequestSchema as _, SlotEnv, ValueKind};
use cedar_policy_core::authorizer::{AuthorizationError, Authorizer, Decision, Response};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::ValidatorSchema;

use super::context::{self, Moment, Proven};
use super::needs::Needs;
use super::schema;
use super::slice::Subset;
use super::{Policies, PolicyEffect};
use crate::catalogue::{Catalogue, Effect, Endpoint, Service};
use crate::person::{Agent, Person, Principal};

pub(super) const PERSON: &str = "Person";
pub(super) const AGENT: &str = "Agent";
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
    who: Option<Who>,
    principal: EntityUIDEntry,
    action: EntityUIDEntry,
    resource: EntityUIDEntry,
    entities: Entities,
    subset: Arc<Subset>,
}

/// Who was prepared for.
#[derive(Debug)]
enum Who {
    Person(Arc<Person>),
    Agent(Arc<Agent>),
}

impl Who {
    fn of(who: Principal<'_>) -> Self {
        match who {
            Principal::Person(person) => Self::Person(Arc::clone(person)),
            Principal::Agent(agent) => Self::Agent(Arc::clone(agent)),
        }
    }

    const fn principal(&self) -> Principal<'_> {
        match self {
            Self::Person(person) => Principal::Person(person),
            Self::Agent(agent) => Principal::Agent(agent),
        }
    }
}

/// An asker, an endpoint and a moment: everything but the proofs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) moment: Moment<'a>,
}

/// One policy without its scope, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) effect: PolicyEffect,
    /// `None`: it always holds.
    condition: Option<Arc<Expr>>,
}

impl Rule {
    /// Takes a policy whose scope is open and that has no slots.
    pub(super) fn of(policy: &cedar_policy::Policy) -> Self {
        let ast: &ast::Policy = policy.as_ref();
        Self {
            id: policy.id().to_string(),
            effect: policy.effect().into(),
            condition: ast.non_scope_constraints_arc().map(Arc::clone),
        }
    }

    /// Whether it holds, as Cedar's own authorizer would find; the text of the error if it errs.
    fn holds(&self, evaluator: &Evaluator<'_>) -> Result<bool, String> {
        /// No policy here is made from a template.
        static NO_SLOTS: LazyLock<SlotEnv> = LazyLock::new(SlotEnv::new);
        let Some(condition) = &self.condition else { return Ok(true) };
        match evaluator.interpret(condition, &NO_SLOTS).map_err(to_string)?.value_kind() {
            ValueKind::Lit(Literal::Bool(holds)) => Ok(*holds),
            other => Err(format!("its condition is {other}, neither true nor false")),
        }
    }
}

impl Case<'_> {
    /// Asks Cedar, with these proofs.
    pub(crate) fn ask(&self, proven: &Proven) -> Outcome {
        let shortly = self.ask_shortly(proven);
        if shortly.allowed {
            return shortly;
        }
        // Who refused, and who erred.
        match self.evaluator(proven) {
            Ok(evaluator) => {
                let rules = self.prepared.subset.rules.iter();
                Outcome::of(rules.map(|rule| (rule.id.as_str(), rule.effect, rule.holds(&evaluator))))
            }
            Err(error) => Outcome::fault(error),
        }
    }

    /// Asks Cedar, with these proofs; a refusal names no policies.
    ///
    /// Most requests are allowed, and then no forbid has to be named: all of them
    /// are asked as one.
    pub(crate) fn ask_shortly(&self, proven: &Proven) -> Outcome {
        let Ok(evaluator) = self.evaluator(proven) else { return Outcome::refused() };
        let subset = &*self.prepared.subset;
        if subset.any_forbid.holds(&evaluator) != Ok(false) {
            return Outcome::refused();
        }
        let permits = subset.rules.iter().filter(|rule| rule.effect == PolicyEffect::Permit);
        let outcome = Outcome::of(permits.map(|rule| (rule.id.as_str(), rule.effect, rule.holds(&evaluator))));
        if outcome.allowed { outcome } else { Outcome::refused() }
    }

    /// The same, moved to another moment.
    pub(crate) fn at<'b>(&'b self, surroundings: &'b crate::surroundings::Surroundings) -> Case<'b> {
        Case { prepared: self.prepared, moment: Moment { surroundings, ..self.moment } }
    }

    /// The same, where session and device are so much older.
    pub(crate) fn later(&self, later: std::time::Duration) -> Case<'_> {
        Case { prepared: self.prepared, moment: Moment { later, ..self.moment } }
    }

    /// Whether one passkey may do where another one does not.
    pub(crate) fn tells_passkeys_apart(&self) -> bool {
        self.prepared.subset.needs.passkeys()
    }

    /// Asks Cedar's own authorizer about the whole set with the whole context,
    /// checked against the schema: slow, and the same answer.
    pub(crate) fn ask_whole(&self, policies: &Policies, proven: &Proven) -> Outcome {
        match self.response_whole(policies, proven) {
            Ok(response) => Outcome::of_response(&response),
            Err(error) => Outcome::fault(error),
        }
    }

    fn response_whole(&self, policies: &Policies, proven: &Proven) -> Result<Response, String> {
        let whole = policies.whole().ok_or("there are no policies")?;
        let (set, principal) = match &self.prepared.who {
            Some(who) => (whole.set.clone(), principal(who.principal())?),
            // Nobody is let in by a permit that does not name Anonymous in its scope.
            None => (without_unnamed_permits(&whole.set)?, nobody()?),
        };
        let entities = whole.entities.clone().upsert_entities([principal], Some(&whole.schema)).map_err(to_string)?;
        let request = self.request(Needs::ALL, proven)?;
        let schema: &ValidatorSchema = whole.schema.as_ref();
        schema.validate_request(&request, Extensions::all_available()).map_err(to_string)?;
        Ok(Authorizer::new().is_authorized(request, set.as_ref(), entities.as_ref()))
    }

    /// Asks Cedar about each policy by itself: which hold now, and which err.
    pub(crate) fn ask_each(&self, proven: &Proven) -> Vec<(String, PolicyEffect, Result<bool, String>)> {
        let evaluator = self.evaluator(proven);
        let holds = |rule: &Rule| match &evaluator {
            Ok(evaluator) => rule.holds(evaluator),
            Err(error) => Err(error.clone()),
        };
        self.prepared.subset.rules.iter().map(|rule| (rule.id.clone(), rule.effect, holds(rule))).collect()
    }

    /// The context with these proofs, whole, in Cedar's JSON form.
    pub(crate) fn context_json(&self, proven: &Proven) -> serde_json::Value {
        match context::build(Needs::ALL, &self.moment, proven) {
            Ok(context) => context.to_json_value().unwrap_or_default(),
            Err(error) => serde_json::Value::String(error.to_string()),
        }
    }

    fn evaluator(&self, proven: &Proven) -> Result<Evaluator<'_>, String> {
        let request = self.request(self.prepared.subset.needs, proven)?;
        Ok(Evaluator::new(request, self.prepared.entities.as_ref(), Extensions::all_available()))
    }

    fn request(&self, needs: Needs, proven: &Proven) -> Result<Request, String> {
        let context = context::build(needs, &self.moment, proven).map_err(to_string)?;
        let Prepared { principal, action, resource, .. } = self.prepared;
        Ok(Request::new_unchecked(principal.clone(), action.clone(), resource.clone(), Some(context)))
    }
}

impl Outcome {
    /// Combines policies as Cedar does: a permit has to hold, and no forbid.
    fn of<'a>(rules: impl Iterator<Item = (&'a str, PolicyEffect, Result<bool, String>)>) -> Self {
        let (mut permits, mut forbids, mut erred) = (Vec::new(), Vec::new(), Vec::new());
        for (id, effect, holds) in rules {
            match (holds, effect) {
                (Ok(true), PolicyEffect::Permit) => permits.push(id.to_owned()),
                (Ok(true), PolicyEffect::Forbid) => forbids.push(id.to_owned()),
                (Ok(false), _) => {}
                (Err(_), _) => erred.push(id.to_owned()),
            }
        }
        // INVARIANT (errors deny): Cedar skips a policy that errs, so a forbid that
        // errs would leave the permit standing. Here any error refuses.
        let allowed = !permits.is_empty() && forbids.is_empty() && erred.is_empty();
        // Permits did not refuse.
        let decided = if allowed { permits } else { forbids };
        Self { allowed, decided, erred }
    }

    /// What Cedar's own authorizer answered, in the same terms.
    fn of_response(response: &Response) -> Self {
        let mut erred: Vec<String> = response
            .diagnostics
            .errors
            .iter()
            .map(|AuthorizationError::PolicyEvaluationError { id, .. }| id.to_string())
            .collect();
        erred.sort_unstable();
        let permitted = response.decision == Decision::Allow;
        let allowed = permitted && erred.is_empty();
        let mut decided: Vec<String> = match permitted && !allowed {
            true => Vec::new(),
            false => response.diagnostics.reason.iter().map(ToString::to_string).collect(),
        };
        decided.sort_unstable();
        Self { allowed, decided, erred }
    }

    const fn refused() -> Self {
        Self { allowed: false, decided: Vec::new(), erred: Vec::new() }
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
    pub(super) fn somebody(parts: &EndpointParts, subset: Arc<Subset>, who: Principal<'_>) -> Result<Self, String> {
        Self::new(parts, subset, Some(Who::of(who)), principal(who)?)
    }

    pub(super) fn anonymous(parts: &EndpointParts, subset: Arc<Subset>) -> Result<Self, String> {
        Self::new(parts, subset, None, nobody()?)
    }

    /// Whether it was made for these as they are now: another group is another preparation.
    pub(super) fn is_for(&self, who: Principal<'_>) -> bool {
        match (&self.who, who) {
            (Some(Who::Person(own)), Principal::Person(person)) => Arc::ptr_eq(own, person) || own == person,
            (Some(Who::Agent(own)), Principal::Agent(agent)) => Arc::ptr_eq(own, agent) || own == agent,
            _ => false,
        }
    }

    fn new(parts: &EndpointParts, subset: Arc<Subset>, who: Option<Who>, principal: Entity) -> Result<Self, String> {
        let uid = principal.uid();
        let entities = Entities::from_entities(parts.entities.iter().cloned().chain([principal]), None);
        let known = |uid: &EntityUid| EntityUIDEntry::known(uid.as_ref().clone(), None);
        Ok(Self {
            who,
            principal: known(&uid),
            action: known(&parts.action),
            resource: known(&parts.resource),
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

fn principal(who: Principal<'_>) -> Result<Entity, String> {
    let groups = who.groups().iter().map(|group| uid(GROUP, group)).collect::<Result<_, _>>()?;
    match who {
        Principal::Person(person) => {
            let login = person.login.as_str().to_owned();
            entity(uid(PERSON, &login)?, [("login", &login), ("email", &person.email)], groups)
        }
        Principal::Agent(agent) => {
            let name = agent.name.to_string();
            entity(uid(AGENT, &name)?, [("login", &name), ("email", &String::new())], groups)
        }
    }
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
