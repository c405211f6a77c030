//! The command line: what can be said, and what each word means.

mod audit;
mod bearer;
mod facts;
mod keys;
mod machines;
mod policy;
mod rehearse;
mod sinks;
mod tokens;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::AuditCommand;
pub use bearer::BearerArgs;
pub use facts::{PlaceFacts, SessionFacts};
pub use keys::{KeysCommand, RotateCommand};
pub use machines::MachinesCommand;
pub use policy::{ExplainArgs, NewArgs, PolicyCommand, ReplayArgs};
pub use rehearse::{EnrolArgs, RehearseCommand, RunArgs};
pub use sinks::SinksCommand;
pub use tokens::{SeedFormat, TokensCommand};

/// Step-up authentication in front of web applications and HTTP APIs.
///
/// Everyday requests pass. A request that matters asks the person for exactly the
/// proof that the policy wants, bound to that request, and leaves evidence that
/// anybody can check.
///
/// Exit codes: 0 done; 1 it failed; 2 wrong usage, configuration or policy;
/// 3 a verification or test found something wrong.
#[derive(Debug, Parser)]
#[command(name = "stepgate", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a gate with a small example application, and say what to try.
    Demo(DemoArgs),
    /// Write a commented configuration, a policy, keys, and the first administrator's enrolment link.
    Init(InitArgs),
    /// Run the gate.
    Run(ConfigArgs),
    /// Explain a configuration: mistakes, services, which operation a request is, which policies concern it.
    Check(CheckArgs),
    /// Add, change, remove and list people; make enrolment links.
    #[command(subcommand)]
    User(UserCommand),
    /// Import hardware tokens that show codes, hand them out, and revoke them.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Give other systems tokens for the machines' listener, and revoke them.
    #[command(subcommand)]
    Machines(MachinesCommand),
    /// See how far the systems are that are told the evidence.
    #[command(subcommand)]
    Sinks(SinksCommand),
    /// Begin with a pack, test and explain policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Go through a running gate's operations as a test person.
    #[command(subcommand)]
    Rehearse(RehearseCommand),
    /// Export, verify, show and follow the evidence.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Show and rotate keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Bring the store to this version's schema.
    Migrate {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where the configuration is.
#[derive(Debug, Args, Clone)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(long, short, default_value = "stepgate.toml", env = "STEPGATE_CONFIG")]
    pub config: PathBuf,
}

/// Who governs a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Governor {
    /// A provisioning system (SCIM) sees them, changes them and may put them out of service.
    Provisioning,
    /// No other system sees them; only `stepgate user` does.
    Hand,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document.
    Json,
}

/// `--json`.
#[derive(Debug, Args, Clone, Copy)]
pub struct Output {
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

impl Output {
    /// How to print.
    pub fn format(self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }
}

/// `stepgate demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Walk through the whole main job without a browser, with a software
    /// authenticator, print what each step proves, and exit.
    #[arg(long)]
    pub tour: bool,
    /// Keep configuration, store and evidence here (otherwise a temporary directory).
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The gate's port; the next free one is taken if it is busy.
    #[arg(long, default_value_t = 4180)]
    pub port: u16,
}

/// `stepgate init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The directory to write to.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// The gate's own origin.
    #[arg(long, default_value = "http://localhost:4180")]
    pub origin: String,
    /// The name with which the first administrator signs in.
    #[arg(long, default_value = "admin")]
    pub admin: String,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `stepgate check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// A request to explain, e.g. `POST http://ledger.localhost:4180/payments/42/approve`.
    #[arg(value_names = ["METHOD", "URL"], num_args = 2)]
    pub request: Vec<String>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `stepgate user factors`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Print CSV, a line for each factor.
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `stepgate user …`.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a person and print their one-time enrolment link.
    Add {
        /// The name to sign in with.
        login: String,
        /// The name on pages; the name to sign in with if not given.
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// The address for `Stepgate-Email`.
        #[arg(long, default_value = "", hide_default_value = true)]
        email: String,
        /// A group; may be given several times.
        #[arg(long = "group")]
        groups: Vec<String>,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Change a person's name, address and groups. What is not given stays.
    Change {
        /// The name to sign in with.
        login: String,
        /// The name on pages.
        #[arg(long)]
        name: Option<String>,
        /// The address for `Stepgate-Email`.
        #[arg(long)]
        email: Option<String>,
        /// The groups, all of them; may be given several times.
        #[arg(long = "group")]
        groups: Option<Vec<String>>,
        /// Take them out of all groups.
        #[arg(long, conflicts_with = "groups")]
        no_groups: bool,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Say who a person is at an identity provider, so that they can sign in there. People are never
    /// matched by name or address.
    Identify {
        /// The name to sign in with.
        login: String,
        /// The provider, as the configuration calls it.
        #[arg(long)]
        provider: String,
        /// The subject: what the provider says in `sub`.
        #[arg(long)]
        subject: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Remove a person: sessions, factors and links end at once.
    Remove {
        /// The name to sign in with.
        login: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Let a person sign in no more: sessions, factors and links end at once, what they are called stays.
    Deactivate {
        /// The name to sign in with.
        login: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Let a person sign in again, with factors that they enrol anew.
    Activate {
        /// The name to sign in with.
        login: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Say who governs a person: provisioning, or these commands alone.
    Govern {
        /// The name to sign in with.
        login: String,
        /// Who.
        #[arg(long, value_enum)]
        by: Governor,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// List people and what they have enrolled.
    List {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Report who has which factors: kind, name, when each was enrolled, when and from where it was last used.
    Factors(ReportArgs),
    /// Make a new one-time enrolment link for a person.
    Link {
        /// The name to sign in with.
        login: String,
        /// How many hours it can be used: 1 to 720.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720))]
        hours: u64,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Forget wrong tries and locks of a person's factor.
    Unlock {
        /// The name to sign in with.
        login: String,
        /// The factor: passkey, totp, password or `recovery_code`.
        factor: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}
