//! One step: a program that is run, and the sentence that says why it failed.

use std::fmt;
use std::process::{Command, Stdio};

/// Why a command of `xtask` stopped; the sentence is for the person at the terminal.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Prints the command, runs it with no input and our output, and fails unless it exits with 0.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let line = as_typed(command);
    eprintln!("xtask: $ {line}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Failure::new(format!("could not start `{line}`: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{line}` failed ({status})"))) }
}

/// Runs the command quietly and gives what it printed to its standard output.
pub(crate) fn output_of(command: &mut Command) -> Result<String, Failure> {
    let line = as_typed(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("could not start `{line}`: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("`{line}` failed ({}): {}", output.status, said.trim())));
    }
    String::from_utf8(output.stdout).map_err(|_| Failure::new(format!("`{line}` printed something that is not UTF-8")))
}

fn as_typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
