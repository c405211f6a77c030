//! The request to authorize: what the provider is asked, and how it gets there.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepgate_core::provider::{Ask, Authorize, Leave, NotAsserted};
use stepgate_core::time::Timestamp;
use url::Url;

use super::Use;
use super::metadata::Metadata;
use super::preset::{AskFor, AuthTime, Refresh};
use super::settings::CheckedProvider;

/// A greatest age that no login has, so that `auth_time` is told: a year.
const ANY_AGE_S: u64 = 365 * 24 * 60 * 60;
/// The longest hint that is passed on.
const HINT_LEN_MAX: usize = 254;
/// The longest `request_uri` of a pushed request that is taken.
const REQUEST_URI_LEN_MAX: usize = 2048;

/// What is kept until the browser comes back.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) provider: String,
    pub(super) issuer: String,
    pub(super) verifier: String,
}

impl Kept {
    pub(super) fn read(keep: &str) -> Option<Self> {
        serde_json::from_str(keep).ok()
    }
}

pub(super) async fn leave(of: &Use<'_>, request: &Authorize<'_>, now: Timestamp) -> Result<Leave, NotAsserted> {
    let verifier = of.random_text();
    let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(challenge.as_ref());
    let parameters = parameters(of.provider, &of.metadata, request, &challenge)?;
    let url = match of.pushed_to() {
        Some(endpoint) => pushed(of, endpoint, &parameters, now).await?,
        None => with_query(
            &of.metadata.authorization_endpoint,
            parameters.iter().map(|(name, value)| (*name, value.as_str())),
        ),
    };
    let kept = Kept { provider: of.provider.provider.name.to_string(), issuer: of.metadata.issuer.clone(), verifier };
    let keep = serde_json::to_string(&kept).map_err(|error| NotAsserted::Unusable(error.to_string()))?;
    Ok(Leave { url: url.into(), keep: SecretString::from(keep) })
}

fn parameters(
    provider: &CheckedProvider,
    metadata: &Metadata,
    request: &Authorize<'_>,
    challenge: &str,
) -> Result<Vec<(&'static str, String)>, NotAsserted> {
    let ways = provider.ways;
    let mut all = vec![
        ("response_type", String::from("code")),
        ("client_id", provider.client_id.clone()),
        ("redirect_uri", provider.redirect_uri.to_string()),
        ("scope", provider.scope.clone()),
        ("state", request.state.to_owned()),
        ("nonce", request.nonce.to_owned()),
        ("code_challenge", challenge.to_owned()),
        ("code_challenge_method", String::from("S256")),
    ];
    let reads_claims = ways.reads_claims || metadata.reads_claims;
    match request.ask {
        Ask::SignIn => {
            if ways.auth_time == AuthTime::Asked {
                if reads_claims {
                    // Many name the class only to whom asks; none in particular is asked for.
                    let claims = match provider.levels.is_empty() {
                        false => json!({ "auth_time": { "essential": true }, "acr": null }),
                        true => json!({ "auth_time": { "essential": true } }),
                    };
                    all.push(("claims", json!({ "id_token": claims }).to_string()));
                } else {
                    all.push(("max_age", ANY_AGE_S.to_string()));
                }
            }
            if provider.renews() {
                match ways.refresh {
                    Refresh::Given | Refresh::OfflineScope => {}
                    Refresh::OfflineConsent => all.push(("prompt", String::from("consent"))),
                    // Google gives one only when it asks.
                    Refresh::AccessType => {
                        all.extend([("access_type", String::from("offline")), ("prompt", String::from("consent"))]);
                    }
                }
            }
        }
        Ask::StepUp { acr, max_age_s, .. } => {
            let is_known = |acr: &&String| provider.levels.iter().any(|level| level.acr == **acr);
            let named: Vec<&str> = acr.iter().filter(is_known).map(String::as_str).collect();
            if named.is_empty() {
                return Err(NotAsserted::Unusable(String::from("no class that was asked for is configured")));
            }
            if ways.ask_for == AskFor::Acr {
                all.push(("acr_values", named.join(" ")));
            }
            if reads_claims && let Some(claims) = claims(ways.ask_for, &named) {
                all.push(("claims", claims.to_string()));
            }
            all.push(("max_age", max_age_s.to_string()));
            // OpenID Connect Core, section 3.1.2.1: an age of zero is `prompt=login`; some providers know only that.
            if let Some(prompt) = ways.prompt.or((*max_age_s == 0).then_some("login")) {
                all.push(("prompt", prompt.to_owned()));
            }
        }
    }
    if let Some(hint) = request.hint.filter(|hint| hint.len() <= HINT_LEN_MAX) {
        all.push(("login_hint", hint.to_owned()));
    }
    Ok(all)
}

/// OpenID Connect Core, section 5.5.1.1: essential, so that a provider that cannot says so.
fn claims(ask_for: AskFor, named: &[&str]) -> Option<Value> {
    let auth_time = json!({ "essential": true });
    match ask_for {
        AskFor::Acr => Some(json!({ "id_token": {
            "acr": { "essential": true, "values": named },
            "auth_time": auth_time,
        } })),
        // One context: what several mean there is said nowhere.
        AskFor::Acrs => named.first().map(|one| json!({ "id_token": { "acrs": { "essential": true, "value": one } } })),
        AskFor::Login => None,
    }
}

/// Pushes the request (RFC 9126), so that no browser can change it.
async fn pushed(
    of: &Use<'_>,
    endpoint: &Url,
    parameters: &[(&'static str, String)],
    now: Timestamp,
) -> Result<Url, NotAsserted> {
    // `client_id` is put where the way of the client wants it; RFC 9126 wants it in the form always.
    let is_put = of.puts_client_id();
    let fields = parameters.iter().filter(|(name, _)| !(is_put && *name == "client_id"));
    let answer = of.post(endpoint, fields.map(|(name, value)| (*name, value.as_str())).collect(), now).await?;
    let said = super::redeem::said(&answer)?;
    match said.get("request_uri") {
        Some(Value::String(uri)) if !uri.is_empty() && uri.len() <= REQUEST_URI_LEN_MAX => {
            let query = [("client_id", of.provider.client_id.as_str()), ("request_uri", uri.as_str())];
            Ok(with_query(&of.metadata.authorization_endpoint, query.into_iter()))
        }
        _ => Err(NotAsserted::Away(String::from("the answer to the pushed request has no `request_uri`"))),
    }
}

pub(super) fn with_query<'a>(url: &Url, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().extend_pairs(pairs);
    url
}
