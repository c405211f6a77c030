//! `/Users`.

use http::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use stepgate_core::ports::{Account, Group, Part, Sought};
use stepgate_core::web::LocalBody;

use super::error::ScimError;
use super::filter::Filter;
use super::patch;
use super::query::Query;
use super::schema::USER;
use super::select::Selection;
use super::user;
use super::{Answer, Asked, LIST, Scim, has_it, is_a, may_change, object, ok, one};
use crate::answer;

/// How many accounts a filter may have to look at that names none by login, id or `externalId`.
const LOOKED_AT_MAX: u64 = 100_000;
/// Accounts that are read at once.
const AT_ONCE: u32 = 1_000;

impl Scim {
    pub(super) async fn users(&self, query: &Query) -> Answer {
        let accounts = &self.provisioning.accounts;
        let sought = match &query.filter {
            None => Sought::All,
            Some(filter) => sought(filter)?,
        };
        // What is looked up by the whole filter needs no second look.
        let exactly = query
            .filter
            .as_ref()
            .is_none_or(|filter| filter.is_one_comparison() && !matches!(sought, Sought::All | Sought::ExternalId(_)));
        let (total, found) = match &query.filter {
            Some(filter) if !exactly => self.filtered(filter, &sought, query).await?,
            _ => {
                let total = accounts.count_accounts(&sought).await?;
                let part = Part { skip: query.skip, limit: query.count };
                (total, if query.count == 0 { Vec::new() } else { accounts.accounts(&sought, part).await? })
            }
        };
        let mut resources = Vec::with_capacity(found.len());
        for account in &found {
            resources.push(self.told_user(account, &query.selection).await?);
        }
        Ok(ok(&json!({
            "schemas": [LIST],
            "totalResults": total,
            "itemsPerPage": resources.len(),
            "startIndex": query.skip.saturating_add(1),
            "Resources": resources,
        })))
    }

    /// Asks the filter of each; gives how many there are, and the page.
    async fn filtered(
        &self,
        filter: &Filter,
        sought: &Sought,
        query: &Query,
    ) -> Result<(u64, Vec<Account>), ScimError> {
        let accounts = &self.provisioning.accounts;
        few_enough(accounts.count_accounts(sought).await?)?;
        let (mut total, mut found, mut skip) = (0_u64, Vec::new(), 0_u64);
        loop {
            let page = accounts.accounts(sought, Part { skip, limit: AT_ONCE }).await?;
            let read = page.len();
            for account in page {
                let mut told = user::told(&account, &[], &self.base);
                if let (Sought::MemberOf(group), Some(told)) = (sought, told.as_object_mut()) {
                    told.insert("groups".to_owned(), json!([{ "value": group.to_string() }]));
                }
                if !filter.holds(&told) {
                    continue;
                }
                if total >= query.skip && found.len() < query.count as usize {
                    found.push(account);
                }
                total = total.saturating_add(1);
            }
            if read < AT_ONCE as usize {
                return Ok((total, found));
            }
            skip = skip.saturating_add(u64::from(AT_ONCE));
        }
    }

    pub(super) async fn add_user(&self, asked: &Asked<'_>) -> Answer {
        let body = object(asked)?;
        is_a(&body, &USER)?;
        let wanted = user::wanted(&body, true)?;
        let account = self.provisioning.add(wanted, &asked.machine.by()).await?;
        let told = self.told_user(&account, &selection(asked)?).await?;
        Ok(self.one_user(StatusCode::CREATED, &account, &told))
    }

