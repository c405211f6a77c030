//! What prompts, replays and shadows have in common: where entries come from, who people are, and how counts are told.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stepgate_core::id::PersonId;
use stepgate_core::policy::{Policies, PolicyEffect};
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_core::prompts::{Count, Delta, Differences, Summary};
use stepgate_core::time::{Clock as _, Timestamp};
use stepgate_evidence::Entry;

use super::described::duration;
use crate::commands::{Failure, because};
use crate::gate::House;
use crate::system::SystemClock;

/// Entries that are read at once.
const PAGE: u32 = 1000;
/// Rows of a list that are printed for people.
const ROWS_MAX: usize = 20;
/// What begins the ids of the built-in rules.
const BUILT_IN: &str = "stepgate.";

/// What is counted of prompts.
pub(super) const OF_PROMPTS: [&str; 7] = [
    "challenge.opened",
    "challenge.passed",
    "challenge.failed",
    "challenge.expired",
    "challenge.cancelled",
    "operation.sent",
    "operation.refused",
];

/// The moment so long before now.
pub(super) fn since(back: &str) -> Result<Timestamp, Failure> {
    let back = duration(back).map_err(|failure| failure.of("--since"))?;
    let back = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_ms(SystemClock.now().as_ms().saturating_sub(back)))
}

/// Hands every entry of these kinds on, from the store, in order.
pub(super) async fn each(
    house: &House,
    kinds: &[&str],
    since: Timestamp,
    mut take: impl FnMut(&Entry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut next = 0;
    loop {
        let query = EntryQuery {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            since: Some(since),
            from: Some(next),
            limit: PAGE,
            ..EntryQuery::default()
        };
        let found = house.database.entries(query).await.map_err(because)?;
        let Some(last) = found.last() else { return Ok(()) };
        next = last.index.saturating_add(1);
        found.iter().try_for_each(|recorded| take(&recorded.entry))?;
    }
}

/// The ids of the operator's rules that could ask.
pub(super) fn could_ask(policies: &Policies) -> Vec<&str> {
    let rules = policies.all().into_iter();
    let rules = rules.filter(|rule| rule.effect == PolicyEffect::Forbid && !rule.id.starts_with(BUILT_IN));
    rules.map(|rule| rule.id.as_str()).collect()
}

/// What people are called, by id.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// Those of these people who are still there.
    pub(super) async fn of<'i>(house: &House, ids: impl IntoIterator<Item = &'i str>) -> Result<Self, Failure> {
        let mut names = BTreeMap::new();
        for id in ids {
            let Ok(person) = id.parse::<PersonId>() else { continue };
            if let Some(person) = house.database.person(person).await.map_err(because)? {
                names.insert(id.to_owned(), person.login.to_string());
            }
        }
        Ok(Self(names))
    }

    fn name<'a>(&'a self, id: &'a str) -> &'a str {
        match self.0.get(id) {
            Some(login) => login,
            None if id.is_empty() => "(nobody signed in)",
            None => id,
        }
    }
}

/// Prints what was counted, by rule, person and operation.
pub(super) fn tell(summary: &Summary, names: &Names) {
    if summary.open > 0 {
        println!("{} of them are open still.", summary.open);
    }
    list("by rule", summary, &summary.rules, |id| id);
    list("by person", summary, &summary.people, |id| names.name(id));
    list("by operation", summary, &summary.operations, |id| id);
    tell_silent(&summary.silent);
    if !summary.weaker.is_empty() {
        println!(
            "\nsensitive operations that took what can be phished, or nothing, while others as sensitive did not:"
        );
        for one in &summary.weaker {
            let unasked = if one.unasked > 0 { format!(", {} times unasked", one.unasked) } else { String::new() };
            println!("  {}  ({}): {} of {} proofs{unasked}", one.operation, one.sensitivity, one.phishable, one.proofs);
            println!("    beside {}", one.peers.join(", "));
        }
    }
}

/// Prints the rules that never did anything.
pub(super) fn tell_silent(silent: &[String]) {
    if !silent.is_empty() {
        println!("\nrules that never asked and never refused:\n  {}", silent.join("\n  "));
    }
}

