//! Our own security events: the ledger is read in order into each stream, and what waits in a stream
//! is posted, one after the other, until its receiver has it.

use std::sync::Arc;
use std::time::Duration;

use stepgate_core::flows::{Flows, Transmitting};
use stepgate_identity::http::Http;
use stepgate_identity::signals::{Deliver, RsaSetSigner, SetKey};
use stepgate_machines::{Pushing, Transmitter};
use stepgate_store::{Database, SealedKey};
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use crate::config::MachinesSettings;

/// How often streams are looked at where nothing wakes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the keys are read again.
const KEYS_EVERY: Duration = Duration::from_secs(60);

/// The transmitter, if it is configured. Its key is made if there is none.
pub(super) async fn transmitter(
    settings: &MachinesSettings,
    flows: &Arc<Flows>,
    database: &Arc<Database>,
) -> Result<Option<(Transmitter, Arc<RsaSetSigner>)>, StartError> {
    let Some(streams) = settings.streams else { return Ok(None) };
    let keys = database.signal_keys(RsaSetSigner::make).await?;
    let signer = RsaSetSigner::new(&set_keys(&keys), Arc::clone(&flows.clock)).map_err(StartError::SignalKey)?;
    let signer = Arc::new(signer);
    let http = Http::new(streams.reach, None).map_err(StartError::Receivers)?;
    let transmitting = Transmitting {
        flows: Arc::clone(flows),
        streams: Arc::clone(database) as _,
        signer: Arc::clone(&signer) as _,
        issuer: settings.origin.clone(),
    };
    Ok(Some((Transmitter { transmitting, receivers: Arc::new(Deliver { http }) }, signer)))
}

fn set_keys(keys: &[SealedKey]) -> Vec<SetKey<'_>> {
    keys.iter().map(|key| SetKey { id: key.id.clone(), pkcs8: &key.pkcs8, signs_from: key.signs_from }).collect()
}

/// Takes the keys as they are in the store once a minute: somebody may have rotated them. If that
/// fails, it is told, and those of before stay.
pub(super) async fn renew_keys(signer: Arc<RsaSetSigner>, database: Arc<Database>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(KEYS_EVERY) => {}
        }
        take_keys(&signer, &database).await;
    }
}

/// Takes the keys as they are in the store now.
pub(super) async fn take_keys(signer: &RsaSetSigner, database: &Database) {
    let taken = match database.signal_keys(RsaSetSigner::make).await {
        Ok(keys) => signer.replace(&set_keys(&keys)).map_err(StartError::SignalKey),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = taken {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "the keys for security events could not be read, those of before stay");
    }
}

/// Reads the ledger into the streams until the gate stops.
pub(super) async fn fill(transmitter: Transmitter, stop: CancellationToken) {
    let transmitting = &transmitter.transmitting;
    loop {
        if let Err(error) = transmitter.follow_tokens().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "streams of security events wait for the store");
        }
        let next = match transmitting.fill_all().await {
            Ok(next) => next,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "streams of security events wait for the store");
                None
            }
        };
        let woken = async {
            match next {
                Some(next) => transmitting.flows.store.entries_after(next, LOOK_EVERY).await,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = woken => {}
        }
    }
}

/// Posts what waits until the gate stops.
pub(super) async fn push(transmitter: Transmitter, stop: CancellationToken) {
    let mut pushing = Pushing::new(transmitter);
    loop {
        if let Err(error) = pushing.look().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "streams of security events wait for the store");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    pushing.stop().await;
}
