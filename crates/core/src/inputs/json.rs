//! JSON (RFC 8259), read strictly and once: every key is looked at, numbers keep
//! the text that they were written with, and only what is declared is kept.
//!
//! The usual readers take the last of two equal keys and turn numbers into binary
//! fractions before anybody can look; a decision on money can rest on neither.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::scalar::Scalar;
use super::{InputError, folded, missing};
use crate::catalogue::InputSpec;

/// Deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 64;

/// A JSON pointer (RFC 6901): the decoded names on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// The text is not a JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON pointer (RFC 6901): it starts with /, and ~ is written ~0, / inside a name ~1")]
pub struct NotAPointer;

impl Pointer {
    /// Reads a pointer like `/payment/amount`.
    ///
    /// # Errors
    ///
    /// [`NotAPointer`]
    pub fn parse(text: &str) -> Result<Self, NotAPointer> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let names = text.strip_prefix('/').ok_or(NotAPointer)?;
        names.split('/').map(unescaped).collect::<Option<_>>().map(Self).ok_or(NotAPointer)
    }
}

fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('~');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = match part.split_at_checked(1)? {
            ("0", rest) => ('~', rest),
            ("1", rest) => ('/', rest),
            _ => return None,
        };
        out.push(sign);
        out.push_str(rest);
    }
    Some(out)
}

/// Reads a document and gives each declared input its value, in the order of `asked`.
pub(super) fn read<'t, 's>(
    text: &'t str,
    asked: &[(&'s InputSpec, Pointer)],
) -> Result<Vec<(&'s InputSpec, Scalar<'t>)>, InputError> {
    let wanted: Vec<Wanted<'_>> =
        asked.iter().enumerate().map(|(index, (_, pointer))| Wanted { index, names: &pointer.0 }).collect();
    let mut reader = Reader { text, at: 0, specs: asked, found: asked.iter().map(|_| None).collect() };
    reader.blank();
    reader.value(0, &wanted)?;
    reader.blank();
    if reader.at < text.len() {
        return Err(reader.wrong("something follows the document"));
    }
    let found = reader.found;
    asked.iter().zip(found).map(|((spec, _), scalar)| Ok((*spec, scalar.ok_or_else(|| missing(spec))?))).collect()
}

/// An input that lies at or below the value that is being read.
#[derive(Clone, Copy)]
struct Wanted<'p> {
    index: usize,
    names: &'p [String],
}

struct Reader<'t, 's, 'a> {
    text: &'t str,
    at: usize,
    specs: &'a [(&'s InputSpec, Pointer)],
    found: Vec<Option<Scalar<'t>>>,
}

