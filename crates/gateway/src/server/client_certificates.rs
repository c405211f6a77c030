//! Client certificates: which hosts ask for them, on which connections, and whether one that was shown holds.
//!
//! A handshake proves the key and nothing more. Chain, times and revocation are judged when a
//! certificate is to count, against what is loaded then ([`authorities`]): so a list that was loaded a moment ago
//! also speaks of connections that were open before, a date that passes ends what rests on it, and
//! whoever comes with a bad one is told why in HTTP instead of by an alert that no page can explain.

mod authorities;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use stepgate_core::certificate::{CertificateFault, HeldCertificate, ShownCertificate, Thumbprint};
use stepgate_core::time::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use super::certificates::{CertificateError, Certificates, Reloaded, base_config};
use crate::canonical::{Ambiguous, CanonicalRequest};
use authorities::Authority;

pub use authorities::{AuthoritySettings, PastNextUpdate, RevocationLists, Vouches};

/// The most certificates that a client may show, its own included.
const MAX_SHOWN: usize = 6;
/// The most bytes of one of them.
const MAX_SHOWN_BYTES: usize = 16 * 1024;

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
            let of = |name: &Arc<str>| authorities.iter().find(|one| one.name() == name).cloned();
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
        self.authorities.iter().fold(0, |sum, one| sum.wrapping_add(one.generation()))
    }

    fn config(&self, certificates: &Arc<Certificates>) -> Result<ServerConfig, rustls::Error> {
        let provider = certificates.provider();
        let hints = self.authorities.iter().flat_map(|one| one.hints()).collect();
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
                Ok(until) => return Ok(Judged { vouched_by: Arc::clone(authority.name()), until }),
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
