use serde_json::json;
use stepgate_testkit::clock::BEGINNING;
use stepgate_testkit::{Signer, signer};

use super::*;
use crate::keys::KeySet;

const LONG: usize = 4096;

fn keys(signers: &[&Signer]) -> Keys {
    let jwks: Vec<_> = signers.iter().map(|one| one.jwk()).collect();
    Keys::fixed(KeySet::read(json!({ "keys": jwks }).to_string().as_bytes()).unwrap())
}

async fn verified(token: &str, keys: &Keys) -> Result<Verified, &'static str> {
    let read = Jws::read(token, LONG).map_err(|error| error.code())?;
    read.verify(keys, &Algorithm::ALL, BEGINNING).await.map_err(|error| error.code())
}

#[tokio::test]
async fn what_is_signed_is_read() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm.as_str(), "one");
        let verified = verified(&signer.sign(&json!({ "a": 1 })), &keys(&[&signer])).await.unwrap();
        assert_eq!(verified.claims.value("a"), Some(&json!(1)));
        assert_eq!((verified.algorithm, verified.key.id()), (algorithm, Some("one")));
    }
}

/// RFC 8037, appendix A.4: an Ed25519 signature over a text.
#[test]
fn the_example_of_rfc_8037_holds() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let key = Key::read(jwk.as_object().unwrap()).unwrap();
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let made = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    key.verify(Algorithm::EdDsa, message, made).unwrap();
}

