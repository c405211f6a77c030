//! What the configuration says, as the rooms want it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use stepgate_core::catalogue::ServiceName;
use stepgate_core::flows::Live;
use stepgate_core::time::{Clock, Randomness};
use stepgate_courier::{MailSettings, Mailer, Ways, Webhook};
use stepgate_factors::{AuthenticatorPolicy, FactorOptions, KnownAuthenticators, SentCodes};
use stepgate_gateway::http::{
    AssertionKey, AssertionMode, AssertionSigner, DoorLimits, HttpDoor, InjectScript, ServiceUpstream, SignerError,
};
use stepgate_gateway::server::{CertificateError, CertificateFiles, Certificates, ClientCertificates, Plaintext};
use stepgate_gateway::upstream::{HostHeader, Upstream, UpstreamConfig, UpstreamLimits, UpstreamOrigin};
use stepgate_identity::http::Http;
use stepgate_identity::provider::{NoMetadata, Providers};
use stepgate_store::{Database, Keyring, SigningKeys};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::error::StartError;
use crate::config::{self, Assertion, MasterKey, Settings};

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

/// The makers' certificates that passkeys are attested by, PEM.
pub(crate) fn attestation_roots(settings: &Settings) -> Result<Vec<String>, StartError> {
    let root = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|source| StartError::AttestationRoot { path: path.clone(), source })
    };
    settings.passkeys.attestation_roots.iter().map(root).collect()
}

/// What the configuration says about factors; the names of services are words that
/// no password may be made of.
pub(super) fn factor_options(
    settings: &Settings,
    metadata: Option<Arc<KnownAuthenticators>>,
) -> Result<FactorOptions, StartError> {
    let roots = attestation_roots(settings)?;
    let names = |service: &Arc<stepgate_core::catalogue::Service>| [service.name.to_string(), service.title.clone()];
    Ok(FactorOptions {
        authenticators: AuthenticatorPolicy { models: settings.passkeys.allowed_aaguids.clone(), roots, metadata },
        sent: sent_codes(settings),
        hardware: settings.hardware,
        password_words: settings.catalogue.services.values().flat_map(names).collect(),
    })
}

fn sent_codes(settings: &Settings) -> Vec<SentCodes> {
    let by_email = settings.codes.email.then(SentCodes::by_email);
    let to_phones = settings.codes.phone.as_ref().map(|phone| SentCodes::to_phones(phone.counts_as));
    by_email.into_iter().chain(to_phones).collect()
}

/// The ways on which codes leave.
pub(super) fn ways(settings: &Settings, host: &str, clock: &Arc<dyn Clock>) -> Result<Ways, StartError> {
    let read =
        |path: &PathBuf| std::fs::read(path).map_err(|source| StartError::CourierFile { path: path.clone(), source });
    let secret = |path: &PathBuf| {
        let bytes = Zeroizing::new(read(path)?);
        let text = std::str::from_utf8(&bytes).map_err(|_| StartError::CourierSecret(path.clone()))?;
        Ok::<_, StartError>(SecretString::from(text.trim_end_matches(['\r', '\n'])))
    };
    let mail = match &settings.mail {
        None => None,
        Some(server) => {
            let account = match &server.account {
                Some((name, file)) => Some((name.clone(), secret(file)?)),
                None => None,
            };
            Some(Mailer::new(&MailSettings {
                server: server.server.clone(),
                port: server.port,
                security: server.security,
                certificates: server.ca.as_ref().map(read).transpose()?,
                account,
                from: server.from.clone(),
                gate: host.to_owned(),
            })?)
        }
    };
    let phones = match &settings.codes.phone {
        None => None,
        Some(phone) => {
            let http = Http::new(phone.reach, None).map_err(StartError::Webhook)?;
            let (url, key) = (phone.webhook.clone(), secret(&phone.secret)?);
            let webhook = Webhook::new(http, url, &key, Arc::clone(clock), host.to_owned());
            Some(webhook.map_err(|_| StartError::CourierSecret(phone.secret.clone()))?)
        }
    };
    Ok(Ways { mail, phones })
}

