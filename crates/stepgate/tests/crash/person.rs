//! Somebody who works behind the gate: signs in, is asked, proves, and goes on after
//! each of its deaths, at whatever node there is.

use std::collections::BTreeSet;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stepgate_testkit::{Page, SoftwareAuthenticator};
use url::Url;

use crate::account::Revoked;
use crate::audit::{Known, Violation};
use crate::boundary::{Boundary, Send};
use crate::chance::Chance;
use crate::client::{Browser, Gone};
use crate::codes::Code;
use crate::nodes::Nodes;
use crate::payments::Payment;
use crate::world_clock::Time;

/// What somebody has to prove that it is them.
#[derive(Debug)]
pub(crate) struct Proofs {
    /// A passkey.
    pub(crate) authenticator: SoftwareAuthenticator,
    /// The secret of an authenticator app.
    pub(crate) app: String,
    /// Recovery codes that were never typed.
    pub(crate) recovery_codes: Vec<String>,
}

/// What somebody may set out to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// The next step of a payment that needs a confirmation.
    Payment,
    /// A form that is sent with a session that has lapsed.
    Lapsed,
    /// A payment that needs none.
    Small,
    /// A payment that needs one by one of two policies.
    Medium,
    /// A payment that is over, once more.
    Again,
    /// A report, for which a second factor has to be fresh.
    Report,
    /// Something that is confirmed with a code of an app.
    Transfer,
    /// Something that is confirmed with a recovery code.
    Vault,
    /// New recovery codes, at the gate's own origin.
    Enrolment,
    /// Another browser; the one before keeps its session.
    Forget,
    /// Signing out.
    SignOut,
    /// Signing out all other browsers.
    EndOthers,
    /// A browser that was signed out tries on.
    Thief,
}

/// Each as often as it stands here.
const ERRANDS: [Errand; 24] = [
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Payment,
    Errand::Small,
    Errand::Medium,
    Errand::Again,
    Errand::Again,
    Errand::Report,
    Errand::Transfer,
    Errand::Transfer,
    Errand::Vault,
    Errand::Forget,
    Errand::SignOut,
    Errand::EndOthers,
    Errand::Thief,
];

impl Errand {
    /// What leads to this boundary soonest, where not everything does.
    pub(crate) fn to(boundary: Boundary) -> Option<Self> {
        match boundary {
            Boundary::Commit { method: "adopt_challenge" | "succeed_challenge", .. } => Some(Self::Lapsed),
            Boundary::Commit { method: "finish" | "spend", .. } => Some(Self::Payment),
            Boundary::Commit { method: "end_session", .. } => Some(Self::SignOut),
            Boundary::Commit { method: "put_ticket" | "begin_on_ticket" | "enrol", .. } => Some(Self::Enrolment),
            Boundary::Send(Send::Connected) => Some(Self::Small),
            Boundary::Send(_) => Some(Self::Payment),
            Boundary::Commit { .. } => None,
        }
    }
}

/// Somebody who works.
#[derive(Debug)]
pub(crate) struct Payer {
    pub(crate) name: String,
    pub(crate) browser: Browser,
    pub(crate) proofs: Proofs,
    pub(crate) chance: Chance,
    pub(crate) time: Time,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) payments: Vec<Payment>,
    pub(crate) over: Vec<Payment>,
    /// The code that was typed last, and whether it was good is not always known.
    pub(crate) typed: Option<Code>,
    /// Browsers of sessions that nobody has ended.
    pub(crate) left_behind: Vec<Browser>,
    pub(crate) revoked: Vec<Revoked>,
    /// Names what is asked for, so that nothing is asked for twice.
    pub(crate) count: u64,
    /// How often a session was begun or given up.
    pub(crate) sessions: u64,
    /// What they learned since it was last taken.
    pub(crate) known: Vec<Known>,
    pub(crate) signed: BTreeSet<String>,
    /// What went all the way.
    pub(crate) done: Done,
}

