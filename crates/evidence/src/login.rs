//! The check of a company login from what the evidence kept: the ID token that the provider signed,
//! the key that it was signed with, and what the entry says of both.
//!
//! The gate verified the same token when it came, with a clock, a client id and the provider's keys at
//! hand. Here none of these is: that the key is the provider's is for whoever knows its keys
//! ([`ProviderKeys`]), and what a class is worth was the gate's configuration. No code is shared with
//! the gate's own check, and both accept the same tokens.
//!
//! *Architecture invariant:* [`verify_login`] is pure, as [`crate::verify_assertion`] is.

mod json;
mod key;
mod keys;
mod token;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::entry::LoginProof;
pub use key::{LoginAlgorithm, ProviderKey};
pub use keys::{MAX_PROVIDER_KEYS, NotAKeySet, ProviderKeys};
pub use token::{BadClaim, BadToken, IdToken, MAX_ID_TOKEN, TokenClaims};

/// Longest subject, in bytes (OpenID Connect Core 1.0, section 2).
const SUBJECT_LEN_MAX: usize = 255;

/// A login whose token is what the entry says, signed by the key that lies beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLogin {
    /// Thumbprint of the key (RFC 7638, SHA-256, base64url).
    pub thumbprint: String,
    /// The client that the token was made for: whoever else registers one there gets tokens too.
    pub client: String,
    /// [`identity_of`] the person at the provider.
    pub identity: [u8; 32],
}

/// Why a company login proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Another token than the one whose digest stands in the entry.
    #[error("the ID token is not the one that the entry names")]
    OtherToken,
    /// The token cannot be read.
    #[error("the ID token cannot be read: {0}")]
    Token(BadToken),
    /// The key cannot be used.
    #[error("the key beside it cannot be used: {0}")]
    Key(&'static str),
    /// Not signed by the key, or by an algorithm that the key is not for.
    #[error("the ID token is not signed by the key beside it")]
    WrongSignature,
    /// A claim is missing or not what it has to be.
    #[error("the ID token is wrong: {0}")]
    Claim(#[from] BadClaim),
    /// Issued by another.
    #[error("the ID token is of another issuer than the entry names")]
    OtherIssuer,
    /// Made for something else than the statement of the entry.
    #[error("the provider signed another nonce: the login was for something else")]
    OtherNonce,
    /// The token does not say for which client it is.
    #[error("the ID token does not say for which client it is")]
    NoClient,
    /// The class in the entry is not in the token.
    #[error("the class of the login is not in the ID token")]
    OtherClass,
    /// The class was read off methods that are not in the token.
    #[error("the methods that the class was read off are not in the ID token")]
    OtherMethods,
    /// No class, and worth something all the same.
    #[error("the login is of no class, and counts as something")]
    WorthWithoutClass,
    /// The time of the login in the entry is not that of the token.
    #[error("the time of the login is not that of the ID token")]
    OtherTime,
}

/// Who somebody is at a provider: SHA-256 of the issuer's length, the issuer and the subject.
pub fn identity_of(issuer: &str, subject: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(u64::try_from(issuer.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(issuer);
    hash.update(subject);
    hash.finalize().into()
}

/// Checks what an entry says of a login against the token that the provider signed.
///
/// `bound_to` is the hex digest of the statement that the login was for; the `nonce` that counts is
/// the one in the *signed* token. `key` is a JWK. Whether it is the provider's is not checked here.
///
/// # Errors
///
/// [`LoginError`] names the first check that failed.
pub fn verify_login(proof: &LoginProof, bound_to: &str, token: &str, key: &Value) -> Result<VerifiedLogin, LoginError> {
    if hex::encode(Sha256::digest(token)) != proof.id_token_sha256 {
        return Err(LoginError::OtherToken);
    }
    let read = IdToken::read(token).map_err(LoginError::Token)?;
    let jwk = key.as_object().ok_or(LoginError::Key("it is none"))?;
    let key = ProviderKey::read(jwk).map_err(LoginError::Key)?;
    let claims = read.verified_by(&key).ok_or(LoginError::WrongSignature)?;
    if claims.text("iss")? != Some(&proof.issuer) {
        return Err(LoginError::OtherIssuer);
    }
    let client = client_of(&claims)?.to_owned();
    if claims.text("nonce")? != Some(bound_to) {
        return Err(LoginError::OtherNonce);
    }
    let subject = claims.text("sub")?.filter(|subject| {
        !subject.is_empty() && subject.len() <= SUBJECT_LEN_MAX && !subject.chars().any(char::is_control)
    });
    let identity = identity_of(&proof.issuer, subject.ok_or(BadClaim("sub"))?);
    check_class(proof, &claims)?;
    if claims.moment_ms("auth_time")?.map(|ms| ms.to_string()) != proof.auth_time_ms {
        return Err(LoginError::OtherTime);
    }
    Ok(VerifiedLogin { thumbprint: key.thumbprint().to_owned(), client, identity })
}

/// Whom the token is for: `azp`, or the only one in `aud` (OpenID Connect Core 1.0, section 3.1.3.7,
/// steps 3 to 5).
fn client_of(claims: &TokenClaims) -> Result<&str, LoginError> {
    let audience = match claims.text("aud") {
        Ok(one) => one.into_iter().collect(),
        Err(_) => claims.texts("aud")?,
    };
    match (claims.text("azp")?, audience.as_slice()) {
        (Some(party), all) if all.contains(&party) => Ok(party),
        (None, [only]) => Ok(only),
        _ => Err(LoginError::NoClient),
    }
}

/// Whether the token says the class of the entry: in `acr`, in `acrs` (Entra's authentication
/// contexts), or, where the configuration reads it off the methods of the login, by having these in
/// `amr`. That those methods are that class is the configuration's word.
fn check_class(proof: &LoginProof, claims: &TokenClaims) -> Result<(), LoginError> {
    let amr = claims.texts("amr")?;
    if !proof.methods.is_empty() {
        let all = proof.methods.iter().all(|method| amr.contains(&method.as_str()));
        return if all { Ok(()) } else { Err(LoginError::OtherMethods) };
    }
    if proof.acr.is_empty() {
        return if proof.counts_as.is_empty() { Ok(()) } else { Err(LoginError::WorthWithoutClass) };
    }
    let said = claims.text("acr") == Ok(Some(&proof.acr))
        || claims.texts("acrs").is_ok_and(|contexts| contexts.contains(&proof.acr.as_str()));
    if said { Ok(()) } else { Err(LoginError::OtherClass) }
}
