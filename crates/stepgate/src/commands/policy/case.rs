//! One request of a test table, with its expected verdict.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use stepgate_core::decide::Explanation;
use stepgate_core::operation::Operation;
use stepgate_core::policy::Policies;
use stepgate_core::surroundings::Environment;

use super::bearer::Bearer;
use super::described::{Described, Who, duration, factor, factors, moment, operation_of};
use super::facts::{Facts, place};
use crate::cli::{BearerArgs, PlaceFacts, SessionFacts};
use crate::commands::{Failure, wrong_input};
use crate::config::Settings;

/// One request with its expected verdict.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands) struct Case {
    pub(in crate::commands) name: String,
    /// `POST /payments/42/approve`.
    pub(super) request: String,
    service: String,
    json: Option<String>,
    form: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    groups: Vec<String>,
    /// Factor to age; nothing proved is nobody signed in.
    #[serde(default)]
    proved: BTreeMap<String, String>,
    /// All, if left out.
    enrolled: Option<Vec<String>>,
    ip: Option<IpAddr>,
    at: Option<String>,
    country: Option<String>,
    region: Option<String>,
    city: Option<String>,
    asn: Option<u32>,
    #[serde(rename = "anonymizer")]
    anonymizers: Option<Vec<String>>,
    device: Option<String>,
    device_name: Option<String>,
    device_age: Option<String>,
    device_unseen: Option<String>,
    posture: Option<String>,
    session_age: Option<String>,
    idle: Option<String>,
    /// `address`, `agent`, `country`.
    #[serde(default)]
    changed: Vec<String>,
    #[serde(default)]
    token_reused: bool,
    risk: Option<String>,
    #[serde(default)]
    signals: Vec<String>,
    /// `person=6`.
    #[serde(default)]
    failures: Vec<String>,
    /// Factors with which this very request was confirmed.
    #[serde(default)]
    confirmed: Vec<String>,
    /// The provider of a person's token; with it (or `agent`), nobody has a session.
    token: Option<String>,
    /// `corp/ci-deploy`.
    agent: Option<String>,
    owner: Option<String>,
    acr: Option<String>,
    #[serde(default)]
    amr: Vec<String>,
    auth_age: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    /// `max_age` of the answer to a token, like "5m"; not looked at if left out.
    max_age: Option<String>,
    /// `permit`, `deny`, `sign in`, or what is asked: `confirm: passkey | totp`.
    pub(in crate::commands) expect: String,
    /// The policies that must have decided.
    #[serde(default)]
    pub(in crate::commands) because: Vec<String>,
}

/// A case's request.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Request<'a> {
    pub(in crate::commands) method: &'a str,
    pub(in crate::commands) target: &'a str,
    pub(in crate::commands) headers: Vec<(&'a str, &'a str)>,
    /// Content type and text.
    pub(in crate::commands) body: Option<(&'static str, &'a str)>,
}

/// How somebody signs in for a real request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum SignsIn {
    Nowhere,
    WithPassword,
    WithPasskey,
}

/// What a case came to.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) right: bool,
    /// The verdict in one line.
    pub(super) found: String,
    pub(super) decided: Vec<String>,
    pub(super) max_age: Option<Duration>,
}

impl Case {
    pub(super) fn run(
        &self,
        settings: &Settings,
        policies: &Policies,
        environment: &Environment,
    ) -> Result<Outcome, Failure> {
        let found = self.explained(settings, policies, environment)?;
        let decided: Vec<String> = found.decided.into_iter().map(|policy| policy.id).collect();
        let expected_age = self.max_age()?;
        let right = found.verdict == self.expect
            && self.because.iter().all(|id| decided.contains(id))
            && (expected_age.is_none() || expected_age == found.max_age);
        Ok(Outcome { right, found: found.verdict, decided, max_age: found.max_age })
    }

    fn explained(
        &self,
        settings: &Settings,
        policies: &Policies,
        environment: &Environment,
    ) -> Result<Explanation, Failure> {
        let operation = self.operation(settings)?;
        let proved = self.proved.iter().map(|(name, age)| Ok((factor(name)?, duration(age)?)));
        let proved = proved.collect::<Result<_, Failure>>()?;
        let who = Who {
            groups: self.groups.clone(),
            proved,
            enrolled: match &self.enrolled {
                Some(names) => factors(names)?,
                None => policies.offered().to_vec(),
            },
            facts: Facts::read(&self.facts())?,
            ip: self.ip.unwrap_or(IpAddr::from([127, 0, 0, 1])),
            place: place(&self.place())?,
            at: moment(self.at.as_deref(), &settings.time_zone)?,
            confirmed: factors(&self.confirmed)?,
        };
        let bearer = self.bearer(settings, &operation, &who)?;
        let mut explanation = who.explain(policies, &operation, environment, bearer.as_ref().map(Bearer::view));
        if let Some(bearer) = &bearer {
            bearer.answer(&operation, &mut explanation);
        }
        Ok(explanation)
    }

