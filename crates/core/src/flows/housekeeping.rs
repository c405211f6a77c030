//! What a node does on its own: close what is overdue, say what became of what a
//! dead node was sending, keep its lease.

use stepgate_evidence::{Event, Outcome};

use super::Flows;
use crate::challenge::SendOutcome;
use crate::ports::{ChangeError, StoreError};

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Challenges that expired.
    pub expired: usize,
    /// Requests whose outcome is unknown, because the node that sent them died.
    pub unknown: usize,
}

impl Flows {
    /// Closes overdue challenges and finishes what dead nodes left. Called at start
    /// and every few seconds; safe on many nodes at once.
    pub async fn sweep(&self) -> Result<Swept, StoreError> {
        let now = self.clock.now();
        self.store.heartbeat(self.node, now).await?;
        let mut swept = Swept::default();
        for challenge in self.store.overdue(now).await? {
            self.expire(&challenge).await?;
            swept.expired = swept.expired.saturating_add(1);
        }
        for (challenge, request) in self.store.unfinished(self.node, now).await? {
            let event = Event::OperationFinished {
                challenge: challenge.to_string(),
                request: request.to_string(),
                outcome: Outcome::Unknown,
            };
            match self.store.finish(challenge, request, SendOutcome::Unknown, self.entry(now, event)).await {
                Ok(()) => swept.unknown = swept.unknown.saturating_add(1),
                Err(ChangeError::Store(error)) => return Err(error),
                // Another node said so first.
                Err(_) => {}
            }
        }
        Ok(swept)
    }
}
