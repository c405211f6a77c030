//! Security events that are pushed here (RFC 8935).

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde_json::json;
use stepgate_core::flows::{NotTaken, Signals};
use stepgate_core::machine::Machine;
use stepgate_core::signals::{NotASet, SET_LEN_MAX};
use stepgate_core::web::LocalBody;

use crate::answer;
use crate::caller::NotHeard;

/// Where a transmitter pushes.
pub(crate) const PATH: &str = "/signals/events";
const CONTENT_LANGUAGE: HeaderName = HeaderName::from_static("content-language");

/// The answer to who is not heard (RFC 8935, section 2.4): the status of the protocol, with a code where
/// there is one.
pub(crate) fn not_heard(error: &NotHeard) -> Response<LocalBody> {
    let code = if error.status() == StatusCode::FORBIDDEN { "access_denied" } else { "authentication_failed" };
    let mut response = refused(error.status(), code, &error.to_string());
    error.challenge(&mut response);
    response
}

/// Takes one event. 202 is said only when it is durable.
pub(crate) async fn call(machine: &Machine, signals: &Signals, request: &Request<Bytes>) -> Response<LocalBody> {
    if request.method() != Method::POST {
        return answer::empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/secevent+jwt") {
        return refused(StatusCode::BAD_REQUEST, "invalid_request", "the content type is application/secevent+jwt");
    }
    let set = match std::str::from_utf8(request.body()) {
        Ok(set) if set.len() <= SET_LEN_MAX => set.trim(),
        _ => return refused(StatusCode::BAD_REQUEST, "invalid_request", "the body is no token, or too long"),
    };
    match signals.receive(&machine.transmitter, set).await {
        Ok(_) => answer::empty(StatusCode::ACCEPTED),
        Err(NotTaken::NotASet(NotASet::Away(_)) | NotTaken::Store(_)) => {
            // It was not judged, or is not durable: it is to be sent again.
            let mut response = answer::empty(StatusCode::SERVICE_UNAVAILABLE);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
            response
        }
        Err(NotTaken::TooMany(wait)) => {
            let mut response = answer::empty(StatusCode::TOO_MANY_REQUESTS);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().saturating_add(1)));
            response
        }
        Err(NotTaken::NotASet(why)) => refused(StatusCode::BAD_REQUEST, why.code(), &why.to_string()),
    }
}

fn refused(status: StatusCode, code: &str, description: &str) -> Response<LocalBody> {
    let body = json!({ "err": code, "description": description });
    let mut response = answer::json(status, "application/json", &body);
    response.headers_mut().insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
    response
}
