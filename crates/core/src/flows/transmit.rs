//! What happens here, told to other systems: the ledger read in order, as security events.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use stepgate_evidence::Event;

use super::Flows;
use crate::factor::{EnrolledFactor, FactorKind, FactorSecret};
use crate::id::{Id, PersonId, SetId, StreamId};
use crate::ports::{
    ChangeError, EntryQuery, RecordedEntry, StoreError, Stream, StreamStatus, Streams, WAITING_MAX, WaitingSet,
};
use crate::signals::SetSigner;

/// The events that are transmitted, by their URIs.
pub const TRANSMITTED: [&str; 3] = [
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked",
    "https://schemas.openid.net/secevent/caep/event-type/credential-change",
    "https://schemas.openid.net/secevent/caep/event-type/assurance-level-change",
];
/// The namespace of levels that are methods (CAEP 1.0, section 3.4).
const METHODS: &str = "RFC8176";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
/// Entries that are looked at in one step.
const AT_ONCE: u32 = 200;
/// How long a receiver waits before it asks for a verification again (SSF 1.0, section 8.1.1, `min_verification_interval`).
pub const VERIFICATION_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

/// Transmitting security events.
#[derive(Clone, Debug)]
pub struct Transmitting {
    /// The flows.
    pub flows: Arc<Flows>,
    /// The streams.
    pub streams: Arc<dyn Streams>,
    /// Who signs.
    pub signer: Arc<dyn SetSigner>,
    /// `iss` of the events.
    pub issuer: String,
}

/// What came of a step of filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// It was looked at everything before this entry.
    To(u64),
    /// Another node was first, or the stream is gone.
    Elsewhere,
    /// Too many events wait in it.
    Full,
}

