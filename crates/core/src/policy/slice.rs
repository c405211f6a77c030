//! The index: for each endpoint, the policies whose scope can concern it.
//!
//! Cedar costs time for each policy that it looks at, so it is shown only those
//! whose action and resource scope hold for the endpoint and whose principal
//! scope holds for who asks. Scopes that are known to hold are taken off. A
//! property test holds this equal to asking Cedar about the whole set.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use cedar_policy::{
    ActionConstraint, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint,
    Schema,
};
// Nobody outside chooses what is hashed: endpoints are the operator's, ids are random.
use foldhash::fast::RandomState;
use moka::sync::Cache;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::PolicyEffect;
use super::evaluate::{self, Prepared, Rule};
use super::merge;
use super::needs::Needs;
use super::schema;
use crate::catalogue::{Catalogue, Endpoint, SIGN_IN, Service};
use crate::id::PersonId;
use crate::operation::Operation;
use crate::person::Principal;

/// Prepared askers that are kept: a person at an endpoint each.
const PREPARED_MAX: u64 = 10_000;
/// Sets of policies that are kept for one slice, one for each combination of principal scopes.
const SUBSETS_MAX: usize = 1_024;

/// The slices of all endpoints.
pub(crate) struct Slices {
    of: HashMap<String, u32, RandomState>,
    slices: Vec<Slice>,
    prepared: Cache<(u32, Key), Arc<Prepared>, RandomState>,
}

/// Who was prepared for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Person(PersonId),
    Agent(Arc<str>),
}

impl Key {
    fn of(who: Principal<'_>) -> Self {
        match who {
            Principal::Person(person) => Self::Person(person.id),
            Principal::Agent(agent) => Self::Agent(Arc::clone(&agent.name)),
        }
    }
}

/// The policies that concern one endpoint.
pub(crate) struct Slice {
    service: Arc<Service>,
    endpoint: Arc<Endpoint>,
    parts: evaluate::EndpointParts,
    policies: Arc<Concerning>,
    anonymous: OnceLock<Result<Arc<Prepared>, String>>,
}

/// The policies of a slice, by principal scope. Endpoints that the same policies concern share it.
struct Concerning {
    policies: Vec<Arc<Stripped>>,
    /// For each principal scope the policies that have it, as indices.
    scopes: BTreeMap<Scope, Vec<u32>>,
    looks_at_habits: bool,
    /// The sets that were needed so far, by the policies in them.
    subsets: Mutex<HashMap<Vec<u32>, Arc<Subset>>>,
}

/// A policy without its scope.
struct Stripped {
    rule: Rule,
    needs: Needs,
    scope: Scope,
    /// Its condition, in Cedar's JSON form.
    condition: Value,
}

/// Whom a policy's principal scope covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Anyone,
    /// `is Person`
    People,
    /// `== Person::"…"`
    Person(String),
    /// `in Group::"…"`
    Group(String),
    /// `is Anonymous`
    Anonymous,
    /// `is Agent`
    Agents,
    /// `== Agent::"…"`
    Agent(String),
    /// `is Person in Group::"…"`
    PeopleOf(String),
    /// `is Agent in Group::"…"`
    AgentsOf(String),
    /// Nobody that asks here.
    Others,
}

/// Policies that concern one endpoint and one kind of asker.
pub(crate) struct Subset {
    /// Each by itself, sorted by id.
    pub(super) rules: Vec<Rule>,
    /// Holds or errs wherever one of the forbids does.
    pub(super) any_forbid: Rule,
    pub(super) needs: Needs,
}

impl Slices {
    pub(super) fn none() -> Self {
        let prepared = Cache::builder().max_capacity(PREPARED_MAX).build_with_hasher(RandomState::default());
        Self { of: HashMap::default(), slices: Vec::new(), prepared }
    }

