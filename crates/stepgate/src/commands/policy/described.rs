//! A request and a person, as a test or somebody at the command line describes them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use stepgate_core::access::TokenView;
use stepgate_core::catalogue::{Catalogue, Service};
use stepgate_core::decide::{Asker, Explanation, explain};
use stepgate_core::factor::FactorKind;
use stepgate_core::id::{PersonId, SessionId};
use stepgate_core::operation::Operation;
use stepgate_core::person::{Login, Person};
use stepgate_core::policy::Policies;
use stepgate_core::session::{Assurance, Audience, Device, Proof, SessionView};
use stepgate_core::surroundings::{Environment, Located, Place, Surroundings};
use stepgate_core::time::{Clock as _, Timestamp};
use stepgate_gateway::canonical::{AfterHead, CanonicalRequest, Listener, Peer, Scheme, TrustedHops};

use super::facts::Facts;
use crate::commands::{Failure, wrong_input};
use crate::config::parse_duration;
use crate::system::SystemClock;

/// A request, as a test or a person describes it.
#[derive(Debug, Default)]
pub(in crate::commands) struct Described<'a> {
    pub(in crate::commands) method: &'a str,
    /// The whole URL.
    pub(in crate::commands) url: &'a str,
    pub(in crate::commands) content_type: Option<&'a str>,
    pub(in crate::commands) body: Option<&'a [u8]>,
    pub(in crate::commands) headers: Vec<(&'a str, &'a str)>,
}

/// The operation that a request is, read by the very code that the HTTP door reads it with.
pub(in crate::commands) fn operation_of(
    catalogue: &Catalogue,
    described: &Described<'_>,
) -> Result<Operation, Failure> {
    let (service, canonical) = canonical_of(catalogue, described)?;
    stepgate_gateway::http::operation_of(&service, &canonical, described.body)
        .map_err(|error| refused(&service, &canonical, &error.to_string()))
}

/// What the gate says to this request, and which declared path is meant where it is nearly one.
fn refused(service: &Service, canonical: &CanonicalRequest, why: &str) -> Failure {
    let near = stepgate_gateway::http::near_of(service, canonical);
    let near = near.map_or_else(String::new, |near| format!(": {}", near.resource));
    wrong_input(format!("the gate refuses this request: {why}{near}"))
}

/// The operation that a request is, without its inputs: what can be said before there is a body.
pub(in crate::commands) fn operation_without_inputs(
    catalogue: &Catalogue,
    described: &Described<'_>,
) -> Result<Operation, Failure> {
    let (service, canonical) = canonical_of(catalogue, described)?;
    let endpoint = stepgate_gateway::http::endpoint_of(&service, &canonical)
        .map_err(|error| refused(&service, &canonical, &error.to_string()))?;
    Ok(Operation {
        endpoint,
        inputs: Default::default(),
        method: described.method.to_owned(),
        url: described.url.to_owned(),
        content_type: String::new(),
        effect_headers: Default::default(),
        service,
    })
}

fn canonical_of(catalogue: &Catalogue, described: &Described<'_>) -> Result<(Arc<Service>, CanonicalRequest), Failure> {
    let url = url::Url::parse(described.url)
        .map_err(|error| wrong_input(format!("{}: {error}; a whole URL is expected", described.url)))?;
    let host = url.host_str().unwrap_or_default();
    let origin = url.origin().ascii_serialization();
    let after = described.url.find("://").and_then(|at| {
        let authority = at.checked_add(3)?;
        let rest = described.url.get(authority..)?;
        rest.find('/').and_then(|slash| described.url.get(authority.checked_add(slash)?..))
    });
    let target = after.unwrap_or("/");
    let service = stepgate_core::catalogue::Host::parse(host)
        .ok()
        .and_then(|host| catalogue.by_host(&host))
        .filter(|service| service.origin == origin)
        .ok_or_else(|| {
            let known: Vec<_> = catalogue.services.values().map(|service| service.origin.as_str()).collect();
            wrong_input(format!("no service has the origin {origin}; there are {}", known.join(", ")))
        })?;
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut request = http::Request::builder().method(described.method).uri(target).header("host", authority);
    if let Some(content_type) = described.content_type.filter(|_| described.body.is_some()) {
        request = request.header("content-type", content_type);
    }
    if let Some(body) = described.body {
        request = request.header("content-length", body.len());
    }
    for (name, value) in &described.headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) =
        request.body(()).map_err(|error| wrong_input(format!("this is no request: {error}")))?.into_parts();
    let after_head = if described.body.is_some() { AfterHead::Body } else { AfterHead::Nothing };
    let listener = Listener { scheme: Scheme::Http, hops: TrustedHops::default() };
    let peer = Peer::new((IpAddr::from([127, 0, 0, 1]), 1).into());
    let canonical = CanonicalRequest::read(parts, after_head, &peer, &listener)
        .map_err(|error| wrong_input(format!("the gate refuses this request: {error}")))?;
    Ok((Arc::clone(service), canonical))
}

