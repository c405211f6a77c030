//! All cases of Web Authentication Level 3, section "Test Vectors", regenerated from its recipe.
//!
//! Challenges, private keys, client data and authenticator data come from the recipe. The published
//! signatures are right over exactly these bytes and no others, so a case whose signature verifies
//! was regenerated to the last bit.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use ciborium::{Value, cbor};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use stepgate_evidence::cose::{Algorithm, KeyError};
use stepgate_evidence::{Assertion, AssertionError, Credential, PublicKey, RelyingParty, Verified, verify_assertion};
use support::{P256, P384, P521, Recipe, SoftKey, USER_VERIFIED, base64url, cose, signed_bytes};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    None,
    CrossOrigin,
    CrossAndTopOrigin,
}

/// How a case draws from the recipe.
struct Shape {
    case: &'static str,
    credential_id: usize,
    challenge: usize,
    frame: Frame,
    /// Whether backup flags are drawn at registration; U2F has none.
    draws_backup_flags: bool,
    /// How many values the attestation draws.
    attestation_draws: u8,
}

const fn shape(case: &'static str, attestation_draws: u8) -> Shape {
    Shape { case, credential_id: 32, challenge: 32, frame: Frame::None, draws_backup_flags: true, attestation_draws }
}

const SHAPES: [Shape; 15] = [
    shape("none.ES256", 0),
    shape("packed-self.ES256", 0),
    Shape { frame: Frame::CrossOrigin, ..shape("none.ES256.crossOrigin", 0) },
    Shape { frame: Frame::CrossAndTopOrigin, ..shape("none.ES256.topOrigin", 0) },
    Shape { credential_id: 1023, ..shape("none.ES256.long-credential-id", 0) },
    shape("packed.ES256", 2),
    shape("packed.ES384", 2),
    Shape { challenge: 128, ..shape("packed.ES512", 2) },
    shape("packed.RS256", 2),
    shape("packed.EdDSA", 2),
    shape("packed.Ed448", 2),
    shape("tpm.ES256", 2),
    shape("android-key.ES256", 1),
    shape("apple.ES256", 1),
    Shape { draws_backup_flags: false, ..shape("fido-u2f.ES256", 2) },
];

#[derive(Deserialize)]
struct Published {
    case: String,
    signature: String,
    #[serde(default)]
    x: String,
}

fn published() -> BTreeMap<String, Published> {
    let all: Vec<Published> = serde_json::from_str(include_str!("data/webauthn-level-3.json")).unwrap();
    all.into_iter().map(|published| (published.case.clone(), published)).collect()
}

struct Case {
    cose: Vec<u8>,
    /// Where the key can be held in software here.
    key: Option<SoftKey>,
    backup_eligible: bool,
    challenge: Vec<u8>,
    assertion: Assertion,
}

fn regenerate(shape: &Shape) -> Case {
    let published = published().remove(shape.case).unwrap();
    let mut recipe = Recipe::new(shape.case);
    recipe.next(shape.challenge);
    let (cose, key) = credential_key(shape.case, &mut recipe, &published);
    client_data_extra(&mut recipe);
    recipe.next(16); // aaguid
    let credential_id = recipe.next(shape.credential_id);
    let backup_eligible = shape.draws_backup_flags && recipe.next(1)[0] & 0x08 != 0;
    recipe.skip(shape.attestation_draws);

    let challenge = recipe.next(shape.challenge);
    let client_data_json = client_data(&challenge, shape.frame, client_data_extra(&mut recipe));
    let mut flags = recipe.next(1)[0] & 0x14;
    if backup_eligible {
        flags |= 0x08;
    } else {
        flags &= !0x10;
    }
    let authenticator_data = [Sha256::digest("example.org").as_slice(), &[flags | 0x01], &[0; 4]].concat();
    Case {
        cose,
        key,
        backup_eligible,
        challenge,
        assertion: Assertion {
            credential_id,
            authenticator_data,
            client_data_json,
            signature: hex::decode(published.signature).unwrap(),
            user_handle: None,
        },
    }
}

fn credential_key(case: &str, recipe: &mut Recipe, published: &Published) -> (Vec<u8>, Option<SoftKey>) {
    let key = match case.rsplit_once('.').unwrap().1 {
        "ES384" => SoftKey::ec(&P384, &recipe.next(48)),
        // The recipe draws 65 bytes, one less than a private key on P-521 has.
        "ES512" => SoftKey::ec(&P521, &[vec![0], recipe.next(65)].concat()),
        "EdDSA" => SoftKey::ed25519(&recipe.next(32)),
        "RS256" => return (mersenne_rsa(), None),
        "Ed448" => {
            recipe.skip(1);
            let x = Value::Bytes(hex::decode(&published.x).unwrap());
            return (cose(&cbor!({1 => 1, 3 => -53, -1 => 7, -2 => x})), None);
        }
        _ => SoftKey::ec(&P256, &recipe.next(32)),
    };
    (key.cose(), Some(key))
}

/// The modulus (2^1279 - 1)(2^2203 - 1) = 2^3482 - 2^2203 - 2^1279 + 1: bits 0, 1279 to 2202 and
/// 2204 to 3481.
fn mersenne_rsa() -> Vec<u8> {
    let mut n = vec![0_u8; 3482_usize.div_ceil(8)];
    let last = n.len() - 1;
    for bit in [0].into_iter().chain(1279..=2202).chain(2204..=3481) {
        n[last - bit / 8] |= 1 << (bit % 8);
    }
    cose(&cbor!({1 => 3, 3 => -257, -1 => Value::Bytes(n), -2 => Value::Bytes(vec![1, 0, 1])}))
}

