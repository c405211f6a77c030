//! An ID token: what must stand in it, in the order in which it is looked at (OpenID
//! Connect Core 1.0, section 3.1.3.7).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stepgate_core::factor::Strength;
use stepgate_core::provider::{Ask, NotAsserted, NotFinished, SUBJECT_LEN_MAX};
use stepgate_core::time::Timestamp;

use super::metadata::Metadata;
use super::preset::ComesBack;
use super::settings::{CheckedProvider, LevelSettings};
use crate::jws::{Jws, JwsError, TokenClaims, Verified, WrongType};
use crate::keys::{Algorithm, KeyError};

/// The longest ID token that is read.
pub const TOKEN_LEN_MAX: usize = 160 * 1024;
/// The most methods (`amr`) of one login, and the longest of them.
const METHODS_MAX: usize = 50;
const TEXT_LEN_MAX: usize = 512;

pub(super) fn token(what: &'static str) -> NotAsserted {
    NotAsserted::Token { what }
}

/// A token of the wrong shape, algorithm or key, in the words of the port.
pub(super) fn of_jws(error: JwsError) -> NotAsserted {
    match error {
        JwsError::Key(KeyError::Away(why)) => NotAsserted::Away(why),
        JwsError::Key(KeyError::Unknown { .. }) => token("key"),
        other => token(other.code()),
    }
}

pub(super) fn of_type(wrong: WrongType) -> NotAsserted {
    token(match wrong.name {
        "iss" => "issuer",
        "aud" => "audience",
        "azp" => "authorized_party",
        "sub" => "subject",
        "exp" => "exp_not_a_number",
        "nbf" => "nbf_not_a_number",
        "iat" => "iat_not_a_number",
        "auth_time" => "auth_time_not_a_number",
        other => other,
    })
}

/// What every token of a provider must say: by whom it is, for whom, and when.
pub(super) fn check_frame(
    claims: &TokenClaims,
    provider: &CheckedProvider,
    metadata: &Metadata,
    now: Timestamp,
) -> Result<(), NotAsserted> {
    if claims.text("iss").map_err(of_type)? != Some(&metadata.issuer) {
        return Err(token("issuer"));
    }
    let audience = claims.one_or_more("aud").map_err(of_type)?.unwrap_or_default();
    if !audience.contains(&provider.client_id.as_str()) {
        return Err(token("audience"));
    }
    match claims.text("azp").map_err(of_type)? {
        Some(party) if party == provider.client_id => {}
        None if audience.len() == 1 => {}
        _ => return Err(token("authorized_party")),
    }
    check_times(claims, provider.skew, now)
}

fn check_times(claims: &TokenClaims, skew: Duration, now: Timestamp) -> Result<(), NotAsserted> {
    let moment = |name| claims.moment(name).map_err(of_type);
    let expires = moment("exp")?.ok_or(token("expired"))?;
    if now >= expires.plus(skew) {
        return Err(token("expired"));
    }
    if moment("nbf")?.is_some_and(|begins| begins > now.plus(skew)) {
        return Err(token("not_yet"));
    }
    let issued = moment("iat")?.ok_or(token("issued"))?;
    if issued > now.plus(skew) {
        return Err(token("issued"));
    }
    Ok(())
}

/// `sub`, bounded.
pub(super) fn subject(claims: &TokenClaims) -> Result<Option<&str>, NotAsserted> {
    bounded(claims, "sub", SUBJECT_LEN_MAX)
}

/// `sid`, bounded.
pub(super) fn sid(claims: &TokenClaims) -> Result<Option<&str>, NotAsserted> {
    bounded(claims, "sid", TEXT_LEN_MAX)
}

fn bounded<'c>(claims: &'c TokenClaims, name: &'static str, max: usize) -> Result<Option<&'c str>, NotAsserted> {
    let text = claims.text(name).map_err(of_type)?;
    if text.is_some_and(|text| text.is_empty() || text.len() > max || text.chars().any(char::is_control)) {
        return Err(of_type(WrongType { name }));
    }
    Ok(text)
}

