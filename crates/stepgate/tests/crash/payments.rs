//! Payments that need a confirmation: asked, confirmed and sent step by step, and gone
//! on with after each death of a gate.

use reqwest::Method;
use serde_json::{Value, json};
use stepgate_core::time::Timestamp;
use stepgate_testkit::Page;

use crate::audit::{Known, Violation};
use crate::client::Gone;
use crate::person::{Payer, Stopped, Told, asked_for, never};
use crate::upstream::MARK;

/// Payments of a person that are open at a time.
const OPEN_MAX: usize = 3;
/// Payments that are over, of each person, that are tried again now and then.
const OVER_KEPT: usize = 20;
/// The largest body, so that a request comes in several pieces.
const LARGEST_PAD: usize = 200_000;
/// A confirmation that was given can be spent for five minutes; so long, it must go on.
const MUST_GO_ON_MS: u128 = 4 * 60 * 1000;

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

/// One payment.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    path: String,
    body: Vec<u8>,
    fields: Vec<(String, String)>,
    way: Way,
    stage: Stage,
    /// Where and when it was asked for: node, its life, the person's session.
    asked_at: (usize, u32, u64),
    /// When its challenge was known to be passed.
    passed_at: Option<Timestamp>,
    /// It waited for a new sign-in, and that challenge was passed by it.
    is_adopted: bool,
}

impl Payment {
    /// The challenge of a call that is confirmed and not yet sent, as far as is known.
    pub(crate) fn unspent(&self) -> Option<&str> {
        match &self.stage {
            Stage::Passed(id) if self.way == Way::Script => Some(id),
            _ => None,
        }
    }

    /// Where and with what it is asked for.
    pub(crate) fn call(&self) -> (&str, &[u8]) {
        (&self.path, &self.body)
    }
}

impl Payer {
    /// Does something with one of the payments.
    pub(crate) async fn go_on_paying(&mut self) -> Result<(), Stopped> {
        if self.payments.is_empty() || self.payments.len() < OPEN_MAX && self.chance.one_in(2) {
            let new = self.new_payment();
            self.payments.push(new);
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

    /// A form that was open while the session lapsed: signing in again carries it on, as far as that goes.
    pub(crate) async fn pay_after_lunch(&mut self) -> Result<(), Stopped> {
        let mut payment = self.new_payment();
        while payment.way != Way::Form {
            payment = self.new_payment();
        }
        let went = self.go_on(&mut payment).await;
        self.payments.push(payment);
        went
    }

    fn new_payment(&mut self) -> Payment {
        let id = self.next_name();
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
        let (asked_at, passed_at) = ((0, 0, 0), None);
        Payment { path, body, fields, way, stage: Stage::New, asked_at, passed_at, is_adopted: false }
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
            self.is_asked(payment, id);
            return Ok(());
        }
        if let Some(waits) = answer.redirect().filter(|to| to.path() == "/sign-in" && payment.way == Way::Form) {
            return self.sign_in_again(payment, waits).await;
        }
        match answer.status.as_u16() {
            // Questions whose ids nobody heard fill the session: another session it is.
            429 => drop(self.browser.forget()),
            401 | 302 | 303 => {}
            _ => return never("no answer to a new payment", answer),
        }
        self.sign_in().await
    }

    fn is_asked(&mut self, payment: &mut Payment, id: String) {
        let node = self.browser.node;
        payment.asked_at = (node, self.nodes.get(node).life, self.sessions);
        payment.passed_at = None;
        self.known.push(Known::Asked(id.clone()));
        payment.stage = Stage::Asked(id);
    }

    fn is_passed(&self, payment: &mut Payment, id: &str) {
        payment.passed_at = payment.passed_at.or(Some(self.time.now()));
        payment.stage = Stage::Passed(id.to_owned());
    }

    /// The session had lapsed: the form is kept until the same person has signed in again.
    async fn sign_in_again(&mut self, payment: &mut Payment, waits: url::Url) -> Result<(), Stopped> {
        let id = waits.query_pairs().find(|(name, _)| name == "continue").map(|(_, id)| id.into_owned());
        let page = self.browser.open(waits).await?;
        let Some(id) = id else { return self.sign_in_on(page).await.map(drop) };
        self.known.push(Known::Asked(id.clone()));
        // The proof of the sign-in is what it waits for.
        self.signed.insert(id.clone());
        self.known.push(Known::Signed(id.clone()));
        self.sessions += 1;
        payment.is_adopted = true;
        payment.stage = Stage::Passed(id.clone());
        let node = self.browser.node;
        payment.asked_at = (node, self.nodes.get(node).life, self.sessions);
        let back = self.sign_in_on(page).await?;
        match back.forms().into_iter().find(|form| form.has("stepgate-resume")) {
            Some(form) => {
                let answer = self.browser.submit(&form).await?;
                self.was_sent(payment, &id, &answer).await
            }
            // It was lost on the way; the challenge's page leads back.
            None => Ok(()),
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
                self.is_passed(payment, id);
                Ok(())
            }
            "pending" if shown["asks_number"] == json!(true) || self.chance.one_in(12) => {
                self.give_up(payment, id).await
            }
            "pending" => match self.confirm_payment(payment, id, &shown).await? {
                Told::Passed => {
                    self.is_passed(payment, id);
                    Ok(())
                }
                // Locked for too many tries that a dying gate counted: another time, another payment.
                Told::Locked => self.give_up(payment, id).await,
                Told::SignIn => self.sign_in().await,
                // It is over by now: the next look says how.
                Told::Over | Told::Wrong => Ok(()),
            },
            _ => {
                payment.stage = Stage::Over(id.to_owned());
                Ok(())
            }
        }
    }

