//! The software authenticator is believed when it is honest, and each of its lies is found.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use stepgate_evidence::{Assertion, Credential, PublicKey, RelyingParty, verify_assertion};
use stepgate_testkit::{Ceremony, Flags, SoftwareAuthenticator};

const ORIGIN: &str = "http://localhost:4180";
const CHALLENGE: &[u8] = b"the digest of what is confirmed!";
const OWNER: &[u8] = b"ada";

/// What the gate reads out of `AuthenticationResponseJSON`.
fn read(credential: &Value) -> Assertion {
    let bytes = |text: &Value| URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
    let response = &credential["response"];
    Assertion {
        credential_id: bytes(&credential["rawId"]),
        authenticator_data: bytes(&response["authenticatorData"]),
        client_data_json: bytes(&response["clientDataJSON"]),
        signature: bytes(&response["signature"]),
        user_handle: Some(bytes(&response["userHandle"])),
    }
}

/// Lets an authenticator with one key sign after `lie` has changed what it will say,
/// and tells what the gate makes of it.
#[track_caller]
fn check(lie: impl FnOnce(&mut SoftwareAuthenticator, &mut Ceremony), expected: &str) {
    let mut authenticator = SoftwareAuthenticator::new();
    authenticator.create(&Ceremony::creation("localhost", ORIGIN, b"enrolment"), OWNER);
    let key = &authenticator.keys[0];
    let credential = Credential {
        id: key.id.clone(),
        public_key: PublicKey::from_cose(&key.cose()).unwrap(),
        owner: OWNER.to_vec(),
        counter: key.counter,
        backup_eligible: false,
    };
    let mut ceremony = Ceremony::request("localhost", ORIGIN, CHALLENGE);
    lie(&mut authenticator, &mut ceremony);
    let id = authenticator.keys.last().unwrap().id.clone();
    let assertion = read(&authenticator.sign(&ceremony, &id));
    let relying_party = RelyingParty { id: "localhost".into(), origins: vec![ORIGIN.into()] };
    let verified = match verify_assertion(&relying_party, CHALLENGE, &credential, &assertion) {
        Ok(verified) => format!("counter {}", verified.counter),
        Err(error) => error.to_string(),
    };
    assert_eq!(verified, expected);
}

fn say(ceremony: &mut Ceremony, member: &str, value: Value) {
    *ceremony = ceremony.clone().saying(member, value);
}

#[test]
fn lies_are_found() {
    check(|_, _| {}, "counter 2");
    check(|liar, _| liar.flags = liar.flags.without(Flags::USER_PRESENT), "nobody was present");
    check(|liar, _| liar.flags = liar.flags.without(Flags::USER_VERIFIED), "the user was not verified");
    check(|liar, _| liar.flags = liar.flags | Flags::BACKED_UP, "the backup flags contradict each other");
    check(|liar, _| liar.flags = liar.flags | Flags::BACKUP_ELIGIBLE, "the credential's backup eligibility changed");
    check(|liar, _| liar.counter_step = 0, "the signature counter is 1 after 1");
    check(|liar, _| liar.keys[0].user_handle = b"eve".to_vec(), "the credential belongs to somebody else");
    check(
        |liar, _| {
            liar.create(&Ceremony::creation("localhost", ORIGIN, b"another"), OWNER);
        },
        "the assertion is by another credential",
    );
    check(|_, page| page.relying_party = "evil.example".into(), "the answer is for another relying party");
    check(|_, page| say(page, "type", json!("webauthn.create")), "the ceremony is not an assertion");
    check(|_, page| say(page, "challenge", json!("AAAA")), "the answer is to another challenge");
    check(|_, page| say(page, "crossOrigin", json!(true)), "the answer was given in a frame of another origin");
    check(
        |_, page| say(page, "origin", json!("http://evil.localhost:4180")),
        "the answer was given at another origin, \"http://evil.localhost:4180\"",
    );
    check(
        |_, page| say(page, "topOrigin", json!("https://evil.example")),
        "the answer was given in a frame of another origin",
    );
}
