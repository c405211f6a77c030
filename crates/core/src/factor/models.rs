//! What is known of models of authenticators: what they are certified as, and whether something is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Aaguid, Backup, PasskeySort};

/// The highest level that a model can be certified for.
const LEVEL_MAX: u8 = 3;

/// What is known of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    /// What its maker calls it.
    pub name: String,
    /// The level that it is certified for; 0: none.
    pub certified: u8,
    /// What was reported of it: of several reports the one that counts against it, or else the latest.
    pub status: String,
    /// Whether that is a reason to believe no passkey of this model.
    pub is_refused: bool,
}

/// What is known of all models, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Models(BTreeMap<Aaguid, ModelFacts>);

impl Models {
    /// These models.
    pub const fn new(models: BTreeMap<Aaguid, ModelFacts>) -> Self {
        Self(models)
    }

    /// What is known of this one.
    pub fn of(&self, aaguid: Aaguid) -> Option<&ModelFacts> {
        self.0.get(&aaguid)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Aaguid, &ModelFacts)> {
        self.0.iter().map(|(aaguid, facts)| (*aaguid, facts))
    }

    /// Of each level a sort of passkeys that is certified for it: what somebody could get where a level is asked for.
    pub(crate) fn examples(&self) -> impl Iterator<Item = PasskeySort> {
        let of = |level| self.iter().find(move |(_, facts)| facts.certified == level && !facts.is_refused);
        let sort = |(aaguid, _)| PasskeySort { backup: Backup::DeviceBound, is_attested: true, aaguid };
        (1..=LEVEL_MAX).filter_map(of).map(sort)
    }

    /// Whether no passkey of this sort is believed. Also of one that does not attest its model: it says itself that
    /// it is one of those.
    pub fn refuse(&self, sort: PasskeySort) -> bool {
        self.of(sort.aaguid).is_some_and(|facts| facts.is_refused)
    }

    /// What is known of the model of a passkey that attests it.
    pub(crate) fn attested(&self, sort: PasskeySort) -> Option<&ModelFacts> {
        sort.is_attested.then(|| self.of(sort.aaguid)).flatten()
    }
}

/// What is known of models by now: replaced as a whole.
#[derive(Default)]
pub struct KnownModels(ArcSwap<Models>);

impl KnownModels {
    /// What is known now.
    pub fn now(&self) -> Arc<Models> {
        self.0.load_full()
    }

    /// From now on it is this.
    pub fn replace(&self, models: Models) {
        self.0.store(Arc::new(models));
    }
}

impl fmt::Debug for KnownModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnownModels({})", self.now().0.len())
    }
}
