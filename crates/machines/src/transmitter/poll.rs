//! Events that are fetched (RFC 8936).

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Map, Value, json};
use stepgate_core::flows::Provisioning;
use stepgate_core::id::SetId;
use stepgate_core::machine::{Machine, Scope};
use stepgate_core::ports::{Delivery, SETTLED_MAX, Settled, Stream, StreamStatus};

use super::{Answer, JSON, NotDone, Transmitter, object};
use crate::answer;
use crate::caller::caller;

/// Events in one answer at most.
const EVENTS_MAX: u32 = 100;
/// How long a question is held if there is nothing.
const PATIENCE: Duration = Duration::from_secs(25);
/// How often a question that is held looks again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

fn invalid(what: &str) -> NotDone {
    NotDone::Invalid(what.to_owned())
}

/// What the receiver says of events that it got. At most as many as one answer tells.
fn settled(body: &Map<String, Value>) -> Result<Settled, NotDone> {
    let mut settled = Settled::default();
    let id = |text: Option<&str>| -> Result<SetId, NotDone> {
        text.and_then(|text| text.parse().ok()).ok_or_else(|| invalid("an event that was never told is named"))
    };
    let many = |_| NotDone::Invalid(format!("at most {SETTLED_MAX} events are settled at once"));
    match body.get("ack") {
        None => {}
        Some(Value::Array(all)) => {
            for one in all {
                settled.take(id(one.as_str())?).map_err(many)?;
            }
        }
        Some(_) => return Err(invalid("ack is a list")),
    }
    match body.get("setErrs") {
        None => {}
        Some(Value::Object(errors)) => {
            for (name, error) in errors {
                let code = error.get("err").and_then(Value::as_str).unwrap_or_default();
                settled.refuse(id(Some(name))?, code).map_err(many)?;
            }
        }
        Some(_) => return Err(invalid("setErrs is an object")),
    }
    Ok(settled)
}

impl Transmitter {
    pub(super) async fn poll(
        &self,
        provisioning: &Provisioning,
        request: &Request<Bytes>,
        machine: &Machine,
        id: &str,
    ) -> Answer {
        let body = object(request)?;
        let mut stream = self.fetched(machine, id).await?;
        let settled = settled(&body)?;
        if settled.ids().next().is_some() {
            let now = self.transmitting.flows.clock.now();
            self.transmitting.streams.settle(stream.id, settled, now).await?;
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
                            sets.insert(set.id.to_string(), token.into());
                        }
                        Err(why) => tracing::error!(why, "a security event could not be signed"),
                    }
                }
                let body = json!({ "sets": sets, "moreAvailable": more });
                return Ok(answer::json(StatusCode::OK, JSON, &body));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            held = held.saturating_add(LOOK_EVERY);
            // While it was held, the token may have been revoked and the stream changed.
            let machine = caller(provisioning, request.headers(), &[Scope::SignalsRead, Scope::SignalsManage]).await?;
            stream = self.fetched(&machine, id).await?;
        }
    }

    /// The caller's stream, if its events are fetched.
    async fn fetched(&self, machine: &Machine, id: &str) -> Result<Stream, NotDone> {
        let stream = self.stream(machine, Some(id)).await?;
        match stream.delivery {
            Delivery::Poll => Ok(stream),
            Delivery::Push { .. } => Err(invalid("the events of this stream are posted, not fetched")),
        }
    }
}
