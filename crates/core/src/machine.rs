//! Other systems that speak to the gate, and what each may say.

use std::fmt;

use crate::time::Timestamp;

/// What a machine is called: in entries, and where its token is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineName(String);

/// The text names no machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a machine's name is 1 to 40 of a-z, 0-9, `-` and `.`")]
pub struct NotAMachineName;

impl MachineName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NotAMachineName> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        if text.is_empty() || text.len() > 40 || !text.bytes().all(fits) {
            return Err(NotAMachineName);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a machine's token lets it do at the machines' listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Provision people and groups.
    Scim,
    /// Push security events to the gate.
    SignalsPush,
    /// Read streams of security events, and their configuration.
    SignalsRead,
    /// Set streams up and change them.
    SignalsManage,
}

/// The text is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is one of scim, signals.push, ssf.read and ssf.manage")]
pub struct NotAScope;

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scim, Self::SignalsPush, Self::SignalsRead, Self::SignalsManage];

    /// The stable name; those of streams are the CAEP interoperability profile's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scim => "scim",
            Self::SignalsPush => "signals.push",
            Self::SignalsRead => "ssf.read",
            Self::SignalsManage => "ssf.manage",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = NotAScope;

    fn from_str(text: &str) -> Result<Self, NotAScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or(NotAScope)
    }
}

/// Another system that has a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: MachineName,
    /// What it may do, sorted, each once.
    pub scopes: Vec<Scope>,
    /// Whose security events it may push: a transmitter's name in the configuration. Empty: none.
    pub transmitter: String,
    /// When it got its token.
    pub added_at: Timestamp,
    /// Until when its token is good, if not for ever.
    pub expires_at: Option<Timestamp>,
}

impl Machine {
    /// Who did something, as it stands in entries.
    pub fn by(&self) -> String {
        format!("machine:{}", self.name)
    }

    /// Whether it may.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["entra", "okta-1", "hr.example"] {
            assert_eq!(MachineName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "Entra", "a b", "a\nb", &"a".repeat(41), "machine:x"] {
            assert_eq!(MachineName::parse(bad), Err(NotAMachineName), "{bad:?}");
        }
    }

    #[test]
    fn a_scope_is_read_back_by_its_name() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert_eq!("admin".parse::<Scope>(), Err(NotAScope));
    }
}
