//! One's own account.

use bytes::Bytes;
use http::{Request, StatusCode};
use stepgate_console::Account;
use stepgate_core::surroundings::Posture;
use stepgate_core::web::{Client, LocalService as _, Transport};

use stepgate_core::factor::FactorKind;
use stepgate_core::flows::EnrolError;

use crate::house::{House, PASSWORD, What};
use crate::tries::enrol_app;

#[tokio::test]
async fn it_shows_factors_sessions_and_what_happened() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let phone = house.browser();
    phone.sign_in("alice", PASSWORD).await;
    phone.sign_in("alice", "wrong, all wrong, quite wrong").await;
    let challenge = browser.ask(What::default()).await;
    let page = browser.open(&format!("/challenges/{}", challenge.id)).await;
    browser.touch(&page).await;
    let page = browser.open("/account").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.told());
    let text = page.text();
    for said in [
        "Alice Meyer",
        "alice@example.com",
        "Firefox on Linux",
        "this device only",
        "this device</span>",
        "Sign out everywhere else",
        "Confirmed “Approve payment 42 of 12000”",
        "with a passkey, user verified",
        "A wrong password was tried",
        "Signed in",
    ] {
        assert!(text.contains(said), "{said} is missing: {text}");
    }
    let more = browser.open("/account/activity").await;
    assert!(more.text().contains("An enrolment link was opened"), "{}", more.told());
    assert_eq!(house.said("evidence.searched").await.len(), 1, "who searches the evidence stands in it");
}

#[tokio::test]
async fn b51_a_request_that_was_not_decided_shows_and_changes_nothing() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let account = Account::new(house.flows.clone(), Transport::Tls, "Stepgate");
    let cookies = ["__Host-stepgate", "__Host-stepgate-browser"].map(|name| {
        let value = browser.cookie(name).unwrap();
        format!("{name}={value}")
    });
    let csrf = browser.open("/account").await.forms()[0].fields[0].1.clone();
    let factors = house.store().factors(person.id).await.unwrap();
    let remove = format!("/account/factors/{}/remove", factors[0].id);
    for (method, path) in [
        ("GET", "/account"),
        ("GET", "/account/activity"),
        ("POST", "/account/factors"),
        ("POST", &remove),
        ("POST", "/account/sessions/end-others"),
    ] {
        let client = Client { address: [192, 0, 2, 1].into(), request_id: "r".to_owned(), posture: Posture::Unknown };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("cookie", cookies.join("; "))
            .header("content-type", "application/x-www-form-urlencoded")
            .extension(client)
            .body(Bytes::from(format!("csrf={csrf}&kind=totp")))
            .unwrap();
        assert_eq!(account.call(request).await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(house.store().factors(person.id).await.unwrap().len(), factors.len());
}

#[tokio::test]
async fn other_devices_are_signed_out() {
    let house = House::new().await;
    let (browser, _) = house.signed_in("alice").await;
    let phone = house.browser();
    phone.sign_in("alice", PASSWORD).await;
    let page = browser.open("/account").await;
    let page = browser.submit(&page.form_to("/account/sessions/end-others")).await;
    assert_eq!(page.header("location"), "/account", "{}", page.told());
    assert!(phone.session().await.is_none());
    assert!(browser.session().await.is_some());
    assert_eq!(house.said("session.ended").await[0]["reason"], "revoked");
}

#[tokio::test]
async fn nobody_ends_anothers_session_or_removes_anothers_factor() {
    let house = House::new().await;
    let (alice, person) = house.signed_in("alice").await;
    let (mallory, _) = house.signed_in("mallory").await;
    let csrf = mallory.open("/account").await.forms()[0].fields[0].clone();
    let (session, _) = alice.session().await.unwrap();
    mallory.post(&format!("/account/sessions/{}/end", session.id), std::slice::from_ref(&csrf)).await;
    assert!(alice.session().await.is_some());
    let factors = house.store().factors(person.id).await.unwrap();
    for factor in &factors {
        let page = mallory.post(&format!("/account/factors/{}/remove", factor.id), std::slice::from_ref(&csrf)).await;
        assert_eq!(page.status, StatusCode::GONE);
    }
    assert_eq!(house.store().factors(person.id).await.unwrap().len(), factors.len());
}

#[tokio::test]
async fn ones_own_factor_is_removed() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    let factors = house.store().factors(person.id).await.unwrap();
    let passkey = factors.iter().find(|factor| factor.kind().name() == "passkey").unwrap();
    let page = browser.open("/account").await;
    let page = browser.submit(&page.form_to(&format!("/account/factors/{}/remove", passkey.id))).await;
    assert_eq!(page.header("location"), "/account", "{}", page.told());
    let left = house.store().factors(person.id).await.unwrap();
    assert_eq!(left.len(), factors.len() - 1);
    let page = browser.open("/account").await;
    assert!(!page.text().contains("/remove\""), "the last way to sign in stays: {}", page.told());
    let removed = house.said("factor.removed").await;
    let (session, _) = browser.session().await.unwrap();
    assert_eq!(removed[0]["authority"], format!("session:{}", session.id));
}

#[tokio::test]
async fn a_short_password_is_not_left_alone() {
    let house = House::new().await;
    let (browser, person) = house.signed_in("alice").await;
    enrol_app(&house, &person).await;
    let link = house.link(&person, &[FactorKind::Password]).await;
    let page = browser.open(&link).await;
    let page = browser.submit(&page.form_to(&link)).await;
    let path = format!("{}/password", page.redirect().unwrap().path());
    let page = browser.open(&path).await;
    let page = browser.submit(&page.form_to(&path).fill("password", "tea at 4 pm").fill("again", "tea at 4 pm")).await;
    assert!(page.text().contains("You are set up"), "{}", page.told());
    let again = browser.open(&path).await;
    assert!(!again.text().contains("again"), "the ticket ended with it: {}", again.told());
    let (session, _) = browser.session().await.unwrap();
    let remove = async |kind: FactorKind| {
        let factors = house.store().factors(person.id).await.unwrap();
        let factor = factors.iter().find(|one| one.kind().is_same_factor(kind)).unwrap().id;
        house.flows.remove_factor(&session, factor, "test".to_owned()).await
    };
    remove(FactorKind::PASSKEY).await.unwrap();
    assert!(matches!(remove(FactorKind::Totp).await, Err(EnrolError::ShortPassword)));
    let left: Vec<_> = house.store().factors(person.id).await.unwrap().iter().map(|one| one.kind()).collect();
    assert_eq!(left, [FactorKind::Totp, FactorKind::Password]);
}
