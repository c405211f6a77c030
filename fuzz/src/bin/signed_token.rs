//! What the gate reads of signed tokens: ID tokens, logout tokens, access tokens, security events, proofs by DPoP.
//!
//! Reading never panics; what is read is three parts of one text, and no token verifies that was not signed.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use stepgate_identity::jws::Jws;
use stepgate_identity::keys::Key;

/// The longest token that is read: longer than any that a fuzzer makes.
const LEN_MAX: usize = 64 * 1024;
/// The key of RFC 7515, appendix A.3, and all that it ever signed here.
const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const SIGNED: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    assert!(Jws::read(text, text.len().saturating_sub(1)).is_err(), "longer than the limit: {text}");
    let Ok(read) = Jws::read(text, LEN_MAX) else {
        return;
    };
    assert_eq!(text.matches('.').count(), 2, "{text}");
    assert!(!["crit", "b64", "enc", "zip"].iter().any(|name| read.in_header(name).is_some()), "{text}");
    let issuer = read.unverified_issuer().map(str::to_owned);
    let Ok(verified) = read.verify_by(Arc::new(key())) else {
        return;
    };
    assert!(text.starts_with(SIGNED), "verified without the private key: {text}");
    assert_eq!(verified.claims.text("iss"), Ok(issuer.as_deref()));
    assert_eq!(issuer.as_deref(), Some("joe"));
});

fn key() -> Key {
    let Ok(Value::Object(jwk)) = serde_json::from_str(KEY) else {
        panic!("the key above is one");
    };
    Key::read(&jwk).expect("the key above is one")
}
