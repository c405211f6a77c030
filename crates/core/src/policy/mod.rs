//! Policy: Cedar, strictly validated against a schema made from the catalogue.
//!
//! Policies are read and indexed once. For each endpoint there is a slice: the
//! policies whose scope can concern it, with the scope taken off, since it is
//! known to hold. `decide` asks Cedar about that slice; what it answers is never
//! kept.
//!
//! *Architecture invariant:* nothing here allows anything by itself. An error, a
//! missing slice, a broken set: each is a refusal.

mod concern;
mod context;
mod evaluate;
mod lint;
mod merge;
mod near;
mod needs;
mod read;
mod schema;
mod slice;
mod values;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cedar_policy::{Effect, Entities, Policy, PolicySet, Schema};
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::behaviour::{BehaviourSettings, Unusual};
use crate::catalogue::Catalogue;
use crate::factor::{Backup, FactorKind, PasskeySort};
use crate::operation::Operation;
use crate::provider::{Provider, ProviderName};
use crate::surroundings::{Calendar, Environment};

pub(crate) use context::{Clocks, Moment, Proven};
pub(crate) use evaluate::{Case, Outcome, Prepared};
pub use near::{NearPermit, WhyNot};
pub(crate) use slice::Slice;
pub use stepgate_evidence::NO_PERMIT;
use stepgate_evidence::PolicyRef;

/// Most policies in one set.
pub const POLICIES_MAX: usize = 50_000;
/// Longest source, in bytes.
pub const SOURCE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest `@id`, in bytes.
pub const ID_LEN_MAX: usize = 100;
/// Longest `@reason`, in characters: a person reads it on the page.
pub const REASON_LEN_MAX: usize = 200;
/// Most signals that a reason is explained with.
pub const WORDS_MAX: usize = 3;
/// Names that no policy may have: they stand in evidence for something else.
pub const RESERVED_IDS: [&str; 2] = [NO_PERMIT, BROKEN];
/// Stands for a policy set that could not be loaded.
pub const BROKEN: &str = "policies-broken";

/// A file of policies.
#[derive(Clone, Debug)]
pub struct PolicySource {
    /// Its name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A loaded policy set, or a broken one, which denies everything.
#[derive(Debug)]
pub struct Policies {
    version: String,
    schema_text: String,
    clocks: Clocks,
    look_at_habits: bool,
    about: HashMap<String, PolicyAbout>,
    slices: slice::Slices,
    whole: Option<Whole>,
    advice: Vec<PolicyMistake>,
    broken: Option<String>,
    /// What a login at each identity provider can count as.
    logins: HashMap<ProviderName, Vec<FactorKind>>,
    /// The kinds that are verified here, least trouble first.
    offered: Vec<FactorKind>,
    /// Sorts of passkeys that somebody could get who has none that does.
    passkeys_to_get: Vec<PasskeySort>,
}

/// What is looked for where rules tell passkeys apart and the ones that somebody has do not do.
const PASSKEYS_TO_GET: [PasskeySort; 3] = [
    PasskeySort { backup: Backup::Eligible, ..PasskeySort::ANY },
    PasskeySort { backup: Backup::DeviceBound, ..PasskeySort::ANY },
    PasskeySort { backup: Backup::DeviceBound, is_attested: true, ..PasskeySort::ANY },
];

/// Everything, unindexed: what the index is held against.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) set: PolicySet,
    pub(crate) entities: Entities,
    pub(crate) schema: Schema,
}

/// What is known of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyAbout {
    /// Its `@id`.
    pub id: String,
    /// Whether it permits or forbids.
    pub effect: PolicyEffect,
    /// Its `@reason`; empty where a permit has none.
    pub reason: String,
    /// Its `@title`, for people and reports; empty if it has none.
    pub title: String,
    /// Its `@control`: what it produces evidence for; empty if it says nothing.
    pub control: String,
    /// The source's name.
    pub source_name: String,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// What it looks at of the surroundings, as paths in the context: `network.country`.
    pub looks_at: Vec<&'static str>,
}

