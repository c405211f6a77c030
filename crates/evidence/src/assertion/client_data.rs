//! What the browser said: WebAuthn Level 3, section 5.8.1.

use serde_json::Value;
use stepgate_ledger::jcs;

/// Longest client data in bytes.
pub const MAX_CLIENT_DATA: usize = 8 * 1024;

/// What the browser said. Members that are not known are let be: the standard adds some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientData {
    /// `type`: `webauthn.get` or `webauthn.create`.
    pub ceremony: String,
    /// The challenge, still in base64url.
    pub challenge: String,
    /// The origin of the page that asked.
    pub origin: String,
    /// Whether that page was in a frame of another origin; `false` if not said.
    pub cross_origin: bool,
    /// Whether the origin of the outermost page is said, which it is only within a frame.
    pub has_top_origin: bool,
}

/// Why client data cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadClientData {
    /// Not JSON that has one reading: two members of one name could be read either way.
    #[error("not unambiguous JSON")]
    NotJson,
    /// A member is absent or of another type.
    #[error("the member {0} is absent or of another type")]
    Member(&'static str),
}

impl ClientData {
    /// Reads client data.
    ///
    /// # Errors
    ///
    /// [`BadClientData`] if it is not one JSON object with the members that it must have, each once.
    pub fn parse(json: &[u8]) -> Result<Self, BadClientData> {
        let value = jcs::parse_strict(json).map_err(|_| BadClientData::NotJson)?;
        let members = value.as_object().ok_or(BadClientData::NotJson)?;
        let text = |name: &'static str| {
            members.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(BadClientData::Member(name))
        };
        let cross_origin = match members.get("crossOrigin") {
            None => false,
            Some(Value::Bool(value)) => *value,
            Some(_) => return Err(BadClientData::Member("crossOrigin")),
        };
        Ok(Self {
            ceremony: text("type")?,
            challenge: text("challenge")?,
            origin: text("origin")?,
            cross_origin,
            has_top_origin: members.contains_key("topOrigin"),
        })
    }
}
