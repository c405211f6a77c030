//! The company's identity provider, as the flows need it (OpenID Connect).
//!
//! Whoever implements [`IdentityProviders`] speaks the protocol and verifies what came
//! back; what it is worth is configured; whether that suffices is for the flows.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use stepgate_evidence::LoginProof;

use crate::factor::{Identity, Strength};
use crate::time::Timestamp;

/// The longest subject that is kept, in bytes (OpenID Connect Core, section 2: 255 ASCII characters).
pub const SUBJECT_LEN_MAX: usize = 255;
/// The most groups that are read from a claim; beyond that nobody can say which were meant.
pub const GROUPS_MAX: usize = 500;

/// What the configuration calls a provider: part of URLs and entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderName(String);

/// The text names no provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a provider's name is 1 to 32 of a-z, 0-9 and -")]
pub struct NotAProviderName;

impl ProviderName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NotAProviderName> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 32 || !text.bytes().all(fits) {
            return Err(NotAProviderName);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that a provider can be asked to prove: an authentication context class
/// and what the configuration says it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The value of `acr`.
    pub acr: String,
    /// What a login of this class counts as.
    pub strength: Strength,
}

/// A provider as decisions and pages know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: ProviderName,
    /// What people call it.
    pub title: String,
    /// Its issuer identifier: with the subject, who somebody is.
    pub issuer: String,
    /// What it can be asked to prove, in the configuration's order of preference.
    /// Empty: people sign in there, and it is never asked for more.
    pub levels: Vec<Level>,
    /// Whether somebody whom nobody knows yet is added when they come from there.
    pub adds_people: bool,
    /// Whether their groups are those that it asserts, at each sign-in.
    pub governs_groups: bool,
    /// How often it is asked whether a login still stands, where it gives a refresh token.
    pub renews_every: Option<Duration>,
}

impl Provider {
    /// Whether somebody's identity is one at this provider: a name may be given to another
    /// issuer, and then it knows nobody of before.
    pub fn knows(&self, identity: &Identity) -> bool {
        identity.provider == self.name && identity.issuer == self.issuer
    }

    /// The classes that are worth at least this, in order of preference.
    pub fn classes_worth(&self, wanted: Strength) -> impl Iterator<Item = &str> {
        self.levels.iter().filter(move |level| level.strength.covers(wanted)).map(|level| level.acr.as_str())
    }
}

/// What somebody is sent to the provider for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To sign in.
    SignIn,
    /// To prove more: one of these classes, by a login that is not older.
    StepUp {
        /// Values of `acr`, in order of preference; never empty.
        acr: Vec<String>,
        /// The greatest age that the login may have had when it was asked for, in whole
        /// seconds; zero: it has to be made anew.
        max_age_s: u64,
        /// Who must come back.
        subject: String,
    },
}

/// A request to authorize, to be made.
#[derive(Clone, Debug)]
pub struct Authorize<'a> {
    /// Where.
    pub provider: &'a ProviderName,
    /// What for.
    pub ask: &'a Ask,
    /// Comes back in the answer's query.
    pub state: &'a str,
    /// Must stand in the ID token: it binds the login to what it is for.
    pub nonce: &'a str,
    /// What the person is called there (`login_hint`), so that they need not say it again. It proves nothing.
    pub hint: Option<&'a str>,
}

/// Where the browser goes, and what is kept until it comes back.
#[derive(Debug)]
pub struct Leave {
    /// The URL at the provider.
    pub url: String,
    /// Whoever made it needs this to finish (PKCE verifier, redirect URI); sealed by the store.
    pub keep: SecretString,
}

/// An answer of the provider, by way of the browser.
#[derive(Debug)]
pub struct CameBack<'a> {
    /// Whom it was asked of. An answer of another provider is a mix-up.
    pub provider: &'a ProviderName,
    /// What was asked.
    pub ask: &'a Ask,
    /// What was kept.
    pub keep: &'a SecretString,
    /// What must stand in the ID token.
    pub nonce: &'a str,
    /// The query of the URL that the browser came back to, as it came, without `?`.
    pub query: &'a str,
    /// When the browser left: what `max_age` is measured from.
    pub asked_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// A login that the provider signed for, verified: issuer, audience, algorithm,
