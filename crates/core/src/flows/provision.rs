//! People and groups, as another system that governs them adds, changes and removes them.

use std::sync::Arc;

use serde_json::json;
use stepgate_evidence::{Entry, Event};

use super::Flows;
use crate::factor::{FactorSecret, Identity};
use crate::id::PersonId;
use crate::machine::{Machine, MachineName, Scope};
use crate::person::{Login, Person, Profile, Unfit, parse_group};
use crate::ports::{
    Account, AccountChange, Accounts, ChangeError, Group, GroupChange, MembersChange, Provisioned, ProvisionedLink,
    StoreError,
};
use crate::provider::{Provider, ProviderName};
use crate::secret::{Purpose, Token};
use crate::time::Timestamp;

/// Provisioning: the flows, and the people whom other systems govern.
#[derive(Clone, Debug)]
pub struct Provisioning {
    /// The flows.
    pub flows: Arc<Flows>,
    /// Where accounts, groups and machines are.
    pub accounts: Arc<dyn Accounts>,
    /// How people are linked to an identity provider, if they are.
    pub links: Option<LinkedBy>,
}

/// How provisioning links people to an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedBy {
    /// The provider.
    pub provider: ProviderName,
    /// What their subject there is.
    pub subject: SubjectIs,
}

/// Which attribute of SCIM is somebody's `sub` at the identity provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubjectIs {
    /// `externalId`, exactly.
    #[default]
    ExternalId,
    /// `userName`, in lower case as it is kept.
    UserName,
}

impl SubjectIs {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ExternalId, Self::UserName];

    /// The attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExternalId => "externalId",
            Self::UserName => "userName",
        }
    }

    fn of(self, account: &Account) -> Option<String> {
        match self {
            Self::ExternalId => account.provisioned.external_id.clone(),
            Self::UserName => Some(account.person.login.as_str().to_owned()),
        }
    }
}

/// An account as another system wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What they sign in with.
    pub login: Login,
    /// What they are called.
    pub name: String,
    /// Their address; empty if unknown.
    pub email: String,
    /// What is kept for the other system, whether they may sign in among it.
    pub provisioned: Provisioned,
}

/// A group as another system wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedGroup {
    /// Its name, as policies write it.
    pub name: String,
    /// What the other system calls it.
    pub external_id: Option<String>,
}

/// Why provisioning did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The login, the group's name or the identity at the provider is somebody else's.
    #[error("the name or the identity is taken")]
    Taken,
    /// What is said of the person or the group is not fit to be.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It was changed or removed in the meantime, or somebody who is meant is not governed by provisioning.
    #[error("it changed in the meantime, or a member is not known")]
    Changed,
    /// They were put out of service by hand.
    #[error(
        "they are blocked by hand at the gate: `stepgate user activate` lifts it, `stepgate user remove` removes them"
    )]
    Blocked,
    /// The provider that people are linked to is not configured.
    #[error("the identity provider that people are linked to is not configured")]
    NoProvider,
    /// A limit is reached.
    #[error("a limit is reached: {0}")]
    Limit(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChangeError> for ProvisionError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::UsedBefore => Self::Taken,
            ChangeError::Conflict => Self::Changed,
            ChangeError::Limit(what) => Self::Limit(what),
            ChangeError::Store(error) => Self::Store(error),
        }
    }
}

impl Provisioning {
    /// Adds somebody. `by` says who did it, as it stands in the entry.
    ///
    /// # Errors
    ///
    /// `Unfit`, or `Taken` if somebody signs in with this name or this identity already, whoever governs them.
    pub async fn add(&self, wanted: Wanted, by: &str) -> Result<Account, ProvisionError> {
        let at = self.flows.clock.now();
        let person = described(self.flows.id(), &wanted, false)?;
        let provisioned = wanted.provisioned;
        let (link, blocked) = (None, false);
        let mut account = Account { person, provisioned, link, blocked, version: 1, added_at: at, changed_at: at };
        let event = Event::PersonAdded { person: account.person.id.to_string(), by: by.to_owned() };
        let entry = self.entry(at, event, &account);
        let link = self.link(&account, by, at)?;
        account.link = self.accounts.add_account(&account, link, entry).await?;
        Ok(account)
    }

