//! `stepgate rehearse` against a whole gate: enrolled by a link, sent as the test person, held against a table.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use stepgate_core::factor::FactorKind;

use crate::world::{Payments, World, said};

const TABLE: &str = r#"
[default]
service = "ledger"
proved = { password = "1m" }

[[case]]
name = "everyday"
request = "GET /payments"
expect = "permit"

[[case]]
name = "an export"
request = "GET /payments.csv"
expect = "fresh: passkey"
because = ["exports-need-a-fresh-second-factor"]

[[case]]
name = "an export, signed in with the passkey"
request = "GET /payments.csv"
proved = { passkey = "1m" }
expect = "permit"

[[case]]
name = "a large payment"
request = "POST /payments/42/approve"
form = "amount=12000"
expect = "confirm: passkey"
because = ["large-payment"]

[[case]]
name = "nobody"
request = "GET /payments.csv"
proved = {}
expect = "sign in"

[[case]]
name = "from elsewhere"
request = "GET /payments.csv"
ip = "203.0.113.9"
expect = "permit"
"#;

/// Runs the program while the gate, in this process, goes on answering.
fn run(world: &World, arguments: &[&str], code: i32) -> String {
    let output = tokio::task::block_in_place(|| world.command(arguments));
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "stepgate {}:\n{said}", arguments.join(" "));
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_person_goes_through_a_gate_and_changes_only_what_was_allowed() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let kinds = [FactorKind::Password, FactorKind::PASSKEY];
    let link = world.invite("rita", &["finance"], &kinds).await;
    let enrol = ["rehearse", "enrol", &link, "--login", "rita", "--key", "rita.json"];
    run(&world, &enrol, 0);
    let mode = fs::metadata(world.dir.path().join("rita.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(world.dir.path().join("rehearsal.toml"), TABLE).unwrap();

    let told = run(&world, &["rehearse", "run", "--key", "rita.json", "rehearsal.toml"], 0);
    for part in [
        "ok    everyday",
        "fresh: passkey | totp (not enrolled), by exports-need-a-fresh-second-factor",
        "let through: the application answered 200 after",
        "SKIP  a large payment",
        "no --also allows it",
        "a real request cannot be given: ip",
        "4 sent, 4 as expected, 0 not",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    assert_eq!(payments.bodies(), Vec::<String>::new(), "nothing was allowed to change");

    let also = ["--also", "POST /payments/{id}/approve"];
    let told =
        run(&world, &[&["rehearse", "run", "--json", "--key", "rita.json", "rehearsal.toml"], &also[..]].concat(), 0);
    let told: Value = serde_json::from_str(&told).unwrap();
    let large = told["requests"].as_array().unwrap().iter().find(|one| one["case"] == "a large payment").unwrap();
    assert_eq!(large["policies"][0], "large-payment");
    assert_eq!(large["let_through"], 200);
    assert_eq!(large["right"], true);
    assert_eq!(payments.bodies(), ["amount=12000"], "once, and these bytes");

    // What is not as the table says is found out, also where less is asked than was expected.
    let wrong = TABLE.replace(
        "name = \"everyday\"\nrequest = \"GET /payments\"\nexpect = \"permit\"",
        "name = \"everyday\"\nrequest = \"GET /payments\"\nexpect = \"fresh: passkey\"",
    );
    fs::write(world.dir.path().join("wrong.toml"), wrong).unwrap();
    let told = run(&world, &["rehearse", "run", "--key", "rita.json", "wrong.toml"], 3);
    assert!(told.contains("WRONG everyday") && told.contains("3 as expected, 1 not"), "{told}");

    // Without a table: what only reads and takes nothing.
    let told = run(&world, &["rehearse", "run", "--key", "rita.json"], 0);
    assert!(told.contains("GET /payments.csv") && told.contains("nothing was sent to"), "{told}");
    assert_eq!(payments.bodies().len(), 1);

    // All of it is in the ledger: three exports on a password, two of them while a proof of another browser counted.
    let told = run(&world, &["policy", "prompts", "--since", "1d", "--json"], 0);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["total"]["prompts"], 4);
    let rules: Vec<_> = told["rules"].as_array().unwrap().iter().map(|rule| (&rule["id"], &rule["count"])).collect();
    assert_eq!(rules[0].0, "exports-need-a-fresh-second-factor");
    assert_eq!(
        (&rules[0].1["prompts"], &rules[0].1["repeated"], &rules[0].1["unused"]),
        (&3.into(), &2.into(), &0.into())
    );
    assert_eq!((rules[1].0, &rules[1].1["prompts"]), (&"large-payment".into(), &1.into()));
    assert_eq!(told["people"][0]["login"], "rita");
    let told = run(&world, &["policy", "prompts"], 0);
    assert!(told.contains("4 prompts (4.0 a day)") && told.contains("rita"), "{told}");

    // The policies that are live differ nowhere from themselves; under others, exports are asked for no longer.
    let told = run(&world, &["policy", "replay", "policies", "--json"], 0);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["decided"], &told["undecided"]), (&4.into(), &Value::Array(Vec::new())));
    assert_eq!(told["live"]["total"], told["other"]["total"]);
    let next = world.dir.path().join("next");
    fs::create_dir(&next).unwrap();
    fs::write(next.join("all.cedar"), "@id(\"all\")\npermit (principal is Person, action, resource);\n").unwrap();
    let told = run(&world, &["policy", "replay", "next", "--json"], 3);
    let told: Value = serde_json::from_str(&told).unwrap();
    let asked = |side: &str| &told[side]["total"]["prompts"];
    assert_eq!((asked("live"), asked("other")), (&4.into(), &0.into()));
    assert_eq!(told["differences"]["total"]["no_longer_asked"], 4);
    assert_eq!(told["differences"]["people"][0]["login"], "rita");
    // The same of an export; and what has mistakes is refused with its place.
    run(&world, &["audit", "export", "--out", "exported"], 0);
    let of_export = run(&world, &["policy", "replay", "next", "--export", "exported"], 3);
    assert!(of_export.contains("4 asked no longer (4.0 a day)") && of_export.contains("Assumed:"), "{of_export}");
    fs::write(next.join("all.cedar"), "permit (principal is Nobody, action, resource);\n").unwrap();
    let refused = run(&world, &["policy", "replay", "next"], 2);
    assert!(refused.contains("all.cedar:1:"), "{refused}");
    let looked = run(&world, &["audit", "tail"], 0);
    assert!(
        looked.contains("prompts of the last 30d") && looked.contains("replay of the last 30d"),
        "who looked is recorded: {looked}"
    );

    run(&world, &["rehearse", "run", "--key", "rita.json", "--also", "POST /nowhere"], 2);
    run(&world, &["rehearse", "run", "--key", "nothing.json"], 2);
    run(&world, &enrol, 1);
}
