//! Codes that count once: of an authenticator app, and from a list of recovery codes.
//! They are typed again after a death, for another question, and for two at once.

use reqwest::Method;
use serde_json::json;
use stepgate_testkit::totp;

use crate::audit::Known;
use crate::client::{Browser, Gone};
use crate::person::{Payer, Stopped, Told, asked_for, never};
use crate::upstream::{MARK, REPORTS};

/// How long one code of an app is shown, in milliseconds.
const STEP_MS: i64 = 30_000;

/// A code as somebody types it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    /// The factor's name on the wire.
    pub(crate) factor: &'static str,
    text: String,
    /// Which one it is: whose, and of which step.
    which: String,
}

impl Payer {
    /// Something that an app's code confirms.
    pub(crate) async fn transfer(&mut self) -> Result<(), Stopped> {
        let now = self.time.now();
        let text = totp::code_at(&self.proofs.app, now);
        let which = format!("step {} of {}", now.as_ms() / STEP_MS, self.name);
        let new = Code { factor: "totp", text, which };
        self.type_code(new, "transfers").await
    }

    /// Something that a recovery code confirms; where none is left, new ones are made.
    pub(crate) async fn open_vault(&mut self) -> Result<(), Stopped> {
        let Some(text) = self.proofs.recovery_codes.pop() else { return self.enrol().await };
        let new = Code { factor: "recovery_code", which: format!("{text} of {}", self.name), text };
        self.type_code(new, "vaults").await
    }

    /// A code, or now and then the one that was typed before, which may have counted.
    async fn type_code(&mut self, new: Code, place: &str) -> Result<(), Stopped> {
        let again = self.typed.clone().filter(|code| code.factor == new.factor && self.chance.one_in(2));
        let code = again.unwrap_or(new);
        if self.chance.one_in(3) {
            return self.type_for_two(&code, place).await;
        }
        let path = format!("/api/{place}/{}/approve", self.next_name());
        let Some(id) = self.ask_for(&path).await? else { return Ok(()) };
        self.types(&code, &id);
        let told = answer(&mut self.browser, &id, &code).await?;
        self.hears(&id, &path, told).await
    }

    /// One code for two questions at the same time, at two nodes if there are two.
    async fn type_for_two(&mut self, code: &Code, place: &str) -> Result<(), Stopped> {
        let paths = [0, 1].map(|_| format!("/api/{place}/{}/approve", self.next_name()));
        let mut ids = Vec::new();
        for path in &paths {
            let Some(id) = self.ask_for(path).await? else { return Ok(()) };
            ids.push(id);
        }
        ids.iter().for_each(|id| self.types(code, id));
        let mut twin = self.browser.clone();
        twin.node = self.nodes.another_than(twin.node);
        let (one, other) = tokio::join!(answer(&mut self.browser, &ids[0], code), answer(&mut twin, &ids[1], code));
        self.done.races += 1;
        if let (Ok(Told::Passed), Ok(Told::Passed)) = (&one, &other) {
            let words = format!("{} was accepted for {} and for {}", code.which, ids[0], ids[1]);
            return Err(Stopped::Violation(words.into()));
        }
        if matches!(other, Ok(Told::Passed)) {
            // The token that goes on is the one that was given for the proof.
            self.browser = twin;
        }
        for (told, (id, path)) in [one, other].into_iter().zip(ids.iter().zip(&paths)) {
            self.hears(id, path, told?).await?;
        }
        Ok(())
    }

    /// Asks for something that needs a code. Nothing if somebody has to sign in first.
    async fn ask_for(&mut self, path: &str) -> Result<Option<String>, Stopped> {
        let url = self.browser.at_service(path);
        let answer = self.browser.call(Method::POST, url, None, b"{}").await?;
        if answer.text().starts_with(MARK) {
            return never("let through, and nobody confirmed it", &answer);
        }
        if let Some(id) = asked_for(&answer) {
            self.known.push(Known::Asked(id.clone()));
            let shown = self.look(&id).await?;
            let is_here =
                shown.is_some_and(|shown| shown["state"] == "pending" && shown["asks_number"] == json!(false));
            return Ok(is_here.then_some(id));
        }
        match answer.status.as_u16() {
            429 => drop(self.browser.forget()),
            // All codes are used, as far as the gate knows.
            403 => {
                self.proofs.recovery_codes.clear();
                return Ok(None);
            }
            401 => {}
            _ => return never("no answer to a new request", &answer),
        }
        self.sign_in().await.map(|()| None)
    }

    fn types(&mut self, code: &Code, id: &str) {
        self.typed = Some(code.clone());
        self.signed.insert(id.to_owned());
        self.known.push(Known::Typed { challenge: id.to_owned(), code: code.which.clone() });
    }

    /// What the gate said to a code.
    async fn hears(&mut self, id: &str, path: &str, told: Told) -> Result<(), Stopped> {
        match told {
            Told::Passed => {
                self.known.push(Known::Passed(id.to_owned()));
                let url = self.browser.at_service(path);
                let sent = self.browser.call(Method::POST, url, Some(id), b"{}").await?;
                if sent.text().starts_with(MARK) {
                    self.known.push(Known::Approved(id.to_owned()));
                    self.done.approved += 1;
                }
                Ok(())
            }
            Told::Wrong | Told::Locked => self.cancel(id).await,
            Told::Over => Ok(()),
            Told::SignIn => self.sign_in().await,
        }
    }

    /// A report, for which a second factor has to be fresh.
    pub(crate) async fn read_report(&mut self) -> Result<(), Stopped> {
        let path = format!("{REPORTS}{}", self.next_name());
        let url = self.browser.at_service(&path);
        let mut page = self.browser.open(url).await?;
        if page.url.path() == "/sign-in" {
            self.sessions += 1;
            page = self.sign_in_on(page).await?;
        }
        if let Some(id) = page.url.path().strip_prefix("/challenges/").map(str::to_owned) {
            self.known.push(Known::Asked(id.clone()));
            let Some(shown) = self.look(&id).await? else { return Ok(()) };
            if shown["state"] != "pending" || shown["asks_number"] == json!(true) {
                return Ok(());
            }
            let (told, answer) = self.confirm(&id, &shown).await?;
            if told != Told::Passed {
                return Ok(());
            }
            let Some(go_on) = answer.json()["go_on"].as_str().map(str::to_owned) else {
                return never("a fresh proof leads nowhere", &answer);
            };
            page = self.browser.open(url::Url::parse(&go_on).unwrap()).await?;
        }
        self.done.reports += usize::from(page.text().starts_with(MARK));
        Ok(())
    }
}

/// Types a code for a challenge.
async fn answer(browser: &mut Browser, id: &str, code: &Code) -> Result<Told, Stopped> {
    let body = json!({ "factor": code.factor, "code": code.text }).to_string();
    let url = browser.at_gate(&format!("/challenges/{id}/answers"));
    let page = browser.call(Method::POST, url, None, body.as_bytes()).await;
    Told::read(&page.map_err(|gone: Gone| Stopped::from(gone))?)
}
