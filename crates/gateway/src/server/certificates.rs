//! Certificates from files, replaced while we run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_util::sync::CancellationToken;

/// The most bytes of a certificate or key file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A chain and its key, both PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub chain: PathBuf,
    /// The private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// Why certificates could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No pair of files was named.
    #[error("no certificate is configured")]
    None,
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is too large to be a certificate or a key.
    #[error("{path} is larger than a certificate or key can be")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file is not the PEM that it should be.
    #[error("{path} is not valid PEM of the expected kind")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A file has nothing in it of what it is for.
    #[error("{path} holds nothing")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Trust anchors or revocation lists cannot be used.
    #[error("the client certificates of {name} cannot be judged: {why}")]
    Anchors {
        /// Whose they are.
        name: Arc<str>,
        /// Why.
        why: String,
    },
    /// Certificate and key do not make a pair, or are of an unknown kind.
    #[error("{chain} and {key} do not make a usable pair")]
    Pair {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// Whether a reload found anything new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// The files are as they were.
    Unchanged,
    /// New certificates are in use from the next handshake on.
    Changed,
}

/// The certificates in use.
///
/// A reload replaces all or nothing: broken new files leave the old certificates
/// in use, so that a failed renewal is an alarm and not an outage.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<CertificateFiles>,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Vec<Arc<CertifiedKey>>>,
    // What the files looked like when they were last tried.
    tried: Mutex<Vec<Stamp>>,
}

/// What tells one version of a file from the next without reading it.
pub(super) type Stamp = Option<(SystemTime, u64)>;

impl Certificates {
    /// Loads all pairs. The first is used where no name fits.
    ///
    /// # Errors
    ///
    /// The first that cannot be loaded.
    pub fn load(files: Vec<CertificateFiles>) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tried = stamps(&files);
        let loaded = load_all(&files, &provider)?;
        Ok(Arc::new(Self { files, provider, current: ArcSwap::from_pointee(loaded), tried: Mutex::new(tried) }))
    }

    pub(super) fn provider(&self) -> &CryptoProvider {
        &self.provider
    }

    /// Loads the files again where they have changed. Reads files: not for an
    /// async task's thread.
    ///
    /// # Errors
    ///
    /// The first that cannot be loaded; the certificates in use stay. The same
    /// broken files are reported once.
    pub fn reload(&self) -> Result<Reloaded, CertificateError> {
        let mut tried = self.tried.lock();
        let now = stamps(&self.files);
        if *tried == now {
            return Ok(Reloaded::Unchanged);
        }
        *tried = now;
        let loaded = load_all(&self.files, &self.provider)?;
        self.current.store(Arc::new(loaded));
        Ok(Reloaded::Changed)
    }

    /// Looks at the files again and again until `stop`.
    pub async fn watch(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(every);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let certificates = Arc::clone(&self);
            let reloaded = tokio::task::spawn_blocking(move || certificates.reload()).await;
            match reloaded {
                Ok(Ok(Reloaded::Unchanged)) => {}
                Ok(Ok(Reloaded::Changed)) => tracing::info!("certificates were replaced"),
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "new certificates are unusable, the old stay in use");
                }
                Err(error) => tracing::error!(%error, "certificates could not be looked at"),
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load();
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fitting = name.and_then(|name| current.iter().find(|pair| is_for(pair, &name)));
        fitting.or_else(|| current.first()).cloned()
    }
}

fn is_for(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    pair.end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

/// What all configurations have in common.
pub(super) fn base_config(
    certificates: &Certificates,
) -> Result<rustls::ConfigBuilder<rustls::ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    rustls::ServerConfig::builder_with_provider(Arc::clone(&certificates.provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
}

pub(super) fn server_config(certificates: Arc<Certificates>) -> Result<rustls::ServerConfig, rustls::Error> {
    let mut config = base_config(&certificates)?.with_no_client_auth().with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn stamps(files: &[CertificateFiles]) -> Vec<Stamp> {
    files.iter().flat_map(|pair| [&pair.chain, &pair.key]).map(|path| stamp(path)).collect()
}

pub(super) fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load_all(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<Vec<Arc<CertifiedKey>>, CertificateError> {
    if files.is_empty() {
        return Err(CertificateError::None);
    }
    files.iter().map(|pair| load_pair(pair, provider).map(Arc::new)).collect()
}

fn load_pair(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&read(&files.chain)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| CertificateError::Pem { path: files.chain.clone(), source })?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|source| CertificateError::Pem { path: files.key.clone(), source })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| CertificateError::Pair {
        chain: files.chain.clone(),
        key: files.key.clone(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    read_at_most(path, MAX_FILE_BYTES)
}

pub(super) fn read_at_most(path: &Path, bytes: u64) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > bytes {
        return Err(CertificateError::TooLarge { path: path.to_owned() });
    }
    std::fs::read(path).map_err(failed)
}
