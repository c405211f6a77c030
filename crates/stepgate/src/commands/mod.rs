//! What each command does.

mod audit;
mod check;
mod factors;
mod init;
mod keys;
mod machines;
mod policy;
pub(crate) mod print;
mod rehearse;
mod sinks;
mod tell;
mod tokens;
mod user;
mod verify;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::CommandFactory as _;
use stepgate_store::{Database, StoreUrl};

use crate::cli::{Cli, Command};
use crate::gate::{House, OnlyGate, StartError, bind};
use crate::system::{SystemClock, SystemRandomness};
use crate::{config, demo};

pub(crate) use audit::export;
pub use init::{NewDeployment, write_deployment};
pub use tell::tell;
pub(crate) use verify::verify_export;

/// It failed.
const FAILED: u8 = 1;
/// Wrong usage, configuration or policy.
const WRONG_INPUT: u8 = 2;
/// A verification or test found something wrong.
pub(crate) const FOUND: u8 = 3;

/// A command that failed: what is printed, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What is printed.
    pub report: miette::Report,
    /// The exit code.
    pub code: ExitCode,
}

impl Failure {
    /// The same, with what it is about before it.
    pub(crate) fn of(self, what: &str) -> Self {
        Self { report: self.report.wrap_err(what.to_owned()), ..self }
    }
}

impl<E: Into<miette::Report>> From<E> for Failure {
    fn from(error: E) -> Self {
        let report: miette::Report = error.into();
        let input = report.downcast_ref::<config::ConfigError>().is_some()
            || report.downcast_ref::<crate::gate::PolicyErrors>().is_some()
            || report.downcast_ref::<check::FilesErrors>().is_some()
            || matches!(report.downcast_ref(), Some(StartError::Config(_) | StartError::Policies(_)));
        Self { report, code: ExitCode::from(if input { WRONG_INPUT } else { FAILED }) }
    }
}

/// The result of a command.
pub type Done = Result<ExitCode, Failure>;

/// An error with words.
pub(crate) fn failed(message: impl std::fmt::Display) -> Failure {
    Failure { report: miette::miette!("{message}"), code: ExitCode::from(FAILED) }
}

/// An error of any kind, with its chain, and with advice where there is some.
pub(crate) fn because<E: std::error::Error + Send + Sync + 'static>(error: E) -> Failure {
    let help = crate::gate::advice(&error);
    Failure { report: miette::Report::new(Advised { error: Box::new(error), help }), code: ExitCode::from(FAILED) }
}

/// An error as it is, and what to do about it.
#[derive(Debug)]
struct Advised {
    error: Box<dyn std::error::Error + Send + Sync>,
    help: Option<String>,
}

impl std::fmt::Display for Advised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Advised {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl miette::Diagnostic for Advised {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }
}

/// A file that a command was given and cannot read.
pub(crate) fn unreadable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::NotFound => wrong_input(format!("{what}: there is no file {}", path.display())),
        _ => wrong_input(format!("{what}: {} cannot be read: {error}", path.display())),
    }
}

/// Wrong usage, with words.
pub(crate) fn wrong_input(message: impl std::fmt::Display) -> Failure {
    Failure { report: miette::miette!("{message}"), code: ExitCode::from(WRONG_INPUT) }
}

/// Opens the house of a configuration file.
pub(crate) async fn open(file: &Path) -> Result<House, Failure> {
    let settings = config::load(file)?;
    Ok(House::open(settings, Some(file.to_owned()), Arc::new(SystemClock), Arc::new(SystemRandomness)).await?)
}

/// Runs a command.
pub async fn run(command: Command) -> Done {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Init(args) => init::run(&args).await,
        Command::Run(args) => serve(&args.config).await,
        Command::Check(args) => check::run(&args),
        Command::User(command) => Box::pin(user::run(command)).await,
        Command::Tokens(command) => Box::pin(tokens::run(command)).await,
        Command::Machines(command) => machines::run(command).await,
        Command::Sinks(command) => sinks::run(command).await,
        Command::Policy(command) => policy::run(command).await,
        Command::Rehearse(command) => rehearse::run(command).await,
        Command::Audit(command) => audit::run(command).await,
        Command::Keys(command) => keys::run(command).await,
        Command::Migrate { config, output } => {
            let settings = config::load(&config.config)?;
            let url = StoreUrl::parse(&settings.store).map_err(because)?;
            Database::migrate(&url).await.map_err(because)?;
            let value = serde_json::json!({ "migrated": true });
            print::done(output.format(), &value, "The store has this version's schema.")
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "stepgate", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `stepgate run`: serves until it is told to stop; SIGHUP reloads.
async fn serve(file: &Path) -> Done {
    use tokio::signal::unix::{SignalKind, signal};
    let settings = config::load(file)?;
    // Before anything is opened: a second gate must not touch the first one's store.
    let _only = OnlyGate::on(&StoreUrl::parse(&settings.store).map_err(because)?)?;
    let house = open(file).await?;
    let mut listeners = Vec::new();
    for address in &house.settings.listen {
        listeners.push(bind(*address).await?);
    }
    let origin = house.settings.origin.clone();
    let gate = house.serve(listeners).await?;
    tracing::info!(%origin, addresses = ?gate.addresses, "the gate is open");
    if let Some(address) = gate.machines {
        tracing::info!(%address, "the machines' listener is open");
    }
    let mut hang_up = signal(SignalKind::hangup()).map_err(because)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(because)?;
    loop {
        tokio::select! {
            _ = hang_up.recv() => {
                if let Err(error) = gate.reload().await {
                    tracing::error!("the reload was refused, everything stays as it was");
                    tell(&error);
                }
            }
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    tracing::info!("the gate closes; running requests finish");
    gate.stop().await;
    Ok(ExitCode::SUCCESS)
}
