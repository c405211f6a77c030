//! What a token says, whether it was signed or the issuer said it when asked.

use std::time::Duration;

use stepgate_core::access::{Accepted, BoundTo, Configuration, SCOPES_MAX, TokenRules, VerifiedToken, Whose};
use stepgate_core::certificate::Thumbprint;
use stepgate_core::factor::Strength;
use stepgate_core::id::AccessTokenId;
use stepgate_core::provider::{ProviderName, SUBJECT_LEN_MAX};
use stepgate_core::time::Timestamp;

use crate::jws::TokenClaims;
use crate::provider::LevelSettings;

/// How far another clock may be ahead of ours (FAPI 2.0 asks for at least 10 seconds and
/// suggests no more than 60). It never lengthens a token's life.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(30);
/// The longest text of one claim, in bytes.
const TEXT_LEN_MAX: usize = 512;
/// The most methods in `amr`.
const METHODS_MAX: usize = 32;

/// What must hold of a token, and how what it says is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) id: AccessTokenId,
    pub(super) provider: &'a ProviderName,
    pub(super) issuer: &'a str,
    pub(super) levels: &'a [LevelSettings],
    pub(super) rules: &'a TokenRules,
    pub(super) now: Timestamp,
    pub(super) verified_by: Configuration,
    /// The key whose signature it bears.
    pub(super) signed_by: Option<[u8; 32]>,
}

/// What may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demands {
    /// RFC 9068, section 2.2.
    Jwt,
    /// RFC 7662, section 2.2, and what is needed to know whose it is. Without `exp` it
    /// ends after this.
    Introspection { without_exp: Duration },
}

type Wrong = &'static str;

/// Reads what a token says.
///
/// # Errors
///
/// What does not hold, as [`NotAccepted::Token`](stepgate_core::access::NotAccepted) names it.
pub(super) fn read(claims: &TokenClaims, demands: Demands, expected: Expected<'_>) -> Result<VerifiedToken, Wrong> {
    let Expected { id, provider, issuer, rules, now, .. } = expected;
    let Accepted { audience, owner_claim, .. } = rules.accepted();
    let is_jwt = demands == Demands::Jwt;
    match claims.text("iss").map_err(|_| "issuer")? {
        Some(said) if said == issuer => {}
        None if !is_jwt => {}
        _ => return Err("issuer"),
    }
    // The issuer that is asked answers for all its services: without `aud` it is not said for which.
    if !claims.one_or_more("aud").map_err(|_| "audience")?.is_some_and(|all| all.contains(&audience.as_str())) {
        return Err("audience");
    }
    let moment = |name, wrong: Wrong| claims.moment(name).map_err(|_| wrong);
    let expires_at = match (moment("exp", "exp_type")?, demands) {
        (Some(at), _) => at,
        (None, Demands::Introspection { without_exp }) => now.plus(without_exp),
        (None, Demands::Jwt) => return Err("exp_missing"),
    };
    if now >= expires_at {
        return Err("expired");
    }
    let soon = now.plus(CLOCKS_APART_MAX);
    if moment("nbf", "nbf_type")?.is_some_and(|from| from > soon) {
        return Err("not_yet");
    }
    let issued_at = moment("iat", "iat_type")?;
    if issued_at.is_some_and(|at| at > soon) {
        return Err("from_the_future");
    }
    let auth_time = match moment("auth_time", "auth_time_type")? {
        Some(at) if at > soon => return Err("auth_time_in_the_future"),
        // Their clock is a little ahead: the login was now.
        at => at.map(|at| at.min(now)),
    };
    let text = |name: &'static str, wrong: Wrong| match claims.text(name) {
        Ok(Some(text)) if text.len() <= TEXT_LEN_MAX && !text.is_empty() && is_plain(text) => Ok(Some(text)),
        Ok(None) => Ok(None),
        _ => Err(wrong),
    };
    let subject = text("sub", "subject")?.filter(|subject| subject.len() <= SUBJECT_LEN_MAX).ok_or("subject")?;
    // OpenID Connect's name of the same, where an issuer knows no other.
    let client = match text("client_id", "client")? {
        Some(client) => client,
        None => text("azp", "client")?.ok_or("client")?,
    };
    let jti = text("jti", "jti")?;
    if is_jwt && (jti.is_none() || issued_at.is_none()) {
        return Err(if jti.is_none() { "jti" } else { "iat_missing" });
    }
    let acr = text("acr", "acr")?.unwrap_or_default();
    let amr = claims.texts("amr").map_err(|_| "amr")?.unwrap_or_default();
    if amr.len() > METHODS_MAX || amr.iter().any(|method| method.len() > TEXT_LEN_MAX || !is_plain(method)) {
        return Err("amr");
    }
    Ok(VerifiedToken {
        id,
        provider: provider.clone(),
        issuer: issuer.to_owned(),
        whose: whose(claims, expected, owner_claim.as_deref(), subject, client)?,
        client: client.to_owned(),
        jti: jti.map(str::to_owned),
        scopes: scopes(claims)?,
        strength: worth(expected.levels, acr, &amr),
        acr: acr.to_owned(),
        amr: amr.into_iter().map(str::to_owned).collect(),
        auth_time,
        issued_at,
        expires_at,
        bound_to: bound_to(claims)?,
        verified_by: expected.verified_by,
        signed_by: expected.signed_by,
    })
}

