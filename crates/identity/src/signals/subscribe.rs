//! The gate's own stream at a foreign transmitter: found there or set up, and asked to show that it works
//! (SSF 1.0, sections 7.2 and 8.1).

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use super::event::ACTED_ON;
use super::reach::Poller;
use crate::http::{Answer, Call, Http, HttpError};

const PUSH: &str = "urn:ietf:rfc:8935";
const POLL: &str = "urn:ietf:rfc:8936";
/// The most streams of one list that are looked at.
const STREAMS_MAX: usize = 100;
/// The longest name of a stream, in bytes.
const STREAM_ID_MAX: usize = 255;

/// Sets the gate's stream up at one transmitter.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Reaches the transmitter where the configuration says that it is.
    pub http: Http,
    /// Reaches wherever it says that its endpoints are.
    pub named: Http,
    /// Its issuer.
    pub issuer: String,
    /// What it calls this gate.
    pub audience: String,
    /// What the gate is known by there.
    pub token: SecretString,
    /// How events are to come.
    pub delivery: Delivery,
}

/// How events come.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// They are fetched.
    Poll,
    /// They are posted.
    Push {
        /// To this URL of ours.
        endpoint: String,
        /// With this token of ours.
        token: SecretString,
    },
}

impl Delivery {
    const fn method(&self) -> &'static str {
        match self {
            Self::Poll => POLL,
            Self::Push { .. } => PUSH,
        }
    }

    fn wanted(&self) -> Value {
        match self {
            Self::Poll => json!({ "method": POLL }),
            Self::Push { endpoint, token } => json!({
                "method": PUSH,
                "endpoint_url": endpoint,
                "authorization_header": format!("Bearer {}", token.expose_secret()),
            }),
        }
    }
}

/// The gate's stream at a transmitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The stream's name there.
    pub stream: String,
    /// Where it is polled, if it is.
    pub poll: Option<Url>,
    /// Where it is asked for a sign that it works, if anywhere.
    pub verification: Option<Url>,
    /// Whether it tells of nobody whom it was not told to tell of.
    pub default_subjects: DefaultSubjects,
}

/// Of whom a transmitter tells if nobody says anything (SSF 1.0, section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultSubjects {
    /// Of all whom it finds appropriate.
    All,
    /// Of nobody.
    None,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum NotSubscribed {
    /// It was not reached.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It said no.
    #[error("{endpoint} answered {status}")]
    Refused {
        /// Which of its endpoints.
        endpoint: &'static str,
        /// How.
        status: StatusCode,
    },
    /// What it says cannot be used.
    #[error("{0}")]
    Said(String),
}

fn said(what: impl Into<String>) -> NotSubscribed {
    NotSubscribed::Said(what.into())
}

/// What a transmitter says of itself.
struct Metadata {
    streams: Url,
    verification: Option<Url>,
    default_subjects: DefaultSubjects,
}

impl Subscriber {
    /// The gate's stream: the one that is there, or a new one. `known`: as it was found before.
    ///
    /// # Errors
    ///
    /// [`NotSubscribed`], for the operator.
    pub async fn subscribe(&self, known: Option<&Subscription>) -> Result<Subscription, NotSubscribed> {
        let metadata = self.metadata().await?;
        let stream = match self.find(&metadata).await? {
            Some(stream) if self.fits(&stream) => {
                // What is presented to us is never told back: where it may be another by now, it is said anew.
                let is_known = known.is_some_and(|known| stream_id(&stream).as_deref() == Some(known.stream.as_str()));
                match self.delivery {
                    Delivery::Push { .. } if !is_known => self.update(&metadata, &stream).await?,
                    _ => stream,
                }
            }
            Some(stream) => self.update(&metadata, &stream).await?,
            None => self.create(&metadata).await?,
        };
        self.read(&stream, &metadata)
    }

