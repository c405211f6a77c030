//! The wiring: rooms are opened, joined, and served.

mod operators;
mod policies;
mod upkeep;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use stepgate_console::{Account, Pages};
use stepgate_core::catalogue::ServiceName;
use stepgate_core::flows::{Flows, Live, Refusals};
use stepgate_core::id::NodeId;
use stepgate_core::ports::StoreError;
use stepgate_core::secret::MacKey;
use stepgate_core::time::{Clock, Randomness};
use stepgate_core::web::Transport;
use stepgate_evidence::Event;
use stepgate_factors::{AuthenticatorPolicy, FactorOptions, FactorSet, FactorSetError};
use stepgate_gateway::canonical::{HopTells, TrustedHops};
use stepgate_gateway::http::{
    AssertionMode, AssertionSigner, DoorLimits, HttpDoor, HttpDoorParts, InjectScript, PublicKey, ServiceUpstream,
    SignerError,
};
use stepgate_gateway::server::{
    Binding, BindingError, CertificateError, CertificateFiles, Certificates, Plaintext, Server, ServerLimits,
};
use stepgate_gateway::upstream::{
    ConnectorError, HostHeader, OriginError, Upstream, UpstreamConfig, UpstreamLimits, UpstreamOrigin,
};
use stepgate_ledger::Origin;
use stepgate_ledger::checkpoint::BadOrigin;
use stepgate_store::{Database, Keyring, KeyringError, NotAStoreUrl, OpenError, Options, SigningKeys, StoreUrl};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use policies::{PolicyErrors, load_policies, policy_files};

use crate::config::{self, Assertion, MasterKey, Settings};

