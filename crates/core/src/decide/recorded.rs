//! What a decision was taken on, as it is kept beside its entry, so that other policies can be asked about it later.
//!
//! It holds all that any policy could ask, whatever the policies of then looked at. It is made by taking apart what
//! [`decide`](super::decide) is given, field by field: something new to decide on does not compile until it is
//! said here whether it is kept. It lies in the details of entries, where it can be erased.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stepgate_evidence::Asked;

use super::Asker;
use super::situation::{OwnedAsker, Situation};
use crate::access::{TokenView, VerifiedToken};
use crate::behaviour::{About, FailureCounts, Raised, Signal, Unusual};
use crate::catalogue::{Catalogue, Endpoint, Host, InputKind};
use crate::factor::{Aaguid, FactorKind, ModelFacts, Models};
use crate::id::{PersonId, SessionId};
use crate::operation::{InputValue, Inputs, Operation};
use crate::person::{Agent, Login, Person};
use crate::provider::ProviderName;
use crate::risk;
use crate::session::{Assurance, Audience, Device, Proof, SessionView};
use crate::surroundings::{Anonymizer, Environment, Located, Place, Posture, Surroundings};
use crate::time::Timestamp;

/// The form that is written. Another one is not decided again.
const FORM: u32 = 1;

/// Under this name it stands in the details of an entry.
pub const RECORDED: &str = "decided_on";

/// What a decision was taken on, but for what stands in the entry: who, and the operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    form: u32,
    at_ms: i64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    inputs: BTreeMap<String, Input>,
    who: Who,
    around: Around,
    /// Of a passed challenge of exactly this operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    confirmed: Vec<Proved>,
}

/// What was proved, and when: milliseconds since 1970.
type Proved = (String, i64);

/// An input by its type. Numbers are texts, because JSON's are not all exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Input {
    Long(String),
    Text(String),
    Bool(bool),
    /// In units of 1/10,000.
    Decimal(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Who {
    Nobody,
    Session(Box<Session>),
    Token(Box<Token>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    login: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    email: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    id: String,
    person: Named,
    proofs: Vec<Proved>,
    enrolled: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    providers: Vec<String>,
    started_ms: i64,
    used_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_first_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_before_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    device_name: String,
    /// Of the sign-in.
    country: String,
    /// What was different from the sign-in.
    #[serde(default, skip_serializing_if = "is_false")]
    address_changed: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    agent_changed: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    token_reused: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    person: Named,
    /// Name and groups of the agent, if it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<(String, Vec<String>)>,
    enrolled: Vec<String>,
    provider: String,
    /// What its login counts as.
    strength: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_time_ms: Option<i64>,
    /// Whether somebody logs in for it.
    of_a_login: bool,
}

/// The surroundings, with what other systems told of who asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Around {
    address: String,
    /// Nothing where nobody knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Where>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    risk: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signals: Vec<String>,
    /// What was unusual for the person, with the weights of then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    own: Vec<(String, u8)>,
    /// What had failed, in the order of [`FailureCounts::as_array`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failures: Option<[i64; 6]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    posture: Option<String>,
    /// What was known of the models of their passkeys: certified level, status, and whether it was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    models: Vec<(String, u8, String, bool)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    country: String,
    region: String,
    city: String,
    asn: u32,
    anonymizer: Vec<String>,
}

/// Why a decision cannot be taken again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum CannotDecide {
    /// Its details were erased, or it was written before anything was kept.
    #[error("what it was decided on is not kept, or was erased")]
    NotKept,
    /// It is of a form that is not read here.
    #[error("what it was decided on is kept in a form that this version does not read")]
    Form,
    /// The operation is not in the configuration any more.
    #[error("{0} is not in the configuration any more")]
    NoSuchOperation(String),
    /// The operation takes other inputs now.
    #[error("{0} takes other inputs now")]
    OtherInputs(String),
}

impl Recorded {
    /// What a decision on this is taken on.
    pub fn of(
        operation: &Operation,
        asker: Asker<'_>,
        around: &Surroundings,
        confirmed: &[(FactorKind, Timestamp)],
    ) -> Self {
        // Service, endpoint and their words are the entry's; no policy sees the rest.
        let Operation { service: _, endpoint: _, inputs, method: _, url: _, content_type: _, effect_headers: _ } =
            operation;
        Self {
            form: FORM,
            at_ms: around.now.as_ms(),
            inputs: inputs.iter().map(|(name, value)| (name.clone(), Input::of(value))).collect(),
            who: match asker {
                Asker::Anonymous => Who::Nobody,
                Asker::SignedIn(session) => Who::Session(Box::new(Session::of(session, around))),
                Asker::Token(view) => Who::Token(Box::new(Token::of(view))),
            },
            around: Around::of(around, asker),
            confirmed: proved(confirmed.iter().copied()),
        }
    }

