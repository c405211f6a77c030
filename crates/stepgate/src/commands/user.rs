//! `stepgate user …`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepgate_core::factor::FactorKind;
use stepgate_core::flows::{Flows, ProvisionError, Provisioning};
use stepgate_core::person::{Login, Person, Profile, Unfit, name_of};
use stepgate_core::ports::ChangeError;
use stepgate_core::provider::SUBJECT_LEN_MAX;
use stepgate_core::similar::nearest;
use stepgate_core::surroundings::shown;
use stepgate_evidence::Event;

use super::{Done, Failure, because, factors, failed, open, print, wrong_input};
use crate::cli::{ConfigArgs, Format, Governor, UserCommand};
use crate::gate::House;

/// Who did it, as it stands in entries: the operating system's user at this command line.
pub(super) fn by() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    // Without a name in the environment, the process's own owner.
    let owner = || {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata("/proc/self").map(|own| format!("uid {}", own.uid())).unwrap_or_default()
    };
    format!("cli:{}", shown(&named.unwrap_or_else(owner), 60))
}

pub(super) async fn find(flows: &Flows, login: &str) -> Result<Person, Failure> {
    let login = Login::parse(login).map_err(wrong_input)?;
    let found = flows.store.person_by_login(&login).await.map_err(because)?;
    found.ok_or_else(|| failed(format!("nobody signs in as {login}")))
}

pub(super) async fn run(command: UserCommand) -> Done {
    match command {
        UserCommand::Add { login, name, email, groups, config, output } => {
            let house = open(&config.config).await?;
            let login = Login::parse(&login).map_err(wrong_input)?;
            let name = if name.is_empty() { name_of(&login) } else { name };
            fit(&name, &email, &groups)?;
            warn_of_unknown(&house, &groups);
            let person = house.flows.add_person(login, &name, &email, groups, &by()).await.map_err(because)?;
            link(&house.flows, &person, Duration::from_secs(24 * 3600), output.format()).await
        }
        UserCommand::Link { login, hours, config, output } => {
            let house = open(&config.config).await?;
            let person = find(&house.flows, &login).await?;
            let lifetime = Duration::from_secs(hours.saturating_mul(3600));
            link(&house.flows, &person, lifetime, output.format()).await
        }
        UserCommand::Change { login, name, email, groups, no_groups, config, output } => {
            let groups = if no_groups { Some(Vec::new()) } else { groups };
            if name.is_none() && email.is_none() && groups.is_none() {
                return Err(wrong_input("nothing to change was given: --name, --email, --group or --no-groups"));
            }
            let house = open(&config.config).await?;
            let person = find(&house.flows, &login).await?;
            let name = name.unwrap_or_else(|| person.name.clone());
            let email = email.unwrap_or_else(|| person.email.clone());
            if let Some(groups) = &groups {
                warn_of_unknown(&house, groups);
            }
            let groups = groups.unwrap_or_else(|| person.groups.clone());
            fit(&name, &email, &groups)?;
            let person = house.flows.change_person(&person, &name, &email, groups, &by()).await.map_err(because)?;
            print::done(output.format(), &told(&person), &format!("Changed {}.", person.login))
        }
        UserCommand::Deactivate { login, config, output } => set_active(&config, &login, false, output.format()).await,
        UserCommand::Activate { login, config, output } => set_active(&config, &login, true, output.format()).await,
        UserCommand::Govern { login, by: governor, config, output } => {
            let house = open(&config.config).await?;
            let person = find(&house.flows, &login).await?;
            let provisioned = governor == Governor::Provisioning;
            match provisioning(&house).govern(person.id, provisioned, &by()).await {
                Ok(()) => {}
                Err(ProvisionError::Changed) => return Err(failed(format!("{} is so already", person.login))),
                Err(error) => return Err(because(error)),
            }
            let (governor, words) = match governor {
                Governor::Provisioning => ("provisioning", "governed by provisioning from now on"),
                Governor::Hand => ("hand", "governed by hand from now on, and in no provisioned group"),
            };
            let value = with(&person, json!({ "governed_by": governor }));
            print::done(output.format(), &value, &format!("{} is {words}.", person.login))
        }
        UserCommand::Identify { login, provider, subject, config, output } => {
            let house = open(&config.config).await?;
            identify(&house, &login, &provider, &subject, output.format()).await
        }
        UserCommand::Remove { login, config, output } => {
            let house = open(&config.config).await?;
            let person = find(&house.flows, &login).await?;
            house.flows.remove_person(&person, &by()).await.map_err(because)?;
            let words = format!("Removed {}: sessions, factors and links have ended.", person.login);
            print::done(output.format(), &with(&person, json!({ "removed": true })), &words)
        }
        UserCommand::Factors(args) => factors::report(args).await,
        UserCommand::List { config, output } => {
            let house = open(&config.config).await?;
            list(&house.flows, output.format()).await
        }
        UserCommand::Unlock { login, factor, config, output } => {
            let house = open(&config.config).await?;
            let person = find(&house.flows, &login).await?;
            let kind: FactorKind = factor.parse().map_err(wrong_input)?;
            let event = Event::PersonChanged { person: person.id.to_string(), by: by() };
            let details = serde_json::json!({ "unlocked": kind.name() });
            let entry = house.flows.entry_with(house.flows.clock.now(), event, details);
            house.flows.store.reset_tries(person.id, kind, entry).await.map_err(because)?;
            let words = format!("{} of {} can be tried again.", kind.title(), person.login);
            print::done(output.format(), &with(&person, json!({ "unlocked": kind.name() })), &words)
        }
    }
}

