//! The evidence, for somebody whom the door let through.

use std::path::Path;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use stepgate_console::Account;
use stepgate_core::surroundings::Posture;
use stepgate_core::web::{Client, LocalService as _, Transport};
use stepgate_evidence::Event;
use stepgate_evidence::verify::verify;
use stepgate_ledger::CheckpointVerifier;
use stepgate_ledger::export::Reader;
use stepgate_ledger::verify::Trust;
use stepgate_testkit::Page;

use crate::house::{House, What};

fn number(page: &Page) -> usize {
    page.text().matches("<details class=\"technical\">").count()
}

#[tokio::test]
async fn entries_are_found_and_said_in_words_with_their_detail() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let (_, bob) = house.signed_in("bob").await;
    let challenge = browser.ask(What::default()).await;
    let page = browser.open(&format!("/challenges/{}", challenge.id)).await;
    browser.touch(&page).await;

    let page = browser.open(&format!("/evidence?challenge={}", challenge.id)).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.told());
    let text = page.text();
    for said in [
        "alice asked for payments.approve",
        "“Approve payment 42 of 12000”",
        "alice proved passkey (user verified)",
        "&#34;kind&#34;: &#34;challenge.passed&#34;",
        &format!("/evidence?person={}", person.id),
    ] {
        assert!(text.contains(said), "{said} is missing: {text}");
    }
    assert_eq!(number(&page), 2, "{}", page.told());

    let page = browser.open("/evidence?person=bob&kind=session.started").await;
    assert_eq!(number(&page), 1, "{}", page.told());
    assert!(page.text().contains("bob signed in with password"), "{}", page.told());
    let page = browser.open(&format!("/evidence?person={}&kind=session.started", bob.id)).await;
    assert_eq!(number(&page), 1, "{}", page.told());
    let page = browser.open("/evidence?service=ledger&action=payments.approve").await;
    assert_eq!(number(&page), 2, "{}", page.told());
    assert_eq!(number(&browser.open("/evidence?service=wiki").await), 0);
    assert_eq!(number(&browser.open("/evidence?index=0").await), 1);
    assert_eq!(number(&browser.open("/evidence?until=1999-12-31").await), 0);
}

#[tokio::test]
async fn who_searches_stands_in_it_with_what_they_looked_for() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    browser.open("/evidence").await;
    browser.open("/evidence?person=alice&kind=fault,clock.jumped").await;
    let nobody = browser.open("/evidence?person=a-name-that-nobody-has").await;
    assert!(nobody.text().contains("Nobody signs in with this name."), "{}", nobody.told());
    browser.open("/evidence?persom=alice").await;
    let searched = house.said("evidence.searched").await;
    let queries: Vec<_> = searched.iter().map(|entry| entry["query"].as_str().unwrap()).collect();
    let of_alice = format!("person={} kind=fault,clock.jumped", person.id);
    // What was typed and fits nobody may be a name: it does not stay in the tree.
    assert_eq!(queries, ["everything", &of_alice, "person=nobody"]);
    assert!(searched.iter().all(|entry| entry["by"] == person.id.to_string()));
    let own = browser.open("/evidence?person=alice&kind=evidence.searched").await;
    assert_eq!(number(&own), 4, "what somebody does with the evidence is found by them: {}", own.told());
}

#[tokio::test]
async fn a_search_has_pages() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let fault = |what: usize| {
        let event = Event::Fault { node: "n".to_owned(), what: format!("fault {what:03}.") };
        house.flows.entry(stepgate_core::time::Clock::now(house.clock.as_ref()), event)
    };
    house.store().record((0..120).map(fault).collect()).await.unwrap();
    let mut page = browser.open("/evidence?kind=fault").await;
    let mut seen = Vec::new();
    loop {
        let text = page.text();
        seen.extend(
            text.split("</strong><span>").skip(1).filter_map(|rest| rest.split("</span>").next().map(str::to_owned)),
        );
        assert!(seen.len() <= 120, "{}", page.told());
        let is_older = |link: &url::Url| link.fragment().is_none() && link.as_str().contains("before=");
        let Some(older) = page.links().into_iter().find(is_older) else { break };
        page = browser.open(&older[url::Position::BeforePath..]).await;
    }
    assert_eq!(seen.len(), 120);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first, each once: {seen:?}");
}

