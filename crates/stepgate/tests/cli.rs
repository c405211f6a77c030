//! The command line as people and programs use it: what is printed, and exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn stepgate(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepgate"));
    command.args(arguments).current_dir(directory).env_remove("STEPGATE_CONFIG").env("NO_COLOR", "1");
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs, expects this exit code, and gives what was printed on both streams.
fn check(arguments: &[&str], directory: &Path, code: i32) -> String {
    let output = stepgate(arguments, directory);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stepgate {}:\n{said}", arguments.join(" "));
    said
}

/// A new deployment in a temporary directory.
fn deployment() -> TempDir {
    let directory = TempDir::new().unwrap();
    let said = check(&["init", "--dir", "."], directory.path(), 0);
    assert!(said.contains("/enrol/"), "{said}");
    directory
}

#[test]
fn the_tour_walks_the_main_job_and_leaves_evidence_that_verifies() {
    let directory = TempDir::new().unwrap();
    let said = check(&["demo", "--tour", "--dir", "demo", "--port", "41800"], directory.path(), 0);
    assert!(said.contains("SOUND: nothing that was checked is wrong."), "{said}");
    assert!(said.contains("NOT SOUND"), "{said}");
    let key = check(&["audit", "key", "--config", "demo/stepgate.toml"], directory.path(), 0);
    let key = key.lines().next().unwrap();
    let verify = ["audit", "verify", "demo/evidence", "--key", key];
    assert!(check(&verify, directory.path(), 0).contains("passkey signatures"));
    check(&["policy", "test", "--config", "demo/stepgate.toml"], directory.path(), 0);

    // What nobody must believe: another key, a log that was cut.
    let stranger = deployment();
    let other = check(&["audit", "key"], stranger.path(), 0);
    let other = other.lines().next().unwrap();
    let said = check(&["audit", "verify", "demo/evidence", "--key", other], directory.path(), 3);
    assert!(said.contains("NOT signed by this key"), "{said}");
    let details = directory.path().join("demo/evidence/details.jsonl");
    let kept = std::fs::read_to_string(&details).unwrap();
    std::fs::write(&details, kept.replace("12000", "12001")).unwrap();
    let said = check(&verify, directory.path(), 3);
    assert!(said.contains("NOT SOUND"), "{said}");
}

#[test]
fn a_new_deployment_is_right_and_its_policies_pass_their_tests() {
    let directory = deployment();
    let said = check(&["check"], directory.path(), 0);
    assert!(said.contains("payments.approve"), "{said}");
    let said = check(&["check", "POST", "http://app.localhost:4180/payments/42/approve"], directory.path(), 0);
    assert!(said.contains("payments.approve") && said.contains("large-payment"), "{said}");
    let explain = ["policy", "explain", "POST", "http://app.localhost:4180/payments/42/approve", "--group", "staff"];
    let said = check(&explain, directory.path(), 2);
    assert!(said.contains("no body to read amount from"), "a request without its input is refused: {said}");
    let said = check(&["check", "GET", "http://app.localhost:4180/payments"], directory.path(), 0);
    assert!(said.contains("staff-use-the-application"), "{said}");
    let said = check(&["policy", "test"], directory.path(), 0);
    assert!(said.contains("3 passed, 0 failed"), "{said}");
    let said = check(
        &[
            "policy",
            "explain",
            "POST",
            "http://app.localhost:4180/payments/42/approve",
            "--body",
            "{\"amount\":12000}",
            "--group",
            "staff",
            "--proved",
            "password=5m",
            "--json",
        ],
        directory.path(),
        0,
    );
    assert!(said.contains("\"verdict\": \"confirm: passkey"), "{said}");
    assert!(check(&["policy", "schema"], directory.path(), 0).contains("payments.approve"));
    // What exists is never replaced.
    let said = check(&["init", "--dir", "."], directory.path(), 1);
    assert!(said.contains("Nothing that exists is replaced"), "{said}");
}

#[test]
fn a_wrong_expectation_is_found_and_said() {
    let directory = deployment();
    let tests = directory.path().join("policies/app.test.toml");
    let kept = std::fs::read_to_string(&tests).unwrap();
    std::fs::write(&tests, kept.replace("expect = \"deny\"", "expect = \"permit\"")).unwrap();
    let said = check(&["policy", "test"], directory.path(), 3);
    assert!(said.contains("WRONG strangers are refused") && said.contains("expected permit"), "{said}");
}

#[test]
fn every_mistake_is_told_at_once_with_its_place_and_nothing_starts() {
    let directory = deployment();
    let file = directory.path().join("stepgate.toml");
    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, kept.replace("listen =", "lisen =").replace("as long", "as money")).unwrap();
    let said = check(&["run"], directory.path(), 2);
    assert!(said.contains("did you mean `listen`") && said.contains("an input is like"), "{said}");

    std::fs::write(&file, kept).unwrap();
    let policy = directory.path().join("policies/app.cedar");
    let kept = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, kept.replace("context.input.amount", "context.input.amoun")).unwrap();
    let said = check(&["run"], directory.path(), 2);
    assert!(said.contains("app.cedar") && said.contains("amoun"), "{said}");
    assert!(check(&["run", "--config", "nowhere.toml"], directory.path(), 2).contains("stepgate init"));
}

#[test]
fn people_are_added_listed_changed_and_removed_and_each_is_an_entry() {
    let directory = deployment();
    let said = check(&["user", "add", "Bob", "--name", "Bob Ross", "--group", "staff"], directory.path(), 0);
    assert!(said.contains("/enrol/"), "{said}");
    check(&["user", "add", "bob"], directory.path(), 1);
    check(&["user", "change", "bob", "--group", "finance", "--group", "staff"], directory.path(), 0);
    let said = check(&["user", "list"], directory.path(), 0);
    assert!(said.contains("finance, staff"), "{said}");
    check(&["user", "unlock", "bob", "totp"], directory.path(), 0);
    check(&["user", "remove", "bob"], directory.path(), 0);
    check(&["user", "link", "bob"], directory.path(), 1);
    let said = check(&["audit", "tail", "-n", "50"], directory.path(), 0);
    for kind in ["added by", "changed by", "removed by", "enrolment link"] {
        assert!(said.contains(kind), "{kind}: {said}");
    }
    assert!(!said.contains("Bob Ross"), "the tree holds no names: {said}");
}

#[test]
fn keys_are_shown_and_rotated_and_the_store_still_opens() {
    let directory = deployment();
    let before = check(&["keys", "show"], directory.path(), 0);
    let said = check(&["keys", "rotate"], directory.path(), 0);
    assert!(said.contains("sealed anew"), "{said}");
    let after = check(&["keys", "show"], directory.path(), 0);
    assert_ne!(before.lines().next(), after.lines().next(), "the master key is new");
    assert_eq!(before.lines().nth(1), after.lines().nth(1), "the log's key stays");
    let file = directory.path().join("keys/master.key");
    let current = std::fs::read_to_string(&file).unwrap();
    let only_new: String = current.lines().take(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, only_new).unwrap();
    check(&["user", "list"], directory.path(), 0);
    check(&["migrate"], directory.path(), 0);
}

#[test]
fn the_key_file_must_be_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = deployment();
    let file = directory.path().join("keys/master.key");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = check(&["user", "list"], directory.path(), 1);
    assert!(said.contains("master key"), "{said}");
}

#[test]
fn completions_are_printed() {
    let directory = TempDir::new().unwrap();
    assert!(check(&["completions", "bash"], directory.path(), 0).contains("_stepgate"));
}
