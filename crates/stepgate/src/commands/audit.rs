//! `stepgate audit …`: the evidence, exported, verified, shown.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use stepgate_core::flows::Flows;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_evidence::{Entry, verify};
use stepgate_ledger::ProofFile;
use stepgate_ledger::export::{ReadError, Reader, Record, Writer};
use stepgate_store::CheckpointKey;

use super::user::by;
use super::verify::{verifier, verify_export};
use super::{Done, FOUND, Failure, because, failed, open, print, unreadable};
use crate::cli::{AuditCommand, Format};
use crate::gate::House;

/// Leaves that are read at once.
const PAGE: u32 = 1000;
/// Entries between two lines of progress.
const PROGRESS_EVERY: u64 = 100_000;

pub(super) async fn run(command: AuditCommand) -> Done {
    match command {
        AuditCommand::Export { out, config } => {
            let house = open(&config.config).await?;
            let size = export(&house.flows, &out, &by()).await?;
            println!("Exported {size} entries to {}.", out.display());
            println!(
                "Verify them anywhere:\n  stepgate audit verify {} --key '{}'",
                out.display(),
                house.keys.checkpoint_verifier
            );
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Verify { dir, keys, remembered, output } => {
            verify_export(&dir, &keys, remembered.as_deref(), output.format())
        }
        AuditCommand::Show { dir, index, challenge, output } => {
            show(&dir, index, challenge.as_deref(), output.format())
        }
        AuditCommand::Proof { dir, index, out, check, keys } => match check {
            Some(file) => check_proof(&dir, index, &file, &keys),
            None => write_proof(&dir, index, out.as_deref()),
        },
        AuditCommand::Tail { lines, follow, config, output } => {
            let house = open(&config.config).await?;
            tail(&house, lines, follow, output.format()).await
        }
        AuditCommand::Key { checkpoint, config, output } => {
            let house = open(&config.config).await?;
            let head = house.database.checkpoint().await.map_err(because)?;
            if checkpoint {
                print!("{head}");
            } else {
                print_keys(&house.database.checkpoint_keys().await.map_err(because)?, &head, output.format());
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The key that signs, those that signed before it, and the newest checkpoint. The first line is the
/// key alone, so that a file with this text is one for `--key`.
fn print_keys(keys: &[CheckpointKey], checkpoint: &str, format: Format) {
    let untils = keys.iter().skip(1).map(|next| Some(next.from_size)).chain([None]);
    let mut spans: Vec<_> = keys.iter().zip(untils).collect();
    spans.reverse();
    match format {
        Format::Json => {
            let key = |(key, until): &(&CheckpointKey, Option<u64>)| {
                serde_json::json!({
                    "key": key.verifier,
                    "made_at": key.made_at.to_string(),
                    "signs_from": key.from_size,
                    "signs_until": until,
                    "announced_by": announced_by(key),
                    "private_half": if key.has_private_half { "sealed in the store" } else { "destroyed" },
                })
            };
            print::json(&serde_json::json!({
                "keys": spans.iter().map(key).collect::<Vec<_>>(), "checkpoint": checkpoint,
            }));
        }
        Format::Text => {
            for (key, until) in spans {
                match (until, announced_by(key)) {
                    (None, None) => println!("{}", key.verifier),
                    (None, Some(index)) => {
                        println!("{}", key.verifier);
                        println!("# signs heads of {} entries and more; entry {index} announces it", key.from_size);
                    }
                    (Some(until), _) => {
                        let half = if key.has_private_half { "kept, sealed" } else { "destroyed" };
                        println!("# before: {}", key.verifier);
                        println!(
                            "#   signed heads of {} to {until} entries; its private half is {half}",
                            key.from_size.max(1)
                        );
                    }
                }
            }
            print!("\n{checkpoint}");
        }
    }
}

/// The entry that announces the key; the first key of a log is announced by none.
pub(super) fn announced_by(key: &CheckpointKey) -> Option<u64> {
    key.handover.as_ref().map(|_| key.from_size.saturating_sub(1))
}

/// Writes the whole log to a directory. That somebody did is an entry of the log itself.
pub(crate) async fn export(flows: &Flows, out: &Path, by: &str) -> Result<u64, Failure> {
    let mut export = flows.export_evidence(by, "").await.map_err(because)?;
    let size = export.size();
    let mut writer = Writer::create(out).map_err(because)?;
    loop {
        let page = export.next_page().await.map_err(because)?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            writer.append(&entry.bytes, entry.details.as_ref()).map_err(because)?;
        }
        progress(writer.size(), Some(size));
    }
    for handover in &export.keys().handovers {
        writer.handover(handover).map_err(because)?;
    }
    writer.finish(export.checkpoint()).map_err(because)?;
    Ok(size)
}

pub(super) fn progress(done: u64, of: Option<u64>) {
    if done > 0 && done.is_multiple_of(PROGRESS_EVERY) {
        match of {
            Some(of) => eprintln!("{done} of {of} entries"),
            None => eprintln!("{done} entries"),
        }
    }
}

/// One entry, read alone.
fn one(reader: &Reader, index: u64) -> Result<Record, Failure> {
    let found = reader.record(index).map_err(because)?;
    let size = || reader.checkpoint().map_or(0, |head| head.unverified().size);
    found.ok_or_else(|| match size() {
        0 => failed("the export has no entries"),
        size => {
            failed(format!("there is no entry {index}: the export has the entries 0 to {}", size.saturating_sub(1)))
        }
    })
}

fn show(dir: &Path, index: Option<u64>, challenge: Option<&str>, format: Format) -> Done {
    let reader = Reader::open(dir).map_err(because)?;
    let mut rows = Vec::new();
    let records: Box<dyn Iterator<Item = Result<Record, ReadError>>> = match index {
        Some(index) => Box::new(std::iter::once(one(&reader, index)?).map(Ok)),
        None => Box::new(reader.records().map_err(because)?),
    };
    for record in records {
        let record = record.map_err(because)?;
        let text = String::from_utf8_lossy(&record.entry);
        if challenge.is_some_and(|wanted| !text.contains(wanted)) {
            continue;
        }
        let (mut entry, _) = Entry::from_leaf(&record.entry).map_err(because)?;
        if let Some(details) = record.details {
            entry.details = verify::imported(details).map_err(because)?;
        }
        match format {
            Format::Json => rows.push(print::entry_json(record.index, &entry)),
            Format::Text => {
                println!("{}", print::entry_line(record.index, &entry));
                if index.is_some() {
                    print::json(&print::entry_json(record.index, &entry));
                }
            }
        }
    }
    if format == Format::Json {
        print::json(&serde_json::Value::Array(rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn write_proof(dir: &Path, index: u64, out: Option<&Path>) -> Done {
    let proof = Reader::open(dir).and_then(|reader| reader.proof_file(index)).map_err(because)?;
    match out {
        None => print!("{}", proof.to_text()),
        Some(path) => std::fs::write(path, proof.to_text()).map_err(because)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check_proof(dir: &Path, index: u64, file: &Path, keys: &[String]) -> Done {
    let keys = keys.iter().map(|key| verifier(key)).collect::<Result<Vec<_>, _>>()?;
    let text = std::fs::read_to_string(file).map_err(|error| unreadable("--check", file, &error))?;
    let proof = ProofFile::parse(&text).map_err(because)?;
    let record = one(&Reader::open(dir).map_err(because)?, index)?;
    let mut refused = Vec::new();
    for key in &keys {
        match proof.verify(&record.entry, key) {
            Ok(head) => {
                println!("Entry {index} is in the log {} of {} entries.", head.origin, head.size);
                println!("Relied on  {}, which signed that head", key.key());
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => refused.push(error.to_string()),
        }
    }
    eprintln!("NOT PROVED: {}", refused.join("; "));
    eprintln!(
        "If the log's key was changed since, `stepgate audit verify` with the key that you have names the next one."
    );
    Ok(ExitCode::from(FOUND))
}

async fn tail(house: &House, lines: u32, follow: bool, format: Format) -> Done {
    let database = &house.database;
    house.flows.searched(&by(), &format!("tail of {lines}")).await.map_err(because)?;
    let size = database.ledger_size().await.map_err(because)?;
    let mut next = size.saturating_sub(u64::from(lines));
    loop {
        let query = EntryQuery { from: Some(next), limit: PAGE, ..EntryQuery::default() };
        let found = database.entries(query).await.map_err(because)?;
        for recorded in &found {
            next = recorded.index.saturating_add(1);
            match format {
                Format::Text => println!("{}", print::entry_line(recorded.index, &recorded.entry)),
                Format::Json => println!("{}", print::entry_json(recorded.index, &recorded.entry)),
            }
        }
        if found.is_empty() {
            if !follow {
                return Ok(ExitCode::SUCCESS);
            }
            database.entries_after(next, Duration::from_secs(1)).await;
        }
    }
}
