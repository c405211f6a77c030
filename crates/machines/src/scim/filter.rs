//! Filters (RFC 7644, section 3.4.2.2): read once, bounded, then asked of resources.

use std::cmp::Ordering;

use serde_json::Value;
use stepgate_core::person::folded;

use super::schema::{Attribute, Kind, Resource};

/// The longest filter, in bytes.
pub(crate) const FILTER_LEN_MAX: usize = 2_048;
/// How deep parentheses and brackets may be.
const DEPTH_MAX: usize = 10;
/// How many comparisons one filter may have.
const TERMS_MAX: usize = 40;

/// A filter that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Present(Path),
    Compare(Path, Operator, Value),
    /// Some value of the attribute is so as a whole.
    Within(Path, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Co,
    Sw,
    Ew,
    Gt,
    Ge,
    Lt,
    Le,
}

/// An attribute and perhaps a part of it, in the schema's spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) attribute: &'static str,
    pub(crate) part: Option<&'static str>,
    pub(crate) kind: Kind,
}

impl Path {
    /// An attribute with several values is compared by their `value`.
    fn or_value(self, attribute: Option<&'static Attribute>) -> Self {
        match attribute.and_then(|attribute| attribute.part("value")) {
            Some(value) if self.part.is_none() => Self { part: Some(value.name), kind: value.kind, ..self },
            _ => self,
        }
    }
}

/// Reads a filter on this kind of resource.
pub(crate) fn parse(text: &str, resource: &Resource) -> Result<Filter, String> {
    if text.len() > FILTER_LEN_MAX {
        return Err(format!("it is longer than {FILTER_LEN_MAX} bytes"));
    }
    let mut reader = Reader { text, at: 0, terms: 0, scope: Scope::Resource(resource) };
    let filter = reader.or(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.expected("nothing more"));
    }
    Ok(filter)
}

/// Reads what stands in the brackets of a path: a filter on the parts of one attribute.
pub(crate) fn parse_within(text: &str, attribute: &'static Attribute) -> Result<Filter, String> {
    if text.len() > FILTER_LEN_MAX {
        return Err(format!("it is longer than {FILTER_LEN_MAX} bytes"));
    }
    let mut reader = Reader { text, at: 0, terms: 0, scope: Scope::Parts(attribute) };
    let filter = reader.or(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.expected("nothing more"));
    }
    Ok(filter)
}