/// RFC 7515, appendix A.3: a JWT under ES256.
#[tokio::test]
async fn the_example_of_rfc_7515_holds() {
    let jwk = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let keys = Keys::fixed(KeySet::read(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap());
    let verified = verified(token, &keys).await.unwrap();
    assert_eq!(verified.claims.text("iss"), Ok(Some("joe")));
    assert_eq!(verified.claims.moment("exp"), Ok(Some(Timestamp::from_ms(1_300_819_380_000))));
}

#[tokio::test]
async fn what_is_signed_wrongly_is_refused_with_its_code() {
    let (rsa, ec) = (Signer::new("RS256", "rsa"), Signer::new("ES256", "ec"));
    let keys = keys(&[&rsa, &ec]);
    let claims = json!({ "sub": "somebody" });
    let good = ec.sign(&claims);
    let (message, _) = good.rsplit_once('.').unwrap();
    let header = |more: Value| {
        let mut header = json!({ "alg": "ES256", "kid": "ec" });
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ec.sign_with(&header, &claims)
    };
    let public = rsa.bare_jwk()["n"].to_string();
    let cases = [
        ("", "malformed"),
        ("a.b", "malformed"),
        ("a.b.c.d", "malformed"),
        (&format!("{good}."), "malformed"),
        (&format!("{good}="), "signature"),
        (&format!("{message}."), "signature"),
        (&"x".repeat(LONG + 1), "too_long"),
        (&signer::unsigned(&claims), "algorithm"),
        (&signer::hs256(public.as_bytes(), "rsa", &claims), "algorithm"),
        (&header(json!({ "alg": "nOnE" })), "algorithm"),
        (&header(json!({ "alg": "RS512" })), "algorithm"),
        (&header(json!({ "alg": 1 })), "malformed"),
        (&header(json!({ "alg": "RS256" })), "key_not_for_this"),
        (&header(json!({ "alg": "RS256", "kid": "rsa" })), "signature"),
        (&header(json!({ "kid": "rsa" })), "key_not_for_this"),
        (&header(json!({ "kid": "other" })), "key_unknown"),
        (&header(json!({ "kid": ["ec"] })), "malformed"),
        (&header(json!({ "crit": ["exp"] })), "critical"),
        (&header(json!({ "b64": false })), "critical"),
        (&header(json!({ "zip": "DEF" })), "critical"),
        (&ec.sign_bytes(br#"{"alg":"ES256","kid":"ec","alg":"ES256"}"#, b"{}"), "malformed"),
        (&ec.sign_bytes(br#"{"alg":"ES256","kid":"ec"}"#, br#"{"sub":"a","sub":"b"}"#), "malformed"),
        (&ec.sign_bytes(br#"{"alg":"ES256","kid":"ec"}"#, b"[]"), "malformed"),
        // A key that the token brings with it is not looked at.
        (
            &Signer::new("ES256", "ec")
                .sign_with(&json!({ "alg": "ES256", "kid": "ec", "jwk": ec.bare_jwk() }), &claims),
            "signature",
        ),
    ];
    for (token, expected) in cases {
        assert_eq!(verified(token, &keys).await.err(), Some(expected), "{token}");
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_accepted_here_is_refused() {
    let ec = Signer::new("ES256", "ec");
    let token = ec.sign(&json!({}));
    let read = Jws::read(&token, LONG).unwrap();
    let error = read.verify(&keys(&[&ec]), &[Algorithm::Rs256], BEGINNING).await.unwrap_err();
    assert_eq!(error, JwsError::Algorithm);
}

#[test]
fn a_kind_is_read_as_the_standard_says() {
    let ec = Signer::new("ES256", "ec");
    for (typ, kind) in [("JWT", "jwt"), ("logout+jwt", "logout+jwt"), ("application/AT+JWT", "at+jwt")] {
        let token = ec.sign_with(&json!({ "alg": "ES256", "typ": typ }), &json!({ "iss": "me" }));
        let read = Jws::read(&token, LONG).unwrap();
        assert_eq!((read.kind().as_deref(), read.unverified_issuer()), (Some(kind), Some("me")));
    }
}

#[test]
fn b77_a_value_of_the_wrong_type_is_not_an_absent_one() {
    let claims = |value: Value| TokenClaims::new(json!({ "exp": value }).as_object().unwrap().clone());
    for bad in [json!("never"), json!("9999999999"), json!(null), json!([1]), json!(-1), json!(1e300), json!(true)] {
        assert_eq!(claims(bad.clone()).moment("exp"), Err(WrongType { name: "exp" }), "{bad}");
    }
    assert_eq!(claims(json!(1.5)).moment("exp"), Ok(Some(Timestamp::from_ms(1500))));
    assert_eq!(claims(json!(0)).moment("nbf"), Ok(None));
    assert_eq!(claims(json!(0)).text("exp"), Err(WrongType { name: "exp" }));
    assert_eq!(claims(json!("one")).one_or_more("exp"), Ok(Some(vec!["one"])));
    assert_eq!(claims(json!(["one", "two"])).one_or_more("exp"), Ok(Some(vec!["one", "two"])));
    assert_eq!(claims(json!(["one", 2])).one_or_more("exp"), Err(WrongType { name: "exp" }));
    assert_eq!(claims(json!("one")).texts("exp"), Err(WrongType { name: "exp" }));
}

/// Every place of a token counts: another character anywhere, and it is not that token.
/// (Base64 could be written in several ways; only one is read.)
#[tokio::test]
async fn a_token_that_was_changed_anywhere_is_refused() {
    for algorithm in ["ES256", "EdDSA"] {
        let signer = Signer::new(algorithm, "one");
        let keys = keys(&[&signer]);
        let token = signer.sign(&json!({ "sub": "somebody", "exp": 1 }));
        verified(&token, &keys).await.unwrap();
        for at in 0..token.len() {
            for other in ['A', 'B', 'w', '9', '-', '.', '='] {
                let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
                if changed != token {
                    assert!(verified(&changed, &keys).await.is_err(), "{algorithm}: {other} at {at} of {token}");
                }
            }
        }
    }
}

proptest::proptest! {
    /// Nothing that anybody can send makes the reader stumble.
    #[test]
    fn whatever_comes_is_read_or_refused(
        header in "\\PC{0,60}", payload in "\\PC{0,60}", signature in "[A-Za-z0-9_.=-]{0,40}", raw in "\\PC{0,80}",
    ) {
        let token = format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&payload));
        for text in [&token, &raw] {
            if let Ok(read) = Jws::read(text, LONG) {
                let _ = (read.kind(), read.unverified_issuer().map(str::len));
            }
        }
        let _ = KeySet::read(raw.as_bytes());
        let _ = KeySet::read(format!(r#"{{"keys":[{payload}]}}"#).as_bytes());
    }
}
