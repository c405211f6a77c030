//! Mistakes that people make on the command line and in files, and what they are told.

use std::path::Path;

use super::{check, deployment};

#[test]
fn what_the_gate_refuses_check_refuses_too() {
    let directory = deployment();
    let said = check(&["check", "POST", "http://app.localhost:4180/Payments/42/approve"], directory.path(), 2);
    let near = "another spelling of a declared operation's path: app POST /payments/{id}/approve";
    assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(near), "{said}");
}

#[test]
fn an_origin_where_nobody_listens_is_no_mistake_but_said() {
    let directory = deployment();
    let here = directory.path();
    assert!(!check(&["check"], here, 0).contains("advice"), "nothing is odd at first");
    let file = here.join("stepgate.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let elsewhere = config.replace("http://app.localhost:4180", "http://app.localhost:8443");
    assert_ne!(elsewhere, config);
    std::fs::write(&file, &elsewhere).unwrap();
    let said = check(&["check"], here, 0);
    let expected = "advice: nobody reaches app at http://app.localhost:8443 unless something in front passes it on: \
                    the gate listens at port 4180";
    assert!(said.contains(expected), "{said}");
    assert!(check(&["check", "--json"], here, 0).contains("nobody reaches app at"));
    // Who says that something stands in front is not told that it must.
    let hop = elsewhere.replace("[gate]", "[gate]\ntrusted_hops = [\"127.0.0.2\"]");
    std::fs::write(&file, hop).unwrap();
    assert!(!check(&["check"], here, 0).contains("advice"));
}

#[test]
fn nothing_is_changed_where_nothing_was_asked() {
    let directory = deployment();
    let here = directory.path();
    let said = check(&["user", "change", "admin"], here, 2);
    assert!(said.contains("--name, --email, --group or --no-groups"), "{said}");
    check(&["user", "change", "admin", "--no-groups", "--group", "staff"], here, 2);
    check(&["user", "change", "admin", "--no-groups"], here, 0);
    assert!(check(&["user", "list", "--json"], here, 0).contains("\"groups\": []"));
}

#[test]
fn what_no_header_could_say_is_refused() {
    let directory = deployment();
    let here = directory.path();
    let add = |more: &[&str], expected: &str| {
        let said = check(&[&["user", "add", "mallory"], more].concat(), here, 2);
        assert!(said.contains(expected), "{more:?}: {said}");
    };
    for email in ["x", "a@b@c", "a b@c", "@c", "a@", "a\u{200b}@c", "a@b,c"] {
        add(&["--email", email], "an address like alice@example.com");
    }
    add(&["--email", &format!("{}@c", "a".repeat(254))], "an address like");
    add(&["--name", "a\nb"], "without control or invisible characters");
    add(&["--name", "a\u{202e}b"], "without control or invisible characters");
    add(&["--name", &"a".repeat(101)], "1 to 100 characters");
    add(&["--group", "a\u{200b}b"], "--group: a group's name");
    add(&["--group", ""], "for none, --no-groups");
    add(&["--group", "a,b"], "without commas");
    for hours in ["0", "721", "-1"] {
        check(&["user", "link", "admin", "--hours", hours], here, 2);
    }
    assert!(!check(&["user", "list"], here, 0).contains("mallory"), "nothing was added");
    check(&["user", "add", "alice", "--email", "älice@example.com", "--name", "Älice Müller"], here, 0);
}

/// Changes the configuration, and gives what `check` says to it.
fn with(here: &Path, replace: &str, by: &str) -> String {
    let file = here.join("stepgate.toml");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(replace), "{replace} is not in {kept}");
    std::fs::write(&file, kept.replacen(replace, by, 1)).unwrap();
    let said = check(&["check"], here, 2);
    std::fs::write(&file, kept).unwrap();
    said
}

#[test]
fn one_mistake_is_told_once_and_not_by_what_follows_from_it() {
    let directory = deployment();
    let here = directory.path();
    let said = with(here, "[gate]", "[gate");
    assert!(said.contains("the configuration has 1 mistake") && said.contains("unclosed table"), "{said}");

    let second = "\n[[service.operation]]\non = \"POST /second\"\naction = \"payments.approve\"\ntitle = \"Second\"\n\
                  inputs = { id = \"query id as string\", amount = \"query amount as number\" }\n";
    let kept = std::fs::read_to_string(here.join("stepgate.toml")).unwrap();
    std::fs::write(here.join("stepgate.toml"), format!("{kept}{second}")).unwrap();
    let said = check(&["check"], here, 2);
    assert!(said.contains("an input is like") && !said.contains("other inputs"), "{said}");
    std::fs::write(here.join("stepgate.toml"), kept).unwrap();

    let policy = std::fs::read_to_string(here.join("policies/app.cedar")).unwrap();
    std::fs::write(here.join("policies/app.cedar"), policy.replace("\"8h\"", "\"8 hours\"")).unwrap();
    let said = check(&["check"], here, 2);
    assert!(said.contains("failed to parse as a duration") && !said.contains("is longer than"), "{said}");
}

#[test]
fn bounds_are_told_as_they_are_written() {
    let directory = deployment();
    let here = directory.path();
    let said = with(here, "[[service]]", "[sessions]\nidle = \"5\"\n\n[limits]\nbody = \"0B\"\n\n[[service]]");
    assert!(said.contains("a duration like \"10m\", from 1m to 30d"), "{said}");
    assert!(said.contains("a size like \"10MiB\", from 1KiB to 100MiB"), "{said}");
}

#[test]
fn a_case_that_is_wrong_tells_who_asked_and_where_it_stands() {
    let directory = deployment();
    let here = directory.path();
    let tests = here.join("policies/app.test.toml");
    let kept = std::fs::read_to_string(&tests).unwrap();
    std::fs::write(&tests, kept.replacen("expect = \"permit\"", "expect = \"deny\"", 1)).unwrap();
    let said = check(&["policy", "test"], here, 3);
    assert!(said.contains("GET /payments, by somebody in staff, in ./policies/app.test.toml"), "{said}");
}

#[test]
fn commands_are_printed_as_the_program_was_called() {
    let directory = deployment();
    let here = directory.path();
    let said = check(&["audit", "export", "--out", "evidence"], here, 0);
    let again = said.lines().find(|line| line.contains("audit verify")).unwrap().trim();
    assert!(again.starts_with(env!("CARGO_BIN_EXE_stepgate")), "{again}");
    let status = std::process::Command::new("sh").args(["-c", again]).current_dir(here).status().unwrap();
    assert!(status.success(), "what is printed can be typed: {again}");
}
