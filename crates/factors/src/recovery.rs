//! Recovery codes: look-up secrets of SP 800-63B-4 section 3.1.2.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use stepgate_core::factor::{
    Answer, BegunEnrolment, Binding, CodeDigest, Enrolled, EnrolledFactor, EnrolmentAnswer, EnrolmentOffer, Factor,
    FactorKind, FactorSecret, FactorUse, NotEnrolled, NotProved, Prompt, Proved,
};
use stepgate_core::person::Person;
use stepgate_core::time::{Randomness, Timestamp};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::begun;

/// How many codes a person gets.
pub(crate) const CODES: usize = 10;
/// Symbols of one code: 16 of 5 bits are 80 bits of chance. From 64 bits on, a salted
/// digest of an approved hash suffices (SP 800-63B-4 section 3.1.2.2).
const SYMBOLS: usize = 16;
/// Symbols between hyphens.
const GROUP: usize = 4;
/// Crockford's base 32, lower-case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Longest typed text that is read at all, in bytes.
const TYPED_LEN_MAX: usize = 64;
/// Bytes of salt at the front of a digest.
const SALT: usize = 8;

/// A code in its one spelling: sixteen symbols of the alphabet.
struct Code(Zeroizing<String>);

impl Code {
    fn random(random: &dyn Randomness) -> Self {
        let mut bytes = Zeroizing::new([0_u8; SYMBOLS]);
        random.fill(bytes.as_mut());
        // 256 is a multiple of 32, so five bits of each byte are evenly spread.
        let symbol = |byte: &u8| char::from(ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'0'));
        Self(Zeroizing::new(bytes.iter().map(symbol).collect()))
    }

    /// Folds what was typed, once, and everything after sees only the result
    /// (attack B60): case, hyphens and spaces mean nothing, and `o`, `i`, `l` are
    /// read as the digits that they look like.
    fn read(typed: &str) -> Option<Self> {
        if typed.len() > TYPED_LEN_MAX {
            return None;
        }
        let mut code = Zeroizing::new(String::with_capacity(SYMBOLS));
        for symbol in typed.chars().filter(|symbol| !matches!(symbol, '-' | ' ')) {
            let symbol = match symbol.to_ascii_lowercase() {
                'o' => '0',
                'i' | 'l' => '1',
                other => other,
            };
            if !symbol.is_ascii() || !ALPHABET.contains(&(symbol as u8)) || code.len() == SYMBOLS {
                return None;
            }
            code.push(symbol);
        }
        (code.len() == SYMBOLS).then_some(Self(code))
    }

    /// As it is shown: `abcd-efgh-jkmn-pqrs`.
    fn shown(&self) -> SecretString {
        let mut shown = String::with_capacity(SYMBOLS + SYMBOLS / GROUP);
        for (index, symbol) in self.0.chars().enumerate() {
            if index > 0 && index % GROUP == 0 {
                shown.push('-');
            }
            shown.push(symbol);
        }
        SecretString::from(shown)
    }

    /// Salt, and the first 24 bytes of SHA-256 over purpose, salt and code. The salt
    /// lies inside, so a digest needs nothing else to be checked.
    fn digest(&self, salt: [u8; SALT]) -> CodeDigest {
        let mut hash = Sha256::new();
        hash.update(b"stepgate/recovery-code/v1\0");
        hash.update(salt);
        hash.update(self.0.as_bytes());
        let mut digest = [0; 32];
        let (front, back) = digest.split_at_mut(SALT);
        front.copy_from_slice(&salt);
        for (to, from) in back.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        CodeDigest(digest)
    }

    /// The one of these digests that is this code's. Looks at all of them.
    fn find(&self, left: &[CodeDigest]) -> Option<CodeDigest> {
        let mut found = None;
        for digest in left {
            let mut salt = [0; SALT];
            salt.iter_mut().zip(digest.0).for_each(|(to, from)| *to = from);
            if bool::from(self.digest(salt).0.ct_eq(&digest.0)) {
                found = Some(*digest);
            }
        }
        found
    }
}

/// Recovery codes: ten, shown once, each of them good for one proof.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryCodes;

#[async_trait]
impl Factor for RecoveryCodes {
    fn kind(&self) -> FactorKind {
        FactorKind::RecoveryCode
    }

    fn prompt(&self, _: &[EnrolledFactor], _: Binding) -> Prompt {
        Prompt::Text
    }

    async fn verify(
        &self,
        enrolled: &[EnrolledFactor],
        answer: &Answer,
        _: Binding,
        _: Timestamp,
    ) -> Result<Proved, NotProved> {
        let Answer::Text { kind: FactorKind::RecoveryCode, text } = answer else {
            return Err(NotProved::Malformed("not a recovery code".to_owned()));
        };
        let code = Code::read(text.expose_secret())
            .ok_or_else(|| NotProved::Malformed("not of the form of a recovery code".to_owned()))?;
        let mut is_enrolled = false;
        for factor in enrolled {
            let FactorSecret::RecoveryCodes { left } = &factor.secret else { continue };
            is_enrolled = true;
            if let Some(digest) = code.find(left) {
                return Ok(Proved {
                    factor: factor.id,
                    kind: FactorKind::RecoveryCode,
                    used: FactorUse::RecoveryCode(digest),
                    assertion: None,
                });
            }
        }
        // A code that was spent is not there any more: it is as wrong as any other.
        Err(if is_enrolled { NotProved::Wrong("no such code is left".to_owned()) } else { NotProved::NotEnrolled })
    }

    async fn verify_nobody(&self, answer: &Answer) -> Result<(), NotProved> {
        let Answer::Text { text, .. } = answer else { return Ok(()) };
        if let Some(code) = Code::read(text.expose_secret()) {
            std::hint::black_box(code.find(&[CodeDigest([0; 32]); CODES]));
        }
        Ok(())
    }

    fn begin_enrolment(
        &self,
        person: &Person,
        _: &[EnrolledFactor],
        random: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        let mut codes = Vec::with_capacity(CODES);
        let mut digests = Vec::with_capacity(CODES);
        for _ in 0..CODES {
            let code = Code::random(random);
            let mut salt = [0; SALT];
            random.fill(&mut salt);
            digests.push(URL_SAFE_NO_PAD.encode(code.digest(salt).0));
            codes.push(code.shown());
        }
        // Only the digests are kept: the codes are on the page and nowhere else.
        let state = begun::keep(FactorKind::RecoveryCode, person.id, digests)?;
        Ok(BegunEnrolment { offer: EnrolmentOffer::RecoveryCodes { codes }, state, link: None })
    }

    async fn finish_enrolment(
        &self,
        person: &Person,
        _: &[EnrolledFactor],
        state: &SecretString,
        answer: &EnrolmentAnswer,
        _: Timestamp,
    ) -> Result<Enrolled, NotEnrolled> {
        let EnrolmentAnswer::Text(_) = answer else {
            return Err(NotEnrolled::Refused("nothing is asked here but that the codes are kept".to_owned()));
        };
        let digests: Vec<String> = begun::open(FactorKind::RecoveryCode, person.id, state)?;
        let read = |text: &String| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(CodeDigest);
        let left: Option<Vec<CodeDigest>> = digests.iter().map(read).collect();
        let left = left.ok_or_else(|| NotEnrolled::Fault("what was begun cannot be read".to_owned()))?;
        Ok(Enrolled { secret: FactorSecret::RecoveryCodes { left }, key: None })
    }
}