#[tokio::test]
async fn programs_get_entries_and_problems_as_json() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let found = browser.json("/evidence?kind=session.started&limit=1").await.json();
    let entry = &found["entries"][0];
    assert_eq!(entry["event"]["person"], person.id.to_string());
    assert_eq!(entry["details_erased"], false);
    assert!(entry["details"]["agent"].is_string(), "{found}");
    assert_eq!(found["older"], serde_json::Value::Null);
    let newest = browser.json("/evidence?limit=2").await.json();
    assert_eq!(newest["entries"].as_array().unwrap().len(), 2);
    let older = newest["older"].as_str().unwrap();
    let next = browser.json(older.strip_prefix("https://gate.test").unwrap()).await.json();
    assert_eq!(next["entries"][0]["index"].as_u64().unwrap() + 1, newest["entries"][1]["index"].as_u64().unwrap());
    let nobody = browser.json("/evidence?person=a-name-that-nobody-has").await;
    assert_eq!((nobody.status, &nobody.json()["code"]), (StatusCode::NOT_FOUND, &"unknown_person".into()));
    let wrong = browser.json("/evidence?since=yesterday").await;
    assert_eq!((wrong.status, &wrong.json()["code"]), (StatusCode::BAD_REQUEST, &"bad_query".into()));
    assert!(wrong.json()["detail"].as_str().unwrap().starts_with("since: a day like"));
}

#[tokio::test]
async fn b86_a_hostile_entry_stays_text() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let hostile = "</code></pre><script>alert(1)</script>\u{202e}\u{1b}[2J\" onfocus=\"x";
    let event = Event::Fault { node: hostile.to_owned(), what: hostile.to_owned() };
    let body = serde_json::json!({ "statement": { "title": hostile }, hostile: hostile });
    let at = stepgate_core::time::Clock::now(house.clock.as_ref());
    house.store().record(vec![house.flows.entry_with(at, event, body)]).await.unwrap();
    let page = browser.open("/evidence?kind=fault").await;
    let text = page.text();
    assert_eq!(number(&page), 1);
    assert!(text.matches("alert(1)").count() >= 4, "it is shown: {text}");
    assert!(!text.contains("<script>alert") && !text.contains("\" onfocus"), "{text}");
    assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'), "{text}");
    let query = "/evidence?person=%3Cscript%3Ealert(1)%3C/script%3E&before=%22%3E%3Cscript%3E";
    let page = browser.open(query).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(!page.text().contains("<script>alert"), "{}", page.told());
}

#[tokio::test]
async fn b51_without_a_decision_nothing_is_shown_or_exported() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let account = Account::new(house.flows.clone(), Transport::Tls, "Stepgate");
    let csrf = browser.open("/account").await.forms()[0].fields[0].1.clone();
    let cookies = ["__Host-stepgate", "__Host-stepgate-browser"]
        .map(|name| format!("{name}={}", browser.cookie(name).unwrap()))
        .join("; ");
    for (method, path) in [("GET", "/evidence"), ("GET", "/evidence?bad=1"), ("POST", "/evidence/export")] {
        let client = Client { address: [192, 0, 2, 1].into(), request_id: "r".to_owned(), posture: Posture::Unknown };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "text/html")
            .header("cookie", &cookies)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .extension(client)
            .body(Bytes::from(format!("csrf={csrf}")))
            .unwrap();
        assert_eq!(account.call(request).await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert!(house.said("evidence.searched").await.is_empty());
    assert!(house.said("evidence.exported").await.is_empty());
}

/// Unpacks an archive as anybody would, and verifies what is in it.
fn unpacked(archive: &[u8], to: &Path) -> std::path::PathBuf {
    tar::Archive::new(archive).unpack(to).unwrap();
    let mut folders = std::fs::read_dir(to).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    assert!(folders.next().is_none(), "everything is in one directory");
    folder
}

