//! Which crate may know which: the arrows of the architecture.
//!
//! What is checked is what is linked into the product: normal and build
//! dependencies. Tests may reach further.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::project;
use crate::step::Failure;

/// One room of the house, and what it may and must not rest on.
struct Room {
    name: &'static str,
    /// Other rooms that it may name in its `Cargo.toml`.
    may_know: &'static [&'static str],
    /// Packages that must not be reached from it, however indirectly.
    never: &'static [&'static [&'static str]],
}

const RUNTIME: &[&str] = &["tokio", "async-std", "smol", "hyper", "axum", "reqwest"];
const DATABASE: &[&str] =
    &["sqlx", "sqlx-core", "sqlx-sqlite", "sqlx-postgres", "libsqlite3-sys", "rusqlite", "tokio-postgres"];
const FACTOR: &[&str] = &["webauthn-rs-core", "totp-rs", "argon2", "qrcode", "lettre", "openidconnect"];
const POLICY: &[&str] = &["cedar-policy", "cedar-policy-core"];
const PAGES: &[&str] = &["stepgate-console"];
const DOORS: &[&str] = &["stepgate-gateway"];

const ROOMS: [Room; 13] = [
    Room { name: "stepgate-ledger", may_know: &[], never: &[RUNTIME, DATABASE, FACTOR, POLICY] },
    Room { name: "stepgate-evidence", may_know: &["stepgate-ledger"], never: &[RUNTIME, DATABASE, FACTOR, POLICY] },
    Room {
        name: "stepgate-core",
        may_know: &["stepgate-evidence", "stepgate-ledger"],
        never: &[RUNTIME, DATABASE, FACTOR],
    },
    Room { name: "stepgate-factors", may_know: CORE_AND_BELOW, never: &[DATABASE, PAGES, DOORS] },
    Room { name: "stepgate-store", may_know: CORE_AND_BELOW, never: &[FACTOR, PAGES, DOORS] },
    Room { name: "stepgate-gateway", may_know: CORE_AND_BELOW, never: &[DATABASE, FACTOR, PAGES] },
    Room { name: "stepgate-console", may_know: CORE_AND_BELOW, never: &[DATABASE, FACTOR, DOORS] },
    Room { name: "stepgate-identity", may_know: CORE_AND_BELOW, never: &[DATABASE, PAGES, DOORS] },
    Room { name: "stepgate-machines", may_know: CORE_AND_BELOW, never: &[DATABASE, FACTOR, PAGES, DOORS] },
    Room {
        name: "stepgate-courier",
        may_know: &["stepgate-core", "stepgate-evidence", "stepgate-ledger", "stepgate-identity"],
        never: &[DATABASE, PAGES, DOORS],
    },
    Room {
        name: "stepgate-monitor",
        may_know: &["stepgate-core", "stepgate-evidence", "stepgate-ledger", "stepgate-identity"],
        never: &[DATABASE, PAGES, DOORS],
    },
    Room { name: "stepgate-testkit", may_know: CORE_AND_BELOW, never: &[DATABASE, FACTOR, PAGES, DOORS] },
    Room { name: "xtask", may_know: &[], never: &[RUNTIME, DATABASE, FACTOR, POLICY] },
];

const CORE_AND_BELOW: &[&str] = &["stepgate-core", "stepgate-evidence", "stepgate-ledger"];

/// Packages that only the named rooms may name in their `Cargo.toml`.
///
/// The binary prints Cedar's own mistakes with their place in the text.
const ONLY: [(&str, &[&str]); 7] = [
    ("sqlx", &["stepgate-store"]),
    ("webauthn-rs-core", &["stepgate-factors"]),
    ("totp-rs", &["stepgate-factors"]),
    ("argon2", &["stepgate-factors"]),
    ("lettre", &["stepgate-courier"]),
    ("openidconnect", &["stepgate-identity"]),
    ("cedar-policy", &["stepgate-core", "stepgate"]),
];

pub(crate) fn check() -> Result<(), Failure> {
    let graph = Graph::read(&project::metadata()?)?;
    let wrong = wrong_arrows(&graph);
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(wrong.join("\n"))) }
}

