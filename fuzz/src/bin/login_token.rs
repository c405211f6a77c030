//! What the auditor's verifier reads of company logins: ID tokens, keys, saved key sets.
//!
//! Reading never panics, a token is one text, and no token verifies that was not signed.
//!
//! The first byte says what the rest is read as.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use stepgate_evidence::login::{IdToken, LoginAlgorithm, ProviderKey, ProviderKeys};

/// The key of RFC 7515, appendix A.3, and all that it ever signed here.
const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const SIGNED: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 3 {
        0 => token(rest),
        1 => key(rest),
        _ => set(rest),
    }
});

fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(read) = IdToken::read(text) else {
        return;
    };
    let is_in_its_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    assert!(bytes.iter().all(|byte| is_in_its_alphabet(*byte)) && text.matches('.').count() == 2, "{text}");
    let Some(claims) = read.verified_by(&jwk(KEY.as_bytes()).expect("the key above is one")) else {
        return;
    };
    assert!(text.starts_with(SIGNED), "verified without the private key: {text}");
    assert_eq!(claims.text("iss"), Ok(Some("joe")));
}

fn key(bytes: &[u8]) {
    if let Some(key) = jwk(bytes) {
        assert_eq!(key.thumbprint().len(), 43);
        assert!(!key.has_signed(LoginAlgorithm::Es256, b"message", bytes));
    }
}

fn set(bytes: &[u8]) {
    let mut keys = ProviderKeys::default();
    assert_eq!(keys.add("https://id.example", bytes).is_ok(), keys.issuers().count() == 1);
}

fn jwk(bytes: &[u8]) -> Option<ProviderKey> {
    let Ok(Value::Object(jwk)) = serde_json::from_slice(bytes) else {
        return None;
    };
    ProviderKey::read(&jwk).ok()
}
