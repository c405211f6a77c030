//! Which new passwords are accepted: length and a blocklist, nothing about
//! composition (SP 800-63B-4 section 3.1.1.2).

use std::collections::HashSet;

use stepgate_core::factor::{EnrolledFactor, PasswordStands};
use stepgate_core::person::Person;
use unicode_normalization::UnicodeNormalization as _;

/// Shortest password that is the only factor, in code points (SP 800-63B-4 section 3.1.1.2).
const ALONE_MIN: usize = 15;
/// Shortest password beside another factor.
const BESIDE_MIN: usize = 8;
/// A word shorter than this, found in a person's or service's name, blocks nothing.
const WORD_MIN: usize = 3;
/// A word longer than this is not looked for inside a password.
const WORD_LEN_MAX: usize = 64;
/// So many words of the list or fewer make a password that is tried early; more are a passphrase.
const WORDS_MAX: u32 = 3;
/// A password that repeats so few characters is that piece, not a password.
const REPEATED_MAX: usize = 4;

/// The commonest passwords of published breach collections, and the words that they are made of.
const COMMON: &str = include_str!("common.txt");
/// What fingers and minds run along; also backwards.
const RUNS: [&str; 8] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "q1w2e3r4t5y6u7i8o9p0",
    "1q2w3e4r5t6y7u8i9o0p",
];

/// Why a new password is refused; the text is for the person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Too short.
    #[error("A password must be at least {0} characters long. Spaces count; a sentence is easy to keep.")]
    Short(usize),
    /// On the blocklist.
    #[error(
        "This password is one of the first that an attacker tries. A few words that only you would put together are better."
    )]
    Common,
    /// Made of the person's own names or the service's.
    #[error("This password is made of names that anybody can guess: yours, or the service's.")]
    Context,
    /// A run or a repetition.
    #[error("This password is a run or a repetition of a few characters.")]
    Run,
}

/// The rules for a new password.
#[derive(Clone, Debug)]
pub struct PasswordRules {
    common: HashSet<String>,
    service: HashSet<String>,
}

impl PasswordRules {
    /// Rules for a gate with these names: host, title, services.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let common = COMMON.lines().map(|line| line.trim().to_owned()).filter(|word| !word.is_empty()).collect();
        let mut service: HashSet<String> = names.flat_map(words).collect();
        service.insert("stepgate".to_owned());
        Self { common, service }
    }

    /// Judges a normalised password; `existing` are all factors that the person has.
    /// Gives what it may stand for.
    pub(crate) fn judge(
        &self,
        password: &str,
        person: &Person,
        existing: &[EnrolledFactor],
    ) -> Result<PasswordStands, Refusal> {
        let beside = existing.iter().any(|factor| factor.kind().stands_beside_a_password());
        let min = if beside { BESIDE_MIN } else { ALONE_MIN };
        let length = password.chars().count();
        if length < min {
            return Err(Refusal::Short(min));
        }
        let folded: String = password.to_lowercase().nfkc().collect();
        if is_run(&folded) {
            return Err(Refusal::Run);
        }
        if self.common.contains(&folded) || self.is_made_of(&folded, &HashSet::new()) {
            return Err(Refusal::Common);
        }
        let own: HashSet<String> = [person.login.as_str(), &person.name, &person.email]
            .into_iter()
            .flat_map(words)
            .chain(self.service.iter().cloned())
            .collect();
        if self.is_made_of(&folded, &own) {
            return Err(Refusal::Context);
        }
        Ok(if length < ALONE_MIN { PasswordStands::BesideAnother } else { PasswordStands::Alone })
    }

    /// Whether the letters are nothing but words of the blocklist or of `own`, and
    /// digits and signs are only their decoration (fewer than the letters).
    fn is_made_of(&self, folded: &str, own: &HashSet<String>) -> bool {
        let plain = letters(folded, |c| c);
        let read = letters(folded, leet);
        let trimmed = letters(folded.trim_matches(|c: char| !c.is_alphabetic()), leet);
        [plain, read, trimmed].iter().any(|letters| {
            let decoration = folded.chars().count().saturating_sub(letters.len());
            !letters.is_empty()
                && decoration < letters.len()
                && splits(letters, &|word| self.common.contains(word) || own.contains(word))
        })
    }
}

