//! Ids that know what they identify.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use crate::time::Randomness;

/// A 128-bit random id of a `T`. Ids of different things do not mix.
///
/// The wire form is 32 lower-case hex digits; `Debug` shows the kind as well.
pub struct Id<T> {
    bytes: [u8; 16],
    kind: PhantomData<fn() -> T>,
}

/// What an [`Id`] can identify.
pub trait Identified {
    /// The kind, as `Debug` shows it.
    const KIND: &'static str;
}

macro_rules! identified {
    ($($(#[$doc:meta])* $name:ident => $kind:literal;)*) => {
        /// The kinds of things that have ids. They have no values.
        pub mod kind {
            $($(#[$doc])* #[derive(Debug)] pub enum $name {})*
        }
        $(impl Identified for kind::$name { const KIND: &'static str = $kind; })*
    };
}

identified! {
    /// A person.
    Person => "person";
    /// A session.
    Session => "session";
    /// A challenge.
    Challenge => "challenge";
    /// An enrolled factor.
    Factor => "factor";
    /// A one-time enrolment link.
    Link => "link";
    /// One request as it went through the gate.
    Request => "request";
    /// An access token that somebody else issued: the first half of a digest of it.
    AccessToken => "token";
    /// A process that serves.
    Node => "node";
    /// A ledger entry.
    Entry => "entry";
    /// A group that a provisioning system keeps.
    Group => "group";
    /// A stream of signals to a subscriber.
    Stream => "stream";
    /// A security event of ours: its `jti`.
    Set => "set";
    /// The right of one node to post for a stream.
    Turn => "turn";
    /// A code that was sent to somebody.
    SentCode => "code";
    /// A question that was put to a person's devices.
    Push => "push";
    /// A hardware token that shows one-time codes.
    Token => "token";
    /// What a person is told by mail of a change.
    Notice => "notice";
}

/// The id of a person.
pub type PersonId = Id<kind::Person>;
/// The id of a hardware token.
pub type TokenId = Id<kind::Token>;
/// The id of a notice.
pub type NoticeId = Id<kind::Notice>;
/// The id of a session.
pub type SessionId = Id<kind::Session>;
/// The id of a challenge.
pub type ChallengeId = Id<kind::Challenge>;
/// The id of an enrolled factor.
pub type FactorId = Id<kind::Factor>;
/// The id of an enrolment link.
pub type LinkId = Id<kind::Link>;
/// The id of a request.
pub type RequestId = Id<kind::Request>;
/// The id of an access token.
pub type AccessTokenId = Id<kind::AccessToken>;
/// The id of a node.
pub type NodeId = Id<kind::Node>;
/// The id of a provisioned group.
pub type GroupId = Id<kind::Group>;
/// The id of a stream of signals.
pub type StreamId = Id<kind::Stream>;

/// The id of a security event of ours: its `jti`.
pub type SetId = Id<kind::Set>;
/// The id of a code that was sent to somebody.
pub type SentCodeId = Id<kind::SentCode>;
/// The id of a question that was put to a person's devices.
pub type PushId = Id<kind::Push>;
/// The id of a node's right to post for a stream.
pub type TurnId = Id<kind::Turn>;

/// The text is not an id: 32 lower-case hex digits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: 32 lower-case hex digits are expected")]
pub struct NotAnId;

impl<T> Id<T> {
    /// A new id.
    pub fn random(random: &dyn Randomness) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// A new id of something that is made for every request: as hard to predict, and
    /// cheaper ([`Randomness::everyday`]).
    pub fn everyday(random: &dyn Randomness) -> Self {
        Self::from_bytes(random.everyday())
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self { bytes, kind: PhantomData }
    }

    /// The wire form, in ASCII. Needed twice for each request that passes, so it
    /// takes neither the formatter nor memory.
    pub fn digits(&self) -> [u8; 32] {
        let mut digits = [b'0'; 32];
        // The buffer is of the right size, which is all that can be wrong.
        let _ = hex::encode_to_slice(self.bytes, &mut digits);
        digits
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.bytes
    }
}

impl<T> serde::Serialize for Id<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&hex::encode(self.bytes))
    }
}

impl<'de, T> serde::Deserialize<'de> for Id<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}
impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}
impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}
impl<T: Identified> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", T::KIND)
    }
}
impl<T> FromStr for Id<T> {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NotAnId);
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAnId)?;
        Ok(Self::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let id = SessionId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(format!("{id:?}"), format!("session:{id}"));
        for bad in ["", "ab", &"AB".repeat(16), &"zz".repeat(16), &"ab".repeat(17)] {
            assert_eq!(bad.parse::<SessionId>(), Err(NotAnId), "{bad}");
        }
    }
}
