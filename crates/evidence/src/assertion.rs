//! The one check of a WebAuthn assertion, made when the key is touched and again years later.
//!
//! *Architecture invariant:* [`verify_assertion`] is pure. What it is given is all that it knows,
//! and whoever has the ledger can give it the same.

mod authenticator_data;
pub(crate) mod base64url;
mod client_data;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cose::PublicKey;
pub use authenticator_data::{AuthenticatorData, BadAuthenticatorData, MAX_AUTHENTICATOR_DATA};
pub use client_data::{BadClientData, ClientData, MAX_CLIENT_DATA};

/// Longest credential id in bytes (WebAuthn Level 3, section 4, "Credential ID").
pub const MAX_CREDENTIAL_ID: usize = 1023;
/// Longest user handle in bytes (WebAuthn Level 3, section 5.4.3).
pub const MAX_USER_HANDLE: usize = 64;
/// Longest signature in bytes: RSA with 8192 bits.
pub const MAX_SIGNATURE: usize = 1024;

/// What a passkey gave: bytes, as base64url without padding on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Which credential it claims to be by.
    #[serde(with = "base64url")]
    pub credential_id: Vec<u8>,
    /// What the authenticator says: relying party, flags, counter. Signed.
    #[serde(with = "base64url")]
    pub authenticator_data: Vec<u8>,
    /// What the browser says: type, challenge, origin. Signed through its hash.
    #[serde(with = "base64url")]
    pub client_data_json: Vec<u8>,
    /// The signature over both.
    #[serde(with = "base64url")]
    pub signature: Vec<u8>,
    /// Whose credential it is, where the authenticator tells.
    #[serde(default, with = "base64url::option", skip_serializing_if = "Option::is_none")]
    pub user_handle: Option<Vec<u8>>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelyingParty {
    /// The domain that credentials are scoped to.
    pub id: String,
    /// The origins whose pages may ask, such as `https://gate.example.com`.
    pub origins: Vec<String>,
}

/// The credential that may answer, as it is enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: Vec<u8>,
    /// Its public key.
    pub public_key: PublicKey,
    /// The user handle of the person who enrolled it.
    pub owner: Vec<u8>,
    /// The highest signature counter seen; zero if the authenticator does not count.
    pub counter: u32,
    /// Whether it may be synced, which never changes.
    pub backup_eligible: bool,
}

/// An assertion that was verified, user verification included: there is none without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The signature counter to be kept.
    pub counter: u32,
    /// Whether the credential is synced now.
    pub backed_up: bool,
}

