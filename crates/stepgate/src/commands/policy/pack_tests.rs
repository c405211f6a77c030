//! Each pack holds what its table says, and the table holds each rule of the pack.

use cedar_policy::{Policy, PolicySet};
use serde_json::{Value, json};
use stepgate_core::policy::{Policies, PolicySource};

use super::*;
use crate::commands::policy::case::Case;
use crate::commands::policy::new::{New, Replace};
use crate::commands::policy::table::Table;
use crate::config::{self, Settings};
use crate::gate::{environment, load_sources};

/// A configuration with operations of its own in a zone far from UTC, and the directory that it is in.
struct Place {
    directory: tempfile::TempDir,
}

const CONFIG: &str = r#"
[gate]
origin = "http://localhost:4180"
listen = "127.0.0.1:4180"
store = "sqlite:stepgate.db"
master_key_file = "master.key"
time_zone = "America/New_York"
[[network]]
name = "office"
ranges = ["10.0.0.0/8"]
[[service]]
name = "app"
origin = "http://app.localhost:4180"
upstream = "http://127.0.0.1:8080"
[[service.operation]]
on = "POST /wires/{id}/send"
action = "wires.send"
title = "Send"
kind = "payment"
sensitivity = "high"
inputs = { id = "path id as long", sum = "json /order/sum as decimal", note = "json /note as string" }
[[service.operation]]
on = "GET /report"
action = "report.get"
title = "Report"
kind = "export"
inputs = { rows = "query rows as long", all = "query all as bool" }
[[service.operation]]
on = "POST /transfer"
action = "transfer"
title = "Transfer"
inputs = { amount = "form amount as long" }
"#;

impl Place {
    fn with(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("policies")).unwrap();
        std::fs::write(directory.path().join("stepgate.toml"), config).unwrap();
        Self { directory }
    }

    fn config(&self) -> std::path::PathBuf {
        self.directory.path().join("stepgate.toml")
    }

    fn settings(&self) -> Settings {
        config::load(&self.config()).unwrap()
    }

    fn make(&self, pack: &str, names: &Names) -> Result<New, String> {
        New::make(Pack::named(pack).unwrap(), names, &self.config(), &self.settings())
            .map_err(|failure| format!("{:?}", failure.report))
    }
}

/// A table, and all that it takes to run it against changed policies.
struct Bench {
    table: Table,
    settings: Settings,
    _place: Place,
}

impl Bench {
    fn of(pack: &Pack) -> Self {
        let place = Place::with(CONFIG);
        let table = Table::parse(pack.table, &place.directory.path().join("table.toml")).unwrap();
        let settings = table.settings(&place.config(), &place.settings()).unwrap().unwrap();
        Self { table, settings, _place: place }
    }

    fn load(&self, policies: String) -> Result<Policies, String> {
        let source = PolicySource { name: "pack.cedar".to_owned(), text: policies };
        let sources = [source].into_iter().chain(self.table.own_source()).collect();
        load_sources(&self.settings, sources, self.table.verified(&self.settings))
            .map_err(|errors| format!("{:?}", miette::Report::new(errors)))
    }

    /// The cases that are wrong with these policies.
    fn wrong(&self, policies: String) -> Vec<String> {
        let policies = self.load(policies).unwrap();
        let environment = environment(&self.settings).unwrap();
        let outcomes = self.table.run(&self.settings, &policies, &environment).unwrap();
        let wrong = outcomes.into_iter().filter(|(_, outcome)| !outcome.right);
        wrong.map(|(case, outcome)| format!("{}: found {} {:?}", case.name, outcome.found, outcome.decided)).collect()
    }
}

fn parsed(pack: &Pack) -> Vec<Policy> {
    pack.policies.parse::<PolicySet>().unwrap().policies().cloned().collect()
}

