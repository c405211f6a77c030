//! What provisioning needs of the store: people whom another system governs, their
//! groups, and the tokens of machines.
//!
//! Each method is one transaction with its entries, as with [`super::Store`].

use async_trait::async_trait;
use stepgate_evidence::Entry;

use super::{ChangeError, StoreError};
use crate::factor::EnrolledFactor;
use crate::id::{FactorId, GroupId, PersonId};
use crate::machine::{Machine, MachineName};
use crate::person::{Login, Person};
use crate::provider::ProviderName;
use crate::secret::TokenDigest;
use crate::time::Timestamp;

/// The most provisioned groups that there may be.
pub const PROVISIONED_GROUPS_MAX: u32 = 20_000;
/// The most provisioned groups that one person may be in.
pub const GROUPS_PER_PERSON_MAX: u32 = 500;

/// What a provisioning system keeps of a person beside what the gate itself needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provisioned {
    /// What the other system calls them.
    pub external_id: Option<String>,
    /// Whether it says that they may sign in. They may if they are not blocked by hand as well.
    pub active: bool,
    /// Given name; empty if it said none.
    pub given_name: String,
    /// Family name; empty if it said none.
    pub family_name: String,
}

/// A person as the provisioning system that governs them sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The person.
    pub person: Person,
    /// What is kept for the other system.
    pub provisioned: Provisioned,
    /// The link to an identity provider that provisioning keeps, if it keeps one. A link that somebody
    /// else made is never here.
    pub link: Option<FactorId>,
    /// Whether they were put out of service by hand: no provisioning system undoes that.
    pub blocked: bool,
    /// Counts changes, from 1.
    pub version: u32,
    /// When they were added.
    pub added_at: Timestamp,
    /// When they were changed last.
    pub changed_at: Timestamp,
}

/// Which accounts or groups are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// All.
    All,
    /// The one with this login, or the group with this name, in any case.
    Named(String),
    /// Those with this `externalId`, exactly.
    ExternalId(String),
    /// The accounts in this group.
    MemberOf(GroupId),
    /// The groups that this person is in.
    With(PersonId),
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// So many are left out at the beginning.
    pub skip: u64,
    /// At most so many follow (capped at 1,000).
    pub limit: u32,
}

/// Who somebody is at an identity provider, as provisioning says.
#[derive(Clone, Debug)]
pub struct ProvisionedLink {
    /// The provider.
    pub provider: ProviderName,
    /// Their identity there and the entry that it was linked; `None`: they have none.
    pub identity: Option<(EnrolledFactor, Entry)>,
}

/// How an account changes.
#[derive(Clone, Debug)]
pub struct AccountChange {
    /// The person as they are to be; `groups` is not looked at.
    pub person: Person,
    /// What is kept for the other system.
    pub provisioned: Provisioned,
    /// Their link to the identity provider; `None`: provisioning keeps none, and what there is stays.
    pub link: Option<ProvisionedLink>,
    /// The version that was read.
    pub version: u32,
    /// Now.
    pub at: Timestamp,
    /// Who changes it, as it stands in entries.
    pub by: String,
}

/// A group that a provisioning system keeps. Its name is a group's name in policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name, as policies write it.
    pub name: String,
    /// What the other system calls it.
    pub external_id: Option<String>,
    /// Counts changes, from 1.
    pub version: u32,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it was changed last.
    pub changed_at: Timestamp,
}

/// How the members of a group change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersChange {
    /// They are these and no others.
    Are(Vec<PersonId>),
    /// Some come, some go. Who is in both goes.
    Differ {
        /// Who comes; all must be accounts.
        add: Vec<PersonId>,
        /// Who goes, if they are there.
        remove: Vec<PersonId>,
    },
}

/// How a group changes.
#[derive(Clone, Debug)]
pub struct GroupChange {
    /// Which.
    pub id: GroupId,
    /// The version that was read.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// What the other system calls it.
    pub external_id: Option<String>,
    /// Its members.
    pub members: MembersChange,
    /// Now.
    pub at: Timestamp,
    /// Who changes it, as it stands in entries.
    pub by: String,
}

