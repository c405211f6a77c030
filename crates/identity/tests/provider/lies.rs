//! Each lie, and the code with which it is refused. Before each, the same way goes well,
//! so that it is the lie that is refused.

use std::sync::Arc;

use serde_json::{Value, json};
use stepgate_core::provider::{Ask, CameBack, IdentityProviders, ProviderName};
use stepgate_core::time::Clock;
use stepgate_identity::keys::COOLDOWN;
use stepgate_identity::provider::Providers;
use stepgate_testkit::provider::{Client, Forged, Somebody};
use stepgate_testkit::{Answer, FakeClock, SeededRandomness, Signer, TestProvider};

use crate::house::{BACK, House, MFA, SUBJECT, settings, step_up};

type Lie = (&'static str, &'static str, fn(&mut Forged));

async fn each_is_refused_at_sign_in(lies: &[Lie]) {
    let house = House::start().await;
    house.sign_in().await.unwrap();
    for (what, code, lie) in lies {
        house.idp.change_token(*lie);
        assert_eq!(house.sign_in_fails().await, *code, "{what}");
    }
    house.idp.be_honest();
    house.sign_in().await.unwrap();
}

async fn each_is_refused_at_step_up(max_age_s: u64, lies: &[Lie]) {
    let house = House::start().await;
    house.go(&step_up(&[MFA], max_age_s)).await.unwrap();
    for (what, code, lie) in lies {
        house.idp.change_token(*lie);
        assert_eq!(house.step_up_fails(max_age_s).await, *code, "{what}");
    }
    house.idp.be_honest();
    house.go(&step_up(&[MFA], max_age_s)).await.unwrap();
}

fn issued(token: &Forged) -> i64 {
    token.claims["iat"].as_i64().unwrap()
}

#[tokio::test]
async fn b75_freshness_is_the_time_of_the_login_and_nothing_else() {
    let lies: [Lie; 6] = [
        ("an old login under a fresh iat", "old_login", |token| token.say("auth_time", issued(token) - 301 - 3)),
        ("no time of the login", "old_login", |token| token.omit("auth_time")),
        ("a time as text", "auth_time_not_a_number", |token| token.say("auth_time", issued(token).to_string())),
        ("null", "auth_time_not_a_number", |token| token.say("auth_time", Value::Null)),
        ("a login in the future", "auth_time", |token| token.say("auth_time", issued(token) + 3600)),
        ("never", "old_login", |token| token.say("auth_time", 0)),
    ];
    each_is_refused_at_step_up(300, &lies).await;
    // Where only a new login will do, one of a minute ago is none.
    each_is_refused_at_step_up(0, &[("a minute", "old_login", |token| token.say("auth_time", issued(token) - 60))])
        .await;
}

#[tokio::test]
async fn b76_the_class_that_came_back_is_compared_exactly() {
    let lies: [Lie; 7] = [
        ("a lesser one", "lesser_class", |token| token.say("acr", "pwd")),
        ("none", "lesser_class", |token| token.omit("acr")),
        ("an empty one", "lesser_class", |token| token.say("acr", "")),
        ("one that was not asked for", "lesser_class", |token| token.say("acr", "phr")),
        ("another spelling", "lesser_class", |token| token.say("acr", "URN:example:mfa")),
        ("several in one text", "lesser_class", |token| token.say("acr", "pwd urn:example:mfa")),
        ("a list", "acr", |token| token.say("acr", json!([MFA]))),
    ];
    each_is_refused_at_step_up(300, &lies).await;
}

/// The user edits the URL: what was asked is gone, and what comes back is looked at all the same.
#[tokio::test]
async fn b76_a_browser_that_strips_what_was_asked_gains_nothing() {
    let house = House::start().await;
    let ask = step_up(&[MFA], 300);
    let asked_at = house.clock.now();
    let leave = house.leave(&ask).await.unwrap();
    let mut url = url::Url::parse(&leave.url).unwrap();
    let without = |name: &str| !["acr_values", "claims", "max_age", "prompt"].contains(&name);
    let kept: Vec<_> =
        url.query_pairs().filter(|(name, _)| without(name)).map(|(a, b)| (a.into_owned(), b.into_owned())).collect();
    url.query_pairs_mut().clear().extend_pairs(kept);
    let query = house.idp.visit(url.as_str()).await;
    assert_eq!(house.come_back(&ask, &leave.keep, &query, asked_at).await.unwrap_err().code(), "lesser_class");
}

