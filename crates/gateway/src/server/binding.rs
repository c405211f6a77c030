//! What a listener speaks: TLS, or plain text where nobody else can listen in.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::Certificates;
use super::client_certificates::{ClientCertificates, Tls};
use crate::canonical::Scheme;

/// A bound socket, and how it is protected.
#[derive(Debug)]
pub struct Binding {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
    client: ClientCertificates,
}

/// Where plain text is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// On loopback addresses.
    OnLoopback,
    /// Everywhere: something in front ends TLS, and the way from there is safe.
    DangerEverywhere,
}

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// Plain text on an address that others can reach.
    #[error("{0} is not a loopback address, and without TLS others could read along")]
    NotLoopback(SocketAddr),
    /// The operating system's.
    #[error("the socket's address cannot be read")]
    Address(#[source] std::io::Error),
    /// The TLS configuration is impossible.
    #[error("TLS cannot be configured")]
    Tls(#[source] rustls::Error),
}

impl Binding {
    /// Plain HTTP.
    ///
    /// # Errors
    ///
    /// [`BindingError::NotLoopback`] unless that is explicitly allowed.
    pub fn plain(socket: TcpListener, plaintext: Plaintext) -> Result<Self, BindingError> {
        let address = socket.local_addr().map_err(BindingError::Address)?;
        if plaintext == Plaintext::OnLoopback && !address.ip().is_loopback() {
            return Err(BindingError::NotLoopback(address));
        }
        Ok(Self { socket, tls: None, client: ClientCertificates::default() })
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN. The hosts of `client` ask for certificates.
    ///
    /// # Errors
    ///
    /// [`BindingError::Tls`].
    pub fn tls(
        socket: TcpListener,
        certificates: Arc<Certificates>,
        client: ClientCertificates,
    ) -> Result<Self, BindingError> {
        let tls = Tls::new(certificates, &client).map_err(BindingError::Tls)?;
        Ok(Self { socket, tls: Some(Arc::new(tls)), client })
    }

    pub(super) fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }

    pub(super) fn handshakes(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    pub(super) fn client_certificates(&self) -> ClientCertificates {
        self.client.clone()
    }

    pub(super) fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(super) async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr)> {
        self.socket.accept().await
    }
}
