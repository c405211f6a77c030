//! Company logins: what their tokens and keys are read as, and what is found when one is changed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use aws_lc_rs::hmac;
use proptest::prelude::*;
use serde_json::{Value, json};
use stepgate_evidence::login::{BadClaim, BadToken, IdToken, LoginAlgorithm, MAX_ID_TOKEN, NotAKeySet, ProviderKey};
use stepgate_evidence::{LoginError, LoginProof, ProviderKeys, VerifiedLogin, verify_login};
use support::base64url;
use support::provider::{ALGORITHMS, ISSUER, ProviderSigner, claims, login_proof};

fn key(jwk: &Value) -> Result<ProviderKey, &'static str> {
    ProviderKey::read(jwk.as_object().unwrap())
}

fn with(mut value: Value, name: &str, member: Value) -> Value {
    value[name] = member;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

fn bound() -> String {
    "ab".repeat(32)
}

/// The claims as an honest provider signs them, with one change, against the entry of the honest ones.
fn login(
    changed: impl FnOnce(Value) -> Value,
    said: impl FnOnce(&mut LoginProof),
) -> Result<VerifiedLogin, LoginError> {
    let signer = ProviderSigner::new("ES256");
    let token = signer.sign(&changed(claims("00u1", &bound())));
    let mut proof = login_proof(&token);
    said(&mut proof);
    verify_login(&proof, &bound(), &token, &signer.jwk())
}

/// RFC 7515, appendix A.2: RSASSA-PKCS1-v1_5 with SHA-256. Its key does not say what it is for.
#[test]
fn the_rs256_example_of_rfc_7515_verifies() {
    let jwk = json!({
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZ\
              S-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2\
              R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcD\
              TW9gb54h4FRWyuXpoQ",
        "e": "AQAB",
    });
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290\
                 Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5ju\
                 jGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRm\
                 B_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5A\
                 XLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let claims = IdToken::read(token).unwrap().verified_by(&key(&jwk).unwrap()).unwrap();
    assert_eq!(claims.text("iss"), Ok(Some("joe")));
    assert_eq!(claims.moment_ms("exp"), Ok(Some(1_300_819_380_000)));
}

/// RFC 7515, appendix A.3: ECDSA on P-256 with SHA-256.
#[test]
fn the_es256_example_of_rfc_7515_verifies() {
    let jwk = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290\
                 Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(IdToken::read(token).unwrap().verified_by(&key(&jwk).unwrap()).is_some());
    // A point that is not on the curve is no key.
    let off = with(jwk, "y", json!("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5aw"));
    assert!(key(&off).is_err());
}

/// RFC 8037, appendix A.4: its payload is no JSON, so it is a signature and no token. A.3: the key's thumbprint.
#[test]
fn the_ed25519_example_of_rfc_8037_verifies() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let key = key(&jwk).unwrap();
    assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let bytes = support::from_base64url(signature);
    assert!(key.has_signed(LoginAlgorithm::EdDsa, message.as_bytes(), &bytes));
    assert!(!key.has_signed(LoginAlgorithm::Es256, message.as_bytes(), &bytes));
    assert_eq!(IdToken::read(&format!("{message}.{signature}")).unwrap_err(), BadToken::Malformed);
}

/// RFC 7638, section 3.1.
#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    let jwk = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3\
              oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA\
              ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-\
              kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    });
    assert_eq!(key(&jwk).unwrap().thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn a_login_by_each_algorithm_verifies_and_by_no_other_key() {
    let signers = ALGORITHMS.map(ProviderSigner::new);
    for signer in &signers {
        let token = signer.sign(&claims("00u1", &bound()));
        let proof = login_proof(&token);
        let verified = verify_login(&proof, &bound(), &token, &signer.jwk()).unwrap();
        assert_eq!(verified.client, "gate");
        assert_eq!(verified.thumbprint, key(&signer.jwk()).unwrap().thumbprint());
        for other in &signers {
            if other.algorithm == signer.algorithm {
                continue;
            }
            let wrong = verify_login(&proof, &bound(), &token, &other.jwk());
            assert_eq!(wrong, Err(LoginError::WrongSignature), "{} by {}", signer.algorithm, other.algorithm);
            // A key of one kind never serves the algorithm of another, whatever the header says.
            let header = json!({ "alg": other.algorithm, "kid": "one" });
            let token = signer.sign_with(&header, &claims("00u1", &bound()));
            let wrong = verify_login(&login_proof(&token), &bound(), &token, &signer.jwk());
            assert_eq!(wrong, Err(LoginError::WrongSignature), "{} as {}", signer.algorithm, other.algorithm);
        }
    }
}

/// A token without signature, and one under a shared secret that is the public key.
#[test]
fn none_and_a_public_key_as_shared_secret_prove_nothing() {
    let signer = ProviderSigner::new("RS256");
    let claims = claims("00u1", &bound());
    let check = |token: &str| verify_login(&login_proof(token), &bound(), token, &signer.jwk());
    for none in ["none", "None", "NONE"] {
        let header = json!({ "alg": none }).to_string();
        let token = format!("{}.{}.", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
        assert_eq!(check(&token), Err(LoginError::Token(BadToken::Algorithm)), "{none}");
    }
    let header = json!({ "alg": "HS256", "kid": "one" }).to_string();
    let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, signer.jwk().to_string().as_bytes()), message.as_bytes());
    let token = format!("{message}.{}", base64url(tag.as_ref()));
    assert_eq!(check(&token), Err(LoginError::Token(BadToken::Algorithm)));
    // Nor does a shared secret beside it, be it called what it is or not.
    for jwk in [json!({ "kty": "oct", "k": "AAAA" }), json!({ "kty": "oct" }), with(signer.jwk(), "k", json!("AAAA"))] {
        let token = signer.sign(&claims);
        let wrong = verify_login(&login_proof(&token), &bound(), &token, &jwk);
        assert!(matches!(wrong, Err(LoginError::Key(_))), "{wrong:?}");
    }
    // A key that comes with the token is not looked at.
    let thief = ProviderSigner::new("RS256");
    let header = json!({ "alg": "RS256", "kid": "one", "jwk": thief.jwk() });
    assert_eq!(check(&thief.sign_with(&header, &claims)), Err(LoginError::WrongSignature));
}

