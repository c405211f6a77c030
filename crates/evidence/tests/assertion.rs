//! Assertions that must prove nothing, each wrong in one thing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use ciborium::{Value, cbor};
use proptest::prelude::*;
use serde_json::json;
use stepgate_evidence::assertion::{BadAuthenticatorData, BadClientData};
use stepgate_evidence::cose::KeyError;
use stepgate_evidence::{Assertion, AssertionError, PublicKey, Verified, verify_assertion};
use support::{
    BACKED_UP, BACKUP_ELIGIBLE, CHALLENGE, P256, Says, SoftAuthenticator, SoftKey, USER_PRESENT, USER_VERIFIED,
    base64url, cose, relying_party,
};

type Checked = Result<Verified, AssertionError>;

fn alice() -> SoftAuthenticator {
    SoftAuthenticator::new(1)
}

fn mallory() -> SoftAuthenticator {
    SoftAuthenticator::new(2)
}

fn check(assertion: &Assertion) -> Checked {
    verify_assertion(&relying_party(), &CHALLENGE, &alice().credential(), assertion)
}

/// What alice's authenticator says with one thing changed.
fn check_says(change: impl FnOnce(&mut Says)) -> Checked {
    let mut says = Says::right(&CHALLENGE);
    change(&mut says);
    check(&alice().assert(&says))
}

fn check_client_data(json: &str) -> Checked {
    check(&alice().assert_bytes(&Says::right(&CHALLENGE), json.as_bytes().to_vec()))
}

#[test]
fn what_is_right_is_accepted() {
    assert_eq!(check_says(|_| {}), Ok(Verified { counter: 0, backed_up: false }));
    let without_handle = Assertion { user_handle: None, ..alice().assert(&Says::right(&CHALLENGE)) };
    assert!(check(&without_handle).is_ok());
    // Browsers may leave the member out, and add others.
    assert!(check_says(|says| drop(says.client_data.as_object_mut().unwrap().remove("crossOrigin"))).is_ok());
    assert!(check_says(|says| says.client_data["new"] = json!({"a": [1, "b"]})).is_ok());
}

/// Mallory's key must not answer what alice was asked, however its answer is dressed up.
#[test]
fn b68_a_credential_of_somebody_else_does_not_answer() {
    let by_mallory = mallory().assert(&Says::right(&CHALLENGE));
    assert_eq!(check(&by_mallory), Err(AssertionError::OtherCredential));
    let renamed = Assertion { credential_id: alice().credential_id, ..by_mallory.clone() };
    assert_eq!(check(&renamed), Err(AssertionError::OtherOwner));
    let disowned = Assertion { user_handle: None, ..renamed };
    assert_eq!(check(&disowned), Err(AssertionError::WrongSignature));
    let of_mallory = Assertion { user_handle: Some(mallory().owner), ..alice().assert(&Says::right(&CHALLENGE)) };
    assert_eq!(check(&of_mallory), Err(AssertionError::OtherOwner));
    let of_nobody = Assertion { user_handle: Some(Vec::new()), ..of_mallory };
    assert_eq!(check(&of_nobody), Err(AssertionError::OtherOwner));
}

/// The challenge that counts is the signed one. An old answer with the new challenge beside or over
/// it is refused.
#[test]
fn b69_an_old_answer_does_not_answer_a_new_challenge() {
    let old = alice().assert(&Says::right(&[7; 32]));
    assert_eq!(check(&old), Err(AssertionError::OtherChallenge));
    let right = Says::right(&CHALLENGE).client_data.to_string().into_bytes();
    let swapped = Assertion { client_data_json: right, ..old };
    assert_eq!(check(&swapped), Err(AssertionError::WrongSignature));

    let (old, new) = (base64url(&[7; 32]), base64url(&CHALLENGE));
    for both in [
        format!(
            r#"{{"type":"webauthn.get","challenge":"{old}","challenge":"{new}","origin":"https://gate.example.com"}}"#
        ),
        format!(
            r#"{{"type":"webauthn.get","challenge":"{new}","challenge":"{old}","origin":"https://gate.example.com"}}"#
        ),
    ] {
        assert_eq!(check_client_data(&both), Err(AssertionError::ClientData(BadClientData::NotJson)));
    }
    for close in [format!("{new}="), format!("{new}A"), new[..42].to_owned(), String::new()] {
        let said = check_says(|says| says.client_data["challenge"] = json!(close));
        assert_eq!(said, Err(AssertionError::OtherChallenge), "{close}");
    }
}

