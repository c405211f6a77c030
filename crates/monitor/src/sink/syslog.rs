//! Syslog: RFC 5424 over TCP (RFC 6587, octet counting), TLS (RFC 5425) or UDP (RFC 5426).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Reason, Sink, Undelivered};
use crate::fact::Severity;
use crate::format::{Document, rfc3339};

/// `authpriv`.
const FACILITY: u8 = 10;
/// How long a connection with its handshake may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a receiver may take to read a batch and close.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// How long it is waited for a reset after a receiver's end: what a message takes there and back.
const RESET_WITHIN: Duration = Duration::from_millis(250);
/// The longest message of a datagram: what IPv4 carries, less what stands before it.
const DATAGRAM_LEN_MAX: usize = 65_000;
/// The greatest `sequenceId` (RFC 5424, section 7.3.1).
const SEQUENCE_MAX: u64 = 2_147_483_647;

/// How syslog travels.
#[derive(Clone, Debug)]
pub enum SyslogTransport {
    /// Whatever is lost on the way is lost: UDP tells nobody.
    Udp,
    /// Readable by the network.
    Tcp,
    /// With the receiver's certificate verified for this name.
    Tls(Arc<ClientConfig>, ServerName<'static>),
}

/// The receiver's certificate could not be verified by what is configured.
#[derive(Debug, thiserror::Error)]
pub enum NoTls {
    /// The host is no name that a certificate has.
    #[error("{0} is not a name that a certificate can have")]
    Name(String),
    /// The file cannot be read as certificates.
    #[error("no certificate can be read from it")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// TLS is not available like this.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

impl SyslogTransport {
    /// TLS to this host, believed by the certificates in `authority` alone, or else by the platform's.
    ///
    /// # Errors
    ///
    /// [`NoTls`]
    pub fn tls(host: &str, authority: Option<&Path>) -> Result<Self, NoTls> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NoTls::Name(host.to_owned()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(NoTls::Tls)?;
        let builder = match authority {
            None => builder.with_platform_verifier().map_err(NoTls::Tls)?,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(path).map_err(NoTls::Pem)? {
                    roots.add(certificate.map_err(NoTls::Pem)?).map_err(NoTls::Tls)?;
                }
                if roots.is_empty() {
                    return Err(NoTls::Tls(rustls::Error::NoCertificatesPresented));
                }
                builder.with_root_certificates(roots)
            }
        };
        Ok(Self::Tls(Arc::new(builder.with_no_client_auth()), name))
    }
}

/// Syslog.
///
/// Its protocols have no acknowledgement. Over TCP and TLS each batch goes on a connection of its own, whose end the
/// receiver answers with its own. If it ended before it had read everything, its system answers what comes later with a
/// reset; that is waited for. What is answered by less than an end (a reset, silence, TLS that is cut off) is told again.
#[derive(Debug)]
pub struct Syslog {
    /// Host and port.
    address: String,
    transport: SyslogTransport,
    gate: String,
}

impl Syslog {
    /// Sends to `address` (`host:port`); `gate` stands as `HOSTNAME`.
    pub fn new(address: String, transport: SyslogTransport, gate: String) -> Self {
        Self { address, transport, gate }
    }

    /// One message (RFC 5424, section 6).
    fn message(&self, document: &Document) -> String {
        let sequence = document.index % SEQUENCE_MAX + 1;
        format!(
            "<{}>1 {} {} stepgate - {} [meta sequenceId=\"{sequence}\"] {}",
            FACILITY * 8 + level(document.severity),
            rfc3339(document.at_ms),
            printable(&self.gate, 255),
            printable(&document.kind, 32),
            document.body.line(),
        )
    }

    fn away(&self, error: impl std::fmt::Display) -> Undelivered {
        Undelivered::passing(Reason::Unreachable, format!("{}: {error}", self.address))
    }

    async fn datagrams(&self, batch: &[Document]) -> Result<(), Undelivered> {
        let found = tokio::net::lookup_host(&self.address).await.map_err(|error| self.away(error))?.next();
        let to = found.ok_or_else(|| self.away("the name has no address"))?;
        let own: std::net::SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(own).await.map_err(|error| self.away(error))?;
        let mut refused = Vec::new();
        for (place, document) in batch.iter().enumerate() {
            let message = self.message(document);
            if message.len() > DATAGRAM_LEN_MAX {
                refused.push((place, "longer than a datagram".to_owned()));
                continue;
            }
            socket.send_to(message.as_bytes(), to).await.map_err(|error| self.away(error))?;
        }
        if refused.is_empty() { Ok(()) } else { Err(Undelivered::Refused(refused)) }
    }

    async fn stream(&self, frames: &[u8]) -> Result<(), Undelivered> {
        let connect = async {
            let stream = TcpStream::connect(&self.address).await?;
            Ok::<_, std::io::Error>(match &self.transport {
                SyslogTransport::Tls(config, name) => {
                    let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?;
                    Wire::Tls(Box::new(stream))
                }
                SyslogTransport::Tcp | SyslogTransport::Udp => Wire::Plain(stream),
            })
        };
        let wire = match tokio::time::timeout(CONNECT_WITHIN, connect).await {
            Ok(connected) => connected.map_err(|error| self.away(error))?,
            Err(_) => return Err(self.away("no connection in time")),
        };
        match tokio::time::timeout(TAKEN_WITHIN, wire.hand_over(frames)).await {
            Ok(taken) => taken.map_err(|error| self.away(error)),
            Err(_) => {
                let why = format!("{}: the receiver did not read to the end in time", self.address);
                Err(Undelivered::passing(Reason::TooSlow, why))
            }
        }
    }
}

/// A connection.
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Writes, says that this is the end, and waits for the receiver to say the same.
    async fn hand_over(self, frames: &[u8]) -> std::io::Result<()> {
        let tcp = match self {
            Self::Plain(mut stream) => {
                to_the_end(&mut stream, frames).await?;
                stream
            }
            Self::Tls(mut stream) => {
                to_the_end(&mut stream, frames).await?;
                stream.into_inner().0
            }
        };
        tokio::time::sleep(RESET_WITHIN).await;
        tcp.take_error()?.map_or(Ok(()), Err)
    }
}

async fn to_the_end<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, frames: &[u8]) -> std::io::Result<()> {
    stream.write_all(frames).await?;
    stream.shutdown().await?;
    let mut nothing = [0; 1024];
    // It has nothing to say; what it says nevertheless is not looked at.
    while stream.read(&mut nothing).await? > 0 {}
    Ok(())
}

#[async_trait]
impl Sink for Syslog {
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered> {
        if matches!(self.transport, SyslogTransport::Udp) {
            return self.datagrams(batch).await;
        }
        let mut frames = String::new();
        for document in batch {
            let message = self.message(document);
            frames.push_str(&format!("{} {message}", message.len()));
        }
        self.stream(frames.as_bytes()).await
    }
}

/// A header field: printable ASCII without spaces, cut; `-` if nothing is left.
fn printable(text: &str, max: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(max).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// RFC 5424, section 6.2.1, table 2.
const fn level(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 6,
        Severity::Low => 5,
        Severity::Medium => 4,
        Severity::High => 2,
    }
}
