//! Two checkers of SCIM servers that nobody here wrote (`scim2-tester`, `scim-sanity`), and what they find.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::programs::Program;

const SCRIPT: &str = include_str!("../scim-checkers/check.py");

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which of them.
    pub checker: String,
    /// What it looked at.
    pub title: String,
    /// What it thinks of it, in its own words in capitals.
    pub verdict: String,
    /// Why.
    pub reason: String,
}

impl Finding {
    /// Whether the checker is content.
    pub fn is_good(&self) -> bool {
        matches!(self.verdict.as_str(), "SUCCESS" | "COMPLIANT" | "ACCEPTABLE" | "PASS")
    }
}

/// Has both look at the server at this URL with this bearer token. Blocks until they are done: several seconds.
///
/// # Panics
///
/// If they do not come to their end.
pub fn check(url: &str, token: &str) -> Vec<Finding> {
    let mut command = Command::new(Program::ScimCheckers.path());
    // The server is on this machine.
    command.env("NO_PROXY", "*").args(["-", url, token]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the interpreter");
    child.stdin.take().expect("a pipe").write_all(SCRIPT.as_bytes()).expect("the script is read");
    let done = child.wait_with_output().expect("it ends");
    let said = String::from_utf8(done.stdout).expect("UTF-8");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let Some((end, findings)) = lines.split_last().filter(|(end, _)| end["end"] == true) else {
        panic!("the checkers did not come to their end: {said}{}", String::from_utf8_lossy(&done.stderr));
    };
    assert!(done.status.success(), "{end}");
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let read = |finding: &Value| Finding {
        checker: text(finding, "checker"),
        title: text(finding, "title"),
        verdict: text(finding, "verdict"),
        reason: text(finding, "reason"),
    };
    findings.iter().map(read).collect()
}
