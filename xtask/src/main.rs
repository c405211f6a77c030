//! Developer commands, called as `cargo xtask <command>`.
//!
//! Each runs what a person would type by hand, prints it first, and fails with
//! one sentence that says what to do.

mod bench;
mod fuzz;
mod lint;
mod project;
mod step;
mod test;
mod tools;

use std::process::ExitCode;

use step::Failure;

const USAGE: &str = "\
cargo xtask <command>

  test  [CARGO TEST ARGUMENTS]   installs what tests need, then runs `cargo test` (of the whole workspace)
  lint                           format, clippy, docs, licences and sources, arrows between crates, paths in ARCHITECTURE.md
  fuzz  [--seconds N] [TARGET…]  builds the fuzz targets and runs each for N seconds (10)
  bench [NAME…]                  builds and runs the benchmark programs of bench/
  tools                          installs what tests need, and nothing more
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<(), Failure> {
    let Some((command, rest)) = arguments.split_first() else {
        return Err(Failure::new(format!("say which command\n\n{USAGE}")));
    };
    match command.as_str() {
        "test" => test::run(rest),
        "lint" => lint::run(rest),
        "fuzz" => fuzz::run(rest),
        "bench" => bench::run(rest),
        "tools" => tools::prepare().map(|_| ()),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(Failure::new(format!("there is no command '{other}'\n\n{USAGE}"))),
    }
}
