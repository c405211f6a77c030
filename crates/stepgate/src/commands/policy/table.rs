//! `stepgate policy test`: tables of requests with expected verdicts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use stepgate_core::factor::FactorKind;
use stepgate_core::policy::{Policies, PolicySource};
use stepgate_core::surroundings::Environment;

use super::case::{Case, Outcome};
use crate::cli::Format;
use crate::commands::{Done, FOUND, Failure, because, print, wrong_input};
use crate::config::{self, Settings};
use crate::gate::{environment, load_sources, read_source, read_sources, verified};

/// A table, as its file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    /// The files that are tested, beside the table; without it all policies are.
    policies: Option<Vec<PathBuf>>,
    /// Policies for this table alone.
    #[serde(default)]
    cedar: String,
    /// What every case says that does not say otherwise.
    #[serde(default)]
    default: toml::Table,
    #[serde(rename = "case")]
    cases: Vec<toml::Table>,
    /// Services, networks and calendars for this table alone, as the configuration has them.
    #[serde(default)]
    service: Vec<toml::Table>,
    #[serde(default)]
    network: Vec<toml::Table>,
    #[serde(default)]
    calendar: Vec<toml::Table>,
}

/// A table of requests with expected verdicts, and what it brings along.
#[derive(Debug)]
pub(in crate::commands) struct Table {
    file: PathBuf,
    policies: Option<Vec<PathBuf>>,
    cedar: String,
    /// What is added to the configuration.
    world: World,
    pub(in crate::commands) cases: Vec<Case>,
}

/// What a table adds to the configuration.
#[derive(Debug)]
struct World {
    service: Vec<toml::Table>,
    network: Vec<toml::Table>,
    calendar: Vec<toml::Table>,
}

impl World {
    const fn is_empty(&self) -> bool {
        self.service.is_empty() && self.network.is_empty() && self.calendar.is_empty()
    }
}

impl Table {
    pub(in crate::commands) fn read(file: &Path) -> Result<Self, Failure> {
        Self::parse(&std::fs::read_to_string(file).map_err(because)?, file)
    }

    /// Reads a table's text. `file` is where it is, or would be.
    pub(super) fn parse(text: &str, file: &Path) -> Result<Self, Failure> {
        let wrong = |what: &dyn std::fmt::Display| wrong_input(format!("{}: {what}", file.display()));
        let TableFile { policies, cedar, default, cases, service, network, calendar } =
            toml::from_str(text).map_err(|error| wrong(&error))?;
        let case = |(number, mut own): (usize, toml::Table)| {
            let name = own.get("name").and_then(toml::Value::as_str).map(str::to_owned);
            for (key, value) in &default {
                own.entry(key).or_insert_with(|| value.clone());
            }
            own.try_into::<Case>().map_err(|error| match name {
                Some(name) => wrong(&format_args!("case {name:?}: {}", error.message())),
                None => wrong(&format_args!("case {number}: {}", error.message())),
            })
        };
        let cases = (1..).zip(cases).map(case).collect::<Result<_, _>>()?;
        Ok(Self { file: file.to_owned(), policies, cedar, world: World { service, network, calendar }, cases })
    }

    /// The settings of a configuration with what the table brings; `None` if it brings nothing.
    pub(super) fn settings(&self, config: &Path, settings: &Settings) -> Result<Option<Settings>, Failure> {
        if self.world.is_empty() {
            return Ok(None);
        }
        let World { service: services, network, calendar } = &self.world;
        // Nobody reaches these services, so nothing has to be said of where they are.
        let scheme = settings.origin.scheme();
        let service = |own: &toml::Table| {
            let mut own = own.clone();
            let name = own.get("name").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
            own.entry("origin").or_insert_with(|| format!("{scheme}://{name}.table.localhost").into());
            own.entry("upstream").or_insert_with(|| "http://127.0.0.1:9".into());
            own
        };
        let mut more = toml::Table::new();
        let mut put = |key: &str, tables: Vec<toml::Table>| {
            if !tables.is_empty() {
                more.insert(key.to_owned(), tables.into());
            }
        };
        put("service", services.iter().map(service).collect());
        put("network", network.clone());
        put("calendar", calendar.clone());
        let more = toml::to_string(&more).map_err(because)?;
        Ok(Some(config::load_with(config, &more, &self.file)?))
    }

    /// The policies that it tests; `all` are those beside the configuration.
    fn sources(&self, all: &[PolicySource]) -> Result<Vec<PolicySource>, Failure> {
        let directory = self.file.parent().unwrap_or(Path::new(""));
        let mut sources = match &self.policies {
            None => all.to_vec(),
            Some(named) => named.iter().map(|name| read_source(&directory.join(name))).collect::<Result<_, _>>()?,
        };
        sources.extend(self.own_source());
        Ok(sources)
    }

