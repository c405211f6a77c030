//! What the configuration says of a provider, checked as far as that needs no network.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use stepgate_core::factor::Strength;
use stepgate_core::provider::{Level, Provider, ProviderName};
use url::Url;

use super::client::{ClientAuth, ClientAuthMethod, ClientKey};
use super::preset::{AskFor, ComesBack, Preset, Refresh, Ways};
use crate::http::{Http, HttpUnusable, Reach};
use crate::keys::Algorithm;

/// How far the provider's clock and ours may be apart, unless the configuration says otherwise.
pub const CLOCK_SKEW_S: u64 = 30;
/// The most that may be configured.
pub const CLOCK_SKEW_MAX_S: u64 = 300;
/// The least time between two questions whether a login still stands.
pub const RENEWS_EVERY_MIN: Duration = Duration::from_secs(60);
/// The most classes of one provider.
pub const LEVELS_MAX: usize = 20;

/// A provider as the configuration has it. [`Self::check`] makes it usable.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Part of URLs and entries.
    pub name: String,
    /// What people call it. Without one, the preset's.
    pub title: Option<String>,
    /// Its ways.
    pub preset: Preset,
    /// Its issuer identifier, exactly as it writes it, the last slash included.
    pub issuer: String,
    /// What it calls us.
    pub client_id: String,
    /// How we prove to be that. Without one, by what there is: a key, a secret, nothing.
    pub client_auth: Option<ClientAuthMethod>,
    /// Our secret there.
    pub client_secret: Option<SecretString>,
    /// Our private key (PEM: PKCS #8, P-256, Ed25519 or RSA).
    pub client_key: Option<SecretString>,
    /// What the provider calls that key.
    pub client_key_id: Option<String>,
    /// Where the browser comes back to.
    pub redirect_uri: String,
    /// Where it comes back to after signing out there.
    pub post_logout_redirect_uri: Option<String>,
    /// Beside `openid`. Without any, the preset's.
    pub scopes: Option<Vec<String>>,
    /// What it can be asked to prove, in order of preference.
    pub levels: Vec<LevelSettings>,
    /// The claim with the name to sign in with. Without one, the preset's.
    pub login_claim: Option<String>,
    /// The claim with groups or roles: its name, or a JSON pointer. Without one, the preset's.
    pub groups_claim: Option<String>,
    /// Their group to ours. A group that is not here is none, unless there is a prefix.
    pub groups: BTreeMap<String, String>,
    /// Groups that the table does not name keep their name, with this before it.
    pub groups_prefix: Option<String>,
    /// Whether somebody whom nobody knows yet is added.
    pub adds_people: bool,
    /// Whether their groups are those that it asserts, at each sign-in.
    pub governs_groups: bool,
    /// How often it is asked whether a login still stands, so that one that ended there ends
    /// here; a refresh token is asked for then.
    pub renews_every: Option<Duration>,
    /// Whether requests are pushed (RFC 9126) where the provider offers it.
    pub pushes: bool,
    /// With what its tokens may be signed. None: all that are accepted anywhere.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock and ours may be apart, in seconds.
    pub clock_skew_s: u64,
    /// Root certificates (PEM) that alone are believed. Without any, the platform's.
    pub root_certificates: Option<Vec<u8>>,
    /// Whether it may be on this machine, without TLS. For tests and demonstrations.
    pub danger_loopback: bool,
}

/// A class of login, and what it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelSettings {
    /// What the provider calls it: a value of `acr`, or of `acrs`.
    pub acr: String,
    /// What a login of this class counts as.
    pub strength: Strength,
    /// Methods (`amr`) that prove it, all of them, whatever `acr` says: for providers that
    /// name no class. None: the class itself must come back.
    pub amr: Vec<String>,
}

/// Something in the configuration that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Mistake {
    /// The key of the configuration.
    pub field: &'static str,
    /// What is wrong.
    pub why: String,
}

