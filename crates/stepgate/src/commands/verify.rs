//! `stepgate audit verify`: an export and a public key, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use stepgate_evidence::verify::{self, Report};
use stepgate_evidence::{ProviderKeys, Titles};
use stepgate_ledger::export::Reader;
use stepgate_ledger::verify::{BelievedKey, Trust};
use stepgate_ledger::{CheckpointVerifier, SignedCheckpoint};

use super::audit::{entry_of, progress};
use super::{Done, FOUND, Failure, because, print, unreadable, wrong_input};
use crate::cli::Format;

/// A public key as text, or a file whose first line it is.
pub(super) fn verifier(key: &str) -> Result<CheckpointVerifier, Failure> {
    if let Ok(verifier) = CheckpointVerifier::parse(key.trim()) {
        return Ok(verifier);
    }
    let path = Path::new(key);
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let line = text.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
            CheckpointVerifier::parse(line.trim()).map_err(|error| {
                wrong_input(format!(
                    "--key: the first line of {key} is no key: {error}; `stepgate audit key` prints it"
                ))
            })
        }
        Err(_) if key.contains('+') && !path.exists() => Err(wrong_input(format!(
            "--key: {key:?} is no key and no file: a key looks like name+id+base64, whole, as `stepgate audit key` prints it"
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(wrong_input(format!(
            "--key: there is no file {}, and a key has the form name+id+base64; `stepgate audit key` prints it",
            key.escape_debug()
        ))),
        Err(error) => Err(unreadable("--key", path, &error)),
    }
}

/// `stepgate audit verify`.
pub(crate) fn verify_export(
    dir: &Path,
    keys: &[String],
    remembered: Option<&Path>,
    provider_keys: &[String],
    format: Format,
) -> Done {
    let providers = providers(provider_keys)?;
    let keys = keys.iter().map(|key| verifier(key)).collect::<Result<Vec<_>, _>>()?;
    let remembered = remembered.map(remembered_at).transpose()?;
    let heads: Vec<_> = remembered.iter().map(|signed| signed.unverified().clone()).collect();
    let reader = Reader::open(dir).map_err(because)?;
    let trust = Trust { keys: &keys, remembered: &heads };
    let report = verify::verify_with_providers(&reader, trust, providers, &mut |done| progress(done, None));
    let report = report.map_err(because)?;
    let remembered = remembered.map(|signed| who_signed(&signed, &report.ledger.believed)).transpose()?;
    match format {
        Format::Json => {
            let mut value = serde_json::to_value(&report).map_err(because)?;
            if let Some(object) = value.as_object_mut() {
                object.insert("sound".to_owned(), report.is_sound().into());
            }
            print::json(&value);
        }
        Format::Text => print!("{}", words(&report, remembered.as_ref(), &sentences(&reader, &report))),
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

/// Saved key sets of providers, each given as `ISSUER=FILE`.
fn providers(given: &[String]) -> Result<ProviderKeys, Failure> {
    let mut keys = ProviderKeys::default();
    for one in given {
        let (issuer, file) =
            one.split_once('=').filter(|(issuer, file)| !issuer.is_empty() && !file.is_empty()).ok_or_else(|| {
                wrong_input(format!(
                    "--provider-keys: {:?} is not ISSUER=FILE, such as https://id.example=keys-of-id-example.json",
                    one
                ))
            })?;
        let path = Path::new(file);
        let set = std::fs::read(path).map_err(|error| unreadable("--provider-keys", path, &error))?;
        keys.add(issuer, &set)
            .map_err(|error| wrong_input(format!("--provider-keys: {} is {error}", path.display())))?;
    }
    Ok(keys)
}

/// What the entries say that something is wrong with, so that a finding tells of which payment it is.
/// An entry that cannot be read says nothing; that is a finding already.
fn sentences(reader: &Reader, report: &Report) -> BTreeMap<u64, String> {
    let wanted: BTreeSet<u64> = report.findings.iter().map(|finding| finding.index).collect();
    let mut said = BTreeMap::new();
    let (Some(last), Ok(records)) = (wanted.last(), reader.records()) else { return said };
    let mut titles = Titles::default();
    for record in records.map_while(Result::ok).take_while(|record| record.index <= *last) {
        let index = record.index;
        let Ok(entry) = entry_of(record) else { continue };
        titles.note(&entry);
        if wanted.contains(&index) {
            said.insert(index, print::entry_line(index, &entry, &titles).trim_start().to_owned());
        }
    }
    said
}

fn remembered_at(path: &Path) -> Result<SignedCheckpoint, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable("--remembered", path, &error))?;
    SignedCheckpoint::parse(&text).map_err(|error| {
        wrong_input(format!(
            "--remembered: {} is {error}; `stepgate audit key --checkpoint` prints one",
            path.display()
        ))
    })
}

/// A remembered head that was believed, and whose signature made it so.
struct Remembered {
    size: u64,
    key: String,
}

/// What was remembered counts only if one of the keys that are believed signed it.
fn who_signed(signed: &SignedCheckpoint, believed: &[BelievedKey]) -> Result<Remembered, Failure> {
    let signs = |key: &&BelievedKey| {
        CheckpointVerifier::parse(&key.key).is_ok_and(|verifier| verifier.verify(signed.text()).is_ok())
    };
    match believed.iter().find(signs) {
        Some(key) => Ok(Remembered { size: signed.unverified().size, key: key.key.clone() }),
        None => Err(wrong_input(
            "--remembered: none of the keys that are believed signed this checkpoint; give the one that did with another --key",
        )),
    }
}

fn words(report: &Report, remembered: Option<&Remembered>, said: &BTreeMap<u64, String>) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    let ledger = &report.ledger;
    let _ = writeln!(out, "Log          {}", ledger.origin.as_deref().unwrap_or("unknown"));
    let signed = match (ledger.signed_by.is_empty(), ledger.believed.len()) {
        (true, 1) => "NOT signed by this key".to_owned(),
        (true, _) => "NOT signed by any of these keys".to_owned(),
        (false, 1) => "signed by this key".to_owned(),
        (false, _) => format!("signed by {}", ledger.signed_by.join(" and ")),
    };
    let _ = writeln!(out, "Checkpoint   {} entries, {signed}", ledger.size);
    for (place, line) in relied_on(report, remembered).into_iter().enumerate() {
        let _ = writeln!(out, "{:<12} {line}", if place == 0 { "Relied on" } else { "" });
    }
    let checked = &report.checked;
    let _ = writeln!(
        out,
        "Checked      {} entries, {} details, {} statements, {} passkey signatures",
        checked.entries, checked.details, checked.statements, checked.signatures
    );
    let passed = if checked.passed == 1 {
        "1 challenge passed".to_owned()
    } else {
        format!("{} challenges passed", checked.passed)
    };
    let sent = if checked.sent == 1 { "1 request sent".to_owned() } else { format!("{} requests sent", checked.sent) };
    let logins = match checked.logins {
        1 => "1 company login".to_owned(),
        logins => format!("{logins} company logins"),
    };
    let _ = writeln!(out, "             {logins}, {passed}, {sent} after one");
    for line in report.signing_keys.lines() {
        let _ = writeln!(out, "Logins       {line}");
    }
    for finding in &ledger.findings {
        let _ = writeln!(out, "WRONG        {finding}");
    }
    for finding in &report.findings {
        let _ = writeln!(out, "WRONG        entry {}: {}", finding.index, finding.problem);
        if let Some(line) = said.get(&finding.index) {
            let _ = writeln!(out, "             {line}");
        }
    }
    let more = ledger.more_findings.saturating_add(report.more_findings);
    if more > 0 {
        let _ = writeln!(out, "WRONG        and {more} more");
    }
    for what in &ledger.not_checked {
        let _ = writeln!(out, "Not checked  {what}");
    }
    for (what, count) in &report.not_checked {
        let _ = writeln!(out, "Not checked  {what} ({count})");
    }
    let verdict = if report.is_sound() {
        "SOUND: nothing that was checked is wrong."
    } else {
        "NOT SOUND: this is not the log that was signed, or it contradicts itself."
    };
    let _ = writeln!(out, "\n{verdict}");
    out
}

/// What the verdict rests on, besides the export itself.
fn relied_on(report: &Report, remembered: Option<&Remembered>) -> Vec<String> {
    let ledger = &report.ledger;
    let mut lines = Vec::new();
    for BelievedKey { key, announced_by, signs_until } in &ledger.believed {
        let signs = match signs_until {
            Some(size) => format!(", which signed heads of up to {size} entries"),
            None => String::new(),
        };
        let used = signs_until.is_some()
            || ledger.signed_by.contains(key)
            || remembered.is_some_and(|remembered| remembered.key == *key);
        match announced_by {
            Some(index) => lines.push(format!(
                "{key}{signs}: entry {index} announces it, and the key before signed handover/{}",
                index.saturating_add(1)
            )),
            None if used => lines.push(format!("{key}{signs}: you gave it")),
            None => lines.push(format!("not on {key}: you gave it, and it signed nothing here")),
        }
    }
    if let Some(Remembered { size, key }) = remembered {
        lines.push(format!("the remembered checkpoint of {size} entries, signed by {key}"));
    }
    lines
}