/// Why an assertion proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// A part is longer than its limit.
    #[error("the {0} is too long")]
    TooLong(&'static str),
    /// By another credential than the one that may answer.
    #[error("the assertion is by another credential")]
    OtherCredential,
    /// By a credential of somebody else.
    #[error("the credential belongs to somebody else")]
    OtherOwner,
    /// What the browser said cannot be read.
    #[error("the client data cannot be read")]
    ClientData(#[source] BadClientData),
    /// Not the answer to a request for an assertion.
    #[error("the ceremony is not an assertion")]
    NotAnAssertion,
    /// The answer to another challenge.
    #[error("the answer is to another challenge")]
    OtherChallenge,
    /// Given on a page of another origin.
    #[error("the answer was given at another origin, {0:?}")]
    OtherOrigin(String),
    /// Given in a frame of a page of another origin.
    #[error("the answer was given in a frame of another origin")]
    CrossOrigin,
    /// What the authenticator said cannot be read.
    #[error("the authenticator data cannot be read")]
    AuthenticatorData(#[source] BadAuthenticatorData),
    /// Made for another relying party.
    #[error("the answer is for another relying party")]
    OtherRelyingParty,
    /// Nobody touched the authenticator.
    #[error("nobody was present")]
    UserNotPresent,
    /// The authenticator did not verify who touched it.
    #[error("the user was not verified")]
    UserNotVerified,
    /// Backed up, though it cannot be.
    #[error("the backup flags contradict each other")]
    BackupFlagsContradict,
    /// Whether it may be synced is not what it was at enrolment.
    #[error("the credential's backup eligibility changed")]
    BackupEligibilityChanged,
    /// Not signed by the credential's key.
    #[error("the signature is wrong")]
    WrongSignature,
    /// The counter did not rise: there may be two of this authenticator.
    #[error("the signature counter is {found} after {stored}")]
    CounterDidNotRise {
        /// The highest counter seen before.
        stored: u32,
        /// The counter now.
        found: u32,
    },
}

/// Checks an assertion in the order of WebAuthn Level 3, section 7.2, with user verification
/// required and without frames of other origins.
///
/// `expected_challenge` is what the person was asked to sign; the challenge that counts is the one
/// in the *signed* client data. Whoever calls this keeps the counter that it gives.
///
/// # Errors
///
/// [`AssertionError`] names the first check that failed.
pub fn verify_assertion(
    rp: &RelyingParty,
    expected_challenge: &[u8],
    allowed: &Credential,
    assertion: &Assertion,
) -> Result<Verified, AssertionError> {
    refuse_oversized(assertion)?;
    // Steps 5 and 6: the credential is the one that was asked for, and its owner's.
    if assertion.credential_id != allowed.id {
        return Err(AssertionError::OtherCredential);
    }
    if assertion.user_handle.as_ref().is_some_and(|owner| *owner != allowed.owner) {
        return Err(AssertionError::OtherOwner);
    }
    check_client_data(rp, expected_challenge, &assertion.client_data_json)?;
    let said = check_authenticator_data(rp, allowed, &assertion.authenticator_data)?;
    // Steps 20 and 21: the signature over both.
    let mut signed = assertion.authenticator_data.clone();
    signed.extend_from_slice(&Sha256::digest(&assertion.client_data_json));
    if !allowed.public_key.has_signed(&signed, &assertion.signature) {
        return Err(AssertionError::WrongSignature);
    }
    // Step 22: the counter rises where there is one.
    if (allowed.counter != 0 || said.counter != 0) && said.counter <= allowed.counter {
        return Err(AssertionError::CounterDidNotRise { stored: allowed.counter, found: said.counter });
    }
    Ok(Verified { counter: said.counter, backed_up: said.backed_up })
}

fn refuse_oversized(assertion: &Assertion) -> Result<(), AssertionError> {
    let handle = assertion.user_handle.as_deref().unwrap_or_default();
    for (name, part, limit) in [
        ("credential id", assertion.credential_id.as_slice(), MAX_CREDENTIAL_ID),
        ("user handle", handle, MAX_USER_HANDLE),
        ("client data", &assertion.client_data_json, MAX_CLIENT_DATA),
        ("authenticator data", &assertion.authenticator_data, MAX_AUTHENTICATOR_DATA),
        ("signature", &assertion.signature, MAX_SIGNATURE),
    ] {
        if part.len() > limit {
            return Err(AssertionError::TooLong(name));
        }
    }
    Ok(())
}

/// Steps 8 to 14.
fn check_client_data(rp: &RelyingParty, challenge: &[u8], json: &[u8]) -> Result<(), AssertionError> {
    let said = ClientData::parse(json).map_err(AssertionError::ClientData)?;
    if said.ceremony != "webauthn.get" {
        return Err(AssertionError::NotAnAssertion);
    }
    if said.challenge != base64url::encode(challenge) {
        return Err(AssertionError::OtherChallenge);
    }
    if !rp.origins.contains(&said.origin) {
        return Err(AssertionError::OtherOrigin(said.origin.chars().take(100).collect()));
    }
    if said.cross_origin || said.has_top_origin {
        return Err(AssertionError::CrossOrigin);
    }
    Ok(())
}

/// Steps 15 to 19.
fn check_authenticator_data(
    rp: &RelyingParty,
    allowed: &Credential,
    bytes: &[u8],
) -> Result<AuthenticatorData, AssertionError> {
    let said = AuthenticatorData::parse(bytes).map_err(AssertionError::AuthenticatorData)?;
    if said.rp_id_hash[..] != Sha256::digest(&rp.id)[..] {
        return Err(AssertionError::OtherRelyingParty);
    }
    if !said.user_present {
        return Err(AssertionError::UserNotPresent);
    }
    if !said.user_verified {
        return Err(AssertionError::UserNotVerified);
    }
    if said.backed_up && !said.backup_eligible {
        return Err(AssertionError::BackupFlagsContradict);
    }
    if said.backup_eligible != allowed.backup_eligible {
        return Err(AssertionError::BackupEligibilityChanged);
    }
    Ok(said)
}
