use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stepgate_ledger::jcs;

/// Length of the salt of a commitment, in bytes (128 bits).
pub const SALT_LEN: usize = 16;

/// The salt of one commitment: unpredictable, so that what was erased cannot be
/// guessed and tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; SALT_LEN]);

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// What lies beside the tree: personal data and statements, which can be erased.
///
/// The entry holds only [`Details::commitment`], so erasing the details breaks
/// no proof.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    /// The salt; erased together with the body.
    pub salt: Salt,
    /// A JSON object. Integers above 2^53 stand as strings.
    pub body: Value,
}

/// Why details cannot be committed to.
#[derive(Debug, thiserror::Error)]
pub enum DetailsError {
    /// The body has no canonical form.
    #[error("details have no canonical form")]
    NotCanonical(#[source] jcs::NotCanonical),
}

const CONTEXT: &[u8] = b"stepgate/details/v1\0";

impl Details {
    /// `SHA-256("stepgate/details/v1" ‖ 0x00 ‖ salt ‖ JCS(body))`, in lower-case hex.
    pub fn commitment(&self) -> Result<String, DetailsError> {
        let body = jcs::canonical(&self.body).map_err(DetailsError::NotCanonical)?;
        let mut hash = Sha256::new();
        hash.update(CONTEXT);
        hash.update(self.salt.0);
        hash.update(&body);
        Ok(hex::encode(hash.finalize()))
    }
}
