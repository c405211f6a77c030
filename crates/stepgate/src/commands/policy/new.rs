//! `stepgate policy new`: a pack, written for somebody's operations.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stepgate_core::catalogue::GATE_SERVICE;
use stepgate_core::policy::{Policies, PolicySource};
use stepgate_core::surroundings::Environment;

use super::case::Outcome;
use super::pack::{Amount, Made, Names, PACKS, Pack};
use super::table::{Table, wrong_with};
use crate::cli::{Format, NewArgs};
use crate::commands::{Done, Failure, because, failed, print, wrong_input};
use crate::config::{self, Settings};
use crate::gate::{environment, load_sources, read_sources, verified};

pub(super) fn run(args: &NewArgs) -> Done {
    let Some(name) = &args.pack else { return Ok(list(args.output.format())) };
    let pack = Pack::named(name)?;
    let settings = config::load(&args.config.config)?;
    let new = New::make(pack, &names(pack, args)?, &args.config.config, &settings)?;
    new.write(if args.force { Replace::WhatIsThere } else { Replace::Nothing })?;
    new.tell(&settings, args)
}

fn list(format: Format) -> ExitCode {
    match format {
        Format::Text => PACKS.iter().for_each(|pack| println!("{:<10} {}", pack.name, pack.about)),
        Format::Json => print::json(
            &PACKS.iter().map(|pack| serde_json::json!({ "name": pack.name, "about": pack.about })).collect(),
        ),
    }
    ExitCode::SUCCESS
}

fn names(pack: &Pack, args: &NewArgs) -> Result<Names, Failure> {
    Ok(Names {
        groups: Names::read("--group", &args.groups, &pack.groups())?,
        kinds: Names::read("--kind", &args.kinds, &pack.kinds())?,
        amount: args.amount,
    })
}

/// Whether a file that is there may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replace {
    Nothing,
    WhatIsThere,
}

/// A pack, made for a configuration and held against it.
#[derive(Debug)]
pub(super) struct New {
    pack: &'static Pack,
    made: Made,
    policy_file: PathBuf,
    table_file: PathBuf,
    cases: usize,
    /// All policies, as they are once it is written.
    policies: Policies,
}

impl New {
    /// Makes it: it loads beside the operator's policies, and its table holds, or this is an error.
    pub(super) fn make(
        pack: &'static Pack,
        names: &Names,
        config: &Path,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let amounts = Amount::all(&settings.catalogue);
        let mut made = pack.make(names, &amounts);
        let policy_file = settings.policies.join(format!("{}.cedar", pack.name));
        let table_file = settings.policies.join(format!("{}.test.toml", pack.name));
        let own = PolicySource { name: policy_file.display().to_string(), text: made.policies.clone() };
        let mut sources = read_sources(&settings.policies)?;
        sources.retain(|source| source.name != own.name);
        sources.push(own.clone());
        let policies = load_sources(settings, sources, verified(settings)).map_err(|error| {
            Failure::from(error).of(&format!(
                "the pack {} does not fit this configuration, and nothing was written; --kind {}=… and --group …=… \
                 name things as you do",
                pack.name,
                pack.kinds().first().copied().unwrap_or("payment"),
            ))
        })?;
        let trial = Trial::of(&made.table, own, &table_file, config, settings)?;
        let head = made.table.clone();
        for amount in &amounts {
            made.table.push_str(&trial.cases_on(amount, pack, names, &head)?);
        }
        let outcomes = trial.outcomes(&made.table)?;
        let wrong: Vec<_> = outcomes.iter().filter(|(_, outcome)| !outcome.right).collect();
        if !wrong.is_empty() {
            let said = wrong.iter().map(|(name, outcome)| format!("{name}: {}", outcome.found));
            return Err(failed(format!(
                "the pack's own table does not hold with this configuration and these names, and nothing was written:\n  {}",
                said.collect::<Vec<_>>().join("\n  ")
            )));
        }
        Ok(Self { pack, made, policy_file, table_file, cases: outcomes.len(), policies })
    }

