//! A gate that is killed a thousand times: at every commit and on every step of a
//! request's way to the upstream, and at any moment. People go on paying meanwhile,
//! and what the ledger, the upstream and they themselves know is held together after
//! each restart.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod audit;
mod boundary;
mod chance;
mod client;
mod dying;
mod gate;
mod life;
mod payments;
mod upstream;
mod world;

use boundary::{Boundary, Plan};
use chance::Chance;
use dying::Without;
use stepgate::system::monotonic;
use world::hunt;

/// Deployments that live side by side.
const WORLDS: u64 = 4;
/// Kills in each of them.
const KILLS_EACH: usize = 250;
/// A life that is killed at any moment is killed before this, in microseconds.
const ANY_MOMENT_BEFORE_US: usize = 900_000;

/// Three of five kills are at a boundary, at one of its first few times.
fn everywhere(chance: &Chance) -> Plan {
    if chance.below(5) < 3 {
        let all = Boundary::all();
        let boundary = all[chance.below(all.len())];
        let times = 1 + chance.below(3);
        return Plan::At(boundary, u32::try_from(times).unwrap());
    }
    Plan::AfterMicros(u64::try_from(chance.below(ANY_MOMENT_BEFORE_US)).unwrap())
}

#[test]
fn nothing_unproved_passes_and_nothing_is_sent_twice_however_often_the_gate_is_killed() {
    gate::live_if_told_to();
    let begun = monotonic();
    let seed: u64 = 20_260_101;
    let seeds = (0..WORLDS).map(|world| seed + world).collect();
    let tally = run(hunt(seeds, KILLS_EACH, None, everywhere));
    let tally = tally.unwrap_or_else(|violation| panic!("{violation}"));
    let took = monotonic().saturating_sub(begun);
    let kills: usize = tally.ends.values().sum();
    println!("{kills} kills in {took:.0?}; {tally:#?}");
}

fn run<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(what)
}
