//! Codes that are sent to somebody: by e-mail, or to a phone.
//!
//! The code itself is made and sent by the flow; here is what verifies it.

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use stepgate_core::factor::{
    Answer, BegunEnrolment, Binding, CodeDigest, CodeTo, Destination, Enrolled, EnrolledFactor, EnrolmentAnswer,
    EnrolmentOffer, Factor, FactorKind, FactorSecret, FactorUse, NotEnrolled, NotProved, OpenCode, Prompt, Proved,
};
use stepgate_core::flows::CODE_DIGITS;
use stepgate_core::person::Person;
use stepgate_core::time::{Randomness, Timestamp};
use subtle::ConstantTimeEq as _;

use crate::begun;

/// What a code proves that enrols an address. One for a challenge proves nothing here, and the other way round.
const ENROLMENT: Binding = Binding([0; 32]);

/// Codes to e-mail addresses or to phones, whichever kind it is made for.
#[derive(Clone, Copy, Debug)]
pub struct SentCodes {
    kind: FactorKind,
}

/// What is kept of an enrolment.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    to: String,
    digest: String,
    expires_at_ms: i64,
}

impl SentCodes {
    /// Codes by e-mail.
    pub const fn by_email() -> Self {
        Self { kind: FactorKind::EmailCode }
    }

    /// Codes to phones, which count as this.
    pub const fn to_phones(counts_as: stepgate_core::factor::Strength) -> Self {
        Self { kind: FactorKind::PhoneCode(counts_as) }
    }

    fn is_mine(&self, kind: FactorKind) -> bool {
        self.kind.is_same_factor(kind)
    }

    fn read(&self, text: &str) -> Option<Destination> {
        match self.kind {
            FactorKind::EmailCode => Destination::email(text),
            _ => Destination::phone(text),
        }
    }
}

/// A code of the form that is sent: nothing is trimmed and nothing is folded, so a code has one
/// spelling (attack B60).
fn is_code(text: &str) -> bool {
    text.len() == CODE_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn newest(factor: &EnrolledFactor) -> Option<(&Destination, Option<&OpenCode>)> {
    match &factor.secret {
        FactorSecret::Address { to, newest } => Some((to, newest.as_ref())),
        _ => None,
    }
}

#[async_trait]
impl Factor for SentCodes {
    fn kind(&self) -> FactorKind {
        self.kind
    }

    fn prompt(&self, enrolled: &[EnrolledFactor], binding: Binding) -> Prompt {
        let one = |factor: &EnrolledFactor| {
            let (to, code) = newest(factor)?;
            let open = code.filter(|code| code.binding == binding && !code.is_used);
            Some(CodeTo {
                factor: factor.id,
                masked: to.masked(),
                sent: open.map(|code| (code.expires_at, code.delivery)),
            })
        };
        Prompt::SentCode { to: enrolled.iter().filter_map(one).collect() }
    }

    async fn verify(
        &self,
        enrolled: &[EnrolledFactor],
        answer: &Answer,
        binding: Binding,
        now: Timestamp,
    ) -> Result<Proved, NotProved> {
        let text = match answer {
            Answer::Text { kind, text } if self.is_mine(*kind) => text,
            _ => return Err(NotProved::Malformed("not a code that was sent".to_owned())),
        };
        if !is_code(text.expose_secret()) {
            return Err(NotProved::Malformed(format!("a code is exactly {CODE_DIGITS} digits")));
        }
        let mut failure = NotProved::NotEnrolled;
        for factor in enrolled {
            let Some((_, code)) = newest(factor) else { continue };
            failure = NotProved::Wrong("not the newest code that was sent for this".to_owned());
            let Some(code) = code.filter(|code| code.is(binding, text)) else { continue };
            if code.is_used {
                return Err(NotProved::UsedBefore { last: Some(factor.id) });
            }
            if now >= code.expires_at {
                return Err(NotProved::Wrong("the code came too late".to_owned()));
            }
            let used = FactorUse::SentCode(code.id);
            return Ok(Proved { factor: factor.id, kind: self.kind, used, assertion: None });
        }
        Err(failure)
    }

    async fn verify_nobody(&self, answer: &Answer) -> Result<(), NotProved> {
        let Answer::Text { text, .. } = answer else { return Ok(()) };
        std::hint::black_box(OpenCode::digest_of(ENROLMENT, text));
        Ok(())
    }

    fn begin_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        _: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        let known = match self.kind {
            FactorKind::EmailCode => Some(self.destination(person, existing, "")?),
            _ => None,
        };
        let state = begun::keep(self.kind, person.id, ())?;
        Ok(BegunEnrolment { offer: EnrolmentOffer::Address { known }, state, link: None })
    }

    /// An e-mail address is the one that the directory has of the person, whatever is typed: a code there
    /// proves that address, not any.
    fn destination(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        typed: &str,
    ) -> Result<Destination, NotEnrolled> {
        let refused = |why: &str| NotEnrolled::Refused(why.to_owned());
        let to = match self.kind {
            FactorKind::EmailCode => self.read(&person.email).ok_or_else(|| {
                refused("There is no e-mail address of yours that mail can be sent to. Ask your administrator.")
            }),
            _ => self.read(typed).ok_or_else(|| refused("A number with its country is expected: +41 79 123 45 67.")),
        }?;
        if existing.iter().any(|one| newest(one).is_some_and(|(known, _)| *known == to)) {
            return Err(refused("You have it already."));
        }
        Ok(to)
    }

    fn begin_with_code(
        &self,
        person: &Person,
        to: &Destination,
        code: &SecretString,
        expires_at: Timestamp,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        let begun = Begun {
            to: to.expose().to_owned(),
            digest: hex::encode(OpenCode::digest_of(ENROLMENT, code).0),
            expires_at_ms: expires_at.as_ms(),
        };
        let state = begun::keep(self.kind, person.id, begun)?;
        Ok(BegunEnrolment { offer: EnrolmentOffer::SentCode { to: to.clone() }, state, link: None })
    }

    fn offer_again(&self, person: &Person, state: &SecretString) -> Option<EnrolmentOffer> {
        let begun: Begun = begun::open(self.kind, person.id, state).ok()?;
        Some(EnrolmentOffer::SentCode { to: self.read(&begun.to)? })
    }

    async fn finish_enrolment(
        &self,
        person: &Person,
        _: &[EnrolledFactor],
        state: &SecretString,
        answer: &EnrolmentAnswer,
        now: Timestamp,
    ) -> Result<Enrolled, NotEnrolled> {
        let EnrolmentAnswer::Text(code) = answer else {
            return Err(NotEnrolled::Refused("the code that was sent is expected".to_owned()));
        };
        let begun: Begun = begun::open(self.kind, person.id, state)
            .map_err(|_| NotEnrolled::Refused("No code was sent yet.".to_owned()))?;
        let unreadable = || NotEnrolled::Fault("what was begun cannot be read".to_owned());
        let mut digest = [0; 32];
        hex::decode_to_slice(&begun.digest, &mut digest).map_err(|_| unreadable())?;
        if !is_code(code.expose_secret()) {
            return Err(NotEnrolled::Refused(format!("The code is exactly {CODE_DIGITS} digits.")));
        }
        let CodeDigest(typed) = OpenCode::digest_of(ENROLMENT, code);
        if !bool::from(typed.ct_eq(&digest)) {
            return Err(NotEnrolled::Refused("That is not the code that was sent last.".to_owned()));
        }
        if now >= Timestamp::from_ms(begun.expires_at_ms) {
            return Err(NotEnrolled::Refused("That code came too late. Have another one sent.".to_owned()));
        }
        let to = self.read(&begun.to).ok_or_else(unreadable)?;
        Ok(Enrolled { secret: FactorSecret::Address { to, newest: None }, key: None })
    }
}