fn client_data_extra(recipe: &mut Recipe) -> Option<Vec<u8>> {
    (recipe.next(1)[0] & 0x01 != 0).then(|| recipe.next(16))
}

fn client_data(challenge: &[u8], frame: Frame, extra: Option<Vec<u8>>) -> Vec<u8> {
    let mut json = format!(
        r#"{{"type":"webauthn.get","challenge":"{}","origin":"https://example.org","crossOrigin":{}"#,
        base64url(challenge),
        frame != Frame::None
    );
    if frame == Frame::CrossAndTopOrigin {
        json.push_str(r#","topOrigin":"https://example.com""#);
    }
    if let Some(extra) = extra {
        json.push_str(&format!(
            r#","extraData":"clientDataJSON may be extended with additional fields in the future, such as this: {}""#,
            base64url(&extra)
        ));
    }
    json.push('}');
    json.into_bytes()
}

fn example_org() -> RelyingParty {
    RelyingParty { id: "example.org".into(), origins: vec!["https://example.org".into()] }
}

fn credential(case: &Case) -> Credential {
    Credential {
        id: case.assertion.credential_id.clone(),
        public_key: PublicKey::from_cose(&case.cose).unwrap(),
        owner: b"owner".to_vec(),
        counter: 0,
        backup_eligible: case.backup_eligible,
    }
}

fn check(case: &Case) -> Result<Verified, AssertionError> {
    verify_assertion(&example_org(), &case.challenge, &credential(case), &case.assertion)
}

/// What this gate makes of each case: user verification is demanded, frames of other origins are
/// not answered, and two algorithms are not supported.
fn expected(case: &str) -> Result<Verified, AssertionError> {
    match case {
        "none.ES256.long-credential-id" | "packed.ES256" | "packed.ES384" | "tpm.ES256" => {
            Ok(Verified { counter: 0, backed_up: false })
        }
        "none.ES256.crossOrigin" | "none.ES256.topOrigin" => Err(AssertionError::CrossOrigin),
        _ => Err(AssertionError::UserNotVerified),
    }
}

#[test]
fn every_case_of_a_supported_algorithm_is_signed_as_published() {
    for shape in SHAPES.iter().filter(|shape| unsupported(shape.case).is_none()) {
        let case = regenerate(shape);
        let signed = signed_bytes(&case.assertion.authenticator_data, &case.assertion.client_data_json);
        let key = PublicKey::from_cose(&case.cose).unwrap();
        assert!(key.has_signed(&signed, &case.assertion.signature), "{}", shape.case);
        assert!(!key.has_signed(&signed[1..], &case.assertion.signature), "{}", shape.case);
    }
}

#[test]
fn every_case_is_accepted_or_refused_for_its_reason() {
    for shape in &SHAPES {
        let case = regenerate(shape);
        match unsupported(shape.case) {
            Some(number) => assert_eq!(
                PublicKey::from_cose(&case.cose),
                Err(KeyError::UnsupportedAlgorithm(number)),
                "{}",
                shape.case
            ),
            None => assert_eq!(check(&case), expected(shape.case), "{}", shape.case),
        }
    }
}

fn unsupported(case: &str) -> Option<i128> {
    match case {
        "packed.ES512" => Some(-36),
        "packed.Ed448" => Some(-53),
        _ => None,
    }
}

/// The cases without user verification are refused for that alone: signed again with the flag set,
/// by the same key, each is accepted.
#[test]
fn with_the_user_verified_each_case_would_be_accepted() {
    let mut signed_again = 0;
    for shape in SHAPES.iter().filter(|shape| expected(shape.case) == Err(AssertionError::UserNotVerified)) {
        let mut case = regenerate(shape);
        let Some(key) = case.key.take().filter(|_| unsupported(shape.case).is_none()) else { continue };
        case.assertion.authenticator_data[32] |= USER_VERIFIED;
        assert_eq!(check(&case), Err(AssertionError::WrongSignature), "{}", shape.case);
        let signed = signed_bytes(&case.assertion.authenticator_data, &case.assertion.client_data_json);
        case.assertion.signature = key.sign(&signed);
        let backed_up = case.assertion.authenticator_data[32] & 0x10 != 0;
        assert_eq!(check(&case), Ok(Verified { counter: 0, backed_up }), "{}", shape.case);
        signed_again += 1;
    }
    assert_eq!(signed_again, 6);
}

#[test]
fn ed25519_signatures_come_out_as_published() {
    let case = regenerate(&SHAPES[9]);
    let signed = signed_bytes(&case.assertion.authenticator_data, &case.assertion.client_data_json);
    assert_eq!(case.key.unwrap().sign(&signed), case.assertion.signature);
}

#[test]
fn algorithms_are_those_of_the_registry() {
    for (case, algorithm) in
        [(0, Algorithm::Es256), (6, Algorithm::Es384), (8, Algorithm::Rs256), (9, Algorithm::EdDsa)]
    {
        let case = regenerate(&SHAPES[case]);
        let key = PublicKey::from_cose(&case.cose).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert_eq!(key.to_cose(), case.cose);
    }
}