    /// The kinds of factors that can be asked for. Where a table says what it tests, what the deployment verifies
    /// besides changes nothing.
    pub(super) fn verified(&self, settings: &Settings) -> Vec<FactorKind> {
        if self.policies.is_some() { FactorKind::BUILT_IN.to_vec() } else { verified(settings) }
    }

    /// The policies that stand in the table itself.
    pub(super) fn own_source(&self) -> Option<PolicySource> {
        let name = self.file.display().to_string();
        (!self.cedar.is_empty()).then(|| PolicySource { name, text: self.cedar.clone() })
    }

    /// Whether everything beside the configuration is tested, and nothing else.
    const fn tests_what_is_there(&self) -> bool {
        self.policies.is_none() && self.cedar.is_empty()
    }

    /// What each case comes to.
    pub(super) fn run(
        &self,
        settings: &Settings,
        policies: &Policies,
        environment: &Environment,
    ) -> Result<Vec<(&Case, Outcome)>, Failure> {
        let run = |case| {
            let outcome = Case::run(case, settings, policies, environment);
            outcome
                .map(|outcome| (case, outcome))
                .map_err(|failure| failure.of(&format!("{}: {:?}", self.file.display(), case.name)))
        };
        self.cases.iter().map(run).collect()
    }
}

/// The cases of the tables beside the policies that `policies` decide otherwise than expected, by file. Tables that
/// say themselves what they test are left out.
pub(super) fn wrong_with(policies: &Policies, settings: &Settings) -> Result<Vec<(PathBuf, Vec<String>)>, Failure> {
    let around = environment(settings)?;
    let mut wrong = Vec::new();
    for file in test_files(&settings.policies).map_err(because)? {
        let table = Table::read(&file)?;
        if !table.tests_what_is_there() || !table.world.is_empty() {
            continue;
        }
        let outcomes = table.run(settings, policies, &around)?;
        let names = outcomes.into_iter().filter(|(_, outcome)| !outcome.right).map(|(case, _)| case.name.clone());
        let names: Vec<_> = names.collect();
        if !names.is_empty() {
            wrong.push((file, names));
        }
    }
    Ok(wrong)
}

pub(super) fn test(config: &Path, files: Vec<PathBuf>, format: Format) -> Done {
    let settings = config::load(config)?;
    let sources = read_sources(&settings.policies)?;
    let policies = load_sources(&settings, sources.clone(), verified(&settings))?;
    let around = environment(&settings)?;
    let files = if files.is_empty() { test_files(&settings.policies).map_err(because)? } else { files };
    if files.is_empty() {
        return Err(wrong_input(format!("there is no *.test.toml in {}", settings.policies.display())));
    }
    let (mut passed, mut failures, mut rows) = (0_usize, 0_usize, Vec::new());
    for file in files {
        let table = Table::read(&file)?;
        let own = table.settings(config, &settings)?;
        let outcomes = if own.is_none() && table.tests_what_is_there() {
            table.run(&settings, &policies, &around)?
        } else {
            let settings = own.as_ref().unwrap_or(&settings);
            let policies = load_sources(settings, table.sources(&sources)?, table.verified(settings))?;
            table.run(settings, &policies, &environment(settings)?)?
        };
        for (case, outcome) in outcomes {
            if outcome.right {
                passed = passed.saturating_add(1)
            } else {
                failures = failures.saturating_add(1)
            }
            match format {
                Format::Json => rows.push(serde_json::json!({
                    "file": file.display().to_string(), "case": case.name, "passed": outcome.right,
                    "expected": case.expect, "found": outcome.found, "because": outcome.decided,
                    "max_age_s": outcome.max_age.map(|age| age.as_secs()),
                })),
                Format::Text => tell(case, &outcome, &file)?,
            }
        }
    }
    match format {
        Format::Json => print::json(&serde_json::json!({ "passed": passed, "failed": failures, "cases": rows })),
        Format::Text => println!("\n{passed} passed, {failures} failed"),
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
}

fn tell(case: &Case, outcome: &Outcome, file: &Path) -> Result<(), Failure> {
    if outcome.right {
        println!("ok    {}", case.name);
        return Ok(());
    }
    let max_age = case.max_age()?;
    let found_age = outcome.max_age.filter(|_| max_age.is_some());
    println!("WRONG {}", case.name);
    println!("      {}, by {}, in {}", case.request, case.who(), file.display());
    println!("      expected {}{}{}", case.expect, within(max_age), because_of(&case.because));
    println!("      found    {}{}{}", outcome.found, within(found_age), because_of(&outcome.decided));
    Ok(())
}

fn within(max_age: Option<Duration>) -> String {
    max_age.map(|age| format!(", max_age {} s", age.as_secs())).unwrap_or_default()
}

fn because_of(ids: &[String]) -> String {
    if ids.is_empty() { String::new() } else { format!(", because {}", ids.join(", ")) }
}

fn test_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
