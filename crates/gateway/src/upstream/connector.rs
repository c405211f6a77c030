//! Connections to upstreams: verified TLS, or plain text to this machine.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tower::Service;

use super::UpstreamConfig;
use super::origin::is_local_name;

/// Why upstreams cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The file with the roots cannot be read or is not PEM.
    #[error("{path} does not hold certificates")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate in it cannot be a root, or there is none.
    #[error("{path} does not hold usable root certificates")]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The origin is no address.
    #[error("the upstream's origin is not an address")]
    Address(#[source] http::uri::InvalidUriParts),
    /// TLS itself is not available.
    #[error("TLS to upstreams cannot be configured")]
    Tls(#[source] rustls::Error),
    /// The platform's verifier is not available.
    #[error("the platform's root certificates cannot be used")]
    Platform(#[source] std::io::Error),
}

pub(super) type Connector = Within<HttpsConnector<HttpConnector<Resolver>>>;

pub(super) fn connector(config: &UpstreamConfig) -> Result<Connector, ConnectorError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = match &config.certificate_authority {
        Some(path) => HttpsConnectorBuilder::new().with_tls_config(own_roots(path, provider)?),
        None => HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(provider)
            .map_err(ConnectorError::Platform)?,
    };
    let mut tcp = HttpConnector::new_with_resolver(Resolver::default());
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(config.limits.connect));
    let schemes = match config.origin.is_plain() {
        true => builder.https_or_http(),
        false => builder.https_only(),
    };
    Ok(Within { inner: schemes.enable_http1().wrap_connector(tcp), deadline: config.limits.connect })
}

fn own_roots(path: &Path, provider: Arc<CryptoProvider>) -> Result<ClientConfig, ConnectorError> {
    let pem = |source| ConnectorError::Pem { path: path.to_owned(), source };
    let unusable = |source| ConnectorError::Roots { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(pem)? {
        roots.add(certificate.map_err(pem)?).map_err(unusable)?;
    }
    if roots.is_empty() {
        return Err(unusable(rustls::Error::NoCertificatesPresented));
    }
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectorError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A connector with one deadline for name, connection and handshake together, so
/// that whatever takes too long later was connected, and may have been sent.
#[derive(Clone, Debug)]
pub(super) struct Within<C> {
    inner: C,
    deadline: Duration,
}

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<C> Service<Uri> for Within<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.deadline, self.inner.call(uri));
        Box::pin(async move { connecting.await?.map_err(Into::into) })
    }
}

/// The system's resolver, but `localhost` and what is below it never leaves this
/// machine, whatever a name server says (RFC 6761, section 6.3).
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    system: GaiResolver,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { system: GaiResolver::new() }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = BoxFuture<Result<Self::Response, std::io::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_local_name(name.as_str()) {
            let local = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
            return Box::pin(std::future::ready(Ok(local.into_iter())));
        }
        let resolving = self.system.call(name);
        Box::pin(async move { Ok(resolving.await?.collect::<Vec<_>>().into_iter()) })
    }
}
