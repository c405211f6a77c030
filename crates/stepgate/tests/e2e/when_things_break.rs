//! Sessions that lapse, gates that restart, upstreams and databases that are away.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use stepgate_testkit::{Answer, Page, Person, Postgres, RecordingUpstream};

use crate::world::{Behind, Member, PASSWORD, Payments, World};

/// Longer than a session may idle, and shorter than a lapsed one is remembered.
const A_LONG_LUNCH: Duration = Duration::from_secs(2 * 3600);

/// Fills in the sign-in page that `page` is.
async fn sign_in_on(page: &Page, at: &Person, as_whom: &Member) -> Page {
    let form = page.form_with("password").fill("name", &as_whom.login).fill("password", PASSWORD);
    at.submit(page, &form).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_sent_with_a_lapsed_session_goes_on_when_the_same_person_signs_in() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    world.clock.advance(A_LONG_LUNCH);
    let asked = ada.person.submit(&list, &list.form_with("small")).await;
    assert_eq!(asked.url.path(), "/sign-in", "{}", asked.told());
    assert!(payments.bodies().is_empty());
    let approved = sign_in_on(&asked, &ada.person, &ada).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(payments.bodies(), ["small=1&amount=900"]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_sent_with_a_lapsed_session_is_not_sent_for_anybody_else() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let eve = world.member("eve", &["finance"]).await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    world.clock.advance(A_LONG_LUNCH);
    let asked = ada.person.submit(&list, &list.form_with("small")).await;
    let answered = sign_in_on(&asked, &ada.person, &eve).await;
    assert!(!answered.text().contains("Approved"), "{}", answered.told());
    assert!(payments.bodies().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_request_outlives_a_restart_of_the_gate() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    let world = world.restart().await;
    let approved = ada.person.touch(&asked).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_is_not_answered_in_time_sends_nothing() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    world.clock.advance(Duration::from_secs(11 * 60));
    let late = ada.person.touch(&asked).await;
    assert!(late.text().contains("It was not answered in time"), "{}", late.told());
    assert!(payments.bodies().is_empty());
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_upstream_hangs_up_the_outcome_is_unknown_and_nothing_is_sent_again() {
    let upstream = RecordingUpstream::start(|request| match request.method().as_str() {
        "POST" => Answer::hang_up(),
        _ => Answer::page(crate::world::PAGE),
    })
    .await;
    let payments = Payments(upstream);
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    let answered = ada.person.touch(&asked).await;
    assert_eq!(answered.status, 502, "{}", answered.told());
    assert!(answered.text().contains("not known"), "{}", answered.told());
    let told = ada.person.open(asked.url.as_str()).await;
    assert!(told.text().contains("do not know"), "{}", told.told());
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_upstream_is_away_nothing_was_sent_and_it_says_so() {
    let payments = Payments::start().await;
    let world = World::start(payments.behind()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    payments.0.stop().await;
    let answered = ada.person.touch(&asked).await;
    assert_eq!(answered.status, 502, "{}", answered.told());
    assert!(answered.text().contains("nothing was sent"), "{}", answered.told());
    world.verified_evidence();
}

/// A minute: ten times what finding the database again takes on a loaded machine.
const AGAIN_AT_MOST: u32 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_reading_goes_on_and_what_matters_waits() {
    let payments = Payments::start().await;
    let mut postgres = Postgres::start();
    let world = World::on_store(payments.behind(), &postgres.fresh_database()).await;
    let ada = world.ada().await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    let (here, there) = (list.url.to_string(), world.at_service("/api/payments/42/approve"));
    let approve = async || ada.person.fetch_json(&here, Method::POST, &there, &json!({ "amount": 12_000 })).await;

    postgres.kill();
    assert_eq!(ada.person.open(&world.at_service("/payments")).await.status, 200);
    let waiting = approve().await;
    assert_eq!(waiting.status, 503, "{}", waiting.told());
    assert!(payments.bodies().is_empty());

    postgres.restart();
    // The gate finds its database again by itself; a program tries again, as the answer says.
    let mut asked = approve().await;
    for _ in 0..AGAIN_AT_MOST {
        if asked.status != 503 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        asked = approve().await;
    }
    assert_eq!(asked.status, 401, "{}", asked.told());
    let page = ada.person.open(asked.json()["challenge"]["url"].as_str().unwrap()).await;
    ada.person.touch(&page).await;
    assert_eq!(approve().await.status, 200);
    assert_eq!(payments.bodies(), [r#"{"amount":12000}"#]);
    world.verified_evidence();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_nobodys() {
    let payments = Payments::start().await;
    let world = World::start(Behind { ..payments.behind() }).await;
    let stranger = Person::new();
    let answer = stranger.open(&format!("http://other.localhost:{}/", world.port)).await;
    assert_eq!(answer.status, 421);
}
