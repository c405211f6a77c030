//! Security events of other systems: who is believed, and who is asked for them.

use std::sync::Arc;

use secrecy::SecretString;
use stepgate_core::flows::{Flows, Signals};
use stepgate_core::signals::Transmitter;
use stepgate_identity::http::{Http, Reach};
use stepgate_identity::keys::Keys;
use stepgate_identity::signals::{Poller, TrustedTransmitter, TrustedTransmitters};
use stepgate_store::Database;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use crate::config::{MachinesSettings, TransmitterSettings};

fn http(settings: &TransmitterSettings) -> Result<Http, StartError> {
    let reach = if settings.danger_loopback { Reach::DangerLoopback } else { Reach::Network };
    Http::new(reach, None).map_err(|source| StartError::Transmitter { name: settings.name.clone(), source })
}

/// Receiving, if anybody is configured to tell something.
pub(super) fn receiving(
    settings: &MachinesSettings,
    flows: &Arc<Flows>,
    database: &Arc<Database>,
) -> Result<Option<Signals>, StartError> {
    if settings.transmitters.is_empty() {
        return Ok(None);
    }
    let mut trusted = Vec::new();
    for one in &settings.transmitters {
        trusted.push(TrustedTransmitter {
            transmitter: Transmitter {
                name: one.name.clone(),
                subject_issuers: one.subject_issuers.clone(),
                provider: one.provider.clone(),
                by_email: one.emails,
                by_external_id: one.external_ids,
                foreign: one.foreign,
                keep: one.keep,
            },
            issuer: one.issuer.clone(),
            audience: one.audience.clone(),
            keys: Keys::at(http(one)?, one.jwks_uri.clone()),
        });
    }
    Ok(Some(Signals {
        flows: Arc::clone(flows),
        store: Arc::clone(database) as _,
        accounts: Arc::clone(database) as _,
        transmitters: Arc::new(TrustedTransmitters::new(trusted)),
        arrivals: Arc::default(),
    }))
}

/// Those that are polled, by name.
pub(crate) fn pollers(settings: &MachinesSettings) -> Result<Vec<(String, Poller)>, StartError> {
    let mut pollers = Vec::new();
    for one in &settings.transmitters {
        let Some((endpoint, file)) = &one.poll else { continue };
        let token =
            std::fs::read_to_string(file).map_err(|source| StartError::PollToken { path: file.clone(), source })?;
        let token = SecretString::from(token.trim().to_owned());
        pollers.push((one.name.clone(), Poller { http: http(one)?, endpoint: endpoint.clone(), token }));
    }
    Ok(pollers)
}

/// Asks a transmitter for events until the gate stops.
pub(super) async fn poll(signals: Signals, name: String, poller: Poller, stop: CancellationToken) {
    stepgate_machines::poll(signals, &name, &poller, stop).await;
}
