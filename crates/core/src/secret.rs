//! Tokens and codes: what is sent is secret, what is stored is its digest, and
//! each has one purpose.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::time::Randomness;

/// What a token or code is for. A token of one purpose is worthless for another:
/// the purpose is hashed into its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// The session cookie at the gate's own origin.
    GateSession,
    /// The session cookie at a service's host.
    ServiceSession,
    /// Names a browser; grants nothing.
    Browser,
    /// Names a device that a person used before; grants nothing.
    Device,
    /// Takes a signed-in browser from the gate to a service's host.
    HandOff,
    /// Brings the browser back to the service's host after a challenge.
    HandBack,
    /// Posted to the original URL: puts the held request in its place.
    Resume,
    /// The one-time link with which a person enrols a first factor.
    EnrolmentLink,
    /// An enrolment in progress.
    EnrolmentTicket,
    /// A sign-in prompt: answered once.
    SignInPrompt,
    /// The bearer token of another system at the machines' listener.
    Machine,
    /// Comes back from an identity provider: OAuth's `state`.
    ProviderState,
    /// Invites a device to become an approver.
    DeviceLink,
    /// The cookie of an approver device.
    Approver,
}

impl Purpose {
    /// The stable name: part of the digest and of database rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GateSession => "gate-session",
            Self::ServiceSession => "service-session",
            Self::Browser => "browser",
            Self::Device => "device",
            Self::HandOff => "hand-off",
            Self::HandBack => "hand-back",
            Self::Resume => "resume",
            Self::EnrolmentLink => "enrolment-link",
            Self::EnrolmentTicket => "enrolment-ticket",
            Self::SignInPrompt => "sign-in-prompt",
            Self::Machine => "machine",
            Self::ProviderState => "provider-state",
            Self::DeviceLink => "device-link",
            Self::Approver => "approver",
        }
    }
}

/// A 256-bit token on its way to a browser. It cannot be printed.
pub struct Token {
    text: SecretString,
}

/// Length of a token's text: 32 bytes in base64url without padding.
pub const TOKEN_TEXT_LEN: usize = 43;

impl Token {
    /// A new token.
    pub fn random(random: &dyn Randomness) -> Self {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        random.fill(bytes.as_mut());
        Self { text: SecretString::from(URL_SAFE_NO_PAD.encode(bytes.as_ref())) }
    }

    /// Reads what a browser sent. `None` if it cannot be one of our tokens: wrong
    /// length, wrong alphabet, or not the one spelling of its bytes.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TOKEN_TEXT_LEN {
            return None;
        }
        // The engine refuses trailing bits, so two spellings never mean one token.
        let mut bytes = zeroize::Zeroizing::new([0; 33]);
        URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut()).ok()?;
        Some(Self { text: SecretString::from(text.to_owned()) })
    }

    /// What is sent to the browser.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// What is stored and looked up.
    pub fn digest(&self, purpose: Purpose) -> TokenDigest {
        let mut hash = Sha256::new();
        hash.update(b"stepgate/token/v1\0");
        hash.update(purpose.name());
        hash.update(b"\0");
        hash.update(self.expose());
        TokenDigest(hash.finalize().into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// SHA-256 over purpose and token: what the store keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenDigest(pub [u8; 32]);

impl TokenDigest {
    /// Lower-case hex.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// From lower- or upper-case hex of 32 bytes.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

/// The digest of something of others that is taken once, by what names it.
pub(crate) fn once(what: &str, names: &[&str]) -> TokenDigest {
    let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let mut hash = Sha256::new_with_prefix(b"stepgate/once/v1\0");
    hash.update(framed(what, &names));
    TokenDigest(hash.finalize().into())
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDigest({}…)", hex::encode(self.0.get(..4).unwrap_or_default()))
    }
}

/// Six digits that a person carries from one screen to another, each number equally likely (rejection sampling).
pub fn six_digits(random: &dyn Randomness) -> String {
    loop {
        let mut bytes = [0; 4];
        random.fill(&mut bytes);
        let value = u32::from_be_bytes(bytes) >> 12;
        if value < 1_000_000 {
            return format!("{value:06}");
        }
    }
}

/// A key that tags what goes through a browser and must come back unchanged.
///
/// Each use has a label, so that a tag of one use is worthless for another.
pub struct MacKey {
    key: aws_lc_rs::hmac::Key,
}

impl MacKey {
    /// A key from 32 secret bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self { key: aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bytes) }
    }

    /// The tag over the parts, hex (HMAC-SHA-256).
    pub fn tag(&self, label: &str, parts: &[&[u8]]) -> String {
        hex::encode(aws_lc_rs::hmac::sign(&self.key, &framed(label, parts)))
    }

    /// Whether this is the tag over the parts; takes the same time either way.
    pub fn is_tag(&self, label: &str, parts: &[&[u8]], tag: &str) -> bool {
        hex::decode(tag).is_ok_and(|tag| aws_lc_rs::hmac::verify(&self.key, &framed(label, parts), &tag).is_ok())
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

/// Each part is preceded by its length, so that no two lists of parts are the same bytes.
fn framed(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Sevens;
    impl Randomness for Sevens {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(7);
        }
    }

    #[test]
    fn b46_a_token_of_one_purpose_is_worthless_for_another() {
        let token = Token::random(&Sevens);
        assert_ne!(token.digest(Purpose::Resume), token.digest(Purpose::GateSession));
        assert_ne!(token.digest(Purpose::GateSession), token.digest(Purpose::ServiceSession));
    }

    #[test]
    fn b58_a_cut_or_respelled_token_is_no_token() {
        let text = Token::random(&Sevens).expose().to_owned();
        assert!(Token::parse(&text).is_some());
        assert!(Token::parse(&text[..42]).is_none());
        assert!(Token::parse(&format!("{text}A")).is_none());
        // The last character carries two unused bits: another spelling of the same bytes.
        let respelled = format!("{}d", &text[..42]);
        assert!(Token::parse(&respelled).is_none(), "{respelled}");
        assert!(Token::parse(&" ".repeat(43)).is_none());
    }

    #[test]
    fn it_cannot_be_printed() {
        assert_eq!(format!("{:?}", Token::random(&Sevens)), "Token(..)");
    }
}
