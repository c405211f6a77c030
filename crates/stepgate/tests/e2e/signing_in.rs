//! Signing in is itself an operation: what it takes is said by rules, and nothing is lost on the way.

use std::time::Duration;

use stepgate_core::factor::FactorKind;
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_evidence::Event;
use stepgate_testkit::{Form, Page, Person};

use crate::world::{Behind, Member, Payments, World};

/// A browser that was not used before has to prove more, in this session.
const NEW_DEVICES_PROVE_MORE: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("new-device")
@reason("You have not signed in here before.")
forbid (principal, action in Action::"sign_in", resource)
when   { !context.device.known }
unless { context.age.second_factor <= context.session.age };
"#;

/// Some services are let in to, and a page is closed.
const THE_LEDGER_ALONE: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("these-services-alone")
@reason("You may not sign in there.")
forbid (principal, action == Action::"sign_in", resource)
unless { context.input.service == "ledger" };

@id("no-activity")
@reason("Activity is not shown.")
forbid (principal, action == Action::"account.activity", resource);

@id("no-accounts-for-mallory")
@reason("There is nothing for you to see.")
forbid (principal == Person::"mallory", action == Action::"account.view", resource);
"#;

/// From noon on, whoever signs in proves more.
const FROM_NOON_ON: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("afternoons")
@reason("In the afternoon signing in takes more.")
forbid (principal, action in Action::"sign_in", resource)
when   { context.time.hour >= 12 }
unless { context.age.second_factor <= context.session.age };
"#;

const NOBODY_CALLED_MALLORY: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("not-mallory")
@reason("You may not sign in here.")
forbid (principal == Person::"mallory", action in Action::"sign_in", resource);
"#;

fn code_form(page: &Page) -> Form {
    let form = page.forms().into_iter().find(|form| form.fields.contains(&("factor".into(), "totp".into())));
    form.unwrap_or_else(|| panic!("no code is asked for: {}", page.told()))
}

async fn answer(world: &World, member: &Member, page: &Page) -> Page {
    let code = world.next_code(member);
    member.person.submit(page, &code_form(page).fill("code", &code)).await
}

