//! One request of a rehearsal: sent as a program sends it, answered as its person answers.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use stepgate_core::catalogue::Effect;
use stepgate_core::operation::Operation;
use stepgate_core::time::Clock as _;
use url::Url;

use super::home::{self, Sent};
use super::person::TestPerson;
use super::{Expected, Reach, browser};
use crate::commands::policy::{Case, SignsIn};
use crate::commands::{Failure, because, wrong_input};
use crate::config::Settings;
use crate::headless::{Answer, Browser};
use crate::system::SystemClock;

/// What all requests of a rehearsal have in common.
pub(super) struct Stage<'a> {
    pub(super) settings: &'a Settings,
    pub(super) person: TestPerson,
    pub(super) reach: Reach,
    /// The resources that may be changed.
    pub(super) allowed: Vec<String>,
}

/// What came of one request.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) name: String,
    pub(super) resource: String,
    /// Why it was not sent.
    pub(super) not_sent: Option<String>,
    pub(super) expected: Option<String>,
    /// `permit`, `deny`, `sign in`, `confirm: passkey`; `refused: …` before any decision.
    pub(super) found: String,
    /// The policies that asked.
    pub(super) policies: Vec<String>,
    /// How the application answered, if it was let through in the end.
    pub(super) let_through: Option<u16>,
    /// Why what was asked for was not proved, or did not let through.
    pub(super) stuck: Option<String>,
    /// From the request to its last answer.
    pub(super) took: Duration,
    /// `None`: nothing was expected.
    pub(super) is_right: Option<bool>,
}

impl Stage<'_> {
    pub(super) async fn play(&self, case: &Case, expected: Expected) -> Result<Played, Failure> {
        let operation = case.operation(self.settings)?;
        let mut played = Played {
            name: case.name.clone(),
            resource: operation.endpoint.resource.clone(),
            expected: (expected == Expected::AsWritten).then(|| case.expect.clone()),
            ..Played::default()
        };
        played.not_sent = self.why_not(case, &operation);
        if played.not_sent.is_some() {
            return Ok(played);
        }
        // A browser of its own: what one case proves helps no other.
        let browser = browser(&self.reach)?;
        let how = case.signs_in();
        if how != SignsIn::Nowhere {
            // Nothing of the application is asked for before it is the request's turn.
            let start = Url::parse(&operation.service.origin).map_err(because)?;
            self.person.sign_in(&browser, &start, how).await?;
        }
        let began = SystemClock.now();
        let answer = send(&browser, case, &operation).await?;
        match gates_own(&answer) {
            None => (played.found, played.let_through) = ("permit".to_owned(), Some(answer.status)),
            Some("denied") => played.found = "deny".to_owned(),
            Some("sign_in") => played.found = "sign in".to_owned(),
            Some("challenge") => self.asked(&answer.body, (&browser, case, &operation), &mut played).await?,
            Some(code) => played.found = format!("refused: {code}"),
        }
        played.took = SystemClock.now().since(began).unwrap_or_default();
        played.is_right = played.expected.as_ref().map(|expected| {
            class(expected) == class(&played.found)
                && played.stuck.is_none()
                && (played.policies.is_empty() || case.because.iter().all(|id| played.policies.contains(id)))
        });
        Ok(played)
    }

    /// Why a request is not sent: it changes something and nobody allowed it, or it is of a moment that is not now.
    fn why_not(&self, case: &Case, operation: &Operation) -> Option<String> {
        let endpoint = &operation.endpoint;
        let is_safe =
            matches!(operation.method.as_str(), "GET" | "HEAD" | "OPTIONS") && endpoint.effect == Effect::Read;
        if !is_safe && !self.allowed.contains(&endpoint.resource) {
            return Some("it changes something, and no --also allows it".to_owned());
        }
        let unreal = case.cannot_be_arranged();
        (!unreal.is_empty()).then(|| format!("a real request cannot be given: {}", unreal.join(", ")))
    }

    /// Proves what was asked for, and sends the request again.
    async fn asked(
        &self,
        problem: &Value,
        (browser, case, operation): (&Browser, &Case, &Operation),
        played: &mut Played,
    ) -> Result<(), Failure> {
        let challenge = problem.get("challenge").unwrap_or(&Value::Null);
        played.found = summary(challenge);
        let policies = challenge.get("policies").and_then(Value::as_array).into_iter().flatten();
        played.policies = policies.filter_map(|policy| Some(policy.get("id")?.as_str()?.to_owned())).collect();
        let body = case.request()?.body.map_or("", |(_, text)| text);
        let sent = Sent { method: &operation.method, url: &operation.url, body: body.as_bytes() };
        played.stuck = prove(browser, &self.person, challenge, sent).await?;
        if played.stuck.is_some() {
            return Ok(());
        }
        let answer = send(browser, case, operation).await?;
        match gates_own(&answer) {
            None => played.let_through = Some(answer.status),
            Some(code) => played.stuck = Some(format!("proved, it was answered {}: {code}", answer.status)),
        }
        Ok(())
    }
}