/// signature, nonce and times. Of a step-up also subject, class and age.
#[derive(Debug)]
pub struct Asserted {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `sid`: the provider's session, for its back-channel logout.
    pub sid: Option<String>,
    /// The class, as the token has it or as the configuration calls its `methods`; bounded; empty if
    /// it said none.
    pub acr: String,
    /// Where the class is read off `amr`: the methods that make it. Empty elsewhere.
    pub methods: Vec<String>,
    /// `amr`.
    pub amr: Vec<String>,
    /// `auth_time`. `None` if it said none: then the login is as old as can be.
    pub auth_time: Option<Timestamp>,
    /// What `acr` counts as, by the configuration.
    pub strength: Strength,
    /// What the person is called.
    pub claims: Claims,
    /// The ID token, as evidence and for the logout at the provider.
    pub id_token: SecretString,
    /// The key that signed it, as a JWK without private parts.
    pub key: serde_json::Value,
    /// Renews the login without the person, where the provider gives one.
    pub refresh_token: Option<SecretString>,
}

impl Asserted {
    /// What stands in the tree about it. The verifier holds this against the token and the key, which
    /// lie beside it ([`stepgate_evidence::verify_login`]).
    pub fn proof(&self) -> LoginProof {
        LoginProof {
            issuer: self.issuer.clone(),
            acr: self.acr.clone(),
            methods: self.methods.clone(),
            counts_as: self.strength.names().map(str::to_owned).collect(),
            auth_time_ms: self.auth_time.map(|at| at.as_ms().to_string()),
            id_token_sha256: hex::encode(Sha256::digest(self.id_token.expose_secret())),
        }
    }
}

/// What a provider says about a person, bounded and mapped by the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// A name to sign in with, if somebody is added.
    pub login: Option<String>,
    /// What they are called.
    pub name: Option<String>,
    /// Their address; nobody is ever found by it.
    pub email: Option<String>,
    /// The groups of ours that theirs are mapped to, sorted, each once; `None` if it said nothing of groups.
    pub groups: Option<Vec<String>>,
}

/// Why a provider's answer is worth nothing. `code()` stands in the evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAsserted {
    /// It cannot be reached, or answers nonsense.
    #[error("the provider cannot be reached: {0}")]
    Away(String),
    /// It says something of itself with which nobody can work, or that belongs to another issuer.
    #[error("the provider cannot be used: {0}")]
    Unusable(String),
    /// No such provider is configured (any more).
    #[error("no such provider is configured")]
    Unknown,
    /// It answered with an error of OAuth.
    #[error("the provider refused: {code}")]
    Refused {
        /// `access_denied`, `login_required`, `unmet_authentication_requirements` …
        code: String,
    },
    /// The answer cannot be read.
    #[error("the provider's answer cannot be read: {0}")]
    Malformed(String),
    /// Another provider answered, or `iss` of the answer is not its issuer (RFC 9207).
    #[error("the answer is not that of the provider that was asked")]
    MixUp,
    /// Something in the ID token does not hold: which claim, or the algorithm, key or signature.
    #[error("the ID token is not valid: {what}")]
    Token {
        /// `issuer`, `audience`, `algorithm`, `key`, `signature`, `nonce`, `expired`, `not_yet`, `subject`, …
        what: &'static str,
    },
    /// Another person answered.
    #[error("another person answered")]
    OtherPerson,
    /// The class is none of those that were asked for.
    #[error("the login is of class {acr:?}, which does not suffice")]
    LesserClass {
        /// What it said; shortened.
        acr: String,
    },
    /// The login is older than was asked, or nothing says how old it is.
    #[error("the login is too old")]
    OldLogin,
}

