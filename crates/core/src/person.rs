//! People, and what stands for somebody in a decision.

mod profile;

use std::fmt;
use std::sync::Arc;

use crate::id::PersonId;
use crate::surroundings::is_unseen;

pub use profile::{
    EMAIL_LEN_MAX, GROUP_LEN_MAX, NAME_LEN_MAX, Profile, Unfit, name_of, parse_email, parse_group, parse_name,
};

/// A text in the one spelling of all that differ in case alone, in whatever alphabet: logins, addresses, names
/// of groups. Databases are not asked to do it, because each knows other alphabets.
pub fn folded(text: &str) -> String {
    text.to_lowercase()
}

/// Longest login name, in bytes.
pub const LOGIN_LEN_MAX: usize = 254;

/// The name with which a person signs in, in its one spelling.
///
/// Folded once, here: trimmed, lower-case, no control or invisible characters or
/// inner white space, so that a counter of tries cannot be dodged by another spelling.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Login(String);

/// The text is no login name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name to sign in with is 1 to 254 bytes without white space, control or invisible characters")]
pub struct NotALogin;

impl Login {
    /// Reads a login name.
    pub fn parse(text: &str) -> Result<Self, NotALogin> {
        let login = folded(text.trim());
        let bad = |c: char| is_unseen(c) || c.is_whitespace();
        if login.is_empty() || login.len() > LOGIN_LEN_MAX || login.chars().any(bad) {
            return Err(NotALogin);
        }
        Ok(Self(login))
    }

    /// The one spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// Pseudonymous: the only thing of a person that stands in the tree.
    pub id: PersonId,
    /// What they sign in with.
    pub login: Login,
    /// What they are called on pages.
    pub name: String,
    /// Address for `Stepgate-Email`; empty if unknown.
    pub email: String,
    /// Names of the groups they are in, sorted, each once.
    pub groups: Vec<String>,
    /// Whether they may sign in at all. Who may not has no sessions and no factors either.
    pub active: bool,
}

/// A program that acts in its own name, with an access token that somebody else issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The provider's name in the configuration and its `client_id` there: `corp/ci-deploy`.
    pub name: Arc<str>,
    /// Names of the groups that it is in, sorted, each once.
    pub groups: Vec<String>,
}

/// Who acts.
#[derive(Clone, Copy, Debug)]
pub enum Principal<'a> {
    /// A person.
    Person(&'a Arc<Person>),
    /// A program, for which a person answers.
    Agent(&'a Arc<Agent>),
}

impl Principal<'_> {
    /// What the evidence and upstreams call them: a person's pseudonymous id, or
    /// `agent:` and the agent's name. No id has a colon.
    pub fn id(self) -> String {
        match self {
            Self::Person(person) => person.id.to_string(),
            Self::Agent(agent) => format!("agent:{}", agent.name),
        }
    }

    /// The groups that they are in.
    pub fn groups(&self) -> &[String] {
        match self {
            Self::Person(person) => &person.groups,
            Self::Agent(agent) => &agent.groups,
        }
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Person({:?})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b66_spellings_of_one_name_are_one_name() {
        let alice = Login::parse("alice").unwrap();
        for spelling in ["Alice", " alice", "ALICE ", "\talice"] {
            assert_eq!(Login::parse(spelling).unwrap(), alice, "{spelling:?}");
        }
        for bad in ["", "  ", "al ice", "al\0ice", "al\u{200b}ice", "\u{202e}alice", &"a".repeat(255)] {
            assert_eq!(Login::parse(bad), Err(NotALogin), "{bad:?}");
        }
    }

    #[test]
    fn case_is_folded_in_every_alphabet_and_once_is_enough() {
        for (text, expected) in [
            ("ALICE@Example.COM", "alice@example.com"),
            ("ÄLICE@BÜCHER.example", "älice@bücher.example"),
            ("ИВАН", "иван"),
            ("straße", "straße"),
            ("", ""),
        ] {
            assert_eq!(folded(text), expected, "{text}");
            assert_eq!(folded(expected), expected, "{text}");
        }
        assert_eq!(Login::parse(" ÄLICE ").unwrap().as_str(), folded("Älice"));
    }
}