#[test]
fn b69_an_answer_for_another_relying_party_or_with_an_old_counter_is_refused() {
    assert_eq!(check_says(|says| says.rp_id = "example.com".into()), Err(AssertionError::OtherRelyingParty));
    for (stored, found, rises) in
        [(0, 0, true), (0, 1, true), (5, 6, true), (5, 5, false), (5, 4, false), (5, 0, false)]
    {
        let says = Says { counter: found, ..Says::right(&CHALLENGE) };
        let mut credential = alice().credential();
        credential.counter = stored;
        let verified = verify_assertion(&relying_party(), &CHALLENGE, &credential, &alice().assert(&says));
        let expected = if rises {
            Ok(Verified { counter: found, backed_up: false })
        } else {
            Err(AssertionError::CounterDidNotRise { stored, found })
        };
        assert_eq!(verified, expected);
    }
}

/// What the browser was asked for is checked on what the authenticator signed; what is left out does
/// not count as said.
#[test]
fn b70_user_verification_is_checked_and_no_absent_member_skips_a_check() {
    assert_eq!(check_says(|says| says.flags = USER_PRESENT), Err(AssertionError::UserNotVerified));
    assert_eq!(check_says(|says| says.flags = USER_VERIFIED), Err(AssertionError::UserNotPresent));
    assert_eq!(check_says(|says| says.flags = 0), Err(AssertionError::UserNotPresent));
    for name in ["type", "challenge", "origin"] {
        for value in [None, Some(json!(null)), Some(json!(1)), Some(json!(["https://gate.example.com"]))] {
            let said = check_says(|says| {
                let members = says.client_data.as_object_mut().unwrap();
                members.remove(name);
                members.extend(value.clone().map(|value| (name.to_owned(), value)));
            });
            assert_eq!(said, Err(AssertionError::ClientData(BadClientData::Member(name))), "{name} {value:?}");
        }
    }
}

#[test]
fn another_ceremony_is_refused() {
    for ceremony in ["webauthn.create", "webauthn.get ", "payment.get", ""] {
        let said = check_says(|says| says.client_data["type"] = json!(ceremony));
        assert_eq!(said, Err(AssertionError::NotAnAssertion), "{ceremony}");
    }
}

#[test]
fn another_origin_is_refused() {
    for origin in [
        "http://gate.example.com",
        "https://gate.example.com:8443",
        "https://gate.example.com/",
        "https://GATE.example.com",
        "https://gate.example.com.evil.example",
        "https://evil.example",
        "null",
        "",
    ] {
        let said = check_says(|says| says.client_data["origin"] = json!(origin));
        assert_eq!(said, Err(AssertionError::OtherOrigin(origin.into())));
    }
}

#[test]
fn frames_of_other_origins_are_refused() {
    assert_eq!(check_says(|says| says.client_data["crossOrigin"] = json!(true)), Err(AssertionError::CrossOrigin));
    for top in [json!("https://evil.example"), json!("https://gate.example.com"), json!(null)] {
        let said = check_says(|says| says.client_data["topOrigin"] = top.clone());
        assert_eq!(said, Err(AssertionError::CrossOrigin), "{top}");
    }
    for value in [json!("false"), json!(0), json!(null)] {
        let said = check_says(|says| says.client_data["crossOrigin"] = value.clone());
        assert_eq!(said, Err(AssertionError::ClientData(BadClientData::Member("crossOrigin"))), "{value}");
    }
}

