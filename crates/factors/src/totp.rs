//! Codes of an authenticator app, or of a hardware token with a clock: RFC 6238.

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{
    Answer, BegunEnrolment, Binding, Enrolled, EnrolledFactor, EnrolmentAnswer, EnrolmentOffer, Factor, FactorKind,
    FactorSecret, FactorUse, Moves, NotEnrolled, NotProved, OathKey, Prompt, Proved,
};
use stepgate_core::person::Person;
use stepgate_core::time::{Randomness, Timestamp};
use totp_rs::{Algorithm, Builder, Secret};
use zeroize::Zeroizing;

use crate::begun;
use crate::oath::{Codes, is_digits};
use crate::qr::qr;

/// Bytes of a seed: 160 bits, as RFC 4226 section 4 recommends.
const SEED_LEN: usize = 20;
/// Digits of a code.
const DIGITS: u8 = 6;
/// Seconds of a step (RFC 6238 section 5.2; SP 800-63B-4 allows two minutes at most).
const STEP_S: u64 = 30;
/// Steps before and after the present one whose code counts (RFC 6238 section 5.2).
const SKEW: u64 = 1;
/// SHA-1, because many apps silently use it whatever they are told; HMAC is not hurt by its collisions.
const ALGORITHM: Algorithm = Algorithm::SHA1;
/// Longest issuer that is shown in an app, in characters.
const ISSUER_LEN_MAX: usize = 60;

/// Six digits from an authenticator app.
#[derive(Clone, Debug)]
pub struct Totp {
    issuer: String,
}

impl Totp {
    /// Codes for a gate that apps call `issuer`.
    pub fn new(issuer: &str) -> Self {
        let issuer: String = label(issuer).chars().take(ISSUER_LEN_MAX).collect();
        Self { issuer: if issuer.is_empty() { "Stepgate".to_owned() } else { issuer } }
    }

    /// What the page shows for this secret: the same each time.
    fn offer(&self, person: &Person, secret: Secret) -> Result<EnrolmentOffer, NotEnrolled> {
        let totp = Builder::new()
            .with_algorithm(ALGORITHM)
            .with_digits(DIGITS)
            .with_step_duration(STEP_S)
            .with_issuer(Some(self.issuer.as_str()))
            .with_account_name(label(person.login.as_str()))
            .with_secret(secret)
            .build()
            .map_err(|error| NotEnrolled::Fault(error.to_string()))?;
        let base32 = totp.secret().to_base32();
        let uri = totp.to_url().map_err(|error| NotEnrolled::Fault(error.to_string()))?;
        let qr_svg = SecretString::from(qr(&uri)?);
        Ok(EnrolmentOffer::Totp { uri: uri.into(), secret_base32: base32.into(), qr_svg })
    }
}

/// A colon separates issuer and account in the URI, so neither may contain one.
fn label(text: &str) -> String {
    text.trim().replace(':', "-")
}

/// A code of an app has the form that is asked for: six digits.
fn is_code(text: &str) -> bool {
    is_digits(text, usize::from(DIGITS))
}

/// The whole seconds since 1970 of a moment; `None` before it.
fn seconds(now: Timestamp) -> Option<u64> {
    u64::try_from(now.as_ms()).ok().map(|ms| ms / 1000)
}

/// The code that an authenticator app with this seed shows at `at`; `None` if the
/// seed is no base32 or the clock stands before 1970. For those who play the app:
/// the demo and tests.
pub fn code_at(seed_base32: &SecretString, at: Timestamp) -> Option<String> {
    let step = seconds(at)? / STEP_S;
    Some(Codes::of(&OathKey::of_app(seed_base32.clone())).ok()?.code(step).expose_secret().to_owned())
}

/// The step whose code this is; `None` if it is of no step around now, or the key counts.
fn matched(key: &OathKey, code: &str, now: Timestamp) -> Result<Option<u64>, String> {
    let at = seconds(now).ok_or("the clock stands before 1970")?;
    let Moves::Clock { step_s } = key.moves else { return Ok(None) };
    let step = at.checked_div(u64::from(step_s)).ok_or("the step has no length")?;
    let codes = Codes::of(key)?;
    Ok((step.saturating_sub(SKEW)..=step.saturating_add(SKEW)).find(|step| codes.is(*step, code)))
}

#[async_trait]
impl Factor for Totp {
    fn kind(&self) -> FactorKind {
        FactorKind::Totp
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
        let Answer::Text { kind: FactorKind::Totp, text } = answer else {
            return Err(NotProved::Malformed("not an authenticator code".to_owned()));
        };
        let code = text.expose_secret();
        let mut failure = NotProved::NotEnrolled;
        for factor in enrolled {
            let FactorSecret::Oath { key, last, token } = &factor.secret else { continue };
            if token.as_ref().is_some_and(|token| token.is_over(now)) {
                failure = NotProved::Wrong("the token's time is over".to_owned());
                continue;
            }
            if !is_digits(code, usize::from(key.digits)) {
                if failure == NotProved::NotEnrolled {
                    failure = NotProved::Malformed("not as many digits as a code has".to_owned());
                }
                continue;
            }
            match matched(key, code, now).map_err(NotProved::Fault)? {
                Some(step) if last.is_none_or(|last| step > last) => {
                    return Ok(Proved {
                        factor: factor.id,
                        kind: FactorKind::Totp,
                        used: FactorUse::Moved(step),
                        assertion: None,
                    });
                }
                // RFC 6238 section 5.2: a code is accepted once. A lower step than the
                // last is refused as well, so that a slower writer cannot turn it back.
                Some(step) => {
                    let last = (*last == Some(step)).then_some(factor.id);
                    failure = NotProved::UsedBefore { last };
                }
                None if matches!(failure, NotProved::UsedBefore { .. }) => {}
                None => failure = NotProved::Wrong("not the code of now".to_owned()),
            }
        }
        Err(failure)
    }

