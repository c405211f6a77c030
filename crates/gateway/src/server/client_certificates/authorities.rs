//! Who vouches for client certificates: trust anchors and revocation lists, as they are loaded now, and what they
//! say of a chain. Which host asks, and on which connection, is not known here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError as Refusal, DistinguishedName, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use stepgate_core::certificate::CertificateFault;
use stepgate_core::time::Timestamp;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::super::certificates::{CertificateError, Reloaded, Stamp, read_at_most, stamp};

/// The most bytes of a file of trust anchors.
const MAX_ANCHORS_BYTES: u64 = 4 * 1024 * 1024;
/// The most bytes of a file of revocation lists.
const MAX_LISTS_BYTES: u64 = 64 * 1024 * 1024;
/// Somebody who vouches for client certificates, as the configuration names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySettings {
    /// What the configuration calls them.
    pub name: Arc<str>,
    /// How.
    pub vouches: Vouches,
}

/// How certificates are vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vouches {
    /// By a chain to one of these anchors (PEM files).
    Anchors {
        /// The files.
        anchors: Vec<PathBuf>,
        /// What says which were taken back.
        lists: RevocationLists,
    },
    /// By nobody: the key is proved, and no more. For tokens alone, whose issuer vouches for
    /// the certificate that stands in them (RFC 8705, section 2.2).
    Nobody,
}

/// What says which certificates were taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationLists {
    /// These files (PEM with any number of lists, or DER with one), for every certificate of the
    /// chain but the anchor.
    Files {
        /// The files.
        files: Vec<PathBuf>,
        /// What becomes of a list that is past its next update.
        past_next_update: PastNextUpdate,
    },
    /// Nothing does: a certificate is good until it expires.
    DangerNone,
}

/// What becomes of a revocation list that is past its next update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PastNextUpdate {
    /// Nothing is believed that depends on it.
    Refuse,
    /// It is believed for ever.
    DangerBelieve,
}

/// Somebody who vouches, with what is loaded of them.
#[derive(Debug)]
pub(super) struct Authority {
    settings: AuthoritySettings,
    loaded: ArcSwap<Loaded>,
    generation: AtomicU64,
    // What the files looked like when they were last tried.
    tried: Mutex<Vec<Stamp>>,
}

#[derive(Debug)]
struct Loaded {
    /// `None`: nobody vouches.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// The names that clients are told.
    hints: Vec<DistinguishedName>,
    /// When the first of the lists is past its next update, where that counts.
    lists_until: Option<Timestamp>,
}

impl Authority {
    pub(super) fn load(settings: AuthoritySettings) -> Result<Self, CertificateError> {
        let tried = settings.stamps();
        let loaded = ArcSwap::from_pointee(settings.load()?);
        Ok(Self { settings, loaded, generation: AtomicU64::new(0), tried: Mutex::new(tried) })
    }

    /// What the configuration calls it.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    /// Grows with each change of what is loaded.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The names that clients are told.
    pub(super) fn hints(&self) -> Vec<DistinguishedName> {
        self.loaded.load().hints.clone()
    }

    /// Loads again what changed.
    pub(super) fn reload(&self) -> Result<Reloaded, CertificateError> {
        let mut tried = self.tried.lock();
        let now = self.settings.stamps();
        if *tried == now {
            return Ok(Reloaded::Unchanged);
        }
        *tried = now;
        self.loaded.store(Arc::new(self.settings.load()?));
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(Reloaded::Changed)
    }

    /// Until when a chain holds, if nothing is revoked.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'static>],
        now: Timestamp,
    ) -> Result<Timestamp, CertificateFault> {
        let loaded = self.loaded.load();
        let (own, others) = chain.split_first().ok_or(CertificateFault::Malformed)?;
        let mut until = valid_from_until(own)?;
        match &loaded.verifier {
            Some(verifier) => {
                let seconds = u64::try_from(now.as_ms().div_euclid(1_000)).unwrap_or_default();
                let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
                verifier.verify_client_cert(own, others, at).map_err(|error| fault(&error))?;
                for other in others {
                    until.1 = until.1.min(valid_from_until(other)?.1);
                }
            }
            None if now < until.0 => return Err(CertificateFault::NotYetValid),
            None if now > until.1 => return Err(CertificateFault::Expired),
            None => {}
        }
        Ok(loaded.lists_until.map_or(until.1, |lists| lists.min(until.1)))
    }
}