/// What was verified, and the login that it tells of.
#[derive(Debug)]
pub(super) struct IdToken {
    pub(super) verified: Verified,
    pub(super) login: Login,
}

/// The login, as the token tells it.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) subject: String,
    pub(super) sid: Option<String>,
    /// `acr`, or those of `acrs`.
    pub(super) classes: Vec<String>,
    pub(super) amr: Vec<String>,
    pub(super) auth_time: Option<Timestamp>,
}

/// What an ID token must fit.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) provider: &'a CheckedProvider,
    pub(super) metadata: &'a Metadata,
    /// `None`: it came with a refresh, where none is promised (section 12.2).
    pub(super) nonce: Option<&'a str>,
    /// That came beside it.
    pub(super) access_token: Option<&'a str>,
    pub(super) now: Timestamp,
}

impl IdToken {
    /// # Errors
    ///
    /// With the subject, where it stands in what the provider signed for us.
    pub(super) async fn verify(text: &str, expected: &Expected<'_>) -> Result<Self, NotFinished> {
        let Expected { provider, metadata, now, .. } = *expected;
        let read = Jws::read(text, TOKEN_LEN_MAX).map_err(of_jws)?;
        if !matches!(read.kind().as_deref(), None | Some("jwt")) {
            return Err(token("typ").into());
        }
        let verified = read.verify(&metadata.keys, &provider.algorithms, now).await.map_err(of_jws)?;
        let claims = &verified.claims;
        check_frame(claims, provider, metadata, now)?;
        match Self::read_login(&verified, expected) {
            Ok(login) => Ok(Self { verified, login }),
            Err(why) => {
                let subject = subject(&verified.claims).ok().flatten().map(str::to_owned);
                Err(NotFinished { why, subject })
            }
        }
    }

    /// The login, if it is the one that was asked for here.
    fn read_login(verified: &Verified, expected: &Expected<'_>) -> Result<Login, NotAsserted> {
        let Expected { provider, now, .. } = *expected;
        let claims = &verified.claims;
        if let Some(nonce) = expected.nonce {
            let said = claims.text("nonce").map_err(of_type)?;
            if said != Some(nonce) {
                return Err(token("nonce"));
            }
        }
        if let Some(hash) = claims.text("at_hash").map_err(of_type)? {
            let holds = |one| half_hash(one, verified.algorithm) == hash;
            if !expected.access_token.is_some_and(holds) {
                return Err(token("at_hash"));
            }
        }
        let login = Login::read(claims, provider.ways.comes_back)?;
        if login.auth_time.is_some_and(|at| at > now.plus(provider.skew)) {
            return Err(token("auth_time"));
        }
        Ok(login)
    }
}

/// The left half of the hash that goes with the algorithm (section 3.1.3.6); of Ed25519
/// it is the hash that its signatures are made with.
fn half_hash(text: &str, algorithm: Algorithm) -> String {
    use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
    let hash = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => digest(&SHA256, text.as_bytes()),
        Algorithm::Es384 => digest(&SHA384, text.as_bytes()),
        Algorithm::EdDsa => digest(&SHA512, text.as_bytes()),
    };
    let (half, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    URL_SAFE_NO_PAD.encode(half)
}

impl Login {
    fn read(claims: &TokenClaims, comes_back: ComesBack) -> Result<Self, NotAsserted> {
        let fits = |text: &&str| text.len() <= TEXT_LEN_MAX && !text.chars().any(char::is_control);
        let list = |name| {
            let all = claims.texts(name).map_err(of_type)?.unwrap_or_default();
            if all.len() > METHODS_MAX || !all.iter().all(fits) {
                return Err(of_type(WrongType { name }));
            }
            Ok(all.into_iter().map(String::from).collect::<Vec<_>>())
        };
        let classes = match comes_back {
            ComesBack::Acr => bounded_or_empty(claims)?.into_iter().collect(),
            ComesBack::Acrs => list("acrs")?,
        };
        Ok(Self {
            subject: subject(claims)?.ok_or(token("subject"))?.to_owned(),
            sid: sid(claims)?.map(String::from),
            classes,
            amr: list("amr")?,
            auth_time: claims.moment("auth_time").map_err(of_type)?,
        })
    }

