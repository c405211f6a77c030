//! Lies and truths about access tokens.

mod asked;
mod certificates;
mod kept;
mod limits;
mod mint;
mod moved;
mod proofs;
mod signed;
mod withdrawn;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use stepgate_core::access::{
    Accepted, AccessTokens, Forwarded, Nonces, NotAccepted, Presented, Scheme, TokenRules, VerifiedToken,
};
use stepgate_core::certificate::ShownCertificate;
use stepgate_core::factor::Strength;
use stepgate_core::provider::ProviderName;
use stepgate_core::time::{Randomness, Timestamp};

use super::{Keeps, KeysOf, TokenIssuer, TokenVerifier, VerifiedBy};
use crate::keys::{Algorithm, KeySet, Keys};
use crate::provider::LevelSettings;
use mint::mint;
use stepgate_testkit::signer::Signer;

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "https://api.example";
/// Whole seconds since 1970, at which all of this happens.
const NOW_S: i64 = 1_800_000_000;

#[derive(Debug)]
struct Chance;

impl Randomness for Chance {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).unwrap();
    }
}

fn now() -> Timestamp {
    at(NOW_S)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(seconds * 1_000)
}

fn name(text: &str) -> ProviderName {
    ProviderName::parse(text).unwrap()
}

fn accepted() -> Accepted {
    Accepted {
        providers: vec![name("corp")],
        audience: AUDIENCE.to_owned(),
        schemes: vec![Scheme::Bearer, Scheme::Dpop],
        scopes: Vec::new(),
        owner_claim: None,
        agents: Vec::new(),
        nonces: Nonces::NotAsked,
        certificates: vec![Arc::from("machines")],
        forwarded: Forwarded::Never,
    }
}

fn rules() -> TokenRules {
    TokenRules::new(accepted())
}

fn levels() -> Vec<LevelSettings> {
    let level = |acr: &str, strength| LevelSettings { acr: acr.to_owned(), strength, amr: Vec::new() };
    vec![level("mfa", Strength::SECOND_FACTOR), level("phr", Strength::SECOND_FACTOR.and(Strength::PHISHING_RESISTANT))]
}

fn signing(keys: Keys, algorithms: &[Algorithm]) -> TokenIssuer {
    let by = VerifiedBy::Signature { keys: KeysOf::These(keys), algorithms: algorithms.to_vec() };
    TokenIssuer { name: name("corp"), issuer: ISSUER.to_owned(), levels: levels(), by }
}

fn set(jwks: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

fn verifier(jwks: &[Value]) -> TokenVerifier {
    let issuer = signing(Keys::fixed(set(jwks)), &Algorithm::ALL);
    TokenVerifier::new(vec![issuer], Keeps::Verified, &Chance)
}

/// What a good token says.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "app", "jti": "1",
        "iat": NOW_S - 10, "exp": NOW_S + 300, "scope": "pay read",
        "acr": "mfa", "amr": ["pwd", "otp"], "auth_time": NOW_S - 60,
    })
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn headers(all: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in all {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    headers
}

async fn present(
    verifier: &TokenVerifier,
    rules: &TokenRules,
    all: &[(&str, &str)],
    now: Timestamp,
) -> Result<Option<Arc<VerifiedToken>>, NotAccepted> {
    present_on(None, verifier, rules, all, now).await
}

/// On a connection that showed this certificate.
async fn present_on(
    certificate: Option<&dyn ShownCertificate>,
    verifier: &TokenVerifier,
    rules: &TokenRules,
    all: &[(&str, &str)],
    now: Timestamp,
) -> Result<Option<Arc<VerifiedToken>>, NotAccepted> {
    let headers = headers(all);
    let url = "https://api.example/pay/42";
    let presented = Presented { headers: &headers, method: "POST", url, certificate, now };
    verifier.verify(presented, rules).await
}

async fn bearer(verifier: &TokenVerifier, token: &str) -> Result<Arc<VerifiedToken>, NotAccepted> {
    let value = format!("Bearer {token}");
    present(verifier, &rules(), &[("authorization", &value)], now()).await.map(Option::unwrap)
}

/// The code of what is wrong, or `ok`.
async fn code(verifier: &TokenVerifier, token: &str) -> String {
    match bearer(verifier, token).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code(),
    }
}

impl TokenVerifier {
    /// How many questions to issuers are open.
    fn open_questions(&self) -> usize {
        let issuers = self.issuers.load();
        let open = issuers.all.iter().map(|known| match &known.issuer.by {
            VerifiedBy::Introspection(introspection) => introspection.open_questions(),
            VerifiedBy::Signature { .. } => 0,
        });
        open.sum()
    }
}

fn es256(id: &str) -> Signer {
    Signer::new("ES256", id)
}

fn at_jwt(key: &Signer, claims: &Value) -> String {
    mint(&json!({ "typ": "at+jwt", "alg": "ES256", "kid": key.id() }), claims, key)
}
