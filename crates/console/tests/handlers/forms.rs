//! Whose forms are taken.

use http::header::{CONTENT_TYPE, ORIGIN};
use http::{Request, StatusCode};

use crate::house::{GATE, House, What};

#[tokio::test]
async fn a_form_without_the_browsers_token_is_refused() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let challenge = browser.ask(What::default()).await;
    let stranger = house.browser();
    let theirs = stranger.open("/sign-in").await.form_with("password").fields[0].1.clone();
    for csrf in ["", "00", &theirs] {
        for path in [
            "/sign-in".to_owned(),
            "/sign-out".to_owned(),
            "/account/factors".to_owned(),
            "/account/sessions/end-others".to_owned(),
            format!("/challenges/{}/answers", challenge.id),
            format!("/challenges/{}/cancel", challenge.id),
        ] {
            let page = browser.post(&path, &[("csrf".to_owned(), csrf.to_owned())]).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path} with {csrf:?}: {}", page.told());
        }
    }
    assert!(browser.session().await.is_some(), "nobody was signed out");
    assert!(house.said("challenge.cancelled").await.is_empty());
}

#[tokio::test]
async fn a_form_of_another_origin_is_refused_even_with_the_token() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let csrf = browser.open("/sign-out").await.forms()[0].fields[0].1.clone();
    for (name, value) in [("origin", "https://evil.test"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        let request =
            Request::post("/sign-out").header(CONTENT_TYPE, "application/x-www-form-urlencoded").header(name, value);
        let page = browser.send("/sign-out", request, format!("csrf={csrf}").into()).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let request =
        Request::post("/sign-out").header(ORIGIN, "https://ledger.test").header(CONTENT_TYPE, "application/json");
    let page = browser.send("/sign-out", request, "{}".into()).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "a service's page is another origin's, JSON or not");
    assert!(browser.session().await.is_some());
}

#[tokio::test]
async fn bodies_that_are_no_forms_are_refused() {
    let house = House::new().await;
    let browser = house.browser();
    let csrf = browser.open("/sign-in").await.form_with("password").fields[0].1.clone();
    for (kind, body, status) in [
        ("text/plain", format!("csrf={csrf}"), StatusCode::BAD_REQUEST),
        ("application/x-www-form-urlencoded", format!("csrf={csrf}&csrf={csrf}"), StatusCode::BAD_REQUEST),
        ("application/json", "[1]".to_owned(), StatusCode::BAD_REQUEST),
        ("application/x-www-form-urlencoded", "a".repeat(70_000), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let request = Request::post("/sign-in").header(ORIGIN, GATE).header(CONTENT_TYPE, kind);
        let page = browser.send("/sign-in", request, body.into()).await;
        assert_eq!(page.status, status, "{kind}: {}", page.told());
    }
}

#[tokio::test]
async fn every_answer_bears_the_requests_id_and_a_strict_policy() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    for path in ["/sign-in", "/sign-out", "/nothing", "/enrol/nothing", "/account", "/account/activity"] {
        let page = browser.open(path).await;
        assert_eq!(page.header("stepgate-request-id"), "0123456789abcdef0123456789abcdef", "{path}");
        assert_eq!(page.header("cache-control"), "no-store", "{path}");
        assert_eq!(page.header("x-frame-options"), "DENY", "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn assets_are_kept_for_good() {
    let house = House::new().await;
    let browser = house.browser();
    let page = browser.open("/sign-in").await.text();
    let style = page.split("<link rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let page = browser.open(style).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("cache-control").contains("immutable"));
    assert_eq!(page.header("content-type"), "text/css; charset=utf-8");
}