    /// The configured classes that the login is of.
    pub(super) fn levels<'p>(&self, provider: &'p CheckedProvider) -> Vec<&'p LevelSettings> {
        provider.levels.iter().filter(|level| self.is_of(level)).collect()
    }

    /// The class that the login is of, in the words of what was asked for; the methods that it
    /// was read off, where it was; and what all classes that the login is of are worth. A class
    /// that nobody configured is worth nothing.
    pub(super) fn class(&self, ask: &Ask, provider: &CheckedProvider) -> (String, Vec<String>, Strength) {
        let mut levels = self.levels(provider);
        // One login is dated once: of a step-up only what was asked for is known to be of now.
        if let Ask::StepUp { acr, .. } = ask {
            levels.retain(|level| acr.contains(&level.acr));
        }
        let strength = levels.iter().fold(Strength::NONE, |all, level| all.and(level.strength));
        let named = match ask {
            Ask::StepUp { acr, .. } => acr.iter().find_map(|acr| levels.iter().find(|level| level.acr == *acr)),
            Ask::SignIn => levels.first(),
        };
        match named {
            Some(level) => (level.acr.clone(), level.amr.clone(), strength),
            None => (self.classes.first().cloned().unwrap_or_default(), Vec::new(), strength),
        }
    }

    fn is_of(&self, level: &LevelSettings) -> bool {
        if level.amr.is_empty() {
            return self.classes.contains(&level.acr);
        }
        level.amr.iter().all(|method| self.amr.contains(method))
    }

    /// Whether the login is what was asked for.
    pub(super) fn check(&self, ask: &Ask, provider: &CheckedProvider, asked_at: Timestamp) -> Result<(), NotAsserted> {
        let Ask::StepUp { acr, max_age_s, subject } = ask else { return Ok(()) };
        if self.subject != *subject {
            return Err(NotAsserted::OtherPerson);
        }
        if !self.levels(provider).iter().any(|level| acr.contains(&level.acr)) {
            let said = if self.classes.is_empty() { &self.amr } else { &self.classes };
            return Err(NotAsserted::LesserClass { acr: said.join(" ").chars().take(64).collect() });
        }
        // `iat` says nothing: it is when the token was made.
        let auth_time = self.auth_time.ok_or(NotAsserted::OldLogin)?;
        // It may have been that old when it was asked for; a login since then is new, however
        // long the way back took. Most providers tell whole seconds, and a clock may be behind.
        let asked_at = Timestamp::from_ms(asked_at.as_ms() / 1000 * 1000);
        let was_young = auth_time.plus(Duration::from_secs(*max_age_s)) >= asked_at;
        let is_new = auth_time.plus(provider.skew.min(NEW_LOGIN_SKEW_MAX)) >= asked_at;
        if was_young || is_new { Ok(()) } else { Err(NotAsserted::OldLogin) }
    }
}

/// A login that is to be new may seem to be this much older than the question, because the
/// provider's clock is behind; not the whole skew that is allowed elsewhere.
const NEW_LOGIN_SKEW_MAX: Duration = Duration::from_secs(5);

/// `acr`; an empty one is none.
fn bounded_or_empty(claims: &TokenClaims) -> Result<Option<String>, NotAsserted> {
    if claims.text("acr").map_err(of_type)? == Some("") {
        return Ok(None);
    }
    Ok(bounded(claims, "acr", TEXT_LEN_MAX)?.map(String::from))
}
