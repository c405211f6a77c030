//! The main job over TLS and HTTP/2, with the cookies that only TLS allows.

use stepgate_testkit::Person;

use crate::world::{Certificate, Payments, World};

fn certificate() -> Certificate {
    let names = vec!["localhost".to_owned(), "ledger.localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    Certificate { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_over_tls() {
    let payments = Payments::start().await;
    let certificate = certificate();
    let world = World::over_tls(payments.behind(), &certificate).await;
    let person = Person::with_roots(&[&certificate.chain]);
    let ada = world.member_with(person, "ada", &["finance"], &stepgate_core::factor::FactorKind::BUILT_IN).await;
    let list = ada.sign_in_at(&world.at_service("/payments")).await;
    assert!(list.text().contains("<h1>Payments</h1>"), "{}", list.told());
    for host in ["localhost", "ledger.localhost"] {
        assert!(ada.person.cookie(host, "__Host-stepgate").is_some(), "{host}: {:?}", ada.person);
        assert!(ada.person.cookie(host, "stepgate").is_none(), "{host}");
    }
    let asked = ada.person.submit(&list, &list.form_with("large")).await;
    let approved = ada.person.touch(&asked).await;
    assert!(approved.text().contains("Approved"), "{}", approved.told());
    assert_eq!(payments.bodies(), ["large=1&amount=12000"]);
    // What the upstream was told of the way in, and what it was not told.
    let arrived = &payments.approvals()[0];
    assert_eq!(arrived.value("x-forwarded-proto").as_deref(), Some("https"));
    assert!(arrived.value("cookie").is_none_or(|cookies| !cookies.contains("stepgate")));
    assert!(arrived.value("stepgate-assertion").is_some());
    assert_eq!(arrived.value("stepgate-email").as_deref(), Some("ada@example.test"));
    world.verified_evidence();
}
