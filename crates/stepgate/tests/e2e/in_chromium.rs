//! People in a real browser, with a passkey that is touched by itself.

use stepgate_core::factor::FactorKind;
use stepgate_testkit::browser::Scripts;
use stepgate_testkit::{Browser, VirtualAuthenticator};
use thirtyfour::error::WebDriverErrorInner;
use thirtyfour::prelude::*;

use crate::world::{Member, PASSWORD, Payments, World};

/// As often a click is tried on a page that is being left.
const PAGES_LEFT_MAX: usize = 10;

/// Clicks what is there, or soon will be. What was found on a page that is just being left is looked for again.
pub(crate) async fn click(browser: &Browser, css: &str) {
    for _ in 0..PAGES_LEFT_MAX {
        let clicked = match browser.query(By::Css(css)).and_clickable().first().await {
            Ok(element) => element.click().await,
            Err(error) => Err(error),
        };
        match clicked {
            Ok(()) => return,
            Err(error) if matches!(error.as_inner(), WebDriverErrorInner::StaleElementReference(_)) => {}
            Err(error) => panic!("no {css}: {error}"),
        }
    }
    panic!("{css} was on {PAGES_LEFT_MAX} pages that were left");
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

/// Somebody with a password and a passkey in a browser of their own, signed in at the ledger.
async fn ada_at_the_ledger(world: &World) -> (Browser, VirtualAuthenticator) {
    let link = world.invite("ada", &["finance"], &[FactorKind::Password, FactorKind::PASSKEY]).await;
    let browser = Browser::start().await;
    browser.goto(world.at_gate("/sign-in")).await.unwrap();
    let authenticator = browser.add_authenticator().await;
    enrol_and_sign_in(&browser, &link, "ada", &world.at_service("/payments")).await;
    wait_for_text(&browser, "Payments").await;
    (browser, authenticator)
}

/// A browser that is signed in at the ledger as somebody who enrolled elsewhere.
async fn signed_in(world: &World, member: &Member) -> Browser {
    let browser = Browser::start().await;
    browser.goto(world.at_service("/payments")).await.unwrap();
    type_into(&browser, "#name", &member.login).await;
    type_into(&browser, "#password", PASSWORD).await;
    click(&browser, "form:not([data-passkey]) button[type=submit]").await;
    wait_for_text(&browser, "Payments").await;
    browser
}

const CONFIRM: &str = "form[data-passkey] button.primary";

#[tokio::test(flavor = "multi_thread")]
async fn a_large_payment_is_approved_with_one_touch_and_a_reload_sends_nothing() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let (browser, _) = ada_at_the_ledger(&world).await;

    click(&browser, "#small button").await;
    wait_for_text(&browser, "Approved").await;
    browser.goto(world.at_service("/payments")).await.unwrap();
    click(&browser, "#large button").await;
    wait_for_text(&browser, "Payments over 10,000 need your passkey").await;
    assert_eq!(payments.approvals().len(), 1, "nothing is sent before it is confirmed");
    click(&browser, CONFIRM).await;
    wait_for_text(&browser, "Approved").await;
    assert_eq!(browser.current_url().await.unwrap().as_str(), world.at_service("/payments/42/approve"));

    // A reload tells what became of it; back leads through the ledger. Neither sends again.
    browser.refresh().await.unwrap();
    wait_for_text(&browser, "200").await;
    browser.back().await.unwrap();
    browser.goto(world.at_service("/payments")).await.unwrap();
    wait_for_text(&browser, "Payments").await;
    assert_eq!(payments.bodies(), ["small=1&amount=900", "large=1&amount=12000"]);
    browser.quit().await;
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_sends_once() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let (browser, _) = ada_at_the_ledger(&world).await;
    let button = browser.find(By::Css("#large button")).await.unwrap();
    browser.action_chain().double_click_element(&button).perform().await.unwrap();
    wait_for_text(&browser, "Payments over 10,000 need your passkey").await;
    let confirm = browser.find(By::Css(CONFIRM)).await.unwrap();
    browser.action_chain().double_click_element(&confirm).perform().await.unwrap();
    wait_for_text(&browser, "Approved").await;
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_hold_two_payments_and_each_goes_on_alone() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let (browser, authenticator) = ada_at_the_ledger(&world).await;
    let first = browser.window().await.unwrap();
    click(&browser, "#large button").await;
    wait_for_text(&browser, "Approve payment 42").await;
    let keys = browser.keys_of(&authenticator).await;
    let second = browser.new_tab().await.unwrap();
    browser.switch_to_window(second).await.unwrap();
    browser.goto(world.at_service("/payments")).await.unwrap();
    click(&browser, "#other button").await;
    wait_for_text(&browser, "Approve payment 44").await;
    browser.add_authenticator_with(&keys).await;
    click(&browser, CONFIRM).await;
    wait_for_text(&browser, "Approved").await;
    assert_eq!(payments.bodies(), ["other=1&amount=48500"]);
    // The first tab's token was rotated away behind its back, and it goes on all the same.
    browser.switch_to_window(first).await.unwrap();
    // Counters are told per authenticator, and this one has not seen the other's last use.
    browser.take_away(&authenticator).await;
    browser.add_authenticator_with(&with_counter(&keys, 1_000)).await;
    click(&browser, CONFIRM).await;
    wait_for_text(&browser, "Approved").await;
    assert_eq!(payments.bodies(), ["other=1&amount=48500", "large=1&amount=12000"]);
    browser.quit().await;
    world.verified_evidence();
}

