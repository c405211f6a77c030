//! A browser without a screen: cookies, navigation, forms.

use std::net::SocketAddr;

use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Method, Response, redirect};
use serde_json::Value;
use url::Url;

use crate::commands::{Failure, because, failed};

/// Redirects that are followed for one navigation.
const REDIRECTS_MAX: usize = 12;

/// A browser without a screen.
pub(crate) struct Browser {
    client: Client,
}

/// Where a navigation ended.
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Page {
    /// The value of an attribute that looks like `name="…"`, after `mark`.
    pub(crate) fn after(&self, mark: &str, name: &str) -> Option<String> {
        let from = self.body.find(mark)?;
        let rest = self.body.get(from..)?;
        let at = rest.find(&format!("{name}=\""))?.checked_add(name.len())?.checked_add(2)?;
        let value = rest.get(at..)?.split('"').next()?;
        Some(unescaped(value))
    }

    /// Where the form leads in which `mark` stands.
    pub(crate) fn action(&self, mark: &str) -> Result<String, Failure> {
        let end = self.body.find(mark).and_then(|at| at.checked_add(mark.len()));
        let form = end.and_then(|end| self.body.get(..end)?.rfind("<form")).and_then(|at| self.body.get(at..));
        let action = form.and_then(|form| form.split("action=\"").nth(1)?.split('"').next());
        let action = action.ok_or_else(|| failed(format!("{} has no form with {mark}:\n{}", self.url, self.body)))?;
        Ok(self.url.join(&unescaped(action)).map_err(because)?.into())
    }

    /// The link whose path ends so, if there is one.
    pub(crate) fn link_to(&self, end: &str) -> Option<Url> {
        let links = self.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let urls = links.filter_map(|link| self.url.join(&unescaped(link)).ok());
        urls.into_iter().find(|url| url.path().ends_with(end))
    }

    /// A hidden field's value.
    pub(crate) fn field(&self, name: &str) -> Result<String, Failure> {
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
    /// A new browser of this name; `hosts` are reached at `address`, as `*.localhost` does not resolve everywhere.
    pub(crate) fn new(agent: &str, address: SocketAddr, hosts: &[&str]) -> Result<Self, Failure> {
        let mut builder =
            Client::builder().no_proxy().cookie_store(true).redirect(redirect::Policy::none()).user_agent(agent);
        for host in hosts {
            builder = builder.resolve(host, address);
        }
        Ok(Self { client: builder.build().map_err(because)? })
    }

    /// Opens a URL as a person does, following redirects.
    pub(crate) async fn open(&self, url: &str) -> Result<Page, Failure> {
        self.navigate(Method::GET, url, None, None).await
    }

    /// Sends a form as a page of the same origin does, following redirects.
    pub(crate) async fn submit(&self, url: &str, form: &[(&str, &str)]) -> Result<Page, Failure> {
        self.navigate(Method::POST, url, Some(encoded(form)), None).await
    }

    /// The same, but it stops before it would come to `end`.
    pub(crate) async fn submit_until(&self, url: &str, form: &[(&str, &str)], end: &Url) -> Result<Page, Failure> {
        self.navigate(Method::POST, url, Some(encoded(form)), Some(end)).await
    }

    async fn navigate(
        &self,
        method: Method,
        url: &str,
        form: Option<String>,
        end: Option<&Url>,
    ) -> Result<Page, Failure> {
        let mut url = Url::parse(url).map_err(because)?;
        let mut response = self.send(method, &url, form).await?;
        for _ in 0..REDIRECTS_MAX {
            let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()) else {
                let status = response.status().as_u16();
                let body = response.text().await.map_err(because)?;
                return Ok(Page { url, status, body });
            };
            url = url.join(location).map_err(because)?;
            if end == Some(&url) {
                return Ok(Page { url, status: response.status().as_u16(), body: String::new() });
            }
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
    pub(crate) async fn call(&self, method: Method, url: &str, body: Option<&Value>) -> Result<(u16, Value), Failure> {
        let body = body.map(|body| ("application/json", body.to_string()));
        let Answer { status, body, .. } = self.call_with(method, url, &[], body).await?;
        Ok((status, body))
    }

    /// The same with headers and a body of some type.
    pub(crate) async fn call_with(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<(&str, String)>,
    ) -> Result<Answer, Failure> {
        let mut request = self.client.request(method, url).header(ACCEPT, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some((content_type, body)) = body {
            request = request.header(CONTENT_TYPE, content_type).body(body);
        }
        let response = request.send().await.map_err(because)?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let text = response.text().await.map_err(because)?;
        Ok(Answer { status, content_type, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }
}

/// What a program gets.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    /// JSON, or the text where it is none.
    pub(crate) body: Value,
}

fn encoded(form: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}
