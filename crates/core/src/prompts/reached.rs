//! At what assurance sensitive operations were reached.

use std::collections::BTreeMap;

/// An operation that was let through with proofs that can be phished, or with none that was asked for, where others of
/// its sensitivity never were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weaker {
    /// Its resource.
    pub operation: String,
    /// Its sensitivity.
    pub sensitivity: String,
    /// Proofs for it that can be phished.
    pub phishable: u64,
    /// All proofs for it.
    pub proofs: u64,
    /// How often it was let through and nothing was asked, as far as that is known.
    pub unasked: u64,
    /// The others.
    pub peers: Vec<String>,
}

/// How each sensitive operation was reached, by sensitivity and resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached(BTreeMap<(String, String), How>);

#[derive(Clone, Copy, Debug, Default)]
struct How {
    phishable: u64,
    proofs: u64,
    unasked: u64,
}

impl How {
    const fn is_weak(self) -> bool {
        self.phishable > 0 || self.unasked > 0
    }
}

impl Reached {
    pub(super) fn by_proof(&mut self, sensitivity: &str, resource: &str, resists_phishing: bool) {
        if let Some(how) = self.of(sensitivity, resource) {
            how.proofs = how.proofs.saturating_add(1);
            how.phishable = how.phishable.saturating_add(u64::from(!resists_phishing));
        }
    }

    pub(super) fn unasked(&mut self, sensitivity: &str, resource: &str) {
        if let Some(how) = self.of(sensitivity, resource) {
            how.unasked = how.unasked.saturating_add(1);
        }
    }

    /// `None` for what is not sensitive.
    fn of(&mut self, sensitivity: &str, resource: &str) -> Option<&mut How> {
        let is_sensitive = matches!(sensitivity, "high" | "critical");
        is_sensitive.then(|| self.0.entry((sensitivity.to_owned(), resource.to_owned())).or_default())
    }

    /// Those that were reached by less, beside those of the same sensitivity that never were.
    pub(super) fn weaker(&self) -> Vec<Weaker> {
        let weak = self.0.iter().filter(|(_, how)| how.is_weak());
        let weaker = weak.map(|((sensitivity, operation), how)| {
            let strong = self.0.iter().filter(|((other, _), how)| other == sensitivity && !how.is_weak());
            Weaker {
                operation: operation.clone(),
                sensitivity: sensitivity.clone(),
                phishable: how.phishable,
                proofs: how.proofs,
                unasked: how.unasked,
                peers: strong.map(|((_, operation), _)| operation.clone()).collect(),
            }
        });
        weaker.filter(|one| !one.peers.is_empty()).collect()
    }
}
