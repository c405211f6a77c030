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
mod hunt;
mod life;
mod payments;
mod upstream;
mod world;

use boundary::{Boundary, Plan};
use chance::Chance;
use dying::Without;
use hunt::{Hunt, Tally};
use stepgate::system::monotonic;

use crate::audit::Violation;

/// Deployments that live side by side.
const WORLDS: u64 = 4;
/// Kills in each of them: a thousand in all.
const KILLS_EACH: usize = 250;
/// Kills of a gate without a guard, at most, until its absence must have been seen.
const KILLS_WITHOUT_GUARD: usize = 40;
/// A life that is killed at any moment is killed before this, in microseconds.
const ANY_MOMENT_BEFORE_US: usize = 300_000;
/// All chance follows from it.
const SEED: u64 = 20_260_101;

#[test]
fn nothing_unproved_passes_and_nothing_is_sent_twice_however_often_the_gate_is_killed() {
    gate::live_if_told_to();
    let begun = monotonic();
    let all = Hunt { seed: SEED, worlds: WORLDS, kills_each: KILLS_EACH, without: None, plans: everywhere };
    let tally = run(all).unwrap_or_else(|violation| panic!("{violation}"));
    println!("{tally}\nin {:.0?}", monotonic().saturating_sub(begun));
    assert_eq!(tally.missed(), Vec::<String>::new(), "every boundary was met");
    let counts = tally.counts;
    assert!(counts.unknown > 0 && tally.done > 0 && counts.small > 0, "{tally}");
}

#[test]
fn spending_after_sending_is_found_out() {
    check_without(Without::SpendingFirst, "without evidence");
}

#[test]
fn an_answer_that_is_acknowledged_too_early_is_found_out() {
    check_without(Without::DurableAnswers, "and the ledger says");
}

#[test]
fn a_gate_that_does_not_look_back_is_found_out() {
    check_without(Without::LookingBack, "nobody says what became of");
}

/// The same hunt must fail where a guard is missing, for this reason.
fn check_without(guard: Without, reason: &str) {
    let plans = if guard == Without::DurableAnswers { everywhere } else { while_sending };
    let all = Hunt { seed: SEED, worlds: 1, kills_each: KILLS_WITHOUT_GUARD, without: Some(guard), plans };
    match run(all) {
        Ok(tally) => panic!("without {guard:?}, nothing was found:\n{tally}"),
        Err(violation) => assert!(violation.to_string().contains(reason), "{violation}"),
    }
}

/// Three of five kills are at a boundary, at one of its first few times.
fn everywhere(chance: &Chance) -> Plan {
    if chance.below(5) < 3 {
        let all = Boundary::all();
        let boundary = all[chance.below(all.len())];
        let times = 1 + chance.below(boundary.times_max());
        return Plan::At(boundary, u32::try_from(times).unwrap());
    }
    let micros = u64::try_from(chance.below(ANY_MOMENT_BEFORE_US)).unwrap();
    if chance.one_in(4) { Plan::SinceStart(micros) } else { Plan::SinceServing(micros) }
}

fn while_sending(chance: &Chance) -> Plan {
    let sends = boundary::SENDS;
    Plan::At(Boundary::Send(sends[chance.below(sends.len())]), 1)
}

fn run(hunt: Hunt) -> Result<Tally, Violation> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(hunt.run())
}
