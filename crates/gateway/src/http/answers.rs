//! The door's own answers: for people as pages, for programs as problems.

use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use stepgate_core::challenge::{Challenge, SendOutcome};
use stepgate_core::id::ChallengeId;
use stepgate_core::ports::StoreError;
use stepgate_core::secret::Token;
use stepgate_core::session::Audience;
use stepgate_core::web::{RESUME_FIELD, gate_path};
use stepgate_evidence::PolicyRef;

use super::asker::Reader;
use super::operation::NoOperation;
use super::pages::{self, Page, Way};
use super::problem::problem;
use super::resume::in_words;
use crate::body::{Body, ReadBodyError};
use crate::canonical::Ambiguous;
use crate::upstream::ForwardError;
use stepgate_core::catalogue::Site;

/// Something that is said instead of an answer from the application.
struct Message<'a> {
    status: StatusCode,
    code: &'a str,
    title: &'a str,
    text: &'a str,
    reasons: Vec<&'a str>,
    ways: Vec<Way>,
    more: Value,
}

impl<'a> Message<'a> {
    fn new(status: StatusCode, code: &'a str, title: &'a str, text: &'a str) -> Self {
        Self { status, code, title, text, reasons: Vec::new(), ways: Vec::new(), more: Value::Null }
    }

    /// Where to go from here; what is said first is the likeliest.
    fn way(mut self, label: &str, url: &str) -> Self {
        self.ways.push(Way { label: label.to_owned(), url: url.to_owned() });
        self
    }

    fn ways(mut self, ways: impl IntoIterator<Item = Way>) -> Self {
        self.ways.extend(ways);
        self
    }

    fn to(self, reader: Reader) -> Response<Body> {
        match reader {
            Reader::Person => {
                // Every page is at the host that the person went to, so "/" is there too.
                let message = if self.ways.is_empty() { self.way("Back to the start", "/") } else { self };
                let page = Page {
                    code: message.code.to_owned(),
                    title: message.title.to_owned(),
                    text: message.text.to_owned(),
                    reasons: message.reasons.into_iter().map(str::to_owned).collect(),
                    ways: message.ways,
                };
                pages::respond(message.status, page)
            }
            Reader::Script | Reader::Program => {
                let detail = std::iter::once(self.text).chain(self.reasons).collect::<Vec<_>>().join(" ");
                problem(self.status, self.code, self.title, &detail, self.more)
            }
        }
    }
}

// --- answers that are no pages ------------------------------------------------

pub(super) fn see_other(url: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let Ok(url) = HeaderValue::try_from(url) else {
        return fault(Reader::Person);
    };
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, url);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub(super) fn to_challenge(gate_origin: &str, id: ChallengeId) -> Response<Body> {
    see_other(&format!("{gate_origin}{}/{id}", gate_path::CHALLENGES))
}

pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::whole(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(super) fn set_cookie(response: &mut Response<Body>, cookie: Option<String>) {
    let Some(cookie) = cookie else { return };
    match HeaderValue::try_from(cookie) {
        Ok(value) => {
            response.headers_mut().append(SET_COOKIE, value);
        }
        Err(error) => tracing::error!(%error, "a cookie could not be set"),
    }
}

/// Text inside a quoted string of a header (RFC 9110, section 5.6.4), ASCII only.
pub(super) fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' | '\\' => '\'',
            c if c.is_ascii() && !c.is_ascii_control() => c,
            _ => '?',
        })
        .collect()
}

// --- refusals before a decision -----------------------------------------------

pub(super) fn ambiguous(ambiguous: Ambiguous) -> Response<Body> {
    let (status, text) = (ambiguous.status(), ambiguous.to_string());
    let title = match status {
        StatusCode::BAD_REQUEST => "This request can be read in more than one way",
        // Only its size or its time is at fault.
        _ => "This request was not accepted",
    };
    problem(status, ambiguous.code(), title, &text, Value::Null)
}

