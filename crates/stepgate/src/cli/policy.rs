//! `stepgate policy …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{BearerArgs, ConfigArgs, Output, PlaceFacts, SessionFacts};

/// `stepgate policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Write a pack of commented policies with its tests beside it, for your operations.
    New(Box<NewArgs>),
    /// Run the tables of requests with expected verdicts that lie beside the policies.
    Test {
        /// Test files; all `*.test.toml` beside the policies if none is given.
        files: Vec<PathBuf>,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// For one request: which policies decide, and what would have to be proved.
    Explain(Box<ExplainArgs>),
    /// Say from the ledger how often people are asked, by which rule, and what comes of it.
    Prompts {
        /// How far back, e.g. `30d`.
        #[arg(long, default_value = "30d")]
        since: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Say where the second set of policies (`shadow_policies`) would have decided otherwise than the live one. Exit code 3
    /// if it would have anywhere.
    Shadow {
        /// How far back, e.g. `7d`.
        #[arg(long, default_value = "7d")]
        since: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Take the decisions that the ledger recorded again, under other policies: who would have been asked how often, by
    /// which rule, and who would no longer be. Exit code 3 if anything would be otherwise.
    Replay(Box<ReplayArgs>),
    /// Print the schema that policies are validated against.
    Schema(ConfigArgs),
}

/// `stepgate policy replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The other policies: a directory of `*.cedar` files in place of the configured one, or one file.
    pub policies: PathBuf,
    /// How far back, e.g. `30d`.
    #[arg(long, default_value = "30d")]
    pub since: String,
    /// An export of the evidence, a directory or an archive, instead of the store. People have no names there.
    #[arg(long)]
    pub export: Option<PathBuf>,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `stepgate policy new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The pack: see `--list`.
    #[arg(long, required_unless_present = "list")]
    pub pack: Option<String>,
    /// List the packs.
    #[arg(long, conflicts_with = "pack")]
    pub list: bool,
    /// Another name for one of the pack's groups, e.g. `staff=finance`; several times.
    #[arg(long = "group", value_name = "PACK'S=YOURS")]
    pub groups: Vec<String>,
    /// Another word for one of the pack's kinds of operations, e.g. `payment=wire`; several times.
    #[arg(long = "kind", value_name = "PACK'S=YOURS")]
    pub kinds: Vec<String>,
    /// The amount over which the pack asks; the pack's own if not given.
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..=900_000_000_000))]
    pub amount: Option<i64>,
    /// Replace files that are there.
    #[arg(long)]
    pub force: bool,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// `stepgate policy explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The body.
    #[arg(long)]
    pub body: Option<String>,
    /// The body's content type.
    #[arg(long, default_value = "application/json")]
    pub content_type: String,
    /// A group of the person; may be given several times.
    #[arg(long = "group")]
    pub groups: Vec<String>,
    /// What the person has proved and how long ago, e.g. `password=5m`; several times.
    #[arg(long = "proved")]
    pub proved: Vec<String>,
    /// What the person has enrolled; several times. All factors if none is given.
    #[arg(long = "enrolled")]
    pub enrolled: Vec<String>,
    /// A factor with which this very request was confirmed; may be given several times.
    #[arg(long = "confirmed")]
    pub confirmed: Vec<String>,
    /// The address that asks.
    #[arg(long, default_value = "127.0.0.1")]
    pub ip: std::net::IpAddr,
    /// The moment, like `2026-11-21T03:12:00Z`, or without `Z` by the gate's clock (now if not given).
    #[arg(long)]
    pub at: Option<String>,
    /// Where the address is.
    #[command(flatten)]
    pub place: PlaceFacts,
    /// What is so of session and device.
    #[command(flatten)]
    pub session: SessionFacts,
    /// The access token that asks instead, if one does.
    #[command(flatten)]
    pub bearer: BearerArgs,
    /// Print the whole context as well, as policies see it.
    #[arg(long, short)]
    pub verbose: bool,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}
