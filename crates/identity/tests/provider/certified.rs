//! Sign-in, step-up, renewal and logout at `oidc-provider`, which nobody here wrote.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::{Value, json};
use stepgate_core::factor::Strength;
use stepgate_core::provider::{
    Ask, Asserted, Authorize, CameBack, IdentityProviders, NotAsserted, ProviderName, Renewed,
};
use stepgate_core::time::{Clock, Timestamp};
use stepgate_identity::provider::{ProviderSettings, Providers};
use stepgate_testkit::certified_provider::AtProvider;
use stepgate_testkit::{Answer, CertifiedProvider, RecordingUpstream, SeededRandomness};

use crate::house::{BACK, MFA, OUT, PHISHING_RESISTANT, second_factor, settings, step_up, verifies_years_later};

const NONCE: &str = "what the login is bound to";

/// The provider's clock is the machine's.
#[derive(Debug)]
struct MachineClock;

impl Clock for MachineClock {
    #[expect(clippy::disallowed_methods, reason = "the provider beside it reads the same clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        Timestamp::from_ms(i64::try_from(since.as_millis()).expect("before the end of time"))
    }
}

struct House {
    idp: CertifiedProvider,
    providers: Providers,
    name: ProviderName,
    browser: AtProvider,
}

fn client(more: &Value) -> Value {
    let mut client = json!({
        "client_id": "stepgate",
        "client_secret": "a secret: +%",
        "redirect_uris": [BACK],
        "post_logout_redirect_uris": [OUT],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "id_token_signed_response_alg": "ES256",
        "require_auth_time": true,
    });
    let said = client.as_object_mut().unwrap();
    said.extend(more.as_object().unwrap().clone());
    said.retain(|_, value| !value.is_null());
    client
}

impl House {
    async fn start() -> Self {
        Self::with(&json!({}), |_| {}).await
    }

    /// With more about the client there, and changed settings here.
    async fn with(more: &Value, change: impl FnOnce(&mut ProviderSettings)) -> Self {
        let idp = CertifiedProvider::start(&[client(more)]);
        let claims = json!({ "name": "Ada Lovelace", "preferred_username": "ada", "groups": ["ops"] });
        idp.script(&json!({ "subject": "subject-1", "claims": claims, "can": [MFA, PHISHING_RESISTANT] })).await;
        let mut settings = settings(idp.issuer());
        settings.groups_claim = Some("groups".into());
        settings.groups_prefix = Some(String::new());
        change(&mut settings);
        let name = ProviderName::parse(&settings.name).unwrap();
        let random = Arc::new(SeededRandomness::new(3));
        let providers = Providers::new(vec![settings.check().unwrap()], Arc::new(MachineClock), random).unwrap();
        Self { idp, providers, name, browser: AtProvider::default() }
    }

    async fn go(&self, ask: &Ask) -> Result<Asserted, NotAsserted> {
        self.go_by(ask, |url| url).await
    }

    /// There and back, where the person may change the URL before they go.
    async fn go_by(&self, ask: &Ask, change: impl FnOnce(String) -> String) -> Result<Asserted, NotAsserted> {
        let (provider, asked_at) = (&self.name, MachineClock.now());
        let request = Authorize { provider, ask, state: "a state", nonce: NONCE, hint: None };
        let leave = self.providers.authorize(request).await?;
        let query = self.idp.visit(&self.browser, &change(leave.url)).await;
        let (keep, now) = (&leave.keep, MachineClock.now());
        let came = CameBack { provider, ask, keep, nonce: NONCE, query: &query, asked_at, now };
        let came = self.providers.finish(came).await.map_err(|failed| failed.why);
        came.inspect(|asserted| verifies_years_later(asserted, NONCE))
    }

    async fn sign_in(&self) -> Asserted {
        self.go(&Ask::SignIn).await.unwrap_or_else(|error| panic!("{error}\n{}", self.idp.said().join("\n")))
    }
}

#[tokio::test]
async fn somebody_signs_in_and_steps_up() {
    let house = House::start().await;
    let asserted = house.sign_in().await;
    assert_eq!((asserted.issuer.as_str(), asserted.subject.as_str()), (house.idp.issuer(), "subject-1"));
    assert_eq!((asserted.acr.as_str(), asserted.strength), ("pwd", Strength::NONE));
    assert_eq!(asserted.claims.name.as_deref(), Some("Ada Lovelace"));
    assert_eq!(asserted.claims.groups, Some(vec!["ops".to_owned()]));
    assert_eq!(asserted.key["kty"], "EC");
    let at = asserted.auth_time.expect("it was asked for");

    // The session there is young enough, and of too low a class.
    let stepped = house.go(&step_up(&[PHISHING_RESISTANT, MFA], 300)).await.unwrap();
    assert_eq!(stepped.acr, PHISHING_RESISTANT);
    assert_eq!(stepped.strength, second_factor().and(Strength::PHISHING_RESISTANT));
    assert!(stepped.auth_time >= Some(at) && stepped.amr.contains(&"mfa".to_owned()));

    let granted = house.idp.granted().await;
    assert_eq!(granted.len(), 2);
    assert_eq!((&granted[1]["max_age"], &granted[1]["acr_values"]), (&json!("300"), &json!("phr urn:example:mfa")));
    assert_eq!(granted[1]["code_challenge_method"], "S256");
}