#[test]
fn client_data_that_is_not_one_json_object_is_refused() {
    let right = Says::right(&CHALLENGE).client_data.to_string();
    for json in
        ["", "null", "[]", "{", &format!("\u{feff}{right}"), &format!("{right}{right}"), &right.replace('"', "'")]
    {
        assert_eq!(check_client_data(json), Err(AssertionError::ClientData(BadClientData::NotJson)), "{json}");
    }
}

#[test]
fn backup_flags_must_be_consistent_and_the_same_as_at_enrolment() {
    let both = USER_PRESENT | USER_VERIFIED;
    assert_eq!(check_says(|says| says.flags = both | BACKED_UP), Err(AssertionError::BackupFlagsContradict));
    assert_eq!(check_says(|says| says.flags = both | BACKUP_ELIGIBLE), Err(AssertionError::BackupEligibilityChanged));
    let mut credential = alice().credential();
    credential.backup_eligible = true;
    let flagged = |flags| alice().assert(&Says { flags, ..Says::right(&CHALLENGE) });
    let check = |flags| verify_assertion(&relying_party(), &CHALLENGE, &credential, &flagged(flags));
    assert_eq!(check(both), Err(AssertionError::BackupEligibilityChanged));
    assert_eq!(check(both | BACKUP_ELIGIBLE), Ok(Verified { counter: 0, backed_up: false }));
    assert_eq!(check(both | BACKUP_ELIGIBLE | BACKED_UP), Ok(Verified { counter: 0, backed_up: true }));
}

#[test]
fn authenticator_data_is_accounted_for_to_the_last_byte() {
    let both = USER_PRESENT | USER_VERIFIED;
    let map = cose(&cbor!({"appid" => false}));
    assert!(
        check_says(|says| {
            says.flags = both | 0x80;
            says.extensions = map.clone();
        })
        .is_ok()
    );
    for (flags, extensions, why) in [
        (both, vec![0xa0], BadAuthenticatorData::LeftOver),
        (both | 0x80, vec![], BadAuthenticatorData::Extensions),
        (both | 0x80, vec![0x01], BadAuthenticatorData::Extensions),
        (both | 0x80, vec![0xa1, 0x01], BadAuthenticatorData::Extensions),
        (both | 0x80, vec![0xbb; 9], BadAuthenticatorData::Extensions),
        (both | 0x80, vec![0x81; 200], BadAuthenticatorData::Extensions),
        (both | 0x80, [&map[..], &[0]].concat(), BadAuthenticatorData::LeftOver),
        (both | 0x40, vec![], BadAuthenticatorData::AttestsCredential),
    ] {
        let said = check_says(|says| {
            says.flags = flags;
            says.extensions = extensions.clone();
        });
        assert_eq!(said, Err(AssertionError::AuthenticatorData(why)), "{extensions:x?}");
    }
    let mut short = alice().assert(&Says::right(&CHALLENGE));
    short.authenticator_data.truncate(36);
    assert_eq!(check(&short), Err(AssertionError::AuthenticatorData(BadAuthenticatorData::TooShort)));
}

#[test]
fn parts_beyond_their_limits_are_refused() {
    let right = alice().assert(&Says::right(&CHALLENGE));
    for (name, long) in [
        ("credential id", Assertion { credential_id: vec![1; 1024], ..right.clone() }),
        ("user handle", Assertion { user_handle: Some(vec![1; 65]), ..right.clone() }),
        ("client data", Assertion { client_data_json: vec![b' '; 8193], ..right.clone() }),
        ("authenticator data", Assertion { authenticator_data: vec![1; 2049], ..right.clone() }),
        ("signature", Assertion { signature: vec![1; 1025], ..right.clone() }),
    ] {
        assert_eq!(check(&long), Err(AssertionError::TooLong(name)));
    }
}

