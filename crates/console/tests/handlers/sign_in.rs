//! Signing in and out, and on to a service's host.

use std::time::Duration;

use http::Request;
use http::StatusCode;
use http::header::{ACCEPT, COOKIE};
use serde_json::json;
use stepgate_core::challenge::GrantKind;
use stepgate_core::factor::FactorKind;

use crate::house::{House, LEDGER, PASSWORD, What};

#[tokio::test]
async fn name_and_password_sign_in_and_lead_to_the_account() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let (session, _) = browser.session().await.unwrap();
    assert_eq!(session.person.id, person.id);
    assert!(browser.cookie("__Host-stepgate-device").is_some());
    let started = house.said("session.started").await;
    assert_eq!(started.len(), 1);
    assert_eq!(started[0]["proof"]["factor"], "password");
}

#[tokio::test]
async fn a_program_is_told_what_to_post_where_and_that_does_it() {
    let house = House::new().await;
    let (first, _) = house.signed_in("alice").await;
    drop(first);
    let program = house.browser();
    let told = |page: stepgate_testkit::Page| -> serde_json::Value {
        assert_eq!(page.status, StatusCode::OK);
        page.json()
    };
    let at_first = told(program.json("/sign-in").await);
    assert_eq!(at_first["signed_in"], false);
    let post = &at_first["post"];
    assert_eq!(
        (post["url"].as_str(), post["content_type"].as_str()),
        (Some("https://gate.test/sign-in"), Some("application/json"))
    );
    let members: Vec<_> = post["body"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["login", "password"]);
    told(program.post_json("/sign-in", &json!({ "login": "alice", "password": PASSWORD })).await);
    let then = told(program.json("/sign-out").await);
    assert_eq!((&then["signed_in"], &then["post"]["url"]), (&json!(true), &json!("https://gate.test/sign-out")));
    assert!(program.session().await.is_some(), "a GET signs nobody out");
    told(program.post_json("/sign-out", &then["post"]["body"]).await);
    assert!(program.session().await.is_none());
}

#[tokio::test]
async fn a_discovered_passkey_signs_in_without_a_name() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let page = browser.open("/sign-in").await;
    let page = browser.touch(&page).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.told());
    let (session, _) = browser.session().await.unwrap();
    assert_eq!(session.person.id, person.id);
    assert_eq!(house.said("session.started").await[1]["proof"]["user_verified"], true);
    assert_eq!(house.said("session.ended").await.len(), 1, "the session that it replaced has ended");
}

#[tokio::test]
async fn a_passkey_answer_counts_once_and_in_its_own_browser() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let page = browser.open("/sign-in").await;
    let form = page.passkey_form();
    let (_, options) = form.passkey.clone().unwrap();
    let credential = browser.key.lock().unwrap().answer_request(crate::house::GATE, &options);
    let form = form.fill("credential", &credential.to_string());

    let thief = house.browser();
    let theirs = thief.open("/sign-in").await.passkey_form();
    let mut planted = form.clone();
    planted.fields[0] = theirs.fields[0].clone();
    assert_eq!(planted.fields[0].0, "csrf");
    let page = thief.submit(&planted).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{}", page.told());
    assert!(thief.session().await.is_none());

    assert_eq!(browser.submit(&form).await.status, StatusCode::SEE_OTHER);
    let page = browser.submit(&form).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED, "used a second time: {}", page.told());
}

#[tokio::test]
async fn unknown_names_and_wrong_passwords_get_one_answer() {
    let house = House::new().await;
    let (_, _) = house.signed_in("alice").await;
    let browser = house.browser();
    let wrong = browser.sign_in("alice", "not her password at all").await;
    let unknown = browser.sign_in("nobody-knows", "not her password at all").await;
    assert_eq!((wrong.status, unknown.status), (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED));
    let plain = |page: &stepgate_testkit::Page, name: &str| {
        let text = page.text().replace(name, "somebody");
        let (before, after) = text.split_once("data-options=").unwrap();
        let after = after.split_once("name=\"credential\"").unwrap().1;
        format!("{before}{after}")
    };
    assert_eq!(plain(&wrong, "alice"), plain(&unknown, "nobody-knows"));
    assert!(browser.session().await.is_none());
}