async fn identify(house: &House, login: &str, provider: &str, subject: &str, format: Format) -> Done {
    let person = find(&house.flows, login).await?;
    let all = house.flows.live.load().providers.all().to_vec();
    let Some(known) = all.iter().find(|one| one.name.as_str() == provider) else {
        let names: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
        let there_are =
            if names.is_empty() { "there is none".to_owned() } else { format!("known are {}", names.join(", ")) };
        return Err(wrong_input(format!("--provider: the configuration has no provider {provider:?}; {there_are}")));
    };
    if subject.is_empty() || subject.len() > SUBJECT_LEN_MAX || shown(subject, SUBJECT_LEN_MAX) != *subject {
        return Err(wrong_input(format!(
            "--subject: what the provider says in `sub` is expected, at most {SUBJECT_LEN_MAX} bytes"
        )));
    }
    match house.flows.add_identity(&person, known, subject, &by()).await {
        Ok(_) => {
            let value = with(&person, json!({ "provider": provider, "subject": subject }));
            print::done(format, &value, &format!("{} can sign in with {} from now on.", person.login, known.title))
        }
        Err(ChangeError::UsedBefore) => Err(failed(format!("somebody is {subject:?} at {provider} already"))),
        Err(error) => Err(because(error)),
    }
}

/// Says of which option something is not fit, before anything is opened for writing. A comma in a group's name
/// is more likely two groups.
fn fit(name: &str, email: &str, groups: &[String]) -> Result<(), Failure> {
    if let Some(group) = groups.iter().find(|group| group.contains(',')) {
        return Err(wrong_input(format!(
            "--group: a name without commas is expected, not {group:?}; give each its own --group"
        )));
    }
    match Profile::parse(name, email, groups.to_vec()) {
        Ok(_) => Ok(()),
        Err(error @ Unfit::Name) => Err(wrong_input(format!("--name: {error}"))),
        Err(error @ Unfit::Email) => Err(wrong_input(format!("--email: {error}, not {email:?}"))),
        Err(error @ Unfit::Group) => Err(wrong_input(format!("--group: {error}; for none, --no-groups"))),
    }
}

/// A person, as commands tell programs.
fn told(person: &Person) -> Value {
    json!({
        "person": person.id.to_string(), "login": person.login.as_str(), "name": person.name,
        "email": person.email, "groups": person.groups, "active": person.active,
    })
}

