//! JWT access tokens (RFC 9068).

use proptest::prelude::*;
use serde_json::{Value, json};
use stepgate_core::access::{AgentRule, TokenRules, Whose};
use stepgate_core::factor::Strength;

use super::certificates::THUMBPRINT;
use super::mint::{Hs256, Signs, Unsigned, mint, thumbprint};
use super::*;

#[tokio::test]
async fn a_good_token_says_whose_it_is_and_what_was_proved() {
    let key = es256("k1");
    let token = bearer(&verifier(&[key.jwk()]), &at_jwt(&key, &claims())).await.unwrap();
    assert_eq!(token.whose, Whose::Person { subject: "alice".into() });
    assert_eq!((token.client.as_str(), token.jti.as_deref(), token.issuer.as_str()), ("app", Some("1"), ISSUER));
    assert_eq!(token.scopes, ["pay", "read"]);
    assert_eq!((token.acr.as_str(), token.amr.len(), token.strength), ("mfa", 2, Strength::SECOND_FACTOR));
    assert_eq!((token.auth_time, token.expires_at), (Some(at(NOW_S - 60)), at(NOW_S + 300)));
    assert_eq!((token.scheme(), &token.bound_to), (Scheme::Bearer, &None));
}

#[tokio::test]
async fn rs256_too() {
    let key = Signer::new("RS256", "r1");
    let header = json!({ "typ": "application/AT+JWT", "alg": "RS256", "kid": "r1" });
    assert_eq!(code(&verifier(&[key.jwk()]), &mint(&header, &claims(), &key)).await, "ok");
}

