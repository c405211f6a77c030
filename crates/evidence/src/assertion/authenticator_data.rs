//! What the authenticator said: WebAuthn Level 3, section 6.1.

use ciborium::Value;

/// Longest authenticator data in bytes; without extensions it is 37.
pub const MAX_AUTHENTICATOR_DATA: usize = 2048;

/// How deep the outputs of extensions may nest.
const MAX_DEPTH: usize = 8;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED_CREDENTIAL: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// What the authenticator said at an assertion. The two reserved flags are let be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatorData {
    /// SHA-256 of the relying party's id.
    pub rp_id_hash: [u8; 32],
    /// Somebody touched it.
    pub user_present: bool,
    /// It verified who: by PIN, finger, face.
    pub user_verified: bool,
    /// The credential may be synced.
    pub backup_eligible: bool,
    /// The credential is synced.
    pub backed_up: bool,
    /// How many signatures it made, or zero.
    pub counter: u32,
}

/// Why authenticator data cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthenticatorData {
    /// Shorter than its fixed part.
    #[error("shorter than 37 bytes")]
    TooShort,
    /// A new credential is attested, which only registration does.
    #[error("it attests a credential")]
    AttestsCredential,
    /// The extensions' outputs are not one CBOR map that ends with the data.
    #[error("the extensions are malformed")]
    Extensions,
    /// Bytes follow that nothing announced.
    #[error("bytes are left over")]
    LeftOver,
}

impl AuthenticatorData {
    /// Reads the authenticator data of an assertion.
    ///
    /// # Errors
    ///
    /// [`BadAuthenticatorData`] unless the bytes are accounted for to the last one.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadAuthenticatorData> {
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or(BadAuthenticatorData::TooShort)?;
        let (&flags, rest) = rest.split_first().ok_or(BadAuthenticatorData::TooShort)?;
        let (counter, rest) = rest.split_first_chunk::<4>().ok_or(BadAuthenticatorData::TooShort)?;
        if flags & ATTESTED_CREDENTIAL != 0 {
            return Err(BadAuthenticatorData::AttestsCredential);
        }
        if flags & EXTENSIONS != 0 {
            read_extensions(rest)?;
        } else if !rest.is_empty() {
            return Err(BadAuthenticatorData::LeftOver);
        }
        let is = |flag| flags & flag != 0;
        Ok(Self {
            rp_id_hash: *rp_id_hash,
            user_present: is(USER_PRESENT),
            user_verified: is(USER_VERIFIED),
            backup_eligible: is(BACKUP_ELIGIBLE),
            backed_up: is(BACKED_UP),
            counter: u32::from_be_bytes(*counter),
        })
    }
}

/// None is asked for, so none is used; but what follows must be what was announced.
fn read_extensions(bytes: &[u8]) -> Result<(), BadAuthenticatorData> {
    let mut rest = bytes;
    let read = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH);
    match read {
        Ok(Value::Map(_)) if rest.is_empty() => Ok(()),
        Ok(Value::Map(_)) => Err(BadAuthenticatorData::LeftOver),
        _ => Err(BadAuthenticatorData::Extensions),
    }
}
