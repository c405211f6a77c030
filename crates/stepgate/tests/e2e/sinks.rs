//! The evidence of a payment, told to other systems while it happens.

use std::time::Duration;

use serde_json::Value;
use stepgate_testkit::{Answer, RecordingUpstream};

use crate::world::{Behind, Payments, World, said};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn with_sinks(behind: Behind, receiver: &RecordingUpstream, folder: &std::path::Path) -> Behind {
    std::fs::write(folder.join("webhook.key"), KEY).unwrap();
    let operations = format!(
        "{}\n[[sink]]\nname = \"archive\"\nto = \"file\"\nformat = \"ocsf\"\npath = \"{2}/evidence.jsonl\"\n\
         [[sink]]\nname = \"siem\"\nto = \"webhook\"\nformat = \"ecs\"\nwithhold_personal = true\nurl = \"{1}/events\"\n\
         secret_file = \"{2}/webhook.key\"\ndanger_loopback = true\n",
        behind.operations,
        receiver.url(),
        folder.display()
    );
    Behind { operations: Box::leak(operations.into_boxed_str()), ..behind }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} in thirty seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_while_it_happens_and_the_command_says_how_far() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = RecordingUpstream::start(|_| Answer::new(204, &[], "")).await;
    let payments = Payments::start().await;
    let world = World::start(with_sinks(payments.behind(), &receiver, folder.path())).await;
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    let file = folder.path().join("evidence.jsonl");
    let in_file = || std::fs::read_to_string(&file).unwrap_or_default();
    until("the sign-in is in the file", || in_file().contains("session.started")).await;
    let told = || -> Vec<Value> {
        let batches =
            receiver.requests().into_iter().map(|request| serde_json::from_slice::<Value>(&request.body).unwrap());
        batches.flat_map(|batch| batch["data"].as_array().unwrap().clone()).collect()
    };
    until("the receiver was told of it", || {
        told().iter().any(|one| one["document"]["event"]["action"] == "session.started")
    })
    .await;
    // The file has names, and the receiver has none.
    let signed_in: Value = in_file()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|value| value["metadata"]["event_code"] == "session.started")
        .unwrap();
    assert_eq!(signed_in["user"]["name"], "ada");
    assert_eq!(signed_in["src_endpoint"]["ip"], "127.0.0.1");
    let all: String = told().iter().map(Value::to_string).collect();
    assert!(!all.contains("\"ada\"") && !all.contains("127.0.0.1"), "{all}");
    let listed = world.command(&["sinks", "list"]);
    assert!(listed.status.success());
    let listed = said(&listed);
    assert!(listed.contains("archive") && listed.contains("siem"), "{listed}");
    let sample = world.command(&["sinks", "sample", "siem", "--limit", "1"]);
    assert!(said(&sample).contains("\"action\":\"log.opened\""), "{}", said(&sample));
}