impl Transmitting {
    /// The end of the ledger: where a new stream begins.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn end(&self) -> Result<u64, StoreError> {
        let newest = EntryQuery { before: Some(i64::MAX.unsigned_abs()), limit: 1, ..EntryQuery::default() };
        let newest = self.flows.store.entries(newest).await?;
        Ok(newest.first().map_or(0, |entry| entry.index.saturating_add(1)))
    }

    /// Fills each stream by a step; gives the entry that the one furthest behind waits for, among those that
    /// can take one. A stream that is full, whose filling failed, or whose machine has no good token, is waited for by
    /// nobody.
    ///
    /// # Errors
    ///
    /// The store's, if the streams cannot be read.
    pub async fn fill_all(&self) -> Result<Option<u64>, StoreError> {
        let mut next: Option<u64> = None;
        let now = self.flows.clock.now();
        for stream in self.streams.streams().await? {
            if stream.is_nobodys(now) {
                continue;
            }
            match self.fill(&stream).await {
                Ok(Filled::To(cursor)) => next = Some(next.map_or(cursor, |next| next.min(cursor))),
                Ok(Filled::Elsewhere | Filled::Full) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(machine = %stream.machine, error, "a stream of security events waits for the store");
                }
            }
        }
        Ok(next)
    }

    /// Looks at what was recorded since and puts what it tells into the stream. A stream that is full
    /// waits, and costs nothing; the ledger loses nothing.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn fill(&self, stream: &Stream) -> Result<Filled, StoreError> {
        if stream.waiting >= WAITING_MAX {
            return Ok(Filled::Full);
        }
        let query = EntryQuery { from: Some(stream.cursor), limit: AT_ONCE, ..EntryQuery::default() };
        let entries = self.flows.store.entries(query).await?;
        let Some(last) = entries.last() else { return Ok(Filled::To(stream.cursor)) };
        let to = last.index.saturating_add(1);
        let mut sets = Vec::new();
        for entry in &entries {
            if stream.status == StreamStatus::Disabled {
                break;
            }
            for Told { uri, body, person, session } in self.told(entry).await? {
                if !stream.requested.is_empty() && !stream.requested.iter().any(|wanted| wanted == uri) {
                    continue;
                }
                if let Some(subject) = self.subject(stream, person, session).await? {
                    sets.push(self.set(stream, entry, uri, body, subject));
                }
            }
        }
        match self.streams.fill_stream(stream.id, stream.cursor, to, sets).await {
            Ok(()) => Ok(Filled::To(to)),
            Err(ChangeError::Store(error)) => Err(error),
            Err(ChangeError::Limit(_)) => Ok(Filled::Full),
            Err(ChangeError::Conflict | ChangeError::UsedBefore) => Ok(Filled::Elsewhere),
        }
    }

    /// Puts the event that shows a receiver that its stream works (SSF 1.0, section 8.1.4), once in
    /// [`VERIFICATION_EVERY`].
    ///
    /// # Errors
    ///
    /// The store's; `Limit` if it asked too lately or too many events wait, `Conflict` if the stream is gone.
    pub async fn verify(&self, stream: &Stream, state: Option<&str>) -> Result<(), ChangeError> {
        let mut body = Map::new();
        if let Some(state) = state {
            body.insert("state".to_owned(), state.into());
        }
        let id: SetId = Id::random(self.flows.random.as_ref());
        let now = self.flows.clock.now();
        let claims = json!({
            "iss": self.issuer, "jti": id.to_string(), "iat": now.as_ms().div_euclid(1000),
            "aud": stream.audience, "txn": id.to_string(),
            "sub_id": { "format": "opaque", "id": stream.id.to_string() },
            "events": { VERIFICATION: body },
        });
        let set = WaitingSet { id, claims: claims.to_string() };
        self.streams.verify_stream(stream.id, set, now, VERIFICATION_EVERY).await
    }

    /// Whom an event is about: by the identity that others know, or else by ours. `None` if this stream is not
    /// told of them.
    async fn subject(
        &self,
        stream: &Stream,
        person: PersonId,
        session: Option<&str>,
    ) -> Result<Option<Value>, StoreError> {
        if self.streams.left_out(stream.id, person).await? {
            return Ok(None);
        }
        let factors = self.flows.store.factors(person).await?;
        let identity = factors.iter().find_map(|factor| match &factor.secret {
            FactorSecret::Idp(identity) => Some((identity.issuer.clone(), identity.subject.clone())),
            _ => None,
        });
        let identity = match identity {
            Some(identity) => Some(identity),
            // Nobody, or somebody who was deleted, since the lines above too: looked at last, this misses nobody.
            None => match self.streams.departed(person).await? {
                Some(departed) if departed.left_out.contains(&stream.id) => return Ok(None),
                departed => departed.and_then(|departed| departed.identity),
            },
        };
        let (issuer, subject) = identity.unwrap_or_else(|| (self.issuer.clone(), person.to_string()));
        let user = json!({ "format": "iss_sub", "iss": issuer, "sub": subject });
        Ok(Some(match session {
            None => user,
            Some(session) => json!({
                "format": "complex", "user": user, "session": { "format": "opaque", "id": session }
            }),
        }))
    }

    fn set(&self, stream: &Stream, entry: &RecordedEntry, uri: &str, body: Value, subject: Value) -> WaitingSet {
        let id = set_id(stream.id, entry.index, uri);
        let mut body = body;
        if let Some(body) = body.as_object_mut() {
            body.insert("event_timestamp".to_owned(), entry.entry.at_ms.div_euclid(1000).into());
        }
        let claims = json!({
            "iss": self.issuer, "jti": id.to_string(), "iat": self.flows.clock.now().as_ms().div_euclid(1000),
            "aud": stream.audience, "txn": txn(entry), "sub_id": subject, "events": { uri: body },
        });
        WaitingSet { id, claims: claims.to_string() }
    }
}

/// The same for the same event of the same entry and stream, whoever makes it.
fn set_id(stream: StreamId, index: u64, uri: &str) -> SetId {
    let mut hash = Sha256::new();
    hash.update(b"stepgate/signal/v1\0");
    hash.update(stream.as_bytes());
    hash.update(index.to_be_bytes());
    hash.update(uri);
    let hash: [u8; 32] = hash.finalize().into();
    SetId::from_bytes(hash.first_chunk().copied().unwrap_or_default())
}

/// What ties an event to the evidence: the challenge that it came of, or the entry itself.
fn txn(entry: &RecordedEntry) -> String {
    match &entry.entry.event {
        Event::ChallengePassed { challenge, .. } => challenge.clone(),
        _ => entry.entry.id.clone(),
    }
}

/// Who began it, as CAEP names them.
fn initiator(by: &str) -> &'static str {
    match by.split_once(':') {
        Some(("cli" | "machine", _)) => "admin",
        Some(("signal", _)) => "policy",
        _ => "user",
    }
}

