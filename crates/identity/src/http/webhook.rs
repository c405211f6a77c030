//! Signed webhooks, as Standard Webhooks (standardwebhooks.com, specification 1.0) has it.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

/// Bytes of a secret: what the specification allows.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret like whsec_ and 24 to 64 bytes in base64 is expected")]
pub struct NotAWebhookKey;

/// What a webhook is signed with.
pub struct WebhookKey(hmac::Key);

impl std::fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookKey(..)")
    }
}

impl WebhookKey {
    /// Reads `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    ///
    /// [`NotAWebhookKey`]
    pub fn parse(secret: &SecretString) -> Result<Self, NotAWebhookKey> {
        let text = secret.expose_secret().trim().strip_prefix("whsec_").ok_or(NotAWebhookKey)?;
        let bytes = zeroize::Zeroizing::new(STANDARD.decode(text).map_err(|_| NotAWebhookKey)?);
        if !SECRET_LEN.contains(&bytes.len()) {
            return Err(NotAWebhookKey);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The header fields of a message: its id, which is the same for each try, when it is sent (seconds since 1970), and
    /// the signature over both and the body.
    pub fn headers(&self, id: &str, at_s: i64, body: &str) -> [(&'static str, String); 3] {
        [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", at_s.to_string()),
            ("webhook-signature", self.sign(id, at_s, body)),
        ]
    }

    /// `v1,` and the MAC over id, time in seconds and body.
    fn sign(&self, id: &str, at_s: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{at_s}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries (standardwebhooks/standardwebhooks, MIT licence).
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let key = WebhookKey::parse(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()).unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_long_enough_and_says_what_it_is() {
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%"] {
            assert!(WebhookKey::parse(&bad.into()).is_err(), "{bad}");
        }
    }
}
