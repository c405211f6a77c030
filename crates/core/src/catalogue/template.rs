//! Path templates and titles: the two texts of an operation that have placeholders.

use std::collections::BTreeMap;

use crate::operation::Inputs;

/// A path template: literal segments, `{name}` for one segment, `{name...}` for
/// the rest (last only, at least one segment).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    text: String,
    segments: Vec<TemplateSegment>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TemplateSegment {
    // The order is the order of specificity.
    Literal(String),
    One(String),
    Rest(String),
}

/// The text is not a path template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATemplate {
    /// It starts with something else.
    #[error("a path template starts with /")]
    NoSlash,
    /// `//`, `.` or `..` inside, or a character that a path cannot have.
    #[error("the segment {0:?} cannot be part of a path")]
    Segment(String),
    /// `{` without `}`, an empty name, or a name used twice.
    #[error("the placeholder {0:?} is not of the form {{name}}, or its name is used twice")]
    Placeholder(String),
    /// `{name...}` is not the last segment.
    #[error("{{{0}...}} takes the rest of the path, so it must be the last segment")]
    RestNotLast(String),
}

impl PathTemplate {
    /// Reads a template like `/payments/{id}/approve`.
    pub fn parse(text: &str) -> Result<Self, NotATemplate> {
        let rest = text.strip_prefix('/').ok_or(NotATemplate::NoSlash)?;
        let mut segments = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        if !rest.is_empty() {
            for segment in rest.split('/') {
                if let Some(NotATemplate::RestNotLast(name)) = segments.last().and_then(|last| match last {
                    TemplateSegment::Rest(name) => Some(NotATemplate::RestNotLast(name.clone())),
                    _ => None,
                }) {
                    return Err(NotATemplate::RestNotLast(name));
                }
                segments.push(template_segment(segment, &mut names)?);
            }
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// The template that matches every path; used by a service's two defaults.
    pub fn any() -> Self {
        Self { text: "/*".to_owned(), segments: vec![TemplateSegment::Rest(String::new())] }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its placeholders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            TemplateSegment::One(name) | TemplateSegment::Rest(name) => Some(name.as_str()),
            TemplateSegment::Literal(_) => None,
        })
    }

    /// Matches decoded path segments (`/a/b` is `["a", "b"]`, `/` is `[]`, `/a/` is `["a", ""]`).
    ///
    /// A final empty segment (trailing slash) matches no placeholder: whether an
    /// upstream reads `/a/` as `/a` is not ours to guess, so a rule for `/a`
    /// covers `/a/` too: the final empty segment is ignored for literals and ends.
    pub fn matches(&self, segments: &[&str]) -> Option<BTreeMap<String, String>> {
        let segments = match segments {
            [rest @ .., ""] => rest,
            all => all,
        };
        let mut values = BTreeMap::new();
        let mut left = segments;
        for template in &self.segments {
            if let TemplateSegment::Rest(name) = template {
                if left.is_empty() && !name.is_empty() {
                    return None;
                }
                values.insert(name.clone(), left.join("/"));
                return Some(values);
            }
            let (first, rest) = left.split_first()?;
            match template {
                TemplateSegment::Literal(text) if text == first => {}
                TemplateSegment::One(name) if !first.is_empty() => {
                    values.insert(name.clone(), (*first).to_owned());
                }
                _ => return None,
            }
            left = rest;
        }
        left.is_empty().then_some(values)
    }

    /// Whether a server that is lax about spelling could take this path for one of
    /// this template although [`PathTemplate::matches`] does not: in another case
    /// (Express), with dots or blanks at the end of a segment (IIS), or with a format
    /// behind the last one (`approve.json` in Rails).
    pub fn is_almost(&self, segments: &[&str], formats: Formats) -> bool {
        let segments = match segments {
            [rest @ .., ""] => rest,
            all => all,
        };
        let mut left = segments;
        for template in &self.segments {
            let (first, rest) = match (template, left.split_first()) {
                (TemplateSegment::Rest(name), first) => return first.is_some() || name.is_empty(),
                (_, Some(first)) => first,
                (_, None) => return false,
            };
            let taken = match template {
                TemplateSegment::Literal(text) => is_lax_spelling(text, first, rest.is_empty(), formats),
                TemplateSegment::One(_) | TemplateSegment::Rest(_) => !first.is_empty(),
            };
            if !taken {
                return false;
            }
            left = rest;
        }
        left.is_empty()
    }