    /// The request as it is sent to the service's origin.
    pub(in crate::commands) fn request(&self) -> Result<Request<'_>, Failure> {
        let (method, target) = self
            .request
            .split_once(' ')
            .ok_or_else(|| wrong_input(format!("{:?} is not like \"POST /path\"", self.request)))?;
        let body = match (&self.json, &self.form) {
            (Some(json), None) => Some(("application/json", json.as_str())),
            (None, Some(form)) => Some(("application/x-www-form-urlencoded", form.as_str())),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(wrong_input("a case has json or form, not both")),
        };
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Ok(Request { method, target, headers, body })
    }

    /// The operation that it is.
    pub(in crate::commands) fn operation(&self, settings: &Settings) -> Result<Operation, Failure> {
        let service = settings
            .catalogue
            .by_name(&self.service)
            .ok_or_else(|| wrong_input(format!("there is no service {:?}", self.service)))?;
        let Request { method, target, headers, body } = self.request()?;
        let described = Described {
            method,
            url: &format!("{}{target}", service.origin),
            content_type: Some(body.map_or("", |(content_type, _)| content_type)),
            body: body.map(|(_, text)| text.as_bytes()),
            headers,
        };
        operation_of(&settings.catalogue, &described)
    }

    /// A request of somebody who has proved a password, of which nothing is expected.
    pub(in crate::commands) fn plain(service: &str, request: &str) -> Self {
        Self {
            name: request.to_owned(),
            request: request.to_owned(),
            service: service.to_owned(),
            proved: BTreeMap::from([("passkey".to_owned(), "0s".to_owned())]),
            ..Self::default()
        }
    }

    /// How somebody signs in who then has proved what is said here.
    pub(in crate::commands) fn signs_in(&self) -> SignsIn {
        match self.proved.keys().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => SignsIn::Nowhere,
            ["password"] => SignsIn::WithPassword,
            _ => SignsIn::WithPasskey,
        }
    }

    /// What it says of a moment that a real request cannot be given. Groups and what is enrolled are the person's
    /// own; what is proved is what they sign in with.
    pub(in crate::commands) fn cannot_be_arranged(&self) -> Vec<&'static str> {
        let said = [
            ("ip", self.ip.is_some()),
            ("at", self.at.is_some()),
            ("place", self.place() != PlaceFacts::default()),
            ("session, device or risk", self.facts() != SessionFacts::default()),
            ("confirmed", !self.confirmed.is_empty()),
            ("token", self.token.is_some() || self.agent.is_some()),
        ];
        said.into_iter().filter(|(_, is_said)| *is_said).map(|(name, _)| name).collect()
    }

    fn facts(&self) -> SessionFacts {
        SessionFacts {
            device: self.device.clone(),
            device_name: self.device_name.clone(),
            device_age: self.device_age.clone(),
            device_unseen: self.device_unseen.clone(),
            posture: self.posture.clone(),
            session_age: self.session_age.clone(),
            idle: self.idle.clone(),
            changed: self.changed.clone(),
            token_reused: self.token_reused,
            risk: self.risk.clone(),
            signals: self.signals.clone(),
            failures: self.failures.clone(),
        }
    }

    /// What is said of where the address is.
    fn place(&self) -> PlaceFacts {
        PlaceFacts {
            country: self.country.clone(),
            region: self.region.clone(),
            city: self.city.clone(),
            asn: self.asn,
            anonymizers: self.anonymizers.clone(),
        }
    }

    /// The token that asks, if one does.
    fn bearer<'s>(
        &self,
        settings: &'s Settings,
        operation: &Operation,
        who: &Who,
    ) -> Result<Option<Bearer<'s>>, Failure> {
        let args = BearerArgs {
            token: self.token.clone(),
            agent: self.agent.clone(),
            owner: self.owner.clone(),
            acr: self.acr.clone(),
            amr: self.amr.clone(),
            auth_age: self.auth_age.clone(),
            scopes: self.scopes.clone(),
        };
        let bearer = Bearer::read(&args, settings, operation, who)?;
        let of_token = self.owner.is_some()
            || self.acr.is_some()
            || self.auth_age.is_some()
            || self.max_age.is_some()
            || !self.amr.is_empty()
            || !self.scopes.is_empty();
        let of_session = !self.proved.is_empty() || !self.confirmed.is_empty() || self.facts().are_of_a_session();
        match bearer {
            None if of_token => Err(wrong_input(
                "owner, acr, amr, auth_age, scopes and max_age are a token's: a case with one has `token` or `agent`",
            )),
            Some(_) if of_session => Err(wrong_input(
                "`proved`, `confirmed`, and what is said of session and device, are a session's: a case has these or a token",
            )),
            bearer => Ok(bearer),
        }
    }

    /// The same, by somebody who is in these groups as well.
    #[cfg(test)]
    pub(super) fn also_in(&self, groups: &[String]) -> Self {
        Self { groups: [self.groups.as_slice(), groups].concat(), ..self.clone() }
    }

    /// Who asks, in words.
    pub(super) fn who(&self) -> String {
        let groups = if self.groups.is_empty() { "no group".to_owned() } else { self.groups.join(", ") };
        match (&self.token, &self.agent) {
            (None, None) => format!("somebody in {groups}"),
            (Some(provider), _) => format!("somebody in {groups}, with a token of {provider}"),
            (None, Some(agent)) => format!("the agent {agent}"),
        }
    }

    /// How old the login may be that was expected; `None` if it is not looked at.
    pub(super) fn max_age(&self) -> Result<Option<Duration>, Failure> {
        self.max_age.as_deref().map(|age| duration(age).map_err(|failure| failure.of("max_age"))).transpose()
    }
}
