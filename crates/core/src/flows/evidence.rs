//! Looking into the evidence, and taking it elsewhere. Both stand in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use stepgate_evidence::verify::exported;
use stepgate_evidence::{Event, Titles};
use stepgate_ledger::SignedCheckpoint;
use stepgate_ledger::checkpoint::CheckpointError;
use stepgate_ledger::export::Details;

use super::Flows;
use crate::catalogue::GATE_SERVICE;
use crate::decide::{Asker, Verdict};
use crate::id::{ChallengeId, PersonId};
use crate::operation::{Inputs, Operation};
use crate::person::Login;
use crate::ports::{EntryQuery, LeafDetails, LogKeys, RecordedEntry, Store, StoreError};
use crate::session::SessionView;
use crate::surroundings::Surroundings;
use crate::web::gate_path;

/// Leaves that are read at once for an export.
const PAGE: u32 = 1000;

/// Challenges whose titles are read at once: each is a value in one statement.
const CHALLENGES_AT_ONCE: usize = 100;

/// Whose entries are sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// Anybody's.
    Anybody,
    /// Those of somebody with this id, who may be gone.
    Id(PersonId),
    /// Those of whoever signs in with this name.
    Login(Login),
}

/// Why the evidence is not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store gives a checkpoint that is none.
    #[error("the store's checkpoint cannot be read")]
    Checkpoint(#[from] CheckpointError),
    /// An entry under the checkpoint is not there.
    #[error("entry {0} is missing in the store")]
    Missing(u64),
}

/// An export that was begun: everything up to one checkpoint, page by page.
#[derive(Debug)]
pub struct Export {
    store: Arc<dyn Store>,
    checkpoint: SignedCheckpoint,
    keys: LogKeys,
    next: u64,
}

/// An entry as an export has it: its bytes, and what lies beside the tree.
#[derive(Debug)]
pub struct ExportedEntry {
    /// The leaf's bytes.
    pub bytes: Vec<u8>,
    /// What lies beside it, if anything ever did.
    pub details: Option<Details>,
}

impl Export {
    /// The signed head. Exactly the entries that it counts are exported.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// The key that signed it, and how the keys before led to it.
    pub fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// How many entries are exported.
    pub fn size(&self) -> u64 {
        self.checkpoint.unverified().size
    }

    /// The next entries in order; empty when all were given.
    pub async fn next_page(&mut self) -> Result<Vec<ExportedEntry>, ExportError> {
        let left = self.size().saturating_sub(self.next);
        if left == 0 {
            return Ok(Vec::new());
        }
        let limit = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
        let leaves = self.store.leaves(self.next, limit).await?;
        if leaves.is_empty() {
            return Err(ExportError::Missing(self.next));
        }
        let mut entries = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            if leaf.index != self.next {
                return Err(ExportError::Missing(self.next));
            }
            self.next = self.next.saturating_add(1);
            let details = match &leaf.details {
                LeafDetails::None => None,
                LeafDetails::Kept(details) => Some(exported(details)),
                LeafDetails::Erased => Some(Details::Erased),
            };
            entries.push(ExportedEntry { bytes: leaf.bytes, details });
        }
        Ok(entries)
    }
}

impl Flows {
    /// Finds entries for somebody. That they searched, and for what, is in the
    /// ledger before anything is given.
    ///
    /// `None`: nobody signs in with the name that was sought. What was typed may be
    /// somebody's name all the same, so it does not stand in the ledger.
    pub async fn search_evidence(
        &self,
        by: &str,
        sought: &Sought,
        query: EntryQuery,
    ) -> Result<Option<Vec<RecordedEntry>>, StoreError> {
        let person = match sought {
            Sought::Anybody => None,
            Sought::Id(id) => Some(*id),
            Sought::Login(login) => match self.store.person_by_login(login).await? {
                Some(person) => Some(person.id),
                None => {
                    self.searched(by, "person=nobody").await?;
                    return Ok(None);
                }
            },
        };
        let query = EntryQuery { person, ..query };
        self.searched(by, &terms(&query)).await?;
        self.store.entries(query).await.map(Some)
    }

    /// What the challenges are about that these entries belong to. It adds nothing that
    /// must be recorded: it belongs to entries that whoever looks was given.
    pub async fn titles(&self, entries: &[RecordedEntry]) -> Result<Titles, StoreError> {
        let mut titles = Titles::default();
        for recorded in entries {
            titles.note(&recorded.entry);
        }
        let untitled = entries.iter().filter(|recorded| titles.of(&recorded.entry).is_none());
        let ids = untitled.filter_map(|recorded| recorded.entry.event.challenge()?.parse().ok());
        let mut challenges: Vec<ChallengeId> = ids.collect();
        challenges.sort_unstable();
        challenges.dedup();
        for some in challenges.chunks(CHALLENGES_AT_ONCE) {
            let query = EntryQuery {
                challenges: some.to_vec(),
                kinds: vec!["challenge.opened".to_owned()],
                limit: PAGE,
                ..EntryQuery::default()
            };
            for opened in self.store.entries(query).await? {
                titles.note(&opened.entry);
            }
        }
        Ok(titles)
    }

