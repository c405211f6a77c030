//! The command line as people and programs use it: what is printed, and exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

mod bearers;
mod evidence;
mod json;
mod missing;
mod mistakes;
mod packs;
mod tokens;

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

/// The example that the manual refers to decides what its table says, and each of its rules is needed for that.
#[test]
fn the_example_for_signing_in_decides_as_its_table_says() {
    let directory = deployment();
    let policies = directory.path().join("policies");
    let example = include_str!("../../../../policies/signing-in.cedar");
    let table = include_str!("../../../../policies/signing-in.test.toml");
    std::fs::write(policies.join("signing-in.test.toml"), table).unwrap();
    let run = ["policy", "test", "policies/signing-in.test.toml"];
    std::fs::write(policies.join("signing-in.cedar"), example).unwrap();
    check(&run, directory.path(), 0);
    let rules: Vec<&str> = example.split_inclusive(";\n").collect();
    for left_out in 0..rules.len() {
        let others = rules.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, rule)| *rule);
        std::fs::write(policies.join("signing-in.cedar"), others.collect::<String>()).unwrap();
        check(&run, directory.path(), 3);
    }
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
    assert!(said.contains("5 passed, 0 failed"), "{said}");
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
    assert!(!said.lines().any(|line| line.trim() == "Error:"), "{said}");
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
    let said = check(&["user", "change", "bob", "--group", "staf", "--group", "staff"], directory.path(), 0);
    assert!(said.contains("no policy names the group \"staf\"; did you mean \"staff\"?"), "{said}");
    assert!(said.contains("Policies name: ") && !said.contains("the group \"staff\""), "{said}");
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
    check(&["keys", "rotate"], directory.path(), 2);
    let said = check(&["keys", "rotate", "master"], directory.path(), 0);
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

/// The public key that signs the log now.
fn log_key(directory: &Path) -> String {
    check(&["audit", "key"], directory, 0).lines().next().unwrap().to_owned()
}

#[test]
fn the_key_of_the_log_is_rotated_and_whoever_knows_the_first_one_follows() {
    let directory = deployment();
    let here = directory.path();
    let first = log_key(here);
    std::fs::write(here.join("remembered"), check(&["audit", "key", "--checkpoint"], here, 0)).unwrap();
    let said = check(&["keys", "rotate", "checkpoint"], here, 0);
    let second = log_key(here);
    assert!(second != first && said.contains(&second) && said.contains("is destroyed"), "{said}");
    let said = check(&["keys", "rotate", "checkpoint", "--keep-former", "--json"], here, 0);
    let third = log_key(here);
    assert!(said.contains(&third) && said.contains("\"announced_by\": 4"), "{said}");

    // Current and former, with the heads that each signs.
    let said = check(&["audit", "key"], here, 0);
    assert!(said.contains("signs heads of 5 entries and more; entry 4 announces it"), "{said}");
    assert!(said.contains("signed heads of 4 to 5 entries; its private half is kept, sealed"), "{said}");
    assert!(said.contains("signed heads of 1 to 4 entries; its private half is destroyed"), "{said}");
    assert!(check(&["audit", "key", "--json"], here, 0).contains("\"signs_until\": 4"));

    check(&["audit", "export", "--out", "evidence"], here, 0);
    std::fs::write(here.join("keys.txt"), said).unwrap();
    for key in [&first, &second, &third, "keys.txt"] {
        check(&["audit", "verify", "evidence", "--key", key], here, 0);
    }
    let with_first = ["audit", "verify", "evidence", "--key", &first];
    let said = check(&[with_first.as_slice(), &["--remembered", "remembered"]].concat(), here, 0);
    for relied_on in [
        format!("{first}, which signed heads of up to 4 entries: you gave it"),
        format!("{second}, which signed heads of up to 5 entries: entry 3 announces it"),
        format!("{third}: entry 4 announces it, and the key before signed handover/5"),
        format!("the remembered checkpoint of 3 entries, signed by {first}"),
    ] {
        assert!(said.contains(&relied_on), "{relied_on}:\n{said}");
    }
    // Who knows only a later key does not believe an earlier one for it.
    let with_third = ["audit", "verify", "evidence", "--key", &third, "--remembered", "remembered"];
    assert!(check(&with_third, here, 2).contains("none of the keys that are believed signed this"));
    let both = [with_third.as_slice(), &["--key", &first]].concat();
    assert!(check(&both, here, 0).contains("SOUND"));

    // Without the head that hands over, the announcement is one that anybody could have written.
    std::fs::remove_file(here.join("evidence/handover/4")).unwrap();
    let said = check(&with_first, here, 3);
    assert!(said.contains("handover/4, the head with which the former key covers it, is missing"), "{said}");
    assert!(check(&["audit", "tail", "-n", "50"], here, 0).contains("no longer"));
}

