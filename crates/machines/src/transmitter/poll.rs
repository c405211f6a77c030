//! Events that are fetched (RFC 8936).

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};
use stepgate_core::machine::Machine;
use stepgate_core::ports::{Delivery, Stream, StreamStatus};

use super::{Answer, JSON, NotDone, Transmitter};
use crate::answer;

/// Events in one answer at most.
const EVENTS_MAX: u32 = 100;
/// How long a question is held if there is nothing.
const PATIENCE: Duration = Duration::from_secs(25);
/// How often a question that is held looks again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Transmitter {
    pub(super) async fn poll(&self, machine: &Machine, stream: Stream, body: &Map<String, Value>) -> Answer {
        if !matches!(stream.delivery, Delivery::Poll) {
            return Err(NotDone::Invalid("the events of this stream are posted, not fetched".to_owned()));
        }
        let invalid = |what: &str| NotDone::Invalid(what.to_owned());
        let mut settled: Vec<String> = match body.get("ack") {
            None => Vec::new(),
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
            Some(_) => return Err(invalid("ack is a list")),
        };
        match body.get("setErrs") {
            None => {}
            Some(Value::Object(errors)) => {
                for (id, error) in errors {
                    tracing::warn!(machine = %machine.name, %id, %error, "a receiver refused a security event");
                    settled.push(id.clone());
                }
            }
            Some(_) => return Err(invalid("setErrs is an object")),
        }
        if !settled.is_empty() {
            self.transmitting.streams.settle(stream.id, settled).await?;
        }
        let most = match body.get("maxEvents") {
            None => EVENTS_MAX,
            Some(most) => {
                let most = most.as_u64().ok_or_else(|| invalid("maxEvents is a whole number"))?;
                u32::try_from(most).unwrap_or(EVENTS_MAX).min(EVENTS_MAX)
            }
        };
        let at_once = body.get("returnImmediately").and_then(Value::as_bool).unwrap_or(false);
        let mut held = Duration::ZERO;
        loop {
            let enabled = stream.status == StreamStatus::Enabled;
            let waiting = match enabled && most > 0 {
                // One more than is told says whether there are more.
                true => self.transmitting.streams.waiting(stream.id, most.saturating_add(1)).await?,
                false => Vec::new(),
            };
            if !waiting.is_empty() || at_once || most == 0 || !enabled || held >= PATIENCE {
                let more = waiting.len() > most as usize;
                let mut sets = Map::new();
                for set in waiting.into_iter().take(most as usize) {
                    match self.transmitting.signer.sign(&set.claims) {
                        Ok(token) => {
                            sets.insert(set.id, token.into());
                        }
                        Err(why) => tracing::error!(why, "a security event could not be signed"),
                    }
                }
                let body = json!({ "sets": sets, "moreAvailable": more });
                return Ok(answer::json(StatusCode::OK, JSON, &body));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            held = held.saturating_add(LOOK_EVERY);
        }
    }
}
