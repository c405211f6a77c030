//! What the auditor's verifier reads from strangers: entries, keys, assertions.
//!
//! Reading never panics, an entry has one spelling, and no assertion verifies
//! that was not signed.
//!
//! The first byte says what the rest is read as.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stepgate_evidence::{Assertion, AssertionError, Credential, Entry, PublicKey, RelyingParty, verify_assertion};

/// The COSE key of a P-256 pair whose private half was thrown away: the point of
/// RFC 6979, appendix A.2.5, whose private key is public but is not used here.
const KEY: [u8; 77] = {
    let mut key = [0_u8; 77];
    let head = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
    let x = [
        0x60, 0xfe, 0xd4, 0xba, 0x25, 0x5a, 0x9d, 0x31, 0xc9, 0x61, 0xeb, 0x74, 0xc6, 0x35, 0x6d, 0x68, 0xc0, 0x49,
        0xb8, 0x92, 0x3b, 0x61, 0xfa, 0x6c, 0xe6, 0x69, 0x62, 0x2e, 0x60, 0xf2, 0x9f, 0xb6,
    ];
    let y = [
        0x79, 0x03, 0xfe, 0x10, 0x08, 0xb8, 0xbc, 0x99, 0xa4, 0x1a, 0xe9, 0xe9, 0x56, 0x28, 0xbc, 0x64, 0xf2, 0xf1,
        0xb2, 0x0c, 0x2d, 0x7e, 0x9f, 0x51, 0x77, 0xa3, 0xc2, 0x94, 0xd4, 0x46, 0x22, 0x99,
    ];
    let mut at = 0;
    while at < 10 {
        key[at] = head[at];
        at += 1;
    }
    while at < 42 {
        key[at] = x[at - 10];
        at += 1;
    }
    key[42] = 0x22;
    key[43] = 0x58;
    key[44] = 0x20;
    at = 45;
    while at < 77 {
        key[at] = y[at - 45];
        at += 1;
    }
    key
};

const CHALLENGE: &[u8] = b"what is confirmed";

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 3 {
        0 => entry(rest),
        1 => key(rest),
        _ => assertion(rest),
    }
});

fn entry(bytes: &[u8]) {
    if let Ok((entry, commitment)) = Entry::from_leaf(bytes) {
        let written = entry.to_leaf().expect("what was read can be written");
        // The details are not in the leaf: without a commitment to them it is the same again.
        if commitment.is_none() {
            assert_eq!(written, bytes);
        }
    }
}

fn key(bytes: &[u8]) {
    if let Ok(key) = PublicKey::from_cose(bytes) {
        assert_eq!(key.to_cose(), bytes);
        let _ = key.has_signed(b"message", bytes);
    }
}

fn assertion(bytes: &[u8]) {
    let Ok(assertion) = serde_json::from_slice::<Assertion>(bytes) else {
        return;
    };
    let relying_party = RelyingParty { id: "localhost".into(), origins: vec!["http://localhost".into()] };
    let credential = Credential {
        id: assertion.credential_id.clone(),
        public_key: PublicKey::from_cose(&KEY).expect("the key above is one"),
        owner: assertion.user_handle.clone().unwrap_or_default(),
        counter: 0,
        backup_eligible: false,
    };
    let verified: Result<_, AssertionError> = verify_assertion(&relying_party, CHALLENGE, &credential, &assertion);
    assert!(verified.is_err(), "verified without the private key");
    let written = serde_json::to_vec(&assertion).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<Assertion>(&written).unwrap(), assertion);
}
