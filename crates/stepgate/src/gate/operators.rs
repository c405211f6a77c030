//! The operators' listener: is it alive, can it serve.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use stepgate_core::flows::Flows;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves `/healthz` (the process answers) and `/readyz` (the store answers too).
pub(super) async fn serve(listener: TcpListener, flows: Arc<Flows>, stop: CancellationToken) {
    let app = Router::new().route("/healthz", get(|| async { "ok\n" })).route(
        "/readyz",
        get(move || {
            let flows = Arc::clone(&flows);
            async move {
                match flows.store.ready().await {
                    Ok(()) => (StatusCode::OK, "ready\n"),
                    Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
                }
            }
        }),
    );
    let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(error = &error as &dyn std::error::Error, "the operators' listener stopped");
    }
}