#[test]
fn an_assertion_key_waits_until_applications_know_it() {
    let directory = deployment();
    let here = directory.path();
    let said = check(&["keys", "rotate", "assertion"], here, 0);
    assert!(said.contains("and signs from"), "{said}");
    let said = check(&["keys", "show"], here, 0);
    assert!(said.contains("published, signs from") && said.contains("signs Stepgate-Assertion"), "{said}");
    let said = check(&["keys", "rotate", "assertion"], here, 1);
    assert!(said.contains("does not sign yet") && said.contains("--compromised"), "{said}");
    check(&["keys", "rotate", "assertion", "--publish-for", "30s"], here, 2);
    let said = check(&["keys", "rotate", "assertion", "--compromised", "--json"], here, 0);
    assert!(said.contains("\"purpose\": \"assertion\""), "{said}");
    let said = check(&["keys", "show"], here, 0);
    assert_eq!(said.matches("assertion").count(), 1, "all others are gone: {said}");
    let said = check(&["audit", "tail", "-n", "50"], here, 0);
    assert_eq!(said.matches("assertion key").count(), 2, "each rotation is an entry: {said}");
}

#[test]
fn there_is_no_key_of_signals_to_rotate_before_a_transmitter_made_one() {
    let directory = deployment();
    let said = check(&["keys", "rotate", "signals"], directory.path(), 1);
    assert!(said.contains("[machines.streams]"), "{said}");
    check(&["keys", "rotate", "signals", "--publish-for", "1m"], directory.path(), 2);
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
fn the_database_must_be_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = deployment();
    let here = directory.path();
    let database = here.join("stepgate.db");
    let mode = |mode| std::fs::set_permissions(&database, std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(std::fs::metadata(&database).unwrap().permissions().mode() & 0o777, 0o600, "as `init` makes it");
    mode(0o644);
    for (command, code) in [("check", 2), ("run", 1), ("migrate", 1)] {
        let said = check(&[command], here, code);
        assert!(said.contains("mode 644") && said.contains("chmod 600"), "{command}: {said}");
    }
    assert!(check(&["user", "list"], here, 1).contains("stepgate.db is open to others"));
    mode(0o600);
    check(&["user", "list"], here, 0);
}

#[test]
fn what_cannot_be_made_leaves_nothing_behind() {
    let directory = TempDir::new().unwrap();
    let here = directory.path();
    for (origin, why) in [
        ("foo", "the scheme is missing"),
        ("gate.example:443", "no scheme that is served"),
        ("ftp://gate.example", "ftp is no scheme that is served"),
        ("http://gate.example", "http is for localhost names only"),
        ("https://gate.example/login", "only scheme, host and port"),
        ("https://192.0.2.1", "passkeys belong to a name"),
    ] {
        let said = check(&["init", "--dir", "new/gate", "--origin", origin], here, 2);
        assert!(said.contains(why) && said.contains("like https://gate.example"), "{origin}: {said}");
    }
    check(&["init", "--dir", "new/gate", "--admin", ""], here, 2);
    assert_eq!(std::fs::read_dir(here).unwrap().count(), 0, "nothing was written");

    // Something is in the way when half of it is written: that half is taken away again.
    std::fs::create_dir_all(here.join("new/gate/policies")).unwrap();
    std::fs::write(here.join("new/gate/policies/app.test.toml"), "mine").unwrap();
    let said = check(&["init", "--dir", "new/gate"], here, 1);
    assert!(said.contains("Nothing that exists is replaced"), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(here.join("new/gate")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["policies"]);
    assert_eq!(std::fs::read_dir(here.join("new/gate/policies")).unwrap().count(), 1);
    std::fs::remove_dir_all(here.join("new")).unwrap();
    check(&["init", "--dir", "new/gate"], here, 0);
    // A store without its key is not replaced either.
    std::fs::remove_file(here.join("new/gate/stepgate.toml")).unwrap();
    assert!(check(&["init", "--dir", "new/gate"], here, 1).contains("a new master key could not open it"));
}

#[test]
fn a_denial_by_default_names_the_permits_that_come_near() {
    let directory = deployment();
    let here = directory.path();
    let explain = |more: &[&str]| {
        let request = ["policy", "explain", "GET", "http://app.localhost:4180/payments"];
        check(&[request.as_slice(), more].concat(), here, 0)
    };
    let said = explain(&["--group", "strangers", "--proved", "password=5m"]);
    assert!(said.contains("because  no-permit  No rule permits this to you"), "{said}");
    assert!(said.contains("you asked as somebody in strangers"), "{said}");
    assert!(said.contains("staff-use-the-application") && said.contains("is for Group::\"staff\""), "{said}");
    assert!(!said.contains("\ncontext:"), "the context is for --verbose: {said}");
    assert!(explain(&["--group", "staff", "--verbose"]).contains("\ncontext:"));
    let said = explain(&["--group", "strangers", "--proved", "password=5m", "--json"]);
    assert!(said.contains("\"near_permits\"") && said.contains("\"context\""), "{said}");

    // A permit with a condition that does not hold.
    let policy = here.join("policies/app.cedar");
    let mut text = std::fs::read_to_string(&policy).unwrap();
    text.push_str(
        "@id(\"by-day\")\npermit (principal, action, resource in Service::\"app\")\nwhen { context.time.hour > 99 };\n",
    );
    std::fs::write(&policy, text).unwrap();
    let said = explain(&["--group", "strangers", "--proved", "password=5m"]);
    assert!(said.contains("its condition does not hold: when { context.time.hour > 99 }"), "{said}");
}

#[test]
fn a_word_that_nothing_ever_is_is_a_mistake_with_its_place() {
    let directory = deployment();
    let here = directory.path();
    let policy = here.join("policies/app.cedar");
    let kept = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, kept.replace("contains(\"passkey\")", "contains(\"paskey\")")).unwrap();
    let said = check(&["check"], here, 2);
    assert!(said.contains("did you mean \"passkey\"?") && said.contains("app.cedar:"), "{said}");

    std::fs::write(
        &policy,
        format!(
            "{kept}\n@id(\"abroad\")\n@reason(\"Not from there.\")\nforbid (principal, action, resource)\n\
             when {{ context.network.name == \"offce\" }};\n"
        ),
    )
    .unwrap();
    assert!(check(&["check"], here, 2).contains("a [[network]] by that name does not exist; there are none"));
    let config = std::fs::read_to_string(here.join("stepgate.toml")).unwrap();
    let network = "\n[[network]]\nname = \"office\"\nranges = [\"10.0.0.0/8\"]\n";
    std::fs::write(here.join("stepgate.toml"), format!("{config}{network}")).unwrap();
    assert!(check(&["check"], here, 2).contains("did you mean \"office\"?"));
}

#[test]
fn what_cannot_be_verified_with_is_told_as_what_it_is() {
    let directory = deployment();
    let here = directory.path();
    let key = log_key(here);
    check(&["audit", "export", "--out", "evidence"], here, 0);
    let verify = |more: &[&str], code| check(&[&["audit", "verify", "evidence"], more].concat(), here, code);
    assert!(verify(&["--key", "missing.txt"], 2).contains("there is no file missing.txt"));
    assert!(verify(&["--key", "stepgate.toml"], 2).contains("the first line of stepgate.toml is no key"));
    assert!(verify(&["--key", "localhost+12+x"], 2).contains("no key and no file"));
    assert!(verify(&["--key", &key, "--remembered", "missing.txt"], 2).contains("there is no file missing.txt"));
    assert!(verify(&["--key", &key, "--remembered", "stepgate.toml"], 2).contains("audit key --checkpoint"));
    std::fs::write(here.join("newer"), check(&["audit", "key", "--checkpoint"], here, 0)).unwrap();
    verify(&["--key", &key, "--remembered", "newer"], 0);
    check(&["user", "add", "bob"], here, 0);
    std::fs::write(here.join("newer"), check(&["audit", "key", "--checkpoint"], here, 0)).unwrap();
    let said = verify(&["--key", &key, "--remembered", "newer"], 3);
    assert!(said.contains("the export was made before that checkpoint (then export again)"), "{said}");
    let said = check(&["audit", "show", "evidence", "--index", "99"], here, 1);
    assert!(said.contains("the export has the entries 0 to 3"), "{said}");
    assert!(check(&["audit", "show", "evidence", "--index", "1"], here, 0).contains("added by init"));
}

/// A gate that runs until it is dropped.
struct Running(std::process::Child);

impl Running {
    fn start(directory: &Path) -> Self {
        let log = std::fs::File::create(directory.join("run.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepgate"));
        command.arg("run").current_dir(directory).env_remove("STEPGATE_CONFIG").env("NO_COLOR", "1");
        let running = Self(command.stderr(log).spawn().unwrap());
        wait_for(directory, "the gate is open");
        running
    }

    fn reload(&self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Waits until the running gate has said this.
fn wait_for(directory: &Path, what: &str) -> String {
    for _ in 0..600 {
        let said = std::fs::read_to_string(directory.join("run.log")).unwrap();
        if said.contains(what) {
            return said;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the gate never said {what:?}");
}

/// A deployment that listens on a port of its own.
fn on_a_free_port() -> TempDir {
    let directory = deployment();
    configure(directory.path(), "listen = \"127.0.0.1:4180\"", "listen = \"127.0.0.1:0\"");
    directory
}

/// Replaces a text in the configuration.
fn configure(directory: &Path, from: &str, to: &str) {
    let file = directory.join("stepgate.toml");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(from), "{from}: {kept}");
    std::fs::write(&file, kept.replacen(from, to, 1)).unwrap();
}

/// Starts a gate that must not start, and gives what it says. One that does start is stopped.
fn refused_to_run(directory: &Path, code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepgate"));
    command.arg("run").current_dir(directory).env_remove("STEPGATE_CONFIG").env("NO_COLOR", "1");
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    for _ in 0..600 {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // Of one that has ended, nothing is left to kill.
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn a_second_gate_on_the_same_file_is_refused_and_commands_are_not() {
    let directory = on_a_free_port();
    let here = directory.path();
    let running = Running::start(here);
    let said = refused_to_run(here, 1);
    assert!(said.contains("another gate runs on") && said.contains(&format!("process {}", running.0.id())), "{said}");
    assert!(said.contains("PostgreSQL"), "{said}");
    check(&["user", "list"], here, 0);
    drop(running);
    // What a killed gate leaves behind is in nobody's way.
    drop(Running::start(here));
}

#[test]
fn a_reload_says_what_needs_a_restart() {
    let directory = on_a_free_port();
    let here = directory.path();
    let running = Running::start(here);
    configure(here, "# operators =", "operators =");
    configure(here, "127.0.0.1:0", "127.0.0.2:0");
    running.reload();
    let said = wait_for(here, "changed in the file");
    assert!(said.contains("restart it to use the new value of [gate] listen, [gate] operators"), "{said}");
}

#[test]
fn a_running_gate_signs_with_the_next_key_of_the_log() {
    let directory = on_a_free_port();
    let here = directory.path();
    let first = log_key(here);
    let running = Running::start(here);
    check(&["keys", "rotate", "checkpoint"], here, 0);
    // The gate itself writes the next entry, and nobody told it of the key.
    running.reload();
    wait_for(here, "configuration and policies reloaded");
    assert!(!wait_for(here, "the gate is open").contains("ERROR"));
    check(&["audit", "export", "--out", "evidence"], here, 0);
    let said = check(&["audit", "verify", "evidence", "--key", &first], here, 0);
    assert!(said.contains("announces it"), "{said}");
}

#[test]
fn a_running_gate_publishes_the_next_assertion_key() {
    use std::io::{Read as _, Write as _};
    let directory = on_a_free_port();
    let here = directory.path();
    let running = Running::start(here);
    let said = wait_for(here, "the gate is open");
    let address = said.split("addresses=[").nth(1).unwrap().split(']').next().unwrap().to_owned();
    let published = || {
        let mut connection = std::net::TcpStream::connect(&address).unwrap();
        let request =
            "GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost:4180\r\nconnection: close\r\n\r\n".as_bytes();
        connection.write_all(request).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.matches("\"kid\"").count()
    };
    assert_eq!(published(), 1);
    check(&["keys", "rotate", "assertion"], here, 0);
    running.reload();
    wait_for(here, "configuration and policies reloaded");
    assert_eq!(published(), 2, "before it signs");
    check(&["keys", "rotate", "assertion", "--compromised"], here, 0);
    std::fs::write(here.join("run.log"), "").unwrap();
    running.reload();
    wait_for(here, "configuration and policies reloaded");
    assert_eq!(published(), 1, "the others are gone at once");
}

#[test]
fn a_busy_port_is_told_with_what_to_do() {
    let directory = deployment();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    configure(directory.path(), "listen = \"127.0.0.1:4180\"", &format!("listen = \"{address}\""));
    let said = check(&["run"], directory.path(), 1);
    assert!(said.contains(&address) && said.contains("something else listens there"), "{said}");
}

#[test]
fn a_store_that_does_not_open_says_what_to_do() {
    let directory = deployment();
    let here = directory.path();
    let list = |code| check(&["user", "list"], here, code);
    let key = here.join("keys/master.key");
    let kept = std::fs::read_to_string(&key).unwrap();

    let stranger = deployment();
    std::fs::write(&key, std::fs::read(stranger.path().join("keys/master.key")).unwrap()).unwrap();
    assert!(list(1).contains("Put the right key file in place"));
    std::fs::write(&key, "garbage\n").unwrap();
    assert!(list(1).contains("a key file is what `stepgate init` wrote"));
    std::fs::write(&key, kept).unwrap();
    list(0);

    write_secret(&here.join("other.db"), "this is no database at all, it is a text");
    configure(here, "sqlite:stepgate.db", "sqlite:other.db");
    assert!(list(1).contains("is no SQLite database"));
    configure(here, "sqlite:other.db", "sqlite:nowhere/stepgate.db");
    assert!(list(1).contains("for `sqlite:` make the directory"));
    assert!(check(&["check"], here, 2).contains("there is no directory"));
}

#[test]
fn check_finds_files_that_run_would_refuse() {
    let directory = TempDir::new().unwrap();
    let here = directory.path();
    check(&["init", "--origin", "https://gate.example"], here, 0);
    std::fs::remove_file(here.join("keys/master.key")).unwrap();
    let said = check(&["check"], here, 2);
    for missing in ["2 of the things that it names cannot be used", "master.key", "certificate.pem"] {
        assert!(said.contains(missing), "{missing}: {said}");
    }
    // A certificate, and the key of another one.
    let pair = || rcgen::generate_simple_self_signed(vec!["gate.example".to_owned()]).unwrap();
    let (one, other) = (pair(), pair());
    std::fs::create_dir_all(here.join("tls")).unwrap();
    std::fs::write(here.join("tls/certificate.pem"), one.cert.pem()).unwrap();
    std::fs::write(here.join("tls/key.pem"), other.signing_key.serialize_pem()).unwrap();
    let said = check(&["check"], here, 2);
    assert!(said.contains("do not make a usable pair"), "{said}");
}

#[test]
fn b83_without_its_secrets_or_policies_nothing_starts() {
    let directory = on_a_free_port();
    let file = |name: &str| directory.path().join(name);
    let config = std::fs::read_to_string(file("stepgate.toml")).unwrap();
    let key = std::fs::read_to_string(file("keys/master.key")).unwrap();
    let policy = std::fs::read_to_string(file("policies/app.cedar")).unwrap();

    std::fs::remove_file(file("keys/master.key")).unwrap();
    assert!(check(&["run"], directory.path(), 1).contains("master key"));
    for broken in [String::new(), "0".repeat(64), key.replace(|c: char| c.is_ascii_hexdigit(), "0")] {
        write_secret(&file("keys/master.key"), &broken);
        check(&["run"], directory.path(), 1);
    }
    write_secret(&file("keys/master.key"), &key);

    // Without any policy nothing would be permitted; half a policy is not read as none.
    std::fs::write(file("policies/app.cedar"), "forbid (principal").unwrap();
    assert!(check(&["run"], directory.path(), 2).contains("app.cedar"));
    std::fs::write(file("policies/app.cedar"), &policy).unwrap();

    // An authority that is named and not there does not become whom the system believes.
    let upstream = config.replace("\n[[service]]", "\n[[service]]\nca = \"nowhere.pem\"");
    assert_ne!(upstream, config);
    std::fs::write(file("stepgate.toml"), upstream).unwrap();
    let output = stepgate(&["run"], directory.path());
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("nowhere.pem"), "{}", text(&output.stderr));
    std::fs::write(file("stepgate.toml"), config).unwrap();
    check(&["check"], directory.path(), 0);
}

/// A key file is its owner's alone.
fn write_secret(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn completions_are_printed() {
    let directory = TempDir::new().unwrap();
    assert!(check(&["completions", "bash"], directory.path(), 0).contains("_stepgate"));
}
