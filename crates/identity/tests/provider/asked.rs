//! What an honest provider is asked, and what comes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use stepgate_core::factor::Strength;
use stepgate_core::provider::IdentityProviders;
use stepgate_core::provider::{Ask, Renewed};
use stepgate_core::time::Clock;
use stepgate_identity::provider::{AskFor, ClientAuthMethod, LevelSettings, Preset};
use stepgate_testkit::Signer;
use stepgate_testkit::provider::{Client, ClientProof, Somebody};

use crate::house::{BACK, House, MFA, PHISHING_RESISTANT, SUBJECT, level, second_factor, step_up};

fn asked(house: &House) -> BTreeMap<String, String> {
    house.idp.asked().pop().expect("it was asked")
}

fn json_of(asked: &BTreeMap<String, String>, name: &str) -> Value {
    asked.get(name).map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

#[tokio::test]
async fn somebody_signs_in() {
    let house = House::with(|settings| {
        settings.groups_claim = Some("groups".into());
        settings.groups = BTreeMap::from([("their-ops".into(), "ops".into())]);
    })
    .await;
    let logged_in_at = house.idp.somebody().logged_in_at;
    house.idp.signed_in(house.idp.somebody().with("groups", json!(["their-ops", "other"])));
    let asserted = house.sign_in().await.unwrap();
    assert_eq!((asserted.issuer.as_str(), asserted.subject.as_str()), (house.idp.issuer().as_str(), SUBJECT));
    assert_eq!(asserted.sid.as_deref(), Some("sid-of-subject-1"));
    assert_eq!((asserted.acr.as_str(), asserted.strength), ("pwd", Strength::NONE), "a class without worth");
    assert_eq!((asserted.auth_time, asserted.amr), (Some(logged_in_at), vec!["pwd".to_owned()]));
    assert_eq!(asserted.claims.login.as_deref(), Some("ada"));
    assert_eq!(asserted.claims.email.as_deref(), Some("ada@example.com"));
    assert_eq!(asserted.claims.groups, Some(vec!["ops".to_owned()]));
    assert_eq!(asserted.key, house.idp.key().jwk());
    assert!(asserted.refresh_token.is_none());
    let asked = asked(&house);
    let said = |name: &str| asked.get(name).map(String::as_str);
    assert_eq!(said("response_type"), Some("code"));
    assert_eq!(said("code_challenge_method"), Some("S256"));
    assert_eq!(said("redirect_uri"), Some(BACK));
    assert_eq!((said("state"), said("login_hint")), (Some("a state"), Some("ada")));
    assert_eq!((said("acr_values"), said("max_age"), said("prompt")), (None, None, None));
    assert_eq!(json_of(&asked, "claims"), json!({ "id_token": { "auth_time": { "essential": true }, "acr": null } }));
    assert_eq!(house.idp.calls("/userinfo"), 0);
}

#[tokio::test]
async fn a_class_of_a_sign_in_counts_as_configured() {
    let house = House::start().await;
    let mut somebody = house.idp.somebody();
    somebody.acr = Some(PHISHING_RESISTANT.to_owned());
    house.idp.signed_in(somebody);
    let asserted = house.sign_in().await.unwrap();
    assert_eq!(asserted.acr, PHISHING_RESISTANT);
    assert_eq!(asserted.strength, second_factor().and(Strength::PHISHING_RESISTANT));
}

#[tokio::test]
async fn a_step_up_asks_for_class_and_age_and_comes_back_new() {
    let house = House::start().await;
    let asserted = house.go(&step_up(&[PHISHING_RESISTANT, MFA], 300)).await.unwrap();
    assert_eq!(asserted.acr, PHISHING_RESISTANT, "in the order in which it was asked");
    assert_eq!(asserted.strength, second_factor().and(Strength::PHISHING_RESISTANT));
    let asked = asked(&house);
    assert_eq!(asked["acr_values"], "phr urn:example:mfa");
    assert_eq!((asked["max_age"].as_str(), asked.get("prompt")), ("300", None));
    let essential = json!({ "essential": true, "values": [PHISHING_RESISTANT, MFA] });
    assert_eq!(json_of(&asked, "claims")["id_token"]["acr"], essential);
}

#[tokio::test]
async fn nobody_is_sent_for_a_class_that_is_not_configured() {
    let house = House::start().await;
    let error = house.leave(&step_up(&["another"], 300)).await.unwrap_err();
    assert_eq!(error.code(), "provider_unusable");
    assert!(house.idp.asked().is_empty());
}

#[tokio::test]
async fn an_age_of_zero_is_a_new_login() {
    let house = House::start().await;
    let before = house.clock.now();
    let asserted = house.go(&step_up(&[MFA], 0)).await.unwrap();
    assert_eq!(asserted.auth_time, Some(before));
    let asked = asked(&house);
    assert_eq!((asked["max_age"].as_str(), asked["prompt"].as_str()), ("0", "login"));
}

/// Of a login that is young enough no new one is made, and the way back may take as long as it does.
#[tokio::test]
async fn a_login_that_was_young_when_it_was_asked_for_counts() {
    let house = House::start().await;
    let mut somebody = house.idp.somebody();
    let logged_in_at = house.clock.now();
    somebody.logged_in_at = logged_in_at;
    house.idp.signed_in(somebody);
    house.clock.advance(Duration::from_secs(299));
    let asserted = house.go(&step_up(&[MFA], 300)).await.unwrap();
    assert_eq!(asserted.auth_time, Some(logged_in_at), "302 seconds ago when it came back");
}

#[tokio::test]
async fn what_the_person_cannot_prove_is_refused_by_the_provider() {
    let house = House::start().await;
    house.idp.signed_in(house.idp.somebody().who_can(&[]));
    let error = house.go(&step_up(&[MFA], 300)).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider refused: unmet_authentication_requirements");
    house.idp.refuse("access_denied");
    assert_eq!(house.sign_in().await.unwrap_err().to_string(), "the provider refused: access_denied");
}

#[tokio::test]
async fn where_requests_are_pushed_the_browser_carries_none() {
    let house = House::start().await;
    let par = format!("{}/par", house.idp.issuer());
    house.idp.change_metadata(move |said| said["pushed_authorization_request_endpoint"] = json!(par));
    let leave = house.leave(&Ask::SignIn).await.unwrap();
    assert!(leave.url.contains("request_uri=") && !leave.url.contains("nonce"), "{}", leave.url);
    house.sign_in().await.unwrap();
    assert_eq!(asked(&house)["client_id"], "stepgate");
    assert_eq!(house.idp.calls("/par"), 2);
    let never = House::with(|settings| settings.pushes = false).await;
    let par = format!("{}/par", never.idp.issuer());
    never.idp.change_metadata(move |said| said["pushed_authorization_request_endpoint"] = json!(par));
    never.sign_in().await.unwrap();
    assert_eq!(never.idp.calls("/par"), 0);
}

#[tokio::test]
async fn a_client_proves_itself_in_each_way() {
    let in_form = House::with(|settings| settings.client_auth = Some(ClientAuthMethod::SecretPost)).await;
    let client = |proof| Client { proof, ..Client::with_secret("stepgate", "", BACK) };
    in_form.idp.register(client(ClientProof::Post("a secret: +%".into())));
    in_form.sign_in().await.unwrap();

    let offered = House::start().await;
    offered.idp.register(client(ClientProof::Post("a secret: +%".into())));
    offered.idp.change_metadata(|said| said["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]));
    offered.sign_in().await.unwrap();

    let public = House::with(|settings| settings.client_secret = None).await;
    public.idp.register(client(ClientProof::Public));
    public.sign_in().await.unwrap();

    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = base64::engine::general_purpose::STANDARD.encode(pair.to_pkcs8v1().unwrap());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    let signed = House::with(|settings| settings.client_key = Some(SecretString::from(pem))).await;
    signed.idp.register(client(ClientProof::Key(pair.public_key().as_ref().to_vec())));
    let par = format!("{}/par", signed.idp.issuer());
    signed.idp.change_metadata(move |said| said["pushed_authorization_request_endpoint"] = json!(par));
    signed.sign_in().await.unwrap();

    let wrong = House::with(|settings| settings.client_secret = Some(SecretString::from("wrong"))).await;
    assert_eq!(wrong.sign_in().await.unwrap_err().to_string(), "the provider refused: invalid_client");
}

#[tokio::test]
async fn each_algorithm_is_taken_unless_the_configuration_says_otherwise() {
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let house = House::start().await;
        house.idp.rotate(Signer::new(algorithm, "one"));
        house.sign_in().await.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
    }
    let only = House::with(|settings| settings.algorithms = vec!["RS256".parse().unwrap()]).await;
    assert_eq!(only.sign_in_fails().await, "algorithm");
}

#[tokio::test]
async fn a_login_is_renewed_until_it_ends() {
    let house = House::with(|settings| settings.renews_every = Some(Duration::from_secs(300))).await;
    let first = house.sign_in().await.unwrap().refresh_token.expect("a refresh token");
    let asked = asked(&house);
    assert!(asked["scope"].split(' ').any(|one| one == "offline_access") && asked["prompt"] == "consent");
    let renew = async |token: &SecretString, subject: &str| {
        house.providers.renew(&house.name, subject, token, house.clock.now()).await
    };
    let Renewed::Stands { claims, refresh_token } = renew(&first, SUBJECT).await else { panic!("it stands") };
    assert_eq!(claims.unwrap().login.as_deref(), Some("ada"));
    let second = refresh_token.expect("it was rotated");
    assert_ne!(second.expose_secret(), first.expose_secret());
    assert!(matches!(renew(&first, SUBJECT).await, Renewed::Ended), "used before");
    assert!(matches!(renew(&second, "subject-2").await, Renewed::Ended), "of another person");
    house.idp.end_logins();
    assert!(matches!(renew(&second, SUBJECT).await, Renewed::Ended));
    house.idp.stop().await;
    assert!(matches!(renew(&second, SUBJECT).await, Renewed::Away { .. }));
}

/// Nobody is asked for consent at each sign-in by a provider that does not need it.
#[tokio::test]
async fn a_refresh_token_is_had_as_the_preset_says() {
    for preset in Preset::ALL {
        let ways = preset.ways();
        let house = House::with(|settings| {
            settings.preset = preset;
            settings.levels = Vec::new();
            settings.renews_every = Some(Duration::from_secs(300));
        })
        .await;
        house.sign_in().await.unwrap();
        let asked = asked(&house);
        let offline = asked["scope"].split(' ').any(|one| one == "offline_access");
        let said = |name: &str| asked.get(name).map(String::as_str);
        let found = (offline, said("prompt"), said("access_type"));
        let expected = match preset {
            Preset::Generic => (true, Some("consent"), None),
            Preset::Keycloak => (false, None, None),
            Preset::Google => (false, Some("consent"), Some("offline")),
            _ => (true, None, None),
        };
        assert_eq!(found, expected, "{}", ways.name);
    }
}

#[tokio::test]
async fn entra_is_asked_for_an_authentication_context() {
    let house = House::with(|settings| {
        settings.preset = Preset::Entra;
        settings.levels = vec![level("c1", second_factor()), level("c2", Strength::PHISHING_RESISTANT)];
    })
    .await;
    house.idp.signed_in(house.idp.somebody().who_can(&["c1"]));
    let asserted = house.go(&step_up(&["c1"], 300)).await.unwrap();
    assert_eq!((asserted.acr.as_str(), asserted.strength), ("c1", second_factor()));
    let asked = asked(&house);
    assert_eq!(json_of(&asked, "claims"), json!({ "id_token": { "acrs": { "essential": true, "value": "c1" } } }));
    assert_eq!((asked.get("acr_values"), asked["prompt"].as_str()), (None, "login"));
    // `acr` is not where Entra says it.
    let mut somebody = house.idp.somebody();
    somebody.acr = Some("c2".into());
    house.idp.signed_in(somebody.who_can(&["c2"]));
    house.idp.change_token(|token| token.say("acrs", json!(["c1"])));
    assert_eq!(house.go(&step_up(&["c2"], 300)).await.unwrap_err().code(), "lesser_class");
}

#[tokio::test]
async fn methods_prove_a_class_where_the_provider_names_none() {
    let house = House::with(|settings| {
        settings.preset = Preset::Zitadel;
        settings.levels =
            vec![LevelSettings { acr: "mfa".into(), strength: second_factor(), amr: vec!["mfa".into(), "otp".into()] }];
    })
    .await;
    let ask = step_up(&["mfa"], 300);
    assert_eq!(house.go(&ask).await.unwrap_err().code(), "lesser_class", "only pwd");
    let asked = asked(&house);
    assert_eq!((asked.get("acr_values"), asked.get("claims"), asked["prompt"].as_str()), (None, None, "login"));
    let mut somebody: Somebody = house.idp.somebody();
    // The name of the class alone proves nothing.
    somebody.acr = Some("mfa".into());
    somebody.amr = vec!["pwd".into(), "otp".into()];
    house.idp.signed_in(somebody.clone());
    assert_eq!(house.go(&ask).await.unwrap_err().code(), "lesser_class");
    somebody.amr.push("mfa".into());
    house.idp.signed_in(somebody);
    let asserted = house.go(&ask).await.unwrap();
    assert_eq!((asserted.acr.as_str(), asserted.strength), ("mfa", second_factor()));
}

#[tokio::test]
async fn a_provider_without_claims_is_asked_for_an_age_that_nobody_has() {
    let house = House::start().await;
    house.idp.change_metadata(|said| said["claims_parameter_supported"] = json!(false));
    house.sign_in().await.unwrap();
    assert_eq!((asked(&house).get("claims"), asked(&house)["max_age"].as_str()), (None, "31536000"));
    house.go(&step_up(&[MFA], 300)).await.unwrap();
    assert_eq!((asked(&house).get("claims"), asked(&house)["acr_values"].as_str()), (None, MFA));
}

/// Every preset signs in and, if it can, steps up at a provider that keeps to the standard.
#[tokio::test]
async fn each_preset_goes_there_and_comes_back() {
    for preset in Preset::ALL {
        let ways = preset.ways();
        let house = House::with(|settings| {
            settings.preset = preset;
            settings.levels = Vec::new();
            if ways.steps_up {
                let acr = if preset == Preset::Entra { "c1" } else { "mfa" };
                let amr = if ways.ask_for == AskFor::Login { vec!["mfa".to_owned()] } else { Vec::new() };
                settings.levels.push(LevelSettings { acr: acr.into(), strength: second_factor(), amr });
            }
        })
        .await;
        let mut somebody = house.idp.somebody().who_can(&["c1", "mfa"]);
        if ways.ask_for == AskFor::Login {
            somebody.amr.push("mfa".into());
        }
        house.idp.signed_in(somebody);
        let asserted = house.sign_in().await.unwrap_or_else(|error| panic!("{}: {error}", ways.name));
        assert!(asserted.auth_time.is_some(), "{}", ways.name);
        if !ways.steps_up {
            assert!(house.leave(&step_up(&["mfa"], 60)).await.is_err(), "{}", ways.name);
            continue;
        }
        let acr = house.providers.all()[0].levels[0].acr.clone();
        let asserted = house.go(&step_up(&[&acr], 60)).await.unwrap_or_else(|error| panic!("{}: {error}", ways.name));
        assert_eq!((asserted.acr, asserted.strength), (acr, second_factor()), "{}", ways.name);
        assert_eq!(asserted.auth_time.map(|at| house.clock.now().since(at)), Some(Some(Duration::from_secs(3))));
    }
}
