//! Reads TOML by hand, so that every mistake is told at once, with its place.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use stepgate_core::similar::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One mistake in the configuration, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Bytes of the file that it is about.
    pub span: Range<usize>,
    /// What is wrong, and what is expected.
    pub message: String,
}

/// Collects mistakes, and notes which keys there are.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    mistakes: RefCell<Vec<Mistake>>,
    keys: RefCell<BTreeSet<(String, &'static str)>>,
}

impl Mistakes {
    /// Notes one.
    pub(super) fn add(&self, span: Range<usize>, message: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake { span, message: message.into() });
    }

    /// All of them, in the order of the file.
    pub(super) fn sorted(&self) -> Vec<Mistake> {
        let mut all = self.mistakes.borrow().clone();
        all.sort_by_key(|mistake| mistake.span.start);
        all
    }

    /// Every key that was looked for, with its table: what the reference must hold.
    #[cfg(test)]
    pub(super) fn keys(&self) -> BTreeSet<(String, &'static str)> {
        self.keys.borrow().clone()
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    /// The value.
    pub(super) value: T,
    /// Its bytes in the file.
    pub(super) span: Range<usize>,
}

/// A table of the file. Keys that are read are known; [`Table::finish`] refuses the rest.
pub(super) struct Table<'a> {
    table: &'a DeTable<'a>,
    name: String,
    span: Range<usize>,
    known: RefCell<BTreeSet<&'static str>>,
    mistakes: &'a Mistakes,
}

impl<'a> Table<'a> {
    /// The table of a parsed document.
    pub(super) fn new(table: &'a DeTable<'a>, name: &str, span: Range<usize>, mistakes: &'a Mistakes) -> Self {
        Self { table, name: name.to_owned(), span, known: RefCell::default(), mistakes }
    }

