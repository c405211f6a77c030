//! The words of `stepgate keys …`.

use clap::Subcommand;

use super::{ConfigArgs, Output};

/// `stepgate keys …`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List keys: purpose, id, since when and how long each is in use. No secrets.
    Show {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Make a new key in place of one that is in use. Each rotation is an entry of the log.
    #[command(subcommand)]
    Rotate(RotateCommand),
}

/// `stepgate keys rotate …`.
#[derive(Debug, Subcommand)]
pub enum RotateCommand {
    /// The key that seals every secret in the store: seal everything anew with a new one.
    Master {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// The key that signs the log: announce a new one in the log, under the former one's signature.
    Checkpoint {
        /// Keep the former private key, sealed, in the store. Without this it is destroyed.
        #[arg(long)]
        keep_former: bool,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// The key that signs `Stepgate-Assertion`: publish a new one, which signs after a while.
    Assertion {
        /// How long the new key is published before it signs: as long as applications may keep the JWK set.
        #[arg(long, default_value = "10m", value_name = "DURATION")]
        publish_for: String,
        /// Somebody else may have the key: the new one signs at once, and all others are deleted.
        #[arg(long, conflicts_with = "publish_for")]
        compromised: bool,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// The key that wakes devices through their push services: new subscriptions are made for a new one.
    Push {
        /// Somebody else may have the key: all others are deleted, and devices subscribe anew when their page is
        /// opened next.
        #[arg(long)]
        compromised: bool,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// The key that signs security events for other systems: publish a new one, which signs after a while.
    Signals {
        /// How long the new key is published before it signs: as long as receivers may keep the JWK set.
        #[arg(long, default_value = "1d", value_name = "DURATION")]
        publish_for: String,
        /// Somebody else may have the key: the new one signs at once, and all others are deleted.
        #[arg(long, conflicts_with = "publish_for")]
        compromised: bool,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}
