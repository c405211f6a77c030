//! In front of an application that nobody here wrote: Node-RED without logins of
//! its own. Reading flows is everyday, deploying them needs a passkey for that deploy.

use sha2::{Digest as _, Sha256};
use stepgate_core::factor::FactorKind;
use stepgate_core::ports::Store as _;
use stepgate_testkit::{Browser, NodeRed, RecordingHop};
use thirtyfour::prelude::*;

use crate::in_chromium::{click, enrol_and_sign_in, wait_for_text};
use crate::world::{Behind, World};

const OPERATIONS: &str = r#"
inject_script = true

[[service.operation]]
on = "POST /flows"
action = "flows.deploy"
title = "Deploy flows"
sensitivity = "high"
kind = "deployment"
effect_headers = ["node-red-deployment-type"]
"#;

const POLICIES: &str = r#"
@id("engineers-use-the-plant")
permit (principal in Group::"engineers", action, resource in Service::"ledger");

@id("deploying-needs-a-passkey")
@reason("Deploying changes the plant: your passkey, for this deploy alone.")
forbid (principal, action == Action::"flows.deploy", resource in Service::"ledger")
unless { context.confirmed.contains("passkey") };
"#;

/// Adds a comment to the flow and presses Deploy, as a person in the editor would.
const CHANGE_AND_DEPLOY: &str = r#"
    const comment = RED.nodes.node("c1");
    comment.name = "valve open";
    comment.changed = true;
    comment.dirty = true;
    RED.nodes.dirty(true);
    RED.view.redraw();
    RED.actions.invoke("core:deploy-flows");
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_in_node_red_is_confirmed_and_what_arrives_is_what_was_signed() {
    let application = NodeRed::start();
    let hop = RecordingHop::start(application.address()).await;
    let behind = Behind { url: hop.url(), operations: OPERATIONS, policies: POLICIES };
    let world = World::in_real_time(behind).await;
    let link = world.invite("grace", &["engineers"], &[FactorKind::Password, FactorKind::PASSKEY]).await;
    let browser = Browser::start().await;
    browser.goto(world.at_gate("/sign-in")).await.unwrap();
    let authenticator = browser.add_authenticator().await;
    enrol_and_sign_in(&browser, &link, "grace", &world.at_service("/")).await;

    // The editor works: flows are read, its WebSocket is open.
    browser.query(By::Css(".red-ui-flow-node-group, .red-ui-flow-node")).first().await.unwrap();
    let websockets = hop.requests().into_iter().filter(|seen| seen.value("upgrade").is_some()).count();
    assert!(websockets > 0, "the editor's WebSocket reaches Node-RED");

    browser.execute(CHANGE_AND_DEPLOY, vec![]).await.unwrap();
    let deploys = || {
        let seen = hop.requests().into_iter();
        seen.filter(|seen| seen.method() == "POST" && seen.target() == "/flows").collect::<Vec<_>>()
    };
    // The script that the gate serves shows where to confirm.
    let notice = browser.query(By::Css("a[href*='/challenges/']")).first().await.unwrap();
    let challenge = notice.attr("href").await.unwrap().unwrap();
    assert!(deploys().is_empty(), "nothing is deployed before it is confirmed");
    assert_eq!(application.deployed()[1]["name"], "valve closed");

    let keys = browser.keys_of(&authenticator).await;
    let editor = browser.window().await.unwrap();
    let confirming = browser.new_tab().await.unwrap();
    browser.switch_to_window(confirming).await.unwrap();
    browser.goto(world.at_gate("/sign-out")).await.unwrap();
    browser.add_authenticator_with(&keys).await;
    browser.goto(&challenge).await.unwrap();
    wait_for_text(&browser, "Deploying changes the plant").await;
    click(&browser, "form[data-passkey] button.primary").await;
    wait_for_text(&browser, "You may close this page").await;
    browser.switch_to_window(editor).await.unwrap();
    wait_for_text(&browser, "Successfully deployed").await;

    let arrived = deploys();
    assert_eq!(arrived.len(), 1, "deployed once");
    let id = challenge.rsplit('/').next().unwrap().parse().unwrap();
    let statement = world.gate.database.challenge(id).await.unwrap().unwrap().statement;
    assert_eq!(statement.body_sha256, hex::encode(Sha256::digest(&arrived[0].body)));
    assert_eq!(application.deployed()[1]["name"], "valve open");
    browser.quit().await;
    world.verified_evidence();
}