    async fn verify_nobody(&self, answer: &Answer) -> Result<(), NotProved> {
        let Answer::Text { text, .. } = answer else { return Ok(()) };
        if is_code(text.expose_secret()) {
            let nobody = OathKey::of_app(SecretString::from(Secret::from([0; SEED_LEN]).to_base32()));
            let _ = std::hint::black_box(matched(&nobody, text.expose_secret(), Timestamp::from_ms(1_000_000)));
        }
        Ok(())
    }

    fn begin_enrolment(
        &self,
        person: &Person,
        _: &[EnrolledFactor],
        random: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        random.fill(seed.as_mut());
        let secret = Secret::from(*seed);
        let base32 = SecretString::from(secret.to_base32());
        let offer = self.offer(person, secret)?;
        let state = begun::keep(FactorKind::Totp, person.id, base32.expose_secret())?;
        Ok(BegunEnrolment { offer, state, link: None })
    }

    fn offer_again(&self, person: &Person, state: &SecretString) -> Option<EnrolmentOffer> {
        let seed: SecretString = begun::open::<String>(FactorKind::Totp, person.id, state).ok()?.into();
        self.offer(person, Secret::try_from_base32(seed.expose_secret()).ok()?).ok()
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
            return Err(NotEnrolled::Refused("the first code of the app is expected".to_owned()));
        };
        let seed: SecretString = begun::open::<String>(FactorKind::Totp, person.id, state)?.into();
        if !is_code(code.expose_secret()) {
            return Err(NotEnrolled::Refused("The code is exactly six digits.".to_owned()));
        }
        match matched(&OathKey::of_app(seed.clone()), code.expose_secret(), now).map_err(NotEnrolled::Fault)? {
            // The code that finishes the enrolment is used up by it.
            Some(step) => Ok(Enrolled { secret: FactorSecret::app(seed, Some(step)), key: None }),
            None => Err(NotEnrolled::Refused(
                "That is not the code of now. Check that the clock of your device is right, and try the next one."
                    .to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use stepgate_core::factor::OathHash;

    use super::*;

    /// RFC 6238, appendix B.
    const RFC_6238: [(u64, &str, &str, &str); 6] = [
        (59, "94287082", "46119246", "90693936"),
        (1_111_111_109, "07081804", "68084774", "25091201"),
        (1_111_111_111, "14050471", "67062674", "99943326"),
        (1_234_567_890, "89005924", "91819424", "93441116"),
        (2_000_000_000, "69279037", "90698825", "38618901"),
        (20_000_000_000, "65353130", "77737706", "47863826"),
    ];

    fn seed(len: usize) -> Vec<u8> {
        b"1234567890".iter().copied().cycle().take(len).collect()
    }

    #[test]
    fn the_codes_of_rfc_6238_in_all_three_algorithms() {
        for (at, sha1, sha256, sha512) in RFC_6238 {
            for (hash, len, expected) in
                [(OathHash::Sha1, 20, sha1), (OathHash::Sha256, 32, sha256), (OathHash::Sha512, 64, sha512)]
            {
                let seed = SecretString::from(Secret::from(seed(len)).to_base32());
                let key = OathKey { seed, hash, digits: 8, moves: Moves::Clock { step_s: 30 } };
                let now = Timestamp::from_ms(i64::try_from(at).unwrap() * 1000);
                assert_eq!(matched(&key, expected, now), Ok(Some(at / 30)), "{hash:?} at {at}");
                assert_eq!(Codes::of(&key).unwrap().code(at / 30).expose_secret(), expected, "{hash:?} at {at}");
            }
        }
    }

    #[test]
    fn the_last_six_digits_of_rfc_6238_are_accepted_at_their_time() {
        let seed = OathKey::of_app(SecretString::from(Secret::from(seed(20)).to_base32()));
        for (at, sha1, _, _) in RFC_6238 {
            let now = Timestamp::from_ms(i64::try_from(at).unwrap() * 1000);
            let Ok(Some(step)) = matched(&seed, &sha1[2..], now) else { panic!("refused at {at}") };
            assert_eq!(step, at / 30, "at {at}");
        }
    }

    #[test]
    fn a_clock_before_1970_is_a_fault_and_not_a_match() {
        let seed = OathKey::of_app(SecretString::from(Secret::from(seed(20)).to_base32()));
        assert!(matched(&seed, "000000", Timestamp::from_ms(-1)).is_err());
    }

    #[test]
    fn colons_cannot_move_the_border_between_issuer_and_account() {
        assert_eq!(Totp::new("A:B").issuer, "A-B");
        assert_eq!(Totp::new("").issuer, "Stepgate");
    }
}