/// Which host is ours is no secret: the gate's own is on every sign-in page.
pub(super) fn unknown_host(reader: Reader, gate_origin: &str) -> Response<Body> {
    let text = format!(
        "This gate does not answer for the host that the request names. Its own address is {gate_origin}; \
         the applications behind it have theirs."
    );
    let message = Message::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", "Unknown host", &text);
    Message { more: json!({ "gate": gate_origin }), ..message.way("Go to the gate", gate_origin) }.to(reader)
}

pub(super) fn nothing_here(reader: Reader) -> Response<Body> {
    Message::new(StatusCode::NOT_FOUND, "not_found", "Nothing here", "There is no such page on this gate.").to(reader)
}

pub(super) fn body(reader: Reader, error: &ReadBodyError) -> Response<Body> {
    let text = match error {
        ReadBodyError::TooLarge => "What was sent is too large to be checked here. Nothing was forwarded.",
        ReadBodyError::Encoded => {
            "What was sent is compressed, and this operation's inputs must be readable. Nothing was forwarded."
        }
        _ => "What was sent did not arrive completely or in order. Nothing was forwarded.",
    };
    Message::new(error.status(), error.code(), "The request was not accepted", text).to(reader)
}

pub(super) fn code_of(error: &NoOperation) -> &'static str {
    match error {
        NoOperation::Ambiguous(ambiguous) => ambiguous.code(),
        NoOperation::Body(error) => error.code(),
        NoOperation::Inputs(error) => error.code(),
    }
}

pub(super) fn no_operation(reader: Reader, error: &NoOperation) -> Response<Body> {
    let title = "The request was not accepted";
    match error {
        NoOperation::Ambiguous(cause) => ambiguous(*cause),
        NoOperation::Body(error) => body(reader, error),
        NoOperation::Inputs(error) => {
            let status = error.status();
            Message::new(status, error.code(), title, &error.to_string()).to(reader)
        }
    }
}

pub(super) fn cross_site(reader: Reader) -> Response<Body> {
    let text = "Another site's page sent this. It is not kept for confirmation; start from the application itself.";
    Message::new(StatusCode::FORBIDDEN, "cross_site", "This came from another site", text).to(reader)
}

// --- refusals by a decision -----------------------------------------------------

/// Where somebody goes who is not allowed something: away from it, or to see whom
/// the gate takes them for.
#[derive(Clone, Copy, Debug)]
pub(super) struct AwayFromDenied<'a> {
    /// Whether there is a start page of an application to go to, other than what was denied.
    pub(super) has_start: bool,
    /// The account page, if they are signed in.
    pub(super) account: Option<&'a str>,
}

pub(super) fn forbidden(reader: Reader, policies: &[PolicyRef], away: AwayFromDenied<'_>) -> Response<Body> {
    let reasons = policies.iter().map(|policy| policy.reason.as_str()).filter(|reason| !reason.is_empty()).collect();
    let refusing: Vec<Value> = policies.iter().map(|p| json!({"id": p.id, "reason": p.reason})).collect();
    let text = "The rules here do not allow this.";
    let mut message = Message::new(StatusCode::FORBIDDEN, "denied", "Not allowed", text);
    if away.has_start {
        message = message.way("Back to the application", "/");
    }
    if let Some(account) = away.account {
        message = message.way("Your account", account);
    }
    Message { reasons, more: json!({ "policies": refusing }), ..message }.to(reader)
}

