//! A browser's end of Web Push: makes a subscription, and reads what comes by it as a push service and a browser
//! together would (RFC 8030, 8291, 8292). It shares no code with the sender.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey as Verifier};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::recording::RecordedRequest;

/// A device that can be woken.
#[derive(Debug)]
pub struct PushDevice {
    private: PrivateKey,
    secret: [u8; 16],
    endpoint: String,
}

/// What a push service was told by whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Vapid {
    /// The claims of the token.
    pub claims: Value,
    /// The public key that it was verified with.
    pub key: String,
}

impl PushDevice {
    /// A device that is woken there.
    pub fn at(endpoint: &str) -> Self {
        let private = PrivateKey::generate(&ECDH_P256).expect("a key can be made");
        Self { private, secret: *b"sixteen bytes ok", endpoint: endpoint.to_owned() }
    }

    /// What `JSON.stringify(subscription)` gives in its browser.
    pub fn subscription(&self) -> String {
        let auth = URL_SAFE_NO_PAD.encode(self.secret);
        let p256dh = URL_SAFE_NO_PAD.encode(self.public());
        json!({ "endpoint": self.endpoint, "expirationTime": null, "keys": { "auth": auth, "p256dh": p256dh } })
            .to_string()
    }

    fn public(&self) -> Vec<u8> {
        self.private.compute_public_key().expect("it has a public half").as_ref().to_vec()
    }

    /// Decrypts a message.
    ///
    /// # Panics
    ///
    /// When it is none, or not to this device.
    pub fn decrypt(&self, message: &[u8]) -> Vec<u8> {
        let (salt, rest) = message.split_at(16);
        let (size, rest) = rest.split_at(4);
        assert!(u32::from_be_bytes(size.try_into().unwrap()) >= 18, "a record is 18 bytes at least");
        let (length, rest) = rest.split_first().unwrap();
        let (sender, record) = rest.split_at(usize::from(*length));
        let keying = agree(&self.private, UnparsedPublicKey::new(&ECDH_P256, sender), (), |shared| {
            let info = [b"WebPush: info\0".as_slice(), &self.public(), sender].concat();
            Ok(hkdf(&self.secret, shared, &info))
        })
        .expect("the sender's key is a point");
        let key = hkdf(salt, &keying, b"Content-Encoding: aes128gcm\0");
        let nonce = hkdf(salt, &keying, b"Content-Encoding: nonce\0");
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key[..16]).unwrap());
        let nonce = Nonce::try_assume_unique_for_key(&nonce[..12]).unwrap();
        let mut record = record.to_vec();
        let plain = key.open_in_place(nonce, Aad::empty(), &mut record).expect("it was made for this device");
        let end = plain.iter().rposition(|byte| *byte != 0).unwrap();
        assert_eq!(plain[end], 2, "the last record ends so");
        plain[..end].to_vec()
    }

    /// What `Authorization` says, verified.
    ///
    /// # Panics
    ///
    /// When it is not signed by the key that stands beside it.
    pub fn vapid(request: &RecordedRequest) -> Vapid {
        let value = request.value("authorization").expect("a push service wants to know who");
        let (token, key) = value.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let public = Verifier::new(&ECDSA_P256_SHA256_FIXED, URL_SAFE_NO_PAD.decode(key).unwrap());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("signed by k");
        let (_, claims) = signed.split_once('.').unwrap();
        let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        Vapid { claims, key: key.to_owned() }
    }
}

/// One block of HKDF with SHA-256 (RFC 5869): more is not needed here.
fn hkdf(salt: &[u8], from: &[u8], info: &[u8]) -> Vec<u8> {
    let extracted = sign(&Key::new(HMAC_SHA256, salt), from);
    let block = sign(&Key::new(HMAC_SHA256, extracted.as_ref()), &[info, &[1]].concat());
    block.as_ref().to_vec()
}
