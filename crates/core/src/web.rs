//! What the HTTP door and the pages agree on: names of cookies, paths, and what
//! the door tells the pages about a request. Strings and values only.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderName;
use http::header::ACCEPT;

use crate::id::ChallengeId;
use crate::secret::TokenDigest;
use crate::session::SessionView;
use crate::surroundings::Posture;

/// Whether browsers reach us by TLS: decides the cookies' names and attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `https`: cookies are `__Host-` and `Secure`.
    Tls,
    /// `http` on loopback: no prefix (browsers demand TLS for it).
    Plain,
}

/// Our cookies. All are host-only, `HttpOnly`, `SameSite=Lax`, `Path=/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OurCookie {
    /// The session token of this origin or host.
    Session,
    /// Names the browser; grants nothing.
    Browser,
    /// Names a device at the gate's origin; grants nothing.
    Device,
    /// At the gate's origin: an approver device. It shows and answers what is asked there, and nothing else.
    Approver,
    /// At a service's host: the challenge whose held request is about to be put in place.
    Resume,
}

impl OurCookie {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Session, Self::Browser, Self::Device, Self::Approver, Self::Resume];

    /// The name that is set and read on this transport.
    pub const fn name(self, transport: Transport) -> &'static str {
        match (self, transport) {
            (Self::Session, Transport::Tls) => "__Host-stepgate",
            (Self::Session, Transport::Plain) => "stepgate",
            (Self::Browser, Transport::Tls) => "__Host-stepgate-browser",
            (Self::Browser, Transport::Plain) => "stepgate-browser",
            (Self::Device, Transport::Tls) => "__Host-stepgate-device",
            (Self::Device, Transport::Plain) => "stepgate-device",
            (Self::Approver, Transport::Tls) => "__Host-stepgate-approver",
            (Self::Approver, Transport::Plain) => "stepgate-approver",
            (Self::Resume, Transport::Tls) => "__Host-stepgate-resume",
            (Self::Resume, Transport::Plain) => "stepgate-resume",
        }
    }

    /// Whether a cookie of this name is one of ours on any transport: it never
    /// reaches an upstream, and no upstream may set it. Folds case.
    pub fn is_ours(name: &str) -> bool {
        let name = trimmed(name);
        let bare = without_start(name, "__host-").or_else(|| without_start(name, "__secure-")).unwrap_or(name);
        without_start(bare, "stepgate").is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// A `Set-Cookie` value; `max_age_s` of 0 deletes it, `None` is a session cookie.
    pub fn set(self, transport: Transport, value: &str, max_age_s: Option<u64>) -> String {
        let mut out = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax", self.name(transport));
        if transport == Transport::Tls {
            out.push_str("; Secure");
        }
        if let Some(max_age) = max_age_s {
            out.push_str(&format!("; Max-Age={max_age}"));
        }
        out
    }

    /// Reads it from `Cookie` header values. `None` if it is absent, or there
    /// twice with different values: which one is meant is not ours to guess.
    pub fn read<'h>(self, transport: Transport, headers: impl Iterator<Item = &'h str>) -> Option<&'h str> {
        let name = self.name(transport);
        let mut found = None;
        for pair in headers.flat_map(cookie_pairs) {
            let Some(value) = pair.value.filter(|_| trimmed(pair.name) == name) else { continue };
            match found {
                None => found = Some(trimmed(value)),
                Some(first) if first == trimmed(value) => {}
                Some(_) => return None,
            }
        }
        found
    }
}

/// One pair of a `Cookie` header, as it stands there, with the blanks around it.
#[derive(Clone, Copy, Debug)]
pub struct CookiePair<'h> {
    /// All of it.
    pub whole: &'h str,
    /// What stands before the first `=`.
    pub name: &'h str,
    /// What stands behind it, if there is one.
    pub value: Option<&'h str>,
}

