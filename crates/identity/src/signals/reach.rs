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

/// The longest answer of a receiver: why it refuses an event (RFC 8935, section 2.3).
const REASON_MAX: usize = 16 * 1024;

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
        let mut call = self.http.post(&url).body(kind, Bytes::copy_from_slice(set.as_bytes())).at_most(REASON_MAX);
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

#[cfg(test)]
mod tests {
    use stepgate_testkit::{Answer, RecordingUpstream};

    use super::*;
    use crate::http::Reach;

    /// A JSON object, so long in all.
    fn padded(object: &str, len: usize) -> Vec<u8> {
        format!("{object}{}", " ".repeat(len - object.len())).into_bytes()
    }

    async fn answering(status: u16, object: &'static str, len: usize) -> (RecordingUpstream, Http, Url) {
        let there = RecordingUpstream::start(move |_| Answer::new(status, &[], padded(object, len))).await;
        let url = Url::parse(&there.url()).unwrap();
        (there, Http::new(Reach::DangerLoopback, None).unwrap(), url)
    }

    #[tokio::test]
    async fn what_a_transmitter_gives_at_once_has_a_greatest_size() {
        for (len, is_taken) in [(4 << 20, true), ((4 << 20) + 1, false)] {
            let (_there, http, endpoint) = answering(200, r#"{"sets":{"1":"a"}}"#, len).await;
            let poller = Poller { http, endpoint, token: SecretString::from("t") };
            let polled = poller.poll(&[], &BTreeMap::new(), Duration::ZERO).await;
            assert_eq!(polled.map(|answer| answer.sets.len()).ok(), is_taken.then_some(1), "{len}");
        }
    }

    #[tokio::test]
    async fn so_has_why_a_receiver_refuses() {
        for (len, is_read) in [(16 * 1024, true), (16 * 1024 + 1, false)] {
            let (_there, http, url) = answering(400, r#"{"err":"access_denied","description":"no"}"#, len).await;
            let pushed = Deliver { http }.push(url.as_str(), None, "set").await;
            let said = pushed.ok().map(|pushed| matches!(pushed, Delivered::Refused(why) if why == "access_denied no"));
            assert_eq!(said, is_read.then_some(true), "{len}");
        }
    }
}
