//! Access tokens that somebody else issued, as doors and flows need them.
//!
//! Whoever implements [`AccessTokens`] reads the headers, verifies what is presented
//! and says whose it is. Whether that person is known here, and what they may do, is
//! for the flows.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use crate::catalogue::Host;
use crate::certificate::{CertificateFault, ShownCertificate, Thumbprint};
use crate::factor::{FactorKind, Strength};
use crate::id::AccessTokenId;
use crate::person::{Agent, Person, Principal};
use crate::provider::ProviderName;
use crate::risk::Risk;
use crate::time::Timestamp;

/// The longest scope list of a token that is read, in names.
pub const SCOPES_MAX: usize = 200;

/// How a token is presented (RFC 6750, RFC 9449).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Whoever has it may use it.
    Bearer,
    /// Only with a proof by the key that it is bound to.
    Dpop,
}

impl Scheme {
    /// The word in `Authorization` and `WWW-Authenticate`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

/// A program that acts in its own name, as the configuration of a service knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRule {
    /// The provider that issues its tokens.
    pub provider: ProviderName,
    /// Its `client_id` there.
    pub client: String,
    /// The groups that it is in, sorted.
    pub groups: Vec<String>,
}

/// Whether a proof by DPoP must bear a nonce of ours (RFC 9449, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonces {
    /// It must.
    Demanded,
    /// It need not.
    NotAsked,
}

/// What becomes of a verified token when the request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// The upstream does not see it: it was issued for the gate.
    Never,
    /// The upstream gets the `Authorization` header as it came.
    AsItCame,
}

/// What a service takes for an access token: `[service.tokens]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    accepted: Accepted,
    fingerprint: [u8; 32],
}

/// What [`TokenRules`] are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whose tokens; never empty.
    pub providers: Vec<ProviderName>,
    /// What must stand in `aud`: the service's resource identifier.
    pub audience: String,
    /// How they may be presented; never empty.
    pub schemes: Vec<Scheme>,
    /// The scopes that every request needs, sorted.
    pub scopes: Vec<String>,
    /// The claim that names an agent's owner by their subject; `None`: the token's own `sub`.
    pub owner_claim: Option<String>,
    /// Whose tokens are agents'. A token whose `sub` is its `client_id` always is.
    pub agents: Vec<AgentRule>,
    /// Whether proofs need a nonce.
    pub nonces: Nonces,
    /// Who vouches for the client certificates that connections to the service are asked for, so
    /// that tokens that are bound to one (RFC 8705, section 3) can be used; empty: none is asked for.
    pub certificates: Vec<Arc<str>>,
    /// Whether the upstream sees the token.
    pub forwarded: Forwarded,
}

impl TokenRules {
    /// These rules.
    pub fn new(accepted: Accepted) -> Self {
        let mut hash = Sha256::new_with_prefix(b"stepgate/token-rules/v1\0");
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        part(&accepted.audience);
        part(accepted.owner_claim.as_deref().unwrap_or("\0"));
        accepted.providers.iter().for_each(|name| part(name.as_str()));
        part("\0");
        for agent in &accepted.agents {
            part(agent.provider.as_str());
            part(&agent.client);
            agent.groups.iter().for_each(|group| part(group));
            part("\0");
        }
        part("\0");
        // A connection keeps the certificate that it showed: where an authority is asked for no more,
        // what was opened on it is to be judged as if it came now.
        accepted.certificates.iter().for_each(|authority| part(authority));
        Self { fingerprint: hash.finalize().into(), accepted }
    }

    /// What they say.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// A digest of all that decides whose a token is and who vouches for the certificates that tokens are
    /// bound to, so that what was verified for one service, or by one configuration, is never taken for another.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Whether tokens may be presented so.
    pub fn takes(&self, scheme: Scheme) -> bool {
        self.accepted.schemes.contains(&scheme)
    }