pub(super) fn live(
    settings: &Settings,
    catalogue: stepgate_core::catalogue::Catalogue,
    policies: stepgate_core::policy::Policies,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Randomness>,
) -> Result<(Live, Arc<Providers>), StartError> {
    let providers = Providers::new(settings.providers.clone(), Arc::clone(clock), Arc::clone(random));
    let providers =
        Arc::new(providers.map_err(|error| StartError::Provider { why: error.to_string(), name: error.0 })?);
    let live = Live {
        catalogue,
        policies,
        environment: super::places::environment(settings)?,
        challenges: settings.challenges,
        tries: settings.tries,
        codes: settings.codes.limits,
        sessions: settings.sessions,
        providers: Arc::clone(&providers) as _,
    };
    Ok((live, providers))
}

/// Refuses providers that say of themselves what nobody can work with. One that is away
/// heals by itself; sign-in says so until then.
pub(super) async fn look_at(providers: &Providers) -> Result<(), StartError> {
    for (name, said) in providers.look().await {
        match said {
            Ok(()) => tracing::info!(provider = %name, "the identity provider answers"),
            Err(NoMetadata::Away(why)) => {
                tracing::warn!(provider = %name, why, "the identity provider cannot be reached; sign-in there waits for it");
            }
            Err(NoMetadata::Unusable(why)) => return Err(StartError::Provider { name: name.clone(), why }),
        }
    }
    Ok(())
}

pub(super) fn count(live: &Live) -> u32 {
    u32::try_from(live.policies.all().len()).unwrap_or(u32::MAX)
}

pub(super) fn plaintext(danger: bool) -> Plaintext {
    if danger { Plaintext::DangerEverywhere } else { Plaintext::OnLoopback }
}

/// The way to the upstream of a service; reads its certificate authority.
pub(crate) fn way_to(name: &str, configured: &config::Upstream) -> Result<Upstream, StartError> {
    let origin = UpstreamOrigin::parse(configured.url.as_str(), plaintext(configured.danger_plaintext))
        .map_err(|source| StartError::UpstreamOrigin { service: name.to_owned(), source })?;
    Upstream::new(UpstreamConfig {
        origin,
        certificate_authority: configured.ca.clone(),
        host_header: if configured.own_host_header { HostHeader::Upstream } else { HostHeader::Original },
        limits: UpstreamLimits::default(),
    })
    .map_err(|source| StartError::Upstream { service: name.to_owned(), source })
}

pub(super) fn upstreams(settings: &Settings) -> Result<BTreeMap<ServiceName, Arc<ServiceUpstream>>, StartError> {
    let mut ways = BTreeMap::new();
    for (name, configured) in &settings.upstreams {
        let Ok(key) = ServiceName::parse(name) else { continue };
        let upstream = way_to(name, configured)?;
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

pub(super) fn signer(keys: &SigningKeys) -> Result<AssertionSigner, SignerError> {
    let key = |key: &stepgate_store::AssertionKey| (key.id.clone(), key.signs_from);
    let keys = keys.assertion.iter().map(|sealed| (key(sealed), sealed));
    AssertionSigner::new(
        keys.map(|((id, signs_from), sealed)| AssertionKey { id, pkcs8: &sealed.pkcs8, signs_from }).collect(),
    )
}

/// Takes the assertion keys as they are in the store: somebody may have rotated them. If that fails, it
/// is told, and those of before stay.
pub(super) async fn renew_signer(database: &Database, door: &HttpDoor) {
    let signer = match database.signing_keys().await {
        Ok(keys) => signer(&keys).map_err(StartError::from),
        Err(error) => Err(error.into()),
    };
    match signer {
        Ok(signer) => door.replace_signer(signer),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the assertion keys could not be read, the gate goes on with those that it has");
        }
    }
}

pub(super) fn door_limits(settings: &Settings) -> DoorLimits {
    let mut limits = DoorLimits::default();
    limits.operation_body.bytes = settings.limits.body;
    limits
}

/// The hosts that ask for client certificates, and who vouches for them.
pub(super) fn client_certificates(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Result<ClientCertificates, CertificateError> {
    ClientCertificates::load(&settings.client_certificates, settings.asking_hosts.clone(), clock)
}

pub(crate) fn certificates(settings: &Settings) -> Result<Option<Arc<Certificates>>, CertificateError> {
    certificates_of(&settings.tls)
}

/// Certificates and keys in these files, if there are any.
pub(crate) fn certificates_of(files: &[(PathBuf, PathBuf)]) -> Result<Option<Arc<Certificates>>, CertificateError> {
    if files.is_empty() {
        return Ok(None);
    }
    let files = files.iter().map(|(chain, key)| CertificateFiles { chain: chain.clone(), key: key.clone() });
    Certificates::load(files.collect()).map(Some)
}
