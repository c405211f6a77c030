//! `stepgate policy …`: tables of expected verdicts, and explanations.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use stepgate_core::catalogue::{Catalogue, Service};
use stepgate_core::decide::{Asker, Explanation, PolicyState, explain};
use stepgate_core::factor::FactorKind;
use stepgate_core::id::{PersonId, SessionId};
use stepgate_core::operation::Operation;
use stepgate_core::person::{Login, Person};
use stepgate_core::policy::Policies;
use stepgate_core::session::{Assurance, Audience, Proof, SessionView};
use stepgate_core::surroundings::{NamedNetwork, Surroundings};
use stepgate_core::time::{Clock as _, Timestamp};
use stepgate_gateway::canonical::{AfterHead, CanonicalRequest, Listener, Scheme, TrustedHops};

use super::{Done, FOUND, Failure, because, failed, print, wrong_input};
use crate::cli::{ExplainArgs, Format, PolicyCommand};
use crate::config::{self, parse_duration};
use crate::gate::load_policies;
use crate::system::SystemClock;

pub(super) fn run(command: PolicyCommand) -> Done {
    match command {
        PolicyCommand::Schema(config) => {
            let settings = config::load(&config.config)?;
            let schema = Policies::schema_of(&settings.catalogue)
                .map_err(|mistakes| failed(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
            println!("{schema}");
            Ok(ExitCode::SUCCESS)
        }
        PolicyCommand::Test { files, config, output } => test(&config.config, files, output.format()),
        PolicyCommand::Explain(args) => explain_one(&args),
    }
}

/// A request, as a test or a person describes it.
#[derive(Debug, Default)]
pub(super) struct Described<'a> {
    pub(super) method: &'a str,
    /// The whole URL.
    pub(super) url: &'a str,
    pub(super) content_type: Option<&'a str>,
    pub(super) body: Option<&'a [u8]>,
    pub(super) headers: Vec<(&'a str, &'a str)>,
}

/// The operation that a request is, read by the very code that the HTTP door reads it with.
pub(super) fn operation_of(catalogue: &Catalogue, described: &Described<'_>) -> Result<Operation, Failure> {
    let (service, canonical) = canonical_of(catalogue, described)?;
    stepgate_gateway::http::operation_of(&service, &canonical, described.body)
        .map_err(|error| wrong_input(format!("the gate refuses this request: {error}")))
}

/// The operation that a request is, without its inputs: what can be said before there is a body.
pub(super) fn operation_without_inputs(catalogue: &Catalogue, described: &Described<'_>) -> Result<Operation, Failure> {
    let (service, canonical) = canonical_of(catalogue, described)?;
    let segments: Vec<_> = canonical.path().segments().collect();
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let endpoint = Arc::clone(service.endpoint(described.method, &segments).0);
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
    let peer = (IpAddr::from([127, 0, 0, 1]), 1).into();
    let canonical = CanonicalRequest::read(parts, after_head, peer, &listener)
        .map_err(|error| wrong_input(format!("the gate refuses this request: {error}")))?;
    Ok((Arc::clone(service), canonical))
}

/// A person and moment, as a test or a person describes them.
#[derive(Debug)]
struct Who {
    groups: Vec<String>,
    proved: Vec<(FactorKind, Duration)>,
    enrolled: Vec<FactorKind>,
    device_known: bool,
    ip: IpAddr,
    at: Timestamp,
}

impl Who {
    fn session(&self) -> Option<SessionView> {
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
            login,
        };
        Some(SessionView {
            id: SessionId::from_bytes([2; 16]),
            person: Arc::new(person),
            audience: Audience::Gate,
            generation: 1,
            newest_generation: 1,
            assurance: Assurance::new(proofs),
            enrolled: self.enrolled.as_slice().into(),
            started_at,
            last_used_at: self.at,
            ends_at: self.at.plus(Duration::from_secs(3600)),
            browser: None,
            device_known: self.device_known,
            address: self.ip.to_string(),
            agent: String::new(),
        })
    }

    fn explain(&self, policies: &Policies, operation: &Operation, networks: &[NamedNetwork]) -> Explanation {
        let surroundings = Surroundings::new(self.ip, "", self.at, networks);
        let session = self.session();
        let asker = session.as_ref().map_or(Asker::Anonymous, Asker::SignedIn);
        explain(policies, operation, asker, &surroundings, &[])
    }
}

fn factors(names: &[String]) -> Result<Vec<FactorKind>, Failure> {
    names.iter().map(|name| name.parse().map_err(|error| wrong_input(format!("{name:?}: {error}")))).collect()
}

fn moment(text: &str) -> Result<Timestamp, Failure> {
    let at: jiff::Timestamp =
        text.parse().map_err(|error| wrong_input(format!("{text:?} is no RFC 3339 time: {error}")))?;
    Ok(Timestamp::from_ms(at.as_millisecond()))
}

// --- policy test -------------------------------------------------------------

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
    /// `permit`, `deny`, `sign in`, or what is asked: `confirm: passkey | totp`.
    expect: String,
    /// The policies that must have decided.
    #[serde(default)]
    because: Vec<String>,
}

impl Case {
    fn run(&self, settings: &config::Settings, policies: &Policies) -> Result<Explanation, Failure> {
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
                None => FactorKind::ALL.to_vec(),
            },
            device_known: self.device.as_deref() != Some("new"),
            ip: self.ip.unwrap_or(IpAddr::from([127, 0, 0, 1])),
            at: self.at.as_deref().map_or_else(|| Ok(SystemClock.now()), moment)?,
        };
        Ok(who.explain(policies, &operation, &settings.networks))
    }
}