/// One event of an entry.
struct Told<'e> {
    uri: &'static str,
    body: Value,
    /// Whose.
    person: PersonId,
    session: Option<&'e str>,
}

impl Transmitting {
    /// The events that an entry is.
    async fn told<'e>(&self, entry: &'e RecordedEntry) -> Result<Vec<Told<'e>>, StoreError> {
        let [session_revoked, credential_change, assurance_level_change] = TRANSMITTED;
        let mut told = Vec::new();
        let mut tell = |uri, body, person: &str, session| {
            if let Ok(person) = person.parse() {
                told.push(Told { uri, body, person, session });
            }
        };
        match &entry.entry.event {
            Event::SessionEnded { session, person, by, reason } if reason != "signed_in_again" => {
                tell(session_revoked, json!({ "initiating_entity": initiator(by) }), person, Some(session.as_str()));
            }
            Event::FactorEnrolled { person, factor, key, .. } => {
                let synced = key.as_ref().is_some_and(|key| key.backup_eligible);
                if let Some(credential) = credential(factor, synced) {
                    let body = json!({
                        "credential_type": credential, "change_type": "create", "initiating_entity": "user"
                    });
                    tell(credential_change, body, person, None);
                }
            }
            Event::FactorRemoved { person, factor, authority, .. } => {
                if let Some(credential) = credential(factor, false) {
                    let body = json!({
                        "credential_type": credential, "change_type": "delete",
                        "initiating_entity": initiator(authority)
                    });
                    tell(credential_change, body, person, None);
                }
                if let Some(left) = self.left_of(person, factor).await? {
                    tell(assurance_level_change, self.less(level(factor), left, initiator(authority)), person, None);
                }
            }
            Event::ChallengePassed { session, person, proof, .. } => {
                if let Some(level) = level(&proof.factor) {
                    let body = json!({
                        "namespace": METHODS, "current_level": level, "change_direction": "increase",
                        "initiating_entity": "user"
                    });
                    tell(assurance_level_change, body, person, Some(session.as_str()));
                }
            }
            Event::AssuranceDropped { session, person, former, by } => {
                let body = self.less(level(former), None, initiator(by));
                tell(assurance_level_change, body, person, Some(session.as_str()));
            }
            _ => {}
        }
        Ok(told)
    }

    /// What somebody can prove at most since this factor was removed; `None` if that is no less than before.
    async fn left_of(&self, person: &str, removed: &str) -> Result<Option<Option<FactorKind>>, StoreError> {
        let (Ok(person), Ok(removed)) = (person.parse(), removed.parse::<FactorKind>()) else { return Ok(None) };
        let factors = self.flows.store.factors(person).await?;
        // Kinds stand in the order of what is asked first.
        let left = factors.iter().map(EnrolledFactor::kind).min();
        Ok((left.is_none_or(|left| left > removed)).then_some(left))
    }

    /// The body of an event that says that somebody's level is less (CAEP 1.0, section 3.4). The registry of RFC 8176 has
    /// no name for a provider's login and none for "nothing": there the namespace is this transmitter's own.
    fn less(&self, before: Option<&str>, now: Option<FactorKind>, by: &str) -> Value {
        let method = now.and_then(|kind| kind.amr().first().copied());
        let (namespace, current) = match method {
            Some(method) => (METHODS.to_owned(), method),
            None => (format!("{}/ssf/levels", self.issuer), now.map_or("none", FactorKind::name)),
        };
        let mut body = json!({
            "namespace": namespace, "current_level": current, "change_direction": "decrease", "initiating_entity": by
        });
        if let (Some(before), Some(body)) = (before, body.as_object_mut()) {
            body.insert("previous_level".to_owned(), before.into());
        }
        body
    }
}

/// The method of a factor by RFC 8176. What a provider's login was has no name of ours.
fn level(factor: &str) -> Option<&'static str> {
    let kind: FactorKind = factor.parse().ok()?;
    kind.amr().first().copied()
}

/// CAEP 1.0, section 3.3.1. What has no name there is not told.
fn credential(factor: &str, synced: bool) -> Option<&'static str> {
    match factor {
        "password" => Some("password"),
        "totp" => Some("app"),
        "passkey" if synced => Some("fido2-platform"),
        "passkey" => Some("fido2-roaming"),
        _ => None,
    }
}
