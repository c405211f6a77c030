//! Codes that are sent: to enrol an address, and to answer with.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use stepgate_core::challenge::Challenge;
use stepgate_core::factor::{Destination, FactorKind, Strength};
use stepgate_core::flows::{SendError, Undelivered};
use stepgate_core::id::FactorId;
use stepgate_core::person::Person;
use stepgate_core::ports::About;
use stepgate_testkit::Page;

use crate::house::{Browser, House, What};

const PHONE: FactorKind = FactorKind::PhoneCode(Strength::NONE);

/// Goes through the pages by which somebody adds an address; gives where that leads.
async fn enrol(browser: &Browser<'_>, kind: &str, typed: &str) -> Page {
    let page = browser.open("/account").await;
    let form =
        page.forms().into_iter().find(|form| form.action.path() == "/account/factors" && !form.has("kind")).unwrap();
    let page = browser.submit(&form.press("kind", kind)).await;
    let base = page.redirect().unwrap().path().to_owned();
    let page = browser.open(&base).await;
    let path = page.redirect().unwrap().path().to_owned();
    let page = browser.open(&path).await;
    let mut form = page.form_to(&path);
    if form.has("destination") {
        form = form.fill("destination", typed);
    }
    browser.submit(&form).await
}

async fn finish(browser: &Browser<'_>, page: &Page, code: &str) -> Page {
    browser.submit(&page.form_with("code").fill("code", code)).await
}

async fn has(house: &House, person: &Person) -> Vec<(FactorKind, FactorId)> {
    let factors = house.store().factors(person.id).await.unwrap();
    factors.iter().map(|one| (one.kind(), one.id)).collect()
}

/// Somebody signed in who has this address.
async fn with_address<'h>(house: &'h House, kind: &str, typed: &str) -> (Browser<'h>, Person, FactorId) {
    let (browser, alice) = house.signed_in("alice").await;
    let page = enrol(&browser, kind, typed).await;
    let code = house.post.code();
    let done = finish(&browser, &page, &format!("{} {}", &code[..4], &code[4..])).await;
    assert_eq!(done.redirect().map(|to| to.path().to_owned()).as_deref(), Some("/account"), "{}", done.told());
    let (_, id) = *has(house, &alice).await.iter().find(|(one, _)| one.name() == kind).unwrap();
    (browser, alice, id)
}

fn by(kind: FactorKind, payment: &'static str) -> What {
    What { ways: vec![vec![kind]], kind: "browser", payment, ..What::default() }
}

async fn answer(browser: &Browser<'_>, challenge: &Challenge, kind: &str, code: &str) -> Page {
    let path = format!("/challenges/{}/answers", challenge.id);
    browser.post_json(&path, &json!({ "factor": kind, "code": code })).await
}

async fn send(browser: &Browser<'_>, challenge: &Challenge, address: FactorId) -> Page {
    let path = format!("/challenges/{}/codes", challenge.id);
    browser.post_json(&path, &json!({ "address": address.to_string() })).await
}

#[tokio::test]
async fn an_address_is_the_directorys_and_a_number_is_what_is_typed() {
    let house = House::new().await;
    let (browser, alice, _) = with_address(&house, "email_code", "").await;
    assert_eq!(house.post.messages.lock().unwrap()[0].to, Destination::email("alice@example.com").unwrap());
    let account = browser.open("/account").await;
    assert!(
        account.text().contains("a…@example.com") && !account.text().contains("Add your e-mail"),
        "{}",
        account.told()
    );
    let page = enrol(&browser, "phone_code", "079 123 45 67").await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", page.told());
    let page = enrol(&browser, "phone_code", "+41 79 123 45 67").await;
    let About::Enrolment { login } = house.post.messages.lock().unwrap().last().unwrap().about.clone() else {
        panic!()
    };
    assert_eq!(login, "alice");
    finish(&browser, &page, &house.post.code()).await;
    assert!(has(&house, &alice).await.iter().any(|(kind, _)| *kind == PHONE));
    let account = browser.open("/account").await;
    assert!(account.text().contains("+41…67") && account.text().contains("restricted"), "{}", account.told());
    assert!(!account.text().contains("79 123"), "the number itself is on no page");
}

