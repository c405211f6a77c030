//! `stepgate rehearse …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ConfigArgs, Output};

/// `stepgate rehearse …`.
#[derive(Debug, Subcommand)]
pub enum RehearseCommand {
    /// Enrol a test person by their enrolment link, as a browser would, and keep what they prove in a file.
    Enrol(EnrolArgs),
    /// As that person, send requests to a running gate and say what asked, what let through, and how long it took.
    Run(RunArgs),
}

/// `stepgate rehearse enrol`.
#[derive(Debug, Args)]
pub struct EnrolArgs {
    /// The enrolment link, as `stepgate user add` and `user link` print it.
    pub link: String,
    /// The name with which they sign in.
    #[arg(long)]
    pub login: String,
    /// The file to write: it holds the private key of their passkey, and their password if the link offers one.
    #[arg(long)]
    pub key: PathBuf,
    /// Where the gate is reached, if not at the address of its name.
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<SocketAddr>,
}

/// `stepgate rehearse run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Test tables: each case is sent. Without any, every declared operation that only reads and needs no input.
    pub tables: Vec<PathBuf>,
    /// The file that `rehearse enrol` wrote.
    #[arg(long)]
    pub key: PathBuf,
    /// An operation that changes something and may be sent all the same, as `on` says it, e.g.
    /// `POST /payments/{id}/approve`; may be given several times.
    #[arg(long, value_name = "ON")]
    pub also: Vec<String>,
    /// Where the gate is reached, if not at the address of its name.
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<SocketAddr>,
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}
