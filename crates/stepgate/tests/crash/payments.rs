//! What people do at the gate, step by step, and go on doing after each of its deaths.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use stepgate_testkit::Page;

use crate::audit::{Known, Violation};
use crate::chance::Chance;
use crate::client::{Browser, Gone};
use crate::upstream::MARK;

/// Payments of a person that are open at a time.
const OPEN_MAX: usize = 3;
/// Payments that are over, of each person, that are tried again now and then.
const OVER_KEPT: usize = 20;
/// The largest body, so that a request comes in several pieces.
const LARGEST_PAD: usize = 200_000;

/// How the person asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A script repeats its call; its request is not held.
    Script,
    /// A form is sent, held, and put in its place.
    Form,
}

/// How far a payment is, as far as the person knows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was asked, or nobody heard the answer.
    New,
    /// The person was asked to confirm.
    Asked(String),
    /// They were told that it is confirmed.
    Passed(String),
    /// It was spent, refused, or given up.
    Over(String),
}

#[derive(Clone, Debug)]
struct Payment {
    path: String,
    body: Vec<u8>,
    fields: Vec<(String, String)>,
    way: Way,
    stage: Stage,
}

/// Somebody who pays.
#[derive(Debug)]
pub(crate) struct Payer {
    name: String,
    browser: Browser,
    chance: Chance,
    payments: Vec<Payment>,
    over: Vec<Payment>,
    count: u64,
    /// What they learned since it was last taken.
    pub(crate) known: Vec<Known>,
    signed: BTreeSet<String>,
    /// Payments that went all the way.
    pub(crate) done: usize,
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

fn never<T>(what: &str, page: &Page) -> Result<T, Stopped> {
    Err(Stopped::Violation(Violation(format!("{what}: {}", page.told()))))
}

impl Payer {
    /// Somebody with this browser; all they do follows from the seed.
    pub(crate) fn new(name: String, browser: Browser, seed: u64) -> Self {
        Self {
            name,
            browser,
            chance: Chance::new(seed),
            payments: Vec::new(),
            over: Vec::new(),
            count: 0,
            known: Vec::new(),
            signed: BTreeSet::new(),
            done: 0,
        }
    }

    /// Does something with one of the payments.
    pub(crate) async fn step(&mut self) -> Result<(), Stopped> {
        if self.payments.len() < OPEN_MAX && self.chance.one_in(2) {
            self.count += 1;
            let new = self.new_payment();
            self.payments.push(new);
        }
        match self.chance.below(24) {
            // Another browser, another session: what was asked before is answered with the number, or never.
            3 => self.browser.forget(),
            0 => return self.pay_little().await,
            1 | 2 if !self.over.is_empty() => return self.try_again().await,
            _ => {}
        }
        if self.payments.is_empty() {
            return Ok(());
        }
        let which = self.chance.below(self.payments.len());
        let mut payment = self.payments[which].clone();
        let went = self.go_on(&mut payment).await;
        if matches!(payment.stage, Stage::Over(_)) {
            self.payments.remove(which);
            self.over.push(payment);
            if self.over.len() > OVER_KEPT {
                self.over.remove(0);
            }
        } else {
            self.payments[which] = payment;
        }
        went
    }

    fn new_payment(&mut self) -> Payment {
        let id = format!("{}-{}", self.name, self.count);
        let pad = "x".repeat(match self.chance.below(3) {
            0 => self.chance.below(LARGEST_PAD),
            _ => self.chance.below(100),
        });
        let amount = 10_001 + self.chance.below(90_000);
        let way = if self.chance.one_in(2) { Way::Script } else { Way::Form };
        let body = json!({ "amount": amount, "pad": pad }).to_string().into_bytes();
        let fields = vec![("amount".to_owned(), amount.to_string()), ("pad".to_owned(), pad)];
        let path = match way {
            Way::Script => format!("/api/payments/{id}/approve"),
            Way::Form => format!("/payments/{id}/approve"),
        };
        Payment { path, body, fields, way, stage: Stage::New }
    }

    async fn go_on(&mut self, payment: &mut Payment) -> Result<(), Stopped> {
        match payment.stage.clone() {
            Stage::New => self.ask(payment).await,
            Stage::Asked(id) => self.answer(payment, &id).await,
            Stage::Passed(id) => self.send(payment, &id).await,
            Stage::Over(_) => Ok(()),
        }
    }

