//! Why a gate does not start, and what to do about it.

use std::net::SocketAddr;
use std::path::PathBuf;

use stepgate_core::ports::StoreError;
use stepgate_core::provider::ProviderName;
use stepgate_factors::{FactorSetError, NoVapidKey};
use stepgate_gateway::http::SignerError;
use stepgate_gateway::server::{BindingError, CertificateError};
use stepgate_gateway::upstream::{ConnectorError, OriginError};
use stepgate_ledger::checkpoint::BadOrigin;
use stepgate_store::{KeyringError, NotAStoreUrl, NotPrivate, OpenError};

use stepgate_identity::http::HttpUnusable;
use stepgate_identity::signals::NoSetKey;

use super::advice::{NOT_PRIVATE, keyring_advice, listen_advice, open_advice, store_advice};
use super::policies::PolicyErrors;
use crate::config;

/// Why the gate did not start. Nothing is served then.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(#[from] config::ConfigError),
    /// The policies.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Policies(#[from] PolicyErrors),
    /// A system that is to be told the evidence.
    #[error("the sink `{name}` cannot be used")]
    Sink {
        /// Its name.
        name: String,
        /// Why.
        source: Box<super::SinkUnusable>,
    },
    /// A file that the courier needs.
    #[error("{} cannot be read", path.display())]
    CourierFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A secret that the courier needs.
    #[error("{} holds no such secret: of a webhook whsec_ and 24 to 64 bytes in base64 are expected", .0.display())]
    CourierSecret(std::path::PathBuf),
    /// `[mail]`.
    #[error("[mail] cannot be used")]
    Mail(#[from] stepgate_courier::MailUnusable),
    /// `[codes.phone]`.
    #[error("[codes.phone] cannot be used")]
    Webhook(#[source] stepgate_identity::http::HttpUnusable),
    /// The master key.
    #[error("the master key cannot be used")]
    #[diagnostic(help("{}", keyring_advice(.0)))]
    Keyring(#[from] KeyringError),
    /// The environment variable of the master key.
    #[error("the environment variable {0} with the master key is not set")]
    #[diagnostic(help("`[gate] master_key_env` names it; it holds the text of a key file, `<id>:<base64>` a line"))]
    NoKeyInEnvironment(String),
    /// The store's URL.
    #[error("the store cannot be used")]
    StoreUrl(#[from] NotAStoreUrl),
    /// The store.
    #[error("the store cannot be opened")]
    #[diagnostic(help("{}", open_advice(.0)))]
    Open(#[from] OpenError),
    /// The store, after it was opened.
    #[error("the store failed")]
    #[diagnostic(help("{}", store_advice(.0)))]
    Store(#[from] StoreError),
    /// A file of the store is open to others.
    #[error("the store is open to others than its owner")]
    #[diagnostic(help("{}", NOT_PRIVATE))]
    NotPrivate(#[from] NotPrivate),
    /// The directory of an SQLite file is not there.
    #[error("there is no directory {} for the store", path.display())]
    #[diagnostic(help("make it, owned by the gate's user, or change `[gate] store`"))]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Another gate runs on the same SQLite file.
    #[error("another gate runs on {}{}", path.display(), pid.map_or_else(String::new, |pid| format!(" (process {pid})")))]
    #[diagnostic(help(
        "stop it first, for instance with `kill {}`; several gates share one store on PostgreSQL only (`store = \"postgres://…\"`)",
        pid.map_or_else(|| "PID".to_owned(), |pid| pid.to_string())
    ))]
    AnotherGate {
        /// The database.
        path: PathBuf,
        /// The process that runs, if it said.
        pid: Option<u32>,
    },
    /// The file beside an SQLite database that says that a gate runs.
    #[error("cannot use {}, which says that a gate runs", path.display())]
    #[diagnostic(help("the gate's user must be able to write in this directory: the database is there too"))]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The host is no name for a log.
    #[error("the gate's host cannot name a log")]
    Origin(#[source] BadOrigin),
    /// An identity provider.
    #[error("the identity provider {name} cannot be used: {why}")]
    #[diagnostic(help(
        "compare `[[provider]] issuer` with what the provider says of itself at `<issuer>/.well-known/openid-configuration`"
    ))]
    Provider {
        /// What the configuration calls it.
        name: ProviderName,
        /// Why.
        why: String,
    },
    /// The factors.
    #[error("the factors cannot be set up")]
    Factors(#[from] FactorSetError),
    /// A file of `[passkeys] attestation_roots`.
    #[error("the attestation root {} cannot be read", path.display())]
    #[diagnostic(help("`[passkeys] attestation_roots` names files with the makers' certificates, PEM"))]
    AttestationRoot {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What is published of authenticators.
    #[error("what is published of authenticators cannot be used")]
    #[diagnostic(help(
        "`[passkeys.metadata]` names the list of FIDO's metadata service and the root that it is signed under"
    ))]
    Authenticators(#[from] super::AuthenticatorsUnusable),
    /// A database of addresses.
    #[error("the database of addresses {} cannot be used", path.display())]
    #[diagnostic(help(
        "`[places]` names databases in MaxMind's format (`*.mmdb`); the address's place is unknown without one"
    ))]
    Places {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: super::places::DatabaseUnusable,
    },
    /// A transmitter of security events cannot be called.
    #[error("the transmitter {name} of security events cannot be called")]
    Transmitter {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: stepgate_identity::http::HttpUnusable,
    },
    /// Security events cannot be posted.
    #[error("security events cannot be posted")]
    Receivers(#[source] stepgate_identity::http::HttpUnusable),
    /// The key that signs security events.
    #[error("the key that signs security events cannot be used")]
    SignalKey(#[source] NoSetKey),
    /// The keys that wake devices.
    #[error("the keys that wake devices cannot be used")]
    PushKey(#[source] NoVapidKey),
    /// Push services cannot be called.
    #[error("push services cannot be called")]
    PushServices(#[source] HttpUnusable),
    /// The file with which a transmitter is polled.
    #[error("the token in {} cannot be read", path.display())]
    #[diagnostic(help("`[[machines.transmitter]] poll_token_file` names a file with a bearer token and nothing else"))]
    PollToken {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key of assertions.
    #[error("the assertion key cannot be used")]
    Signer(#[from] SignerError),
    /// An upstream's address.
    #[error("the upstream of {service} cannot be used")]
    UpstreamOrigin {
        /// The service.
        service: String,
        /// Why.
        #[source]
        source: OriginError,
    },
    /// The way to an upstream.
    #[error("the way to the upstream of {service} cannot be prepared")]
    Upstream {
        /// The service.
        service: String,
        /// Why.
        #[source]
        source: ConnectorError,
    },
    /// Certificates.
    #[error("the certificates cannot be used")]
    #[diagnostic(help(
        "`[gate.tls]`, and `[machines.tls]` for the machines' listener, name a certificate chain and its private key, \
         both PEM, readable by the gate's user"
    ))]
    Certificates(#[from] CertificateError),
    /// A listener.
    #[error("cannot listen on {address}")]
    #[diagnostic(help("{}", listen_advice(source, address)))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A reload that would move the gate: passkeys and cookies belong to its origin.
    #[error("the gate's origin is {running}; it cannot become {configured} while the gate runs")]
    #[diagnostic(help("stop the gate and start it again; passkeys stay with the old origin's host"))]
    OriginChanged {
        /// The origin that is served.
        running: String,
        /// The origin in the file.
        configured: String,
    },
    /// A listener that must not be.
    #[error("cannot serve on this listener")]
    Binding(#[from] BindingError),
}
