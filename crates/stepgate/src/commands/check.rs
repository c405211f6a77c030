//! `stepgate check`: what a configuration means.

use std::process::ExitCode;

use stepgate_core::operation::Operation;
use stepgate_core::policy::Policies;

use super::policy::{Described, operation_without_inputs};
use super::{Done, print};
use crate::cli::{CheckArgs, Format};
use crate::config::{self, Settings};
use crate::gate::load_policies;

pub(super) fn run(args: &CheckArgs) -> Done {
    let settings = config::load(&args.config.config)?;
    let policies = load_policies(&settings)?;
    match args.request.as_slice() {
        [method, url] => {
            let described = Described { method, url, ..Described::default() };
            let operation = operation_without_inputs(&settings.catalogue, &described)?;
            request(&operation, &policies, args.output.format());
        }
        _ => whole(&settings, &policies, args.output.format()),
    }
    Ok(ExitCode::SUCCESS)
}

fn request(operation: &Operation, policies: &Policies, format: Format) {
    let endpoint = &operation.endpoint;
    let concerning = policies.concerning(operation);
    match format {
        Format::Json => print::json(&serde_json::json!({
            "service": operation.service.name.as_str(),
            "action": endpoint.action.as_str(),
            "resource": endpoint.resource,
            "sensitivity": endpoint.sensitivity,
            "kind": endpoint.kind,
            "title": operation.endpoint.title.as_str(),
            "reads_body": endpoint.reads_body(),
            "policies": concerning,
        })),
        Format::Text => {
            println!("service      {}", operation.service.name);
            println!("action       {}", endpoint.action);
            println!("resource     {}", endpoint.resource);
            println!("sensitivity  {}", endpoint.sensitivity);
            println!("title        {}", endpoint.title.as_str());
            println!("\npolicies that concern it, whoever asks:");
            for id in concerning {
                let about = policies.about(id);
                let effect = about.map_or("", |about| about.effect.name());
                let reason = about.map_or("", |about| about.reason.as_str());
                println!("  {effect:<7} {id}  {reason}");
            }
            println!("\n`stepgate policy explain` says what they decide for a person.");
        }
    }
}

fn whole(settings: &Settings, policies: &Policies, format: Format) {
    let services = settings.catalogue.services.values();
    match format {
        Format::Json => {
            let services: Vec<_> = services
                .map(|service| {
                    let operations: Vec<_> = service
                        .endpoints
                        .iter()
                        .map(|endpoint| serde_json::json!({ "resource": endpoint.resource, "action": endpoint.action.as_str(), "sensitivity": endpoint.sensitivity }))
                        .collect();
                    serde_json::json!({ "name": service.name.as_str(), "origin": service.origin, "operations": operations })
                })
                .collect();
            print::json(&serde_json::json!({
                "gate": settings.catalogue.gate_origin,
                "policies": policies.all().len(),
                "policy_version": policies.version(),
                "services": services,
            }));
        }
        Format::Text => {
            println!("The configuration is right.\n\ngate  {}", settings.catalogue.gate_origin);
            for service in services {
                println!("\n{}  {}", service.name, service.origin);
                for endpoint in &service.endpoints {
                    println!("  {:<44} {:<24} {}", endpoint.resource, endpoint.action.as_str(), endpoint.sensitivity);
                }
                println!("  {:<44} read or write", "everything else");
            }
            println!(
                "\n{} policies, version {}",
                policies.all().len(),
                policies.version().get(..12).unwrap_or_default()
            );
            for advice in policies.advice() {
                println!("advice: {advice}");
            }
        }
    }
}
