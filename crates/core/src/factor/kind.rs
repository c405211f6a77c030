//! The kinds of factors, and what each of them is worth.

use std::fmt;
use std::str::FromStr;

use super::{PasskeySort, Strength};

/// A kind of factor.
///
/// In the order of trouble: what is asked first when several would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactorKind {
    /// A passkey or security key with user verification (WebAuthn), and what sort it is; what is asked for
    /// is [`PasskeySort::ANY`] where no rule looks closer.
    Passkey(PasskeySort),
    /// A client certificate in the TLS handshake (smart card, PIV).
    Certificate,
    /// An approval on an enrolled device, and what that device's approvals count as: more where it
    /// signs them with a passkey.
    Push(Strength),
    /// A code from an authenticator app or a token with a clock (RFC 6238).
    Totp,
    /// A code from a token that counts (RFC 4226).
    Hotp,
    /// A login at the company's identity provider, and what it counts as.
    Idp(Strength),
    /// A password of a local account.
    Password,
    /// A code that was sent to a phone, and what the configuration says that it counts as: a
    /// restricted authenticator (SP 800-63B-4 section 3.2.9), so nothing beside itself unless it says so.
    PhoneCode(Strength),
    /// A code that was sent to an e-mail address. It proves the address, and is no factor of
    /// authentication (SP 800-63B-4 section 3.1.3.1).
    EmailCode,
    /// A recovery code (look-up secret of SP 800-63B-4): single use.
    RecoveryCode,
}

/// What is known of a kind.
struct Facts {
    name: &'static str,
    proof: &'static str,
    means: &'static str,
    counts_as: Strength,
    amr: &'static [&'static str],
}

