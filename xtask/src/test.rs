//! `cargo xtask test`: everything that tests need, then all tests.

use crate::project;
use crate::step::{self, Failure};
use crate::tools;

/// Installs what is missing and runs `cargo test`.
///
/// Without arguments the whole workspace is tested, documentation included;
/// arguments replace `--workspace` (`cargo xtask test -p stepgate-store`).
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let tools = tools::prepare()?;
    let mut cargo = project::cargo();
    cargo.arg("test").envs(tools.environment());
    if arguments.is_empty() {
        cargo.args(["--workspace", "--locked"]);
    } else {
        cargo.args(arguments);
    }
    step::run(&mut cargo)
}