    /// The agent whose token this is, if the configuration names it.
    pub fn agent(&self, provider: &ProviderName, client: &str) -> Option<&AgentRule> {
        self.accepted.agents.iter().find(|agent| agent.provider == *provider && agent.client == client)
    }
}

/// The configuration that a token was verified by: a digest of all that decides whose it
/// is, of the service's rules and of how its issuer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration([u8; 32]);

impl Configuration {
    /// Of a service and an issuer; `issuer` is a digest of what the configuration says of it.
    pub fn of(rules: &TokenRules, issuer: &[u8; 32]) -> Self {
        let hash = Sha256::new_with_prefix(b"stepgate/verified-by/v1\0");
        Self(hash.chain_update(rules.fingerprint()).chain_update(issuer).finalize().into())
    }
}

/// What came with a request.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// All of its headers; `Authorization` and `DPoP` are looked at, and nothing else. A
    /// token in the query or the body is never read (RFC 9700, section 4.3.2).
    pub headers: &'a HeaderMap,
    /// The method.
    pub method: &'a str,
    /// The URL that the client used, without query: the service's own origin and the path.
    pub url: &'a str,
    /// The certificate that the connection showed, where it was asked for one.
    pub certificate: Option<&'a dyn ShownCertificate>,
    /// Now.
    pub now: Timestamp,
}

/// What a token is bound to (RFC 7800, `cnf`): it is worth nothing without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundTo {
    /// A key, by its RFC 7638 thumbprint (`jkt`): each request bears a proof of it.
    Key(String),
    /// A client certificate (`x5t#S256`): the connection showed it.
    Certificate(Thumbprint),
}

/// Whose token it is, by subjects of its issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A person's, used by a client in their name.
    Person {
        /// `sub`.
        subject: String,
    },
    /// An agent's.
    Agent {
        /// `sub`: the agent itself, or the person who logged in for it.
        subject: String,
        /// The subject of the person who answers for it.
        owner: String,
        /// The groups that it is in, sorted.
        groups: Vec<String>,
    },
}

/// A token that holds: issuer, signature or introspection, audience, times, and, where it
/// is bound to a key, a proof by that key over this request.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// What it is called here: no two tokens have the same, and it tells nothing of it.
    pub id: AccessTokenId,
    /// Whose provider issued it.
    pub provider: ProviderName,
    /// `iss`.
    pub issuer: String,
    /// Whose it is.
    pub whose: Whose,
    /// `client_id`: the program that uses it.
    pub client: String,
    /// `jti`, where it has one.
    pub jti: Option<String>,
    /// What it was issued for.
    pub scopes: Vec<String>,
    /// `acr`; empty if it says none.
    pub acr: String,
    /// `amr`.
    pub amr: Vec<String>,
    /// `auth_time`; `None`: nobody says when, so never.
    pub auth_time: Option<Timestamp>,
    /// What `acr` counts as, by the configuration.
    pub strength: Strength,
    /// `iat`, where it has one.
    pub issued_at: Option<Timestamp>,
    /// `exp`.
    pub expires_at: Timestamp,
    /// What it is bound to; `None`: it is a bearer token.
    pub bound_to: Option<BoundTo>,
    /// What it was verified by, and holds under.
    pub verified_by: Configuration,
    /// A digest of the key whose signature it bears, and of all that is said of that key; `None`: its
    /// issuer was asked.
    pub signed_by: Option<[u8; 32]>,
}

impl VerifiedToken {
    /// A token of which no more is known than a decision looks at: it is good for being decided on, and opens nothing,
    /// since it has expired and was verified by no configuration.
    pub(crate) fn remembered(
        provider: ProviderName,
        strength: Strength,
        auth_time: Option<Timestamp>,
        of_a_login: bool,
    ) -> Self {
        let whose = match of_a_login {
            true => Whose::Person { subject: String::new() },
            false => Whose::Agent { subject: "itself".to_owned(), owner: String::new(), groups: Vec::new() },
        };
        Self {
            id: AccessTokenId::from_bytes([0; 16]),
            provider,
            issuer: String::new(),
            whose,
            client: String::new(),
            jti: None,
            scopes: Vec::new(),
            acr: String::new(),
            amr: Vec::new(),
            auth_time,
            strength,
            issued_at: None,
            expires_at: Timestamp::from_ms(0),
            bound_to: None,
            verified_by: Configuration([0; 32]),
            signed_by: None,
        }
    }

