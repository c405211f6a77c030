//! From sign-in to signed evidence, as people go.

use std::time::Duration;

use futures_util::future::join_all;
use sha2::{Digest as _, Sha256};
use stepgate_testkit::{Page, Postgres, totp};

use crate::world::{Payments, World};
use stepgate_core::time::Clock as _;

/// The id in `/challenges/{id}`.
pub(crate) fn challenge_of(page: &Page) -> stepgate_core::id::ChallengeId {
    let id = page.url.path().strip_prefix("/challenges/").unwrap_or_else(|| panic!("no challenge: {}", page.told()));
    id.parse().unwrap()
}

async fn main_job(world: World, payments: Payments) {
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    assert!(list.text().contains("<h1>Payments</h1>"), "{}", list.told());
    assert_eq!(list.url.as_str(), world.at_service("/payments"));

    // 900 is everyday.
    let approved = ada.person.submit(&list, &list.form_with("small")).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());

    // 12,000 asks for the passkey, for this payment.
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    assert_eq!(asked.url.origin().ascii_serialization(), world.at_gate(""), "{}", asked.told());
    for words in ["Approve payment 42 of 12000", "Payments over 10,000 need your passkey", "Ledger"] {
        assert!(asked.text().contains(words), "'{words}' is not on the page: {}", asked.told());
    }
    assert_eq!(payments.approvals().len(), 1, "nothing is sent before it is confirmed");

    let approved = ada.person.touch(&asked).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(approved.url.as_str(), world.at_service("/payments/42/approve"), "where the person was");

    // What arrived is what was confirmed, once.
    let arrived = payments.approvals();
    assert_eq!(arrived.len(), 2);
    assert_eq!(arrived[1].body, b"large=1&amount=12000");
    let statement = world.statement(challenge_of(&asked)).await;
    assert_eq!(statement.body_sha256, hex::encode(Sha256::digest(&arrived[1].body)));
    assert_eq!(statement.url, world.at_service("/payments/42/approve"));
    assert_eq!(statement.inputs["amount"], "12000");

    let said = world.verified_evidence();
    assert!(said.contains("passkey"), "{said}");
    world.gate.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_on_sqlite() {
    let payments = Payments::start().await;
    main_job(World::start(payments.behind()).await, payments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_on_postgresql() {
    let payments = Payments::start().await;
    let store = Postgres::shared().fresh_database();
    main_job(World::on_store(payments.behind(), &store).await, payments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_second_factor_lets_the_download_go_on_and_ages() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    ada.sign_in_at(&world.at_service("/payments")).await;
    // The code of the enrolment is spent: take the next one.
    world.clock.advance(Duration::from_secs(60));

    let asked = ada.person.open(&world.at_service("/payments.csv")).await;
    let code = totp::code_at(&ada.secret, world.clock.now());
    let totp_form = asked.forms().into_iter().find(|form| form.fields.contains(&("factor".into(), "totp".into())));
    let wrong = totp_form.clone().unwrap().fill("code", if code == "000000" { "000001" } else { "000000" });
    let again = ada.person.submit(&asked, &wrong).await;
    assert!(again.text().contains("That code is not right."), "{}", again.told());
    let download = ada.person.submit(&asked, &totp_form.unwrap().fill("code", &code)).await;
    assert_eq!(download.text(), "id,amount\n42,12000\n", "{}", download.told());

    world.clock.advance(Duration::from_secs(240));
    assert_eq!(ada.person.open(&world.at_service("/payments.csv")).await.text(), "id,amount\n42,12000\n");
    world.clock.advance(Duration::from_secs(120));
    let asked = ada.person.open(&world.at_service("/payments.csv")).await;
    assert!(asked.text().contains("from the last five minutes"), "{}", asked.told());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_click_a_thief_and_a_stranger_get_nothing() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let eve = world.member("eve", &["finance"]).await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    eve.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;

    // A stolen link is worthless to somebody else who is signed in.
    let hers = eve.person.open(asked.url.as_str()).await;
    assert!(!hers.text().contains("Approve payment 42"), "{}", hers.told());
    let stolen = ada.person.thief();

    let answer = ada.person.answer_with_passkey(&asked);
    let approved = ada.person.submit(&asked, &answer).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    // The same answer again, by herself and by somebody with her old cookies.
    ada.person.submit(&asked, &answer).await;
    stolen.submit(&asked, &answer).await;
    // Reload of the page that posted.
    ada.person.submit(&list, &list.form_with("small")).await;
    let bodies: Vec<Vec<u8>> = payments.approvals().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [b"large=1&amount=12000".to_vec(), b"small=1&amount=900".to_vec()]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_clicks_at_once_send_once() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;

    // Ten answers with one touch: one passes.
    let answer = ada.person.answer_with_passkey(&asked);
    let answers = join_all((0..10).map(|_| ada.person.submit_once(&asked, &answer))).await;
    let passed: Vec<_> = answers.iter().filter_map(Page::redirect).filter(is_resume).collect();
    assert!(!passed.is_empty(), "{}", answers[0].told());

    // Ten posts of the page that puts the held request in its place: one is sent.
    let resume = ada.person.open_once(passed[0].as_str()).await;
    let form = resume.form_with("stepgate-resume");
    let sent = join_all((0..10).map(|_| ada.person.submit_once(&resume, &form))).await;
    assert_eq!(sent.iter().filter(|page| page.text().contains("<h1>Approved</h1>")).count(), 1);
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    world.verified_evidence();
}

fn is_resume(url: &url::Url) -> bool {
    url.path().starts_with("/.stepgate/resume/")
}