/// Answers the challenge that an answer to `sent` names, with the passkey; gives why it was not passed, if it was not.
///
/// What an application answers looks like the gate's own answer if it wants it to. So nothing is fetched but from the
/// gate, and nothing is signed but for what the gate itself says that it asks about this very request.
pub(super) async fn prove(
    browser: &Browser,
    person: &TestPerson,
    named: &Value,
    sent: Sent<'_>,
) -> Result<Option<String>, Failure> {
    let url = match person.home().challenge(named) {
        Ok(url) => url,
        Err(not_ours) => return Ok(Some(not_ours.to_string())),
    };
    let (_, asked) = browser.call(Method::GET, &url, None).await?;
    if let Err(not_ours) = home::is_about(&asked, sent) {
        return Ok(Some(not_ours.to_string()));
    }
    let factors = asked.get("factors").and_then(Value::as_array).into_iter().flatten();
    let passkey = factors.into_iter().find(|one| one.get("factor") == Some(&json!("passkey")));
    let Some(options) = passkey.and_then(|one| one.get("options")) else {
        return Ok(Some("no passkey is asked for, and the test person proves nothing else".to_owned()));
    };
    let signed = json!({ "factor": "passkey", "assertion": person.sign(options)? });
    let (status, said) = browser.call(Method::POST, &format!("{url}/answers"), Some(&signed)).await?;
    Ok((status != 200).then(|| format!("the passkey was answered {status}: {said}")))
}

async fn send(browser: &Browser, case: &Case, operation: &Operation) -> Result<Answer, Failure> {
    let request = case.request()?;
    let method = Method::from_bytes(request.method.as_bytes());
    let method = method.map_err(|_| wrong_input(format!("{:?} is no method", request.method)))?;
    let url = format!("{}{}", operation.service.origin, request.target);
    let body = request.body.map(|(content_type, text)| (content_type, text.to_owned()));
    browser.call_with(method, &url, &request.headers, body).await
}

/// The code of an answer that is the gate's own; `None` for the application's.
fn gates_own(answer: &Answer) -> Option<&str> {
    let is_problem = answer.content_type.starts_with("application/problem+json");
    let kind = answer.body.get("type").and_then(Value::as_str).unwrap_or_default();
    let code = answer.body.get("code").and_then(Value::as_str);
    code.filter(|_| is_problem && kind.starts_with("urn:stepgate:problem:"))
}

/// What is asked, as `expect` says it.
fn summary(challenge: &Value) -> String {
    let texts = |value: Option<&Value>| -> Vec<String> {
        let items = value.and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let ways = challenge.get("factors").and_then(Value::as_array).into_iter().flatten();
    let ways = ways.map(|way| texts(Some(way)).join(" + "));
    let lacking = texts(challenge.get("not_enrolled")).into_iter().map(|kind| format!("{kind} (not enrolled)"));
    let grants = match challenge.get("grants").and_then(Value::as_str) {
        Some("freshness") => "fresh",
        _ => "confirm",
    };
    format!("{grants}: {}", ways.chain(lacking).collect::<Vec<_>>().join(" | "))
}

/// What kind of verdict it is: which factors are offered depends on who asks.
fn class(verdict: &str) -> &str {
    verdict.split(':').next().unwrap_or(verdict)
}