impl<'t> Reader<'t, '_, '_> {
    fn wrong(&self, what: &'static str) -> InputError {
        InputError::NotJson { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Goes on if the next byte is this one.
    fn eat(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        if is {
            self.at += 1;
        }
        is
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn since(&self, start: usize) -> &'t str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self, depth: usize, wanted: &[Wanted<'_>]) -> Result<(), InputError> {
        let scalar = match self.peek() {
            Some(b'{') => self.object(depth + 1, wanted)?,
            Some(b'[') => self.array(depth + 1, wanted)?,
            Some(b'"') => Scalar::JsonText(self.string()?),
            Some(b'-' | b'0'..=b'9') => Scalar::JsonNumber(self.number()?),
            Some(b't') => self.word("true", Scalar::JsonBool(true))?,
            Some(b'f') => self.word("false", Scalar::JsonBool(false))?,
            Some(b'n') => self.word("null", Scalar::JsonOther)?,
            _ => return Err(self.wrong("a value is expected")),
        };
        for wanted in wanted.iter().filter(|wanted| wanted.names.is_empty()) {
            if let Some(slot) = self.found.get_mut(wanted.index) {
                *slot = Some(scalar.clone());
            }
        }
        Ok(())
    }

    fn word(&mut self, word: &str, scalar: Scalar<'t>) -> Result<Scalar<'t>, InputError> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.wrong("a value is expected"));
        }
        self.at += word.len();
        Ok(scalar)
    }

    fn object(&mut self, depth: usize, wanted: &[Wanted<'_>]) -> Result<Scalar<'t>, InputError> {
        if depth > DEPTH_MAX {
            return Err(InputError::TooDeep);
        }
        self.at += 1;
        let mut keys: BTreeSet<Cow<'t, str>> = BTreeSet::new();
        self.blank();
        if self.eat(b'}') {
            return Ok(Scalar::JsonOther);
        }
        loop {
            self.blank();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key is expected"));
            }
            let key = self.string()?;
            let below = self.below(&key, wanted)?;
            if !keys.insert(key) {
                return Err(InputError::DuplicateKey { at: start });
            }
            self.blank();
            if !self.eat(b':') {
                return Err(self.wrong("a colon is expected"));
            }
            self.blank();
            self.value(depth, &below)?;
            self.blank();
            if self.eat(b'}') {
                return Ok(Scalar::JsonOther);
            }
            if !self.eat(b',') {
                return Err(self.wrong("a comma or the end of the object is expected"));
            }
        }
    }

    /// The inputs below this key. A key that some reader takes for a declared one
    /// (Go's ignores case) is refused.
    fn below<'p>(&self, key: &str, wanted: &[Wanted<'p>]) -> Result<Vec<Wanted<'p>>, InputError> {
        let mut below = Vec::new();
        for wanted in wanted {
            let Some((first, names)) = wanted.names.split_first() else { continue };
            if first == key {
                below.push(Wanted { index: wanted.index, names });
            } else if folded(first) == folded(key) {
                let name = self.specs.get(wanted.index).map(|(spec, _)| spec.name.clone()).unwrap_or_default();
                return Err(InputError::OtherSpelling { name });
            }
        }
        Ok(below)
    }

    fn array(&mut self, depth: usize, wanted: &[Wanted<'_>]) -> Result<Scalar<'t>, InputError> {
        if depth > DEPTH_MAX {
            return Err(InputError::TooDeep);
        }
        self.at += 1;
        self.blank();
        if self.eat(b']') {
            return Ok(Scalar::JsonOther);
        }
        let mut index = 0_usize;
        loop {
            let number = if wanted.is_empty() { String::new() } else { index.to_string() };
            let below: Vec<Wanted<'_>> = wanted
                .iter()
                .filter_map(|wanted| Some((wanted.index, wanted.names.split_first()?)))
                .filter(|(_, (first, _))| **first == number)
                .map(|(index, (_, names))| Wanted { index, names })
                .collect();
            self.blank();
            self.value(depth, &below)?;
            self.blank();
            if self.eat(b']') {
                return Ok(Scalar::JsonOther);
            }
            if !self.eat(b',') {
                return Err(self.wrong("a comma or the end of the array is expected"));
            }
            index += 1;
        }
    }

    fn number(&mut self) -> Result<&'t str, InputError> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(self.since(start))
    }

    fn digits(&mut self) -> Result<(), InputError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("a digit is expected")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Cow<'t, str>, InputError> {
        self.at += 1;
        let mut decoded: Option<String> = None;
        let mut start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = self.since(start);
                    self.at += 1;
                    return Ok(match decoded {
                        None => Cow::Borrowed(rest),
                        Some(mut text) => {
                            text.push_str(rest);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    let before = self.since(start);
                    self.at += 1;
                    let sign = self.escaped()?;
                    let text = decoded.get_or_insert_with(String::new);
                    text.push_str(before);
                    text.push(sign);
                    start = self.at;
                }
                Some(0x00..=0x1f) => return Err(self.wrong("a string has a control character")),
                Some(_) => self.at += 1,
                None => return Err(self.wrong("a string does not end")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, InputError> {
        Ok(match self.next() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.unit()?;
                let code = match first {
                    0xd800..=0xdbff => {
                        if !(self.eat(b'\\') && self.eat(b'u')) {
                            return Err(self.wrong("half of a surrogate pair stands alone"));
                        }
                        let second = self.unit()?;
                        if !(0xdc00..=0xdfff).contains(&second) {
                            return Err(self.wrong("half of a surrogate pair stands alone"));
                        }
                        0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    other => other,
                };
                // What is left that is no character is the other half, alone.
                char::from_u32(code).ok_or_else(|| self.wrong("half of a surrogate pair stands alone"))?
            }
            _ => return Err(self.wrong("an escape is not one that JSON has")),
        })
    }

    /// Four hex digits.
    fn unit(&mut self) -> Result<u32, InputError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit * 16 + digit.ok_or_else(|| self.wrong("four hex digits are expected"))?;
        }
        Ok(unit)
    }
}
