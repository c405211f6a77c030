//! `cargo xtask lint`: everything that can be said of the code without running it.

mod addresses;
mod arrows;
mod attack_rows;
mod paths;

use std::path::PathBuf;
use std::process::Command;

use crate::project;
use crate::step::{Failure, output_of, run as step};

/// The version of cargo-deny that we install; its findings change with it.
const CARGO_DENY: &str = "0.20.2";

/// A check's name, and what does it.
type Check = (&'static str, fn() -> Result<(), Failure>);

/// Runs every check, the quick ones first, and tells all that failed.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = arguments.first() {
        return Err(Failure::new(format!("lint takes no arguments, and got '{unknown}'")));
    }
    let checks: [Check; 9] = [
        ("registry addresses", addresses::check),
        ("paths in ARCHITECTURE.md", paths::check),
        ("tests of the attack catalogue", attack_rows::check),
        ("format", format),
        ("arrows between crates", arrows::check),
        ("licences, bans and sources", deny),
        ("clippy", clippy),
        ("fuzz targets", fuzz_targets),
        ("documentation", documentation),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        eprintln!("xtask: lint: {name}");
        if let Err(failure) = check() {
            eprintln!("xtask: {failure}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        eprintln!("xtask: lint: all is well");
        Ok(())
    } else {
        Err(Failure::new(format!("lint failed: {}", failed.join("; "))))
    }
}

fn format() -> Result<(), Failure> {
    step(project::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), Failure> {
    step(project::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--keep-going",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The fuzz targets are a workspace of their own, since they are built with other flags.
fn fuzz_targets() -> Result<(), Failure> {
    step(project::cargo().current_dir(project::root().join("fuzz")).args(["fmt", "--check"]))
}

fn documentation() -> Result<(), Failure> {
    let mut cargo = project::cargo();
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    step(cargo.args(["doc", "--workspace", "--no-deps", "--keep-going", "--locked"]))
}

/// The advisories are left out here: their database is on a host that not every builder reaches.
fn deny() -> Result<(), Failure> {
    let mut deny = Command::new(cargo_deny()?);
    deny.current_dir(project::root());
    step(deny.args(["--workspace", "--locked", "check", "bans", "licenses", "sources"]))
}

/// The cargo-deny of the path, else our own in the target folder, installed once.
fn cargo_deny() -> Result<PathBuf, Failure> {
    if output_of(Command::new("cargo-deny").arg("--version")).is_ok() {
        return Ok(PathBuf::from("cargo-deny"));
    }
    let folder = project::target_folder()?.join("tools");
    let program = folder.join("bin/cargo-deny");
    if !program.is_file() {
        let mut cargo = project::cargo();
        cargo.args(["install", "--locked", "--version", CARGO_DENY, "cargo-deny", "--root"]).arg(&folder);
        // Built beside our own crates, so that a second installation finds what the first compiled.
        step(cargo.env("CARGO_TARGET_DIR", folder.join("build")))?;
    }
    Ok(program)
}
