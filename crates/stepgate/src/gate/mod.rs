//! The wiring: rooms are opened, joined, and served.

mod advice;
mod authenticators;
mod behaviour;
mod error;
mod machines;
mod only;
mod operators;
mod parts;
mod places;
mod policies;
mod push;
mod running;
mod settled;
mod shadow;
mod signals;
mod sinks;
mod slots;
mod streams;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use stepgate_console::{Account, Pages};
use stepgate_core::factor::KnownModels;
use stepgate_core::flows::{Departures, Flows, Habits, Loops, Refusals, Shadow};
use stepgate_core::id::NodeId;
use stepgate_core::secret::MacKey;
use stepgate_core::time::{Clock, Randomness};
use stepgate_core::web::Transport;
use stepgate_courier::{Outgoing, Ways, letterbox};
use stepgate_factors::{FactorSet, KnownAuthenticators};
use stepgate_gateway::canonical::{HopTells, TrustedHops};
use stepgate_gateway::http::{HttpDoor, HttpDoorParts};
use stepgate_gateway::server::{Binding, Server, ServerLimits};
use stepgate_identity::provider::Providers;
use stepgate_identity::tokens::{Keeps, TokenVerifier};
use stepgate_ledger::Origin;
use stepgate_store::{Database, Options, SigningKeys, StoreUrl};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use authenticators::AuthenticatorsUnusable;
pub use behaviour::{Keeper, LateLessons};
pub use error::StartError;
pub use only::OnlyGate;
pub use parts::{bind, keyring};
pub use places::DatabaseUnusable;
pub use policies::{PolicyErrors, built_in, load_policies, policy_files};
pub use running::Gate;
pub use sinks::SinkUnusable;

pub(crate) use advice::advice;
pub(crate) use authenticators::read as authenticators_of;
pub(crate) use parts::{attestation_roots, certificates, certificates_of, way_to};
pub(crate) use places::environment;
pub(crate) use policies::{load_sources, read_source, read_sources, verified};
pub(crate) use shadow::load_shadow;
pub(crate) use signals::{pollers, subscribers};

use crate::config::Settings;
use authenticators::Published;
use parts::{client_certificates, door_limits, factor_options, live, look_at, plaintext, signer, upstreams};
pub use push::WakeQueue;
use running::started;
use settled::Settled;

