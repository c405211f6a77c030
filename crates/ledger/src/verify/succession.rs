//! Which key may sign which head: from the keys that are given to those that follow them.
//!
//! A log changes its key by an entry that announces the next one. The head that ends with this entry,
//! the *handover*, is the last that the former key signs and the first that the next one signs. It is
//! kept with the log, so whoever knows the former key can follow, long after its private half was
//! destroyed.

use std::collections::BTreeMap;

use super::report::{BelievedKey, Finding, Findings};
use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointVerifier};
use crate::hash::Hash;

/// What an entry says: another key signs the heads from here on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The entry.
    pub index: u64,
    /// The key that signed up to and including the head that ends with this entry.
    pub former: String,
    /// The key that signs from this head on.
    pub next: String,
}

/// The keys of a log as they follow one another.
#[derive(Debug)]
pub(super) struct Succession {
    believed: Vec<Believed>,
    /// The key that signs according to the newest announcement that counts, and where that stands.
    current: Option<(CheckpointVerifier, u64)>,
    /// Keys that were replaced, and by which entry.
    former: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Believed {
    key: CheckpointVerifier,
    announced_by: Option<u64>,
}

impl Succession {
    pub(super) fn new(given: &[CheckpointVerifier]) -> Self {
        let believed = given.iter().map(|key| Believed { key: key.clone(), announced_by: None }).collect();
        Self { believed, current: None, former: BTreeMap::new() }
    }

    /// Follows one announcement. What is not right about it is a finding, and then the keys stay as
    /// they were: so a forged one gains nobody's belief.
    pub(super) fn follow(
        &mut self,
        announcement: &Announcement,
        handovers: &BTreeMap<u64, String>,
        root_at: impl Fn(u64) -> Option<Hash>,
        findings: &mut Findings,
    ) {
        let index = announcement.index;
        match self.checked(announcement, handovers, root_at) {
            Err(reason) => findings.add(Finding::AnnouncementNotBelieved { index, reason }),
            Ok((former, next)) => {
                if self.believes(&former) && !self.believes(&next) {
                    self.believed.push(Believed { key: next.clone(), announced_by: Some(index) });
                }
                self.former.insert(former.key().to_owned(), index);
                self.current = Some((next, index));
            }
        }
    }

    fn checked(
        &self,
        announcement: &Announcement,
        handovers: &BTreeMap<u64, String>,
        root_at: impl Fn(u64) -> Option<Hash>,
    ) -> Result<(CheckpointVerifier, CheckpointVerifier), String> {
        let read = |key: &str| CheckpointVerifier::parse(key).map_err(|error| error.to_string());
        let (former, next) = (read(&announcement.former)?, read(&announcement.next)?);
        if let Some((current, since)) = &self.current
            && current.key() != former.key()
        {
            return Err(format!("it is in the name of {}, which entry {since} had replaced", former.key()));
        }
        if former.key() == next.key() || self.former.contains_key(next.key()) {
            return Err(format!("{} had signed before", next.key()));
        }
        let size = announcement.index.saturating_add(1);
        let text = handovers
            .get(&size)
            .ok_or_else(|| format!("handover/{size}, the head with which the former key covers it, is missing"))?;
        for key in [&former, &next] {
            let head = key.verify(text).map_err(|error| format!("handover/{size}: {error}"))?;
            if head.size != size {
                return Err(format!("handover/{size} is a head of {} entries", head.size));
            }
            match root_at(size) {
                Some(found) if found == head.root => {}
                Some(found) => {
                    return Err(format!(
                        "the log was forked: its first {size} entries hash to {found}, the former key signed {}",
                        head.root
                    ));
                }
                None => return Err(format!("entries before it are missing, so handover/{size} cannot be checked")),
            }
        }
        Ok((former, next))
    }

    fn believes(&self, key: &CheckpointVerifier) -> bool {
        self.believed.iter().any(|believed| believed.key.key() == key.key())
    }

    /// The believed keys that signed the checkpoint and might. That none did is a finding, and so is a
    /// signature in a key's name that is not by it, or by a key that had been replaced; and a key that
    /// was given and neither signed nor stands in the succession: whoever gives the newer key, too,
    /// says that the log has it, which a fork from before its announcement has not.
    pub(super) fn signers(&self, text: &str, claimed: &Checkpoint, findings: &mut Findings) -> Vec<String> {
        let (mut signed_by, mut reasons, mut told) = (Vec::new(), Vec::new(), false);
        for Believed { key, .. } in &self.believed {
            match key.verify(text) {
                Ok(_) => match self.former.get(key.key()) {
                    Some(&index) if claimed.size > index.saturating_add(1) => {
                        let (key, size) = (key.key().to_owned(), claimed.size);
                        findings.add(Finding::SignedByFormerKey { key, size, index });
                        told = true;
                    }
                    _ => signed_by.push(key.key().to_owned()),
                },
                Err(error @ CheckpointError::WrongSignature(_)) => {
                    findings.add(Finding::CheckpointNotBelieved { reason: error.to_string() });
                    told = true;
                }
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if let Some((current, index)) = &self.current
            && !signed_by.is_empty()
            && claimed.size > index.saturating_add(1)
            && current.verify(text).is_err()
        {
            let reason = format!("by entry {index}, {} signs, and it did not sign", current.key());
            findings.add(Finding::CheckpointNotBelieved { reason });
            told = true;
        }
        // Where nobody signed, that alone is told.
        if !signed_by.is_empty() {
            for Believed { key, .. } in &self.believed {
                let key = key.key();
                let current = self.current.as_ref().is_some_and(|(current, _)| current.key() == key);
                if !current && !self.former.contains_key(key) && !signed_by.iter().any(|by| by == key) {
                    findings.add(Finding::KeyNotOfThisLog { key: key.to_owned() });
                }
            }
        }
        if signed_by.is_empty() && !told {
            if reasons.is_empty() {
                reasons.push("no key to verify it with".to_owned());
            }
            findings.add(Finding::CheckpointNotBelieved { reason: reasons.join("; ") });
        }
        signed_by
    }

    pub(super) fn into_believed(self) -> Vec<BelievedKey> {
        let told = |Believed { key, announced_by }: Believed| BelievedKey {
            signs_until: self.former.get(key.key()).map(|index| index.saturating_add(1)),
            announced_by,
            key: key.key().to_owned(),
        };
        self.believed.into_iter().map(told).collect()
    }
}