/// The pairs of a `Cookie` header (RFC 6265, section 5.4), which servers split at each
/// `;`, also inside of quotes.
pub fn cookie_pairs(header: &str) -> impl Iterator<Item = CookiePair<'_>> {
    let mut left = Some(header);
    std::iter::from_fn(move || {
        let rest = left?;
        let (whole, behind) = cut(rest, b';');
        left = behind;
        let (name, value) = cut(whole, b'=');
        Some(CookiePair { whole, name, value })
    })
}

/// `str::split_once`, and what there is where there is nothing to split at; read for
/// every request, so by the widest steps of the machine.
fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    match memchr::memchr(at, text.as_bytes()) {
        Some(found) => (text.get(..found).unwrap_or(text), text.get(found.saturating_add(1)..)),
        None => (text, None),
    }
}

/// `str::trim`, for what seldom has anything to trim.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [] => text,
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// `str::strip_prefix` without regard to ASCII case.
fn without_start<'n>(name: &'n str, start: &str) -> Option<&'n str> {
    let (found, rest) = name.split_at_checked(start.len())?;
    found.eq_ignore_ascii_case(start).then_some(rest)
}

/// Paths on a service's host (and for the gate's own service, on its origin).
pub mod host_path {
    /// Everything below is ours and never reaches an upstream.
    pub const PREFIX: &str = "/.stepgate";
    /// Redeems a hand-off code: `?code=…&to=/path`.
    pub const HAND_OFF: &str = "/.stepgate/hand-off";
    /// Redeems a hand-back code: `/{challenge}?code=…`.
    pub const RESUME: &str = "/.stepgate/resume";
    /// Leads to the gate's sign-out page.
    pub const SIGN_OUT: &str = "/.stepgate/sign-out";
    /// Who is signed in here, as JSON.
    pub const WHO_AM_I: &str = "/.stepgate/whoami";
    /// The script that goes on for `fetch` and XHR.
    pub const SCRIPT: &str = "/.stepgate/stepgate.js";
}

/// Paths on the gate's own origin.
pub mod gate_path {
    /// `?next=/…` or `?continue={challenge}`.
    pub const SIGN_IN: &str = "/sign-in";
    /// Asks, then ends the session.
    pub const SIGN_OUT: &str = "/sign-out";
    /// `?service=…&to=/path&browser={hex digest}`: to a service's host, signed in.
    pub const HAND_OFF: &str = "/hand-off";
    /// `/{id}` and `/{id}/answers`.
    pub const CHALLENGES: &str = "/challenges";
    /// `/{token}`: one-time enrolment links.
    pub const ENROL: &str = "/enrol";
    /// `/{challenge}`: a request that waited for a sign-in goes on. Decided, like the hand-off.
    pub const GO_ON: &str = "/go-on";
    /// Where a device approves what another browser asks.
    pub const APPROVER: &str = "/approver";
    /// Style and scripts.
    pub const ASSETS: &str = "/assets";
    /// One's own account: decided like any other service.
    pub const ACCOUNT: &str = "/account";
    /// The evidence: decided, and for those whom the operator's policy names.
    pub const EVIDENCE: &str = "/evidence";
    /// The keys of `Stepgate-Assertion`.
    pub const JWKS: &str = "/.well-known/jwks.json";
    /// The prefixes that the pages serve without a decision: they are the way to prove something.
    pub const UNDECIDED: [&str; 6] = [SIGN_IN, SIGN_OUT, CHALLENGES, ENROL, APPROVER, ASSETS];
}

/// The form field with which the resume page posts its code.
pub const RESUME_FIELD: &str = "stepgate-resume";

/// What the door tells the pages about whoever asks. In the request's extensions.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address, as far as trusted hops tell.
    pub address: IpAddr,
    /// The request's id: in `Stepgate-Request-Id` and in the ledger.
    pub request_id: String,
    /// What a trusted hop says of the device.
    pub posture: Posture,
}

/// In the extensions of a request to a decided local service: it was permitted for this session.
#[derive(Clone, Debug)]
pub struct Permit {
    /// The session.
    pub session: Arc<SessionView>,
    /// The token that came with the request.
    pub token: TokenDigest,
    /// The challenge that was passed for it, if any.
    pub challenge: Option<ChallengeId>,
}

