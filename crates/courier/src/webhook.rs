//! Codes through a webhook, signed as Standard Webhooks (standardwebhooks.com, specification 1.0) has it: for
//! gateways to telephones.

use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use std::sync::Arc;
use stepgate_core::ports::Message;
use stepgate_core::time::Clock;
use stepgate_identity::http::{Http, HttpError, NotAWebhookKey, WebhookKey};
use url::Url;

use crate::NotSent;
use crate::words::line;

/// The most that is read of an answer; nothing in it matters.
const ANSWER_LEN_MAX: usize = 4 * 1024;

/// Posts codes to a gateway.
#[derive(Debug)]
pub struct Webhook {
    http: Http,
    url: Url,
    key: WebhookKey,
    clock: Arc<dyn Clock>,
    gate: String,
}

impl Webhook {
    /// Posts to `url`, as far as `http` reaches, signed with `secret`.
    ///
    /// # Errors
    ///
    /// [`NotAWebhookKey`] if the secret is none.
    pub fn new(
        http: Http,
        url: Url,
        secret: &SecretString,
        clock: Arc<dyn Clock>,
        gate: String,
    ) -> Result<Self, NotAWebhookKey> {
        Ok(Self { http, url, key: WebhookKey::parse(secret)?, clock, gate })
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
        let mut call = self
            .http
            .post(&self.url)
            .body(HeaderValue::from_static("application/json"), body.clone().into())
            .at_most(ANSWER_LEN_MAX);
        for (name, text) in self.key.headers(&id, at_s, &body) {
            let value = HeaderValue::from_str(&text).map_err(|error| NotSent::Final(error.to_string()))?;
            call = call.header(HeaderName::from_static(name), value);
        }
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
