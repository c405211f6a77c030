//! `stepgate policy prompts`: how often people are asked, by which rule, and what comes of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use stepgate_core::id::PersonId;
use stepgate_core::policy::PolicyEffect;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_core::prompts::{Count, Prompts, Summary};
use stepgate_core::time::{Clock as _, Timestamp};

use super::described::duration;
use crate::cli::Format;
use crate::commands::user::by;
use crate::commands::{Done, Failure, because, open, print, wrong_input};
use crate::gate::House;
use crate::system::SystemClock;

/// Entries that are read at once.
const PAGE: u32 = 1000;
/// Rows of a list that are printed for people.
const ROWS_MAX: usize = 20;
/// What begins the ids of the built-in rules.
const BUILT_IN: &str = "stepgate.";

pub(super) async fn run(since: &str, config: &Path, format: Format) -> Done {
    let back = duration(since).map_err(|failure| failure.of("--since"))?;
    let house = open(config).await?;
    // Who was asked what, and when, is evidence: looking at it stands in it.
    house.flows.searched(&by(), &format!("prompts of the last {since}")).await.map_err(because)?;
    let now = SystemClock.now().as_ms();
    let back = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
    let prompts = read(&house, Timestamp::from_ms(now.saturating_sub(back))).await?;
    let live = house.flows.live.load();
    let rules = live.policies.all();
    let rules = rules.iter().filter(|rule| rule.effect == PolicyEffect::Forbid && !rule.id.starts_with(BUILT_IN));
    let rules: Vec<&str> = rules.map(|rule| rule.id.as_str()).collect();
    let summary = prompts.summary(&rules);
    let logins = logins(&house, &summary).await?;
    match format {
        Format::Json => print::json(&as_json(&summary, &logins)),
        Format::Text => tell(&summary, &logins),
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(house: &House, since: Timestamp) -> Result<Prompts, Failure> {
    let kinds = [
        "challenge.opened",
        "challenge.passed",
        "challenge.failed",
        "challenge.expired",
        "challenge.cancelled",
        "operation.sent",
        "operation.refused",
    ];
    let (mut prompts, mut next) = (Prompts::default(), 0);
    loop {
        let query = EntryQuery {
            kinds: kinds.map(str::to_owned).to_vec(),
            since: Some(since),
            from: Some(next),
            limit: PAGE,
            ..EntryQuery::default()
        };
        let found = house.database.entries(query).await.map_err(because)?;
        let Some(last) = found.last() else { return Ok(prompts) };
        next = last.index.saturating_add(1);
        for recorded in &found {
            prompts.add(&recorded.entry).map_err(|error| wrong_input(format!("{error} (--since)")))?;
        }
    }
}

/// What the people are called; those who are gone are not there.
async fn logins(house: &House, summary: &Summary) -> Result<BTreeMap<String, String>, Failure> {
    let mut logins = BTreeMap::new();
    for (id, _) in &summary.people {
        let Ok(person) = id.parse::<PersonId>() else { continue };
        if let Some(person) = house.database.person(person).await.map_err(because)? {
            logins.insert(id.clone(), person.login.to_string());
        }
    }
    Ok(logins)
}

fn name<'a>(id: &'a str, logins: &'a BTreeMap<String, String>) -> &'a str {
    match logins.get(id) {
        Some(login) => login,
        None if id.is_empty() => "(nobody signed in)",
        None => id,
    }
}

fn tell(summary: &Summary, logins: &BTreeMap<String, String>) {
    let Some((first, last)) = summary.period else {
        println!("Nobody was asked or refused in that time.");
        return;
    };
    println!("From {first} to {last}: {}", words(summary.total, summary.days));
    if summary.open > 0 {
        println!("{} of them are open still.", summary.open);
    }
    println!("What passed unasked is not in the ledger, and not counted here.");
    list("by rule", summary, &summary.rules, |id| id);
    list("by person", summary, &summary.people, |id| name(id, logins));
    list("by operation", summary, &summary.operations, |id| id);
    if !summary.silent.is_empty() {
        println!("\nrules that never asked and never refused:\n  {}", summary.silent.join("\n  "));
    }
    if !summary.weaker.is_empty() {
        println!("\nsensitive operations that took what can be phished, while others as sensitive did not:");
        for one in &summary.weaker {
            println!("  {}  ({}): {} of {} proofs", one.operation, one.sensitivity, one.phishable, one.proofs);
            println!("    beside {}", one.peers.join(", "));
        }
    }
}

fn list<'a>(title: &str, summary: &Summary, counts: &'a [(String, Count)], name: impl Fn(&'a str) -> &'a str) {
    println!("\n{title}:");
    for (id, count) in counts.iter().take(ROWS_MAX) {
        println!("  {:<44} {}", name(id), words(*count, summary.days));
    }
    if let Some(more) = counts.len().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        println!("  and {more} more: --json has all");
    }
}

/// `12 prompts (1.7 a day), 3 of them used by no decision, 1 a repeat; 4 refusals`.
fn words(count: Count, days: f64) -> String {
    let prompts = if count.asked == 1 { "prompt" } else { "prompts" };
    let mut words = format!("{} {prompts} ({:.1} a day)", count.asked, a_day(count.asked, days));
    if count.unused > 0 {
        words.push_str(&format!(", {} used by no decision", count.unused));
    }
    if count.repeated > 0 {
        words.push_str(&format!(", {} while the last proof still counted", count.repeated));
    }
    if count.denied > 0 {
        words.push_str(&format!(", {} refused", count.denied));
    }
    words
}

#[expect(clippy::cast_precision_loss, reason = "a mean that is shown with one digit")]
fn a_day(count: u64, days: f64) -> f64 {
    count as f64 / days
}

fn as_json(summary: &Summary, logins: &BTreeMap<String, String>) -> Value {
    let count = |count: &Count| {
        json!({
            "prompts": count.asked, "prompts_a_day": a_day(count.asked, summary.days), "unused": count.unused,
            "repeated": count.repeated, "refused": count.denied,
        })
    };
    let counts = |counts: &[(String, Count)]| -> Vec<Value> {
        counts.iter().map(|(id, of)| json!({ "id": id, "count": count(of) })).collect()
    };
    let people: Vec<Value> = summary
        .people
        .iter()
        .map(|(id, of)| json!({ "id": id, "login": logins.get(id), "count": count(of) }))
        .collect();
    let weaker: Vec<Value> = summary
        .weaker
        .iter()
        .map(|one| {
            json!({
                "operation": one.operation, "sensitivity": one.sensitivity, "phishable_proofs": one.phishable,
                "proofs": one.proofs, "peers": one.peers,
            })
        })
        .collect();
    json!({
        "from": summary.period.map(|(first, _)| first.to_string()),
        "to": summary.period.map(|(_, last)| last.to_string()),
        "days": summary.days, "open": summary.open, "total": count(&summary.total),
        "rules": counts(&summary.rules), "people": people, "operations": counts(&summary.operations),
        "rules_that_never_asked": summary.silent, "weaker_than_their_peers": weaker,
    })
}
