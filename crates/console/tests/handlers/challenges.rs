//! The question, its answers, and its refusal.

use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use serde_json::json;
use stepgate_core::challenge::{Challenge, GrantKind};
use stepgate_core::factor::FactorKind;
use stepgate_testkit::Page;

use crate::house::{Browser, House, LEDGER, PASSWORD, What};

fn path(challenge: &Challenge) -> String {
    format!("/challenges/{}", challenge.id)
}

fn answers(challenge: &Challenge) -> String {
    format!("{}/answers", path(challenge))
}

async fn with_password(browser: &Browser<'_>, page: &Page, password: &str) -> Page {
    browser.submit(&page.form_with("password").fill("password", password)).await
}

#[tokio::test]
async fn the_page_says_who_asks_what_for_why_and_what_is_granted() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let page = browser.open(&path(&challenge)).await;
    let text = page.text();
    let digest = hex(&challenge.statement.digest().unwrap());
    for said in [
        "The ledger</strong> at <span class=\"host\">ledger.test",
        "<h1 id=\"heading\">Approve payment 42 of 12000</h1>",
        "Payments over 10,000 need your passkey, for this payment alone.",
        "You, in this browser<small>Firefox on Linux, from 192.0.2.7",
        "This one request goes on, once",
        "void if unused for 5 minutes",
        "POST https://ledger.test/payments/42/approve",
        "large-payment",
        "This wasn’t me",
    ] {
        assert!(text.contains(said), "{said} is missing: {text}");
    }
    let (slip, exact) = text.split_once("The exact request").unwrap();
    assert!(!slip.contains("<dt>Amount"), "the heading says it: {slip}");
    assert!(exact.contains("<dt>Amount</dt><dd>12000</dd>"), "all of it stands with the exact request: {exact}");
    assert!(text.replace(' ', "").contains(&digest), "the digest of what is signed");
    assert!(page.header("content-security-policy").ends_with(&format!("form-action 'self' {LEDGER}")));
    assert_eq!(page.header("cache-control"), "no-store");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_fresh_proof_is_asked_for_with_how_long_it_counts() {
    for (max_age_s, said) in [
        (0, "counts for this request; you are asked again"),
        (300, "your proof counts for 5 minutes; other rules may want a fresher one"),
        (30 * 24 * 3600, "counts for as long as you stay signed in"),
    ] {
        let house = House::new().await;
        let (browser, _) = house.signed_in("alice").await;
        let max_age = Some(Duration::from_secs(max_age_s));
        let challenge = browser.ask(What { grant: GrantKind::Freshness, max_age, ..What::default() }).await;
        let page = browser.open(&path(&challenge)).await;
        assert!(page.text().contains(said), "{said}: {}", page.told());
        let found = browser.json(&path(&challenge)).await.json();
        assert_eq!(found["max_age_s"], max_age_s);
        assert_eq!(found["statement"]["grant"], json!({ "kind": "freshness", "max_age_s": max_age_s.to_string() }));
    }
}

#[tokio::test]
async fn a_passkey_passes_it_and_leads_back() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let before = browser.cookie("__Host-stepgate");
    let page = browser.open(&path(&challenge)).await;
    let page = browser.touch(&page).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.told());
    let to = page.header("location");
    assert!(to.starts_with(&format!("{LEDGER}/.stepgate/resume/{}?code=", challenge.id)), "{to}");
    assert_ne!(browser.cookie("__Host-stepgate"), before, "the session's token is a new one");
    let passed = house.said("challenge.passed").await;
    assert_eq!(passed[0]["proof"]["user_verified"], true);
    assert_eq!(passed[0]["proof"]["bound_to"], hex(&challenge.statement.digest().unwrap()));
}

#[tokio::test]
async fn a_wrong_answer_is_told_with_the_tries_that_are_left() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let mut page = browser.open(&path(&challenge)).await;
    for left in ["4 tries left.", "3 tries left.", "2 tries left.", "1 try left."] {
        page = with_password(&browser, &page, "wrong").await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.text().contains(left), "{left}: {}", page.told());
    }
    page = with_password(&browser, &page, "wrong").await;
    assert_eq!(page.status, StatusCode::GONE, "{}", page.told());
    assert!(page.text().contains("too many wrong answers"));
    assert_eq!(house.said("challenge.failed").await[0]["reason"], "too_many_tries");
    let page = browser.post_json(&answers(&challenge), &json!({ "factor": "password", "password": PASSWORD })).await;
    assert_eq!(page.status, StatusCode::CONFLICT, "{}", page.told());
}

