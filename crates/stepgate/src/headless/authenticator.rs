//! A software authenticator: one ES256 passkey, honest in every field.
//!
//! It plays authenticator and browser at once (W3C WebAuthn Level 3, sections 5.1.3 and 5.1.4), so that neither a
//! browser nor a key is needed. It keeps no counter: zero says so (section 6.1.1).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ciborium::Value as Cbor;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// User present and user verified (WebAuthn Level 3, section 6.1).
const PRESENT_AND_VERIFIED: u8 = 0x05;
/// Attested credential data included.
const ATTESTED: u8 = 0x40;

/// A passkey in memory.
pub(crate) struct Authenticator {
    key: EcdsaKeyPair,
    id: [u8; 16],
    user: Vec<u8>,
    relying_party: String,
}

/// What the options lack, or what the cryptography refused.
#[derive(Debug, thiserror::Error)]
#[error("the software authenticator cannot answer: {0}")]
pub(crate) struct CannotAnswer(&'static str);

impl Authenticator {
    /// Answers `navigator.credentials.create` on a page of `origin`. Gives itself
    /// and what `PublicKeyCredential.toJSON()` gives.
    pub(crate) fn create(origin: &str, options: &Value) -> Result<(Self, Value), CannotAnswer> {
        let text = |pointer: &str| options.pointer(pointer).and_then(Value::as_str);
        let relying_party = text("/rp/id").ok_or(CannotAnswer("no relying party"))?.to_owned();
        let user = text("/user/id").and_then(|id| BASE64URL.decode(id).ok()).ok_or(CannotAnswer("no user"))?;
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| CannotAnswer("no key"))?;
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| CannotAnswer("no random bytes"))?;
        let new = Self { key, id, user, relying_party };
        let mut data = new.data(PRESENT_AND_VERIFIED | ATTESTED);
        data.extend_from_slice(&[0; 16]); // AAGUID: no model is claimed
        data.extend_from_slice(&16_u16.to_be_bytes());
        data.extend_from_slice(&new.id);
        data.extend_from_slice(&new.cose()?);
        let attestation = Cbor::Map(vec![
            ("fmt".into(), "none".into()),
            ("attStmt".into(), Cbor::Map(Vec::new())),
            ("authData".into(), Cbor::Bytes(data)),
        ]);
        let client = client_data("webauthn.create", origin, options)?;
        let id = BASE64URL.encode(new.id);
        let credential = json!({
            "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "authenticatorAttachment": "platform",
            "response": {
                "clientDataJSON": BASE64URL.encode(client),
                "attestationObject": BASE64URL.encode(cbor(&attestation)?),
                "transports": ["internal"],
            },
        });
        Ok((new, credential))
    }

    /// Answers `navigator.credentials.get` on a page of `origin`.
    pub(crate) fn sign(&self, origin: &str, options: &Value) -> Result<Value, CannotAnswer> {
        let data = self.data(PRESENT_AND_VERIFIED);
        let client = client_data("webauthn.get", origin, options)?;
        let mut signed = data.clone();
        signed.extend_from_slice(&Sha256::digest(&client));
        let signature =
            self.key.sign(&SystemRandom::new(), &signed).map_err(|_| CannotAnswer("the signature failed"))?;
        let id = BASE64URL.encode(self.id);
        Ok(json!({
            "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": BASE64URL.encode(client),
                "authenticatorData": BASE64URL.encode(data),
                "signature": BASE64URL.encode(signature.as_ref()),
                "userHandle": BASE64URL.encode(&self.user),
            },
        }))
    }

    /// What a file keeps of it: the private key is in there.
    pub(crate) fn to_json(&self) -> Result<Value, CannotAnswer> {
        let key = self.key.to_pkcs8v1().map_err(|_| CannotAnswer("the key cannot be written"))?;
        Ok(json!({
            "key": BASE64URL.encode(key.as_ref()), "id": BASE64URL.encode(self.id),
            "user": BASE64URL.encode(&self.user), "relying_party": self.relying_party,
        }))
    }

    /// Reads what was kept.
    pub(crate) fn from_json(kept: &Value) -> Result<Self, CannotAnswer> {
        let text = |name| kept.get(name).and_then(Value::as_str).ok_or(CannotAnswer("a part of it is missing"));
        let bytes = |name| BASE64URL.decode(text(name)?).map_err(|_| CannotAnswer("a part of it is no base64url"));
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &bytes("key")?);
        Ok(Self {
            key: key.map_err(|_| CannotAnswer("its key is none"))?,
            id: bytes("id")?.try_into().map_err(|_| CannotAnswer("its id is none"))?,
            user: bytes("user")?,
            relying_party: text("relying_party")?.to_owned(),
        })
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let mut data = Sha256::digest(self.relying_party.as_bytes()).to_vec();
        data.push(flags);
        data.extend_from_slice(&[0; 4]);
        data
    }

    /// EC2 key, ES256, P-256 (RFC 9053, sections 2.1 and 7.1).
    fn cose(&self) -> Result<Vec<u8>, CannotAnswer> {
        let point = self.key.public_key().as_ref();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
            return Err(CannotAnswer("the key is no point"));
        };
        cbor(&Cbor::Map(vec![
            (1.into(), 2.into()),
            (3.into(), (-7).into()),
            ((-1).into(), 1.into()),
            ((-2).into(), Cbor::Bytes(x.to_vec())),
            ((-3).into(), Cbor::Bytes(y.to_vec())),
        ]))
    }
}

fn client_data(kind: &str, origin: &str, options: &Value) -> Result<Vec<u8>, CannotAnswer> {
    let challenge = options.get("challenge").and_then(Value::as_str).ok_or(CannotAnswer("no challenge"))?;
    let data = json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false });
    serde_json::to_vec(&data).map_err(|_| CannotAnswer("the client data is no JSON"))
}

fn cbor(value: &Cbor) -> Result<Vec<u8>, CannotAnswer> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).map_err(|_| CannotAnswer("the answer is no CBOR"))?;
    Ok(out)
}
