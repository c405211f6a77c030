//! A software authenticator: it makes ES256 passkeys and signs with them, and
//! lies in whichever way a test wants.
//!
//! It plays authenticator and browser at once (W3C WebAuthn Level 3, sections
//! 5.1.3, 5.1.4 and 6): it takes the options as `parseCreationOptionsFromJSON`
//! and `parseRequestOptionsFromJSON` would, and gives what
//! `PublicKeyCredential.toJSON()` would.

use std::fmt;
use std::ops::BitOr;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value as Cbor;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The number of ES256 in the IANA registry of COSE algorithms.
const ES256: i64 = -7;

/// The flags of authenticator data (WebAuthn Level 3, section 6.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Somebody was there.
    pub const USER_PRESENT: Self = Self(0x01);
    /// It was the owner: by PIN, fingerprint, face.
    pub const USER_VERIFIED: Self = Self(0x04);
    /// The key may be copied to other devices.
    pub const BACKUP_ELIGIBLE: Self = Self(0x08);
    /// The key has been copied.
    pub const BACKED_UP: Self = Self(0x10);
    /// Data of a new key follow.
    pub const ATTESTED_DATA: Self = Self(0x40);
    /// Extensions follow.
    pub const EXTENSION_DATA: Self = Self(0x80);

    /// Whether all of `other` are set.
    pub fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These, and none of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Flags({:#04x})", self.0)
    }
}

/// What the browser says of the page, and what the authenticator is told of it.
///
/// Both may be changed before the ceremony, which is how a test lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceremony {
    /// The relying party whose digest is signed.
    pub relying_party: String,
    /// The members of `clientDataJSON`, in their order.
    pub client_data: Map<String, Value>,
}

impl Ceremony {
    /// Making a key, on a page of `origin`.
    pub fn creation(relying_party: &str, origin: &str, challenge: &[u8]) -> Self {
        Self::new("webauthn.create", relying_party, origin, challenge)
    }

    /// Using a key, on a page of `origin`.
    pub fn request(relying_party: &str, origin: &str, challenge: &[u8]) -> Self {
        Self::new("webauthn.get", relying_party, origin, challenge)
    }

    fn new(kind: &str, relying_party: &str, origin: &str, challenge: &[u8]) -> Self {
        let mut client_data = Map::new();
        client_data.insert("type".into(), json!(kind));
        client_data.insert("challenge".into(), json!(base64url(challenge)));
        client_data.insert("origin".into(), json!(origin));
        client_data.insert("crossOrigin".into(), json!(false));
        Self { relying_party: relying_party.into(), client_data }
    }

    /// The same, with one member of the client data set to something else.
    #[must_use]
    pub fn saying(mut self, member: &str, value: Value) -> Self {
        self.client_data.insert(member.into(), value);
        self
    }

    fn client_data_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.client_data).expect("a map of strings is JSON")
    }
}

/// One key pair with what the authenticator remembers about it.
pub struct SoftwareKey {
    /// The credential id.
    pub id: Vec<u8>,
    /// The relying party that it was made for.
    pub relying_party: String,
    /// The person, as the relying party named them at creation.
    pub user_handle: Vec<u8>,
    /// The signature counter as it was told last.
    pub counter: u32,
    pair: EcdsaKeyPair,
}

impl SoftwareKey {
    /// The public key as SubjectPublicKeyInfo (RFC 5280, DER).
    pub fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().expect("a P-256 key has a DER form");
        der.as_ref().to_vec()
    }

    /// The public key as a COSE_Key (RFC 9053, section 7.1.1).
    pub fn cose(&self) -> Vec<u8> {
        // An uncompressed point: 0x04, then x, then y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let integer = |number: i64| Cbor::Integer(number.into());
        cbor(&Cbor::Map(vec![
            (integer(1), integer(2)),
            (integer(3), integer(ES256)),
            (integer(-1), integer(1)),
            (integer(-2), Cbor::Bytes(x.to_vec())),
            (integer(-3), Cbor::Bytes(y.to_vec())),
        ]))
    }
}

impl fmt::Debug for SoftwareKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("SoftwareKey");
        shown.field("id", &base64url(&self.id)).field("relying_party", &self.relying_party);
        shown.field("counter", &self.counter).finish_non_exhaustive()
    }
}

/// An authenticator in software. Its fields say how it behaves; change them to lie.
#[derive(Debug)]
pub struct SoftwareAuthenticator {
    /// What it claims in each ceremony; [`Flags::ATTESTED_DATA`] is added at creation.
    pub flags: Flags,
    /// By how much the counter rises with each ceremony; 0 for synced passkeys, which do not count.
    pub counter_step: u32,
    /// The model that it claims to be.
    pub aaguid: [u8; 16],
    /// Its keys, the newest last.
    pub keys: Vec<SoftwareKey>,
}

impl Default for SoftwareAuthenticator {
    fn default() -> Self {
        Self::new()
    }
}