#[tokio::test]
async fn a_code_is_sent_typed_and_goes_on() {
    let house = House::new().await;
    let (browser, _, address) = with_address(&house, "email_code", "").await;
    let challenge = browser.ask(by(FactorKind::EmailCode, "42")).await;
    let path = format!("/challenges/{}", challenge.id);
    let page = browser.open(&path).await;
    assert!(page.text().contains("Send a code to a…@example.com") && !page.text().contains("alice@example.com"));
    assert!(page.forms().iter().all(|form| !form.has("code")), "nothing was sent yet");
    let page = browser.submit(&page.form_to(&format!("{path}/codes"))).await;
    assert!(page.text().contains("A code is on its way"), "{}", page.told());
    let message = house.post.messages.lock().unwrap().last().unwrap().clone();
    let About::Operation { service, title, .. } = &message.about else { panic!("{message:?}") };
    assert_eq!((service.as_str(), title.as_str()), ("The ledger", challenge.statement.title.as_str()));
    let passed = browser.submit(&page.form_with("code").fill("code", &house.post.code())).await;
    assert_eq!(passed.status, StatusCode::SEE_OTHER, "{}", passed.told());
    let sent = house.said("code.sent").await;
    assert_eq!(sent[1]["challenge"], challenge.id.to_string());
    assert_eq!(sent[1]["factor_id"], address.to_string());
    let proof = &house.said("challenge.passed").await[0]["proof"];
    assert_eq!(proof["factor"], "email_code");
}

/// SP 800-63B-4 section 3.2.2: asking for another code does not reset the count.
#[tokio::test]
async fn b63_a_new_code_or_a_new_question_gives_no_new_tries() {
    let house = House::new().await;
    let (browser, _, address) = with_address(&house, "email_code", "").await;
    let mut wrong = 0;
    for payment in ["1", "2", "3", "4"] {
        let challenge = browser.ask(by(FactorKind::EmailCode, payment)).await;
        assert_eq!(send(&browser, &challenge, address).await.status, StatusCode::OK);
        for _ in 0..3 {
            let status = answer(&browser, &challenge, "email_code", "00000000").await.status;
            wrong += usize::from(status == StatusCode::UNPROCESSABLE_ENTITY);
        }
        if payment == "4" {
            let right = answer(&browser, &challenge, "email_code", &house.post.code()).await;
            assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS, "{}", right.told());
        }
    }
    assert_eq!(wrong, 5, "what one address may try");
    assert!(house.said("challenge.passed").await.is_empty());
}

