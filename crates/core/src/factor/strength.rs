//! What a proof counts as.

use std::fmt;
use std::str::FromStr;

/// What a proof counts as in the ages of the decision, whatever made it.
///
/// Of our own factors it follows from the kind; of a login at an identity provider it
/// is what the configuration says that the provider's class is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Strength(u8);

impl Strength {
    /// That somebody signed in, and nothing more.
    pub const NONE: Self = Self(0);
    /// It raises `context.age.second_factor`.
    pub const SECOND_FACTOR: Self = Self(1);
    /// Phishing-resistant by verifier-name binding (SP 800-63B-4).
    pub const PHISHING_RESISTANT: Self = Self(2);
    /// Something the person knows.
    pub const KNOWLEDGE: Self = Self(4);
    /// Something the person has.
    pub const POSSESSION: Self = Self(8);

    pub(crate) const NAMED: [(&'static str, Self); 4] = [
        ("second_factor", Self::SECOND_FACTOR),
        ("phishing_resistant", Self::PHISHING_RESISTANT),
        ("knowledge", Self::KNOWLEDGE),
        ("possession", Self::POSSESSION),
    ];

    /// This and that.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This and not that.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is worth all that `wanted` is.
    pub const fn covers(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Whether it counts as nothing.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The names of what it counts as.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(_, one)| self.covers(*one)).map(|(name, _)| name)
    }

    /// What has this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, one)| one)
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.names();
        if let Some(first) = names.next() {
            f.write_str(first)?;
        }
        names.try_for_each(|name| write!(f, "+{name}"))
    }
}

/// The text says nothing that a proof could count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("second_factor, phishing_resistant, knowledge and possession are what a proof can count as")]
pub struct NotAStrength;

impl FromStr for Strength {
    type Err = NotAStrength;

    /// Reads what `Display` writes: names joined by `+`, or nothing.
    fn from_str(text: &str) -> Result<Self, NotAStrength> {
        if text.is_empty() {
            return Ok(Self::NONE);
        }
        text.split('+').try_fold(Self::NONE, |all, name| Ok(all.and(Self::named(name).ok_or(NotAStrength)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for bits in 0..16 {
            let strength = Strength(bits);
            assert_eq!(strength.to_string().parse(), Ok(strength), "{strength}");
        }
        for bad in ["mfa", "knowledge+", "+knowledge", "knowledge possession"] {
            assert_eq!(bad.parse::<Strength>(), Err(NotAStrength), "{bad}");
        }
    }

    #[test]
    fn more_covers_less_and_not_the_other_way() {
        let both = Strength::KNOWLEDGE.and(Strength::POSSESSION);
        assert!(both.covers(Strength::KNOWLEDGE) && both.covers(Strength::NONE) && both.covers(both));
        assert!(!Strength::KNOWLEDGE.covers(both) && !Strength::NONE.covers(Strength::SECOND_FACTOR));
    }
}
