//! `stepgate audit …`: the evidence, exported, verified, shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use stepgate_core::flows::Flows;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_evidence::{Entry, Event, verify};
use stepgate_ledger::export::{Details, Reader, Writer};
use stepgate_ledger::verify::Trust;
use stepgate_ledger::{CheckpointVerifier, ProofFile, SignedCheckpoint};
use stepgate_store::{Database, LeafDetails};

use super::user::by;
use super::{Done, FOUND, Failure, because, failed, open, print, wrong_input};
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
            let size = export(&house.flows, &house.database, &out, &by()).await?;
            println!("Exported {size} entries to {}.", out.display());
            println!(
                "Verify them anywhere:\n  stepgate audit verify {} --key '{}'",
                out.display(),
                house.keys.checkpoint_verifier
            );
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Verify { dir, key, remembered, output } => {
            verify_export(&dir, &key, remembered.as_deref(), output.format())
        }
        AuditCommand::Show { dir, index, challenge, output } => {
            show(&dir, index, challenge.as_deref(), output.format())
        }
        AuditCommand::Proof { dir, index, out, check, key } => match check {
            Some(file) => check_proof(&dir, index, &file, &key.unwrap_or_default()),
            None => write_proof(&dir, index, out.as_deref()),
        },
        AuditCommand::Tail { lines, follow, config, output } => {
            let house = open(&config.config).await?;
            tail(&house, lines, follow, output.format()).await
        }
        AuditCommand::Key(config) => {
            let house = open(&config.config).await?;
            println!("{}\n", house.keys.checkpoint_verifier);
            print!("{}", house.database.checkpoint().await.map_err(because)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes the whole log to a directory. That somebody did is an entry of the log itself.
pub(crate) async fn export(flows: &Flows, database: &Database, out: &Path, by: &str) -> Result<u64, Failure> {
    let until = database.ledger_size().await.map_err(because)?;
    let event = Event::EvidenceExported { by: by.to_owned(), from_index: "0".to_owned(), to_index: until.to_string() };
    database.record(vec![flows.entry(flows.clock.now(), event)]).await.map_err(because)?;
    let checkpoint = database.checkpoint().await.map_err(because)?;
    let checkpoint = SignedCheckpoint::parse(&checkpoint).map_err(because)?;
    let size = checkpoint.unverified().size;
    let mut writer = Writer::create(out).map_err(because)?;
    while writer.size() < size {
        let left = size.saturating_sub(writer.size());
        let limit = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let leaves = database.leaves(writer.size(), limit).await.map_err(because)?;
        if leaves.is_empty() {
            return Err(failed(format!("entry {} is missing in the store", writer.size())));
        }
        for leaf in leaves {
            let details = match &leaf.details {
                LeafDetails::None => None,
                LeafDetails::Kept(details) => Some(verify::exported(details)),
                LeafDetails::Erased => Some(Details::Erased),
            };
            writer.append(&leaf.bytes, details.as_ref()).map_err(because)?;
        }
        progress(writer.size(), Some(size));
    }
    writer.finish(&checkpoint).map_err(because)?;
    Ok(size)
}

fn progress(done: u64, of: Option<u64>) {
    if done > 0 && done.is_multiple_of(PROGRESS_EVERY) {
        match of {
            Some(of) => eprintln!("{done} of {of} entries"),
            None => eprintln!("{done} entries"),
        }
    }
}

/// A public key as text, or a file that holds it.
fn verifier(key: &str) -> Result<CheckpointVerifier, Failure> {
    let text = match std::fs::read_to_string(key) {
        Ok(text) => text.lines().next().unwrap_or_default().to_owned(),
        Err(_) => key.to_owned(),
    };
    CheckpointVerifier::parse(text.trim())
        .map_err(|error| wrong_input(format!("--key: {error}; `stepgate audit key` prints it")))
}

/// `stepgate audit verify`. Needs the export and a public key, nothing else.
pub(crate) fn verify_export(dir: &Path, key: &str, remembered: Option<&Path>, format: Format) -> Done {
    let keys = [verifier(key)?];
    let remembered: Vec<_> = match remembered {
        None => Vec::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(because)?;
            // What was remembered counts only if the same key signed it.
            let [key] = &keys;
            vec![key.verify(&text).map_err(because)?]
        }
    };
    let reader = Reader::open(dir).map_err(because)?;
    let trust = Trust { keys: &keys, remembered: &remembered };
    let report = verify::verify(&reader, trust, &mut |done| progress(done, None)).map_err(because)?;
    match format {
        Format::Json => {
            let mut value = serde_json::to_value(&report).map_err(because)?;
            if let Some(object) = value.as_object_mut() {
                object.insert("sound".to_owned(), report.is_sound().into());
            }
            print::json(&value);
        }
        Format::Text => print!("{}", words(&report)),
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn words(report: &verify::Report) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let ledger = &report.ledger;
    let _ = writeln!(out, "Log          {}", ledger.origin.as_deref().unwrap_or("unknown"));
    let _ = writeln!(
        out,
        "Checkpoint   {} entries, {}",
        ledger.size,
        if ledger.signed_by.is_empty() { "NOT signed by this key" } else { "signed by this key" }
    );
    let checked = &report.checked;
    let _ = writeln!(
        out,
        "Checked      {} entries, {} details, {} statements, {} passkey signatures",
        checked.entries, checked.details, checked.statements, checked.signatures
    );
    let _ =
        writeln!(out, "             {} challenges passed, {} requests sent after one", checked.passed, checked.sent);
    for finding in &ledger.findings {
        let _ = writeln!(out, "WRONG        {finding}");
    }
    for finding in &report.findings {
        let _ = writeln!(out, "WRONG        entry {}: {}", finding.index, finding.problem);
    }
    let more = ledger.more_findings.saturating_add(report.more_findings);
    if more > 0 {
        let _ = writeln!(out, "WRONG        and {more} more");
    }
    for what in &ledger.not_checked {
        let _ = writeln!(out, "Not checked  {what}");
    }
    for (what, count) in &report.not_checked {
        let _ = writeln!(out, "Not checked  {what} ({count} times)");
    }
    let verdict = if report.is_sound() {
        "SOUND: nothing that was checked is wrong."
    } else {
        "NOT SOUND: this is not the log that was signed, or it contradicts itself."
    };
    let _ = writeln!(out, "\n{verdict}");
    out
}

fn show(dir: &Path, index: Option<u64>, challenge: Option<&str>, format: Format) -> Done {
    let reader = Reader::open(dir).map_err(because)?;
    let mut rows = Vec::new();
    for record in reader.records().map_err(because)? {
        let record = record.map_err(because)?;
        if index.is_some_and(|wanted| wanted != record.index) {
            continue;
        }
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

fn check_proof(dir: &Path, index: u64, file: &PathBuf, key: &str) -> Done {
    let verifier = verifier(key)?;
    let text = std::fs::read_to_string(file).map_err(because)?;
    let proof = ProofFile::parse(&text).map_err(because)?;
    let reader = Reader::open(dir).map_err(because)?;
    let found = reader.records().map_err(because)?.find(|record| match record {
        Ok(record) => record.index == index,
        Err(_) => true,
    });
    let record = found.ok_or_else(|| failed(format!("there is no entry {index}")))?.map_err(because)?;
    match proof.verify(&record.entry, &verifier) {
        Ok(checkpoint) => {
            println!(
                "Entry {index} is in the log {} of {} entries that this key signed.",
                checkpoint.origin, checkpoint.size
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("NOT PROVED: {error}");
            Ok(ExitCode::from(FOUND))
        }
    }
}

async fn tail(house: &House, lines: u32, follow: bool, format: Format) -> Done {
    let database = &house.database;
    let event = Event::EvidenceSearched { by: by(), query: format!("tail of {lines}") };
    database.record(vec![house.flows.entry(house.flows.clock.now(), event)]).await.map_err(because)?;
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