#[tokio::test]
async fn b77_times_of_the_wrong_type_are_not_absent_ones() {
    let lies: [Lie; 11] = [
        ("exp never", "exp_not_a_number", |token| token.say("exp", "never")),
        ("exp as text", "exp_not_a_number", |token| token.say("exp", "9999999999")),
        ("exp null", "exp_not_a_number", |token| token.say("exp", Value::Null)),
        ("exp as list", "exp_not_a_number", |token| token.say("exp", json!([9_999_999_999_u64]))),
        ("no exp", "expired", |token| token.omit("exp")),
        ("expired", "expired", |token| token.say("exp", issued(token) - 31)),
        ("nbf as text", "nbf_not_a_number", |token| token.say("nbf", "9999999999")),
        ("not yet", "not_yet", |token| token.say("nbf", issued(token) + 60)),
        ("iat as text", "iat_not_a_number", |token| token.say("iat", "1")),
        ("iat in the future", "issued", |token| token.say("iat", issued(token) + 60)),
        ("no iat", "issued", |token| token.omit("iat")),
    ];
    each_is_refused_at_sign_in(&lies).await;
}

#[tokio::test]
async fn b78_a_token_for_somebody_else_or_by_somebody_else_is_refused() {
    let lies: [Lie; 11] = [
        ("another client's", "audience", |token| token.say("aud", "other")),
        ("another client's, in a list", "audience", |token| token.say("aud", json!(["other"]))),
        ("nobody's", "audience", |token| token.omit("aud")),
        ("ours as an object", "audience", |token| token.say("aud", json!({ "stepgate": true }))),
        ("ours among others", "authorized_party", |token| token.say("aud", json!(["stepgate", "other"]))),
        ("another party's", "authorized_party", |token| token.say("azp", "other")),
        ("a party of the wrong type", "authorized_party", |token| token.say("azp", json!(["stepgate"]))),
        ("another issuer", "issuer", |token| token.say("iss", "https://evil.example")),
        ("the issuer with a slash", "issuer", |token| {
            let issuer = token.claims["iss"].as_str().unwrap().to_owned();
            token.say("iss", format!("{issuer}/"));
        }),
        ("a list of issuers", "issuer", |token| token.say("iss", json!([token.claims["iss"]]))),
        ("no issuer", "issuer", |token| token.omit("iss")),
    ];
    each_is_refused_at_sign_in(&lies).await;
    let house = House::start().await;
    house.idp.change_token(|token| {
        token.say("aud", json!(["stepgate", "other"]));
        token.say("azp", "stepgate");
    });
    house.sign_in().await.unwrap();
}

#[tokio::test]
async fn b78_what_is_signed_by_nobody_or_by_the_wrong_key_is_refused() {
    let lies: [Lie; 7] = [
        ("none", "algorithm", Forged::unsigned),
        ("the public key as a secret", "algorithm", Forged::under_public_key),
        ("another algorithm's name", "key_not_for_this", |token| token.header["alg"] = json!("RS256")),
        ("a key that it brings", "key", |token| {
            token.signer = Arc::new(Signer::new("ES256", "mine"));
            token.header = json!({ "alg": "ES256", "kid": "mine", "jwk": token.signer.bare_jwk() });
        }),
        ("the same name, another key", "signature", |token| token.signer = Arc::new(Signer::new("ES256", "key-1"))),
        ("what nobody understands", "critical", |token| token.header["crit"] = json!(["x"])),
        ("a logout token's type", "typ", |token| token.header["typ"] = json!("logout+jwt")),
    ];
    each_is_refused_at_sign_in(&lies).await;
}

#[tokio::test]
async fn b79_another_person_cannot_answer() {
    let lies: [Lie; 2] = [
        ("another", "other_person", |token| token.say("sub", "subject-2")),
        ("another spelling", "other_person", |token| token.say("sub", "Subject-1")),
    ];
    each_is_refused_at_step_up(300, &lies).await;
    let house = House::start().await;
    // Mallory, with Alice's address and name.
    let mallory = Somebody::new("mallory", house.clock.now()).who_can(&[MFA]);
    house.idp.signed_in(mallory);
    assert_eq!(house.step_up_fails(300).await, "other_person");
    let subjects: [Lie; 5] = [
        ("none", "subject", |token| token.omit("sub")),
        ("empty", "subject", |token| token.say("sub", "")),
        ("a number", "subject", |token| token.say("sub", 1)),
        ("2,000 characters", "subject", |token| token.say("sub", "x".repeat(2000))),
        ("a line feed", "subject", |token| token.say("sub", "a\nb")),
    ];
    each_is_refused_at_sign_in(&subjects).await;
}

