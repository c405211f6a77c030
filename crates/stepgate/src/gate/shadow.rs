//! A second set of policies beside the live one: loaded with it, asked apart from it.

use std::sync::Arc;
use std::time::Duration;

use stepgate_core::factor::FactorKind;
use stepgate_core::flows::Flows;
use stepgate_core::policy::Policies;
use stepgate_core::ports::StoreError;
use tokio_util::sync::CancellationToken;

use super::policies::{PolicyErrors, load_sources, read_sources};
use crate::config::Settings;
use crate::system::monotonic;

/// How often it is looked whether something waits to be compared.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Decisions that are compared before it rests for as long as that took: so it takes half a processor at most.
const AT_ONCE: usize = 64;
/// Seconds that a window lasts, unless it ends with a reload or the gate.
const WINDOW_S: u32 = 300;

/// The second set, if one is configured and can be loaded. One that cannot is told and left out: it is for trying.
pub(super) fn load(settings: &Settings, verified: impl IntoIterator<Item = FactorKind>) -> Option<Policies> {
    let loaded = load_shadow(settings, verified)?;
    loaded
        .inspect_err(|errors| {
            let mistakes: Vec<String> = errors.of.iter().map(ToString::to_string).collect();
            let mistakes = mistakes.join("; ");
            tracing::error!(
                mistakes,
                "the shadow policies do not load, so nothing is compared; the live ones are in force"
            );
        })
        .ok()
}

/// The second set, or its mistakes; `None` if none is configured.
pub(crate) fn load_shadow(
    settings: &Settings,
    verified: impl IntoIterator<Item = FactorKind>,
) -> Option<Result<Policies, PolicyErrors>> {
    let directory = settings.shadow_policies.as_ref()?;
    Some(read_sources(directory).and_then(|sources| load_sources(settings, sources, verified)))
}

/// Compares what waits, until the gate stops. Apart from requests: on a thread for what takes long.
pub(super) async fn compare(flows: Arc<Flows>, stop: CancellationToken) {
    loop {
        let mut rest = LOOK_EVERY;
        if flows.shadow.is_waiting() {
            let began = monotonic();
            let comparing = Arc::clone(&flows);
            match tokio::task::spawn_blocking(move || comparing.compare_waiting(AT_ONCE)).await {
                Ok(AT_ONCE) => rest = monotonic().saturating_sub(began),
                Ok(_) => {}
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a comparison broke off"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// Writes what was compared since the last time.
pub(super) async fn flush(flows: &Flows) -> Result<(), StoreError> {
    flows.flush_shadow(WINDOW_S).await
}
