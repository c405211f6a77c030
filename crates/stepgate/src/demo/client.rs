//! A browser without a screen, for the tour: cookies, navigation, forms.

use std::net::SocketAddr;

use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, Response, redirect};
use serde_json::Value;
use url::Url;

use crate::commands::{Failure, because, failed};

/// Redirects that are followed for one navigation.
const REDIRECTS_MAX: usize = 12;

/// A browser without a screen.
pub(super) struct Browser {
    client: Client,
}

/// Where a navigation ended.
pub(super) struct Page {
    pub(super) url: Url,
    pub(super) status: u16,
    pub(super) body: String,
}

impl Page {
    /// The value of an attribute that looks like `name="…"`, after `mark`.
    pub(super) fn after(&self, mark: &str, name: &str) -> Option<String> {
        let from = self.body.find(mark)?;
        let rest = self.body.get(from..)?;
        let at = rest.find(&format!("{name}=\""))?.checked_add(name.len())?.checked_add(2)?;
        let value = rest.get(at..)?.split('"').next()?;
        Some(unescaped(value))
    }

    /// A hidden field's value.
    pub(super) fn field(&self, name: &str) -> Result<String, Failure> {
        self.after(&format!("name=\"{name}\""), "value")
            .ok_or_else(|| failed(format!("{} has no field {name}:\n{}", self.url, self.body)))
    }
}

fn unescaped(text: &str) -> String {
    let named = [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&lt;", "<"), ("&gt;", ">")];
    let named = named.iter().chain(&[("&#60;", "<"), ("&#62;", ">"), ("&#x2F;", "/"), ("&#38;", "&"), ("&amp;", "&")]);
    named.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

impl Browser {
    /// A new browser; `hosts` are reached at `address`, as `*.localhost` does not resolve everywhere.
    pub(super) fn new(address: SocketAddr, hosts: &[&str]) -> Result<Self, Failure> {
        let mut builder = Client::builder()
            .no_proxy()
            .cookie_store(true)
            .redirect(redirect::Policy::none())
            .user_agent("stepgate-tour");
        for host in hosts {
            builder = builder.resolve(host, address);
        }
        Ok(Self { client: builder.build().map_err(because)? })
    }

    /// Opens a URL as a person does, following redirects.
    pub(super) async fn open(&self, url: &str) -> Result<Page, Failure> {
        self.navigate(Method::GET, url, None).await
    }

    /// Sends a form as a page of the same origin does, following redirects.
    pub(super) async fn submit(&self, url: &str, form: &[(&str, &str)]) -> Result<Page, Failure> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.navigate(Method::POST, url, Some(body)).await
    }

    async fn navigate(&self, method: Method, url: &str, form: Option<String>) -> Result<Page, Failure> {
        let mut url = Url::parse(url).map_err(because)?;
        let mut response = self.send(method, &url, form).await?;
        for _ in 0..REDIRECTS_MAX {
            let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
                let status = response.status().as_u16();
                let body = response.text().await.map_err(because)?;
                return Ok(Page { url, status, body });
            };
            url = url.join(location).map_err(because)?;
            response = self.send(Method::GET, &url, None).await?;
        }
        Err(failed(format!("too many redirects, the last to {url}")))
    }

    async fn send(&self, method: Method, url: &Url, form: Option<String>) -> Result<Response, Failure> {
        let mut request = self
            .client
            .request(method, url.clone())
            .header(ACCEPT, "text/html,application/xhtml+xml")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-dest", "document");
        if let Some(form) = form {
            request = request
                .header("origin", url.origin().ascii_serialization())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form);
        }
        request.send().await.map_err(because)
    }

    /// Calls as a program does: JSON in, JSON out.
    pub(super) async fn call(&self, method: Method, url: &str, body: Option<&Value>) -> Result<(u16, Value), Failure> {
        let mut request = self.client.request(method, url).header(ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(because)?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(because)?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }
}
