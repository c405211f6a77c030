use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use stepgate_core::time::Clock;
use stepgate_identity::http::{Http, WebhookKey};
use url::Url;

use super::{Reason, Sink, Undelivered, call};
use crate::format::{Body, Document};

/// Posts batches as JSON, signed as Standard Webhooks (specification 1.0) has it.
#[derive(Debug)]
pub struct Webhook {
    http: Http,
    url: Url,
    key: WebhookKey,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// Posts to `url`, as far as `http` reaches.
    pub fn new(http: Http, url: Url, key: WebhookKey, clock: Arc<dyn Clock>) -> Self {
        Self { http, url, key, clock }
    }
}

#[async_trait]
impl Sink for Webhook {
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered> {
        let [first, ..] = batch else { return Ok(()) };
        let documents: Vec<Value> = batch
            .iter()
            .map(|document| match &document.body {
                Body::Json(value) => json!({ "id": document.id, "index": document.index, "document": value }),
                Body::Line(line) => json!({ "id": document.id, "index": document.index, "document": line }),
            })
            .collect();
        let at = self.clock.now();
        let body = json!({ "type": "evidence", "timestamp": at.to_string(), "data": documents }).to_string();
        let id = format!("evidence_{}_{}", first.id, batch.len());
        let mut post = self.http.post(&self.url);
        for (name, value) in self.key.headers(&id, at.as_ms().div_euclid(1000), &body) {
            let value = HeaderValue::from_str(&value)
                .map_err(|error| Undelivered::passing(Reason::Configuration, error.to_string()))?;
            post = post.header(HeaderName::from_static(name), value);
        }
        call(post.body(HeaderValue::from_static("application/json"), body.into())).await.map(|_| ())
    }
}
