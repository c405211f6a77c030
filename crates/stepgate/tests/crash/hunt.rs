//! Many kills in several deployments at once, and what came of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stepgate::system::monotonic;
use tokio::task::JoinSet;

use crate::audit::{Counts, Violation};
use crate::boundary::{Boundary, Plan};
use crate::chance::Chance;
use crate::dying::Without;
use crate::world::World;

/// Kills between two lines of progress.
const PROGRESS_EVERY: usize = 100;

/// What is hunted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hunt {
    /// The first deployment's seed; each has its own.
    pub(crate) seed: u64,
    /// Deployments that live side by side.
    pub(crate) worlds: u64,
    /// Kills in each of them.
    pub(crate) kills_each: usize,
    /// The guard that is taken away.
    pub(crate) without: Option<Without>,
    /// Where the next life ends.
    pub(crate) plans: fn(&Chance) -> Plan,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Kills, by their boundary; `None` is any moment.
    pub(crate) ends: BTreeMap<Option<Boundary>, usize>,
    /// Payments that people saw approved.
    pub(crate) done: usize,
    /// What was counted.
    pub(crate) counts: Counts,
    /// Signatures of passkeys that were checked again at the end.
    pub(crate) signatures: u64,
    /// Entries of all ledgers.
    pub(crate) entries: u64,
}

impl Hunt {
    /// Kills gates until all were killed, or something happened that must not.
    pub(crate) async fn run(self) -> Result<Tally, Violation> {
        let begun = monotonic();
        let killed = Arc::new(AtomicUsize::new(0));
        let mut worlds = JoinSet::new();
        for seed in (0..self.worlds).map(|world| self.seed + world) {
            let killed = Arc::clone(&killed);
            worlds.spawn(async move {
                let chance = Chance::new(seed);
                let mut world = World::new(seed, self.without).await;
                let mut ends = Vec::new();
                for kill in 0..self.kills_each {
                    let plan = (self.plans)(&chance);
                    let end = world.live(plan).await;
                    ends.push(end.map_err(|what| format!("seed {seed}, kill {kill} ({plan:?}): {what}"))?);
                    let killed = killed.fetch_add(1, Ordering::SeqCst) + 1;
                    if killed.is_multiple_of(PROGRESS_EVERY) {
                        println!("{killed} kills in {:.0?}", monotonic().saturating_sub(begun));
                    }
                }
                let ended = world.end().await.map_err(|what| format!("seed {seed}, at the end: {what}"))?;
                Ok::<_, Violation>((ends, ended))
            });
        }
        let mut tally = Tally::default();
        while let Some(joined) = worlds.join_next().await {
            let (ends, (audit, report, done)) = joined.map_err(|error| error.to_string())??;
            for end in ends {
                *tally.ends.entry(end).or_default() += 1;
            }
            tally.done += done;
            tally.entries += audit.size();
            tally.signatures += report.checked.signatures;
            tally.counts = tally.counts.plus(audit.counts);
        }
        Ok(tally)
    }
}

impl Tally {
    /// Boundaries at which nobody was killed.
    pub(crate) fn missed(&self) -> Vec<String> {
        let all = Boundary::all().into_iter();
        all.filter(|boundary| !self.ends.contains_key(&Some(*boundary))).map(|boundary| boundary.to_string()).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (end, kills) in &self.ends {
            match end {
                Some(boundary) => writeln!(f, "{kills:5} {boundary}")?,
                None => writeln!(f, "{kills:5} at any moment")?,
            }
        }
        let Counts { opened, passed, sent, unknown, arrived, small } = self.counts;
        writeln!(
            f,
            "{opened} challenges opened, {passed} passed, {sent} requests sent once, {unknown} outcomes unknown"
        )?;
        writeln!(f, "{arrived} large and {small} small payments arrived, {} were seen approved", self.done)?;
        write!(f, "{} entries, {} passkey signatures verified again", self.entries, self.signatures)
    }
}
