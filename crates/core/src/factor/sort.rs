//! What sort of passkey it is: whether it may leave its device, and what vouches for that.

use std::fmt;
use std::str::FromStr;

/// An authenticator's model (FIDO's AAGUID).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aaguid(pub [u8; 16]);

impl Aaguid {
    /// No model is named: security keys of U2F and passkeys that do not tell have this.
    pub const NONE: Self = Self([0; 16]);

    /// Whether none is named.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for Aaguid {
    /// In UUID form (RFC 9562 section 4).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The text is not the id of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an AAGUID is expected, such as 2fc0579f-8113-47ea-b116-bb5a8db9202a")]
pub struct NotAnAaguid;

impl FromStr for Aaguid {
    type Err = NotAnAaguid;

    /// Reads UUID form, in either case.
    fn from_str(text: &str) -> Result<Self, NotAnAaguid> {
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        if lengths != [8, 4, 4, 4, 12] {
            return Err(NotAnAaguid);
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text.replace('-', ""), &mut bytes).map_err(|_| NotAnAaguid)?;
        Ok(Self(bytes))
    }
}

/// Whether a passkey may be synced, and whether it is (WebAuthn L3 section 6.1.3). In the order of what
/// can be demanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backup {
    /// Nobody knows.
    #[default]
    Unknown,
    /// It is synced: there is a copy elsewhere.
    BackedUp,
    /// It may be synced, and was not when it was last used.
    Eligible,
    /// It never leaves the device that made it.
    DeviceBound,
}

impl Backup {
    /// What the flags of the authenticator say: they were verified not to contradict each other.
    pub const fn of_flags(is_eligible: bool, is_backed_up: bool) -> Self {
        match (is_eligible, is_backed_up) {
            (false, _) => Self::DeviceBound,
            (true, false) => Self::Eligible,
            (true, true) => Self::BackedUp,
        }
    }

    /// Whether it may be synced, as far as anybody knows.
    pub const fn may_be_synced(self) -> bool {
        !matches!(self, Self::DeviceBound)
    }

    /// Whether it is synced, as far as anybody knows.
    pub const fn may_be_backed_up(self) -> bool {
        matches!(self, Self::Unknown | Self::BackedUp)
    }

    const NAMED: [(&'static str, Self); 3] =
        [("backed_up", Self::BackedUp), ("backup_eligible", Self::Eligible), ("device_bound", Self::DeviceBound)];
}

/// What sort of passkey it is, as far as a policy can tell two apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PasskeySort {
    /// Whether it may be synced, and is.
    pub backup: Backup,
    /// Whether an attestation that leads to a trusted root proved its model when it was enrolled. Without that
    /// the model is what the client says.
    pub is_attested: bool,
    /// Its model.
    pub aaguid: Aaguid,
}

impl PasskeySort {
    /// Any passkey at all: what is asked for where no rule looks closer.
    pub const ANY: Self = Self { backup: Backup::Unknown, is_attested: false, aaguid: Aaguid::NONE };

    /// Whether a proof by this does for one that was asked for. What never changes has to be the same; whether it is
    /// synced by now, the decision that follows looks at.
    pub(crate) fn does_for(self, asked: Self) -> bool {
        asked == Self::ANY
            || (self.backup.may_be_synced() == asked.backup.may_be_synced()
                && (self.is_attested, self.aaguid) == (asked.is_attested, asked.aaguid))
    }

    /// What somebody has to have for it.
    pub(super) const fn means(self) -> &'static str {
        match (self.backup, self.is_attested) {
            (Backup::DeviceBound, true) => "a security key that attests its model",
            (Backup::DeviceBound, false) => "a passkey that cannot be synced",
            (Backup::Eligible, false) => "a passkey that is not synced",
            (_, true) => "a passkey that attests its model",
            (_, false) => "a passkey",
        }
    }

