//! Somebody with stolen cookies, a stranger's page, or a link that was not meant for them.

use reqwest::Method;
use stepgate_testkit::{From, Person};
use url::Url;

use crate::main_job::challenge_of;
use crate::world::{Payments, World, enrol};

#[tokio::test(flavor = "multi_thread")]
async fn b51_a_stolen_session_neither_adds_nor_removes_a_factor() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_gate("/account")).await;
    let thief = ada.person.thief();
    let account = thief.open(&world.at_gate("/account")).await;
    let forms: Vec<_> =
        account.forms().into_iter().filter(|form| form.action.path().starts_with("/account/factors")).collect();
    assert!(forms.len() > 3, "to add and to remove: {}", account.told());
    for form in forms {
        let adds = form.action.path() == "/account/factors" && !form.has("kind");
        let form = if adds { form.press("kind", "passkey") } else { form };
        let answer = thief.submit(&account, &form).await;
        assert!(answer.url.path().starts_with("/challenges/"), "{}: {}", form.action, answer.told());
    }
    let kept = ada.person.open(&world.at_gate("/account")).await;
    let count = |text: &str| text.matches("/remove\"").count();
    assert_eq!(count(&kept.text()), count(&account.text()), "all factors are still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn b50_starting_over_does_not_lead_around_the_proof() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    // Cancelled, asked again, gone to from the sign-in page, resumed without an answer.
    let no = asked.forms().into_iter().find(|form| form.action.path().ends_with("/cancel")).unwrap();
    ada.person.submit(&asked, &no).await;
    let id = challenge_of(&asked);
    for way in [
        world.at_gate(&format!("/challenges/{id}")),
        world.at_gate(&format!("/sign-in?continue={id}")),
        world.at_gate(&format!("/sign-in?next=/challenges/{id}")),
        world.at_service(&format!("/.stepgate/resume/{id}")),
        world.at_service(&format!("/.stepgate/resume/{id}?code=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
    ] {
        ada.person.open(&way).await;
        let posted = From::Page(Url::parse(&world.at_service("/payments")).unwrap());
        let field = [("stepgate-resume", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")];
        ada.person.post(&posted, &world.at_service("/payments/42/approve"), &field).await;
    }
    // The answer to the cancelled question comes too late.
    ada.person.touch(&asked).await;
    assert!(payments.bodies().is_empty());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_opens_no_question() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    let evil = From::Page(Url::parse("http://evil.example/").unwrap());
    let url = world.at_service("/payments/42/approve");
    // Lax cookies stay at home; were they sent, the request would not be held all the same.
    let token = ada.person.cookie("ledger.localhost", "stepgate").unwrap();
    ada.person.post(&evil, &url, &[("amount", "12000")]).await;
    ada.person.plant_cookie("ledger.localhost", "stepgate", &token);
    let answer = ada.person.post(&evil, &url, &[("amount", "12000")]).await;
    assert!(answer.redirect().is_none_or(|to| !to.path().starts_with("/challenges/")), "{}", answer.told());
    assert!(payments.bodies().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn b54_every_way_in_asks_for_the_same() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    let here = world.at_service("/payments");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let large = world.at_service("/payments/42/approve");
    let answer = ada.person.fetch(&here, Method::POST, &large, &form, "amount=12000").await;
    assert_eq!(answer.status, 401, "{}", answer.told());
    for spelling in ["/payments//42/approve", "/payments/42/approve/", "/payments/42/%61pprove", "/Payments/42/approve"]
    {
        let url = world.at_service(spelling);
        let status = ada.person.fetch(&here, Method::POST, &url, &form, "amount=12000").await.status;
        assert!(status == 400 || status == 401, "{spelling}: {status}");
    }
    let posts: Vec<String> = payments.approvals().iter().map(|seen| seen.target()).collect();
    assert!(posts.is_empty(), "{posts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b71_a_link_that_was_used_enrols_nobody_else() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let kinds = [stepgate_core::factor::FactorKind::Password, stepgate_core::factor::FactorKind::PASSKEY];
    let link = world.invite("ada", &["finance"], &kinds).await;
    enrol(&Person::new(), &link, |_| String::new()).await;
    let thief = Person::new();
    let page = thief.open(&link).await;
    assert!(page.forms().iter().all(|form| !form.action.path().starts_with("/enrol")), "{}", page.told());
}