#[derive(Clone, Copy)]
enum Scope<'r> {
    Resource(&'r Resource),
    Parts(&'static Attribute),
}

struct Reader<'t, 'r> {
    text: &'t str,
    at: usize,
    terms: usize,
    scope: Scope<'r>,
}

impl Reader<'_, '_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) -> bool {
        let before = self.at;
        while self.rest().starts_with(' ') {
            self.at += 1;
        }
        self.at > before
    }

    fn expected(&self, what: &str) -> String {
        let rest: String = self.rest().chars().take(20).collect();
        let found = if rest.is_empty() { "its end".to_owned() } else { format!("{rest:?}") };
        format!("at byte {}: {what} is expected, found {found}", self.at)
    }

    /// Takes this sign.
    fn sign(&mut self, sign: char) -> bool {
        let is = self.rest().starts_with(sign);
        if is {
            self.at += sign.len_utf8();
        }
        is
    }

    /// Takes this word, in any case, if it stands alone.
    fn word(&mut self, word: &str) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
            && !self.rest().get(word.len()..).is_some_and(|rest| rest.starts_with(is_name));
        if found {
            self.at += word.len();
        }
        found
    }

    fn or(&mut self, depth: usize) -> Result<Filter, String> {
        let mut left = self.and(depth)?;
        loop {
            let before = self.at;
            if self.space() && self.word("or") && self.space() {
                left = Filter::Or(Box::new(left), Box::new(self.and(depth)?));
            } else {
                self.at = before;
                return Ok(left);
            }
        }
    }

    fn and(&mut self, depth: usize) -> Result<Filter, String> {
        let mut left = self.term(depth)?;
        loop {
            let before = self.at;
            if self.space() && self.word("and") && self.space() {
                left = Filter::And(Box::new(left), Box::new(self.term(depth)?));
            } else {
                self.at = before;
                return Ok(left);
            }
        }
    }

    fn term(&mut self, depth: usize) -> Result<Filter, String> {
        if depth >= DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        self.space();
        let before = self.at;
        let not = self.word("not");
        if not {
            self.space();
        }
        if self.sign('(') {
            let inner = self.or(depth + 1)?;
            self.space();
            if !self.sign(')') {
                return Err(self.expected("`)`"));
            }
            return Ok(if not { Filter::Not(Box::new(inner)) } else { inner });
        }
        if not {
            self.at = before;
            return Err(self.expected("`not (`"));
        }
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(format!("it has more than {TERMS_MAX} comparisons"));
        }
        self.comparison(depth)
    }

    fn comparison(&mut self, depth: usize) -> Result<Filter, String> {
        let (path, attribute) = self.path()?;
        if self.sign('[') {
            let Some(attribute) = attribute.filter(|attribute| !attribute.parts.is_empty() && path.part.is_none())
            else {
                return Err(format!("{} has no parts", path.attribute));
            };
            let outer = std::mem::replace(&mut self.scope, Scope::Parts(attribute));
            let inner = self.or(depth + 1)?;
            self.scope = outer;
            self.space();
            if !self.sign(']') {
                return Err(self.expected("`]`"));
            }
            return Ok(Filter::Within(path, Box::new(inner)));
        }
        if !self.space() {
            return Err(self.expected("a space and an operator"));
        }
        if self.word("pr") {
            return Ok(Filter::Present(path));
        }
        let path = path.or_value(attribute);
        let operator = self.operator()?;
        if !self.space() {
            return Err(self.expected("a space and a value"));
        }
        let value = self.value()?;
        fits(&path, operator, &value)?;
        Ok(Filter::Compare(path, operator, value))
    }

    fn operator(&mut self) -> Result<Operator, String> {
        use Operator::{Co, Eq, Ew, Ge, Gt, Le, Lt, Ne, Sw};
        let all = [
            ("eq", Eq),
            ("ne", Ne),
            ("co", Co),
            ("sw", Sw),
            ("ew", Ew),
            ("gt", Gt),
            ("ge", Ge),
            ("lt", Lt),
            ("le", Le),
        ];
        for (word, operator) in all {
            if self.word(word) {
                return Ok(operator);
            }
        }
        Err(self.expected("an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr)"))
    }

    fn value(&mut self) -> Result<Value, String> {
        let rest = self.rest();
        let (read, value) = if rest.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let value = stream.next().and_then(Result::ok);
            (stream.byte_offset(), value)
        } else {
            // What else there is ends where JSON would go on otherwise: before a space or a bracket.
            let end = rest.find([' ', ')', ']']).unwrap_or(rest.len());
            (end, rest.get(..end).and_then(|text| serde_json::from_str(text).ok()))
        };
        match value.filter(|value: &Value| !value.is_object() && !value.is_array()) {
            Some(value) => {
                self.at += read;
                Ok(value)
            }
            None => Err(self.expected("a value: a text in double quotes, a number, true, false or null")),
        }
    }

    /// An attribute's path, with or without its schema, and the attribute.
    fn path(&mut self) -> Result<(Path, Option<&'static Attribute>), String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !is_name(c) && !matches!(c, ':' | '.')).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default().to_owned();
        if text.is_empty() {
            return Err(self.expected("an attribute"));
        }
        let found = match self.scope {
            Scope::Resource(resource) => resource.path(&text),
            Scope::Parts(attribute) => {
                attribute.part(&text).map(|part| (Path { attribute: part.name, part: None, kind: part.kind }, None))
            }
        };
        let found = found.ok_or_else(|| format!("there is no attribute {text:?} that can be filtered by"))?;
        self.at += end;
        Ok(found)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$')
}

/// Whether operator and value make sense for the attribute (RFC 7644: else `invalidFilter`).
fn fits(path: &Path, operator: Operator, value: &Value) -> Result<(), String> {
    use Operator::{Co, Eq, Ew, Ge, Gt, Le, Lt, Ne, Sw};
    let name = path.attribute;
    if value.is_null() {
        return if matches!(operator, Eq | Ne) { Ok(()) } else { Err(format!("{name} cannot be compared with null")) };
    }
    match path.kind {
        Kind::Bool => match operator {
            Eq | Ne if value.is_boolean() || is_spelled_bool(value) => Ok(()),
            _ => Err(format!("{name} is true or false")),
        },
        Kind::Time => match operator {
            Co | Sw | Ew => Err(format!("{name} is a time")),
            _ if value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()) => Ok(()),
            _ => Err(format!("{name} is a time like \"2026-01-01T00:00:00Z\"")),
        },
        Kind::Text | Kind::ExactText => match operator {
            Eq | Ne | Co | Sw | Ew | Gt | Ge | Lt | Le if value.is_string() => Ok(()),
            _ => Err(format!("{name} is a text")),
        },
        Kind::Reference(_) => Err(format!("{name} cannot be filtered by")),
        Kind::Complex => Err(format!("{name} has parts: one of them is compared")),
    }
}

/// Entra writes `active eq "True"`.
fn is_spelled_bool(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"))
}