impl Permit {
    /// What stands in entries as the authority of a change.
    pub fn authority(&self) -> String {
        match self.challenge {
            Some(challenge) => format!("challenge:{challenge}"),
            None => format!("session:{}", self.session.id),
        }
    }
}

/// Who reads the answer: decided once, for the door and for the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// A person, in a browser that navigates: pages and redirects.
    Person,
    /// A page's script: JSON.
    Script,
    /// A program: JSON.
    Program,
}

impl Reader {
    /// Fetch metadata (W3C) where a browser sends it; older browsers and people
    /// with command lines are told by what they accept.
    pub fn of(headers: &http::HeaderMap) -> Self {
        const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
        const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        match text(&SEC_FETCH_MODE) {
            Some("navigate") => return Self::Person,
            Some(_) => return Self::Script,
            None => {}
        }
        let accepts_pages = text(&ACCEPT).is_some_and(|accept| accept.contains("text/html"));
        let scripted = headers.contains_key(&X_REQUESTED_WITH);
        match (accepts_pages, scripted) {
            (true, false) => Self::Person,
            (_, true) => Self::Script,
            (false, false) => Self::Program,
        }
    }

    /// As it stands in the statement that the person confirms.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Person | Self::Script => "browser",
            Self::Program => "program",
        }
    }
}

/// The body of a local service's answer.
pub type LocalBody = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A service inside this process: the pages.
#[async_trait]
pub trait LocalService: Send + Sync + std::fmt::Debug {
    /// Answers. [`Client`] is in the extensions; for decided requests, [`Permit`] too.
    async fn call(&self, request: http::Request<bytes::Bytes>) -> http::Response<LocalBody>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cookies_are_ours_in_every_spelling() {
        for ours in ["stepgate", "__Host-stepgate", "__host-STEPGATE-browser", "stepgate-resume", "__Secure-stepgate"] {
            assert!(OurCookie::is_ours(ours), "{ours}");
        }
        for theirs in ["sid", "stepgateway", "x-stepgate"] {
            assert!(!OurCookie::is_ours(theirs), "{theirs}");
        }
    }

    #[test]
    fn b58_a_cookie_that_is_there_twice_is_read_once_or_not_at_all() {
        let read = |header: &'static str| OurCookie::Session.read(Transport::Plain, std::iter::once(header));
        assert_eq!(read("a=b; stepgate=x"), Some("x"));
        assert_eq!(read("stepgate=x; stepgate=x"), Some("x"));
        assert_eq!(read("stepgate=x; stepgate=y"), None);
        assert_eq!(read("Stepgate=x"), None);
    }

    #[test]
    fn cookies_are_split_as_str_splits_them() {
        let letters = ["stepgate", "=", ";", " ", "\u{a0}", "__Host-", "é", "\t", "x", "\"", "STEPGATE-a", "=="];
        let mut header = String::new();
        let mut state = 1_usize;
        for round in 0..3000 {
            if round % 12 == 0 {
                header.clear();
            }
            // A small linear congruence: every sequence of letters comes by and by.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            header.push_str(letters[(state >> 33) % letters.len()]);
            let plainly: Vec<_> = header
                .split(';')
                .map(|pair| match pair.split_once('=') {
                    Some((name, value)) => (pair, name, Some(value)),
                    None => (pair, pair, None),
                })
                .collect();
            let pairs: Vec<_> = cookie_pairs(&header).map(|pair| (pair.whole, pair.name, pair.value)).collect();
            assert_eq!(pairs, plainly, "{header:?}");
            for (_, name, _) in plainly {
                let folded = name.trim().to_ascii_lowercase();
                let bare = folded.strip_prefix("__host-").or_else(|| folded.strip_prefix("__secure-"));
                let bare = bare.unwrap_or(&folded);
                let ours = bare == "stepgate" || bare.starts_with("stepgate-");
                assert_eq!(OurCookie::is_ours(name), ours, "{name:?}");
                assert_eq!(trimmed(name), name.trim(), "{name:?}");
            }
        }
    }
}
