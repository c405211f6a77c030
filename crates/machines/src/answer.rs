//! Answers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use stepgate_core::web::LocalBody;

/// An answer with this body.
pub(crate) fn with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<LocalBody> {
    let mut response = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Who reads it was asked for; nobody else is to find it in a cache.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, content_type: &'static str, body: &Value) -> Response<LocalBody> {
    with(status, content_type, body.to_string())
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<LocalBody> {
    let mut response = with(status, "text/plain", Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}