impl SoftwareAuthenticator {
    /// One bound to its device that verifies its owner and counts by one.
    pub fn new() -> Self {
        Self { flags: Flags::USER_PRESENT | Flags::USER_VERIFIED, counter_step: 1, aaguid: [0; 16], keys: Vec::new() }
    }

    /// One whose keys are copied to the owner's other devices, and that does not count.
    pub fn synced() -> Self {
        let flags = Flags::BACKUP_ELIGIBLE | Flags::BACKED_UP;
        Self { flags: Flags::USER_PRESENT | Flags::USER_VERIFIED | flags, counter_step: 0, ..Self::new() }
    }

    /// Makes a key and gives the registration, as `RegistrationResponseJSON`, with attestation `none`.
    pub fn create(&mut self, ceremony: &Ceremony, user_handle: &[u8]) -> Value {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key can be made");
        // An id is only a name: the public key's digest is one that nobody else has.
        let id = Sha256::digest(pair.public_key().as_ref()).to_vec();
        let key = SoftwareKey {
            id,
            relying_party: ceremony.relying_party.clone(),
            user_handle: user_handle.to_vec(),
            counter: self.counter_step,
            pair,
        };
        let flags = self.flags | Flags::ATTESTED_DATA;
        let mut data = authenticator_data(&ceremony.relying_party, flags, key.counter);
        data.extend_from_slice(&self.aaguid);
        data.extend_from_slice(&u16::try_from(key.id.len()).expect("32 bytes").to_be_bytes());
        data.extend_from_slice(&key.id);
        data.extend_from_slice(&key.cose());
        // In the order of CTAP2's canonical form: shorter names first.
        let attestation = cbor(&Cbor::Map(vec![
            (Cbor::Text("fmt".into()), Cbor::Text("none".into())),
            (Cbor::Text("attStmt".into()), Cbor::Map(Vec::new())),
            (Cbor::Text("authData".into()), Cbor::Bytes(data.clone())),
        ]));
        let registration = json!({
            "id": base64url(&key.id),
            "rawId": base64url(&key.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": base64url(&ceremony.client_data_json()),
                "attestationObject": base64url(&attestation),
                "authenticatorData": base64url(&data),
                "publicKey": base64url(&key.spki()),
                "publicKeyAlgorithm": ES256,
                "transports": ["internal"],
            },
        });
        self.keys.push(key);
        registration
    }

    /// Signs with the key of this id and gives the assertion, as `AuthenticationResponseJSON`.
    ///
    /// # Panics
    ///
    /// When it has no such key.
    pub fn sign(&mut self, ceremony: &Ceremony, id: &[u8]) -> Value {
        let step = self.counter_step;
        let flags = self.flags;
        let key = self.keys.iter_mut().find(|key| key.id == id).expect("the authenticator has this key");
        key.counter = key.counter.wrapping_add(step);
        let data = authenticator_data(&ceremony.relying_party, flags, key.counter);
        let client_data = ceremony.client_data_json();
        let mut signed = data.clone();
        signed.extend_from_slice(&Sha256::digest(&client_data));
        let signature = key.pair.sign(&SystemRandom::new(), &signed).expect("a key can sign");
        json!({
            "id": base64url(&key.id),
            "rawId": base64url(&key.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": base64url(&client_data),
                "authenticatorData": base64url(&data),
                "signature": base64url(signature.as_ref()),
                "userHandle": base64url(&key.user_handle),
            },
        })
    }

    /// Answers `PublicKeyCredentialCreationOptionsJSON` on a page of `origin`, as
    /// `navigator.credentials.create` would. Options wrapped in `publicKey` are unwrapped.
    ///
    /// # Panics
    ///
    /// When the options are not what the standard says, or a key of `excludeCredentials` is here.
    pub fn answer_creation(&mut self, origin: &str, options: &Value) -> Value {
        let options = options.get("publicKey").unwrap_or(options);
        let relying_party = options.pointer("/rp/id").and_then(Value::as_str).unwrap_or_else(|| host_of(origin));
        let excluded = listed(options, "excludeCredentials");
        assert!(!self.keys.iter().any(|key| excluded.contains(&key.id)), "InvalidStateError: already has a key");
        let user = bytes_at(options, "/user/id");
        let ceremony = Ceremony::creation(relying_party, origin, &bytes_at(options, "/challenge"));
        self.create(&ceremony, &user)
    }

    /// Answers `PublicKeyCredentialRequestOptionsJSON` on a page of `origin`, as
    /// `navigator.credentials.get` would: with the newest key that is allowed.
    ///
    /// # Panics
    ///
    /// When the options are not what the standard says, or no key fits.
    pub fn answer_request(&mut self, origin: &str, options: &Value) -> Value {
        let options = options.get("publicKey").unwrap_or(options);
        let relying_party = options.get("rpId").and_then(Value::as_str).unwrap_or_else(|| host_of(origin));
        let allowed = listed(options, "allowCredentials");
        let fits = |key: &&SoftwareKey| {
            key.relying_party == relying_party && (allowed.is_empty() || allowed.contains(&key.id))
        };
        let key = self.keys.iter().rev().find(fits).expect("NotAllowedError: no key fits");
        let id = key.id.clone();
        let ceremony = Ceremony::request(relying_party, origin, &bytes_at(options, "/challenge"));
        self.sign(&ceremony, &id)
    }
}

