//! `stepgate audit …`: the evidence, exported, verified, shown.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use stepgate_core::flows::Flows;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_evidence::{Entry, Event, Titles, verify};
use stepgate_ledger::export::{Reader, Record, Writer};
use stepgate_ledger::proof_file::ProofFileError;
use stepgate_ledger::verify::{BelievedKey, Trust};
use stepgate_ledger::{CheckpointVerifier, ProofFile};
use stepgate_store::CheckpointKey;

use super::user::by;
use super::verify::{verifier, verify_export};
use super::{Done, FOUND, Failure, because, failed, open, print, unreadable, wrong_input};
use crate::cli::{AuditCommand, Format};
use crate::gate::House;

/// Leaves that are read at once.
const PAGE: u32 = 1000;
/// Entries between two lines of progress.
const PROGRESS_EVERY: u64 = 100_000;
/// Digits of an id: as sentences show it, and all of it.
const SHORT_ID: usize = 8;
const LONG_ID: usize = 32;

pub(super) async fn run(command: AuditCommand) -> Done {
    match command {
        AuditCommand::Export { out, config, output } => {
            let house = open(&config.config).await?;
            let size = export(&house.flows, &out, &by()).await?;
            let key = house.keys.checkpoint_verifier.to_string();
            let words = format!(
                "Exported {size} entries to {0}.\nVerify them anywhere:\n  {1} audit verify {0} --key '{key}'",
                out.display(),
                print::program(),
            );
            let value = json!({ "entries": size, "out": out.display().to_string(), "key": key });
            print::done(output.format(), &value, &words)
        }
        AuditCommand::Verify { dir, keys, remembered, provider_keys, output } => {
            verify_export(&dir, &keys, remembered.as_deref(), &provider_keys, output.format())
        }
        AuditCommand::Show { dir, index, challenge, output } => {
            show(&dir, index, challenge.as_deref(), output.format())
        }
        AuditCommand::Proof { dir, index, out, check, keys, output } => match check {
            Some(file) => check_proof(&dir, index, &file, &keys, output.format()),
            None => write_proof(&dir, index, out.as_deref(), output.format()),
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
    let challenge = challenge.map(beginning_of_id).transpose()?;
    let reader = Reader::open(dir).map_err(because)?;
    let mut rows = Vec::new();
    let mut titles = Titles::default();
    if let Some(index) = index {
        let entry = entry_of(one(&reader, index)?)?;
        // What its challenge is about was said when it was opened, before.
        if entry.event.challenge().is_some() {
            let until = usize::try_from(index).unwrap_or(usize::MAX).saturating_add(1);
            for record in reader.records().map_err(because)?.take(until) {
                titles.note(&entry_of(record.map_err(because)?)?);
            }
        }
        show_one(index, &entry, &titles, &mut rows, format);
        if format == Format::Text {
            print::json(&print::entry_json(index, &entry, &titles));
        }
    } else {
        let mut found = false;
        for record in reader.records().map_err(because)? {
            let record = record.map_err(because)?;
            let index = record.index;
            let entry = entry_of(record)?;
            titles.note(&entry);
            if challenge.as_deref().is_none_or(|wanted| is_of(&entry.event, wanted)) {
                show_one(index, &entry, &titles, &mut rows, format);
                found = true;
            }
        }
        if let (false, Some(challenge)) = (found, challenge) {
            return Err(failed(format!("no entry of the export belongs to the challenge {challenge}")));
        }
    }
    if format == Format::Json {
        print::json(&serde_json::Value::Array(rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn show_one(index: u64, entry: &Entry, titles: &Titles, rows: &mut Vec<serde_json::Value>, format: Format) {
    match format {
        Format::Json => rows.push(print::entry_json(index, entry, titles)),
        Format::Text => println!("{}", print::entry_line(index, entry, titles)),
    }
}

/// An entry of an export with what lies beside it. Nothing is verified.
pub(super) fn entry_of(record: Record) -> Result<Entry, Failure> {
    let (mut entry, _) = Entry::from_leaf(&record.entry).map_err(because)?;
    if let Some(details) = record.details {
        entry.details = verify::imported(details).map_err(because)?;
    }
    Ok(entry)
}

/// An id or its first digits, as sentences show them.
fn beginning_of_id(text: &str) -> Result<String, Failure> {
    let text = text.trim().to_ascii_lowercase();
    if (SHORT_ID..=LONG_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text);
    }
    Err(wrong_input(format!(
        "--challenge: an id is 32 digits and letters a to f, or its first 8 at least, not {text:?}"
    )))
}

/// Whether an event belongs to a challenge whose id begins so: by being of it, or by having
/// been allowed by it.
fn is_of(event: &Event, id: &str) -> bool {
    let allowed_by = match event {
        Event::FactorEnrolled { authority, .. }
        | Event::FactorRemoved { authority, .. }
        | Event::EvidenceExported { authority, .. } => authority.strip_prefix("challenge:"),
        _ => None,
    };
    event.challenge().or(allowed_by).is_some_and(|challenge| challenge.starts_with(id))
}

fn write_proof(dir: &Path, index: u64, out: Option<&Path>, format: Format) -> Done {
    let proof = Reader::open(dir).and_then(|reader| reader.proof_file(index)).map_err(because)?;
    match out {
        None if format == Format::Json => print::json(&json!({ "index": index, "proof": proof.to_text() })),
        None => print!("{}", proof.to_text()),
        Some(path) => {
            std::fs::write(path, proof.to_text())
                .map_err(|error| failed(format!("--out: {} cannot be written: {error}", path.display())))?;
            let value = json!({ "index": index, "out": path.display().to_string() });
            return print::done(format, &value, &format!("Wrote the proof of entry {index} to {}.", path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check_proof(dir: &Path, index: u64, file: &Path, keys: &[String], format: Format) -> Done {
    let keys = keys.iter().map(|key| verifier(key)).collect::<Result<Vec<_>, _>>()?;
    let text = std::fs::read_to_string(file).map_err(|error| unreadable("--check", file, &error))?;
    let proof = ProofFile::parse(&text).map_err(because)?;
    let reader = Reader::open(dir).map_err(because)?;
    let record = one(&reader, index)?;
    let mut refused = Vec::new();
    for key in &keys {
        match proof.verify(&record.entry, key) {
            Ok(head) => {
                let words = format!(
                    "Entry {index} is in the log {} of {} entries.\nRelied on  {}, which signed that head",
                    head.origin,
                    head.size,
                    key.key()
                );
                let value = json!({
                    "proved": true, "index": index, "origin": head.origin.to_string(), "size": head.size,
                    "key": key.key().to_string(), "announced_by": null,
                });
                return print::done(format, &value, &words);
            }
            Err(error) => refused.push(error),
        }
    }
    if !refused.iter().any(|error| matches!(error, ProofFileError::Checkpoint(_))) {
        // The head is believed; the entry is not under it.
        return Ok(not_proved(index, &refused, format));
    }
    // The head is signed by none of the given keys; the whole export tells which follow them.
    eprintln!("No key that you gave signed the proof's head. The export is read for the keys that follow them.");
    let trust = Trust { keys: &keys, remembered: &[] };
    let report = verify::verify(&reader, trust, &mut |done| progress(done, None)).map_err(because)?;
    if let Some(finding) = report.ledger.findings.first() {
        eprintln!("No key is followed in an export that is not sound: {finding}.");
        return Ok(not_proved(index, &refused, format));
    }
    for BelievedKey { key, announced_by, signs_until } in &report.ledger.believed {
        let Some(announced_by) = announced_by else { continue };
        let Ok(head) = proof.verify(&record.entry, &verifier(key)?) else { continue };
        if signs_until.is_some_and(|until| head.size > until) {
            continue;
        }
        let words = format!(
            "Entry {index} is in the log {} of {} entries.\n\
             Relied on  {key}, which signed that head:\n           \
             entry {announced_by} announces it, and the key before signed handover/{}\n           \
             {}: you gave it",
            head.origin,
            head.size,
            announced_by.saturating_add(1),
            trust.keys.iter().map(CheckpointVerifier::key).collect::<Vec<_>>().join(", ")
        );
        let value = json!({
            "proved": true, "index": index, "origin": head.origin.to_string(), "size": head.size,
            "key": key.to_string(), "announced_by": announced_by,
        });
        return print::done(format, &value, &words);
    }
    Ok(not_proved(index, &refused, format))
}

fn not_proved(index: u64, refused: &[ProofFileError], format: Format) -> ExitCode {
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    if format == Format::Json {
        print::json(&json!({ "proved": false, "index": index, "why": refused }));
    }
    eprintln!("NOT PROVED: {}", refused.join("; "));
    ExitCode::from(FOUND)
}

async fn tail(house: &House, lines: u32, follow: bool, format: Format) -> Done {
    let database = &house.database;
    house.flows.searched(&by(), &format!("tail of {lines}")).await.map_err(because)?;
    let size = database.ledger_size().await.map_err(because)?;
    let mut next = size.saturating_sub(u64::from(lines));
    loop {
        let query = EntryQuery { from: Some(next), limit: PAGE, ..EntryQuery::default() };
        let found = database.entries(query).await.map_err(because)?;
        let titles = house.flows.titles(&found).await.map_err(because)?;
        for recorded in &found {
            next = recorded.index.saturating_add(1);
            match format {
                Format::Text => println!("{}", print::entry_line(recorded.index, &recorded.entry, &titles)),
                Format::Json => println!("{}", print::entry_json(recorded.index, &recorded.entry, &titles)),
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
