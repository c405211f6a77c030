//! What the configuration names and is not there (attack B83): nothing starts, and nothing less is put in its place.

use super::{check, configure, deployment, on_a_free_port, refused_to_run};

/// Says what `run` and `check` say to it; neither takes it for right.
#[track_caller]
fn refused(here: &std::path::Path, code: i32, words: &str) {
    for said in [refused_to_run(here, code), check(&["check"], here, 2)] {
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn b83_a_directory_that_is_not_there_is_not_an_empty_one() {
    let directory = on_a_free_port();
    let here = directory.path();
    // The built-in policies alone would permit nothing at services, and forget what was forbidden.
    std::fs::rename(here.join("policies"), here.join("elsewhere")).unwrap();
    refused(here, 2, "policies cannot be read");
    std::fs::rename(here.join("elsewhere"), here.join("policies")).unwrap();
    // A file that is listed and cannot be read is not passed over either.
    std::os::unix::fs::symlink("nowhere", here.join("policies/more.cedar")).unwrap();
    refused(here, 2, "more.cedar cannot be read");
    std::fs::remove_file(here.join("policies/more.cedar")).unwrap();
    check(&["check"], here, 0);
}

#[test]
fn b83_a_variable_that_is_not_set_is_not_an_empty_one() {
    let directory = on_a_free_port();
    let here = directory.path();
    let unset = "STEPGATE_TEST_NOBODY_SETS_THIS";
    let (file, variable) = ("master_key_file = \"keys/master.key\"", format!("master_key_env = \"{unset}\""));
    configure(here, file, &variable);
    refused(here, 1, &format!("the environment variable {unset} with the master key is not set"));
    configure(here, &variable, file);

    let (store, variable) = ("store = \"sqlite:stepgate.db\"", format!("store_env = \"{unset}\""));
    configure(here, store, &variable);
    refused(here, 2, &format!("the environment variable {unset} is not set"));
    configure(here, &variable, store);

    let provider = format!(
        "[[provider]]\nname = \"company\"\ntitle = \"Company\"\nissuer = \"https://id.example\"\nclient_id = \"x\"\n\
         client_secret_env = \"{unset}\"\n\n[[service]]"
    );
    configure(here, "[[service]]", &provider);
    refused(here, 2, &format!("the environment variable {unset} is not set"));
    configure(here, &provider, "[[service]]");
    check(&["check"], here, 0);
}

#[test]
fn a_token_of_a_transmitter_that_is_not_configured_is_not_made() {
    let directory = on_a_free_port();
    let here = directory.path();
    let corp = "[machines]\nlisten = \"127.0.0.1:0\"\norigin = \"http://localhost:1\"\n\n[[machines.transmitter]]\n\
                name = \"corp\"\nissuer = \"https://i.example\"\naudience = \"a\"\njwks_uri = \"https://i.example/jwks\"\n\n\
                [[service]]";
    configure(here, "[[service]]", corp);
    let add = ["machines", "add", "corp-push", "--scope", "signals.push", "--transmitter"];
    let refused = check(&[&add[..], &["crop"]].concat(), here, 2);
    assert!(refused.contains("no [[machines.transmitter]] crop; known are corp"), "{refused}");
    assert!(check(&["check"], here, 0).contains("/signals/events  from corp"));
    let added = check(&[&add[..], &["corp"]].concat(), here, 0);
    assert!(added.contains("It is good until it is revoked."), "{added}");
}

#[test]
fn a_token_of_a_machine_says_until_when_it_is_good() {
    let directory = deployment();
    let here = directory.path();
    let add = |name, lifetime| ["machines", "add", name, "--scope", "scim", "--lifetime", lifetime];
    for absurd in ["0s", "59s", "3651d", "99999999999d"] {
        let refused = check(&add("entra", absurd), here, 2);
        assert!(refused.contains("from 1m to 3650d"), "{absurd}: {refused}");
    }
    let added = check(&add("entra", "3650d"), here, 0);
    let until = added.lines().find(|line| line.contains("It is good until 20")).unwrap_or_else(|| panic!("{added}"));
    let until = until.trim_start_matches("It is good until ").trim_end_matches('.');
    assert!(check(&["machines", "list"], here, 0).contains(until), "{until}");
}

#[test]
fn what_a_client_is_registered_with_is_said_by_check() {
    let directory = on_a_free_port();
    let here = directory.path();
    let provider = "[[provider]]\nname = \"corp\"\nissuer = \"https://id.example\"\nclient_id = \"x\"\n\
                    client_auth = \"none\"\n\n[[service]]";
    configure(here, "[[service]]", provider);
    let said = check(&["check"], here, 0);
    for address in ["/sign-in/back/corp\n", "/sign-in\n", "/sign-in/logout/corp\n"] {
        assert!(said.contains(address), "{address}: {said}");
    }
}