#[test]
fn what_was_said_of_a_login_is_held_against_its_token() {
    assert!(login(|honest| honest, |_| {}).is_ok());
    let same = |_: &mut LoginProof| {};
    let other = |name: &'static str, value: Value| move |honest| with(honest, name, value);
    for (wrong, expected) in [
        (login(other("iss", json!("https://evil.example")), same), LoginError::OtherIssuer),
        (login(|honest| without(honest, "iss"), same), LoginError::OtherIssuer),
        (login(|honest| honest, |said| said.issuer = "https://evil.example".into()), LoginError::OtherIssuer),
        (login(other("nonce", json!("cd".repeat(32))), same), LoginError::OtherNonce),
        (login(|honest| without(honest, "nonce"), same), LoginError::OtherNonce),
        (login(other("nonce", json!(7)), same), LoginError::Claim(BadClaim("nonce"))),
        (login(other("acr", json!("pwd")), same), LoginError::OtherClass),
        (login(|honest| without(honest, "acr"), same), LoginError::OtherClass),
        (login(|honest| honest, |said| said.acr = "mfa".into()), LoginError::OtherClass),
        (login(|honest| honest, |said| said.acr = "hwk".into()), LoginError::OtherClass),
        (login(|honest| honest, |said| said.acr = String::new()), LoginError::WorthWithoutClass),
        (login(other("auth_time", json!(1_767_000_003)), same), LoginError::OtherTime),
        (login(other("auth_time", json!("1767000002")), same), LoginError::Claim(BadClaim("auth_time"))),
        (login(|honest| without(honest, "auth_time"), same), LoginError::OtherTime),
        (login(|honest| honest, |said| said.auth_time_ms = None), LoginError::OtherTime),
        (login(|honest| honest, |said| said.auth_time_ms = Some("1767000002001".into())), LoginError::OtherTime),
        (login(|honest| without(honest, "sub"), same), LoginError::Claim(BadClaim("sub"))),
        (login(other("sub", json!("")), same), LoginError::Claim(BadClaim("sub"))),
        (login(other("sub", json!("a\nb")), same), LoginError::Claim(BadClaim("sub"))),
        (login(other("sub", json!("a".repeat(256))), same), LoginError::Claim(BadClaim("sub"))),
        (login(|honest| without(honest, "aud"), same), LoginError::NoClient),
        (login(other("aud", json!(["gate", "other"])), same), LoginError::NoClient),
        (login(other("azp", json!("other")), same), LoginError::NoClient),
        (login(|honest| honest, |said| said.id_token_sha256 = "00".repeat(32)), LoginError::OtherToken),
    ] {
        assert_eq!(wrong, Err(expected));
    }
    let several = login(|honest| with(with(honest, "aud", json!(["gate", "other"])), "azp", json!("gate")), same);
    assert_eq!(several.unwrap().client, "gate");
    let half = login(other("auth_time", json!(1_767_000_002.75)), |said| {
        said.auth_time_ms = Some("1767000002750".into());
    });
    assert!(half.is_ok(), "{half:?}");
}