/// What went all the way, as people saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    /// Payments, transfers and vaults.
    pub(crate) approved: usize,
    /// Of them, those that were asked for at a gate that had died since, or at the other node.
    pub(crate) carried: usize,
    /// Reports.
    pub(crate) reports: usize,
    /// Requests that waited for a new sign-in and went on with it.
    pub(crate) adopted: usize,
    /// Sets of recovery codes that were made anew.
    pub(crate) enrolled: usize,
    /// Tries with cookies of a session that had ended.
    pub(crate) thefts: usize,
    /// Codes that were typed for two questions at once.
    pub(crate) races: usize,
    /// Medium payments, by the policy of their moment.
    pub(crate) medium: usize,
    /// Requests that were answered with "not now".
    pub(crate) refused: usize,
}

impl Done {
    /// Both together.
    pub(crate) fn plus(self, more: Self) -> Self {
        Self {
            approved: self.approved + more.approved,
            carried: self.carried + more.carried,
            reports: self.reports + more.reports,
            adopted: self.adopted + more.adopted,
            enrolled: self.enrolled + more.enrolled,
            thefts: self.thefts + more.thefts,
            races: self.races + more.races,
            medium: self.medium + more.medium,
            refused: self.refused + more.refused,
        }
    }
}

/// Why a step was not done.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The gate died.
    Gone,
    /// It did what it must not do.
    Violation(Violation),
}

impl From<Gone> for Stopped {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// What must not be answered was answered.
pub(crate) fn never<T>(what: &str, page: &Page) -> Result<T, Stopped> {
    Err(Stopped::Violation(Violation(format!("{what}: {}", page.told()))))
}

/// What came of an answer to a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is passed.
    Passed,
    /// The proof was wrong, or was used before.
    Wrong,
    /// The challenge is over, or changed in the meantime.
    Over,
    /// The factor is locked.
    Locked,
    /// Nobody is signed in.
    SignIn,
}

impl Told {
    /// What the gate answered to a proof.
    pub(crate) fn read(answer: &Page) -> Result<Self, Stopped> {
        match answer.status.as_u16() {
            200 => Ok(Self::Passed),
            401 => Ok(Self::SignIn),
            409 => Ok(Self::Over),
            422 => Ok(Self::Wrong),
            429 => Ok(Self::Locked),
            _ => never("no answer to a proof", answer),
        }
    }
}

impl Payer {
    /// Somebody new; all they do follows from the seed.
    pub(crate) fn new(
        name: String,
        browser: Browser,
        proofs: Proofs,
        seed: u64,
        time: Time,
        nodes: Arc<Nodes>,
    ) -> Self {
        Self {
            name,
            browser,
            proofs,
            chance: Chance::new(seed),
            time,
            nodes,
            payments: Vec::new(),
            over: Vec::new(),
            typed: None,
            left_behind: Vec::new(),
            revoked: Vec::new(),
            count: 0,
            sessions: 0,
            known: Vec::new(),
            signed: BTreeSet::new(),
            done: Done::default(),
        }
    }

    /// Does something: what is wished, or anything.
    pub(crate) async fn step(&mut self, wish: Option<Errand>) -> Result<(), Stopped> {
        if self.browser.nodes() > 1 && self.chance.one_in(4) {
            self.browser.node = self.nodes.another_than(self.browser.node);
        }
        let drawn = ERRANDS[self.chance.below(ERRANDS.len())];
        match wish.unwrap_or(drawn) {
            Errand::Payment => self.go_on_paying().await,
            Errand::Lapsed => self.pay_after_lunch().await,
            Errand::Small => self.pay_little().await,
            Errand::Medium => self.pay_medium().await,
            Errand::Again => self.try_again().await,
            Errand::Report => self.read_report().await,
            Errand::Transfer => self.transfer().await,
            Errand::Vault => self.open_vault().await,
            Errand::Enrolment => self.enrol().await,
            Errand::Forget => {
                let left_behind = self.browser.forget();
                self.left_behind.push(left_behind);
                self.sessions += 1;
                Ok(())
            }
            Errand::SignOut => self.sign_out().await,
            Errand::EndOthers => self.end_others().await,
            Errand::Thief => self.steal().await,
        }
    }

