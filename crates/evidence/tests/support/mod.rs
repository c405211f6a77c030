//! Software authenticators: those of the published test vectors, and our own.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "shared by several tests, which fail by panicking"
)]

pub mod provider;

use aws_lc_rs::hkdf;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use ciborium::{Value, cbor};
use sha2::{Digest as _, Sha256};
use stepgate_evidence::{Assertion, Credential, PublicKey, RelyingParty};

pub fn base64url(bytes: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

pub fn from_base64url(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The randomness of the published vectors: HKDF-SHA-256 with a counter as the salt.
pub struct Recipe {
    case: String,
    counter: u8,
}

impl Recipe {
    pub fn new(case: &str) -> Self {
        Self { case: case.to_owned(), counter: 0 }
    }

    pub fn next(&mut self, length: usize) -> Vec<u8> {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[self.counter]);
        self.counter += 1;
        let mut bytes = vec![0; length];
        salt.extract(b"WebAuthn test vectors")
            .expand(&[self.case.as_bytes()], Length(length))
            .unwrap()
            .fill(&mut bytes)
            .unwrap();
        bytes
    }

    pub fn skip(&mut self, count: u8) {
        self.counter += count;
    }
}

/// A private key in memory.
pub enum SoftKey {
    Ec(EcdsaKeyPair, &'static EcCurve),
    Ed25519(Ed25519KeyPair),
}

pub struct EcCurve {
    algorithm: &'static EcdsaSigningAlgorithm,
    oid: &'static [u8],
    cose_algorithm: i32,
    cose_curve: i32,
}

pub static P256: EcCurve = EcCurve {
    algorithm: &ECDSA_P256_SHA256_ASN1_SIGNING,
    oid: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
    cose_algorithm: -7,
    cose_curve: 1,
};
pub static P384: EcCurve = EcCurve {
    algorithm: &ECDSA_P384_SHA384_ASN1_SIGNING,
    oid: &[0x2b, 0x81, 0x04, 0x00, 0x22],
    cose_algorithm: -35,
    cose_curve: 2,
};
pub static P521: EcCurve = EcCurve {
    algorithm: &ECDSA_P521_SHA512_ASN1_SIGNING,
    oid: &[0x2b, 0x81, 0x04, 0x00, 0x23],
    cose_algorithm: -36,
    cose_curve: 3,
};

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128);
    [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
}

impl SoftKey {
    pub fn ec(curve: &'static EcCurve, private: &[u8]) -> Self {
        // ECPrivateKey (RFC 5915, section 3), from which the public key follows.
        let key = der(0x30, &[der(0x02, &[1]), der(0x04, private), der(0xa0, &der(0x06, curve.oid))].concat());
        Self::Ec(EcdsaKeyPair::from_private_key_der(curve.algorithm, &key).unwrap(), curve)
    }

    pub fn ed25519(seed: &[u8]) -> Self {
        Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(seed).unwrap())
    }

    pub fn cose(&self) -> Vec<u8> {
        match self {
            Self::Ec(key, curve) => {
                let coordinates = &key.public_key().as_ref()[1..];
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                cose(&cbor!({
                    1 => 2, 3 => curve.cose_algorithm, -1 => curve.cose_curve,
                    -2 => Value::Bytes(x.to_vec()), -3 => Value::Bytes(y.to_vec()),
                }))
            }
            Self::Ed25519(key) => cose(&cbor!({
                1 => 1, 3 => -8, -1 => 6, -2 => Value::Bytes(key.public_key().as_ref().to_vec()),
            })),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ec(key, _) => key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

pub fn cose(map: &Result<Value, ciborium::value::Error>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(map.as_ref().unwrap(), &mut bytes).unwrap();
    bytes
}

pub fn signed_bytes(authenticator_data: &[u8], client_data_json: &[u8]) -> Vec<u8> {
    [authenticator_data, &Sha256::digest(client_data_json)].concat()
}

pub const CHALLENGE: [u8; 32] = [0xc4; 32];
pub const USER_PRESENT: u8 = 0x01;
pub const USER_VERIFIED: u8 = 0x04;
pub const BACKUP_ELIGIBLE: u8 = 0x08;
pub const BACKED_UP: u8 = 0x10;

pub fn relying_party() -> RelyingParty {
    RelyingParty { id: "gate.example.com".into(), origins: vec!["https://gate.example.com".into()] }
}

/// An authenticator with one credential, which says what it is told to say.
pub struct SoftAuthenticator {
    pub key: SoftKey,
    pub credential_id: Vec<u8>,
    pub owner: Vec<u8>,
}

/// What an authenticator and a browser say; the default is what they should.
#[derive(Clone)]
pub struct Says {
    pub rp_id: String,
    pub flags: u8,
    pub counter: u32,
    pub extensions: Vec<u8>,
    pub client_data: serde_json::Value,
}

impl Says {
    pub fn right(challenge: &[u8]) -> Self {
        Self {
            rp_id: "gate.example.com".into(),
            flags: USER_PRESENT | USER_VERIFIED,
            counter: 0,
            extensions: Vec::new(),
            client_data: serde_json::json!({
                "type": "webauthn.get",
                "challenge": base64url(challenge),
                "origin": "https://gate.example.com",
                "crossOrigin": false,
            }),
        }
    }
}

impl SoftAuthenticator {
    pub fn new(number: u8) -> Self {
        Self { key: SoftKey::ec(&P256, &[number; 32]), credential_id: vec![number; 16], owner: vec![number, number] }
    }

    pub fn credential(&self) -> Credential {
        Credential {
            id: self.credential_id.clone(),
            public_key: PublicKey::from_cose(&self.key.cose()).unwrap(),
            owner: self.owner.clone(),
            counter: 0,
            backup_eligible: false,
        }
    }

    pub fn assert(&self, says: &Says) -> Assertion {
        self.assert_bytes(says, says.client_data.to_string().into_bytes())
    }

    pub fn assert_bytes(&self, says: &Says, client_data_json: Vec<u8>) -> Assertion {
        let authenticator_data =
            [Sha256::digest(&says.rp_id).as_slice(), &[says.flags], &says.counter.to_be_bytes(), &says.extensions]
                .concat();
        Assertion {
            credential_id: self.credential_id.clone(),
            signature: self.key.sign(&signed_bytes(&authenticator_data, &client_data_json)),
            authenticator_data,
            client_data_json,
            user_handle: Some(self.owner.clone()),
        }
    }
}
