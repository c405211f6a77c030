//! A running gate: it reloads, and it stops in order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use stepgate_core::catalogue::ServiceName;
use stepgate_core::flows::{Flows, Live};
use stepgate_core::policy::Policies;
use stepgate_core::ports::StoreError;
use stepgate_core::provider::ProviderName;
use stepgate_evidence::Event;
use stepgate_gateway::http::{HttpDoor, ServiceUpstream};
use stepgate_identity::provider::Providers;
use stepgate_identity::signals::RsaSetSigner;
use stepgate_identity::tokens::{IntrospectionSettings, TokenVerifier};
use stepgate_store::{Database, Keyring};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::StartError;
use super::parts::{self, count, keyring, live, look_at, upstreams};
use super::policies::load_policies_verifying;
use super::settled::Settled;
use super::shadow;
use super::streams;
use crate::config::{self, Settings};

/// A running gate.
#[derive(Debug)]
pub struct Gate {
    /// The flows.
    pub flows: Arc<Flows>,
    /// The store.
    pub database: Arc<Database>,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Where other systems call, if there is such a listener.
    pub machines: Option<SocketAddr>,
    pub(super) door: HttpDoor,
    /// Verifies access tokens.
    pub(super) tokens: Arc<TokenVerifier>,
    /// Signs security events, if they are told.
    pub(super) signals_signer: Option<Arc<RsaSetSigner>>,
    pub(super) file: Option<PathBuf>,
    /// What was configured at the start and stays until the next one.
    pub(super) settled: Settled,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Gate {
    /// Reads configuration, policies and keys again. A broken one changes nothing, is an entry and an
    /// alarm. What changed and needs a restart is told in the log.
    pub async fn reload(&self) -> Result<(), StartError> {
        let Some(file) = &self.file else { return Ok(()) };
        let kept = self.flows.live.load().policies.version().to_owned();
        let again = match self.read_again(file) {
            Ok(again) => look_at(&again.providers).await.map(|()| again),
            Err(error) => Err(error),
        };
        match again {
            Ok(Again { live, shadow, upstreams, config, keyring, settled, providers, introspection }) => {
                let (policy, policies) = (live.policies.version().to_owned(), count(&live));
                let at = self.flows.clock.now();
                let entries = vec![
                    self.flows.entry(at, Event::ConfigLoaded { config }),
                    self.flows.entry(at, Event::PolicyLoaded { policy, policies }),
                ];
                // No evidence, no change.
                self.flows.store.record(entries).await?;
                self.database.replace_keyring(keyring);
                // What was compared until now was beside the policies of before.
                if let Err(error) = shadow::flush(&self.flows).await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "what was compared could not be recorded"
                    );
                }
                let version = live.policies.version().to_owned();
                self.flows.live.store(Arc::new(live));
                self.flows.shadow.replace(shadow, &version);
                // Whose token it is may have changed with it: nothing that was verified stays.
                self.tokens.replace(providers.token_issuers(&introspection));
                self.door.replace_upstreams(upstreams);
                self.door.reloaded();
                parts::renew_signer(&self.database, &self.door).await;
                if let Some(signer) = &self.signals_signer {
                    streams::take_keys(signer, &self.database).await;
                }
                tracing::info!("configuration and policies reloaded");
                let waits = self.settled.differences(&settled);
                if !waits.is_empty() {
                    let keys = waits.join(", ");
                    tracing::warn!(
                        keys,
                        "changed in the file, but the running gate keeps what it has: restart it to use the new value of {keys}"
                    );
                }
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
        // Which factors are verified is settled when the gate starts.
        let policies = load_policies_verifying(&settings, self.flows.verified())?;
        let shadow = shadow::load(&settings, self.flows.verified());
        let upstreams = upstreams(&settings)?;
        let (origin, host) = (settings.catalogue.gate_origin.clone(), settings.catalogue.gate_host.clone());
        let empty = stepgate_core::catalogue::Catalogue::empty(origin, host);
        let catalogue = std::mem::replace(&mut settings.catalogue, empty);
        let config = settings.digest.clone();
        let keyring = keyring(&settings.master_key)?;
        let settled = Settled::of(&settings);
        let introspection = std::mem::take(&mut settings.introspection);
        let (mut live, providers) = live(&settings, catalogue, policies, &self.flows.clock, &self.flows.random)?;
        // What is known of authenticators is read when it changes, not when the configuration does.
        live.environment.models = Arc::clone(&self.flows.live.load().environment.models);
        Ok(Again { live, shadow, providers, introspection, upstreams, config, keyring, settled })
    }

    /// Stops in order: no new connections, running requests finish within the drain time.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.flows.flush_refusals().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last refusals were not recorded");
        }
        if let Err(error) = shadow::flush(&self.flows).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "what was compared last was not recorded");
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
    shadow: Option<Policies>,
    providers: Arc<Providers>,
    introspection: BTreeMap<ProviderName, IntrospectionSettings>,
    upstreams: BTreeMap<ServiceName, Arc<ServiceUpstream>>,
    config: String,
    keyring: Keyring,
    settled: Settled,
}

/// The first entries of a node: what it serves with. No evidence, no service.
pub(super) async fn started(flows: &Flows, settings: &Settings) -> Result<(), StoreError> {
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
