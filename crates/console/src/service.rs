//! The pages as services inside this process.

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::header::SERVER;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use stepgate_core::flows::Flows;
use stepgate_core::web::{Client, LocalBody, LocalService, Transport};
use tower::ServiceExt as _;

use crate::console::Console;

/// Names an answer of our own; also stands in the ledger.
const REQUEST_ID: HeaderName = HeaderName::from_static("stepgate-request-id");

/// What is served without a decision: sign-in, challenges, enrolment by link, assets.
#[derive(Clone, Debug)]
pub struct Pages(Router);

/// One's own account, and the evidence. Each request was decided before it comes here, and carries
/// a [`stepgate_core::web::Permit`]; one without is refused.
#[derive(Clone, Debug)]
pub struct Account(Router);

impl Pages {
    /// The pages of the gate whose flows these are. `site` is the name that people
    /// know this gate by.
    #[must_use]
    pub fn new(flows: Arc<Flows>, transport: Transport, site: &str) -> Self {
        Self(Console::new(flows, transport, site).pages())
    }
}

impl Account {
    /// The account pages of the gate whose flows these are.
    #[must_use]
    pub fn new(flows: Arc<Flows>, transport: Transport, site: &str) -> Self {
        Self(Console::new(flows, transport, site).account())
    }
}

#[async_trait]
impl LocalService for Pages {
    async fn call(&self, request: Request<Bytes>) -> Response<LocalBody> {
        call(self.0.clone(), request).await
    }
}

#[async_trait]
impl LocalService for Account {
    async fn call(&self, request: Request<Bytes>) -> Response<LocalBody> {
        call(self.0.clone(), request).await
    }
}

async fn call(router: Router, request: Request<Bytes>) -> Response<LocalBody> {
    let id = request.extensions().get::<Client>().map(|client| client.request_id.clone());
    let answered: Result<Response<Body>, Infallible> = router.oneshot(request.map(Body::from)).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let headers = response.headers_mut();
    headers.remove(SERVER);
    if let Some(Ok(id)) = id.map(|id| HeaderValue::from_str(&id)) {
        headers.insert(REQUEST_ID, id);
    }
    response.map(|body| body.map_err(|error| error.into()).boxed_unsync())
}