fn text(policies: &[Policy]) -> String {
    policies.iter().map(|policy| policy.to_cedar().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_pack_decides_what_its_table_says() {
    for pack in PACKS {
        let wrong = Bench::of(pack).wrong(pack.policies.to_owned());
        assert_eq!(wrong, Vec::<String>::new(), "{}", pack.name);
    }
}

#[test]
fn a_pack_forbids_only_and_each_rule_says_what_it_serves() {
    for pack in PACKS {
        for policy in parsed(pack) {
            assert_eq!(policy.effect(), cedar_policy::Effect::Forbid, "{}: {}", pack.name, policy.id());
            for annotation in ["id", "title", "control", "reason"] {
                assert!(policy.annotation(annotation).is_some_and(|text| !text.is_empty()), "{}", policy.id());
            }
            let id = policy.annotation("id").unwrap();
            assert!(id.starts_with(&format!("{}.", pack.name)), "{id}");
        }
        assert!(!pack.policies.to_lowercase().contains("makes you compliant"));
    }
}

/// Triggers from every group: what, how sensitive, who, how much, and each part of the moment.
#[test]
fn each_pack_looks_at_everything_that_can_be_looked_at() {
    for pack in PACKS {
        for trigger in [
            "Action::",
            "resource.sensitivity",
            "resource.kind",
            "Group::",
            "context.input.amount",
            "context.network.name",
            "context.network.country",
            "context.network.anonymizer",
            "context.device.known",
            "context.time.hour",
            "context.time.holidays",
            "context.risk.level",
            "context.risk.signals",
            "context.age.recovery_code",
            "context.session.",
        ] {
            assert!(pack.policies.contains(trigger), "{} does not look at {trigger}", pack.name);
        }
    }
}

/// The same policy, weaker or stronger, in every way that takes one thing out of it.
fn changed(policy: &Policy) -> Vec<(String, Policy)> {
    let json = policy.to_json().unwrap();
    let mut changed = Vec::new();
    let conditions = json["conditions"].as_array().unwrap();
    for (at, condition) in conditions.iter().enumerate() {
        let kind = condition["kind"].as_str().unwrap();
        let mut without = json.clone();
        without["conditions"].as_array_mut().unwrap().remove(at);
        changed.push((format!("without its {kind}"), without));
        for (how, body) in halves(&condition["body"]) {
            let mut other = json.clone();
            other["conditions"][at]["body"] = body;
            changed.push((format!("its {kind} {how}"), other));
        }
    }
    let policy = |json: Value| Policy::from_json(Some(policy.id().clone()), json).unwrap();
    changed.into_iter().map(|(how, json)| (how, policy(json))).collect()
}

/// An expression with each operand of an `&&` or `||` left out, and with each word of a set left out.
fn halves(body: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for operator in ["&&", "||"] {
        if let Some(of) = body.get(operator) {
            for (side, other) in [("left", "right"), ("right", "left")] {
                found.push((format!("without {}", of[other]), of[side].clone()));
                for (how, inner) in halves(&of[side]) {
                    let mut of = of.clone();
                    of[side] = inner;
                    found.push((how, json!({ operator: of })));
                }
            }
        }
    }
    found
}

/// Deleting any one rule of a pack, one of its conditions, or one operand of one, makes its table fail.
///
/// Loading a set costs a thousand times what a decision does, so one set holds the rules and all that they are
/// changed into, and groups say which of them count: a rule unless somebody is in `without its id`, a changed one
/// for who is in a group of its own.
#[test]
fn no_rule_of_a_pack_can_be_taken_out_or_weakened_unnoticed() {
    let mut unnoticed = Vec::new();
    for pack in PACKS {
        let (mut set, mut variants) = (Vec::new(), Vec::new());
        for rule in parsed(pack) {
            let id = rule.annotation("id").unwrap();
            let without = format!("without {id}");
            variants.push((rule.clone(), "taken out".to_owned(), vec![without.clone()]));
            set.push(where_(&rule, id, "unless", &without));
            for (number, (how, changed)) in changed(&rule).into_iter().enumerate() {
                let group = format!("{id} changed {number}");
                set.push(where_(&changed, &format!("{id}.{number}"), "when", &group));
                variants.push((rule.clone(), how, vec![without.clone(), group]));
            }
        }
        let bench = Bench::of(pack);
        let policies = bench.load(text(&set)).unwrap_or_else(|why| panic!("{}: {why}", pack.name));
        let environment = environment(&bench.settings).unwrap();
        for (rule, how, groups) in variants {
            // A rule's own cases first: most of what is done to it shows there.
            let mut cases: Vec<&Case> = bench.table.cases.iter().collect();
            let title = rule.annotation("title").unwrap();
            cases.sort_by_key(|case| !case.name.starts_with(title));
            let right =
                |case: &&Case| case.also_in(&groups).run(&bench.settings, &policies, &environment).unwrap().right;
            if cases.iter().all(right) {
                unnoticed.push(format!("{} {how}", rule.annotation("id").unwrap()));
            }
        }
    }
    assert_eq!(unnoticed, Vec::<String>::new());
}

/// The same policy under another id, only for who is in a group, or only for who is not.
fn where_(policy: &Policy, id: &str, kind: &str, group: &str) -> Policy {
    let mut json = policy.to_json().unwrap();
    let entity = json!({ "Value": { "__entity": { "type": "Group", "id": group } } });
    let body = json!({ "in": { "left": { "Var": "principal" }, "right": entity } });
    json["conditions"].as_array_mut().unwrap().insert(0, json!({ "kind": kind, "body": body }));
    json["annotations"]["id"] = id.into();
    Policy::from_json(Some(policy.id().clone()), json).unwrap()
}

/// What was made for these operations loads and holds: that is what making it checks. And it says of what it speaks.
#[test]
fn a_pack_fits_somebody_elses_operations_and_says_which_it_concerns() {
    for pack in PACKS {
        let place = Place::with(CONFIG);
        let new = place.make(pack.name, &Names::default()).unwrap_or_else(|error| panic!("{}: {error}", pack.name));
        new.write(Replace::Nothing).unwrap();
        let told = new.concerned(&place.settings());
        let of = |id: &str| told.iter().find(|(rule, _)| *rule == format!("{}.{id}", pack.name)).unwrap().1.clone();
        assert_eq!(of("large-amount.wires.send.sum"), ["app POST /wires/{id}/send"]);
        assert_eq!(of("large-amount.report.get.rows"), ["app GET /report"]);
        assert_eq!(of("large-amount.transfer.amount"), ["app POST /transfer"]);
        let mut critical = told.iter().filter(|(id, _)| id.ends_with(".critical"));
        assert!(critical.all(|(_, operations)| operations.is_empty()), "nothing here is critical");
        assert!(
            of("recovered").iter().all(|one| one.contains("wires") || one.contains("report")),
            "{:?}",
            of("recovered")
        );
    }
}

#[test]
fn the_operators_words_take_the_place_of_the_packs() {
    let place = Place::with(&CONFIG.replace("kind = \"payment\"", "kind = \"payments\""));
    let refused = place.make("baseline", &Names::default()).unwrap_err();
    assert!(refused.contains("\"payments\"?") && refused.contains("--kind"), "{refused}");
    let own = |pairs: &[(&str, &str)]| pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
    let names =
        Names { groups: own(&[("administrators", "root")]), kinds: own(&[("payment", "payments")]), amount: Some(77) };
    let new = place.make("baseline", &names).unwrap();
    let written = new.text();
    for there in [
        "Group::\"root\"",
        "\"payments\", \"export\"",
        "context.input.sum.greaterThan(decimal(\"77.0\"))",
        "context.input.amount > 77",
    ] {
        assert!(written.contains(there), "{there} is not in {written}");
    }
    for gone in ["\"administrators\"", "\"payment\"", "example.", "for each amount"] {
        assert!(!written.contains(gone), "{gone} is in {written}");
    }
    let unknown = Names::read("--group", &["nobody=x".to_owned()], &Pack::named("pci").unwrap().groups());
    assert!(format!("{:?}", unknown.unwrap_err().report).contains("administrators"));
}

#[test]
fn nothing_that_is_there_is_replaced_unasked_and_nothing_is_left_half_done() {
    let place = Place::with(CONFIG);
    let at = |name: &str| place.directory.path().join("policies").join(name);
    let new = place.make("gdpr", &Names::default()).unwrap();
    for there in ["gdpr.cedar", "gdpr.test.toml"] {
        std::fs::write(at(there), "// mine").unwrap();
        assert!(format!("{:?}", new.write(Replace::Nothing).unwrap_err().report).contains("--force"));
        assert_eq!(std::fs::read_to_string(at(there)).unwrap(), "// mine");
        std::fs::remove_file(at(there)).unwrap();
        assert_eq!(std::fs::read_dir(at("")).unwrap().count(), 0, "with {there} in the way");
    }
    std::fs::write(at("gdpr.cedar"), "// mine").unwrap();
    new.write(Replace::WhatIsThere).unwrap();
    assert_eq!(std::fs::read_to_string(at("gdpr.cedar")).unwrap(), new.text());
    assert_eq!(std::fs::read_dir(at("")).unwrap().count(), 2);
}
