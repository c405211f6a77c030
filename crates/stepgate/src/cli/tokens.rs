//! The words of `stepgate tokens …`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::{ConfigArgs, Output};

/// The form of a file of seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SeedFormat {
    /// Portable Symmetric Key Container (RFC 6030).
    Pskc,
    /// Comma-separated, with a header.
    Csv,
}

/// `stepgate tokens …`.
#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// Import hardware tokens from a file of their seeds: all of them, or none. Whoever has the file can make their
    /// codes: destroy it afterwards.
    Import {
        /// The file.
        file: PathBuf,
        /// Its form; without this by its name: `.csv`, `.xml`, `.pskc`, `.pskcxml`.
        #[arg(long, value_enum)]
        format: Option<SeedFormat>,
        /// A file with the key that the seeds are encrypted with, in hexadecimal.
        #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
        key_file: Option<PathBuf>,
        /// A file with the passphrase that the seeds are encrypted with.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// List hardware tokens and whose they are. No seeds.
    List {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Hand a token out to a person, who then activates it with a code of it.
    Assign {
        /// The serial number.
        serial: String,
        /// The name to sign in with.
        login: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Take a token back: it is no factor of anybody, and can be handed out again.
    Unassign {
        /// The serial number.
        serial: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Put a token out of use for good: lost, broken, or its seed is known. Its seed is erased.
    Revoke {
        /// The serial number.
        serial: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}