    pub(super) async fn user(&self, method: &Method, id: &str, asked: &Asked<'_>) -> Answer {
        let found = match id.parse() {
            Ok(id) => self.provisioning.accounts.account(id).await?,
            Err(_) => None,
        };
        let account = found.ok_or(ScimError::NotFound)?;
        match *method {
            Method::GET if has_it(asked.headers, account.version) => Ok(answer::empty(StatusCode::NOT_MODIFIED)),
            Method::GET => {
                let told = self.told_user(&account, &selection(asked)?).await?;
                Ok(self.one_user(StatusCode::OK, &account, &told))
            }
            Method::PUT => {
                may_change(asked.headers, account.version)?;
                let body = object(asked)?;
                is_a(&body, &USER)?;
                self.change_user(&account, &body, asked).await
            }
            Method::PATCH => {
                may_change(asked.headers, account.version)?;
                let operations = patch::operations(&object(asked)?, &USER)?;
                let Value::Object(mut body) = user::told(&account, &[], &self.base) else {
                    return Err(ScimError::NotFound);
                };
                patch::apply(&USER, &mut body, operations)?;
                self.change_user(&account, &body, asked).await
            }
            Method::DELETE => {
                may_change(asked.headers, account.version)?;
                self.provisioning.remove(&account, &asked.machine.by()).await?;
                Ok(answer::empty(StatusCode::NO_CONTENT))
            }
            _ => Err(ScimError::Method),
        }
    }

    async fn change_user(&self, account: &Account, body: &Map<String, Value>, asked: &Asked<'_>) -> Answer {
        let selection = selection(asked)?;
        let changed = self
            .provisioning
            .change(account, user::wanted(body, account.provisioned.active)?, &asked.machine.by())
            .await?;
        let told = self.told_user(&changed, &selection).await?;
        Ok(self.one_user(StatusCode::OK, &changed, &told))
    }

    async fn told_user(&self, account: &Account, selection: &Selection) -> Result<Value, ScimError> {
        let groups: Vec<Group> = if selection.tells("groups") {
            let all = Part { skip: 0, limit: AT_ONCE };
            self.provisioning.accounts.groups(&Sought::With(account.person.id), all).await?
        } else {
            Vec::new()
        };
        Ok(selection.apply(user::told(account, &groups, &self.base)))
    }

    fn one_user(&self, status: StatusCode, account: &Account, told: &Value) -> Response<LocalBody> {
        one(status, account.version, &format!("{}/Users/{}", self.base, account.person.id), told)
    }
}

fn selection(asked: &Asked<'_>) -> Result<Selection, ScimError> {
    Ok(Query::read(&USER, asked.query)?.selection)
}

/// What a filter has looked up, so that not all must be looked at.
fn sought(filter: &Filter) -> Result<Sought, ScimError> {
    match (filter.demands("groups", Some("value")), filter.looks_at("groups")) {
        (_, 0) => {}
        // What is no group's id has no members.
        (Some(group), 1) => return Ok(group.parse().map_or_else(|_| nobody(), Sought::MemberOf)),
        _ => {
            let how = "groups is compared once, by groups.value eq \"id\", and joined by `and` alone";
            return Err(ScimError::InvalidFilter(how.to_owned()));
        }
    }
    Ok(if let Some(id) = filter.demands("id", None) {
        id.parse().map_or_else(|_| nobody(), Sought::With)
    } else if let Some(login) = filter.demands("userName", None) {
        Sought::Named(login.to_owned())
    } else if let Some(id) = filter.demands("externalId", None) {
        Sought::ExternalId(id.to_owned())
    } else {
        Sought::All
    })
}

/// Whether a filter may look at so many accounts.
fn few_enough(accounts: u64) -> Result<(), ScimError> {
    if accounts <= LOOKED_AT_MAX {
        return Ok(());
    }
    Err(ScimError::TooMany(format!("more than {LOOKED_AT_MAX} accounts; name one by userName, id or externalId")))
}

/// No login is the empty text.
fn nobody() -> Sought {
    Sought::Named(String::new())
}

#[cfg(test)]
mod tests {
    use super::{ScimError, few_enough};

    #[test]
    fn a_filter_looks_at_so_many_and_no_more() {
        assert!(few_enough(100_000).is_ok());
        assert!(matches!(few_enough(100_001), Err(ScimError::TooMany(_))));
    }
}
