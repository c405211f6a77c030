//! Codes through a webhook, signed as Standard Webhooks (standardwebhooks.com, specification 1.0) has it: for
//! gateways to telephones.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use std::sync::Arc;
use stepgate_core::ports::Message;
use stepgate_core::time::Clock;
use stepgate_identity::http::{Http, HttpError};
use url::Url;

use crate::NotSent;
use crate::words::line;

/// The most that is read of an answer; nothing in it matters.
const ANSWER_LEN_MAX: usize = 4 * 1024;
/// Bytes of a secret: what the specification allows.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret like whsec_ and 24 to 64 bytes in base64 is expected")]
pub struct WebhookUnusable;

/// Posts codes to a gateway.
#[derive(Debug)]
pub struct Webhook {
    http: Http,
    url: Url,
    key: Key,
    clock: Arc<dyn Clock>,
    gate: String,
}

struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    fn parse(secret: &SecretString) -> Result<Self, WebhookUnusable> {
        let text = secret.expose_secret().trim().strip_prefix("whsec_").ok_or(WebhookUnusable)?;
        let bytes = zeroize::Zeroizing::new(STANDARD.decode(text).map_err(|_| WebhookUnusable)?);
        if !SECRET_LEN.contains(&bytes.len()) {
            return Err(WebhookUnusable);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// `v1,` and the MAC over id, time in seconds and body.
    fn sign(&self, id: &str, at_s: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{at_s}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl Webhook {
    /// Posts to `url`, as far as `http` reaches, signed with `secret`.
    ///
    /// # Errors
    ///
    /// [`WebhookUnusable`] if the secret is none.
    pub fn new(
        http: Http,
        url: Url,
        secret: &SecretString,
        clock: Arc<dyn Clock>,
        gate: String,
    ) -> Result<Self, WebhookUnusable> {
        Ok(Self { http, url, key: Key::parse(secret)?, clock, gate })
    }

    /// Posts one message. Its id is the same each time, so that a gateway sends it once.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), NotSent> {
        let id = format!("code_{}", message.id);
        let at_s = self.clock.now().as_ms() / 1000;
        let body = json!({
            "type": "code.send",
            "timestamp": message.at.to_string(),
            "data": {
                "to": message.to.expose(),
                "code": message.code.expose_secret(),
                "text": line(message, &self.gate),
                "expires_at": message.expires_at.to_string(),
            },
        })
        .to_string();
        let header = |text: &str| HeaderValue::from_str(text).map_err(|error| NotSent::Final(error.to_string()));
        let signature = self.key.sign(&id, at_s, &body);
        let call = self
            .http
            .post(&self.url)
            .header(HeaderName::from_static("webhook-id"), header(&id)?)
            .header(HeaderName::from_static("webhook-timestamp"), header(&at_s.to_string())?)
            .header(HeaderName::from_static("webhook-signature"), header(&signature)?)
            .body(HeaderValue::from_static("application/json"), body.into())
            .at_most(ANSWER_LEN_MAX);
        match call.send().await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => {
                let why = format!("the gateway answered {}", answer.status.as_u16());
                let passing = answer.status.is_server_error() || matches!(answer.status.as_u16(), 408 | 425 | 429);
                let after = answer.retry_after(self.clock.now());
                Err(if passing { NotSent::Passing { why, after } } else { NotSent::Final(why) })
            }
            // It took the message and said more than is read.
            Err(HttpError::TooLarge { .. }) => Ok(()),
            Err(error @ (HttpError::NotAllowed(_) | HttpError::Redirect { .. })) => {
                Err(NotSent::Final(error.to_string()))
            }
            Err(error) => Err(NotSent::passing(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries (standardwebhooks/standardwebhooks, MIT licence).
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let key = Key::parse(&"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()).unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_long_enough_and_says_what_it_is() {
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%"] {
            assert!(Key::parse(&bad.into()).is_err(), "{bad}");
        }
    }
}