#[tokio::test]
async fn tries_that_name_nobody_fill_no_ledger() {
    let house = House::new().await;
    let browser = house.browser();
    let ceremony = browser.open("/sign-in").await.passkey_form();
    let ceremony = ceremony.fields.iter().find(|(name, _)| name == "ceremony").unwrap().1.clone();
    for number in 0..20 {
        let credential = json!({
            "id": format!("{number:0>43}A"), "rawId": format!("{number:0>43}A"), "type": "public-key",
            "response": { "clientDataJSON": "e30", "authenticatorData": "AAAA", "signature": "AAAA", "userHandle": "AAAA" },
        });
        let answer = json!({ "ceremony": ceremony, "credential": credential });
        let page = browser.post_json("/sign-in/passkey", &answer).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{}", page.told());
        let page =
            browser.post_json("/sign-in", &json!({ "login": format!("nobody-{number}"), "password": "x" })).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{}", page.told());
    }
    let tries = house.said("attempt.failed").await;
    let reasons: Vec<&str> = tries.iter().map(|entry| entry["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["unknown_credential", "unknown_name"]);
    house.flows.flush_refusals().await.unwrap();
    let counted = house.said("request.refused").await;
    assert_eq!(counted.iter().map(|entry| entry["count"].to_string()).collect::<Vec<_>>(), ["19", "19"]);
}

#[tokio::test]
async fn a_locked_password_is_counted_and_not_written_again_and_again() {
    let house = House::new().await;
    let (_, _) = house.signed_in("alice").await;
    let browser = house.browser();
    for _ in 0..15 {
        browser.sign_in("alice", "not her password at all").await;
    }
    let tries = house.said("attempt.failed").await;
    let locked = tries.iter().filter(|entry| entry["reason"] == "locked").count();
    // Five from one address are verified, and the first after the lock is told.
    assert_eq!((tries.len(), locked), (6, 1));
}

#[tokio::test]
async fn b58_a_sign_in_never_keeps_the_cookie_that_was_there() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let before = browser.cookie("__Host-stepgate").unwrap();
    browser.sign_in("alice", PASSWORD).await;
    let after = browser.cookie("__Host-stepgate").unwrap();
    assert_ne!(before, after);
    // The old one is dead, and so is one that was cut short.
    for dead in [before, after[..42].to_owned()] {
        let request =
            Request::get("/sign-out").header(ACCEPT, "text/html").header(COOKIE, format!("__Host-stepgate={dead}"));
        let stranger = house.browser();
        let page = stranger.send("/sign-out", request, bytes::Bytes::new()).await;
        assert!(!page.text().contains("Alice Meyer"), "{}", page.told());
    }
}

#[tokio::test]
async fn b59_after_signing_in_only_our_own_places_are_gone_on_to() {
    let house = House::new().await;
    let person = house.add("alice").await;
    let browser = house.browser();
    browser.enrol(&house.link(&person, &[FactorKind::Password, FactorKind::PASSKEY]).await).await;
    for planted in ["https://evil.test/", "//evil.test", "/\\evil.test", "/%09/evil.test", "/account/../x"] {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("next", planted);
        let page = browser.open(&format!("/sign-in?{}", query.finish())).await;
        assert!(!page.text().contains("evil"), "{planted}: {}", page.told());
        let mut form = page.form_with("password").fill("name", "alice").fill("password", PASSWORD);
        form.fields.push(("next".to_owned(), planted.to_owned()));
        let page = browser.submit(&form).await;
        assert_eq!(page.header("location"), "/account", "{planted}");
    }
}

#[tokio::test]
async fn a_hand_off_signs_in_first_and_then_leads_to_the_service() {
    let house = House::new().await;
    let (_, _) = house.signed_in("alice").await;
    let browser = house.browser();
    let hand_off = format!("/hand-off?service=ledger&to=%2Fpayments%3Fpage%3D2&browser={}", "ab".repeat(32));
    let page = browser.open(&hand_off).await;
    let sign_in = page.header("location");
    assert!(sign_in.starts_with("/sign-in?next="), "{}", page.told());
    let page = browser.open(&sign_in).await;
    assert!(page.text().contains("You go on to <strong>The ledger</strong>"), "{}", page.told());
    assert!(page.header("content-security-policy").ends_with(&format!("form-action 'self' {LEDGER}")));
    let form = page.form_with("password").fill("name", "alice").fill("password", PASSWORD);
    let page = browser.submit(&form).await;
    let page = browser.open(&page.header("location")).await;
    let to = page.header("location");
    assert!(to.starts_with(&format!("{LEDGER}/.stepgate/hand-off?code=")), "{}", page.told());
    assert!(to.ends_with("&to=%2Fpayments%3Fpage%3D2"), "{to}");
}

#[tokio::test]
async fn b58_a_copy_of_an_older_gate_token_hands_nothing_off() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let cookie = || format!("__Host-stepgate={}", browser.cookie("__Host-stepgate").unwrap());
    let copy = cookie();
    let challenge = browser.ask(What { grant: GrantKind::Freshness, ..What::default() }).await;
    let page = browser.open(&format!("/challenges/{}", challenge.id)).await;
    let page = browser.submit(&page.form_with("password").fill("password", PASSWORD)).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.told());
    let hand_off = format!("/hand-off?service=ledger&to=%2F&browser={}", "ab".repeat(32));
    for (cookie, leads_to) in [(copy, "/sign-in?next="), (cookie(), "https://ledger.test/.stepgate/hand-off?code=")] {
        let stranger = house.browser();
        let request = Request::get(&hand_off).header(ACCEPT, "text/html").header(COOKIE, cookie);
        let page = stranger.send(&hand_off, request, bytes::Bytes::new()).await;
        assert!(page.header("location").starts_with(leads_to), "{}", page.told());
    }
}

