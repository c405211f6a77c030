//! Names in their one spelling.

use std::fmt;

/// The name of a service in configuration and policy: `[a-z0-9-]`, at most 63 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(String);

/// The name of an action in configuration and policy: `[a-z0-9_.-]`, at most 100 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionName(String);

/// A host in its one spelling: lower-case, without trailing dot, without port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(String);

/// The text is not a name of the kind that is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is expected, not {text:?}")]
pub struct NotAName {
    what: &'static str,
    text: String,
}

fn named(text: &str, what: &'static str, max: usize, extra: &[u8]) -> Result<String, NotAName> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || extra.contains(&b);
    if text.is_empty() || text.len() > max || !text.bytes().all(good) || text.starts_with(['-', '.']) {
        return Err(NotAName { what, text: crate::surroundings::shown(text, 100) });
    }
    Ok(text.to_owned())
}

/// The service that is the gate itself: its own operations are decided by the same engine.
pub const GATE_SERVICE: &str = "stepgate";
/// The action of going from a sign-in to a service, and the group of everything that a session may do at the
/// gate's own origin.
pub const SIGN_IN: &str = "sign_in";

impl ServiceName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        named(text, "a service name of lower-case letters, digits and hyphens", 63, b"-").map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ActionName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        named(text, "an action name like payments.approve", 100, b"-_.").map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// Reads a host name or IP address. Folds case and one trailing dot; refuses
    /// ports, user information, empty labels and everything that is no host.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let wrong = || NotAName { what: "a host name", text: crate::surroundings::shown(text, 100) };
        let folded = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Some(inner) = folded.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = inner.parse().map_err(|_| wrong())?;
            return Ok(Self(format!("[{address}]")));
        }
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if folded.is_empty() || folded.len() > 253 || !folded.split('.').all(label) {
            return Err(wrong());
        }
        Ok(Self(folded))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.0)
    }
}
impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
