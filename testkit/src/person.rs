//! A person with a browser, without the browser: keeps cookies as browsers do,
//! says where each request comes from as browsers do, and fills in forms.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Method, redirect};
use serde_json::Value;
use url::Url;

use crate::authenticator::SoftwareAuthenticator;
use crate::page::{Form, Page};

/// How many redirects are followed before it is a loop; browsers follow 20.
const MOST_REDIRECTS: usize = 20;

/// Where a navigation comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// The person typed the address or used a bookmark.
    AddressBar,
    /// A link, form or script on a page of this URL.
    Page(Url),
}

/// A person at a browser of their own, with a software authenticator.
pub struct Person {
    http: reqwest::Client,
    /// By host: browsers do not tell ports apart, and neither do we.
    cookies: Mutex<BTreeMap<String, BTreeMap<String, Cookie>>>,
    authenticator: Arc<Mutex<SoftwareAuthenticator>>,
    agent: String,
}

#[derive(Clone, Debug)]
struct Cookie {
    value: String,
    is_lax: bool,
    is_secure: bool,
}

impl Person {
    /// With an empty browser, where every name is this machine.
    pub fn new() -> Self {
        Self::with_roots(&[])
    }

    /// With an empty browser that believes these certificate authorities (PEM) too.
    pub fn with_roots(roots: &[&str]) -> Self {
        let mut http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(ThisMachine));
        for root in roots {
            http = http.add_root_certificate(Certificate::from_pem(root.as_bytes()).expect("a certificate in PEM"));
        }
        Self {
            http: http.build().expect("a client without wishes"),
            cookies: Mutex::default(),
            authenticator: Arc::new(Mutex::new(SoftwareAuthenticator::new())),
            agent: "Mozilla/5.0 (X11; Linux x86_64) Testkit/1.0".into(),
        }
    }

    /// The same person with another user agent.
    #[must_use]
    pub fn with_agent(mut self, agent: &str) -> Self {
        agent.clone_into(&mut self.agent);
        self
    }

    /// The same person at another browser, which is empty, with the same authenticator.
    pub fn at_another_browser(&self) -> Self {
        Self { http: self.http.clone(), authenticator: Arc::clone(&self.authenticator), ..Self::new() }
    }

    /// Somebody who stole all cookies, and nothing else.
    pub fn thief(&self) -> Self {
        let thief =
            Self { http: self.http.clone(), cookies: Mutex::default(), agent: self.agent.clone(), ..Self::new() };
        *thief.cookies() = self.cookies().clone();
        thief
    }

    /// Changes the authenticator, or looks at it.
    pub fn authenticator<T>(&self, use_it: impl FnOnce(&mut SoftwareAuthenticator) -> T) -> T {
        use_it(&mut self.authenticator.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A cookie's value, if the browser has it for this host.
    pub fn cookie(&self, host: &str, name: &str) -> Option<String> {
        Some(self.cookies().get(host)?.get(name)?.value.clone())
    }

    /// Puts a cookie into the browser, as an attacker with that power would.
    pub fn plant_cookie(&self, host: &str, name: &str, value: &str) {
        let cookie = Cookie { value: value.into(), is_lax: false, is_secure: false };
        self.cookies().entry(host.into()).or_default().insert(name.into(), cookie);
    }

    /// Types an address, and follows redirects.
    pub async fn open(&self, url: &str) -> Page {
        let page = self.navigate(&From::AddressBar, Method::GET, parse(url), &[]).await;
        self.follow(&From::AddressBar, page).await
    }

    /// Types an address, and stops at the first answer.
    pub async fn open_once(&self, url: &str) -> Page {
        self.navigate(&From::AddressBar, Method::GET, parse(url), &[]).await
    }

    /// Fills in and sends a form of `page`, and follows redirects.
    pub async fn submit(&self, page: &Page, form: &Form) -> Page {
        let from = From::Page(page.url.clone());
        let answer = self.submit_once(page, form).await;
        self.follow(&from, answer).await
    }

    /// Fills in and sends a form of `page`, and stops at the first answer.
    pub async fn submit_once(&self, page: &Page, form: &Form) -> Page {
        let from = From::Page(page.url.clone());
        self.navigate(&from, Method::POST, form.action.clone(), &form.fields).await
    }

    /// Sends a form that stands on a page of `from`, wherever it goes; stops at the first answer.
    pub async fn post(&self, from: &From, url: &str, fields: &[(&str, &str)]) -> Page {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.navigate(from, Method::POST, parse(url), &fields).await
    }

    /// Answers a passkey form of `page` with the authenticator, and follows redirects.
    pub async fn touch(&self, page: &Page) -> Page {
        let form = self.answer_with_passkey(page);
        self.submit(page, &form).await
    }

    /// The passkey form of `page`, as the page's script would send it.
    pub fn answer_with_passkey(&self, page: &Page) -> Form {
        let form = page.passkey_form();
        let (kind, options) = form.passkey.clone().expect("is a passkey form");
        let origin = page.url.origin().ascii_serialization();
        let credential = self.authenticator(|authenticator| match kind.as_str() {
            "create" => authenticator.answer_creation(&origin, &options),
            _ => authenticator.answer_request(&origin, &options),
        });
        form.fill("credential", &credential.to_string())
    }

    /// What a script on a page of `from` gets when it calls `fetch(url, …)`. `headers` are its own.
    pub async fn fetch(
        &self,
        from: &str,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Page {
        let (from, url) = (parse(from), parse(url));
        let site = site(&From::Page(from.clone()), &url);
        let mut all = self.headers(&url, site != "cross-site");
        set(&mut all, "sec-fetch-site", site);
        set(&mut all, "sec-fetch-mode", "cors");
        set(&mut all, "sec-fetch-dest", "empty");
        set(&mut all, "accept", "*/*");
        if method != Method::GET && method != Method::HEAD || site != "same-origin" {
            set(&mut all, "origin", &from.origin().ascii_serialization());
        }
        for (name, value) in headers {
            set(&mut all, name, value);
        }
        self.send(method, url, all, body.into()).await
    }

    /// What a script on a page of `from` gets when it posts this as JSON.
    pub async fn fetch_json(&self, from: &str, method: Method, url: &str, body: &Value) -> Page {
        self.fetch(from, method, url, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Follows redirects, and sends the form of the page that puts a held request
    /// in its place, as that page's script does.
    pub async fn follow(&self, from: &From, mut page: Page) -> Page {
        for _ in 0..MOST_REDIRECTS {
            if let Some(next) = page.redirect() {
                page = self.navigate(from, Method::GET, next, &[]).await;
            } else if let Some(form) = page.forms().into_iter().find(|form| form.has("stepgate-resume")) {
                page = self.submit_once(&page, &form).await;
            } else {
                return page;
            }
        }
        panic!("more than {MOST_REDIRECTS} redirects: {}", page.told());
    }

    async fn navigate(&self, from: &From, method: Method, url: Url, fields: &[(String, String)]) -> Page {
        let site = site(from, &url);
        // Lax cookies go with a navigation from another site only if it is a safe one.
        let mut headers = self.headers(&url, site != "cross-site" || method == Method::GET);
        set(&mut headers, "sec-fetch-site", site);
        set(&mut headers, "sec-fetch-mode", "navigate");
        set(&mut headers, "sec-fetch-dest", "document");
        set(&mut headers, "sec-fetch-user", "?1");
        set(&mut headers, "accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        let mut body = Vec::new();
        if method != Method::GET {
            if let From::Page(page) = from {
                set(&mut headers, "origin", &page.origin().ascii_serialization());
            }
            set(&mut headers, "content-type", "application/x-www-form-urlencoded");
            body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes();
        }
        self.send(method, url, headers, body).await
    }

    fn headers(&self, url: &Url, sends_lax: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        set(&mut headers, "user-agent", &self.agent);
        let host = url.host_str().unwrap_or_default();
        let cookies = self.cookies();
        let sent = cookies
            .get(host)
            .into_iter()
            .flatten()
            .filter(|(_, cookie)| (sends_lax || !cookie.is_lax) && (!cookie.is_secure || url.scheme() == "https"));
        let sent: Vec<String> = sent.map(|(name, cookie)| format!("{name}={}", cookie.value)).collect();
        if !sent.is_empty() {
            set(&mut headers, "cookie", &sent.join("; "));
        }
        headers
    }

    async fn send(&self, method: Method, url: Url, headers: HeaderMap, body: Vec<u8>) -> Page {
        let request = self.http.request(method, url.clone()).headers(headers).body(body);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => panic!("no answer from {url}: {error:?}"),
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        self.keep_cookies(&url, &headers);
        let body = answer.bytes().await.unwrap_or_else(|error| panic!("half an answer from {url}: {error:?}")).to_vec();
        Page { url, status, headers, body }
    }

    /// As browsers do (RFC 6265bis, section 5.7), as far as it matters here.
    fn keep_cookies(&self, url: &Url, headers: &HeaderMap) {
        let host = url.host_str().unwrap_or_default().to_owned();
        for set in headers.get_all("set-cookie") {
            let set = String::from_utf8_lossy(set.as_bytes()).into_owned();
            let mut parts = set.split(';').map(str::trim);
            let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).unwrap_or_default();
            let attributes: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
            let has = |wanted: &str| attributes.iter().any(|attribute| attribute == wanted);
            let is_secure = has("secure");
            let is_refused = is_secure && url.scheme() != "https"
                || name.starts_with("__Host-") && (!is_secure || !has("path=/"))
                || attributes.iter().any(|attribute| attribute.starts_with("domain="));
            assert!(!is_refused, "a browser would refuse this cookie from {url}: {set}");
            let mut cookies = self.cookies();
            let kept = cookies.entry(host.clone()).or_default();
            if has("max-age=0") {
                kept.remove(name);
            } else {
                let is_lax = has("samesite=lax") || has("samesite=strict");
                kept.insert(name.to_owned(), Cookie { value: value.to_owned(), is_lax, is_secure });
            }
        }
    }

    fn cookies(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeMap<String, Cookie>>> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Person {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Person").field("cookies", &self.cookies()).finish_non_exhaustive()
    }
}

/// Every name is this machine, whatever the resolver of the system thinks of `*.localhost`.
#[derive(Debug)]
struct ThisMachine;

impl Resolve for ThisMachine {
    fn resolve(&self, _: Name) -> Resolving {
        // Port 0 stands for the port of the URL.
        let addresses: Addrs = Box::new(std::iter::once(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// `Sec-Fetch-Site` (W3C Fetch Metadata). A host's site is its last two labels;
/// under `localhost`, which is a public suffix, each name is a site of its own.
fn site(from: &From, to: &Url) -> &'static str {
    let From::Page(from) = from else {
        return "none";
    };
    let registrable = |url: &Url| {
        let host = url.host_str().unwrap_or_default().to_owned();
        let start = host.rmatch_indices('.').nth(1).map_or(0, |(dot, _)| dot + 1);
        host[start..].to_owned()
    };
    if from.origin() == to.origin() {
        "same-origin"
    } else if from.scheme() == to.scheme() && registrable(from) == registrable(to) {
        "same-site"
    } else {
        "cross-site"
    }
}

fn parse(url: &str) -> Url {
    Url::parse(url).unwrap_or_else(|_| panic!("no URL: {url}"))
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
    headers.insert(name, HeaderValue::from_str(value).expect("a header's value"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, RecordingUpstream};

    fn check_site(from: &str, to: &str, expected: &str) {
        assert_eq!(site(&From::Page(parse(from)), &parse(to)), expected, "{from} → {to}");
    }

    #[test]
    fn sites_are_told_apart_as_browsers_do() {
        check_site("http://localhost:1/a", "http://localhost:1/b", "same-origin");
        check_site("http://localhost:1/", "http://localhost:2/", "same-site");
        check_site("http://localhost:1/", "http://ledger.localhost:1/", "cross-site");
        check_site("https://a.example.test/", "https://b.example.test/", "same-site");
        assert_eq!(site(&From::AddressBar, &parse("http://localhost/")), "none");
    }

    #[tokio::test]
    async fn cookies_are_kept_by_host_and_lax_ones_stay_at_home() {
        let upstream = RecordingUpstream::start(|request| match request.target().as_str() {
            "/in" => Answer::new(303, &[("Location", "/"), ("Set-Cookie", "s=1; Path=/; SameSite=Lax")], ""),
            "/out" => Answer::new(200, &[("Set-Cookie", "s=; Max-Age=0")], ""),
            _ => Answer::page("<form method=\"post\" action=\"/send\"><input name=\"a\" value=\"1\"></form>"),
        })
        .await;
        let at = |host: &str, path: &str| format!("http://{host}:{}{path}", upstream.address().port());
        let ada = Person::new();
        let page = ada.open(&at("localhost", "/in")).await;
        assert_eq!(ada.cookie("localhost", "s").as_deref(), Some("1"));
        ada.submit(&page, &page.form_with("a").fill("a", "x y")).await;
        let home = From::Page(page.url.clone());
        ada.post(&home, &at("ledger.localhost", "/send"), &[]).await;
        let elsewhere = From::Page(parse("http://evil.example/"));
        ada.post(&elsewhere, &at("localhost", "/send"), &[]).await;
        ada.thief().open(&at("localhost", "/")).await;
        ada.open(&at("localhost", "/out")).await;
        ada.open(&at("localhost", "/")).await;
        let cookies: Vec<Option<String>> = upstream.requests().iter().map(|seen| seen.value("cookie")).collect();
        let one = Some("s=1".to_owned());
        assert_eq!(cookies, [None, one.clone(), one.clone(), None, None, one.clone(), one, None]);
        assert_eq!(upstream.requests()[2].body, b"a=x+y");
        assert_eq!(upstream.requests()[4].value("sec-fetch-site").as_deref(), Some("cross-site"));
    }
}