impl NotAsserted {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Away(_) => "provider_away",
            Self::Unusable(_) => "provider_unusable",
            Self::Unknown => "unknown_provider",
            Self::Refused { .. } => "provider_refused",
            Self::Malformed(_) => "malformed",
            Self::MixUp => "mix_up",
            Self::Token { what } => what,
            Self::OtherPerson => "other_person",
            Self::LesserClass { .. } => "lesser_class",
            Self::OldLogin => "old_login",
        }
    }
}

/// A login that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotFinished {
    /// Why.
    pub why: NotAsserted,
    /// `sub`, where the provider signed for us whose login it was: bounded, and not believed for anything but to say so.
    pub subject: Option<String>,
}

impl From<NotAsserted> for NotFinished {
    /// Nobody knows whose it was.
    fn from(why: NotAsserted) -> Self {
        Self { why, subject: None }
    }
}

/// What a provider's logout token says (OpenID Connect Back-Channel Logout 1.0), verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// `iss`.
    pub issuer: String,
    /// `jti`: the same token twice is a repeat.
    pub id: String,
    /// `sub`: all sessions of this person from there, unless `sid` says which.
    pub subject: Option<String>,
    /// `sid`.
    pub sid: Option<String>,
}

/// What came of renewing a login without its person.
#[derive(Debug)]
pub enum Renewed {
    /// It stands.
    Stands {
        /// What is said about the person now, if anything is.
        claims: Option<Claims>,
        /// The next refresh token, if it was rotated.
        refresh_token: Option<SecretString>,
    },
    /// The provider ended it (`invalid_grant`).
    Ended,
    /// The provider cannot be reached or believed: nobody knows.
    Away {
        /// The next refresh token, if the former was rotated all the same.
        refresh_token: Option<SecretString>,
    },
}

/// The identity providers that are configured.
#[async_trait]
pub trait IdentityProviders: Send + Sync + fmt::Debug {
    /// All of them, in the configuration's order.
    fn all(&self) -> &[Provider];

    /// The one with this name.
    fn named(&self, name: &ProviderName) -> Option<&Provider> {
        self.all().iter().find(|provider| provider.name == *name)
    }

    /// Makes the request to authorize.
    async fn authorize(&self, request: Authorize<'_>) -> Result<Leave, NotAsserted>;

    /// Takes the answer: redeems the code and verifies all that came.
    ///
    /// # Errors
    ///
    /// [`NotFinished`]
    async fn finish(&self, answer: CameBack<'_>) -> Result<Asserted, NotFinished>;

    /// Verifies a logout token that the provider sent by itself.
    async fn logout_token(
        &self,
        provider: &ProviderName,
        token: &str,
        now: Timestamp,
    ) -> Result<LogoutToken, NotAsserted>;

    /// Where the person signs out at the provider too, if it has such a place
    /// (OpenID Connect RP-Initiated Logout 1.0).
    async fn logout_url(&self, provider: &ProviderName, id_token: &SecretString) -> Option<String>;

    /// Asks whether the login of this subject still stands. If the provider speaks of another, it has ended.
    async fn renew(
        &self,
        provider: &ProviderName,
        subject: &str,
        refresh_token: &SecretString,
        now: Timestamp,
    ) -> Renewed;
}

/// No provider at all: local accounts alone.
#[derive(Clone, Copy, Debug)]
pub struct NoProviders;

#[async_trait]
impl IdentityProviders for NoProviders {
    fn all(&self) -> &[Provider] {
        &[]
    }

    async fn authorize(&self, _: Authorize<'_>) -> Result<Leave, NotAsserted> {
        Err(NotAsserted::Unknown)
    }

    async fn finish(&self, _: CameBack<'_>) -> Result<Asserted, NotFinished> {
        Err(NotAsserted::Unknown.into())
    }

    async fn logout_token(&self, _: &ProviderName, _: &str, _: Timestamp) -> Result<LogoutToken, NotAsserted> {
        Err(NotAsserted::Unknown)
    }

    async fn logout_url(&self, _: &ProviderName, _: &SecretString) -> Option<String> {
        None
    }

    async fn renew(&self, _: &ProviderName, _: &str, _: &SecretString, _: Timestamp) -> Renewed {
        Renewed::Away { refresh_token: None }
    }
}