fn wrong_arrows(graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    let rooms: BTreeSet<&str> = graph.members.iter().map(String::as_str).collect();
    for room in ROOMS.iter().filter(|room| rooms.contains(room.name)) {
        for known in graph.direct(room.name) {
            if rooms.contains(known) && !room.may_know.contains(&known) {
                wrong.push(format!("{} must not know {known}", room.name));
            }
        }
        let reached = graph.reached_from(room.name);
        for banned in room.never.iter().flat_map(|group| group.iter()) {
            if let Some(way) = reached.get(banned) {
                wrong.push(format!("{} must not rest on {banned}: {}", room.name, way.join(" → ")));
            }
        }
    }
    for (package, owners) in ONLY {
        for member in graph.members.iter().filter(|member| !owners.contains(&member.as_str())) {
            if graph.direct(member).any(|known| known == package) {
                wrong.push(format!("only {} may name {package}, and {member} does", owners.join(" and ")));
            }
        }
    }
    wrong
}

/// Who rests on whom, by package name: versions do not matter here.
struct Graph {
    members: Vec<String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Reads what `cargo metadata` prints (its format, version 1).
    fn read(metadata: &Value) -> Result<Self, Failure> {
        let unreadable = || Failure::new("`cargo metadata` does not have the shape that its format 1 promises");
        let array = |value: Option<&Value>| value.and_then(Value::as_array).cloned().ok_or_else(unreadable);
        let mut names = BTreeMap::new();
        for package in array(metadata.get("packages"))? {
            let text = |key| package.get(key).and_then(Value::as_str).map(String::from).ok_or_else(unreadable);
            names.insert(text("id")?, text("name")?);
        }
        let name_of = |id: Option<&Value>| {
            id.and_then(Value::as_str).and_then(|id| names.get(id)).cloned().ok_or_else(unreadable)
        };
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in array(metadata.pointer("/resolve/nodes"))? {
            let known = edges.entry(name_of(node.get("id"))?).or_default();
            for dependency in array(node.get("deps"))? {
                let kinds = array(dependency.get("dep_kinds"))?;
                let is_linked = |kind: &Value| kind.get("kind").and_then(Value::as_str) != Some("dev");
                if kinds.iter().any(is_linked) {
                    known.insert(name_of(dependency.get("pkg"))?);
                }
            }
        }
        let members = array(metadata.get("workspace_members"))?;
        let members = members.iter().map(|id| name_of(Some(id))).collect::<Result<_, _>>()?;
        Ok(Self { members, edges })
    }

    fn direct(&self, name: &str) -> impl Iterator<Item = &str> {
        self.edges.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Everything that is reached from a package, each with the shortest way to it.
    fn reached_from<'g>(&'g self, name: &'g str) -> BTreeMap<&'g str, Vec<&'g str>> {
        let mut reached = BTreeMap::from([(name, vec![name])]);
        let mut waiting = std::collections::VecDeque::from([name]);
        while let Some(current) = waiting.pop_front() {
            let way = reached.get(current).cloned().unwrap_or_default();
            for next in self.direct(current) {
                if !reached.contains_key(next) {
                    reached.insert(next, way.iter().copied().chain([next]).collect());
                    waiting.push_back(next);
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"a > b c, b > d"`: a rests on b and c, b on d; all that starts with `stepgate` is a member.
    fn graph(text: &str) -> Graph {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for rule in text.split(", ") {
            let (from, to) = rule.split_once(" > ").unwrap();
            edges.entry(from.into()).or_default().extend(to.split(' ').map(String::from));
        }
        let members = edges.keys().filter(|name| name.starts_with("stepgate")).cloned().collect();
        Graph { members, edges }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(wrong_arrows(&graph(text)), expected, "in {text:?}");
    }

    #[test]
    fn arrows_that_are_wrong() {
        check("stepgate-core > stepgate-evidence, stepgate-evidence > stepgate-ledger, stepgate-ledger > sha2", &[]);
        check(
            "stepgate-gateway > stepgate-console, stepgate-console > stepgate-core",
            &[
                "stepgate-gateway must not know stepgate-console",
                "stepgate-gateway must not rest on stepgate-console: stepgate-gateway → stepgate-console",
            ],
        );
        check(
            "stepgate-evidence > helper, helper > tokio",
            &["stepgate-evidence must not rest on tokio: stepgate-evidence → helper → tokio"],
        );
        check("stepgate > sqlx, stepgate-store > sqlx", &["only stepgate-store may name sqlx, and stepgate does"]);
    }

    #[test]
    fn every_room_is_read_from_what_cargo_prints() {
        let graph = Graph::read(&project::metadata().unwrap()).unwrap();
        assert!(graph.members.iter().any(|member| member == "stepgate-core"));
        assert!(graph.direct("stepgate-core").any(|known| known == "stepgate-evidence"));
    }
}
