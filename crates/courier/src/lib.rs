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

pub use mail::{MailSettings, MailUnusable, Mailer, Security};
pub use webhook::{Webhook, WebhookUnusable};

/// Messages that wait to be sent.
pub const WAITING_MAX: usize = 1_000;
/// Messages that are being sent at one time.
pub const AT_ONCE: usize = 16;
/// The pauses before a message is tried again.
pub const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(60)];

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Another try may succeed.
    #[error("{0}")]
    Passing(String),
    /// The server will not take it.
    #[error("{0}")]
    Final(String),
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

impl Outgoing {
    /// Sends what comes, until `stop` completes; what is being tried then is tried to its end, once.
    pub async fn deliver(mut self, ways: Arc<Ways>, flows: Arc<Flows>, stop: impl Future<Output = ()> + Send) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = JoinSet::new();
        let stopped = Arc::new(tokio::sync::Notify::new());
        tokio::pin!(stop);
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
                Some((slot, self.0.recv().await?))
            };
            let (slot, (person, message)) = tokio::select! {
                () = &mut stop => break,
                next = next => match next {
                    Some(next) => next,
                    None => break,
                },
            };
            let (ways, flows, stopped) = (Arc::clone(&ways), Arc::clone(&flows), Arc::clone(&stopped));
            running.spawn(async move {
                let what = send(&ways, &flows, &message, &stopped).await;
                if let Err(error) = flows.delivered((message.id, person, message.kind), what).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(code = %message.id, error, "what became of a code could not be recorded");
                }
                drop(slot);
            });
            while running.try_join_next().is_some() {}
        }
        stopped.notify_waiters();
        while running.join_next().await.is_some() {}
    }
}

/// Tries until it is sent, cannot be, or comes too late.
async fn send(ways: &Ways, flows: &Flows, message: &Message, stopped: &tokio::sync::Notify) -> Result<(), Undelivered> {
    let mut pauses = PAUSES.iter();
    loop {
        let stopping = stopped.notified();
        match ways.send(message).await {
            Ok(()) => return Ok(()),
            Err(NotSent::Final(why)) => {
                tracing::warn!(code = %message.id, kind = %message.kind, why, "a code was refused by the server that sends it");
                return Err(Undelivered::Refused);
            }
            Err(NotSent::Passing(why)) => {
                tracing::warn!(code = %message.id, kind = %message.kind, why, "a code could not be sent yet");
            }
        }
        let Some(pause) = pauses.next() else { return Err(Undelivered::Unreachable) };
        if flows.clock.now().plus(*pause) >= message.expires_at {
            return Err(Undelivered::Unreachable);
        }
        tokio::select! {
            () = stopping => return Err(Undelivered::Unreachable),
            () = tokio::time::sleep(*pause) => {}
        }
    }
}
