//! Tokens that say whatever they are told to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use stepgate_testkit::signer::Signer;

pub(super) trait Signs {
    fn token(&self, header: &Value, claims: &Value) -> String;
}

impl Signs for Signer {
    fn token(&self, header: &Value, claims: &Value) -> String {
        self.sign_with(header, claims)
    }
}

/// HMAC with SHA-256 under these bytes.
pub(super) struct Hs256(pub(super) Vec<u8>);

impl Signs for Hs256 {
    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &self.0);
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes())))
    }
}

/// Nothing.
pub(super) struct Unsigned;

impl Signs for Unsigned {
    fn token(&self, header: &Value, claims: &Value) -> String {
        format!("{}.", message(header, claims))
    }
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// RFC 7638, section 3: the required members in this order, without white space.
pub(super) fn thumbprint(key: &Signer) -> String {
    let jwk = key.bare_jwk();
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

pub(super) fn mint(header: &Value, claims: &Value, key: &dyn Signs) -> String {
    key.token(header, claims)
}
