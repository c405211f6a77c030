//! The catalogue of attacks and the tests say the same: each test that a row names is
//! there, in the room that it names and under the row's id; each test that bears an id
//! is named by that row; and a row without a test says that what it is about is not built.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::project;
use crate::step::Failure;

const CATALOGUE: &str = "docs/security/how-gateways-are-broken.md";
const NOT_BUILT: &str = "**Not built yet.**";
/// How many rows the catalogue has: an id is kept, also where nothing of it is built.
const ROWS: u16 = 105;

pub(crate) fn check() -> Result<(), Failure> {
    let root = project::root();
    let text = fs::read_to_string(root.join(CATALOGUE))
        .map_err(|error| Failure::new(format!("could not read {CATALOGUE}: {error}")))?;
    let mut written = BTreeSet::new();
    for room in folders(&root.join("crates"))? {
        let name = room.file_name().unwrap_or_default().to_string_lossy().into_owned();
        collect(&room, &mut |source| {
            written.extend(tests_in(source).map(|test| (name.clone(), test.to_owned())));
        })?;
    }
    let wrong = mistakes(&text, &written);
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(wrong.join("\n"))) }
}

/// What the catalogue says of one row.
struct Row<'t> {
    id: u16,
    line: usize,
    is_built: bool,
    /// Test and room.
    tests: Vec<(&'t str, &'t str)>,
}

fn mistakes(catalogue: &str, written: &BTreeSet<(String, String)>) -> Vec<String> {
    let mut wrong = Vec::new();
    let rows = rows(catalogue);
    let mut named: BTreeMap<(&str, &str), BTreeSet<u16>> = BTreeMap::new();
    for row in &rows {
        let place = format!("{CATALOGUE}:{}: B{}", row.line, row.id);
        let mut bears_id = false;
        for (test, room) in &row.tests {
            if !written.contains(&((*room).to_owned(), (*test).to_owned())) {
                wrong.push(format!("{place}: there is no test {test} in {room}"));
            }
            if ids(test).contains(&row.id) {
                bears_id = true;
                named.entry((room, test)).or_default().insert(row.id);
            }
        }
        if row.is_built && !bears_id {
            wrong.push(format!("{place}: names no test b{:02}_…, and does not say {NOT_BUILT}", row.id));
        }
    }
    for id in 1..=ROWS {
        if rows.iter().filter(|row| row.id == id).count() != 1 {
            wrong.push(format!("{CATALOGUE}: B{id} does not stand there once"));
        }
    }
    for (room, test) in written {
        let by = named.get(&(room.as_str(), test.as_str())).cloned().unwrap_or_default();
        for id in ids(test).difference(&by) {
            wrong.push(format!("{CATALOGUE}: B{id} does not name {test} ({room})"));
        }
    }
    wrong
}

/// The rows, by their headings `### B12`.
fn rows(catalogue: &str) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (index, line) in catalogue.lines().enumerate() {
        if let Some(id) = line.strip_prefix("### B").and_then(|id| id.parse().ok()) {
            rows.push(Row { id, line: index + 1, is_built: true, tests: Vec::new() });
        } else if line.starts_with("## ") {
            // What follows belongs to no row.
            rows.push(Row { id: 0, line: index + 1, is_built: false, tests: Vec::new() });
        } else if let Some(row) = rows.last_mut() {
            row.is_built &= !line.contains(NOT_BUILT);
            if let Some(tests) = line.strip_prefix("- **Tests:** ") {
                row.tests.extend(named_tests(tests));
            }
        }
    }
    rows.retain(|row| row.id > 0);
    rows
}

/// `` `a_test` (room) `` as often as it stands there.
fn named_tests(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('`').skip(1).step_by(2).zip(line.split('`').skip(2).step_by(2)).map(|(test, behind)| {
        let room = behind.trim_start().strip_prefix('(').and_then(|room| room.split(')').next());
        (test, room.unwrap_or("no room"))
    })
}

