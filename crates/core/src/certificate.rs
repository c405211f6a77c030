//! Client certificates, as doors and flows need them.
//!
//! Whoever holds the connection implements [`ShownCertificate`]; what is judged is never
//! the handshake alone: chain, times and revocation are looked at when the certificate
//! is to count for something.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::time::Timestamp;

/// SHA-256 of a certificate's DER bytes: `x5t#S256` (RFC 8705, section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// The digest as it is.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads `x5t#S256`: base64url without padding. There is one spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let this = Self(bytes.try_into().ok()?);
        (this.to_string() == text).then_some(this)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

/// Why a certificate counts for nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// It cannot be read, or says critically what nobody here understands.
    #[error("the certificate cannot be read")]
    Malformed,
    /// Nobody who is believed here issued it.
    #[error("the certificate was issued by nobody who is believed here")]
    UnknownIssuer,
    /// Its time is over, or that of a certificate between it and the anchor.
    #[error("the certificate has expired")]
    Expired,
    /// Its time has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// Its issuer took it back.
    #[error("the certificate was revoked")]
    Revoked,
    /// No list of its issuer is here, so nobody knows whether it was revoked.
    #[error("no revocation list of the certificate's issuer is loaded")]
    RevocationUnknown,
    /// The list is older than its issuer says that it may be.
    #[error("the revocation list of the certificate's issuer is past its next update")]
    RevocationListExpired,
    /// It was issued for something else than clients.
    #[error("the certificate was not issued for clients")]
    Purpose,
    /// Something in the chain is wrong: a signature, a constraint, its length.
    #[error("the certificate's chain does not hold")]
    Chain,
}

impl CertificateFault {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "certificate_malformed",
            Self::UnknownIssuer => "certificate_issuer",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::Revoked => "certificate_revoked",
            Self::RevocationUnknown => "certificate_revocation_unknown",
            Self::RevocationListExpired => "certificate_revocation_list_expired",
            Self::Purpose => "certificate_purpose",
            Self::Chain => "certificate_chain",
        }
    }
}

/// A certificate that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCertificate {
    /// What the configuration calls those who vouch for it.
    pub vouched_by: Arc<str>,
    /// Its thumbprint.
    pub thumbprint: Thumbprint,
    /// Until then nothing but a revocation ends it.
    pub until: Timestamp,
}

/// The certificate that a connection showed, together with the proof of its key.
pub trait ShownCertificate: Send + Sync + fmt::Debug {
    /// Judges it as of now, by what is loaded now.
    ///
    /// # Errors
    ///
    /// [`CertificateFault`]: it counts for nothing.
    fn held(&self, now: Timestamp) -> Result<HeldCertificate, CertificateFault>;
}
