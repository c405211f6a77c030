//! Who wakes a device: a key of ours that its push service knows from the subscription (RFC 8292).

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stepgate_core::time::Timestamp;
use url::Url;
use zeroize::Zeroizing;

/// How long a token is valid. A day is the most (RFC 8292, section 2); a clock may be late, and who gets hold
/// of one gains little.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// No key of ours can be read, or there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVapidKey {
    /// It is not a key on P-256.
    #[error("a key for Web Push is not a PKCS #8 key on P-256")]
    Unreadable,
    /// There is none.
    #[error("there is no key for Web Push")]
    None,
}

/// The keys that wake devices: subscriptions are made for the newest, and each is used with the one that it was
/// made for.
pub struct VapidKeys {
    /// The newest first; never empty.
    keys: Vec<(String, EcdsaKeyPair)>,
    /// Whom a push service can ask about us: `mailto:` or `https:`.
    subject: String,
}

impl std::fmt::Debug for VapidKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(public, _)| public)).finish()
    }
}

impl VapidKeys {
    /// Uses these keys (PKCS #8, DER), the newest first, in the name of `subject`.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k [u8]>, subject: &str) -> Result<Self, NoVapidKey> {
        let read = |pkcs8| {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                .map_err(|_| NoVapidKey::Unreadable)?;
            Ok((public_half(&pair), pair))
        };
        let keys = keys.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(NoVapidKey::None) } else { Ok(Self { keys, subject: subject.to_owned() }) }
    }

    /// A new key (PKCS #8, DER) with its public half in base64url; `None` if the library makes none.
    pub fn make() -> Option<(String, Zeroizing<Vec<u8>>)> {
        // The library makes such keys with its own generator only.
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).ok()?;
        let secret = Zeroizing::new(document.as_ref().to_vec());
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &secret).ok()?;
        Some((public_half(&pair), secret))
    }

    /// The public half of the newest, in base64url: what new subscriptions are made for.
    pub fn newest(&self) -> &str {
        self.keys.first().map(|(public, _)| public.as_str()).unwrap_or_default()
    }

    /// Whether subscriptions that were made for this key can be used.
    pub fn has(&self, public: &str) -> bool {
        self.pair(public).is_some()
    }

    fn pair(&self, public: &str) -> Option<&EcdsaKeyPair> {
        self.keys.iter().find(|(known, _)| known == public).map(|(_, pair)| pair)
    }

    /// The value of `Authorization` for a message to this push service about a subscription that was made for
    /// `public` (RFC 8292, section 3). `None` if there is no such key any more.
    pub(super) fn authorization(&self, public: &str, endpoint: &Url, now: Timestamp) -> Option<String> {
        let claims = serde_json::json!({
            "aud": endpoint.origin().ascii_serialization(),
            "exp": now.plus(TOKEN_LIFETIME).as_ms().div_euclid(1000),
            "sub": self.subject,
        });
        let header = serde_json::json!({ "typ": "JWT", "alg": "ES256" });
        let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.pair(public)?.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        Some(format!("vapid t={signed}.{}, k={public}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn public_half(pair: &EcdsaKeyPair) -> String {
    URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    fn keys(count: usize) -> (VapidKeys, Vec<String>) {
        let made: Vec<_> = (0..count).map(|_| VapidKeys::make().unwrap()).collect();
        let keys = VapidKeys::new(made.iter().map(|(_, secret)| secret.as_slice()), "mailto:gate@example.test");
        (keys.unwrap(), made.into_iter().map(|(public, _)| public).collect())
    }

    #[test]
    fn a_message_is_signed_for_its_push_service_by_the_key_of_its_subscription() {
        let (keys, publics) = keys(2);
        assert_eq!(keys.newest(), publics[0]);
        let endpoint = Url::parse("https://push.example:8443/send/1?x=y").unwrap();
        let value = keys.authorization(&publics[1], &endpoint, Timestamp::from_ms(1_000_500)).unwrap();
        let (token, key) = value.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(key, publics[1]);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, URL_SAFE_NO_PAD.decode(key).unwrap());
        public.verify(signed.as_bytes(), &signature).unwrap();
        let part = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        assert_eq!(part(header), serde_json::json!({ "typ": "JWT", "alg": "ES256" }));
        let expected = serde_json::json!({
            "aud": "https://push.example:8443", "exp": 4600, "sub": "mailto:gate@example.test",
        });
        assert_eq!(part(claims), expected);
    }

    #[test]
    fn a_key_that_is_gone_signs_nothing() {
        let (keys, _) = keys(1);
        let other = VapidKeys::make().unwrap().0;
        let endpoint = Url::parse("https://push.example/").unwrap();
        assert!(!keys.has(&other) && keys.authorization(&other, &endpoint, Timestamp::from_ms(0)).is_none());
        assert_eq!(VapidKeys::new([], "").unwrap_err(), NoVapidKey::None);
        assert_eq!(VapidKeys::new([&[1_u8, 2][..]], "").unwrap_err(), NoVapidKey::Unreadable);
    }
}