    /// Authentication method references (RFC 8176). Only an attestation proves hardware.
    pub(super) const fn amr(self) -> &'static [&'static str] {
        match (self.backup, self.is_attested) {
            (Backup::DeviceBound, true) => &["hwk", "user", "mfa"],
            _ => &["swk", "user", "mfa"],
        }
    }
}

impl fmt::Display for PasskeySort {
    /// `device_bound/attested/2fc0579f-…`; nothing of any passkey.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((name, _)) = Backup::NAMED.iter().find(|(_, one)| *one == self.backup) else { return Ok(()) };
        f.write_str(name)?;
        if self.is_attested {
            f.write_str("/attested")?;
        }
        if self.aaguid.is_none() { Ok(()) } else { write!(f, "/{}", self.aaguid) }
    }
}

impl FromStr for PasskeySort {
    type Err = super::NotAFactor;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split('/').peekable();
        let backup = words.next().and_then(|name| Backup::NAMED.iter().find(|(known, _)| *known == name));
        let &(_, backup) = backup.ok_or(super::NotAFactor)?;
        let is_attested = words.next_if_eq(&"attested").is_some();
        let aaguid = words.next().map(str::parse).transpose().map_err(|_| super::NotAFactor)?.unwrap_or_default();
        if words.next().is_some() {
            return Err(super::NotAFactor);
        }
        Ok(Self { backup, is_attested, aaguid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Aaguid =
        Aaguid([0x2f, 0xc0, 0x57, 0x9f, 0x81, 0x13, 0x47, 0xea, 0xb1, 0x16, 0xbb, 0x5a, 0x8d, 0xb9, 0x20, 0x2a]);

    #[test]
    fn a_model_is_written_as_a_uuid() {
        assert_eq!(KEY.to_string(), "2fc0579f-8113-47ea-b116-bb5a8db9202a");
        assert_eq!("2FC0579F-8113-47EA-B116-BB5A8DB9202A".parse(), Ok(KEY));
        for bad in [
            "",
            "2fc0579f811347eab116bb5a8db9202a",
            "2fc0579f-8113-47ea-b116-bb5a8db9202",
            "2fc0579f-8113-47ea-b116-bb5a8db9202g",
        ] {
            assert_eq!(bad.parse::<Aaguid>(), Err(NotAnAaguid), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (text, backup, is_attested, aaguid) in [
            ("backed_up", Backup::BackedUp, false, Aaguid::NONE),
            ("device_bound/attested", Backup::DeviceBound, true, Aaguid::NONE),
            ("backup_eligible/2fc0579f-8113-47ea-b116-bb5a8db9202a", Backup::Eligible, false, KEY),
            ("device_bound/attested/2fc0579f-8113-47ea-b116-bb5a8db9202a", Backup::DeviceBound, true, KEY),
        ] {
            let sort = PasskeySort { backup, is_attested, aaguid };
            assert_eq!((text.parse(), sort.to_string()), (Ok(sort), text.to_owned()));
        }
        for bad in
            ["", "attested", "synced", "device_bound/", "device_bound/attested/x", "device_bound/attested/attested"]
        {
            assert!(bad.parse::<PasskeySort>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_passkey_does_for_one_of_its_own_sort_whether_or_not_it_is_synced_by_now() {
        let sort = |text: &str| text.parse::<PasskeySort>().unwrap();
        for (has, asked, does) in [
            ("backed_up", "backup_eligible", true),
            ("backup_eligible", "backed_up", true),
            ("backed_up", "device_bound", false),
            ("device_bound", "backup_eligible", false),
            ("device_bound", "device_bound/attested", false),
            ("device_bound/attested", "device_bound/attested/2fc0579f-8113-47ea-b116-bb5a8db9202a", false),
        ] {
            assert_eq!(sort(has).does_for(sort(asked)), does, "{has} for {asked}");
            assert!(sort(has).does_for(PasskeySort::ANY), "{has}");
        }
        assert!(!PasskeySort::ANY.does_for(sort("backed_up/attested")));
    }
}
