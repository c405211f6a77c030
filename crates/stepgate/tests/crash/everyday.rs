//! Payments that need no confirmation, or one at times: as the policy of the moment says.

use reqwest::Method;

use crate::audit::Known;
use crate::person::{Payer, Stopped, asked_for, never};
use crate::upstream::{MARK, MEDIUM, SMALL};

impl Payer {
    /// An everyday payment.
    pub(crate) async fn pay_little(&mut self) -> Result<(), Stopped> {
        let path = format!("{SMALL}{}/approve", self.next_name());
        let url = self.browser.at_service(&path);
        let answer = self.browser.call(Method::POST, url, None, br#"{"amount":900}"#).await?;
        match answer.status.as_u16() {
            200 => Ok(()),
            401 => self.sign_in().await,
            _ => never("a small payment is everyday", &answer),
        }
    }

    /// A payment of 7,000: the policy of the moment says whether it is everyday.
    pub(crate) async fn pay_medium(&mut self) -> Result<(), Stopped> {
        let node = self.browser.node;
        let before = self.nodes.get(node);
        let path = format!("{MEDIUM}{}/approve", self.next_name());
        let url = self.browser.at_service(&path);
        let answer = self.browser.call(Method::POST, url, None, br#"{"amount":7000}"#).await?;
        let is_strict = before.is_strict.filter(|_| before == self.nodes.get(node));
        let asked = asked_for(&answer);
        if answer.text().starts_with(MARK) || asked.is_some() {
            self.done.medium += 1;
        }
        match (asked, is_strict) {
            (Some(_), Some(false)) => never("asked for what the policy lets through", &answer),
            (None, Some(true)) if answer.text().starts_with(MARK) => {
                never("let through by a policy that had been replaced", &answer)
            }
            (Some(id), _) => {
                self.known.push(Known::Asked(id.clone()));
                self.cancel(&id).await
            }
            (None, _) => match answer.status.as_u16() {
                200 => Ok(()),
                401 => self.sign_in().await,
                429 => {
                    self.browser.forget();
                    self.sign_in().await
                }
                _ => never("no answer to a medium payment", &answer),
            },
        }
    }
}