/// Where providers put the class: in `acr`, in Entra's list `acrs`, or nowhere but in the methods, which the
/// configuration then calls a class.
#[test]
fn the_class_is_found_where_providers_put_it() {
    let contexts = |list: Value| move |honest| with(without(honest, "acr"), "acrs", list);
    let class = |name: &'static str| move |said: &mut LoginProof| said.acr = name.into();
    assert!(login(contexts(json!(["p1", "c1"])), class("c1")).is_ok());
    assert_eq!(login(contexts(json!(["p1"])), class("c1")), Err(LoginError::OtherClass));
    assert_eq!(login(contexts(json!("c1")), class("c1")), Err(LoginError::OtherClass));
    // Tokens of Entra's first version say `"acr": "1"` beside it.
    assert!(login(|honest| with(with(honest, "acr", json!("1")), "acrs", json!(["c1"])), class("c1")).is_ok());

    let by = |methods: &'static [&'static str]| {
        move |said: &mut LoginProof| {
            said.acr = "passkey".into();
            said.methods = methods.iter().map(|method| (*method).to_owned()).collect();
        }
    };
    assert!(login(|honest| honest, by(&["hwk"])).is_ok());
    assert!(login(|honest| honest, by(&["user", "hwk"])).is_ok());
    assert_eq!(login(|honest| honest, by(&["hwk", "pin"])), Err(LoginError::OtherMethods));
    assert_eq!(login(|honest| without(honest, "amr"), by(&["hwk"])), Err(LoginError::OtherMethods));
    assert_eq!(
        login(|honest| with(honest, "amr", json!("hwk")), by(&["hwk"])),
        Err(LoginError::Claim(BadClaim("amr")))
    );

    let none = |said: &mut LoginProof| (said.acr, said.counts_as) = (String::new(), Vec::new());
    assert!(login(|honest| without(honest, "acr"), none).is_ok());
}

