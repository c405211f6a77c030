//! Security events that are fetched from a transmitter (RFC 8936).

use std::collections::BTreeMap;
use std::time::Duration;

use stepgate_core::flows::{NotTaken, Signals};
use stepgate_core::signals::{EventSource, NotASet};
use tokio_util::sync::CancellationToken;

/// How long a transmitter may hold the question if it has nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// The least time from one question to the next, where the one before brought nothing new: a transmitter that
/// holds no questions, or tells the same again and again, is not asked without pause.
const LEAST: Duration = Duration::from_secs(1);
/// The pause after a failure, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Asks this transmitter for events until told to stop. What was taken is acknowledged with the next
/// question, once it is durable; until then the transmitter keeps it.
pub async fn poll(signals: Signals, transmitter: &str, source: &dyn EventSource, stop: CancellationToken) {
    let asking = async {
        let (mut taken, mut refused) = (Vec::new(), BTreeMap::new());
        let mut pause = PAUSES.0;
        loop {
            let patience = if taken.is_empty() && refused.is_empty() { PATIENCE } else { Duration::ZERO };
            let least = tokio::time::sleep(LEAST);
            let answer = match source.poll(&taken, &refused, patience).await {
                Ok(answer) => answer,
                Err(why) => {
                    tracing::warn!(transmitter, why, "the transmitter of security events was not heard");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(PAUSES.1);
                    continue;
                }
            };
            taken.clear();
            refused.clear();
            let (mut failed, mut is_new) = (false, false);
            for (id, set) in answer.sets {
                match signals.receive(transmitter, &set).await {
                    Ok(event) => {
                        is_new |= !event.again;
                        taken.push(id);
                    }
                    // It was not judged, so it is not acknowledged.
                    Err(NotTaken::NotASet(NotASet::Away(_)) | NotTaken::TooMany(_) | NotTaken::Store(_)) => {
                        failed = true;
                    }
                    Err(NotTaken::NotASet(why)) => {
                        refused.insert(id, (why.code().to_owned(), why.to_string()));
                    }
                }
            }
            if failed {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSES.1);
                continue;
            }
            pause = PAUSES.0;
            if !is_new {
                least.await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = asking => {}
    }
}