    /// Both files, or neither.
    pub(super) fn write(&self, replace: Replace) -> Result<(), Failure> {
        let force = replace == Replace::WhatIsThere;
        let files = [(&self.table_file, &self.made.table), (&self.policy_file, &self.made.policies)];
        if let Some((file, _)) = files.iter().find(|(file, _)| !force && file.exists()) {
            return Err(is_there(file));
        }
        let mut drafts = Vec::new();
        for (file, text) in files {
            drafts.push((Draft::write(file, text)?, file));
        }
        let mut put = Vec::new();
        for (draft, file) in &drafts {
            if let Err(failure) = draft.put(file, replace) {
                // Replaced files are whole, old or new; a new one alone would be half a pack.
                for file in put.iter().filter(|_| !force) {
                    let _ = std::fs::remove_file(file);
                }
                return Err(failure);
            }
            put.push(*file);
        }
        Ok(())
    }

    /// The rules by id, and the operations that each is about.
    #[cfg(test)]
    pub(super) fn concerned(&self, settings: &Settings) -> Vec<(String, Vec<String>)> {
        self.rules(settings).into_iter().map(|rule| (rule.id.to_owned(), rule.operations)).collect()
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.made.policies
    }

    fn tell(&self, settings: &Settings, args: &NewArgs) -> Done {
        let rules = self.rules(settings);
        let operations = own_operations(settings).count();
        let changed = wrong_with(&self.policies, settings)?;
        let (file, config) = (self.policy_file.display(), args.config.config.display());
        if args.output.format() == Format::Json {
            let rules: Vec<_> = rules
                .iter()
                .map(|rule| {
                    serde_json::json!({
                        "id": rule.id, "title": rule.title, "control": rule.control, "operations": rule.operations,
                    })
                })
                .collect();
            print::json(&serde_json::json!({
                "pack": self.pack.name, "policies": self.policy_file, "tests": self.table_file, "cases": self.cases,
                "rules": rules,
                "changed_cases": changed.iter().flat_map(|(_, names)| names).collect::<Vec<_>>(),
            }));
            return Ok(ExitCode::SUCCESS);
        }
        println!("Wrote {file}, {} rules, and {} with {} cases.", rules.len(), self.table_file.display(), self.cases);
        println!("The rules produce evidence for the controls that they name; they permit nothing.\n");
        for rule in &rules {
            let concerned = match rule.operations.as_slice() {
                [] => "none of your operations yet".to_owned(),
                all if all.len() == operations => "all your operations".to_owned(),
                some => some.join(", "),
            };
            println!("  {}  ({})\n    {concerned}", rule.id, rule.control);
        }
        for (file, names) in &changed {
            println!("\nNot as expected any more, in {}:", file.display());
            names.iter().for_each(|name| println!("  {name}"));
        }
        println!("\n`kind` and `sensitivity` in {config} say what an operation is. Next:");
        let program = print::program();
        println!("  read {file}, and set numbers, hours, countries and groups to yours");
        println!("  {program} policy test --config {config}");
        println!("  {program} policy explain METHOD URL --config {config}");
        println!("A running gate takes it with SIGHUP.");
        Ok(ExitCode::SUCCESS)
    }

    /// Each rule of the pack, in the order of the file.
    fn rules(&self, settings: &Settings) -> Vec<Rule<'_>> {
        let mine = self.policy_file.display().to_string();
        let mut of_pack: Vec<_> = self.policies.all().into_iter().filter(|about| about.source_name == mine).collect();
        of_pack.sort_by_key(|about| about.line);
        let at: Vec<_> = own_operations(settings)
            .map(|endpoint| (endpoint.resource.clone(), self.policies.may_hold_at(endpoint)))
            .collect();
        of_pack
            .into_iter()
            .map(|about| Rule {
                id: &about.id,
                title: &about.title,
                control: &about.control,
                operations: at
                    .iter()
                    .filter(|(_, ids)| ids.contains(&about.id.as_str()))
                    .map(|(resource, _)| resource.clone())
                    .collect(),
            })
            .collect()
    }
}

/// A rule, and which operations it is about.
struct Rule<'a> {
    id: &'a str,
    title: &'a str,
    control: &'a str,
    operations: Vec<String>,
}

fn own_operations(settings: &Settings) -> impl Iterator<Item = &stepgate_core::catalogue::Endpoint> {
    let own = settings.catalogue.services.values().filter(|service| service.name.as_str() != GATE_SERVICE);
    own.flat_map(|service| service.endpoints.iter()).map(std::convert::AsRef::as_ref)
}

