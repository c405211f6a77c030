//! An identity provider's keys, and ID tokens that are signed with them.

use aws_lc_rs::encoding::{AsBigEndian as _, EcPublicKeyUncompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair, RsaSignatureEncoding,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stepgate_evidence::LoginProof;

use super::base64url;

pub const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];

/// A private key with its algorithm.
pub struct ProviderSigner {
    pub algorithm: &'static str,
    key: Private,
}

enum Private {
    Rsa(Box<RsaKeyPair>, &'static RsaSignatureEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl ProviderSigner {
    pub fn new(algorithm: &'static str) -> Self {
        let rsa = |encoding| Private::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()), encoding);
        let key = match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "ES256" => Private::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            "ES384" => Private::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            _ => Private::Ed(Ed25519KeyPair::generate().unwrap()),
        };
        Self { algorithm, key }
    }

    /// The public key as the gate keeps it.
    pub fn jwk(&self) -> Value {
        match &self.key {
            Private::Rsa(pair, _) => {
                // RSAPublicKey (RFC 8017, appendix A.1.1) of 2048 bits: n after nine bytes, and after two more e.
                let der = pair.public_key().as_ref();
                json!({
                    "kty": "RSA", "alg": self.algorithm, "use": "sig", "kid": "one",
                    "n": base64url(&der[9..265]), "e": base64url(&der[267..]),
                })
            }
            Private::Ec(pair) => {
                let point: EcPublicKeyUncompressedBin<'_> = pair.public_key().as_be_bytes().unwrap();
                let (x, y) = point.as_ref()[1..].split_at((point.as_ref().len() - 1) / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y), "kid": "one" })
            }
            Private::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref()), "kid": "one" })
            }
        }
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "alg": self.algorithm, "kid": "one", "typ": "JWT" }), claims)
    }

    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
        let random = SystemRandom::new();
        let signature = match &self.key {
            Private::Rsa(pair, encoding) => {
                let mut made = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message.as_bytes(), &mut made).unwrap();
                made
            }
            Private::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Private::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", base64url(&signature))
    }
}

pub const ISSUER: &str = "https://id.example/realms/corp";
pub const AUTH_TIME_S: i64 = 1_767_000_002;

/// What a provider says of a login for this statement.
pub fn claims(subject: &str, bound_to: &str) -> Value {
    json!({
        "iss": ISSUER, "sub": subject, "aud": "gate", "nonce": bound_to, "acr": "phr", "amr": ["hwk", "user"],
        "auth_time": AUTH_TIME_S, "iat": AUTH_TIME_S + 1, "exp": AUTH_TIME_S + 300,
    })
}

/// What the gate writes of that login into the tree.
pub fn login_proof(token: &str) -> LoginProof {
    LoginProof {
        issuer: ISSUER.into(),
        acr: "phr".into(),
        methods: Vec::new(),
        counts_as: vec!["second_factor".into(), "phishing_resistant".into()],
        auth_time_ms: Some((AUTH_TIME_S * 1000).to_string()),
        id_token_sha256: hex::encode(Sha256::digest(token)),
    }
}