#[test]
fn a_token_is_read_in_one_way_or_not_at_all() {
    let signer = ProviderSigner::new("ES256");
    let header = json!({ "alg": "ES256" });
    let good = signer.sign(&claims("00u1", &bound()));
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    assert!(IdToken::read(&good).is_ok());
    let malformed = [
        String::new(),
        "a.b".to_owned(),
        format!("{head}.{payload}"),
        format!("{good}.{signature}"),
        format!(".{good}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{head}=.{payload}.{signature}"),
        format!("{head}.{payload}.{signature}=="),
        format!("{head}.{payload}.{}", signature.replace(['-', '_'], "+")) + "/",
        format!("{head}..{signature}"),
        signer.sign_text("[]", "{}"),
        signer.sign_text("{}", "{}"),
        signer.sign_text(r#"{"alg":1}"#, "{}"),
        signer.sign_text(r#"{"alg":"ES256","kid":1}"#, "{}"),
        signer.sign_text(r#"{"alg":"ES256","alg":"ES256"}"#, "{}"),
        signer.sign_text(r#"{"alg":"ES256"}"#, r#"{"nonce":"a","nonce":"b"}"#),
        signer.sign_text(r#"{"alg":"ES256"}"#, r#"{"nonce":"a","n\u006fnce":"b"}"#),
        signer.sign_text(r#"{"alg":"ES256"}"#, "{} {}"),
        signer.sign_text(r#"{"alg":"ES256"}"#, "\"text\""),
        signer.sign_text(r#"{"alg":"ES256"}"#, &format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200))),
    ];
    for token in malformed {
        assert_eq!(IdToken::read(&token).unwrap_err(), BadToken::Malformed, "{token}");
    }
    for (name, value) in [("crit", json!(["exp"])), ("b64", json!(false)), ("enc", json!("A")), ("zip", json!("DEF"))] {
        let token = signer.sign_with(&with(header.clone(), name, value), &json!({}));
        assert_eq!(IdToken::read(&token).unwrap_err(), BadToken::Critical, "{name}");
    }
    for alg in ["HS256", "RS384", "ES512", "es256", "none", ""] {
        let token = signer.sign_with(&json!({ "alg": alg }), &json!({}));
        assert_eq!(IdToken::read(&token).unwrap_err(), BadToken::Algorithm, "{alg}");
    }
    for (kind, is_one) in
        [("JWT", true), ("jwt", true), ("application/jwt", true), ("logout+jwt", false), ("at+jwt", false)]
    {
        let token = signer.sign_with(&with(header.clone(), "typ", json!(kind)), &json!({}));
        assert_eq!(IdToken::read(&token).err(), (!is_one).then_some(BadToken::OtherKind), "{kind}");
    }
    assert_eq!(IdToken::read(&"a".repeat(MAX_ID_TOKEN + 1)).unwrap_err(), BadToken::TooLong);
    // Numbers beyond what canonical JSON keeps are the provider's affair.
    assert!(IdToken::read(&signer.sign_text(r#"{"alg":"ES256"}"#, r#"{"x":18446744073709551615}"#)).is_ok());
}

#[test]
fn a_key_that_nobody_careful_uses_is_refused() {
    let (ec, ed) = (ProviderSigner::new("ES256").jwk(), ProviderSigner::new("EdDSA").jwk());
    let rsa = |n: usize| json!({ "kty": "RSA", "n": base64url(&vec![0xC1; n]), "e": "AQAB" });
    for (jwk, expected) in [
        (rsa(128), "fewer than 2048"),
        (rsa(255), "fewer than 2048"),
        (rsa(1025), "more than 8192"),
        (with(rsa(256), "e", json!("AQ")), "exponent"),
        (with(rsa(256), "e", json!("AAAA")), "exponent"),
        (with(rsa(256), "n", json!("!")), "base64url"),
        (with(ec.clone(), "d", json!("AAAA")), "private part"),
        (with(ec.clone(), "use", json!("enc")), "`use`"),
        (with(ec.clone(), "key_ops", json!(["sign"])), "key_ops"),
        (with(ec.clone(), "alg", json!("ES384")), "does not fit"),
        (with(ec.clone(), "alg", json!("HS256")), "none that is accepted"),
        (with(ec.clone(), "crv", json!("P-384")), "wrong length"),
        (with(ec.clone(), "crv", json!("secp256k1")), "curve"),
        (with(ec.clone(), "kid", json!(1)), "wrong type"),
        (with(ed.clone(), "crv", json!("X25519")), "curve"),
        (with(ed, "x", json!("AAAA")), "wrong length"),
        (without(ec, "y"), "missing"),
    ] {
        let why = key(&jwk).unwrap_err();
        assert!(why.contains(expected), "{jwk}: {why}");
    }
}

#[test]
fn a_key_set_that_nothing_can_be_compared_with_is_refused() {
    let mut keys = ProviderKeys::default();
    let jwk = ProviderSigner::new("ES256").jwk();
    let encrypts = with(jwk.clone(), "use", json!("enc"));
    let set = |keys: &[Value]| json!({ "keys": keys }).to_string();
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":[],"keys":[]}"#] {
        assert_eq!(keys.add(ISSUER, bad.as_bytes()), Err(NotAKeySet::Malformed), "{bad}");
    }
    for none in [set(&[]), set(std::slice::from_ref(&encrypts)), set(&[json!({ "kty": "oct", "k": "AAAA" })])] {
        assert_eq!(keys.add(ISSUER, none.as_bytes()), Err(NotAKeySet::NoUsableKey), "{none}");
    }
    assert_eq!(keys.add(ISSUER, set(&vec![jwk.clone(); 101]).as_bytes()), Err(NotAKeySet::TooMany));
    assert_eq!(keys.issuers().count(), 0);
    keys.add(ISSUER, set(&[encrypts, jwk]).as_bytes()).unwrap();
    assert_eq!(keys.issuers().collect::<Vec<_>>(), [ISSUER]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Text of a token's alphabet is no token by chance.
    #[test]
    fn no_text_is_read_by_accident(text in "[A-Za-z0-9_=+/.-]{0,200}") {
        prop_assert!(IdToken::read(&text).is_err());
    }

    /// Any other character anywhere in a token makes it prove nothing, even if the entry names that token.
    #[test]
    fn any_changed_character_of_a_token_is_found(place: prop::sample::Index, put in "[A-Za-z0-9_.=-]") {
        let signer = ProviderSigner::new("EdDSA");
        let token = signer.sign(&claims("00u1", &bound()));
        let place = place.index(token.len());
        prop_assume!(token[place..=place] != put);
        let changed = format!("{}{put}{}", &token[..place], &token[place + 1..]);
        let other = verify_login(&login_proof(&token), &bound(), &changed, &signer.jwk());
        prop_assert_eq!(other, Err(LoginError::OtherToken));
        prop_assert!(verify_login(&login_proof(&changed), &bound(), &changed, &signer.jwk()).is_err(), "{}", changed);
    }

    /// No part of a JWK can be changed without it becoming another key or none.
    #[test]
    fn any_changed_character_of_a_key_is_found(algorithm in 2..5_usize, place: prop::sample::Index, put in "[A-Za-z0-9_-]") {
        let signer = ProviderSigner::new(ALGORITHMS[algorithm]);
        let token = signer.sign(&claims("00u1", &bound()));
        let mut jwk = signer.jwk();
        let x = jwk["x"].as_str().unwrap().to_owned();
        let place = place.index(x.len());
        prop_assume!(x[place..=place] != put);
        jwk["x"] = json!(format!("{}{put}{}", &x[..place], &x[place + 1..]));
        let wrong = verify_login(&login_proof(&token), &bound(), &token, &jwk);
        prop_assert!(matches!(wrong, Err(LoginError::WrongSignature | LoginError::Key(_))), "{:?}", wrong);
    }
}