    /// Asks for a verification event with this state (SSF 1.0, section 8.1.4.2).
    ///
    /// # Errors
    ///
    /// [`NotSubscribed`]
    pub async fn ask_to_verify(&self, subscription: &Subscription, state: &str) -> Result<(), NotSubscribed> {
        let Some(endpoint) = &subscription.verification else { return Err(said("it has no verification_endpoint")) };
        let body = json!({ "stream_id": subscription.stream, "state": state });
        let answer = self.ask(self.named.post(endpoint), &body).await?;
        match answer.status {
            StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
            status => Err(NotSubscribed::Refused { endpoint: "the verification endpoint", status }),
        }
    }

    /// Fetches its events, where they are fetched.
    pub fn poller(&self, subscription: &Subscription) -> Option<Poller> {
        let endpoint = subscription.poll.clone()?;
        Some(Poller { http: self.named.clone(), endpoint, token: self.token.clone() })
    }

    async fn metadata(&self) -> Result<Metadata, NotSubscribed> {
        let mut url = Url::parse(&self.issuer).map_err(|error| said(format!("the issuer is no URL: {error}")))?;
        // As RFC 8615 has it: between host and path.
        url.set_path(&format!("/.well-known/ssf-configuration{}", url.path().trim_end_matches('/')));
        url.set_query(None);
        let answer = self.http.get(&url).send().await?;
        if answer.status != StatusCode::OK {
            return Err(NotSubscribed::Refused { endpoint: "/.well-known/ssf-configuration", status: answer.status });
        }
        let told = answer.object().map_err(|error| said(error.to_string()))?;
        if text(&told, "issuer") != Some(self.issuer.as_str()) {
            return Err(said("it describes another issuer than the configured one"));
        }
        let methods = told.get("delivery_methods_supported").and_then(Value::as_array);
        let method = self.delivery.method();
        if methods.is_some_and(|all| !all.iter().any(|one| one.as_str() == Some(method))) {
            return Err(said(format!("it does not deliver by {method}")));
        }
        let endpoint = |name: &str| match text(&told, name) {
            Some(url) => Url::parse(url).map(Some).map_err(|error| said(format!("{name}: {error}"))),
            None => Ok(None),
        };
        Ok(Metadata {
            streams: endpoint("configuration_endpoint")?.ok_or_else(|| said("it has no configuration_endpoint"))?,
            verification: endpoint("verification_endpoint")?,
            default_subjects: match text(&told, "default_subjects") {
                Some("NONE") => DefaultSubjects::None,
                _ => DefaultSubjects::All,
            },
        })
    }

    /// Of the streams that are this issuer's and for this gate, the one that delivers as it is wanted, or else the only
    /// one. A token may see others' streams too: those are nobody's to change here.
    async fn find(&self, metadata: &Metadata) -> Result<Option<Map<String, Value>>, NotSubscribed> {
        let call = self.named.get(&metadata.streams).bearer(&self.token);
        let answer = call.send().await?;
        let listed = match answer.status {
            StatusCode::OK => {
                serde_json::from_slice(&answer.body).map_err(|_| said("its list of streams is no JSON"))?
            }
            StatusCode::NOT_FOUND => Value::Null,
            status => return Err(NotSubscribed::Refused { endpoint: "the configuration endpoint", status }),
        };
        let mut all: Vec<Map<String, Value>> = match listed {
            Value::Array(all) => all.into_iter().take(STREAMS_MAX).filter_map(object).collect(),
            other => object(other).into_iter().collect(),
        };
        all.retain(|stream| self.is_ours(stream).is_ok());
        let own = all.iter().position(|stream| self.fits(stream));
        Ok(match (own, all.len()) {
            (Some(own), _) => Some(all.swap_remove(own)),
            (None, 1) => all.pop(),
            (None, _) => None,
        })
    }