#[tokio::test]
async fn b53_nobody_else_sees_or_answers_it() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let (mallory, _) = house.signed_in("mallory").await;
    let page = mallory.open(&path(&challenge)).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(!page.text().contains("payment"), "nothing is told: {}", page.told());
    let unknown = mallory.open("/challenges/00000000000000000000000000000000").await;
    assert_eq!(unknown.text(), page.text(), "unknown and foreign look the same");
    let page = mallory.post_json(&answers(&challenge), &json!({ "factor": "password", "password": PASSWORD })).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let stranger = house.browser();
    let page = stranger.open(&path(&challenge)).await;
    assert_eq!(page.header("location"), format!("/sign-in?next=%2Fchallenges%2F{}", challenge.id));
    assert!(house.said("challenge.passed").await.is_empty());
}

#[tokio::test]
async fn b68_another_persons_passkey_answers_nothing() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let (mallory, _) = house.signed_in("mallory").await;
    let challenge = browser.ask(What::default()).await;
    let form = browser.open(&path(&challenge)).await.passkey_form();
    let (_, mut options) = form.passkey.clone().unwrap();
    options["allowCredentials"] = json!([]);
    let credential = mallory.key.lock().unwrap().answer_request(crate::house::GATE, &options);
    let page = browser.submit(&form.fill("credential", &credential.to_string())).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", page.told());
    assert!(house.said("challenge.passed").await.is_empty());
}

/// Only the passkey of the sort that was asked for is put to the browser, and another one answers nothing.
#[tokio::test]
async fn b156_a_passkey_of_another_sort_is_not_asked_and_answers_nothing() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let bound = house.store().factors(person.id).await.unwrap();
    let bound = bound.iter().map(|one| one.kind()).find(|kind| kind.is_same_factor(FactorKind::PASSKEY)).unwrap();
    assert_eq!(bound.to_string(), "passkey:device_bound");
    let synced: FactorKind = "passkey:backed_up".parse().unwrap();
    let asking = |kind| What { ways: vec![vec![kind]], ..What::default() };

    let challenge = browser.ask(asking(synced)).await;
    let page = browser.open(&path(&challenge)).await;
    let page = browser.touch(&page).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", page.told());
    assert!(house.said("challenge.passed").await.is_empty());

    let challenge = browser.ask(asking(bound)).await;
    let page = browser.open(&path(&challenge)).await;
    let page = browser.touch(&page).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.told());
}

#[tokio::test]
async fn two_factors_are_two_answers() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let ways = vec![vec![FactorKind::PASSKEY, FactorKind::Password]];
    let challenge = browser.ask(What { ways, ..What::default() }).await;
    let page = browser.open(&path(&challenge)).await;
    assert!(page.text().contains("class=\"steps\""), "{}", page.told());
    let page = with_password(&browser, &page, PASSWORD).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text().contains("One more proof is needed"), "{}", page.told());
    assert!(!page.text().contains("name=\"password\""), "what was answered is not asked again");
    let page = browser.touch(&page).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.told());
}

#[tokio::test]
async fn another_session_of_the_same_person_types_the_number() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let phone = house.browser();
    phone.sign_in("alice", PASSWORD).await;
    let page = phone.open(&path(&challenge)).await;
    assert!(!page.text().contains(&challenge.number), "the number is not told where it is asked");
    assert!(!page.text().contains("name=\"password\""), "the number comes first");
    let wrong = if challenge.number == "000000" { "000001" } else { "000000" };
    let page = phone.submit(&page.form_with("number").fill("number", wrong)).await;
    let page = with_password(&phone, &page, PASSWORD).await;
    assert!(page.text().contains("not the number"), "{}", page.told());
    let page = phone.submit(&page.form_with("number").fill("number", &challenge.number)).await;
    let page = with_password(&phone, &page, PASSWORD).await;
    assert!(page.text().contains("goes on where it was asked"), "{}", page.told());
    // The browser that asked looks again, and goes on.
    let page = browser.open(&path(&challenge)).await;
    assert!(page.header("location").starts_with(&format!("{LEDGER}/.stepgate/resume/")), "{}", page.told());
    // The one that answered cannot go on with it.
    let page = phone.open(&path(&challenge)).await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.header("location"), "");
}

