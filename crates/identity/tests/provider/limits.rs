//! What is at a limit is taken, and one more is not.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use stepgate_core::provider::{Ask, Authorize, IdentityProviders as _, Renewed};
use stepgate_core::time::Clock as _;
use stepgate_identity::provider::ProviderSettings;
use stepgate_testkit::Answer;

use crate::house::{BACK, House, SUBJECT, level, second_factor};

/// As the limits say it that are the rooms' own.
const CODE_LEN: usize = 4096;
const QUERY_LEN: usize = 16 * 1024;
const REFRESH_TOKEN_LEN: usize = 16 * 1024;
const REQUEST_URI_LEN: usize = 2048;
const HINT_LEN: usize = 254;
const METHODS: usize = 50;
const TEXT_LEN: usize = 512;

fn text(len: usize) -> String {
    "x".repeat(len)
}

#[tokio::test]
async fn each_claim_of_an_id_token_has_its_limit() {
    let house = House::start().await;
    let says = async |name: &'static str, value: serde_json::Value| {
        house.idp.change_token(move |token| token.say(name, value.clone()));
        house.sign_in().await.map_or_else(|error| error.code(), |_| "ok")
    };
    let methods = |count: usize| json!((0..count).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(says("amr", methods(METHODS)).await, "ok");
    assert_eq!(says("amr", methods(METHODS + 1)).await, "amr");
    assert_eq!(says("amr", json!([text(TEXT_LEN)])).await, "ok");
    assert_eq!(says("amr", json!([text(TEXT_LEN + 1)])).await, "amr");
    for name in ["acr", "sid"] {
        assert_eq!(says(name, json!(text(TEXT_LEN))).await, "ok");
        assert_eq!(says(name, json!(text(TEXT_LEN + 1))).await, name);
    }
}

#[tokio::test]
async fn what_the_browser_brings_back_has_its_limits() {
    let house = House::start().await;
    let leave = house.leave(&Ask::SignIn).await.unwrap();
    let issuer = house.idp.issuer();
    let back = async |query: String| {
        let came = house.come_back(&Ask::SignIn, &leave.keep, &query, house.clock.now()).await;
        (came.unwrap_err().code(), house.idp.calls("/token"))
    };
    // What is read is redeemed, and the provider knows no such code.
    let with_code = |len: usize| format!("iss={issuer}&code={}", text(len));
    assert_eq!(back(with_code(CODE_LEN)).await, ("provider_refused", 1));
    assert_eq!(back(with_code(CODE_LEN + 1)).await, ("malformed", 1));
    let of_len = |len: usize| {
        let query = format!("iss={issuer}&code=a&more=");
        format!("{query}{}", text(len - query.len()))
    };
    assert_eq!(back(of_len(QUERY_LEN)).await, ("provider_refused", 2));
    assert_eq!(back(of_len(QUERY_LEN + 1)).await, ("malformed", 2));
}

#[tokio::test]
async fn a_refresh_token_that_is_longer_than_is_kept_is_none() {
    let house = House::with(|settings| settings.renews_every = Some(Duration::from_secs(900))).await;
    let renewed = async |len: usize| {
        let said = json!({ "access_token": "a", "token_type": "Bearer", "refresh_token": text(len) }).to_string();
        house.idp.answer_instead("/token", move |_| Answer::new(200, &[], said.clone()));
        match house.providers.renew(&house.name, SUBJECT, &SecretString::from("former"), house.clock.now()).await {
            Renewed::Stands { refresh_token, .. } => refresh_token.map(|token| token.expose_secret().len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(renewed(REFRESH_TOKEN_LEN).await, Some(REFRESH_TOKEN_LEN));
    assert_eq!(renewed(REFRESH_TOKEN_LEN + 1).await, None);
}

#[tokio::test]
async fn where_a_pushed_request_lies_is_said_shortly() {
    let house = House::start().await;
    let par = format!("{}/par", house.idp.issuer());
    house.idp.change_metadata(move |said| said["pushed_authorization_request_endpoint"] = json!(par));
    let pushed = async |len: usize| {
        let said = json!({ "request_uri": text(len), "expires_in": 60 }).to_string();
        house.idp.answer_instead("/par", move |_| Answer::new(201, &[], said.clone()));
        house.leave(&Ask::SignIn).await.map_or_else(|error| error.code(), |_| "ok")
    };
    assert_eq!(pushed(REQUEST_URI_LEN).await, "ok");
    assert_eq!(pushed(REQUEST_URI_LEN + 1).await, "provider_away");
}

#[tokio::test]
async fn a_hint_that_is_too_long_is_not_passed_on() {
    let house = House::start().await;
    let hinted = async |len: usize| {
        let hint = text(len);
        let request = Authorize { provider: &house.name, ask: &Ask::SignIn, state: "s", nonce: "n", hint: Some(&hint) };
        house.providers.authorize(request).await.unwrap().url.contains("login_hint=")
    };
    assert!(hinted(HINT_LEN).await);
    assert!(!hinted(HINT_LEN + 1).await);
}

#[test]
fn what_may_be_configured_has_its_limits() {
    let takes = |change: &dyn Fn(&mut ProviderSettings)| {
        let mut settings = ProviderSettings::new("company", "https://idp.example", "stepgate", BACK);
        change(&mut settings);
        settings.check().is_ok()
    };
    let levels = |count: usize| (0..count).map(|index| level(&format!("l{index}"), second_factor())).collect();
    assert!(takes(&|settings| settings.levels = levels(20)));
    assert!(!takes(&|settings| settings.levels = levels(21)));
    assert!(takes(&|settings| settings.clock_skew_s = 300));
    assert!(!takes(&|settings| settings.clock_skew_s = 301));
}