async fn sign_out(world: &World, member: &Member) {
    let page = member.person.open(&world.at_gate("/sign-out")).await;
    member.person.submit(&page, &page.form_to("/sign-out")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b137_a_new_device_proves_more_before_it_is_handed_anything() {
    let payments = Payments::start().await;
    let world = World::start(Behind { policies: NEW_DEVICES_PROVE_MORE, ..payments.behind() }).await;
    let kinds = [FactorKind::Password, FactorKind::Totp];
    let ada = world.member_with(Person::new(), "ada", &["finance"], &kinds).await;

    let asked = ada.sign_in_at(&world.at_service("/payments?page=2")).await;
    assert!(asked.url.path().starts_with("/challenges/"), "{}", asked.told());
    assert!(asked.text().contains("Sign in to ledger"), "{}", asked.told());
    assert!(asked.text().contains("You have not signed in here before."), "{}", asked.told());
    // Meanwhile the session opens nothing: neither another service's page nor one's own account.
    for elsewhere in [world.at_service("/"), world.at_gate("/account"), world.at_gate("/account/activity")] {
        let page = ada.person.open(&elsewhere).await;
        assert!(page.url.path().starts_with("/challenges/"), "{elsewhere}: {}", page.told());
    }
    assert!(payments.0.requests().is_empty());
    let went_on = answer(&world, &ada, &asked).await;
    assert_eq!(went_on.url.as_str(), world.at_service("/payments?page=2"), "{}", went_on.told());
    assert!(ada.person.open(&world.at_gate("/account")).await.text().contains("ada"));

    // The second time the browser is known, and a password will do.
    sign_out(&world, &ada).await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
    // A copy of the account's password is not enough elsewhere.
    let thief = Member { person: Person::new(), login: ada.login.clone(), secret: String::new() };
    let asked = thief.sign_in_at(&world.at_service("/payments")).await;
    assert!(asked.url.path().starts_with("/challenges/"), "{}", asked.told());
    // Nor does it become enough by signing in there again.
    sign_out(&world, &thief).await;
    let asked = thief.sign_in_at(&world.at_service("/payments")).await;
    assert!(asked.url.path().starts_with("/challenges/"), "{}", asked.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_waited_for_a_sign_in_goes_on_when_that_suffices() {
    let payments = Payments::start().await;
    let world = World::start(Behind { policies: FROM_NOON_ON, ..payments.behind() }).await;
    let ada = world.ada().await;
    // The clock begins at midnight.
    world.clock.advance(Duration::from_secs(10 * 3600));
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    assert_eq!(list.url.as_str(), world.at_service("/payments"), "it is ten: {}", list.told());
    // The session lapses, and the afternoon comes.
    world.clock.advance(Duration::from_secs(3 * 3600));
    let asks = ada.person.submit(&list, &list.form_with("small")).await;
    let form = asks.form_with("password").fill("name", &ada.login).fill("password", crate::world::PASSWORD);
    let asked = ada.person.submit(&asks, &form).await;
    assert!(asked.text().contains("In the afternoon signing in takes more."), "{}", asked.told());
    assert!(payments.approvals().is_empty());
    let approved = answer(&world, &ada, &asked).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(payments.bodies(), ["small=1&amount=900"]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn b139_no_link_makes_a_form_go_on_that_its_sign_in_was_not_asked_about() {
    let payments = Payments::start().await;
    let world = World::start(Behind { policies: FROM_NOON_ON, ..payments.behind() }).await;
    let ada = world.ada().await;
    world.clock.advance(Duration::from_secs(10 * 3600));
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    world.clock.advance(Duration::from_secs(3 * 3600));
    let asks = ada.person.submit(&list, &list.form_with("small")).await;
    let form = asks.form_with("password");
    let (_, waiting) = form.fields.iter().find(|(name, _)| name == "continue").unwrap().clone();
    // Signed in by herself elsewhere, with all that it takes, she follows a link to what waits.
    let elsewhere = Member { person: Person::new(), login: ada.login.clone(), secret: ada.secret.clone() };
    let asked = elsewhere.sign_in_at(&world.at_service("/payments")).await;
    let list = answer(&world, &elsewhere, &asked).await;
    assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
    for tag in ["", "&tag=", "&tag=0"] {
        let led = elsewhere.person.open(&world.at_gate(&format!("/go-on/{waiting}?service=ledger{tag}"))).await;
        assert_eq!(led.url.path(), "/account", "{}", led.told());
    }
    assert!(payments.approvals().is_empty());
    // Where it was sent it still goes on. A code counts once.
    world.clock.advance(Duration::from_secs(60));
    let filled = form.fill("name", &ada.login).fill("password", crate::world::PASSWORD);
    let asked = ada.person.submit(&asks, &filled).await;
    let approved = answer(&world, &ada, &asked).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(payments.bodies(), ["small=1&amount=900"]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_sign_in_is_told_so_and_has_no_session() {
    let payments = Payments::start().await;
    let world = World::start(Behind { policies: NOBODY_CALLED_MALLORY, ..payments.behind() }).await;
    let mallory = world.member("mallory", &["finance"]).await;
    let denied = mallory.sign_in_at(&world.at_service("/payments")).await;
    assert_eq!(denied.status.as_u16(), 403, "{}", denied.told());
    assert!(denied.text().contains("You may not sign in here."), "{}", denied.told());
    let account = mallory.person.open(&world.at_gate("/account")).await;
    assert!(account.url.path().starts_with("/sign-in"), "the session has ended: {}", account.told());
    assert!(payments.0.requests().is_empty());
    let query = EntryQuery { kinds: vec!["session.ended".to_owned()], limit: 9, ..EntryQuery::default() };
    let ended = world.gate.database.entries(query).await.unwrap();
    let is_why = |event: &Event| matches!(event, Event::SessionEnded { reason, .. } if reason == "sign_in_denied");
    assert_eq!(ended.iter().filter(|recorded| is_why(&recorded.entry.event)).count(), 1);
    world.verified_evidence();
    // Anybody else is let in.
    let bob = world.member("bob", &["finance"]).await;
    let list = bob.sign_in_at(&world.at_service("/payments")).await;
    assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn b128_no_link_to_what_is_denied_signs_anybody_out() {
    let payments = Payments::start().await;
    let world = World::start(Behind { policies: THE_LEDGER_ALONE, ..payments.behind() }).await;
    // For one of them the account is closed too, by a rule that is not about signing in.
    for login in ["ada", "mallory"] {
        let member = world.member(login, &["finance"]).await;
        let list = member.sign_in_at(&world.at_service("/payments")).await;
        assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
        let other = "/hand-off?service=payroll&to=%2F&browser=x";
        for denied in [other, "/hand-off?service=&to=%2F&browser=x", "/hand-off", "/account/activity", "/evidence"] {
            let page = member.person.open(&world.at_gate(denied)).await;
            assert!(page.status.is_client_error(), "{denied}: {}", page.told());
        }
        // At the service and at the gate the session goes on.
        let list = member.person.open(&world.at_service("/payments")).await;
        assert_eq!(list.url.as_str(), world.at_service("/payments"), "{}", list.told());
        let account = member.person.open(&world.at_gate("/account")).await;
        assert_eq!(account.url.path(), "/account", "{}", account.told());
    }
    let query = EntryQuery { kinds: vec!["session.ended".to_owned()], limit: 9, ..EntryQuery::default() };
    assert!(world.gate.database.entries(query).await.unwrap().is_empty());
}