#[tokio::test]
async fn an_expired_challenge_says_so_with_a_way_back() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let page = browser.open(&path(&challenge)).await;
    house.clock.advance(Duration::from_secs(11 * 60));
    let page = with_password(&browser, &page, PASSWORD).await;
    assert_eq!(page.status, StatusCode::GONE, "{}", page.told());
    assert!(page.text().contains("This question has expired"));
    assert!(page.text().contains(&format!("href=\"{LEDGER}/\"")));
    assert_eq!(house.said("challenge.expired").await.len(), 1);
}

#[tokio::test]
async fn an_address_that_forms_are_sent_to_leads_to_its_page() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    for typed in [answers(&challenge), format!("{}/cancel", path(&challenge))] {
        assert_eq!(browser.open(&typed).await.header("location"), path(&challenge), "{typed}");
    }
    assert_eq!(browser.open("/sign-in/passkey").await.header("location"), "/sign-in");
}

#[tokio::test]
async fn refusing_drops_the_request() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let page = browser.open(&path(&challenge)).await;
    let form = page.form_to(&format!("{}/cancel", path(&challenge)));
    let page = browser.submit(&form).await;
    assert!(page.text().contains("Nothing was done"), "{}", page.told());
    assert_eq!(house.said("challenge.cancelled").await[0]["reason"], "cancelled");
    assert!(browser.session().await.is_some());
}

#[tokio::test]
async fn b45_this_was_not_me_ends_the_session_that_asked() {
    let house = House::new().await;
    let (thief, _) = house.signed_in("alice").await;
    let planted = thief.ask(What::default()).await;
    let alice = house.browser();
    alice.sign_in("alice", PASSWORD).await;
    let page = alice.open(&path(&planted)).await;
    let mut form = page.form_to(&format!("{}/cancel", path(&planted)));
    form.fields.push(("because".to_owned(), "not-me".to_owned()));
    let page = alice.submit(&form).await;
    assert!(page.text().contains("The session that asked for it was signed out at once"), "{}", page.told());
    assert!(page.text().contains("your report is recorded"), "{}", page.told());
    assert!(page.links().iter().any(|link| link.path() == "/account"), "{}", page.told());
    assert!(thief.session().await.is_none(), "the session that asked has ended");
    assert!(alice.session().await.is_some());
}

#[tokio::test]
async fn this_was_not_me_in_the_session_that_asked_says_that_it_is_over_and_leads_to_sign_in() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let page = browser.open(&path(&challenge)).await;
    let mut form = page.form_to(&format!("{}/cancel", path(&challenge)));
    form.fields.push(("because".to_owned(), "not-me".to_owned()));
    let page = browser.submit(&form).await;
    assert!(page.text().contains("you are signed out here"), "{}", page.told());
    assert!(page.text().contains("your report is recorded"), "{}", page.told());
    assert!(page.links().iter().any(|link| link.path() == "/sign-in"), "{}", page.told());
    assert!(!page.text().contains("Signed in as"), "{}", page.told());
    assert!(browser.session().await.is_none());
    assert_eq!(browser.cookie("__Host-stepgate"), None);
}

