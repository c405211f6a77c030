//! Client certificates: which hosts ask for them, who vouches for them, and whether one holds.
//!
//! A handshake proves the key and nothing more. Chain, times and revocation are judged when a
//! certificate is to count, against what is loaded then: so a list that was loaded a moment ago
//! also speaks of connections that were open before, a date that passes ends what rests on it, and
//! whoever comes with a bad one is told why in HTTP instead of by an alert that no page can explain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError as Refusal, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use sha2::{Digest as _, Sha256};
use stepgate_core::certificate::{CertificateFault, HeldCertificate, ShownCertificate, Thumbprint};
use stepgate_core::time::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::certificates::{CertificateError, Certificates, Reloaded, Stamp, base_config, read_at_most, stamp};
use crate::canonical::{Ambiguous, CanonicalRequest};

/// The most bytes of a file of trust anchors.
const MAX_ANCHORS_BYTES: u64 = 4 * 1024 * 1024;
/// The most bytes of a file of revocation lists.
const MAX_LISTS_BYTES: u64 = 64 * 1024 * 1024;
/// The most certificates that a client may show, its own included.
const MAX_SHOWN: usize = 6;
/// The most bytes of one of them.
const MAX_SHOWN_BYTES: usize = 16 * 1024;

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

/// What is spoken on a host that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 and HTTP/1.1.
    All,
    /// HTTP/1.1 alone, so that a connection can be ended with its answer.
    Http1,
}

/// A host that asks for certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskingHost {
    /// Its name, in lower case.
    pub name: String,
    /// Whose certificates count there, by the names of [`AuthoritySettings`].
    pub authorities: Vec<Arc<str>>,
    /// What is spoken.
    pub protocols: Protocols,
}

/// The hosts that ask for certificates, and who vouches for them. The default asks nowhere.
#[derive(Clone, Debug, Default)]
pub struct ClientCertificates {
    authorities: Vec<Arc<Authority>>,
    hosts: Arc<BTreeMap<String, Arc<Trust>>>,
}

/// What a connection is for, by the name in its TLS hello.
#[derive(Clone, Debug)]
pub(super) enum Channel {
    /// Plain, or any of the hosts that ask for nothing.
    Any,
    /// This host alone, which asked.
    Asked { host: Arc<str>, shown: Option<Arc<PresentedCertificate>> },
}

impl ClientCertificates {
    /// Loads all files of `authorities` for `hosts`. Times of handshakes are `clock`'s.
    ///
    /// # Errors
    ///
    /// The first file that cannot be loaded, or that has nothing in it: what is missing opens
    /// nothing.
    pub fn load(
        authorities: &[AuthoritySettings],
        hosts: Vec<AskingHost>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, CertificateError> {
        let loaded = authorities.iter().map(|one| Authority::load(one.clone()).map(Arc::new));
        let authorities = loaded.collect::<Result<Vec<_>, _>>()?;
        let trust = |host: AskingHost| {
            let of = |name: &Arc<str>| authorities.iter().find(|one| one.settings.name == *name).cloned();
            let trust = Trust {
                authorities: host.authorities.iter().filter_map(of).collect(),
                protocols: host.protocols,
                clock: Arc::clone(clock),
            };
            (host.name, Arc::new(trust))
        };
        let hosts = hosts.into_iter().map(trust).collect();
        Ok(Self { authorities, hosts: Arc::new(hosts) })
    }

    /// Whether no host asks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Loads again what changed. Reads files: not for an async task's thread.
    ///
    /// # Errors
    ///
    /// The first that cannot be loaded; what its authority had stays. The same broken files are
    /// told once.
    pub fn reload(&self) -> Result<Reloaded, CertificateError> {
        let mut all = Reloaded::Unchanged;
        let mut failed = None;
        // One that is broken keeps no other from being loaded.
        for authority in &self.authorities {
            match authority.reload() {
                Ok(Reloaded::Unchanged) => {}
                Ok(Reloaded::Changed) => all = Reloaded::Changed,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(all), Err)
    }

    /// Looks at the files again and again until `stop`.
    pub async fn watch(self, every: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(every);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(Ok(Reloaded::Unchanged)) => {}
                Ok(Ok(Reloaded::Changed)) => tracing::info!("trust anchors or revocation lists were replaced"),
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "new trust anchors or revocation lists are unusable, the old stay in use");
                }
                Err(error) => tracing::error!(%error, "trust anchors and revocation lists could not be looked at"),
            }
        }
    }

    /// Holds a request against the connection that it came on.
    ///
    /// A connection whose hello named a host that asks is for that host alone, and such a host is
    /// reached on no other: whatever one connection showed counts for one host. Browsers that
    /// coalesce connections (RFC 9113, section 9.1.1) open another one when they are told.
    ///
    /// # Errors
    ///
    /// [`Ambiguous::Misdirected`].
    pub(super) fn on_channel(
        &self,
        channel: &Channel,
        mut request: CanonicalRequest,
    ) -> Result<CanonicalRequest, Ambiguous> {
        let name = request.host().name();
        match channel {
            Channel::Any if self.hosts.contains_key(name) => Err(Ambiguous::Misdirected),
            Channel::Any => Ok(request),
            Channel::Asked { host, .. } if **host != *name => Err(Ambiguous::Misdirected),
            Channel::Asked { shown, .. } => {
                request.came_with(shown.clone());
                Ok(request)
            }
        }
    }
}

