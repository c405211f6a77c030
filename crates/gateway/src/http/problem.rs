//! Answers for programs: RFC 9457 problems, RFC 9470 challenges, RFC 7240 waits.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use stepgate_core::access::Scheme;
use stepgate_core::catalogue::Service;
use stepgate_core::challenge::Challenge;
use stepgate_core::session::acr;
use stepgate_core::web::gate_path;

use super::answers::quoted;
use super::tokens;
use crate::body::Body;
use crate::canonical::{CanonicalRequest, preferences};

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(super) const WAIT: &str = "wait";

/// How long a program wants to wait, at most `most`. `None` if it does not.
pub(super) fn wait(request: &CanonicalRequest, most: Duration) -> Option<Duration> {
    let seconds = preferences(request.headers()).find_map(|preference| {
        // Parameters of a preference say more about it, and are none themselves.
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case(WAIT).then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    })?;
    Some(Duration::from_secs(seconds).min(most)).filter(|wait| !wait.is_zero())
}

/// Says that it was waited.
pub(super) fn applied(response: &mut Response<Body>, wait: Duration) {
    if let Ok(value) = HeaderValue::try_from(format!("wait={}", wait.as_secs())) {
        response.headers_mut().insert(PREFERENCE_APPLIED, value);
    }
}

/// A problem as JSON; `more` are its extension members.
pub(super) fn problem(status: StatusCode, code: &str, title: &str, detail: &str, more: Value) -> Response<Body> {
    let mut members = json!({
        "type": format!("urn:stepgate:problem:{}", code.replace('_', "-")),
        "title": title,
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    });
    if let (Value::Object(members), Value::Object(more)) = (&mut members, more) {
        members.extend(more);
    }
    let mut response = Response::new(Body::whole(members.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// RFC 9470, section 3: more is needed, and how to prove it. `scheme` is that of the token
/// that asked, if one did.
pub(super) fn challenge(
    challenge: &Challenge,
    gate_origin: &str,
    service: &Service,
    scheme: Option<Scheme>,
) -> Response<Body> {
    let policies = &challenge.statement.policies;
    let reasons: Vec<&str> =
        policies.iter().map(|policy| policy.reason.as_str()).filter(|reason| !reason.is_empty()).collect();
    let detail = reasons.join(" ");
    let mut ways: Vec<Vec<&str>> =
        challenge.ask.ways.iter().map(|way| way.iter().map(|kind| kind.name()).collect()).collect();
    // Several sorts of passkeys are one to a program: which of them do, the page knows.
    ways.dedup();
    let not_enrolled: Vec<&str> = challenge.ask.not_enrolled.iter().map(|kind| kind.name()).collect();
    let refusing: Vec<Value> =
        policies.iter().map(|policy| json!({"id": policy.id, "reason": policy.reason})).collect();
    let more = json!({
        "challenge": {
            "id": challenge.id.to_string(),
            "url": format!("{gate_origin}{}/{}", gate_path::CHALLENGES, challenge.id),
            "number": challenge.number,
            "expires_at": challenge.expires_at.to_string(),
            "grants": challenge.ask.grant.name(),
            "max_age_s": challenge.max_age().map(|age| age.as_secs()),
            "factors": ways,
            "not_enrolled": not_enrolled,
            "policies": refusing,
        },
    });
    let title = "More proof is needed for this request";
    let mut response = problem(StatusCode::UNAUTHORIZED, "challenge", title, &detail, more);
    if let Some(scheme) = scheme {
        // No class that an issuer knows would do: the person confirms here.
        let said = if detail.is_empty() { title } else { &detail };
        tokens::Challenge::new(scheme, service).error("insufficient_user_authentication", said).put(&mut response);
    } else if let Ok(value) = HeaderValue::try_from(step_up(challenge, &detail)) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

fn step_up(challenge: &Challenge, detail: &str) -> String {
    let mut classes: Vec<&str> = challenge.ask.ways.iter().map(|way| acr(way)).collect();
    classes.dedup();
    let description = match detail {
        "" => "More proof is needed for this request",
        detail => detail,
    };
    let mut value =
        format!(r#"Bearer error="insufficient_user_authentication", error_description="{}""#, quoted(description));
    if !classes.is_empty() {
        value.push_str(&format!(r#", acr_values="{}""#, classes.join(" ")));
    }
    if let Some(max_age) = challenge.max_age() {
        value.push_str(&format!(r#", max_age="{}""#, max_age.as_secs()));
    }
    value
}
