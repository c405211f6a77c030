//! What a factor proves, refuses and hands back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{
    Aaguid, Answer, Binding, EnrolledFactor, EnrolmentAnswer, EnrolmentOffer, Factor, FactorSecret, FactorUse,
    NotEnrolled, NotProved, PasswordStands, Proved,
};
use stepgate_core::id::{FactorId, PersonId};
use stepgate_core::person::{Login, Person};
use stepgate_core::time::{Randomness, Timestamp};
use stepgate_testkit::SeededRandomness;

use super::*;

mod attested;
mod metadata;
mod passkeys;
mod typed;

pub(super) const GATE: &str = "gate.example";
pub(super) const ORIGIN: &str = "https://gate.example";
pub(super) const BINDING: Binding = Binding([7; 32]);
/// A moment in the middle of an authenticator's step.
pub(super) const NOW: Timestamp = Timestamp::from_ms(1_700_000_015_000);

pub(super) fn factors() -> FactorSet {
    FactorSet::new(GATE, ORIGIN, "Gate", FactorOptions::default()).unwrap()
}

pub(super) fn alice() -> Person {
    person(1, "alice")
}

pub(super) fn person(id: u8, login: &str) -> Person {
    Person {
        id: PersonId::from_bytes([id; 16]),
        login: Login::parse(login).unwrap(),
        name: String::new(),
        email: String::new(),
        groups: Vec::new(),
        active: true,
    }
}

pub(super) fn enrolled(secret: FactorSecret) -> EnrolledFactor {
    EnrolledFactor {
        id: FactorId::from_bytes([9; 16]),
        name: String::new(),
        enrolled_at: NOW,
        last_used_at: None,
        last_used_from: None,
        secret,
    }
}

pub(super) fn text(kind: FactorKind, typed: &str) -> Answer {
    Answer::Text { kind, text: SecretString::from(typed) }
}

#[test]
fn a_relying_party_must_fit_its_origin() {
    let check = |id: &str, origin: &str, fits: bool| {
        let made = FactorSet::new(id, origin, "Gate", FactorOptions::default());
        assert_eq!(made.is_ok(), fits, "{id} at {origin}");
    };
    check("gate.example", "https://gate.example", true);
    check("gate.example", "https://gate.example:8443", true);
    check("localhost", "http://localhost:4180", true);
    check("northwind.example", "https://gate.northwind.example", true);
    check("example", "https://gate.example", false);
    check("ate.example", "https://gate.example", false);
    check("other.example", "https://gate.example", false);
    check("", "https://gate.example", false);
    check("gate.example", "https://gate.example/", false);
    check("gate.example", "https://GATE.example", false);
    check("gate.example", "gate.example", false);
}

#[test]
fn each_kind_is_verified_by_its_own() {
    for (kind, factor) in factors().into_map() {
        assert_eq!(factor.kind(), kind);
    }
    assert_eq!(factors().into_map().len(), FactorKind::BUILT_IN.len());
}

#[tokio::test]
async fn an_answer_of_one_kind_proves_no_other() {
    let set = factors();
    for kind in FactorKind::BUILT_IN {
        for other in FactorKind::BUILT_IN.into_iter().filter(|other| *other != kind) {
            let answer = text(other, "123456");
            let outcome = set.of(kind).unwrap().verify(&[], &answer, BINDING, NOW).await;
            assert!(matches!(outcome, Err(NotProved::Malformed(_))), "{other} for {kind}: {outcome:?}");
        }
    }
}

#[test]
fn b72_what_was_begun_for_one_person_or_kind_is_worthless_for_another() {
    let set = factors();
    let random = SeededRandomness::new(1);
    let begun = set.of(FactorKind::RecoveryCode).unwrap().begin_enrolment(&alice(), &[], &random).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let kept = EnrolmentAnswer::Text(SecretString::from(""));
    let finish = |kind: FactorKind, person: &Person, state: &SecretString| {
        runtime
            .block_on(set.of(kind).unwrap().finish_enrolment(person, &[], state, &kept, NOW))
            .map(|done| done.secret.kind())
    };
    assert_eq!(finish(FactorKind::RecoveryCode, &alice(), &begun.state), Ok(FactorKind::RecoveryCode));
    assert!(matches!(
        finish(FactorKind::RecoveryCode, &person(2, "mallory"), &begun.state),
        Err(NotEnrolled::Refused(_))
    ));
    assert!(finish(FactorKind::Totp, &alice(), &begun.state).is_err());
    assert!(finish(FactorKind::Password, &alice(), &begun.state).is_err());
    let forged = SecretString::from(r#"{"kind":"recovery_code"}"#);
    assert!(matches!(finish(FactorKind::RecoveryCode, &alice(), &forged), Err(NotEnrolled::Fault(_))));
}
