//! One file for each place of the gate's own origin.

pub(crate) mod account;
pub(crate) mod approver;
pub(crate) mod approver_enrol;
pub(crate) mod ask_devices;
pub(crate) mod challenge;
pub(crate) mod enrolment;
pub(crate) mod evidence;
pub(crate) mod hand_off;
pub(crate) mod link;
pub(crate) mod logins;
pub(crate) mod sign_in;

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

use crate::assets;
use crate::outcomes::Outcome;
use crate::visit::Visit;

/// `GET /assets/{name}`.
pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = assets::find(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (CONTENT_TYPE, asset.content_type),
        (CACHE_CONTROL, assets::CACHE_CONTROL),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.bytes).into_response()
}

/// Everything else.
pub(crate) async fn not_found(visit: Visit) -> Response {
    visit.finish(Err(Outcome::NotFound.into()))
}
