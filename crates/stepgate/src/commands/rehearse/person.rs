//! The test person: enrols by a link as anybody does, and signs in.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use stepgate_core::time::Randomness as _;
use url::Url;

use crate::commands::policy::SignsIn;
use crate::commands::{Failure, because, failed, unreadable, wrong_input};
use crate::headless::{Authenticator, Browser, Page};
use crate::system::SystemRandomness;

/// What the passkey is called on the account page.
const PASSKEY_NAME: &str = "Rehearsals";

/// Somebody who rehearses, with what they prove.
pub(super) struct TestPerson {
    login: String,
    /// Where their passkey counts.
    gate: String,
    pub(super) passkey: Authenticator,
    password: Option<String>,
}

impl TestPerson {
    /// Goes through the pages behind an enrolment link: a password, if the link offers one, and a passkey.
    pub(super) async fn enrol(browser: &Browser, link: &Url, login: &str) -> Result<Self, Failure> {
        let gate = link.origin().ascii_serialization();
        let welcome = browser.open(link.as_str()).await?;
        let mut chooser = step(browser, &welcome, "<form", &[]).await?;
        let mut password = None;
        if let Some(at) = chooser.link_to("/password") {
            let page = browser.open(at.as_str()).await?;
            let chosen = random_password();
            chooser = step(browser, &page, "<form", &[("password", &chosen), ("again", &chosen)]).await?;
            password = Some(chosen);
        }
        let at = chooser.link_to("/passkey").ok_or_else(|| failed("the link offers no passkey: make another one"))?;
        let page = browser.open(at.as_str()).await?;
        let options = page.after("data-passkey=\"create\"", "data-options");
        let options = options.ok_or_else(|| failed(format!("{} offers no passkey", page.url)))?;
        let options: Value = serde_json::from_str(&options).map_err(because)?;
        let (passkey, credential) = Authenticator::create(&gate, &options).map_err(because)?;
        let credential = credential.to_string();
        let fields = [("credential", credential.as_str()), ("name", PASSKEY_NAME)];
        chooser = step(browser, &page, "data-passkey=\"create\"", &fields).await?;
        step(browser, &chooser, "/end\"", &[]).await?;
        Ok(Self { login: login.to_owned(), gate, passkey, password })
    }

    /// Writes what they prove into a new file that only its owner may read.
    pub(super) fn keep(&self, file: &Path) -> Result<(), Failure> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let passkey = self.passkey.to_json().map_err(because)?;
        let kept = json!({ "login": self.login, "gate": self.gate, "password": self.password, "passkey": passkey });
        let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
        let mut open = open.map_err(|error| failed(format!("{} is not written: {error}", file.display())))?;
        open.write_all(kept.to_string().as_bytes()).and_then(|()| open.sync_all()).map_err(because)
    }

    /// Reads what was kept.
    pub(super) fn kept(file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file).map_err(|error| unreadable("--key", file, &error))?;
        let wrong = || wrong_input(format!("--key: {} is not what `rehearse enrol` writes", file.display()));
        let kept: Value = serde_json::from_str(&text).map_err(|_| wrong())?;
        let text = |name| kept.get(name).and_then(Value::as_str).map(str::to_owned);
        let passkey = kept.get("passkey").ok_or_else(wrong)?;
        Ok(Self {
            login: text("login").ok_or_else(wrong)?,
            gate: text("gate").ok_or_else(wrong)?,
            passkey: Authenticator::from_json(passkey).map_err(|_| wrong())?,
            password: text("password"),
        })
    }

    /// Where their passkey counts: the gate's own origin.
    pub(super) fn gate(&self) -> &str {
        &self.gate
    }

    /// Signs in on the way to `start`, and stops before anything is asked for there.
    pub(super) async fn sign_in(&self, browser: &Browser, start: &Url, how: SignsIn) -> Result<(), Failure> {
        let page = browser.open(start.as_str()).await?;
        if !page.url.as_str().starts_with(&self.gate) {
            return Err(failed(format!("{start} does not lead to the sign-in of {}, but to {}", self.gate, page.url)));
        }
        let mut fields = Vec::new();
        let mark = match how {
            SignsIn::Nowhere => return Ok(()),
            SignsIn::WithPassword => {
                let password = self.password.clone();
                let none = "the test person has no password: their enrolment link offered none";
                fields.extend([("name", self.login.clone()), ("password", password.ok_or_else(|| wrong_input(none))?)]);
                "name=\"password\""
            }
            SignsIn::WithPasskey => {
                let mark = "data-passkey=\"get\"";
                let options = page.after(mark, "data-options");
                let options = options.ok_or_else(|| failed(format!("{} offers no passkey", page.url)))?;
                let options: Value = serde_json::from_str(&options).map_err(because)?;
                let signed = self.passkey.sign(&self.gate, &options).map_err(because)?;
                fields.extend([("ceremony", page.field("ceremony")?), ("credential", signed.to_string())]);
                mark
            }
        };
        fields.extend(page.field("next").ok().map(|next| ("next", next)));
        fields.push(("csrf", page.field("csrf")?));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let done = browser.submit_until(&page.action(mark)?, &fields, start).await?;
        if done.url != *start {
            return Err(failed(format!("{} could not sign in: {} at {}", self.login, done.status, done.url)));
        }
        Ok(())
    }
}

/// Sends the form in which `mark` stands, with these fields filled in.
async fn step(browser: &Browser, page: &Page, mark: &str, fields: &[(&str, &str)]) -> Result<Page, Failure> {
    let csrf = page.field("csrf")?;
    let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
    let next = browser.submit(&page.action(mark)?, &fields).await?;
    if next.status >= 400 {
        return Err(failed(format!("{} answered {}", next.url, next.status)));
    }
    Ok(next)
}

/// 192 bits.
fn random_password() -> String {
    let mut bytes = [0; 24];
    SystemRandomness.fill(&mut bytes);
    BASE64URL.encode(bytes)
}
