//! The example application of the demo: a small ledger of payments that knows
//! nothing of step-up. It reads who acts from `Stepgate-Principal` and shows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// One payment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Payment {
    /// Its number.
    pub id: u32,
    /// Who is paid.
    pub to: &'static str,
    /// Whole units.
    pub amount: i64,
    /// Who approved it, if anybody did.
    pub approved_by: Option<String>,
}

type Ledger = Arc<Mutex<BTreeMap<u32, Payment>>>;

/// Starts the application on a free loopback port; it ends with `stop`.
pub(super) async fn start(stop: CancellationToken) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let app = router();
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the example application stopped");
        }
    });
    Ok(address)
}

fn router() -> Router {
    let payment = |id, to, amount| (id, Payment { id, to, amount, approved_by: None });
    let ledger = BTreeMap::from([
        payment(41, "Northwind Stationery", 900),
        payment(42, "Meridian Turbines", 12_000),
        payment(43, "Harbour Cleaning", 350),
        payment(44, "Atlas Freight", 48_500),
    ]);
    Router::new()
        .route("/", get(|| async { Redirect::to("/payments") }))
        .route("/payments", get(list))
        .route("/payments/{id}/approve", post(approve))
        .route("/payments.csv", get(export))
        .route("/api/payments", get(list_json))
        .route("/api/payments/{id}/approve", post(approve_json))
        .route("/style.css", get(|| async { ([(header::CONTENT_TYPE, "text/css")], STYLE) }))
        .with_state(Arc::new(Mutex::new(ledger)))
}

#[derive(Deserialize)]
struct Approval {
    amount: i64,
}

async fn list(State(ledger): State<Ledger>, headers: HeaderMap) -> Html<String> {
    let rows: String = ledger.lock().values().map(row).collect();
    Html(page(
        &headers,
        &format!(
            "<table><thead><tr><th>No.<th>To<th class=n>Amount<th>Status</tr></thead>{rows}</table><p><a href=\"/payments.csv\">Export all payments</a></p>"
        ),
    ))
}

fn row(payment: &Payment) -> String {
    let Payment { id, to, amount, approved_by } = payment;
    let status = match approved_by {
        Some(_) => "<span class=ok>Approved</span>".to_owned(),
        None => format!(
            "<form method=post action=\"/payments/{id}/approve\"><input type=hidden name=amount value=\"{amount}\"><button>Approve</button></form>"
        ),
    };
    format!("<tr><td>{id}<td>{to}<td class=n>{}<td>{status}</tr>", grouped(*amount))
}

fn grouped(amount: i64) -> String {
    let digits = amount.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len().saturating_sub(index)) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

async fn approve(
    State(ledger): State<Ledger>,
    Path(id): Path<u32>,
    headers: HeaderMap,
    Form(approval): Form<Approval>,
) -> Response {
    match approve_one(&ledger, id, approval.amount, &headers) {
        Ok(payment) => {
            let said = format!(
                "<p class=done>Payment {} of {} to {} is approved.</p><p><a href=\"/payments\">Back to the ledger</a></p>",
                payment.id,
                grouped(payment.amount),
                payment.to
            );
            Html(page(&headers, &said)).into_response()
        }
        Err(status) => (status, Html(page(&headers, "<p>This payment cannot be approved.</p>"))).into_response(),
    }
}

async fn approve_json(
    State(ledger): State<Ledger>,
    Path(id): Path<u32>,
    headers: HeaderMap,
    Json(approval): Json<Approval>,
) -> Response {
    match approve_one(&ledger, id, approval.amount, &headers) {
        Ok(payment) => Json(payment).into_response(),
        Err(status) => status.into_response(),
    }
}

/// The amount that was decided on must be the amount in the books.
fn approve_one(ledger: &Ledger, id: u32, amount: i64, headers: &HeaderMap) -> Result<Payment, StatusCode> {
    let mut ledger = ledger.lock();
    let payment = ledger.get_mut(&id).ok_or(StatusCode::NOT_FOUND)?;
    if payment.amount != amount {
        return Err(StatusCode::CONFLICT);
    }
    payment.approved_by = Some(header_text(headers, "stepgate-principal"));
    Ok(payment.clone())
}

async fn list_json(State(ledger): State<Ledger>) -> Json<Vec<Payment>> {
    Json(ledger.lock().values().cloned().collect())
}

async fn export(State(ledger): State<Ledger>) -> Response {
    let mut csv = "id,to,amount,approved\n".to_owned();
    for payment in ledger.lock().values() {
        let Payment { id, to, amount, approved_by } = payment;
        csv.push_str(&format!("{id},{to},{amount},{}\n", approved_by.is_some()));
    }
    let headers =
        [(header::CONTENT_TYPE, "text/csv"), (header::CONTENT_DISPOSITION, "attachment; filename=\"payments.csv\"")];
    (headers, csv).into_response()
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(headers: &HeaderMap, content: &str) -> String {
    let who = escaped(&header_text(headers, "stepgate-email"));
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Ledger</title><link rel=stylesheet href=\"/style.css\"><header><strong>Ledger</strong><span>{who} · \
         <a href=\"/.stepgate/sign-out\">Sign out</a></span></header><main><h1>Payments</h1>{content}</main></html>"
    )
}

const STYLE: &str = ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{margin:0}\
header{display:flex;justify-content:space-between;gap:1rem;padding:1rem 1.5rem;border-bottom:1px solid #8884}\
main{max-width:46rem;margin:2rem auto;padding:0 1.5rem}table{width:100%;border-collapse:collapse}\
td,th{text-align:left;padding:.6rem .4rem;border-bottom:1px solid #8884}.n{text-align:right;font-variant-numeric:tabular-nums}\
form{margin:0}button{font:inherit;padding:.35rem .9rem;border-radius:.4rem;border:1px solid #8888;cursor:pointer}\
.ok,.done{color:light-dark(#136c3a,#7fd6a2)}.done{font-size:1.25rem}";

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn amounts_are_grouped() {
        assert_eq!(grouped(900), "900");
        assert_eq!(grouped(12_000), "12,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