/// One row for each kind. Policy, schema, pages and wire take names and worth from here; a kind
/// without a row does not compile, and a row makes the kind known everywhere.
macro_rules! table {
    ($($kind:ident $(($strength:ident = $least:expr))? => {
        $name:literal, $proof:literal, $means:expr, $counts_as:expr, $amr:expr
    };)*) => {
        impl FactorKind {
            /// Each kind once, least trouble first; those whose worth differs with none.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$kind $(($least))?),*];

            /// How policies name the ages of the kinds, in the order of [`FactorKind::ALL`].
            pub(crate) const AGES: [&'static str; Self::ALL.len()] = [$(concat!("age.", $name)),*];

            const fn facts(self) -> Facts {
                match self {
                    $(Self::$kind $(($strength))? => {
                        Facts { name: $name, proof: $proof, means: $means, counts_as: $counts_as, amr: $amr }
                    })*
                }
            }
        }
    };
}

const NONE: Strength = Strength::NONE;
const HAS: Strength = Strength::SECOND_FACTOR.and(Strength::POSSESSION);
const HAS_AND_CANNOT_BE_PHISHED: Strength = HAS.and(Strength::PHISHING_RESISTANT);

// Name; what proves; what one has to have for it; what it counts as; RFC 8176.
table! {
    Passkey(sort = PasskeySort::ANY) => { "passkey", "a passkey", sort.means(), HAS_AND_CANNOT_BE_PHISHED, sort.amr() };
    Certificate => { "certificate", "a certificate", "a smart card", HAS_AND_CANNOT_BE_PHISHED, &["pop"] };
    Push(strength = NONE) => { "push", "an approval on a device", "an approver device", strength, &["mca"] };
    Totp => { "totp", "an authenticator code", "an authenticator app", HAS, &["otp"] };
    Hotp => { "hotp", "a hardware code", "a hardware token", HAS, &["otp"] };
    // What the provider's own `amr` said is not ours to repeat.
    Idp(strength = NONE) => { "idp", "a company login", "a company login", strength, &[] };
    Password => { "password", "a password", "a password", Strength::KNOWLEDGE, &["pwd"] };
    PhoneCode(strength = NONE) => { "phone_code", "a code to a phone", "a phone number", strength, &["mca"] };
    // RFC 8176 has no name for it.
    EmailCode => { "email_code", "a code by e-mail", "an e-mail address", NONE, &[] };
    RecoveryCode => { "recovery_code", "a recovery code", "recovery codes", HAS, &["kba"] };
}

impl FactorKind {
    /// Any passkey.
    pub const PASSKEY: Self = Self::Passkey(PasskeySort::ANY);

    /// The kinds that every gate verifies, whatever is configured; people enrol them here.
    pub const BUILT_IN: [Self; 4] = [Self::PASSKEY, Self::Totp, Self::Password, Self::RecoveryCode];

    /// The name in policy, configuration, evidence and on the wire.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What proves it, as pages call it: `authenticator code`.
    pub fn title(self) -> &'static str {
        without_article(self.one())
    }

    /// The same with its article: `an authenticator code`.
    pub const fn one(self) -> &'static str {
        self.facts().proof
    }

    /// What somebody has to have for it: `an authenticator app`, `recovery codes`.
    pub const fn means(self) -> &'static str {
        self.facts().means
    }

    /// The same without an article: `authenticator app`.
    pub fn means_title(self) -> &'static str {
        without_article(self.means())
    }

    /// What a proof by it counts as.
    pub const fn strength(self) -> Strength {
        self.facts().counts_as
    }

    /// Whether a proof by this does for one that was asked for: it is the same factor,
    /// and counts as no less.
    pub fn does_for(self, asked: Self) -> bool {
        let is_such_a_one = match (self, asked) {
            (Self::Passkey(sort), Self::Passkey(asked)) => sort.does_for(asked),
            _ => self.is_same_factor(asked),
        };
        is_such_a_one && self.strength().covers(asked.strength())
    }

    /// Whether it is the same factor, whatever it counts as.
    pub fn is_same_factor(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// Whether who has enrolled this can prove what is asked. What a push counts as is its device's
    /// to say, and what sort a passkey is, the passkey's; what any other counts as is the configuration's.
    pub fn proves_when_enrolled(self, asked: Self) -> bool {
        match (self, asked) {
            (Self::Passkey(_), Self::Passkey(_)) => asked == Self::PASSKEY || self == asked,
            (Self::Push(_), Self::Push(_)) => self.does_for(asked),
            _ => self.is_same_factor(asked),
        }
    }

    /// What a proof by this is in another session than the one that it was given in: whatever it was there, the
    /// number that was carried over makes it an out-of-band approval, and none of these is phishing-resistant.
    #[must_use]
    pub const fn carried_over(self) -> Self {
        match self {
            Self::Passkey(_) | Self::Certificate => Self::Push(HAS),
            Self::Push(strength) => Self::Push(strength.without(Strength::PHISHING_RESISTANT)),
            Self::Idp(strength) => Self::Idp(strength.without(Strength::PHISHING_RESISTANT)),
            Self::PhoneCode(strength) => Self::PhoneCode(strength.without(Strength::PHISHING_RESISTANT)),
            Self::Totp | Self::Hotp | Self::Password | Self::EmailCode | Self::RecoveryCode => self,
        }
    }

    /// Whether a password may be shorter beside it. Recovery codes are spares: who has lost
    /// everything else is left with the password alone. Codes that are sent are no second factor,
    /// or a restricted one.
    pub const fn stands_beside_a_password(self) -> bool {
        matches!(self, Self::Passkey(_) | Self::Certificate | Self::Push(_) | Self::Totp | Self::Hotp)
    }

    /// Whether it is a factor of authentication at all. A code that was sent and counts as nothing
    /// proves that somebody read what was sent to an address, and no rule about any factor is met by it.
    pub const fn is_factor(self) -> bool {
        match self {
            Self::EmailCode => false,
            Self::PhoneCode(strength) => !strength.is_none(),
            _ => true,
        }
    }

    /// Whether it is a restricted authenticator: who uses it is told so (SP 800-63B-4 section 3.2.9).
    pub const fn is_restricted(self) -> bool {
        matches!(self, Self::PhoneCode(_))
    }

    /// Whether it is enrolled with what the person reads somewhere else: a code that was sent there, the number of the
    /// device that is added.
    pub const fn is_typed_from_elsewhere(self) -> bool {
        matches!(self, Self::EmailCode | Self::PhoneCode(_) | Self::Push(_))
    }

    /// Authentication method references (RFC 8176).
    pub const fn amr(self) -> &'static [&'static str] {
        self.facts().amr
    }

    /// The kind of this name that counts as this; `None` if that kind's worth is fixed.
    const fn counting_as(self, strength: Strength) -> Option<Self> {
        match self {
            Self::Push(_) => Some(Self::Push(strength)),
            Self::Idp(_) => Some(Self::Idp(strength)),
            Self::PhoneCode(_) => Some(Self::PhoneCode(strength)),
            Self::Passkey(_)
            | Self::Certificate
            | Self::Totp
            | Self::Hotp
            | Self::Password
            | Self::EmailCode
            | Self::RecoveryCode => None,
        }
    }
}

fn without_article(text: &'static str) -> &'static str {
    text.strip_prefix("a ").or_else(|| text.strip_prefix("an ")).unwrap_or(text)
}

impl fmt::Display for FactorKind {
    /// The name, and what it counts as, or what sort it is, where that differs: `idp:second_factor+possession`,
    /// `passkey:device_bound`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Idp(strength) | Self::Push(strength) | Self::PhoneCode(strength) if *strength != NONE => {
                write!(f, ":{strength}")
            }
            Self::Passkey(sort) if *sort != PasskeySort::ANY => write!(f, ":{sort}"),
            _ => Ok(()),
        }
    }
}

/// The text names no kind of factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a factor: {} is expected", FactorKind::ALL.map(FactorKind::name).join(", "))]
pub struct NotAFactor;

