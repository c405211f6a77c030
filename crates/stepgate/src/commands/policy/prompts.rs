//! `stepgate policy prompts`: how often people are asked, by which rule, and what comes of it.

use std::path::Path;
use std::process::ExitCode;

use stepgate_core::prompts::Prompts;

use super::report::{self, Names, OF_PROMPTS};
use crate::cli::Format;
use crate::commands::user::by;
use crate::commands::{Done, because, open, print};

pub(super) async fn run(since: &str, config: &Path, format: Format) -> Done {
    let from = report::since(since)?;
    let house = open(config).await?;
    // Who was asked what, and when, is evidence: looking at it stands in it.
    house.flows.searched(&by(), &format!("prompts of the last {since}")).await.map_err(because)?;
    let mut prompts = Prompts::default();
    report::each(&house, &OF_PROMPTS, from, |entry| {
        prompts.add(entry);
        Ok(())
    })
    .await?;
    let live = house.flows.live.load();
    let summary = prompts.summary(&report::could_ask(&live.policies));
    let names = Names::of(&house, summary.people.iter().map(|(id, _)| id.as_str())).await?;
    match format {
        Format::Json => print::json(&report::as_json(&summary, &names)),
        Format::Text => {
            let Some((first, last)) = summary.period else {
                println!("Nobody was asked or refused in that time.");
                return Ok(ExitCode::SUCCESS);
            };
            println!("From {first} to {last}: {}", report::words(summary.total, summary.days));
            println!("What passed unasked is not in the ledger, and not counted here.");
            report::tell(&summary, &names);
        }
    }
    Ok(ExitCode::SUCCESS)
}
