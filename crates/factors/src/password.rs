//! Passwords: SP 800-63B-4 section 3.1.1, argon2id (RFC 9106).

mod rules;

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::{Error as HashError, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{
    Answer, BegunEnrolment, Binding, Enrolled, EnrolledFactor, EnrolmentAnswer, EnrolmentOffer, Factor, FactorKind,
    FactorSecret, FactorUse, NotEnrolled, NotProved, Prompt, Proved,
};
use stepgate_core::person::Person;
use stepgate_core::time::{Randomness, Timestamp};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::begun;

pub use rules::PasswordRules;

/// What one hash costs: 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet).
const HASH_MEMORY_KIB: u32 = 19 * 1024;
const HASH_PASSES: u32 = 2;
const HASH_LANES: u32 = 1;
/// Hashes that are computed at the same time: with [`HASH_MEMORY_KIB`] the memory that passwords can take.
const HASHES_AT_ONCE: usize = 4;
/// Answers that wait for their turn; one more is refused at once as a fault.
const HASHES_WAITING: usize = 256;
/// Bytes of salt.
const SALT_LEN: usize = 16;
/// Longest password, in Unicode code points as typed. SP 800-63B-4 section 3.1.1.2 wants 64 at least.
pub(crate) const CODE_POINTS_MAX: usize = 256;

/// A password as it is hashed.
///
/// NFKC (SP 800-63B-4 section 3.1.1.2), so that two keyboards that spell one
/// character differently type one password. Nothing else is changed: no trimming,
/// no cutting.
struct Normalised(Zeroizing<String>);

impl Normalised {
    /// `None` if it is empty or longer than [`CODE_POINTS_MAX`].
    fn read(typed: &SecretString) -> Option<Self> {
        let typed = typed.expose_secret();
        if typed.is_empty() || typed.chars().nth(CODE_POINTS_MAX).is_some() {
            return None;
        }
        Some(Self(Zeroizing::new(typed.nfkc().collect())))
    }
}

/// A password of a local account.
pub struct Password {
    rules: PasswordRules,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").finish_non_exhaustive()
    }
}

fn argon2id() -> Result<Argon2<'static>, String> {
    let params = Params::new(HASH_MEMORY_KIB, HASH_PASSES, HASH_LANES, None).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// PHC string of a password.
fn hash(password: &Normalised, salt: &[u8]) -> Result<SecretString, String> {
    let hash = argon2id()?.hash_password_with_salt(password.0.as_bytes(), salt);
    hash.map(|hash| hash.to_string().into()).map_err(|error| error.to_string())
}

/// Whether this PHC string is of this password.
fn is_of(password: &Normalised, phc: &SecretString) -> Result<bool, String> {
    let stored = PasswordHash::new(phc.expose_secret()).map_err(|error| error.to_string())?;
    match argon2id()?.verify_password(password.0.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

impl Password {
    /// Passwords under these rules.
    pub fn new(rules: PasswordRules) -> Self {
        Self {
            rules,
            running: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            waiting: Arc::new(Semaphore::new(HASHES_WAITING)),
        }
    }

    /// Does the work of a hash where it stops nobody else, in its turn.
    ///
    /// The permits go with the work: memory stays bounded even when whoever asked
    /// has gone away.
    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let waiting =
            Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| "too many passwords are being checked")?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|error| error.to_string())?;
        drop(waiting);
        let work = tokio::task::spawn_blocking(move || {
            let done = job();
            drop(running);
            done
        });
        work.await.map_err(|error| error.to_string())?
    }

    /// The work of a verification, for nobody.
    async fn work_for_nobody(&self, password: Normalised) -> Result<(), String> {
        self.work(move || hash(&password, &[0; SALT_LEN]).map(drop)).await
    }
}

