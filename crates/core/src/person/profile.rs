//! What is said of a person, as it can be written everywhere: in a header, on a page, in an entry.

use super::Login;
use crate::surroundings::is_unseen;

/// Longest name of a person, in characters.
pub const NAME_LEN_MAX: usize = 100;
/// Longest address, in bytes (RFC 5321, section 4.5.3.1.3, less the brackets).
pub const EMAIL_LEN_MAX: usize = 254;
/// Longest name of a group, in bytes.
pub const GROUP_LEN_MAX: usize = 254;

/// A name, an address and groups that are fit to be a person's, whichever door they came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    name: String,
    email: String,
    groups: Vec<String>,
}

/// What of a person no header and no page could say as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The name.
    #[error("a name has 1 to {NAME_LEN_MAX} characters, without control or invisible characters")]
    Name,
    /// The address.
    #[error("an address like alice@example.com is expected, of at most {EMAIL_LEN_MAX} bytes")]
    Email,
    /// The name of a group.
    #[error("a group's name has 1 to {GROUP_LEN_MAX} bytes, without control or invisible characters")]
    Group,
}

impl Profile {
    /// Reads what is said of a person. White space around names is none of them; no address is the
    /// empty text.
    pub fn parse(name: &str, email: &str, groups: Vec<String>) -> Result<Self, Unfit> {
        let name = parse_name(name)?.to_owned();
        let email = match email {
            "" => String::new(),
            email => parse_email(email)?.to_owned(),
        };
        let mut groups: Vec<String> =
            groups.iter().map(|group| parse_group(group).map(str::to_owned)).collect::<Result<_, _>>()?;
        groups.sort();
        groups.dedup();
        Ok(Self { name, email, groups })
    }

    /// The name, the address, and the groups, sorted, each once.
    pub fn into_parts(self) -> (String, String, Vec<String>) {
        (self.name, self.email, self.groups)
    }
}

/// Reads what somebody is called on pages: without white space around it.
pub fn parse_name(text: &str) -> Result<&str, Unfit> {
    let text = text.trim();
    let is_one = !text.is_empty() && text.chars().count() <= NAME_LEN_MAX && !text.chars().any(is_unseen);
    is_one.then_some(text).ok_or(Unfit::Name)
}

/// Reads an address: one `@` with something on both sides, and nothing that ends an address in a
/// list of them.
pub fn parse_email(text: &str) -> Result<&str, Unfit> {
    let is_whole =
        text.split_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'));
    let ends = |c: char| is_unseen(c) || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"');
    let is_one = is_whole && text.len() <= EMAIL_LEN_MAX && !text.chars().any(ends);
    is_one.then_some(text).ok_or(Unfit::Email)
}

/// Reads the name of a group: without white space around it.
pub fn parse_group(text: &str) -> Result<&str, Unfit> {
    let text = text.trim();
    let is_one = !text.is_empty() && text.len() <= GROUP_LEN_MAX && !text.chars().any(is_unseen);
    is_one.then_some(text).ok_or(Unfit::Group)
}

/// What somebody is called of whom nothing else is known.
pub fn name_of(login: &Login) -> String {
    login.as_str().chars().take(NAME_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_door_lets_in() {
        let long = |len: usize| "ä".repeat(len);
        assert_eq!(parse_name(" Älice Müller "), Ok("Älice Müller"));
        assert_eq!(parse_name(&long(100)), Ok(long(100).as_str()));
        for bad in ["", " ", "a\nb", "a\u{202e}b", "a\u{200b}", "\u{7}", &long(101)] {
            assert_eq!(parse_name(bad), Err(Unfit::Name), "{bad:?}");
        }
        for email in ["alice@example.com", "a@b", "älice@bücher.example", &format!("{}@c", "a".repeat(252))] {
            assert_eq!(parse_email(email), Ok(email));
        }
        let long_email = format!("{}@c", "a".repeat(253));
        for bad in
            ["", "x", "a@b@c", "a b@c", "@c", "a@", "@", "a\u{200b}@c", "a@c\n", "<a@c>", "a@c,b", "a@c;", &long_email]
        {
            assert_eq!(parse_email(bad), Err(Unfit::Email), "{bad:?}");
        }
        assert_eq!(parse_group(" Sales, EMEA "), Ok("Sales, EMEA"));
        for bad in ["", " ", "a\tb", "a\u{2066}b", &"a".repeat(255)] {
            assert_eq!(parse_group(bad), Err(Unfit::Group), "{bad:?}");
        }
    }

    #[test]
    fn a_profile_says_which_part_is_not_fit() {
        let read = |name: &str, email: &str, groups: &[&str]| {
            Profile::parse(name, email, groups.iter().map(|group| (*group).to_owned()).collect())
        };
        let profile = read("Alice", "", &["b", "a", " b"]).unwrap();
        assert_eq!(profile.into_parts(), ("Alice".into(), String::new(), vec!["a".into(), "b".into()]));
        assert_eq!(read("", "a@b", &[]), Err(Unfit::Name));
        assert_eq!(read("a", "b", &[]), Err(Unfit::Email));
        assert_eq!(read("a", "a@b", &["ok", "\0"]), Err(Unfit::Group));
    }

    #[test]
    fn whoever_has_a_login_has_a_name() {
        let login = Login::parse(&"a".repeat(254)).unwrap();
        assert!(parse_name(&name_of(&login)).is_ok());
    }
}
