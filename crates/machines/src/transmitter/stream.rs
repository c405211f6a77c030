//! Streams: made, read, changed, replaced, removed; their status and their subjects.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use stepgate_core::factor::identity_digest;
use stepgate_core::flows::{TRANSMITTED, VERIFICATION_EVERY};
use stepgate_core::id::PersonId;
use stepgate_core::machine::Machine;
use stepgate_core::ports::{ChangeError, Delivery, StoreError, Stream, StreamStatus};
use stepgate_core::surroundings::shown;
use stepgate_evidence::Event;

use super::{Answer, JSON, NotDone, Transmitter, object, text};
use crate::answer;

pub(super) const PUSH: &str = "urn:ietf:rfc:8935";
pub(super) const POLL: &str = "urn:ietf:rfc:8936";
/// The most events that may be asked for.
const REQUESTED_MAX: usize = 100;
/// Why a stream is paused whose machine has no good token.
const TOKEN_EXPIRED: &str = "the token of this machine expired";

impl Transmitter {
    pub(super) async fn streams(&self, method: &Method, machine: &Machine, request: &Request<Bytes>) -> Answer {
        let named = stream_in_query(request);
        match *method {
            Method::POST => self.add(machine, &object(request)?).await,
            Method::GET => {
                // Without a name all of the caller's are listed (SSF 1.0, section 8.1.1.2): one, or none.
                if named.is_none() {
                    let own = self.transmitting.streams.stream_of(&machine.name).await?;
                    let all: Vec<Value> = own.iter().map(|stream| self.told(stream)).collect();
                    return Ok(answer::json(StatusCode::OK, JSON, &all.into()));
                }
                let stream = self.stream(machine, named.as_deref()).await?;
                Ok(answer::json(StatusCode::OK, JSON, &self.told(&stream)))
            }
            Method::PATCH | Method::PUT => {
                let body = object(request)?;
                let id =
                    text(&body, "stream_id")?.ok_or_else(|| NotDone::Invalid("stream_id is missing".to_owned()))?;
                let mut stream = self.stream(machine, Some(&id)).await?;
                if *method == Method::PUT {
                    stream = Stream {
                        delivery: Delivery::Poll,
                        requested: Vec::new(),
                        description: String::new(),
                        ..stream
                    };
                }
                self.read_into(&mut stream, &body)?;
                self.put(stream, machine, "updated").await
            }
            Method::DELETE => {
                let id = named.ok_or_else(|| NotDone::Invalid("stream_id is missing".to_owned()))?;
                let stream = self.stream(machine, Some(&id)).await?;
                let entry = self.entry(&stream, "deleted", machine.by());
                self.transmitting.streams.remove_stream(stream.id, entry).await?;
                Ok(answer::empty(StatusCode::NO_CONTENT))
            }
            _ => Err(NotDone::Method),
        }
    }

    async fn add(&self, machine: &Machine, body: &Map<String, Value>) -> Answer {
        let random = self.transmitting.flows.random.as_ref();
        let mut stream = Stream {
            id: stepgate_core::id::Id::random(random),
            machine: machine.name.clone(),
            audience: machine.name.to_string(),
            delivery: Delivery::Poll,
            requested: Vec::new(),
            description: String::new(),
            status: StreamStatus::Enabled,
            reason: String::new(),
            cursor: self.transmitting.end().await?,
            waiting: 0,
            version: 1,
            expires_at: machine.expires_at,
        };
        self.read_into(&mut stream, body)?;
        let entry = self.entry(&stream, "created", machine.by());
        self.transmitting.streams.add_stream(&stream, entry).await?;
        Ok(answer::json(StatusCode::CREATED, JSON, &self.told(&stream)))
    }

