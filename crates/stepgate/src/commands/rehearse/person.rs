//! The test person: enrols by a link as anybody does, and signs in.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use stepgate_core::time::Randomness as _;
use url::Url;

use super::home::Home;
use crate::commands::policy::SignsIn;
use crate::commands::{Failure, because, failed, unreadable, wrong_input};
use crate::headless::{Authenticator, Browser, Page};
use crate::system::SystemRandomness;

/// What the passkey is called on the account page.
const PASSKEY_NAME: &str = "Rehearsals";

/// Somebody who rehearses, with what they prove.
pub(super) struct TestPerson {
    login: String,
    /// Where they prove anything.
    home: Home,
    passkey: Authenticator,
    password: Option<String>,
}

impl TestPerson {
    /// Goes through the pages behind an enrolment link: a password, if the link offers one, and a passkey.
    pub(super) async fn enrol(browser: &Browser, link: &Url, login: &str) -> Result<Self, Failure> {
        let home = Home::of(link).ok_or_else(|| wrong_input(format!("{link} is no link of a gate")))?;
        let welcome = browser.open(link.as_str()).await?;
        let mut chooser = step(browser, &home, &welcome, "<form", &[]).await?;
        let mut password = None;
        if let Some(at) = chooser.link_to("/password") {
            let page = browser.open(at.as_str()).await?;
            let chosen = random_password();
            chooser = step(browser, &home, &page, "<form", &[("password", &chosen), ("again", &chosen)]).await?;
            password = Some(chosen);
        }
        let at = chooser.link_to("/passkey").ok_or_else(|| failed("the link offers no passkey: make another one"))?;
        let page = browser.open(at.as_str()).await?;
        let options = page.after("data-passkey=\"create\"", "data-options");
        let options = options.ok_or_else(|| failed(format!("{} offers no passkey", page.url)))?;
        let options: Value = serde_json::from_str(&options).map_err(because)?;
        let (passkey, credential) = Authenticator::create(&home.name(), &options).map_err(because)?;
        let credential = credential.to_string();
        let fields = [("credential", credential.as_str()), ("name", PASSKEY_NAME)];
        chooser = step(browser, &home, &page, "data-passkey=\"create\"", &fields).await?;
        step(browser, &home, &chooser, "/end\"", &[]).await?;
        Ok(Self { login: login.to_owned(), home, passkey, password })
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
            home: text("gate").and_then(|gate| Home::parse(&gate)).ok_or_else(wrong)?,
            passkey: Authenticator::from_json(passkey).map_err(|_| wrong())?,
            password: text("password"),
        })
    }

    /// Where they prove anything: the gate's own origin.
    pub(super) const fn home(&self) -> &Home {
        &self.home
    }

    /// Signs what their gate asks.
    pub(super) fn sign(&self, options: &Value) -> Result<Value, Failure> {
        self.passkey.sign(&self.home.name(), options).map_err(because)
    }

    /// Signs in on the way to `start`, and stops before anything is asked for there.
    pub(super) async fn sign_in(&self, browser: &Browser, start: &Url, how: SignsIn) -> Result<(), Failure> {
        let page = browser.open(start.as_str()).await?;
        self.home
            .is_at(page.url.as_str())
            .map_err(|failure| failure.of(&format!("{start} does not lead to the sign-in of {}", self.home.name())))?;
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
                let signed = self.sign(&options)?;
                fields.extend([("ceremony", page.field("ceremony")?), ("credential", signed.to_string())]);
                mark
            }
        };
        fields.extend(page.field("next").ok().map(|next| ("next", next)));
        fields.push(("csrf", page.field("csrf")?));
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let action = page.action(mark)?;
        self.home.is_at(&action)?;
        let done = browser.submit_until(&action, &fields, start).await?;
        if done.url != *start {
            return Err(failed(format!("{} could not sign in: {} at {}", self.login, done.status, done.url)));
        }
        Ok(())
    }
}

/// A new file that only its owner may read, for what a test person proves. It is there before they enrol, so that
/// nobody enrols what cannot be kept; and gone again where nothing was.
pub(super) struct KeyFile {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl KeyFile {
    /// Makes the file. One that is there already is not touched.
    pub(super) fn new(path: &Path) -> Result<Self, Failure> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| failed(format!("{} cannot be written: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), file, is_kept: false })
    }

    /// Writes what they prove.
    pub(super) fn keep(mut self, person: &TestPerson) -> Result<(), Failure> {
        let TestPerson { login, home, passkey, password } = person;
        let passkey = passkey.to_json().map_err(because)?;
        let kept = json!({ "login": login, "gate": home.name(), "password": password, "passkey": passkey });
        self.file.write_all(kept.to_string().as_bytes()).and_then(|()| self.file.sync_all()).map_err(because)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // If it stays, the next try says that it is there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Sends the form in which `mark` stands, with these fields filled in, if it is the gate's and leads there.
async fn step(
    browser: &Browser,
    home: &Home,
    page: &Page,
    mark: &str,
    fields: &[(&str, &str)],
) -> Result<Page, Failure> {
    home.is_at(page.url.as_str())?;
    let csrf = page.field("csrf")?;
    let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
    let action = page.action(mark)?;
    home.is_at(&action)?;
    let next = browser.submit(&action, &fields).await?;
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