    /// As it stands in details; nothing where it could not be written, which is then a decision that is not kept.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Reads what stands in the details of an entry.
    pub fn from_details(details: Option<&serde_json::Value>) -> Result<Self, CannotDecide> {
        let recorded = details.and_then(|body| body.get(RECORDED)).ok_or(CannotDecide::NotKept)?;
        if recorded.get("form").and_then(serde_json::Value::as_u64) != Some(u64::from(FORM)) {
            return Err(CannotDecide::Form);
        }
        Self::deserialize(recorded).map_err(|_| CannotDecide::Form)
    }

    /// The moment of the decision.
    pub const fn at(&self) -> Timestamp {
        Timestamp::from_ms(self.at_ms)
    }

    /// The situation of then, with services, operations, networks and regions as they are configured now.
    ///
    /// `person` is who asked or answers for the agent, as the entry says it.
    pub fn restore(
        &self,
        asked: &Asked,
        person: &str,
        catalogue: &Catalogue,
        environment: &Environment,
    ) -> Result<Situation, CannotDecide> {
        let gone = || CannotDecide::NoSuchOperation(asked.resource.clone());
        let service = catalogue.by_name(&asked.service).ok_or_else(gone)?;
        let endpoints = service.endpoints.iter().chain([&service.read, &service.write]);
        let found =
            |endpoint: &&Arc<Endpoint>| endpoint.resource == asked.resource && endpoint.action.as_str() == asked.action;
        let endpoint = endpoints.into_iter().find(found).ok_or_else(gone)?;
        let operation = Operation {
            service: Arc::clone(service),
            inputs: self.inputs(endpoint).ok_or_else(|| CannotDecide::OtherInputs(asked.resource.clone()))?,
            endpoint: Arc::clone(endpoint),
            method: String::new(),
            url: String::new(),
            content_type: String::new(),
            effect_headers: BTreeMap::new(),
        };
        let person = person.parse().unwrap_or(PersonId::from_bytes([0; 16]));
        let around = self.around.restore(self.at(), environment).ok_or(CannotDecide::Form)?;
        let asker = match &self.who {
            Who::Nobody => Some(OwnedAsker::Anonymous),
            Who::Session(session) => session.restore(person, &around).map(|view| OwnedAsker::SignedIn(Box::new(view))),
            Who::Token(token) => token.restore(person, &service.host).map(|view| OwnedAsker::Token(Box::new(view))),
        };
        let confirmed = restored(&self.confirmed).ok_or(CannotDecide::Form)?;
        Ok(Situation { operation, asker: asker.ok_or(CannotDecide::Form)?, surroundings: around, confirmed })
    }

    /// The inputs, if they are those that the endpoint declares.
    fn inputs(&self, endpoint: &Endpoint) -> Option<Inputs> {
        let declared = endpoint.inputs.iter().map(|input| (&input.name, input.kind));
        let inputs: Inputs = declared
            .map(|(name, kind)| Some((name.clone(), self.inputs.get(name)?.restore(kind)?)))
            .collect::<Option<_>>()?;
        (inputs.len() == self.inputs.len()).then_some(inputs)
    }
}

impl Input {
    fn of(value: &InputValue) -> Self {
        match value {
            InputValue::Long(value) => Self::Long(value.to_string()),
            InputValue::String(value) => Self::Text(value.clone()),
            InputValue::Bool(value) => Self::Bool(*value),
            InputValue::Decimal(value) => Self::Decimal(value.to_string()),
        }
    }

    fn restore(&self, kind: InputKind) -> Option<InputValue> {
        Some(match (self, kind) {
            (Self::Long(value), InputKind::Long) => InputValue::Long(value.parse().ok()?),
            (Self::Text(value), InputKind::String) => InputValue::String(value.clone()),
            (Self::Bool(value), InputKind::Bool) => InputValue::Bool(*value),
            (Self::Decimal(value), InputKind::Decimal) => InputValue::Decimal(value.parse().ok()?),
            _ => return None,
        })
    }
}

impl Named {
    fn of(person: &Person) -> Self {
        // The id is the entry's. Policies see no name, and who is not active asks nothing.
        let Person { id: _, login, name: _, email, groups, active: _ } = person;
        Self { login: login.as_str().to_owned(), email: email.clone(), groups: groups.clone() }
    }

    fn restore(&self, id: PersonId) -> Option<Arc<Person>> {
        Some(Arc::new(Person {
            id,
            login: Login::parse(&self.login).ok()?,
            name: String::new(),
            email: self.email.clone(),
            groups: self.groups.clone(),
            active: true,
        }))
    }
}

