//! The words of `stepgate sinks …`.

use clap::Subcommand;

use super::{ConfigArgs, Output};

/// `stepgate sinks …`.
#[derive(Debug, Subcommand)]
pub enum SinksCommand {
    /// Say of each system that is told the evidence how far it is, and why it waits. Exit code 3 if one is late.
    List {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Print entries as a sink is told them, without telling it: what its format and settings make of them.
    Sample {
        /// The sink's name in the configuration.
        name: String,
        /// The first entry, by its index in the ledger.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many entries.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Forget how far a sink was that is not configured any more.
    Forget {
        /// Its name.
        name: String,
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}
