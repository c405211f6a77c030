//! OpenID Connect, as its client: sign-in, step-up, logout, renewal.
//!
//! Signatures are checked by `aws-lc-rs` through [`crate::jws`], and not by the crate
//! `openidconnect`. That one was looked at: it never fetches keys again, knows neither
//! pushed requests (RFC 9126) nor logout tokens, so half of what stands here would stand
//! beside it, with a second reading of tokens; and it rests on an RSA implementation
//! with an advisory that has no mend. One reading for ID tokens, logout tokens, access
//! tokens and events is one place to be wrong in.
//!
//! The UserInfo endpoint is not asked: it is signed by nobody, and everything that is
//! needed can be put into the ID token.

mod client;
mod id_token;
mod logout;
mod metadata;
mod person;
mod preset;
mod redeem;
mod renew;
mod request;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use stepgate_core::provider::{
    Asserted, Authorize, CameBack, IdentityProviders, Leave, LogoutToken, NotAsserted, NotFinished, Provider,
    ProviderName, Renewed,
};
use stepgate_core::time::{Clock, Randomness, Timestamp};
use url::Url;

use crate::http::Answer;
use crate::tokens::{Introspection, IntrospectionSettings, KeysOf, TokenIssuer, VerifiedBy};
use client::{ClientAuth, ClientForm};

pub use client::{ClientAuthMethod, NotAMethod};
pub use id_token::TOKEN_LEN_MAX;
pub use metadata::{Issuer, Metadata, NoMetadata};
pub use preset::{AskFor, AuthTime, ComesBack, NotAPreset, Preset, Refresh, Ways};
pub use settings::{
    CLOCK_SKEW_MAX_S, CLOCK_SKEW_S, CheckedProvider, LEVELS_MAX, LevelSettings, Mistake, ProviderSettings,
    RENEWS_EVERY_MIN,
};

/// The providers that are configured, over the network.
#[derive(Debug)]
pub struct Providers {
    all: Vec<Provider>,
    parties: Vec<Party>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Randomness>,
}

/// One provider and what is known of it.
#[derive(Debug)]
struct Party {
    checked: CheckedProvider,
    issuer: Issuer,
}

/// Two providers have the same name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two providers are called {0}")]
pub struct SameName(pub ProviderName);

impl Providers {
    /// These providers. Nobody is called yet.
    ///
    /// # Errors
    ///
    /// [`SameName`]
    pub fn new(
        checked: Vec<CheckedProvider>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Randomness>,
    ) -> Result<Self, SameName> {
        let all: Vec<Provider> = checked.iter().map(|one| one.provider.clone()).collect();
        for (index, one) in all.iter().enumerate() {
            if all.iter().take(index).any(|before| before.name == one.name) {
                return Err(SameName(one.name.clone()));
            }
        }
        let party = |checked: CheckedProvider| {
            let issuer = Issuer::new(checked.http.clone(), &checked.provider.issuer);
            Party { checked, issuer }
        };
        Ok(Self { all, parties: checked.into_iter().map(party).collect(), clock, random })
    }

    /// A look at what each provider says of itself, at load: `Unusable` is a mistake in the
    /// configuration (here or there), `Away` heals by itself.
    pub async fn look(&self) -> Vec<(&ProviderName, Result<(), NoMetadata>)> {
        let now = self.clock.now();
        // All at once: one that is away is waited for once.
        let asked: Vec<_> = self
            .parties
            .iter()
            .map(|party| {
                let issuer = party.issuer.clone();
                let said = tokio::spawn(async move { issuer.metadata(now).await.map(|_| ()) });
                (&party.checked.provider.name, said)
            })
            .collect();
        let mut looks = Vec::new();
        for (name, said) in asked {
            let broken = |error: tokio::task::JoinError| Err(NoMetadata::Away(error.to_string()));
            looks.push((name, said.await.unwrap_or_else(broken)));
        }
        looks
    }

    /// The same providers as issuers of access tokens. Of those in `asked`, each token is
    /// asked about; the others' are signed with their keys.
    pub fn token_issuers(&self, asked: &BTreeMap<ProviderName, IntrospectionSettings>) -> Vec<TokenIssuer> {
        let issuer = |party: &Party| {
            let Party { checked, issuer } = party;
            let by = match asked.get(&checked.provider.name) {
                Some(settings) => VerifiedBy::Introspection(Introspection::new(checked.http.clone(), settings.clone())),
                None => VerifiedBy::Signature {
                    keys: KeysOf::Issuer(issuer.clone()),
                    algorithms: checked.algorithms.clone(),
                },
            };
            TokenIssuer {
                name: checked.provider.name.clone(),
                issuer: checked.provider.issuer.clone(),
                levels: checked.levels.clone(),
                by,
            }
        };
        self.parties.iter().map(issuer).collect()
    }

