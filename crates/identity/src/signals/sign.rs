//! Our own security events, signed: RS256 with 2048 bits or more, which the interoperability
//! profile wants of everybody.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use stepgate_core::signals::SetSigner;
use stepgate_core::time::{Clock, Timestamp};
use zeroize::Zeroizing;

/// A key, and when it begins to sign.
#[derive(Debug)]
pub struct SetKey<'a> {
    /// `kid`.
    pub id: String,
    /// The private key (PKCS#8, DER).
    pub pkcs8: &'a [u8],
    /// From when on it signs.
    pub signs_from: Timestamp,
}

struct Key {
    id: String,
    pair: KeyPair,
    signs_from: Timestamp,
}

/// Signs with the newest key whose time has come; all keys are published.
pub struct RsaSetSigner {
    keys: ArcSwap<Vec<Key>>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for RsaSetSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.load().iter().map(|key| &key.id)).finish()
    }
}

/// A key cannot be used: it is no RSA key of 2048 bits or more. Or there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no RSA key of 2048 bits or more")]
pub struct NoSetKey;

fn read(keys: &[SetKey<'_>]) -> Result<Vec<Key>, NoSetKey> {
    let one = |key: &SetKey<'_>| {
        let pair = KeyPair::from_pkcs8(key.pkcs8).ok().filter(|pair| pair.public_modulus_len() >= 256);
        Some(Key { id: key.id.clone(), pair: pair?, signs_from: key.signs_from })
    };
    keys.iter().map(one).collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty()).ok_or(NoSetKey)
}

impl RsaSetSigner {
    /// A new key: its id and the private key (PKCS#8, DER). `None` if the library fails.
    pub fn make() -> Option<(String, Zeroizing<Vec<u8>>)> {
        let pair = KeyPair::generate(KeySize::Rsa2048).ok()?;
        let der: Pkcs8V1Der<'_> = pair.as_der().ok()?;
        let mut id = [0; 8];
        aws_lc_rs::rand::fill(&mut id).ok()?;
        let id = format!("signals-{}", id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        Some((id, Zeroizing::new(der.as_ref().to_vec())))
    }

    /// The signer with these keys, the newest first.
    ///
    /// # Errors
    ///
    /// [`NoSetKey`].
    pub fn new(keys: &[SetKey<'_>], clock: Arc<dyn Clock>) -> Result<Self, NoSetKey> {
        Ok(Self { keys: ArcSwap::from_pointee(read(keys)?), clock })
    }

    /// Takes other keys from now on.
    ///
    /// # Errors
    ///
    /// [`NoSetKey`]; then those of before stay.
    pub fn replace(&self, keys: &[SetKey<'_>]) -> Result<(), NoSetKey> {
        self.keys.store(Arc::new(read(keys)?));
        Ok(())
    }
}

impl SetSigner for RsaSetSigner {
    fn sign(&self, claims: &str) -> Result<String, String> {
        let (keys, now) = (self.keys.load(), self.clock.now());
        let key = keys.iter().find(|key| key.signs_from <= now).ok_or("no key signs yet")?;
        let header = json!({ "typ": "secevent+jwt", "alg": "RS256", "kid": key.id }).to_string();
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let mut token = format!("{}.{}", encoded(&header), encoded(claims));
        let mut signature = vec![0; key.pair.public_modulus_len()];
        key.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| "the library does not sign".to_owned())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    fn jwks(&self) -> Value {
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let one = |key: &Key| {
            let public = key.pair.public_key();
            json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.id,
                "n": number(public.modulus().big_endian_without_leading_zero()),
                "e": number(public.exponent().big_endian_without_leading_zero()),
            })
        };
        json!({ "keys": self.keys.load().iter().map(one).collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stepgate_testkit::FakeClock;
    use stepgate_testkit::clock::BEGINNING;

    use super::*;
    use crate::jws::Jws;
    use crate::keys::{Algorithm, KeySet, Keys};

    #[tokio::test]
    async fn the_newest_key_whose_time_has_come_signs_and_all_are_published() {
        let clock = Arc::new(FakeClock::new());
        let ((one, former), (two, next)) = (RsaSetSigner::make().unwrap(), RsaSetSigner::make().unwrap());
        let key = |id: &str, pkcs8, after| SetKey {
            id: id.to_owned(),
            pkcs8,
            signs_from: BEGINNING.plus(Duration::from_secs(after)),
        };
        let signer = RsaSetSigner::new(&[key(&one, &former, 0)], Arc::clone(&clock) as _).unwrap();
        let before = signer.sign(r#"{"jti":"1"}"#).unwrap();
        signer.replace(&[key(&two, &next, 60), key(&one, &former, 0)]).unwrap();
        let waits = signer.sign(r#"{"jti":"1"}"#).unwrap();
        clock.advance(Duration::from_secs(60));
        let after = signer.sign(r#"{"jti":"1"}"#).unwrap();
        let keys = Keys::fixed(KeySet::read(signer.jwks().to_string().as_bytes()).unwrap());
        for (token, kid) in [(before, &one), (waits, &one), (after, &two)] {
            let head = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
            let head: Value = serde_json::from_slice(&head).unwrap();
            assert_eq!((&head["typ"], head["kid"].as_str()), (&json!("secevent+jwt"), Some(kid.as_str())));
            let read = Jws::read(&token, 4096).unwrap();
            let verified = read.verify(&keys, &[Algorithm::Rs256], BEGINNING).await.unwrap();
            assert_eq!(verified.claims.value("jti"), Some(&json!("1")));
        }
        assert!(signer.replace(&[]).is_err() && signer.replace(&[key("x", b"no key", 0)]).is_err());
        assert_eq!(signer.jwks()["keys"].as_array().unwrap().len(), 2, "what cannot be used replaces nothing");
    }
}
