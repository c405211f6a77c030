//! What programs send and get: JSON, with problems as RFC 9457 says.

use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stepgate_core::challenge::{Challenge, ChallengeState, SendOutcome};
use stepgate_core::factor::{CodeTo, Prompt};
use stepgate_core::flows::{ChallengeView, Standing};
use stepgate_evidence::Assertion;

/// A JSON answer that nobody keeps.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    answer(status, "application/json", body)
}

/// A problem (RFC 9457). `code` is a stable name in snake case; the type is made of it.
pub(crate) fn problem(status: StatusCode, code: &str, title: &str, detail: &str) -> Response {
    problem_with(status, code, title, detail, serde_json::Map::new())
}

/// A problem with members of its own.
pub(crate) fn problem_with(
    status: StatusCode,
    code: &str,
    title: &str,
    detail: &str,
    more: serde_json::Map<String, serde_json::Value>,
) -> Response {
    let mut body = serde_json::Map::new();
    body.insert("type".to_owned(), format!("urn:stepgate:problem:{}", code.replace('_', "-")).into());
    body.insert("title".to_owned(), title.into());
    body.insert("status".to_owned(), status.as_u16().into());
    body.insert("code".to_owned(), code.into());
    body.insert("detail".to_owned(), detail.into());
    body.extend(more);
    answer(status, "application/problem+json", &body)
}

fn answer(status: StatusCode, content_type: &'static str, body: &impl Serialize) -> Response {
    let Ok(bytes) = serde_json::to_vec(body) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A challenge that may be answered, for a program.
pub(crate) fn challenge(view: &ChallengeView) -> serde_json::Value {
    let statement = &view.challenge.statement;
    let factors: Vec<_> = view
        .prompts
        .iter()
        .map(|(kind, prompt)| match prompt {
            Prompt::Text => json!({ "factor": kind.name() }),
            Prompt::SentCode { to } => {
                let address = |to: &CodeTo| json!({ "address": to.factor.to_string(), "to": to.masked });
                json!({ "factor": kind.name(), "addresses": to.iter().map(address).collect::<Vec<_>>() })
            }
            Prompt::Devices { names } => json!({ "factor": kind.name(), "devices": names }),
            Prompt::Passkey { options } => json!({ "factor": kind.name(), "options": options }),
        })
        .collect();
    let asks_number = view.standing == Standing::OtherSession;
    let mut body = over(&view.challenge);
    if let Some(body) = body.as_object_mut() {
        body.insert("statement".to_owned(), json!(statement));
        body.insert("factors".to_owned(), json!(factors));
        body.insert("tries_left".to_owned(), json!(view.tries_left));
        body.insert("asks_number".to_owned(), json!(asks_number));
        if !asks_number {
            body.insert("number".to_owned(), json!(view.challenge.number));
        }
    }
    body
}

/// A challenge in whatever state, for a program.
pub(crate) fn over(challenge: &Challenge) -> serde_json::Value {
    let mut body = json!({
        "id": challenge.id.to_string(),
        "state": challenge.state.name(),
        "title": challenge.statement.title,
        "service": challenge.asked.service,
        "grants": challenge.ask.grant.name(),
        "max_age_s": challenge.max_age().map(|age| age.as_secs()),
        "expires_at": challenge.expires_at.to_string(),
    });
    if let (ChallengeState::Spent { outcome, .. }, Some(body)) = (&challenge.state, body.as_object_mut()) {
        let outcome = match outcome {
            SendOutcome::Sending => json!({ "result": "sending" }),
            SendOutcome::Answered { status } => json!({ "result": "answered", "status": status }),
            SendOutcome::NotSent => json!({ "result": "not_sent" }),
            SendOutcome::Unknown => json!({ "result": "unknown" }),
        };
        body.insert("outcome".to_owned(), outcome);
    }
    body
}

/// What `PublicKeyCredential.toJSON()` gives for an assertion
/// (`AuthenticationResponseJSON`, WebAuthn Level 3, section 5.1). Members that
/// are not judged are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticationResponse {
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: AssertionResponse,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssertionResponse {
    authenticator_data: String,
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    signature: String,
    #[serde(default)]
    user_handle: Option<String>,
}

/// Reads an assertion as browsers write it. `None` if it is not one.
pub(crate) fn assertion(json: &str) -> Option<Assertion> {
    let read: AuthenticationResponse = serde_json::from_str(json).ok()?;
    (read.kind == "public-key").then_some(())?;
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let user_handle = match read.response.user_handle.as_deref() {
        None | Some("") => None,
        Some(text) => Some(bytes(text)?),
    };
    Some(Assertion {
        credential_id: bytes(&read.raw_id)?,
        authenticator_data: bytes(&read.response.authenticator_data)?,
        client_data_json: bytes(&read.response.client_data_json)?,
        signature: bytes(&read.response.signature)?,
        user_handle,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN_BY_CHROMIUM: &str = r#"{"authenticatorAttachment":"platform","clientExtensionResults":{},
        "id":"QvLj","rawId":"QvLj","type":"public-key","response":{"authenticatorData":"SZYN",
        "clientDataJSON":"eyJ0","signature":"MEUC","userHandle":"YWxpY2U"}}"#;

    #[test]
    fn what_browsers_write_is_read() {
        let read = assertion(WRITTEN_BY_CHROMIUM).unwrap();
        assert_eq!(read.user_handle.as_deref(), Some(&b"alice"[..]));
        assert_eq!(read.credential_id, [0x42, 0xf2, 0xe3]);
    }

    #[test]
    fn what_is_no_assertion_is_not_read() {
        for bad in ["", "{}", "null", r#"{"type":"public-key"}"#] {
            assert!(assertion(bad).is_none(), "{bad}");
        }
        assert!(assertion(&WRITTEN_BY_CHROMIUM.replace("public-key", "password")).is_none());
        assert!(assertion(&WRITTEN_BY_CHROMIUM.replace("MEUC", "ME=C")).is_none());
        assert!(assertion(&WRITTEN_BY_CHROMIUM.replace("YWxpY2U", "YWxpY2U=")).is_none());
    }
}