    /// Where it stands.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().insert(key);
        self.mistakes.keys.borrow_mut().insert((self.name.clone(), key));
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn of<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, String>,
    ) -> Option<At<T>> {
        let value = self.value(key)?;
        match read(value.get_ref()) {
            Ok(read) => Some(At { value: read, span: value.span() }),
            Err(why) => {
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                self.mistakes.add(value.span(), format!("`{key}` must be {expected}{why}"));
                None
            }
        }
    }

    /// Text.
    pub(super) fn text(&self, key: &'static str) -> Option<At<String>> {
        self.of(key, "text in quotes", |value| value.as_str().map(str::to_owned).ok_or_else(String::new))
    }

    /// Text that must be there.
    pub(super) fn required(&self, key: &'static str) -> Option<At<String>> {
        if self.value(key).is_none() {
            let name = &self.name;
            self.mistakes.add(self.span.clone(), format!("{name} needs `{key}`"));
        }
        self.text(key)
    }

    /// Text that a parser reads.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        self.of(key, expected, |value| {
            let text = value.as_str().ok_or_else(String::new)?;
            parse(text).map_err(|error| error.to_string())
        })
    }

    /// Yes or no.
    pub(super) fn flag(&self, key: &'static str) -> bool {
        self.of(key, "true or false", |value| value.as_bool().ok_or_else(String::new)).is_some_and(|at| at.value)
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, key: &'static str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.of(key, &expected, |value| {
            let number =
                value.as_integer().and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
            number.filter(|number| bounds.contains(number)).ok_or_else(String::new)
        })
        .map(|at| at.value)
    }

    /// A duration like `10m`, within bounds.
    pub(super) fn duration(&self, key: &'static str, bounds: std::ops::RangeInclusive<Duration>) -> Option<Duration> {
        let expected =
            format!("a duration like \"10m\", from {} to {}", in_words(*bounds.start()), in_words(*bounds.end()));
        self.parsed(key, &expected, |text| parse_duration(text).filter(|d| bounds.contains(d)).ok_or(""))
            .map(|at| at.value)
    }

    /// A size like `10MiB`, in bytes, within bounds.
    pub(super) fn size(&self, key: &'static str, bounds: std::ops::RangeInclusive<u64>) -> Option<usize> {
        let expected = format!(
            "a size like \"10MiB\", from {} to {}",
            size_in_words(*bounds.start()),
            size_in_words(*bounds.end())
        );
        self.parsed(key, &expected, |text| parse_size(text).filter(|size| bounds.contains(size)).ok_or(""))
            .and_then(|at| usize::try_from(at.value).ok())
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &'static str) -> Vec<At<String>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let wrong = || self.mistakes.add(value.span(), format!("`{key}` must be a list of texts in quotes"));
        let Some(array) = value.get_ref().as_array() else {
            wrong();
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push(At { value: text.to_owned(), span: item.span() }),
                None => self.mistakes.add(item.span(), format!("`{key}` must be a list of texts in quotes")),
            }
        }
        texts
    }

    /// A table below this one.
    pub(super) fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let value = self.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => {
                let above = self.name.strip_prefix('[').map(|name| name.trim_matches(['[', ']']));
                let name = above.map_or_else(|| format!("[{key}]"), |above| format!("[{above}.{key}]"));
                Some(Table::new(table, &name, value.span(), self.mistakes))
            }
            None => {
                self.mistakes.add(value.span(), format!("`{key}` must be a table"));
                None
            }
        }
    }

    /// A list of tables below this one.
    pub(super) fn tables(&self, key: &'static str, name: &str) -> Vec<Table<'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.mistakes.add(value.span(), format!("write {name} (double brackets): there can be several"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => tables.push(Table::new(table, name, item.span(), self.mistakes)),
                None => self.mistakes.add(item.span(), format!("each of {name} must be a table")),
            }
        }
        tables
    }

    /// All keys and texts of a table of free names.
    pub(super) fn free(self) -> Vec<(At<String>, At<String>)> {
        let mut pairs = Vec::new();
        for (key, value) in self.table.iter() {
            let key = At { value: key.get_ref().to_string(), span: key.span() };
            match value.get_ref().as_str() {
                Some(text) => pairs.push((key, At { value: text.to_owned(), span: value.span() })),
                None => self.mistakes.add(value.span(), format!("`{}` must be text in quotes", key.value)),
            }
        }
        pairs
    }

    /// Where mistakes are noted; for callers that eat the table.
    pub(super) fn notes(&self) -> &'a Mistakes {
        self.mistakes
    }

    /// Notes a mistake about this table.
    pub(super) fn mistake(&self, span: Range<usize>, message: impl Into<String>) {
        self.mistakes.add(span, message);
    }

    /// Refuses every key that nobody asked for, and proposes the nearest known one.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for (key, _) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if known.contains(name) {
                continue;
            }
            // `client_secret` for `client_secret_file`: the first word was right.
            let begins: Vec<_> = known
                .iter()
                .filter(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')))
                .collect();
            let hint = match (nearest(name, known.iter().copied()), begins.as_slice()) {
                (Some(known), _) => format!("; did you mean `{known}`?"),
                (None, [_, ..]) => {
                    let begins: Vec<_> = begins.iter().map(|known| format!("`{known}`")).collect();
                    format!("; did you mean {}?", begins.join(" or "))
                }
                (None, []) => format!("; known are {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.mistakes.add(key.span(), format!("{} has no key `{name}`{hint}", self.name));
        }
    }
}

/// A duration as the configuration would say it: in the largest unit that divides it.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds / unit)
}

/// A size as the configuration would say it.
fn size_in_words(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}

/// `90s`, `10m`, `24h`, `7d`: whole numbers only.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, factor) = match text.char_indices().last()? {
        (end, 's') => (text.get(..end)?, 1),
        (end, 'm') => (text.get(..end)?, 60),
        (end, 'h') => (text.get(..end)?, 3600),
        (end, 'd') => (text.get(..end)?, 86_400),
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(factor)?))
}

/// `512B`, `64KiB`, `10MiB`, `1GiB`.
fn parse_size(text: &str) -> Option<u64> {
    let (number, factor) = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        assert_eq!(parse_duration("10m"), Some(Duration::from_secs(600)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(604_800)));
        for bad in ["", "10", "m", "-1m", "1.5h", "10 m", "10min"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("3B"), Some(3));
        assert_eq!(parse_size("1MB"), None);
    }
}