/// The parts of a name: `alice.smith@example.com` is alice, smith, example, com.
fn words(text: &str) -> impl Iterator<Item = String> + use<'_> {
    let folded: String = text.to_lowercase().nfkc().collect();
    let parts: Vec<String> = folded
        .split(|c: char| !c.is_alphanumeric())
        .map(|part| part.chars().filter(|c| c.is_alphabetic()).collect::<String>())
        .filter(|part| part.chars().count() >= WORD_MIN)
        .collect();
    parts.into_iter()
}

fn letters(folded: &str, read: impl Fn(char) -> char) -> Vec<char> {
    folded.chars().map(read).filter(|c| c.is_alphabetic()).collect()
}

/// The letter that a digit or sign stands for in `p4$$w0rd`.
fn leet(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' | '€' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '8' => 'b',
        other => other,
    }
}

/// Whether the letters can be cut into at most [`WORDS_MAX`] words, each of which `is_word`.
fn splits(letters: &[char], is_word: &dyn Fn(&str) -> bool) -> bool {
    // The fewest words into which the first n letters can be cut. At most CODE_POINTS_MAX of them matter.
    let mut fewest: Vec<Option<u32>> = vec![Some(0)];
    for end in 1..=letters.len() {
        let cut = |start: usize| {
            let before = fewest.get(start).copied().flatten()?;
            let word: String = letters.get(start..end)?.iter().collect();
            (before < WORDS_MAX && end - start >= WORD_MIN && is_word(&word)).then_some(before + 1)
        };
        let best = (end.saturating_sub(WORD_LEN_MAX)..end).filter_map(cut).min();
        fewest.push(best);
    }
    fewest.last().copied().flatten().is_some()
}

/// Whether it is a piece of at most [`REPEATED_MAX`] characters over and over, or
/// goes along one of the [`RUNS`] from beginning to end.
fn is_run(folded: &str) -> bool {
    let characters: Vec<char> = folded.chars().collect();
    let repeats = |piece: usize| characters.iter().zip(characters.iter().skip(piece)).all(|(a, b)| a == b);
    if (1..=REPEATED_MAX).any(|piece| characters.len() > piece && repeats(piece)) {
        return true;
    }
    RUNS.iter().any(|run| {
        let back: String = run.chars().rev().collect();
        // Twice, for runs that begin again.
        [format!("{run}{run}"), format!("{back}{back}")].iter().any(|run| run.contains(folded))
    })
}

#[cfg(test)]
mod tests {
    use stepgate_core::id::PersonId;
    use stepgate_core::person::Login;

    use super::*;

    fn check(password: &str, expected: Result<(), Refusal>) {
        let rules = PasswordRules::new(["gate.northwind.example", "Northwind Bank"].into_iter());
        let person = Person {
            id: PersonId::from_bytes([1; 16]),
            login: Login::parse("alice.kowalski@example.com").unwrap(),
            name: "Alice Kowalski".to_owned(),
            email: "alice@example.com".to_owned(),
            groups: Vec::new(),
            active: true,
        };
        assert_eq!(rules.judge(password, &person, &[]).map(|_| ()), expected, "{password:?}");
    }

    #[test]
    fn length_counts_code_points_and_composition_counts_nothing() {
        check("quiet heron dusk", Ok(()));
        check("all lower no digits", Ok(()));
        check("                  tea", Ok(()));
        check("глубокая река осенью", Ok(()));
        check("short heron", Err(Refusal::Short(15)));
        // 14 and 15 code points of more than one byte each.
        check("ёжикётуманёлес", Err(Refusal::Short(15)));
        check("ёжикётуманёлесы", Ok(()));
        check("83641970358264719", Ok(()));
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        check("passwordpassword", Err(Refusal::Common));
        check("P4$$w0rdPassword1", Err(Refusal::Common));
        check("Password-Password-2025!", Err(Refusal::Common));
        check("iloveyousunshine", Err(Refusal::Common));
        check("aaaaaaaaaaaaaaaaa", Err(Refusal::Run));
        check("abcabcabcabcabcabc", Err(Refusal::Run));
        check("123456789012345", Err(Refusal::Run));
        check("098765432109876", Err(Refusal::Run));
        check("qwertyuiopasdfgh", Err(Refusal::Run));
        check("abcdefghijklmnop", Err(Refusal::Run));
    }

    #[test]
    fn names_of_person_and_service_are_refused() {
        check("alicekowalski123", Err(Refusal::Context));
        check("Alice-Kowalski-Alice", Err(Refusal::Context));
        check("northwindstepgate", Err(Refusal::Context));
        check("NorthwindPassword1", Err(Refusal::Context));
        // A name inside something longer is no reason.
        check("alice rows at four before tea", Ok(()));
    }
}