/// What the login counts as: all that the classes are worth that it is of, and nothing if
/// the configuration knows none of them.
pub(crate) fn worth(levels: &[LevelSettings], acr: &str, amr: &[&str]) -> Strength {
    let is_of = |level: &&LevelSettings| match level.amr.as_slice() {
        [] => level.acr == acr,
        methods => methods.iter().all(|method| amr.contains(&method.as_str())),
    };
    levels.iter().filter(is_of).fold(Strength::NONE, |all, level| all.and(level.strength))
}

/// A client in its own name (RFC 9068, section 2.2), or one that the configuration
/// names, is an agent; somebody has to answer for it.
fn whose(
    claims: &TokenClaims,
    expected: Expected<'_>,
    owner_claim: Option<&str>,
    subject: &str,
    client: &str,
) -> Result<Whose, Wrong> {
    let named = expected.rules.agent(expected.provider, client);
    if named.is_none() && subject != client {
        return Ok(Whose::Person { subject: subject.to_owned() });
    }
    let claimed = match owner_claim {
        None => None,
        Some(name) => match claims.value(name) {
            None => None,
            Some(serde_json::Value::String(owner)) if (1..=SUBJECT_LEN_MAX).contains(&owner.len()) => {
                Some(owner.as_str())
            }
            Some(_) => return Err("owner"),
        },
    };
    // A program that acts for a person, and no claim says otherwise: that person's.
    let owner = claimed.or((subject != client).then_some(subject)).ok_or("owner_missing")?;
    let groups = named.map(|agent| agent.groups.clone()).unwrap_or_default();
    Ok(Whose::Agent { subject: subject.to_owned(), owner: owner.to_owned(), groups })
}

fn scopes(claims: &TokenClaims) -> Result<Vec<String>, Wrong> {
    let text = claims.text("scope").map_err(|_| "scope")?.unwrap_or_default();
    let is_scope = |name: &str| name.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    let mut scopes: Vec<String> = text.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if scopes.len() > SCOPES_MAX || !scopes.iter().all(|name| is_scope(name)) {
        return Err("scope");
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

/// What a token is bound to. One that is bound to anything that nobody here can check is no
/// bearer token.
fn bound_to(claims: &TokenClaims) -> Result<Option<BoundTo>, Wrong> {
    use serde_json::Value;
    let confirmation = match claims.value("cnf") {
        None => return Ok(None),
        Some(Value::Object(members)) => members,
        Some(_) => return Err("cnf"),
    };
    let mut members = confirmation.iter();
    match (members.next(), members.next()) {
        (Some((name, Value::String(thumbprint))), None) if name == "jkt" && thumbprint.len() == 43 => {
            Ok(Some(BoundTo::Key(thumbprint.clone())))
        }
        (Some((name, Value::String(thumbprint))), None) if name == "x5t#S256" => {
            Thumbprint::parse(thumbprint).map(|it| Some(BoundTo::Certificate(it))).ok_or("cnf")
        }
        _ => Err("cnf"),
    }
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
