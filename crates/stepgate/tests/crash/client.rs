//! A person with a browser, at a gate that may die at any moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, redirect};
use stepgate_testkit::{Form, Page};
use url::Url;

use crate::nodes::Nodes;

/// Redirects that are followed for one navigation.
const REDIRECTS_MAX: usize = 12;

/// The gate died while it was asked, or said "not now"; whether it did what it was asked is not known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// Where the nodes of a deployment are: each at an address of its own, all at one port,
/// as if behind a balancer.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    clients: Vec<reqwest::Client>,
    nodes: Arc<Nodes>,
    port: u16,
}

impl Way {
    /// To the nodes at these addresses.
    pub(crate) fn to(addresses: &[SocketAddr], nodes: Arc<Nodes>) -> Self {
        let client = |node: &SocketAddr| {
            let http = reqwest::Client::builder()
                .redirect(redirect::Policy::none())
                .no_proxy()
                // Nothing of a dead gate's is used again.
                .pool_max_idle_per_host(0)
                .resolve("localhost", *node)
                .resolve("ledger.localhost", *node);
            http.build().unwrap()
        };
        Self { clients: addresses.iter().map(client).collect(), nodes, port: addresses[0].port() }
    }
}

/// A browser: a jar of cookies, and the node that the balancer leads it to.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    way: Way,
    /// The node that is asked next.
    pub(crate) node: usize,
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

impl Browser {
    /// With an empty jar.
    pub(crate) fn new(way: Way) -> Self {
        Self { way, node: 0, cookies: BTreeMap::new() }
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.way.clients.len()
    }

    /// A URL at the gate.
    pub(crate) fn at_gate(&self, path: &str) -> Url {
        Url::parse(&format!("http://localhost:{}{path}", self.way.port)).unwrap()
    }

    /// A URL at the service.
    pub(crate) fn at_service(&self, path: &str) -> Url {
        Url::parse(&format!("http://ledger.localhost:{}{path}", self.way.port)).unwrap()
    }

    /// Forgets who it is, and gives what somebody has who kept its cookies.
    pub(crate) fn forget(&mut self) -> Self {
        let left_behind = self.clone();
        self.cookies.clear();
        left_behind
    }

    /// Forgets who it is at the service alone.
    pub(crate) fn forget_service(&mut self) {
        self.cookies.remove("ledger.localhost");
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
        let asked = async {
            let request = self.way.clients[self.node].request(method, url.clone()).headers(headers).body(body);
            let answer = request.send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?.to_vec()))
        };
        // Its port stays open when it dies: without looking, somebody would wait for the next life.
        let (status, headers, body) = tokio::select! {
            answered = asked => answered.map_err(|_| Gone)?,
            () = self.way.nodes.gone(self.node) => return Err(Gone),
        };
        // "Not now": on a machine that is busy enough, a database is too slow for a gate.
        if status == StatusCode::SERVICE_UNAVAILABLE {
            self.way.nodes.count_refusal();
            return Err(Gone);
        }
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
        Ok(Page { url, status, headers, body })
    }
}
