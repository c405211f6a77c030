//! What a node does on its own, every few seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stepgate_core::flows::Flows;
use stepgate_evidence::Event;
use stepgate_gateway::http::HttpDoor;
use stepgate_store::Database;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{parts, shadow};
use crate::system::monotonic;

/// How often overdue challenges are closed and the lease is renewed.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Every so many sweeps the windows of refusals are written.
const FLUSH_EVERY: u32 = 12;
/// Every so many sweeps it is written what a second set of policies would have said.
const COMPARED_EVERY: u32 = 60;
/// Every so many sweeps the assertion keys are read again.
const RENEW_EVERY: u32 = 12;
/// Every so many sweeps what is over is purged.
const PURGE_EVERY: u32 = 60;
/// The wall clock may drift by so much against the monotonic one between two sweeps.
const JUMP: Duration = Duration::from_secs(2);

/// How often it is looked whether a login at a provider is to be asked about.
const LOGINS_EVERY: Duration = Duration::from_secs(5);

/// Asks identity providers whether logins still stand, where that is due; apart from the rest, because providers may be
/// slow, and each by itself, so that one that hangs delays only its own.
pub(super) async fn renew_logins(flows: Arc<Flows>, stop: CancellationToken) {
    let mut asked: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
    loop {
        asked.retain(|_, asking| !asking.is_finished());
        match flows.renewals_due().await {
            Ok(due) => {
                for provider in due {
                    let flows = Arc::clone(&flows);
                    asked.entry(provider.to_string()).or_insert_with(|| {
                        tokio::spawn(async move {
                            if let Err(error) = flows.renew_logins_of(&provider).await {
                                let error = &error as &dyn std::error::Error;
                                tracing::error!(error, %provider, "logins could not be renewed; it is tried again");
                            }
                        })
                    });
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "logins could not be renewed; it is tried again");
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(LOGINS_EVERY) => {}
        }
    }
    // A refresh token that is on its way is kept: the former one may be worth nothing.
    for asking in asked.into_values() {
        let _ = asking.await;
    }
}

pub(super) async fn run(flows: Arc<Flows>, database: Arc<Database>, door: HttpDoor, stop: CancellationToken) {
    let mut count: u32 = 0;
    let mut wall = flows.clock.now();
    let mut steady = monotonic();
    loop {
        if let Err(error) = flows.sweep().await {
            tracing::error!(error = &error as &dyn std::error::Error, "the sweep failed; it is tried again");
        }
        count = count.wrapping_add(1);
        if count.is_multiple_of(FLUSH_EVERY)
            && let Err(error) = flows.flush_refusals().await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "refusals could not be recorded");
        }
        if count.is_multiple_of(COMPARED_EVERY)
            && let Err(error) = shadow::flush(&flows).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "what was compared could not be recorded");
        }
        // An assertion key is published for minutes before it signs, so every node has it in time.
        if count.is_multiple_of(RENEW_EVERY) {
            parts::renew_signer(&database, &door).await;
        }
        if count.is_multiple_of(PURGE_EVERY)
            && let Err(error) = database.purge(flows.clock.now()).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "what is over could not be purged");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        let (now, steady_now) = (flows.clock.now(), monotonic());
        let passed = i128::try_from(steady_now.saturating_sub(steady).as_millis()).unwrap_or_default();
        let by_ms = i128::from(now.as_ms()).saturating_sub(i128::from(wall.as_ms())).saturating_sub(passed);
        if by_ms.unsigned_abs() > JUMP.as_millis() {
            tracing::error!(by_ms = %by_ms, "the clock jumped");
            let event = Event::ClockJumped { node: flows.node.to_string(), by_ms: by_ms.to_string() };
            if let Err(error) = flows.store.record(vec![flows.entry(now, event)]).await {
                tracing::error!(error = &error as &dyn std::error::Error, "a clock jump could not be recorded");
            }
        }
        (wall, steady) = (now, steady_now);
    }
}