/// The ids that a test bears: `b08_b09_…`, `b01_to_b13_…`, `b100_…`.
fn ids(test: &str) -> BTreeSet<u16> {
    let mut ids = BTreeSet::new();
    let mut words = test.split('_').peekable();
    let id = |word: &str| {
        word.strip_prefix('b').filter(|id| matches!(id.len(), 2 | 3)).and_then(|id| id.parse::<u16>().ok())
    };
    while let Some(from) = words.next().and_then(id) {
        ids.insert(from);
        if words.next_if_eq(&"to").is_some()
            && let Some(to) = words.next().and_then(id)
        {
            ids.extend(from..=to);
        }
    }
    ids
}

/// The functions of a source, of whatever visibility.
fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| {
        let (before, name) = line.trim_start().split_once("fn ")?;
        let is_declared = before.is_empty() || before.starts_with("pub") || before == "async ";
        name.split(['(', '<']).next().filter(|_| is_declared)
    })
}

fn collect(folder: &Path, found: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    for path in folders(folder)? {
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path)
                .map_err(|error| Failure::new(format!("could not read {}: {error}", path.display())))?;
            found(&text);
        }
    }
    Ok(())
}

fn folders(folder: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    let listed =
        fs::read_dir(folder).map_err(|error| Failure::new(format!("could not list {}: {error}", folder.display())))?;
    Ok(listed.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(row_3: &str, written: &[(&str, &str)], expected: &[&str]) {
        let others: String = (1..=ROWS)
            .filter(|id| *id != 3)
            .map(|id| format!("### B{id}\n\n- **Here:** {NOT_BUILT} Later.\n\n"))
            .collect();
        let text = format!("# Rows\n\n### B3\n\n{row_3}\n\n{others}## Beside them\n\n- **Tests:** `nowhere` (core)\n");
        let written = written.iter().map(|(room, test)| ((*room).to_owned(), (*test).to_owned())).collect();
        let found: Vec<String> =
            mistakes(&text, &written).iter().map(|found| found.replace(&format!("{CATALOGUE}:3: "), "")).collect();
        assert_eq!(found, expected, "{row_3}");
    }

    #[test]
    fn a_row_names_the_tests_that_there_are() {
        let dots = ("gateway", "b03_dots_are_refused");
        check("- **Tests:** `b03_dots_are_refused` (gateway)", &[dots], &[]);
        check(
            "- **Tests:** none under this id; `other` (core)",
            &[("core", "other")],
            &["B3: names no test b03_…, and does not say **Not built yet.**"],
        );
        check("- **Here:** **Not built yet.** Later.", &[], &[]);
        check(
            "- **Tests:** `b03_dots_are_refused` (core)",
            &[dots],
            &[
                "B3: there is no test b03_dots_are_refused in core",
                "docs/security/how-gateways-are-broken.md: B3 does not name b03_dots_are_refused (gateway)",
            ],
        );
        check(
            "- **Tests:** `b03_dots_are_refused` (gateway), `b04_x` (gateway)",
            &[dots, ("gateway", "b04_x")],
            &["docs/security/how-gateways-are-broken.md: B4 does not name b04_x (gateway)"],
        );
    }

    #[test]
    fn a_name_bears_ids() {
        let of = |test: &str| ids(test).into_iter().collect::<Vec<_>>();
        assert_eq!(of("b08_b09_a_fragment"), [8, 9]);
        assert_eq!(of("b01_to_b03_paths"), [1, 2, 3]);
        assert_eq!(of("b99_b101_hosts"), [99, 101]);
        assert_eq!(of("b1_bytes"), [0_u16; 0]);
        assert_eq!(of("bodies_b01"), [0_u16; 0]);
    }

    #[test]
    fn the_functions_of_a_source() {
        let source = "    async fn b12_one() {}\nfn two() {}\npub(crate) async fn b13_three<T>() {}\n// fn b14_none";
        assert_eq!(tests_in(source).collect::<Vec<_>>(), ["b12_one", "two", "b13_three"]);
    }
}
