//! `/Groups`.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use stepgate_core::flows::ProvisionError;
use stepgate_core::ports::{Account, Group, MembersChange, Part, Sought};

use super::error::ScimError;
use super::filter::Filter;
use super::query::Query;
use super::schema::GROUP;
use super::select::Selection;
use super::{Answer, Asked, LIST, Scim, group, has_it, is_a, may_change, object, ok, one, patch};
use crate::answer;

/// Groups or members that are read at once.
const AT_ONCE: u32 = 1_000;
/// The members that are told at most, in one group or a page of them; who needs more asks `/Users?filter=groups.value eq "…"`.
const MEMBERS_TOLD_MAX: usize = 20_000;

impl Scim {
    pub(super) async fn groups(&self, query: &Query) -> Answer {
        let accounts = &self.provisioning.accounts;
        let sought = match &query.filter {
            None => Sought::All,
            Some(filter) => sought(filter)?,
        };
        let exactly = query
            .filter
            .as_ref()
            .is_none_or(|filter| filter.is_one_comparison() && !matches!(sought, Sought::All | Sought::ExternalId(_)));
        let (total, found) = match &query.filter {
            Some(filter) if !exactly => self.filtered_groups(filter, &sought, query).await?,
            _ => {
                let total = accounts.count_groups(&sought).await?;
                let part = Part { skip: query.skip, limit: query.count };
                (total, if query.count == 0 { Vec::new() } else { accounts.groups(&sought, part).await? })
            }
        };
        let mut resources = Vec::with_capacity(found.len());
        let mut members = 0_u64;
        for group in &found {
            // A page may be shorter than was asked for (RFC 7644, section 3.4.2.4): so all its groups
            // together have no more members than one may have.
            if query.selection.tells("members") {
                members = members.saturating_add(accounts.count_accounts(&Sought::MemberOf(group.id)).await?);
                if members > MEMBERS_TOLD_MAX as u64 && !resources.is_empty() {
                    break;
                }
            }
            resources.push(self.told_group(group, &query.selection).await?);
        }
        Ok(ok(&json!({
            "schemas": [LIST],
            "totalResults": total,
            "itemsPerPage": resources.len(),
            "startIndex": query.skip.saturating_add(1),
            "Resources": resources,
        })))
    }

    async fn filtered_groups(
        &self,
        filter: &Filter,
        sought: &Sought,
        query: &Query,
    ) -> Result<(u64, Vec<Group>), ScimError> {
        let (mut total, mut found, mut skip) = (0_u64, Vec::new(), 0_u64);
        loop {
            let page = self.provisioning.accounts.groups(sought, Part { skip, limit: AT_ONCE }).await?;
            let read = page.len();
            for one in page {
                let mut told = group::told(&one, None, &self.base);
                if let (Sought::With(person), Some(told)) = (sought, told.as_object_mut()) {
                    told.insert("members".to_owned(), json!([{ "value": person.to_string() }]));
                }
                if !filter.holds(&told) {
                    continue;
                }
                if total >= query.skip && found.len() < query.count as usize {
                    found.push(one);
                }
                total = total.saturating_add(1);
            }
            if read < AT_ONCE as usize {
                return Ok((total, found));
            }
            skip = skip.saturating_add(u64::from(AT_ONCE));
        }
    }

    pub(super) async fn add_group(&self, asked: &Asked<'_>) -> Answer {
        let body = object(asked)?;
        is_a(&body, &GROUP)?;
        let (wanted, members) = group::wanted(&body)?;
        let members = members.unwrap_or_default();
        let added = self.provisioning.add_group(wanted, &members, &asked.machine.by()).await;
        let added = added.map_err(unknown_member)?;
        self.one_group(StatusCode::CREATED, &added, asked).await
    }