    /// The request as it is sent for the first time, and again when nobody heard the answer.
    async fn request(&mut self, payment: &Payment, named: Option<&str>) -> Result<Page, Gone> {
        let url = self.browser.at_service(&payment.path);
        match payment.way {
            Way::Script => self.browser.call(Method::POST, url, named, &payment.body).await,
            Way::Form => {
                let form = stepgate_testkit::Form { action: url, fields: payment.fields.clone(), passkey: None };
                self.browser.submit(&form).await
            }
        }
    }

    async fn ask(&mut self, payment: &mut Payment) -> Result<(), Stopped> {
        let answer = self.request(payment, None).await?;
        self.was_asked(payment, &answer).await
    }

    /// Reads what came instead of an approval.
    async fn was_asked(&mut self, payment: &mut Payment, answer: &Page) -> Result<(), Stopped> {
        if answer.text().starts_with(MARK) {
            return never("let through, and nobody confirmed it", answer);
        }
        if let Some(id) = asked_for(answer) {
            self.known.push(Known::Asked(id.clone()));
            payment.stage = Stage::Asked(id);
            return Ok(());
        }
        match answer.status.as_u16() {
            // Questions whose ids nobody heard fill the session: another session it is.
            429 => self.browser.forget(),
            401 | 302 | 303 => {}
            _ => return never("no answer to a new payment", answer),
        }
        self.sign_in().await
    }

    async fn sign_in(&mut self) -> Result<(), Stopped> {
        let page = self.browser.sign_in().await?;
        match page.status.as_u16() {
            // A code that was used just when the gate died leads to a page that says so.
            200 | 403 => Ok(()),
            _ => never("nobody could sign in", &page),
        }
    }