#[tokio::test]
async fn b45_the_sign_in_page_names_the_request_that_waits_for_it() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let waits = browser.ask(What { grant: GrantKind::Freshness, ways: Vec::new(), ..What::default() }).await;
    let asks = browser.ask(What::default()).await;
    let stranger = house.browser();
    let page = stranger.open(&format!("/sign-in?continue={}", waits.id)).await;
    let named = format!("You go on to <strong>{}</strong>", waits.statement.title);
    assert!(page.text().contains(&named), "{}", page.told());
    let page = stranger.open(&format!("/sign-in?continue={}", asks.id)).await;
    assert!(!page.text().contains("12000") && !page.text().contains("You go on to"), "{}", page.told());
}

#[tokio::test]
async fn signing_in_again_goes_on_with_the_request_that_waits_for_it() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let (mallory, _) = house.signed_in("mallory").await;
    // The session is not used for longer than it lives, and the request waits for less than it may.
    house.clock.advance(Duration::from_secs(55 * 60));
    let waits = browser.ask(What { grant: GrantKind::Freshness, ways: Vec::new(), ..What::default() }).await;
    house.clock.advance(Duration::from_secs(6 * 60));
    assert!(browser.session().await.is_none(), "the session has lapsed");
    let continued = format!("/sign-in?continue={}", waits.id);
    let form = |page: &stepgate_testkit::Page, login: &str| {
        let form = page.form_with("password").fill("name", login).fill("password", PASSWORD);
        assert!(form.fields.contains(&("continue".to_owned(), waits.id.to_string())), "{}", page.told());
        form
    };
    // Somebody else is signed in, and nothing of Alice's goes on.
    let page = mallory.submit(&form(&mallory.open(&continued).await, "mallory")).await;
    assert_eq!(page.header("location"), "/account", "{}", page.told());
    let asked = browser.open(&continued).await;
    let leads_to = format!("form-action 'self' {LEDGER}");
    assert!(asked.header("content-security-policy").ends_with(&leads_to), "{}", asked.told());
    let page = browser.submit(&form(&asked, "alice")).await;
    let back = format!("{LEDGER}/.stepgate/resume/{}?code=", waits.id);
    assert!(page.header("location").starts_with(&back), "{}", page.told());
    assert_eq!(house.said("challenge.passed").await[0]["grants"], "sign_in");
    // Once: what was taken is not taken again.
    let page = browser.submit(&form(&browser.open(&continued).await, "alice")).await;
    assert_eq!(page.header("location"), "/account", "{}", page.told());
}

