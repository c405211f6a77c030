//! `stepgate policy shadow`: where a second set of policies, asked beside the live one, said something else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use stepgate_core::flows::Compared;
use stepgate_core::policy::Policies;
use stepgate_core::prompts::{Differences, days};
use stepgate_core::time::Timestamp;
use stepgate_evidence::{Entry, Event};

use super::report::{self, Names};
use crate::cli::Format;
use crate::commands::user::by;
use crate::commands::{Done, FOUND, Failure, because, open, print, wrong_input};
use crate::config;
use crate::gate::{load_shadow, verified};

/// Rules that are listed for people.
const RULES_MAX: usize = 20;

/// What the windows of one second set come to.
#[derive(Debug, Default)]
struct Sum {
    differences: Differences,
    /// How often each rule of the second set asked or refused.
    rules: BTreeMap<String, u64>,
    decided: u64,
    differing: u64,
    /// Differences that are counted and not told: too many kinds in one window, or erased.
    untold: u64,
    /// Decisions that were not compared.
    dropped: u64,
    erased: u64,
    /// The versions of other second sets, whose windows are left out.
    others: BTreeSet<String>,
    period: Option<(Timestamp, Timestamp)>,
}

pub(super) async fn run(since: &str, config: &Path, format: Format) -> Done {
    let from = report::since(since)?;
    let settings = config::load(config)?;
    let none = "no second set of policies is configured: name its directory in [gate] shadow_policies, and reload";
    let shadow = load_shadow(&settings, verified(&settings)).ok_or_else(|| wrong_input(none))??;
    let house = open(config).await?;
    // Who would be asked what is drawn from what people did: looking at it stands in the evidence.
    house.flows.searched(&by(), &format!("shadow of the last {since}")).await.map_err(because)?;
    let mut sum = Sum::default();
    report::each(&house, &["policy.compared"], from, |entry| {
        sum.add(entry, shadow.version());
        Ok::<(), Failure>(())
    })
    .await?;
    let names = Names::of(&house, sum.differences.people().into_iter().map(|(id, _)| id)).await?;
    match format {
        Format::Json => print::json(&sum.as_json(&shadow, &names)),
        Format::Text => sum.tell(&shadow, &names),
    }
    Ok(if sum.differing == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

impl Sum {
    fn add(&mut self, entry: &Entry, version: &str) {
        let Event::PoliciesCompared { shadow, decided, differing, untold, dropped, window_s, .. } = &entry.event else {
            return;
        };
        if shadow != version {
            self.others.insert(shadow.clone());
            return;
        }
        for (sum, more) in [
            (&mut self.decided, decided),
            (&mut self.differing, differing),
            (&mut self.untold, untold),
            (&mut self.dropped, dropped),
        ] {
            *sum = sum.saturating_add(u64::from(*more));
        }
        let end = Timestamp::from_ms(entry.at_ms);
        let begin = Timestamp::from_ms(entry.at_ms.saturating_sub(i64::from(*window_s).saturating_mul(1000)));
        self.period = Some(self.period.map_or((begin, end), |(first, last)| (first.min(begin), last.max(end))));
        let Some(compared) = Compared::from_details(entry.details.as_ref()) else {
            self.erased = self.erased.saturating_add(1);
            return;
        };
        compared.differences.iter().for_each(|(kind, count)| self.differences.add(kind, *count));
        for (rule, count) in compared.rules {
            let sum = self.rules.entry(rule).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    fn silent(&self, shadow: &Policies) -> Vec<String> {
        let could = report::could_ask(shadow).into_iter();
        could.filter(|rule| !self.rules.contains_key(*rule)).map(str::to_owned).collect()
    }

    /// By rule, most first.
    fn by_rule(&self) -> Vec<(&str, u64)> {
        let mut rules: Vec<_> = self.rules.iter().map(|(rule, count)| (rule.as_str(), *count)).collect();
        rules.sort_by(|(a, x), (b, y)| (y, a).cmp(&(x, b)));
        rules
    }

    fn days(&self) -> f64 {
        self.period.map_or(1.0, days)
    }

    fn tell(&self, shadow: &Policies, names: &Names) {
        let version = shadow.version().get(..12).unwrap_or_default();
        let Some((first, last)) = self.period else {
            println!(
                "Policies {version} have not been asked yet: a running gate takes them with SIGHUP, and writes every five minutes."
            );
            return;
        };
        println!("From {first} to {last}, policies {version} beside the live ones:");
        println!("{} decisions compared, {} of them would be otherwise.", self.decided, self.differing);
        for (count, what) in [
            (self.dropped, "decisions were not compared: too many waited, or the policies had just changed"),
            (self.untold, "of those that differ are only counted: there were too many kinds of them at once"),
            (self.erased, "entries were erased, and what they told is missing below"),
        ] {
            if count > 0 {
                println!("{count} {what}.");
            }
        }
        if !self.others.is_empty() {
            println!("Windows of {} other versions of these policies are left out.", self.others.len());
        }
        if !self.differences.is_empty() {
            println!("\nWhat would be otherwise:");
            report::tell_differences(&self.differences, self.days(), names);
        }
        if !self.rules.is_empty() {
            println!("\nits rules asked or refused:");
            for (rule, count) in self.by_rule().into_iter().take(RULES_MAX) {
                println!("  {rule:<44} {count} times ({:.1} a day)", report::a_day(count, self.days()));
            }
        }
        report::tell_silent(&self.silent(shadow));
    }

    fn as_json(&self, shadow: &Policies, names: &Names) -> Value {
        let rules: Vec<Value> =
            self.by_rule().into_iter().map(|(rule, count)| json!({ "id": rule, "times": count })).collect();
        json!({
            "policies": shadow.version(),
            "from": self.period.map(|(first, _)| first.to_string()), "to": self.period.map(|(_, last)| last.to_string()),
            "decided": self.decided, "differing": self.differing, "untold": self.untold, "dropped": self.dropped,
            "erased": self.erased, "other_versions": self.others,
            "differences": report::differences_json(&self.differences, self.days(), names),
            "rules": rules, "rules_that_never_asked": self.silent(shadow),
        })
    }
}