#[tokio::test]
async fn an_age_of_zero_makes_a_new_login() {
    let house = House::start().await;
    let first = house.sign_in().await.auth_time.unwrap();
    // Until the provider's clock shows another second.
    while MachineClock.now().as_ms() / 1000 <= first.as_ms() / 1000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stepped = house.go(&step_up(&[MFA], 0)).await.unwrap();
    assert!(stepped.auth_time > Some(first), "{:?} after {first}", stepped.auth_time);
}

#[tokio::test]
async fn what_the_person_does_not_reach_is_refused() {
    let house = House::start().await;
    house.sign_in().await;
    house.idp.script(&json!({ "can": [] })).await;
    let error = house.go(&step_up(&[MFA], 300)).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider refused: unmet_authentication_requirements");
}

#[tokio::test]
async fn b76_what_the_browser_takes_away_is_missed() {
    let house = House::with(&json!({}), |settings| settings.pushes = false).await;
    house.sign_in().await;
    let stripped = |url: String| {
        let mut url = url::Url::parse(&url).unwrap();
        let without = |name: &str| !["acr_values", "claims", "max_age", "prompt"].contains(&name);
        let all: Vec<_> = url.query_pairs().into_owned().filter(|(name, _)| without(name)).collect();
        url.query_pairs_mut().clear().extend_pairs(all);
        url.into()
    };
    let error = house.go_by(&step_up(&[MFA], 300), stripped).await.unwrap_err();
    assert_eq!(error, NotAsserted::LesserClass { acr: "pwd".into() });
}

#[tokio::test]
async fn b79_another_person_at_the_same_browser_is_another_person() {
    let house = House::start().await;
    house.sign_in().await;
    house.idp.script(&json!({ "subject": "mallory" })).await;
    assert_eq!(house.go(&step_up(&[MFA], 300)).await.unwrap_err(), NotAsserted::OtherPerson);
}

#[tokio::test]
async fn b80_without_the_challenge_it_gives_no_code() {
    let house = House::with(&json!({}), |settings| settings.pushes = false).await;
    let stripped = |url: String| {
        let mut url = url::Url::parse(&url).unwrap();
        let all: Vec<_> =
            url.query_pairs().into_owned().filter(|(name, _)| !name.starts_with("code_challenge")).collect();
        url.query_pairs_mut().clear().extend_pairs(all);
        url.into()
    };
    let error = house.go_by(&Ask::SignIn, stripped).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider refused: invalid_request");
}

#[tokio::test]
async fn a_login_is_renewed() {
    let change = |settings: &mut ProviderSettings| settings.renews_every = Some(Duration::from_secs(300));
    let house = House::with(&json!({}), change).await;
    let token = house.sign_in().await.refresh_token.expect("a refresh token");
    let renewed = house.providers.renew(&house.name, "subject-1", &token, MachineClock.now()).await;
    let Renewed::Stands { claims, .. } = renewed else { panic!("{renewed:?}: {}", house.idp.said().join("\n")) };
    assert_eq!(claims.unwrap().groups, Some(vec!["ops".to_owned()]));
    let unknown = SecretString::from("made up");
    let renewed = house.providers.renew(&house.name, "subject-1", &unknown, MachineClock.now()).await;
    assert!(matches!(renewed, Renewed::Ended), "{renewed:?}");
}

#[tokio::test]
async fn a_client_with_a_key_and_another_algorithm_signs_in() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "ours", "alg": "ES256", "use": "sig" });
    let more = json!({
        "token_endpoint_auth_method": "private_key_jwt",
        "client_secret": null,
        "jwks": { "keys": [jwk] },
        "id_token_signed_response_alg": "RS256",
    });
    let pem = STANDARD.encode(pair.to_pkcs8v1().unwrap());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n");
    let change = |settings: &mut ProviderSettings| {
        settings.client_key = Some(SecretString::from(pem));
        settings.client_key_id = Some("ours".into());
    };
    let house = House::with(&more, change).await;
    assert_eq!(house.sign_in().await.key["kty"], "RSA");
}

#[tokio::test]
async fn signing_out_there_sends_a_logout_token() {
    let ours = RecordingUpstream::start(|_| Answer::new(200, &[], "")).await;
    let to = format!("{}/logout", ours.url());
    let house =
        House::with(&json!({ "backchannel_logout_uri": to, "backchannel_logout_session_required": true }), |_| {})
            .await;
    let asserted = house.sign_in().await;
    let sid = asserted.sid.clone().expect("the provider's session");
    let url = house.providers.logout_url(&house.name, &asserted.id_token).await.unwrap();
    house.idp.sign_out(&house.browser, &url).await;
    let sent = ours.wait_for(1).await.remove(0);
    let form: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(&sent.body).into_owned().collect();
    let said = house.providers.logout_token(&house.name, &form["logout_token"], MachineClock.now()).await.unwrap();
    assert_eq!((said.subject.as_deref(), said.sid), (Some("subject-1"), Some(sid)));
}