#[tokio::test]
async fn a_hand_off_to_an_unknown_service_is_refused() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let page = browser.open(&format!("/hand-off?service=other&to=/&browser={}", "ab".repeat(32))).await;
    assert_eq!(page.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn programs_sign_in_with_json() {
    let house = House::new().await;
    let (_, _) = house.signed_in("alice").await;
    let program = house.browser();
    let page = program.post_json("/sign-in", &json!({ "login": "alice", "password": PASSWORD })).await;
    assert_eq!(page.json()["signed_in"], true, "{}", page.told());
    assert!(program.session().await.is_some());
    let page = program.post_json("/sign-in", &json!({ "login": "alice", "password": "wrong" })).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert_eq!(page.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn signing_out_is_asked_for_and_ends_the_session() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let page = browser.open("/sign-out").await;
    assert!(browser.session().await.is_some(), "a link signs nobody out");
    let forms = page.forms();
    let page = browser.submit(forms.last().unwrap()).await;
    assert!(page.text().contains("You are signed out"), "{}", page.told());
    assert_eq!(browser.cookie("__Host-stepgate"), None);
    assert_eq!(house.said("session.ended").await[0]["reason"], "sign_out");
}

/// Whom the gate takes the bearer of these cookies for: `sign-in` is nobody.
async fn taken_for(house: &House, cookies: &str) -> &'static str {
    let path = "/challenges/00000000000000000000000000000000";
    let request = Request::get(path).header(ACCEPT, "text/html").header(COOKIE, cookies);
    let page = house.browser().send(path, request, bytes::Bytes::new()).await;
    if page.header("location").starts_with("/sign-in") { "nobody" } else { "somebody" }
}

#[tokio::test]
async fn b26_a_malformed_cookie_is_no_session() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let good = browser.cookie("__Host-stepgate").unwrap();
    assert_eq!(taken_for(&house, &format!("__Host-stepgate={good}")).await, "somebody");
    for bad in ["", "%00", "null", "[]", &good[1..], &format!("{good}A"), &format!("\"{good}\"")] {
        assert_eq!(taken_for(&house, &format!("__Host-stepgate={bad}")).await, "nobody", "{bad}");
    }
    let other = "A".repeat(43);
    assert_eq!(taken_for(&house, &format!("__Host-stepgate={good}; __Host-stepgate={other}")).await, "nobody");
    assert_eq!(taken_for(&house, &format!("stepgate={good}")).await, "nobody", "without its prefix");
}

#[tokio::test]
async fn b46_no_other_token_is_a_session() {
    let house = House::new().await;
    let person = house.add("alice").await;
    let browser = house.browser();
    let link = house.link(&person, &[FactorKind::Password, FactorKind::PASSKEY]).await;
    let page = browser.open(&link).await;
    let page = browser.submit(&page.form_to(&link)).await;
    let ticket = page.header("location").rsplit('/').next().unwrap().to_owned();
    let link = link.rsplit('/').next().unwrap().to_owned();
    let name = browser.cookie("__Host-stepgate-browser").unwrap();
    let (alice, _) = house.signed_in("bob").await;
    let page = alice.open(&format!("/hand-off?service=ledger&to=/&browser={}", "ab".repeat(32))).await;
    let code = page.header("location").split("code=").nth(1).unwrap()[..43].to_owned();
    let device = alice.cookie("__Host-stepgate-device").unwrap();
    for token in [ticket, link, name, code, device] {
        assert_eq!(taken_for(&house, &format!("__Host-stepgate={token}")).await, "nobody");
    }
}

#[tokio::test]
async fn b25_no_link_is_made_from_what_a_request_says_of_its_host() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    for path in ["/sign-in", "/sign-out", "/nothing", "/account"] {
        let request = Request::get(path)
            .header(ACCEPT, "text/html")
            .header("host", "evil.test")
            .header("x-forwarded-host", "evil.test")
            .header("x-forwarded-proto", "javascript")
            .header("forwarded", "host=evil.test");
        let page = browser.send(path, request, bytes::Bytes::new()).await;
        assert!(!page.told().contains("evil") && !page.told().contains("javascript:"), "{}", page.told());
    }
}
