//! The main job in a real browser, with a passkey that is touched by itself.

use stepgate_core::factor::FactorKind;
use stepgate_testkit::Browser;
use thirtyfour::prelude::*;

use crate::world::{PASSWORD, Payments, World};

/// Clicks what is there, or soon will be.
pub(crate) async fn click(browser: &Browser, css: &str) {
    let element = browser.query(By::Css(css)).and_clickable().first().await;
    element.unwrap_or_else(|error| panic!("no {css}: {error}")).click().await.unwrap();
}

/// Types into a field that is there, or soon will be.
pub(crate) async fn type_into(browser: &Browser, css: &str, text: &str) {
    let field = browser.query(By::Css(css)).first().await;
    field.unwrap_or_else(|error| panic!("no {css}: {error}")).send_keys(text).await.unwrap();
}

/// Waits until the page says this, and gives up with what it says instead.
pub(crate) async fn wait_for_text(browser: &Browser, text: &str) {
    let xpath = format!("//body[contains(normalize-space(.), \"{text}\")]");
    if browser.query(By::XPath(xpath)).first().await.is_err() {
        let page = browser.find(By::Tag("body")).await.unwrap().text().await.unwrap_or_default();
        panic!("'{text}' is not at {}:\n{page}", browser.current_url().await.unwrap());
    }
}

/// Enrols a password and a passkey by a link, and signs in at the service.
pub(crate) async fn enrol_and_sign_in(browser: &Browser, link: &str, login: &str, service: &str) {
    browser.goto(link).await.unwrap();
    click(browser, "form button[type=submit]").await;
    click(browser, "a[href$='/password']").await;
    type_into(browser, "#password", PASSWORD).await;
    type_into(browser, "#again", PASSWORD).await;
    click(browser, "form button.primary").await;
    click(browser, "a[href$='/passkey']").await;
    click(browser, "form[data-passkey] button.primary").await;
    click(browser, "form[action$='/end'] button").await;
    wait_for_text(browser, "Sign in").await;
    browser.goto(service).await.unwrap();
    type_into(browser, "#name", login).await;
    type_into(browser, "#password", PASSWORD).await;
    click(browser, "form:not([data-passkey]) button[type=submit]").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_payment_is_approved_with_one_touch() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let link = world.invite("ada", &["finance"], &[FactorKind::Password, FactorKind::Passkey]).await;
    let browser = Browser::start().await;
    browser.goto(world.at_gate("/sign-in")).await.unwrap();
    browser.add_authenticator().await;
    enrol_and_sign_in(&browser, &link, "ada", &world.at_service("/payments")).await;
    wait_for_text(&browser, "Payments").await;

    click(&browser, "#small button").await;
    wait_for_text(&browser, "Approved").await;
    browser.goto(world.at_service("/payments")).await.unwrap();
    click(&browser, "#large button").await;
    wait_for_text(&browser, "Payments over 10,000 need your passkey").await;
    browser.screenshot_named("challenge").await;
    click(&browser, "form[data-passkey] button.primary").await;
    wait_for_text(&browser, "Approved").await;
    assert_eq!(browser.current_url().await.unwrap().as_str(), world.at_service("/payments/42/approve"));
    assert_eq!(payments.approvals()[1].body, b"large=1&amount=12000");

    // Back leads to the ledger, and a reload of the answer sends nothing a second time.
    browser.refresh().await.unwrap();
    let sent = payments.approvals();
    assert_eq!(sent.iter().filter(|seen| seen.body.starts_with(b"large")).count(), 1, "{sent:?}");
    browser.quit().await;
    world.verified_evidence();
}
