//! Our own security events, signed: RS256 with 2048 bits or more, which the interoperability
//! profile wants of everybody.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use stepgate_core::signals::SetSigner;
use zeroize::Zeroizing;

/// Signs with one key.
pub struct RsaSetSigner {
    id: String,
    pair: KeyPair,
}

impl std::fmt::Debug for RsaSetSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RsaSetSigner({})", self.id)
    }
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

    /// The signer with this key. `None` if it is no RSA key of 2048 bits or more.
    pub fn new(id: String, pkcs8: &[u8]) -> Option<Self> {
        let pair = KeyPair::from_pkcs8(pkcs8).ok()?;
        (pair.public_modulus_len() >= 256).then_some(Self { id, pair })
    }
}

impl SetSigner for RsaSetSigner {
    fn sign(&self, claims: &str) -> Result<String, String> {
        let header = json!({ "typ": "secevent+jwt", "alg": "RS256", "kid": self.id }).to_string();
        let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let mut token = format!("{}.{}", encoded(&header), encoded(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| "the library does not sign".to_owned())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    fn jwks(&self) -> Value {
        let public = self.pair.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id,
            "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
        }] })
    }
}

#[cfg(test)]
mod tests {
    use stepgate_testkit::clock::BEGINNING;

    use super::*;
    use crate::jws::Jws;
    use crate::keys::{Algorithm, KeySet, Keys};

    #[tokio::test]
    async fn what_is_signed_is_verified_by_the_published_key() {
        let (id, der) = RsaSetSigner::make().unwrap();
        let signer = RsaSetSigner::new(id, &der).unwrap();
        let token = signer.sign(r#"{"jti":"1"}"#).unwrap();
        let keys = Keys::fixed(KeySet::read(signer.jwks().to_string().as_bytes()).unwrap());
        let read = Jws::read(&token, 4096).unwrap();
        assert_eq!(read.kind().as_deref(), Some("secevent+jwt"));
        let verified = read.verify(&keys, &[Algorithm::Rs256], BEGINNING).await.unwrap();
        assert_eq!(verified.claims.value("jti"), Some(&json!("1")));
        assert!(RsaSetSigner::new("x".to_owned(), b"no key").is_none());
    }
}
