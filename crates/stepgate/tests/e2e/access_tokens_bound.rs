//! Tokens that are bound to a key (DPoP, RFC 9449), through the whole gate with proofs that a client makes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stepgate_core::ports::{EntryQuery, Store as _};
use stepgate_testkit::Signer;

use crate::access_tokens::{Api, Said};

const PAY: &str = "/api/payments/42/approve";
const EXPORT: &str = "/payments.csv";

fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}

/// A client with a key of its own.
struct Client {
    key: Signer,
    made: AtomicU64,
}

impl Client {
    fn new() -> Self {
        Self { key: Signer::new("ES256", ""), made: AtomicU64::new(0) }
    }

    /// The digest of its key (RFC 7638, section 3.2: for an elliptic curve `crv`, `kty`, `x`, `y`).
    fn thumbprint(&self) -> String {
        let jwk = self.key.bare_jwk();
        digest(&format!(r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#, jwk["crv"], jwk["kty"], jwk["x"], jwk["y"]))
    }

    /// A token that is bound to its key.
    fn token(&self, api: &Api, changes: &Value) -> String {
        let mut changes = changes.clone();
        changes["cnf"] = json!({ "jkt": self.thumbprint() });
        api.token(&changes)
    }

    /// A new proof for this call, changed so.
    fn proof(&self, api: &Api, method: &Method, path: &str, token: &str, changes: &Value) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut says = json!({
            "jti": format!("proof-{number}"), "htm": method.as_str(), "htu": api.world.at_service(path),
            "iat": api.world.now().as_ms() / 1_000, "ath": digest(token),
        });
        for (name, value) in changes.as_object().unwrap() {
            says[name] = value.clone();
        }
        let header = json!({ "typ": "dpop+jwt", "alg": self.key.algorithm(), "jwk": self.key.bare_jwk() });
        self.key.sign_with(&header, &says)
    }

    async fn pay(&self, api: &Api, token: &str, amount: i64, changes: &Value) -> Said {
        let proof = self.proof(api, &Method::POST, PAY, token, changes);
        pay_with(api, token, amount, &proof).await
    }

    async fn export(&self, api: &Api, token: &str) -> Said {
        let proof = self.proof(api, &Method::GET, EXPORT, token, &json!({}));
        let headers = [("authorization", format!("DPoP {token}")), ("dpop", proof)];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        api.call(Method::GET, EXPORT, &headers, "").await
    }
}

async fn pay_with(api: &Api, token: &str, amount: i64, proof: &str) -> Said {
    pay_as(api, &format!("DPoP {token}"), amount, &[("dpop", proof)]).await
}

async fn pay_as(api: &Api, credentials: &str, amount: i64, more: &[(&str, &str)]) -> Said {
    let headers: Vec<(&str, &str)> = [("authorization", credentials)].into_iter().chain(more.iter().copied()).collect();
    api.call(Method::POST, PAY, &headers, &json!({ "amount": amount }).to_string()).await
}

/// Status, the scheme of the challenge, its error, and the code in the problem.
fn refusal(said: &Said) -> (u16, &str, Option<&str>, Option<&str>) {
    let scheme = said.asked.split(' ').next().unwrap_or_default();
    (said.status, scheme, said.asked_for("error"), said.json["what"].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_is_taken_with_a_new_proof_and_no_other_way() {
    let api = Api::start().await;
    let _ada = api.member("00u1").await;
    let (client, thief) = (Client::new(), Client::new());
    let token = client.token(&api, &json!({}));
    let proof = client.proof(&api, &Method::POST, PAY, &token, &json!({}));
    assert_eq!(pay_with(&api, &token, 900, &proof).await.status, 200);
    let arrived = api.payments.0.requests().pop().unwrap();
    for name in ["authorization", "dpop"] {
        assert!(arrived.value(name).is_none(), "{name} was for the gate");
    }

    // Who saw token and proof on the wire.
    let said = pay_with(&api, &token, 900, &proof).await;
    assert_eq!(refusal(&said), (401, "DPoP", Some("invalid_dpop_proof"), Some("dpop_replayed")), "{said:?}");
    let other_url = api.world.at_service("/api/payments/43/approve");
    let other_service = api.world.at_gate(PAY);
    let old = api.world.now().as_ms() / 1_000 - 60;
    let other = client.token(&api, &json!({ "jti": "2" }));
    for (changes, expected) in [
        (json!({ "htm": "GET" }), "dpop_method"),
        (json!({ "htu": other_url }), "dpop_url"),
        (json!({ "htu": other_service }), "dpop_url"),
        (json!({ "ath": digest(&other) }), "dpop_other_token"),
        (json!({ "ath": null }), "dpop_other_token"),
        (json!({ "iat": old }), "dpop_time"),
        (json!({ "jti": null }), "dpop_id"),
    ] {
        let said = client.pay(&api, &token, 900, &changes).await;
        assert_eq!(refusal(&said), (401, "DPoP", Some("invalid_dpop_proof"), Some(expected)), "{changes}: {said:?}");
    }
    let said = thief.pay(&api, &token, 900, &json!({})).await;
    assert_eq!(refusal(&said), (401, "DPoP", Some("invalid_dpop_proof"), Some("dpop_other_key")), "{said:?}");
    let said = pay_as(&api, &format!("DPoP {token}"), 900, &[]).await;
    assert_eq!(refusal(&said), (401, "DPoP", Some("invalid_dpop_proof"), Some("dpop_missing")), "{said:?}");
    let two = [(); 2].map(|()| client.proof(&api, &Method::POST, PAY, &token, &json!({})));
    let said = pay_as(&api, &format!("DPoP {token}"), 900, &[("dpop", &two[0]), ("dpop", &two[1])]).await;
    assert_eq!((said.status, said.json["code"].as_str()), (400, Some("invalid_request")), "{said:?}");

    // As a bearer token it is worth nothing, with and without a good proof.
    let proof = client.proof(&api, &Method::POST, PAY, &token, &json!({}));
    for more in [&[][..], &[("dpop", proof.as_str())]] {
        let said = pay_as(&api, &format!("Bearer {token}"), 900, more).await;
        assert_eq!((said.status, said.json["what"].as_str()), (401, Some("token_bound_to_a_key")), "{said:?}");
        assert_eq!(said.asked_for("error"), Some("invalid_token"), "{said:?}");
    }
    // And a token that is bound to nothing is none of DPoP.
    let unbound = api.token(&json!({}));
    let said = client.pay(&api, &unbound, 900, &json!({})).await;
    assert_eq!((said.status, said.json["what"].as_str()), (401, Some("token_not_bound_to_a_key")), "{said:?}");

    assert_eq!(api.payments.approvals().len(), 1);
    let query = EntryQuery { limit: 1_000, ..EntryQuery::default() };
    let entries = api.world.gate.database.entries(query).await.unwrap();
    let entries: String = entries.iter().map(|entry| serde_json::to_string(&entry.entry.event).unwrap()).collect();
    for code in ["dpop_replayed", "dpop_method", "dpop_url", "dpop_other_token", "dpop_other_key", "dpop_missing"] {
        assert!(entries.contains(code), "{code} is no entry: {entries}");
    }
    assert!(!entries.contains(&token) && !entries.contains(&proof), "a token or a proof is in an entry");
    // What was refused took nothing: the proof that came with the wrong scheme is still good.
    assert_eq!(pay_with(&api, &token, 900, &proof).await.status, 200);
    api.world.verified_evidence();
}

/// RFC 9449, section 9.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_comes_back_with_the_nonce_that_it_was_given() {
    let api = Api::taking("dpop_nonces = true", "").await;
    let _ada = api.member("00u1").await;
    let client = Client::new();
    let token = client.token(&api, &json!({}));
    let said = client.pay(&api, &token, 900, &json!({})).await;
    assert_eq!(said.status, 401, "{said:?}");
    assert!(said.asked.starts_with("DPoP "), "{said:?}");
    assert_eq!(said.asked_for("error"), Some("use_dpop_nonce"), "{said:?}");
    let nonce = said.nonce;
    assert!(!nonce.is_empty());
    let proof = client.proof(&api, &Method::POST, PAY, &token, &json!({ "nonce": nonce }));
    assert_eq!(pay_with(&api, &token, 900, &proof).await.status, 200);
    // A nonce is for many proofs, and a proof for one call.
    let said = pay_with(&api, &token, 900, &proof).await;
    assert_eq!(refusal(&said), (401, "DPoP", Some("invalid_dpop_proof"), Some("dpop_replayed")), "{said:?}");
    assert_eq!(client.pay(&api, &token, 900, &json!({ "nonce": nonce })).await.status, 200);

    let made_up = client.pay(&api, &token, 900, &json!({ "nonce": "made up" })).await;
    assert_eq!((made_up.asked_for("error"), &made_up.nonce), (Some("use_dpop_nonce"), &nonce), "{made_up:?}");
    api.world.clock.advance(Duration::from_secs(10 * 60));
    let old = client.pay(&api, &token, 900, &json!({ "nonce": nonce })).await;
    assert_eq!((old.status, old.asked_for("error")), (401, Some("use_dpop_nonce")), "{old:?}");
    assert_ne!(old.nonce, nonce);
    assert_eq!(client.pay(&api, &token, 900, &json!({ "nonce": old.nonce })).await.status, 200);
    assert_eq!(api.payments.approvals().len(), 3);
}

/// RFC 9470, with the scheme of RFC 9449.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_that_is_too_little_is_told_what_to_get_under_its_own_scheme() {
    let api = Api::start().await;
    let _ada = api.member("00u1").await;
    let client = Client::new();
    let said = client.export(&api, &client.token(&api, &json!({ "acr": "pwd" }))).await;
    assert_eq!(said.status, 401, "{said:?}");
    assert!(said.asked.starts_with("DPoP "), "{said:?}");
    assert_eq!(said.asked_for("error"), Some("insufficient_user_authentication"), "{said:?}");
    let (classes, max_age) = (said.asked_for("acr_values").unwrap(), said.asked_for("max_age").unwrap());
    assert_eq!((classes, max_age), ("phr mfa", "300"));
    let better = client.token(&api, &json!({ "acr": "phr", "jti": "2" }));
    assert_eq!(client.export(&api, &better).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_for_a_bound_token_is_sent_by_that_token_and_its_key_alone() {
    let api = Api::start().await;
    let ada = api.member("00u1").await;
    let (client, thief) = (Client::new(), Client::new());
    let token = client.token(&api, &json!({}));
    let said = client.pay(&api, &token, 12_000, &json!({})).await;
    assert_eq!(said.status, 401, "{said:?}");
    assert!(said.asked.starts_with("DPoP "), "{said:?}");
    let challenge = &said.json["challenge"];
    let (url, number) = (challenge["url"].as_str().unwrap(), challenge["number"].as_str().unwrap());
    ada.sign_in_at(&api.world.at_service("/payments")).await;
    let page = ada.person.open(url).await;
    let asks = ada.person.submit(&page, &page.form_with("number").fill("number", number)).await;
    let passed = ada.person.touch(&asks).await;
    assert!(passed.text().contains("goes on where it was asked"), "{}", passed.told());

    let used = client.proof(&api, &Method::POST, PAY, &token, &json!({}));
    assert_eq!(pay_with(&api, &token, 900, &used).await.status, 200);
    let no_approval = api.payments.approvals().len();
    // Without the key, with a proof that was used, as a bearer token, by another token of the same client.
    assert_eq!(thief.pay(&api, &token, 12_000, &json!({})).await.status, 401);
    assert_eq!(pay_with(&api, &token, 12_000, &used).await.status, 401);
    assert_eq!(pay_as(&api, &format!("Bearer {token}"), 12_000, &[]).await.status, 401);
    let other = client.token(&api, &json!({ "jti": "2" }));
    for _ in 0..2 {
        let said = client.pay(&api, &other, 12_000, &json!({})).await;
        assert_eq!(said.status, 401, "{said:?}");
        assert_ne!(said.json["challenge"]["url"].as_str(), Some(url), "it is asked for itself");
    }
    // Other bytes are another payment.
    assert_eq!(client.pay(&api, &token, 12_001, &json!({})).await.status, 401);
    assert_eq!(api.payments.approvals().len(), no_approval);

    assert_eq!(client.pay(&api, &token, 12_000, &json!({})).await.status, 200);
    assert_eq!(client.pay(&api, &token, 12_000, &json!({})).await.status, 401, "it is spent once");
    assert_eq!(api.payments.bodies().pop().unwrap(), r#"{"amount":12000}"#);
    api.world.verified_evidence();
}
