//! Seeds as CSV, with a header.

use secrecy::SecretString;
use stepgate_core::factor::OathHash;
use stepgate_core::flows::ReadToken;
use totp_rs::Secret;
use zeroize::Zeroizing;

use super::{Described, Moving, Seed, Tokens, UnreadableSeeds, at, text_of};

/// The columns that there can be. `serial`, `kind` and one of the seeds have to be there.
const COLUMNS: [&str; 9] =
    ["serial", "kind", "seed_hex", "seed_base32", "digits", "hash", "step", "counter", "manufacturer"];

/// Reads tokens from CSV (RFC 4180): a header, then one token a line.
///
/// # Errors
///
/// [`UnreadableSeeds`] names the line.
pub fn read_csv(file: &[u8]) -> Result<Vec<ReadToken>, UnreadableSeeds> {
    let text = text_of(file)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| unreadable(&error))?.clone();
    let columns: Vec<&str> = header.iter().collect();
    for (index, name) in columns.iter().enumerate() {
        if !COLUMNS.contains(name) {
            return Err(at(1, format!("there is no column {name:?}; there are: {}", COLUMNS.join(", "))));
        }
        if columns.iter().take(index).any(|before| before == name) {
            return Err(at(1, format!("the column {name:?} stands there twice")));
        }
    }
    let has = |name: &str| columns.contains(&name);
    if !has("serial") || !has("kind") || has("seed_hex") == has("seed_base32") {
        return Err(at(1, "a header is expected with serial, kind, and seed_hex or seed_base32"));
    }
    let mut tokens = Tokens::default();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| unreadable(&error))? {
        let line = record.position().map_or(0, csv::Position::line);
        let field = |name: &str| {
            let index = columns.iter().position(|known| *known == name)?;
            record.get(index).filter(|text| !text.is_empty())
        };
        add(&mut tokens, line, &field)?;
    }
    tokens.all()
}

/// Adds the token of one line.
fn add<'r>(tokens: &mut Tokens, line: u64, field: &dyn Fn(&str) -> Option<&'r str>) -> Result<(), UnreadableSeeds> {
    let number = |name: &str, default: u64| match field(name) {
        None => Ok(default),
        Some(text) => text.parse::<u64>().map_err(|_| at(line, format!("{name} is a number, not {text:?}"))),
    };
    let serial = field("serial").unwrap_or_default();
    let (digits, counter, step_s) = (number("digits", 6)?, number("counter", 0)?, number("step", 30)?);
    let moves = match field("kind").unwrap_or_default() {
        "hotp" if field("step").is_none() => Moving::Counts { next: counter },
        "totp" if field("counter").is_none() => Moving::Clock { step_s },
        "hotp" => return Err(at(line, "what counts has no step")),
        "totp" => return Err(at(line, "what has a clock has no counter")),
        other => return Err(at(line, format!("kind is hotp or totp, not {other:?}"))),
    };
    let hash = match field("hash") {
        None => OathHash::Sha1,
        Some(name) => name.to_ascii_lowercase().parse().map_err(|why| at(line, format!("hash: {why}")))?,
    };
    let seed = seed(field("seed_hex"), field("seed_base32")).ok_or_else(|| {
        at(line, format!("the seed of {serial:?} is missing, or not of the form that its column says"))
    })?;
    let manufacturer = field("manufacturer").unwrap_or_default();
    tokens.add(Described { line, serial, manufacturer, seed: &seed, hash, digits, moves, until: None })
}

fn seed(hex: Option<&str>, base32: Option<&str>) -> Option<Seed> {
    match (hex, base32) {
        (Some(text), _) => hex::decode(text).ok().map(Zeroizing::new),
        (None, Some(text)) => {
            let text = SecretString::from(text.trim_end_matches('=').to_ascii_uppercase());
            Secret::try_from_base32(secrecy::ExposeSecret::expose_secret(&text))
                .ok()
                .map(|secret| Zeroizing::new(secret.as_bytes().to_vec()))
        }
        (None, None) => None,
    }
}

/// What the library says, without what stands in the file.
fn unreadable(error: &csv::Error) -> UnreadableSeeds {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            at(line, format!("{len} fields, where the header has {expected_len}"))
        }
        _ => at(line, "this is no CSV"),
    }
}
