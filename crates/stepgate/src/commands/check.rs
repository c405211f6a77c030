//! `stepgate check`: what a configuration means.

mod tokens;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use stepgate_core::operation::Operation;
use stepgate_core::policy::Policies;
use stepgate_core::time::Clock as _;
use stepgate_core::web::gate_path;
use stepgate_identity::provider::CheckedProvider;
use stepgate_store::StoreUrl;

use super::policy::{Described, operation_without_inputs};
use super::{Done, print};
use crate::cli::{CheckArgs, Format};
use crate::config::{self, Settings};
use crate::gate::{
    StartError, attestation_roots, authenticators_of, certificates, certificates_of, keyring, load_policies, pollers,
    subscribers, way_to,
};
use crate::system::SystemClock;

pub(super) fn run(args: &CheckArgs) -> Done {
    let settings = config::load(&args.config.config)?;
    let policies = load_policies(&settings)?;
    let wrong = files(&settings);
    if !wrong.is_empty() {
        return Err(FilesErrors { of: wrong }.into());
    }
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

/// What `run` would refuse although the configuration's text is right: all of it.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error(
    "the configuration is right, but {} of the things that it names cannot be used; `run` would not start",
    of.len()
)]
pub(super) struct FilesErrors {
    #[related]
    of: Vec<StartError>,
}

/// Looks at what the configuration names: keys, certificates, the store's URL and directory. Opens no store.
fn files(settings: &Settings) -> Vec<StartError> {
    let mut wrong = Vec::new();
    wrong.extend(keyring(&settings.master_key).err());
    wrong.extend(certificates(settings).err().map(StartError::Certificates));
    if let Some(machines) = &settings.machines {
        wrong.extend(certificates_of(&machines.tls).err().map(StartError::Certificates));
        wrong.extend(pollers(machines).err());
        wrong.extend(subscribers(machines).err());
    }
    wrong.extend(attestation_roots(settings).err());
    if let Some(metadata) = &settings.passkeys.metadata {
        wrong.extend(authenticators_of(metadata, SystemClock.now()).err().map(StartError::Authenticators));
    }
    for (service, upstream) in &settings.upstreams {
        wrong.extend(way_to(service, upstream).err());
    }
    match StoreUrl::parse(&settings.store) {
        Err(error) => wrong.push(error.into()),
        Ok(url) => {
            wrong.extend(url.look_at_modes().err().map(StartError::NotPrivate));
            let directory = url.path().and_then(Path::parent).filter(|parent| *parent != Path::new(""));
            if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
                wrong.push(StartError::NoDirectory { path: directory.to_owned() });
            }
        }
    }
    wrong
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
            "scopes": endpoint.scopes,
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

/// What is odd but not wrong.
fn advice(settings: &Settings, policies: &Policies) -> Vec<String> {
    policies.advice().iter().map(ToString::to_string).chain(unheard(settings)).collect()
}

/// Says which origins have a port at which this gate does not listen. Whatever stands in front of it may pass them
/// on; where `trusted_hops` names that, it is known to be there.
fn unheard(settings: &Settings) -> Vec<String> {
    let heard: BTreeSet<u16> = settings.listen.iter().map(SocketAddr::port).collect();
    // Port 0 is any free one.
    if heard.contains(&0) || !settings.trusted_hops.is_empty() {
        return Vec::new();
    }
    let ports: Vec<String> = heard.iter().map(u16::to_string).collect();
    let services = settings.catalogue.services.values().map(|service| (service.name.as_str(), service.origin.as_str()));
    let unheard = services.filter(|(_, origin)| {
        let port = url::Url::parse(origin).ok().and_then(|origin| origin.port_or_known_default());
        port.is_some_and(|port| !heard.contains(&port))
    });
    let said = |(name, origin): (&str, &str)| {
        format!(
            "nobody reaches {name} at {origin} unless something in front passes it on: the gate listens at port {}",
            ports.join(", ")
        )
    };
    unheard.map(said).collect()
}

/// What the gate's client is registered with at a provider (OpenID Connect Dynamic Client Registration 1.0, section 2).
#[derive(Debug, serde::Serialize)]
struct Client {
    name: String,
    title: String,
    issuer: String,
    redirect_uri: String,
    post_logout_redirect_uri: String,
    backchannel_logout_uri: String,
}

fn client_of(provider: &CheckedProvider, gate: &str) -> Client {
    let provider = provider.provider();
    let name = provider.name.to_string();
    Client {
        redirect_uri: config::redirect_uri(gate, &name),
        post_logout_redirect_uri: format!("{gate}{}", gate_path::SIGN_IN),
        backchannel_logout_uri: format!("{gate}{}/logout/{name}", gate_path::SIGN_IN),
        title: provider.title.clone(),
        issuer: provider.issuer.clone(),
        name,
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
                        .map(|endpoint| serde_json::json!({ "resource": endpoint.resource, "action": endpoint.action.as_str(), "sensitivity": endpoint.sensitivity, "scopes": endpoint.scopes }))
                        .collect();
                    serde_json::json!({ "name": service.name.as_str(), "origin": service.origin, "operations": operations, "tokens": tokens::of(settings, service) })
                })
                .collect();
            print::json(&serde_json::json!({
                "gate": settings.catalogue.gate_origin,
                "policies": policies.all().len(),
                "policy_version": policies.version(),
                "providers": settings.providers.iter().map(|one| client_of(one, &settings.catalogue.gate_origin)).collect::<Vec<_>>(),
                "services": services,
                "advice": advice(settings, policies),
            }));
        }
        Format::Text => {
            println!("The configuration is right.\n\ngate  {}", settings.catalogue.gate_origin);
            if let Some(machines) = &settings.machines {
                println!("\nmachines  {} on {}", machines.origin, machines.listen);
                if machines.scim.is_some() {
                    println!("  /scim/v2  provisioning: `stepgate machines add NAME --scope scim` gives a token");
                }
                for one in machines.transmitters.iter().filter(|one| one.poll.is_none()) {
                    println!(
                        "  /signals/events  from {0}: `stepgate machines add NAME --scope signals.push --transmitter {0}` gives a token",
                        one.name
                    );
                }
                if machines.streams.is_some() {
                    println!(
                        "  /ssf  our own events: `stepgate machines add NAME --scope ssf.manage --scope ssf.read` gives a token"
                    );
                }
            }
            for one in &settings.providers {
                let client = client_of(one, &settings.catalogue.gate_origin);
                println!("\n{}  {}, {}; the gate's client there has", client.name, client.title, client.issuer);
                println!("  redirect URI          {}", client.redirect_uri);
                println!("  after signing out     {}", client.post_logout_redirect_uri);
                println!("  back-channel logout   {}", client.backchannel_logout_uri);
            }
            for service in services {
                println!("\n{}  {}", service.name, service.origin);
                for endpoint in &service.endpoints {
                    println!("  {:<44} {:<24} {}", endpoint.resource, endpoint.action.as_str(), endpoint.sensitivity);
                }
                println!("  {:<44} read or write", "everything else");
                for line in tokens::of(settings, service).iter().flat_map(tokens::Tokens::lines) {
                    println!("  {line}");
                }
            }
            println!(
                "\n{} policies, version {}",
                policies.all().len(),
                policies.version().get(..12).unwrap_or_default()
            );
            for advice in advice(settings, policies) {
                println!("advice: {advice}");
            }
        }
    }
}
