//! What approving on devices needs of the store: devices, how they are woken, and what they are asked.
//!
//! Each method is one transaction with its entries, as with [`super::Store`].

use async_trait::async_trait;
use secrecy::SecretString;
use stepgate_evidence::Entry;

use super::{ChangeError, StoreError, Ticket};
use crate::id::{ChallengeId, FactorId, PersonId, PushId, SessionId};
use crate::push::Subscription;
use crate::secret::TokenDigest;
use crate::time::Timestamp;

/// A question to put to a person's devices.
#[derive(Clone, Debug)]
pub struct NewPush {
    /// Its id.
    pub id: PushId,
    /// Whom.
    pub person: PersonId,
    /// What they are asked about.
    pub challenge: ChallengeId,
    /// The session that wants it.
    pub session: SessionId,
    /// Now.
    pub at: Timestamp,
    /// When it can no longer be answered.
    pub until: Timestamp,
    /// The question of the same session that it takes the place of, and the entry that says so.
    pub instead_of: Option<(ChallengeId, Entry)>,
    /// Questions of one person within an hour.
    pub per_hour: u32,
    /// The share of these that one session may use.
    pub per_session: u32,
    /// Consecutive wrong tries after which an administrator must reset it.
    pub before_reset: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushSent {
    /// It is open.
    Open,
    /// Another one is: a person is asked one thing at a time.
    AnotherIsOpen(OpenPush),
    /// There were too many within the hour.
    TooMany {
        /// When the next one may be put.
        again_at: Timestamp,
    },
    /// Approvals of this person are locked.
    Locked,
}

/// A question that is or was put to a person's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPush {
    /// What it is about.
    pub challenge: ChallengeId,
    /// The session that wanted it.
    pub session: SessionId,
    /// When.
    pub sent_at: Timestamp,
    /// When it can no longer be answered.
    pub until: Timestamp,
}

/// Devices where people approve what another browser asks.
#[async_trait]
pub trait Approvals: Send + Sync + std::fmt::Debug {
    // --- enrolment, which two browsers do together ------------------------------

    /// Notes what is being enrolled, in place of what was begun before, and the link that one device may follow.
    /// `Conflict` as of [`super::Store::begin_on_ticket`].
    async fn invite_device(
        &self,
        ticket: TokenDigest,
        link: TokenDigest,
        state: SecretString,
    ) -> Result<(), ChangeError>;
    /// The ticket of a link that no device has followed, while it lasts.
    async fn invitation(&self, link: TokenDigest, now: Timestamp) -> Result<Option<Ticket>, StoreError>;
    /// A device follows a link, exactly once across all nodes: from here on it is the one.
    async fn follow_invitation(
        &self,
        link: TokenDigest,
        device: TokenDigest,
        state: SecretString,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// The ticket that a device is being enrolled with, while it lasts.
    async fn ticket_of_device(&self, device: TokenDigest, now: Timestamp) -> Result<Option<Ticket>, StoreError>;
    /// Notes what a device did. `Conflict` if it is not being enrolled any more.
    async fn device_did(&self, device: TokenDigest, state: SecretString, at: Timestamp) -> Result<(), ChangeError>;

    // --- devices ------------------------------------------------------------------

    /// The active person whose device this is, and the factor. What was removed is nobody's at once.
    async fn device(&self, token: TokenDigest) -> Result<Option<(PersonId, FactorId)>, StoreError>;
    /// How the person's devices are woken, those that are.
    async fn subscriptions(&self, person: PersonId) -> Result<Vec<(FactorId, Subscription)>, StoreError>;
    /// Keeps how a device is woken, in place of what there was. `Conflict` if it is no device of this person, `Limit` if
    /// it changed too often within the hour.
    async fn subscribe(
        &self,
        person: PersonId,
        device: FactorId,
        subscription: &Subscription,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// Forgets how a device is woken, if it is still by this. `Conflict` if it is not.
    async fn unsubscribe(&self, device: FactorId, subscription: &Subscription, entry: Entry)
    -> Result<(), ChangeError>;

    // --- questions ------------------------------------------------------------------

    /// Puts a question to a person's devices; `entry` is written if it is put, that of `instead_of` if something was
    /// withdrawn. `Conflict` if the challenge is not pending or is somebody else's, or the session does not live.
    async fn send_push(&self, push: NewPush, entry: Entry) -> Result<PushSent, ChangeError>;
    /// The question that is open on a person's devices at `now`. That of a session that ended is not.
    async fn open_push(&self, person: PersonId, now: Timestamp) -> Result<Option<OpenPush>, StoreError>;
    /// What the person's devices were asked after `since`, the newest first, whatever became of it: withdrawn,
    /// answered or failed. It is known for two hours.
    async fn asked_since(&self, person: PersonId, since: Timestamp) -> Result<Vec<OpenPush>, StoreError>;
    /// Locks the person's approvals on all devices, until somebody resets their tries. An approval that is on its way
    /// passes nothing any more. `entry` is written if they were not locked.
    async fn lock_approvals(&self, person: PersonId, entry: Entry) -> Result<(), ChangeError>;
    /// Whether they are locked until somebody resets them.
    async fn approvals_locked(&self, person: PersonId, before_reset: u32) -> Result<bool, StoreError>;
}