#[async_trait]
impl Factor for Password {
    fn kind(&self) -> FactorKind {
        FactorKind::Password
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
        let Answer::Text { kind: FactorKind::Password, text } = answer else {
            return Err(NotProved::Malformed("not a password".to_owned()));
        };
        let password = Normalised::read(text)
            .ok_or_else(|| NotProved::Malformed(format!("a password is 1 to {CODE_POINTS_MAX} characters")))?;
        // A person has one password: a new one replaces it.
        let stored = enrolled.iter().find_map(|factor| match &factor.secret {
            FactorSecret::Password { phc, .. } => Some((factor.id, phc.clone())),
            _ => None,
        });
        let Some((id, phc)) = stored else {
            self.work_for_nobody(password).await.map_err(NotProved::Fault)?;
            return Err(NotProved::NotEnrolled);
        };
        if !self.work(move || is_of(&password, &phc)).await.map_err(NotProved::Fault)? {
            return Err(NotProved::Wrong("another password".to_owned()));
        }
        Ok(Proved { factor: id, kind: FactorKind::Password, used: FactorUse::Nothing, assertion: None })
    }

    async fn verify_nobody(&self, answer: &Answer) -> Result<(), NotProved> {
        let Answer::Text { text, .. } = answer else { return Ok(()) };
        match Normalised::read(text) {
            Some(password) => self.work_for_nobody(password).await.map_err(NotProved::Fault),
            None => Ok(()),
        }
    }

    fn begin_enrolment(
        &self,
        person: &Person,
        _: &[EnrolledFactor],
        random: &dyn Randomness,
    ) -> Result<BegunEnrolment, NotEnrolled> {
        let mut salt = [0; SALT_LEN];
        random.fill(&mut salt);
        let state = begun::keep(FactorKind::Password, person.id, URL_SAFE_NO_PAD.encode(salt))?;
        Ok(BegunEnrolment { offer: EnrolmentOffer::Password, state, link: None })
    }

    async fn finish_enrolment(
        &self,
        person: &Person,
        existing: &[EnrolledFactor],
        state: &SecretString,
        answer: &EnrolmentAnswer,
        _: Timestamp,
    ) -> Result<Enrolled, NotEnrolled> {
        let EnrolmentAnswer::Text(text) = answer else {
            return Err(NotEnrolled::Refused("a new password is expected".to_owned()));
        };
        let salt: String = begun::open(FactorKind::Password, person.id, state)?;
        let salt = URL_SAFE_NO_PAD.decode(salt).map_err(|error| NotEnrolled::Fault(error.to_string()))?;
        let password = Normalised::read(text).ok_or_else(|| {
            NotEnrolled::Refused(format!("A password is at most {CODE_POINTS_MAX} characters long, and not empty."))
        })?;
        let judged = self.rules.judge(&password.0, person, existing);
        let stands = judged.map_err(|refusal| NotEnrolled::Refused(refusal.to_string()))?;
        let phc = self.work(move || hash(&password, &salt)).await.map_err(NotEnrolled::Fault)?;
        Ok(Enrolled { secret: FactorSecret::Password { phc, stands }, key: None })
    }
}

#[cfg(test)]
mod tests {
    use stepgate_core::id::FactorId;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_is_the_same_fault_for_a_person_and_for_nobody() {
        let password = Password::new(PasswordRules::new(std::iter::empty()));
        let answer = Answer::Text { kind: FactorKind::Password, text: "quiet heron at dusk".into() };
        let stored = EnrolledFactor {
            id: FactorId::from_bytes([1; 16]),
            name: String::new(),
            enrolled_at: Timestamp::from_ms(0),
            last_used_at: None,
            last_used_from: None,
            secret: FactorSecret::Password {
                phc: "$argon2id$".into(),
                stands: stepgate_core::factor::PasswordStands::Alone,
            },
        };
        let all = u32::try_from(HASHES_WAITING).unwrap();
        let _full = password.waiting.acquire_many(all).await.unwrap();
        let nobody = password.verify_nobody(&answer).await;
        assert!(matches!(nobody, Err(NotProved::Fault(_))), "{nobody:?}");
        for enrolled in [vec![stored], Vec::new()] {
            let outcome = password.verify(&enrolled, &answer, Binding([0; 32]), Timestamp::from_ms(0)).await;
            assert_eq!(outcome.map(|_| ()), nobody);
        }
    }
}
