//! What a provider says of itself, and what of it is refused, with the reason.

use std::time::Duration;

use serde_json::{Value, json};
use stepgate_core::provider::{Ask, NotAsserted};
use stepgate_identity::keys::COOLDOWN;
use stepgate_identity::provider::NoMetadata;
use stepgate_testkit::Answer;

use crate::house::House;

async fn look(house: &House) -> Result<(), NoMetadata> {
    let mut looks = house.providers.look().await;
    assert_eq!(looks.len(), 1);
    looks.remove(0).1
}

#[tokio::test]
async fn metadata_that_cannot_be_used_say_why() {
    type Case = (&'static str, fn(&mut Value));
    let cases: [Case; 12] = [
        ("are those of the issuer \"https://evil.example\"", |said| said["issuer"] = json!("https://evil.example")),
        ("are those of the issuer", |said| said["issuer"] = json!(format!("{}/", said["issuer"].as_str().unwrap()))),
        ("name no issuer", |said| said["issuer"] = json!(["x"])),
        ("token_endpoint of", |said| said["token_endpoint"] = json!("http://idp.example/token")),
        ("is not https", |said| said["jwks_uri"] = json!("http://idp.example/jwks")),
        ("is not https", |said| said["authorization_endpoint"] = json!("http://idp.example/authorize")),
        ("a link-local or reserved address", |said| said["token_endpoint"] = json!("https://169.254.169.254/token")),
        ("has a user name", |said| said["token_endpoint"] = json!("https://a:b@idp.example/token")),
        ("has no jwks_uri", |said| said["jwks_uri"] = Value::Null),
        ("is no URL", |said| said["token_endpoint"] = json!(7)),
        ("is no URL", |said| said["end_session_endpoint"] = json!("logout")),
        ("PKCE with S256", |said| said["code_challenge_methods_supported"] = json!(["plain"])),
    ];
    for (why, change) in cases {
        let house = House::start().await;
        house.idp.change_metadata(change);
        match look(&house).await {
            Err(NoMetadata::Unusable(said)) => assert!(said.contains(why), "{said:?} instead of {why:?}"),
            other => panic!("{why}: {other:?}"),
        }
        assert_eq!(house.leave(&Ask::SignIn).await.unwrap_err().code(), "provider_unusable", "{why}");
    }
}

/// On this machine only where the configuration says so; a public provider's endpoints lead to no such place.
#[tokio::test]
async fn endpoints_on_this_machine_are_refused_unless_allowed() {
    use stepgate_identity::http::{Http, Reach};
    use stepgate_identity::provider::Issuer;
    let house = House::start().await;
    let issuer = Issuer::new(Http::new(Reach::Network, None).unwrap(), &house.idp.issuer());
    match issuer.metadata(stepgate_testkit::clock::BEGINNING).await {
        Err(NoMetadata::Unusable(why)) => assert!(why.contains("unless `danger_loopback` says so"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(house.idp.requests().is_empty());
}

#[tokio::test]
async fn answers_that_are_no_metadata_are_refused() {
    type Case = (&'static str, fn() -> Answer);
    // A page that says that somebody works on it is no mistake of the configuration: it heals.
    let cases: [Case; 6] = [
        ("not a JSON object", || Answer::text("hello")),
        ("not a JSON object", || Answer::new(200, &[], r#"{"issuer":"a","issuer":"b"}"#)),
        ("larger than", || Answer::new(200, &[], vec![b' '; 300 * 1024])),
        ("redirect", || Answer::new(302, &[("Location", "https://other.example/")], "")),
        ("answered with 404", || Answer::new(404, &[], "")),
        ("cannot be reached", Answer::hang_up),
    ];
    for (why, answer) in cases {
        let house = House::start().await;
        house.idp.answer_instead("/.well-known/openid-configuration", move |_| answer());
        let error = look(&house).await.unwrap_err();
        assert!(matches!(error, NoMetadata::Away(_)), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_at_first_heals_by_itself() {
    let house = House::start().await;
    house.idp.answer_instead("/.well-known/openid-configuration", |_| Answer::new(503, &[], ""));
    let error = house.leave(&Ask::SignIn).await.unwrap_err();
    assert!(matches!(&error, NotAsserted::Away(why) if why.contains("503")), "{error}");
    house.idp.be_honest();
    // A moment later nobody asks again, and the reason is still told.
    let again = house.leave(&Ask::SignIn).await.unwrap_err();
    assert_eq!(again, error);
    assert_eq!(house.idp.requests().len(), 1);
    house.clock.advance(COOLDOWN);
    house.sign_in().await.unwrap();
}

#[tokio::test]
async fn a_provider_that_goes_away_later_is_asked_nothing_new_for_a_day() {
    let house = House::start().await;
    house.sign_in().await.unwrap();
    house.idp.answer_instead("/.well-known/openid-configuration", |_| Answer::new(503, &[], ""));
    house.clock.advance(Duration::from_secs(2 * 3600));
    house.sign_in().await.unwrap();
    house.clock.advance(Duration::from_secs(25 * 3600));
    assert_eq!(house.leave(&Ask::SignIn).await.unwrap_err().code(), "provider_away");
}

#[tokio::test]
async fn one_look_serves_many_logins() {
    let house = House::start().await;
    for _ in 0..5 {
        house.sign_in().await.unwrap();
    }
    assert_eq!(house.idp.calls("/.well-known/openid-configuration"), 1);
    assert_eq!(house.idp.calls("/jwks"), 1);
}
