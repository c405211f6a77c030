//! What HOTP and TOTP have in common: RFC 6238 is RFC 4226 with a clock for a counter.

use secrecy::{ExposeSecret as _, SecretString};
use stepgate_core::factor::{Moves, OathHash, OathKey};
use subtle::ConstantTimeEq as _;
use totp_rs::{Algorithm, Builder, Secret, Totp};

/// Makes the codes of one key.
pub(crate) struct Codes {
    totp: Totp,
    /// Seconds of a step; of a counter one, so that the library's time is the counter.
    step_s: u64,
}

impl Codes {
    /// Of this key. The text of an error is for the operator.
    pub(crate) fn of(key: &OathKey) -> Result<Self, String> {
        let secret = Secret::try_from_base32(key.seed.expose_secret()).map_err(|_| "the seed is not base32")?;
        let step_s = match key.moves {
            Moves::Counts => 1,
            Moves::Clock { step_s } => u64::from(step_s),
        };
        let algorithm = match key.hash {
            OathHash::Sha1 => Algorithm::SHA1,
            OathHash::Sha256 => Algorithm::SHA256,
            OathHash::Sha512 => Algorithm::SHA512,
        };
        let builder = Builder::new().with_algorithm(algorithm).with_digits(key.digits).with_step_duration(step_s);
        let totp = builder.with_secret(secret).build().map_err(|error| error.to_string())?;
        Ok(Self { totp, step_s })
    }

    /// The code of a counter or step.
    pub(crate) fn code(&self, number: u64) -> SecretString {
        SecretString::from(self.totp.generate(number.saturating_mul(self.step_s)).to_string())
    }

    /// Whether it is the code of that counter or step, in constant time.
    pub(crate) fn is(&self, number: u64, typed: &str) -> bool {
        self.code(number).expose_secret().as_bytes().ct_eq(typed.as_bytes()).into()
    }
}

/// Whether it is digits and nothing else: nothing is trimmed and nothing is folded, so a code has one spelling
/// (attack B60).
pub(crate) fn is_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
}
