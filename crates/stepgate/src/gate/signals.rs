//! Security events of other systems: who is believed, and who is asked for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use stepgate_core::flows::{Flows, NotTaken, Signals};
use stepgate_core::signals::{NotASet, Transmitter};
use stepgate_identity::http::{Http, Reach};
use stepgate_identity::keys::Keys;
use stepgate_identity::signals::{Poller, TrustedTransmitter, TrustedTransmitters};
use stepgate_store::Database;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use crate::config::{MachinesSettings, TransmitterSettings};

/// How long a transmitter may hold the question if it has nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after a failure, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

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

/// Asks a transmitter for events until the gate stops. What was taken is acknowledged with the next
/// question, once it is durable; until then the transmitter keeps it.
pub(super) async fn poll(signals: Signals, name: String, poller: Poller, stop: CancellationToken) {
    let (mut taken, mut refused) = (Vec::new(), BTreeMap::new());
    let mut pause = PAUSES.0;
    loop {
        let patience = if taken.is_empty() && refused.is_empty() { PATIENCE } else { Duration::ZERO };
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = poller.poll(&taken, &refused, patience) => answer,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                tracing::warn!(transmitter = name, why, "the transmitter of security events was not heard");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = pause.saturating_mul(2).min(PAUSES.1);
                continue;
            }
        };
        taken.clear();
        refused.clear();
        let mut failed = false;
        for (id, set) in answer.sets {
            match signals.receive(&name, &set).await {
                Ok(_) => taken.push(id),
                Err(NotTaken::NotASet(NotASet::Away(_)) | NotTaken::Store(_)) => failed = true,
                Err(NotTaken::NotASet(why)) => {
                    refused.insert(id, (why.code().to_owned(), why.to_string()));
                }
            }
        }
        pause = if failed { pause.saturating_mul(2).min(PAUSES.1) } else { PAUSES.0 };
        if failed {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
