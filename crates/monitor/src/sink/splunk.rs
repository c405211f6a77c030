use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use stepgate_identity::http::Http;
use url::Url;

use super::{Reason, Sink, Undelivered, call, secret_header};
use crate::format::{Body, Document};

/// How long indexing is waited for.
const INDEXED_WITHIN: Duration = Duration::from_secs(60);
/// How often it is asked about: first soon, then as Splunk advises.
const ASK_EVERY: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(10)];
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// Splunk's HTTP Event Collector, with indexer acknowledgement: what it received and has not indexed is not taken yet.
#[derive(Debug)]
pub struct Splunk {
    http: Http,
    event: Url,
    ack: Url,
    token: SecretString,
    index: Option<String>,
    channel: String,
    gate: String,
    source_type: &'static str,
}

impl Splunk {
    /// Sends to the collector at `url` (scheme, host and port). `channel` is any UUID that stays the same for a sink.
    ///
    /// # Errors
    ///
    /// `url` has no place for a path.
    pub fn new(
        http: Http,
        url: &Url,
        token: SecretString,
        index: Option<String>,
        channel: String,
        gate: String,
        source_type: &'static str,
    ) -> Result<Self, url::ParseError> {
        let (event, ack) = (url.join("/services/collector/event")?, url.join("/services/collector/ack")?);
        Ok(Self { http, event, ack, token, index, channel, gate, source_type })
    }

    async fn post(&self, url: &Url, body: String) -> Result<Map<String, Value>, Undelivered> {
        let channel = HeaderValue::from_str(&self.channel)
            .map_err(|error| Undelivered::passing(Reason::Configuration, error.to_string()))?;
        let token = secret_header(&format!("Splunk {}", self.token.expose_secret()))?;
        let post = self.http.post(url).header(CHANNEL, channel).header(header::AUTHORIZATION, token);
        let answer = call(post.body(HeaderValue::from_static("application/json"), body.into())).await?;
        answer.object().map_err(|error| Undelivered::passing(Reason::Unintelligible, format!("the collector: {error}")))
    }

    /// Waits until it is indexed.
    async fn indexed(&self, id: u64) -> Result<(), Undelivered> {
        let asked = async {
            let (mut pauses, mut pause) = (ASK_EVERY.into_iter(), Duration::ZERO);
            loop {
                pause = pauses.next().unwrap_or(pause);
                tokio::time::sleep(pause).await;
                let answer = self.post(&self.ack, json!({ "acks": [id] }).to_string()).await?;
                if answer.get("acks").and_then(|acks| acks.get(id.to_string())) == Some(&Value::Bool(true)) {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(INDEXED_WITHIN, asked).await {
            Ok(indexed) => indexed,
            Err(_) => Err(Undelivered::passing(
                Reason::Unacknowledged,
                "the collector received it, and did not index it in time",
            )),
        }
    }
}

#[async_trait]
impl Sink for Splunk {
    async fn deliver(&mut self, batch: &[Document]) -> Result<(), Undelivered> {
        let mut body = String::new();
        for document in batch {
            let event = match &document.body {
                Body::Json(value) => value.clone(),
                Body::Line(line) => line.as_str().into(),
            };
            let seconds = document.at_ms.div_euclid(1000);
            let time = format!("{seconds}.{:03}", document.at_ms.rem_euclid(1000));
            let mut envelope = json!({
                "time": time, "host": self.gate, "source": "stepgate", "sourcetype": self.source_type, "event": event,
                "fields": { "id": document.id, "index_in_ledger": document.index.to_string() },
            });
            if let (Some(envelope), Some(index)) = (envelope.as_object_mut(), &self.index) {
                envelope.insert("index".to_owned(), index.as_str().into());
            }
            body.push_str(&envelope.to_string());
            body.push('\n');
        }
        let answer = self.post(&self.event, body).await?;
        match answer.get("ackId").and_then(Value::as_u64) {
            Some(id) => self.indexed(id).await,
            None => Err(Undelivered::passing(
                Reason::Unacknowledged,
                "the collector acknowledges nothing: enable indexer acknowledgement for the token",
            )),
        }
    }
}
