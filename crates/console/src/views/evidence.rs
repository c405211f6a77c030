use askama::Template;

use super::{Frame, Said, Tone, Way};
use crate::words::Moment;

/// The evidence, for those who may search it.
#[derive(Debug, Template)]
#[template(path = "evidence.html")]
pub struct EvidencePage {
    /// What stands around the page.
    pub frame: Frame,
    /// What is looked for.
    pub form: EvidenceForm,
    /// What was found, the newest first.
    pub entries: Vec<EvidenceEntry>,
    /// What is said where there are none.
    pub if_empty: &'static str,
    /// Where older entries of the same search are.
    pub older: Option<String>,
    /// Where the whole log is exported.
    pub export_action: String,
    /// What is wrong with the search.
    pub said: Option<Said>,
}

/// What is looked for, as it was typed.
#[derive(Debug, Clone)]
pub struct EvidenceForm {
    /// Where the form goes.
    pub action: String,
    /// A name to sign in with, or an id.
    pub person: String,
    /// The types of entries.
    pub kinds: Vec<Choice>,
    /// The services.
    pub services: Vec<Choice>,
    /// An action.
    pub acted: String,
    /// A challenge's id.
    pub challenge: String,
    /// A request's id.
    pub request: String,
    /// From this day or moment on.
    pub since: String,
    /// Up to this day or moment.
    pub until: String,
    /// An entry's number.
    pub index: String,
    /// Whether one of the fields that are folded away is filled in.
    pub is_open: bool,
    /// Whether anything is looked for at all.
    pub is_narrowed: bool,
}

/// Something to choose from a list.
#[derive(Debug, Clone)]
pub struct Choice {
    /// What is sent; empty for all.
    pub value: String,
    /// What it says.
    pub text: String,
    /// Whether it is chosen.
    pub is_chosen: bool,
}

/// An entry of the ledger.
#[derive(Debug, Clone)]
pub struct EvidenceEntry {
    /// Its number.
    pub index: u64,
    /// Where it stands alone.
    pub link: String,
    /// What happened, in a sentence.
    pub what: String,
    /// What was asked, as the person read it.
    pub title: Option<String>,
    /// Its type in words.
    pub kind: String,
    /// When.
    pub at: Moment,
    /// How it is coloured.
    pub tone: Tone,
    /// Where entries are that belong to it.
    pub links: Vec<Way>,
    /// Whether what lay beside it was erased.
    pub erased: bool,
    /// All of it, as JSON.
    pub json: String,
}
