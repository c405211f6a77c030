//! Codes of hardware tokens that count: RFC 4226.

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{
    Answer, BegunEnrolment, Binding, Enrolled, EnrolledFactor, EnrolmentAnswer, Factor, FactorKind, FactorSecret,
    FactorUse, Moves, NotEnrolled, NotProved, OathHash, OathKey, Prompt, Proved,
};
use stepgate_core::person::Person;
use stepgate_core::time::{Randomness, Timestamp};

use crate::oath::{Codes, is_digits};

/// Codes in a row that bring a token back whose counter is far ahead (RFC 4226, section 7.4).
pub const IN_A_ROW: usize = 2;

/// How far ahead of the last accepted code a token may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookAhead {
    /// So many codes from the next one on count by themselves (RFC 4226, section 7.2: `s`).
    pub codes: u32,
    /// So many may begin [`IN_A_ROW`] codes, typed one after the other (section 7.4).
    pub resync: u32,
}

impl Default for LookAhead {
    fn default() -> Self {
        Self { codes: 10, resync: 100 }
    }
}

/// Codes of a token that counts.
#[derive(Clone, Copy, Debug)]
pub struct Hotp {
    ahead: LookAhead,
}

/// What a typed code is to a token.
enum Found {
    /// The code of this counter, or of this and those before it: it is the last accepted one then.
    Counter(u64),
    /// What was accepted last, once more.
    Last,
}

impl Hotp {
    /// Codes that may be so far ahead.
    pub const fn new(ahead: LookAhead) -> Self {
        Self { ahead }
    }

    /// What the typed digits are to a token; `None` if they are no code of it that counts. Of one code `codes`
    /// counters are looked at, of several `resync`: each try has no more chances than that.
    fn find(&self, key: &OathKey, last: Option<u64>, typed: &str) -> Result<Option<Found>, String> {
        let codes = Codes::of(key)?;
        let row = in_row(typed, usize::from(key.digits));
        let is_row = |first: u64| {
            let counter = |at: usize| first.checked_add(u64::try_from(at).ok()?);
            row.iter().enumerate().all(|(at, code)| counter(at).is_some_and(|counter| codes.is(counter, code)))
        };
        let more = u64::try_from(row.len()).unwrap_or(u64::MAX).saturating_sub(1);
        if last.is_some_and(|last| last >= more && is_row(last.saturating_sub(more))) {
            return Ok(Some(Found::Last));
        }
        let next = last.map_or(0, |last| last.saturating_add(1));
        let window = if row.len() > 1 { self.ahead.resync } else { self.ahead.codes };
        let first = (next..next.saturating_add(u64::from(window))).find(|first| is_row(*first));
        Ok(first.map(|first| Found::Counter(first.saturating_add(more))))
    }
}

/// The codes that were typed: one, or [`IN_A_ROW`] of them without anything between.
fn in_row(typed: &str, digits: usize) -> Vec<&str> {
    let (first, second) = typed.split_at_checked(digits).unwrap_or((typed, ""));
    if second.is_empty() { vec![first] } else { vec![first, second] }
}

/// Whether it has the form of one code or of several of this token.
fn has_form(key: &OathKey, typed: &str) -> bool {
    let digits = usize::from(key.digits);
    is_digits(typed, digits) || is_digits(typed, digits * IN_A_ROW)
}

#[async_trait]
impl Factor for Hotp {
    fn kind(&self) -> FactorKind {
        FactorKind::Hotp
    }

    fn prompt(&self, _: &[EnrolledFactor], _: Binding) -> Prompt {
        Prompt::Text
    }

    async fn verify(
        &self,
        enrolled: &[EnrolledFactor],
        answer: &Answer,
        _: Binding,
        now: Timestamp,
    ) -> Result<Proved, NotProved> {
        let Answer::Text { kind: FactorKind::Hotp, text } = answer else {
            return Err(NotProved::Malformed("not a hardware code".to_owned()));
        };
        let mut failure = NotProved::NotEnrolled;
        for factor in enrolled {
            let FactorSecret::Oath { key, last, token } = &factor.secret else { continue };
            if token.as_ref().is_some_and(|token| token.is_over(now)) {
                failure = NotProved::Wrong("the token's time is over".to_owned());
                continue;
            }
            if key.moves != Moves::Counts {
                continue;
            }
            if !has_form(key, text.expose_secret()) {
                if failure == NotProved::NotEnrolled {
                    failure = NotProved::Malformed("not as many digits as a code has, or two in a row".to_owned());
                }
                continue;
            }
            match self.find(key, *last, text.expose_secret()).map_err(NotProved::Fault)? {
                Some(Found::Counter(counter)) => {
                    let used = FactorUse::Moved(counter);
                    return Ok(Proved { factor: factor.id, kind: FactorKind::Hotp, used, assertion: None });
                }
                Some(Found::Last) => failure = NotProved::UsedBefore { last: Some(factor.id) },
                None if matches!(failure, NotProved::UsedBefore { .. }) => {}
                None => failure = NotProved::Wrong("no code of the next ones".to_owned()),
            }
        }
        Err(failure)
    }

    async fn verify_nobody(&self, answer: &Answer) -> Result<(), NotProved> {
        let Answer::Text { text, .. } = answer else { return Ok(()) };
        let seed = SecretString::from("A".repeat(32));
        let nobody = OathKey { seed, hash: OathHash::Sha1, digits: 6, moves: Moves::Counts };
        if has_form(&nobody, text.expose_secret()) {
            let _ = std::hint::black_box(self.find(&nobody, None, text.expose_secret()));
        }
        Ok(())
    }

    /// A token is not made here: it is imported, handed out, and activated by its holder.
    fn begin_enrolment(
        &self,
        _: &Person,
        _: &[EnrolledFactor],
        _: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        Err(handed_out())
    }

    async fn finish_enrolment(
        &self,
        _: &Person,
        _: &[EnrolledFactor],
        _: &SecretString,
        _: &EnrolmentAnswer,
        _: Timestamp,
    ) -> Result<Enrolled, NotEnrolled> {
        Err(handed_out())
    }
}

fn handed_out() -> NotEnrolled {
    NotEnrolled::Refused("A hardware token is handed out by your administrator.".to_owned())
}

#[cfg(test)]
mod tests;