fn test(config: &Path, files: Vec<PathBuf>, format: Format) -> Done {
    let settings = config::load(config)?;
    let policies = load_policies(&settings)?;
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
            let explanation = case.run(&settings, &policies).map_err(|failure| Failure {
                report: failure.report.wrap_err(format!("{}: {:?}", file.display(), case.name)),
                ..failure
            })?;
            let decided: Vec<&str> = explanation.decided.iter().map(|policy| policy.id.as_str()).collect();
            let missing: Vec<&String> = case.because.iter().filter(|id| !decided.contains(&id.as_str())).collect();
            let right = explanation.verdict == case.expect && missing.is_empty();
            if right {
                passed = passed.saturating_add(1)
            } else {
                failures = failures.saturating_add(1)
            }
            match format {
                Format::Json => rows.push(serde_json::json!({
                    "file": file.display().to_string(), "case": case.name, "passed": right,
                    "expected": case.expect, "found": explanation.verdict, "because": decided,
                })),
                Format::Text if right => println!("ok    {}", case.name),
                Format::Text => {
                    println!("WRONG {}", case.name);
                    println!("      {} as {:?}", case.request, case.groups);
                    println!("      expected {}{}", case.expect, because_of(&case.because));
                    let found: Vec<String> = decided.iter().map(|id| (*id).to_owned()).collect();
                    println!("      found    {}{}", explanation.verdict, because_of(&found));
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

// --- policy explain ----------------------------------------------------------

fn explain_one(args: &ExplainArgs) -> Done {
    let settings = config::load(&args.config.config)?;
    let policies = load_policies(&settings)?;
    let described = Described {
        method: &args.method,
        url: &args.url,
        content_type: Some(&args.content_type),
        body: args.body.as_ref().map(String::as_bytes),
        headers: Vec::new(),
    };
    let operation = operation_of(&settings.catalogue, &described)?;
    let mut proved = Vec::new();
    for text in &args.proved {
        let (name, age) = text.split_once('=').unwrap_or((text, "0s"));
        let kind = name.parse().map_err(|error| wrong_input(format!("--proved {text}: {error}")))?;
        let age = parse_duration(age)
            .ok_or_else(|| wrong_input(format!("--proved {text}: a duration like 5m is expected")))?;
        proved.push((kind, age));
    }
    let who = Who {
        groups: args.groups.clone(),
        proved,
        enrolled: if args.enrolled.is_empty() { FactorKind::ALL.to_vec() } else { factors(&args.enrolled)? },
        device_known: match args.device.as_str() {
            "known" => true,
            "new" => false,
            other => return Err(wrong_input(format!("--device is known or new, not {other:?}"))),
        },
        ip: args.ip,
        at: args.at.as_deref().map_or_else(|| Ok(SystemClock.now()), moment)?,
    };
    let explanation = who.explain(&policies, &operation, &settings.networks);
    match args.output.format() {
        Format::Json => print::json(&explained_json(&explanation)),
        Format::Text => print_explained(&operation, &explanation),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_explained(operation: &Operation, explanation: &Explanation) {
    println!("{}  {}", operation.endpoint.action, operation.endpoint.resource);
    println!("verdict  {}", explanation.verdict);
    for policy in &explanation.decided {
        println!("because  {}  {}", policy.id, policy.reason);
    }
    for id in &explanation.erred {
        println!("ERRED    {id}");
    }
    println!("\npolicies now:");
    for policy in &explanation.policies {
        let state = match &policy.state {
            PolicyState::Holds => "holds".to_owned(),
            PolicyState::HoldsNot => "does not hold".to_owned(),
            PolicyState::Errs(error) => format!("ERRS: {error}"),
        };
        println!("  {:<7} {:<40} {state}", policy.effect.name(), policy.id);
    }
    if !explanation.steps.is_empty() {
        println!("\nwhat was tried:");
        for step in &explanation.steps {
            let answer = if step.allowed { "allowed" } else { "refused" };
            println!("  {:<40} {answer}  {}", step.tried, step.policies.join(", "));
        }
    }
    println!("\ncontext:");
    print::json(&explanation.context);
}

fn explained_json(explanation: &Explanation) -> serde_json::Value {
    let decided: Vec<_> = explanation
        .decided
        .iter()
        .map(|policy| serde_json::json!({ "id": policy.id, "reason": policy.reason }))
        .collect();
    let policies: Vec<_> = explanation
        .policies
        .iter()
        .map(|policy| {
            let state = match &policy.state {
                PolicyState::Holds => "holds",
                PolicyState::HoldsNot => "holds_not",
                PolicyState::Errs(_) => "errs",
            };
            serde_json::json!({ "id": policy.id, "effect": policy.effect.name(), "state": state })
        })
        .collect();
    let steps: Vec<_> = explanation
        .steps
        .iter()
        .map(|step| serde_json::json!({ "tried": step.tried, "allowed": step.allowed, "policies": step.policies }))
        .collect();
    serde_json::json!({
        "verdict": explanation.verdict,
        "max_age_s": explanation.max_age.map(|age| age.as_secs()),
        "decided": decided,
        "erred": explanation.erred,
        "policies": policies,
        "steps": steps,
        "context": explanation.context,
    })
}