/// A provider that was checked.
#[derive(Clone, Debug)]
pub struct CheckedProvider {
    pub(super) provider: Provider,
    pub(super) ways: &'static Ways,
    pub(super) http: Http,
    pub(super) client_id: String,
    pub(super) client_auth: ClientAuth,
    pub(super) redirect_uri: Url,
    pub(super) post_logout_redirect_uri: Option<Url>,
    pub(super) scope: String,
    pub(super) levels: Vec<LevelSettings>,
    pub(super) people: super::person::Mapping,
    pub(super) pushes: bool,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) skew: Duration,
}

impl CheckedProvider {
    /// The provider as decisions and pages know it.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// What a login of this class and by these methods counts as: what an access token is worth that says so.
    pub fn worth(&self, acr: &str, amr: &[&str]) -> Strength {
        crate::tokens::worth(&self.levels, acr, amr)
    }

    pub(super) fn renews(&self) -> bool {
        self.provider.renews_every.is_some()
    }
}

impl ProviderSettings {
    /// A provider of which only this is known; all else is what it is unless said.
    pub fn new(name: &str, issuer: &str, client_id: &str, redirect_uri: &str) -> Self {
        Self {
            name: name.to_owned(),
            title: None,
            preset: Preset::Generic,
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            client_auth: None,
            client_secret: None,
            client_key: None,
            client_key_id: None,
            redirect_uri: redirect_uri.to_owned(),
            post_logout_redirect_uri: None,
            scopes: None,
            levels: Vec::new(),
            login_claim: None,
            groups_claim: None,
            groups: BTreeMap::new(),
            groups_prefix: None,
            adds_people: false,
            governs_groups: false,
            renews_every: None,
            pushes: true,
            algorithms: Vec::new(),
            clock_skew_s: CLOCK_SKEW_S,
            root_certificates: None,
            danger_loopback: false,
        }
    }

    /// Checks all that needs no network.
    ///
    /// # Errors
    ///
    /// All mistakes at once.
    pub fn check(self) -> Result<CheckedProvider, Vec<Mistake>> {
        let mut found = Vec::new();
        let mut wrong = |field, why: String| found.push(Mistake { field, why });
        let ways = self.preset.ways();
        let reach = if self.danger_loopback { Reach::DangerLoopback } else { Reach::Network };

        let name = ProviderName::parse(&self.name).map_err(|error| wrong("name", error.to_string())).ok();
        let title = self.title.as_deref().map_or(ways.title, str::trim);
        if title.is_empty() || title.chars().count() > 60 || title.chars().any(char::is_control) {
            wrong("title", String::from("a title is 1 to 60 characters on one line"));
        }
        if let Err(why) = check_issuer(&self.issuer, reach, self.preset) {
            wrong("issuer", why);
        }
        if self.client_id.is_empty() || self.client_id.len() > 255 || self.client_id.chars().any(char::is_control) {
            wrong("client_id", String::from("a client's name is 1 to 255 bytes without control characters"));
        }
        let redirect_uri = of_ours(&self.redirect_uri).map_err(|why| wrong("redirect_uri", why)).ok();
        let post_logout_redirect_uri = match self.post_logout_redirect_uri.as_deref().map(of_ours).transpose() {
            Ok(uri) => uri,
            Err(why) => {
                wrong("post_logout_redirect_uri", why);
                None
            }
        };
        let client_auth = self.client_auth().map_err(|(field, why)| wrong(field, why)).ok();
        if let Err(why) = self.check_levels(ways) {
            wrong("levels", why);
        }
        let scope =
            scope(self.scopes.as_deref(), ways, self.renews_every.is_some()).map_err(|why| wrong("scopes", why)).ok();
        let people = self.people(ways).map_err(|(field, why)| wrong(field, why)).ok();
        if self.renews_every.is_some_and(|every| every < RENEWS_EVERY_MIN) {
            wrong("renews_every", format!("it is asked every {} seconds at most", RENEWS_EVERY_MIN.as_secs()));
        }
        if self.clock_skew_s > CLOCK_SKEW_MAX_S {
            wrong("clock_skew", format!("clocks are at most {CLOCK_SKEW_MAX_S} seconds apart"));
        }
        let http = Http::new(reach, self.root_certificates.as_deref())
            .map_err(|error| match error {
                HttpUnusable::RootCertificates => wrong("ca_file", error.to_string()),
                HttpUnusable::Tls(_) => wrong("issuer", error.to_string()),
            })
            .ok();

        let all = (name, redirect_uri, client_auth, scope, people, http);
        match all {
            (Some(name), Some(redirect_uri), Some(client_auth), Some(scope), Some(people), Some(http))
                if found.is_empty() =>
            {
                let levels = self.levels.iter().map(|level| Level { acr: level.acr.clone(), strength: level.strength });
                let provider = Provider {
                    name,
                    title: title.to_owned(),
                    issuer: self.issuer.clone(),
                    levels: levels.collect(),
                    adds_people: self.adds_people,
                    governs_groups: self.governs_groups,
                    renews_every: self.renews_every,
                };
                let algorithms = if self.algorithms.is_empty() { Algorithm::ALL.to_vec() } else { self.algorithms };
                Ok(CheckedProvider {
                    provider,
                    ways,
                    http,
                    client_id: self.client_id,
                    client_auth,
                    redirect_uri,
                    post_logout_redirect_uri,
                    scope,
                    levels: self.levels,
                    people,
                    pushes: self.pushes,
                    algorithms,
                    skew: Duration::from_secs(self.clock_skew_s),
                })
            }
            _ => Err(found),
        }
    }

