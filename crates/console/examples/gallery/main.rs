//! Every page with sample data, to look at: `cargo run -p stepgate-console --example gallery -- 8099`,
//! then open <http://127.0.0.1:8099/>.
//!
//! Nothing here decides or keeps anything; forms lead nowhere.

use std::error::Error;

use axum::Router;
use axum::extract::Path;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use stepgate_console::{assets, page};

#[allow(dead_code, reason = "the tests of all pages use what the gallery does not")]
mod samples;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8099".to_owned());
    let router =
        Router::new().route("/", get(index)).route("/pages/{name}", get(show)).route("/assets/{name}", get(asset));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

async fn index() -> Html<String> {
    let links: String =
        samples::NAMES.iter().map(|name| format!("<li><a href=\"/pages/{name}\">{name}</a></li>")).collect();
    Html(format!("<!doctype html><title>Gallery</title><ul>{links}</ul>"))
}

async fn show(Path(name): Path<String>) -> Response {
    let policy = page::ContentPolicy::for_services(["https://ledger.example.com"]);
    samples::render(&name, &policy).unwrap_or_else(|| (StatusCode::NOT_FOUND, "no such page\n").into_response())
}

async fn asset(Path(name): Path<String>) -> Response {
    match assets::find(&name) {
        Some(asset) => {
            ([(CONTENT_TYPE, asset.content_type), (CACHE_CONTROL, assets::CACHE_CONTROL)], asset.bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