/// A pack's policies with the world that its table brings: all that running a case takes.
struct Trial<'a> {
    file: &'a Path,
    settings: Settings,
    policies: Policies,
    environment: Environment,
}

impl<'a> Trial<'a> {
    fn of(table: &str, own: PolicySource, file: &'a Path, config: &Path, settings: &Settings) -> Result<Self, Failure> {
        let table = Table::parse(table, file)?;
        let settings = match table.settings(config, settings)? {
            Some(settings) => settings,
            None => config::load(config)?,
        };
        let sources = [own].into_iter().chain(table.own_source()).collect();
        let policies = load_sources(&settings, sources, table.verified(&settings))?;
        let environment = environment(&settings)?;
        Ok(Self { file, settings, policies, environment })
    }

    /// What each case of a table comes to, by its name.
    fn outcomes(&self, table: &str) -> Result<Vec<(String, Outcome)>, Failure> {
        let table = Table::parse(table, self.file)?;
        let outcomes = table.run(&self.settings, &self.policies, &self.environment)?;
        Ok(outcomes.into_iter().map(|(case, outcome)| (case.name.clone(), outcome)).collect())
    }

    /// The cases for the rule on an amount: what the pack decides of the operator's own operation. They are asked as
    /// somebody whom the pack does not refuse altogether.
    fn cases_on(&self, amount: &Amount<'_>, pack: &Pack, names: &Names, head: &str) -> Result<String, Failure> {
        let id = pack.id_on(amount);
        let groups = pack.groups();
        let called = groups.iter().map(|group| names.groups.get(*group).map_or(*group, String::as_str));
        let mut table: toml::Table = toml::from_str(head).map_err(because)?;
        for group in ["staff"].into_iter().chain(called) {
            let mut cases = pack.cases_on(amount, names, group);
            for case in &mut cases {
                case.insert("expect".to_owned(), "".into());
            }
            table.insert("case".to_owned(), cases.to_vec().into());
            let found = self.outcomes(&toml::to_string(&table).map_err(because)?)?;
            let [(_, over), (_, exactly)] = found.as_slice() else { continue };
            if !over.decided.contains(&id) || exactly.decided.contains(&id) {
                continue;
            }
            let [mut over_case, mut exactly_case] = cases;
            over_case.insert("expect".to_owned(), over.found.clone().into());
            over_case.insert("because".to_owned(), vec![toml::Value::from(id)].into());
            exactly_case.insert("expect".to_owned(), exactly.found.clone().into());
            return Ok([over_case, exactly_case].map(|case| format!("\n[[case]]\n{}", lines(case))).concat());
        }
        Err(failed(format!(
            "the rule {id} asks nobody, and nothing was written: is the operation for nobody in the pack?"
        )))
    }
}

/// `key = value`, a line each, with tables in braces.
fn lines(case: toml::Table) -> String {
    let line = |(key, value): (String, toml::Value)| match value {
        toml::Value::Table(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            format!("{key} = {{ {} }}\n", fields.join(", "))
        }
        value => format!("{key} = {value}\n"),
    };
    case.into_iter().map(line).collect()
}

/// A file that is whole before it has its name.
struct Draft(PathBuf);

impl Draft {
    fn write(file: &Path, text: &str) -> Result<Self, Failure> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let draft = Self(file.with_file_name(format!(".{name}.{}.draft", std::process::id())));
        let mut open = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&draft.0)
            .map_err(|error| failed(format!("{} is not written: {error}", file.display())))?;
        open.write_all(text.as_bytes()).and_then(|()| open.sync_all()).map_err(because)?;
        Ok(draft)
    }

    /// Gives it its name. A file that came meanwhile stays, unless it is to be replaced.
    fn put(&self, file: &Path, replace: Replace) -> Result<(), Failure> {
        if replace == Replace::WhatIsThere {
            return std::fs::rename(&self.0, file).map_err(because);
        }
        std::fs::hard_link(&self.0, file).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => is_there(file),
            _ => because(error),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Renamed, it is gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn is_there(file: &Path) -> Failure {
    wrong_input(format!("{} is there, and nothing was written; --force replaces it and its neighbour", file.display()))
}