/// What was done to a person: who it is, and these members.
fn with(person: &Person, more: Value) -> Value {
    let mut value = json!({ "person": person.id.to_string(), "login": person.login.as_str() });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

const DIRECTORY_SAYS_INACTIVE: &str = "the directory that governs them says that they are inactive; activate them there, \
     or take them back with `stepgate user govern NAME --by hand`";

/// Provisioning, as commands use it.
pub(super) fn provisioning(house: &House) -> Provisioning {
    // People are linked by what provisions them, never by these commands.
    Provisioning { flows: Arc::clone(&house.flows), accounts: Arc::clone(&house.database) as _, links: None }
}

async fn set_active(config: &ConfigArgs, login: &str, active: bool, format: Format) -> Done {
    let house = open(&config.config).await?;
    let person = find(&house.flows, login).await?;
    match provisioning(&house).set_blocked(person.id, !active, &by()).await {
        Ok(()) => {}
        Err(ProvisionError::Changed) if active && !person.active => {
            return Err(failed(format!("{login} is not blocked here: {DIRECTORY_SAYS_INACTIVE}")));
        }
        Err(ProvisionError::Changed) => {
            let word = if active { "active" } else { "blocked" };
            return Err(failed(format!("{login} is {word} already")));
        }
        Err(error) => return Err(because(error)),
    }
    let now = find(&house.flows, login).await?;
    let words = match (active, now.active) {
        (true, true) => "may sign in again, once they have enrolled factors".to_owned(),
        (true, false) => format!("is not blocked any more, but stays inactive: {DIRECTORY_SAYS_INACTIVE}"),
        (false, _) => {
            "may not sign in any more, whatever a directory says: sessions, factors and links have ended".to_owned()
        }
    };
    print::done(format, &with(&person, json!({ "active": now.active })), &format!("{login} {words}."))
}

/// Says which of the groups no policy names: whoever is in such a group alone may do nothing. It is done
/// all the same, because the policy may come later.
fn warn_of_unknown(house: &House, groups: &[String]) {
    let known = house.flows.live.load().policies.groups();
    for group in groups.iter().filter(|group| !known.contains(*group)) {
        let hint = match nearest(group, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near:?}? "),
            None => String::new(),
        };
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        eprintln!("warning: no policy names the group {group:?}; {hint}Policies name: {}", known.join(", "));
    }
}

async fn link(flows: &Flows, person: &Person, lifetime: Duration, format: Format) -> Done {
    let mut kinds = FactorKind::BUILT_IN.to_vec();
    if !flows.assigned_tokens(person).await.map_err(because)?.is_empty() {
        kinds.push(FactorKind::Hotp);
    }
    let made = flows.make_link(person, kinds, lifetime, &by()).await.map_err(because)?;
    match format {
        Format::Json => print::json(&serde_json::json!({
            "person": person.id.to_string(),
            "login": person.login.as_str(),
            "url": made.url,
            "expires_at": made.expires_at.to_string(),
        })),
        Format::Text => {
            println!("{} enrols here, once, until {}:", person.login, made.expires_at);
            println!("  {}", made.url);
            println!("Give it to nobody else: whoever opens it first enrols their own keys.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(flows: &Flows, format: Format) -> Done {
    let mut after: Option<Login> = None;
    let mut rows = Vec::new();
    loop {
        let people = flows.store.people(after.as_ref(), 500).await.map_err(because)?;
        let Some(last) = people.last() else { break };
        after = Some(last.login.clone());
        for person in people {
            let factors = flows.store.factors(person.id).await.map_err(because)?;
            let mut kinds: Vec<&str> = factors.iter().map(|factor| factor.kind().name()).collect();
            kinds.sort_unstable();
            match format {
                Format::Text => println!(
                    "{:<24} {:<24} {:<30} {}",
                    person.login.as_str(),
                    person.name,
                    person.groups.join(", "),
                    if !person.active {
                        "inactive".to_owned()
                    } else if kinds.is_empty() {
                        "nothing enrolled".to_owned()
                    } else {
                        kinds.join(", ")
                    }
                ),
                Format::Json => {
                    let mut row = told(&person);
                    if let Value::Object(row) = &mut row {
                        row.insert("factors".to_owned(), json!(kinds));
                    }
                    rows.push(row);
                }
            }
        }
    }
    if format == Format::Json {
        print::json(&serde_json::Value::Array(rows));
    }
    Ok(ExitCode::SUCCESS)
}