    fn client_auth(&self) -> Result<ClientAuth, (&'static str, String)> {
        let method = self.client_auth.unwrap_or(match (&self.client_key, &self.client_secret) {
            (Some(_), _) => ClientAuthMethod::PrivateKeyJwt,
            (None, Some(_)) => ClientAuthMethod::Secret,
            (None, None) => ClientAuthMethod::None,
        });
        let secret = || match &self.client_secret {
            Some(secret) if !secret.expose_secret().is_empty() => Ok(secret.clone()),
            Some(_) => Err(("client_secret", String::from("it is empty"))),
            None => Err(("client_secret", String::from("there is none, and `client_auth` needs one"))),
        };
        match method {
            ClientAuthMethod::Secret => Ok(ClientAuth::Secret(secret()?)),
            ClientAuthMethod::SecretBasic => Ok(ClientAuth::SecretBasic(secret()?)),
            ClientAuthMethod::SecretPost => Ok(ClientAuth::SecretPost(secret()?)),
            ClientAuthMethod::None => Ok(ClientAuth::None),
            ClientAuthMethod::PrivateKeyJwt => {
                let missing = || ("client_key_file", String::from("there is none, and `client_auth` needs one"));
                let pem = self.client_key.as_ref().ok_or_else(missing)?;
                let key = ClientKey::read(pem, self.client_key_id.clone());
                Ok(ClientAuth::PrivateKeyJwt(key.map_err(|error| ("client_key_file", error.to_string()))?))
            }
        }
    }

