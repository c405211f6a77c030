//! The way to other systems: events are handed to a receiver (RFC 8935), or fetched from a
//! transmitter (RFC 8936).

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use stepgate_core::signals::{Delivered, EventSource, PollAnswer, Receivers};
use url::Url;

use crate::http::{Http, HttpError};

/// Hands events to a receiver.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// Reaches only what a receiver may be.
    pub http: Http,
}

#[async_trait]
impl Receivers for Deliver {
    fn allowed(&self, endpoint: &str) -> Result<(), String> {
        let url = Url::parse(endpoint).map_err(|error| error.to_string())?;
        self.http.reach().check(&url).map_err(|error| error.to_string())
    }

    fn origin(&self, endpoint: &str) -> String {
        Url::parse(endpoint).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
    }

    async fn push(&self, endpoint: &str, authorization: Option<&SecretString>, set: &str) -> Result<Delivered, String> {
        let url = Url::parse(endpoint).map_err(|error| error.to_string())?;
        let kind = HeaderValue::from_static("application/secevent+jwt");
        let mut call = self.http.post(&url).body(kind, Bytes::copy_from_slice(set.as_bytes())).at_most(16 * 1024);
        if let Some(value) = authorization {
            call = call.authorization_header(value);
        }
        let answer = call.send().await.map_err(|error| error.to_string())?;
        match answer.status {
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(Delivered::Taken),
            StatusCode::BAD_REQUEST => {
                let said = answer.object().unwrap_or_default();
                let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let said = format!("{} {}", text("err"), text("description"));
                Ok(Delivered::Refused(said.trim().chars().take(200).collect()))
            }
            status => Err(format!("it answered {status}")),
        }
    }
}

/// Fetches events from a transmitter.
#[derive(Clone, Debug)]
pub struct Poller {
    /// Reaches the transmitter.
    pub http: Http,
    /// Where it is polled.
    pub endpoint: Url,
    /// What it is asked with.
    pub token: SecretString,
}

/// How many events are fetched at once.
const EVENTS_AT_ONCE: u32 = 50;
/// The longest answer.
const ANSWER_MAX: usize = 4 << 20;

#[async_trait]
impl EventSource for Poller {
    async fn poll(
        &self,
        taken: &[String],
        refused: &BTreeMap<String, (String, String)>,
        patience: Duration,
    ) -> Result<PollAnswer, String> {
        let errors: serde_json::Map<String, Value> = refused
            .iter()
            .map(|(id, (code, words))| (id.clone(), json!({ "err": code, "description": words })))
            .collect();
        let mut question = json!({ "maxEvents": EVENTS_AT_ONCE, "returnImmediately": patience.is_zero() });
        if let Some(question) = question.as_object_mut() {
            if !taken.is_empty() {
                question.insert("ack".to_owned(), json!(taken));
            }
            if !errors.is_empty() {
                question.insert("setErrs".to_owned(), errors.into());
            }
        }
        let kind = HeaderValue::from_static("application/json");
        let call = self.http.post(&self.endpoint).bearer(&self.token).body(kind, question.to_string().into());
        let within = patience.saturating_add(crate::http::CALL_MAX);
        let answer =
            call.at_most(ANSWER_MAX).within(within).send().await.map_err(|error: HttpError| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("it answered {}", answer.status));
        }
        let said = answer.object().map_err(|error| error.to_string())?;
        let Some(Value::Object(sets)) = said.get("sets") else { return Err("its answer has no sets".to_owned()) };
        let sets = sets.iter().map(|(id, set)| Some((id.clone(), set.as_str()?.to_owned())));
        let sets = sets.collect::<Option<_>>().ok_or("its answer has a set that is no text")?;
        Ok(PollAnswer { sets, more: said.get("moreAvailable").and_then(Value::as_bool).unwrap_or(false) })
    }
}