    /// Changes an account as it was read to what is wanted. What is so already is no change
    /// and no entry. Who becomes inactive loses all in the same transaction.
    ///
    /// # Errors
    ///
    /// `Unfit`, `Changed` if it is not as it was read, `Taken` if somebody else has the login or the identity.
    pub async fn change(&self, account: &Account, wanted: Wanted, by: &str) -> Result<Account, ProvisionError> {
        let at = self.flows.clock.now();
        let described = described(account.person.id, &wanted, account.blocked)?;
        let person = Person { groups: account.person.groups.clone(), ..described };
        let mut changed = Account {
            person,
            provisioned: wanted.provisioned,
            link: account.link,
            blocked: account.blocked,
            version: account.version.saturating_add(1),
            changed_at: at,
            added_at: account.added_at,
        };
        let link = self.link(&changed, by, at)?;
        let is_same = changed.person == account.person && changed.provisioned == account.provisioned;
        if is_same && !self.is_linked_anew(account, link.as_ref()).await? {
            return Ok(account.clone());
        }
        let event = Event::PersonChanged { person: account.person.id.to_string(), by: by.to_owned() };
        let entry = self.entry(at, event, &changed);
        let change = AccountChange {
            person: changed.person.clone(),
            provisioned: changed.provisioned.clone(),
            link,
            version: account.version,
            at,
            by: by.to_owned(),
        };
        changed.link = self.accounts.change_account(change, vec![entry]).await?;
        Ok(changed)
    }

    /// Removes an account as it was read, with all that hangs on it.
    ///
    /// # Errors
    ///
    /// `Changed` if it is not as it was read; `Blocked` if they are blocked by hand: removed and added
    /// again they would be somebody whom nobody blocked.
    pub async fn remove(&self, account: &Account, by: &str) -> Result<(), ProvisionError> {
        if account.blocked {
            return Err(ProvisionError::Blocked);
        }
        let at = self.flows.clock.now();
        let event = Event::PersonRemoved { person: account.person.id.to_string(), by: by.to_owned() };
        let entry = self.flows.entry(at, event);
        Ok(self.accounts.remove_account(account.person.id, account.version, by, at, entry).await?)
    }

    /// Blocks a person by hand, or no longer, whoever governs them. No provisioning system lifts that; nor
    /// does lifting it make somebody active whom the system that governs them says to be inactive.
    ///
    /// # Errors
    ///
    /// `Changed` if they are not there, or it is so already.
    pub async fn set_blocked(&self, person: PersonId, blocked: bool, by: &str) -> Result<(), ProvisionError> {
        let at = self.flows.clock.now();
        let event = Event::PersonChanged { person: person.to_string(), by: by.to_owned() };
        let entry = self.flows.entry_with(at, event, json!({ "blocked_by_hand": blocked }));
        Ok(self.accounts.set_blocked(person, blocked, by, at, vec![entry]).await?)
    }

    /// Lets provisioning govern a person, or no longer.
    ///
    /// # Errors
    ///
    /// `Changed` if they are not there, or it is so already.
    pub async fn govern(&self, person: PersonId, provisioned: bool, by: &str) -> Result<(), ProvisionError> {
        let event = Event::PersonChanged { person: person.to_string(), by: by.to_owned() };
        let details = json!({ "governed_by": if provisioned { "provisioning" } else { "hand" } });
        let entry = self.flows.entry_with(self.flows.clock.now(), event, details);
        Ok(self.accounts.govern(person, provisioned, entry).await?)
    }

    /// Adds a group with these members.
    ///
    /// # Errors
    ///
    /// `Unfit`, `Taken` if there is a group of that name, `Changed` if a member is no account, `Limit`.
    pub async fn add_group(
        &self,
        wanted: WantedGroup,
        members: &[PersonId],
        by: &str,
    ) -> Result<Group, ProvisionError> {
        let at = self.flows.clock.now();
        let WantedGroup { name, external_id } = wanted;
        let name = parse_group(&name)?.to_owned();
        let group = Group { id: self.flows.id(), name, external_id, version: 1, added_at: at, changed_at: at };
        let event = Event::GroupAdded { group: group.id.to_string(), by: by.to_owned() };
        let entry = self.flows.entry_with(at, event, json!({ "name": group.name }));
        self.accounts.add_group(&group, members, by, entry).await?;
        Ok(group)
    }

    /// Changes a group as it was read.
    ///
    /// # Errors
    ///
    /// As [`Provisioning::add_group`]; `Changed` also if it is not as it was read.
    pub async fn change_group(
        &self,
        group: &Group,
        wanted: WantedGroup,
        members: MembersChange,
        by: &str,
    ) -> Result<Group, ProvisionError> {
        let nobody = matches!(&members, MembersChange::Differ { add, remove } if add.is_empty() && remove.is_empty());
        if nobody && wanted.name == group.name && wanted.external_id == group.external_id {
            return Ok(group.clone());
        }
        let at = self.flows.clock.now();
        let WantedGroup { name, external_id } = wanted;
        let name = parse_group(&name)?.to_owned();
        let changed =
            Group { name, external_id, version: group.version.saturating_add(1), changed_at: at, ..group.clone() };
        let event = Event::GroupChanged { group: group.id.to_string(), by: by.to_owned() };
        let entry = self.flows.entry_with(at, event, json!({ "name": changed.name }));
        let change = GroupChange {
            id: group.id,
            version: group.version,
            name: changed.name.clone(),
            external_id: changed.external_id.clone(),
            members,
            at,
            by: by.to_owned(),
        };
        self.accounts.change_group(change, entry).await?;
        Ok(changed)
    }

