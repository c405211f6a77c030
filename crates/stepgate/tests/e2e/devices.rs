//! Browsers that a person has used before, as policies know them.

use stepgate_core::factor::FactorKind;
use stepgate_testkit::Person;

use crate::world::{Behind, Member, Payments, World};

/// Whoever is on a browser that they have not used before changes nothing.
const FAMILIAR_ONLY: &str = r#"
@id("finance-uses-the-ledger")
permit (principal in Group::"finance", action, resource in Service::"ledger");

@id("unfamiliar-device")
@reason("You are on a device we have not seen before.")
forbid (principal, action in Action::"write", resource in Service::"ledger")
when { !context.device.known };
"#;

/// Signs in, approves a payment, signs out; gives the status of the approval.
async fn approve(world: &World, member: &Member) -> u16 {
    let list = member.sign_in_at(&world.at_service("/payments")).await;
    let answered = member.person.submit(&list, &list.form_with("small")).await;
    let page = member.person.open(&world.at_gate("/sign-out")).await;
    member.person.submit(&page, &page.form_to("/sign-out")).await;
    answered.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_enrolling_browser_is_known_from_the_second_sign_in_on() {
    let payments = Payments::start().await;
    let world = World::start(Behind { policies: FAMILIAR_ONLY, ..payments.behind() }).await;
    let ada = world.ada().await;
    assert_eq!(approve(&world, &ada).await, 403, "to enrol in a browser is not to have used it");
    assert!(payments.approvals().is_empty());
    assert_eq!(approve(&world, &ada).await, 200);
    assert_eq!(payments.approvals().len(), 1);

    // She names it, has it forgotten, and it is new again.
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let account = ada.person.open(&world.at_gate("/account")).await;
    let named = account.forms().into_iter().find(|form| form.action.path().ends_with("/name")).unwrap();
    let account = ada.person.submit(&account, &named.fill("name", "The <b>old</b> laptop")).await;
    assert!(account.text().contains("<strong>The &#60;b&#62;old&#60;/b&#62; laptop</strong>"), "{}", account.told());
    let forget = account.forms().into_iter().find(|form| form.action.path().ends_with("/forget")).unwrap();
    let account = ada.person.submit(&account, &forget).await;
    assert!(!account.text().contains("laptop"), "{}", account.told());
    let refused = ada.person.submit(&list, &list.form_with("small")).await;
    assert_eq!(refused.status.as_u16(), 403, "the living session is decided as one of a new device");
    let page = ada.person.open(&world.at_gate("/sign-out")).await;
    ada.person.submit(&page, &page.form_to("/sign-out")).await;
    assert_eq!(approve(&world, &ada).await, 403);
    assert_eq!(approve(&world, &ada).await, 200);
    let approvals = payments.approvals().len();
    assert_eq!(approvals, 2);

    // Another browser of hers is another device, and each is known for itself.
    let elsewhere = Member { person: Person::new(), login: ada.login.clone(), secret: ada.secret.clone() };
    assert_eq!(approve(&world, &elsewhere).await, 403);
    assert_eq!(approve(&world, &ada).await, 200);
    assert_eq!(approve(&world, &elsewhere).await, 200);
    // What one person did there says nothing of the next one.
    let kinds = [FactorKind::Password, FactorKind::Totp];
    let bob = world.member_with(ada.person, "bob", &["finance"], &kinds).await;
    assert_eq!(approve(&world, &bob).await, 403);
    world.verified_evidence();
}