#[test]
fn an_assertion_reads_back_from_the_wire() {
    let assertion = alice().assert(&Says::right(&CHALLENGE));
    let json = serde_json::to_value(&assertion).unwrap();
    assert_eq!(json["credential_id"], base64url(&assertion.credential_id));
    assert_eq!(serde_json::from_value::<Assertion>(json.clone()).unwrap(), assertion);
    for (name, value) in
        [("signature", json!("a=")), ("signature", json!("+/")), ("more", json!("")), ("user_handle", json!(1))]
    {
        let mut json = json.clone();
        json[name] = value;
        assert!(serde_json::from_value::<Assertion>(json).is_err(), "{name}");
    }
}

#[test]
fn what_is_not_exactly_a_supported_key_is_refused() {
    let good = SoftKey::ec(&P256, &[1; 32]).cose();
    let read: Value = ciborium::from_reader(&good[..]).unwrap();
    let point = |label: i8| {
        let members = read.as_map().unwrap();
        members.iter().find(|(other, _)| *other == Value::from(label)).unwrap().1.clone()
    };
    let (x, y) = (point(-2), point(-3));
    let check = |map: Result<Value, _>, expected| {
        assert_eq!(PublicKey::from_cose(&cose(&map)), Err(expected));
    };
    let fits = KeyError::DoesNotFit(stepgate_evidence::cose::Algorithm::Es256);
    let no_key = KeyError::NotAKey(stepgate_evidence::cose::Algorithm::Es256);
    check(cbor!({1 => 2, 3 => (-36), -1 => 1, -2 => x, -3 => y}), KeyError::UnsupportedAlgorithm(-36));
    check(cbor!({1 => 2, -1 => 1, -2 => x, -3 => y}), KeyError::Malformed);
    check(cbor!({1 => 3, 3 => (-7), -1 => 1, -2 => x, -3 => y}), fits.clone());
    check(cbor!({1 => 2, 3 => (-7), -1 => 2, -2 => x, -3 => y}), fits.clone());
    check(cbor!({1 => 2, 3 => (-7), -1 => 1, -2 => x, -3 => true}), fits.clone());
    check(cbor!({1 => 2, 3 => (-7), -1 => 1, -2 => x}), fits.clone());
    check(cbor!({1 => 2, 3 => (-7), -1 => 1, -2 => x, -3 => y, 4 => 1}), fits.clone());
    check(
        cbor!({1 => 2, 3 => (-7), -1 => 1, -2 => Value::Bytes(vec![0; 32]), -3 => Value::Bytes(vec![0; 32])}),
        no_key.clone(),
    );
    check(cbor!({1 => 2, 3 => (-7), -1 => 1, -2 => y, -3 => x}), no_key);
    check(cbor!({1 => 2, 3 => (-7), -1 => 1, -2 => Value::Bytes(vec![0; 33]), -3 => y}), fits);
    check(cbor!({"kty" => 2}), KeyError::Malformed);
    check(cbor!([1, 2]), KeyError::Malformed);
    let twice = Value::Map(vec![(Value::from(1), Value::from(2)), (Value::from(1), Value::from(2))]);
    check(Ok(twice), KeyError::Malformed);
    let more = [&good[..], &[0]].concat();
    assert_eq!(PublicKey::from_cose(&more), Err(KeyError::Malformed));
    assert_eq!(PublicKey::from_cose(&vec![0; 2049]), Err(KeyError::TooLong));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_flipped_bit_is_refused(part in 0_usize..5, bit: prop::sample::Index) {
        let mut assertion = alice().assert(&Says::right(&CHALLENGE));
        let bytes = match part {
            0 => &mut assertion.credential_id,
            1 => &mut assertion.authenticator_data,
            2 => &mut assertion.client_data_json,
            3 => &mut assertion.signature,
            _ => assertion.user_handle.as_mut().unwrap(),
        };
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check(&assertion).is_err());
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes: Vec<u8>, flags: u8) {
        let _ = PublicKey::from_cose(&bytes);
        let says = Says { flags, extensions: bytes.clone(), ..Says::right(&CHALLENGE) };
        let _ = check(&alice().assert_bytes(&says, bytes));
    }
}