    /// Indexes a validated set.
    pub(super) fn new(set: &PolicySet, catalogue: &Catalogue, schema: &Schema) -> Result<Self, String> {
        let mut slices = Self::none();
        let index = Index::new(set)?;
        let mut shared: HashMap<Vec<u32>, Arc<Concerning>> = HashMap::new();
        for service in catalogue.services.values() {
            for endpoint in service.endpoints.iter().chain([&service.read, &service.write]) {
                let number = u32::try_from(slices.slices.len()).map_err(|_| "there are too many endpoints")?;
                if slices.of.insert(endpoint.resource.clone(), number).is_some() {
                    return Err(format!("the endpoint {:?} is declared twice", endpoint.resource));
                }
                let of_sign_in = catalogue.is_of_sign_in(&endpoint.action);
                let concerning = index.concerning(service, endpoint, of_sign_in);
                let policies = match shared.get(&concerning) {
                    Some(policies) => Arc::clone(policies),
                    None => {
                        let policies = Arc::new(index.select(&concerning));
                        shared.insert(concerning, Arc::clone(&policies));
                        policies
                    }
                };
                slices.slices.push(Slice {
                    service: Arc::clone(service),
                    endpoint: Arc::clone(endpoint),
                    parts: evaluate::EndpointParts::new(service, endpoint, schema)?,
                    policies,
                    anonymous: OnceLock::new(),
                });
            }
        }
        Ok(slices)
    }

    /// The slice of an operation; `None` if the operation is of no endpoint that policies were loaded for.
    pub(crate) fn of(&self, operation: &Operation) -> Option<(u32, &Slice)> {
        let number = *self.of.get(&operation.endpoint.resource)?;
        let slice = self.slices.get(usize::try_from(number).ok()?)?;
        let same = Arc::ptr_eq(&slice.endpoint, &operation.endpoint)
            || (slice.service.name == operation.service.name
                && slice.endpoint.action == operation.endpoint.action
                && slice.endpoint.effect == operation.endpoint.effect
                && slice.endpoint.inputs == operation.endpoint.inputs);
        same.then_some((number, slice))
    }

    /// Whether any policy of any endpoint looks at what is usual for people.
    pub(super) fn look_at_habits(&self) -> bool {
        self.slices.iter().any(Slice::looks_at_habits)
    }

    /// The slice of an endpoint.
    pub(super) fn at(&self, endpoint: &Endpoint) -> Option<&Slice> {
        let number = *self.of.get(&endpoint.resource)?;
        self.slices.get(usize::try_from(number).ok()?)
    }

    /// What is known of a person or an agent at an endpoint before anything is asked.
    ///
    /// Kept by who it is and endpoint; never a verdict. Who changed is prepared anew.
    pub(crate) fn prepare(&self, number: u32, slice: &Slice, who: Principal<'_>) -> Result<Arc<Prepared>, String> {
        let key = (number, Key::of(who));
        if let Some(prepared) = self.prepared.get(&key)
            && prepared.is_for(who)
        {
            return Ok(prepared);
        }
        let subset = slice.policies.subset(slice.policies.concerning(who));
        let prepared = Arc::new(Prepared::somebody(&slice.parts, subset?, who)?);
        self.prepared.insert(key, Arc::clone(&prepared));
        Ok(prepared)
    }
}

impl Slice {
    /// What is known of nobody at this endpoint.
    pub(crate) fn prepare_anonymous(&self) -> Result<Arc<Prepared>, String> {
        let prepare = || {
            let subset = self.policies.subset(self.policies.concerning_anonymous());
            Ok(Arc::new(Prepared::anonymous(&self.parts, subset?)?))
        };
        self.anonymous.get_or_init(prepare).clone()
    }

    /// Whether any policy here looks at what is usual for people, or at what failed.
    pub(crate) fn looks_at_habits(&self) -> bool {
        self.policies.looks_at_habits
    }

    /// Whether any policy here permits somebody who is signed in.
    pub(crate) fn permits_somebody(&self) -> bool {
        self.policies.policies.iter().any(|stripped| {
            stripped.rule.effect == PolicyEffect::Permit
                && matches!(
                    stripped.scope,
                    Scope::Anyone | Scope::People | Scope::Person(_) | Scope::Group(_) | Scope::PeopleOf(_)
                )
        })
    }

    /// The ids of the policies.
    pub(super) fn ids(&self) -> Vec<&str> {
        self.policies.policies.iter().map(|stripped| stripped.rule.id.as_str()).collect()
    }

    /// Each policy's id and condition, in Cedar's JSON form.
    pub(super) fn conditions(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.policies.policies.iter().map(|stripped| (stripped.rule.id.as_str(), &stripped.condition))
    }
}

/// All policies, stripped, with what their scopes say of action and resource.
struct Index {
    policies: Vec<(Arc<Stripped>, ActionConstraint, ResourceConstraint)>,
}

