//! `stepgate policy replay`: what other policies would have made of the decisions that the ledger recorded.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use stepgate_core::policy::Policies;
use stepgate_core::replay::{Replay, Replayed};
use stepgate_core::surroundings::Environment;
use stepgate_core::time::Timestamp;
use stepgate_evidence::Entry;
use stepgate_ledger::export::Reader;

use super::report::{self, Names, OF_PROMPTS};
use crate::cli::{Format, ReplayArgs};
use crate::commands::audit::entry_of;
use crate::commands::user::by;
use crate::commands::{Done, FOUND, Failure, because, open, print};
use crate::config::{self, Settings};
use crate::gate::{environment, load_policies, load_sources, read_source, read_sources, verified};

/// What a replay takes for granted.
const ASSUMED: [&str; 4] = [
    "whoever was asked proves what they proved then; what only these policies ask is proved at once, with the least trouble",
    "a proof that only the live policies asked for counts for nothing; what these ask for counts until its time is over",
    "services, operations, networks, regions, calendars and factors are as they are configured now",
    "what passed unasked is not in the ledger, so what these would ask there is not seen: `stepgate policy shadow` sees it",
];

pub(super) async fn run(args: &ReplayArgs) -> Done {
    let from = report::since(&args.since)?;
    let config = &args.config.config;
    let settings = config::load(config)?;
    let other = candidate(&settings, &args.policies)?;
    let around = environment(&settings)?;
    let (replayed, names) = match &args.export {
        Some(export) => (of_export(export, from, &settings, &other, &around)?, Names::default()),
        None => of_store(args, from, &settings, &other, &around).await?,
    };
    match args.output.format() {
        Format::Json => print::json(&as_json(&replayed, &other, &names)),
        Format::Text => tell(&replayed, &other, &names),
    }
    Ok(if replayed.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// The policies of a directory, or of one file, in place of those that are configured.
pub(super) fn candidate(settings: &Settings, at: &Path) -> Result<Policies, Failure> {
    let sources = if at.is_dir() { read_sources(at)? } else { vec![read_source(at)?] };
    Ok(load_sources(settings, sources, verified(settings))?)
}

async fn of_store(
    args: &ReplayArgs,
    from: Timestamp,
    settings: &Settings,
    other: &Policies,
    around: &Environment,
) -> Result<(Replayed, Names), Failure> {
    let house = open(&args.config.config).await?;
    // Who was asked what, and when, is evidence: looking at it stands in it.
    house.flows.searched(&by(), &format!("replay of the last {}", args.since)).await.map_err(because)?;
    let mut replay = Replay::new(other, &settings.catalogue, around);
    report::each(&house, &OF_PROMPTS, from, |entry| {
        replay.add(entry);
        Ok(())
    })
    .await?;
    let live = house.flows.live.load();
    let replayed = replay.finish(&report::could_ask(&live.policies), &report::could_ask(other));
    let people = replayed.live.people.iter().chain(&replayed.other.people).map(|(id, _)| id.as_str());
    let names = Names::of(&house, people).await?;
    Ok((replayed, names))
}

/// The same of an export. Nothing is verified: `stepgate audit verify` does.
fn of_export(
    export: &Path,
    from: Timestamp,
    settings: &Settings,
    other: &Policies,
    around: &Environment,
) -> Result<Replayed, Failure> {
    let live = load_policies(settings)?;
    let mut replay = Replay::new(other, &settings.catalogue, around);
    let reader = Reader::open(export).map_err(because)?;
    for record in reader.records().map_err(because)? {
        let record = record.map_err(because)?;
        let index = record.index;
        let entry: Entry =
            entry_of(record).map_err(|failure| failure.of(&format!("{}, entry {index}", export.display())))?;
        if Timestamp::from_ms(entry.at_ms) >= from {
            replay.add(&entry);
        }
    }
    Ok(replay.finish(&report::could_ask(&live), &report::could_ask(other)))
}

fn tell(replayed: &Replayed, other: &Policies, names: &Names) {
    let Replayed { live, other: would, differences, decided, undecided } = replayed;
    let Some((first, last)) = live.period else {
        println!("Nobody was asked or refused in that time: there is nothing to decide again.");
        return;
    };
    println!("From {first} to {last}, under policies {}", other.version().get(..12).unwrap_or_default());
    println!("  were     {}", report::words(live.total, live.days));
    println!("  would be {}", report::words(would.total, live.days));
    println!("{decided} decisions were taken again.");
    for (why, count) in undecided {
        println!("{count} could not be, and are counted as they were: {why}.");
    }
    if differences.is_empty() {
        println!("Nothing would be decided otherwise.");
    } else {
        println!("\nWhat would be otherwise:");
        report::tell_differences(differences, live.days, names);
    }
    println!("\nUnder these policies:");
    report::tell(would, names);
    println!("\nAssumed:");
    ASSUMED.iter().for_each(|assumed| println!("  - {assumed}"));
}

fn as_json(replayed: &Replayed, other: &Policies, names: &Names) -> Value {
    let Replayed { live, other: would, differences, decided, undecided } = replayed;
    let undecided: Vec<Value> =
        undecided.iter().map(|(why, count)| json!({ "why": why.to_string(), "count": count })).collect();
    json!({
        "policies": other.version(), "decided": decided, "undecided": undecided,
        "differences": report::differences_json(differences, live.days, names),
        "live": report::as_json(live, names), "other": report::as_json(would, names), "assumed": ASSUMED,
    })
}
