//! `stepgate rehearse …`: a test person goes through the protected operations of a running gate.

mod home;
mod person;
mod play;
mod told;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use stepgate_core::catalogue::{Effect, Endpoint, GATE_SERVICE};
use url::Url;

use self::person::{KeyFile, TestPerson};
use self::play::{Played, Stage};
use super::policy::{Case, Table};
use super::{Done, FOUND, Failure, wrong_input};
use crate::cli::{RehearseCommand, RunArgs};
use crate::config::{self, Settings};
use crate::headless::Browser;

/// What the gate's log and the evidence call this browser.
const AGENT: &str = "stepgate-rehearsal";

pub(super) async fn run(command: RehearseCommand) -> Done {
    match command {
        RehearseCommand::Enrol(args) => {
            let link = Url::parse(&args.link).map_err(|error| wrong_input(format!("{}: {error}", args.link)))?;
            let host = link.host_str().unwrap_or_default();
            let browser = browser(&Reach::of(args.at, &link, [host]))?;
            let file = KeyFile::new(&args.key)?;
            file.keep(&TestPerson::enrol(&browser, &link, &args.login).await?)?;
            println!(
                "{} is enrolled. {} holds what they prove: keep it as you keep a password.",
                args.login,
                args.key.display()
            );
            println!("What they may do is said by their groups: stepgate user change {} --group …", args.login);
            Ok(ExitCode::SUCCESS)
        }
        RehearseCommand::Run(args) => rehearse(&args).await,
    }
}

async fn rehearse(args: &RunArgs) -> Done {
    let settings = config::load(&args.config.config)?;
    let stage = Stage {
        person: TestPerson::kept(&args.key)?,
        reach: Reach::of(args.at, &settings.origin, hosts(&settings)),
        allowed: allowed(&settings, &args.also)?,
        settings: &settings,
    };
    let cases = if args.tables.is_empty() { everyday(&settings) } else { of_tables(args)? };
    let mut played = Vec::new();
    for (case, expected) in &cases {
        let name = format!("{:?}", case.name);
        played.push(stage.play(case, *expected).await.map_err(|failure| failure.of(&name))?);
    }
    told::tell(&played, &unrehearsed(&settings, &played), args.output.format());
    let wrong = played.iter().any(|one| one.is_right == Some(false));
    Ok(if wrong { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

/// Which hosts are reached where.
#[derive(Clone, Debug)]
struct Reach {
    address: SocketAddr,
    hosts: Vec<String>,
}

impl Reach {
    /// Every host at `at`; without it those that mean this machine, as not every resolver knows `*.localhost`.
    fn of<'h>(at: Option<SocketAddr>, origin: &Url, hosts: impl IntoIterator<Item = &'h str>) -> Self {
        let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), origin.port_or_known_default().unwrap_or(0));
        let is_here = |host: &&str| at.is_some() || *host == "localhost" || host.ends_with(".localhost");
        Self { address: at.unwrap_or(here), hosts: hosts.into_iter().filter(is_here).map(str::to_owned).collect() }
    }
}

fn browser(reach: &Reach) -> Result<Browser, Failure> {
    let hosts: Vec<&str> = reach.hosts.iter().map(String::as_str).collect();
    Browser::new(AGENT, reach.address, &hosts)
}

fn hosts(settings: &Settings) -> impl Iterator<Item = &str> {
    settings.catalogue.services.values().map(|service| service.host.as_str())
}

/// The operations that the operator's services declare.
fn declared(settings: &Settings) -> impl Iterator<Item = &Endpoint> {
    let own = settings.catalogue.services.values().filter(|service| service.name.as_str() != GATE_SERVICE);
    own.flat_map(|service| service.endpoints.iter()).map(std::convert::AsRef::as_ref)
}

/// The resources that `--also` names.
fn allowed(settings: &Settings, also: &[String]) -> Result<Vec<String>, Failure> {
    let named = |on: &String| {
        let is_meant =
            |endpoint: &&Endpoint| endpoint.resource == *on || endpoint.resource.ends_with(&format!(" {on}"));
        let meant: Vec<String> = declared(settings).filter(is_meant).map(|one| one.resource.clone()).collect();
        if meant.is_empty() {
            return Err(wrong_input(format!(
                "--also {on:?}: no operation is declared on that; `stepgate check` lists them"
            )));
        }
        Ok(meant)
    };
    Ok(also.iter().map(named).collect::<Result<Vec<_>, _>>()?.concat())
}

/// What is expected of a case: what its table says, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    AsWritten,
    Nothing,
}

fn of_tables(args: &RunArgs) -> Result<Vec<(Case, Expected)>, Failure> {
    let tables = args.tables.iter().map(|file| Table::read(file)).collect::<Result<Vec<_>, _>>()?;
    Ok(tables.into_iter().flat_map(|table| table.cases).map(|case| (case, Expected::AsWritten)).collect())
}

/// A request for each declared operation that reads and takes nothing.
fn everyday(settings: &Settings) -> Vec<(Case, Expected)> {
    let is_plain = |endpoint: &&Endpoint| {
        let path = endpoint.path.as_str();
        endpoint.effect == Effect::Read
            && endpoint.methods.iter().any(|method| method == "GET")
            && endpoint.inputs.is_empty()
            && !path.contains('{')
    };
    let case = |endpoint: &Endpoint| {
        let service = endpoint.resource.split(' ').next().unwrap_or_default();
        (Case::plain(service, &format!("GET {}", endpoint.path.as_str())), Expected::Nothing)
    };
    declared(settings).filter(is_plain).map(case).collect()
}

/// The declared operations that nothing was sent to.
fn unrehearsed(settings: &Settings, played: &[Played]) -> Vec<String> {
    let was_sent = |resource: &String| played.iter().any(|one| one.resource == *resource && one.not_sent.is_none());
    declared(settings).map(|endpoint| endpoint.resource.clone()).filter(|resource| !was_sent(resource)).collect()
}
