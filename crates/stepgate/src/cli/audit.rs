//! The words of `stepgate audit …`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{ConfigArgs, Output};

/// `stepgate audit …`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Write the whole log to a directory that can be verified alone.
    Export {
        /// The directory; it must not exist or be empty.
        #[arg(long)]
        out: PathBuf,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Verify an exported log. Needs the export and a public key, nothing else.
    Verify {
        /// The export: its directory, or the archive that came.
        dir: PathBuf,
        /// A public key of the log, as `stepgate audit key` printed it, or a file whose first line it is;
        /// may be given several times. A key that follows one of them, as the log itself announces, is
        /// found and believed.
        #[arg(long = "key", required = true)]
        keys: Vec<String>,
        /// A checkpoint that was remembered earlier: finds truncation and forks.
        #[arg(long)]
        remembered: Option<PathBuf>,
        /// The keys of an identity provider: its issuer, `=`, and a file with the JWK set that it published;
        /// may be given several times, also for one issuer. A company login by another key is a finding.
        #[arg(long = "provider-keys", value_name = "ISSUER=FILE")]
        provider_keys: Vec<String>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Print entries of an export in words.
    Show {
        /// The export: its directory, or the archive that came.
        dir: PathBuf,
        /// Only this entry.
        #[arg(long)]
        index: Option<u64>,
        /// Only entries of this challenge.
        #[arg(long)]
        challenge: Option<String>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Write a `.tlog-proof` for one entry, or check one with `--check`.
    Proof {
        /// The export: its directory, or the archive that came.
        dir: PathBuf,
        /// The entry.
        index: u64,
        /// Where to write it; standard output if not given.
        #[arg(long, short)]
        out: Option<PathBuf>,
        /// Check this proof of the entry instead of writing one.
        #[arg(long, requires = "keys")]
        check: Option<PathBuf>,
        /// A public key of the log, for `--check`; may be given several times.
        #[arg(long = "key")]
        keys: Vec<String>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Print the newest entries of the live log.
    Tail {
        /// How many.
        #[arg(long, short = 'n', default_value_t = 20)]
        lines: u32,
        /// Go on as entries come.
        #[arg(long, short)]
        follow: bool,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Print the log's public keys and newest checkpoint: keep them somewhere else.
    Key {
        /// Print the checkpoint alone, for `audit verify --remembered`.
        #[arg(long, conflicts_with = "json")]
        checkpoint: bool,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}
