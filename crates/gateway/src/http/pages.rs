//! The door's own pages, for people.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::REQUEST_ID;
use crate::body::Body;

/// Everything that the pages look like. In the page itself, so that a page about
/// an unknown host needs no other request.
const STYLE: &str = include_str!("../../templates/style.css");
/// The same mark as on the gate's own pages.
const MARK: &str = include_str!("../../../console/assets/mark.svg");
/// Posts the resume form by itself. Without scripts there is a button. Where the answer
/// is a download the page stays, and what it offers by then is the way back.
const RESUME_SCRIPT: &str = "const form = document.getElementById('go-on'); form.requestSubmit(); form.hidden = true;";

/// Allows exactly this style and this script. There is no `form-action`: browsers
/// apply it to redirects too, and the application may redirect anywhere.
static PAGE_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(RESUME_SCRIPT),
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// What a person is told instead of an answer from the application.
///
/// It travels in a response without a body until [`finish`] writes it, because
/// the id that it shows is known at the door alone.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) code: String,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) reasons: Vec<String>,
    /// Where to go from here, the likeliest first.
    pub(super) ways: Vec<Way>,
}

/// A link and what it says.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) label: String,
    pub(super) url: String,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    page: &'a Page,
    /// The status and the reference, where somebody may have to be told of it.
    trouble: Option<(u16, &'a str)>,
    style: &'static str,
    mark: &'static str,
}

#[derive(Template)]
#[template(path = "resume.html")]
struct ResumePage<'a> {
    title: &'a str,
    action: &'a str,
    field: &'static str,
    token: &'a str,
    back: &'a Way,
    style: &'static str,
    mark: &'static str,
    script: &'static str,
}

/// A response that will be this page.
pub(super) fn respond(status: StatusCode, page: Page) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.extensions_mut().insert(page);
    response
}

/// Writes the page that a response is to be, if it is to be one. The response bears
/// its request's id by now, and the page shows it for people to quote.
pub(super) fn finish(response: &mut Response<Body>) {
    let Some(page) = response.extensions_mut().remove::<Page>() else { return };
    let status = response.status();
    let reference = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let trouble = (!status.is_success()).then_some((status.as_u16(), reference.as_str()));
    write(response, &MessagePage { page: &page, trouble, style: STYLE, mark: MARK });
}

/// Goes on with a confirmed request: the browser posts `token` to `action`. `back` is
/// for whoever is still here then, because the answer was saved and not shown.
pub(super) fn resume(title: &str, action: &str, field: &'static str, token: &str, back: &Way) -> Response<Body> {
    let page = ResumePage { title, action, field, token, back, style: STYLE, mark: MARK, script: RESUME_SCRIPT };
    let mut response = Response::new(Body::empty());
    write(&mut response, &page);
    response
}

fn write(response: &mut Response<Body>, page: &impl Template) {
    let text = page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a page could not be rendered");
        String::new()
    });
    *response.body_mut() = Body::whole(text);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, PAGE_POLICY.clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
}
