//! Signatures and keys that others made wrong on purpose: Project Wycheproof's vectors for JSON Web
//! Signatures and Keys (C2SP/wycheproof, Apache-2.0). `tests/data/wycheproof.json` says which.

use serde::Deserialize;
use serde_json::{Value, json};
use stepgate_testkit::clock::BEGINNING;

use super::*;
use crate::keys::KeySet;

/// What is judged otherwise here, and why.
const OTHERWISE: [&str; 7] = [
    // Signed with PS384, by keys for PS256. We accept neither the algorithm nor the mixture.
    "json_web_signature_test.json 346, rfc7520: Figure20",
    "json_web_signature_test.json 350, rfc7520WithKeyOps: Figure20",
    // A shared secret verifies nothing here.
    "json_web_key_test.json 2, jws_keyset: acceptsValid",
    // A key of the hardware that made weak ones (CVE-2017-15361) is not recognised: it stands among the
    // issuer's own keys, which are believed, and its signature is right.
    "json_web_key_test.json 7, jws_rsa_roca_key: rejectsKeyWithRocaVulnerability",
    "json_web_key_test.json 13, HS256: long_key",
    "json_web_key_test.json 14, HS384: long_key",
    "json_web_key_test.json 15, HS512: long_key",
];

#[derive(Deserialize)]
struct Vectors {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    file: String,
    comment: String,
    keys: Vec<Value>,
    /// Number, result, comment, and the signature.
    tests: Vec<(u32, String, String, String)>,
}

/// Whether a signature over whatever it may be holds by one of these keys.
///
/// Most of the payloads are no JSON, and no tokens, so [`Jws::read`] refuses them whatever their
/// signature: this looks at the signature alone, with the functions that it uses.
fn holds(keys: &[Value], jws: &str) -> bool {
    let Ok(keys) = KeySet::read(json!({ "keys": keys }).to_string().as_bytes()) else { return false };
    let [header, _, signature] = jws.split('.').collect::<Vec<_>>()[..] else { return false };
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(header) else { return false };
    let Some(header) = crate::json::object(&bytes) else { return false };
    let Some(Ok(algorithm)) = header.get("alg").and_then(Value::as_str).map(str::parse::<Algorithm>) else {
        return false;
    };
    let (message, _) = jws.rsplit_once('.').unwrap();
    let key = keys.find(header.get("kid").and_then(Value::as_str), algorithm);
    key.is_ok_and(|key| key.verify(algorithm, message.as_bytes(), signature).is_ok())
}

#[tokio::test]
async fn what_wycheproof_calls_invalid_does_not_hold_and_what_it_calls_valid_does() {
    let vectors = include_str!("../../tests/data/wycheproof.json");
    let vectors: Vectors = serde_json::from_str(vectors).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    let mut otherwise = Vec::new();
    for Group { file, comment, keys, tests } in &vectors.groups {
        let of_issuer = KeySet::read(json!({ "keys": keys }).to_string().as_bytes());
        for (number, result, what, jws) in tests {
            let expected = result == "valid";
            *(if expected { &mut valid } else { &mut invalid }) += 1;
            if holds(keys, jws) != expected {
                otherwise.push(format!("{file} {number}, {comment}: {what}"));
            }
            // Whatever is read of a token, the reading of tokens accepts nothing that is invalid.
            let roca = (file.as_str(), *number) == ("json_web_key_test.json", 7);
            if let (false, false, Ok(keys), Ok(read)) = (expected, roca, &of_issuer, Jws::read(jws, 4096)) {
                let verified = read.verify(&Keys::fixed(keys.clone()), &Algorithm::ALL, BEGINNING).await;
                assert!(verified.is_err(), "{file} {number}: {what}");
            }
        }
    }
    assert_eq!(otherwise, OTHERWISE);
    assert!(valid > 10 && invalid > 80, "{valid} {invalid}");
}