    /// Orders templates: the more specific comes first.
    pub fn specificity(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |segment: &TemplateSegment| match segment {
            TemplateSegment::Literal(_) => 0,
            TemplateSegment::One(_) => 1,
            TemplateSegment::Rest(_) => 2,
        };
        let key = |template: &Self| template.segments.iter().map(rank).collect::<Vec<_>>();
        key(self).cmp(&key(other)).then_with(|| self.text.cmp(&other.text))
    }

    /// Whether both match exactly the same paths, so that neither is more specific.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same = |(a, b): (&TemplateSegment, &TemplateSegment)| match (a, b) {
            (TemplateSegment::Literal(a), TemplateSegment::Literal(b)) => a == b,
            (TemplateSegment::One(_), TemplateSegment::One(_))
            | (TemplateSegment::Rest(_), TemplateSegment::Rest(_)) => true,
            _ => false,
        };
        self.segments.len() == other.segments.len() && self.segments.iter().zip(&other.segments).all(same)
    }
}

/// Whether a format behind the last segment counts as part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formats {
    /// `approve.json` is something else than `approve`, as for files that are read.
    Tell,
    /// `approve.json` may be taken for `approve`.
    Ignored,
}

fn is_lax_spelling(literal: &str, segment: &str, last: bool, formats: Formats) -> bool {
    let bare = |text: &str| text.trim_end_matches(['.', ' ']).to_lowercase();
    let (literal, segment) = (bare(literal), bare(segment));
    if literal == segment {
        return true;
    }
    let format = segment.strip_prefix(&literal).and_then(|rest| rest.strip_prefix('.'));
    last && formats == Formats::Ignored && format.is_some_and(|format| !format.contains('.'))
}

fn template_segment<'t>(segment: &'t str, names: &mut Vec<&'t str>) -> Result<TemplateSegment, NotATemplate> {
    let odd = || NotATemplate::Placeholder(segment.to_owned());
    if let Some(inner) = segment.strip_prefix('{') {
        let inner = inner.strip_suffix('}').ok_or_else(odd)?;
        let (name, rest) = match inner.strip_suffix("...") {
            Some(name) => (name, true),
            None => (inner, false),
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(good) || names.contains(&name) {
            return Err(odd());
        }
        names.push(name);
        let name = name.to_owned();
        return Ok(if rest { TemplateSegment::Rest(name) } else { TemplateSegment::One(name) });
    }
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '{' | '}' | '%' | '?' | '#' | '\\' | ';');
    if segment.is_empty() || segment == "." || segment == ".." || segment.contains(bad) {
        return Err(NotATemplate::Segment(segment.to_owned()));
    }
    Ok(TemplateSegment::Literal(segment.to_owned()))
}

/// A title for people, with placeholders: `Approve payment {id} of {amount}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

/// Longest value that is shown inside a title, in characters.
pub const SHOWN_VALUE_MAX: usize = 80;

impl Title {
    /// A title.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names of its placeholders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
    }

    /// Fills the placeholders. Values are shown with control characters removed and cut.
    pub fn fill(&self, inputs: &Inputs) -> String {
        self.fill_with(|name| inputs.get(name).map(ToString::to_string))
    }

    /// Fills the placeholders with what this says of their names.
    pub fn fill_with(&self, value: impl Fn(&str) -> Option<String>) -> String {
        let mut out = String::new();
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                out.push('{');
                rest = after;
                continue;
            };
            match value(name) {
                Some(value) => out.push_str(&crate::surroundings::shown(&value, SHOWN_VALUE_MAX)),
                None => {
                    out.push('{');
                    out.push_str(name);
                    out.push('}');
                }
            }
            rest = tail;
        }
        out.push_str(rest);
        out
    }
}
