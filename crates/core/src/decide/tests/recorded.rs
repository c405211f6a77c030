//! What is kept of a decision is all that it was taken on: decided again, it is the same.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::properties::{around, asker, confirmed, operations, policies, sets, who};
use super::tokens::{corp, token_askers};
use crate::decide::{Asker, CannotDecide, Decided, RECORDED, Recorded, Situation, decide, explain};
use crate::factor::FactorKind;
use crate::flows::asked;
use crate::operation::Operation;
use crate::policy::Policies;
use crate::policy::fixture::{catalogue, environment, operation, person, session, surroundings};
use crate::risk::{Risk, RiskKind, RiskLevel};
use crate::session::SessionView;
use crate::surroundings::{Environment, Geography, Surroundings};
use crate::time::Timestamp;

/// The configuration of these surroundings.
fn environment_of(around: &Surroundings) -> Environment {
    let denied = if around.located.is_denied() { vec!["CH".parse().unwrap()] } else { Vec::new() };
    Environment { geography: Arc::new(Geography { denied, ..Geography::default() }), ..environment() }
}

/// Written into details and read again.
fn kept(
    operation: &Operation,
    asker: Asker<'_>,
    around: &Surroundings,
    confirmed: &[(FactorKind, Timestamp)],
) -> Situation {
    let recorded = Recorded::of(operation, asker, around, confirmed);
    let details = json!({ RECORDED: recorded.to_json() });
    let read = Recorded::from_details(Some(&serde_json::from_str(&details.to_string()).unwrap())).unwrap();
    assert_eq!(read, recorded);
    let person = asker.answerable().map(|person| person.id.to_string()).unwrap_or_default();
    read.restore(&asked(operation), &person, &catalogue(), &environment_of(around)).unwrap()
}

fn check(
    policies: &Policies,
    operation: &Operation,
    asker: Asker<'_>,
    around: &Surroundings,
    confirmed: &[(FactorKind, Timestamp)],
) {
    let then = Decided::of(&decide(policies, operation.clone(), asker, around, confirmed), asker);
    let situation = kept(operation, asker, around, confirmed);
    assert_eq!(situation.decide(policies), then, "{}", operation.endpoint.resource);
    // Not only what these policies look at: the whole context is as it was.
    let context = |operation, asker, around| explain(policies, operation, asker, around, confirmed).context;
    assert_eq!(
        context(&situation.operation, situation.asker.asker(), &situation.surroundings),
        context(operation, asker, around)
    );
}

proptest! {
    #![proptest_config(sets(16))]

    #[test]
    fn what_is_kept_is_decided_the_same_again(
        policies in policies(),
        who in who(),
        around in around(),
        confirmed in confirmed(),
    ) {
        let confirmed: Vec<_> = confirmed.into_iter().map(|kind| (kind, around.now)).collect();
        for operation in operations() {
            check(&policies, &operation, asker(&who), &around, &confirmed);
        }
    }

    #[test]
    fn what_is_kept_of_a_token_is_decided_the_same_again(
        policies in policies(),
        view in token_askers(),
        around in around(),
    ) {
        let policies = policies.with_providers(&[corp()]);
        for operation in operations() {
            check(&policies, &operation, Asker::Token(&view), &around, &[]);
        }
    }
}

#[test]
fn what_other_systems_told_of_somebody_is_kept_as_it_counted_then() {
    let around = surroundings();
    let risk = |kind, s| Risk { kind, until: around.now.plus(std::time::Duration::from_secs(s)) };
    let risks = Arc::new([
        risk(RiskKind::Level(RiskLevel::High), 60),
        risk(RiskKind::Signal(crate::flows::DEVICE_NOT_COMPLIANT.to_owned()), 60),
        risk(RiskKind::Signal("over".to_owned()), 0),
    ]);
    let view = SessionView {
        risks,
        address: "203.0.113.9".parse().unwrap(),
        country: "CH".to_owned(),
        ..session(&person("ada", &["finance"]), "password 1h", "password totp")
    };
    let policies = crate::policy::fixture::load(crate::policy::fixture::SAMPLE);
    check(&policies, &operation("ledger reports.export"), Asker::SignedIn(&view), &around, &[]);
}

#[test]
fn what_is_not_kept_or_cannot_be_read_is_said_and_never_guessed() {
    let around = surroundings();
    let approve = operation("ledger payments.approve amount=12000 id=7");
    let recorded = Recorded::of(&approve, Asker::Anonymous, &around, &[]).to_json();
    let read = |change: &dyn Fn(&mut Value)| {
        let mut body = recorded.clone();
        change(&mut body);
        Recorded::from_details(Some(&json!({ RECORDED: body })))
            .and_then(|read| read.restore(&asked(&approve), "", &catalogue(), &environment()))
            .map(|_| ())
    };
    assert_eq!(read(&|_| {}), Ok(()));
    assert_eq!(Recorded::from_details(None), Err(CannotDecide::NotKept));
    assert_eq!(Recorded::from_details(Some(&json!({}))), Err(CannotDecide::NotKept));
    assert_eq!(read(&|body| body["form"] = json!(2)), Err(CannotDecide::Form));
    assert_eq!(read(&|body| body["more"] = json!(1)), Err(CannotDecide::Form));
    assert_eq!(read(&|body| body["around"]["address"] = json!("here")), Err(CannotDecide::Form));
    assert_eq!(read(&|body| body["confirmed"] = json!([["thumb", 1]])), Err(CannotDecide::Form));
    let other = Err(CannotDecide::OtherInputs("ledger POST /payments/{id}/approve".to_owned()));
    assert_eq!(read(&|body| body["inputs"]["amount"] = json!({ "text": "12000" })), other);
    assert_eq!(read(&|body| body["inputs"]["more"] = json!({ "bool": true })), other);
    assert_eq!(read(&|body| drop(body["inputs"].as_object_mut().unwrap().remove("id"))), other);
    let gone = stepgate_evidence::Asked { resource: "ledger GET /gone".to_owned(), ..asked(&approve) };
    let read = Recorded::from_details(Some(&json!({ RECORDED: recorded }))).unwrap();
    let restored = read.restore(&gone, "", &catalogue(), &environment()).map(|_| ());
    assert_eq!(restored, Err(CannotDecide::NoSuchOperation("ledger GET /gone".to_owned())));
}

#[test]
fn what_is_kept_is_small_and_names_no_more_than_it_must() {
    let view = session(&person("ada", &["finance", "auditors"]), "password 1h, totp 5m", "password totp passkey");
    let approve = operation("ledger payments.approve amount=12000 id=7");
    let text = Recorded::of(&approve, Asker::SignedIn(&view), &surroundings(), &[]).to_json().to_string();
    assert!(text.len() < 600, "{}: {text}", text.len());
    assert!(!text.contains("\"agent\"") && !text.contains("browser"), "{text}");
}