fn with_counter(keys: &[serde_json::Value], counter: u32) -> Vec<serde_json::Value> {
    let mut keys = keys.to_vec();
    for key in &mut keys {
        key["signCount"] = counter.into();
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_after_a_code() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let member = world.ada().await;
    let browser = signed_in(&world, &member).await;
    click(&browser, "#export").await;
    wait_for_text(&browser, "from the last five minutes").await;
    type_into(&browser, "#totp", &world.next_code(&member)).await;
    click(&browser, "form.code button").await;
    let file = browser.downloads().join("payments.csv");
    let saved = browser.wait_until("the download is there", async || std::fs::read_to_string(&file).ok()).await;
    assert_eq!(saved, "id,amount\n42,12000\n");
    wait_for_text(&browser, "your browser saves it, and this page stays").await;
    nothing_is_left_to_answer(&browser).await;
    click(&browser, ".later a").await;
    wait_for_text(&browser, "Payments").await;
    assert_eq!(browser.current_url().await.unwrap().as_str(), world.at_service("/"));
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_after_a_passkey_and_its_page_is_not_half_alive() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let link = world.invite("bea", &["finance"], &[FactorKind::Password, FactorKind::PASSKEY]).await;
    let browser = Browser::start().await;
    browser.goto(world.at_gate("/sign-in")).await.unwrap();
    browser.add_authenticator().await;
    enrol_and_sign_in(&browser, &link, "bea", &world.at_service("/")).await;
    wait_for_text(&browser, "Payments").await;
    click(&browser, "#export").await;
    wait_for_text(&browser, "from the last five minutes").await;
    click(&browser, "form[data-passkey] button").await;
    let file = browser.downloads().join("payments.csv");
    browser.wait_until("the download is there", async || std::fs::read_to_string(&file).ok()).await;
    nothing_is_left_to_answer(&browser).await;
    click(&browser, ".later a").await;
    wait_for_text(&browser, "Payments").await;
    browser.quit().await;
}

/// A page that stays because its answer was a file says that it is over, and offers nothing more.
async fn nothing_is_left_to_answer(browser: &Browser) {
    let over = browser.query(By::Css(".challenge[data-over]")).first().await;
    over.expect("the page found out that its question was answered");
    let shown = browser.find(By::Css("main")).await.unwrap().text().await.unwrap();
    assert!(shown.contains("Confirmed"), "{shown}");
    for gone in ["Open until", "Don’t do this", "This wasn’t me", "Waiting for", "One moment"] {
        assert!(!shown.contains(gone), "{gone} is still there: {shown}");
    }
}

/// Approves what is answered with a file, and goes back to where it was asked.
async fn take_a_receipt(scripts: Scripts) {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind_with_codes()).await;
    let member = world.ada().await;
    let browser = signed_in(&world, &member).await;
    browser.set_scripts(scripts).await;
    browser.goto(world.at_service("/payments?page=2")).await.unwrap();
    click(&browser, "#receipt button").await;
    wait_for_text(&browser, "Approve payment 45").await;
    type_into(&browser, "#totp", &world.next_code(&member)).await;
    click(&browser, "form.code button").await;
    wait_for_text(&browser, "Going on").await;
    if scripts == Scripts::Off {
        click(&browser, "#go-on button").await;
    }
    let file = browser.downloads().join("receipt.txt");
    let saved = browser.wait_until("the file is there", async || std::fs::read_to_string(&file).ok()).await;
    assert_eq!(saved, "payment 45 of 48500: approved\n");
    // It is shown after a moment; a page would have come in its place.
    click(&browser, ".later a").await;
    wait_for_text(&browser, "Payments").await;
    assert_eq!(browser.current_url().await.unwrap().as_str(), world.at_service("/payments?page=2"));
    browser.back().await.unwrap();
    wait_for_text(&browser, "answered with status 200").await;
    assert_eq!(payments.bodies(), ["receipt=1&amount=48500"]);
    browser.quit().await;
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_form_whose_answer_is_a_file_leads_back() {
    take_a_receipt(Scripts::On).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_a_held_form_whose_answer_is_a_file_leads_back_too() {
    take_a_receipt(Scripts::Off).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_a_code_and_one_more_click_go_on() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind_with_codes()).await;
    let member = world.ada().await;
    let browser = signed_in(&world, &member).await;
    browser.set_scripts(Scripts::Off).await;
    browser.goto(world.at_service("/payments")).await.unwrap();
    click(&browser, "#large button").await;
    wait_for_text(&browser, "Approve payment 42 of 12000").await;
    type_into(&browser, "#totp", &world.next_code(&member)).await;
    click(&browser, "form.code button").await;
    click(&browser, "#go-on button").await;
    wait_for_text(&browser, "Approved").await;
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_keyboard_alone() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let (browser, _) = ada_at_the_ledger(&world).await;
    browser.find(By::Css("#large button")).await.unwrap().send_keys(Key::Enter + "").await.unwrap();
    wait_for_text(&browser, "Approve payment 42").await;
    // The answer has the focus; one key is enough.
    let focused = browser.active_element().await.unwrap();
    assert_eq!(focused.text().await.unwrap(), "Confirm with passkey");
    focused.send_keys(Key::Enter + "").await.unwrap();
    wait_for_text(&browser, "Approved").await;
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_say_no_sends_nothing_and_this_was_not_me_ends_the_session() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let (browser, _) = ada_at_the_ledger(&world).await;
    click(&browser, "#large button").await;
    wait_for_text(&browser, "Approve payment 42").await;
    click(&browser, "button[value=unwanted]").await;
    wait_for_text(&browser, "The request was dropped and not sent to the service.").await;
    browser.goto(world.at_service("/payments")).await.unwrap();
    wait_for_text(&browser, "Payments").await;
    click(&browser, "#large button").await;
    click(&browser, "button[value=not-me]").await;
    wait_for_text(&browser, "your report is recorded").await;
    browser.goto(world.at_service("/payments")).await.unwrap();
    wait_for_text(&browser, "Sign in").await;
    assert!(payments.bodies().is_empty());
    browser.quit().await;
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_an_unchanged_application_goes_on_after_the_window_it_is_shown() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind_with_script()).await;
    let member = world.ada().await;
    let browser = signed_in(&world, &member).await;
    browser.goto(world.at_service("/app")).await.unwrap();
    let application = browser.window().await.unwrap();
    click(&browser, "#call").await;
    let others = async || browser.windows().await.unwrap().into_iter().find(|window| *window != application);
    let confirming = browser.wait_until("a window to confirm in", others).await;
    browser.switch_to_window(confirming).await.unwrap();
    wait_for_text(&browser, "Approve payment 42 of 12000").await;
    type_into(&browser, "#totp", &world.next_code(&member)).await;
    click(&browser, "form.code button").await;
    browser.switch_to_window(application).await.unwrap();
    wait_for_text(&browser, "the answer is 200").await;
    assert_eq!(payments.bodies(), [r#"{"amount":12000}"#]);
    browser.quit().await;
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_phone_and_in_the_dark_nothing_sticks_out() {
    let payments = Payments::start().await;
    let world = World::in_real_time(payments.behind()).await;
    let (browser, _) = ada_at_the_ledger(&world).await;
    browser.be_a_phone().await;
    browser.prefer_colors("dark").await;
    click(&browser, "#large button").await;
    wait_for_text(&browser, "Approve payment 42").await;
    browser.screenshot_named("challenge-phone-dark").await;
    for page in [browser.current_url().await.unwrap().to_string(), world.at_gate("/account")] {
        browser.goto(&page).await.unwrap();
        let width = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth];";
        let widths = browser.execute(width, vec![]).await.unwrap();
        assert_eq!(widths.json()[0], widths.json()[1], "{page} is wider than the screen");
    }
    browser.quit().await;
}
