//! Reads policy sources: ids, reasons, annotations, and where everything stands.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::str::FromStr as _;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, Policy, PolicyId, PolicySet};

use super::{
    ID_LEN_MAX, POLICIES_MAX, PolicyAbout, PolicyMistake, PolicySource, REASON_LEN_MAX, RESERVED_IDS, SOURCE_BYTES_MAX,
};
use crate::surroundings::shown;

/// Annotations that a policy may have. Only `id` and `reason` are read here;
/// `title` and `control` (a paragraph of a standard) are for people and reports.
const ANNOTATIONS: [&str; 4] = ["id", "reason", "title", "control"];

/// What was read.
pub(super) struct Read {
    /// The policies that could be read, under their `@id`.
    pub(super) set: PolicySet,
    pub(super) about: HashMap<String, PolicyAbout>,
    pub(super) places: Places,
    pub(super) mistakes: Vec<PolicyMistake>,
}

/// Where policies stand.
pub(super) struct Places {
    sources: Vec<Lines>,
    of: HashMap<String, (usize, Range<usize>)>,
}

/// A source and where its lines begin.
struct Lines {
    name: String,
    text: String,
    starts: Vec<usize>,
}

/// Reads the sources. Policies with mistakes of form are left out of the set and named in `mistakes`.
pub(super) fn read(sources: &[PolicySource]) -> Read {
    let mut read = Read {
        set: PolicySet::new(),
        about: HashMap::new(),
        places: Places { sources: sources.iter().map(Lines::new).collect(), of: HashMap::new() },
        mistakes: Vec::new(),
    };
    for (index, source) in sources.iter().enumerate() {
        if source.text.len() > SOURCE_BYTES_MAX {
            let message = format!("the file is larger than {SOURCE_BYTES_MAX} bytes: split it");
            read.mistakes.push(read.places.at(index, 0..0, message));
            continue;
        }
        match PolicySet::from_str(&source.text) {
            Ok(set) => read.add_all(index, &set),
            Err(errors) => {
                for error in errors.iter() {
                    let detail = DetailedError::from(error);
                    read.mistakes.extend(read.places.detailed(index, 0..0, &detail));
                }
            }
        }
    }
    read
}

impl Read {
    fn add_all(&mut self, source: usize, set: &PolicySet) {
        for template in set.templates() {
            let span = template.as_ref().loc().map(|loc| loc.start()..loc.end()).unwrap_or(0..0);
            let message = "templates (?principal, ?resource) are not used: write the policy out".to_owned();
            self.mistakes.push(self.places.at(source, span, message));
        }
        let mut policies: Vec<(Range<usize>, &Policy)> = set
            .policies()
            .map(|policy| (policy.as_ref().loc().map(|loc| loc.start()..loc.end()).unwrap_or(0..0), policy))
            .collect();
        policies.sort_by_key(|(span, _)| span.start);
        for (span, policy) in policies {
            self.add(source, span, policy);
        }
    }

    fn add(&mut self, source: usize, span: Range<usize>, policy: &Policy) {
        let mut wrong = Vec::new();
        let annotations: BTreeMap<&str, &str> = policy.annotations().collect();
        for name in annotations.keys().filter(|name| !ANNOTATIONS.contains(*name)) {
            wrong.push(format!(
                "@{name} is not known: only {} have a meaning",
                ANNOTATIONS.map(|known| format!("@{known}")).join(", ")
            ));
        }
        let id = annotations.get("id").copied();
        match id {
            None => wrong.push("the policy has no @id: put @id(\"a-name\") before it".to_owned()),
            Some(id) => wrong.extend(wrong_id(id)),
        }
        if let Some(id) = id
            && let Some((other, place)) = self.places.of.get(id)
        {
            let first = self.places.at(*other, place.clone(), String::new());
            wrong.push(format!(
                "@id(\"{}\") stands already at {}:{}: give each policy a name of its own",
                shown(id, ID_LEN_MAX),
                first.source_name,
                first.line
            ));
        }
        let reason = annotations.get("reason").copied();
        match reason {
            None if policy.effect() == Effect::Forbid => wrong.push(
                "a forbid needs a @reason: the sentence that the person reads when it asks or refuses".to_owned(),
            ),
            None => {}
            Some(reason) => wrong.extend(wrong_reason(reason)),
        }
        if self.about.len() >= POLICIES_MAX {
            wrong.push(format!("there are more than {POLICIES_MAX} policies"));
        }
        let place = self.places.at(source, span.clone(), String::new());
        if let (Some(id), true) = (id, wrong.is_empty()) {
            if let Err(error) = self.set.add(policy.new_id(PolicyId::new(id))) {
                wrong.push(error.to_string());
            } else {
                self.places.of.insert(id.to_owned(), (source, span));
                let said = |name: &str| annotations.get(name).copied().unwrap_or_default().to_owned();
                let about = PolicyAbout {
                    id: id.to_owned(),
                    effect: policy.effect().into(),
                    reason: said("reason"),
                    title: said("title"),
                    control: said("control"),
                    source_name: place.source_name.clone(),
                    line: place.line,
                    looks_at: Vec::new(),
                };
                self.about.insert(id.to_owned(), about);
            }
        }
        self.mistakes.extend(wrong.into_iter().map(|message| PolicyMistake { message, ..place.clone() }));
    }
}

