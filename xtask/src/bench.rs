//! `cargo xtask bench`: builds the benchmark programs in release and runs them.

use std::fs;
use std::process::Command;

use crate::step::{Failure, run as step};
use crate::{project, tools};

/// Runs the programs in `bench/src/bin`, or only those named.
pub(crate) fn run(names: &[String]) -> Result<(), Failure> {
    let programs = programs()?;
    if programs.is_empty() {
        return Err(Failure::new("there is no program in bench/src/bin"));
    }
    if let Some(unknown) = names.iter().find(|name| !programs.contains(name)) {
        return Err(Failure::new(format!("there is no benchmark '{unknown}'; there are {}", programs.join(", "))));
    }
    let wants = |program: &str| names.is_empty() || names.iter().any(|name| name == program);
    if wants("proxy") || wants("tokens") {
        tools::prepare_bench("nginx", "nginx-light")?;
    }
    if wants("tokens") {
        tools::prepare_bench("haproxy", "haproxy")?;
    }
    step(project::cargo().args(["build", "--release", "--locked", "--package", "stepgate-bench", "--bins"]))?;
    // Some measure the gate itself, as people run it.
    step(project::cargo().args(["build", "--release", "--locked", "--package", "stepgate"]))?;
    let release = project::target_folder()?.join("release");
    for program in programs.iter().filter(|program| names.is_empty() || names.contains(program)) {
        step(
            Command::new(release.join(program))
                .current_dir(project::root())
                .env("STEPGATE_BENCH_GATE", release.join("stepgate")),
        )?;
    }
    Ok(())
}

/// The names of the programs, in the order of the alphabet.
fn programs() -> Result<Vec<String>, Failure> {
    let folder = project::root().join("bench/src/bin");
    let mut programs = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let entry = entry.map_err(|error| Failure::new(format!("could not list {}: {error}", folder.display())))?;
        if let Some(name) = entry.path().file_stem() {
            programs.push(name.to_string_lossy().into_owned());
        }
    }
    programs.sort();
    Ok(programs)
}
