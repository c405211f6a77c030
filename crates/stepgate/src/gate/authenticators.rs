//! What is published of authenticators: read from a file, and again when that is another one.
//!
//! A list that does not verify, or is older than one that was believed, changes nothing. Which one that was, the
//! ledger says: so no node, and no restart, goes back behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use stepgate_core::flows::Flows;
use stepgate_core::ports::{EntryQuery, StoreError};
use stepgate_core::time::Timestamp;
use stepgate_evidence::Event;
use stepgate_factors::{
    FactorSetError, KnownAuthenticators, METADATA_LEN_MAX, Metadata, MetadataAuthority, NotMetadata,
};
use stepgate_gateway::http::HttpDoor;
use tokio_util::sync::CancellationToken;

use crate::config::MetadataSettings;

/// How often the file is looked at: lists come by the month.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Most bytes of the root, and of a revocation list.
const PART_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most refused models that an entry names; the rest is in the list itself, whose digest stands there.
const NAMED_MAX: usize = 400;

/// Why what is published of authenticators is not used.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticatorsUnusable {
    /// A file cannot be read, or is longer than is read.
    #[error("the file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not believed.
    #[error("the list of authenticators is not believed")]
    NotBelieved(#[from] NotMetadata),
    /// An older one than was believed already.
    #[error("the list of authenticators has the number {found}, and {known} was believed already")]
    WentBack {
        /// Its number.
        found: u64,
        /// That of the newest one.
        known: u64,
    },
    /// Its certificates cannot be used.
    #[error("the certificates of the list of authenticators cannot be used")]
    Roots(#[from] FactorSetError),
    /// What was believed could not be read or recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is published of authenticators, and where.
pub(super) struct Published {
    settings: MetadataSettings,
    known: Arc<KnownAuthenticators>,
    flows: Arc<Flows>,
    door: HttpDoor,
    /// What the files looked like when they were read last.
    seen: Vec<Option<(u64, SystemTime)>>,
    next_update: Timestamp,
    was_stale: bool,
}

impl Published {
    /// Reads the list for the first time.
    ///
    /// # Errors
    ///
    /// [`AuthenticatorsUnusable`]: nothing is known of any model, so the gate does not start.
    pub(super) async fn open(
        settings: MetadataSettings,
        known: Arc<KnownAuthenticators>,
        flows: Arc<Flows>,
        door: HttpDoor,
    ) -> Result<Self, AuthenticatorsUnusable> {
        let next_update = flows.clock.now();
        let mut this = Self { settings, known, flows, door, seen: Vec::new(), next_update, was_stale: false };
        this.take().await?;
        this.note_age();
        Ok(this)
    }

    /// Looks for another list, again and again until `stop`.
    pub(super) async fn watch(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if self.stamps() != self.seen
                && let Err(error) = self.take().await
            {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a new list of authenticators is unusable, the old one stays in use"
                );
                let event = Event::AuthenticatorsRefused { reason: error.to_string() };
                let entry = self.flows.entry(self.flows.clock.now(), event);
                if let Err(error) = self.flows.store.record(vec![entry]).await {
                    tracing::error!(error = &error as &dyn std::error::Error, "a refused list could not be recorded");
                }
            }
            self.note_age();
        }
    }

    /// Takes the list that is there now.
    async fn take(&mut self) -> Result<(), AuthenticatorsUnusable> {
        // The same broken files are told once.
        self.seen = self.stamps();
        let (settings, now) = (self.settings.clone(), self.flows.clock.now());
        let read = tokio::task::spawn_blocking(move || read(&settings, now)).await;
        let metadata = read.map_err(|error| AuthenticatorsUnusable::Read {
            path: self.settings.file.clone(),
            source: std::io::Error::other(error),
        })??;
        let last = last(&self.flows).await?;
        if is_news(last.as_ref(), metadata.number, &hex::encode(metadata.digest))? {
            self.flows.store.record(vec![self.flows.entry(now, loaded(&metadata))]).await?;
        }
        self.known.replace(&metadata)?;
        self.next_update = metadata.next_update;
        // What is open is decided again, as at a reload: a model may have been recalled.
        self.door.reloaded();
        tracing::info!(number = metadata.number, "the list of authenticators was read");
        Ok(())
    }

    fn note_age(&mut self) {
        let is_stale = self.flows.clock.now() >= self.next_update;
        if is_stale && !self.was_stale {
            tracing::warn!(next_update = %self.next_update, "the list of authenticators is past its next update");
        }
        self.was_stale = is_stale;
        self.known.note_stale(is_stale);
    }

    fn stamps(&self) -> Vec<Option<(u64, SystemTime)>> {
        let stamp = |path: &PathBuf| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.len(), about.modified().ok()?))
        };
        let files = [&self.settings.file, &self.settings.root];
        files.into_iter().chain(&self.settings.crls).map(stamp).collect()
    }
}

