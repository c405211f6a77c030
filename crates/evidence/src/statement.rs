use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stepgate_ledger::jcs;

/// Separates a confirmation's signature from every other use of the same key.
pub const CONFIRM_CONTEXT: &[u8] = b"stepgate/confirm/v1\0";
/// Separates a sign-in's signature from every other use of the same key.
pub const SIGN_IN_CONTEXT: &[u8] = b"stepgate/sign-in/v1\0";

/// What a person confirms: everything that the answer is bound to.
///
/// Its canonical form (JCS, RFC 8785) is what a passkey signs, through
/// [`Statement::digest`]. Integers stand as strings, because JCS rounds above 2^53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The challenge's id.
    pub challenge: String,
    /// 128 bits, hex: no two statements are equal.
    pub nonce: String,
    /// The person's pseudonymous id.
    pub principal: String,
    /// The session that asked.
    pub session: String,
    /// Who asked, in words that the person saw.
    pub asker: Asker,
    /// The service's name in the configuration.
    pub service: String,
    /// The operation's action, e.g. `payments.approve`.
    pub action: String,
    /// The resource: service and path template.
    pub resource: String,
    /// The operation's title as it was shown.
    pub title: String,
    /// The typed inputs that policy saw, each as a string.
    pub inputs: BTreeMap<String, String>,
    /// HTTP method, or the door's own verb.
    pub method: String,
    /// The whole URL that leaves.
    pub url: String,
    /// Content type of the body; empty if there is none.
    pub content_type: String,
    /// Headers that the operation declares as changing its effect.
    pub headers: BTreeMap<String, String>,
    /// SHA-256 of the body, hex.
    pub body_sha256: String,
    /// The policies that asked, and the reasons that the person read.
    pub policies: Vec<PolicyRef>,
    /// Digest of the policy set, hex.
    pub policy_version: String,
    /// What passing it grants.
    pub grant: Grant,
    /// When it was asked, milliseconds since 1970 as a decimal string.
    pub asked_at_ms: String,
    /// When it can no longer be answered, likewise.
    pub expires_at_ms: String,
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// `browser` or `program`.
    pub kind: String,
    /// Network address of the asker.
    pub address: String,
    /// What it calls itself (user agent), shortened, control characters removed.
    pub agent: String,
}

/// Stands for "no policy permits it" where a policy that asked or refused is named. No
/// policy has this `@id`.
pub const NO_PERMIT: &str = "no-permit";

/// A policy that asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRef {
    /// The policy's `@id`.
    pub id: String,
    /// The policy's `@reason`, as the person read it.
    pub reason: String,
}

/// What a passed challenge grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Grant {
    /// The proof's time is set on the session; policy judges its age.
    Freshness {
        /// How long the policies that asked accept it for this operation (RFC 9470's `max_age`),
        /// seconds as a decimal string; `0`: for this request alone.
        max_age_s: String,
    },
    /// This one operation, once.
    Confirmation {
        /// How long it may be spent after it is passed, seconds as a decimal string.
        lifetime_s: String,
        /// How often: always `1`.
        uses: String,
    },
}

/// What a passkey signs at sign-in, where there is no operation yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInStatement {
    /// The gate's own origin.
    pub origin: String,
    /// 128 bits, hex.
    pub nonce: String,
    /// Digest of the browser's cookie, hex: the answer counts in that browser only.
    pub browser: String,
    /// When it was asked, milliseconds since 1970 as a decimal string.
    pub asked_at_ms: String,
}

/// Why a statement has no digest. Not reachable for statements made of strings;
/// kept so that nothing panics.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The statement could not be turned into JSON.
    #[error("the statement cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// The statement has no canonical form.
    #[error("the statement has no canonical form")]
    NotCanonical(#[source] jcs::NotCanonical),
}

impl Statement {
    /// The bytes that the digest is taken over (JCS).
    pub fn canonical(&self) -> Result<Vec<u8>, StatementError> {
        canonical(self)
    }

    /// `SHA-256("stepgate/confirm/v1" ‖ 0x00 ‖ statement)`: the WebAuthn challenge.
    pub fn digest(&self) -> Result<[u8; 32], StatementError> {
        Ok(digest(CONFIRM_CONTEXT, &self.canonical()?))
    }
}

impl SignInStatement {
    /// `SHA-256("stepgate/sign-in/v1" ‖ 0x00 ‖ statement)`: the WebAuthn challenge.
    pub fn digest(&self) -> Result<[u8; 32], StatementError> {
        Ok(digest(SIGN_IN_CONTEXT, &canonical(self)?))
    }
}

fn canonical(value: &impl Serialize) -> Result<Vec<u8>, StatementError> {
    let value = serde_json::to_value(value).map_err(StatementError::Json)?;
    jcs::canonical(&value).map_err(StatementError::NotCanonical)
}

fn digest(context: &[u8], canonical: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(context);
    hash.update(canonical);
    hash.finalize().into()
}
