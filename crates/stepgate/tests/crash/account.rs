//! What people do at the gate's own origin: new recovery codes, signing out, signing out
//! others. And what somebody tries who has kept the cookies of a session that ended.

use reqwest::Method;
use stepgate_testkit::Page;

use crate::audit::Known;
use crate::client::Browser;
use crate::nodes::Moment;
use crate::person::{Payer, Stopped, Told, asked_for, never};
use crate::upstream::{MARK, SMALL};

/// Sessions that have ended and are tried again now and then.
const REVOKED_KEPT: usize = 20;
/// The letters of a recovery code, with its hyphens.
const CODE_LEN: usize = 19;

/// A browser whose session has ended, and when that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Revoked {
    browser: Browser,
    then: Moment,
}

impl Payer {
    /// New recovery codes: confirmed with the passkey, and the old ones are worth nothing.
    pub(crate) async fn enrol(&mut self) -> Result<(), Stopped> {
        let account = self.account().await?;
        let forms = || account.forms().into_iter().filter(|form| form.action.path() == "/account/factors");
        let kind = ("kind".to_owned(), "recovery_code".to_owned());
        let replace = forms().find(|form| form.fields.contains(&kind));
        let add = || forms().find(|form| !form.has("kind")).map(|form| form.press("kind", "recovery_code"));
        let Some(form) = replace.or_else(add) else { return Ok(()) };
        let asked = self.browser.submit(&form).await?;
        let Some(id) = asked_for(&asked) else { return Ok(()) };
        self.known.push(Known::Asked(id.clone()));
        let Some(shown) = self.look(&id).await? else { return Ok(()) };
        if shown["state"] != "pending" {
            return Ok(());
        }
        let (told, answer) = self.confirm(&id, &shown).await?;
        if told != Told::Passed {
            return Ok(());
        }
        let Some(go_on) = answer.json()["go_on"].as_str().map(str::to_owned) else {
            return never("a confirmed enrolment leads nowhere", &answer);
        };
        let back = self.browser.open(url::Url::parse(&go_on).unwrap()).await?;
        let Some(resume) = back.forms().into_iter().find(|form| form.has("stepgate-resume")) else { return Ok(()) };
        let began = self.browser.submit(&resume).await?;
        let Some(ticket) = began.redirect() else { return never("a confirmed enrolment does not begin", &began) };
        let page = self.browser.open(ticket).await?;
        let codes = codes_on(&page);
        let Some(form) = page.forms().into_iter().find(|form| form.action.path().ends_with("/recovery_code")) else {
            return never("no recovery codes are shown", &page);
        };
        // From now on the old ones may be worth nothing, and the new ones something.
        self.proofs.recovery_codes.clear();
        let done = self.browser.submit(&form).await?;
        if done.redirect().is_none_or(|to| to.path() != "/account") {
            return never("recovery codes were not taken", &done);
        }
        self.proofs.recovery_codes = codes;
        self.done.enrolled += 1;
        Ok(())
    }

    /// One's own account, signed in.
    async fn account(&mut self) -> Result<Page, Stopped> {
        let page = self.browser.open(self.browser.at_gate("/account")).await?;
        if page.url.path() == "/sign-in" {
            self.sessions += 1;
        }
        self.sign_in_on(page).await
    }

    /// Signs out, here and at every service; the cookies are kept by a thief.
    pub(crate) async fn sign_out(&mut self) -> Result<(), Stopped> {
        // Both origins have tokens of one and the same session then.
        self.account().await?;
        self.browser.forget_service();
        let page = self.browser.open(self.browser.at_service("/payments")).await?;
        if !page.text().starts_with(MARK) {
            return Ok(());
        }
        let asks = self.browser.open(self.browser.at_gate("/sign-out")).await?;
        let Some(form) = asks.forms().into_iter().find(|form| form.action.path() == "/sign-out") else {
            return Ok(());
        };
        let thief = self.browser.clone();
        self.sessions += 1;
        let answer = self.browser.submit(&form).await?;
        if answer.status != 200 {
            return never("nobody could sign out", &answer);
        }
        let unspent = self.payments.iter().find(|payment| payment.unspent().is_some()).cloned();
        let then = self.nodes.moment(self.browser.node);
        self.keep_revoked(Revoked { browser: thief.clone(), then });
        // What was confirmed is not spent for it, at any node, at once.
        if let Some(payment) = unspent {
            let mut thief = thief;
            thief.node = self.nodes.another_than(thief.node);
            let (path, body) = payment.call();
            let answer = thief.call(Method::POST, thief.at_service(path), payment.unspent(), body).await?;
            if answer.text().starts_with(MARK) {
                return never("something was spent on a session that had ended", &answer);
            }
        }
        Ok(())
    }

    /// Signs out every other browser.
    pub(crate) async fn end_others(&mut self) -> Result<(), Stopped> {
        let account = self.account().await?;
        let form = account.forms().into_iter().find(|form| form.action.path() == "/account/sessions/end-others");
        let Some(form) = form else { return Ok(()) };
        let others = std::mem::take(&mut self.left_behind);
        let answer = self.browser.submit(&form).await?;
        if answer.redirect().is_none_or(|to| to.path() != "/account") {
            return never("nobody could sign out others", &answer);
        }
        let then = self.nodes.moment(self.browser.node);
        for browser in others {
            self.keep_revoked(Revoked { browser, then: then.clone() });
        }
        Ok(())
    }

    fn keep_revoked(&mut self, revoked: Revoked) {
        self.revoked.push(revoked);
        if self.revoked.len() > REVOKED_KEPT {
            self.revoked.remove(0);
        }
    }

    /// With the cookies of a session that ended, where that must be known.
    pub(crate) async fn steal(&mut self) -> Result<(), Stopped> {
        if self.revoked.is_empty() {
            return Ok(());
        }
        let Revoked { browser: mut thief, then } = self.revoked[self.chance.below(self.revoked.len())].clone();
        thief.node = self.browser.node;
        if !self.nodes.must_know(thief.node, &then) {
            return Ok(());
        }
        self.done.thefts += 1;
        let url = thief.at_service(&format!("{SMALL}{}/approve", self.next_name()));
        let small = thief.call(Method::POST, url, None, br#"{"amount":900}"#).await?;
        let page = thief.open(thief.at_service("/payments")).await?;
        let account = thief.open(thief.at_gate("/account")).await?;
        for answer in [small, page] {
            if answer.text().starts_with(MARK) {
                return never("let through for a session that had ended", &answer);
            }
        }
        match account.url.path() {
            "/sign-in" => Ok(()),
            _ => never("an account is shown for a session that had ended", &account),
        }
    }
}

/// The recovery codes that a page shows.
fn codes_on(page: &Page) -> Vec<String> {
    let is_code = |word: &str| {
        let hyphens = word.bytes().filter(|byte| *byte == b'-').count();
        word.len() == CODE_LEN && hyphens == 3 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let text = page.text();
    let words = text.split("<code>").skip(1).filter_map(|after| after.split("</code>").next());
    words.filter(|word| is_code(word)).map(str::to_owned).collect()
}