impl FromStr for FactorKind {
    type Err = NotAFactor;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NotAFactor> {
        let (name, strength) = text.split_once(':').map_or((text, None), |(name, strength)| (name, Some(strength)));
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(NotAFactor)?;
        if let (Self::Passkey(_), Some(sort)) = (kind, strength) {
            return sort.parse().map(Self::Passkey);
        }
        match strength.map(str::parse) {
            None => Ok(kind),
            Some(Ok(NONE) | Err(_)) => Err(NotAFactor),
            Some(Ok(strength)) => kind.counting_as(strength).ok_or(NotAFactor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRONG: Strength = Strength::SECOND_FACTOR.and(Strength::PHISHING_RESISTANT);

    #[test]
    fn what_is_written_is_read() {
        let strong = FactorKind::ALL.into_iter().filter_map(|kind| kind.counting_as(STRONG));
        let sorts = ["backed_up", "device_bound/attested"].map(|sort| FactorKind::Passkey(sort.parse().unwrap()));
        for kind in FactorKind::ALL.into_iter().chain(strong).chain(sorts) {
            assert_eq!(kind.to_string().parse(), Ok(kind), "{kind}");
        }
        for bad in [
            "idp:",
            "push:",
            "idp:mfa",
            "totp:possession",
            "passkey:",
            "passkey:mfa",
            "email_code:second_factor",
            "Idp",
            "",
        ] {
            assert_eq!(bad.parse::<FactorKind>(), Err(NotAFactor), "{bad}");
        }
    }

    #[test]
    fn kinds_stand_in_the_order_of_trouble() {
        assert!(FactorKind::ALL.is_sorted(), "the table is in the order of the kinds");
        assert!(FactorKind::BUILT_IN.is_sorted());
    }

    #[test]
    fn a_login_does_for_no_more_than_it_counts_as() {
        for of in [FactorKind::Idp, FactorKind::Push, FactorKind::PhoneCode] {
            let [weak, strong] = [Strength::KNOWLEDGE, Strength::KNOWLEDGE.and(Strength::POSSESSION)].map(of);
            assert!(strong.does_for(weak) && strong.does_for(strong));
            assert!(!weak.does_for(strong) && !strong.does_for(FactorKind::PASSKEY));
            assert!(!FactorKind::PASSKEY.does_for(weak));
        }
    }

    /// SP 800-63B-4: e-mail is no out-of-band authenticator, and the telephone network a restricted one.
    #[test]
    fn b144_a_code_that_is_sent_is_no_second_factor_by_itself() {
        for kind in [FactorKind::EmailCode, FactorKind::PhoneCode(NONE)] {
            assert_eq!(kind.strength(), NONE, "{kind}");
            assert!(!kind.is_factor() && !kind.stands_beside_a_password(), "{kind}");
        }
        assert!("phone_code".parse::<FactorKind>().is_ok_and(|kind| kind.strength() == NONE && kind.is_restricted()));
    }

    #[test]
    fn what_a_device_counts_as_is_the_devices_to_say() {
        let (plain, signing) = (FactorKind::Push(HAS), FactorKind::Push(HAS_AND_CANNOT_BE_PHISHED));
        assert!(signing.proves_when_enrolled(plain) && !plain.proves_when_enrolled(signing));
        assert!(FactorKind::PhoneCode(NONE).proves_when_enrolled(FactorKind::PhoneCode(HAS)));
        assert!(!FactorKind::Totp.proves_when_enrolled(FactorKind::Hotp));
    }

    #[test]
    fn b118_nothing_that_is_carried_over_is_phishing_resistant() {
        let everything = Strength::NAMED.iter().fold(NONE, |all, (_, one)| all.and(*one));
        let differing = FactorKind::ALL.into_iter().filter_map(|kind| kind.counting_as(everything));
        for kind in FactorKind::ALL.into_iter().chain(differing) {
            let left = kind.carried_over();
            assert!(!left.strength().covers(Strength::PHISHING_RESISTANT), "{kind} leaves {left}");
            assert!(kind.strength().covers(left.strength()), "{kind} leaves no more than it was: {left}");
            assert_eq!(left.carried_over(), left, "{kind}");
        }
        assert!(FactorKind::PASSKEY.carried_over().strength().covers(Strength::SECOND_FACTOR));
        assert_eq!(FactorKind::Totp.carried_over(), FactorKind::Totp);
    }

    #[test]
    fn words_come_with_and_without_their_article() {
        assert_eq!((FactorKind::Totp.one(), FactorKind::Totp.title()), ("an authenticator code", "authenticator code"));
        assert_eq!(
            (FactorKind::Totp.means(), FactorKind::Totp.means_title()),
            ("an authenticator app", "authenticator app")
        );
        assert_eq!(FactorKind::RecoveryCode.means_title(), "recovery codes");
    }
}
