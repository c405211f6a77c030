//! `cargo xtask fuzz`: builds the fuzz targets and runs each for some seconds.
//!
//! The compiler's coverage pass and libFuzzer (from the crate libfuzzer-sys)
//! are all that is needed: no nightly toolchain, no clang, no cargo-fuzz. The
//! targets are a workspace of their own in `fuzz/`, because these flags would
//! otherwise build everything anew for everybody.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::project;
use crate::step::{Failure, output_of, run as step};

/// Coverage of edges, counted inline, with comparisons told to the fuzzer; and
/// the checks of a debug build, because an overflow is what we are looking for.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions=on",
    "-Coverflow-checks=on",
];

const SECONDS: u32 = 10;
/// What one input may be long, in bytes.
const LONGEST_INPUT: u32 = 65_536;
/// What one input may take, in seconds, before it counts as a hang.
const LONGEST_RUN: u32 = 10;

struct Wish {
    seconds: u32,
    targets: Vec<String>,
}

/// Builds every fuzz target and runs those named, or all, each for `--seconds`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let targets = targets()?;
    let wish = read_arguments(arguments, &targets)?;
    let host = host()?;
    let built = project::target_folder()?.join("fuzz");
    same_versions_as_the_product()?;
    let mut cargo = project::cargo();
    cargo.current_dir(project::root().join("fuzz")).env("CARGO_TARGET_DIR", &built);
    // Flags given together with --target reach the targets and not the build scripts.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    step(cargo.args(["build", "--release", "--bins", "--target", &host]))?;
    for target in &wish.targets {
        run_target(&built.join(&host).join("release").join(target), target, wish.seconds)?;
    }
    Ok(())
}

/// The targets are built with the versions of the root's lock file, which is copied;
/// what only they need is pinned in their `Cargo.toml`.
fn same_versions_as_the_product() -> Result<(), Failure> {
    let (from, to) = (project::root().join("Cargo.lock"), project::root().join("fuzz/Cargo.lock"));
    fs::copy(&from, &to)
        .map(|_| ())
        .map_err(|error| Failure::new(format!("could not copy {} to {}: {error}", from.display(), to.display())))
}

/// Starts from the committed seeds; what is found new is kept in the target folder.
///
/// What the fuzzer says is only shown when it has found something: then its last
/// lines name the file that holds the input.
fn run_target(program: &Path, target: &str, seconds: u32) -> Result<(), Failure> {
    let folder = project::target_folder()?;
    let kept = folder.join("fuzz-corpus").join(target);
    let found = folder.join("fuzz-found").join(target);
    let seeds = project::root().join("fuzz/seeds").join(target);
    for folder in [&kept, &found, &seeds] {
        fs::create_dir_all(folder)
            .map_err(|error| Failure::new(format!("could not make {}: {error}", folder.display())))?;
    }
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST_INPUT}"))
        .arg(format!("-timeout={LONGEST_RUN}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg("-print_final_stats=1")
        .args([&kept, &seeds])
        .stdin(Stdio::null());
    let output =
        command.output().map_err(|error| Failure::new(format!("could not start {}: {error}", program.display())))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{said}");
        return Err(Failure::new(format!("fuzzing {target} found something ({})", output.status)));
    }
    let inputs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    eprintln!("xtask: fuzz: {target}: {} inputs in {seconds} s, all well", inputs.unwrap_or("no").trim());
    Ok(())
}

fn read_arguments(arguments: &[String], targets: &[String]) -> Result<Wish, Failure> {
    let mut wish = Wish { seconds: SECONDS, targets: Vec::new() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            let number = rest.next().and_then(|number| number.parse().ok()).filter(|seconds| *seconds > 0);
            wish.seconds = number.ok_or_else(|| Failure::new("--seconds needs a number above 0"))?;
        } else if targets.contains(argument) {
            wish.targets.push(argument.clone());
        } else {
            return Err(Failure::new(format!(
                "there is no fuzz target '{argument}'; there are {}",
                targets.join(", ")
            )));
        }
    }
    if wish.targets.is_empty() {
        wish.targets = targets.to_vec();
    }
    Ok(wish)
}

/// The programs in `fuzz/src/bin`, in the order of the alphabet.
fn targets() -> Result<Vec<String>, Failure> {
    let folder = project::root().join("fuzz/src/bin");
    let listed =
        fs::read_dir(&folder).map_err(|error| Failure::new(format!("could not list {}: {error}", folder.display())))?;
    let mut targets: Vec<String> =
        listed.flatten().filter_map(|entry| Some(entry.path().file_stem()?.to_string_lossy().into_owned())).collect();
    targets.sort();
    if targets.is_empty() { Err(Failure::new("there is no fuzz target in fuzz/src/bin")) } else { Ok(targets) }
}

/// The triple of this machine, as rustc names it.
fn host() -> Result<String, Failure> {
    let said = output_of(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(String::from).ok_or_else(|| Failure::new("`rustc -vV` names no host"))
}