impl Filter {
    /// Whether the resource is meant.
    pub(crate) fn holds(&self, resource: &Value) -> bool {
        match self {
            Self::And(one, other) => one.holds(resource) && other.holds(resource),
            Self::Or(one, other) => one.holds(resource) || other.holds(resource),
            Self::Not(inner) => !inner.holds(resource),
            Self::Present(path) => values(resource, path).iter().any(|value| is_there(value)),
            Self::Compare(path, operator, wanted) => {
                let found = values(resource, path);
                let equal = |value: &&Value| compare(value, wanted, path.kind) == Some(Ordering::Equal);
                match operator {
                    // What is not there equals null, and differs from all else.
                    Operator::Eq if wanted.is_null() => !found.iter().any(|value| is_there(value)),
                    Operator::Ne if wanted.is_null() => found.iter().any(|value| is_there(value)),
                    Operator::Ne => !found.iter().any(equal),
                    _ => found.iter().any(|value| matches(value, *operator, wanted, path.kind)),
                }
            }
            Self::Within(path, inner) => match resource.get(path.attribute) {
                Some(Value::Array(all)) => all.iter().any(|one| inner.holds(one)),
                Some(one) => inner.holds(one),
                None => false,
            },
        }
    }

    /// What must hold of an attribute if the filter is to hold: `attribute eq "text"`, in any part that
    /// is joined by `and`. For looking up instead of looking at all.
    pub(crate) fn demands(&self, attribute: &str, part: Option<&str>) -> Option<&str> {
        match self {
            Self::And(one, other) => one.demands(attribute, part).or_else(|| other.demands(attribute, part)),
            Self::Compare(path, Operator::Eq, Value::String(text))
                if path.attribute == attribute && path.part == part =>
            {
                Some(text)
            }
            Self::Within(path, inner) if path.attribute == attribute && path.part.is_none() => {
                inner.demands(part?, None)
            }
            _ => None,
        }
    }

    /// How often it looks at this attribute.
    pub(crate) fn looks_at(&self, attribute: &str) -> usize {
        match self {
            Self::And(one, other) | Self::Or(one, other) => {
                one.looks_at(attribute).saturating_add(other.looks_at(attribute))
            }
            Self::Not(inner) => inner.looks_at(attribute),
            Self::Within(path, inner) if path.attribute == attribute && inner.is_one_comparison() => 1,
            // Several parts of one value: no single question.
            Self::Within(path, _) if path.attribute == attribute => 2,
            Self::Present(path) | Self::Compare(path, ..) | Self::Within(path, _) => {
                usize::from(path.attribute == attribute)
            }
        }
    }

    /// Whether it is `attribute eq "text"` and nothing else.
    pub(crate) fn is_one_comparison(&self) -> bool {
        match self {
            Self::Compare(_, Operator::Eq, _) => true,
            Self::Within(_, inner) => inner.is_one_comparison(),
            _ => false,
        }
    }
}

fn is_there(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(parts) => !parts.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// The values at a path; of an attribute with several, all.
fn values<'v>(resource: &'v Value, path: &Path) -> Vec<&'v Value> {
    let Some(value) = resource.get(path.attribute) else { return Vec::new() };
    let all = match value {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    };
    match path.part {
        None => all,
        Some(part) => all.into_iter().filter_map(|one| one.get(part)).collect(),
    }
}

fn compare(value: &Value, wanted: &Value, kind: Kind) -> Option<Ordering> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    match kind {
        Kind::Text => Some(folded(&text(value)?).cmp(&folded(&text(wanted)?))),
        Kind::ExactText => Some(text(value)?.cmp(&text(wanted)?)),
        Kind::Time => {
            let time = |value: &Value| value.as_str()?.parse::<jiff::Timestamp>().ok();
            Some(time(value)?.cmp(&time(wanted)?))
        }
        Kind::Bool => {
            let wanted = wanted.as_bool().or_else(|| text(wanted).map(|text| text.eq_ignore_ascii_case("true")))?;
            Some(value.as_bool()?.cmp(&wanted))
        }
        Kind::Complex | Kind::Reference(_) => None,
    }
}

fn matches(value: &Value, operator: Operator, wanted: &Value, kind: Kind) -> bool {
    let ordered = |is: fn(Ordering) -> bool| compare(value, wanted, kind).is_some_and(is);
    let part = |is: fn(&str, &str) -> bool| match (value.as_str(), wanted.as_str()) {
        (Some(value), Some(wanted)) if kind == Kind::Text => is(&folded(value), &folded(wanted)),
        (Some(value), Some(wanted)) => is(value, wanted),
        _ => false,
    };
    match operator {
        Operator::Eq => ordered(Ordering::is_eq),
        Operator::Ne => ordered(Ordering::is_ne),
        Operator::Gt => ordered(Ordering::is_gt),
        Operator::Ge => ordered(Ordering::is_ge),
        Operator::Lt => ordered(Ordering::is_lt),
        Operator::Le => ordered(Ordering::is_le),
        Operator::Co => part(|value, wanted| value.contains(wanted)),
        Operator::Sw => part(|value, wanted| value.starts_with(wanted)),
        Operator::Ew => part(|value, wanted| value.ends_with(wanted)),
    }
}

#[cfg(test)]
mod tests;
