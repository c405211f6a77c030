//! Logout, in both directions.

use secrecy::SecretString;
use serde_json::{Value, json};
use stepgate_core::provider::{IdentityProviders, LogoutToken};
use stepgate_core::time::Clock;
use stepgate_testkit::provider::Forged;

use crate::house::{House, OUT, SUBJECT};

async fn taken(house: &House, token: &str) -> Result<LogoutToken, &'static str> {
    house.providers.logout_token(&house.name, token, house.clock.now()).await.map_err(|error| error.code())
}

#[tokio::test]
async fn a_logout_token_names_a_person_or_a_session() {
    let house = House::start().await;
    let token = house.idp.logout_token("stepgate", Some(SUBJECT), Some("sid-1"));
    let said = taken(&house, &token).await.unwrap();
    assert_eq!((said.subject.as_deref(), said.sid.as_deref()), (Some(SUBJECT), Some("sid-1")));
    assert_eq!(said.issuer, house.idp.issuer());
    let other = taken(&house, &house.idp.logout_token("stepgate", None, Some("sid-1"))).await.unwrap();
    assert_ne!(said.id, other.id);
    // As older providers head them.
    for typ in [json!("JWT"), json!("application/logout+jwt"), Value::Null] {
        house.idp.change_token(move |token| match &typ {
            Value::Null => token.header = json!({ "alg": "ES256", "kid": "key-1" }),
            typ => token.header["typ"] = typ.clone(),
        });
        taken(&house, &house.idp.logout_token("stepgate", Some(SUBJECT), None)).await.unwrap();
    }
}

#[tokio::test]
async fn b78_what_is_no_logout_token_of_ours_ends_nothing() {
    let house = House::start().await;
    type Lie = (&'static str, &'static str, fn(&mut Forged));
    let lies: [Lie; 15] = [
        ("another client's", "audience", |token| token.say("aud", "other")),
        ("another issuer's", "issuer", |token| token.say("iss", "https://evil.example")),
        ("no events", "events", |token| token.omit("events")),
        ("other events", "events", |token| token.say("events", json!({ "other": {} }))),
        ("an event of the wrong type", "events", |token| {
            token.say("events", json!({ "http://schemas.openid.net/event/backchannel-logout": true }));
        }),
        ("a nonce", "nonce", |token| token.say("nonce", "x")),
        ("a nonce of null", "nonce", |token| token.say("nonce", Value::Null)),
        ("no jti", "jti", |token| token.omit("jti")),
        ("an empty jti", "jti", |token| token.say("jti", "")),
        ("nobody", "subject", |token| token.omit("sub")),
        ("no exp", "expired", |token| token.omit("exp")),
        ("exp as text", "exp_not_a_number", |token| token.say("exp", "9999999999")),
        ("no iat", "issued", |token| token.omit("iat")),
        ("an access token", "typ", |token| token.header["typ"] = json!("at+jwt")),
        ("unsigned", "algorithm", Forged::unsigned),
    ];
    for (what, code, lie) in lies {
        house.idp.change_token(lie);
        let token = house.idp.logout_token("stepgate", Some(SUBJECT), None);
        assert_eq!(taken(&house, &token).await, Err(code), "{what}");
    }
    house.idp.be_honest();
    let old = house.idp.logout_token("stepgate", Some(SUBJECT), None);
    house.clock.advance(std::time::Duration::from_secs(151));
    assert_eq!(taken(&house, &old).await, Err("expired"));
}

#[tokio::test]
async fn what_is_at_a_limit_is_taken_and_one_more_is_not() {
    let house = House::start().await;
    let text = |len: usize| "x".repeat(len);
    for (name, limit, wrong) in [("jti", 255, "jti"), ("sid", 512, "sid"), ("sub", 255, "subject")] {
        for (len, expected) in [(limit, Ok(())), (limit + 1, Err(wrong))] {
            house.idp.change_token(move |token| token.say(name, "x".repeat(len)));
            let token = house.idp.logout_token("stepgate", Some(SUBJECT), None);
            assert_eq!(taken(&house, &token).await.map(drop), expected, "{name} {len}");
        }
    }
    for (len, expected) in [(10_000, Ok(())), (16 * 1024, Err("too_long"))] {
        house.idp.change_token(move |token| token.say("more", "x".repeat(len)));
        let token = house.idp.logout_token("stepgate", Some(SUBJECT), None);
        assert_eq!(taken(&house, &token).await.map(drop), expected, "{len}");
    }
    // It lives for an hour, and is told at once or not at all.
    let end = house.clock.now().as_ms() / 1_000 + 3_600;
    house.idp.change_token(move |token| token.say("exp", end));
    let token = house.idp.logout_token("stepgate", Some(&text(3)), None);
    house.clock.advance(std::time::Duration::from_secs(600));
    assert_eq!(taken(&house, &token).await.map(drop), Ok(()));
    house.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(taken(&house, &token).await.map(drop), Err("old"));
}

/// An ID token is no logout token, and a logout token no ID token: the type, the nonce
/// and the events keep them apart.
#[tokio::test]
async fn an_id_token_ends_nothing() {
    use secrecy::ExposeSecret;
    let house = House::start().await;
    let asserted = house.sign_in().await.unwrap();
    assert_eq!(taken(&house, asserted.id_token.expose_secret()).await, Err("events"));
}

#[tokio::test]
async fn the_browser_signs_out_there_too() {
    let house = House::start().await;
    let asserted = house.sign_in().await.unwrap();
    let url = house.providers.logout_url(&house.name, &asserted.id_token).await.unwrap();
    let url = url::Url::parse(&url).unwrap();
    let said: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!((said["client_id"].as_str(), said["post_logout_redirect_uri"].as_str()), ("stepgate", OUT));
    assert!(said["id_token_hint"].starts_with("eyJ"));
    // A token that makes the URL too long stays at home.
    let long = SecretString::from("x".repeat(9000));
    let url = house.providers.logout_url(&house.name, &long).await.unwrap();
    assert!(url.contains("client_id=stepgate") && !url.contains("id_token_hint"));
    let without = House::start().await;
    without.idp.change_metadata(|said| {
        said.as_object_mut().unwrap().remove("end_session_endpoint");
    });
    assert_eq!(without.providers.logout_url(&without.name, &asserted.id_token).await, None);
}
