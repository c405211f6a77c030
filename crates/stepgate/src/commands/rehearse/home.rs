//! Where a test person proves anything: at their gate's origin, and nowhere that an answer names.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stepgate_core::id::ChallengeId;
use stepgate_core::web::gate_path;
use url::{Origin, Url};

use crate::commands::{Failure, failed};

/// The gate's own origin, where a test person's password is typed and their passkey signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home(Origin);

/// A request as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) method: &'a str,
    /// Whole.
    pub(super) url: &'a str,
    pub(super) body: &'a [u8],
}

/// Why nothing is proved.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOurs {
    /// The answer names no challenge, or one somewhere else than at the gate.
    #[error("{found} is not where {gate} keeps a challenge, so nothing was proved there")]
    Elsewhere { gate: String, found: String },
    /// The gate's challenge of that name asks about something else.
    #[error("the challenge is about {found}, and what was sent is {sent}, so nothing was proved")]
    OfAnother { found: String, sent: String },
}

impl Home {
    /// The origin of this URL; `None` if it has none that a browser would tell from others (RFC 6454, section 4).
    pub(super) fn of(url: &Url) -> Option<Self> {
        let origin = url.origin();
        (origin.is_tuple() && matches!(url.scheme(), "http" | "https")).then_some(Self(origin))
    }

    /// Reads an origin as a key file keeps it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::of(&Url::parse(text).ok()?).filter(|home| home.name() == text)
    }

    /// As browsers write it.
    pub(super) fn name(&self) -> String {
        self.0.ascii_serialization()
    }

    /// Fails unless `url` is there: the same scheme, host and port, not a text that begins alike.
    pub(super) fn is_at(&self, url: &str) -> Result<(), Failure> {
        match Url::parse(url) {
            Ok(found) if found.origin() == self.0 => Ok(()),
            _ => Err(failed(format!("{url} is not at {}: nothing of the test person is sent there", self.name()))),
        }
    }

    /// The address of the challenge that an answer names. It is made of the id alone, so whoever wrote the answer
    /// chooses a challenge of this gate and nothing else.
    pub(super) fn challenge(&self, named: &Value) -> Result<String, NotOurs> {
        let text = |name| named.get(name).and_then(Value::as_str).unwrap_or_default();
        let id = text("id").parse::<ChallengeId>().ok();
        let url = id.map(|id| format!("{}{}/{id}", self.name(), gate_path::CHALLENGES));
        url.filter(|url| url == text("url"))
            .ok_or_else(|| NotOurs::Elsewhere { gate: self.name(), found: text("url").to_owned() })
    }
}

/// Holds what the gate says of a challenge against the request that was sent: method, whole URL and body.
///
/// An application can answer as the gate does, and name a challenge of the same person for something else.
pub(super) fn is_about(challenge: &Value, sent: Sent<'_>) -> Result<(), NotOurs> {
    let text = |name: &str| challenge.pointer(&format!("/statement/{name}")).and_then(Value::as_str);
    let line = |method: &str, url: &str, digest: &str| {
        format!("{method} {url} with a body of SHA-256 {}", digest.get(..16).unwrap_or(digest))
    };
    let digest = hex::encode(Sha256::digest(sent.body));
    let found = [text("method"), text("url"), text("body_sha256")].map(Option::unwrap_or_default);
    if found == [sent.method, sent.url, digest.as_str()] {
        return Ok(());
    }
    let [method, url, of] = found;
    Err(NotOurs::OfAnother { found: line(method, url, of), sent: line(sent.method, sent.url, &digest) })
}