/// A person and moment, as a test or a person describes them.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) groups: Vec<String>,
    pub(super) proved: Vec<(FactorKind, Duration)>,
    pub(super) enrolled: Vec<FactorKind>,
    pub(super) facts: Facts,
    pub(super) ip: IpAddr,
    /// `None`: where the databases say.
    pub(super) place: Option<Place>,
    pub(super) at: Timestamp,
    /// What this very request was confirmed with.
    pub(super) confirmed: Vec<FactorKind>,
}

impl Who {
    fn session(&self, around: &Surroundings) -> Option<SessionView> {
        let proof = |(kind, age): &(FactorKind, Duration)| {
            let ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            Proof { kind: *kind, at: Timestamp::from_ms(self.at.as_ms().saturating_sub(ms)), generation: 1 }
        };
        let proofs: Vec<Proof> = self.proved.iter().map(proof).collect();
        let started_at = proofs.iter().map(|proof| proof.at).min()?;
        let login = Login::parse("somebody").ok()?;
        let person = Person {
            id: PersonId::from_bytes([1; 16]),
            name: "Somebody".to_owned(),
            email: "somebody@example.com".to_owned(),
            groups: self.groups.clone(),
            active: true,
            login,
        };
        let view = SessionView {
            id: SessionId::from_bytes([2; 16]),
            person: Arc::new(person),
            audience: Audience::Gate,
            generation: 1,
            newest_generation: 1,
            assurance: Assurance::new(proofs),
            enrolled: self.enrolled.as_slice().into(),
            providers: Arc::new([]),
            risks: Arc::new([]),
            started_at,
            last_used_at: self.at,
            ends_at: self.at.plus(Duration::from_secs(3600)),
            browser: None,
            device: Device::default(),
            address: around.address,
            country: around.located.place().country.clone(),
            agent: around.agent.clone(),
            token_reused: false,
        };
        Some(self.facts.of(view, self.at))
    }

    pub(super) fn explain(
        &self,
        policies: &Policies,
        operation: &Operation,
        environment: &Environment,
        token: Option<&TokenView>,
    ) -> Explanation {
        let mut surroundings =
            self.facts.around(Surroundings::new(self.ip, "", self.at, environment), &environment.behaviour);
        if let Some(place) = &self.place {
            surroundings.located = Located::known(surroundings.address, place.clone(), &environment.geography);
        }
        let session = self.session(&surroundings);
        let asker = match token {
            Some(view) => Asker::Token(view),
            None => session.as_ref().map_or(Asker::Anonymous, Asker::SignedIn),
        };
        let confirmed: Vec<_> = self.confirmed.iter().map(|kind| (*kind, self.at)).collect();
        explain(policies, operation, asker, &surroundings, &confirmed)
    }
}

pub(super) fn factors(names: &[String]) -> Result<Vec<FactorKind>, Failure> {
    names.iter().map(|name| factor(name)).collect()
}

pub(super) fn factor(name: &str) -> Result<FactorKind, Failure> {
    name.parse().map_err(|error| wrong_input(format!("{name:?}: {error}")))
}

/// `5m`.
pub(super) fn duration(text: &str) -> Result<Duration, Failure> {
    parse_duration(text).ok_or_else(|| wrong_input(format!("{text:?} is no duration like \"5m\"")))
}

/// A moment with its offset (RFC 3339), or by the gate's clock without one; now, if none is said.
pub(super) fn moment(text: Option<&str>, zone: &TimeZone) -> Result<Timestamp, Failure> {
    let Some(text) = text else { return Ok(SystemClock.now()) };
    let here = || text.parse::<jiff::civil::DateTime>()?.to_zoned(zone.clone()).map(|here| here.timestamp());
    let at = text.parse::<jiff::Timestamp>().or_else(|_| here()).map_err(|error| {
        wrong_input(format!("{text:?} is no time like 2026-11-21T03:12:00Z, or without Z by the gate's clock: {error}"))
    })?;
    Ok(Timestamp::from_ms(at.as_millisecond()))
}
