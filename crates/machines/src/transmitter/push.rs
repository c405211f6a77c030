//! Events that are posted (RFC 8935): each stream by itself, in order, by one node at a time.

use std::collections::HashMap;
use std::time::Duration;

use stepgate_core::id::{Id, StreamId};
use stepgate_core::ports::{Delivery, Settled, StoreError, Stream, StreamStatus, Turn, WaitingSet};
use stepgate_core::signals::Delivered;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Transmitter;

/// How long a node may post for a stream before another may, counted from each event that was delivered
/// on; longer than delivering one can take.
pub const TURN: Duration = Duration::from_secs(30);
/// Events that are posted in one turn.
const AT_ONCE: u32 = 20;
/// The pause after a failure, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Posting: one task for each stream in which something waits, so that none waits for another's receiver.
#[derive(Debug)]
pub struct Pushing {
    transmitter: Transmitter,
    running: HashMap<StreamId, JoinHandle<Result<(), String>>>,
    /// How long the next try waits, of streams whose receiver was away.
    pauses: HashMap<StreamId, Duration>,
    stop: CancellationToken,
}

impl Pushing {
    /// Nothing is posted yet.
    #[must_use]
    pub fn new(transmitter: Transmitter) -> Self {
        Self { transmitter, running: HashMap::new(), pauses: HashMap::new(), stop: CancellationToken::new() }
    }

    /// Looks which streams have something to post, and begins to where nobody here does yet.
    /// Nothing is lost while a receiver is away: it waits.
    ///
    /// # Errors
    ///
    /// The store's, if the streams cannot be read.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        self.reap().await;
        let streams = self.transmitter.transmitting.streams.streams().await?;
        self.pauses.retain(|id, _| streams.iter().any(|stream| stream.id == *id));
        for stream in streams {
            let is_due = stream.status == StreamStatus::Enabled && stream.waiting > 0;
            if !is_due || !matches!(stream.delivery, Delivery::Push { .. }) || self.running.contains_key(&stream.id) {
                continue;
            }
            let pause = self.pauses.get(&stream.id).copied().unwrap_or_default();
            let (transmitter, stop, id) = (self.transmitter.clone(), self.stop.clone(), stream.id);
            let turn = async move {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
                transmitter.turn(&stream, &stop).await
            };
            self.running.insert(id, tokio::spawn(turn));
        }
        Ok(())
    }

    /// Takes what ended, and says how long it waits where it failed.
    async fn reap(&mut self) {
        let ended: Vec<StreamId> =
            self.running.iter().filter(|(_, turn)| turn.is_finished()).map(|(id, _)| *id).collect();
        for id in ended {
            let Some(turn) = self.running.remove(&id) else { continue };
            let why = match turn.await {
                Ok(Ok(())) => {
                    self.pauses.remove(&id);
                    continue;
                }
                Ok(Err(why)) => why,
                Err(error) => error.to_string(),
            };
            tracing::warn!(stream = %id, why, "a security event was not delivered");
            let pause = self.pauses.get(&id).map_or(PAUSES.0, |pause| pause.saturating_mul(2).min(PAUSES.1));
            self.pauses.insert(id, pause);
        }
    }

    /// Ends each turn after the event that it is posting.
    pub async fn stop(mut self) {
        self.stop.cancel();
        for (_, turn) in self.running.drain() {
            let _ = turn.await;
        }
    }
}

impl Transmitter {
    /// Posts the events that wait longest, in their order, if no other node does.
    async fn turn(&self, stream: &Stream, stop: &CancellationToken) -> Result<(), String> {
        let (streams, flows) = (&self.transmitting.streams, &self.transmitting.flows);
        let text = |error: StoreError| error.to_string();
        let holder = Id::random(flows.random.as_ref());
        let turn = Turn { stream: stream.id, version: stream.version, holder };
        let now = flows.clock.now();
        if !streams.take_turn(turn, now, now.plus(TURN)).await.map_err(text)? {
            return Ok(());
        }
        // Read when the turn is taken, or what another has just delivered is delivered again.
        let waiting = streams.waiting(stream.id, AT_ONCE).await.map_err(text)?;
        let done = self.post(stream, turn, waiting, stop).await;
        // Whoever is next need not wait for the turn to run out.
        streams.end_turn(turn).await.map_err(text)?;
        done
    }

    async fn post(
        &self,
        stream: &Stream,
        turn: Turn,
        waiting: Vec<WaitingSet>,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let Delivery::Push { endpoint, authorization } = &stream.delivery else { return Ok(()) };
        let (streams, flows) = (&self.transmitting.streams, &self.transmitting.flows);
        for set in waiting {
            if stop.is_cancelled() {
                return Ok(());
            }
            let token = self.transmitting.signer.sign(&set.claims)?;
            let mut settled = Settled::default();
            let counted = match self.receivers.push(endpoint, authorization.as_ref(), &token).await? {
                Delivered::Taken => settled.take(set.id),
                Delivered::Refused(why) => {
                    tracing::warn!(machine = %stream.machine, id = %set.id, why, "a receiver refused a security event");
                    settled.refuse(set.id, why.split(' ').next().unwrap_or_default())
                }
            };
            counted.map_err(|error| error.to_string())?;
            let now = flows.clock.now();
            let still = streams.posted(turn, settled, now, now.plus(TURN)).await;
            // Another node posts by now, or the stream is another: what it is now is looked at anew.
            if !still.map_err(|error| error.to_string())? {
                return Ok(());
            }
        }
        Ok(())
    }
}
