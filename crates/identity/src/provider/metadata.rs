//! What a provider says of itself (OpenID Connect Discovery 1.0), believed only as far
//! as it fits the issuer that is configured.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use stepgate_core::time::Timestamp;
use url::Url;

use crate::http::{Http, HttpError};
use crate::keys::Keys;
use crate::refreshed::{Fetch, NotFound, Refreshed};

/// What is used of it.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Exactly the issuer that is configured.
    pub issuer: String,
    /// Where people sign in.
    pub authorization_endpoint: Url,
    /// Where codes are redeemed.
    pub token_endpoint: Url,
    /// Where requests are pushed (RFC 9126).
    pub pushed_authorization_request_endpoint: Option<Url>,
    /// Whether they must be.
    pub require_pushed_authorization_requests: bool,
    /// Where people sign out.
    pub end_session_endpoint: Option<Url>,
    /// Whether its answers name it (RFC 9207).
    pub answers_name_issuer: bool,
    /// Whether it reads `claims`.
    pub reads_claims: bool,
    /// How clients may prove who they are; empty if it does not say.
    pub token_endpoint_auth_methods: Vec<String>,
    /// Its keys.
    pub keys: Keys,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMetadata {
    /// The provider cannot be reached, or stumbles: it may heal.
    #[error("{0}")]
    Away(String),
    /// What it says cannot be used: somebody must mend it.
    #[error("{0}")]
    Unusable(String),
}

impl Metadata {
    pub(super) fn wants_secret_in_form(&self) -> bool {
        let offers = |name: &str| self.token_endpoint_auth_methods.iter().any(|one| one == name);
        offers("client_secret_post") && !offers("client_secret_basic")
    }

    fn read(http: &Http, issuer: &str, said: &Map<String, Value>) -> Result<Self, NoMetadata> {
        let unusable = |why: String| NoMetadata::Unusable(why);
        match said.get("issuer") {
            Some(Value::String(one)) if one == issuer => {}
            Some(Value::String(other)) => {
                let other: String = other.chars().take(200).collect();
                return Err(unusable(format!("the metadata of {issuer} are those of the issuer {other:?}")));
            }
            _ => return Err(unusable(format!("the metadata of {issuer} name no issuer"))),
        }
        let endpoint = |name: &str| match said.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= 2048 => {
                let url = Url::parse(text).map_err(|_| unusable(format!("{name} of {issuer} is no URL")))?;
                http.reach().check(&url).map_err(|why| unusable(format!("{name} of {issuer}: {why}")))?;
                Ok(Some(url))
            }
            Some(_) => Err(unusable(format!("{name} of {issuer} is no URL"))),
        };
        let needed = |name: &str| endpoint(name)?.ok_or_else(|| unusable(format!("{issuer} has no {name}")));
        let flag = |name: &str| said.get(name).and_then(Value::as_bool).unwrap_or(false);
        let list = |name: &str| -> Vec<String> {
            let all = said.get(name).and_then(Value::as_array).into_iter().flatten();
            all.filter_map(Value::as_str).map(String::from).collect()
        };
        let challenges = list("code_challenge_methods_supported");
        if said.contains_key("code_challenge_methods_supported") && !challenges.iter().any(|one| one == "S256") {
            return Err(unusable(format!(
                "{issuer} does not offer PKCE with S256, without which nobody is sent there"
            )));
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: needed("authorization_endpoint")?,
            token_endpoint: needed("token_endpoint")?,
            pushed_authorization_request_endpoint: endpoint("pushed_authorization_request_endpoint")?,
            require_pushed_authorization_requests: flag("require_pushed_authorization_requests"),
            end_session_endpoint: endpoint("end_session_endpoint")?,
            answers_name_issuer: flag("authorization_response_iss_parameter_supported"),
            reads_claims: flag("claims_parameter_supported"),
            token_endpoint_auth_methods: list("token_endpoint_auth_methods_supported"),
            keys: Keys::at(http.clone(), needed("jwks_uri")?),
        })
    }
}

/// An issuer, by its identifier, and what it says of itself: fetched when it is first
/// needed, kept, and fetched again beside its use. Cloning it shares that.
#[derive(Clone, Debug)]
pub struct Issuer(Refreshed<Discovered>);

impl Issuer {
    /// The issuer with this identifier; nothing is fetched yet.
    pub fn new(http: Http, identifier: &str) -> Self {
        Self(Refreshed::new(Discovered { http, issuer: identifier.to_owned(), keys: Mutex::new(None) }))
    }

    /// What it says of itself, or why that cannot be had. An issuer that was away heals at
    /// the next use, [`crate::keys::COOLDOWN`] after the last.
    ///
    /// # Errors
    ///
    /// [`NoMetadata`]
    pub async fn metadata(&self, now: Timestamp) -> Result<Arc<Metadata>, NoMetadata> {
        self.0.find(now, |metadata| Some(Arc::clone(metadata))).await.map_err(|why| match why {
            NotFound::Away(why) => why,
            NotFound::Absent => NoMetadata::Away(String::from("what is held is too old")),
        })
    }

    /// Whether these are its keys now, as far as is known without asking first. What it says
    /// of itself is fetched again beside, if that is old: also where all that comes was
    /// verified before, keys that moved to another place are noticed.
    pub(crate) fn has(&self, keys: &Keys, now: Timestamp) -> bool {
        self.0.find_at_hand(now, |metadata| Some(metadata.keys.are(keys))).unwrap_or(false)
    }
}

#[derive(Debug)]
struct Discovered {
    http: Http,
    issuer: String,
    /// Keys outlive the metadata that named them, as long as they are at the same place.
    keys: Mutex<Option<Keys>>,
}

#[async_trait]
impl Fetch for Discovered {
    type Item = Arc<Metadata>;
    type Error = NoMetadata;

    async fn fetch(&self) -> Result<Self::Item, NoMetadata> {
        let mut metadata = discover(&self.http, &self.issuer).await?;
        let mut keys = self.keys.lock();
        match keys.as_ref() {
            Some(known) if known.url() == metadata.keys.url() => metadata.keys = known.clone(),
            _ => *keys = Some(metadata.keys.clone()),
        }
        Ok(metadata.into())
    }

    /// Nobody counts what an issuer says of itself.
    fn is_same(_: &Self::Item, _: &Self::Item) -> bool {
        false
    }
}

async fn discover(http: &Http, issuer: &str) -> Result<Metadata, NoMetadata> {
    // OpenID Connect Discovery, section 4.1: a slash at the end is taken away before.
    let place = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    let place = Url::parse(&place).map_err(|error| NoMetadata::Unusable(format!("{place}: {error}")))?;
    let answer = http.get(&place).send().await.map_err(|error| match error {
        HttpError::NotAllowed(_) => NoMetadata::Unusable(error.to_string()),
        // A page that says that the provider is being worked on is no mistake of anybody's.
        HttpError::Redirect { .. }
        | HttpError::TooLarge { .. }
        | HttpError::Unreachable { .. }
        | HttpError::TooSlow { .. } => NoMetadata::Away(error.to_string()),
    })?;
    if !answer.status.is_success() {
        return Err(NoMetadata::Away(format!("{place} answered with {}", answer.status)));
    }
    let said = answer.object().map_err(|error| NoMetadata::Away(format!("{place}: {error}")))?;
    Metadata::read(http, issuer, &said)
}