    /// Takes what the receiver may say of a stream (SSF 1.0, section 8.1.1).
    fn read_into(&self, stream: &mut Stream, body: &Map<String, Value>) -> Result<(), NotDone> {
        let invalid = |what: &str| NotDone::Invalid(what.to_owned());
        if let Some(description) = text(body, "description")? {
            stream.description = shown(&description, 200);
        }
        match body.get("events_requested") {
            None | Some(Value::Null) => {}
            Some(Value::Array(all)) if all.len() <= REQUESTED_MAX => {
                let uris = all.iter().map(|one| one.as_str().filter(|uri| uri.len() <= 200).map(ToOwned::to_owned));
                let uris: Option<Vec<String>> = uris.collect();
                stream.requested = uris.ok_or_else(|| invalid("events_requested is a list of URIs"))?;
            }
            Some(_) => return Err(invalid("events_requested is a list of at most 100 URIs")),
        }
        let delivery = match body.get("delivery") {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(delivery)) => delivery,
            Some(_) => return Err(invalid("delivery is an object")),
        };
        stream.delivery = match text(delivery, "method")?.as_deref() {
            Some(POLL) => Delivery::Poll,
            Some(PUSH) => {
                let endpoint = text(delivery, "endpoint_url")?.ok_or_else(|| invalid("endpoint_url is missing"))?;
                if endpoint.len() > 2_000 {
                    return Err(invalid("endpoint_url is too long"));
                }
                self.receivers.allowed(&endpoint).map_err(|why| NotDone::Invalid(format!("endpoint_url: {why}")))?;
                let authorization = text(delivery, "authorization_header")?;
                let fits =
                    |value: &String| value.len() <= 4_000 && value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
                if !authorization.iter().all(fits) {
                    return Err(invalid("authorization_header is no value of a header"));
                }
                Delivery::Push { endpoint, authorization: authorization.map(SecretString::from) }
            }
            _ => return Err(invalid("delivery.method is urn:ietf:rfc:8935 or urn:ietf:rfc:8936")),
        };
        Ok(())
    }

    async fn put(&self, stream: Stream, machine: &Machine, change: &str) -> Answer {
        let entry = self.entry(&stream, change, machine.by());
        self.transmitting.streams.change_stream(&stream, entry).await?;
        Ok(answer::json(StatusCode::OK, JSON, &self.told(&stream)))
    }

    /// Pauses streams whose machine's token expired, and resumes those that were paused so and whose machine has
    /// another. Each is an entry. What waits is kept, and the ledger keeps the rest.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn follow_tokens(&self) -> Result<(), StoreError> {
        let now = self.transmitting.flows.clock.now();
        for mut stream in self.transmitting.streams.streams().await? {
            let change = match (stream.is_nobodys(now), stream.status) {
                (true, StreamStatus::Enabled) => {
                    (stream.status, stream.reason) = (StreamStatus::Paused, TOKEN_EXPIRED.to_owned());
                    "token_expired"
                }
                (false, StreamStatus::Paused) if stream.reason == TOKEN_EXPIRED => {
                    (stream.status, stream.reason) = (StreamStatus::Enabled, String::new());
                    "token_renewed"
                }
                _ => continue,
            };
            let entry = self.entry(&stream, change, "gate".to_owned());
            let changed = self.transmitting.streams.change_stream(&stream, entry).await;
            // Where it changed beside this, or another node was first, it is looked at again soon.
            if let Err(ChangeError::Store(error)) = changed {
                return Err(error);
            }
        }
        Ok(())
    }

    fn entry(&self, stream: &Stream, change: &str, by: String) -> stepgate_evidence::Entry {
        let flows = &self.transmitting.flows;
        let (delivery, receiver, endpoint) = match &stream.delivery {
            Delivery::Poll => ("poll", String::new(), String::new()),
            // The URL may hold a secret: its origin is told, and by the digest each change of the rest.
            Delivery::Push { endpoint, .. } => {
                ("push", self.receivers.origin(endpoint), hex::encode(Sha256::digest(endpoint)))
            }
        };
        let event = Event::StreamChanged {
            stream: stream.id.to_string(),
            change: change.to_owned(),
            delivery: delivery.to_owned(),
            receiver,
            endpoint,
            by,
        };
        flows.entry(flows.clock.now(), event)
    }

    /// A stream as its receiver sees it. What it must present at the receiver is not told back.
    fn told(&self, stream: &Stream) -> Value {
        let delivered: Vec<&str> = TRANSMITTED
            .into_iter()
            .filter(|uri| stream.requested.is_empty() || stream.requested.iter().any(|wanted| wanted == uri))
            .collect();
        let delivery = match &stream.delivery {
            Delivery::Push { endpoint, .. } => json!({ "method": PUSH, "endpoint_url": endpoint }),
            Delivery::Poll => {
                json!({ "method": POLL, "endpoint_url": format!("{}/ssf/poll/{}", self.base(), stream.id) })
            }
        };
        json!({
            "stream_id": stream.id.to_string(),
            "iss": self.base(),
            "aud": stream.audience,
            "delivery": delivery,
            "events_supported": TRANSMITTED,
            "events_requested": stream.requested,
            "events_delivered": delivered,
            "description": stream.description,
            "min_verification_interval": VERIFICATION_EVERY.as_secs(),
        })
    }

    pub(super) async fn status(&self, method: &Method, machine: &Machine, request: &Request<Bytes>) -> Answer {
        let told = |stream: &Stream| {
            let mut told = json!({ "stream_id": stream.id.to_string(), "status": stream.status.name() });
            if let Some(told) = told.as_object_mut().filter(|_| !stream.reason.is_empty()) {
                told.insert("reason".to_owned(), stream.reason.clone().into());
            }
            answer::json(StatusCode::OK, JSON, &told)
        };
        if *method == Method::GET {
            let id = stream_in_query(request).ok_or_else(|| NotDone::Invalid("stream_id is missing".to_owned()))?;
            return Ok(told(&self.stream(machine, Some(&id)).await?));
        }
        let body = object(request)?;
        let id = text(&body, "stream_id")?.ok_or_else(|| NotDone::Invalid("stream_id is missing".to_owned()))?;
        let mut stream = self.stream(machine, Some(&id)).await?;
        let status = text(&body, "status")?.unwrap_or_default();
        stream.status =
            status.parse().map_err(|()| NotDone::Invalid("status is enabled, paused or disabled".to_owned()))?;
        stream.reason = shown(&text(&body, "reason")?.unwrap_or_default(), 200);
        if stream.reason == TOKEN_EXPIRED {
            return Err(NotDone::Invalid("that is the transmitter's own reason".to_owned()));
        }
        let entry = self.entry(&stream, stream.status.name(), machine.by());
        self.transmitting.streams.change_stream(&stream, entry).await?;
        Ok(told(&stream))
    }

    /// Leaves somebody out of a stream, or takes them in again. Whether they are known is not told.
    pub(super) async fn subjects(&self, machine: &Machine, request: &Request<Bytes>, out: bool) -> Answer {
        let body = object(request)?;
        let id = text(&body, "stream_id")?.ok_or_else(|| NotDone::Invalid("stream_id is missing".to_owned()))?;
        let stream = self.stream(machine, Some(&id)).await?;
        let Some(Value::Object(subject)) = body.get("subject") else {
            return Err(NotDone::Invalid("subject is missing".to_owned()));
        };
        if text(subject, "format")?.as_deref() != Some("iss_sub") {
            return Err(NotDone::Invalid("a subject is named by iss_sub, as the events do".to_owned()));
        }
        let (issuer, sub) = (text(subject, "iss")?.unwrap_or_default(), text(subject, "sub")?.unwrap_or_default());
        let flows = &self.transmitting.flows;
        let person: Option<PersonId> = if issuer == self.base() {
            sub.parse().ok()
        } else {
            let found = flows.store.person_by_identity(identity_digest(&issuer, &sub)).await?;
            found.map(|(person, _)| person)
        };
        let known = match person {
            Some(person) => flows.store.person(person).await?.map(|_| person),
            None => None,
        };
        if let Some(person) = known {
            let change = if out { "left_out" } else { "taken_in" };
            let event = Event::StreamSubject {
                stream: stream.id.to_string(),
                person: person.to_string(),
                change: change.to_owned(),
                by: machine.by(),
            };
            let entry = flows.entry(flows.clock.now(), event);
            self.transmitting.streams.leave_out(stream.id, person, out, entry).await?;
        }
        Ok(answer::empty(if out { StatusCode::NO_CONTENT } else { StatusCode::OK }))
    }
}

fn stream_in_query(request: &Request<Bytes>) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "stream_id").map(|(_, value)| value.into_owned())
}
