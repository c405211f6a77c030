//! `ARCHITECTURE.md` names only paths that exist.

use std::fs;
use std::path::Path;

use crate::project;
use crate::step::Failure;

const DOCUMENT: &str = "ARCHITECTURE.md";

/// What a path ends with, if it is one, even when its first folder is no longer there.
const ENDINGS: [&str; 8] = ["/", ".rs", ".toml", ".md", ".cedar", ".sh", ".html", ".json"];

pub(crate) fn check() -> Result<(), Failure> {
    let root = project::root();
    let text = fs::read_to_string(root.join(DOCUMENT))
        .map_err(|error| Failure::new(format!("could not read {DOCUMENT}: {error}")))?;
    let missing: Vec<String> = paths_in(&text, |folder| root.join(folder).is_dir())
        .filter(|(_, path)| !root.join(path).exists())
        .map(|(line, path)| format!("{DOCUMENT}:{line}: there is no {path}"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Failure::new(missing.join("\n"))) }
}

/// The words in backticks that read as paths of the repository, with their line's number.
///
/// `is_folder` tells whether a first segment is a folder at the repository's root.
fn paths_in<'t>(text: &'t str, is_folder: impl Fn(&str) -> bool + 't) -> impl Iterator<Item = (usize, &'t str)> + 't {
    let quoted = text.lines().enumerate().flat_map(|(index, line)| {
        // Between backticks are the odd pieces; a fence's own line holds none.
        line.split('`').skip(1).step_by(2).map(move |word| (index + 1, word))
    });
    quoted.filter(move |(_, word)| reads_as_path(word, &is_folder))
}

fn reads_as_path(word: &str, is_folder: impl Fn(&str) -> bool) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let Some((first, _)) = word.split_once('/') else {
        return false;
    };
    plain
        && !first.is_empty()
        && Path::new(word).is_relative()
        && (is_folder(first) || ENDINGS.iter().any(|ending| word.ends_with(ending)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<&str> = paths_in(text, |folder| folder == "crates").map(|(_, path)| path).collect();
        assert_eq!(found, expected, "in {text:?}");
    }

    #[test]
    fn words_that_read_as_paths() {
        check("see `crates/core` and `crates/core/src/lib.rs`", &["crates/core", "crates/core/src/lib.rs"]);
        check("a folder that is gone: `tools/old/`, `tools/old.rs`", &["tools/old/", "tools/old.rs"]);
        check("an address: `/sign-in`, a type: `application/json`, a name: `core::decide`", &[]);
        check("not in backticks: crates/core", &[]);
        check("a template: `crates/{name}/src`", &[]);
    }
}