    fn check_levels(&self, ways: &Ways) -> Result<(), String> {
        if !ways.steps_up && !self.levels.is_empty() {
            return Err(format!("{} proves no class of login and cannot be asked for more", ways.title));
        }
        if self.levels.len() > LEVELS_MAX {
            return Err(format!("there are more than {LEVELS_MAX}"));
        }
        for (index, level) in self.levels.iter().enumerate() {
            let acr = &level.acr;
            if acr.is_empty() || acr.len() > 255 || acr.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(format!("{acr:?} is no class: 1 to 255 bytes without white space"));
            }
            if self.levels.iter().take(index).any(|before| before.acr == *acr) {
                return Err(format!("{acr:?} is there twice"));
            }
            if ways.comes_back == ComesBack::Acrs && !is_authentication_context(acr) && level.amr.is_empty() {
                return Err(format!("{acr:?} is no authentication context of Entra ID: they are c1 to c99"));
            }
            if level.amr.iter().any(|method| method.is_empty() || method.len() > 100) {
                return Err(format!("a method (amr) of {acr:?} is empty or longer than 100 bytes"));
            }
            if level.strength == Strength::NONE && ways.ask_for != AskFor::Login {
                return Err(format!("{acr:?} is worth nothing, so nobody is ever asked for it: leave it away"));
            }
        }
        Ok(())
    }

    fn people(&self, ways: &Ways) -> Result<super::person::Mapping, (&'static str, String)> {
        let bad = |text: &str| text.is_empty() || text.len() > 255 || text.chars().any(char::is_control);
        let login_claim = self.login_claim.as_deref().unwrap_or(ways.login_claim);
        if bad(login_claim) {
            return Err(("login_claim", String::from("a claim's name is 1 to 255 bytes without control characters")));
        }
        let groups_claim = self.groups_claim.as_deref().or(ways.groups_claim);
        if groups_claim.is_some_and(bad) {
            return Err(("groups_claim", String::from("a claim's name is 1 to 255 bytes without control characters")));
        }
        if self.governs_groups && groups_claim.is_none() {
            let what = "its groups are to be followed: `groups_claim` says which claim has them";
            return Err(("governs_groups", String::from(what)));
        }
        if let Some((theirs, _)) = self.groups.iter().find(|(_, ours)| bad(ours)) {
            return Err((
                "groups",
                format!("what {theirs:?} is called here has 1 to 255 bytes without control characters"),
            ));
        }
        if self.groups_prefix.as_deref().is_some_and(|prefix| prefix.len() > 50 || prefix.chars().any(char::is_control))
        {
            return Err(("groups_prefix", String::from("a prefix has at most 50 bytes and no control characters")));
        }
        let renamed = if self.groups.is_empty() { "groups_prefix" } else { "groups" };
        if groups_claim.is_none() && (!self.groups.is_empty() || self.groups_prefix.is_some()) {
            let what = "no group comes to be renamed: `groups_claim` says which claim has them";
            return Err((renamed, String::from(what)));
        }
        Ok(super::person::Mapping {
            provider: self.name.clone(),
            login_claim: login_claim.to_owned(),
            groups_claim: groups_claim.map(String::from),
            groups: self.groups.clone(),
            groups_prefix: self.groups_prefix.clone(),
            told: super::person::ToldOnce::default(),
        })
    }
}

fn is_authentication_context(acr: &str) -> bool {
    acr.strip_prefix('c')
        .is_some_and(|number| !number.starts_with('0') && number.parse::<u8>().is_ok_and(|number| number <= 99))
}

/// OpenID Connect Discovery, section 3: https, no query, no fragment.
fn check_issuer(text: &str, reach: Reach, preset: Preset) -> Result<(), String> {
    if text.len() > 1024 {
        return Err(String::from("it is longer than 1024 bytes"));
    }
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    if url.query().is_some() {
        return Err(format!("{text:?} has a query, which no issuer has"));
    }
    reach.check(&url).map_err(|why| why.to_string())?;
    let mut segments = url.path_segments().into_iter().flatten();
    if preset == Preset::Entra && segments.any(|one| ["common", "organizations", "consumers"].contains(&one)) {
        return Err(format!("{text:?} stands for many tenants: name yours by its id"));
    }
    Ok(())
}

fn of_ours(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    if url.fragment().is_some() || !matches!(url.scheme(), "https" | "http") {
        return Err(format!("{text:?} is no URL to come back to"));
    }
    Ok(url)
}

fn scope(asked: Option<&[String]>, ways: &Ways, renews: bool) -> Result<String, String> {
    let mut all = vec!["openid"];
    match asked {
        Some(asked) => all.extend(asked.iter().map(String::as_str).filter(|one| *one != "openid")),
        None => all.extend(ways.scopes),
    }
    if renews && matches!(ways.refresh, Refresh::OfflineScope | Refresh::OfflineConsent) {
        all.push("offline_access");
    }
    // RFC 6749, section 3.3.
    let is_token =
        |one: &&str| !one.is_empty() && one.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E));
    match all.iter().find(|one| !is_token(one)) {
        Some(bad) => Err(format!("{bad:?} is no scope")),
        None => Ok(all.join(" ")),
    }
}