/// A listener's TLS: one configuration for all hosts that ask for nothing, and one for each that asks.
#[derive(Debug)]
pub(super) struct Tls {
    certificates: Arc<Certificates>,
    everyday: Arc<ServerConfig>,
    asking: BTreeMap<String, Asking>,
}

#[derive(Debug)]
struct Asking {
    host: Arc<str>,
    trust: Arc<Trust>,
    config: ArcSwap<(u64, Arc<ServerConfig>)>,
}

/// What a hello chose.
pub(super) struct Chosen {
    pub(super) config: Arc<ServerConfig>,
    asked: Option<(Arc<str>, Arc<Trust>)>,
}

impl Tls {
    pub(super) fn new(certificates: Arc<Certificates>, client: &ClientCertificates) -> Result<Self, rustls::Error> {
        let everyday = Arc::new(super::certificates::server_config(Arc::clone(&certificates))?);
        let mut asking = BTreeMap::new();
        for (name, trust) in client.hosts.iter() {
            let generation = trust.generation();
            let config = trust.config(&certificates)?;
            let (host, trust) = (Arc::from(name.as_str()), Arc::clone(trust));
            let config = ArcSwap::from_pointee((generation, Arc::new(config)));
            asking.insert(name.clone(), Asking { host, trust, config });
        }
        Ok(Self { certificates, everyday, asking })
    }

    /// The configuration for a hello that names this host.
    pub(super) fn choose(&self, name: Option<&str>) -> Result<Chosen, rustls::Error> {
        let asking = name.and_then(|name| self.asking.get(name.to_ascii_lowercase().as_str()));
        let Some(asking) = asking else { return Ok(Chosen { config: Arc::clone(&self.everyday), asked: None }) };
        let generation = asking.trust.generation();
        let mut current = asking.config.load_full();
        if current.0 != generation {
            // Other anchors: clients are told other names of whom they may come from.
            current = Arc::new((generation, Arc::new(asking.trust.config(&self.certificates)?)));
            asking.config.store(Arc::clone(&current));
        }
        let asked = Some((Arc::clone(&asking.host), Arc::clone(&asking.trust)));
        Ok(Chosen { config: Arc::clone(&current.1), asked })
    }
}

impl Chosen {
    /// What the connection is for, once its handshake is over.
    pub(super) fn channel(self, shown: Option<&[CertificateDer<'static>]>) -> Channel {
        let Some((host, trust)) = self.asked else { return Channel::Any };
        let shown = shown.and_then(|chain| PresentedCertificate::new(chain, trust)).map(Arc::new);
        Channel::Asked { host, shown }
    }
}

/// Whose certificates count on a host.
#[derive(Debug)]
struct Trust {
    authorities: Vec<Arc<Authority>>,
    protocols: Protocols,
    clock: Arc<dyn Clock>,
}

impl Trust {
    /// Grows with each change of what is loaded.
    fn generation(&self) -> u64 {
        self.authorities.iter().fold(0, |sum, one| sum.wrapping_add(one.generation.load(Ordering::Acquire)))
    }

