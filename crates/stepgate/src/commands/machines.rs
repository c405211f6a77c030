//! `stepgate machines …`.

use std::process::ExitCode;
use std::time::Duration;

use stepgate_core::flows::ProvisionError;
use stepgate_core::machine::{MachineName, Scope};
use stepgate_core::ports::Accounts as _;

use super::user::{by, provisioning};
use super::{Done, because, failed, open, print, wrong_input};
use crate::cli::{Format, MachinesCommand};
use crate::config::{MachinesSettings, parse_duration};

/// How long a token may be good that runs out at all.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
const LIFETIME_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);

pub(super) async fn run(command: MachinesCommand) -> Done {
    match command {
        MachinesCommand::Add { name, scopes, transmitter, lifetime, config, output } => {
            let house = open(&config.config).await?;
            let name = MachineName::parse(&name).map_err(wrong_input)?;
            let scopes: Result<Vec<Scope>, _> = scopes.iter().map(|scope| scope.parse()).collect();
            let scopes = scopes.map_err(wrong_input)?;
            if scopes.contains(&Scope::SignalsPush) == transmitter.is_empty() {
                return Err(wrong_input(
                    "--transmitter goes with --scope signals.push: a system pushes the events of one transmitter",
                ));
            }
            match &house.settings.machines {
                None => {
                    eprintln!(
                        "warning: the configuration has no [machines], so there is nowhere to use this token yet"
                    );
                }
                Some(machines) => is_configured(&transmitter, machines).map_err(wrong_input)?,
            }
            let lifetime = match lifetime.as_deref().map(parse_duration) {
                None => None,
                Some(Some(lifetime)) if (LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) => Some(lifetime),
                Some(Some(_)) => {
                    return Err(wrong_input(
                        "--lifetime is from 1m to 3650d (ten years); without it the token is good until it is revoked",
                    ));
                }
                Some(None) => return Err(wrong_input("--lifetime is a duration like 90d")),
            };
            let expires_at = lifetime.map(|lifetime| house.flows.clock.now().plus(lifetime));
            let added =
                provisioning(&house).add_machine(name.clone(), scopes.clone(), transmitter, expires_at, &by()).await;
            let token = match added {
                Ok(token) => token,
                Err(ProvisionError::Taken) => return Err(failed(format!("there is a machine {name} already"))),
                Err(error) => return Err(because(error)),
            };
            let scopes: Vec<_> = scopes.iter().map(|scope| scope.name()).collect();
            match output.format() {
                Format::Json => print::json(&serde_json::json!({
                    "machine": name.as_str(), "scopes": scopes, "token": token.expose(),
                    "expires_at": expires_at.map(|at| at.to_string()),
                })),
                Format::Text => {
                    println!("The token of {name} for {}:", scopes.join(", "));
                    println!("  {}", token.expose());
                    match expires_at {
                        Some(at) => println!("It is good until {at}."),
                        None => println!("It is good until it is revoked."),
                    }
                    println!("It is shown this once. `stepgate machines remove {name}` revokes it.");
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        MachinesCommand::Remove { name, config, output } => {
            let house = open(&config.config).await?;
            let name = MachineName::parse(&name).map_err(wrong_input)?;
            match provisioning(&house).remove_machine(&name, &by()).await {
                Ok(()) => {}
                Err(ProvisionError::Changed) => return Err(failed(format!("there is no machine {name}"))),
                Err(error) => return Err(because(error)),
            }
            let value = serde_json::json!({ "machine": name.as_str(), "removed": true });
            let words = format!("Revoked: the token of {name} is worth nothing any more.");
            print::done(output.format(), &value, &words)
        }
        MachinesCommand::List { config, output } => {
            let house = open(&config.config).await?;
            let machines = house.database.machines().await.map_err(because)?;
            let mut rows = Vec::new();
            for machine in machines {
                let scopes: Vec<_> = machine.scopes.iter().map(|scope| scope.name()).collect();
                let until = machine.expires_at.map(|at| at.to_string());
                match output.format() {
                    Format::Text => println!(
                        "{:<24} {:<32} {:<16} added {}, good until {}",
                        machine.name.as_str(),
                        scopes.join(", "),
                        machine.transmitter,
                        machine.added_at,
                        until.as_deref().unwrap_or("it is revoked")
                    ),
                    Format::Json => rows.push(serde_json::json!({
                        "machine": machine.name.as_str(), "scopes": scopes, "transmitter": machine.transmitter,
                        "added_at": machine.added_at.to_string(), "expires_at": until,
                    })),
                }
            }
            if output.format() == Format::Json {
                print::json(&serde_json::Value::Array(rows));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Whose events a token is for must be configured: with a name that was mistyped it would push for nobody.
fn is_configured(transmitter: &str, machines: &MachinesSettings) -> Result<(), String> {
    if transmitter.is_empty() || machines.transmitters.iter().any(|one| one.name == transmitter) {
        return Ok(());
    }
    let known: Vec<_> = machines.transmitters.iter().map(|one| one.name.as_str()).collect();
    let known = if known.is_empty() { "there is none".to_owned() } else { format!("known are {}", known.join(", ")) };
    Err(format!("the configuration has no [[machines.transmitter]] {transmitter}; {known}"))
}
