//! `stepgate policy explain`: one request, taken apart.

use std::process::ExitCode;

use stepgate_core::decide::{Explanation, PolicyState};
use stepgate_core::operation::Operation;
use stepgate_core::policy::{NO_PERMIT, NearPermit, WhyNot};

use super::bearer::{Answer, Bearer};
use super::described::{Described, Who, duration, factor, factors, moment, operation_of};
use super::facts::{Facts, place};
use crate::cli::{ExplainArgs, Format};
use crate::commands::{Done, Failure, print};
use crate::config;
use crate::gate::{environment, load_policies};

pub(super) fn explain_one(args: &ExplainArgs) -> Done {
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
        let wrong = |failure: Failure| failure.of(&format!("--proved {text}"));
        proved.push((factor(name).map_err(wrong)?, duration(age).map_err(wrong)?));
    }
    let who = Who {
        groups: args.groups.clone(),
        proved,
        enrolled: if args.enrolled.is_empty() { policies.offered().to_vec() } else { factors(&args.enrolled)? },
        facts: Facts::read(&args.session)?,
        ip: args.ip,
        place: place(&args.place)?,
        at: moment(args.at.as_deref(), &settings.time_zone)?,
        confirmed: factors(&args.confirmed)?,
    };
    let bearer = Bearer::read(&args.bearer, &settings, &operation, &who)?;
    let mut explanation =
        who.explain(&policies, &operation, &environment(&settings)?, bearer.as_ref().map(Bearer::view));
    let answer = bearer.as_ref().map(|bearer| bearer.answer(&operation, &mut explanation));
    let asked_as = bearer.as_ref().map(Bearer::words);
    match args.output.format() {
        Format::Json => print::json(&explained_json(&explanation, answer.as_ref())),
        Format::Text => print_explained(&operation, &explanation, answer.as_ref(), asked_as, args),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_explained(
    operation: &Operation,
    explanation: &Explanation,
    answer: Option<&Answer>,
    asked_as: Option<String>,
    args: &ExplainArgs,
) {
    println!("{}  {}", operation.endpoint.action, operation.endpoint.resource);
    println!("verdict  {}", explanation.verdict);
    if let Some(answer) = answer {
        println!("answer   {}", answer.words());
    }
    if explanation.verdict == "sign in" {
        println!("because  nobody is signed in; `--proved password=5m` asks as somebody who is");
    }
    for policy in &explanation.decided {
        println!("because  {}  {}", policy.id, policy.reason);
    }
    for id in &explanation.erred {
        println!("ERRED    {id}");
    }
    if explanation.verdict == "deny" && explanation.decided.iter().any(|policy| policy.id == NO_PERMIT) {
        print_near(explanation, asked_as, args);
    }
    if !explanation.policies.is_empty() {
        println!("\npolicies now:");
    }
    for policy in &explanation.policies {
        let state = match &policy.state {
            PolicyState::Holds => "holds".to_owned(),
            PolicyState::HoldsNot => "does not hold".to_owned(),
            PolicyState::Errs(error) => format!("ERRS: {error}"),
        };
        println!("  {:<7} {:<40} {state}", policy.effect.name(), policy.id);
    }
    // Where nothing permits, whatever could be proved is refused too.
    if !explanation.steps.is_empty() && (explanation.near.is_empty() || args.verbose) {
        println!("\nwhat was tried:");
        for step in &explanation.steps {
            let answer = if step.allowed { "allowed" } else { "refused" };
            println!("  {:<40} {answer}  {}", step.tried, step.policies.join(", "));
        }
    }
    if args.verbose {
        println!("\ncontext:");
        print::json(&explanation.context);
    }
}

/// What no policy permits is denied: which come near.
fn print_near(explanation: &Explanation, asked_as: Option<String>, args: &ExplainArgs) {
    if explanation.near.is_empty() {
        println!("\nno permit is about this action and resource; one would begin like");
        println!("  permit (principal in Group::\"…\", action, resource in Service::\"…\")");
        return;
    }
    let who = match (args.proved.is_empty(), args.groups.as_slice()) {
        _ if asked_as.is_some() => format!("you asked as {}", asked_as.unwrap_or_default()),
        (true, _) => "you asked as somebody who is not signed in: give --proved, e.g. --proved password=5m".to_owned(),
        (false, []) => "you asked as somebody in no group: give --group".to_owned(),
        (false, groups) => format!("you asked as somebody in {}", groups.join(", ")),
    };
    println!("\npermits that are about it, and why none of them applies ({who}):");
    for NearPermit { id, source_name, line, why } in &explanation.near {
        println!("  {id}  {source_name}:{line}");
        match why {
            WhyNot::Principal { scope } => println!("    is for {scope}"),
            WhyNot::Condition { text } => println!("    its condition does not hold: {text}"),
        }
    }
}

fn explained_json(explanation: &Explanation, answer: Option<&Answer>) -> serde_json::Value {
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
        "answer": answer.map(Answer::json),
        "max_age_s": explanation.max_age.map(|age| age.as_secs()),
        "decided": decided,
        "erred": explanation.erred,
        "policies": policies,
        "steps": steps,
        "near_permits": explanation.near.iter().map(near_json).collect::<Vec<_>>(),
        "context": explanation.context,
    })
}

fn near_json(near: &NearPermit) -> serde_json::Value {
    let (principal, condition) = match &near.why {
        WhyNot::Principal { scope } => (Some(scope), None),
        WhyNot::Condition { text } => (None, Some(text)),
    };
    serde_json::json!({
        "id": near.id, "source": near.source_name, "line": near.line,
        "is_for": principal, "condition_does_not_hold": condition,
    })
}
