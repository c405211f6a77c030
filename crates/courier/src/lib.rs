//! What the gate sends to people: codes, by mail and through a webhook.
//!
//! A message is taken at once and sent later, a few at a time, and tried again while its code still counts. What
//! became of it is told to the flows, which write it down.
//!
//! *Architecture invariant:* nothing here makes a code, verifies one or keeps one, and no log line has a code, an
//! address or what a server said: servers repeat addresses.

mod mail;
mod webhook;
mod words;

use std::sync::Arc;
use std::time::Duration;

use stepgate_core::factor::Destination;
use stepgate_core::flows::{Flows, Undelivered};
use stepgate_core::id::PersonId;
use stepgate_core::ports::{Courier, CourierFull, Message};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use mail::{MailSettings, MailUnusable, Mailer, Security};
pub use webhook::Webhook;

/// Messages that wait to be sent.
pub const WAITING_MAX: usize = 1_000;
/// Messages that are being sent at one time on one way: mail that is slow keeps no telephone waiting.
pub const AT_ONCE: usize = 16;
/// The longest pause that a server may ask for.
pub const PAUSE_MAX: Duration = Duration::from_secs(120);
/// The pauses before a message is tried again.
pub const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(60)];

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Another try may succeed.
    #[error("{why}")]
    Passing {
        /// Why this one did not.
        why: String,
        /// The pause that the server asks for.
        after: Option<Duration>,
    },
    /// The server will not take it.
    #[error("{0}")]
    Final(String),
}

impl NotSent {
    /// Another try may succeed, at any time.
    #[must_use]
    pub const fn passing(why: String) -> Self {
        Self::Passing { why, after: None }
    }
}

/// The ways on which messages leave.
#[derive(Debug, Default)]
pub struct Ways {
    /// Mail.
    pub mail: Option<Mailer>,
    /// The gateway to telephones.
    pub phones: Option<Webhook>,
}

impl Ways {
    /// Sends a message, once.
    ///
    /// # Errors
    ///
    /// [`NotSent`] says whether another try may succeed.
    pub async fn send(&self, message: &Message) -> Result<(), NotSent> {
        let none = || NotSent::Final("nothing is configured that could send it".to_owned());
        match &message.to {
            Destination::Email(_) => self.mail.as_ref().ok_or_else(none)?.send(message).await,
            Destination::Phone(_) => self.phones.as_ref().ok_or_else(none)?.send(message).await,
        }
    }
}

/// Where the flows hand in what is to be sent.
#[derive(Clone, Debug)]
pub struct Letterbox(mpsc::Sender<(PersonId, Message)>);

/// What was handed in and waits.
#[derive(Debug)]
pub struct Outgoing(mpsc::Receiver<(PersonId, Message)>);

/// A letterbox, and what comes out of it.
#[must_use]
pub fn letterbox() -> (Letterbox, Outgoing) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Letterbox(sender), Outgoing(receiver))
}

impl Courier for Letterbox {
    fn take(&self, person: PersonId, message: Message) -> Result<(), CourierFull> {
        self.0.try_send((person, message)).map_err(|_| CourierFull)
    }
}

/// Who sends at this moment, on each way. A message that pauses holds no place.
#[derive(Debug)]
struct Places {
    mail: Semaphore,
    phones: Semaphore,
}

impl Places {
    fn new() -> Self {
        Self { mail: Semaphore::new(AT_ONCE), phones: Semaphore::new(AT_ONCE) }
    }

    fn of(&self, message: &Message) -> &Semaphore {
        match &message.to {
            Destination::Email(_) => &self.mail,
            Destination::Phone(_) => &self.phones,
        }
    }
}

impl Outgoing {
    /// Sends what comes, until `stop` completes; what is being tried then is tried to its end, once.
    pub async fn deliver(mut self, ways: Arc<Ways>, flows: Arc<Flows>, stop: impl Future<Output = ()> + Send) {
        let places = Arc::new(Places::new());
        let mut running = JoinSet::new();
        let stopped = CancellationToken::new();
        tokio::pin!(stop);
        loop {
            let (person, message) = tokio::select! {
                () = &mut stop => break,
                Some(_) = running.join_next() => continue,
                next = self.0.recv(), if running.len() < WAITING_MAX => match next {
                    Some(next) => next,
                    None => break,
                },
            };
            let (ways, flows, stopped) = (Arc::clone(&ways), Arc::clone(&flows), stopped.clone());
            let places = Arc::clone(&places);
            running.spawn(async move {
                let what = send(&ways, &flows, &message, &places, &stopped).await;
                if let Err(error) = flows.delivered((message.id, person, message.kind), what).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(code = %message.id, error, "what became of a code could not be recorded");
                }
            });
        }
        stopped.cancel();
        while running.join_next().await.is_some() {}
    }
}

/// Tries until it is sent, cannot be, or comes too late.
async fn send(
    ways: &Ways,
    flows: &Flows,
    message: &Message,
    places: &Places,
    stopped: &CancellationToken,
) -> Result<(), Undelivered> {
    let mut pauses = PAUSES.iter();
    loop {
        let tried = {
            let place = tokio::select! {
                biased;
                place = places.of(message).acquire() => place,
                () = stopped.cancelled() => return Err(Undelivered::Unreachable),
            };
            // The places are never closed.
            let Ok(_place) = place else { return Err(Undelivered::Unreachable) };
            if flows.clock.now() >= message.expires_at {
                return Err(Undelivered::Unreachable);
            }
            ways.send(message).await
        };
        let asked_for = match tried {
            Ok(()) => return Ok(()),
            Err(NotSent::Final(why)) => {
                tracing::warn!(code = %message.id, kind = %message.kind, why, "a code was refused by the server that sends it");
                return Err(Undelivered::Refused);
            }
            Err(NotSent::Passing { why, after }) => {
                tracing::warn!(code = %message.id, kind = %message.kind, why, "a code could not be sent yet");
                after
            }
        };
        let Some(pause) = pauses.next() else { return Err(Undelivered::Unreachable) };
        let pause = asked_for.map_or(*pause, |asked_for| asked_for.clamp(*pause, PAUSE_MAX));
        if flows.clock.now().plus(pause) >= message.expires_at {
            return Err(Undelivered::Unreachable);
        }
        tokio::select! {
            () = stopped.cancelled() => return Err(Undelivered::Unreachable),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
