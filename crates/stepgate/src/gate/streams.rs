//! Our own security events: the ledger is read in order into each stream, and what waits in a stream
//! is posted, one after the other, until its receiver has it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use stepgate_core::flows::{Flows, Transmitting};
use stepgate_core::id::StreamId;
use stepgate_core::ports::{Delivery, StoreError, Stream, StreamStatus};
use stepgate_core::signals::Delivered;
use stepgate_identity::http::Http;
use stepgate_identity::signals::{Deliver, RsaSetSigner, SetKey};
use stepgate_machines::Transmitter;
use stepgate_store::{Database, SignalKey};
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use crate::config::MachinesSettings;
use crate::system::monotonic;

/// How often streams are looked at where nothing wakes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the keys are read again.
const KEYS_EVERY: Duration = Duration::from_secs(60);
/// How long one node may post alone for a stream before another may.
const LEASE: Duration = Duration::from_secs(30);
/// Events that are posted in one turn.
const AT_ONCE: u32 = 20;
/// The pause after a failure, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

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

fn set_keys(keys: &[SignalKey]) -> Vec<SetKey<'_>> {
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
    let transmitting = transmitter.transmitting;
    loop {
        let next = match fill_all(&transmitting).await {
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

/// Fills each stream; gives the entry that the one furthest behind waits for.
async fn fill_all(transmitting: &Transmitting) -> Result<Option<u64>, StoreError> {
    for stream in transmitting.streams.streams().await? {
        transmitting.fill(&stream).await?;
    }
    let cursors = transmitting.streams.streams().await?;
    Ok(cursors.iter().map(|stream| stream.cursor).min())
}

/// When to try a stream again whose receiver was away.
#[derive(Default)]
struct Paused {
    until: HashMap<StreamId, (Duration, Duration)>,
}

impl Paused {
    fn is(&self, id: StreamId) -> bool {
        self.until.get(&id).is_some_and(|(until, _)| monotonic() < *until)
    }

    fn failed(&mut self, id: StreamId) {
        let pause = self.until.get(&id).map_or(PAUSES.0, |(_, pause)| pause.saturating_mul(2).min(PAUSES.1));
        self.until.insert(id, (monotonic().saturating_add(pause), pause));
    }

    fn went(&mut self, id: StreamId) {
        self.until.remove(&id);
    }
}

/// Posts what waits until the gate stops. Nothing is lost while a receiver is away: it waits.
pub(super) async fn push(transmitter: Transmitter, stop: CancellationToken) {
    let mut paused = Paused::default();
    loop {
        match transmitter.transmitting.streams.streams().await {
            Ok(streams) => {
                for stream in streams.iter().filter(|stream| stream.status == StreamStatus::Enabled) {
                    if paused.is(stream.id) {
                        continue;
                    }
                    match push_one(&transmitter, stream).await {
                        Ok(()) => paused.went(stream.id),
                        Err(why) => {
                            tracing::warn!(machine = %stream.machine, why, "a security event was not delivered");
                            paused.failed(stream.id);
                        }
                    }
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "streams of security events wait for the store");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Posts the events that wait longest, in their order.
async fn push_one(transmitter: &Transmitter, stream: &Stream) -> Result<(), String> {
    let Delivery::Push { endpoint, authorization } = &stream.delivery else { return Ok(()) };
    let Transmitting { streams, flows, signer, .. } = &transmitter.transmitting;
    let text = |error: StoreError| error.to_string();
    let waiting = streams.waiting(stream.id, AT_ONCE).await.map_err(text)?;
    if waiting.is_empty() {
        return Ok(());
    }
    let now = flows.clock.now();
    if !streams.lease_stream(stream.id, now, now.plus(LEASE)).await.map_err(text)? {
        return Ok(());
    }
    let mut done = Ok(());
    for set in waiting {
        let token = signer.sign(&set.claims)?;
        match transmitter.receivers.push(endpoint, authorization.as_ref(), &token).await {
            Ok(Delivered::Taken) => {}
            Ok(Delivered::Refused(why)) => {
                tracing::warn!(machine = %stream.machine, id = set.id, why, "a receiver refused a security event");
            }
            Err(why) => {
                done = Err(why);
                break;
            }
        }
        streams.settle(stream.id, vec![set.id]).await.map_err(text)?;
    }
    // Whoever is next need not wait for the lease to run out.
    streams.lease_stream(stream.id, now.plus(LEASE), now).await.map_err(text)?;
    done
}