#[tokio::test]
async fn b79_what_nobody_signed_is_not_asked() {
    let house = House::with(|settings| {
        settings.groups_claim = Some("groups".into());
        settings.groups_prefix = Some(String::new());
    })
    .await;
    let asserted = house.sign_in().await.unwrap();
    assert_eq!((asserted.subject.as_str(), asserted.claims.groups), (SUBJECT, Some(Vec::new())));
    assert_eq!(house.idp.calls("/userinfo"), 0);
}

#[tokio::test]
async fn b80_a_code_is_worth_nothing_without_our_verifier() {
    let house = House::start().await;
    let (one, two) = (house.leave(&Ask::SignIn).await.unwrap(), house.leave(&Ask::SignIn).await.unwrap());
    let query = house.idp.visit(&one.url).await;
    // A code that somebody else asked for, put into our browser.
    let error = house.come_back(&Ask::SignIn, &two.keep, &query, house.clock.now()).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider refused: invalid_grant");
    // The challenge is taken out on the way: a provider that lets that pass is not one.
    let mut url = url::Url::parse(&one.url).unwrap();
    let kept: Vec<_> = url
        .query_pairs()
        .filter(|(name, _)| !name.starts_with("code_challenge"))
        .map(|(a, b)| (a.into_owned(), b.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(kept);
    let query = house.idp.visit(url.as_str()).await;
    let error = house.come_back(&Ask::SignIn, &one.keep, &query, house.clock.now()).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider refused: invalid_request");
}

#[tokio::test]
async fn b80_a_provider_without_s256_is_not_used() {
    for offered in [json!(["plain"]), json!([]), json!("S256")] {
        let house = House::start().await;
        house.idp.change_metadata(move |said| said["code_challenge_methods_supported"] = offered.clone());
        assert_eq!(house.leave(&Ask::SignIn).await.unwrap_err().code(), "provider_unusable");
    }
}

#[tokio::test]
async fn a_login_is_bound_to_what_it_is_for() {
    let lies: [Lie; 5] = [
        ("another nonce", "nonce", |token| token.say("nonce", "what another login is bound to")),
        ("none", "nonce", |token| token.omit("nonce")),
        ("a list", "nonce", |token| token.say("nonce", json!([token.claims["nonce"]]))),
        ("another access token's hash", "at_hash", |token| token.say("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")),
        ("a hash of the wrong type", "at_hash", |token| token.say("at_hash", 1)),
    ];
    each_is_refused_at_sign_in(&lies).await;
}

#[tokio::test]
async fn a_code_works_once() {
    let house = House::start().await;
    let leave = house.leave(&Ask::SignIn).await.unwrap();
    let query = house.idp.visit(&leave.url).await;
    house.come_back(&Ask::SignIn, &leave.keep, &query, house.clock.now()).await.unwrap();
    let error = house.come_back(&Ask::SignIn, &leave.keep, &query, house.clock.now()).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider refused: invalid_grant");
}

#[tokio::test]
async fn an_answer_is_that_of_the_provider_that_was_asked() {
    let house = House::start().await;
    house.sign_in().await.unwrap();
    house.idp.change_answer(|back| back.retain(|(name, _)| name != "iss"));
    assert_eq!(house.sign_in_fails().await, "mix_up", "it says that its answers name it");
    house.idp.change_answer(|back| {
        back.retain(|(name, _)| name != "iss");
        back.push(("iss".into(), "https://evil.example".into()));
    });
    assert_eq!(house.sign_in_fails().await, "mix_up");
    // Also an error of another is not believed.
    house.idp.change_answer(|back| {
        *back = vec![("error".into(), "access_denied".into()), ("iss".into(), "https://evil.example".into())];
    });
    assert_eq!(house.sign_in_fails().await, "mix_up");
    // One that names itself though it never said so is compared too.
    let silent = House::start().await;
    silent.idp.change_metadata(|said| said["authorization_response_iss_parameter_supported"] = json!(false));
    silent.idp.change_answer(|back| back.retain(|(name, _)| name != "iss"));
    silent.sign_in().await.unwrap();
    silent.idp.change_answer(|back| {
        back.retain(|(name, _)| name != "iss");
        back.push(("iss".into(), "https://evil.example".into()));
    });
    assert_eq!(silent.sign_in_fails().await, "mix_up");
}

/// Two providers, of which one is the attacker's: what was begun at one is not ended at the other.
#[tokio::test]
async fn what_was_begun_at_one_provider_is_not_ended_at_another() {
    let clock = Arc::new(FakeClock::new());
    let (honest, evil) = (TestProvider::start(clock.clone()).await, TestProvider::start(clock.clone()).await);
    let mut both = Vec::new();
    for (name, idp) in [("honest", &honest), ("evil", &evil)] {
        idp.register(Client::with_secret("stepgate", "a secret: +%", BACK));
        let mut settings = settings(&idp.issuer());
        settings.name = name.into();
        both.push(settings.check().unwrap());
    }
    let providers = Providers::new(both, clock.clone(), Arc::new(SeededRandomness::new(1))).unwrap();
    let [honest_name, evil_name] = ["honest", "evil"].map(|name| ProviderName::parse(name).unwrap());
    let ask = Ask::SignIn;
    let request =
        |provider| stepgate_core::provider::Authorize { provider, ask: &ask, state: "s", nonce: "n", hint: None };
    let leave = providers.authorize(request(&evil_name)).await.unwrap();
    let at_honest = providers.authorize(request(&honest_name)).await.unwrap();
    let query = honest.visit(&at_honest.url).await;
    let back = |provider, keep| CameBack {
        provider,
        ask: &ask,
        keep,
        nonce: "n",
        query: &query,
        asked_at: clock.now(),
        now: clock.now(),
    };
    // The honest one's code, brought to where the evil one was asked: it would be given to the evil one.
    assert_eq!(providers.finish(back(&evil_name, &leave.keep)).await.unwrap_err().why.code(), "mix_up");
    assert_eq!(evil.calls("/token"), 0, "the code goes nowhere");
    assert_eq!(providers.finish(back(&honest_name, &leave.keep)).await.unwrap_err().why.code(), "mix_up");
    assert_eq!(honest.calls("/token"), 0);
    providers.finish(back(&honest_name, &at_honest.keep)).await.unwrap();
}

#[tokio::test]
async fn a_rotated_key_is_found_and_an_unpublished_one_is_not() {
    let house = House::start().await;
    house.sign_in().await.unwrap();
    house.idp.rotate(Signer::new("RS256", "key-2"));
    // The keys were fetched three seconds ago.
    assert_eq!(house.sign_in_fails().await, "key");
    house.clock.advance(COOLDOWN);
    house.sign_in().await.unwrap();
    house.idp.sign_with_hidden(Signer::new("ES256", "hidden"));
    house.clock.advance(COOLDOWN);
    assert_eq!(house.sign_in_fails().await, "key");
    assert_eq!(house.idp.calls("/jwks"), 3);
}

#[tokio::test]
async fn answers_that_are_too_much_or_lead_elsewhere_are_refused() {
    let house = House::start().await;
    house.sign_in().await.unwrap();
    type Case = (&'static str, &'static str, fn() -> Answer);
    let cases: [Case; 7] = [
        ("huge", "provider_away", || Answer::new(200, &[], vec![b' '; 300 * 1024])),
        ("elsewhere", "provider_unusable", || Answer::new(307, &[("Location", "https://evil.example/")], "")),
        ("no JSON", "provider_away", || Answer::text("sorry")),
        ("two of one", "provider_away", || Answer::new(200, &[], r#"{"id_token":"a","id_token":"b"}"#)),
        ("no token", "missing", || Answer::new(200, &[], r#"{"access_token":"a"}"#)),
        ("stumbling", "provider_away", || Answer::new(500, &[], r#"{"error":"server_error"}"#)),
        ("hanging up", "provider_away", Answer::hang_up),
    ];
    for (what, code, answer) in cases {
        house.idp.answer_instead("/token", move |_| answer());
        assert_eq!(house.sign_in_fails().await, code, "{what}");
    }
    house.idp.be_honest();
    house.idp.change_token(|token| token.instead = Some("x".repeat(200 * 1024)));
    assert_eq!(house.sign_in_fails().await, "too_long");
    house.idp.change_token(|token| token.instead = Some("not a token".into()));
    assert_eq!(house.sign_in_fails().await, "malformed");
}

/// Time stands still but for who waits: the deadline comes at once.
#[tokio::test]
async fn a_provider_that_never_answers_is_away() {
    let house = House::start().await;
    house.sign_in().await.unwrap();
    let leave = house.leave(&Ask::SignIn).await.unwrap();
    let query = house.idp.visit(&leave.url).await;
    house.idp.answer_instead("/token", |_| Answer::Silence);
    tokio::time::pause();
    let error = house.come_back(&Ask::SignIn, &leave.keep, &query, house.clock.now()).await.unwrap_err();
    assert_eq!(error.code(), "provider_away");
    assert!(error.to_string().contains("did not answer in time"), "{error}");
}

#[tokio::test]
async fn groups_that_are_too_many_fail_and_are_not_cut() {
    let house = House::with(|settings| {
        settings.groups_claim = Some("groups".into());
        settings.groups_prefix = Some(String::new());
    })
    .await;
    let many: Vec<String> = (0..501).map(|index| format!("g{index}")).collect();
    house.idp.signed_in(house.idp.somebody().with("groups", json!(many)));
    assert_eq!(house.sign_in_fails().await, "groups_too_many");
    house.idp.signed_in(house.idp.somebody().with("groups", json!([1])));
    assert_eq!(house.sign_in_fails().await, "groups_malformed");
}

#[tokio::test]
async fn a_query_that_can_be_read_two_ways_is_refused() {
    let house = House::start().await;
    let leave = house.leave(&Ask::SignIn).await.unwrap();
    let issuer = house.idp.issuer();
    for (query, code) in [
        (String::new(), "mix_up"),
        (format!("iss={issuer}"), "malformed"),
        (format!("iss={issuer}&code="), "malformed"),
        (format!("iss={issuer}&code=a&code=b"), "malformed"),
        (format!("iss={issuer}&iss={issuer}&code=a"), "malformed"),
        (format!("iss={issuer}&code={}", "x".repeat(5000)), "malformed"),
        (format!("iss={issuer}&code={}", "x".repeat(20_000)), "malformed"),
        (format!("iss={issuer}&error=access_denied&code=a"), "provider_refused"),
    ] {
        let error = house.come_back(&Ask::SignIn, &leave.keep, &query, house.clock.now()).await.unwrap_err();
        assert_eq!(error.code(), code, "{query}");
    }
    let error =
        house.come_back(&Ask::SignIn, &leave.keep, &format!("iss={issuer}&error=%0Aevil"), house.clock.now()).await;
    assert_eq!(error.unwrap_err().to_string(), "the provider refused: unreadable");
    assert_eq!(house.idp.calls("/token"), 0);
}

#[tokio::test]
async fn a_clock_that_is_a_little_off_is_borne() {
    let house = House::start().await;
    house.idp.change_token(|token| {
        let iat = issued(token) + 25;
        token.say("iat", iat);
        token.say("auth_time", iat);
    });
    house.go(&step_up(&[MFA], 0)).await.unwrap();
    house.idp.change_token(|token| token.say("auth_time", issued(token) - 7));
    house.go(&step_up(&[MFA], 0)).await.unwrap();
    house.idp.change_token(|token| token.say("auth_time", issued(token) - 10));
    assert_eq!(house.step_up_fails(0).await, "old_login", "a slow clock does not make a new login of an old one");
    let strict = House::with(|settings| settings.clock_skew_s = 0).await;
    strict.idp.change_token(|token| token.say("auth_time", issued(token) - 5));
    assert_eq!(strict.step_up_fails(0).await, "old_login", "two seconds before it was asked for");
}

/// Whose a login was is handed on for the evidence where the provider signed it for us, and nowhere else.
#[tokio::test]
async fn a_login_that_is_refused_is_somebodys_if_the_provider_signed_that_for_us() {
    let house = House::start().await;
    let of_them: [Lie; 3] = [
        ("for something else", "nonce", |token| token.say("nonce", "another")),
        ("of nobody knows when", "old_login", |token| token.omit("auth_time")),
        ("a lesser one", "lesser_class", |token| token.say("acr", "pwd")),
    ];
    let of_nobody: [Lie; 3] = [
        ("for somebody else", "audience", |token| token.say("aud", "other")),
        ("with a subject that is too long", "subject", |token| token.say("sub", "x".repeat(256))),
        ("not signed", "algorithm", Forged::unsigned),
    ];
    for (lies, whose) in [(of_them, Some(SUBJECT)), (of_nobody, None)] {
        for (what, code, lie) in lies {
            house.idp.change_token(lie);
            assert_eq!(house.step_up_fails(300).await, code, "{what}");
            assert_eq!(house.whose_failed.lock().unwrap().take().as_deref(), whose, "{what}");
        }
    }
    house.idp.change_token(|token| token.say("sub", "subject-2"));
    assert_eq!(house.step_up_fails(300).await, "other_person");
    assert_eq!(house.whose_failed.lock().unwrap().take().as_deref(), Some("subject-2"));
}