impl Session {
    fn of(session: &SessionView, around: &Surroundings) -> Self {
        // Where it is used, how long it lasts and by which token decides nothing; risks are in the surroundings.
        let SessionView {
            id,
            person,
            audience: _,
            generation: _,
            newest_generation: _,
            assurance,
            enrolled,
            providers,
            risks: _,
            started_at,
            last_used_at,
            ends_at: _,
            browser: _,
            device: Device { first_seen, seen_before, name, cookie: _ },
            address: _,
            country,
            agent: _,
            token_reused,
        } = session;
        // Of address and agent of the sign-in it counts whether they are others now.
        let changed = session.changed(around);
        Self {
            id: id.to_string(),
            person: Named::of(person),
            proofs: proved(assurance.proofs().iter().map(|proof| (proof.kind, proof.at))),
            enrolled: names(enrolled),
            providers: providers.iter().map(ToString::to_string).collect(),
            started_ms: started_at.as_ms(),
            used_ms: last_used_at.as_ms(),
            device_first_ms: first_seen.map(Timestamp::as_ms),
            device_before_ms: seen_before.map(Timestamp::as_ms),
            device_name: name.clone(),
            country: country.clone(),
            address_changed: changed.address,
            agent_changed: changed.agent,
            token_reused: *token_reused,
        }
    }

    fn restore(&self, person: PersonId, around: &Surroundings) -> Option<SessionView> {
        let proof = |(kind, at)| Proof { kind, at, generation: 0 };
        let providers = self.providers.iter().map(|name| ProviderName::parse(name).ok());
        Some(SessionView {
            id: self.id.parse::<SessionId>().ok()?,
            person: self.person.restore(person)?,
            audience: Audience::Gate,
            generation: 0,
            newest_generation: 0,
            assurance: Assurance::new(restored(&self.proofs)?.into_iter().map(proof).collect()),
            enrolled: kinds(&self.enrolled)?.into(),
            providers: providers.collect::<Option<Vec<_>>>()?.into(),
            risks: Arc::new([]),
            started_at: Timestamp::from_ms(self.started_ms),
            last_used_at: Timestamp::from_ms(self.used_ms),
            ends_at: around.now,
            browser: None,
            device: Device {
                first_seen: self.device_first_ms.map(Timestamp::from_ms),
                seen_before: self.device_before_ms.map(Timestamp::from_ms),
                name: self.device_name.clone(),
                cookie: None,
            },
            address: if self.address_changed { other_than(around.address) } else { around.address },
            country: self.country.clone(),
            agent: if self.agent_changed { format!("{}, changed", around.agent) } else { around.agent.clone() },
            token_reused: self.token_reused,
        })
    }
}

impl Token {
    fn of(view: &TokenView) -> Self {
        let TokenView { token, agent, person, enrolled, risks: _, host: _ } = view;
        // How it was verified, and what it may be used for, was judged before the decision.
        let VerifiedToken {
            id: _,
            provider,
            issuer: _,
            whose: _,
            client: _,
            jti: _,
            scopes: _,
            acr: _,
            amr: _,
            auth_time,
            strength,
            issued_at: _,
            expires_at: _,
            bound_to: _,
            verified_by: _,
            signed_by: _,
        } = &**token;
        Self {
            person: Named::of(person),
            agent: agent.as_ref().map(|agent| (agent.name.to_string(), agent.groups.clone())),
            enrolled: names(enrolled),
            provider: provider.to_string(),
            strength: strength.to_string(),
            auth_time_ms: auth_time.map(Timestamp::as_ms),
            of_a_login: token.comes_of_a_login(),
        }
    }

    fn restore(&self, person: PersonId, host: &Host) -> Option<TokenView> {
        let token = VerifiedToken::remembered(
            ProviderName::parse(&self.provider).ok()?,
            self.strength.parse().ok()?,
            self.auth_time_ms.map(Timestamp::from_ms),
            self.of_a_login,
        );
        let agent = |(name, groups): &(String, Vec<String>)| {
            Arc::new(Agent { name: Arc::from(name.as_str()), groups: groups.clone() })
        };
        Some(TokenView {
            token: Arc::new(token),
            agent: self.agent.as_ref().map(agent),
            person: self.person.restore(person)?,
            enrolled: kinds(&self.enrolled)?.into(),
            risks: Arc::new([]),
            host: host.clone(),
        })
    }
}

