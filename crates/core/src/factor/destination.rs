//! Where a code is sent.

use std::fmt;

use super::{FactorKind, Strength};
use crate::person::parse_email;

/// Fewest and most digits of a telephone number with its country code (E.164).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// An address of a person, of one of the kinds to which codes are sent. It is personal: no log and no
/// `Debug` shows it whole.
#[derive(Clone, PartialEq, Eq)]
pub enum Destination {
    /// An e-mail address.
    Email(String),
    /// A telephone number: `+` and digits (E.164).
    Phone(String),
}

impl Destination {
    /// Reads an e-mail address that mail servers know (RFC 5321, in ASCII). `None` if it is not one: no
    /// header of a mail can be made of it, and nothing that a server could read as two addresses.
    pub fn email(text: &str) -> Option<Self> {
        let text = parse_email(text.trim()).ok()?;
        let (local, host) = text.split_once('@')?;
        let is_label = |label: &str| {
            let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(sign) && !label.starts_with('-')
        };
        let is_atom = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let is_local = local.len() <= 64
            && local.bytes().all(is_atom)
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        (is_local && host.split('.').all(is_label)).then(|| Self::Email(text.to_owned()))
    }

    /// Reads a telephone number with its country code: `+41 79 123 45 67`. Spaces, brackets, dots and
    /// hyphens are for reading. `None` if it is not one.
    pub fn phone(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits: String = text.strip_prefix('+')?.chars().filter(|sign| !" ().-".contains(*sign)).collect();
        let is_one = PHONE_DIGITS.contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_one.then(|| Self::Phone(format!("+{digits}")))
    }

    /// The kind of factor whose codes go there.
    pub const fn kind(&self) -> FactorKind {
        match self {
            Self::Email(_) => FactorKind::EmailCode,
            Self::Phone(_) => FactorKind::PhoneCode(Strength::NONE),
        }
    }

    /// The address itself, for whoever sends.
    pub fn expose(&self) -> &str {
        match self {
            Self::Email(text) | Self::Phone(text) => text,
        }
    }

    /// What its owner knows it by, and nobody else learns: `a…@example.com`, `+41…67`.
    pub fn masked(&self) -> String {
        match self {
            Self::Email(text) => {
                let (local, host) = text.split_once('@').unwrap_or((text, ""));
                format!("{}…@{host}", local.chars().next().unwrap_or('…'))
            }
            Self::Phone(text) => {
                let end = text.get(text.len().saturating_sub(2)..).unwrap_or_default();
                format!("{}…{end}", text.get(..3).unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({})", self.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_address_and_nothing_that_a_mail_could_be_bent_with() {
        for good in ["alice@example.com", "a.b+c@mail.example.com", " alice@localhost "] {
            assert!(Destination::email(good).is_some_and(|to| to.expose() == good.trim()), "{good}");
        }
        for bad in [
            "",
            "alice",
            "@example.com",
            "alice@",
            "alice@example..com",
            "alice@-example.com",
            ".alice@example.com",
            "al..ice@example.com",
            "alice@example.com, bob@example.com",
            "alice@example.com\r\nBcc: mallory@example.com",
            "alice@example.com\nRCPT TO:<mallory@example.com>",
            "\"alice mallory\"@example.com",
            "<alice@example.com>",
            "alice@exämple.com",
            "alice@[127.0.0.1]",
            "alice@example.com@example.org",
        ] {
            assert_eq!(Destination::email(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_number_has_its_country_and_one_spelling() {
        for good in ["+41791234567", "+41 79 123 45 67", " +41 (79) 123-45.67"] {
            assert_eq!(Destination::phone(good), Some(Destination::Phone("+41791234567".to_owned())), "{good}");
        }
        for bad in
            ["", "+", "0791234567", "+41", "+0791234567", "+41 79 x23 45 67", "+4179123456789012", "+41791234567;x"]
        {
            assert_eq!(Destination::phone(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nobody_learns_an_address_from_a_page_or_a_log() {
        let (email, phone) = (Destination::email("alice@example.com"), Destination::phone("+41791234567"));
        let (email, phone) = (email.unwrap(), phone.unwrap());
        assert_eq!((email.masked(), phone.masked()), ("a…@example.com".to_owned(), "+41…67".to_owned()));
        assert_eq!(format!("{email:?} {phone:?}"), "Destination(email_code) Destination(phone_code)");
    }
}
