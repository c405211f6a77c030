//! What the FIDO Alliance publishes of authenticators (FIDO Metadata Service 3): a signed list of models with their
//! makers' certificates and what was reported of them.
//!
//! The list is megabytes; only what is needed of it is kept, and the rest is passed over while it is read.

mod signed;
mod statuses;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use stepgate_core::factor::{Aaguid, ModelFacts, Models};
use stepgate_core::surroundings::shown;
use stepgate_core::time::Timestamp;

pub use signed::MetadataAuthority;
use statuses::Report;
pub use statuses::{REFUSED_STATUSES, is_status};

/// Longest list, in bytes; the published one has less than a third of it.
pub const METADATA_LEN_MAX: usize = 32 * 1024 * 1024;
/// Most models that are read of one.
const MODELS_MAX: usize = 50_000;
/// Longest name of a model that is kept, in characters.
const NAME_LEN_MAX: usize = 100;

/// Why a list is not believed.
#[derive(Debug, thiserror::Error)]
pub enum NotMetadata {
    /// It is longer than is read.
    #[error("it is longer than 32 MiB")]
    TooLong,
    /// It is not three parts in base64url with dots between them, or its header is not what is expected.
    #[error("it is not a signed list: {0}")]
    Form(&'static str),
    /// It is signed in a way that is not accepted.
    #[error("it is signed with {0:?}; RS256 and ES256 are accepted")]
    Algorithm(String),
    /// Who signed it is not who is believed: the chain, a name, a date, a revocation.
    #[error("the certificate that signed it is not believed")]
    Certificate(#[source] rustls::Error),
    /// The signature is not over this list.
    #[error("the signature is wrong")]
    Signature,
    /// It cannot be read.
    #[error("it cannot be read")]
    Payload(#[source] serde_json::Error),
    /// The date of the next one is none.
    #[error("its next update is {0:?}, which is no date")]
    NextUpdate(String),
    /// Two entries are about one model, or there are too many.
    #[error("its entries contradict each other: {0}")]
    Entries(String),
    /// The root, or a revocation list, cannot be read.
    #[error("the certificate of the root or a revocation list cannot be read: {0}")]
    Root(String),
}

/// A list that was verified.
#[derive(Clone)]
pub struct Metadata {
    /// Its number: a later one has a greater one.
    pub number: u64,
    /// When the next one is to be there.
    pub next_update: Timestamp,
    /// SHA-256 of the list, as it was signed.
    pub digest: [u8; 32],
    models: BTreeMap<Aaguid, Model>,
}

#[derive(Clone)]
struct Model {
    facts: ModelFacts,
    /// Certificates that its attestation leads to, DER.
    roots: Vec<Vec<u8>>,
}

/// What is read of the list (MDS 3.1 section 3.1.6).
#[derive(Deserialize)]
struct Payload {
    no: u64,
    #[serde(rename = "nextUpdate")]
    next_update: String,
    entries: Vec<Entry>,
}

/// Section 3.1.1. Models of U2F and UAF have no AAGUID, and are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    aaguid: Option<String>,
    metadata_statement: Option<Statement>,
    status_reports: Vec<Report>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(default)]
    description: String,
    #[serde(default)]
    attestation_root_certificates: Vec<String>,
}

impl Metadata {
    /// Reads a list whose signature was verified. `refused`: statuses of models that are not believed.
    fn read(payload: &[u8], refused: &BTreeSet<String>) -> Result<Self, NotMetadata> {
        let digest = Sha256::digest(payload).into();
        let payload: Payload = serde_json::from_slice(payload).map_err(NotMetadata::Payload)?;
        let next_update = date(&payload.next_update).ok_or(NotMetadata::NextUpdate(payload.next_update))?;
        let mut models = BTreeMap::new();
        for entry in payload.entries {
            let Some(text) = &entry.aaguid else { continue };
            let aaguid: Aaguid =
                text.parse().map_err(|_| NotMetadata::Entries(format!("{:?} is no AAGUID", shown(text, 40))))?;
            if models.len() == MODELS_MAX {
                return Err(NotMetadata::Entries(format!("there are more than {MODELS_MAX}")));
            }
            if models.insert(aaguid, Model::of(entry, refused)).is_some() {
                return Err(NotMetadata::Entries(format!("{aaguid} is there twice")));
            }
        }
        Ok(Self { number: payload.no, next_update, digest, models })
    }

    /// What is known of the models.
    pub fn models(&self) -> Models {
        Models::new(self.models.iter().map(|(aaguid, model)| (*aaguid, model.facts.clone())).collect())
    }

    /// For each model the certificates that its attestation leads to, DER.
    pub fn roots(&self) -> impl Iterator<Item = (Aaguid, &[u8])> {
        self.models.iter().flat_map(|(aaguid, model)| model.roots.iter().map(|root| (*aaguid, root.as_slice())))
    }
}

impl Model {
    fn of(entry: Entry, refused: &BTreeSet<String>) -> Self {
        let (name, roots) = match entry.metadata_statement {
            None => (String::new(), Vec::new()),
            Some(statement) => (statement.description, statement.attestation_root_certificates),
        };
        let (status, is_refused) = statuses::status(&entry.status_reports, refused);
        let certified = statuses::level(&entry.status_reports);
        let facts = ModelFacts { name: shown(&name, NAME_LEN_MAX), certified, status: status.to_owned(), is_refused };
        Self { facts, roots: roots.iter().filter_map(|text| certificate(text)).collect() }
    }
}

/// A certificate in base64; some makers break the lines. What cannot be read vouches for nothing.
fn certificate(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|sign| !sign.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}

/// The end of a day, in UTC: a list is good for the day that it names.
fn date(text: &str) -> Option<Timestamp> {
    let day: jiff::civil::Date = text.parse().ok()?;
    let end = day.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_ms(end.timestamp().as_millisecond()))
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata({}, {} models)", self.number, self.models.len())
    }
}