    /// How it is presented: one that is bound to a key never as Bearer, another never as DPoP.
    pub const fn scheme(&self) -> Scheme {
        match self.bound_to {
            Some(BoundTo::Key(_)) => Scheme::Dpop,
            // RFC 8705, section 3: the certificate is the connection's matter.
            Some(BoundTo::Certificate(_)) | None => Scheme::Bearer,
        }
    }

    /// Whether the connection showed the certificate that the token is bound to, and whether that
    /// holds now. A token that is bound to none needs none.
    ///
    /// # Errors
    ///
    /// What is wrong, as [`NotAccepted::Token`] names it.
    pub fn on(&self, shown: Option<&dyn ShownCertificate>, now: Timestamp) -> Result<(), &'static str> {
        let Some(BoundTo::Certificate(bound)) = &self.bound_to else { return Ok(()) };
        let held = shown.ok_or("certificate_missing")?.held(now).map_err(CertificateFault::code)?;
        if held.thumbprint == *bound { Ok(()) } else { Err("certificate_other") }
    }

    /// Whether it still holds at a service that has these rules now, where its issuer is
    /// now known by this digest (`None`: no more at all). For what goes on after the
    /// request that showed it: a stream, a wait, a body that came slowly.
    ///
    /// Whose it is and in which groups was read by the configuration of then. By another
    /// it may be somebody else's, so it is none until it is shown again.
    ///
    /// # Errors
    ///
    /// [`NotAccepted::Token`]: `expired`, or `configuration`.
    pub fn holds(
        &self,
        rules: Option<&TokenRules>,
        issuer: Option<&[u8; 32]>,
        now: Timestamp,
    ) -> Result<(), NotAccepted> {
        let scheme = self.scheme();
        if now >= self.expires_at {
            return Err(NotAccepted::Token { what: "expired", scheme });
        }
        match (rules, issuer) {
            (Some(rules), Some(issuer))
                if rules.takes(scheme) && self.verified_by == Configuration::of(rules, issuer) =>
            {
                Ok(())
            }
            _ => Err(NotAccepted::Token { what: "configuration", scheme }),
        }
    }

    /// Whether somebody logs in for such a token, so that a better login gives a better token. For an agent's
    /// own (client credentials, RFC 6749, section 4.4) nobody does: its `sub` is not the person who answers
    /// for it, and it tells of no login.
    pub fn comes_of_a_login(&self) -> bool {
        match &self.whose {
            Whose::Person { .. } => true,
            Whose::Agent { subject, owner, .. } => subject == owner || self.auth_time.is_some(),
        }
    }

    /// The subject of the person who answers for what is done with it.
    pub fn answerable(&self) -> &str {
        match &self.whose {
            Whose::Person { subject } => subject,
            Whose::Agent { owner, .. } => owner,
        }
    }
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken").field("id", &self.id).field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// A verified token of somebody who is known here: what `decide` judges.
#[derive(Clone, Debug)]
pub struct TokenView {
    /// The token.
    pub token: Arc<VerifiedToken>,
    /// Who acts, if it is an agent's; a person's otherwise.
    pub agent: Option<Arc<Agent>>,
    /// The person whose token it is, or who answers for the agent.
    pub person: Arc<Person>,
    /// The kinds of factors that this person has enrolled.
    pub enrolled: Arc<[FactorKind]>,
    /// What other systems told of this person.
    pub risks: Arc<[Risk]>,
    /// The host of the service that it was shown to.
    pub host: Host,
}