#[tokio::test]
async fn b61_the_same_code_from_fifty_connections_passes_once() {
    let house = House::new().await;
    let (browser, _, address) = with_address(&house, "email_code", "").await;
    let challenge = browser.ask(by(FactorKind::EmailCode, "42")).await;
    send(&browser, &challenge, address).await;
    let code = house.post.code();
    let answers = join_all((0..50).map(|_| answer(&browser, &challenge, "email_code", &code))).await;
    assert!(answers.iter().any(|page| page.status == StatusCode::OK));
    assert_eq!(house.said("challenge.passed").await.len(), 1);
    // For another question it is a wrong one.
    let other = browser.ask(by(FactorKind::EmailCode, "43")).await;
    assert_eq!(answer(&browser, &other, "email_code", &code).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(house.said("challenge.passed").await.len(), 1);
}

#[tokio::test]
async fn b145_a_code_is_good_for_the_question_it_was_sent_for() {
    let house = House::new().await;
    let (browser, _, address) = with_address(&house, "email_code", "").await;
    let (this, other) =
        (browser.ask(by(FactorKind::EmailCode, "1")).await, browser.ask(by(FactorKind::EmailCode, "2")).await);
    send(&browser, &this, address).await;
    let refused = answer(&browser, &other, "email_code", &house.post.code()).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.told());
    // A newer one for the other question ends this one.
    let first = house.post.code();
    send(&browser, &other, address).await;
    assert_eq!(answer(&browser, &this, "email_code", &first).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer(&browser, &other, "email_code", &house.post.code()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn b145_a_code_comes_too_late_after_ten_minutes() {
    let house = House::new().await;
    let (browser, _, address) = with_address(&house, "email_code", "").await;
    let challenge = browser.ask(by(FactorKind::EmailCode, "42")).await;
    send(&browser, &challenge, address).await;
    house.clock.advance(std::time::Duration::from_secs(10 * 60));
    let late = answer(&browser, &challenge, "email_code", &house.post.code()).await;
    assert_ne!(late.status, StatusCode::OK, "{}", late.told());
    assert!(house.said("challenge.passed").await.is_empty());
}

#[tokio::test]
async fn nothing_is_sent_to_where_it_would_not_do() {
    let house = House::new().await;
    let (browser, _, address) = with_address(&house, "email_code", "").await;
    let sent = house.post.count();
    let by_key = browser.ask(by(FactorKind::PASSKEY, "1")).await;
    assert_eq!(send(&browser, &by_key, address).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let by_mail = browser.ask(by(FactorKind::EmailCode, "2")).await;
    assert_eq!(send(&browser, &by_mail, FactorId::from_bytes([9; 16])).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let bob = house.add("bob").await;
    let strangers = house.browser();
    strangers.enrol(&house.link(&bob, &[FactorKind::Password, FactorKind::PASSKEY]).await).await;
    strangers.sign_in("bob", crate::house::PASSWORD).await;
    let (session, _) = strangers.session().await.unwrap();
    let refused = house.flows.send_code(by_mail.id, &session, address).await;
    assert!(matches!(refused, Err(SendError::NotAnswerable(_))), "{refused:?}");
    assert_eq!(house.post.count(), sent, "B68: nobody has codes sent for another's question");
}

#[tokio::test]
async fn too_many_codes_are_not_sent_and_the_page_says_what_to_do() {
    let house = House::new().await;
    let (browser, _, address) = with_address(&house, "email_code", "").await;
    let challenge = browser.ask(by(FactorKind::EmailCode, "42")).await;
    let answers: Vec<_> = [(); 6].map(|()| send(&browser, &challenge, address)).into_iter().collect();
    let mut statuses = Vec::new();
    for answer in answers {
        statuses.push(answer.await.status);
    }
    // One went to enrol the address.
    assert_eq!(statuses[..5], [StatusCode::OK; 5]);
    assert_eq!(statuses[5], StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((house.post.count(), house.said("code.sent").await.len()), (6, 6));
}

#[tokio::test]
async fn what_cannot_be_sent_is_said_and_recorded() {
    let house = House::new().await;
    let (browser, alice, address) = with_address(&house, "email_code", "").await;
    let challenge = browser.ask(by(FactorKind::EmailCode, "42")).await;
    house.post.is_full.store(true, Ordering::Relaxed);
    assert_eq!(send(&browser, &challenge, address).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(house.said("code.undelivered").await[0]["reason"], "full");
    house.post.is_full.store(false, Ordering::Relaxed);
    send(&browser, &challenge, address).await;
    let id = house.post.messages.lock().unwrap().last().unwrap().id;
    let what = (id, alice.id, FactorKind::EmailCode);
    house.flows.delivered(what, Err(Undelivered::Refused)).await.unwrap();
    let page = browser.open(&format!("/challenges/{}", challenge.id)).await;
    assert!(page.text().contains("could not be sent. Use another way"), "{}", page.told());
    house.flows.delivered(what, Ok(())).await.unwrap();
    assert_eq!(house.said("code.delivered").await.len(), 1);
}

#[tokio::test]
async fn b148_an_address_is_not_enrolled_by_guessing() {
    let house = House::new().await;
    let (browser, alice) = house.signed_in("alice").await;
    let page = enrol(&browser, "phone_code", "+41791234567").await;
    let mut last = finish(&browser, &page, "00000000").await;
    for _ in 0..12 {
        last = finish(&browser, &page, "00000000").await;
    }
    assert!(last.text().contains("too many wrong codes"), "{}", last.told());
    // A new enrolment with a new code gives no new tries.
    let page = enrol(&browser, "phone_code", "+41791234567").await;
    let refused = finish(&browser, &page, &house.post.code()).await;
    assert!(refused.text().contains("too many wrong codes"), "{}", refused.told());
    assert!(has(&house, &alice).await.iter().all(|(kind, _)| *kind != PHONE));
}

#[tokio::test]
async fn b67_a_lock_on_codes_leaves_the_other_factors() {
    let house = House::new().await;
    let (browser, ..) = with_address(&house, "email_code", "").await;
    for payment in ["1", "2", "3", "4"] {
        let challenge = browser.ask(by(FactorKind::EmailCode, payment)).await;
        for _ in 0..5 {
            answer(&browser, &challenge, "email_code", "00000000").await;
        }
    }
    assert!(!house.said("factor.locked").await.is_empty());
    let challenge = browser.ask(by(FactorKind::PASSKEY, "5")).await;
    let page = browser.open(&format!("/challenges/{}", challenge.id)).await;
    let passed = browser.touch(&page).await;
    assert_eq!(passed.status, StatusCode::SEE_OTHER, "{}", passed.told());
}

#[tokio::test]
async fn no_code_and_no_address_is_in_the_ledger() {
    let house = House::new().await;
    let (browser, _, address) = with_address(&house, "phone_code", "+41791234567").await;
    let challenge = browser.ask(by(PHONE, "42")).await;
    send(&browser, &challenge, address).await;
    let code = house.post.code();
    answer(&browser, &challenge, "phone_code", &code).await;
    let query = stepgate_core::ports::EntryQuery { from: Some(0), limit: 1000, ..Default::default() };
    let entries = house.store().entries(query).await.unwrap();
    let all: String = entries.iter().map(|entry| format!("{:?}{:?}", entry.entry.event, entry.entry.details)).collect();
    assert!(all.contains("CodeSent") && !all.contains(&code) && !all.contains("41791234567"), "{all}");
}
