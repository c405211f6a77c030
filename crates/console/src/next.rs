//! Where a person goes on after signing in: one of our own places, never an
//! address that somebody else wrote (attack B59).

use std::str::FromStr;

use stepgate_core::catalogue::{Catalogue, Service};
use stepgate_core::id::ChallengeId;
use stepgate_core::secret::TokenDigest;
use stepgate_core::web::gate_path;

/// Longest path on a service's host that is gone on to, in bytes.
const TO_MAX: usize = 4096;

/// A place of ours to go on to. Read once; written out again by ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// One's own account.
    Account,
    /// The evidence, with what was looked for.
    Evidence {
        /// The query; may be empty.
        query: String,
    },
    /// A challenge.
    Challenge(ChallengeId),
    /// A service's host, signed in.
    HandOff(HandOff),
}

/// To a service's host, signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandOff {
    /// The service's name; it is looked up again when it is used.
    pub(crate) service: String,
    /// Path and query there.
    pub(crate) to: String,
    /// The digest of that host's browser cookie, hex.
    pub(crate) browser: TokenDigest,
}

impl Next {
    /// Reads a relative reference to one of our own places. Everything else is
    /// `None`; the caller then goes to the account.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if path == gate_path::ACCOUNT && query.is_empty() {
            return Some(Self::Account);
        }
        if path == gate_path::EVIDENCE && is_plain_path(text) {
            return Some(Self::Evidence { query: query.to_owned() });
        }
        if path == gate_path::HAND_OFF {
            return HandOff::parse(query).map(Self::HandOff);
        }
        let id = path.strip_prefix(gate_path::CHALLENGES)?.strip_prefix('/')?;
        query.is_empty().then_some(())?;
        ChallengeId::from_str(id).ok().map(Self::Challenge)
    }

    /// The relative reference.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Account => gate_path::ACCOUNT.to_owned(),
            Self::Evidence { query } if query.is_empty() => gate_path::EVIDENCE.to_owned(),
            Self::Evidence { query } => format!("{}?{query}", gate_path::EVIDENCE),
            Self::Challenge(id) => format!("{}/{id}", gate_path::CHALLENGES),
            Self::HandOff(hand_off) => hand_off.path(),
        }
    }

    /// The sign-in page that leads there.
    pub(crate) fn by_sign_in(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("next", &self.path());
        format!("{}?{}", gate_path::SIGN_IN, query.finish())
    }
}

impl HandOff {
    /// Reads the query of a hand-off. `to` must be a path that every browser reads
    /// as a path; otherwise it becomes `/`.
    pub(crate) fn parse(query: &str) -> Option<Self> {
        let (mut service, mut to, mut browser) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match name.as_ref() {
                "service" => &mut service,
                "to" => &mut to,
                "browser" => &mut browser,
                _ => return None,
            };
            if slot.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        let to = to.filter(|to| is_plain_path(to)).unwrap_or_else(|| "/".to_owned());
        Some(Self { service: service?, to, browser: TokenDigest::from_hex(&browser?)? })
    }

    fn path(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("service", &self.service);
        query.append_pair("to", &self.to);
        query.append_pair("browser", &self.browser.to_hex());
        format!("{}?{}", gate_path::HAND_OFF, query.finish())
    }

    /// The service, if it is (still) one of ours.
    pub(crate) fn service<'c>(&self, catalogue: &'c Catalogue) -> Option<&'c Service> {
        catalogue.by_name(&self.service).map(AsRef::as_ref)
    }
}

/// Whether this is a path on the same host to every browser: one slash, no
/// backslash, nothing that a browser drops or trims.
fn is_plain_path(to: &str) -> bool {
    to.len() <= TO_MAX
        && to.starts_with('/')
        && !to.starts_with("//")
        && to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let read = Next::parse(text).map(|next| next.path());
        assert_eq!(read.as_deref(), expected, "{text}");
    }

    #[test]
    fn b59_only_our_own_places_are_gone_on_to() {
        check("/account", Some("/account"));
        check("/evidence", Some("/evidence"));
        check("/evidence?person=alice&kind=fault", Some("/evidence?person=alice&kind=fault"));
        let id = "0123456789abcdef0123456789abcdef";
        check(&format!("/challenges/{id}"), Some(&format!("/challenges/{id}")));
        for elsewhere in [
            "",
            "/",
            "//evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "/\t/evil.test",
            "https://evil.test/account",
            "https:evil.test",
            "javascript:alert(1)",
            "/account/../../evil",
            "/account?x=1",
            "/account#x",
            "/challenges/../account",
            "/challenges/0123",
            "/sign-out",
            "/evidence?a\\b",
            "/evidence?a#b",
            "/evidence/export",
        ] {
            check(elsewhere, None);
        }
    }

    #[test]
    fn b59_a_hand_off_leads_to_a_path_of_a_service_and_nowhere_else() {
        let browser = "ab".repeat(32);
        let hand_off = |to: &str| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("service", "ledger").append_pair("to", to).append_pair("browser", &browser);
            HandOff::parse(&query.finish()).unwrap().to
        };
        assert_eq!(hand_off("/payments?page=2"), "/payments?page=2");
        for elsewhere in [
            "//evil.test",
            "/\\evil.test",
            "/\t/evil.test",
            "/\r\nLocation: x",
            "https://evil.test",
            "evil",
            "",
            "/a\\b",
            "/é",
        ] {
            assert_eq!(hand_off(elsewhere), "/", "{elsewhere:?}");
        }
        assert_eq!(HandOff::parse(&format!("service=a&service=b&browser={browser}")), None);
        assert_eq!(HandOff::parse("service=a&browser=xyz"), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let next = Next::HandOff(HandOff {
            service: "ledger".to_owned(),
            to: "/a?b=c&d=%2F".to_owned(),
            browser: TokenDigest([7; 32]),
        });
        assert_eq!(Next::parse(&next.path()), Some(next));
    }
}
