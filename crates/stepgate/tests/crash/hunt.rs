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
use crate::deployment::Backend;
use crate::dying::Without;
use crate::person::Done;
use crate::world::{Ended, World};

/// The seed of the first deployment, in place of the one that stands in the code.
pub(crate) const SEED: &str = "STEPGATE_CRASH_SEED";
/// How many deployments live side by side.
pub(crate) const WORLDS: &str = "STEPGATE_CRASH_WORLDS";
/// Deployments with seeds in a row begin their turns so far from each other, and after so many again at the first.
const FIRST_TURNS: u64 = 4;
const TURNS_BETWEEN: usize = 20;
/// A boundary that was not met is tried again, so often in all.
const TRIES: u32 = 3;
/// Kills between two lines of progress.
const PROGRESS_EVERY: usize = 100;

/// What is hunted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hunt {
    /// Where everything is kept, and with it how many nodes there are.
    pub(crate) backend: Backend,
    /// The first deployment's seed; each has its own.
    pub(crate) seed: u64,
    /// Deployments that live side by side.
    pub(crate) worlds: u64,
    /// Kills in each of them, at least.
    pub(crate) kills_each: usize,
    /// The guard that is taken away.
    pub(crate) without: Option<Without>,
    /// Where the victim of a turn dies; each deployment begins at another turn.
    pub(crate) plans: fn(&Chance, usize) -> Plan,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Rounds, by the boundary at which their victim died; `None` is any moment.
    pub(crate) ends: BTreeMap<Option<Boundary>, usize>,
    /// How many died.
    pub(crate) died: usize,
    /// What people saw go all the way.
    pub(crate) done: Done,
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
                let again = format!("again with {SEED}={seed} and {WORLDS}=1");
                let chance = Chance::new(seed);
                let mut turn = usize::try_from(seed % FIRST_TURNS).unwrap() * TURNS_BETWEEN;
                let (mut missed, mut tries) = (None, TRIES);
                let mut world = World::new(self.backend, seed, self.without).await;
                let (mut ends, mut died) = (Vec::new(), 0);
                while died < self.kills_each {
                    let round = ends.len();
                    let plan = missed.take().unwrap_or_else(|| {
                        turn += 1;
                        tries = TRIES;
                        (self.plans)(&chance, turn)
                    });
                    let lived = world.live(plan).await;
                    let (end, dead) = lived.map_err(|what| {
                        format!(
                            "seed {seed}, round {round} ({plan:?}), {died} killed before, {again}: {what}{}",
                            world.logs()
                        )
                    })?;
                    ends.push(end);
                    if let Plan::At(boundary, _) = plan
                        && end.is_none()
                        && tries > 1
                    {
                        tries -= 1;
                        missed = Some(Plan::At(boundary, 1));
                    }
                    died += dead;
                    let before = killed.fetch_add(dead, Ordering::SeqCst);
                    if before / PROGRESS_EVERY != (before + dead) / PROGRESS_EVERY {
                        println!("{} kills in {:.0?}", before + dead, monotonic().saturating_sub(begun));
                    }
                }
                let ended = world.end().await.map_err(|what| format!("seed {seed}, at the end, {again}: {what}"))?;
                Ok::<_, Violation>((ends, died, ended))
            });
        }
        let mut tally = Tally::default();
        while let Some(joined) = worlds.join_next().await {
            let (ends, died, Ended { audit, report, done }) = joined.map_err(|error| error.to_string())??;
            for end in ends {
                *tally.ends.entry(end).or_default() += 1;
            }
            tally.died += died;
            tally.done = tally.done.plus(done);
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

impl Tally {
    /// What people can do here and nobody did, or not to the end.
    pub(crate) fn unseen(&self) -> Vec<&'static str> {
        let Counts { unknown, small, reports, totp, recovery, succeeded, enrolled, ended, .. } = self.counts;
        let Done { approved, adopted, thefts, races, medium, .. } = self.done;
        let seen = [
            ("an outcome that is unknown", unknown),
            ("a small payment", small),
            ("a medium payment", medium),
            ("a report", reports),
            ("an app's code that was accepted", totp),
            ("a recovery code that was accepted", recovery),
            ("a successor", succeeded),
            ("a factor that was enrolled", enrolled),
            ("a session that was ended", ended),
            ("an approved payment", approved),
            ("a request that waited for a sign-in", adopted),
            ("a try with stolen cookies", thefts),
            ("one code for two questions at once", races),
        ];
        seen.into_iter().filter(|(_, count)| *count == 0).map(|(what, _)| what).collect()
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
        writeln!(f, "{} killed", self.died)?;
        writeln!(f, "the ledgers and the applications: {:?}", self.counts)?;
        writeln!(f, "what people saw: {:?}", self.done)?;
        write!(f, "{} entries, {} passkey signatures verified again", self.entries, self.signatures)
    }
}