impl Index {
    fn new(set: &PolicySet) -> Result<Self, String> {
        let mut policies: Vec<&Policy> = set.policies().collect();
        policies.sort_by_key(|policy| policy.id().to_string());
        let policies = policies
            .into_iter()
            .map(|policy| {
                let stripped = Stripped::new(policy)?;
                Ok((Arc::new(stripped), policy.action_constraint(), policy.resource_constraint()))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { policies })
    }

    /// The policies that can concern an endpoint, as indices.
    fn concerning(&self, service: &Service, endpoint: &Endpoint, of_sign_in: bool) -> Vec<u32> {
        let concerns = |(_, action, resource): &&(Arc<Stripped>, ActionConstraint, ResourceConstraint)| {
            action_holds(action, endpoint, of_sign_in) && resource_holds(resource, service, endpoint)
        };
        (0..).zip(&self.policies).filter(|(_, entry)| concerns(entry)).map(|(at, _)| at).collect()
    }

    fn select(&self, which: &[u32]) -> Concerning {
        let policies: Vec<Arc<Stripped>> = which
            .iter()
            .filter_map(|at| self.policies.get(usize::try_from(*at).ok()?))
            .map(|(stripped, ..)| Arc::clone(stripped))
            .collect();
        let mut scopes: BTreeMap<Scope, Vec<u32>> = BTreeMap::new();
        for (at, stripped) in (0..).zip(&policies) {
            scopes.entry(stripped.scope.clone()).or_default().push(at);
        }
        let looks_at_habits = policies.iter().any(|stripped| stripped.needs.looks_at_habits());
        Concerning { policies, scopes, looks_at_habits, subsets: Mutex::new(HashMap::new()) }
    }
}

impl Concerning {
    /// The policies whose principal scope covers a person or an agent.
    fn concerning(&self, who: Principal<'_>) -> Vec<u32> {
        let (own, those): ([Scope; 3], fn(String) -> Scope) = match who {
            Principal::Person(person) => {
                let named = Scope::Person(person.login.as_str().to_owned());
                ([Scope::Anyone, Scope::People, named], Scope::PeopleOf)
            }
            Principal::Agent(agent) => {
                ([Scope::Anyone, Scope::Agents, Scope::Agent(agent.name.to_string())], Scope::AgentsOf)
            }
        };
        let groups = who.groups().iter().flat_map(|group| [Scope::Group(group.clone()), those(group.clone())]);
        let mut found: Vec<u32> =
            own.into_iter().chain(groups).filter_map(|scope| self.scopes.get(&scope)).flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The policies for nobody: a permit counts only if its scope names `Anonymous`,
    /// so that `permit (principal, …)` opens no door to the street; every forbid that
    /// can hold counts.
    fn concerning_anonymous(&self) -> Vec<u32> {
        (0..)
            .zip(&self.policies)
            .filter(|(_, stripped)| match (stripped.rule.effect, &stripped.scope) {
                (_, Scope::Anonymous) | (PolicyEffect::Forbid, Scope::Anyone) => true,
                (PolicyEffect::Permit | PolicyEffect::Forbid, _) => false,
            })
            .map(|(at, _)| at)
            .collect()
    }

    fn subset(&self, which: Vec<u32>) -> Result<Arc<Subset>, String> {
        if let Some(subset) = self.subsets.lock().get(&which) {
            return Ok(Arc::clone(subset));
        }
        let chosen: Vec<&Arc<Stripped>> =
            which.iter().filter_map(|at| self.policies.get(usize::try_from(*at).ok()?)).collect();
        let subset = Arc::new(Subset::new(&chosen)?);
        let mut subsets = self.subsets.lock();
        if subsets.len() >= SUBSETS_MAX {
            subsets.clear();
        }
        subsets.insert(which, Arc::clone(&subset));
        Ok(subset)
    }
}

impl Subset {
    fn new(policies: &[&Arc<Stripped>]) -> Result<Self, String> {
        let mut rules: Vec<Rule> = policies.iter().map(|stripped| stripped.rule.clone()).collect();
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        let forbids = policies.iter().filter(|stripped| stripped.rule.effect == PolicyEffect::Forbid);
        let conditions: Vec<&Value> = forbids.map(|stripped| &stripped.condition).collect();
        let any_forbid = Rule::of(&merge::forbid(&conditions)?);
        let needs = policies.iter().fold(Needs::NONE, |needs, stripped| needs.and(stripped.needs));
        Ok(Self { rules, any_forbid, needs })
    }
}

impl Stripped {
    fn new(policy: &Policy) -> Result<Self, String> {
        let mut json = policy.to_json().map_err(|error| error.to_string())?;
        let needs = Needs::rewrite(&mut json);
        let condition = merge::condition(&json)?;
        let fields = json.as_object_mut().ok_or("a policy's JSON form is no object")?;
        for scope in ["principal", "action", "resource"] {
            fields.insert(scope.to_owned(), json!({ "op": "All" }));
        }
        fields.remove("annotations");
        let id = PolicyId::new(policy.id());
        let stripped = Policy::from_json(Some(id), json).map_err(|error| error.to_string())?;
        Ok(Self { rule: Rule::of(&stripped), needs, scope: Scope::of(&policy.principal_constraint()), condition })
    }
}

impl Scope {
    fn of(constraint: &PrincipalConstraint) -> Self {
        let is = |name: &EntityTypeName| match name.basename() {
            evaluate::PERSON => Self::People,
            evaluate::AGENT => Self::Agents,
            evaluate::ANONYMOUS => Self::Anonymous,
            _ => Self::Others,
        };
        // An entity is `in` itself, so `in Person::"a"` is `== Person::"a"`.
        let entity = |uid: &EntityUid| {
            let id: &str = uid.id().as_ref();
            match uid.type_name().basename() {
                evaluate::PERSON => Self::Person(id.to_owned()),
                evaluate::AGENT => Self::Agent(id.to_owned()),
                evaluate::GROUP => Self::Group(id.to_owned()),
                evaluate::ANONYMOUS if id == evaluate::NOBODY => Self::Anonymous,
                _ => Self::Others,
            }
        };
        match constraint {
            PrincipalConstraint::Any => Self::Anyone,
            PrincipalConstraint::Is(name) => is(name),
            PrincipalConstraint::Eq(uid) => match entity(uid) {
                // No principal is a group.
                Self::Group(_) => Self::Others,
                scope => scope,
            },
            PrincipalConstraint::In(uid) => entity(uid),
            PrincipalConstraint::IsIn(name, uid) => match (is(name), entity(uid)) {
                (Self::People, scope @ Self::Person(_)) | (Self::Agents, scope @ Self::Agent(_)) => scope,
                (Self::People, Self::Group(group)) => Self::PeopleOf(group),
                (Self::Agents, Self::Group(group)) => Self::AgentsOf(group),
                (Self::Anonymous, Self::Anonymous) => Self::Anonymous,
                _ => Self::Others,
            },
        }
    }
}

fn action_holds(constraint: &ActionConstraint, endpoint: &Endpoint, of_sign_in: bool) -> bool {
    let action = endpoint.action.as_str();
    let is = |uid: &EntityUid| -> bool {
        let id: &str = uid.id().as_ref();
        id == action
    };
    let within = |uid: &EntityUid| -> bool {
        let id: &str = uid.id().as_ref();
        id == action || id == schema::group(endpoint.effect) || (of_sign_in && id == SIGN_IN)
    };
    match constraint {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(uid) => is(uid),
        ActionConstraint::In(uids) => uids.iter().any(within),
    }
}

fn resource_holds(constraint: &ResourceConstraint, service: &Service, endpoint: &Endpoint) -> bool {
    let is = |name: &EntityTypeName| name.basename() == evaluate::ENDPOINT;
    let within = |uid: &EntityUid| {
        let id: &str = uid.id().as_ref();
        match uid.type_name().basename() {
            evaluate::ENDPOINT => id == endpoint.resource,
            evaluate::SERVICE => id == service.name.as_str(),
            _ => false,
        }
    };
    match constraint {
        ResourceConstraint::Any => true,
        ResourceConstraint::Is(name) => is(name),
        // The resource is always an endpoint.
        ResourceConstraint::Eq(uid) => uid.type_name().basename() == evaluate::ENDPOINT && within(uid),
        ResourceConstraint::In(uid) => within(uid),
        ResourceConstraint::IsIn(name, uid) => is(name) && within(uid),
    }
}

impl fmt::Debug for Slices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slices({})", self.slices.len())
    }
}
impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({})", self.endpoint.resource)
    }
}
impl fmt::Debug for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subset({})", self.rules.len())
    }
}