    pub(super) async fn group(&self, method: &Method, id: &str, asked: &Asked<'_>) -> Answer {
        let found = match id.parse() {
            Ok(id) => self.provisioning.accounts.group(id).await?,
            Err(_) => None,
        };
        let group = found.ok_or(ScimError::NotFound)?;
        match *method {
            Method::GET if has_it(asked.headers, group.version) => Ok(answer::empty(StatusCode::NOT_MODIFIED)),
            Method::GET => self.one_group(StatusCode::OK, &group, asked).await,
            Method::PUT => {
                may_change(asked.headers, group.version)?;
                let body = object(asked)?;
                is_a(&body, &GROUP)?;
                let (wanted, members) = group::wanted(&body)?;
                // Who leaves members out does not empty the group: a policy may forbid it something.
                let nobody = MembersChange::Differ { add: Vec::new(), remove: Vec::new() };
                let change = members.map_or(nobody, MembersChange::Are);
                let changed = self.provisioning.change_group(&group, wanted, change, &asked.machine.by()).await;
                self.one_group(StatusCode::OK, &self.checked(&group, changed).await?, asked).await
            }
            Method::PATCH => {
                may_change(asked.headers, group.version)?;
                let operations = patch::operations(&object(asked)?, &GROUP)?;
                let (wanted, change) = group::patched(&group, operations)?;
                let changed = self.provisioning.change_group(&group, wanted, change, &asked.machine.by()).await;
                let changed = self.checked(&group, changed).await?;
                // A large group is not told each time that somebody comes (RFC 7644, section 3.5.2).
                if asked.query.is_empty() {
                    return Ok(answer::empty(StatusCode::NO_CONTENT));
                }
                self.one_group(StatusCode::OK, &changed, asked).await
            }
            Method::DELETE => {
                may_change(asked.headers, group.version)?;
                self.provisioning.remove_group(&group, &asked.machine.by()).await?;
                Ok(answer::empty(StatusCode::NO_CONTENT))
            }
            _ => Err(ScimError::Method),
        }
    }

    /// A change that did not happen although the group is as it was read: a member is not known.
    async fn checked(&self, group: &Group, changed: Result<Group, ProvisionError>) -> Result<Group, ScimError> {
        match changed {
            Err(ProvisionError::Changed) => {
                let now = self.provisioning.accounts.group(group.id).await?;
                let same = now.is_some_and(|now| now.version == group.version);
                Err(if same { unknown_member(ProvisionError::Changed) } else { ScimError::Changed })
            }
            other => Ok(other?),
        }
    }

    async fn one_group(&self, status: StatusCode, group: &Group, asked: &Asked<'_>) -> Answer {
        let selection = Query::read(&GROUP, asked.query)?.selection;
        let told = self.told_group(group, &selection).await?;
        Ok(one(status, group.version, &format!("{}/Groups/{}", self.base, group.id), &told))
    }

    async fn told_group(&self, group: &Group, selection: &Selection) -> Result<Value, ScimError> {
        let mut members: Vec<Account> = Vec::new();
        while selection.tells("members") && members.len() < MEMBERS_TOLD_MAX {
            let part = Part { skip: members.len() as u64, limit: AT_ONCE };
            let page = self.provisioning.accounts.accounts(&Sought::MemberOf(group.id), part).await?;
            let last = page.len() < AT_ONCE as usize;
            members.extend(page);
            if last {
                break;
            }
        }
        Ok(selection.apply(group::told(group, Some(&members), &self.base)))
    }
}

fn unknown_member(error: ProvisionError) -> ScimError {
    match error {
        ProvisionError::Changed => ScimError::InvalidValue("a member is no User here".to_owned()),
        other => other.into(),
    }
}

fn sought(filter: &Filter) -> Result<Sought, ScimError> {
    match (filter.demands("members", Some("value")), filter.looks_at("members")) {
        (_, 0) => {}
        // Entra asks so whether one person is in one group.
        (Some(person), 1) => return Ok(person.parse().map_or_else(|_| nothing(), Sought::With)),
        _ => {
            let how = "members is compared once, by members.value eq \"id\", and joined by `and` alone";
            return Err(ScimError::InvalidFilter(how.to_owned()));
        }
    }
    Ok(if let Some(id) = filter.demands("id", None) {
        id.parse().map_or_else(|_| nothing(), Sought::MemberOf)
    } else if let Some(name) = filter.demands("displayName", None) {
        Sought::Named(name.to_owned())
    } else if let Some(id) = filter.demands("externalId", None) {
        Sought::ExternalId(id.to_owned())
    } else {
        Sought::All
    })
}

/// No group has the empty name.
fn nothing() -> Sought {
    Sought::Named(String::new())
}