    /// A new name for something to ask for.
    pub(crate) fn next_name(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.name, self.count)
    }

    /// Opens a page of the service, and signs in with the passkey where the way leads there.
    pub(crate) async fn sign_in(&mut self) -> Result<(), Stopped> {
        self.sessions += 1;
        let page = self.browser.open(self.browser.at_service("/payments")).await?;
        let page = self.sign_in_on(page).await?;
        match page.status.as_u16() {
            // A code that was used just when the gate died leads to a page that says so.
            200 | 403 => Ok(()),
            _ => never("nobody could sign in", &page),
        }
    }

    /// Touches the key on a sign-in page, and goes where that leads. Any other page is given back.
    pub(crate) async fn sign_in_on(&mut self, page: Page) -> Result<Page, Stopped> {
        if page.url.path() != "/sign-in" || page.status != StatusCode::OK {
            return Ok(page);
        }
        let form = page.passkey_form();
        let (_, options) = form.passkey.clone().unwrap();
        let credential = self.touch(&options);
        let answer = self.browser.submit(&form.fill("credential", &credential.to_string())).await?;
        match answer.redirect() {
            Some(next) => Ok(self.browser.open(next).await?),
            None => Ok(answer),
        }
    }

    /// Touches the key, as a page of the gate asks for it.
    fn touch(&mut self, options: &Value) -> Value {
        let origin = self.browser.at_gate("").origin().ascii_serialization();
        self.proofs.authenticator.answer_request(&origin, options)
    }

    /// The challenge as the gate shows it, or nothing if the person has to sign in first.
    pub(crate) async fn look(&mut self, id: &str) -> Result<Option<Value>, Stopped> {
        let page = self.browser.call(Method::GET, self.at_challenge(id), None, b"").await?;
        match page.status.as_u16() {
            200 => {
                let shown = page.json();
                if let Some(result) = shown.pointer("/outcome/result").and_then(Value::as_str) {
                    self.known.push(Known::Told(id.to_owned(), result.to_owned()));
                }
                Ok(Some(shown))
            }
            401 => self.sign_in().await.map(|()| None),
            _ => never("a challenge that was asked is not shown", &page),
        }
    }

    /// Touches the key for a challenge that is shown.
    pub(crate) async fn confirm(&mut self, id: &str, shown: &Value) -> Result<(Told, Page), Stopped> {
        let factors = shown["factors"].as_array().unwrap();
        let options = factors.iter().find(|one| one["factor"] == "passkey").map(|one| one["options"].clone());
        let assertion = self.touch(&options.unwrap_or_else(|| panic!("no passkey is asked for: {shown}")));
        self.signed.insert(id.to_owned());
        self.known.push(Known::Signed(id.to_owned()));
        let body = json!({ "factor": "passkey", "assertion": assertion }).to_string();
        let url = self.at_challenge(&format!("{id}/answers"));
        let answer = self.browser.call(Method::POST, url, None, body.as_bytes()).await?;
        let told = Told::read(&answer)?;
        match told {
            Told::Passed => self.known.push(Known::Passed(id.to_owned())),
            Told::Wrong => return never("a right answer did not pass", &answer),
            Told::Over | Told::Locked | Told::SignIn => {}
        }
        Ok((told, answer))
    }

    /// Refuses a challenge.
    pub(crate) async fn cancel(&mut self, id: &str) -> Result<(), Stopped> {
        let answer = self.browser.call(Method::DELETE, self.at_challenge(id), None, b"").await?;
        match answer.status.as_u16() {
            401 => self.sign_in().await,
            _ => Ok(()),
        }
    }

    /// A challenge's address.
    pub(crate) fn at_challenge(&self, id: &str) -> Url {
        self.browser.at_gate(&format!("/challenges/{id}"))
    }
}

/// The challenge that an answer asks to pass.
pub(crate) fn asked_for(answer: &Page) -> Option<String> {
    if let Some(to) = answer.redirect() {
        return to.path().strip_prefix("/challenges/").map(str::to_owned);
    }
    let problem: Value = serde_json::from_slice(&answer.body).ok()?;
    problem.pointer("/challenge/id").and_then(Value::as_str).map(str::to_owned)
}