impl Around {
    fn of(around: &Surroundings, asker: Asker<'_>) -> Self {
        // The network is found again by the address; that the agent changed is the session's.
        let Surroundings {
            address,
            network: _,
            located,
            now: _,
            risk_level: _,
            risk_signals: _,
            agent: _,
            posture,
            unusual,
            models,
        } = around;
        let enrolled: &[FactorKind] = match asker {
            Asker::Anonymous => &[],
            Asker::SignedIn(session) => &session.enrolled,
            Asker::Token(view) => &view.enrolled,
        };
        let kinds = enrolled.iter().copied().chain(asker.proofs().map(|(kind, _)| kind));
        let model = |kind| match kind {
            FactorKind::Passkey(sort) => Some(sort.aaguid),
            _ => None,
        };
        let own: BTreeSet<Aaguid> = kinds.filter_map(model).collect();
        let known = models.iter().filter(|(aaguid, _)| own.contains(aaguid));
        let place = located.place();
        let level = risk::level(around, asker.risks());
        Self {
            address: address.to_string(),
            place: (*place != Place::default()).then(|| Where::of(place)),
            risk: (level != UNKNOWN).then(|| level.to_owned()),
            signals: risk::signals(around, asker.risks())
                .filter(|name| !unusual.names().any(|own| own == *name))
                .map(str::to_owned)
                .collect(),
            own: unusual.raised.iter().map(|raised| (raised.signal.name().to_owned(), raised.weight)).collect(),
            failures: (unusual.failures != FailureCounts::default()).then(|| unusual.failures.as_array()),
            posture: (*posture != Posture::Unknown).then(|| posture.name().to_owned()),
            models: known
                .map(|(aaguid, facts)| (aaguid.to_string(), facts.certified, facts.status.clone(), facts.is_refused))
                .collect(),
        }
    }

    fn restore(&self, at: Timestamp, environment: &Environment) -> Option<Surroundings> {
        let mut around = Surroundings::new(self.address.parse().ok()?, "", at, environment);
        let place = match &self.place {
            Some(place) => place.restore()?,
            None => Place::default(),
        };
        around.located = Located::known(around.address, place, &environment.geography);
        around.risk_level = self.risk.clone().unwrap_or_else(|| UNKNOWN.to_owned()).into();
        around.risk_signals = self.signals.clone();
        let raised = |(name, weight): &(String, u8)| {
            Some(Raised { signal: Signal::named(name)?, weight: *weight, about: About::Described })
        };
        around.unusual = Unusual {
            raised: self.own.iter().map(raised).collect::<Option<_>>()?,
            failures: self.failures.map(FailureCounts::from_array).unwrap_or_default(),
        };
        around.posture = match &self.posture {
            Some(posture) => posture.parse().ok()?,
            None => Posture::Unknown,
        };
        let model = |(aaguid, certified, status, is_refused): &(String, u8, String, bool)| {
            let facts = ModelFacts {
                name: String::new(),
                certified: *certified,
                status: status.clone(),
                is_refused: *is_refused,
            };
            Some((aaguid.parse().ok()?, facts))
        };
        around.models = Arc::new(Models::new(self.models.iter().map(model).collect::<Option<_>>()?));
        Some(around)
    }
}

/// A level of risk that nobody tells.
const UNKNOWN: &str = "unknown";

impl Where {
    fn of(place: &Place) -> Self {
        // Where it is on the globe decided what was unusual, which is kept by itself.
        let Place { country, region, city, asn, anonymizer, spot: _ } = place;
        Self {
            country: country.clone(),
            region: region.clone(),
            city: city.clone(),
            asn: *asn,
            anonymizer: anonymizer.iter().map(|one| one.name().to_owned()).collect(),
        }
    }

    fn restore(&self) -> Option<Place> {
        let named = |name: &String| Anonymizer::ALL.into_iter().find(|one| one.name() == name);
        Some(Place {
            country: self.country.clone(),
            region: self.region.clone(),
            city: self.city.clone(),
            asn: self.asn,
            anonymizer: self.anonymizer.iter().map(named).collect::<Option<_>>()?,
            spot: None,
        })
    }
}

fn proved(proofs: impl Iterator<Item = (FactorKind, Timestamp)>) -> Vec<Proved> {
    proofs.map(|(kind, at)| (kind.to_string(), at.as_ms())).collect()
}

fn restored(proofs: &[Proved]) -> Option<Vec<(FactorKind, Timestamp)>> {
    proofs.iter().map(|(kind, at)| Some((kind.parse().ok()?, Timestamp::from_ms(*at)))).collect()
}

fn names(kinds: &[FactorKind]) -> Vec<String> {
    kinds.iter().map(ToString::to_string).collect()
}

fn kinds(names: &[String]) -> Option<Vec<FactorKind>> {
    names.iter().map(|name| name.parse().ok()).collect()
}

/// Any address of another network.
fn other_than(address: std::net::IpAddr) -> std::net::IpAddr {
    let other = std::net::IpAddr::from([0, 0, 0, 0]);
    if address == other { std::net::IpAddr::from([0, 0, 0, 1]) } else { other }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
