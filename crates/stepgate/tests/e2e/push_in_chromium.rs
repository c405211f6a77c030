//! A phone and a desktop at once, in real browsers: a device is added, and approves what the other one asks.

use stepgate_core::factor::FactorKind;
use stepgate_testkit::Browser;

use crate::in_chromium::{click, enrol_and_sign_in, type_into, wait_for_text};
use crate::push::behind;
use crate::world::{Payments, World};

/// A browser with the screen of a phone and a passkey that is touched by itself.
async fn phone(world: &World) -> Browser {
    let phone = Browser::start().await;
    phone.set_window_rect(0, 0, 390, 844).await.unwrap();
    phone.goto(world.at_gate("/approver")).await.unwrap();
    phone.add_authenticator().await;
    phone
}

/// What an element says, seen or not.
async fn said(browser: &Browser, css: &str) -> String {
    let script = "return document.querySelector(arguments[0]).textContent";
    let answer = browser.execute(script, vec![css.into()]).await.unwrap();
    answer.json().as_str().unwrap_or_else(|| panic!("no {css}")).trim().to_owned()
}

/// Adds `phone` as a device of whoever is signed in at `desktop`.
async fn add_device(world: &World, desktop: &Browser, phone: &Browser) {
    desktop.goto(world.at_gate("/account")).await.unwrap();
    click(desktop, "button[value=push]").await;
    wait_for_text(desktop, "needs a proof that you have already").await;
    click(desktop, "form[data-passkey] button.primary").await;
    wait_for_text(desktop, "Scan this with the phone").await;
    phone.goto(said(desktop, "details code").await).await.unwrap();
    wait_for_text(phone, "Approve with this device?").await;
    click(phone, "form button.primary").await;
    wait_for_text(phone, "Unlock to approve").await;
    click(phone, "form[data-passkey] button.primary").await;
    wait_for_text(phone, "Type this number").await;
    type_into(desktop, "#code", &said(phone, ".code-big").await).await;
    click(desktop, "form button.primary").await;
    wait_for_text(desktop, "approver device").await;
    // The phone sees by itself that the number was typed.
    wait_for_text(phone, "Nothing to approve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_approves_what_the_desktop_asks_and_the_held_payment_goes_on() {
    let payments = Payments::start().await;
    let world = World::in_real_time(behind(&payments, "")).await;
    let link = world.invite("ada", &["finance"], &[FactorKind::Password, FactorKind::PASSKEY]).await;
    let (desktop, phone) = (Browser::start().await, phone(&world).await);
    desktop.goto(world.at_gate("/sign-in")).await.unwrap();
    desktop.add_authenticator().await;
    enrol_and_sign_in(&desktop, &link, "ada", &world.at_service("/payments")).await;
    wait_for_text(&desktop, "Payments").await;
    add_device(&world, &desktop, &phone).await;

    desktop.goto(world.at_service("/payments")).await.unwrap();
    click(&desktop, "#other button").await;
    wait_for_text(&desktop, "Payments over 40,000 need a signature").await;
    click(&desktop, "form[action$='/push'] button").await;
    wait_for_text(&desktop, "type this number there").await;
    let number = said(&desktop, ".on-device .code-big").await;
    assert!(payments.approvals().is_empty());

    // No push service is called here: the page looks by itself.
    wait_for_text(&phone, "Approve payment 44 of 48500").await;
    wait_for_text(&phone, "Chrome on Linux").await;
    type_into(&phone, "#number", &number).await;
    click(&phone, "form[data-passkey] button.primary").await;
    wait_for_text(&phone, "It goes on where it was asked").await;
    wait_for_text(&desktop, "Approved").await;
    assert_eq!(desktop.current_url().await.unwrap().as_str(), world.at_service("/payments/44/approve"));
    assert_eq!(payments.bodies(), ["other=1&amount=48500"]);

    // And what is refused there is not done here.
    desktop.goto(world.at_service("/payments")).await.unwrap();
    click(&desktop, "#large button").await;
    click(&desktop, "form[action$='/push'] button").await;
    wait_for_text(&phone, "Approve payment 42 of 12000").await;
    click(&phone, "button[value=unwanted]").await;
    wait_for_text(&phone, "Nothing was done").await;
    wait_for_text(&desktop, "Nothing was done").await;
    assert_eq!(payments.approvals().len(), 1);
    phone.quit().await;
    desktop.quit().await;
    world.verified_evidence();
}
