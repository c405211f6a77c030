//! Entries in the shapes that others read.
//!
//! *Architecture invariant:* a document is one line of text without control characters, whatever was typed into a
//! request. Each format escapes by its own rules in one function; nothing is joined by hand elsewhere.

mod cef;
mod ecs;
mod native;
mod ocsf;

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::fact::Severity;
use crate::record::Record;

pub use ocsf::VERSION as OCSF_VERSION;

/// The most characters of one text; of a longer one the beginning is told.
pub(crate) const TEXT_MAX: usize = 8 * 1024;
/// The most bytes of a document; a longer one is told without its details.
pub const DOCUMENT_LEN_MAX: usize = 128 * 1024;

/// The same where a document goes into a datagram of its own.
pub const DATAGRAM_DOCUMENT_LEN_MAX: usize = 64_000;

/// The shape of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The entry as it is, and what it says in words.
    Native,
    /// Open Cybersecurity Schema Framework, [`OCSF_VERSION`].
    Ocsf,
    /// Elastic Common Schema.
    Ecs,
    /// ArcSight Common Event Format, version 0.
    Cef,
}

/// There is no such format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`native`, `ocsf`, `ecs` or `cef` is expected")]
pub struct NoSuchFormat;

impl FromStr for Format {
    type Err = NoSuchFormat;

    fn from_str(text: &str) -> Result<Self, NoSuchFormat> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or(NoSuchFormat)
    }
}

/// What is told, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The entry's index in the ledger.
    pub index: u64,
    /// The same each time it is told: a receiver drops repeats by it.
    pub id: String,
    /// When it happened, milliseconds since 1970.
    pub at_ms: i64,
    /// `challenge.passed` and so on.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// The document.
    pub body: Body,
}

/// The text of a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A JSON object.
    Json(Value),
    /// A line.
    Line(String),
}

impl Body {
    /// As one line without control characters.
    pub fn line(&self) -> String {
        match self {
            Self::Json(value) => one_line(value),
            Self::Line(line) => line.clone(),
        }
    }
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Native, Self::Ocsf, Self::Ecs, Self::Cef];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Ocsf => "ocsf",
            Self::Ecs => "ecs",
            Self::Cef => "cef",
        }
    }

    /// Whether its documents are JSON.
    pub const fn is_json(self) -> bool {
        !matches!(self, Self::Cef)
    }

    /// The documents that tell this entry of the gate with this name, without details if they would have more than
    /// `len_max` bytes: one, or two where it is two things for those who
    /// read this format.
    ///
    /// # Errors
    ///
    /// None that an entry of the ledger has.
    pub fn render(self, record: &Record, gate: &str, len_max: usize) -> Result<Vec<Document>, serde_json::Error> {
        let mut bodies = self.bodies(record, gate)?;
        if bodies.iter().any(|(_, body)| body.line().len() > len_max) {
            let mut without = record.clone();
            without.recorded.entry.details = None;
            bodies = self.bodies(&without, gate)?;
        }
        let (entry, severity) = (&record.recorded.entry, record.fact().severity);
        let kind = kind(record)?;
        Ok(bodies
            .into_iter()
            .map(|(part, body)| Document {
                index: record.recorded.index,
                id: format!("{}{part}", entry.id),
                at_ms: entry.at_ms,
                kind: kind.clone(),
                severity,
                body,
            })
            .collect())
    }

    fn bodies(self, record: &Record, gate: &str) -> Result<Vec<(&'static str, Body)>, serde_json::Error> {
        let json = |value: Value| Body::Json(bounded(value));
        Ok(match self {
            Self::Native => vec![("", json(native::document(record, gate)?))],
            Self::Ocsf => ocsf::documents(record, gate)?.into_iter().map(|(part, value)| (part, json(value))).collect(),
            Self::Ecs => vec![("", json(ecs::document(record, gate)?))],
            Self::Cef => vec![("", Body::Line(cef::line(record, gate)?))],
        })
    }
}

/// `challenge.passed` and so on.
pub(crate) fn kind(record: &Record) -> Result<String, serde_json::Error> {
    let event = record.event()?;
    Ok(event.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// RFC 3339, in UTC, with milliseconds.
pub(crate) fn rfc3339(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    format!("{at:.3}")
}

/// Puts a text that is there.
pub(crate) fn put(object: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        object.insert(name.to_owned(), text.into());
    }
}

/// The beginning of a text.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// With each text cut.
fn bounded(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(cut(&text)),
        Value::Array(values) => Value::Array(values.into_iter().map(bounded).collect()),
        Value::Object(object) => {
            Value::Object(object.into_iter().map(|(name, value)| (cut(&name), bounded(value))).collect())
        }
        other => other,
    }
}

/// JSON on one line. What a terminal or a reader of lines would obey is escaped, also beyond ASCII: outside of texts
/// JSON has no such characters.
fn one_line(value: &Value) -> String {
    let text = value.to_string();
    if !text.chars().any(obeyed) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Whether something obeys this character rather than showing it: controls, separators of lines, and what turns the
/// direction of writing.
pub(crate) fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
