//! `stepgate policy …`: tables of expected verdicts, and explanations.

mod bearer;
mod case;
mod described;
mod explained;
mod facts;
mod new;
mod pack;
mod prompts;
mod replay;
mod report;
mod shadow;
mod table;

use std::process::ExitCode;

use stepgate_core::policy::Policies;

use super::{Done, failed};
use crate::cli::PolicyCommand;
use crate::config;

pub(super) use case::{Case, SignsIn};
pub(super) use described::{Described, operation_without_inputs};
pub(super) use table::Table;

pub(super) async fn run(command: PolicyCommand) -> Done {
    match command {
        PolicyCommand::Schema(config) => {
            let settings = config::load(&config.config)?;
            let schema = Policies::schema_of(&settings.catalogue)
                .map_err(|mistakes| failed(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
            println!("{schema}");
            Ok(ExitCode::SUCCESS)
        }
        PolicyCommand::Test { files, config, output } => table::test(&config.config, files, output.format()),
        PolicyCommand::New(args) => new::run(&args),
        PolicyCommand::Prompts { since, config, output } => prompts::run(&since, &config.config, output.format()).await,
        PolicyCommand::Shadow { since, config, output } => shadow::run(&since, &config.config, output.format()).await,
        PolicyCommand::Replay(args) => replay::run(&args).await,
        PolicyCommand::Explain(args) => explained::explain_one(&args),
    }
}