fn wrong_id(id: &str) -> Option<String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    if id.is_empty() || id.len() > ID_LEN_MAX || !id.bytes().all(good) {
        return Some(format!("@id must be 1 to {ID_LEN_MAX} letters, digits and - _ . : (ASCII)"));
    }
    RESERVED_IDS.contains(&id).then(|| format!("@id(\"{id}\") is reserved: take another name"))
}

fn wrong_reason(reason: &str) -> Option<String> {
    if reason.trim().is_empty() {
        return Some("@reason is empty: say to the person why".to_owned());
    }
    if reason.chars().count() > REASON_LEN_MAX {
        return Some(format!("@reason is longer than {REASON_LEN_MAX} characters"));
    }
    (shown(reason, REASON_LEN_MAX) != reason).then(|| "@reason has control or invisible characters".to_owned())
}

impl Places {
    /// What Cedar says of a policy, with its place.
    pub(super) fn mistakes<E>(&self, id: &PolicyId, error: &E) -> Vec<PolicyMistake>
    where
        DetailedError: for<'e> From<&'e E>,
    {
        let id: &str = id.as_ref();
        let (source, span) = self.of.get(id).cloned().unwrap_or((0, 0..0));
        self.detailed(source, span, &DetailedError::from(error))
    }

    /// A mistake in a policy as a whole.
    pub(super) fn of_policy(&self, id: &PolicyId, message: String) -> PolicyMistake {
        let id: &str = id.as_ref();
        let (source, span) = self.of.get(id).cloned().unwrap_or((0, 0..0));
        self.at(source, span, message)
    }

    /// A mistake about a word of a policy. It is looked for from the end: conditions stand after
    /// annotations and scope.
    pub(super) fn of_word(&self, id: &PolicyId, word: &str, message: String) -> PolicyMistake {
        let id: &str = id.as_ref();
        let (source, span) = self.of.get(id).cloned().unwrap_or((0, 0..0));
        let quoted = format!("{word:?}");
        let text = self.sources.get(source).and_then(|lines| lines.text.get(span.clone()));
        let word = text.and_then(|text| text.rfind(&quoted)).map(|at| {
            let start = span.start.saturating_add(at);
            start..start.saturating_add(quoted.len())
        });
        self.at(source, word.unwrap_or(span), message)
    }

    /// Sorts mistakes as the sources stand, and drops repetitions.
    pub(super) fn sort(&self, mistakes: &mut Vec<PolicyMistake>) {
        let order = |name: &str| self.sources.iter().position(|source| source.name == name).unwrap_or(usize::MAX);
        mistakes.sort_by(|a, b| {
            (order(&a.source_name), a.span.start, &a.message).cmp(&(order(&b.source_name), b.span.start, &b.message))
        });
        mistakes.dedup();
    }

    fn detailed(&self, source: usize, otherwise: Range<usize>, error: &DetailedError) -> Vec<PolicyMistake> {
        let mut message = error.message.clone();
        for extra in error.source_locations.iter().filter_map(|place| place.label.as_ref()) {
            message.push_str(": ");
            message.push_str(extra);
        }
        if let Some(help) = &error.help {
            message.push_str(" (");
            message.push_str(help);
            message.push(')');
        }
        let span = error.source_locations.first().map(|place| place.loc.start..place.loc.end).unwrap_or(otherwise);
        let mut all = vec![self.at(source, span.clone(), message)];
        all.extend(error.related.iter().flat_map(|related| self.detailed(source, span.clone(), related)));
        all
    }

    fn at(&self, source: usize, span: Range<usize>, message: String) -> PolicyMistake {
        match self.sources.get(source) {
            None => PolicyMistake::elsewhere("policies", message),
            Some(lines) => {
                let (line, column) = lines.place(span.start);
                PolicyMistake { source_name: lines.name.clone(), line, column, span, message }
            }
        }
    }
}

impl Lines {
    fn new(source: &PolicySource) -> Self {
        let starts = std::iter::once(0).chain(source.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: source.name.clone(), text: source.text.clone(), starts }
    }

    /// Line and column of a byte, both from 1.
    fn place(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(1, |before| before.chars().count() + 1);
        (line, column)
    }
}
