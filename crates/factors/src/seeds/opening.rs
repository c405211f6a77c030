//! Opening seeds that a file holds encrypted (RFC 6030, section 6): the MAC is verified before anything is decrypted.

use std::fmt;

use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap as _};
use aws_lc_rs::{hmac, pbkdf2};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::Seed;

/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// Iterations of PBKDF2 that a file may ask for.
const ITERATIONS_MAX: u32 = 5_000_000;
/// Bytes of salt that a file may have.
const SALT_MAX: usize = 1_024;

/// What opens a file's seeds.
pub enum OpensSeeds {
    /// A key that was agreed on (RFC 6030, section 6.1).
    Key(Zeroizing<Vec<u8>>),
    /// A passphrase (section 6.2).
    Passphrase(SecretString),
}

impl fmt::Debug for OpensSeeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpensSeeds(..)")
    }
}

/// The text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key of 16, 24 or 32 bytes in hexadecimal is expected")]
pub struct BadKey;

impl OpensSeeds {
    /// Reads a key, as hexadecimal digits.
    pub fn key(text: &str) -> Result<Self, BadKey> {
        let key = Zeroizing::new(hex::decode(text.trim()).map_err(|_| BadKey)?);
        if matches!(key.len(), 16 | 24 | 32) { Ok(Self::Key(key)) } else { Err(BadKey) }
    }
}

/// How a passphrase becomes a key (PKCS #5: PBKDF2).
pub(super) struct Derivation {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    pub(super) length: usize,
    pub(super) prf: Prf,
}

/// The pseudo-random function of PBKDF2.
#[derive(Clone, Copy)]
pub(super) enum Prf {
    HmacSha1,
    HmacSha256,
    HmacSha512,
}

impl Derivation {
    pub(super) fn derive(&self, passphrase: &SecretString) -> Result<Seed, &'static str> {
        let iterations = std::num::NonZeroU32::new(self.iterations).ok_or("no iteration is none")?;
        if self.iterations > ITERATIONS_MAX || self.salt.len() > SALT_MAX || !matches!(self.length, 16 | 24 | 32) {
            return Err("the passphrase would be derived with numbers that nobody uses");
        }
        let algorithm = match self.prf {
            Prf::HmacSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Prf::HmacSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Prf::HmacSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut key = Zeroizing::new(vec![0; self.length]);
        pbkdf2::derive(algorithm, iterations, &self.salt, passphrase.expose_secret().as_bytes(), &mut key);
        Ok(key)
    }
}

/// How a value is encrypted, by the names of XML Encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// AES in cipher block chaining, of any length of key; nothing protects it but a MAC beside it.
    AesCbc(usize),
    /// AES key wrap (RFC 3394), which says by itself when it was changed.
    AesKw(usize),
}

impl Encryption {
    pub(super) fn named(algorithm: &str) -> Option<Self> {
        match algorithm.strip_prefix("http://www.w3.org/2001/04/xmlenc#")? {
            "aes128-cbc" => Some(Self::AesCbc(16)),
            "aes192-cbc" => Some(Self::AesCbc(24)),
            "aes256-cbc" => Some(Self::AesCbc(32)),
            "kw-aes128" => Some(Self::AesKw(16)),
            "kw-aes256" => Some(Self::AesKw(32)),
            _ => None,
        }
    }

    /// Decrypts what has been verified, or says by itself that it was changed. `None` if the key is not of its length,
    /// or it does not come out.
    pub(super) fn open(self, key: &[u8], sealed: &[u8]) -> Option<Seed> {
        match self {
            Self::AesCbc(length) => (key.len() == length).then(|| cbc(key, sealed)).flatten(),
            Self::AesKw(length) => (key.len() == length).then(|| unwrap(key, sealed)).flatten(),
        }
    }
}

/// The initialization vector stands before what it is for; the last byte says how much is padding, whatever the rest
/// of it is (XML Encryption, section 5.2).
fn cbc(key: &[u8], sealed: &[u8]) -> Option<Seed> {
    let (iv, rest) = sealed.split_at_checked(BLOCK)?;
    if rest.is_empty() || !rest.len().is_multiple_of(BLOCK) {
        return None;
    }
    let algorithm = match key.len() {
        16 => &cipher::AES_128,
        24 => &cipher::AES_192,
        _ => &cipher::AES_256,
    };
    let key = UnboundCipherKey::new(algorithm, key).ok()?;
    let context = DecryptionContext::Iv128(FixedLength::try_from(iv).ok()?);
    let mut plain = Zeroizing::new(rest.to_vec());
    let opened = PaddedBlockDecryptingKey::cbc_iso10126(key).ok()?.decrypt(&mut plain, context).ok()?;
    Some(Zeroizing::new(opened.to_vec()))
}

fn unwrap(key: &[u8], sealed: &[u8]) -> Option<Seed> {
    let kek = AesKek::new(if key.len() == 16 { &AES_128 } else { &AES_256 }, key).ok()?;
    let mut plain = Zeroizing::new(vec![0; sealed.len()]);
    let opened = kek.unwrap(sealed, &mut plain).ok()?;
    Some(Zeroizing::new(opened.to_vec()))
}

/// How a MAC is made, by the names of XML Signature.
pub(super) fn mac_algorithm(name: &str) -> Option<hmac::Algorithm> {
    match name {
        "http://www.w3.org/2000/09/xmldsig#hmac-sha1" => Some(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256" => Some(hmac::HMAC_SHA256),
        "http://www.w3.org/2001/04/xmldsig-more#hmac-sha512" => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

/// Whether this is the MAC of that, in constant time.
pub(super) fn is_mac(algorithm: hmac::Algorithm, key: &[u8], of: &[u8], mac: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(algorithm, key), of, mac).is_ok()
}
