//! What is at a limit is taken, and one more is not.

use stepgate_core::access::SCOPES_MAX;
use stepgate_core::provider::SUBJECT_LEN_MAX;

use super::*;
use crate::tokens::TOKEN_LEN_MAX;

/// As the limits say it that are this module's own.
const TEXT_LEN: usize = 512;
const METHODS: usize = 32;
const KEY_ID_LEN: usize = 512;

fn text(len: usize) -> String {
    "x".repeat(len)
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn each_claim_has_its_limit() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    type Says = fn(usize) -> Value;
    let cases: [(&str, usize, Says); 8] = [
        ("scope", SCOPES_MAX, |count| {
            let scopes = numbers(count).join(" ");
            json!({ "scope": scopes })
        }),
        ("amr", METHODS, |count| json!({ "amr": numbers(count) })),
        ("amr", TEXT_LEN, |len| json!({ "amr": [text(len)] })),
        ("acr", TEXT_LEN, |len| json!({ "acr": text(len) })),
        ("jti", TEXT_LEN, |len| json!({ "jti": text(len) })),
        ("client", TEXT_LEN, |len| json!({ "client_id": text(len) })),
        ("subject", SUBJECT_LEN_MAX, |len| json!({ "sub": text(len) })),
        // So many scopes, each of them twice: they are counted as they came.
        ("scope", SCOPES_MAX / 2, |count| {
            let twice = [numbers(count), numbers(count)].concat().join(" ");
            json!({ "scope": twice })
        }),
    ];
    for (wrong, limit, says) in cases {
        assert_eq!(code(&verifier, &at_jwt(&key, &with(says(limit)))).await, "ok", "{wrong} {limit}");
        let beyond = code(&verifier, &at_jwt(&key, &with(says(limit + 1)))).await;
        assert_eq!(beyond, format!("token_{wrong}"), "{limit}");
    }
}

#[tokio::test]
async fn a_keys_name_and_the_whole_token_have_theirs() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let named = |len: usize| mint(&json!({ "typ": "at+jwt", "alg": "ES256", "kid": text(len) }), &claims(), &key);
    assert_eq!(code(&verifier, &named(KEY_ID_LEN)).await, "token_key_unknown");
    assert_eq!(code(&verifier, &named(KEY_ID_LEN + 1)).await, "token_malformed");
    let of_len = |len: usize| at_jwt(&key, &with(json!({ "more": text(len) })));
    // Base64 makes four bytes of three.
    let near = (TOKEN_LEN_MAX - of_len(0).len()) * 3 / 4 + 4;
    let fits = (0..near).rev().map(of_len).find(|token| token.len() <= TOKEN_LEN_MAX).unwrap();
    assert!(fits.len() > TOKEN_LEN_MAX - 3, "{}", fits.len());
    assert_eq!(code(&verifier, &fits).await, "ok");
    assert_eq!(code(&verifier, &format!("{fits}{}", text(4))).await, "token_too_long");
}