/// The name that people read on pages; in their authenticator the gate's host stands behind it, because an app or a
/// key may hold those of several gates.
const SITE: &str = "Stepgate";

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
    /// The identity providers that were configured.
    pub providers: Arc<Providers>,
    /// Codes that wait to be sent.
    pub outgoing: Outgoing,
    /// The ways on which they leave.
    pub ways: Arc<Ways>,
    /// What wakes devices, once the gate serves.
    pub wakes: Option<WakeQueue>,
    /// Keeps habits, and what it learns late.
    pub habits: (Arc<Keeper>, LateLessons),
    /// What is published of authenticators, once the gate serves.
    pub authenticators: Option<Arc<KnownAuthenticators>>,
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
        let shadow = shadow::load(&settings, verified(&settings));
        let keyring = keyring(&settings.master_key)?;
        let host = settings.catalogue.gate_host.clone();
        let options = Options::new(Origin::parse(host.as_str()).map_err(StartError::Origin)?);
        let url = StoreUrl::parse(&settings.store)?;
        let database = Database::open(url, keyring, Arc::clone(&clock), Arc::clone(&random), options).await?;
        let database = Arc::new(database);
        let keys = database.signing_keys().await?;
        let origin = settings.catalogue.gate_origin.clone();
        let host_name = host.to_string();
        let models: Arc<KnownModels> = Arc::default();
        let metadata = settings.passkeys.metadata.as_ref();
        let authenticators =
            metadata.map(|metadata| Arc::new(KnownAuthenticators::new(metadata.demands, Arc::clone(&models))));
        let options = factor_options(&settings, authenticators.clone())?;
        let name = format!("{SITE} {host}");
        let set = FactorSet::new(host.as_str(), &origin, &name, options)?;
        let (devices, wakes) = push::devices(&settings, &set, &database, &clock, &random)?.unzip();
        let mut factors = set.into_map();
        if let Some(devices) = &devices {
            factors.insert(devices.factor.kind(), Arc::clone(&devices.factor) as _);
        }
        let hardware = settings.hardware.map(|_| Arc::clone(&database) as _);
        let catalogue =
            std::mem::replace(&mut settings.catalogue, stepgate_core::catalogue::Catalogue::empty(origin, host));
        let ways = Arc::new(parts::ways(&settings, &host_name, &clock)?);
        let (letterbox, outgoing) = letterbox();
        let profiles = Arc::clone(&database) as _;
        let habits = Keeper::new(profiles, Arc::clone(&clock), settings.behaviour.memory.bytes);
        let (mut live, providers) = live(&settings, catalogue, policies, &clock, &random)?;
        live.environment.models = models;
        let flows = Arc::new(Flows {
            live: ArcSwap::from_pointee(live),
            store: Arc::clone(&database) as _,
            factors,
            courier: Arc::new(letterbox),
            devices,
            hardware,
            clock,
            mac: MacKey::new(&keys.mac),
            node: NodeId::random(random.as_ref()),
            random,
            refusals: Refusals::default(),
            shadow: Shadow::default(),
            loops: Loops::default(),
            departures: Departures::default(),
            habits: Habits { keeper: Arc::clone(&habits.0) as _, ..Habits::default() },
        });
        flows.shadow.replace(shadow, flows.live.load().policies.version());
        let wakes = wakes.flatten();
        Ok(Self { settings, file, database, flows, keys, providers, outgoing, ways, wakes, habits, authenticators })
    }

    /// Opens the doors. `listeners` are already bound, so that a busy port is known before.
    pub async fn serve(self, listeners: Vec<TcpListener>) -> Result<Gate, StartError> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let Self { settings, file, database, flows, keys, providers, outgoing, ways, wakes, habits, authenticators } =
            self;
        look_at(&providers).await?;
        let issuers = providers.token_issuers(&settings.introspection);
        let tokens = Arc::new(TokenVerifier::new(issuers, Keeps::Verified, flows.random.as_ref()));
        let transport = settings.transport;
        let door = HttpDoor::new(HttpDoorParts {
            flows: Arc::clone(&flows),
            transport,
            pages: Arc::new(Pages::new(Arc::clone(&flows), transport, SITE)),
            account: Arc::new(Account::new(Arc::clone(&flows), transport, SITE)),
            upstreams: upstreams(&settings)?,
            signer: signer(&keys)?,
            tokens: Arc::clone(&tokens) as _,
            limits: door_limits(&settings),
            stop: stop.clone(),
        });
        let mut tells = vec![HopTells::ClientAddress];
        if transport == Transport::Tls && settings.tls.is_empty() {
            // TLS ends before the gate, so only the hop knows what the browser spoke.
            tells.push(HopTells::ClientScheme);
        }
        let hops = TrustedHops::new(settings.trusted_hops.clone(), tells);
        let hops = hops.telling_posture_in(settings.posture_header.clone());
        let limits = ServerLimits {
            connections: settings.limits.connections,
            drain: settings.limits.drain,
            ..ServerLimits::default()
        };
        let certificates = certificates(&settings)?;
        if let Some(certificates) = &certificates {
            tasks.spawn(Arc::clone(certificates).watch(CERTIFICATES_EVERY, stop.clone()));
        }
        let client = client_certificates(&settings, &flows.clock)?;
        if !client.is_empty() {
            tasks.spawn(client.clone().watch(REVOCATION_LISTS_EVERY, stop.clone()));
        }
        let mut addresses = Vec::new();
        let mut servers = Vec::new();
        for listener in listeners {
            let binding = match &certificates {
                Some(certificates) => Binding::tls(listener, Arc::clone(certificates), client.clone())?,
                None => Binding::plain(listener, plaintext(settings.danger_plaintext))?,
            };
            let server = Server::new(binding, hops.clone(), limits.clone(), Arc::new(door.clone()));
            if let Ok(address) = server.local_address() {
                addresses.push(address);
            }
            servers.push(server);
        }
        started(&flows, &settings).await?;
        if let (Some(known), Some(metadata)) = (authenticators, &settings.passkeys.metadata) {
            let published = Published::open(metadata.clone(), known, Arc::clone(&flows), door.clone()).await?;
            tasks.spawn(published.watch(stop.clone()));
        }
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
        let (mut machines, mut signals_signer) = (None, None);
        if let Some(configured) = &settings.machines {
            let listener = bind(configured.listen).await?;
            let signals = signals::receiving(configured, &flows, &database)?;
            let transmitter = match streams::transmitter(configured, &flows, &database).await? {
                Some((transmitter, keys)) => {
                    tasks.spawn(streams::renew_keys(Arc::clone(&keys), Arc::clone(&database), stop.clone()));
                    signals_signer = Some(keys);
                    Some(transmitter)
                }
                None => None,
            };
            if let Some(transmitter) = &transmitter {
                tasks.spawn(streams::fill(transmitter.clone(), stop.clone()));
                tasks.spawn(streams::push(transmitter.clone(), stop.clone()));
            }
            let (server, certificates) =
                machines::server(listener, configured, &flows, &database, signals.as_ref(), transmitter.clone())?;
            if let Some(signals) = &signals {
                for (name, poller) in signals::pollers(configured)? {
                    tasks.spawn(signals::poll(signals.clone(), name, poller, stop.clone()));
                }
                for (name, subscriber) in signals::subscribers(configured)? {
                    tasks.spawn(signals::subscribe(signals.clone(), name, subscriber, stop.clone()));
                }
            }
            machines = server.local_address().ok();
            if let Some(certificates) = certificates {
                tasks.spawn(certificates.watch(CERTIFICATES_EVERY, stop.clone()));
            }
            let stop = stop.clone();
            tasks.spawn(async move {
                server.serve(stop).await;
            });
        }
        for pump in sinks::pumps(&settings.sinks, flows.live.load().catalogue.gate_host.as_str(), &flows, &database)? {
            tasks.spawn(pump.run(stop.clone()));
        }
        let stopping = stop.clone();
        let until = async move { stopping.cancelled().await };
        tasks.spawn(outgoing.deliver(ways, Arc::clone(&flows), until));
        if let Some(wakes) = wakes {
            push::take_keys(&wakes, &database).await?;
            tasks.spawn(push::run(wakes, Arc::clone(&flows), Arc::clone(&database), stop.clone()));
        }
        tasks.spawn(behaviour::run(habits.0, habits.1, stop.clone()));
        tasks.spawn(places::watch(Arc::clone(&flows), stop.clone()));
        tasks.spawn(shadow::compare(Arc::clone(&flows), stop.clone()));
        tasks.spawn(upkeep::renew_logins(Arc::clone(&flows), stop.clone()));
        tasks.spawn(upkeep::run(Arc::clone(&flows), Arc::clone(&database), door.clone(), stop.clone()));
        let settled = Settled::of(&settings);
        Ok(Gate { flows, database, addresses, machines, door, tokens, signals_signer, file, settled, stop, tasks })
    }
}

/// How often certificate files are looked at.
const CERTIFICATES_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
/// How often revocation lists are looked at: what is revoked ends within a second.
const REVOCATION_LISTS_EVERY: std::time::Duration = std::time::Duration::from_millis(250);
