//! The words of `stepgate machines …`.

use clap::Subcommand;

use super::{ConfigArgs, Output};

/// `stepgate machines …`.
#[derive(Debug, Subcommand)]
pub enum MachinesCommand {
    /// Give another system a token for the machines' listener. It is shown once and kept nowhere.
    Add {
        /// What it is called: in entries as `machine:NAME`, and to revoke its token.
        name: String,
        /// What it may do: `scim`, `signals.push`, `ssf.read`, `ssf.manage`. Given several times, all of them.
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// The transmitter whose security events it may push, by its name in the configuration.
        #[arg(long, default_value = "", value_name = "NAME")]
        transmitter: String,
        /// How long the token is good, such as `90d`, at most `3650d`; without this until it is revoked.
        #[arg(long, value_name = "DURATION")]
        lifetime: Option<String>,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Revoke a system's token, at once on every node.
    Remove {
        /// Its name.
        name: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// List the systems that have tokens. No secrets.
    List {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}