/// WebAuthn Level 3, section 6.1, up to the counter.
fn authenticator_data(relying_party: &str, flags: Flags, counter: u32) -> Vec<u8> {
    let mut data = Sha256::digest(relying_party.as_bytes()).to_vec();
    data.push(flags.0);
    data.extend_from_slice(&counter.to_be_bytes());
    data
}

fn cbor(value: &Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn bytes_at(options: &Value, pointer: &str) -> Vec<u8> {
    let text = options.pointer(pointer).and_then(Value::as_str);
    let text = text.unwrap_or_else(|| panic!("the options have no {pointer}: {options}"));
    URL_SAFE_NO_PAD.decode(text).unwrap_or_else(|_| panic!("{pointer} is not base64url: {text}"))
}

/// The ids in a list of credential descriptors.
fn listed(options: &Value, name: &str) -> Vec<Vec<u8>> {
    let descriptors = options.get(name).and_then(Value::as_array).into_iter().flatten();
    descriptors.map(|descriptor| bytes_at(descriptor, "/id")).collect()
}

/// `localhost` of `http://localhost:8000`: the relying party when the options name none.
fn host_of(origin: &str) -> &str {
    let authority = origin.split("://").nth(1).unwrap_or(origin);
    authority.split(':').next().unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;

    const ORIGIN: &str = "http://localhost:8000";

    fn member(credential: &Value, name: &str) -> Vec<u8> {
        bytes_at(credential, &format!("/response/{name}"))
    }

    fn creation_options() -> Value {
        json!({
            "publicKey": { "challenge": base64url(b"make"), "rp": { "id": "localhost" }, "user": { "id": base64url(b"ada") } }
        })
    }

    #[test]
    fn a_registration_holds_the_key_and_the_flags() {
        let mut authenticator = SoftwareAuthenticator::synced();
        authenticator.aaguid = [7; 16];
        let made = authenticator.answer_creation(ORIGIN, &creation_options());
        let attestation: Cbor = ciborium::from_reader(member(&made, "attestationObject").as_slice()).unwrap();
        let members = attestation.into_map().unwrap();
        assert_eq!(members[0], (Cbor::Text("fmt".into()), Cbor::Text("none".into())));
        let data = members[2].1.as_bytes().unwrap();
        assert_eq!(data[..32], Sha256::digest(b"localhost")[..]);
        assert_eq!(data[32], 0x01 | 0x04 | 0x08 | 0x10 | 0x40);
        assert_eq!(data[33..37], [0; 4], "a synced key does not count");
        assert_eq!(data[37..53], [7; 16]);
        let key = &authenticator.keys[0];
        assert_eq!(data[55..87], key.id);
        assert_eq!(data[87..], key.cose());
        assert_eq!(member(&made, "publicKey"), key.spki());
    }

    #[test]
    fn an_assertion_is_signed_by_the_key_over_what_is_said() {
        let mut authenticator = SoftwareAuthenticator::new();
        authenticator.answer_creation(ORIGIN, &creation_options());
        authenticator.flags = authenticator.flags.without(Flags::USER_VERIFIED);
        let options = json!({ "challenge": base64url(b"use"), "rpId": "localhost" });
        let used = authenticator.answer_request(ORIGIN, &options);
        let data = member(&used, "authenticatorData");
        assert_eq!(data[32], 0x01);
        assert_eq!(data[33..], [0, 0, 0, 2]);
        assert_eq!(member(&used, "userHandle"), b"ada");
        let client_data = member(&used, "clientDataJSON");
        let expected =
            json!({ "type": "webauthn.get", "challenge": base64url(b"use"), "origin": ORIGIN, "crossOrigin": false });
        assert_eq!(serde_json::from_slice::<Value>(&client_data).unwrap(), expected);

        let signed = [data, Sha256::digest(&client_data).to_vec()].concat();
        let point = authenticator.keys[0].pair.public_key().as_ref().to_vec();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
        key.verify(&signed, &member(&used, "signature")).unwrap();
        key.verify(b"something else", &member(&used, "signature")).unwrap_err();
    }

    #[test]
    #[should_panic(expected = "NotAllowedError")]
    fn a_key_of_another_relying_party_does_not_fit() {
        let mut authenticator = SoftwareAuthenticator::new();
        authenticator.answer_creation(ORIGIN, &creation_options());
        let options = json!({ "challenge": base64url(b"use"), "rpId": "elsewhere.example" });
        authenticator.answer_request(ORIGIN, &options);
    }
}
