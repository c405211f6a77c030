//! `stepgate policy test`: tables of requests with expected verdicts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use stepgate_core::decide::Explanation;
use stepgate_core::operation::Operation;
use stepgate_core::policy::Policies;
use stepgate_core::surroundings::Environment;
use stepgate_core::time::Clock as _;

use super::bearer::Bearer;
use super::described::{Described, Who, factors, moment, operation_of};
use super::facts::Facts;
use crate::cli::{BearerArgs, Format, SessionFacts};
use crate::commands::{Done, FOUND, Failure, because, print, wrong_input};
use crate::config::{self, parse_duration};
use crate::gate::{environment, load_policies};
use crate::system::SystemClock;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

/// One request with its expected verdict.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// `POST /payments/42/approve`.
    request: String,
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
    enrolled: Option<Vec<String>>,
    ip: Option<IpAddr>,
    at: Option<String>,
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
    expect: String,
    /// The policies that must have decided.
    #[serde(default)]
    because: Vec<String>,
}

impl Case {
    fn run(
        &self,
        settings: &config::Settings,
        policies: &Policies,
        environment: &Environment,
    ) -> Result<Explanation, Failure> {
        let service = settings
            .catalogue
            .by_name(&self.service)
            .ok_or_else(|| wrong_input(format!("there is no service {:?}", self.service)))?;
        let (method, target) = self
            .request
            .split_once(' ')
            .ok_or_else(|| wrong_input(format!("{:?} is not like \"POST /path\"", self.request)))?;
        let (body, content_type) = match (&self.json, &self.form) {
            (Some(json), None) => (Some(json.as_bytes()), "application/json"),
            (None, Some(form)) => (Some(form.as_bytes()), "application/x-www-form-urlencoded"),
            (None, None) => (None, ""),
            (Some(_), Some(_)) => return Err(wrong_input("a case has json or form, not both")),
        };
        let described = Described {
            method,
            url: &format!("{}{target}", service.origin),
            content_type: Some(content_type),
            body,
            headers: self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        };
        let operation = operation_of(&settings.catalogue, &described)?;
        let mut proved = Vec::new();
        for (name, age) in &self.proved {
            let kind = name.parse().map_err(|error| wrong_input(format!("{name:?}: {error}")))?;
            let age = parse_duration(age).ok_or_else(|| wrong_input(format!("{age:?} is no duration like \"5m\"")))?;
            proved.push((kind, age));
        }
        let who = Who {
            groups: self.groups.clone(),
            proved,
            enrolled: match &self.enrolled {
                Some(names) => factors(names)?,
                None => policies.offered().to_vec(),
            },
            facts: Facts::read(&self.facts())?,
            ip: self.ip.unwrap_or(IpAddr::from([127, 0, 0, 1])),
            at: self.at.as_deref().map_or_else(|| Ok(SystemClock.now()), moment)?,
        };
        let bearer = self.bearer(settings, &operation, &who)?;
        let mut explanation = who.explain(policies, &operation, environment, bearer.as_ref().map(Bearer::view));
        if let Some(bearer) = &bearer {
            bearer.answer(&operation, &mut explanation);
        }
        Ok(explanation)
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
        }
    }

    /// The token that asks, if one does.
    fn bearer<'s>(
        &self,
        settings: &'s config::Settings,
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
        match bearer {
            None if of_token => Err(wrong_input(
                "owner, acr, amr, auth_age, scopes and max_age are a token's: a case with one has `token` or `agent`",
            )),
            Some(_) if !self.proved.is_empty() || self.facts().are_of_a_session() => {
                let whose =
                    "`proved`, and what is said of session and device, are a session's: a case has these or a token";
                Err(wrong_input(whose))
            }
            bearer => Ok(bearer),
        }
    }

    /// Who asks, in words.
    fn who(&self) -> String {
        let groups = if self.groups.is_empty() { "no group".to_owned() } else { self.groups.join(", ") };
        match (&self.token, &self.agent) {
            (None, None) => format!("somebody in {groups}"),
            (Some(provider), _) => format!("somebody in {groups}, with a token of {provider}"),
            (None, Some(agent)) => format!("the agent {agent}"),
        }
    }

    /// How old the login may be that was expected; `None` if it is not looked at.
    fn max_age(&self) -> Result<Option<Duration>, Failure> {
        let read = |age: &String| {
            parse_duration(age).ok_or_else(|| wrong_input(format!("max_age: {age:?} is no duration like \"5m\"")))
        };
        self.max_age.as_ref().map(read).transpose()
    }
}

pub(super) fn test(config: &Path, files: Vec<PathBuf>, format: Format) -> Done {
    let settings = config::load(config)?;
    let policies = load_policies(&settings)?;
    let environment = environment(&settings)?;
    let files = if files.is_empty() { test_files(&settings.policies).map_err(because)? } else { files };
    if files.is_empty() {
        return Err(wrong_input(format!("there is no *.test.toml in {}", settings.policies.display())));
    }
    let (mut passed, mut failures, mut rows) = (0_usize, 0_usize, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(because)?;
        let table: TestFile =
            toml::from_str(&text).map_err(|error| wrong_input(format!("{}: {error}", file.display())))?;
        for case in table.cases {
            let explanation = case.run(&settings, &policies, &environment).map_err(|failure| Failure {
                report: failure.report.wrap_err(format!("{}: {:?}", file.display(), case.name)),
                ..failure
            })?;
            let decided: Vec<&str> = explanation.decided.iter().map(|policy| policy.id.as_str()).collect();
            let missing: Vec<&String> = case.because.iter().filter(|id| !decided.contains(&id.as_str())).collect();
            let max_age = case.max_age()?;
            let is_as_old = max_age.is_none() || max_age == explanation.max_age;
            let right = explanation.verdict == case.expect && missing.is_empty() && is_as_old;
            if right {
                passed = passed.saturating_add(1)
            } else {
                failures = failures.saturating_add(1)
            }
            match format {
                Format::Json => rows.push(serde_json::json!({
                    "file": file.display().to_string(), "case": case.name, "passed": right,
                    "expected": case.expect, "found": explanation.verdict, "because": decided,
                    "max_age_s": explanation.max_age.map(|age| age.as_secs()),
                })),
                Format::Text if right => println!("ok    {}", case.name),
                Format::Text => {
                    println!("WRONG {}", case.name);
                    println!("      {}, by {}, in {}", case.request, case.who(), file.display());
                    println!("      expected {}{}{}", case.expect, within(max_age), because_of(&case.because));
                    let found: Vec<String> = decided.iter().map(|id| (*id).to_owned()).collect();
                    let found_age = explanation.max_age.filter(|_| max_age.is_some());
                    println!("      found    {}{}{}", explanation.verdict, within(found_age), because_of(&found));
                }
            }
        }
    }
    match format {
        Format::Json => print::json(&serde_json::json!({ "passed": passed, "failed": failures, "cases": rows })),
        Format::Text => println!("\n{passed} passed, {failures} failed"),
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn within(max_age: Option<Duration>) -> String {
    max_age.map(|age| format!(", max_age {} s", age.as_secs())).unwrap_or_default()
}

fn because_of(ids: &[String]) -> String {
    if ids.is_empty() { String::new() } else { format!(", because {}", ids.join(", ")) }
}

fn test_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
