//! The kinds of factors, and what each of them is worth.

use std::fmt;
use std::str::FromStr;

/// A kind of factor.
///
/// In the order of trouble: what is asked first when several would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactorKind {
    /// A passkey or security key with user verification (WebAuthn).
    Passkey,
    /// A code from an authenticator app (RFC 6238).
    Totp,
    /// A password of a local account.
    Password,
    /// A recovery code (look-up secret of SP 800-63B-4): single use.
    RecoveryCode,
}

impl FactorKind {
    /// All kinds, least trouble first.
    pub const ALL: [Self; 4] = [Self::Passkey, Self::Totp, Self::Password, Self::RecoveryCode];

    /// The name in policy, configuration, evidence and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "totp",
            Self::Password => "password",
            Self::RecoveryCode => "recovery_code",
        }
    }

    /// What it is called on pages.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "authenticator code",
            Self::Password => "password",
            Self::RecoveryCode => "recovery code",
        }
    }

    /// The same with its article: `an authenticator code`.
    pub const fn one(self) -> &'static str {
        match self {
            Self::Passkey => "a passkey",
            Self::Totp => "an authenticator code",
            Self::Password => "a password",
            Self::RecoveryCode => "a recovery code",
        }
    }

    /// Whether it raises `context.age.second_factor`.
    pub const fn is_second_factor(self) -> bool {
        match self {
            Self::Passkey | Self::Totp | Self::RecoveryCode => true,
            Self::Password => false,
        }
    }

    /// Whether a password may be shorter beside it. Recovery codes are spares: who has lost
    /// everything else is left with the password alone.
    pub const fn stands_beside_a_password(self) -> bool {
        matches!(self, Self::Passkey | Self::Totp)
    }

    /// Whether it is phishing-resistant by verifier-name binding (SP 800-63B-4).
    pub const fn is_phishing_resistant(self) -> bool {
        matches!(self, Self::Passkey)
    }

    /// Something the person knows.
    pub const fn is_knowledge(self) -> bool {
        matches!(self, Self::Password)
    }

    /// Something the person has.
    pub const fn is_possession(self) -> bool {
        matches!(self, Self::Passkey | Self::Totp | Self::RecoveryCode)
    }

    /// Authentication method references (RFC 8176).
    pub const fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Passkey => &["swk", "user", "mfa"],
            Self::Totp => &["otp"],
            Self::Password => &["pwd"],
            Self::RecoveryCode => &["kba"],
        }
    }
}

impl fmt::Display for FactorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no kind of factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a factor: passkey, totp, password or recovery_code is expected")]
pub struct NotAFactor;

impl FromStr for FactorKind {
    type Err = NotAFactor;

    fn from_str(text: &str) -> Result<Self, NotAFactor> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(NotAFactor)
    }
}