    /// Removes a group as it was read.
    ///
    /// # Errors
    ///
    /// `Changed` if it is not as it was read.
    pub async fn remove_group(&self, group: &Group, by: &str) -> Result<(), ProvisionError> {
        let at = self.flows.clock.now();
        let event = Event::GroupRemoved { group: group.id.to_string(), by: by.to_owned() };
        let entry = self.flows.entry_with(at, event, json!({ "name": group.name }));
        Ok(self.accounts.remove_group(group.id, group.version, by, at, entry).await?)
    }

    /// Adds a machine and gives its token, which is shown once and kept nowhere.
    ///
    /// # Errors
    ///
    /// `Taken` if there is one of that name whose token is good. One whose token expired gets the next.
    pub async fn add_machine(
        &self,
        name: MachineName,
        scopes: Vec<Scope>,
        transmitter: String,
        expires_at: Option<Timestamp>,
        by: &str,
    ) -> Result<Token, ProvisionError> {
        let at = self.flows.clock.now();
        let mut scopes = scopes;
        scopes.sort_unstable();
        scopes.dedup();
        let token = Token::random(self.flows.random.as_ref());
        let event = Event::MachineAdded {
            machine: name.to_string(),
            scopes: scopes.iter().map(|scope| scope.name().to_owned()).collect(),
            by: by.to_owned(),
        };
        let machine = Machine { name, scopes, transmitter, added_at: at, expires_at };
        let entry = self.flows.entry(at, event);
        self.accounts.add_machine(&machine, token.digest(Purpose::Machine), entry).await?;
        Ok(token)
    }

    /// Revokes a machine's token.
    ///
    /// # Errors
    ///
    /// `Changed` if there is no such machine.
    pub async fn remove_machine(&self, name: &MachineName, by: &str) -> Result<(), ProvisionError> {
        let event = Event::MachineRemoved { machine: name.to_string(), by: by.to_owned() };
        let entry = self.flows.entry(self.flows.clock.now(), event);
        Ok(self.accounts.remove_machine(name, entry).await?)
    }

    /// The machine that this token is of, unless its time is over.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn machine(&self, token: &Token) -> Result<Option<Machine>, StoreError> {
        let machine = self.accounts.machine(token.digest(Purpose::Machine)).await?;
        let now = self.flows.clock.now();
        Ok(machine.filter(|machine| machine.expires_at.is_none_or(|expires_at| now < expires_at)))
    }

    /// The link that an account is to have; `None` if provisioning keeps none.
    fn link(&self, account: &Account, by: &str, at: Timestamp) -> Result<Option<ProvisionedLink>, ProvisionError> {
        let Some(LinkedBy { provider, subject }) = &self.links else { return Ok(None) };
        let live = self.flows.live.load();
        let known: &Provider = live.providers.named(provider).ok_or(ProvisionError::NoProvider)?;
        let identity = subject.of(account).map(|subject| {
            let identity = self.flows.identity(known, known.issuer.clone(), subject, at);
            let entry = self.flows.identity_entry(&account.person, &identity, by.to_owned(), at);
            (identity, entry)
        });
        Ok(Some(ProvisionedLink { provider: provider.clone(), identity }))
    }

    /// Whether an account would have another link than it has.
    async fn is_linked_anew(&self, account: &Account, link: Option<&ProvisionedLink>) -> Result<bool, StoreError> {
        let Some(link) = link else { return Ok(false) };
        let wanted: Option<&Identity> = link.identity.as_ref().and_then(|(factor, _)| match &factor.secret {
            FactorSecret::Idp(identity) => Some(identity),
            _ => None,
        });
        let (mut old, mut has_it, mut others) = (false, false, false);
        for factor in &self.flows.store.factors(account.person.id).await? {
            let FactorSecret::Idp(identity) = &factor.secret else { continue };
            let is = wanted.is_some_and(|one| (&one.issuer, &one.subject) == (&identity.issuer, &identity.subject));
            let is_kept = account.link == Some(factor.id);
            has_it |= is;
            old |= is_kept && !is;
            others |= !is_kept && !is && identity.provider == link.provider;
        }
        Ok(old || (wanted.is_some() && !has_it && !others))
    }

    fn entry(&self, at: Timestamp, event: Event, account: &Account) -> Entry {
        self.flows.entry_with(
            at,
            event,
            json!({
                "login": account.person.login.as_str(),
                "name": account.person.name,
                "email": account.person.email,
                "active": account.provisioned.active,
                "external_id": account.provisioned.external_id,
                "given_name": account.provisioned.given_name,
                "family_name": account.provisioned.family_name,
            }),
        )
    }
}

fn described(id: PersonId, wanted: &Wanted, blocked: bool) -> Result<Person, Unfit> {
    let (name, email, groups) = Profile::parse(&wanted.name, &wanted.email, Vec::new())?.into_parts();
    Ok(Person { id, login: wanted.login.clone(), name, email, groups, active: wanted.provisioned.active && !blocked })
}