    async fn confirm_payment(&mut self, payment: &mut Payment, id: &str, shown: &Value) -> Result<Told, Stopped> {
        // If nobody hears that it was, it may be passed from now on.
        payment.passed_at = payment.passed_at.or(Some(self.time.now()));
        Ok(self.confirm(id, shown).await?.0)
    }

    fn approved(&mut self, payment: &mut Payment, id: &str) {
        self.known.push(Known::Approved(id.to_owned()));
        self.done.approved += 1;
        let node = self.browser.node;
        let (asked_at, life, _) = payment.asked_at;
        self.done.carried += usize::from((asked_at, life) != (node, self.nodes.get(node).life));
        payment.stage = Stage::Over(id.to_owned());
    }

    async fn give_up(&mut self, payment: &mut Payment, id: &str) -> Result<(), Stopped> {
        self.cancel(id).await?;
        payment.stage = Stage::Over(id.to_owned());
        Ok(())
    }

    async fn send(&mut self, payment: &mut Payment, id: &str) -> Result<(), Stopped> {
        let answer = match payment.way {
            Way::Script => {
                let named = self.chance.one_in(2).then_some(id);
                self.request(payment, named).await?
            }
            Way::Form => match self.come_back(payment, id).await? {
                Some(answer) => answer,
                None => {
                    // Spent, expired, or of a session that is gone.
                    payment.stage = Stage::Over(id.to_owned());
                    return Ok(());
                }
            },
        };
        self.was_sent(payment, id, &answer).await
    }

    /// Reads what came of something that was confirmed.
    async fn was_sent(&mut self, payment: &mut Payment, id: &str, answer: &Page) -> Result<(), Stopped> {
        if answer.text().starts_with(MARK) {
            if payment.is_adopted {
                return never("signing in again confirmed a payment", answer);
            }
            self.approved(payment, id);
            return Ok(());
        }
        match (asked_for(answer), answer.status.as_u16()) {
            // Signing in was not all that it takes: one more question carries it on.
            (Some(new), _) if payment.is_adopted && payment.way == Way::Form => {
                payment.is_adopted = false;
                self.done.adopted += 1;
                self.is_asked(payment, new);
                Ok(())
            }
            // It was spent, and nobody heard: this is a new question, which nobody answers.
            (Some(new), _) => {
                self.known.push(Known::Asked(new.clone()));
                self.cancel(&new).await?;
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
            (None, _) => never("a confirmed payment did not go on", answer),
        }
    }

    /// From the gate back to the service, where the held request is put in its place.
    async fn come_back(&mut self, payment: &Payment, id: &str) -> Result<Option<Page>, Stopped> {
        let Some(shown) = self.look(id).await? else { return Ok(None) };
        let Some(go_on) = shown["go_on"].as_str() else {
            let asked_here = payment.asked_at.2 == self.sessions;
            let in_time = payment.passed_at.and_then(|at| self.time.now().since(at));
            let in_time = in_time.is_some_and(|since| since.as_millis() < MUST_GO_ON_MS);
            // Whoever holds it, and wherever it was asked for: until it is spent it can be sent.
            if shown["state"] == "passed" && asked_here && in_time {
                let words = format!("a held payment that was confirmed cannot go on: {payment:?}: {shown}");
                return Err(Stopped::Violation(Violation(words)));
            }
            return Ok(None);
        };
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

    /// Something that is over is tried once more, with its confirmation.
    pub(crate) async fn try_again(&mut self) -> Result<(), Stopped> {
        if self.over.is_empty() {
            return Ok(());
        }
        let payment = self.over[self.chance.below(self.over.len())].clone();
        let Stage::Over(id) = &payment.stage else { return Ok(()) };
        let answer = match payment.way {
            Way::Script => self.request(&payment, Some(id)).await?,
            Way::Form => match self.come_back(&payment, id).await? {
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
