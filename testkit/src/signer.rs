//! Keys that sign tokens, and tokens that are signed wrongly in each way.

use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyUncompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A private key with a name and an algorithm.
#[derive(Debug)]
pub struct Signer {
    id: String,
    algorithm: &'static str,
    key: Private,
}

#[derive(Debug)]
enum Private {
    Rsa(Box<RsaKeyPair>, &'static signature::RsaSignatureEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    /// A new key for `RS256`, `PS256`, `ES256`, `ES384` or `EdDSA`, of this name.
    pub fn new(algorithm: &'static str, id: &str) -> Self {
        let rsa = |encoding| Private::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")), encoding);
        let key = match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "ES256" => Private::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")),
            "ES384" => Private::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key")),
            "EdDSA" => Private::Ed(Ed25519KeyPair::generate().expect("a key")),
            other => panic!("{other} is no algorithm that this signer knows"),
        };
        Self { id: id.to_owned(), algorithm, key }
    }

    /// Its name (`kid`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its algorithm (`alg`).
    pub fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// The public key as a JWK with `kid`, `alg` and `use`.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.bare_jwk();
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key as a JWK with nothing but its parts, as it stands inside other tokens.
    pub fn bare_jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.key {
            Private::Rsa(pair, _) => {
                let public = pair.public_key();
                let e = public.exponent().big_endian_without_leading_zero();
                json!({ "kty": "RSA", "n": text(public.modulus().big_endian_without_leading_zero()), "e": text(e) })
            }
            Private::Ec(pair) => {
                let point: EcPublicKeyUncompressedBin<'_> = pair.public_key().as_be_bytes().expect("a point");
                let (x, y) = point.as_ref()[1..].split_at((point.as_ref().len() - 1) / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": text(x), "y": text(y) })
            }
            Private::Ed(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) }),
        }
    }

    /// A JWT with the header that this key gives it.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "typ": "JWT", "alg": self.algorithm, "kid": self.id }), claims)
    }

    /// A JWT with exactly this header, whatever it says.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_bytes(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// A JWT with exactly these bytes as header and payload.
    pub fn sign_bytes(&self, header: &[u8], payload: &[u8]) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let random = SystemRandom::new();
        let made = match &self.key {
            Private::Rsa(pair, encoding) => {
                let mut made = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message.as_bytes(), &mut made).expect("signed");
                made
            }
            Private::Ec(pair) => pair.sign(&random, message.as_bytes()).expect("signed").as_ref().to_vec(),
            Private::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(made))
    }
}

/// A JWT that nobody signed (`alg` `none`).
pub fn unsigned(claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "none" });
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// A JWT under a shared secret (`HS256`): with a public key as secret, it is key confusion.
pub fn hs256(secret: &[u8], id: &str, claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "HS256", "kid": id });
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}
