//! Files of seeds: PSKC (RFC 6030) and CSV. A file is read as a whole or not at all, and what cannot be read says where.

mod csv;
mod opening;
mod pskc;

use std::collections::BTreeMap;

use secrecy::SecretString;
use stepgate_core::factor::{Moves, OathHash, OathKey, SEED_LEN_MAX, SEED_LEN_MIN};
use stepgate_core::flows::ReadToken;
use stepgate_core::time::Timestamp;
use totp_rs::Secret;
use zeroize::Zeroizing;

pub use csv::read_csv;
pub use opening::{BadKey, OpensSeeds};
pub use pskc::read_pskc;

/// Tokens of one file.
pub const TOKENS_MAX: usize = 10_000;
/// Bytes of one file.
pub const FILE_MAX: usize = 32 << 20;
/// Longest serial number, and longest name of a maker, in characters.
const NAME_MAX: usize = 64;
/// The steps of a token with a clock, in seconds.
const STEPS_S: [u32; 2] = [30, 60];
/// The greatest counter that a file may begin with: there is room for more codes than a token can show.
const COUNTER_MAX: u64 = 1 << 62;

/// Why a file of seeds was not read. No text of it is a seed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct UnreadableSeeds {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong there.
    pub what: String,
}

fn at(line: u64, what: impl Into<String>) -> UnreadableSeeds {
    UnreadableSeeds { line, what: what.into() }
}

/// What a file says of one token.
struct Described<'a> {
    line: u64,
    serial: &'a str,
    manufacturer: &'a str,
    seed: &'a [u8],
    hash: OathHash,
    digits: u64,
    moves: Moving,
    until: Option<Timestamp>,
}

/// What a file says that moves from one code to the next.
enum Moving {
    Counts { next: u64 },
    Clock { step_s: u64 },
}

impl Described<'_> {
    /// The token, if all of it is sound.
    fn read(self) -> Result<ReadToken, UnreadableSeeds> {
        let wrong = |what: String| Err(at(self.line, what));
        let is_serial = |sign: char| sign.is_ascii_alphanumeric() || "-._/:".contains(sign);
        if self.serial.is_empty() || self.serial.len() > NAME_MAX || !self.serial.chars().all(is_serial) {
            return wrong(format!("a serial number is 1 to {NAME_MAX} letters, digits and -._/:"));
        }
        if self.manufacturer.chars().count() > NAME_MAX || self.manufacturer.chars().any(char::is_control) {
            return wrong(format!("the maker of {} has no name of at most {NAME_MAX} signs", self.serial));
        }
        let bits = self.seed.len() * 8;
        if self.seed.len() < SEED_LEN_MIN {
            let least = SEED_LEN_MIN * 8;
            return wrong(format!(
                "the seed of {} has {bits} bits; it needs {least} (RFC 4226, section 4)",
                self.serial
            ));
        }
        if self.seed.len() > SEED_LEN_MAX {
            return wrong(format!("the seed of {} has {bits} bits, which is no seed", self.serial));
        }
        let Some(digits) = u8::try_from(self.digits).ok().filter(|digits| (6..=8).contains(digits)) else {
            return wrong(format!("codes of {} have {} digits; 6 to 8 is expected", self.serial, self.digits));
        };
        let (moves, next) = match self.moves {
            Moving::Counts { .. } if self.hash != OathHash::Sha1 => {
                return wrong(format!("{} counts, and RFC 4226 knows no other hash than sha1", self.serial));
            }
            Moving::Counts { next } if next > COUNTER_MAX => {
                return wrong(format!("the counter of {} is beyond {COUNTER_MAX}", self.serial));
            }
            Moving::Counts { next } => (Moves::Counts, next),
            Moving::Clock { step_s } => match STEPS_S.into_iter().find(|known| u64::from(*known) == step_s) {
                Some(step_s) => (Moves::Clock { step_s }, 0),
                None => return wrong(format!("the step of {} has {step_s} s; 30 or 60 is expected", self.serial)),
            },
        };
        let seed = SecretString::from(Secret::from(self.seed.to_vec()).to_base32());
        Ok(ReadToken {
            serial: self.serial.to_owned(),
            manufacturer: self.manufacturer.to_owned(),
            key: OathKey { seed, hash: self.hash, digits, moves },
            next,
            until: self.until,
        })
    }
}

/// The tokens of one file, each serial number once.
#[derive(Default)]
struct Tokens {
    read: Vec<ReadToken>,
    lines: BTreeMap<String, u64>,
}

impl Tokens {
    fn add(&mut self, described: Described<'_>) -> Result<(), UnreadableSeeds> {
        let line = described.line;
        if self.read.len() == TOKENS_MAX {
            return Err(at(line, format!("more than {TOKENS_MAX} tokens; import them in several files")));
        }
        let token = described.read()?;
        if let Some(first) = self.lines.insert(token.serial.clone(), line) {
            return Err(at(line, format!("the serial number {} stands in line {first} already", token.serial)));
        }
        self.read.push(token);
        Ok(())
    }

    fn all(self) -> Result<Vec<ReadToken>, UnreadableSeeds> {
        if self.read.is_empty() { Err(at(1, "there is no token in this file")) } else { Ok(self.read) }
    }
}

/// The text of a file, if it is one.
fn text_of(file: &[u8]) -> Result<&str, UnreadableSeeds> {
    if file.len() > FILE_MAX {
        return Err(at(1, format!("the file has more than {FILE_MAX} bytes")));
    }
    let text = std::str::from_utf8(file).map_err(|error| {
        let before = file.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count();
        at(u64::try_from(line).unwrap_or_default().saturating_add(1), "this is not UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The bytes of a seed; the text is wiped by whoever holds it.
type Seed = Zeroizing<Vec<u8>>;

#[cfg(test)]
mod tests;