/// The name that people read in their authenticator and on pages.
const SITE: &str = "Stepgate";

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
    /// The master key.
    #[error("the master key cannot be used")]
    #[diagnostic(help("`stepgate init` makes one; without the key that sealed the store nothing in it can be read"))]
    Keyring(#[from] KeyringError),
    /// The environment variable of the master key.
    #[error("the environment variable {0} with the master key is not set")]
    NoKeyInEnvironment(String),
    /// The store's URL.
    #[error("the store cannot be used")]
    StoreUrl(#[from] NotAStoreUrl),
    /// The store.
    #[error("the store cannot be opened")]
    Open(#[from] OpenError),
    /// The store, after it was opened.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The host is no name for a log.
    #[error("the gate's host cannot name a log")]
    Origin(#[source] BadOrigin),
    /// The factors.
    #[error("the factors cannot be set up")]
    Factors(#[from] FactorSetError),
    /// A file of `[passkeys] attestation_roots`.
    #[error("the attestation root {} cannot be read", path.display())]
    AttestationRoot {
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
    Certificates(#[from] CertificateError),
    /// A listener.
    #[error("cannot listen on {address}")]
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

/// Everything behind the doors: store, decision, flows. Commands use this much.
#[derive(Debug)]
pub struct House {
    /// The settings, without what became part of `flows`.
    pub settings: Settings,
    /// Where they were read; for reloads.
    pub file: Option<PathBuf>,
    /// The store.
    pub database: Arc<Database>,
    /// The flows.
    pub flows: Arc<Flows>,
    /// The deployment's keys.
    pub keys: SigningKeys,
}

impl House {
    /// Opens the store and joins what needs no socket.
    pub async fn open(
        mut settings: Settings,
        file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Randomness>,
    ) -> Result<Self, StartError> {
        let policies = load_policies(&settings)?;
        let keyring = keyring(&settings.master_key)?;
        let host = settings.catalogue.gate_host.clone();
        let options = Options::new(Origin::parse(host.as_str()).map_err(StartError::Origin)?);
        let url = StoreUrl::parse(&settings.store)?;
        let database = Database::open(url, keyring, Arc::clone(&clock), Arc::clone(&random), options).await?;
        let database = Arc::new(database);
        let keys = database.signing_keys().await?;
        let origin = settings.catalogue.gate_origin.clone();
        let options = factor_options(&settings)?;
        let factors = FactorSet::new(host.as_str(), &origin, SITE, options)?.into_map();
        let catalogue =
            std::mem::replace(&mut settings.catalogue, stepgate_core::catalogue::Catalogue::empty(origin, host));
        let live = live(&settings, catalogue, policies);
        let flows = Arc::new(Flows {
            live: ArcSwap::from_pointee(live),
            store: Arc::clone(&database) as _,
            factors,
            clock,
            mac: MacKey::new(&keys.mac),
            node: NodeId::random(random.as_ref()),
            random,
            refusals: Refusals::default(),
        });
        Ok(Self { settings, file, database, flows, keys })
    }

    /// Opens the doors. `listeners` are already bound, so that a busy port is known before.
    pub async fn serve(self, listeners: Vec<TcpListener>) -> Result<Gate, StartError> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let Self { settings, file, database, flows, keys } = self;
        let transport = settings.transport;
        let door = HttpDoor::new(HttpDoorParts {
            flows: Arc::clone(&flows),
            transport,
            pages: Arc::new(Pages::new(Arc::clone(&flows), transport, SITE)),
            account: Arc::new(Account::new(Arc::clone(&flows), transport, SITE)),
            upstreams: upstreams(&settings)?,
            signer: signer(&keys)?,
            limits: door_limits(&settings),
            stop: stop.clone(),
        });
        let mut tells = vec![HopTells::ClientAddress];
        if transport == Transport::Tls && settings.tls.is_empty() {
            // TLS ends before the gate, so only the hop knows what the browser spoke.
            tells.push(HopTells::ClientScheme);
        }
        let hops = TrustedHops::new(settings.trusted_hops.clone(), tells);
        let limits = ServerLimits {
            connections: settings.limits.connections,
            drain: settings.limits.drain,
            ..ServerLimits::default()
        };
        let certificates = certificates(&settings)?;
        if let Some(certificates) = &certificates {
            tasks.spawn(Arc::clone(certificates).watch(CERTIFICATES_EVERY, stop.clone()));
        }
        let mut addresses = Vec::new();
        let mut servers = Vec::new();
        for listener in listeners {
            let binding = match &certificates {
                Some(certificates) => Binding::tls(listener, Arc::clone(certificates))?,
                None => Binding::plain(listener, plaintext(settings.danger_plaintext))?,
            };
            let server = Server::new(binding, hops.clone(), limits.clone(), Arc::new(door.clone()));
            if let Ok(address) = server.local_address() {
                addresses.push(address);
            }
            servers.push(server);
        }
        started(&flows, &settings).await?;
        for server in servers {
            let stop = stop.clone();
            tasks.spawn(async move {
                server.serve(stop).await;
            });
        }
        if let Some(address) = settings.operators {
            let listener = bind(address).await?;
            tasks.spawn(operators::serve(listener, Arc::clone(&flows), stop.clone()));
        }
        tasks.spawn(upkeep::run(Arc::clone(&flows), Arc::clone(&database), stop.clone()));
        Ok(Gate { flows, database, addresses, door, file, stop, tasks })
    }
}

/// How often certificate files are looked at.
const CERTIFICATES_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// A running gate.
#[derive(Debug)]
pub struct Gate {
    /// The flows.
    pub flows: Arc<Flows>,
    /// The store.
    pub database: Arc<Database>,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    door: HttpDoor,
    file: Option<PathBuf>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Gate {
    /// Reads configuration, policies and the master key again. A broken one changes nothing, is an entry and an alarm.
    pub async fn reload(&self) -> Result<(), StartError> {
        let Some(file) = &self.file else { return Ok(()) };
        let kept = self.flows.live.load().policies.version().to_owned();
        match self.read_again(file) {
            Ok(Again { live, upstreams, config, keyring }) => {
                let (policy, policies) = (live.policies.version().to_owned(), count(&live));
                let at = self.flows.clock.now();
                let entries = vec![
                    self.flows.entry(at, Event::ConfigLoaded { config }),
                    self.flows.entry(at, Event::PolicyLoaded { policy, policies }),
                ];
                // No evidence, no change.
                self.flows.store.record(entries).await?;
                self.database.replace_keyring(keyring);
                self.flows.live.store(Arc::new(live));
                self.door.replace_upstreams(upstreams);
                self.door.reloaded();
                tracing::info!("configuration and policies reloaded");
                Ok(())
            }
            Err(error) => {
                let event = Event::PolicyRefused { policy: String::new(), kept };
                let entry = self.flows.entry(self.flows.clock.now(), event);
                if let Err(error) = self.flows.store.record(vec![entry]).await {
                    tracing::error!(error = &error as &dyn std::error::Error, "a refused reload could not be recorded");
                }
                Err(error)
            }
        }
    }

    fn read_again(&self, file: &std::path::Path) -> Result<Again, StartError> {
        let mut settings = config::load(file)?;
        let running = self.flows.live.load().catalogue.gate_origin.clone();
        if settings.catalogue.gate_origin != running {
            let configured = settings.catalogue.gate_origin.clone();
            return Err(StartError::OriginChanged { running, configured });
        }
        let policies = load_policies(&settings)?;
        let upstreams = upstreams(&settings)?;
        let (origin, host) = (settings.catalogue.gate_origin.clone(), settings.catalogue.gate_host.clone());
        let empty = stepgate_core::catalogue::Catalogue::empty(origin, host);
        let catalogue = std::mem::replace(&mut settings.catalogue, empty);
        let config = settings.digest.clone();
        let keyring = keyring(&settings.master_key)?;
        Ok(Again { live: live(&settings, catalogue, policies), upstreams, config, keyring })
    }

    /// Stops in order: no new connections, running requests finish within the drain time.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.flows.flush_refusals().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last refusals were not recorded");
        }
        let event = Event::NodeStopped { node: self.flows.node.to_string() };
        let entry = self.flows.entry(self.flows.clock.now(), event);
        if let Err(error) = self.flows.store.record(vec![entry]).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the stop was not recorded");
        }
        drop(self.door);
        drop(self.flows);
        if let Ok(database) = Arc::try_unwrap(self.database) {
            database.close().await;
        }
    }
}

/// What a reload reads.
struct Again {
    live: Live,
    upstreams: BTreeMap<ServiceName, Arc<ServiceUpstream>>,
    config: String,
    keyring: Keyring,
}

/// Listens, or says where it could not.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// The keyring that the configuration names.
pub fn keyring(master_key: &MasterKey) -> Result<Keyring, StartError> {
    match master_key {
        MasterKey::File(path) => Ok(Keyring::from_file(path)?),
        MasterKey::Env(name) => {
            let text = std::env::var(name).map_err(|_| StartError::NoKeyInEnvironment(name.clone()))?;
            Ok(Keyring::parse(&text)?)
        }
    }
}

/// What the configuration says about factors; the names of services are words that
/// no password may be made of.
fn factor_options(settings: &Settings) -> Result<FactorOptions, StartError> {
    let root = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|source| StartError::AttestationRoot { path: path.clone(), source })
    };
    let roots = settings.attestation_roots.iter().map(root).collect::<Result<_, _>>()?;
    let names = |service: &Arc<stepgate_core::catalogue::Service>| [service.name.to_string(), service.title.clone()];
    Ok(FactorOptions {
        authenticators: AuthenticatorPolicy { models: settings.allowed_aaguids.clone(), roots },
        password_words: settings.catalogue.services.values().flat_map(names).collect(),
    })
}

fn live(
    settings: &Settings,
    catalogue: stepgate_core::catalogue::Catalogue,
    policies: stepgate_core::policy::Policies,
) -> Live {
    Live {
        catalogue,
        policies,
        networks: settings.networks.clone(),
        challenges: settings.challenges,
        tries: settings.tries,
        sessions: settings.sessions,
    }
}

fn count(live: &Live) -> u32 {
    u32::try_from(live.policies.all().len()).unwrap_or(u32::MAX)
}

/// The first entries of a node: what it serves with. No evidence, no service.
async fn started(flows: &Flows, settings: &Settings) -> Result<(), StoreError> {
    let at = flows.clock.now();
    let live = flows.live.load();
    let policy = live.policies.version().to_owned();
    let mut entries = vec![
        flows.entry(
            at,
            Event::NodeStarted {
                node: flows.node.to_string(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                config: settings.digest.clone(),
                policy: policy.clone(),
                relying_party: live.catalogue.gate_host.to_string(),
                origins: vec![live.catalogue.gate_origin.clone()],
            },
        ),
        flows.entry(at, Event::PolicyLoaded { policy, policies: count(&live) }),
    ];
    for (service, upstream) in &settings.upstreams {
        if upstream.url.scheme() == "http" && upstream.danger_plaintext {
            entries.push(flows.entry(at, Event::PlaintextAllowed { service: service.clone() }));
        }
    }
    flows.store.record(entries).await
}

fn plaintext(danger: bool) -> Plaintext {
    if danger { Plaintext::DangerEverywhere } else { Plaintext::OnLoopback }
}

fn upstreams(settings: &Settings) -> Result<BTreeMap<ServiceName, Arc<ServiceUpstream>>, StartError> {
    let mut ways = BTreeMap::new();
    for (name, configured) in &settings.upstreams {
        let Ok(key) = ServiceName::parse(name) else { continue };
        let origin = UpstreamOrigin::parse(configured.url.as_str(), plaintext(configured.danger_plaintext))
            .map_err(|source| StartError::UpstreamOrigin { service: name.clone(), source })?;
        let upstream = Upstream::new(UpstreamConfig {
            origin,
            certificate_authority: configured.ca.clone(),
            host_header: if configured.own_host_header { HostHeader::Upstream } else { HostHeader::Original },
            limits: UpstreamLimits::default(),
        })
        .map_err(|source| StartError::Upstream { service: name.clone(), source })?;
        let assertion = match configured.assertion {
            Assertion::Always => AssertionMode::Always,
            Assertion::SteppedUp => AssertionMode::SteppedUp,
            Assertion::Never => AssertionMode::Never,
        };
        let inject_script = if configured.inject_script { InjectScript::IntoPages } else { InjectScript::No };
        ways.insert(key, Arc::new(ServiceUpstream { upstream, assertion, inject_script }));
    }
    Ok(ways)
}

fn signer(keys: &SigningKeys) -> Result<AssertionSigner, SignerError> {
    let (pkcs8, id): (&[u8], &str) = match keys.assertion.first() {
        Some(key) => (&key.pkcs8, &key.id),
        None => (&[], ""),
    };
    let previous = keys.assertion.iter().skip(1);
    let previous = previous.map(|key| PublicKey { id: key.id.clone(), point: key.public.clone() }).collect();
    AssertionSigner::new(pkcs8, id, previous)
}

fn door_limits(settings: &Settings) -> DoorLimits {
    let mut limits = DoorLimits::default();
    limits.operation_body.bytes = settings.limits.body;
    limits
}

fn certificates(settings: &Settings) -> Result<Option<Arc<Certificates>>, CertificateError> {
    if settings.tls.is_empty() {
        return Ok(None);
    }
    let files = settings.tls.iter().map(|(chain, key)| CertificateFiles { chain: chain.clone(), key: key.clone() });
    Certificates::load(files.collect()).map(Some)
}