#[cfg(test)]
mod tests {
    use stepgate_core::factor::CodeDelivery;
    use stepgate_core::id::Id;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

    fn text(code: &str) -> Answer {
        Answer::Text { kind: FactorKind::EmailCode, text: code.into() }
    }

    fn enrolled(id: u8, code: Option<(&str, Binding, i64, bool)>) -> EnrolledFactor {
        let newest = code.map(|(code, binding, in_ms, is_used)| OpenCode {
            id: Id::from_bytes([id; 16]),
            binding,
            digest: OpenCode::digest_of(binding, &code.into()),
            expires_at: Timestamp::from_ms(NOW.as_ms() + in_ms),
            is_used,
            delivery: CodeDelivery::Taken,
        });
        let to = Destination::email(&format!("a{id}@example.com")).unwrap();
        EnrolledFactor {
            id: Id::from_bytes([id; 16]),
            name: "E-mail".to_owned(),
            enrolled_at: NOW,
            last_used_at: None,
            last_used_from: None,
            secret: FactorSecret::Address { to, newest },
        }
    }

    async fn said(enrolled: &[EnrolledFactor], code: &str, binding: Binding) -> String {
        match SentCodes::by_email().verify(enrolled, &text(code), binding, NOW).await {
            Ok(proved) => format!("{:?}", proved.used),
            Err(why) => why.code().to_owned(),
        }
    }

    #[tokio::test]
    async fn a_code_counts_once_in_its_time_and_for_what_it_was_sent_for() {
        let (this, other) = (Binding([7; 32]), Binding([8; 32]));
        let right = [enrolled(1, None), enrolled(2, Some(("01234567", this, 1, false)))];
        assert!(said(&right, "01234567", this).await.starts_with("SentCode("));
        assert_eq!(said(&right, "01234567", other).await, "wrong", "it was sent for another challenge");
        assert_eq!(said(&right, "01234568", this).await, "wrong");
        assert_eq!(said(&[enrolled(1, None)], "01234567", this).await, "wrong", "none was sent");
        assert_eq!(said(&[], "01234567", this).await, "not_enrolled");
        let late = [enrolled(2, Some(("01234567", this, 0, false)))];
        assert_eq!(said(&late, "01234567", this).await, "wrong");
        let used = [enrolled(2, Some(("01234567", this, 1, true)))];
        assert_eq!(said(&used, "01234567", this).await, "used_before");
        assert_eq!(said(&used, "01234567", other).await, "wrong");
    }

    #[tokio::test]
    async fn b60_a_code_that_is_sent_has_one_spelling() {
        let this = Binding([7; 32]);
        let right = [enrolled(2, Some(("01234567", this, 1, false)))];
        for bad in ["", " 01234567", "01234567 ", "0123 4567", "1234567", "001234567", "0123456７", "+1234567"] {
            assert_eq!(said(&right, bad, this).await, "malformed", "{bad:?}");
        }
    }

    /// A code that was mailed to enrol an address is none for a challenge, and the other way round.
    #[tokio::test]
    async fn b145_what_enrols_an_address_confirms_nothing() {
        let forged = [enrolled(2, Some(("01234567", ENROLMENT, 1, false)))];
        assert_eq!(said(&forged, "01234567", Binding([7; 32])).await, "wrong");
    }
}