impl AuthoritySettings {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let (anchors, lists) = match &self.vouches {
            Vouches::Anchors { anchors, lists: RevocationLists::Files { files, .. } } => {
                (anchors.as_slice(), files.as_slice())
            }
            Vouches::Anchors { anchors, lists: RevocationLists::DangerNone } => (anchors.as_slice(), [].as_slice()),
            Vouches::Nobody => ([].as_slice(), [].as_slice()),
        };
        anchors.iter().chain(lists)
    }

    fn stamps(&self) -> Vec<Stamp> {
        self.files().map(|path| stamp(path)).collect()
    }

    fn load(&self) -> Result<Loaded, CertificateError> {
        let Vouches::Anchors { anchors, lists } = &self.vouches else {
            return Ok(Loaded { verifier: None, hints: Vec::new(), lists_until: None });
        };
        let unusable = |why| CertificateError::Anchors { name: Arc::clone(&self.name), why };
        let mut roots = RootCertStore::empty();
        for path in anchors {
            let before = roots.len();
            for anchor in CertificateDer::pem_slice_iter(&read_at_most(path, MAX_ANCHORS_BYTES)?) {
                let anchor = anchor.map_err(|source| CertificateError::Pem { path: path.clone(), source })?;
                roots.add(anchor).map_err(|error| unusable(error.to_string()))?;
            }
            if roots.len() == before {
                return Err(CertificateError::Empty { path: path.clone() });
            }
        }
        let hints = roots.subjects();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let mut lists_until = None;
        if let RevocationLists::Files { files, past_next_update } = lists {
            let mut all = Vec::new();
            for path in files {
                all.extend(read_lists(path)?);
            }
            if all.is_empty() {
                // Without any, nothing at all would be looked up.
                return Err(unusable("no revocation list is configured".to_owned()));
            }
            if *past_next_update == PastNextUpdate::Refuse {
                builder = builder.enforce_revocation_expiration();
                lists_until = all.iter().filter_map(|list| next_update(list)).min();
            }
            builder = builder.with_crls(all);
        }
        let verifier = builder.build().map_err(|error| unusable(error.to_string()))?;
        Ok(Loaded { verifier: Some(verifier), hints, lists_until })
    }
}

fn read_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateError> {
    let bytes = read_at_most(path, MAX_LISTS_BYTES)?;
    // DER begins with the tag of a sequence, which is no character of PEM.
    let lists = if bytes.first() == Some(&0x30) {
        vec![CertificateRevocationListDer::from(bytes)]
    } else {
        CertificateRevocationListDer::pem_slice_iter(&bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| CertificateError::Pem { path: path.to_owned(), source })?
    };
    if lists.is_empty() { Err(CertificateError::Empty { path: path.to_owned() }) } else { Ok(lists) }
}

fn next_update(list: &[u8]) -> Option<Timestamp> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    Some(seconds(list.next_update()?.timestamp()))
}

fn valid_from_until(certificate: &[u8]) -> Result<(Timestamp, Timestamp), CertificateFault> {
    let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateFault::Malformed)?;
    let validity = read.validity();
    Ok((seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp())))
}

fn seconds(since_1970: i64) -> Timestamp {
    Timestamp::from_ms(since_1970.saturating_mul(1_000))
}

fn fault(error: &rustls::Error) -> CertificateFault {
    let rustls::Error::InvalidCertificate(refusal) = error else {
        return match error {
            // A list that its issuer did not sign says nothing.
            rustls::Error::InvalidCertRevocationList(_) => CertificateFault::RevocationUnknown,
            _ => CertificateFault::Chain,
        };
    };
    match refusal {
        Refusal::BadEncoding | Refusal::UnhandledCriticalExtension => CertificateFault::Malformed,
        Refusal::Expired | Refusal::ExpiredContext { .. } => CertificateFault::Expired,
        Refusal::NotValidYet | Refusal::NotValidYetContext { .. } => CertificateFault::NotYetValid,
        Refusal::Revoked => CertificateFault::Revoked,
        Refusal::UnknownIssuer => CertificateFault::UnknownIssuer,
        Refusal::UnknownRevocationStatus => CertificateFault::RevocationUnknown,
        Refusal::ExpiredRevocationList | Refusal::ExpiredRevocationListContext { .. } => {
            CertificateFault::RevocationListExpired
        }
        Refusal::InvalidPurpose | Refusal::InvalidPurposeContext { .. } => CertificateFault::Purpose,
        _ => CertificateFault::Chain,
    }
}
