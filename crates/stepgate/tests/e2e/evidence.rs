//! The evidence is for those whom the operator's policy names, and leaves the gate
//! only with a proof for that export.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use stepgate_core::factor::FactorKind;
use stepgate_core::person::Login;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_core::time::Clock as _;
use stepgate_evidence::Event;
use stepgate_testkit::browser::Scripts;
use stepgate_testkit::{Browser, Page, totp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::in_chromium::{click, type_into, wait_for_text};
use crate::world::{Member, PASSWORD, Payments, World, said};

const CONFIRM: &str = "form[data-passkey] button.primary";

/// Somebody of the group that the policy lets see the evidence, signed in at the gate.
async fn auditor(world: &World) -> Member {
    let audrey = world.member("audrey", &["auditors"]).await;
    let page = audrey.sign_in_at(&world.at_gate("/evidence")).await;
    assert_eq!(page.url.path(), "/evidence", "signing in leads to where they were going: {}", page.told());
    audrey
}

/// What the ledger says of one kind, oldest first.
async fn recorded(world: &World, kind: &str) -> Vec<Value> {
    let query = EntryQuery { from: Some(0), kinds: vec![kind.to_owned()], limit: 1000, ..EntryQuery::default() };
    let entries = world.gate.database.entries(query).await.unwrap();
    entries.iter().map(|recorded| serde_json::to_value(&recorded.entry.event).unwrap()).collect()
}

/// Unpacks an archive with the system's own program; gives the directory in it.
fn unpacked(archive: &Path, to: &Path) -> PathBuf {
    let done = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(to).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let mut folders = std::fs::read_dir(to).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let folder = folders.next().unwrap();
    assert!(folders.next().is_none(), "everything is in one directory");
    folder
}

/// What the program's verifier says of an export, elsewhere and with the public key alone.
fn verified(world: &World, export: &Path) -> String {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut verify = Command::new(env!("CARGO_BIN_EXE_stepgate"));
    verify.current_dir(elsewhere.path()).args(["audit", "verify"]).arg(export).args(["--key", &world.verifier]);
    let verified = verify.output().unwrap();
    assert!(verified.status.success(), "{}", said(&verified));
    said(&verified)
}

/// The entry that an export ends with: the one that says who took it.
fn last_entry(export: &Path) -> Value {
    let reader = stepgate_ledger::export::Reader::open(export).unwrap();
    let last = reader.records().unwrap().last().unwrap().unwrap();
    serde_json::from_slice(&last.entry).unwrap()
}

fn saved(page: &Page) -> (tempfile::TempDir, PathBuf) {
    assert_eq!(page.header("content-type"), "application/x-tar", "{}", page.told());
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("export.tar");
    std::fs::write(&archive, &page.body).unwrap();
    (folder, archive)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_named_sees_and_exports_nothing() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind_with_auditors()).await;
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_gate("/account")).await;
    let account = ada.person.open(&world.at_gate("/account")).await;
    assert!(!account.text().contains("/evidence"), "{}", account.told());
    let form = account.forms().into_iter().find(|form| form.action.path() == "/account/factors").unwrap();

    let refused = ada.person.open(&world.at_gate("/evidence?kind=session.started")).await;
    assert_eq!(refused.status, 403, "{}", refused.told());
    assert!(refused.text().contains("Your account"), "{}", refused.told());
    assert!(!refused.text().contains("Back to the application"), "there is none here: {}", refused.told());
    // A form as the evidence's page has it: her own token, her own origin.
    let csrf = form.fields.iter().find(|(name, _)| name == "csrf").unwrap().1.clone();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let gate = world.at_gate("/account");
    let export = world.at_gate("/evidence/export");
    let refused = ada.person.fetch(&gate, Method::POST, &export, &headers, format!("csrf={csrf}")).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (403, &json!("denied")), "{}", refused.told());
    // The export's own rule asks for a confirmation, which would not help her.
    assert_eq!(refused.json()["policies"][0]["id"], "no-permit", "{}", refused.told());
    let stranger = stepgate_testkit::Person::new();
    let asked = stranger.open(&world.at_gate("/evidence")).await;
    assert_eq!(asked.url.path(), "/sign-in", "{}", asked.told());

    assert!(recorded(&world, "evidence.searched").await.is_empty());
    assert!(recorded(&world, "evidence.exported").await.is_empty());
    let denied = recorded(&world, "operation.refused").await;
    let actions: Vec<_> = denied.iter().map(|entry| entry["asked"]["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["evidence.search", "evidence.export"]);
    // What is not there is not found, rather than forbidden; and her own account is hers.
    assert_eq!(ada.person.open(&world.at_gate("/nothing")).await.status, 404);
    assert_eq!(ada.person.open(&world.at_gate("/account/activity")).await.status, 200);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_confirms_an_export_and_takes_it_with_its_own_entry_in_it() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind_with_auditors()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    ada.person.touch(&asked).await;

    let audrey = auditor(&world).await;
    let account = audrey.person.open(&world.at_gate("/account")).await;
    assert!(account.text().contains("/evidence"), "{}", account.told());
    let page = audrey.person.open(&world.at_gate("/evidence?person=ada&kind=challenge.passed")).await;
    assert!(page.text().contains("ada proved passkey (user verified) for payments.approve"), "{}", page.told());

    let challenged = audrey.person.submit(&page, &page.form_to("/evidence/export")).await;
    assert!(challenged.url.path().starts_with("/challenges/"), "{}", challenged.told());
    assert!(challenged.text().contains("Export the whole evidence"), "{}", challenged.told());
    let factors: Vec<_> =
        challenged.forms().iter().flat_map(|form| form.fields.clone()).filter(|(name, _)| name == "factor").collect();
    assert!(factors.iter().all(|(_, kind)| kind == "passkey" || kind == "totp"), "{factors:?}");
    assert!(recorded(&world, "evidence.exported").await.is_empty(), "nothing leaves before it is confirmed");
    let id = crate::main_job::challenge_of(&challenged);
    let archive = audrey.person.touch(&challenged).await;

    let (folder, archive) = saved(&archive);
    let export = unpacked(&archive, folder.path());
    let told = verified(&world, &export);
    assert!(told.contains("SOUND") && told.contains("2 passkey signatures"), "{told}");
    assert_eq!(verified(&world, &archive), told, "the archive as it came says the same");
    let last = last_entry(&export);
    assert_eq!(last["event"]["kind"], "evidence.exported");
    assert_eq!(last["event"]["authority"], format!("challenge:{id}"));
    assert!(export.join("README.md").is_file() && export.join("public-key").is_file());
    // The confirmation was for one export.
    let again = audrey.person.submit(&page, &page.form_to("/evidence/export")).await;
    assert!(again.url.path().starts_with("/challenges/"), "{}", again.told());
    assert_eq!(recorded(&world, "evidence.exported").await.len(), 1);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_an_auditor_searches_and_exports_in_json() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind_with_auditors()).await;
    let audrey = auditor(&world).await;
    let (gate, export) = (world.at_gate("/account"), world.at_gate("/evidence/export"));
    let found = world.at_gate("/evidence?kind=session.started");
    let found = audrey.person.fetch(&gate, Method::GET, &found, &[("accept", "application/json")], "").await;
    assert_eq!(found.json()["entries"].as_array().unwrap().len(), 1, "{}", found.told());

    let call = async || audrey.person.fetch_json(&gate, Method::POST, &export, &json!({})).await;
    let asked = call().await;
    assert_eq!((asked.status.as_u16(), &asked.json()["code"]), (401, &json!("challenge")), "{}", asked.told());
    let challenge = asked.json()["challenge"].clone();
    assert_eq!(challenge["factors"], json!([["passkey"], ["totp"]]));
    world.clock.advance(Duration::from_secs(30));
    let code = totp::code_at(&audrey.secret, world.clock.now());
    let answers = format!("{}/answers", challenge["url"].as_str().unwrap());
    let password = json!({ "factor": "password", "password": PASSWORD });
    let not_enough = audrey.person.fetch_json(&gate, Method::POST, &answers, &password).await;
    assert_eq!(not_enough.json()["code"], "not_offered", "{}", not_enough.told());
    let answer = json!({ "factor": "totp", "code": code });
    let passed = audrey.person.fetch_json(&gate, Method::POST, &answers, &answer).await;
    assert_eq!(passed.json()["state"], "passed", "{}", passed.told());
    let archive = call().await;
    let (folder, archive) = saved(&archive);
    let told = verified(&world, &unpacked(&archive, folder.path()));
    assert!(told.contains("SOUND"), "{told}");
    assert_eq!(call().await.status, 401, "a confirmation is spent once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_breaks_off_when_its_auditor_loses_the_group() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind_with_auditors()).await;
    let audrey = auditor(&world).await;
    // More than the sockets between the gate and a slow reader take up.
    let flows = &world.gate.flows;
    for _ in 0..10 {
        let event = || Event::EvidenceSearched { by: "test".to_owned(), query: "x".repeat(4000) };
        let entries = (0..400).map(|_| flows.entry(world.clock.now(), event())).collect();
        flows.store.record(entries).await.unwrap();
    }
    let (gate, export) = (world.at_gate("/account"), world.at_gate("/evidence/export"));
    let asked = audrey.person.fetch_json(&gate, Method::POST, &export, &json!({})).await;
    world.clock.advance(Duration::from_secs(30));
    let answers = format!("{}/answers", asked.json()["challenge"]["url"].as_str().unwrap());
    let answer = json!({ "factor": "totp", "code": totp::code_at(&audrey.secret, world.clock.now()) });
    let passed = audrey.person.fetch_json(&gate, Method::POST, &answers, &answer).await;
    assert_eq!(passed.json()["state"], "passed", "{}", passed.told());

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], world.port).into()).await.unwrap();
    let cookie = audrey.person.cookie("localhost", "stepgate").unwrap();
    let head = format!(
        "POST /evidence/export HTTP/1.1\r\nHost: localhost:{}\r\nCookie: stepgate={cookie}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}",
        world.port
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut taken = Vec::new();
    while !String::from_utf8_lossy(&taken).contains("README.md") {
        assert!(stream.read_buf(&mut taken).await.unwrap() > 0, "{}", taken.escape_ascii());
    }
    assert!(taken.starts_with(b"HTTP/1.1 200 "), "{}", taken.escape_ascii());

    let login = Login::parse("audrey").unwrap();
    let person = flows.store.person_by_login(&login).await.unwrap().unwrap();
    flows.change_person(&person, &person.name, &person.email, Vec::new(), "test").await.unwrap();
    // An abortive end is an end too.
    let _ = stream.read_to_end(&mut taken).await;
    assert!(!taken.ends_with(b"0\r\n\r\n"), "the body has no end");
    let text = String::from_utf8_lossy(&taken);
    assert!(!text.contains("/checkpoint"), "what says that it is whole is not there");
    let refused = audrey.person.fetch_json(&gate, Method::POST, &export, &json!({})).await;
    assert_eq!(refused.json()["policies"][0]["id"], "no-permit", "{}", refused.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_an_auditor_exports_with_a_passkey_and_the_download_verifies() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind_with_auditors()).await;
    let link = world.invite("audrey", &["auditors"], &[FactorKind::Password, FactorKind::PASSKEY]).await;
    let browser = Browser::start().await;
    browser.goto(world.at_gate("/sign-in")).await.unwrap();
    browser.add_authenticator().await;
    crate::in_chromium::enrol_and_sign_in(&browser, &link, "audrey", &world.at_gate("/evidence")).await;
    wait_for_text(&browser, "Newest entries").await;
    type_into(&browser, "#person", "audrey").await;
    click(&browser, "form[action='/evidence'] button.primary").await;
    // The same sentence stands on the page that is left.
    let at_the_search = async || browser.current_url().await.ok()?.query()?.contains("person=audrey").then_some(());
    browser.wait_until("the search is there", at_the_search).await;
    wait_for_text(&browser, "audrey signed in with password").await;
    click(&browser, ".ledger details summary").await;
    wait_for_text(&browser, "This entry alone").await;

    click(&browser, "form[action='/evidence/export'] button").await;
    wait_for_text(&browser, "Export the whole evidence").await;
    click(&browser, CONFIRM).await;
    let downloads = browser.downloads().to_owned();
    let archive = browser
        .wait_until("the archive is there", async || {
            let files = std::fs::read_dir(&downloads).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
            files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "tar"))
        })
        .await;
    let folder = tempfile::tempdir().unwrap();
    let export = unpacked(&archive, folder.path());
    let told = verified(&world, &export);
    assert!(told.contains("SOUND") && told.contains("1 passkey signatures"), "{told}");
    assert_eq!(last_entry(&export)["event"]["kind"], "evidence.exported");
    // The page that went on is still there, and leads back to the search.
    click(&browser, ".later a").await;
    wait_for_text(&browser, "audrey signed in with password").await;
    browser.set_scripts(Scripts::Off).await;
    browser.goto(world.at_gate("/evidence?kind=evidence.exported")).await.unwrap();
    wait_for_text(&browser, "exported by audrey").await;
    browser.quit().await;
}
