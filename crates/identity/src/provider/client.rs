//! How we prove to a provider that we are its client.

use std::str::FromStr;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use stepgate_core::time::Timestamp;

use super::metadata::Metadata;
use crate::http::Call;

/// How long an assertion of ours counts, in seconds.
const ASSERTION_LIFETIME_S: i64 = 60;
/// RFC 7523, section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How, as the configuration says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthMethod {
    /// By a secret, in the way that the provider's metadata offer.
    Secret,
    /// By a secret in the `Authorization` header.
    SecretBasic,
    /// By a secret in the form.
    SecretPost,
    /// By a signature (RFC 7523).
    PrivateKeyJwt,
    /// Not at all: a public client, held by PKCE alone.
    None,
}

/// The text names no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client_secret_basic, client_secret_post, private_key_jwt and none are the ways of a client")]
pub struct NotAMethod;

impl FromStr for ClientAuthMethod {
    type Err = NotAMethod;

    fn from_str(text: &str) -> Result<Self, NotAMethod> {
        match text {
            "client_secret_basic" => Ok(Self::SecretBasic),
            "client_secret_post" => Ok(Self::SecretPost),
            "private_key_jwt" => Ok(Self::PrivateKeyJwt),
            "none" => Ok(Self::None),
            _ => Err(NotAMethod),
        }
    }
}

/// How, with what it needs.
#[derive(Clone, Debug)]
pub(super) enum ClientAuth {
    Secret(SecretString),
    SecretBasic(SecretString),
    SecretPost(SecretString),
    PrivateKeyJwt(ClientKey),
    None,
}

/// A private key of ours.
#[derive(Clone)]
pub(super) struct ClientKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientKey").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The text is no private key that can sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no private key in PEM (PKCS #8) of P-256, Ed25519 or RSA")]
pub(super) struct NotAKey;

impl ClientKey {
    pub(super) fn read(pem: &SecretString, id: Option<String>) -> Result<Self, NotAKey> {
        let pem = pem.expose_secret().as_bytes();
        let (algorithm, key) = EncodingKey::from_ec_pem(pem)
            .map(|key| (Algorithm::ES256, key))
            .or_else(|_| EncodingKey::from_ed_pem(pem).map(|key| (Algorithm::EdDSA, key)))
            .or_else(|_| EncodingKey::from_rsa_pem(pem).map(|key| (Algorithm::PS256, key)))
            .map_err(|_| NotAKey)?;
        // A key that the library takes and cannot sign with (another curve) is found here, not at the first login.
        jsonwebtoken::crypto::sign(b"", &key, algorithm).map_err(|_| NotAKey)?;
        Ok(Self { id, algorithm, key })
    }

    /// RFC 7523, section 3. The audience is the issuer alone, so that no other provider
    /// can use it (OpenID Foundation's notice on audiences, 2025).
    fn assertion(&self, client_id: &str, issuer: &str, id: &str, now: Timestamp) -> Option<String> {
        let now_s = now.as_ms() / 1000;
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": issuer, "jti": id,
            "iat": now_s, "exp": now_s + ASSERTION_LIFETIME_S,
        });
        let mut header = Header::new(self.algorithm);
        header.kid.clone_from(&self.id);
        jsonwebtoken::encode(&header, &claims, &self.key).ok()
    }
}

/// A form for the provider, and who sends it.
#[derive(Debug)]
pub(super) struct ClientForm<'a> {
    pub(super) client_id: &'a str,
    pub(super) auth: &'a ClientAuth,
    pub(super) metadata: &'a Metadata,
    /// Of an assertion; nobody can guess it.
    pub(super) assertion_id: &'a str,
    pub(super) now: Timestamp,
}

impl ClientForm<'_> {
    /// The call with these fields, and with what proves that they are ours. `None` if our key does not sign.
    pub(super) fn put(&self, call: Call, fields: Vec<(&str, &str)>) -> Option<Call> {
        let by_basic = |call: Call, secret| call.basic(self.client_id, secret);
        let assertion;
        let mut fields: Vec<(&str, &str)> = fields;
        let call = match self.auth {
            ClientAuth::SecretBasic(secret) => by_basic(call, secret),
            ClientAuth::Secret(secret) if !self.metadata.wants_secret_in_form() => by_basic(call, secret),
            ClientAuth::Secret(secret) | ClientAuth::SecretPost(secret) => {
                fields.extend([("client_id", self.client_id), ("client_secret", secret.expose_secret())]);
                call
            }
            ClientAuth::PrivateKeyJwt(key) => {
                assertion = key.assertion(self.client_id, &self.metadata.issuer, self.assertion_id, self.now)?;
                let proof = [("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.as_str())];
                fields.push(("client_id", self.client_id));
                fields.extend(proof);
                call
            }
            ClientAuth::None => {
                fields.push(("client_id", self.client_id));
                call
            }
        };
        Some(call.form(fields))
    }
}
