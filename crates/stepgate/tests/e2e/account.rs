//! One's own account: adding and removing a factor is itself stepped up.

use std::time::Duration;

use stepgate_core::factor::FactorKind;
use stepgate_core::time::Clock as _;
use stepgate_testkit::{Form, Page, Person, totp};

use crate::world::{Member, Payments, World};

/// How the account page tags one.
const A_PASSKEY: &str = "<span class=\"tag\">passkey</span>";

/// The form for an answer by code.
fn code_form(page: &Page) -> Form {
    let form = page.forms().into_iter().find(|form| form.fields.contains(&("factor".into(), "totp".into())));
    form.unwrap_or_else(|| panic!("no code is asked for: {}", page.told()))
}

/// Answers the challenge that `page` is with the member's app.
async fn answer(world: &World, member: &Member, page: &Page) -> Page {
    world.clock.advance(Duration::from_secs(30));
    let code = totp::code_at(&member.secret, world.clock.now());
    member.person.submit(page, &code_form(page).fill("code", &code)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_added_with_a_code_and_then_confirms_and_is_removed() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let kinds = [FactorKind::Password, FactorKind::Totp];
    let ada = world.member_with(Person::new(), "ada", &["finance"], &kinds).await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;

    // Without a passkey the payment cannot be confirmed; the page says what is missing.
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    assert!(asked.text().contains("passkey"), "{}", asked.told());
    assert!(asked.forms().iter().all(|form| form.passkey.is_none()), "{}", asked.told());

    let account = ada.person.open(&world.at_gate("/account")).await;
    let add = account.forms().into_iter().find(|form| form.action.path() == "/account/factors" && !form.has("kind"));
    let challenged = ada.person.submit(&account, &add.unwrap().press("kind", "passkey")).await;
    assert!(challenged.url.path().starts_with("/challenges/"), "{}", challenged.told());
    let adding = answer(&world, &ada, &challenged).await;
    let added = ada.person.touch(&adding).await;
    assert!(added.status.is_success(), "{}", added.told());

    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    let approved = ada.person.touch(&asked).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());

    let account = ada.person.open(&world.at_gate("/account")).await;
    assert!(account.text().contains(A_PASSKEY), "{}", account.told());
    let remove = account.forms().into_iter().rfind(|form| form.action.path().ends_with("/remove"));
    let challenged = ada.person.submit(&account, &remove.unwrap()).await;
    let removed = answer(&world, &ada, &challenged).await;
    assert!(removed.status.is_success(), "{}", removed.told());
    let account = ada.person.open(&world.at_gate("/account")).await;
    assert!(!account.text().contains(A_PASSKEY), "{}", account.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_device_of_the_same_person_answers_after_typing_the_number() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind_with_codes()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    let number = world.number(crate::main_job::challenge_of(&asked)).await;

    let phone = Member { person: Person::new().with_agent("Phone/1.0"), login: ada.login.clone(), secret: ada.secret };
    let signed_in = phone.sign_in_at(asked.url.as_str()).await;
    assert!(signed_in.text().contains("number"), "{}", signed_in.told());
    assert!(!signed_in.text().contains(&number), "the number is shown to the asker alone");
    let wrong = if number == "000000" { "000001" } else { "000000" };
    let form = signed_in.form_with("number");
    let asks = phone.person.submit(&signed_in, &form.clone().fill("number", wrong)).await;
    let refused = answer(&world, &phone, &asks).await;
    assert!(refused.text().contains("not the number"), "{}", refused.told());
    let asks = phone.person.submit(&signed_in, &form.fill("number", &number)).await;
    let passed = answer(&world, &phone, &asks).await;
    assert!(passed.text().contains("goes on where it was asked"), "{}", passed.told());
    assert!(payments.bodies().is_empty(), "the request goes on where it was asked, and nowhere else");
    let went_on = ada.person.open(asked.url.as_str()).await;
    assert!(went_on.text().contains("Approved"), "{}", went_on.told());
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    world.verified_evidence();
}
