//! A payment that wants a passkey and a code by mail, over a real mail server.

use std::fs;
use std::time::Duration;

use serde_json::json;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_testkit::{MailServer, Page};

use crate::world::{Behind, Member, PASSWORD, Payments, World};

const POLICIES: &str = r#"
@id("finance")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("large-payment")
@reason("Payments over 10,000 need your passkey, and a code that is sent to you.")
forbid (principal, action == Action::"payments.approve", resource)
when   { context.input.amount > 10000 }
unless { context.confirmed.containsAll(["passkey", "email_code"]) };
"#;

/// What sends codes through this server.
fn with_mail(behind: Behind, server: &MailServer, folder: &std::path::Path) -> Behind {
    fs::write(folder.join("mail.pem"), server.certificate()).unwrap();
    fs::write(folder.join("mail.password"), "let me in\n").unwrap();
    let operations = format!(
        "{}\n[mail]\nserver = \"localhost\"\nport = {}\nca = \"{2}/mail.pem\"\nusername = \"gate\"\n\
         password_file = \"{2}/mail.password\"\nfrom = \"Stepgate <no-reply@example.com>\"\n\n[codes.email]\n",
        behind.operations,
        server.port(),
        folder.display(),
    );
    Behind { operations: Box::leak(operations.into_boxed_str()), policies: POLICIES, ..behind }
}

async fn press(ada: &Member, page: &Page, path_end: &str) -> Page {
    let form = page.forms().into_iter().find(|form| form.action.path().ends_with(path_end));
    ada.person.submit(page, &form.unwrap_or_else(|| panic!("no form to {path_end}: {}", page.told()))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_no_server_takes_is_recorded_and_said() {
    let told = json!({ "user": "gate", "pass": "let me in", "refuses": "ada@example.test" });
    let (server, folder) = (MailServer::start(&told), tempfile::tempdir().unwrap());
    let payments = Payments::start().await;
    let world = World::start(with_mail(payments.behind(), &server, folder.path())).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    assert!(list.text().contains("<h1>Payments</h1>"), "{}", list.told());
    let account = ada.person.open(&world.at_gate("/account")).await;
    let add = account.forms().into_iter().find(|form| form.action.path().ends_with("/factors") && !form.has("kind"));
    let asked = ada.person.submit(&account, &add.unwrap().press("kind", "email_code")).await;
    let offered = ada.person.touch(&asked).await;
    press(&ada, &offered, "/email_code").await;
    let store = &world.gate.database;
    let found = loop {
        let query = EntryQuery {
            from: Some(0),
            kinds: vec!["code.undelivered".to_owned()],
            limit: 10,
            ..EntryQuery::default()
        };
        if let Some(found) = store.entries(query).await.unwrap().pop() {
            break found;
        }
        let all = EntryQuery { from: Some(0), limit: 1000, ..EntryQuery::default() };
        let next = store.entries(all).await.unwrap().last().map_or(0, |last| last.index + 1);
        store.entries_after(next, Duration::from_secs(60)).await;
    };
    let told = format!("{:?}", found.entry.event);
    assert!(told.contains("refused") && !told.contains("example.test"), "{told}");
    assert_eq!(server.taken(), 0);
    world.gate.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_goes_on_after_a_passkey_and_the_code_of_its_mail() {
    let (server, folder) =
        (MailServer::start(&json!({ "user": "gate", "pass": "let me in" })), tempfile::tempdir().unwrap());
    let payments = Payments::start().await;
    let world = World::start(with_mail(payments.behind(), &server, folder.path())).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;

    // Nobody has the address yet: the page says what is missing, and leads to where it is added.
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    assert!(asked.text().contains("You need an e-mail address for this."), "{}", asked.told());

    // Adding it is confirmed with the passkey, and the address is proved by a code.
    let account = ada.person.open(&world.at_gate("/account")).await;
    let add = account.forms().into_iter().find(|form| form.action.path().ends_with("/factors") && !form.has("kind"));
    let asked = ada.person.submit(&account, &add.unwrap().press("kind", "email_code")).await;
    let offered = ada.person.touch(&asked).await;
    assert!(offered.text().contains("Send a code to a…@example.test"), "{}", offered.told());
    let waits = press(&ada, &offered, "/email_code").await;
    let mail = server.next_mail();
    assert_eq!((mail.to(), mail.is_secure(), mail.user()), (vec!["ada@example.test"], true, "gate"));
    let form = waits.form_with("code").fill("code", &mail.code());
    let account = ada.person.submit(&waits, &form).await;
    assert!(account.text().contains("a…@example.test"), "{}", account.told());

    // The payment: the passkey, then the code of a mail that says what is paid.
    let list = ada.person.open(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    let more = ada.person.touch(&asked).await;
    assert!(more.text().contains("One more proof"), "{}", more.told());
    assert!(payments.approvals().is_empty(), "nothing is sent before all of it is proved");
    let waits = press(&ada, &more, "/codes").await;
    assert!(waits.text().contains("A code is on its way"), "{}", waits.told());
    let mail = server.next_mail();
    for words in ["Approve payment 42 of 12000", "Ledger"] {
        assert!(mail.text().contains(words), "{words} in {}", mail.text());
    }
    assert!(!mail.text().contains("http://") && !mail.text().contains(PASSWORD));
    let approved = ada.person.submit(&waits, &waits.form_with("code").fill("code", &mail.code())).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(approved.url.as_str(), world.at_service("/payments/42/approve"));
    assert_eq!(payments.approvals().len(), 1);

    let said = world.verified_evidence();
    assert!(said.contains("passkey"), "{said}");
    let mut files = Vec::new();
    let mut folders = vec![world.dir.path().join("export")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(fs::read(path).unwrap()) }
        }
    }
    let exported: String = files.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    assert!(exported.contains("code.sent") && !exported.contains(&mail.code()), "no code is in the export");
    world.gate.stop().await;
}
