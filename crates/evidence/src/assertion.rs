//! The one check of a WebAuthn assertion.

use serde::{Deserialize, Serialize};

use crate::cose::PublicKey;

/// What a passkey gave: bytes, as base64url on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    #[serde(with = "base64url")]
    pub credential_id: Vec<u8>,
    #[serde(with = "base64url")]
    pub authenticator_data: Vec<u8>,
    #[serde(with = "base64url")]
    pub client_data_json: Vec<u8>,
    #[serde(with = "base64url")]
    pub signature: Vec<u8>,
    #[serde(default, with = "base64url_option", skip_serializing_if = "Option::is_none")]
    pub user_handle: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub struct RelyingParty {
    pub id: String,
    pub origins: Vec<String>,
}
#[derive(Clone, Debug)]
pub struct Credential {
    pub id: Vec<u8>,
    pub public_key: PublicKey,
    pub owner: Vec<u8>,
    pub counter: u32,
    pub backup_eligible: bool,
}
#[derive(Clone, Copy, Debug)]
pub struct Verified {
    pub counter: u32,
    pub backed_up: bool,
}
#[derive(Debug, thiserror::Error)]
pub enum AssertionError {
    #[error("not yet")]
    NotYet,
}
pub fn verify_assertion(
    _rp: &RelyingParty,
    _challenge: &[u8],
    _allowed: &Credential,
    _assertion: &Assertion,
) -> Result<Verified, AssertionError> {
    Err(AssertionError::NotYet)
}

mod base64url {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)
    }
}
mod base64url_option {
    use serde::{Deserialize as _, Deserializer, Serializer};
    pub(super) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, s: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(b) => super::base64url::serialize(b, s),
            None => s.serialize_none(),
        }
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|t| {
            use base64::Engine as _;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(t).map_err(serde::de::Error::custom)
        })
        .transpose()
    }
}