pub(super) fn sign_in_first(reader: Reader, url: &str, realm: &str) -> Response<Body> {
    let text = "Sign in first, then send this again. Nothing was forwarded, and nothing was kept.";
    let message = Message::new(StatusCode::UNAUTHORIZED, "sign_in", "You are not signed in", text);
    let message = Message { more: json!({ "url": url }), ..message.way("Sign in", url) };
    let mut response = message.to(reader);
    if let Ok(value) = HeaderValue::try_from(format!(r#"Bearer realm="{}""#, quoted(realm))) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

pub(super) fn not_for_this(reader: Reader) -> Response<Body> {
    let text = "The confirmation is for another request, or was used already. Start again from the application.";
    Message::new(StatusCode::CONFLICT, "not_for_this", "Not for this request", text).to(reader)
}

pub(super) fn too_many(reader: Reader) -> Response<Body> {
    let text = "Too many confirmations are open. Answer or cancel some of them first.";
    Message::new(StatusCode::TOO_MANY_REQUESTS, "too_many_challenges", "Too many open confirmations", text).to(reader)
}

pub(super) fn bad_code(reader: Reader, back: Way) -> Response<Body> {
    let text = "This link was used already, is too old, or belongs to another browser.";
    Message::new(StatusCode::FORBIDDEN, "bad_code", "This link does not work any more", text).ways([back]).to(reader)
}

// --- troubles --------------------------------------------------------------------

pub(super) fn store(reader: Reader, error: &StoreError) -> Response<Body> {
    tracing::error!(error = error as &dyn std::error::Error, "the store failed a request");
    unavailable(reader)
}

pub(super) fn unavailable(reader: Reader) -> Response<Body> {
    let text = "This gate cannot decide right now, so nothing was forwarded. Try again shortly.";
    Message::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available right now", text).to(reader)
}

pub(super) fn busy(reader: Reader) -> Response<Body> {
    let text = "Too many connections of this kind are open.";
    Message::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Not available right now", text).to(reader)
}

pub(super) fn fault(reader: Reader) -> Response<Body> {
    let text = "Something went wrong in this gate.";
    Message::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "Something went wrong", text).to(reader)
}

/// Whether something was sent is said, most of all where it had been confirmed.
pub(super) fn upstream(reader: Reader, error: &ForwardError, confirmed: bool) -> Response<Body> {
    if let ForwardError::RequestBody(..) = error {
        let text = "What was sent did not arrive completely or in time. The application may have got a part of it.";
        return Message::new(error.status(), "body_broken", "The request was not accepted", text).to(reader);
    }
    let (code, text) = match (error.nothing_sent(), confirmed) {
        (true, true) => (
            "upstream_unreachable",
            "The application cannot be reached, and nothing was sent. The confirmation is used up; start again.",
        ),
        (true, false) => ("upstream_unreachable", "The application cannot be reached. Nothing was sent."),
        (false, true) => (
            "outcome_unknown",
            "The request was sent, but no answer came. Whether it took effect is not known. It is not sent again.",
        ),
        (false, false) => ("upstream_failed", "The application did not answer. The request may have reached it."),
    };
    Message::new(error.status(), code, "The application did not answer", text).to(reader)
}

/// The way to the start of where a request went, under its right name.
pub(super) fn back(site: &Site) -> Way {
    let label = match site.audience {
        Audience::Gate => "Back to the gate",
        Audience::Host(_) => "Back to the application",
    };
    // What was posted may have no page at its own URL.
    Way { label: label.to_owned(), url: format!("{}/", site.service.origin) }
}

// --- coming back from a challenge -------------------------------------------------

pub(super) fn resume_page(challenge: &Challenge, resume: &Token, service: &str, back: String) -> Response<Body> {
    let statement = &challenge.statement;
    let back = Way { label: format!("Back to {service}"), url: back };
    pages::resume(&statement.title, &statement.url, RESUME_FIELD, resume.expose(), &back)
}

pub(super) fn not_passed(reader: Reader, state: &str, back: Way) -> Response<Body> {
    let text = match state {
        "expired" => "The time for this confirmation is over. Nothing was sent.",
        "cancelled" => "This was cancelled. Nothing was sent.",
        "failed" => "This was not confirmed. Nothing was sent.",
        _ => "This has not been confirmed yet. Nothing was sent.",
    };
    Message::new(StatusCode::CONFLICT, "not_passed", "Not sent", text).ways([back]).to(reader)
}

pub(super) fn outcome(reader: Reader, outcome: SendOutcome, back: Way) -> Response<Body> {
    let text = in_words(outcome);
    let (status, code) = match outcome {
        SendOutcome::Answered { .. } => (StatusCode::OK, "answered"),
        SendOutcome::NotSent => (StatusCode::CONFLICT, "not_sent"),
        SendOutcome::Sending | SendOutcome::Unknown => (StatusCode::CONFLICT, "outcome_unknown"),
    };
    Message::new(status, code, "This was sent before", &text).ways([back]).to(reader)
}
