//! The kinds of factors, and what each of them is worth.

use std::fmt;
use std::str::FromStr;

use super::Strength;

/// A kind of factor.
///
/// In the order of trouble: what is asked first when several would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactorKind {
    /// A passkey or security key with user verification (WebAuthn).
    Passkey,
    /// A code from an authenticator app (RFC 6238).
    Totp,
    /// A login at the company's identity provider, and what it counts as.
    Idp(Strength),
    /// A password of a local account.
    Password,
    /// A recovery code (look-up secret of SP 800-63B-4): single use.
    RecoveryCode,
}

impl FactorKind {
    /// The kinds that people enrol here, least trouble first.
    pub const OWN: [Self; 4] = [Self::Passkey, Self::Totp, Self::Password, Self::RecoveryCode];

    /// The name in policy, configuration, evidence and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "totp",
            Self::Idp(_) => "idp",
            Self::Password => "password",
            Self::RecoveryCode => "recovery_code",
        }
    }

    /// What it is called on pages.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "authenticator code",
            Self::Idp(_) => "company login",
            Self::Password => "password",
            Self::RecoveryCode => "recovery code",
        }
    }

    /// The same with its article: `an authenticator code`.
    pub const fn one(self) -> &'static str {
        match self {
            Self::Passkey => "a passkey",
            Self::Totp => "an authenticator code",
            Self::Idp(_) => "a company login",
            Self::Password => "a password",
            Self::RecoveryCode => "a recovery code",
        }
    }

    /// What a proof by it counts as.
    pub const fn strength(self) -> Strength {
        let possession = Strength::SECOND_FACTOR.and(Strength::POSSESSION);
        match self {
            Self::Passkey => possession.and(Strength::PHISHING_RESISTANT),
            Self::Totp | Self::RecoveryCode => possession,
            Self::Password => Strength::KNOWLEDGE,
            Self::Idp(strength) => strength,
        }
    }

    /// Whether a proof by this does for one that was asked for: it is the same factor,
    /// and counts as no less.
    pub fn does_for(self, asked: Self) -> bool {
        match (self, asked) {
            (Self::Idp(proved), Self::Idp(wanted)) => proved.covers(wanted),
            _ => self == asked,
        }
    }

    /// Whether it is the same factor, whatever it counts as.
    pub fn is_same_factor(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// Whether a password may be shorter beside it. Recovery codes are spares: who has lost
    /// everything else is left with the password alone.
    pub const fn stands_beside_a_password(self) -> bool {
        matches!(self, Self::Passkey | Self::Totp)
    }

    /// Authentication method references (RFC 8176).
    pub const fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Passkey => &["swk", "user", "mfa"],
            Self::Totp => &["otp"],
            // What the provider's own `amr` said is not ours to repeat.
            Self::Idp(_) => &[],
            Self::Password => &["pwd"],
            Self::RecoveryCode => &["kba"],
        }
    }
}

impl fmt::Display for FactorKind {
    /// The name, and what a company login counts as: `idp:second_factor+possession`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Idp(strength) if *strength != Strength::NONE => write!(f, ":{strength}"),
            _ => Ok(()),
        }
    }
}

/// The text names no kind of factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a factor: passkey, totp, idp, password or recovery_code is expected")]
pub struct NotAFactor;

impl FromStr for FactorKind {
    type Err = NotAFactor;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NotAFactor> {
        match text.split_once(':') {
            Some(("idp", strength)) => match strength.parse() {
                Ok(Strength::NONE) | Err(_) => Err(NotAFactor),
                Ok(strength) => Ok(Self::Idp(strength)),
            },
            Some(_) => Err(NotAFactor),
            None if text == "idp" => Ok(Self::Idp(Strength::NONE)),
            None => Self::OWN.into_iter().find(|kind| kind.name() == text).ok_or(NotAFactor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let strong = Strength::SECOND_FACTOR.and(Strength::PHISHING_RESISTANT);
        for kind in FactorKind::OWN.into_iter().chain([FactorKind::Idp(Strength::NONE), FactorKind::Idp(strong)]) {
            assert_eq!(kind.to_string().parse(), Ok(kind), "{kind}");
        }
        for bad in ["idp:", "idp:mfa", "totp:possession", "Idp", ""] {
            assert_eq!(bad.parse::<FactorKind>(), Err(NotAFactor), "{bad}");
        }
    }

    #[test]
    fn a_company_login_does_for_no_more_than_it_counts_as() {
        let [weak, strong] = [Strength::KNOWLEDGE, Strength::KNOWLEDGE.and(Strength::POSSESSION)].map(FactorKind::Idp);
        assert!(strong.does_for(weak) && strong.does_for(strong));
        assert!(!weak.does_for(strong) && !strong.does_for(FactorKind::Passkey) && !FactorKind::Passkey.does_for(weak));
    }
}