    fn config(&self, certificates: &Arc<Certificates>) -> Result<ServerConfig, rustls::Error> {
        let provider = certificates.provider();
        let hints = self.authorities.iter().flat_map(|one| one.loaded.load().hints.clone()).collect();
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Arc::new(KeyAlone { hints, algorithms });
        let mut config = base_config(certificates)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(certificates) as _);
        config.alpn_protocols = match self.protocols {
            Protocols::All => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Protocols::Http1 => vec![b"http/1.1".to_vec()],
        };
        // A resumed session would bring back a certificate whose key nobody proved again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        // Without RFC 7627, who is at one end of a TLS 1.2 connection can be another's relay.
        config.require_ems = true;
        Ok(config)
    }

    fn judge(&self, chain: &[CertificateDer<'static>], now: Timestamp) -> Result<Judged, CertificateFault> {
        let mut fault = CertificateFault::UnknownIssuer;
        for authority in &self.authorities {
            match authority.judge(chain, now) {
                Ok(until) => return Ok(Judged { vouched_by: Arc::clone(&authority.settings.name), until }),
                // What the issuer's own authority says is the reason, not that others do not know it.
                Err(CertificateFault::UnknownIssuer) => {}
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }
}

struct Judged {
    vouched_by: Arc<str>,
    until: Timestamp,
}

/// Somebody who vouches, with what is loaded of them.
#[derive(Debug)]
struct Authority {
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
    fn load(settings: AuthoritySettings) -> Result<Self, CertificateError> {
        let tried = settings.stamps();
        let loaded = ArcSwap::from_pointee(settings.load()?);
        Ok(Self { settings, loaded, generation: AtomicU64::new(0), tried: Mutex::new(tried) })
    }

    fn reload(&self) -> Result<Reloaded, CertificateError> {
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
    fn judge(&self, chain: &[CertificateDer<'static>], now: Timestamp) -> Result<Timestamp, CertificateFault> {
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

/// The certificate that a connection showed, and whose key its handshake proved.
#[derive(Debug)]
pub struct PresentedCertificate {
    chain: Vec<CertificateDer<'static>>,
    thumbprint: Thumbprint,
    trust: Arc<Trust>,
    handshake_at: Timestamp,
    /// What was found last; kept while nothing was loaded since.
    found: Mutex<Option<Found>>,
}

#[derive(Clone, Debug)]
struct Found {
    generation: u64,
    at: Timestamp,
    held: HeldCertificate,
}

impl PresentedCertificate {
    fn new(chain: &[CertificateDer<'static>], trust: Arc<Trust>) -> Option<Self> {
        let thumbprint = Thumbprint::from_bytes(Sha256::digest(chain.first()?).into());
        let handshake_at = trust.clock.now();
        Some(Self { chain: chain.to_vec(), thumbprint, trust, handshake_at, found: Mutex::new(None) })
    }

    /// When the handshake was over in which its key was proved.
    #[must_use]
    pub fn handshake_at(&self) -> Timestamp {
        self.handshake_at
    }
}

impl ShownCertificate for PresentedCertificate {
    fn held(&self, now: Timestamp) -> Result<HeldCertificate, CertificateFault> {
        // Before anything is read of it.
        if self.chain.len() > MAX_SHOWN || self.chain.iter().any(|one| one.len() > MAX_SHOWN_BYTES) {
            return Err(CertificateFault::Chain);
        }
        // Taken first: what is loaded meanwhile makes this old at once.
        let generation = self.trust.generation();
        let mut found = self.found.lock();
        if let Some(found) = found.as_ref()
            && found.generation == generation
            && (found.at..found.held.until).contains(&now)
        {
            return Ok(found.held.clone());
        }
        *found = None;
        let Judged { vouched_by, until } = self.trust.judge(&self.chain, now)?;
        let held = HeldCertificate { vouched_by, thumbprint: self.thumbprint, until };
        *found = Some(Found { generation, at: now, held: held.clone() });
        Ok(held)
    }
}

/// Lets every certificate through whose key is proved: it is judged when it is to count.
#[derive(Debug)]
struct KeyAlone {
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for KeyAlone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