    /// The challenge as the gate shows it, or nothing if the person has to sign in first.
    async fn look(&mut self, id: &str) -> Result<Option<Value>, Stopped> {
        let url = self.browser.at_gate(&format!("/challenges/{id}"));
        let page = self.browser.call(Method::GET, url, None, b"").await?;
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

    async fn answer(&mut self, payment: &mut Payment, id: &str) -> Result<(), Stopped> {
        // Now and then the person forgets that it has to be confirmed.
        if payment.way == Way::Script && self.chance.one_in(8) {
            let again = self.request(payment, Some(id)).await?;
            match (again.text().starts_with(MARK), self.signed.contains(id)) {
                (true, false) => return never("let through before it was confirmed", &again),
                // It was confirmed, and nobody had heard.
                (true, true) => {
                    self.approved(payment, id);
                    return Ok(());
                }
                (false, _) => {}
            }
        }
        let Some(shown) = self.look(id).await? else { return Ok(()) };
        match shown["state"].as_str().unwrap() {
            "passed" => {
                payment.stage = Stage::Passed(id.to_owned());
                Ok(())
            }
            "pending" if shown["asks_number"] == json!(true) || self.chance.one_in(12) => {
                self.cancel(payment, id).await
            }
            "pending" => {
                let options = &shown["factors"][0]["options"];
                let assertion = self.browser.touch(options);
                self.signed.insert(id.to_owned());
                self.known.push(Known::Signed(id.to_owned()));
                let url = self.browser.at_gate(&format!("/challenges/{id}/answers"));
                let body = json!({ "factor": "passkey", "assertion": assertion }).to_string();
                let answer = self.browser.call(Method::POST, url, None, body.as_bytes()).await?;
                match answer.status.as_u16() {
                    200 => {
                        self.known.push(Known::Passed(id.to_owned()));
                        payment.stage = Stage::Passed(id.to_owned());
                        Ok(())
                    }
                    // Locked for too many tries that a dying gate counted: another time, another payment.
                    429 => self.cancel(payment, id).await,
                    401 => self.sign_in().await,
                    // It is over by now: the next look says how.
                    409 => Ok(()),
                    _ => never("a right answer did not pass", &answer),
                }
            }
            _ => {
                payment.stage = Stage::Over(id.to_owned());
                Ok(())
            }
        }
    }

    fn approved(&mut self, payment: &mut Payment, id: &str) {
        self.known.push(Known::Approved(id.to_owned()));
        self.done += 1;
        payment.stage = Stage::Over(id.to_owned());
    }

    async fn cancel(&mut self, payment: &mut Payment, id: &str) -> Result<(), Stopped> {
        let url = self.browser.at_gate(&format!("/challenges/{id}"));
        let answer = self.browser.call(Method::DELETE, url, None, b"").await?;
        if answer.status.as_u16() == 401 {
            return self.sign_in().await;
        }
        payment.stage = Stage::Over(id.to_owned());
        Ok(())
    }

    async fn send(&mut self, payment: &mut Payment, id: &str) -> Result<(), Stopped> {
        let answer = match payment.way {
            Way::Script => {
                let named = self.chance.one_in(2).then_some(id);
                self.request(payment, named).await?
            }
            Way::Form => match self.come_back(id).await? {
                Some(answer) => answer,
                None => {
                    // Spent, expired, or of a session that is gone.
                    payment.stage = Stage::Over(id.to_owned());
                    return Ok(());
                }
            },
        };
        if answer.text().starts_with(MARK) {
            self.approved(payment, id);
            return Ok(());
        }
        match (asked_for(&answer), answer.status.as_u16()) {
            // It was spent, and nobody heard: this is a new question, which nobody answers.
            (Some(new), _) => {
                self.known.push(Known::Asked(new.clone()));
                self.cancel(payment, &new).await?;
                self.look(id).await?;
                payment.stage = Stage::Over(id.to_owned());
                Ok(())
            }
            (None, 401) => self.sign_in().await,
            (None, 200 | 303 | 403 | 409) => {
                self.look(id).await?;
                payment.stage = Stage::Over(id.to_owned());
                Ok(())
            }
            (None, _) => never("a confirmed payment did not go on", &answer),
        }
    }

    /// From the gate back to the service, where the held request is put in its place.
    async fn come_back(&mut self, id: &str) -> Result<Option<Page>, Stopped> {
        let Some(shown) = self.look(id).await? else { return Ok(None) };
        let Some(go_on) = shown["go_on"].as_str() else { return Ok(None) };
        let page = self.browser.open(url::Url::parse(go_on).unwrap()).await?;
        let Some(form) = page.forms().into_iter().find(|form| form.has("stepgate-resume")) else {
            return Ok(Some(page));
        };
        let answer = self.browser.submit(&form).await?;
        if self.chance.one_in(4) {
            // A double click.
            let again = self.browser.submit(&form).await?;
            if again.text().starts_with(MARK) {
                return never("a resume code was good twice", &again);
            }
        }
        Ok(Some(answer))
    }

    async fn pay_little(&mut self) -> Result<(), Stopped> {
        self.count += 1;
        let url = self.browser.at_service(&format!("/api/payments/small-{}-{}/approve", self.name, self.count));
        let answer = self.browser.call(Method::POST, url, None, br#"{"amount":900}"#).await?;
        match answer.status.as_u16() {
            200 => Ok(()),
            401 => self.sign_in().await,
            _ => never("a small payment is everyday", &answer),
        }
    }

    /// Something that is over is tried once more, with its confirmation.
    async fn try_again(&mut self) -> Result<(), Stopped> {
        let payment = self.over[self.chance.below(self.over.len())].clone();
        let Stage::Over(id) = &payment.stage else { return Ok(()) };
        let answer = match payment.way {
            Way::Script => self.request(&payment, Some(id)).await?,
            Way::Form => match self.come_back(id).await? {
                Some(answer) => answer,
                None => return Ok(()),
            },
        };
        if answer.text().starts_with(MARK) {
            // Passed before and given up too early: it is not known here, and the ledger says whether it was right.
            self.known.push(Known::Approved(id.clone()));
        }
        Ok(())
    }
}

/// The challenge that an answer asks to pass.
fn asked_for(answer: &Page) -> Option<String> {
    if let Some(to) = answer.redirect() {
        return to.path().strip_prefix("/challenges/").map(str::to_owned);
    }
    let problem: Value = serde_json::from_slice(&answer.body).ok()?;
    problem.pointer("/challenge/id").and_then(Value::as_str).map(str::to_owned)
}