#[tokio::test]
async fn a_program_refuses_by_deleting_and_only_what_its_own_session_asked_for() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let (mallory, _) = house.signed_in("mallory").await;
    let challenge = browser.ask(What::default()).await;
    let path = path(&challenge);
    let delete = || Request::delete(&path).header(ACCEPT, "*/*");
    let code = |page: &Page| page.json()["code"].as_str().unwrap_or_default().to_owned();

    let foreign = mallory.send(&path, delete(), Bytes::new()).await;
    assert_eq!((foreign.status, code(&foreign).as_str()), (StatusCode::FORBIDDEN, "challenge_not_yours"));
    let nobody = house.browser().send(&path, delete(), Bytes::new()).await;
    assert_eq!((nobody.status, code(&nobody).as_str()), (StatusCode::UNAUTHORIZED, "sign_in"));
    for (name, value) in [("origin", "https://ledger.test"), ("sec-fetch-site", "same-site")] {
        let forged = browser.send(&path, delete().header(name, value), Bytes::new()).await;
        assert_eq!((forged.status, code(&forged).as_str()), (StatusCode::FORBIDDEN, "stale_form"), "{name}");
    }
    assert_eq!(browser.json(&path).await.json()["state"], "pending");

    let refused = browser.send(&path, delete(), Bytes::new()).await;
    assert_eq!(refused.json(), json!({ "done": "Nothing was done" }), "{}", refused.told());
    assert_eq!(house.said("challenge.cancelled").await[0]["reason"], "cancelled");
    assert_eq!(browser.json(&path).await.json()["state"], "cancelled");
    assert!(browser.session().await.is_some());
    // Once more says the same, and is no second entry.
    assert_eq!(browser.send(&path, delete(), Bytes::new()).await.status, StatusCode::OK);
    assert_eq!(house.said("challenge.cancelled").await.len(), 1);
}

#[tokio::test]
async fn a_program_that_accepts_anything_gets_json_and_problems_bear_their_code() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let read = browser.send(&path(&challenge), Request::get("/x").header(ACCEPT, "*/*"), Bytes::new()).await;
    assert_eq!(read.header("content-type"), "application/problem+json", "the request is for /x: {}", read.told());
    let problem = read.json();
    assert_eq!((&problem["code"], &problem["type"]), (&json!("not_found"), &json!("urn:stepgate:problem:not-found")));
    let read =
        browser.send(&path(&challenge), Request::get(path(&challenge)).header(ACCEPT, "*/*"), Bytes::new()).await;
    assert_eq!(read.json()["state"], "pending", "{}", read.told());
    let wrong = browser.post_json(&answers(&challenge), &json!({ "factor": "password", "password": "x" })).await;
    assert_eq!(wrong.json()["code"], "wrong");
}

#[tokio::test]
async fn what_is_not_enrolled_is_explained_and_not_enrolled_on_the_spot() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let what = What { ways: Vec::new(), not_enrolled: vec![FactorKind::Totp], ..What::default() };
    let challenge = browser.ask(what).await;
    let page = browser.open(&path(&challenge)).await;
    assert!(page.text().contains("You need an authenticator app for this."), "{}", page.told());
    assert!(!page.text().contains("otpauth"));
}

#[tokio::test]
async fn programs_read_and_answer_it_as_json() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let what = What { kind: "program", grant: GrantKind::Confirmation, ..What::default() };
    let challenge = browser.ask(what).await;
    let read = browser.json(&path(&challenge)).await.json();
    assert_eq!(read["state"], "pending");
    assert_eq!(read["number"], challenge.number);
    assert_eq!(read["factors"][0]["factor"], "passkey");
    assert_eq!(read["statement"]["challenge"], challenge.id.to_string());
    let wrong = browser.post_json(&answers(&challenge), &json!({ "factor": "password", "password": "x" })).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(wrong.json()["type"], "urn:stepgate:problem:wrong");
    let options = &read["factors"][0]["options"];
    let assertion = browser.key.lock().unwrap().answer_request(crate::house::GATE, options);
    let answer = json!({ "factor": "passkey", "assertion": assertion });
    let passed = browser.post_json(&answers(&challenge), &answer).await;
    assert_eq!(passed.json(), json!({ "state": "passed", "go_on": null }), "{}", passed.told());
    assert_eq!(browser.json(&path(&challenge)).await.json()["state"], "passed");
}

#[tokio::test]
async fn b86_what_a_request_says_stays_text() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let what = What { payment: "<script>alert(1)</script>\u{202e}\n", ..What::default() };
    let challenge = browser.ask(what).await;
    let text = browser.open(&path(&challenge)).await.text();
    assert!(!text.contains("<script>alert"), "{text}");
    assert!(!text.contains('\u{202e}'));
}