impl TokenView {
    /// Who acts.
    pub const fn principal(&self) -> Principal<'_> {
        match &self.agent {
            Some(agent) => Principal::Agent(agent),
            None => Principal::Person(&self.person),
        }
    }

    /// What the token proves: a login at its provider, when it happened.
    pub fn proof(&self) -> Option<(FactorKind, Timestamp)> {
        Some((FactorKind::Idp(self.token.strength), self.token.auth_time?))
    }
}

/// Why what was presented is worth nothing. `code()` is counted and stands in the evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The header cannot be read, or came twice: 400.
    #[error("the credentials cannot be read: {what}")]
    Malformed {
        /// `authorization_malformed`, `token_too_long`, `dpop_twice` …
        what: &'static str,
    },
    /// Another scheme than those that the service takes.
    #[error("this service does not take credentials of this scheme")]
    Scheme,
    /// Something in the token does not hold.
    #[error("the token is not valid: {what}")]
    Token {
        /// `issuer`, `audience`, `algorithm`, `key_unknown`, `signature`, `expired`, `inactive` …
        what: &'static str,
        /// How it was presented.
        scheme: Scheme,
    },
    /// Something in the proof of the key does not hold.
    #[error("the DPoP proof is not valid: {what}")]
    Proof {
        /// `missing`, `method`, `url`, `replayed`, `other_key` …
        what: &'static str,
    },
    /// The proof needs a nonce of ours, and has none or an old one.
    #[error("the DPoP proof needs a nonce of this gate")]
    UseNonce {
        /// The nonce to use.
        nonce: String,
    },
    /// The issuer cannot be asked, so nobody knows.
    #[error("the issuer cannot be asked: {0}")]
    Away(String),
    /// More proofs are remembered already than may be.
    #[error("too many DPoP proofs at once")]
    TooManyProofs,
}

impl NotAccepted {
    /// The stable code.
    pub fn code(&self) -> String {
        match self {
            Self::Malformed { what } => (*what).to_owned(),
            Self::Scheme => "token_scheme".to_owned(),
            Self::Token { what, .. } => format!("token_{what}"),
            Self::Proof { what } => format!("dpop_{what}"),
            Self::UseNonce { .. } => "dpop_nonce".to_owned(),
            Self::Away(_) => "token_issuer_away".to_owned(),
            Self::TooManyProofs => "dpop_too_many_proofs".to_owned(),
        }
    }
}

/// Verifies access tokens.
#[async_trait]
pub trait AccessTokens: Send + Sync + fmt::Debug {
    /// The token that came with a request to a service with these rules. `None` if none
    /// came at all: there is no `Authorization`.
    ///
    /// # Errors
    ///
    /// [`NotAccepted`]; whoever came with it is nobody, whatever else came with it.
    async fn verify(
        &self,
        presented: Presented<'_>,
        rules: &TokenRules,
    ) -> Result<Option<Arc<VerifiedToken>>, NotAccepted>;

    /// Whether a token that was verified before still holds at a service that has these
    /// rules now; `None` if it takes no tokens any more. See [`VerifiedToken::holds`]. One that
    /// was signed holds as long as its key is among those of its issuer.
    ///
    /// # Errors
    ///
    /// [`NotAccepted`]; what rests on it ends.
    async fn still(&self, token: &VerifiedToken, rules: Option<&TokenRules>, now: Timestamp)
    -> Result<(), NotAccepted>;
}

/// No tokens are verified here.
#[derive(Clone, Copy, Debug)]
pub struct NoAccessTokens;

#[async_trait]
impl AccessTokens for NoAccessTokens {
    async fn verify(
        &self,
        presented: Presented<'_>,
        _: &TokenRules,
    ) -> Result<Option<Arc<VerifiedToken>>, NotAccepted> {
        match presented.headers.contains_key(http::header::AUTHORIZATION) {
            true => Err(NotAccepted::Away("no provider is configured".to_owned())),
            false => Ok(None),
        }
    }

    async fn still(&self, token: &VerifiedToken, _: Option<&TokenRules>, now: Timestamp) -> Result<(), NotAccepted> {
        token.holds(None, None, now)
    }
}
