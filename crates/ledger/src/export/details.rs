//! What lies beside the tree: the content that an entry commits to, or the note of its erasure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::jcs::Strict;

/// The content beside one entry. What salt and body mean is the business of whoever wrote them.
#[derive(Debug, Clone, PartialEq)]
pub enum Details {
    /// The content, and the salt that it was committed to with.
    Kept {
        /// As it was written.
        salt: String,
        /// As it was written.
        body: Value,
    },
    /// The content was erased, as personal data may have to be.
    Erased,
}

/// One line of `details.jsonl`.
#[derive(Debug, Clone, PartialEq)]
pub struct DetailsLine {
    /// The index of the entry that it belongs to.
    pub index: u64,
    /// What lies beside that entry.
    pub details: Details,
}

/// Why a line of `details.jsonl` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadDetailsLine {
    /// Not JSON, a member stands twice, or is not known.
    #[error("not a line of details")]
    NotJson(#[source] serde_json::Error),
    /// The index is not a decimal number.
    #[error("the index is not a number")]
    BadIndex,
    /// Neither salt and body nor `"erased":true`.
    #[error("neither content nor erased")]
    NeitherKeptNorErased,
}

#[derive(Serialize)]
struct Written<'a> {
    index: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erased: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    index: String,
    #[serde(default)]
    salt: Option<String>,
    #[serde(default)]
    body: Option<Strict>,
    #[serde(default)]
    erased: Option<bool>,
}

impl DetailsLine {
    /// The line, without the line feed.
    ///
    /// # Errors
    ///
    /// The reason, if the body cannot be written as JSON.
    pub fn to_json(index: u64, details: &Details) -> Result<String, serde_json::Error> {
        let (salt, body, erased) = match details {
            Details::Kept { salt, body } => (Some(salt.as_str()), Some(body), None),
            Details::Erased => (None, None, Some(true)),
        };
        serde_json::to_string(&Written { index: index.to_string(), salt, body, erased })
    }

    /// Reads a line.
    ///
    /// # Errors
    ///
    /// [`BadDetailsLine`] for anything that could be read two ways.
    pub fn parse(line: &[u8]) -> Result<Self, BadDetailsLine> {
        let read: Read = serde_json::from_slice(line).map_err(BadDetailsLine::NotJson)?;
        let index = read
            .index
            .parse::<u64>()
            .ok()
            .filter(|index| index.to_string() == read.index)
            .ok_or(BadDetailsLine::BadIndex)?;
        let details = match (read.salt, read.body, read.erased) {
            (Some(salt), Some(Strict(body)), None) => Details::Kept { salt, body },
            (None, None, Some(true)) => Details::Erased,
            _ => return Err(BadDetailsLine::NeitherKeptNorErased),
        };
        Ok(Self { index, details })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let kept = Details::Kept { salt: "s".into(), body: serde_json::json!({"amount": "12000"}) };
        for (details, line) in [
            (kept, r#"{"index":"7","salt":"s","body":{"amount":"12000"}}"#),
            (Details::Erased, r#"{"index":"7","erased":true}"#),
        ] {
            assert_eq!(DetailsLine::to_json(7, &details).unwrap(), line);
            let read = DetailsLine::parse(line.as_bytes()).unwrap();
            assert_eq!(read, DetailsLine { index: 7, details });
        }
    }

    #[test]
    fn a_line_that_could_be_read_two_ways_is_refused() {
        for line in [
            "",
            "{}",
            r#"{"index":7,"erased":true}"#,
            r#"{"index":"07","erased":true}"#,
            r#"{"index":"7","erased":false}"#,
            r#"{"index":"7","erased":true,"body":{}}"#,
            r#"{"index":"7","salt":"s"}"#,
            r#"{"index":"7","salt":"s","body":{},"extra":1}"#,
            r#"{"index":"7","index":"8","erased":true}"#,
            r#"{"index":"7","salt":"s","body":{"a":1,"a":2}}"#,
        ] {
            assert!(DetailsLine::parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
