//! A person with a browser, at a gate that may die at any moment.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, redirect};
use serde_json::Value;
use stepgate_testkit::{Form, Page, SoftwareAuthenticator};
use url::Url;

/// Redirects that are followed for one navigation.
const REDIRECTS_MAX: usize = 12;

/// The gate died while it was asked; whether it did what it was asked is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// A browser with a passkey.
#[derive(Debug)]
pub(crate) struct Browser {
    http: reqwest::Client,
    port: u16,
    cookies: BTreeMap<String, BTreeMap<String, String>>,
    /// The passkey.
    pub(crate) authenticator: SoftwareAuthenticator,
}

impl Browser {
    /// With an empty jar; every name is this machine.
    pub(crate) fn new(port: u16, authenticator: SoftwareAuthenticator) -> Self {
        let here = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            // Nothing of a dead gate's is used again.
            .pool_max_idle_per_host(0)
            .resolve("localhost", here)
            .resolve("ledger.localhost", here);
        Self { http: http.build().unwrap(), port, cookies: BTreeMap::new(), authenticator }
    }

    /// A URL at the gate.
    pub(crate) fn at_gate(&self, path: &str) -> Url {
        Url::parse(&format!("http://localhost:{}{path}", self.port)).unwrap()
    }

    /// A URL at the service.
    pub(crate) fn at_service(&self, path: &str) -> Url {
        Url::parse(&format!("http://ledger.localhost:{}{path}", self.port)).unwrap()
    }

    /// Forgets who it is.
    pub(crate) fn forget(&mut self) {
        self.cookies.clear();
    }

    /// What a script on a page of the same origin gets.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        url: Url,
        named: Option<&str>,
        body: &[u8],
    ) -> Result<Page, Gone> {
        let origin = url.origin().ascii_serialization();
        let mut headers = vec![
            ("accept", "application/json"),
            ("content-type", "application/json"),
            ("origin", origin.as_str()),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty"),
        ];
        headers.extend(named.map(|id| ("stepgate-challenge", id)));
        self.send(method, url, &headers, body.to_vec()).await
    }

    /// Opens a page, following redirects.
    pub(crate) async fn open(&mut self, url: Url) -> Result<Page, Gone> {
        let mut page = self.navigate(Method::GET, url, "none", &[]).await?;
        for _ in 0..REDIRECTS_MAX {
            let Some(next) = page.redirect() else { break };
            page = self.navigate(Method::GET, next, "none", &[]).await?;
        }
        Ok(page)
    }

    /// Sends a form that stands on a page of its own origin, and stops at the first answer.
    pub(crate) async fn submit(&mut self, form: &Form) -> Result<Page, Gone> {
        self.navigate(Method::POST, form.action.clone(), "same-origin", &form.fields).await
    }

    async fn navigate(
        &mut self,
        method: Method,
        url: Url,
        site: &str,
        fields: &[(String, String)],
    ) -> Result<Page, Gone> {
        let origin = url.origin().ascii_serialization();
        let mut headers = vec![
            ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
            ("sec-fetch-site", site),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let mut body = Vec::new();
        if method == Method::POST {
            headers.push(("origin", origin.as_str()));
            headers.push(("content-type", "application/x-www-form-urlencoded"));
            body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes();
        }
        self.send(method, url, &headers, body).await
    }

    async fn send(&mut self, method: Method, url: Url, set: &[(&str, &str)], body: Vec<u8>) -> Result<Page, Gone> {
        let host = url.host_str().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        for (name, value) in set {
            headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let jar = self.cookies.get(&host).into_iter().flatten();
        let jar: Vec<String> = jar.map(|(name, value)| format!("{name}={value}")).collect();
        if !jar.is_empty() {
            headers.insert("cookie", HeaderValue::from_str(&jar.join("; ")).unwrap());
        }
        let answer = self.http.request(method, url.clone()).headers(headers).body(body).send().await;
        let answer = answer.map_err(|_| Gone)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        for line in headers.get_all("set-cookie") {
            let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap_or_default();
            let jar = self.cookies.entry(host.clone()).or_default();
            match line.contains("Max-Age=0") {
                true => jar.remove(name),
                false => jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        let body = answer.bytes().await.map_err(|_| Gone)?.to_vec();
        Ok(Page { url, status, headers, body })
    }

    /// Opens a page of the service, and signs in with the passkey where the way leads there.
    pub(crate) async fn sign_in(&mut self) -> Result<Page, Gone> {
        let page = self.open(self.at_service("/payments")).await?;
        if page.url.path() != "/sign-in" {
            return Ok(page);
        }
        let form = page.passkey_form();
        let (_, options) = form.passkey.clone().unwrap();
        let origin = page.url.origin().ascii_serialization();
        let credential = self.authenticator.answer_request(&origin, &options);
        let answer = self.submit(&form.fill("credential", &credential.to_string())).await?;
        match answer.redirect() {
            Some(next) => self.open(next).await,
            None => Ok(answer),
        }
    }

    /// Touches the key for a challenge, as the gate's own page asks for it.
    pub(crate) fn touch(&mut self, options: &Value) -> Value {
        let origin = self.at_gate("").origin().ascii_serialization();
        self.authenticator.answer_request(&origin, options)
    }
}
