//! A second set of policies beside a whole gate: it changes nothing, and is told.

use std::fs;
use std::time::Duration;

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
"#;

/// The second set: whoever reads is asked for a passkey.
const NEXT: &str = r#"
@id("all")
permit (principal is Person, action, resource);

@id("readers-need-a-passkey")
@reason("Reading needs your passkey.")
forbid (principal, action == Action::"read", resource in Service::"ledger")
unless { context.age.passkey <= duration("5m") };

@id("never")
@reason("Never.")
forbid (principal, action == Action::"read", resource)
when { context.network.country == "AQ" };
"#;

/// Runs the program while the gate, in this process, goes on answering.
fn run(world: &World, arguments: &[&str], code: i32) -> String {
    let output = tokio::task::block_in_place(|| world.command(arguments));
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "stepgate {}:\n{said}", arguments.join(" "));
    said
}

/// What `policy shadow` says once something differed.
async fn differing(world: &World) -> Value {
    for _ in 0..100 {
        world.gate.flows.flush_shadow(300).await.unwrap();
        let output = tokio::task::block_in_place(|| world.command(&["policy", "shadow", "--json"]));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        if output.status.code() == Some(3) {
            return told;
        }
        assert_eq!(output.status.code(), Some(0), "{told}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing was compared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b143_a_second_set_beside_a_gate_changes_nothing_and_is_told() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let link = world.invite("rita", &["finance"], &[FactorKind::Password, FactorKind::PASSKEY]).await;
    run(&world, &["rehearse", "enrol", &link, "--login", "rita", "--key", "rita.json"], 0);
    fs::write(world.dir.path().join("everyday.toml"), TABLE).unwrap();
    let everyday = ["rehearse", "run", "--key", "rita.json", "everyday.toml"];
    run(&world, &everyday, 0);
    let none = run(&world, &["policy", "shadow"], 2);
    assert!(none.contains("shadow_policies"), "{none}");

    let next = world.dir.path().join("next");
    fs::create_dir(&next).unwrap();
    fs::write(next.join("next.cedar"), NEXT).unwrap();
    let file = world.dir.path().join("stepgate.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config.replacen("[gate]", "[gate]\nshadow_policies = \"next\"", 1)).unwrap();
    world.gate.reload().await.unwrap();
    run(&world, &everyday, 0);
    let told = differing(&world).await;
    assert!(told["decided"].as_u64().unwrap() >= told["differing"].as_u64().unwrap(), "{told}");
    assert_eq!(told["differences"]["rules"][0]["id"], "readers-need-a-passkey", "{told}");
    assert_eq!(told["differences"]["people"][0]["login"], "rita", "{told}");
    assert_eq!(told["differences"]["total"]["newly_asked"], 1, "{told}");
    assert_eq!(told["differences"]["operations"][0]["id"], "ledger read", "{told}");
    assert_eq!(told["rules_that_never_asked"], serde_json::json!(["never"]), "{told}");
    let told = run(&world, &["policy", "shadow"], 3);
    assert!(told.contains("rita") && told.contains("1 asked anew (1.0 a day)"), "{told}");
    let looked = run(&world, &["audit", "tail"], 0);
    assert!(looked.contains("would be otherwise") && looked.contains("shadow of the last 7d"), "{looked}");
    world.verified_evidence();

    // One with mistakes is left out and told; the gate reloads all the same, and decides as before.
    fs::write(next.join("next.cedar"), "permit (principal is Nobody, action, resource);\n").unwrap();
    world.gate.reload().await.unwrap();
    assert!(!world.gate.flows.shadow.is_on());
    run(&world, &everyday, 0);
    let refused = run(&world, &["policy", "shadow"], 2);
    assert!(refused.contains("next.cedar:1:"), "{refused}");
}
