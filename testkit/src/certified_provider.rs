//! `oidc-provider`: an OpenID provider that nobody here wrote, certified by the OpenID
//! Foundation, with a login that the test scripts.
//!
//! Its clock is that of the machine.

use std::fs;

use serde_json::{Value, json};

use crate::leash::{Leash, Stop};
use crate::programs::Program;

/// The provider with its scripted login.
const SERVER: &str = include_str!("../oidc-provider/server.mjs");
/// The most redirects between the request to authorize and the way back.
const REDIRECTS_MAX: u32 = 10;

/// A provider that runs. Dropping it stops it.
#[derive(Debug)]
pub struct CertifiedProvider {
    issuer: String,
    program: Leash,
}

/// A browser's cookies at the provider: its session there.
#[derive(Clone, Debug)]
pub struct AtProvider(reqwest::Client);

impl Default for AtProvider {
    fn default() -> Self {
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self(builder.cookie_store(true).build().expect("a client"))
    }
}

impl CertifiedProvider {
    /// Starts one with these clients, in the words of OpenID Connect Dynamic Client Registration 1.0.
    pub fn start(clients: &[Value]) -> Self {
        let folder = tempfile::Builder::new().prefix("stepgate-oidc-provider-").tempdir().unwrap().keep();
        let script = folder.join("server.mjs");
        fs::write(&script, SERVER).unwrap();
        let arguments =
            [script.into_os_string(), Program::OidcProvider.path().into(), json!(clients).to_string().into()];
        let program = Leash::start(&Program::Node.path(), arguments, Stop::Terminate, Some(&folder), None, |command| {
            command.env("HOME", &folder);
        });
        let line = program.wait_for_line("issuer http://");
        let issuer = line.trim_start_matches("issuer ").trim().to_owned();
        Self { issuer, program }
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What it wrote, its complaints among it.
    pub fn said(&self) -> Vec<String> {
        self.program.said()
    }

    /// Registers one more client, in the same words as at the start.
    pub async fn register(&self, client: &Value) {
        self.post("/clients", client).await;
    }

    /// Who logs in there from now on: `subject`, `claims`, `can` (classes that are reached when
    /// they are asked for), `acr` and `amr` of a plain login, and `pages`: whether the provider
    /// shows pages of login and consent, which a browser is to go through. What is not said stays.
    pub async fn script(&self, somebody: &Value) {
        self.post("/scripted", somebody).await;
    }

    async fn post(&self, path: &str, what: &Value) {
        let client = AtProvider::default().0;
        let sent = client.post(format!("{}{path}", self.issuer)).body(what.to_string()).send().await;
        assert!(sent.expect("the provider answers").status().is_success(), "{what}");
    }

    /// Where it shows the page that asks whether to sign out.
    pub fn sign_out_page(&self) -> String {
        format!("{}/session/end", self.issuer)
    }

    /// The parameters of each request to authorize that it granted.
    pub async fn granted(&self) -> Vec<Value> {
        let answer = AtProvider::default().0.get(format!("{}/asked", self.issuer)).send().await;
        answer.expect("the provider answers").json().await.expect("JSON")
    }

    /// Signs out there, as the person who presses *Yes*.
    pub async fn sign_out(&self, browser: &AtProvider, url: &str) {
        let page = browser.0.get(url).send().await.expect("the provider answers").text().await.expect("a page");
        self.confirm(browser, &page).await;
    }

    /// Confirms the end of the session there, and gives where that leads.
    async fn confirm(&self, browser: &AtProvider, page: &str) -> String {
        let token = page.split_once(r#"name="xsrf" value=""#).and_then(|(_, rest)| rest.split('"').next());
        let token = token.unwrap_or_else(|| panic!("the provider shows a page: {page}\n{}", self.said().join("\n")));
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("xsrf", token), ("logout", "yes")])
            .finish();
        let request = browser.0.post(format!("{}/session/end/confirm", self.issuer)).body(body);
        let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await;
        let answer = answer.expect("the provider answers");
        let location = answer.headers().get("location").and_then(|location| location.to_str().ok());
        location.unwrap_or_else(|| panic!("{}: {}", answer.status(), self.said().join("\n"))).to_owned()
    }

    /// Goes where a browser would, through the login, and gives the query with which it comes back.
    ///
    /// # Panics
    ///
    /// With what the provider shows and wrote, if it shows a page instead.
    pub async fn visit(&self, browser: &AtProvider, url: &str) -> String {
        let mut url = url::Url::parse(url).expect("a URL");
        for _ in 0..REDIRECTS_MAX {
            let answer = browser.0.get(url.clone()).send().await.expect("the provider answers");
            let location = match answer.headers().get("location") {
                Some(location) => location.to_str().expect("a URL").to_owned(),
                // Another person logs in: it wants the session of the first to be ended.
                None => self.confirm(browser, &answer.text().await.expect("a page")).await,
            };
            url = url.join(&location).expect("a URL");
            if !url.as_str().starts_with(&self.issuer) {
                return url.query().unwrap_or_default().to_owned();
            }
        }
        panic!("the provider leads in circles:\n{}", self.said().join("\n"));
    }
}