#[tokio::test]
async fn an_export_is_one_archive_that_verifies_and_names_itself() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let page = browser.open(&format!("/challenges/{}", challenge.id)).await;
    browser.touch(&page).await;
    // More than one bundle and more than one page of the store.
    let fault = |what: usize| {
        let event = Event::Fault { node: "n".to_owned(), what: what.to_string() };
        house.flows.entry(stepgate_core::time::Clock::now(house.clock.as_ref()), event)
    };
    house.store().record((0..1300).map(fault).collect()).await.unwrap();
    let page = browser.open("/evidence").await;
    let archive = browser.submit(&page.form_to("/evidence/export")).await;
    assert_eq!(archive.status, StatusCode::OK);
    assert_eq!(archive.header("content-type"), "application/x-tar");
    assert_eq!(archive.header("cache-control"), "no-store");
    let folder = tempfile::tempdir().unwrap();
    let export = unpacked(&archive.body, folder.path());
    let name = export.file_name().unwrap().to_str().unwrap();
    assert_eq!(archive.header("content-disposition"), format!("attachment; filename=\"{name}.tar\""));

    let key = std::fs::read_to_string(export.join("public-key")).unwrap();
    assert_eq!(key.trim(), house.store().log_keys(u64::MAX).await.unwrap().signing);
    let readme = std::fs::read_to_string(export.join("README.md")).unwrap();
    assert!(readme.contains(&format!("stepgate audit verify {name} --key '{}'", key.trim())), "{readme}");
    let keys = [CheckpointVerifier::parse(key.trim()).unwrap()];
    let reader = Reader::open(&export).unwrap();
    let report = verify(&reader, Trust { keys: &keys, remembered: &[] }, &mut |_| ()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.checked.passed, report.checked.statements), (1, 1), "{report:?}");
    // As it came, it is what the verifier takes, and it says the same.
    let came = folder.path().join("came.tar");
    std::fs::write(&came, &archive.body).unwrap();
    let as_it_came =
        verify(&Reader::open(&came).unwrap(), Trust { keys: &keys, remembered: &[] }, &mut |_| ()).unwrap();
    assert!(as_it_came.is_sound(), "{as_it_came:?}");
    assert_eq!(as_it_came.ledger.root, report.ledger.root);

    // The last entry is the export's own.
    let last = reader.records().unwrap().last().unwrap().unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&last.entry).unwrap();
    assert_eq!(entry["event"]["kind"], "evidence.exported");
    assert_eq!(entry["event"]["by"], person.id.to_string());
    assert_eq!(entry["event"]["to_index"], last.index.to_string());
    let (session, _) = browser.session().await.unwrap();
    assert_eq!(entry["event"]["authority"], format!("session:{}", session.id));
    let own = browser.open("/account/activity").await;
    assert!(own.text().contains("The whole evidence was exported"), "{}", own.told());
}

#[tokio::test]
async fn an_archive_has_the_bytes_of_an_export_into_a_directory() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let page = browser.open("/evidence").await;
    let archive = browser.submit(&page.form_to("/evidence/export")).await;
    let folder = tempfile::tempdir().unwrap();
    let from_archive = unpacked(&archive.body, folder.path());
    // The same entries as the command line writes them.
    let reader = Reader::open(&from_archive).unwrap();
    let checkpoint = reader.checkpoint().unwrap();
    let directory = folder.path().join("written");
    let mut writer = stepgate_ledger::export::Writer::create(&directory).unwrap();
    for leaf in house.store().leaves(0, 1000).await.unwrap() {
        if leaf.index < checkpoint.unverified().size {
            let details = match leaf.details {
                stepgate_core::ports::LeafDetails::Kept(details) => Some(stepgate_evidence::verify::exported(&details)),
                _ => None,
            };
            writer.append(&leaf.bytes, details.as_ref()).unwrap();
        }
    }
    writer.finish(&checkpoint).unwrap();
    let mut compared = 0;
    let mut folders = vec![directory.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let other = from_archive.join(path.strip_prefix(&directory).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&other).unwrap(), "{}", path.display());
            compared += 1;
        }
    }
    assert!(compared >= 4, "checkpoint, details, a tile and a bundle");
}

#[tokio::test]
async fn an_export_is_refused_to_a_foreign_form_and_beyond_the_places() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let forged = browser.post("/evidence/export", &[("csrf".to_owned(), "forged".to_owned())]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    let call = async || {
        let (session, token) = browser.session().await.unwrap();
        let permit = stepgate_core::web::Permit { session, token, challenge: None };
        let client = Client { address: [192, 0, 2, 1].into(), request_id: "r".to_owned(), posture: Posture::Unknown };
        let request = Request::post("/evidence/export")
            .header("cookie", format!("__Host-stepgate-browser={}", browser.cookie("__Host-stepgate-browser").unwrap()))
            .header(CONTENT_TYPE, "application/json")
            .extension(client)
            .extension(permit)
            .body(Bytes::from_static(b"{}"))
            .unwrap();
        house.account().call(request).await
    };
    let (first, second, third) = (call().await, call().await, call().await);
    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    let size = house.said("evidence.exported").await.len();
    assert_eq!(size, 2, "what was not given is not recorded as given");
    // A place is free again when an archive was taken or left.
    drop(first);
    let again = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        loop {
            let answer = call().await;
            if answer.status() == StatusCode::OK {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    });
    again.await.unwrap();
    drop(second);
}
