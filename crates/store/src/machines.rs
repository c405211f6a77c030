//! Other systems and their tokens, and the port of provisioning.

use async_trait::async_trait;
use sqlx::any::AnyRow;
use stepgate_core::id::{FactorId, GroupId, PersonId};
use stepgate_core::machine::{Machine, MachineName};
use stepgate_core::person::Login;
use stepgate_core::ports::{
    Account, AccountChange, Accounts, ChangeError, Group, GroupChange, Part, ProvisionedLink, Sought, StoreError,
};
use stepgate_core::secret::TokenDigest;
use stepgate_core::time::Timestamp;
use stepgate_evidence::Entry;

use crate::accounts::{AddAccount, ChangeAccount, Govern, RemoveAccount, SetBlocked, taken};
use crate::database::Database;
use crate::error::{ExactlyOne as _, Stored as _, unavailable};
use crate::groups::{AddGroup, ChangeGroup, RemoveGroup};
use crate::inner::{Inner, read};
use crate::intent::{Intent, Work};
use crate::options::ROWS_MAX;
use crate::row::Fields;

struct AddMachine {
    machine: Machine,
    token: TokenDigest,
}

#[async_trait]
impl Intent for AddMachine {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        let scopes: Vec<_> = self.machine.scopes.iter().map(|scope| scope.name()).collect();
        // A machine whose token expired gets the next one, and keeps its stream.
        let added = sqlx::query(
            "INSERT INTO machines (name, digest, scopes, transmitter, added_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, \
             scopes = excluded.scopes, transmitter = excluded.transmitter, added_at = excluded.added_at, \
             expires_at = excluded.expires_at WHERE machines.expires_at <= excluded.added_at",
        )
        .bind(self.machine.name.as_str())
        .bind(self.token.to_hex())
        .bind(serde_json::to_string(&scopes).map_err(unavailable)?)
        .bind(&self.machine.transmitter)
        .bind(self.machine.added_at.as_ms())
        .bind(self.machine.expires_at.map(Timestamp::as_ms))
        .execute(&mut *work.connection)
        .await
        .or_conflict()
        .map_err(taken)?;
        if added.rows_affected() == 1 { Ok(()) } else { Err(ChangeError::UsedBefore) }
    }
}

struct RemoveMachine {
    name: MachineName,
}

#[async_trait]
impl Intent for RemoveMachine {
    type Output = ();

    async fn apply(&self, work: &mut Work<'_>) -> Result<(), ChangeError> {
        sqlx::query("DELETE FROM machines WHERE name = $1")
            .bind(self.name.as_str())
            .execute(&mut *work.connection)
            .await
            .stored()?
            .exactly_one()
    }
}

const COLUMNS: &str = "SELECT name, scopes, transmitter, added_at, expires_at FROM machines";

impl Inner {
    async fn machine(&self, token: TokenDigest) -> Result<Option<Machine>, StoreError> {
        read(async {
            let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE digest = $1"));
            let row = sqlx::query(sql).bind(token.to_hex()).fetch_optional(&self.readers).await.stored()?;
            row.as_ref().map(machine).transpose()
        })
        .await
    }

    async fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        read(async {
            let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} ORDER BY name LIMIT $1"));
            let rows = sqlx::query(sql).bind(i64::from(ROWS_MAX)).fetch_all(&self.readers).await.stored()?;
            rows.iter().map(machine).collect()
        })
        .await
    }
}

fn machine(row: &AnyRow) -> Result<Machine, StoreError> {
    let fields = Fields::of("machines", row);
    let scopes: Vec<String> = fields.json("scopes")?;
    let scopes: Result<_, _> = scopes.iter().map(|scope| scope.parse()).collect();
    Ok(Machine {
        name: MachineName::parse(&fields.text("name")?).map_err(|_| fields.corrupt("name is no machine's"))?,
        scopes: scopes.map_err(|_| fields.corrupt("scopes has one that is none"))?,
        transmitter: fields.text("transmitter")?,
        added_at: fields.time("added_at")?,
        expires_at: fields.maybe_time("expires_at")?,
    })
}

#[async_trait]
impl Accounts for Database {
    async fn add_account(
        &self,
        account: &Account,
        link: Option<ProvisionedLink>,
        entry: Entry,
    ) -> Result<Option<FactorId>, ChangeError> {
        self.write(AddAccount { account: account.clone(), link }, vec![entry]).await
    }

    async fn account(&self, id: PersonId) -> Result<Option<Account>, StoreError> {
        self.inner.account(id).await
    }

    async fn accounts(&self, which: &Sought, part: Part) -> Result<Vec<Account>, StoreError> {
        self.inner.accounts(which, part).await
    }

    async fn count_accounts(&self, which: &Sought) -> Result<u64, StoreError> {
        self.inner.count_accounts(which).await
    }

    async fn change_account(
        &self,
        change: AccountChange,
        entries: Vec<Entry>,
    ) -> Result<Option<FactorId>, ChangeError> {
        self.write(ChangeAccount { change }, entries).await
    }

    async fn remove_account(
        &self,
        id: PersonId,
        version: u32,
        by: &str,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(RemoveAccount { person: id, version, at, by: by.to_owned() }, vec![entry]).await
    }

    async fn set_blocked(
        &self,
        person: PersonId,
        blocked: bool,
        by: &str,
        at: Timestamp,
        entries: Vec<Entry>,
    ) -> Result<(), ChangeError> {
        self.write(SetBlocked { person, blocked, at, by: by.to_owned() }, entries).await
    }

    async fn govern(&self, person: PersonId, provisioned: bool, entry: Entry) -> Result<(), ChangeError> {
        self.write(Govern { person, provisioned }, vec![entry]).await
    }

    async fn add_group(&self, group: &Group, members: &[PersonId], by: &str, entry: Entry) -> Result<(), ChangeError> {
        let intent = AddGroup { group: group.clone(), members: members.to_vec(), by: by.to_owned() };
        self.write(intent, vec![entry]).await
    }

    async fn group(&self, id: GroupId) -> Result<Option<Group>, StoreError> {
        self.inner.group(id).await
    }

    async fn groups(&self, which: &Sought, part: Part) -> Result<Vec<Group>, StoreError> {
        self.inner.groups(which, part).await
    }

    async fn count_groups(&self, which: &Sought) -> Result<u64, StoreError> {
        self.inner.count_groups(which).await
    }

    async fn change_group(&self, change: GroupChange, entry: Entry) -> Result<(), ChangeError> {
        self.write(ChangeGroup { change }, vec![entry]).await
    }

    async fn remove_group(
        &self,
        id: GroupId,
        version: u32,
        by: &str,
        at: Timestamp,
        entry: Entry,
    ) -> Result<(), ChangeError> {
        self.write(RemoveGroup { id, version, by: by.to_owned(), at }, vec![entry]).await
    }

    async fn add_machine(&self, machine: &Machine, token: TokenDigest, entry: Entry) -> Result<(), ChangeError> {
        self.write(AddMachine { machine: machine.clone(), token }, vec![entry]).await
    }

    async fn remove_machine(&self, name: &MachineName, entry: Entry) -> Result<(), ChangeError> {
        self.write(RemoveMachine { name: name.clone() }, vec![entry]).await
    }

    async fn machine(&self, token: TokenDigest) -> Result<Option<Machine>, StoreError> {
        self.inner.machine(token).await
    }

    async fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        self.inner.machines().await
    }

    async fn governed(&self, login: &Login) -> Result<Option<bool>, StoreError> {
        self.inner.governed(login).await
    }
}