/// What a policy does when it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyEffect {
    /// It lets through, unless another forbids.
    Permit,
    /// It refuses, whatever else permits.
    Forbid,
}

impl PolicyEffect {
    /// As it stands in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Forbid => "forbid",
        }
    }
}

impl From<Effect> for PolicyEffect {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Permit => Self::Permit,
            Effect::Forbid => Self::Forbid,
        }
    }
}

/// What is wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}:{line}:{column}: {message}")]
pub struct PolicyMistake {
    /// The source's name.
    pub source_name: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// Byte range in the source's text.
    pub span: std::ops::Range<usize>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Policies {
    /// Loads policies, where nothing is known of the world around: the time of day is UTC, and every name of
    /// a network or calendar is let pass.
    ///
    /// Gives every mistake at once, in the order of the sources.
    pub fn load(catalogue: &Catalogue, sources: &[PolicySource]) -> Result<Self, Vec<PolicyMistake>> {
        Self::load_knowing(catalogue, sources, None)
    }

    /// Loads policies that tell the time by the clocks and calendars of `environment`; the name of a network or
    /// calendar that it does not have is a mistake.
    ///
    /// Gives every mistake at once, in the order of the sources.
    pub fn load_in(
        catalogue: &Catalogue,
        sources: &[PolicySource],
        environment: &Environment,
    ) -> Result<Self, Vec<PolicyMistake>> {
        Self::load_knowing(catalogue, sources, Some(environment))
    }

    fn load_knowing(
        catalogue: &Catalogue,
        sources: &[PolicySource],
        environment: Option<&Environment>,
    ) -> Result<Self, Vec<PolicyMistake>> {
        let schema_text = schema::text(catalogue)?;
        let schema = schema::parse(&schema_text)?;
        let read = read::read(sources);
        let mut mistakes = read.mistakes;
        let (wrong, mut advice) = lint::validate(&read.set, catalogue, &schema, &read.places);
        mistakes.extend(wrong);
        let (wrong, odd) = values::unknown(&read.set, catalogue, environment, &read.places);
        mistakes.extend(wrong);
        advice.extend(odd);
        let (wrong, odd) = lint::of_sign_in(&read.set, &read.places);
        mistakes.extend(wrong);
        advice.extend(odd);
        mistakes.extend(lint::unknown_names(&read.set, catalogue, &read.places));
        mistakes.extend(lint::conditions(&read.set, &read.places));
        if !mistakes.is_empty() {
            read.places.sort(&mut mistakes);
            return Err(mistakes);
        }
        let fault = |why: String| vec![PolicyMistake::elsewhere("the services", why)];
        let slices = slice::Slices::new(&read.set, catalogue, &schema).map_err(fault)?;
        let entities = evaluate::all_entities(catalogue, &schema).map_err(fault)?;
        let clocks = environment.map_or_else(Clocks::utc, Clocks::of);
        let behaviour = environment.map(|environment| &environment.behaviour);
        let version = version(sources, &schema_text, &clocks, behaviour);
        let mut about = read.about;
        for policy in read.set.policies() {
            if let (Some(about), Ok(mut json)) = (about.get_mut(AsRef::<str>::as_ref(policy.id())), policy.to_json()) {
                about.looks_at = needs::Needs::rewrite(&mut json).surroundings();
            }
        }
        let whole = Some(Whole { set: read.set, entities, schema });
        Ok(Self {
            version,
            schema_text,
            clocks,
            look_at_habits: slices.look_at_habits(),
            about,
            slices,
            whole,
            advice,
            broken: None,
            logins: HashMap::new(),
            offered: FactorKind::BUILT_IN.to_vec(),
            passkeys_to_get: PASSKEYS_TO_GET.to_vec(),
        })
    }

    /// A set that denies everything and says why: what stands where policies could not be loaded.
    pub fn broken(why: impl Into<String>) -> Self {
        let why = why.into();
        Self {
            version: hex::encode(Sha256::digest(format!("{BROKEN}\0{why}"))),
            schema_text: String::new(),
            clocks: Clocks::utc(),
            look_at_habits: false,
            about: HashMap::new(),
            slices: slice::Slices::none(),
            whole: None,
            advice: Vec::new(),
            broken: Some(why),
            logins: HashMap::new(),
            offered: Vec::new(),
            passkeys_to_get: Vec::new(),
        }
    }

    /// These policies, where these kinds of factors are verified; before, it is the built-in ones.
    /// No other is looked for, so that kinds which nobody here can have cost no decision anything.
    #[must_use]
    pub fn with_factors(mut self, kinds: impl IntoIterator<Item = FactorKind>) -> Self {
        self.offered = kinds.into_iter().collect();
        self.offered.sort_unstable();
        self.offered.dedup();
        let more = self.offered.iter().filter(|kind| !FactorKind::BUILT_IN.contains(kind));
        let more = more.map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if !more.is_empty() {
            self.version = hex::encode(
                Sha256::new_with_prefix(&self.version).chain_update(b"\0factors ").chain_update(more).finalize(),
            );
        }
        self
    }

    /// The kinds that are verified here, least trouble first; company logins are not among them.
    pub fn offered(&self) -> &[FactorKind] {
        &self.offered
    }

    /// Sorts of passkeys that somebody could get, least trouble first.
    pub(crate) fn passkeys_to_get(&self) -> &[PasskeySort] {
        &self.passkeys_to_get
    }

    /// These policies, where people can be asked to prove more at these providers.
    #[must_use]
    pub fn with_providers(mut self, providers: &[Provider]) -> Self {
        let mut version = Sha256::new_with_prefix(&self.version);
        for provider in providers {
            for level in &provider.levels {
                for part in [provider.name.as_str(), &level.acr, &level.strength.to_string()] {
                    version.update((part.len() as u64).to_be_bytes());
                    version.update(part);
                }
            }
            let mut kinds: Vec<_> = provider.levels.iter().map(|level| FactorKind::Idp(level.strength)).collect();
            kinds.sort_unstable();
            kinds.dedup();
            if !kinds.is_empty() {
                self.logins.insert(provider.name.clone(), kinds);
                self.version = hex::encode(version.clone().finalize());
            }
        }
        self
    }

    /// What these identity providers can be asked to prove.
    pub(crate) fn logins(&self, providers: &[ProviderName]) -> Vec<FactorKind> {
        let known = providers.iter().filter_map(|name| self.logins.get(name)).flatten();
        let mut kinds: Vec<_> = known.copied().collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// SHA-256 over sources, schema, time zone, calendars and what counts as unusual, hex.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The Cedar schema that the policies were validated against.
    pub fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// The Cedar schema of a catalogue, without any policies.
    pub fn schema_of(catalogue: &Catalogue) -> Result<String, Vec<PolicyMistake>> {
        schema::text(catalogue)
    }

    /// Why everything is denied, if the set is broken.
    pub fn why_broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// What is odd but not wrong, e.g. a string that mixes scripts.
    pub fn advice(&self) -> &[PolicyMistake] {
        &self.advice
    }

    /// What is known of a policy.
    pub fn about(&self, id: &str) -> Option<&PolicyAbout> {
        self.about.get(id)
    }

    /// The groups that policies name: whoever is in none of them is in none that matters.
    pub fn groups(&self) -> BTreeSet<String> {
        let literals = self.whole.iter().flat_map(|whole| whole.set.policies()).flat_map(Policy::entity_literals);
        let groups = literals.filter(|uid| uid.type_name().basename() == evaluate::GROUP);
        groups
            .map(|uid| {
                let id: &str = uid.id().as_ref();
                id.to_owned()
            })
            .collect()
    }

    /// All policies, by id.
    pub fn all(&self) -> Vec<&PolicyAbout> {
        let mut all: Vec<_> = self.about.values().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// The ids of the policies that concern an operation, whoever asks, sorted.
    pub fn concerning(&self, operation: &Operation) -> Vec<&str> {
        let mut ids = self.slices.of(operation).map(|(_, slice)| slice.ids()).unwrap_or_default();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn slices(&self) -> &slice::Slices {
        &self.slices
    }

    /// What these policies looked at of the surroundings, and what they saw: by path in the context.
    pub(crate) fn seen(&self, policies: &[PolicyRef], moment: &Moment<'_>) -> BTreeMap<String, String> {
        let parts = policies.iter().filter_map(|policy| self.about.get(&policy.id)).flat_map(|about| &about.looks_at);
        let told = parts.map(|part| ((*part).to_owned(), context::told(part, moment)));
        let mut told: BTreeMap<_, _> = told.collect();
        // A score alone tells nobody anything.
        if told.keys().any(|part| needs::HABITS.contains(&part.as_str())) {
            let raised = moment.surroundings.unusual.raised.iter();
            told.extend(raised.map(|raised| (format!("risk.signals.{}", raised.signal.name()), raised.told())));
        }
        told
    }

    /// Whether any policy looks at what is usual for people, or at what failed. If none does, nothing of it is kept.
    pub fn look_at_habits(&self) -> bool {
        self.look_at_habits
    }

    /// Whether a policy that can concern this operation does.
    pub fn look_at_habits_for(&self, operation: &Operation) -> bool {
        self.look_at_habits && self.slices.of(operation).is_some_and(|(_, slice)| slice.looks_at_habits())
    }

    /// By which clock policies tell the time of day.
    pub fn zone(&self) -> &TimeZone {
        &self.clocks.zone
    }

    /// The reasons of those among these that look at what is usual, with what is unusual: in words, at most
    /// [`WORDS_MAX`] of them.
    pub(crate) fn with_words(&self, mut policies: Vec<PolicyRef>, unusual: &Unusual) -> Vec<PolicyRef> {
        let looks = |about: &PolicyAbout| about.looks_at.iter().any(|part| needs::HABITS.contains(part));
        for policy in &mut policies {
            if self.about.get(&policy.id).is_some_and(looks) {
                for raised in unusual.raised.iter().take(WORDS_MAX) {
                    policy.reason.push(' ');
                    policy.reason.push_str(&raised.to_person());
                }
            }
        }
        policies
    }

    pub(crate) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    pub(crate) const fn whole(&self) -> Option<&Whole> {
        self.whole.as_ref()
    }
}

impl PolicyMistake {
    /// A mistake that stands in no source.
    fn elsewhere(what: &str, message: String) -> Self {
        Self { source_name: what.to_owned(), line: 1, column: 1, span: 0..0, message }
    }
}

fn version(
    sources: &[PolicySource],
    schema_text: &str,
    clocks: &Clocks,
    behaviour: Option<&BehaviourSettings>,
) -> String {
    let mut digest = Sha256::new();
    let mut field = |text: &str| {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    };
    let mut sorted: Vec<_> = sources.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    field(schema_text);
    let zone = |zone: &TimeZone| zone.iana_name().map_or_else(|| format!("{zone:?}"), str::to_owned);
    field(&zone(&clocks.zone));
    field(&format!("{behaviour:?}"));
    for calendar in &clocks.calendars {
        let Calendar { name, zone: at, days, from, to, holidays } = calendar;
        field(&format!("{name:?} {} {days:?} {from} {to} {holidays:?}", zone(at)));
    }
    for source in sorted {
        field(&source.name);
        field(&source.text);
    }
    hex::encode(digest.finalize())
}