/// Prints where two sets differ: in all, and by rule, person and operation.
pub(super) fn tell_differences(differences: &Differences, days: f64, names: &Names) {
    println!("  {}", delta_words(&differences.total, days));
    for (title, rows) in [
        ("by rule", differences.rules()),
        ("by person", differences.people()),
        ("by operation", differences.operations()),
    ] {
        println!("\n{title}:");
        for (id, delta) in rows.iter().take(ROWS_MAX) {
            let name = if title == "by person" { names.name(id) } else { id };
            println!("  {name:<44} {}", delta_words(delta, days));
        }
        more(rows.len());
    }
}

fn delta_words(delta: &Delta, days: f64) -> String {
    let counts = [
        (delta.newly_asked, "asked anew"),
        (delta.no_longer_asked, "asked no longer"),
        (delta.asked_otherwise, "asked otherwise"),
        (delta.newly_refused, "refused anew"),
        (delta.no_longer_refused, "refused no longer"),
    ];
    let words = counts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> =
        words.map(|(count, what)| format!("{count} {what} ({:.1} a day)", a_day(*count, days))).collect();
    if words.is_empty() { "only in who has to sign in".to_owned() } else { words.join(", ") }
}

fn list<'a>(title: &str, summary: &Summary, counts: &'a [(String, Count)], name: impl Fn(&'a str) -> &'a str) {
    if counts.is_empty() {
        return;
    }
    println!("\n{title}:");
    for (id, count) in counts.iter().take(ROWS_MAX) {
        println!("  {:<44} {}", name(id), words(*count, summary.days));
    }
    more(counts.len());
}

fn more(rows: usize) {
    if let Some(more) = rows.checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        println!("  and {more} more: --json has all");
    }
}

/// `12 prompts (1.7 a day), 3 of them used by no decision, 1 a repeat; 4 refusals`.
pub(super) fn words(count: Count, days: f64) -> String {
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
pub(super) fn a_day(count: u64, days: f64) -> f64 {
    count as f64 / days
}

/// What was counted, for programs.
pub(super) fn as_json(summary: &Summary, names: &Names) -> Value {
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
        .map(|(id, of)| json!({ "id": id, "login": names.0.get(id), "count": count(of) }))
        .collect();
    let weaker: Vec<Value> = summary
        .weaker
        .iter()
        .map(|one| {
            json!({
                "operation": one.operation, "sensitivity": one.sensitivity, "phishable_proofs": one.phishable,
                "proofs": one.proofs, "unasked": one.unasked, "peers": one.peers,
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

/// Where two sets differ, for programs.
pub(super) fn differences_json(differences: &Differences, days: f64, names: &Names) -> Value {
    let delta = |delta: &Delta| {
        let Delta { newly_asked, no_longer_asked, asked_otherwise, newly_refused, no_longer_refused } = *delta;
        json!({
            "newly_asked": newly_asked, "newly_asked_a_day": a_day(newly_asked, days),
            "no_longer_asked": no_longer_asked, "no_longer_asked_a_day": a_day(no_longer_asked, days),
            "asked_otherwise": asked_otherwise,
            "newly_refused": newly_refused, "no_longer_refused": no_longer_refused,
        })
    };
    let rows = |rows: Vec<(&str, Delta)>| -> Vec<Value> {
        rows.into_iter().map(|(id, of)| json!({ "id": id, "count": delta(&of) })).collect()
    };
    let people = differences.people().into_iter();
    let people: Vec<Value> =
        people.map(|(id, of)| json!({ "id": id, "login": names.0.get(id), "count": delta(&of) })).collect();
    let answers: Vec<Value> = differences
        .answers
        .iter()
        .map(|((live, other), count)| json!({ "from": live.name(), "to": other.name(), "count": count }))
        .collect();
    json!({
        "total": delta(&differences.total), "answers": answers, "rules": rows(differences.rules()), "people": people,
        "operations": rows(differences.operations()),
    })
}