/// Whether a list is another one than was believed last.
///
/// # Errors
///
/// [`AuthenticatorsUnusable::WentBack`]: it is older than that one.
fn is_news(last: Option<&(u64, String)>, number: u64, digest: &str) -> Result<bool, AuthenticatorsUnusable> {
    match last {
        Some((known, _)) if *known > number => Err(AuthenticatorsUnusable::WentBack { found: number, known: *known }),
        Some((known, sha256)) => Ok((*known, sha256.as_str()) != (number, digest)),
        None => Ok(true),
    }
}

/// Reads and verifies the list that the settings name.
///
/// # Errors
///
/// [`AuthenticatorsUnusable`].
pub(crate) fn read(settings: &MetadataSettings, now: Timestamp) -> Result<Metadata, AuthenticatorsUnusable> {
    let lists = settings.crls.iter().map(|path| bytes(path, PART_BYTES_MAX)).collect::<Result<Vec<_>, _>>()?;
    let authority = MetadataAuthority::new(&bytes(&settings.root, PART_BYTES_MAX)?, &lists)?;
    let list = bytes(&settings.file, u64::try_from(METADATA_LEN_MAX).unwrap_or(u64::MAX))?;
    Ok(authority.read(&list, now, &settings.refused)?)
}

fn bytes(path: &Path, at_most: u64) -> Result<Vec<u8>, AuthenticatorsUnusable> {
    let read = || {
        if std::fs::metadata(path)?.len() > at_most {
            return Err(std::io::Error::other("it is too long"));
        }
        std::fs::read(path)
    };
    read().map_err(|source| AuthenticatorsUnusable::Read { path: path.to_owned(), source })
}

/// Number and digest of the list that was believed last, on any node.
async fn last(flows: &Flows) -> Result<Option<(u64, String)>, StoreError> {
    let query = EntryQuery {
        kinds: vec!["authenticators.loaded".to_owned()],
        limit: 1,
        before: Some(i64::MAX as u64),
        ..EntryQuery::default()
    };
    let found = flows.store.entries(query).await?.into_iter().next();
    Ok(found.and_then(|recorded| match recorded.entry.event {
        Event::AuthenticatorsLoaded { number, sha256, .. } => Some((number.parse().ok()?, sha256)),
        _ => None,
    }))
}

fn loaded(metadata: &Metadata) -> Event {
    let models = metadata.models();
    let refused = models.iter().filter(|(_, facts)| facts.is_refused);
    Event::AuthenticatorsLoaded {
        number: metadata.number.to_string(),
        sha256: hex::encode(metadata.digest),
        next_update_ms: metadata.next_update.as_ms().to_string(),
        models: u32::try_from(models.iter().count()).unwrap_or(u32::MAX),
        refused: refused.take(NAMED_MAX).map(|(aaguid, facts)| format!("{aaguid} {}", facts.status)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b158_a_list_never_goes_back_behind_one_that_was_believed() {
        let last = (41, "aa".to_owned());
        assert!(is_news(None, 0, "aa").unwrap());
        assert!(!is_news(Some(&last), 41, "aa").unwrap());
        assert!(is_news(Some(&last), 41, "bb").unwrap() && is_news(Some(&last), 42, "aa").unwrap());
        let back = is_news(Some(&last), 40, "aa");
        assert!(matches!(back, Err(AuthenticatorsUnusable::WentBack { found: 40, known: 41 })), "{back:?}");
    }
}