#[tokio::test]
async fn b77_b78_each_lie_in_the_claims_is_named() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let long = "x".repeat(2_000);
    let many = (0..33).map(|number| number.to_string()).collect::<Vec<_>>();
    for (claims, expected) in [
        (without("iss"), "issuer"),
        (with(json!({ "iss": "https://idp.example/" })), "issuer"),
        (with(json!({ "iss": [ISSUER] })), "issuer"),
        (with(json!({ "iss": "https://evil.example" })), "issuer"),
        (without("aud"), "audience"),
        (with(json!({ "aud": "https://other.example" })), "audience"),
        (with(json!({ "aud": ["https://other.example"] })), "audience"),
        (with(json!({ "aud": "https://api.example/" })), "audience"),
        (with(json!({ "aud": [AUDIENCE, 1] })), "audience"),
        (with(json!({ "aud": [] })), "audience"),
        (without("exp"), "exp_missing"),
        (with(json!({ "exp": "never" })), "exp_type"),
        (with(json!({ "exp": (NOW_S + 300).to_string() })), "exp_type"),
        (with(json!({ "exp": null })), "exp_type"),
        (with(json!({ "exp": true })), "exp_type"),
        (with(json!({ "exp": -1 })), "exp_type"),
        (with(json!({ "exp": 1e300 })), "exp_type"),
        (with(json!({ "exp": NOW_S })), "expired"),
        (with(json!({ "exp": NOW_S - 1 })), "expired"),
        (with(json!({ "nbf": "9999999999" })), "nbf_type"),
        (with(json!({ "nbf": NOW_S + 31 })), "not_yet"),
        (without("iat"), "iat_missing"),
        (with(json!({ "iat": "1" })), "iat_type"),
        (with(json!({ "iat": NOW_S + 31 })), "from_the_future"),
        (without("sub"), "subject"),
        (with(json!({ "sub": "" })), "subject"),
        (with(json!({ "sub": 7 })), "subject"),
        (with(json!({ "sub": long })), "subject"),
        (with(json!({ "sub": "a\nb" })), "subject"),
        (without("client_id"), "client"),
        (with(json!({ "client_id": [] })), "client"),
        (without("jti"), "jti"),
        (with(json!({ "jti": 1 })), "jti"),
        (with(json!({ "acr": ["mfa"] })), "acr"),
        (with(json!({ "amr": "mfa" })), "amr"),
        (with(json!({ "amr": many })), "amr"),
        (with(json!({ "auth_time": "now" })), "auth_time_type"),
        (with(json!({ "auth_time": NOW_S + 31 })), "auth_time_in_the_future"),
        (with(json!({ "scope": ["pay"] })), "scope"),
        (with(json!({ "scope": "pay \"x\"" })), "scope"),
        (with(json!({ "cnf": "x" })), "cnf"),
        (with(json!({ "cnf": {} })), "cnf"),
        (with(json!({ "cnf": { "jkt": 1 } })), "cnf"),
        (with(json!({ "cnf": { "kid": "x" } })), "cnf"),
        (with(json!({ "cnf": { "x5t#S256": 1 } })), "cnf"),
        (with(json!({ "cnf": { "x5t#S256": "" } })), "cnf"),
        (with(json!({ "cnf": { "x5t#S256": format!("{THUMBPRINT}=") } })), "cnf"),
        // Another spelling of a digest is none: the last two bits are no part of it.
        (with(json!({ "cnf": { "x5t#S256": THUMBPRINT.replace("dg0", "dg1") } })), "cnf"),
        (with(json!({ "cnf": { "x5t#S256": THUMBPRINT, "jkt": thumbprint(&key) } })), "cnf"),
        (with(json!({ "cnf": { "x5t": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0" } })), "cnf"),
        (with(json!({ "cnf": { "x5t#S256": THUMBPRINT } })), "certificate_missing"),
        (with(json!({ "cnf": { "jkt": thumbprint(&key) } })), "bound_to_a_key"),
    ] {
        assert_eq!(code(&verifier, &at_jwt(&key, &claims)).await, format!("token_{expected}"), "{claims}");
    }
    // What may be so, is.
    for claims in [
        with(json!({ "aud": ["https://other.example", AUDIENCE] })),
        with(json!({ "nbf": NOW_S + 30, "iat": NOW_S + 30, "auth_time": NOW_S + 30 })),
        with(json!({ "exp": (NOW_S as f64) + 0.5 })),
        without("scope"),
        without("acr"),
        without("auth_time"),
        with(json!({ "acr": "unheard-of", "more": { "x": 1 } })),
    ] {
        assert_eq!(code(&verifier, &at_jwt(&key, &claims)).await, "ok", "{claims}");
    }
}

#[tokio::test]
async fn a_class_that_is_not_configured_and_a_login_without_time_count_as_nothing() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let token = bearer(&verifier, &at_jwt(&key, &with(json!({ "acr": "unheard-of" })))).await.unwrap();
    assert_eq!(token.strength, Strength::NONE);
    let token = bearer(&verifier, &at_jwt(&key, &without("auth_time"))).await.unwrap();
    assert_eq!(token.auth_time, None);
    // Their clock is ahead of ours: the login was now, and not "never".
    let token = bearer(&verifier, &at_jwt(&key, &with(json!({ "auth_time": NOW_S + 5 })))).await.unwrap();
    assert_eq!(token.auth_time, Some(now()));
}

#[tokio::test]
async fn b77_each_lie_in_the_header_is_named() {
    let (key, other, rsa) = (es256("k1"), es256("k1"), Signer::new("RS256", "r1"));
    let verifier = verifier(&[key.jwk(), rsa.jwk()]);
    let hmac = Hs256(rsa.bare_jwk().to_string().into_bytes());
    let secret = Hs256(rsa.jwk().to_string().into_bytes());
    let header = |changes: Value| {
        let mut header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k1" });
        for (name, value) in changes.as_object().unwrap() {
            header[name] = value.clone();
        }
        header
    };
    let cases: Vec<(Value, &dyn Signs, &str)> = vec![
        (header(json!({})), &other, "signature"),
        (header(json!({})), &Unsigned, "signature"),
        (header(json!({ "alg": "none" })), &Unsigned, "algorithm"),
        (header(json!({ "alg": "None" })), &Unsigned, "algorithm"),
        (header(json!({ "alg": "HS256", "kid": "r1" })), &hmac, "algorithm"),
        (header(json!({ "alg": "HS256", "kid": "r1" })), &secret, "algorithm"),
        (header(json!({ "alg": "ES256K" })), &key, "algorithm"),
        (header(json!({ "alg": "RS256" })), &rsa, "key_not_for_this"),
        (header(json!({ "kid": "r1" })), &key, "key_not_for_this"),
        (header(json!({ "kid": "k2" })), &key, "key_unknown"),
        // Where its key is said to be, and the key itself, are not looked at.
        (header(json!({ "kid": "k2", "jwk": other.bare_jwk(), "jku": "https://evil.example" })), &other, "key_unknown"),
        (header(json!({ "jwk": other.bare_jwk() })), &other, "signature"),
        (header(json!({ "crit": ["exp"] })), &key, "critical"),
        (header(json!({ "b64": false })), &key, "critical"),
        (header(json!({ "typ": "JWT" })), &key, "type"),
        (header(json!({ "typ": "dpop+jwt" })), &key, "type"),
        (header(json!({ "typ": "logout+jwt" })), &key, "type"),
        (json!({ "alg": "ES256", "kid": "k1" }), &key, "type"),
    ];
    for (header, by, expected) in cases {
        assert_eq!(code(&verifier, &mint(&header, &claims(), by)).await, format!("token_{expected}"), "{header}");
    }
    assert_eq!(code(&verifier, &mint(&header(json!({})), &claims(), &key)).await, "ok");
}

#[tokio::test]
async fn an_algorithm_that_is_not_listed_is_refused_though_a_key_would_do() {
    let key = es256("k1");
    let issuer = signing(Keys::fixed(set(&[key.jwk()])), &[Algorithm::Rs256]);
    let verifier = TokenVerifier::new(vec![issuer], Keeps::Verified, &Chance);
    assert_eq!(code(&verifier, &at_jwt(&key, &claims())).await, "token_algorithm");
}

#[tokio::test]
async fn what_could_be_read_twice_is_not_read() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k1" }).to_string();
    let twice = claims().to_string().replacen('{', r#"{"sub":"mallory","#, 1);
    assert_eq!(code(&verifier, &key.sign_bytes(header.as_bytes(), twice.as_bytes())).await, "token_malformed");
    let twice = header.replacen('{', r#"{"alg":"none","#, 1);
    assert_eq!(
        code(&verifier, &key.sign_bytes(twice.as_bytes(), claims().to_string().as_bytes())).await,
        "token_malformed"
    );
    let token = at_jwt(&key, &claims());
    for bad in [
        token.replace('.', ".."),
        format!("{token}."),
        format!("{token}="),
        token.replacen('.', "", 1),
        "opaque".into(),
    ] {
        assert_ne!(code(&verifier, &bad).await, "ok", "{bad}");
    }
}

#[tokio::test]
async fn the_key_of_another_issuer_signs_for_nobody_else() {
    let (corp, guest) = (es256("k1"), es256("k1"));
    let mut second = signing(Keys::fixed(set(&[guest.jwk()])), &Algorithm::ALL);
    (second.name, second.issuer) = (name("guest"), "https://guest.example".into());
    let issuers = vec![signing(Keys::fixed(set(&[corp.jwk()])), &Algorithm::ALL), second];
    let verifier = TokenVerifier::new(issuers, Keeps::Verified, &Chance);
    let of_guest = with(json!({ "iss": "https://guest.example" }));
    assert_eq!(code(&verifier, &at_jwt(&guest, &claims())).await, "token_signature", "guest signs as corp");
    // The service takes tokens of `corp` alone.
    assert_eq!(code(&verifier, &at_jwt(&guest, &of_guest)).await, "token_issuer");
    let both = TokenRules::new(Accepted { providers: vec![name("corp"), name("guest")], ..accepted() });
    let value = format!("Bearer {}", at_jwt(&guest, &of_guest));
    let token = present(&verifier, &both, &[("authorization", &value)], now()).await.unwrap().unwrap();
    assert_eq!((token.provider.as_str(), token.answerable()), ("guest", "alice"));
}

#[tokio::test]
async fn an_agent_is_somebodys() {
    let key = es256("k1");
    let verifier = verifier(&[key.jwk()]);
    let agent = AgentRule { provider: name("corp"), client: "robot".into(), groups: vec!["robots".into()] };
    let rules = TokenRules::new(Accepted { owner_claim: Some("owner".into()), agents: vec![agent], ..accepted() });
    let whose = async |claims: Value| {
        let value = format!("Bearer {}", at_jwt(&key, &claims));
        match present(&verifier, &rules, &[("authorization", &value)], now()).await {
            Ok(token) => match token.unwrap().whose.clone() {
                Whose::Person { subject } => format!("person {subject}"),
                Whose::Agent { owner, groups, .. } => format!("agent of {owner} in {}", groups.join(",")),
            },
            Err(error) => error.code(),
        }
    };
    assert_eq!(whose(claims()).await, "person alice");
    assert_eq!(whose(with(json!({ "client_id": "robot" }))).await, "agent of alice in robots");
    assert_eq!(whose(with(json!({ "client_id": "robot", "owner": "bob" }))).await, "agent of bob in robots");
    assert_eq!(
        whose(with(json!({ "client_id": "robot", "sub": "robot", "owner": "bob" }))).await,
        "agent of bob in robots"
    );
    assert_eq!(whose(with(json!({ "sub": "app", "owner": "bob" }))).await, "agent of bob in ");
    assert_eq!(whose(with(json!({ "sub": "app" }))).await, "token_owner_missing");
    assert_eq!(whose(with(json!({ "sub": "app", "owner": ["bob"] }))).await, "token_owner");
    assert_eq!(whose(with(json!({ "sub": "app", "owner": "" }))).await, "token_owner");
    // Nobody becomes an agent, or somebody else's, by saying so.
    assert_eq!(whose(with(json!({ "owner": "bob" }))).await, "person alice");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is changed in a good token, it holds no longer.
    #[test]
    fn b58_a_token_that_was_touched_is_worth_nothing(place in 0_usize..10_000, byte in "[A-Za-z0-9_.-]") {
        use std::sync::LazyLock;
        static GOOD: LazyLock<(TokenVerifier, String)> = LazyLock::new(|| {
            let key = es256("k1");
            (verifier(&[key.jwk()]), at_jwt(&key, &claims()))
        });
        let (verifier, token) = &*GOOD;
        let place = place % token.len();
        let mut touched = token.clone();
        touched.replace_range(place..=place, &byte);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let cut = &token[..place];
        prop_assert_eq!(runtime.block_on(code(verifier, &touched)) == "ok", touched == *token);
        prop_assert_ne!(runtime.block_on(code(verifier, cut)), "ok");
    }
}