    /// Whether a stream's events come to the gate as they are wanted.
    fn fits(&self, stream: &Map<String, Value>) -> bool {
        let Some(Value::Object(delivery)) = stream.get("delivery") else { return false };
        let endpoint = text(delivery, "endpoint_url");
        text(delivery, "method") == Some(self.delivery.method())
            && match &self.delivery {
                Delivery::Poll => true,
                Delivery::Push { endpoint: ours, .. } => endpoint == Some(ours.as_str()),
            }
    }

    /// Whether a stream is this issuer's, and for this gate.
    fn is_ours(&self, stream: &Map<String, Value>) -> Result<(), NotSubscribed> {
        if text(stream, "iss") != Some(self.issuer.as_str()) {
            return Err(said("its stream is another issuer's"));
        }
        let audiences: Vec<&str> = match stream.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !audiences.contains(&self.audience.as_str()) {
            let names: String = audiences.join(", ").chars().take(200).collect();
            return Err(said(format!("its stream is for {names:?}: that is what `audience` must be")));
        }
        Ok(())
    }

    async fn create(&self, metadata: &Metadata) -> Result<Map<String, Value>, NotSubscribed> {
        let body = json!({
            "events_requested": ACTED_ON,
            "delivery": self.delivery.wanted(),
            "description": "Stepgate",
        });
        let answer = self.ask(self.named.post(&metadata.streams), &body).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::OK => answer.object().map_err(|error| said(error.to_string())),
            // Another node was first.
            StatusCode::CONFLICT => self
                .find(metadata)
                .await?
                .ok_or_else(|| said("there is a stream already, and none for this gate is listed")),
            status => Err(NotSubscribed::Refused { endpoint: "the configuration endpoint", status }),
        }
    }

    async fn update(
        &self,
        metadata: &Metadata,
        stream: &Map<String, Value>,
    ) -> Result<Map<String, Value>, NotSubscribed> {
        let id = stream_id(stream).ok_or_else(|| said("its stream has no stream_id"))?;
        let body = json!({ "stream_id": id, "events_requested": ACTED_ON, "delivery": self.delivery.wanted() });
        let answer = self.ask(self.named.patch(&metadata.streams), &body).await?;
        match answer.status {
            StatusCode::OK => answer.object().map_err(|error| said(error.to_string())),
            status => Err(NotSubscribed::Refused { endpoint: "the configuration endpoint", status }),
        }
    }

    async fn ask(&self, call: Call, body: &Value) -> Result<Answer, NotSubscribed> {
        let kind = HeaderValue::from_static("application/json");
        Ok(call.bearer(&self.token).body(kind, Bytes::from(body.to_string())).send().await?)
    }

    fn read(&self, stream: &Map<String, Value>, metadata: &Metadata) -> Result<Subscription, NotSubscribed> {
        let id = stream_id(stream).ok_or_else(|| said("its stream has no stream_id"))?;
        self.is_ours(stream)?;
        if !self.fits(stream) {
            return Err(said("its stream does not deliver as it was asked to"));
        }
        let endpoint = stream.get("delivery").and_then(|delivery| delivery.get("endpoint_url")).and_then(Value::as_str);
        let poll = match (&self.delivery, endpoint) {
            (Delivery::Push { .. }, _) => None,
            (Delivery::Poll, Some(url)) => {
                Some(Url::parse(url).map_err(|error| said(format!("endpoint_url: {error}")))?)
            }
            (Delivery::Poll, None) => return Err(said("its stream has no endpoint_url")),
        };
        Ok(Subscription {
            stream: id,
            poll,
            verification: metadata.verification.clone(),
            default_subjects: metadata.default_subjects,
        })
    }
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

fn text<'o>(object: &'o Map<String, Value>, name: &str) -> Option<&'o str> {
    object.get(name).and_then(Value::as_str)
}

fn stream_id(stream: &Map<String, Value>) -> Option<String> {
    text(stream, "stream_id").filter(|id| !id.is_empty() && id.len() <= STREAM_ID_MAX).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests;