    async fn using(&self, name: &ProviderName, now: Timestamp) -> Result<Use<'_>, NotAsserted> {
        let party = self.parties.iter().find(|party| party.checked.provider.name == *name);
        let party = party.ok_or(NotAsserted::Unknown)?;
        let metadata = party.issuer.metadata(now).await.map_err(|error| match error {
            NoMetadata::Away(why) => NotAsserted::Away(why),
            NoMetadata::Unusable(why) => NotAsserted::Unusable(why),
        })?;
        Ok(Use { provider: &party.checked, metadata, random: self.random.as_ref() })
    }
}

/// One provider, while something is done with it.
#[derive(Debug)]
struct Use<'p> {
    provider: &'p CheckedProvider,
    metadata: Arc<Metadata>,
    random: &'p dyn Randomness,
}

impl Use<'_> {
    /// 32 bytes that nobody can predict, as text (RFC 7636, section 4.1).
    fn random_text(&self) -> String {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        self.random.fill(bytes.as_mut_slice());
        URL_SAFE_NO_PAD.encode(bytes.as_slice())
    }

    /// Where requests are pushed to, if they are.
    fn pushed_to(&self) -> Option<&Url> {
        let endpoint = self.metadata.pushed_authorization_request_endpoint.as_ref()?;
        (self.provider.pushes || self.metadata.require_pushed_authorization_requests).then_some(endpoint)
    }

    /// Whether [`Self::post`] puts `client_id` into the form.
    fn puts_client_id(&self) -> bool {
        match self.provider.client_auth {
            ClientAuth::Secret(_) => self.metadata.wants_secret_in_form(),
            ClientAuth::SecretBasic(_) => false,
            ClientAuth::SecretPost(_) | ClientAuth::PrivateKeyJwt(_) | ClientAuth::None => true,
        }
    }

    /// Posts a form as the client that we are.
    async fn post(&self, url: &Url, fields: Vec<(&str, &str)>, now: Timestamp) -> Result<Answer, NotAsserted> {
        let assertion_id = self.random_text();
        let form = ClientForm {
            client_id: &self.provider.client_id,
            auth: &self.provider.client_auth,
            metadata: &self.metadata,
            assertion_id: &assertion_id,
            now,
        };
        let call = form.put(self.provider.http.post(url), fields);
        let call = call.ok_or_else(|| NotAsserted::Unusable(String::from("the client's key does not sign")))?;
        call.send().await.map_err(redeem::of_http)
    }
}

#[async_trait]
impl IdentityProviders for Providers {
    fn all(&self) -> &[Provider] {
        &self.all
    }

    async fn authorize(&self, request: Authorize<'_>) -> Result<Leave, NotAsserted> {
        let now = self.clock.now();
        let of = self.using(request.provider, now).await?;
        request::leave(&of, &request, now).await
    }

    async fn finish(&self, answer: CameBack<'_>) -> Result<Asserted, NotFinished> {
        let asked = self.named(answer.provider).ok_or(NotAsserted::Unknown)?;
        let kept = redeem::kept(&answer, answer.keep.expose_secret(), &asked.issuer)?;
        let of = self.using(answer.provider, answer.now).await?;
        redeem::finish(&of, &answer, &kept).await
    }

    async fn logout_token(
        &self,
        provider: &ProviderName,
        token: &str,
        now: Timestamp,
    ) -> Result<LogoutToken, NotAsserted> {
        logout::verify(&self.using(provider, now).await?, token, now).await
    }

    async fn logout_url(&self, provider: &ProviderName, id_token: &SecretString) -> Option<String> {
        let of = self.using(provider, self.clock.now()).await.ok()?;
        logout::url(&of, id_token)
    }

    async fn renew(
        &self,
        provider: &ProviderName,
        subject: &str,
        refresh_token: &SecretString,
        now: Timestamp,
    ) -> Renewed {
        match self.using(provider, now).await {
            Ok(of) => renew::renew(&of, subject, refresh_token, now).await,
            Err(_) => Renewed::Away { refresh_token: None },
        }
    }
}