    /// Records that somebody looks into the evidence; to be called before they see any
    /// of it. `query` is what they look for, without anything that was typed freely.
    pub async fn searched(&self, by: &str, query: &str) -> Result<(), StoreError> {
        let event = Event::EvidenceSearched { by: by.to_owned(), query: query.to_owned() };
        self.store.record(vec![self.entry(self.clock.now(), event)]).await
    }

    /// Whether somebody may search the evidence, perhaps after a proof. For the link to
    /// it and nothing else: the search itself is decided when it comes.
    pub fn offers_evidence(&self, session: &SessionView, surroundings: &Surroundings) -> bool {
        let live = self.live.load();
        let Some(service) = live.catalogue.by_name(GATE_SERVICE) else { return false };
        let (endpoint, _) = service.endpoint("GET", &[gate_path::EVIDENCE.trim_start_matches('/')]);
        let operation = Operation {
            url: format!("{}{}", service.origin, gate_path::EVIDENCE),
            service: Arc::clone(service),
            endpoint: Arc::clone(endpoint),
            inputs: Inputs::new(),
            method: "GET".to_owned(),
            content_type: String::new(),
            effect_headers: BTreeMap::new(),
        };
        let verdict = self.would_decide(operation, Asker::SignedIn(session), surroundings);
        matches!(verdict, Verdict::Permit(_) | Verdict::Challenge(_))
    }

    /// Begins an export of the whole log. That somebody did is an entry of the log
    /// itself, and under the checkpoint of this very export.
    ///
    /// `authority` is what allowed it (`challenge:…`), as it will stand in the entry;
    /// empty where no decision was asked, on the command line.
    pub async fn export_evidence(&self, by: &str, authority: &str) -> Result<Export, ExportError> {
        let before = SignedCheckpoint::parse(&self.store.checkpoint().await?)?.unverified().size;
        let event = Event::EvidenceExported {
            by: by.to_owned(),
            from_index: "0".to_owned(),
            to_index: before.to_string(),
            authority: authority.to_owned(),
        };
        self.store.record(vec![self.entry(self.clock.now(), event)]).await?;
        let checkpoint = SignedCheckpoint::parse(&self.store.checkpoint().await?)?;
        let keys = self.store.log_keys(checkpoint.unverified().size).await?;
        Ok(Export { store: Arc::clone(&self.store), checkpoint, keys, next: 0 })
    }
}

/// A query in one line for the ledger: ids and names of the configuration, nothing
/// that somebody typed freely.
fn terms(query: &EntryQuery) -> String {
    let mut out = String::new();
    let mut term = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let gap = if out.is_empty() { "" } else { " " };
            // A string takes all that is written to it.
            let _ = write!(out, "{gap}{name}={value}");
        }
    };
    term("person", query.person.map(|person| person.to_string()));
    let challenges = query.challenges.iter().map(ToString::to_string).collect::<Vec<_>>();
    term("challenge", (!challenges.is_empty()).then(|| challenges.join(",")));
    term("request", query.request.map(|request| request.to_string()));
    term("service", query.service.as_ref().map(ToString::to_string));
    term("action", query.action.as_ref().map(ToString::to_string));
    term("kind", (!query.kinds.is_empty()).then(|| query.kinds.join(",")));
    term("since", query.since.map(|at| at.to_string()));
    term("until", query.until.map(|at| at.to_string()));
    term("from", query.from.map(|index| index.to_string()));
    term("before", query.before.map(|index| index.to_string()));
    if out.is_empty() { "everything".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use crate::time::Timestamp;

    #[test]
    fn a_query_stands_in_the_ledger_as_it_was_asked() {
        assert_eq!(terms(&EntryQuery { limit: 50, ..EntryQuery::default() }), "everything");
        let query = EntryQuery {
            person: Some(Id::from_bytes([1; 16])),
            kinds: vec!["challenge.passed".to_owned(), "operation.sent".to_owned()],
            since: Some(Timestamp::from_ms(0)),
            before: Some(12),
            ..EntryQuery::default()
        };
        let expected = "person=01010101010101010101010101010101 kind=challenge.passed,operation.sent \
                        since=1970-01-01T00:00:00.000Z before=12";
        assert_eq!(terms(&query), expected);
    }
}
