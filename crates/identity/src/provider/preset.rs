//! What is known of the providers that most companies have.
//!
//! A preset says what a provider is sent and where its proof comes back. It believes
//! nothing: what comes back is verified for all of them alike. None of them was run
//! against the provider itself; the manual says what each stands on.

use std::str::FromStr;

/// A provider whose ways are known, or any that keeps to the standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Any provider that does what OpenID Connect Core and its own metadata say.
    #[default]
    Generic,
    /// Keycloak and Red Hat's build of it.
    Keycloak,
    /// Microsoft Entra ID, a single tenant.
    Entra,
    /// Okta.
    Okta,
    /// Auth0.
    Auth0,
    /// Google, also of a Workspace.
    Google,
    /// authentik.
    Authentik,
    /// ZITADEL.
    Zitadel,
}

/// How a class of login is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskFor {
    /// `acr_values`, and the essential claim `acr` where the provider reads `claims`.
    Acr,
    /// The essential claim `acrs` (Entra's authentication contexts).
    Acrs,
    /// Not at all: what the provider did is told by `acr` or `amr`, and a new login is asked for.
    Login,
}

/// Where the class comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComesBack {
    /// In the text `acr`.
    Acr,
    /// In the list `acrs`.
    Acrs,
}

/// How `auth_time` gets into the token of a sign-in. Of a step-up `max_age` makes it be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthTime {
    /// The provider puts it there, or its configuration must.
    Given,
    /// It is asked for: by `claims`, or by a `max_age` that no login exceeds.
    Asked,
}

/// How a refresh token is had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// It comes by itself.
    Given,
    /// By the scope `offline_access`.
    OfflineScope,
    /// By that and `prompt=consent`, without which the standard has the scope ignored
    /// (OpenID Connect Core, section 11); people are asked at each sign-in.
    OfflineConsent,
    /// By the parameter `access_type`.
    AccessType,
}

/// What a provider needs and can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What people call it, unless the configuration says otherwise.
    pub title: &'static str,
    /// What is asked for beside `openid`.
    pub scopes: &'static [&'static str],
    /// Whether it can be asked to prove more.
    pub steps_up: bool,
    /// How a class is asked for.
    pub ask_for: AskFor,
    /// Where it comes back.
    pub comes_back: ComesBack,
    /// Whether it reads `claims` though its metadata do not say so.
    pub reads_claims: bool,
    /// `prompt` of a step-up, beside `max_age`.
    pub prompt: Option<&'static str>,
    /// How `auth_time` is had at a sign-in.
    pub auth_time: AuthTime,
    /// How a refresh token is had.
    pub refresh: Refresh,
    /// The claim with the name to sign in with.
    pub login_claim: &'static str,
    /// The claim with groups or roles, unless the configuration names one: a JSON pointer, or the claim's name.
    pub groups_claim: Option<&'static str>,
    /// Whether its introspection may be believed about access tokens: it tells them from
    /// refresh tokens. Where it does not, `[provider.introspection]` is refused.
    pub tells_tokens_apart: bool,
}

const GENERIC: Ways = Ways {
    name: "generic",
    title: "Company login",
    scopes: &["profile", "email"],
    steps_up: true,
    ask_for: AskFor::Acr,
    comes_back: ComesBack::Acr,
    reads_claims: false,
    prompt: None,
    auth_time: AuthTime::Asked,
    refresh: Refresh::OfflineConsent,
    login_claim: "preferred_username",
    groups_claim: None,
    tells_tokens_apart: true,
};

const KEYCLOAK: Ways = Ways {
    name: "keycloak",
    title: "Keycloak",
    auth_time: AuthTime::Given,
    refresh: Refresh::Given,
    groups_claim: Some("groups"),
    ..GENERIC
};

const ENTRA: Ways = Ways {
    name: "entra",
    title: "Microsoft Entra ID",
    ask_for: AskFor::Acrs,
    comes_back: ComesBack::Acrs,
    reads_claims: true,
    prompt: Some("login"),
    auth_time: AuthTime::Given,
    refresh: Refresh::OfflineScope,
    groups_claim: Some("groups"),
    ..GENERIC
};

const OKTA: Ways = Ways {
    name: "okta",
    title: "Okta",
    auth_time: AuthTime::Given,
    refresh: Refresh::OfflineScope,
    groups_claim: Some("groups"),
    ..GENERIC
};

const AUTH0: Ways =
    Ways { name: "auth0", title: "Auth0", refresh: Refresh::OfflineScope, login_claim: "nickname", ..GENERIC };

const GOOGLE: Ways = Ways {
    name: "google",
    title: "Google",
    steps_up: false,
    ask_for: AskFor::Login,
    auth_time: AuthTime::Given,
    refresh: Refresh::AccessType,
    login_claim: "email",
    ..GENERIC
};

const AUTHENTIK: Ways = Ways {
    name: "authentik",
    title: "authentik",
    ask_for: AskFor::Login,
    prompt: Some("login"),
    auth_time: AuthTime::Given,
    refresh: Refresh::OfflineScope,
    groups_claim: Some("groups"),
    // It looks among refresh tokens too, and answers with one shape for both, without `token_type`.
    tells_tokens_apart: false,
    ..GENERIC
};

const ZITADEL: Ways = Ways {
    name: "zitadel",
    title: "ZITADEL",
    ask_for: AskFor::Login,
    prompt: Some("login"),
    auth_time: AuthTime::Given,
    refresh: Refresh::OfflineScope,
    groups_claim: Some("urn:zitadel:iam:org:project:roles"),
    ..GENERIC
};

/// The text names no preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("generic, keycloak, entra, okta, auth0, google, authentik and zitadel are the presets")]
pub struct NotAPreset;

impl Preset {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Generic,
        Self::Keycloak,
        Self::Entra,
        Self::Okta,
        Self::Auth0,
        Self::Google,
        Self::Authentik,
        Self::Zitadel,
    ];

    /// What it stands for.
    pub const fn ways(self) -> &'static Ways {
        match self {
            Self::Generic => &GENERIC,
            Self::Keycloak => &KEYCLOAK,
            Self::Entra => &ENTRA,
            Self::Okta => &OKTA,
            Self::Auth0 => &AUTH0,
            Self::Google => &GOOGLE,
            Self::Authentik => &AUTHENTIK,
            Self::Zitadel => &ZITADEL,
        }
    }
}

impl FromStr for Preset {
    type Err = NotAPreset;

    fn from_str(text: &str) -> Result<Self, NotAPreset> {
        Self::ALL.into_iter().find(|preset| preset.ways().name == text).ok_or(NotAPreset)
    }
}