/// People whom another system governs, their groups, and who may say so.
///
/// Who was added by `stepgate user` is not among them until they are handed over, so
/// no other system can change or lock out the administrators of last resort.
#[async_trait]
pub trait Accounts: Send + Sync + std::fmt::Debug {
    /// Adds a person whom provisioning governs, with their link to the identity provider. `UsedBefore` if
    /// the login or the identity is somebody's, whoever governs them. Gives the link that was made.
    async fn add_account(
        &self,
        account: &Account,
        link: Option<ProvisionedLink>,
        entry: Entry,
    ) -> Result<Option<FactorId>, ChangeError>;
    /// The account with this id.
    async fn account(&self, id: PersonId) -> Result<Option<Account>, StoreError>;
    /// Accounts by login.
    async fn accounts(&self, which: &Sought, part: Part) -> Result<Vec<Account>, StoreError>;
    /// How many there are.
    async fn count_accounts(&self, which: &Sought) -> Result<u64, StoreError>;
    /// Changes login, name, address, what is kept for the other system, and whether the
    /// person is active. `Conflict` if there is no such account at that version,
    /// `UsedBefore` if somebody else has the login.
    ///
    /// Who becomes inactive loses sessions, factors, links, tickets and open challenges in
    /// this transaction, each with its entry; what their challenges hold is never sent, and access
    /// tokens that were issued until now stay worthless when they come back. The
    /// link to an identity provider stays: it says who they are, and lets nobody in.
    ///
    /// Where their identity is another than the link that provisioning keeps, the link is
    /// replaced or removed, their sessions end and what waits is cancelled, each with its entry.
    /// A link that somebody else made stays, and none is made beside it. An identity that is
    /// somebody else's is `UsedBefore`; for somebody who is not active it is left out, so that
    /// nobody is kept from leaving. Gives the link as it is then.
    async fn change_account(&self, change: AccountChange, entries: Vec<Entry>)
    -> Result<Option<FactorId>, ChangeError>;
    /// Removes an account at that version, with all that hangs on it: sessions, factors and open challenges
    /// end as they do for who becomes inactive, each with its entry, the link to a provider too.
    async fn remove_account(
        &self,
        id: PersonId,
        version: u32,
        by: &str,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), ChangeError>;
    /// Blocks a person by hand, or no longer, whoever governs them, with what [`Accounts::change_account`]
    /// does to who becomes inactive: `Conflict` if there is no such person or nothing would change. Who is
    /// not blocked is active if the system that governs them says so too.
    async fn set_blocked(
        &self,
        person: PersonId,
        blocked: bool,
        by: &str,
        at: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError>;
    /// Lets provisioning govern a person, or no longer; then they are in no provisioned group,
    /// and their link is theirs as if it was made by hand. Whom it said to be inactive is blocked from then
    /// on, so that nobody comes back by changing hands.
    /// `Conflict` if there is no such person or nothing would change.
    async fn govern(&self, person: PersonId, provisioned: bool, entry: Entry) -> Result<(), ChangeError>;

    /// Adds a group with these members. `UsedBefore` if the name is taken, `Conflict` if a
    /// member is no account, `Limit` if there are too many.
    ///
    /// As with each change of a group, everybody whose groups change by it is named in entries of the same
    /// transaction, however many they are ([`Event::GroupMembers`](stepgate_evidence::Event::GroupMembers)).
    async fn add_group(&self, group: &Group, members: &[PersonId], by: &str, entry: Entry) -> Result<(), ChangeError>;
    /// The group with this id.
    async fn group(&self, id: GroupId) -> Result<Option<Group>, StoreError>;
    /// Groups by name.
    async fn groups(&self, which: &Sought, part: Part) -> Result<Vec<Group>, StoreError>;
    /// How many there are.
    async fn count_groups(&self, which: &Sought) -> Result<u64, StoreError>;
    /// Changes a group. `Conflict` if there is no such group at that version or a member is
    /// no account, `UsedBefore` if the name is taken, `Limit` if somebody is in too many.
    /// Sessions of those who came or went see it at once.
    async fn change_group(&self, change: GroupChange, entry: Entry) -> Result<(), ChangeError>;
    /// Removes a group at that version; nobody is in it any more.
    async fn remove_group(
        &self,
        id: GroupId,
        version: u32,
        by: &str,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), ChangeError>;

    /// Adds a machine. `UsedBefore` if there is one of that name.
    async fn add_machine(&self, machine: &Machine, token: TokenDigest, entry: Entry) -> Result<(), ChangeError>;
    /// Revokes a machine's token. `Conflict` if there is none of that name.
    async fn remove_machine(&self, name: &MachineName, entry: Entry) -> Result<(), ChangeError>;
    /// The machine with this token, as the database says it now.
    async fn machine(&self, token: TokenDigest) -> Result<Option<Machine>, StoreError>;
    /// All machines by name (at most 1,000).
    async fn machines(&self) -> Result<Vec<Machine>, StoreError>;
    /// The person who signs in with this name, and whether provisioning governs them.
    async fn governed(&self, login: &Login) -> Result<Option<bool>, StoreError>;
}
